//! Immutable versions: the store refuses to delete what a put stored, until the end of a lock (object lock).
//!
//! The data objects, the locator and the catalogue entry are locked from the moment they are stored. An incremental is
//! worth nothing without its ancestors, so its put extends their locks to the end of its own, before its entry is
//! written. Markers and `vault.json` are never locked.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::layout::{Layout, Versioning};
use crate::error::{Code, Error, Result};
use crate::op::{LockMode, Retention};
use crate::settings::Settings;

/// How long versions cannot be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Immutable {
    mode: LockMode,
    days: i64,
}

const DAY_MS: i64 = 86_400_000;

impl Immutable {
    /// The settings `immutable_days` and `immutable_mode`.
    pub(crate) fn from_settings(settings: &Settings, layout: &Layout) -> Result<Option<Immutable>> {
        let days = settings.number("immutable_days") as i64;
        if days == 0 {
            return Ok(None);
        }
        if layout.versioning() == Versioning::Emulated {
            let why = format!("immutable_days = {days}: locks need a bucket with versioning, and this mode has none");
            return Err(Error::new(Code::InvalidOption, why).with_hint(
                "Use a mode with native versions on a bucket that was created with object lock, or remove immutable_days.",
            ));
        }
        let mode =
            if settings.text("immutable_mode") == "compliance" { LockMode::Compliance } else { LockMode::Governance };
        Ok(Some(Immutable { mode, days }))
    }

    /// The lock of a put that starts at this time. It ends with the day (UTC), so that hourly incrementals extend the locks
    /// of their chain once a day, and not each time.
    pub(crate) fn from(self, unix_ms: i64) -> Lock {
        let until = unix_ms.saturating_add(self.days.saturating_mul(DAY_MS));
        let until = until.saturating_add(DAY_MS - 1).div_euclid(DAY_MS).saturating_mul(DAY_MS);
        Lock { mode: self.mode.into(), until }
    }
}

/// Days and mode, as a checkpoint records them.
impl fmt::Display for Immutable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} days, {}", self.days, self.mode.as_str().to_ascii_lowercase())
    }
}

/// The mode of a lock, as manifests name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Users with `s3:BypassGovernanceRetention` can remove the lock.
    Governance,
    /// Nobody can remove the lock.
    Compliance,
}

impl From<LockMode> for Mode {
    fn from(mode: LockMode) -> Mode {
        match mode {
            LockMode::Governance => Mode::Governance,
            LockMode::Compliance => Mode::Compliance,
        }
    }
}

/// The lock that a version was stored with. It may have been extended since, for incrementals that build on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Who can remove it.
    pub mode: Mode,
    /// Its end, in Unix milliseconds.
    pub until: i64,
}

impl Lock {
    /// The lock as the store knows it.
    pub(crate) fn retention(self) -> Retention {
        let mode = match self.mode {
            Mode::Governance => LockMode::Governance,
            Mode::Compliance => LockMode::Compliance,
        };
        Retention { mode, until_ms: self.until }
    }

    /// The headers of an object that is stored with this lock.
    pub(crate) fn headers(self) -> [(String, String); 2] {
        self.retention().headers()
    }
}
