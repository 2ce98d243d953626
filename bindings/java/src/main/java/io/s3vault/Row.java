package io.s3vault;

import com.sun.jna.Pointer;

/** A copy of an {@code s3v_row}, which the library keeps only until the next call. A NULL text is null. */
record Row(int kind, String container, String path, String vid, String parent, long initiatedMs, long recordedMs,
        long bytes, String manifestHash) {

    // struct s3v_row { uint32_t size; int32_t kind; const char *container, *path, *vid, *parent;
    //                  int64_t initiated_ms, recorded_ms; uint64_t bytes; const char *manifest_hash; }
    static Row read(Pointer row) {
        return new Row(row.getInt(4), text(row, 8), text(row, 16), text(row, 24), text(row, 32), row.getLong(40),
                row.getLong(48), row.getLong(56), text(row, 64));
    }

    private static String text(Pointer row, long offset) {
        Pointer text = row.getPointer(offset);
        return text == null ? null : text.getString(0, "UTF-8");
    }
}
