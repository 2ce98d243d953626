//! Labels of a version: short texts that its put chose, stored in the manifest. They are for those who look for a version;
//! the vault itself knows one of them, [`HOLD`].

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Code, Error, Result};
use crate::text::presentable_up_to;

/// The label that protects a version from prune, whatever its value.
pub const HOLD: &str = "hold";

/// Most labels of a version.
const MOST: usize = 32;
/// Most bytes of a key, and of a value.
const KEY_LIMIT: usize = 63;
const VALUE_LIMIT: usize = 255;

/// The labels of a version, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Parses the option `labels`: `key=value`, several separated by commas or line ends. Space around a label and
    /// around its key does not count.
    pub fn parse(text: &str) -> Result<Labels> {
        let mut labels = Labels::default();
        for word in text.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty()) {
            let Some((key, value)) = word.split_once('=') else {
                return Err(refused(word, "it is not KEY=VALUE"));
            };
            let (key, value) = (key.trim(), value.trim());
            check(key, value).map_err(|why| refused(word, why))?;
            if labels.0.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(refused(word, "its key is there twice"));
            }
        }
        match labels.0.len() {
            ..=MOST => Ok(labels),
            count => {
                let why = format!("labels: there are {count}, but a version has at most {MOST}");
                Err(Error::new(Code::InvalidOption, why))
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether prune must leave the version alone.
    pub fn holds(&self) -> bool {
        self.0.contains_key(HOLD)
    }

    /// Keys and values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// One label per line, each `key=value`: the form that [`Labels::parse`] reads.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(key, value)| writeln!(f, "{key}={value}"))
    }
}

/// A manifest may come from anyone: its labels have the same limits.
impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Labels, D::Error> {
        let labels = BTreeMap::<String, String>::deserialize(deserializer)?;
        if labels.len() > MOST {
            return Err(serde::de::Error::custom(format!("it has {} labels, more than {MOST}", labels.len())));
        }
        for (key, value) in &labels {
            check(key, value).map_err(|why| serde::de::Error::custom(format!("a label is not valid: {why}")))?;
        }
        Ok(Labels(labels))
    }
}

fn check(key: &str, value: &str) -> std::result::Result<(), &'static str> {
    let is_allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    if key.is_empty() || key.len() > KEY_LIMIT || !key.bytes().all(is_allowed) {
        return Err("a key has 1 to 63 of A-Z, a-z, 0-9, '.', '_' and '-'");
    }
    if value.len() > VALUE_LIMIT || value.contains(|c: char| c == ',' || c.is_control()) {
        return Err("a value has at most 255 bytes, without commas and control characters");
    }
    Ok(())
}

fn refused(label: &str, why: &str) -> Error {
    let shown = presentable_up_to(80, label);
    Error::new(Code::InvalidOption, format!("labels: '{shown}' is not a label: {why}"))
        .with_hint("Write KEY=VALUE, several separated by commas or line ends.")
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn labels_are_read_and_shown_in_one_form() {
        let labels = Labels::parse(" policy = daily, host=größe \n\nhold=,\n a.b-c_D9=x=y").unwrap();
        let shown = "a.b-c_D9=x=y\nhold=\nhost=größe\npolicy=daily\n";
        assert_eq!(labels.to_string(), shown);
        assert_eq!(Labels::parse(shown).unwrap(), labels);
        assert!(labels.holds() && labels.get("policy") == Some("daily") && labels.get("other").is_none());
        assert!(Labels::parse("").unwrap().is_empty() && !Labels::parse("held=1").unwrap().holds());
    }

    #[test]
    fn what_is_not_a_label_is_named() {
        let long = |key: usize, value: usize| format!("{}={}", "k".repeat(key), "v".repeat(value));
        assert!(Labels::parse(&long(63, 255)).is_ok());
        for bad in ["word", "=x", "a b=x", "ä=x", "a/b=x", &long(64, 1), &long(1, 256), "a=1,a=2", "a=\u{7}x"] {
            let e = Labels::parse(bad).unwrap_err();
            assert_eq!(e.code(), Code::InvalidOption, "{bad}");
            assert!(e.message().starts_with("labels: '") && e.message().len() < 300, "{e}");
        }
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v\n")).collect::<String>();
        assert!(Labels::parse(&many(32)).is_ok());
        assert!(Labels::parse(&many(33)).unwrap_err().message().contains("there are 33"));
    }

    #[test]
    fn the_labels_of_a_manifest_have_the_same_limits() {
        let read = |json: &str| serde_json::from_str::<Labels>(json);
        assert_eq!(read(r#"{"b":"2","a":""}"#).unwrap().to_string(), "a=\nb=2\n");
        for bad in [r#"{"a b":"1"}"#, r#"{"a":"1\n2"}"#, r#"{"a":"1,2"}"#, r#"{"a":1}"#, r#"["a"]"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
