//! Errors: one table of codes, and the error that carries what a person needs.
//!
//! Four families never mix. *Misuse*: the caller asked for something that cannot be. *Remote*: the store
//! answered, and the answer (or what it holds) is the trouble. *Transport*: no answer came. *Local*: this
//! machine (its disk, its memory, a cancel). The table is data: the header's constants, the tables of other
//! languages and the command's exit codes are made from it.

use std::fmt;

/// Who is at fault, and so what a caller may do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Family {
    /// The caller: the same call fails again.
    Misuse,
    /// The store: it answered.
    Remote,
    /// The way to the store: no answer, or none that is whole.
    Transport,
    /// This machine: files, threads, a cancel.
    Local,
}

/// A row of the table of codes.
#[derive(Clone, Copy, Debug)]
pub struct CodeInfo {
    /// The code itself.
    pub code: Code,
    /// Its constant in C, for example `S3V_E_BUSY`.
    pub name: &'static str,
    /// Its family.
    pub family: Family,
    /// Exit code of the command.
    pub exit: u8,
    /// What it means, in one sentence.
    pub doc: &'static str,
    /// What helps, where the error itself does not know better.
    pub hint: &'static str,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $value:literal, $name:literal, $family:ident, $exit:literal, $hint:literal;)+) => {
        /// The codes. Numbers are never reused; zero is success.
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
    InvalidArgument = -1, "S3V_E_INVALID_ARGUMENT", Misuse, 2, "Look at the argument that the message names.";
    /// There is no option of this name.
    UnknownOption = -2, "S3V_E_UNKNOWN_OPTION", Misuse, 2, "The message names the nearest option; s3v_settings_json lists all.";
    /// An option's value cannot be used, or options contradict each other.
    InvalidOption = -3, "S3V_E_INVALID_OPTION", Misuse, 2, "Correct the option that the message names.";
    /// The container or path is not a name that a vault takes.
    InvalidName = -4, "S3V_E_INVALID_NAME", Misuse, 2, "Container: 1 to 200 bytes without '/'. Path: 1 to 700 bytes, each segment 1 to 200. No NUL, no '.' or '..'.";
    /// The handle is in use by another call.
    Busy = -5, "S3V_E_BUSY", Misuse, 2, "One call at a time on this handle; use a handle for each thread.";
    /// The call does not fit what the handle has done so far.
    WrongState = -6, "S3V_E_WRONG_STATE", Misuse, 2, "After commit or abort only free is left.";
    /// The process was forked after the library was used.
    Forked = -7, "S3V_E_FORKED", Misuse, 2, "Open the vault in the child; in Python use multiprocessing's 'spawn'.";
    /// The parent of an incremental is not a live version of the same container and path.
    BadParent = -8, "S3V_E_BAD_PARENT", Misuse, 2, "Store a full backup instead.";
    /// The keyring cannot be read, or has no signing key.
    Keyring = -9, "S3V_E_KEYRING", Misuse, 2, "Check the keyring file; 's3vault keys new FILE' makes one.";
    /// The object needs more than this version of the library knows.
    Unsupported = -10, "S3V_E_UNSUPPORTED", Misuse, 2, "Use a newer version of s3vault.";
    /// A configuration file cannot be read.
    Config = -11, "S3V_E_CONFIG", Misuse, 2, "Correct the line of the file that the message names.";
    /// No credentials were found, or the place that should have some has none that can be used.
    Credentials = -12, "S3V_E_CREDENTIALS", Misuse, 2, "Look at the places that the message names.";
    /// The checkpoint is another backup's, or none.
    BadCheckpoint = -13, "S3V_E_BAD_CHECKPOINT", Misuse, 2, "Name the checkpoint of this backup, or remove the file to store from the begin.";

    /// The store refuses the operation to these credentials.
    AccessDenied = -20, "S3V_E_ACCESS_DENIED", Remote, 4, "Give the access key the permission for this operation, on the bucket and on its objects.";
    /// The store computed another signature: the secret key is wrong, or something on the way changed the request.
    SignatureRefused = -21, "S3V_E_SIGNATURE_REFUSED", Remote, 4, "Check secret_key; if it is right, a proxy may rewrite headers or the path.";
    /// The store does not know the access key.
    UnknownAccessKey = -22, "S3V_E_UNKNOWN_ACCESS_KEY", Remote, 4, "Check access_key and api_url: keys belong to one store.";
    /// There is no such bucket.
    NoSuchBucket = -23, "S3V_E_NO_SUCH_BUCKET", Remote, 3, "Check bucket and api_url, or make the bucket, with versioning enabled.";
    /// There is no such backup or version.
    NotFound = -24, "S3V_E_NOT_FOUND", Remote, 3, "List the versions of this container and path.";
    /// The clocks of this machine and of the store are too far apart.
    ClockSkew = -25, "S3V_E_CLOCK_SKEW", Remote, 4, "Set this machine's clock (NTP).";
    /// The bucket is in another region.
    WrongRegion = -26, "S3V_E_WRONG_REGION", Remote, 4, "Set region to the one that the message names.";
    /// The store asks to slow down, or is not available, and went on so through all retries.
    Unavailable = -27, "S3V_E_UNAVAILABLE", Remote, 5, "Try again later.";
    /// Another refusal by the store; S3_CODE says which.
    Store = -28, "S3V_E_STORE", Remote, 4, "See the store's own message.";
    /// The answer is not what S3 answers: a proxy's page, cut XML, wrong lengths.
    BadReply = -29, "S3V_E_BAD_REPLY", Remote, 1, "Check that api_url is an S3 endpoint, and that no proxy answers in its place.";
    /// The bucket's versioning does not fit the vault's mode.
    Versioning = -30, "S3V_E_VERSIONING", Remote, 2, "Enable versioning on the bucket.";
    /// The bucket belongs to another vault, or to another configuration of this one.
    VaultMismatch = -31, "S3V_E_VAULT_MISMATCH", Remote, 2, "Check bucket, mode and vault_id.";
    /// An object of the vault has a form that this library does not read.
    Format = -32, "S3V_E_FORMAT", Remote, 6, "Use the version of s3vault that wrote it, or a newer one.";
    /// Stored bytes are not what was stored: length or hash differ.
    Damaged = -33, "S3V_E_DAMAGED", Remote, 6, "Restore another version, and look into the store's health.";
    /// A version's data is not there.
    DataMissing = -34, "S3V_E_DATA_MISSING", Remote, 6, "Something deleted the data outside of s3vault: restore another version.";
    /// A signature is missing, wrong, or by a key that this vault does not trust.
    Untrusted = -35, "S3V_E_UNTRUSTED", Remote, 6, "Open the vault with the keyring that wrote it, or add the key to verify_keys.";
    /// The newest version lies more than an hour in the future.
    FutureVersion = -36, "S3V_E_FUTURE_VERSION", Remote, 1, "A clock was wrong when it was written: delete that version, or wait.";
    /// The put was given up: its version was marked as deleted, another process took its place, or its upload is gone or
    /// can be completed no more.
    GivenUp = -37, "S3V_E_GIVEN_UP", Remote, 1, "Store the backup again.";
    /// It is not known whether the store has the object: the last request had no answer.
    OutcomeUnknown = -38, "S3V_E_OUTCOME_UNKNOWN", Remote, 7, "Commit again on the same handle, or run the same put again with its checkpoint.";
    /// The manifest is not the one that the pin names.
    PinMismatch = -39, "S3V_E_PIN_MISMATCH", Remote, 6, "The version was replaced since the pin was taken: do not trust it.";
    /// The date that a request was signed with has passed; used inside, never returned alone.
    Expired = -40, "S3V_E_EXPIRED", Remote, 1, "Try again.";

    /// The host name of api_url, or of the proxy, does not resolve.
    Resolve = -50, "S3V_E_RESOLVE", Transport, 5, "Check api_url (and proxy, where one is set), and this machine's DNS.";
    /// No connection: nothing listens there, or a firewall is between.
    Connect = -51, "S3V_E_CONNECT", Transport, 5, "Check host and port of api_url (and of proxy, where one is set), and firewalls.";
    /// The store's certificate is not trusted.
    Certificate = -52, "S3V_E_CERTIFICATE", Transport, 5, "Set ca_file to the authority that signed the store's certificate.";
    /// The store did not answer in time.
    TimedOut = -53, "S3V_E_TIMED_OUT", Transport, 5, "Check the network; idle_timeout_ms and connect_timeout_ms set the limits.";
    /// The connection broke.
    ConnectionLost = -54, "S3V_E_CONNECTION_LOST", Transport, 5, "Check the network.";
    /// The proxy refuses: it wants a user and a password, or does not let requests to this store through.
    Proxy = -55, "S3V_E_PROXY", Transport, 5, "Check the option proxy: the user and password in it, and whether this proxy lets the host and port of api_url through.";

    /// A local file cannot be read or written.
    Io = -70, "S3V_E_IO", Local, 1, "See the operating system's message.";
    /// The disk is full.
    DiskFull = -71, "S3V_E_DISK_FULL", Local, 1, "Free some space, or restore to another disk.";
    /// The source changed between two readings.
    SourceChanged = -72, "S3V_E_SOURCE_CHANGED", Local, 1, "Store from a snapshot, or stop the writer.";
    /// The call was cancelled.
    Cancelled = -73, "S3V_E_CANCELLED", Local, 1, "";
    /// The caller's own callback asked to stop.
    Stopped = -74, "S3V_E_STOPPED", Local, 1, "";
    /// A defect in the library: please report the message.
    Internal = -75, "S3V_E_INTERNAL", Local, 1, "Report this message; the vault itself is not affected.";
    /// The put was suspended: its checkpoint goes on from here.
    Suspended = -76, "S3V_E_SUSPENDED", Local, 1, "Open the put again with the same checkpoint.";
}

impl Code {
    /// The row of the table.
    pub fn info(self) -> &'static CodeInfo {
        // The table holds every variant (a test walks it), so the first row is never the answer by accident.
        CODES.iter().find(|row| row.code == self).unwrap_or(&CODES[0])
    }
}

/// What went wrong, on what, what came back, and what helps.
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
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this code. `message` says what was tried and what came back.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            code,
            message: message.into(),
            hint: None,
            status: 0,
            s3_code: String::new(),
            request_id: String::new(),
            operation: "",
            bucket: String::new(),
            key: String::new(),
            retryable: false,
            maybe_sent: false,
        }))
    }

    /// Sets what helps, where it is known better than the code's own hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// Sets the operation and the object that it was about.
    #[must_use]
    pub fn on(mut self, operation: &'static str, bucket: &str, key: &str) -> Error {
        self.0.operation = operation;
        self.0.bucket = bucket.to_owned();
        self.0.key = key.to_owned();
        self
    }

    /// Sets what the store answered: HTTP status, S3's code, the request id (empty where there is none).
    #[must_use]
    pub fn with_reply(mut self, status: u16, s3_code: &str, request_id: &str) -> Error {
        self.0.status = status;
        self.0.s3_code = s3_code.to_owned();
        self.0.request_id = request_id.to_owned();
        self
    }

    /// Marks an error after which the same request may succeed.
    #[must_use]
    pub fn retryable(mut self) -> Error {
        self.0.retryable = true;
        self
    }

    /// Marks a failure after which the request may have taken effect.
    #[must_use]
    pub fn maybe_sent(mut self, yes: bool) -> Error {
        self.0.maybe_sent = yes;
        self
    }

    /// Gives the error another code; message and reply stay.
    #[must_use]
    pub fn recode(mut self, code: Code) -> Error {
        self.0.code = code;
        self
    }

    /// Puts what was being done in front of the message.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Error {
        self.0.message = format!("{doing}: {}", self.0.message);
        self
    }

    /// Adds to the end of the message.
    #[must_use]
    pub fn append(mut self, more: &str) -> Error {
        self.0.message.push_str(more);
        self
    }

    /// Adds what was tried to help, and why that failed too.
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

    /// What was tried, on what, and what came back.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What helps; empty where nothing does.
    pub fn hint(&self) -> &str {
        self.0.hint.as_deref().unwrap_or(self.0.code.info().hint)
    }

    /// HTTP status of the store's answer, 0 where there was none.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// S3's own error code, for example `NoSuchKey`; empty where there was none.
    pub fn s3_code(&self) -> &str {
        &self.0.s3_code
    }

    /// The store's request id, for its support; empty where there was none.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The S3 operation, for example `PutObject`; empty outside of one.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The bucket; empty where none was involved.
    pub fn bucket(&self) -> &str {
        &self.0.bucket
    }

    /// The key; empty where none was involved.
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Whether the request may have taken effect although no answer came.
    pub fn is_maybe_sent(&self) -> bool {
        self.0.maybe_sent
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

    #[test]
    fn numbers_and_names_are_distinct_and_each_code_finds_its_row() {
        for (n, row) in CODES.iter().enumerate() {
            assert_eq!(row.code.info().name, row.name);
            assert!((row.code as i32) < 0 && row.name.starts_with("S3V_E_"));
            if let Some(next) = CODES.get(n + 1) {
                assert!((next.code as i32) < row.code as i32, "{} after {}", next.name, row.name);
            }
            assert!(CODES.iter().filter(|other| other.name == row.name).count() == 1);
        }
    }

    #[test]
    fn an_error_says_what_helps() {
        let e = Error::new(Code::NoSuchBucket, "HeadBucket on s3://b: 404");
        assert_eq!(e.to_string(), format!("HeadBucket on s3://b: 404 ({})", Code::NoSuchBucket.info().hint));
    }
}
