//! What a job did, and what it says of each version while it runs.

use std::fmt;

use crate::time::rfc3339;
use crate::vault::objects::Kind;

/// What a job did, or would do, with a version or an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// The version stays.
    Keep,
    /// The version was marked as deleted: it is hidden, and its space is freed when the marker is old enough.
    Delete,
    /// The version's objects were removed.
    Free,
    /// An abandoned put was marked: its space is freed when the marker is old enough.
    Suspect,
    /// It is too early, or something else has to come first: run the job again later.
    Wait,
    /// The store refused to delete it, because of a lock or a missing permission: a later run tries again.
    Refused,
    /// Something is wrong with it: nothing was changed.
    Problem,
    /// An object that another program wrote was made a version.
    Adopt,
    /// The version's data key was wrapped with the current key-encryption key.
    Rotate,
    /// The version's data was copied under a new data key.
    Rekey,
    /// The version stays under the data key that it has, since only a new backup can have another one.
    Leave,
    /// An upload that the version does not need was aborted. The version stays.
    Abort,
}

impl Action {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Keep => "keep",
            Action::Delete => "delete",
            Action::Free => "free",
            Action::Suspect => "suspect",
            Action::Wait => "wait",
            Action::Refused => "refused",
            Action::Problem => "problem",
            Action::Adopt => "adopt",
            Action::Rotate => "rotate",
            Action::Rekey => "rekey",
            Action::Leave => "leave",
            Action::Abort => "abort",
        }
    }
}

/// What a job says of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What happens to it.
    pub action: Action,
    /// The container.
    pub container: String,
    /// The path.
    pub path: String,
    /// The version; empty if it is about the whole backup.
    pub vid: String,
    /// Full, incremental, or deleted, if that is known.
    pub kind: Option<Kind>,
    /// The instant that identifies the version, in Unix milliseconds, if it is known.
    pub recorded_ms: Option<i64>,
    /// Its size in bytes; for what was removed, the bytes that it took in the store.
    pub bytes: u64,
    /// Why.
    pub reason: String,
    /// Nothing was done: it is what would happen.
    pub dry_run: bool,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let would = if self.dry_run && !matches!(self.action, Action::Keep | Action::Wait | Action::Leave) {
            "would "
        } else {
            ""
        };
        write!(f, "{would}{} {} {}", self.action.as_str(), self.container, self.path)?;
        if !self.vid.is_empty() {
            write!(f, " {}", self.vid)?;
        }
        if let (Some(kind), Some(recorded_ms)) = (self.kind, self.recorded_ms) {
            write!(f, " ({}, {})", kind.as_str(), rfc3339(recorded_ms))?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl Item {
    /// The item as one line of JSON: times are RFC 3339 in UTC.
    pub fn to_json(&self) -> String {
        let recorded = self.recorded_ms.map(rfc3339);
        let vid = Some(&self.vid).filter(|vid| !vid.is_empty());
        serde_json::json!({
            "action": self.action.as_str(), "dry_run": self.dry_run, "container": self.container, "path": self.path,
            "vid": vid, "kind": self.kind.map(Kind::as_str), "recorded": recorded, "bytes": self.bytes,
            "reason": self.reason, "text": self.to_string(),
        })
        .to_string()
    }
}

/// What a job did altogether.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// It was a dry run: what the numbers say would happen.
    pub dry_run: bool,
    /// Number of backups that were looked at.
    pub backups: u64,
    /// Number of versions that were looked at.
    pub versions: u64,
    /// Number of versions that stay.
    pub kept: u64,
    /// Number of versions that were marked as deleted.
    pub deleted: u64,
    /// Bytes of the versions that were marked as deleted.
    pub deleted_bytes: u64,
    /// Number of versions whose objects were removed.
    pub freed: u64,
    /// Bytes in the store that were freed.
    pub freed_bytes: u64,
    /// Number of abandoned puts that were marked.
    pub suspected: u64,
    /// Number of versions that have to wait for a later run.
    pub waiting: u64,
    /// Number of objects of other programs that were made versions.
    pub adopted: u64,
    /// Number of uploads that were aborted although their version stays. Their bytes are among those that were freed.
    pub aborted: u64,
    /// Number of versions whose data key was wrapped with the current key-encryption key.
    pub rotated: u64,
    /// Number of versions whose data was copied under a new data key.
    pub rekeyed: u64,
    /// Bytes of these versions in the store.
    pub rekeyed_bytes: u64,
    /// Number of versions that a re-keying leaves under the data key that they have: only a new backup can have another one.
    pub left: u64,
    /// Number of problems.
    pub problems: u64,
    /// What the first problems are, as items say it.
    pub problem_texts: Vec<String>,
}

/// Most problems that a report has the text of.
const PROBLEMS: usize = 100;

impl Report {
    /// Counts an item.
    pub(crate) fn count(&mut self, item: &Item) {
        match item.action {
            Action::Keep => self.kept += 1,
            Action::Delete => {
                self.deleted += 1;
                self.deleted_bytes += item.bytes;
            }
            Action::Free => {
                self.freed += 1;
                self.freed_bytes += item.bytes;
            }
            Action::Suspect => self.suspected += 1,
            Action::Wait | Action::Refused => self.waiting += 1,
            Action::Adopt => self.adopted += 1,
            Action::Rotate => self.rotated += 1,
            Action::Rekey => {
                self.rekeyed += 1;
                self.rekeyed_bytes += item.bytes;
            }
            Action::Leave => self.left += 1,
            Action::Abort => {
                self.aborted += 1;
                self.freed_bytes += item.bytes;
            }
            Action::Problem => {
                self.problems += 1;
                if self.problem_texts.len() < PROBLEMS {
                    self.problem_texts.push(item.to_string());
                }
            }
        }
    }

    /// Number of items that were reported.
    pub fn items(&self) -> u64 {
        self.kept
            + self.deleted
            + self.freed
            + self.suspected
            + self.waiting
            + self.adopted
            + self.aborted
            + self.rotated
            + self.rekeyed
            + self.left
            + self.problems
    }

    /// The report as JSON.
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "dry_run": self.dry_run, "backups": self.backups, "versions": self.versions, "kept": self.kept,
            "deleted": self.deleted, "deleted_bytes": self.deleted_bytes, "freed": self.freed,
            "freed_bytes": self.freed_bytes, "suspected": self.suspected, "waiting": self.waiting,
            "adopted": self.adopted, "aborted": self.aborted, "rotated": self.rotated, "rekeyed": self.rekeyed,
            "rekeyed_bytes": self.rekeyed_bytes, "left": self.left, "problems": self.problems, "problem_texts": self.problem_texts,
        })
        .to_string()
    }

    /// Adds the report of another bucket.
    pub fn add(&mut self, other: Report) {
        self.dry_run |= other.dry_run;
        self.backups += other.backups;
        self.versions += other.versions;
        self.kept += other.kept;
        self.deleted += other.deleted;
        self.deleted_bytes += other.deleted_bytes;
        self.freed += other.freed;
        self.freed_bytes += other.freed_bytes;
        self.suspected += other.suspected;
        self.waiting += other.waiting;
        self.adopted += other.adopted;
        self.aborted += other.aborted;
        self.rotated += other.rotated;
        self.rekeyed += other.rekeyed;
        self.rekeyed_bytes += other.rekeyed_bytes;
        self.left += other.left;
        self.problems += other.problems;
        let room = PROBLEMS.saturating_sub(self.problem_texts.len());
        self.problem_texts.extend(other.problem_texts.into_iter().take(room));
    }
}
