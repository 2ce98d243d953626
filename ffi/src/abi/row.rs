//! Rows: what a list and a version tell about a backup

use std::ffi::{CString, c_char};
use std::ptr;

use s3vault_core::vault::{Kind, Row};

use super::boundary::c_text;

/// Only the name of a container or a path.
pub const S3V_ROW_NAME: i32 = 0;
/// A full backup.
pub const S3V_ROW_FULL: i32 = 1;
/// An incremental backup; restoring it needs its parent.
pub const S3V_ROW_INCREMENTAL: i32 = 2;
/// A marker: the path was deleted at this point.
pub const S3V_ROW_DELETED: i32 = 3;
/// A multipart upload in progress, from s3v_list_uploads.
pub const S3V_ROW_UPLOAD: i32 = 4;

/// Describes a version of a backup. The library owns it; the call that returns it says how long it is valid. Later
/// versions may add fields at the end: `size` says how many bytes are present. A text that does not apply is "", except
/// for those that may be NULL.
#[repr(C)]
pub struct s3v_row {
    /// Size of this struct in bytes.
    pub size: u32,
    /// One of the S3V_ROW_ constants. Later versions may add kinds.
    pub kind: i32,
    /// The container, for example a machine's name.
    pub container: *const c_char,
    /// The path in the container; "" in a list of containers.
    pub path: *const c_char,
    /// The version id, 26 characters that sort by time; "" in a row that is only a name.
    pub vid: *const c_char,
    /// Version id of the backup that an incremental is based on; NULL if there is none.
    pub parent: *const c_char,
    /// When the put, or the upload, started, in Unix milliseconds.
    pub initiated_ms: i64,
    /// The time that identifies the backup (record_after_store says which), in Unix milliseconds.
    pub recorded_ms: i64,
    /// Size of the backup in bytes.
    pub bytes: u64,
    /// BLAKE3 hash of the signed object, in hex, for S3V_OPT_PIN. NULL in a row of a list that reads no manifests:
    /// s3v_list_chain does, and a search for S3V_OPT_LABEL.
    pub manifest_hash: *const c_char,
    /// Id of the trusted key that signed the backup's manifest. NULL where manifest_hash is, and where no signature
    /// was checked, since the vault has neither a keyring nor verify_keys.
    pub signed_by: *const c_char,
    /// Id of the multipart upload. NULL in a row of any other kind.
    pub upload_id: *const c_char,
    /// Labels of the version, one KEY=VALUE per line, in the order of the keys; "" if it has none. NULL in a row of a
    /// list.
    pub labels: *const c_char,
}

/// A row together with the texts that its pointers refer to.
pub(super) struct OwnedRow {
    row: s3v_row,
    /// Kept, not read: heap memory that does not move with this struct.
    _texts: [Option<CString>; 8],
}

// SAFETY: the pointers lead to memory of `_texts`, which belongs to this struct and never changes.
unsafe impl Send for OwnedRow {}
// SAFETY: as above.
unsafe impl Sync for OwnedRow {}

impl OwnedRow {
    pub(super) fn new(row: &Row) -> OwnedRow {
        let texts = [
            Some(c_text(&row.container)),
            Some(c_text(&row.path)),
            Some(c_text(&row.vid)),
            row.parent.as_deref().map(c_text),
            row.manifest_hash.as_deref().map(c_text),
            row.signed_by.as_deref().map(c_text),
            row.upload_id.as_deref().map(c_text),
            row.labels.as_ref().map(|labels| c_text(&labels.to_string())),
        ];
        let [container, path, vid, parent, manifest_hash, signed_by, upload_id, labels] =
            texts.each_ref().map(|text| text.as_ref().map_or(ptr::null(), |text| text.as_ptr()));
        OwnedRow {
            row: s3v_row {
                size: size_of::<s3v_row>() as u32,
                kind: kind(row),
                container,
                path,
                vid,
                parent,
                initiated_ms: row.initiated_ms,
                recorded_ms: row.recorded_ms,
                bytes: row.bytes,
                manifest_hash,
                signed_by,
                upload_id,
                labels,
            },
            _texts: texts,
        }
    }

    pub(super) fn as_ptr(&self) -> *const s3v_row {
        &self.row
    }
}

fn kind(row: &Row) -> i32 {
    match row.kind {
        None if row.upload_id.is_some() => S3V_ROW_UPLOAD,
        None => S3V_ROW_NAME,
        Some(Kind::Full) => S3V_ROW_FULL,
        Some(Kind::Inc) => S3V_ROW_INCREMENTAL,
        Some(Kind::Del) => S3V_ROW_DELETED,
    }
}
