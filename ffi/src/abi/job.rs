//! Deletion, retention, adoption and verification
//!
//! A deletion hides first and frees later. s3v_delete hides a backup, and s3v_undelete takes that back.
//! s3v_version_delete and s3v_prune hide single versions by a marker in the bucket. Only a prune or a sweep that
//! runs when the marker is at least half an hour old frees the space, since until then a request that was delayed on
//! its way may still arrive. So run s3v_prune and s3v_sweep regularly, once a day for example:
//!
//!     rc = s3v_prune(vault, NULL, &ctl, &report, &err);
//!     rc = s3v_sweep(vault, NULL, &ctl, &report, &err);
//!
//! While they run, a job reports each version that it looks at as an event S3V_EVENT_ITEM, whose text is an object
//! in JSON on one line:
//!
//!   action       keep: it stays. delete: it was hidden; a later job frees it. free: its data was removed.
//!                suspect: a put that was abandoned was marked; a later job removes what it left. wait: it is too
//!                early, or something else goes first. refused: the store refused to delete it, because of a lock or
//!                a missing permission; a later job tries again. problem: something is wrong with it, and nothing was
//!                changed. adopt: an object of another program was made a version. abort: an upload that the version
//!                does not need was aborted, and the version stays. rotate: its data key was wrapped with the
//!                current key-encryption key. rekey: its data was copied under a new data key. leave: it stays
//!                under its data key, since only a new backup can have another one
//!   dry_run      whether it only says what would be done
//!   container, path, vid, kind, recorded
//!                the version. vid is null if the whole backup is meant; kind is "full", "inc" or "del", or null if
//!                it is not known; recorded is a time as RFC 3339 in UTC, or null
//!   bytes        its size; for what was freed, the bytes that it took in the store
//!   reason       why
//!   text         all of it in a sentence
//!
//! Backups come in the order of the catalogue, the items of a backup in the order in which it was decided what to do
//! with them; those of an adoption as its requests end. None is lost. The report is an object in JSON: dry_run; the
//! numbers backups and versions that were looked at, kept, deleted, freed, suspected, waiting, adopted, aborted,
//! rotated, rekeyed, left and problems; deleted_bytes, the size of what was hidden; freed_bytes, what was freed in the
//! store; rekeyed_bytes, what was copied there; and problem_texts, the first hundred problems. In a dry run they say
//! what would be done.
//!
//! A job may be stopped at any point, and run again: it continues, and what it has done stays done. Several may run
//! at the same time, also beside puts. It removes only objects that the vault wrote: those whose entry in the
//! catalogue is signed by a trusted key. A vault without a keyring deletes nothing.
//!
//! The access key needs s3:ListBucket, s3:GetObject and s3:PutObject for s3v_delete, s3v_undelete and
//! s3v_version_delete. Jobs also need s3:ListBucketVersions, s3:GetObjectVersion, s3:DeleteObject,
//! s3:DeleteObjectVersion, s3:GetBucketVersioning, s3:ListBucketMultipartUploads, s3:ListMultipartUploadParts and
//! s3:AbortMultipartUpload.

use std::ffi::c_char;

use s3vault_core::Result;
use s3vault_core::settings::Settings;

use crate::control::Control;
use crate::vault::{Report, Vault, VerifyReport, Version};

use super::boundary::{hold, output, text};
use super::config::options;
use super::ctl::with_control;
use super::{S3V_OK, s3v_bytes, s3v_config, s3v_ctl, s3v_error, s3v_vault, s3v_version};

/// Deletes a version: it is no longer listed or found. Its space is freed by a prune or a sweep that runs at least
/// half an hour later. There is no way to take it back. There are no options yet: pass NULL.
///
/// Fails with S3V_E_HAS_DEPENDENTS if an incremental backup needs the version, also one that is still being stored:
/// delete that first. Fails with S3V_E_HELD if the version has the label hold or its data is locked, with
/// S3V_E_NOT_FOUND if it was freed already, with S3V_E_KEYRING if the vault trusts keys and was opened without a
/// keyring, and with the errors of the store. Deleting a version again changes nothing.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_version_delete(
    version: *mut s3v_version,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let version = hold(version, "version")?;
        let settings = self::options(options)?;
        with_control(ctl, |control| version.version.delete(&settings, control))?;
        Ok(S3V_OK)
    })
}

/// Deletes a backup: from now on it has no newest version, and s3v_version_find answers S3V_E_NOT_FOUND. It frees
/// nothing: the versions stay, and can be found by their id and by time, until the retention lets them go;
/// s3v_undelete takes the deletion back, and a later put stores a new version. `out` receives the version of kind
/// S3V_ROW_DELETED that records the deletion.
///
/// Fails with S3V_E_NOT_FOUND if there is no such backup or it is deleted already, with S3V_E_NOT_DONE if the store
/// answered too late for the deletion to count (nothing was changed: call it again), with S3V_E_KEYRING if the vault
/// trusts keys and was opened without a keyring, and with the errors of the store.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_delete(
    vault: *mut s3v_vault,
    container: *const c_char,
    path: *const c_char,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_version,
    err: *mut *mut s3v_error,
) -> i32 {
    // SAFETY: the caller's promise.
    boundary!(err, { backup(vault, container, path, ctl, out, Vault::delete) })
}

/// Takes the newest deletion of a backup back: the version before it is the newest again. `out` receives that
/// version.
///
/// Fails with S3V_E_NOT_FOUND if the backup is not deleted or none of its versions is left, with S3V_E_KEYRING as
/// s3v_delete does, and with the errors of the store.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_undelete(
    vault: *mut s3v_vault,
    container: *const c_char,
    path: *const c_char,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_version,
    err: *mut *mut s3v_error,
) -> i32 {
    // SAFETY: the caller's promise.
    boundary!(err, { backup(vault, container, path, ctl, out, Vault::undelete) })
}

/// # Safety
/// The conventions of the header hold.
unsafe fn backup(
    vault: *mut s3v_vault,
    container: *const c_char,
    path: *const c_char,
    ctl: *const s3v_ctl,
    out: *mut *mut s3v_version,
    call: impl FnOnce(&Vault, &str, &str, &mut Control<'_>) -> Result<Version>,
) -> Result<i32> {
    // SAFETY: the caller's promise.
    unsafe {
        let vault = hold(vault, "vault")?;
        let (container, path) = (text(container, "container")?, text(path, "path")?);
        let out = output(out, "out")?;
        *out = s3v_version::new_handle(with_control(ctl, |control| call(&vault.0, container, path, control))?);
    }
    Ok(S3V_OK)
}

/// Hides the versions that the retention lets go, and frees the space of what was hidden at least half an hour ago.
/// Which versions go is decided by S3V_OPT_RETENTION_FULL_VERSIONS and the like, in `options` or else in the
/// configuration of the vault; without any limit it fails (S3V_E_INVALID_OPTION). A version that another needs stays
/// as long as that one does. With S3V_OPT_DRY_RUN it only says what it would do. `report` receives the report.
///
/// Fails with S3V_E_CLOCK_SKEW if the clocks of this machine and the store differ by more than five minutes, since
/// then ages mean nothing, and with the errors of the store. What is refused for a single backup is a problem in the
/// report, and the job continues.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_prune(
    vault: *mut s3v_vault,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    report: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    // SAFETY: the caller's promise.
    boundary!(err, { job(vault, options, ctl, report, Vault::prune, Report::to_json) })
}

/// Marks what puts left that crashed and were not resumed within S3V_OPT_GRACE, and frees the space of what was
/// marked or hidden at least half an hour ago. It needs no retention. `report` receives the report.
///
/// Fails with the errors of the store. What is refused for a single backup is a problem in the report, and the job
/// continues.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_sweep(
    vault: *mut s3v_vault,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    report: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    // SAFETY: the caller's promise.
    boundary!(err, { job(vault, options, ctl, report, Vault::sweep, Report::to_json) })
}

/// Wraps the data keys of the stored versions with the keyring's current key-encryption key (s3v_keyring_activate),
/// and removes what was wrapped with another. Their data stays as it is, and every version can be read at every moment
/// by those who have both keys. Versions that are not encrypted with a data key stay as they are; a backup that is being
/// stored is left to the next rotation. With S3V_OPT_DRY_RUN it only says what it would do. `report` receives the
/// report, whose number rotated says how many versions that was done for.
///
/// Run it again until it rotates nothing: then no version needs another key, and s3v_retire can drop the old one. This
/// does not help against somebody who has an old key and has read the bucket before: s3v_rekey does.
///
/// Fails with S3V_E_KEYRING if the vault was opened without a keyring, or its keyring has no key-encryption key, and
/// with the errors of the store. A version that none of the keyring's keys opens is a problem in the report.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_rotate(
    vault: *mut s3v_vault,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    report: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    // SAFETY: the caller's promise.
    boundary!(err, { job(vault, options, ctl, report, Vault::rotate, Report::to_json) })
}

/// Replaces the data keys of stored versions that the store encrypts with them (encryption = sse-c), so that
/// neither a data key nor a key-encryption key that leaked opens the data: make a new key-encryption key current
/// first, as for s3v_rotate. The store copies the data of each version under a new data key; the copy is read whole
/// and compared with the hashes of its manifest, and only then it is the version's data. Every version can be read
/// at every moment by those who have both keys. All versions, those of S3V_OPT_CONTAINER, of one backup
/// (S3V_OPT_PATH), or one version (S3V_OPT_VERSION). `report` receives the report: rekeyed, the number of versions
/// that were copied, and rekeyed_bytes.
///
/// The data from before, which the old keys open, stays for S3V_OPT_GRACE, since somebody may be reading it. Call
/// this or s3v_sweep again then: they remove it (freed, freed_bytes). Until then the data takes twice its space. A
/// version whose data key was made with the current key-encryption key stays as it is, so a call that was stopped
/// can be made again, and continues. With S3V_OPT_DRY_RUN it only says what it would do.
///
/// Some stores do not copy data that they encrypt in this way, Ceph for example. There each version is a problem in the
/// report, which says how many bytes it has. With S3V_OPT_THROUGH_CLIENT they pass through this machine: it reads the
/// data with the old key and sends it with the new one, in pieces of 8 MiB, or of 1/10,000 of an object above 80 GiB.
/// At most 32 MiB of them are in memory for each bucket, or one piece if that is longer. A call after one that was
/// stopped does not send again what the store has.
///
/// Versions that were encrypted on this side (encryption = envelope) are not copied: the report counts them as
/// left. Only new backups have new data keys.
///
/// Fails with S3V_E_UNSUPPORTED if the current key-encryption key is in a KMS or an HSM, from which no data key can
/// be derived; with S3V_E_KEYRING as s3v_rotate does; and with the errors of the store. A copy that differs is a
/// problem in the report, and changes nothing.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_rekey(
    vault: *mut s3v_vault,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    report: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    // SAFETY: the caller's promise.
    boundary!(err, { job(vault, options, ctl, report, Vault::rekey, Report::to_json) })
}

/// Retires the key-encryption key (KEK) `kek` of the keyring with which the vault was opened, after s3v_rotate: makes
/// sure that nothing in the vault needs it, and drops it from the keyring and its file. A keyring that is in memory
/// only gives its new content with s3v_keyring_bytes, as long as its handle was not freed.
///
/// The first call closes the KEK: it writes a marker into each bucket of the vault, and no put wraps a data key with
/// the KEK any more. Call it again at the time that the report names, which is an hour later, or more where the store
/// accepts older requests: by then every put from before has ended, and the call looks for what needs the KEK. If
/// nothing does, it is retired. If each container has a bucket of its own, end the programs that opened the keyring
/// while the KEK was current before the first call: they could still make a bucket for a new container.
///
/// `report` receives an object in JSON: kek; state, which is "waiting" (call it again at wait_until), "needed" (call
/// s3v_rotate first) or "retired"; wait_until, a time of the store as RFC 3339 in UTC, or null; needed, the number of
/// locators that need the KEK; and first, the keys of the first ten of them. Retiring a KEK again changes nothing.
///
/// A retired KEK does not come back: the keyring keeps its id, and neither another process that still has the KEK nor
/// s3v_keyring_import adds it again. Use a keyring for one vault only: a KEK that another vault needs is not known
/// here.
///
/// Fails with S3V_E_KEYRING if the KEK is current, the keyring never had it (the hint names those that it has), or the
/// vault was opened without a keyring; as s3v_keyring_add; and with the errors of the store, also if a bucket that may
/// be the vault's cannot be read. If it fails, the keyring still has the KEK.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_retire(
    vault: *mut s3v_vault,
    kek: *const c_char,
    ctl: *const s3v_ctl,
    report: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    boundary!(err, {
        let vault = hold(vault, "vault")?;
        let kek = text(kek, "kek")?;
        let out = output(report, "report")?;
        let done = with_control(ctl, |control| vault.0.retire(vault.keys()?, kek, control))?;
        *out = s3v_bytes::new_handle(done.to_json().into_bytes());
        Ok(S3V_OK)
    })
}

/// Makes versions of what other programs wrote into a bucket of the vault as `container/path`, without moving or
/// copying it: each object, in a bucket with versioning each version of it, and each delete marker. It is repeatable:
/// what is adopted already is left as it is, and what the vault wrote itself is not touched. A name that a vault does
/// not accept is a problem in the report. Deleting an adopted version later removes that object, and nothing else.
///
/// Without S3V_OPT_HASH nothing is read, and the version has no hashes: a restore compares size and ETag, and the MD5
/// where the store's ETag is one, and says so in a log event. With S3V_OPT_DRY_RUN it only says what it would do.
/// If each container has a bucket of its own, only these buckets can be adopted (S3V_OPT_ADOPT_BUCKETS).
///
/// An object that is encrypted with a customer key (SSE-C) is adopted if S3V_OPT_ADOPT_KEYS names a file with its key,
/// which the version then has as its data key, wrapped with the keyring's current key-encryption key. One that the key
/// does not open, or for which the file has none, is a problem in the report.
///
/// `report` receives the report, whose number adopted says how many versions were made.
///
/// Fails with S3V_E_VERSIONING if the bucket does not fit the vault's mode, with S3V_E_VAULT_MISMATCH if it is another
/// vault's, with S3V_E_KEYRING if the vault trusts keys and was opened without a keyring, or if a file with keys is
/// given and the keyring has no key-encryption key that is current, with S3V_E_INVALID_OPTION or S3V_E_IO if that file
/// cannot be used (a bad line is named by its number), and with the errors of the store. Besides the permissions of jobs
/// it needs s3:GetObject for the data.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_adopt(
    vault: *mut s3v_vault,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    report: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    // SAFETY: the caller's promise.
    boundary!(err, { job(vault, options, ctl, report, Vault::adopt, Report::to_json) })
}

/// Verifies all versions that are listed, or those of S3V_OPT_CONTAINER and S3V_OPT_PATH, or a sample of them
/// (S3V_OPT_SAMPLE, S3V_OPT_SAMPLE_SEED), several at a time: each manifest, locator and all data, as s3v_get_verify
/// does. Each version is an event S3V_EVENT_ITEM whose text is the report of s3v_get_verify, on one line. With
/// S3V_OPT_STATE, a run that was stopped continues where it was.
///
/// A version that is hidden is verified too if one that is listed builds on it, since a restore needs it.
///
/// `report` receives an object in JSON: versions, the number that was looked at; hidden, how many of them are not
/// listed but needed by one that is; chosen, that of the sample; resumed, how many of these an earlier run had
/// verified; sample and sample_seed; the numbers good, damaged, missing, untrusted and unverifiable; bytes, which
/// were read and are right; and not_good, the reports of the first hundred versions that are not good.
///
/// A version that is bad is no error: look at damaged, missing and untrusted. The call fails with the errors of the
/// store.
///
/// Since: 0.1.
///
/// # Safety
/// The conventions of the header hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3v_verify(
    vault: *mut s3v_vault,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    report: *mut *mut s3v_bytes,
    err: *mut *mut s3v_error,
) -> i32 {
    // SAFETY: the caller's promise.
    boundary!(err, { job(vault, options, ctl, report, Vault::verify, VerifyReport::to_json) })
}

/// # Safety
/// The conventions of the header hold.
unsafe fn job<R>(
    vault: *mut s3v_vault,
    options: *const s3v_config,
    ctl: *const s3v_ctl,
    report: *mut *mut s3v_bytes,
    run: impl FnOnce(&Vault, &Settings, &mut Control<'_>) -> Result<R>,
    to_json: impl FnOnce(&R) -> String,
) -> Result<i32> {
    // SAFETY: the caller's promise.
    unsafe {
        let vault = hold(vault, "vault")?;
        let settings = self::options(options)?;
        let out = output(report, "report")?;
        let done = with_control(ctl, |control| run(&vault.0, &settings, control))?;
        *out = s3v_bytes::new_handle(to_json(&done).into_bytes());
    }
    Ok(S3V_OK)
}
