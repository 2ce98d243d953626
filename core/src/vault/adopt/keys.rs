//! The SSE-C keys of objects that another program wrote, as the caller of an adoption gives them: JSON lines, one object for
//! each key.
//!
//! ```text
//! {"key": "web01/disk.img", "version_id": "3HL4kqtJlcpXroDTDmJ", "sse_c_key": "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k="}
//! {"key": "web01/disk.img", "sse_c_key": "EjRWeJq83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vA="}
//! ```
//! A line without `version_id` is for all versions of its key that no other line names.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::crypto::data_key::DataKey;
use crate::error::{Code, Error, Result};

/// The keys, by key and version id of the object.
#[derive(Default)]
pub struct CustomerKeys {
    keys: HashMap<(String, Option<String>), Given>,
}

/// A key, and the number of its line.
struct Given {
    line: usize,
    key: DataKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// Key of the object.
    key: String,
    /// Its version id; `None`: any.
    #[serde(default)]
    version_id: Option<String>,
    /// The SSE-C key: 32 bytes in base64.
    sse_c_key: Zeroizing<String>,
}

impl fmt::Debug for CustomerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomerKeys({} ***)", self.keys.len())
    }
}

impl CustomerKeys {
    /// Parses the content of a key file. Empty lines are skipped. An error names the line, and nothing that is in it.
    pub fn parse(text: &[u8]) -> Result<CustomerKeys> {
        let mut keys = CustomerKeys::default();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            if !line.trim_ascii().is_empty() {
                keys.add(number, line).map_err(|why| refused(&format!("line {number}: {why}")))?;
            }
        }
        if keys.is_empty() { Err(refused("it has no keys")) } else { Ok(keys) }
    }

    fn add(&mut self, number: usize, line: &[u8]) -> Result<(), String> {
        // serde's own message could show the key.
        let line: Line = serde_json::from_slice(line).map_err(|e| {
            format!("it is not a JSON object with key, sse_c_key and perhaps version_id, at column {}", e.column())
        })?;
        let bytes: Zeroizing<Vec<u8>> = STANDARD.decode(line.sse_c_key.as_bytes()).unwrap_or_default().into();
        let bytes: Zeroizing<[u8; 32]> =
            Zeroizing::new(bytes.as_slice().try_into().map_err(|_| "its sse_c_key is not 32 bytes in base64")?);
        let key = DataKey::new(*bytes);
        let of = (without_slash(&line.key).to_owned(), line.version_id);
        match self.keys.get(&of) {
            Some(other) if other.key != key => Err(format!("line {} has another key for the same object", other.line)),
            _ => {
                self.keys.insert(of, Given { line: number, key });
                Ok(())
            }
        }
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key of an object.
    pub(super) fn of(&self, key: &str, version_id: Option<&str>) -> Option<&DataKey> {
        let key = without_slash(key).to_owned();
        let exact = self.keys.get(&(key.clone(), version_id.map(str::to_owned)));
        exact.or_else(|| self.keys.get(&(key, None))).map(|given| &given.key)
    }
}

/// An object's key as `container/path`, also where the vault's keys start with a slash.
fn without_slash(key: &str) -> &str {
    key.strip_prefix('/').unwrap_or(key)
}

fn refused(why: &str) -> Error {
    Error::new(Code::InvalidOption, format!("the key file is not valid: {why}"))
        .with_hint("Write one object per line: {\"key\": \"CONTAINER/PATH\", \"version_id\": \"ID\", \"sse_c_key\": \"32 bytes in base64\"}. Without version_id, the key is for all versions.")
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn base64(byte: u8) -> String {
        STANDARD.encode([byte; 32])
    }

    #[test]
    fn a_line_with_a_version_id_counts_before_one_for_all_versions() {
        let (one, two, three) = (base64(1), base64(2), base64(3));
        let text = format!(
            "{{\"key\":\"vm/disk\",\"sse_c_key\":\"{one}\"}}\r\n\n{{\"sse_c_key\":\"{two}\",\"version_id\":\"v2\",\"key\":\"vm/disk\"}}\n\
             {{\"key\":\"/vm/a \\\"b\\\"\",\"version_id\":\"null\",\"sse_c_key\":\"{three}\"}}"
        );
        let keys = CustomerKeys::parse(text.as_bytes()).unwrap();
        let of = |key: &str, version_id| keys.of(key, version_id).map(|key| key.bytes()[0]);
        assert_eq!(
            (of("vm/disk", Some("v1")), of("/vm/disk", None), of("vm/disk", Some("v2"))),
            (Some(1), Some(1), Some(2))
        );
        assert_eq!(
            (of("vm/a \"b\"", Some("null")), of("vm/a \"b\"", Some("v1")), of("vm/x", None)),
            (Some(3), None, None)
        );
        assert_eq!(format!("{keys:?}"), "CustomerKeys(3 ***)");
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_nothing_of_it_is_shown() {
        let (one, two) = (base64(1), base64(2));
        let good = format!("{{\"key\":\"vm/disk\",\"sse_c_key\":\"{one}\"}}");
        for (bad, why) in [
            (format!("vm/disk {two}"), "line 3: it is not a JSON object"),
            (format!("{{\"key\":\"vm/disk\",\"sse_c_key\":\"{two}\",\"more\":1}}"), "line 3: it is not a JSON object"),
            (format!("{{\"key\":\"{two}\"}}"), "line 3: it is not a JSON object"),
            (format!("{{\"key\":\"vm/disk\",\"sse_c_key\":[\"{two}\"]}}"), "line 3: it is not a JSON object"),
            (format!("{{\"key\":\"vm/x\",\"sse_c_key\":\"{}\"}}", &two[..40]), "line 3: its sse_c_key is not 32 bytes"),
            (format!("{{\"key\":\"vm/disk\",\"sse_c_key\":\"{two}\"}}"), "line 3: line 1 has another key"),
        ] {
            let e = CustomerKeys::parse(format!("{good}\n\n{bad}\n").as_bytes()).unwrap_err();
            assert!(e.code() == Code::InvalidOption && e.message().contains(why), "{e}");
            assert!(!format!("{e:?} {e} {}", e.hint()).contains(&two[..12]), "{e}");
        }
        assert!(CustomerKeys::parse(format!("{good}\n{good}").as_bytes()).is_ok(), "the same line twice");
        assert!(CustomerKeys::parse(b" \n").unwrap_err().message().contains("has no keys"));
    }
}
