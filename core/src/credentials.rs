//! Credentials: an access key, its secret, and a session token where the keys are temporary.

use std::fmt;

use zeroize::Zeroizing;

use crate::error::Result;
use crate::settings::Settings;

/// Static keys. Wiped when dropped, never shown.
#[derive(Clone)]
pub struct Credentials {
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: Zeroizing<String>,
    /// Session token of temporary keys.
    pub session_token: Option<Zeroizing<String>>,
}

impl Credentials {
    /// From the settings `access_key`, `secret_key` and `session_token`.
    pub fn from_settings(settings: &Settings) -> Result<Credentials> {
        let token = settings.text("session_token");
        Ok(Credentials {
            access_key: settings.required("access_key")?.to_owned(),
            secret_key: Zeroizing::new(settings.required("secret_key")?.to_owned()),
            session_token: (!token.is_empty()).then(|| Zeroizing::new(token.to_owned())),
        })
    }
}

impl Credentials {
    /// Whether the keys have expired.
    pub fn is_expired(&self, _unix_ms: i64) -> bool {
        false
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.access_key)
    }
}
