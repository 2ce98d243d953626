//! Profiles in the shared files (AWS SDKs and Tools reference guide, "Shared config and credentials files").
//!
//! In the config file, a profile is `[profile NAME]` or `[default]`; in the credentials file, it is `[NAME]`. If both
//! files have a value, the credentials file takes precedence; but a pair of keys always comes from one file.

use super::ini::{self, Section, Values};
use crate::error::{Code, Error, Result};
use zeroize::Zeroizing;

/// A file that may exist.
#[derive(Clone, Default)]
pub struct File {
    /// Path of the file, for messages.
    pub name: String,
    /// Contents of the file.
    pub content: Content,
}

/// Contents of a file.
#[derive(Clone, Default)]
pub enum Content {
    /// The file does not exist.
    #[default]
    Absent,
    /// The file exists but cannot be read, for this reason.
    Unreadable(String),
    /// The text of the file.
    Text(Zeroizing<String>),
}

impl File {
    /// The text; `None` if the file does not exist. A file that cannot be read is an error: no other credentials may be
    /// used instead of those in it.
    pub(super) fn text(&self) -> Result<Option<&str>> {
        match &self.content {
            Content::Absent => Ok(None),
            Content::Text(text) => Ok(Some(text)),
            Content::Unreadable(why) => Err(Error::new(Code::Config, format!("cannot read {}: {why}", self.name))
                .with_hint("Check the file's permissions.")),
        }
    }

    fn sections(&self) -> Result<Vec<Section>> {
        let Some(text) = self.text()? else { return Ok(Vec::new()) };
        ini::parse(text)
            .map_err(|fault| Error::new(Code::Config, format!("{}, line {}: {}", self.name, fault.line, fault.why)))
    }
}

/// A profile: its section in each file.
#[derive(Default)]
pub(super) struct Profile {
    pub(super) config: Option<Values>,
    pub(super) credentials: Option<Values>,
}

impl Profile {
    pub(super) fn read(name: &str, config: &File, credentials: &File) -> Result<Profile> {
        let of = |sections: Vec<Section>, is_it: &dyn Fn(&str) -> bool| {
            // Two sections can be the same profile: [default] and [profile default]. The later one is used.
            sections.into_iter().rev().find(|section| is_it(&section.name)).map(|section| section.values)
        };
        Ok(Profile {
            config: of(config.sections()?, &|section| profile_of(section).as_deref() == Some(name)),
            credentials: of(credentials.sections()?, &|section| section == name),
        })
    }

    pub(super) fn is_there(&self) -> bool {
        self.config.is_some() || self.credentials.is_some()
    }

    /// A value that is not empty; the credentials file takes precedence.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let in_either = self.credentials.iter().chain(&self.config).find_map(|values| ini::get(values, name));
        in_either.filter(|value| !value.is_empty())
    }
}

/// The name of the profile that a section of the config file describes. It may be quoted.
fn profile_of(section: &str) -> Option<String> {
    if section == "default" {
        return Some(section.to_owned());
    }
    if !section.starts_with("profile") {
        return None;
    }
    match <[String; 2]>::try_from(shlex::split(section)?) {
        Ok([_, name]) => Some(name),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn which_sections_are_profiles() {
        for (section, profile) in [
            ("default", Some("default")),
            ("profile default", Some("default")),
            ("profile a", Some("a")),
            ("profile \"a b\"", Some("a b")),
            ("profile 'a'", Some("a")),
            ("profile  a", Some("a")),
            ("profile a b", None),
            ("profile \"a", None),
            ("profile", None),
            ("a", None),
            ("sso-session a", None),
        ] {
            assert_eq!(profile_of(section).as_deref(), profile, "{section}");
        }
    }
}
