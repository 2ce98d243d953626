//! Lists
//!
//!     while ((rc = s3v_list_next(list, NULL, &row, &err)) > 0)
//!         puts(row->vid);

use std::ffi::c_char;

use crate::vault::List;

use super::boundary::{Exclusive, hold, new_handle, output, release, text, text_or_none};
use super::config::options;
use super::ctl::with_control;
use super::row::OwnedRow;
use super::{S3V_OK, s3v_config, s3v_ctl, s3v_error, s3v_row, s3v_vault, s3v_version};

/// A list that is read row by row. One call at a time, from any thread (S3V_E_BUSY otherwise). It keeps the vault
/// alive. The caller frees it with s3v_list_free.
pub struct s3v_list(Exclusive<Rows>);

struct Rows {
    list: List,
    /// The row that the caller was given last.
    row: Option<Box<OwnedRow>>,
}

impl s3v_list {
    fn new_handle(list: List) -> *mut s3v_list {
        new_handle(s3v_list(Exclusive::new(Rows { list, row: None })))
    }
}

/// Lists the versions of `path` in `container`, newest first. If `path` is NULL, lists the versions of all paths in the
/// container; if `container` is NULL too, those of all containers.
///
/// Options: with S3V_OPT_AS_OF, one row for each path: the newest version recorded at or before that time, and none for
/// a path that was deleted then. With S3V_OPT_LABEL, only versions that were stored with this label; the manifest of
/// each version is read for that.
///
/// What hides a version (a deletion) counts only if its signature verifies, if the vault trusts a key; what does not is
/// reported as S3V_EVENT_LOG and ignored. Otherwise rows are not verified: s3v_version_find does that.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_list_versions(
    vault: *mut s3v_vault,
    container: *const c_char,
    path: *const c_char,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_list,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(vault, "vault")?;
        let (container, path) = (text_or_none(container, "container")?, text_or_none(path, "path")?);
        let settings = self::options(options)?;
        let out = output(out, "out")?;
        *out = s3v_list::new_handle(with_control(ctl, |_| vault.0.versions(container, path, &settings))?);
        Ok(S3V_OK)
    })
}

/// Lists the containers by name. The rows are only names (S3V_ROW_NAME). There are no options yet: pass NULL. If each
/// container has a bucket of its own, the access key needs s3:ListAllMyBuckets.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_list_containers(
    vault: *mut s3v_vault,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_list,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(vault, "vault")?;
        let settings = self::options(options)?;
        let out = output(out, "out")?;
        *out = s3v_list::new_handle(with_control(ctl, |_| vault.0.containers(&settings))?);
        Ok(S3V_OK)
    })
}

/// Lists the paths of a container that start with `prefix` (NULL for all), one row for each: its newest visible
/// version. Options: S3V_OPT_AS_OF and S3V_OPT_LABEL, as for s3v_list_versions.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_list_paths(
    vault: *mut s3v_vault,
    container: *const c_char,
    prefix: *const c_char,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_list,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(vault, "vault")?;
        let (container, prefix) = (text(container, "container")?, text_or_none(prefix, "prefix")?);
        let settings = self::options(options)?;
        let out = output(out, "out")?;
        *out = s3v_list::new_handle(with_control(ctl, |_| vault.0.paths(container, prefix, &settings))?);
        Ok(S3V_OK)
    })
}

/// Lists the multipart uploads in progress at keys of the vault's data (S3V_ROW_UPLOAD): those of puts that are
/// running, and what puts that were killed left. The rows have container, path, upload_id and initiated_ms; the version
/// id where the key tells it; and no size. There are no options yet: pass NULL. Some stores (MinIO) list uploads only
/// of a whole key, so that this finds none. It needs s3:ListBucketMultipartUploads.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_list_uploads(
    vault: *mut s3v_vault,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_list,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(vault, "vault")?;
        let settings = self::options(options)?;
        let out = output(out, "out")?;
        *out = s3v_list::new_handle(with_control(ctl, |_| vault.0.uploads(&settings))?);
        Ok(S3V_OK)
    })
}

/// Lists what has to be restored for `version`, in order: the full backup first, then each incremental up to `version`.
/// Each manifest is verified. A version that was deleted and is still needed is part of it.
///
/// Fails with S3V_E_DATA_MISSING, which names the version that is missing, and with S3V_E_UNTRUSTED.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_list_chain(
    version: *mut s3v_version,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_list,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let version = hold(version, "version")?;
        let out = output(out, "out")?;
        *out = s3v_list::new_handle(with_control(ctl, |control| version.version.chain(control))?);
        Ok(S3V_OK)
    })
}

/// Reads the next row: returns 1 and writes `row`, which is valid until the next call on `list`; returns 0 at the end,
/// and does not write `row`. It fetches rows from the store as needed. After a failure it may be called again.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_list_next(
    list: *mut s3v_list,
    ctl: *const s3v_ctl,
    row: *mut *const s3v_row,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let list = hold(list, "list")?;
        let out = output(row, "row")?;
        let mut rows = list.0.enter("list")?;
        let Some(next) = with_control(ctl, |control| rows.list.next(control))? else {
            return Ok(S3V_OK);
        };
        *out = rows.row.insert(Box::new(OwnedRow::new(&next))).as_ptr();
        Ok(1)
    })
}

/// Frees a list. Accepts NULL.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_list_free(list: *mut s3v_list) {
    // SAFETY: the caller's promise.
    unsafe { release(list) }
}
