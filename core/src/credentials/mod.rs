//! Credentials: an access key id, a secret key and, for temporary credentials, a session token and an expiry time.
//!
//! They are in the settings or, if the option `credentials` says so, in one of the places where AWS's own tools look
//! ([`chain`]).
//!
//! | file | contents |
//! |---|---|
//! | `chain` | finds the source of the credentials |
//! | `ini`, `shared` | parse the shared config and credentials files |
//! | `document` | parses the JSON of processes and endpoints |
//! | `endpoint` | decides which URLs credentials may be requested from |
//! | `fetch` | the machine that requests them |

pub mod chain;
mod document;
mod endpoint;
mod fetch;
mod ini;
mod shared;

use std::fmt;

use zeroize::Zeroizing;

use crate::error::{Code, Error, Result};
use crate::settings::Settings;

pub use document::parse_process;
pub use fetch::Fetch;

/// How long before they expire temporary credentials are renewed, in milliseconds: a request that was signed with the old
/// ones must still arrive in time. The AWS SDKs use five minutes too.
const REFRESH_MS: i64 = 300_000;

/// Credentials. The secrets are zeroized on drop, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: Zeroizing<String>,
    /// Session token of temporary credentials.
    pub session_token: Option<Zeroizing<String>>,
    /// When they expire, in Unix milliseconds; `None` if they do not, or if it is not known.
    pub expires_ms: Option<i64>,
}

impl Credentials {
    /// The credentials in the options `access_key`, `secret_key` and `session_token`.
    pub fn from_settings(settings: &Settings) -> Result<Credentials> {
        let token = settings.text("session_token");
        let (access_key, secret_key) = (settings.required("access_key")?, settings.required("secret_key")?);
        // These are sent in headers; the secret key is not.
        for (option, value) in [("access_key", access_key), ("session_token", token)] {
            if let Some(wrong) = first_wrong(value) {
                return Err(Error::new(Code::InvalidOption, format!("option {option} {wrong}"))
                    .with_hint(format!("Set {option} to the value alone. {KEY_FORM}")));
            }
        }
        Ok(Credentials {
            access_key: access_key.to_owned(),
            secret_key: Zeroizing::new(secret_key.to_owned()),
            session_token: (!token.is_empty()).then(|| Zeroizing::new(token.to_owned())),
            expires_ms: None,
        })
    }

    /// Whether to renew them now, since they expire within five minutes.
    pub fn is_due(&self, unix_ms: i64) -> bool {
        self.expires_ms.is_some_and(|end| unix_ms >= end.saturating_sub(REFRESH_MS))
    }

    /// Whether they have expired.
    pub fn is_expired(&self, unix_ms: i64) -> bool {
        self.expires_ms.is_some_and(|end| unix_ms >= end)
    }

    /// Credentials from outside the settings. Fails, with the reason, if a value is not valid in a header.
    fn checked(
        access_key: &str,
        secret_key: &str,
        session_token: Option<&str>,
        expires_ms: Option<i64>,
    ) -> Result<Credentials, String> {
        let clean = |what: &str, value: &str| match value.trim() {
            "" => Err(format!("its {what} is empty")),
            value => match first_wrong(value) {
                None => Ok(Zeroizing::new(value.to_owned())),
                Some(wrong) => Err(format!("its {what} {wrong}")),
            },
        };
        let session_token = match session_token {
            None | Some("") => None,
            Some(token) => Some(clean("session token", token)?),
        };
        Ok(Credentials {
            access_key: clean("access key", access_key)?.to_string(),
            secret_key: clean("secret key", secret_key)?,
            session_token,
            expires_ms,
        })
    }
}

/// What keys look like, for hints.
const KEY_FORM: &str = "Keys consist of printable ASCII characters, without spaces and line ends.";

/// Describes the first character of a key that is not valid in a header, and shows nothing else of the key.
fn first_wrong(value: &str) -> Option<String> {
    let (at, c) = value.char_indices().find(|(_, c)| !c.is_ascii_graphic())?;
    let what = match c {
        '\n' | '\r' => "a line end",
        ' ' => "a space",
        '\0' => "NUL",
        c if c.is_control() => "a control character",
        _ => "a character outside of ASCII",
    };
    Some(format!("contains {what} (byte {} of {})", at + 1, value.len()))
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.access_key)
    }
}

/// Where the credentials come from, according to the settings.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The settings.
    Static(Credentials),
    /// The source that [`chain::resolve`] finds.
    Chain {
        /// The option `profile`; empty if it is not set.
        profile: String,
    },
}

impl Origin {
    /// The origin according to the options `credentials`, `profile` and those of the keys. Contradictory options are an
    /// error: it must be clear which credentials are used.
    pub fn from_settings(settings: &Settings) -> Result<Origin> {
        let profile = settings.text("profile").to_owned();
        if settings.text("credentials") != "chain" {
            if !profile.is_empty() {
                return Err(contradiction(
                    "profile is set, but credentials = static does not use profiles",
                    "Set credentials = chain, or remove profile.",
                ));
            }
            return Credentials::from_settings(settings).map(Origin::Static);
        }
        match ["access_key", "secret_key", "session_token"].into_iter().find(|key| !settings.text(key).is_empty()) {
            None => Ok(Origin::Chain { profile }),
            Some(key) => Err(contradiction(
                &format!("{key} is set, but credentials = chain does not use it"),
                &format!("Remove {key}, or set credentials = static."),
            )),
        }
    }
}

fn contradiction(what: &str, hint: &str) -> Error {
    Error::new(Code::InvalidOption, what).with_hint(hint)
}

/// The error of a source that has no usable credentials.
fn unusable(why: impl Into<String>) -> Error {
    Error::new(Code::Credentials, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn settings(values: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new();
        for (key, value) in values {
            settings.set(key, value).unwrap();
        }
        settings
    }

    #[test]
    fn credentials_are_renewed_before_they_expire() {
        let mut keys = Credentials::checked("A", "S", None, Some(1_000_000)).unwrap();
        for (now, due, expired) in [(699_999, false, false), (700_000, true, false), (1_000_000, true, true)] {
            assert_eq!((keys.is_due(now), keys.is_expired(now)), (due, expired), "{now}");
        }
        keys.expires_ms = None;
        assert!(!keys.is_due(i64::MAX) && !keys.is_expired(i64::MAX));
        keys.expires_ms = Some(i64::MIN);
        assert!(keys.is_due(0));
    }

    #[test]
    fn the_chain_is_used_only_if_the_option_says_so() {
        let keys = [("access_key", "A"), ("secret_key", "hush"), ("session_token", "hush-token")];
        assert!(matches!(Origin::from_settings(&settings(&keys)).unwrap(), Origin::Static(keys)
            if keys.access_key == "A" && *keys.secret_key == "hush" && keys.session_token.is_some()));
        let chain = settings(&[("credentials", "chain"), ("profile", "backup")]);
        assert!(matches!(Origin::from_settings(&chain).unwrap(), Origin::Chain { profile } if profile == "backup"));
        let e = Origin::from_settings(&settings(&[])).unwrap_err();
        assert_eq!(e.message(), "option access_key is not set");
    }

    #[test]
    fn contradictory_options_are_errors() {
        for (key, value) in [("access_key", "A"), ("secret_key", "hush"), ("session_token", "hush")] {
            let e = Origin::from_settings(&settings(&[("credentials", "chain"), (key, value)])).unwrap_err();
            assert_eq!(e.code(), Code::InvalidOption);
            assert!(e.message().starts_with(key) && !e.to_string().contains("hush"), "{e}");
        }
        let e = Origin::from_settings(&settings(&[("access_key", "A"), ("secret_key", "S"), ("profile", "x")]));
        assert!(e.unwrap_err().message().starts_with("profile is set"));
    }

    #[test]
    fn values_that_are_not_valid_in_a_header_are_refused_and_not_shown() {
        for (access, secret, token, why) in [
            ("", "hush", None, "its access key is empty"),
            ("A", " ", None, "its secret key is empty"),
            ("A\nhush", "S", None, "its access key contains a line end (byte 2 of 6)"),
            ("A", "hush\u{fc}", None, "its secret key contains a character outside of ASCII (byte 5 of 6)"),
            ("A", "S", Some("hush hush"), "its session token contains a space (byte 5 of 9)"),
            ("A", "S", Some("hush\0hush"), "its session token contains NUL (byte 5 of 9)"),
            ("A\u{7f}hush", "S", None, "its access key contains a control character (byte 2 of 6)"),
        ] {
            let e = Credentials::checked(access, secret, token, None).unwrap_err();
            assert!(e.starts_with(why) && !e.contains("hush"), "{e}");
        }
        let keys = Credentials::checked(" A\n", "hush", Some("hush"), None).unwrap();
        assert_eq!(format!("{keys:?}"), "Credentials(A)");
    }

    #[test]
    fn an_option_that_is_not_valid_in_a_header_is_named_and_not_shown() {
        let keys = [("access_key", "A"), ("secret_key", "S"), ("session_token", "T")];
        assert!(Credentials::from_settings(&settings(&keys)).is_ok());
        for (option, value, why) in [
            ("access_key", "hush hush", "option access_key contains a space (byte 5 of 9)"),
            ("access_key", "hush\u{fc}", "option access_key contains a character outside of ASCII"),
            ("access_key", "hush\nhush", "option access_key contains a line end"),
            ("session_token", "hush\nhush", "option session_token contains a line end"),
            ("session_token", "hush\u{7f}hush", "option session_token contains a control character"),
            ("session_token", "hush\u{fc}", "option session_token contains a character outside of ASCII"),
        ] {
            let mut settings = settings(&keys);
            settings.set(option, value).unwrap();
            let e = Credentials::from_settings(&settings).unwrap_err();
            assert_eq!(e.code(), Code::InvalidOption, "{e}");
            assert!(e.message().starts_with(why), "{e}");
            assert!(e.hint().contains(&format!("Set {option} to the value alone.")), "{e:?}");
            assert!(!format!("{e} {e:?}").contains("hush"), "{e}");
        }
        // These are refused when the option is set.
        for (option, _) in keys {
            for wrong in ["a\r\nx: y", "a\0b"] {
                let e = Settings::new().set(option, wrong).unwrap_err();
                assert_eq!(e.code(), Code::InvalidOption, "{e}");
                assert!(e.message().contains(&format!("for option {option}: expected text without control")), "{e}");
            }
        }
        // A secret key is not sent, so it may contain other text.
        assert!(Credentials::from_settings(&settings(&[("access_key", "A"), ("secret_key", "ü 1")])).is_ok());
    }
}
