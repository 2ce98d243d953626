package io.s3vault;

import com.sun.jna.Pointer;
import io.s3vault.internal.Layout;

/** A copy of an {@code s3v_row}, which the library keeps only until the next call. A NULL text is null. */
record Row(int kind, String container, String path, String vid, String parent, long initiatedMs, long recordedMs,
        long bytes, String manifestHash, String signedBy, String uploadId, String labels) {

    static Row read(Pointer row) {
        return new Row(
                row.getInt(Layout.Row.KIND),
                text(row, Layout.Row.CONTAINER),
                text(row, Layout.Row.PATH),
                text(row, Layout.Row.VID),
                text(row, Layout.Row.PARENT),
                row.getLong(Layout.Row.INITIATED_MS),
                row.getLong(Layout.Row.RECORDED_MS),
                row.getLong(Layout.Row.BYTES),
                text(row, Layout.Row.MANIFEST_HASH),
                text(row, Layout.Row.SIGNED_BY),
                text(row, Layout.Row.UPLOAD_ID),
                text(row, Layout.Row.LABELS));
    }

    private static String text(Pointer row, long offset) {
        Pointer text = row.getPointer(offset);
        return text == null ? null : text.getString(0, "UTF-8");
    }
}
