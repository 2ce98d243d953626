//! Errors: one table of codes, and the error type with everything that a person needs to act on it.
//!
//! Every code belongs to one of four families. *Misuse*: the caller asked for something impossible. *Remote*: the store
//! answered, and the answer, or what the store holds, is the problem. *Transport*: no complete answer arrived.
//! *Local*: this machine failed (disk, memory), or the call was cancelled. The table is data: the header's constants,
//! the tables of the other languages and the command's exit codes are generated from it.

use std::fmt;

use crate::text;

/// Which side caused an error, and so what a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Family {
    /// The caller: the same call will fail again.
    Misuse,
    /// The store: it answered, and its answer or its data is the problem.
    Remote,
    /// The connection to the store: no complete answer arrived.
    Transport,
    /// This machine: its files, disks or threads, or a cancelled call.
    Local,
}

/// An entry of the table of error codes.
#[derive(Clone, Copy, Debug)]
pub struct CodeInfo {
    /// The code itself.
    pub code: Code,
    /// Name of its constant in C, for example `S3V_E_BUSY`.
    pub name: &'static str,
    /// Its family.
    pub family: Family,
    /// Exit code of the command.
    pub exit: u8,
    /// What it means, in one sentence.
    pub doc: &'static str,
    /// What to do, unless the error itself carries a more specific hint.
    pub hint: &'static str,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $value:literal, $name:literal, $family:ident, $exit:literal, $hint:literal;)+) => {
        /// The error codes. Numbers are never reused; zero is success.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum Code { $($(#[doc = $doc])+ $variant = $value,)+ }

        /// All codes, in the order of their numbers.
        pub const CODES: &[CodeInfo] = &[$(CodeInfo {
            code: Code::$variant, name: $name, family: Family::$family, exit: $exit,
            doc: concat!($($doc),+), hint: $hint,
        },)+];
    };
}

codes! {
    /// An argument is NULL, not UTF-8, or out of range.
    InvalidArgument = -1, "S3V_E_INVALID_ARGUMENT", Misuse, 2, "Correct the argument that the message names.";
    /// There is no option with this name.
    UnknownOption = -2, "S3V_E_UNKNOWN_OPTION", Misuse, 2, "Check the spelling: the message suggests the nearest option, and s3v_settings_json lists all of them.";
    /// The value of an option is invalid, or two options contradict each other.
    InvalidOption = -3, "S3V_E_INVALID_OPTION", Misuse, 2, "Correct the option that the message names.";
    /// The container or the path is not a valid name.
    InvalidName = -4, "S3V_E_INVALID_NAME", Misuse, 2, "Use 1 to 200 bytes without '/' for the container, and 1 to 700 bytes for the path, each segment 1 to 200; no NUL, '.' or '..'.";
    /// Another call is using the handle.
    Busy = -5, "S3V_E_BUSY", Misuse, 2, "Make one call at a time on this handle, or use one handle per thread.";
    /// The handle's state does not allow this call.
    WrongState = -6, "S3V_E_WRONG_STATE", Misuse, 2, "After commit or abort, only free the handle.";
    /// The process was forked after it had used the library.
    Forked = -7, "S3V_E_FORKED", Misuse, 2, "Open the vault in the child process; in Python, use multiprocessing's 'spawn'.";
    /// The parent of an incremental backup is not a live version of the same container and path.
    BadParent = -8, "S3V_E_BAD_PARENT", Misuse, 2, "Store a full backup instead.";
    /// The keyring cannot be read, or has no signing key.
    Keyring = -9, "S3V_E_KEYRING", Misuse, 2, "Check the keyring file; create one with 's3vault keys new FILE'.";
    /// The object needs a feature that this version of the library does not have.
    Unsupported = -10, "S3V_E_UNSUPPORTED", Misuse, 2, "Use a newer version of s3vault.";
    /// A configuration file cannot be read.
    Config = -11, "S3V_E_CONFIG", Misuse, 2, "Correct the line of the file that the message names.";
    /// No usable credentials were found.
    Credentials = -12, "S3V_E_CREDENTIALS", Misuse, 2, "Check the sources that the message names.";
    /// The file is not a checkpoint, or is the checkpoint of another backup.
    BadCheckpoint = -13, "S3V_E_BAD_CHECKPOINT", Misuse, 2, "Pass the checkpoint of this backup, or remove the file to store the backup from the start.";

    /// The store denies the operation to these credentials.
    AccessDenied = -20, "S3V_E_ACCESS_DENIED", Remote, 4, "Grant the access key the permission for this operation, on the bucket and on its objects.";
    /// The store computed another signature: the secret key is wrong, or the request was changed on the way.
    SignatureRefused = -21, "S3V_E_SIGNATURE_REFUSED", Remote, 4, "Check secret_key; if it is right, check whether a proxy rewrites headers or the path.";
    /// The store does not know the access key.
    UnknownAccessKey = -22, "S3V_E_UNKNOWN_ACCESS_KEY", Remote, 4, "Check access_key and api_url: each key belongs to one store.";
    /// The bucket does not exist.
    NoSuchBucket = -23, "S3V_E_NO_SUCH_BUCKET", Remote, 3, "Check bucket and api_url, or create the bucket with versioning enabled.";
    /// The backup or the version does not exist.
    NotFound = -24, "S3V_E_NOT_FOUND", Remote, 3, "List the versions of this container and path.";
    /// The clocks of this machine and the store differ too much (clock skew).
    ClockSkew = -25, "S3V_E_CLOCK_SKEW", Remote, 4, "Set this machine's clock (NTP).";
    /// The bucket is in another region.
    WrongRegion = -26, "S3V_E_WRONG_REGION", Remote, 4, "Set region to the one that the message names.";
    /// The store was unavailable, or asked to slow down, at every attempt.
    Unavailable = -27, "S3V_E_UNAVAILABLE", Remote, 5, "Try again later.";
    /// The store refused the request for another reason; see S3_CODE.
    Store = -28, "S3V_E_STORE", Remote, 4, "See the store's own message.";
    /// The reply is not a valid S3 reply: a proxy's page, truncated XML, or a wrong length.
    BadReply = -29, "S3V_E_BAD_REPLY", Remote, 1, "Check that api_url is an S3 endpoint, and that no proxy answers in its place.";
    /// The bucket's versioning does not match the vault's mode.
    Versioning = -30, "S3V_E_VERSIONING", Remote, 2, "Enable versioning on the bucket.";
    /// The bucket belongs to another vault, or to another configuration of this one.
    VaultMismatch = -31, "S3V_E_VAULT_MISMATCH", Remote, 2, "Check bucket, mode and vault_id.";
    /// An object of the vault has a format that this version of the library cannot read.
    Format = -32, "S3V_E_FORMAT", Remote, 6, "Use the version of s3vault that wrote it, or a newer one.";
    /// The stored data is damaged: its length or its hash differs from the manifest's.
    Damaged = -33, "S3V_E_DAMAGED", Remote, 6, "Restore another version, and check the store's health.";
    /// The data of a version is missing.
    DataMissing = -34, "S3V_E_DATA_MISSING", Remote, 6, "Restore another version, and find out what deleted the data outside of s3vault.";
    /// A signature is missing, wrong, or made with a key that this vault does not trust.
    Untrusted = -35, "S3V_E_UNTRUSTED", Remote, 6, "Do not trust this object, and look who can write to the bucket. Restore another version, or from a replica.";
    /// The newest version is dated more than an hour in the future.
    FutureVersion = -36, "S3V_E_FUTURE_VERSION", Remote, 1, "Delete that version (it was written by a machine whose clock was wrong), or wait.";
    /// The put was abandoned: its version was marked as deleted, another process took it over, or its upload is gone or
    /// can no longer be completed.
    Abandoned = -37, "S3V_E_ABANDONED", Remote, 1, "Store the backup again.";
    /// It is unknown whether the store has the object: the last request was not answered.
    OutcomeUnknown = -38, "S3V_E_OUTCOME_UNKNOWN", Remote, 7, "Call commit again on the same handle, or run the same put again with its checkpoint.";
    /// The manifest's hash differs from the pin.
    PinMismatch = -39, "S3V_E_PIN_MISMATCH", Remote, 6, "Do not trust this version: it was replaced after the pin was recorded.";
    // -40 is retired: it was S3V_E_EXPIRED, which no call returned.
    /// More than one version fits what was asked for.
    Ambiguous = -41, "S3V_E_AMBIGUOUS", Remote, 2, "Give the version id of one of the versions that the message names.";
    /// The version cannot be deleted: an incremental depends on it.
    HasDependents = -42, "S3V_E_HAS_DEPENDENTS", Remote, 2, "Delete the incrementals that the message names first, the newest of them at the start.";
    /// The version cannot be deleted: it has the label hold, or its data is locked.
    Held = -43, "S3V_E_HELD", Remote, 4, "Wait until the lock ends; the label hold stays as long as the version.";
    /// Nothing was done: the request expired before the store accepted it.
    NotDone = -44, "S3V_E_NOT_DONE", Remote, 5, "Make the same call again.";
    /// The newest version is older than one that this machine has seen before, or was replaced since.
    RolledBack = -45, "S3V_E_ROLLED_BACK", Remote, 6, "Do not trust the store's state: versions were removed or hidden by somebody without the vault's key. Look who can write to the bucket.";
    /// The key is not the one that the data is encrypted with, or it is missing, or the data is not encrypted.
    WrongKey = -46, "S3V_E_WRONG_KEY", Remote, 4, "Open the vault with the keyring that has the key; 's3vault keys list FILE' shows which keys a keyring has.";

    /// The host name of api_url, or of the proxy, does not resolve.
    Resolve = -50, "S3V_E_RESOLVE", Transport, 5, "Check api_url (and proxy, if it is set) and this machine's DNS.";
    /// The connection was refused or could not be established.
    Connect = -51, "S3V_E_CONNECT", Transport, 5, "Check the host and port of api_url (and of proxy, if it is set), and firewalls.";
    /// The store's certificate is not trusted.
    Certificate = -52, "S3V_E_CERTIFICATE", Transport, 5, "Do what the message says about the certificate; ca_file helps only if no trusted CA signed it.";
    /// The store did not answer in time.
    TimedOut = -53, "S3V_E_TIMED_OUT", Transport, 5, "Check the network; idle_timeout_ms and connect_timeout_ms set the limits.";
    /// The connection was lost.
    ConnectionLost = -54, "S3V_E_CONNECTION_LOST", Transport, 5, "Check the network, and that an S3 store answers at api_url.";
    /// The proxy refused: it requires a user and a password, or does not allow connections to this store.
    Proxy = -55, "S3V_E_PROXY", Transport, 5, "Check the option proxy (its user and password), and whether the proxy allows the host and port of api_url.";

    /// A local file cannot be read or written.
    Io = -70, "S3V_E_IO", Local, 1, "Check the file that the message names, its folder and its disk, or use another one.";
    /// The disk is full.
    DiskFull = -71, "S3V_E_DISK_FULL", Local, 1, "Free some space, or restore to another disk.";
    /// The source changed while it was being stored.
    SourceChanged = -72, "S3V_E_SOURCE_CHANGED", Local, 1, "Store from a snapshot, stop the program that writes to the source, or set source = live to store what was read.";
    /// The call was cancelled.
    Cancelled = -73, "S3V_E_CANCELLED", Local, 1, "";
    /// The caller's callback asked to stop.
    Stopped = -74, "S3V_E_STOPPED", Local, 1, "";
    /// There is a defect in the library.
    Internal = -75, "S3V_E_INTERNAL", Local, 1, "Report this message to the developers of s3vault; the vault itself is not affected.";
    /// The put was suspended; its checkpoint says where to resume it.
    Suspended = -76, "S3V_E_SUSPENDED", Local, 1, "Open the put again with the same checkpoint to resume it.";
    /// The caller's function could not wrap or unwrap a data key, or returned something else.
    ExternalKey = -77, "S3V_E_EXTERNAL_KEY", Local, 1, "Check the key management service or the HSM, and that this process may use its key. If it works and the message names a version, restore another version, or from a replica.";
}

impl Code {
    /// The entry of the table for this code.
    pub fn info(self) -> &'static CodeInfo {
        // The table has every variant (a test checks it), so the fallback to the first entry is never used.
        CODES.iter().find(|row| row.code == self).unwrap_or(&CODES[0])
    }
}

/// What failed and why: the operation, the object, the store's answer, and a hint.
///
/// Every text of it is presentable ([`text`]), no matter who wrote it: on one line, without escape sequences, and bounded.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    code: Code,
    message: String,
    hint: Option<String>,
    status: u16,
    s3_code: String,
    request_id: String,
    operation: &'static str,
    bucket: String,
    key: String,
    retryable: bool,
    maybe_sent: bool,
    expired: bool,
}

/// Result of the fallible functions of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with this code. `message` says what failed and why.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            code,
            message: text::line(message.into()),
            hint: None,
            status: 0,
            s3_code: String::new(),
            request_id: String::new(),
            operation: "",
            bucket: String::new(),
            key: String::new(),
            retryable: false,
            maybe_sent: false,
            expired: false,
        }))
    }

    /// Sets a hint that is more specific than the one of the code.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(text::line(hint.into()));
        self
    }

    /// Sets the operation that failed, and its bucket and key.
    #[must_use]
    pub fn on(mut self, operation: &'static str, bucket: &str, key: &str) -> Error {
        self.0.operation = operation;
        self.0.bucket = text::presentable_key(bucket);
        self.0.key = text::presentable_key(key);
        self
    }

    /// Sets the store's answer: HTTP status, S3 error code, and request id (empty if the reply has none).
    #[must_use]
    pub fn with_reply(mut self, status: u16, s3_code: &str, request_id: &str) -> Error {
        self.0.status = status;
        self.0.s3_code = text::presentable(s3_code);
        self.0.request_id = text::presentable(request_id);
        self
    }

    /// Marks the error as one after which the same request may succeed.
    #[must_use]
    pub fn retryable(mut self) -> Error {
        self.0.retryable = true;
        self
    }

    /// Sets whether the request may have taken effect although it failed.
    #[must_use]
    pub fn maybe_sent(mut self, yes: bool) -> Error {
        self.0.maybe_sent = yes;
        self
    }

    /// Marks the error of a dated request as due to its age: the same request must not be sent again.
    pub(crate) fn expired(mut self) -> Error {
        self.0.expired = true;
        self
    }

    /// Replaces the code; the message and the store's answer stay.
    #[must_use]
    pub fn recode(mut self, code: Code) -> Error {
        self.0.code = code;
        self.0.expired = false;
        self
    }

    /// Prefixes the message with what was being done.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Error {
        self.0.message = text::line(format!("{doing}: {}", self.0.message));
        self
    }

    /// Appends text to the message.
    #[must_use]
    pub fn append(mut self, more: &str) -> Error {
        self.0.message.push_str(more);
        self.0.message = text::line(self.0.message);
        self
    }

    /// Appends that `doing`, which was tried as a remedy, failed too, and why.
    #[must_use]
    pub fn and_then_failed(self, doing: &str, why: &Error) -> Error {
        let more = format!("; {doing} failed: {}", why.message());
        let hint = why.hint().to_owned();
        let e = self.append(&more);
        if hint.is_empty() { e } else { e.with_hint(hint) }
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The family of the code.
    pub fn family(&self) -> Family {
        self.0.code.info().family
    }

    /// What failed and why.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do; empty if there is nothing to do.
    pub fn hint(&self) -> &str {
        self.0.hint.as_deref().unwrap_or(self.0.code.info().hint)
    }

    /// HTTP status of the store's reply; 0 if there was no reply.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// S3's own error code, for example `NoSuchKey`; empty if the reply has none.
    pub fn s3_code(&self) -> &str {
        &self.0.s3_code
    }

    /// The store's request id, for the store's support; empty if the reply has none.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The S3 operation, for example `PutObject`; empty if the error is not about a request.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The bucket; empty if the error is not about one.
    pub fn bucket(&self) -> &str {
        &self.0.bucket
    }

    /// The object key; empty if the error is not about an object.
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Whether the request may have taken effect although it failed.
    pub fn is_maybe_sent(&self) -> bool {
        self.0.maybe_sent
    }

    /// Whether a dated request failed because of its age: it is older than the store accepts, and is not sent again.
    pub fn is_expired(&self) -> bool {
        self.0.expired
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if !self.hint().is_empty() {
            write!(f, " ({})", self.hint())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.0.code.info().name)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Numbers that had a code in an earlier version.
    const RETIRED: &[i32] = &[-40];

    #[test]
    fn numbers_and_names_are_unique_and_every_code_finds_its_entry() {
        for (n, row) in CODES.iter().enumerate() {
            assert_eq!(row.code.info().name, row.name);
            assert!((row.code as i32) < 0 && row.name.starts_with("S3V_E_"));
            if let Some(next) = CODES.get(n + 1) {
                assert!((next.code as i32) < row.code as i32, "{} after {}", next.name, row.name);
            }
            assert!(CODES.iter().filter(|other| other.name == row.name).count() == 1);
            assert!(!RETIRED.contains(&(row.code as i32)), "{} reuses a retired number", row.name);
        }
    }

    #[test]
    fn an_error_without_a_hint_of_its_own_shows_the_hint_of_its_code() {
        let e = Error::new(Code::NoSuchBucket, "HeadBucket on s3://b: 404");
        assert_eq!(e.to_string(), format!("HeadBucket on s3://b: 404 ({})", Code::NoSuchBucket.info().hint));
    }
}
