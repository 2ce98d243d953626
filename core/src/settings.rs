//! Settings: one table of the options for the configuration, for single calls, for TOML files, for the environment and
//! for every language.
//!
//! Setting a key that is not in the table fails with an error that names the nearest key. A value is checked when it is
//! set.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use crate::error::{Code, Error, Result};

/// Where an option can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// In the configuration of a vault, when it is opened.
    Vault,
    /// For one call, and only for those in [`OptionInfo::calls`].
    Call,
    /// For the whole process, at any time (`s3v_process_set`). A vault's configuration accepts it, and the vault ignores it.
    Process,
    /// For the command, or for calls that need no vault. A vault's configuration accepts it, and the vault ignores it.
    Command,
}

/// A call that takes options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// Stores a backup.
    Put,
    /// Finds a version.
    Find,
    /// Opens a version for reading.
    Get,
    /// Restores a version into a file.
    Restore,
    /// Lists versions, paths or containers.
    List,
    /// Lists uploads that are in progress.
    Uploads,
    /// Deletes a version.
    Delete,
    /// Marks the versions that the retention lets go, and frees what was marked before.
    Prune,
    /// Marks what crashed puts left, and frees what was marked before.
    Sweep,
    /// Wraps the data keys of versions with the current key-encryption key.
    Rotate,
    /// Copies the data of versions under new data keys.
    Rekey,
    /// Makes versions of what other programs wrote.
    Adopt,
    /// Verifies versions of a vault.
    Verify,
    /// Verifies one version.
    VerifyVersion,
    /// Replaces the keys of a vault.
    Update,
    /// Signs a request in its headers.
    Sign,
    /// Signs a request in its URL.
    Presign,
}

impl Call {
    /// All calls that take options, in the order in which the manuals list them.
    pub const ALL: &[Call] = &[
        Call::Put,
        Call::Find,
        Call::Get,
        Call::Restore,
        Call::List,
        Call::Uploads,
        Call::Delete,
        Call::Prune,
        Call::Sweep,
        Call::Rotate,
        Call::Rekey,
        Call::Adopt,
        Call::Verify,
        Call::VerifyVersion,
        Call::Update,
        Call::Sign,
        Call::Presign,
    ];

    /// The name in messages and manuals.
    pub fn name(self) -> &'static str {
        match self {
            Call::Put => "put",
            Call::Find => "find",
            Call::Get => "get",
            Call::Restore => "restore",
            Call::List => "list",
            Call::Uploads => "uploads",
            Call::Delete => "delete",
            Call::Prune => "prune",
            Call::Sweep => "sweep",
            Call::Rotate => "rotate",
            Call::Rekey => "rekey",
            Call::Adopt => "adopt",
            Call::Verify => "verify",
            Call::VerifyVersion => "verify_version",
            Call::Update => "update",
            Call::Sign => "sign",
            Call::Presign => "presign",
        }
    }

    /// The options that this call takes.
    pub fn options(self) -> impl Iterator<Item = &'static OptionInfo> {
        OPTIONS.iter().filter(move |row| row.calls.contains(&self))
    }
}

/// Which values an option accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Any text.
    Text,
    /// The name of a file.
    File,
    /// `true` or `false`.
    Bool,
    /// A whole number within these bounds.
    Number(u64, u64),
    /// A number of bytes within these bounds, also with a unit: see [`parse_size`].
    Size(u64, u64),
    /// One of these words.
    Words(&'static [&'static str]),
    /// Labels, each `KEY=VALUE`, separated by commas or line ends.
    Labels,
    /// A time: RFC 3339, a date (the end of that day in UTC), or Unix milliseconds.
    Time,
    /// A length of time with its unit: see [`parse_duration`].
    Duration,
}

/// An entry of the table of options.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// The key, as in TOML and `s3v_config_set`. Its environment variable is `S3VAULT_` and the key in upper case.
    pub key: &'static str,
    /// Where it can be set.
    pub scope: Scope,
    /// The calls that take it. A call's own options have at least one; for others it says which calls read them.
    pub calls: &'static [Call],
    /// Which values it accepts.
    pub kind: Kind,
    /// The value if it is not set; empty if it has no default.
    pub default: &'static str,
    /// Whether the value is shown as `***`.
    pub secret: bool,
    /// Whether a new value takes effect on an open vault.
    pub live: bool,
    /// What it does, in a sentence or two.
    pub doc: &'static str,
}

impl OptionInfo {
    /// Where the option belongs, for messages.
    fn place(&self) -> String {
        match self.scope {
            Scope::Vault => "for opening a vault".into(),
            Scope::Process => "for the whole process".into(),
            Scope::Call | Scope::Command if !self.calls.is_empty() => {
                format!("for {}", self.calls.iter().map(|call| call.name()).collect::<Vec<_>>().join(" and "))
            }
            Scope::Call | Scope::Command => "for the command".into(),
        }
    }
}

macro_rules! options {
    ($($key:literal $scope:ident $(: $($call:ident)+,)? $kind:expr, $default:literal, $flags:literal, $doc:literal;)+) => {
        /// All options, in the order in which the manuals list them.
        pub const OPTIONS: &[OptionInfo] = &[$(OptionInfo {
            key: $key, scope: Scope::$scope, calls: &[$($(Call::$call),+)?], kind: $kind, default: $default,
            secret: flag($flags, b's'), live: flag($flags, b'l'), doc: $doc,
        },)+];
    };
}

const fn flag(flags: &str, wanted: u8) -> bool {
    let flags = flags.as_bytes();
    let mut n = 0;
    while n < flags.len() {
        if flags[n] == wanted {
            return true;
        }
        n += 1;
    }
    false
}

options! {
    "api_url" Vault Kind::Text, "", "", "Endpoint of the store, for example https://s3.example.com:9000, with the path if the store is below one (https://REF.supabase.co/storage/v1/s3). Empty: AWS, in the region that region names.";
    "access_key" Vault: Update, Kind::Text, "", "l", "Access key id.";
    "secret_key" Vault: Update, Kind::Text, "", "sl", "Secret access key.";
    "session_token" Vault: Update, Kind::Text, "", "sl", "Session token of temporary credentials.";
    "credentials" Vault Kind::Words(&["static", "chain"]), "static", "", "Where the credentials come from. static: access_key and secret_key. chain: the places where AWS's tools look (environment, shared files, process, container, instance metadata).";
    "profile" Vault Kind::Text, "", "", "Profile of the shared config and credentials files, for credentials = chain. Empty: AWS_PROFILE, or else default.";
    "region" Vault Kind::Text, "", "", "Region of the bucket. Empty: the region in api_url if that is an AWS endpoint, or else us-east-1; corrected if the store names another.";
    "mode" Vault Kind::Words(&["single-bucket", "single-bucket-no-versioning", "bucket-per-vm"]), "single-bucket", "", "How backups are laid out. single-bucket: one bucket for all containers, which has versioning: versions of a backup are the bucket's own. single-bucket-no-versioning: one bucket without versioning: versions are objects of their own (CONTAINER/PATH@VERSION). bucket-per-vm: a bucket for each container, made when it is needed.";
    "bucket" Vault Kind::Text, "", "", "The bucket, for the modes with a single one; on AWS, also an access point's alias or ARN. It must exist.";
    "bucket_prefix" Vault Kind::Text, "", "", "Start of the buckets' names, for mode bucket-per-vm: at most 30 of a-z, 0-9 and '-'. A container's bucket is this, the container's name in lower case as far as it fits, '-' and 10 characters of a hash.";
    "per_vm_versioning" Vault Kind::Words(&["native", "emulated"]), "native", "", "How versions are kept in mode bucket-per-vm. native: the buckets have versioning, which is switched on when they are made. emulated: they have none, and versions are objects of their own.";
    "vault_id" Vault Kind::Text, "", "", "Identity of the vault: 32 lower-case hex digits. Empty: derived from the name of the bucket, or from bucket_prefix.";
    "record_after_store" Vault Kind::Bool, "false", "", "Which time identifies a backup. false: the start of the put. true: the end of the transfer.";
    "encryption" Vault Kind::Words(&["none", "sse-c", "envelope", "sse-s3", "sse-kms"]), "none", "", "How the data of new backups is encrypted; older ones stay readable as they are. none: only as the store does by default. sse-c: by the store, with a key for each version that only the keyring can unwrap; it needs TLS. envelope: on this machine, with such a key (AES-256-GCM), for any store. sse-s3: by the store, with its own keys. sse-kms: by the store, with a key of its key management service.";
    "sse_kms_key" Vault Kind::Text, "", "", "With sse-kms: id, ARN or alias of the key. Empty: the account's default key.";
    "allow_plain_sse_c" Vault Kind::Bool, "false", "", "Send the keys of sse-c over plain HTTP too, where anyone on the network can read them. For tests only.";
    "keyring" Command Kind::File, "", "", "File with the signing key. The command opens it; a program passes a keyring handle to the library.";
    "service" Command: Sign Presign, Kind::Text, "s3", "", "The service to sign a request for.";
    "verify_keys" Vault Kind::Text, "", "", "Public keys to trust in addition to the keyring's own, one 'ed25519 <id> <base64>' per line.";
    "seen" Vault Kind::File, "", "", "File in which this machine notes, for each backup, the newest version that it has stored or found, so that a store which shows an older one as the newest is found out (rolled back). Only its owner may be able to access it (mode 0600). Empty: nothing is noted.";
    "trust" Vault Kind::Words(&["auto", "required"]), "auto", "", "Whether a version may be read if this vault knows no public key, neither from a keyring nor from verify_keys. auto: it is read, and its signature is not verified. required: it is refused.";
    "path_style" Vault Kind::Bool, "true", "", "Where the bucket is in a URL. true: in the path. false: in the host name, if its name allows it.";
    "dualstack" Vault Kind::Bool, "false", "", "AWS only: use the endpoints that support IPv6 as well as IPv4.";
    "fips" Vault Kind::Bool, "false", "", "AWS only: use the endpoints with FIPS 140 validated TLS.";
    "resolve_once" Vault Kind::Bool, "false", "", "Resolve the store's host name once, and connect to that one address until it fails. For names that stand for several machines.";
    "transport" Vault Kind::Words(&["direct", "reqwest"]), "direct", "", "HTTP client for requests to the store. direct: the one that needs the least CPU and memory. reqwest: also supports SOCKS5 proxies.";
    "proxy" Vault Kind::Text, "", "s", "URL of a proxy: http://[USER:PASSWORD@]HOST:PORT, or https://, or with transport = reqwest socks5:// (names are resolved on this machine) or socks5h:// (the proxy resolves them). system: the proxies in the environment variables HTTPS_PROXY, HTTP_PROXY and NO_PROXY. Empty: no proxy.";
    "ca_file" Vault Kind::File, "", "", "PEM file with CA certificates to trust for the store (and for an https:// proxy), instead of the system's CA certificates. It may also be the store's own self-signed certificate.";
    "connect_timeout_ms" Vault Kind::Number(1, 600_000), "10000", "", "Time to wait for a connection, in milliseconds.";
    "idle_timeout_ms" Vault Kind::Number(1, 3_600_000), "60000", "", "Time after which a request fails if no byte moves, in milliseconds. A reply without payload must also bring 64 KiB, or its end, within this time (ten times this for requests that write), so that one that arrives byte by byte ends.";
    "retry_time" Vault Kind::Number(0, 604_800), "900", "", "How long a transfer keeps trying while the store is away or asks to wait, in seconds. Lists and other short calls try for 30 seconds at most, and the first request to a store for 3.";
    "parallel_download" Vault Kind::Bool, "true", "", "Read several ranges at once during a restore. false: one after the other, which also works with a store, or a proxy on the way, that ignores the header Range: an object is then read in one request from its start, and again from its start after the connection breaks.";
    "leading_slash" Vault Kind::Bool, "false", "", "Start data keys with '/', for buckets whose keys already do.";
    "storage_class" Vault Kind::Text, "", "", "Storage class of the data objects, for example STANDARD_IA. Empty: the bucket's default.";
    "immutable_days" Vault Kind::Number(0, 36_500), "0", "", "How many days a backup cannot be deleted, not even by this vault, and then until the end of the day (UTC): its data, locator and catalogue entry are locked (object lock), and those of all versions that an incremental builds on. The bucket needs object lock. 0: no lock.";
    "immutable_mode" Vault Kind::Words(&["governance", "compliance"]), "governance", "", "Who can remove the locks of immutable_days. governance: users with the permission s3:BypassGovernanceRetention. compliance: nobody, until they end.";
    "provider" Vault Kind::Words(&["auto", "s3", "minio", "ceph", "garage", "versitygw"]), "auto", "", "Type of the store; it says which limits, checksums and trailers the store has. auto: its replies tell, and what it refuses is left out.";
    "retention_full_versions" Vault: Prune, Kind::Number(0, 1_000_000_000), "0", "", "How many full backups prune keeps of each backup, the newest ones. 0: no limit. A version goes as soon as one of its limits lets it go; a full stays as long as an incremental that stays needs it.";
    "retention_full_days" Vault: Prune, Kind::Number(0, 36_500), "0", "", "How many days prune keeps a full backup. 0: no limit.";
    "retention_inc_versions" Vault: Prune, Kind::Number(0, 1_000_000_000), "0", "", "How many incremental backups prune keeps of each backup, the newest ones. 0: no limit.";
    "retention_inc_days" Vault: Prune, Kind::Number(0, 36_500), "0", "", "How many days prune keeps an incremental backup. 0: no limit.";
    "keep_last" Vault: Prune, Kind::Bool, "true", "", "Keep the newest version of each backup, however old it is, unless the backup was deleted.";
    "retention_scope" Vault: Prune, Kind::Words(&["path", "container"]), "path", "", "What the retention is applied to. path: each backup on its own. container: the paths of a container together, so that the whole container can be restored as it was at any time since the oldest version that its limits keep.";
    "memory" Process Kind::Size(32 << 20, 1 << 50), "268435456", "l", "Most bytes of payload that all transfers of the process hold in memory together; when they are used up, a writer waits. Replies of 256 KiB and more, such as long lists and manifests, count too: they do not wait, but payload waits for them.";
    "connections" Process Kind::Number(1, 4096), "64", "l", "Most requests that all transfers of the process have in progress together.";
    "bandwidth_up" Process Kind::Size(0, 1 << 50), "0", "l", "Most bytes per second that all transfers of the process send together. 0: no limit.";
    "bandwidth_down" Process Kind::Size(0, 1 << 50), "0", "l", "Most bytes per second that all transfers of the process receive together. 0: no limit.";
    "kind" Call: Put, Kind::Words(&["full", "incremental"]), "full", "", "Kind of the backup. An incremental needs parent.";
    "parent" Call: Put, Kind::Text, "", "", "Version id of the backup that an incremental is based on.";
    "checkpoint" Call: Put, Kind::File, "", "", "File that records the progress of the put; the same put with the same file resumes there. The file is removed when the backup is stored. Only its owner may be able to access it (mode 0600).";
    "source" Call: Put, Kind::Words(&["fixed", "live"]), "fixed", "", "Whether the source may change while it is stored. fixed: a file whose size, modification time or status change time differs after it was read is an error (source changed), and no version is listed. live: such a file is stored as it was read, up to the size that it had at the start, and the manifest says that the source was live. Block devices and streams have no such times and are not compared.";
    "labels" Call: Put, Kind::Labels, "", "", "Labels of the version: KEY=VALUE, several separated by commas or line ends, at most 32. A key has 1 to 63 of A-Z, a-z, 0-9, '.', '_' and '-', a value up to 255 bytes without commas and line ends. The label hold protects a version from prune, whatever its value.";
    "version" Call: Find Rekey, Kind::Text, "", "", "The version with this id, in upper or lower case. The start of an id is enough if it fits only one version.";
    "as_of" Call: Find List, Kind::Time, "", "", "The newest version recorded at or before this time: RFC 3339 (2026-11-24T13:30:00Z), a date (2026-11-24: the end of that day in UTC), or Unix milliseconds. A list has one row for each path: that version, and none for a path that was deleted then.";
    "recorded" Call: Find, Kind::Time, "", "", "The version that was recorded at this time: exactly, or else the only one within tolerance_ms of it. More than one is an error (ambiguous).";
    "tolerance_ms" Call: Find, Kind::Number(0, 86_400_000), "1000", "", "How far the recorded time of a version may be from recorded, in milliseconds, for a time that was noted by another clock or in whole seconds.";
    "label" Call: List, Kind::Text, "", "", "Only versions that were stored with this label: NAME=VALUE. The manifest of every version that would be listed is read for that, 16 at a time.";
    "pin" Call: Find, Kind::Text, "", "", "The manifest's hash, as put returned it; any other manifest is refused.";
    "verify" Call: Get Restore, Kind::Words(&["end", "part"]), "end", "", "When bytes are handed out. end: as they arrive, except the last bytes of each part, which are held back until the part's hash is verified. part: only after the part's hash is verified.";
    "holes" Call: Restore, Kind::Bool, "false", "", "Leave holes in the file where the data is zero (a sparse file).";
    "container" Call: Prune Sweep Rotate Rekey Adopt Verify, Kind::Text, "", "", "Only this container. Empty: all containers.";
    "dry_run" Call: Prune Sweep Rotate Rekey Adopt, Kind::Bool, "false", "", "Say what would be done, and change nothing.";
    "grace" Call: Prune Sweep Rekey, Kind::Duration, "7d", "", "How long an unfinished put, an upload in which nothing was stored, or the data from before a re-keying is left alone: a number with its unit d, h, m or s, for example 7d or 36h. At least half an hour.";
    "hash" Call: Adopt, Kind::Bool, "false", "", "Read all data that is adopted, so that its versions have hashes and are verified as any other. false: only size and ETag are recorded, and the MD5 where the store's ETag is one. A later run with true adds the hashes.";
    "adopt_buckets" Call: Adopt, Kind::Text, "", "", "For mode bucket-per-vm: the buckets to adopt, as BUCKET=CONTAINER with a comma between them. Each must be the container's own bucket. Empty: the buckets of all containers that the vault has.";
    "adopt_keys" Call: Adopt, Kind::File, "", "", "File with the keys of objects that are encrypted with SSE-C: on each line a JSON object with key (CONTAINER/PATH), version_id (without it: all versions that no other line names) and sse_c_key (32 bytes in base64). Only its owner may be able to access it (mode 0600). It needs a keyring with a key-encryption key, under which the keys are kept in the vault: the file is not needed later. Empty: such objects are not adopted.";
    "path" Call: Rekey Verify, Kind::Text, "", "", "Only the backup with this path in container.";
    "through_client" Call: Rekey, Kind::Bool, "false", "", "Whether data that the store encrypts with customer keys (SSE-C) and cannot copy, as on Ceph, may pass through this machine: it is read and sent in pieces of 8 MiB, or of 1/10,000 of an object above 80 GiB, of which at most 32 MiB are in memory for each bucket, or one piece if that is longer. false: such versions are problems in the report, with their number of bytes.";
    "sample" Call: Verify, Kind::Number(1, 100), "100", "", "How many percent of the versions are read, at least one version. They are chosen by their ids and by sample_seed.";
    "sample_seed" Call: Verify, Kind::Text, "", "", "A whole number that chooses the sample: consecutive numbers choose other versions, until all were chosen. Empty: the number of days since 1970, so that a daily run of 5 percent reads everything in 20 days.";
    "state" Call: Verify, Kind::File, "", "", "File that records the versions that are done: a run that was stopped continues with the same file. It is removed at the end.";
}

/// The table's entry for `key`, or an error that names the nearest key.
pub fn option(key: &str) -> Result<&'static OptionInfo> {
    if let Some(row) = OPTIONS.iter().find(|row| row.key == key) {
        return Ok(row);
    }
    Err(Error::new(Code::UnknownOption, format!("there is no option '{key}'"))
        .with_hint(format!("Did you mean '{}'?", nearest(key))))
}

/// The key of the table that is spelled most like this one.
pub fn nearest(key: &str) -> &'static str {
    OPTIONS.iter().min_by_key(|row| distance(key, row.key)).map_or("", |row| row.key)
}

/// The Levenshtein distance, which finds the nearest key.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, cb) in b.chars().enumerate() {
            let change = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The values of the options, by key. An option that is not set has the table's default. Secrets are zeroized, and never
/// shown.
#[derive(Clone, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, Zeroizing<String>>,
    warnings: Vec<String>,
}

impl Settings {
    /// Settings with every option at its default.
    pub fn new() -> Settings {
        Settings::default()
    }

    /// Checks a value against the table, and sets it. An empty value resets the option to its default.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let row = option(key)?;
        let value = value.trim();
        if value.is_empty() {
            self.values.remove(row.key);
            return Ok(());
        }
        let refuse = |wanted: String| {
            let shown = if row.secret { "***" } else { value };
            let why = format!("invalid value '{shown}' for option {key}: expected {wanted}");
            Err(Error::new(Code::InvalidOption, why).with_hint(format!("Set {key} to {wanted}.")))
        };
        match row.kind {
            Kind::Bool if !matches!(value, "true" | "false") => {
                return refuse("true or false".into());
            }
            Kind::Words(words) if !words.contains(&value) => return refuse(words.join(" or ")),
            Kind::Number(least, most) if !value.parse::<u64>().is_ok_and(|n| (least..=most).contains(&n)) => {
                return refuse(format!("a whole number from {least} to {most}"));
            }
            Kind::Size(least, most) => match parse_size(value).filter(|bytes| (least..=most).contains(bytes)) {
                Some(bytes) => {
                    self.values.insert(row.key, Zeroizing::new(bytes.to_string()));
                    return Ok(());
                }
                None => {
                    let (least, most) = (size_text(least), size_text(most));
                    return refuse(format!("a number of bytes, such as 67108864 or 64M, from {least} to {most}"));
                }
            },
            Kind::Time if parse_time(value).is_none() => {
                return refuse("a time such as 2026-11-24T13:30:00Z, a date such as 2026-11-24 (the end of that day in UTC), or Unix milliseconds".into());
            }
            Kind::Duration if parse_duration(value).is_none() => {
                return refuse("a length of time with its unit, such as 7d, 12h, 90m or 3600s".into());
            }
            Kind::Text | Kind::File | Kind::Labels if value.contains(['\0', '\r']) => {
                return refuse("text without control characters".into());
            }
            _ => {}
        }
        self.values.insert(row.key, Zeroizing::new(value.to_owned()));
        Ok(())
    }

    /// The value of an option of the table, or its default.
    pub fn text(&self, key: &'static str) -> &str {
        match self.values.get(key) {
            Some(value) => value,
            None => OPTIONS.iter().find(|row| row.key == key).map_or("", |row| row.default),
        }
    }

    /// The value of an option that must be set.
    pub fn required(&self, key: &'static str) -> Result<&str> {
        match self.text(key) {
            "" => Err(Error::new(Code::InvalidOption, format!("option {key} is not set"))
                .with_hint(format!("Set {key}, or the environment variable S3VAULT_{}.", key.to_uppercase()))),
            text => Ok(text),
        }
    }

    /// The value of an option of [`Kind::Bool`].
    pub fn flag(&self, key: &'static str) -> bool {
        self.text(key) == "true"
    }

    /// The value of an option of [`Kind::Number`] or [`Kind::Size`].
    pub fn number(&self, key: &'static str) -> u64 {
        self.text(key).parse().unwrap_or(0)
    }

    /// The value of an option of [`Kind::Time`], in Unix milliseconds.
    pub fn time(&self, key: &'static str) -> Option<i64> {
        parse_time(self.text(key))
    }

    /// The value of an option of [`Kind::Duration`], in milliseconds.
    pub fn duration_ms(&self, key: &'static str) -> u64 {
        parse_duration(self.text(key)).unwrap_or(0).saturating_mul(1000)
    }

    /// The options of a configuration that `call` takes too: what applies where the call itself sets nothing.
    pub fn defaults_of(&self, call: Call) -> Settings {
        let taken = |key: &&'static str| option(key).is_ok_and(|row| row.calls.contains(&call));
        let values = self.values.iter().filter(|(key, _)| taken(key)).map(|(key, value)| (*key, value.clone()));
        Settings { values: values.collect(), warnings: Vec::new() }
    }

    /// These settings with those of `other` over them.
    pub fn overlaid(&self, other: &Settings) -> Settings {
        let mut all = self.clone();
        all.values.extend(other.values.iter().map(|(key, value)| (*key, value.clone())));
        all
    }

    /// All options that are set, with `***` in place of secrets.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(key, value)| match option(key) {
            Ok(row) if !row.secret => (*key, value.as_str()),
            _ => (*key, "***"),
        })
    }

    /// Adds a warning about where the settings come from, such as a misspelled variable.
    pub fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// The warnings, in order. A vault reports them as log events when it is opened.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Fails if an option is set that `call` does not take.
    pub fn only_for(&self, call: Call) -> Result<()> {
        for key in self.values.keys() {
            let row = option(key)?;
            if !row.calls.contains(&call) {
                let keys: Vec<&str> = call.options().map(|row| row.key).collect();
                let hint = match &keys[..] {
                    [] => format!("{} takes no options.", call.name()),
                    keys => format!("{} takes {}.", call.name(), keys.join(", ")),
                };
                let message = format!("option {key} is {}, not for {}", row.place(), call.name());
                return Err(Error::new(Code::InvalidOption, message).with_hint(hint));
            }
        }
        Ok(())
    }

    /// Fails if an option of another scope than `wanted` is set. A vault's configuration may also have options of
    /// `Command` and `Process`, since one file or environment serves all of them; the vault ignores them.
    pub fn only(&self, wanted: Scope) -> Result<()> {
        for key in self.values.keys() {
            let row = option(key)?;
            let carried = wanted == Scope::Vault && matches!(row.scope, Scope::Command | Scope::Process);
            if row.scope != wanted && !carried {
                let message = format!("option {key} is {}, and cannot be set here", row.place());
                return Err(Error::new(Code::InvalidOption, message));
            }
        }
        Ok(())
    }
}

fn parse_time(value: &str) -> Option<i64> {
    let date = || crate::time::end_of_day(value);
    value.parse::<i64>().ok().or_else(|| crate::time::parse_rfc3339(value)).or_else(date)
}

/// Units of a length of time, in seconds.
const TIME_UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Longest length of time, in seconds: about a hundred years.
const LONGEST: u64 = 36_500 * 86_400;

/// Parses a length of time, `7d`, `12h`, `90m` or `3600s`, into seconds. A number without its unit is refused, since it
/// would be days to some readers and seconds to others.
pub fn parse_duration(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let (_, seconds) = TIME_UNITS.iter().find(|(letter, _)| *letter == unit)?;
    let digits = text.strip_suffix(unit).filter(|digits| digits.bytes().all(|c| c.is_ascii_digit()))?;
    digits.parse::<u64>().ok()?.checked_mul(*seconds).filter(|seconds| *seconds <= LONGEST)
}

/// The units of a number of bytes, as powers of 1024.
const UNITS: [char; 4] = ['K', 'M', 'G', 'T'];

/// Parses a number of bytes: `67108864`, `64M` or `64MiB`. The units K, M, G and T are powers of 1024. `64MB` is refused,
/// since to some readers that is a power of 1000.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim_start().to_ascii_uppercase();
    let mut letters = unit.chars();
    let power = match (letters.next(), letters.as_str()) {
        (None, _) => 0,
        (Some(letter), "" | "IB") => 1 + UNITS.iter().position(|unit| *unit == letter)?,
        _ => return None,
    };
    let is_number = digits.bytes().all(|c| c.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(1 << (10 * power))
}

/// A number of bytes as [`parse_size`] accepts it, with the largest unit that leaves no remainder.
fn size_text(bytes: u64) -> String {
    let (mut number, mut unit) = (bytes, String::new());
    for letter in UNITS {
        if number == 0 || number % 1024 != 0 {
            break;
        }
        (number, unit) = (number / 1024, letter.to_string());
    }
    format!("{number}{unit}")
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

/// The table of options as JSON: an array of objects with the fields of [`OptionInfo`].
pub fn options_json() -> String {
    let rows: Vec<serde_json::Value> = OPTIONS
        .iter()
        .map(|row| {
            let (kind, words, least, most) = match row.kind {
                Kind::Text | Kind::Labels => ("text", &[][..], None, None),
                Kind::File => ("file", &[][..], None, None),
                Kind::Bool => ("bool", &[][..], None, None),
                Kind::Number(least, most) => ("number", &[][..], Some(least), Some(most)),
                Kind::Size(least, most) => ("size", &[][..], Some(least), Some(most)),
                Kind::Words(words) => ("words", words, None, None),
                Kind::Time => ("time", &[][..], None, None),
                Kind::Duration => ("duration", &[][..], None, None),
            };
            serde_json::json!({
                "key": row.key,
                "scope": match row.scope { Scope::Vault => "vault", Scope::Call => "call", Scope::Process => "process", Scope::Command => "command" },
                "calls": row.calls.iter().map(|call| call.name()).collect::<Vec<_>>(),
                "kind": kind, "words": words, "least": least, "most": most,
                "default": row.default, "secret": row.secret, "live": row.live, "doc": row.doc,
            })
        })
        .collect();
    serde_json::Value::Array(rows).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn an_unknown_key_fails_and_names_the_nearest_key() {
        let e = Settings::new().set("acces_key", "x").unwrap_err();
        assert_eq!((e.code(), e.hint()), (Code::UnknownOption, "Did you mean 'access_key'?"));
    }

    #[test]
    fn values_are_checked_when_they_are_set() {
        let mut s = Settings::new();
        for (key, bad) in [
            ("path_style", "yes"),
            ("mode", "two-buckets"),
            ("connect_timeout_ms", "0"),
            ("connect_timeout_ms", "1.5"),
            ("as_of", "yesterday"),
            ("bucket", "a\0b"),
        ] {
            assert_eq!(s.set(key, bad).unwrap_err().code(), Code::InvalidOption, "{key} = {bad:?}");
        }
        s.set("connect_timeout_ms", " 250 ").unwrap();
        assert_eq!(s.number("connect_timeout_ms"), 250);
        s.set("connect_timeout_ms", "").unwrap();
        assert_eq!(s.number("connect_timeout_ms"), 10_000);
    }

    #[test]
    fn a_number_of_bytes_may_have_a_unit() {
        let mut s = Settings::new();
        for (text, bytes) in [
            ("67108864", 64 << 20),
            ("65536K", 64 << 20),
            ("64M", 64 << 20),
            ("64m", 64 << 20),
            ("64MiB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("1G", 1 << 30),
            ("2TiB", 2 << 40),
        ] {
            for key in ["memory", "bandwidth_up", "bandwidth_down"] {
                s.set(key, text).unwrap();
                // Callers of every language read the plain number.
                assert_eq!((s.number(key), s.text(key)), (bytes, bytes.to_string().as_str()), "{key} = {text}");
            }
        }
        for bad in
            ["64MB", "64B", "M", "64X", "1.5G", "-1", "64MM", "+64M", "18446744073709551615K", "1K", "2000000G", "ü"]
        {
            let e = s.set("memory", bad).unwrap_err();
            assert_eq!(e.code(), Code::InvalidOption, "{bad}");
            assert_eq!(e.hint(), "Set memory to a number of bytes, such as 67108864 or 64M, from 32M to 1024T.");
        }
        s.set("bandwidth_up", "0").unwrap();
    }

    #[test]
    fn a_date_is_the_end_of_that_day() {
        let mut s = Settings::new();
        for (text, ms) in [
            ("2026-11-30", 1_796_083_199_999),
            ("2026-11-30T23:59:59.999Z", 1_796_083_199_999),
            ("1796083199999", 1_796_083_199_999),
        ] {
            s.set("as_of", text).unwrap();
            assert_eq!(s.time("as_of"), Some(ms), "{text}");
        }
        for bad in ["2026-11-31", "2026-11", "30.11.2026", "2026-11-30T12:00:00", "yesterday"] {
            let e = s.set("as_of", bad).unwrap_err();
            assert!(
                e.hint().contains("2026-11-24T13:30:00Z") && e.hint().contains("2026-11-24 ("),
                "{bad}: {}",
                e.hint()
            );
        }
    }

    #[test]
    fn a_length_of_time_has_a_unit() {
        let mut s = Settings::new();
        for (text, seconds) in [("7d", 604_800), ("12h", 43_200), ("90m", 5_400), ("3600s", 3_600), ("0s", 0)] {
            s.set("grace", text).unwrap();
            assert_eq!(s.duration_ms("grace"), seconds * 1000, "{text}");
        }
        for bad in
            ["7", "d", "7 d", "7w", "7D", "1.5h", "-1d", "+1d", "7dd", "36501d", "18446744073709551615d", "7\u{fc}"]
        {
            let e = s.set("grace", bad).unwrap_err();
            assert_eq!(e.code(), Code::InvalidOption, "{bad}");
            assert_eq!(e.hint(), "Set grace to a length of time with its unit, such as 7d, 12h, 90m or 3600s.");
        }
        s.set("grace", "").unwrap();
        assert_eq!(s.duration_ms("grace"), 7 * 86_400_000);
    }

    #[test]
    fn a_call_overrides_what_the_configuration_says_of_it() {
        let mut configuration = Settings::new();
        for (key, value) in [("bucket", "b"), ("retention_full_days", "30"), ("keep_last", "false")] {
            configuration.set(key, value).unwrap();
        }
        let defaults = configuration.defaults_of(Call::Prune);
        assert_eq!(defaults.shown().map(|(key, _)| key).collect::<Vec<_>>(), ["keep_last", "retention_full_days"]);
        let mut call = Settings::new();
        call.set("retention_full_days", "0").unwrap();
        let all = defaults.overlaid(&call);
        assert_eq!((all.number("retention_full_days"), all.flag("keep_last")), (0, false));
        assert_eq!(all.text("retention_scope"), "path");
        assert!(call.only_for(Call::Prune).is_ok() && call.only_for(Call::Sweep).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut s = Settings::new();
        s.set("secret_key", "hush").unwrap();
        s.set("bucket", "b").unwrap();
        assert_eq!(format!("{s:?}"), r#"{"bucket": "b", "secret_key": "***"}"#);
    }

    #[test]
    fn every_default_is_a_valid_value() {
        for row in OPTIONS {
            Settings::new().set(row.key, row.default).unwrap();
        }
    }

    #[test]
    fn a_vault_refuses_the_options_of_a_call() {
        let mut s = Settings::new();
        s.set("keyring", "k").unwrap();
        s.set("memory", "67108864").unwrap();
        assert!(s.only(Scope::Vault).is_ok());
        s.set("kind", "full").unwrap();
        assert_eq!(s.only(Scope::Vault).unwrap_err().code(), Code::InvalidOption);
    }
    #[test]
    fn an_option_that_a_call_does_not_take_is_refused_and_the_error_names_the_call_that_takes_it() {
        let mut s = Settings::new();
        s.set("verify", "part").unwrap();
        assert!(s.only_for(Call::Get).is_ok() && s.only_for(Call::Restore).is_ok());
        let e = s.only_for(Call::Put).unwrap_err();
        assert_eq!(e.code(), Code::InvalidOption);
        assert_eq!(e.message(), "option verify is for get and restore, not for put");
        assert_eq!(e.hint(), "put takes kind, parent, checkpoint, source, labels.");
        assert_eq!(s.only_for(Call::List).unwrap_err().hint(), "list takes as_of, label.");
        assert_eq!(s.only_for(Call::Uploads).unwrap_err().hint(), "uploads takes no options.");
        for (key, value, place) in [
            ("bucket", "b", "for opening a vault"),
            ("memory", "67108864", "for the whole process"),
            ("keyring", "k", "for the command"),
            ("service", "s3", "for sign and presign"),
        ] {
            let mut s = Settings::new();
            s.set(key, value).unwrap();
            assert_eq!(s.only_for(Call::Find).unwrap_err().message(), format!("option {key} is {place}, not for find"));
        }
    }

    #[test]
    fn every_option_of_a_call_names_the_calls_that_take_it_and_its_text_does_not() {
        for row in OPTIONS {
            assert!(row.scope != Scope::Call || !row.calls.is_empty(), "{}", row.key);
            assert!(!Call::ALL.iter().any(|call| row.doc.starts_with(&format!("{}:", call.name()))), "{}", row.key);
        }
    }
}
