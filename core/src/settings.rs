//! Settings: one table for the configuration, the per-call options, TOML, the environment and every language.
//!
//! A key that is not in the table fails at once and names the nearest; a value is checked when it is set.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use crate::error::{Code, Error, Result};

/// Where an option may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// When a vault is opened.
    Vault,
    /// For one call (put, find, get).
    Call,
    /// For the whole process, at any time (`s3v_process_set`); a vault accepts it in its configuration and ignores it.
    Process,
    /// Read by the command, or by calls that need no vault; a vault accepts it in its configuration and ignores it.
    Command,
}

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number within these bounds.
    Number(u64, u64),
    /// One of these words.
    Words(&'static [&'static str]),
    /// A time: Unix milliseconds, or RFC 3339.
    Time,
}

/// A row of the table of options.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// The key: the same in TOML, in `s3v_config_set`, and after `S3VAULT_` in upper case in the environment.
    pub key: &'static str,
    /// Where it may be given.
    pub scope: Scope,
    /// What it takes.
    pub kind: Kind,
    /// The value where none is given; empty for none.
    pub default: &'static str,
    /// Whether the value is shown as `***`.
    pub secret: bool,
    /// Whether a new value takes effect on an open vault.
    pub live: bool,
    /// What it does, in a sentence or two.
    pub doc: &'static str,
}

macro_rules! options {
    ($($key:literal $scope:ident $kind:expr, $default:literal, $flags:literal, $doc:literal;)+) => {
        /// All options, in the order in which a manual lists them.
        pub const OPTIONS: &[OptionInfo] = &[$(OptionInfo {
            key: $key, scope: Scope::$scope, kind: $kind, default: $default,
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
    "api_url" Vault Kind::Text, "", "", "The store's endpoint, for example https://s3.example.com:9000. Empty: AWS, from region.";
    "access_key" Vault Kind::Text, "", "l", "Access key id.";
    "secret_key" Vault Kind::Text, "", "sl", "Secret access key.";
    "session_token" Vault Kind::Text, "", "sl", "Session token that belongs to temporary keys.";
    "credentials" Vault Kind::Words(&["static", "chain"]), "static", "", "Where the keys are. static: access_key and secret_key. chain: where AWS's tools look (environment, shared files, process, container, instance metadata).";
    "profile" Vault Kind::Text, "", "", "Profile of the shared config and credentials files, for credentials = chain. Empty: AWS_PROFILE, else default.";
    "region" Vault Kind::Text, "", "", "Region of the bucket. Empty: the one that api_url names where that is AWS, else us-east-1, corrected by what the store says.";
    "mode" Vault Kind::Words(&["single-bucket"]), "single-bucket", "", "Where backups go. single-bucket: one bucket with versioning for all containers.";
    "bucket" Vault Kind::Text, "", "", "The bucket, for mode single-bucket; on AWS also an access point's alias or ARN. It must exist, with versioning enabled.";
    "vault_id" Vault Kind::Text, "", "", "Identity of the vault, 32 lower-case hex digits. Empty: made from the bucket's name.";
    "record_after_store" Vault Kind::Bool, "false", "", "Which instant identifies a backup: false the begin of the put, true the end of the transfer.";
    "encryption" Vault Kind::Words(&["none"]), "none", "", "How the data is encrypted. none: as the store does by itself.";
    "keyring" Command Kind::Text, "", "", "File that holds the signing key. The command opens it; the library takes a keyring handle.";
    "service" Command Kind::Text, "s3", "", "sign, presign: the service that a request is signed for.";
    "verify_keys" Vault Kind::Text, "", "", "Public keys that are trusted beside the keyring's own, one 'ed25519 <id> <base64>' a line.";
    "path_style" Vault Kind::Bool, "true", "", "true: the bucket in the path. false: the bucket in the host name, where its name can stand there.";
    "dualstack" Vault Kind::Bool, "false", "", "AWS only: hosts that are reached over IPv6 as well as IPv4.";
    "fips" Vault Kind::Bool, "false", "", "AWS only: hosts whose TLS is validated by FIPS 140.";
    "resolve_once" Vault Kind::Bool, "false", "", "Resolve the store's host name once, and dial that one address until it fails: for names that stand for several machines.";
    "proxy" Vault Kind::Text, "", "s", "HTTP proxy: http://[USER:PASSWORD@]HOST:PORT, or https://. Empty: none; the environment is not asked.";
    "ca_file" Vault Kind::Text, "", "", "PEM file of the authorities that may sign the store's certificate (and an https:// proxy's), in place of the public ones.";
    "connect_timeout_ms" Vault Kind::Number(1, 600_000), "10000", "", "How long to wait for a connection.";
    "idle_timeout_ms" Vault Kind::Number(1, 3_600_000), "60000", "", "How long a request may stand without any byte moving.";
    "parallel_download" Vault Kind::Bool, "true", "", "Whether a restore reads several ranges at once.";
    "leading_slash" Vault Kind::Bool, "false", "", "Whether data keys begin with '/', for buckets that were written so.";
    "storage_class" Vault Kind::Text, "", "", "Storage class of the data objects, for example STANDARD_IA. Empty: the bucket's own.";
    "provider" Vault Kind::Words(&["s3", "minio", "ceph", "garage", "versitygw"]), "s3", "", "Whose differences from S3 are known: which checksums, trailers, conditions and versions the store has.";
    "memory" Process Kind::Number(32 << 20, 1 << 50), "268435456", "l", "Bytes of payload that all transfers of the process hold in memory at most; a writer waits when they are used up.";
    "connections" Process Kind::Number(1, 4096), "64", "l", "Requests that all transfers of the process have under way at most.";
    "bandwidth_up" Process Kind::Number(0, 1 << 50), "0", "l", "Bytes a second that all transfers of the process send at most. 0: as many as the line takes.";
    "bandwidth_down" Process Kind::Number(0, 1 << 50), "0", "l", "Bytes a second that all transfers of the process receive at most. 0: as many as the line gives.";
    "kind" Call Kind::Words(&["full", "incremental"]), "full", "", "put: what the backup is. An incremental needs parent.";
    "parent" Call Kind::Text, "", "", "put: version id of the backup that an incremental builds on.";
    "checkpoint" Call Kind::Text, "", "", "put: file that remembers how far the backup came; a put of the same backup that names it goes on from there. It is removed when the backup is stored.";
    "version" Call Kind::Text, "", "", "find: this version id.";
    "as_of" Call Kind::Time, "", "", "find: the newest version that was recorded at this time or before.";
    "pin" Call Kind::Text, "", "", "find: the manifest's hash, as put returned it; another manifest is refused.";
    "verify" Call Kind::Words(&["end", "part"]), "end", "", "get: when bytes are handed out. end: as they come, but for the last of each part, which waits until its hash is right. part: only from parts whose hash is right.";
    "holes" Call Kind::Bool, "false", "", "get: whether a file keeps holes where the data is zero.";
}

/// The row of a key, or an error that names the nearest key.
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

/// Levenshtein distance, for the nearest key.
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

/// Values by key. What is not set has the table's default. Secrets are zeroized and never shown.
#[derive(Clone, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, Zeroizing<String>>,
    warnings: Vec<String>,
}

impl Settings {
    /// No values set.
    pub fn new() -> Settings {
        Settings::default()
    }

    /// Sets a value, after it was checked against the table. An empty value is the same as none.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let row = option(key)?;
        let value = value.trim();
        if value.is_empty() {
            self.values.remove(row.key);
            return Ok(());
        }
        let refuse = |wanted: String| {
            let shown = if row.secret { "***" } else { value };
            Err(Error::new(Code::InvalidOption, format!("{key} = '{shown}': {wanted} expected")))
        };
        match row.kind {
            Kind::Bool if !matches!(value, "true" | "false") => {
                return refuse("true or false".into());
            }
            Kind::Words(words) if !words.contains(&value) => return refuse(words.join(" or ")),
            Kind::Number(least, most) if !value.parse::<u64>().is_ok_and(|n| (least..=most).contains(&n)) => {
                return refuse(format!("a whole number from {least} to {most}"));
            }
            Kind::Time if parse_time(value).is_none() => {
                return refuse("a time such as 2026-11-24T13:30:00Z, or Unix milliseconds,".into());
            }
            Kind::Text if value.contains(['\0', '\r']) => {
                return refuse("text without control characters".into());
            }
            _ => {}
        }
        self.values.insert(row.key, Zeroizing::new(value.to_owned()));
        Ok(())
    }

    /// The value of a key of the table, or its default.
    pub fn text(&self, key: &'static str) -> &str {
        match self.values.get(key) {
            Some(value) => value,
            None => OPTIONS.iter().find(|row| row.key == key).map_or("", |row| row.default),
        }
    }

    /// A text that must be there.
    pub fn required(&self, key: &'static str) -> Result<&str> {
        match self.text(key) {
            "" => Err(Error::new(Code::InvalidOption, format!("option {key} is not set"))
                .with_hint(format!("Set {key}, or S3VAULT_{} in the environment.", key.to_uppercase()))),
            text => Ok(text),
        }
    }

    /// The value of a key that takes `true` or `false`.
    pub fn flag(&self, key: &'static str) -> bool {
        self.text(key) == "true"
    }

    /// The value of a key that takes a number.
    pub fn number(&self, key: &'static str) -> u64 {
        self.text(key).parse().unwrap_or(0)
    }

    /// The value of a key that takes a time, in Unix milliseconds.
    pub fn time(&self, key: &'static str) -> Option<i64> {
        parse_time(self.text(key))
    }

    /// All that is set, secrets as `***`.
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

    /// Refuses every key that is not among `keys`: those that a call takes.
    pub fn only_keys(&self, keys: &[&str]) -> Result<()> {
        match self.values.keys().find(|key| !keys.contains(*key)) {
            None => Ok(()),
            Some(key) if keys.is_empty() => {
                Err(Error::new(Code::InvalidOption, format!("option {key} is not one of this call's: it takes none")))
            }
            Some(key) => Err(Error::new(
                Code::InvalidOption,
                format!("option {key} is not one of this call's: {}", keys.join(", ")),
            )),
        }
    }

    /// Refuses keys of another scope than `wanted`. A vault's configuration may carry those of `Command` and `Process`
    /// too, since one file or environment serves all of them; it ignores them.
    pub fn only(&self, wanted: Scope) -> Result<()> {
        for key in self.values.keys() {
            let row = option(key)?;
            let carried = wanted == Scope::Vault && matches!(row.scope, Scope::Command | Scope::Process);
            if row.scope != wanted && !carried {
                let place = match row.scope {
                    Scope::Call => "for a call",
                    Scope::Process => "for the whole process",
                    Scope::Vault | Scope::Command => "when a vault is opened",
                };
                return Err(Error::new(Code::InvalidOption, format!("option {key} is given {place}, not here")));
            }
        }
        Ok(())
    }
}

fn parse_time(value: &str) -> Option<i64> {
    value.parse::<i64>().ok().or_else(|| crate::time::parse_rfc3339(value))
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

/// The table as JSON: an array of objects with the fields of [`OptionInfo`].
pub fn options_json() -> String {
    let rows: Vec<serde_json::Value> = OPTIONS
        .iter()
        .map(|row| {
            let (kind, words, least, most) = match row.kind {
                Kind::Text => ("text", &[][..], None, None),
                Kind::Bool => ("bool", &[][..], None, None),
                Kind::Number(least, most) => ("number", &[][..], Some(least), Some(most)),
                Kind::Words(words) => ("words", words, None, None),
                Kind::Time => ("time", &[][..], None, None),
            };
            serde_json::json!({
                "key": row.key,
                "scope": match row.scope { Scope::Vault => "vault", Scope::Call => "call", Scope::Process => "process", Scope::Command => "command" },
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
    fn an_unknown_key_names_the_nearest() {
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
    fn secrets_are_not_shown() {
        let mut s = Settings::new();
        s.set("secret_key", "hush").unwrap();
        s.set("bucket", "b").unwrap();
        assert_eq!(format!("{s:?}"), r#"{"bucket": "b", "secret_key": "***"}"#);
    }

    #[test]
    fn defaults_pass_their_own_check() {
        for row in OPTIONS {
            Settings::new().set(row.key, row.default).unwrap();
        }
    }

    #[test]
    fn options_of_a_call_are_refused_for_a_vault() {
        let mut s = Settings::new();
        s.set("keyring", "k").unwrap();
        s.set("memory", "67108864").unwrap();
        assert!(s.only(Scope::Vault).is_ok());
        s.set("kind", "full").unwrap();
        assert_eq!(s.only(Scope::Vault).unwrap_err().code(), Code::InvalidOption);
    }
}
