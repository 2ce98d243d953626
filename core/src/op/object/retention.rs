//! Object lock: "Locking objects with Object Lock", S3 user guide,
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html>

use crate::http::ReplyHead;
use crate::time::{parse_rfc3339, rfc3339};

/// Who can remove a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Users with `s3:BypassGovernanceRetention`.
    Governance,
    /// Nobody.
    Compliance,
}

impl LockMode {
    /// The mode as it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            LockMode::Governance => "GOVERNANCE",
            LockMode::Compliance => "COMPLIANCE",
        }
    }

    /// Parses a mode.
    pub fn parse(text: &str) -> Option<LockMode> {
        [LockMode::Governance, LockMode::Compliance].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// The lock of an object version, which nobody can delete until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Who can remove it.
    pub mode: LockMode,
    /// End of the lock in Unix milliseconds.
    pub until_ms: i64,
}

impl Retention {
    /// The headers that lock an object when it is created.
    pub fn headers(&self) -> [(String, String); 2] {
        [
            ("x-amz-object-lock-mode".into(), self.mode.as_str().into()),
            ("x-amz-object-lock-retain-until-date".into(), rfc3339(self.until_ms)),
        ]
    }

    /// The lock in the headers of a HEAD or GET. `None` also without the permission `s3:GetObjectRetention`.
    pub(super) fn from_head(head: &ReplyHead) -> Option<Retention> {
        let mode = LockMode::parse(head.header("x-amz-object-lock-mode")?)?;
        Some(Retention { mode, until_ms: parse_rfc3339(head.header("x-amz-object-lock-retain-until-date")?)? })
    }
}
