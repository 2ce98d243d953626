package io.s3vault;

import com.google.gson.FieldNamingPolicy;
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;

/** Reads the library's JSON, whose names have underscores, into records. */
final class Json {
    private static final Gson GSON =
            new GsonBuilder().setFieldNamingPolicy(FieldNamingPolicy.LOWER_CASE_WITH_UNDERSCORES).create();

    private Json() {}

    static <T> T parse(String json, Class<T> type) {
        return GSON.fromJson(json, type);
    }
}
