//! The results of operations, and their comparison with the reference.

use s3vault_core::vault::names::segment;
use s3vault_core::vault::objects::{CATALOGUE, CatalogueKey};
use s3vault_core::vault::{Kind, Row};
use s3vault_core::{Code, Result as CoreResult};

use super::arrival::Storing;
use super::run::{Checked, Run, Work};
use super::sequence::{CONTAINERS, NAMES, Scope};
use crate::store::BUCKET;
use crate::task::Ended;

/// The result of an operation, in words that are the same in all modes: versions by their numbers in the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A version was stored.
    Stored(usize),
    /// A version was found, and its bytes were read.
    Read(usize),
    /// Versions were listed.
    Listed(Vec<Seen>),
    /// Containers were listed.
    Containers(Vec<String>),
    /// It failed.
    Failed(Code),
    /// Its process was killed; the version that it had stored by then.
    Killed(Option<usize>),
    /// A version or a backup was deleted, or that was taken back: a marker or a row was written.
    Deleted(usize),
    /// These versions were hidden.
    Hidden(Vec<usize>),
    /// There was nothing to do.
    Nothing,
    /// It was not done, since a put was under way that builds on the version.
    Kept,
}

/// A version in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    number: usize,
    kind: Option<Kind>,
    parent: Option<usize>,
    recorded_ms: i64,
    bytes: u64,
}

impl Run {
    /// Compares the result of an operation with the reference.
    pub(super) fn outcome(&self, number: usize, work: Work, result: CoreResult<Ended>) -> Checked<Outcome> {
        match (work, result) {
            (Work::Stranger(outcome), _) => Ok(outcome),
            (Work::Change(changing), result) => self.change_ended(number, changing, result),
            (Work::Put(storing), Ok(Ended::Stored(found))) => {
                let Some(stored) = storing.stored else {
                    return Err(format!("{number} acknowledges {}, which has no row", found.row.vid));
                };
                self.check_row(stored, &found.row)?;
                Ok(Outcome::Stored(stored))
            }
            (Work::Put(Storing { refused: Some(code), .. }), Err(e)) if e.code() == code => Ok(Outcome::Failed(code)),
            // It slept for so long that a sweep took it for abandoned.
            (Work::Put(Storing { stored: None, vid: Some(vid), .. }), Err(e))
                if e.code() == Code::Abandoned && self.reference.suspected.contains(&vid) =>
            {
                Ok(Outcome::Failed(Code::Abandoned))
            }
            (Work::Put(storing), Err(e)) => Err(format!("{number} cannot store: {e:?}, {storing:?}")),
            (Work::Find { expected: Err(code), .. }, Err(e)) if e.code() == code => Ok(Outcome::Failed(code)),
            (Work::Find { expected: Ok(expected), found: Some(_) }, Ok(Ended::Read)) => {
                match (self.writers[number].process.has_all(), self.writers[number].process.differs) {
                    (true, _) => Ok(Outcome::Read(expected)),
                    (_, differs) => Err(format!("{number} reads other bytes than were stored: {differs:?}")),
                }
            }
            (Work::Find { expected, .. }, Err(e)) => {
                Err(format!("{number} finds nothing: {e:?}, and not {expected:?}"))
            }
            (Work::List { scope: Some(scope), rows }, Ok(_)) => self.listed(scope, rows),
            (Work::List { scope: None, rows }, Ok(_)) => {
                let mut listed: Vec<String> = rows.into_iter().map(|row| row.container).collect();
                listed.sort();
                // One list of prefixes: markers make a container, too, as long as they are there.
                let bucket = self.store.bucket(BUCKET).ok();
                let is_there = |key: &CatalogueKey, container: &str| key.container == segment(container);
                let has = |container: &str| {
                    let mut keys = bucket.iter().flat_map(|bucket| bucket.keys(CATALOGUE));
                    keys.any(|(key, _)| CatalogueKey::parse(key).is_some_and(|key| is_there(&key, container)))
                };
                let has_versions = |container: &str| {
                    let mut all = self.reference.versions.iter();
                    all.any(|one| NAMES[one.name].0 == container && !one.is_gone)
                };
                if let Some(missing) = CONTAINERS.iter().find(|container| has_versions(container) && !has(container)) {
                    return Err(format!("container {missing} has versions, and no entry"));
                }
                let mut expected: Vec<String> =
                    CONTAINERS.iter().filter(|container| has(container)).map(|name| (*name).to_owned()).collect();
                expected.sort();
                if listed != expected {
                    return Err(format!("the containers are {listed:?}, and not {expected:?}"));
                }
                Ok(Outcome::Containers(listed))
            }
            (Work::List { .. }, Err(e)) => Err(format!("{number} cannot list: {e:?}")),
            _ => Err(format!("{number}'s machine ended with something else than it is for")),
        }
    }

    pub(super) fn listed(&self, scope: Scope, mut rows: Vec<Row>) -> Checked<Outcome> {
        // Names are in the order of their keys; the versions of each keep theirs.
        let place = |row: &Row| NAMES.iter().position(|name| *name == (&*row.container, &*row.path));
        rows.sort_by_key(place);
        let expected = self.reference.list(scope);
        let vids = |all: &[usize]| all.iter().map(|n| self.reference.versions[*n].vid.to_string()).collect::<Vec<_>>();
        let listed: Vec<String> = rows.iter().map(|row| row.vid.clone()).collect();
        if listed != vids(&expected) {
            return Err(format!("{scope:?} are {listed:?}, and not {:?}", vids(&expected)));
        }
        let seen = expected.iter().zip(&rows).map(|(number, row)| {
            self.check_row(*number, row)?;
            let parent = self.reference.versions[*number].parent;
            Ok(Seen { number: *number, kind: row.kind, parent, recorded_ms: row.recorded_ms, bytes: row.bytes })
        });
        Ok(Outcome::Listed(seen.collect::<Checked<_>>()?))
    }

    /// A row shows a version as the reference has it.
    pub(super) fn check_row(&self, number: usize, row: &Row) -> Checked<()> {
        let version = &self.reference.versions[number];
        let parent = version.parent.map(|parent| self.reference.versions[parent].vid.to_string());
        let (container, path) = NAMES[version.name];
        let is_same = (&*row.container, &*row.path) == (container, path)
            && row.vid == version.vid.to_string()
            && (row.kind, &row.parent) == (Some(version.kind), &parent)
            && (row.recorded_ms, row.bytes) == (version.recorded_ms, version.length);
        if is_same { Ok(()) } else { Err(format!("a row is {row:?}, and the version {version:?}")) }
    }
}
