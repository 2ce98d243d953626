//! Lists
//!
//!     while ((rc = s3v_list_next(list, NULL, &row, &err)) > 0)
//!         puts(row->vid);

use std::ffi::c_char;

use crate::vault::List;

use super::boundary::{Exclusive, give, hold, output, release, text, text_or_none};
use super::config::options;
use super::ctl::controlled;
use super::row::OwnedRow;
use super::{S3V_OK, s3v_config, s3v_ctl, s3v_error, s3v_row, s3v_vault};

/// A list that is read row by row. One call at a time, from any thread (S3V_E_BUSY otherwise). It keeps the vault alive.
/// The caller frees it with s3v_list_free.
pub struct s3v_list(Exclusive<Rows>);

struct Rows {
    list: List,
    /// The row that the caller was given last.
    row: Option<Box<OwnedRow>>,
}

impl s3v_list {
    fn give(list: List) -> *mut s3v_list {
        give(s3v_list(Exclusive::new(Rows { list, row: None })))
    }
}

/// Lists the versions of `path` in `container`, newest first; with a NULL path those of all paths of the container, with
/// a NULL container those of all containers. There are no options yet: pass NULL.
///
/// # Safety
/// `v` is a live vault; `container` and `path` are NULL or NUL-terminated; `options` is NULL or live; `ctl` is NULL or as
/// its type says; `out` may be written; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_list_versions(
    v: *mut s3v_vault,
    container: *const c_char,
    path: *const c_char,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_list,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(v, "v")?;
        let (container, path) = (text_or_none(container, "container")?, text_or_none(path, "path")?);
        let settings = self::options(options)?;
        let out = output(out, "out")?;
        *out = s3v_list::give(controlled(ctl, |_| vault.0.versions(container, path, &settings))?);
        Ok(S3V_OK)
    })
}

/// Lists the containers, by name. Rows are names only (S3V_ROW_NAME). There are no options yet: pass NULL.
///
/// # Safety
/// `v` is a live vault; `options` is NULL or live; `ctl` is NULL or as its type says; `out` may be written; `err` is NULL
/// or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_list_containers(
    v: *mut s3v_vault,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_list,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(v, "v")?;
        let settings = self::options(options)?;
        let out = output(out, "out")?;
        *out = s3v_list::give(controlled(ctl, |_| vault.0.containers(&settings))?);
        Ok(S3V_OK)
    })
}

/// Lists the paths of a container whose names begin with `prefix` (NULL for all), one row for each: its newest visible
/// version. There are no options yet: pass NULL.
///
/// # Safety
/// `v` is a live vault; `container` is NUL-terminated; `prefix` is NULL or NUL-terminated; `options` is NULL or live;
/// `ctl` is NULL or as its type says; `out` may be written; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_list_paths(
    v: *mut s3v_vault,
    container: *const c_char,
    prefix: *const c_char,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_list,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(v, "v")?;
        let (container, prefix) = (text(container, "container")?, text_or_none(prefix, "prefix")?);
        let settings = self::options(options)?;
        let out = output(out, "out")?;
        *out = s3v_list::give(controlled(ctl, |_| vault.0.paths(container, prefix, &settings))?);
        Ok(S3V_OK)
    })
}

/// The next row: returns 1 and writes `row`, which is valid until the next call on `l`; 0 at the end, where `row` is not
/// written. It asks the store as it goes on. After a failure it may be called again.
///
/// # Safety
/// `l` is a live list; `ctl` is NULL or as its type says; `row` may be written; `err` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_list_next(
    l: *mut s3v_list,
    ctl: *const s3v_ctl,
    row: *mut *const s3v_row,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let list = hold(l, "l")?;
        let place = output(row, "row")?;
        let mut rows = list.0.enter("list")?;
        let Some(next) = controlled(ctl, |control| rows.list.next(control))? else {
            return Ok(S3V_OK);
        };
        *place = rows.row.insert(Box::new(OwnedRow::new(&next))).as_ptr();
        Ok(1)
    })
}

/// Frees a list. NULL is taken.
///
/// # Safety
/// `l` is NULL or a list that was not freed, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_list_free(l: *mut s3v_list) {
    // SAFETY: the caller's promise.
    unsafe { release(l) }
}
