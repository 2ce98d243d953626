//! The reference: what a vault is, without a store. Its versions are in a list; everything else follows from it.

use s3vault_core::Code;
use s3vault_core::vault::{Kind, Vid};

use super::sequence::{NAMES, Scope, Which};

/// A version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// Index of its name in [`NAMES`].
    pub(super) name: usize,
    /// Orders the versions of a name.
    pub(super) vid: Vid,
    /// Full, incremental, or deleted.
    pub(super) kind: Kind,
    /// Number of its parent.
    pub(super) parent: Option<usize>,
    /// Its recorded time.
    pub(super) recorded_ms: i64,
    /// Length in bytes.
    pub(super) length: u64,
    /// Which source its bytes are from.
    pub(super) source: u32,
    /// It is deleted.
    pub(super) is_hidden: bool,
    /// It is deleted, and its row was removed.
    pub(super) is_gone: bool,
}

impl Version {
    /// The record that a backup was deleted.
    pub(super) fn deleted(name: usize, vid: Vid, recorded_ms: i64) -> Version {
        let (kind, parent, length, source) = (Kind::Del, None, 0, 0);
        Version { name, vid, kind, parent, recorded_ms, length, source, is_hidden: false, is_gone: false }
    }
}

/// Versions, in the order in which they became visible. A version's number is its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Reference {
    pub(super) versions: Vec<Version>,
    /// Version ids of puts that a sweep took for abandoned.
    pub(super) suspected: Vec<Vid>,
}

/// How far the newest version may be ahead of the clock, in milliseconds.
const AHEAD_MS: i64 = 3_600_000;

/// Whether a version is from a clock that was wrong.
pub(super) fn is_future(vid: Vid, clock: i64) -> bool {
    vid.unix_ms() > clock + AHEAD_MS
}

/// Whether a version is within a minute of the time from which [`is_future`] holds.
pub(super) fn is_near_future(vid: Vid, clock: i64) -> bool {
    vid.unix_ms().abs_diff(clock + AHEAD_MS) < 60_000
}

impl Reference {
    /// All versions of a name that have a row, newest first.
    pub(super) fn all(&self, name: usize) -> Vec<usize> {
        let mut own: Vec<usize> = (0..self.versions.len()).filter(|n| self.versions[*n].name == name).collect();
        own.retain(|n| !self.versions[*n].is_gone);
        own.sort_by_key(|n| self.versions[*n].vid);
        own
    }

    /// The visible versions of a name, newest first.
    pub(super) fn of(&self, name: usize) -> Vec<usize> {
        let mut own = self.all(name);
        own.retain(|n| !self.versions[*n].is_hidden);
        own
    }

    /// Whether a visible version builds on this one.
    pub(super) fn has_dependent(&self, number: usize) -> bool {
        self.versions.iter().any(|version| version.parent == Some(number) && !version.is_hidden)
    }

    /// Whether a visible version builds on this one, directly or through others.
    pub(super) fn is_needed(&self, number: usize) -> bool {
        let mut children = self.versions.iter().enumerate().filter(|(_, version)| version.parent == Some(number));
        children.any(|(n, child)| !child.is_hidden || self.is_needed(n))
    }

    /// Why a put is refused, if it is.
    pub(super) fn refuses_put(&self, name: usize, parent: Option<Vid>, clock: i64) -> Option<Code> {
        let (own, all) = (self.of(name), self.all(name));
        let is_future = all.first().is_some_and(|newest| is_future(self.versions[*newest].vid, clock));
        let is_parent = |n: &usize| Some(self.versions[*n].vid) == parent && self.versions[*n].kind != Kind::Del;
        match parent {
            _ if is_future => Some(Code::FutureVersion),
            Some(_) if !own.iter().any(is_parent) => Some(Code::BadParent),
            _ => None,
        }
    }

    /// The version that a lookup finds.
    pub(super) fn find(&self, name: usize, which: Which) -> Result<usize, Code> {
        let own = self.of(name);
        let chosen = match which {
            Which::Latest => own.first(),
            Which::Version(vid) => {
                let found = self.all(name).into_iter().find(|n| self.versions[*n].vid == vid);
                let found = found.filter(|n| !self.versions[*n].is_hidden || self.is_needed(*n));
                return found.filter(|n| self.versions[*n].kind != Kind::Del).ok_or(Code::NotFound);
            }
            Which::AsOf(at) => own.iter().find(|n| self.versions[**n].recorded_ms <= at),
            Which::Recorded { at, tolerance_ms } => {
                let distance = |n: &usize| self.versions[*n].recorded_ms.abs_diff(at);
                let full = own.iter().filter(|n| self.versions[**n].kind != Kind::Del);
                let near: Vec<&usize> = full.filter(|n| distance(n) <= tolerance_ms).collect();
                let exact: Vec<&usize> = near.iter().copied().filter(|n| distance(n) == 0).collect();
                match (&exact[..], &near[..]) {
                    ([one], _) | ([], [one]) => Some(*one),
                    ([], []) => None,
                    _ => return Err(Code::Ambiguous),
                }
            }
        };
        chosen.copied().filter(|n| self.versions[*n].kind != Kind::Del).ok_or(Code::NotFound)
    }

    /// The versions that a listing shows, name by name, those of a name newest first.
    pub(super) fn list(&self, scope: Scope) -> Vec<usize> {
        let is_in = |name: usize| match scope {
            Scope::All => true,
            Scope::Container(container) => NAMES[name].0 == container,
            Scope::Backup(only) => name == only,
            Scope::Paths(container, prefix) => NAMES[name].0 == container && NAMES[name].1.starts_with(prefix),
        };
        let own = |name: usize| {
            let all = self.of(name);
            let newest = all.first().copied().filter(|n| self.versions[*n].kind != Kind::Del);
            if let Scope::Paths(..) = scope { newest.into_iter().collect() } else { all }
        };
        (0..NAMES.len()).filter(|name| is_in(*name)).flat_map(own).collect()
    }
}
