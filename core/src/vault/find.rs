//! Finding a version: one LIST of the catalogue, one GET of the row.
//!
//! ```text
//!  Start ──the only version whose id starts like that, or that was recorded at that time──▶ List
//!  List ──page without an answer──▶ List      Row ──not verified──▶ Row (the next row of the same vid)
//!    │ a visible row                            │ verified
//!    └────────────▶ Row                         └──▶ Done
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::objects::{CatalogueKey, Entry, Kind, RowKey, catalogue_prefix};
use super::{Manifest, Name, Row, Vault, Vid, VidPrefix, manifest};
use crate::error::{Code, Error};
use crate::mutation::{Mutation, is_active};
use crate::op::{GetObject, ListObjectsV2, ListedObject, Listing, Paged, Sequence, Step, Steps};
use crate::time::rfc3339;

/// How far version ids may run ahead of recorded times, in milliseconds.
pub(crate) const AHEAD_MS: i64 = 3_600_000;

/// The largest value of the option `tolerance_ms`: a day.
pub const MAX_TOLERANCE_MS: u64 = 86_400_000;

/// Selects a version of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The newest visible version.
    Latest,
    /// The version with this id.
    Version(Vid),
    /// The only visible version whose id starts like this.
    Start(VidPrefix),
    /// The newest version that was recorded at or before this time, in Unix milliseconds.
    AsOf(i64),
    /// The visible version that was recorded at this time, or else the only one that was recorded near it.
    Recorded {
        /// The time in Unix milliseconds.
        at: i64,
        /// How far from it the recorded time may be, in milliseconds.
        tolerance_ms: u64,
    },
}

/// A version that was found, with its verified manifest.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its manifest.
    pub manifest: Manifest,
    /// The version as a listing shows it.
    pub row: Row,
    /// The signed manifest object, as it is stored.
    pub object: Bytes,
}

/// The machine that finds a version.
pub type Find = Sequence<FindSteps>;

/// What [`Find`] knows on its way.
pub struct FindSteps {
    vault: Arc<Vault>,
    name: Name,
    selector: Selector,
    pin: Option<String>,
    /// The version that the last marker of the listing hides.
    hidden: Option<Vid>,
    /// The version that was chosen, and the keys of its rows that were not tried yet, with the most bytes to read.
    chosen: Option<Vid>,
    /// Versions that were recorded near the time that was asked for: at most two, the nearest first.
    near: Vec<(u64, RowKey)>,
    rows: VecDeque<(String, usize)>,
    /// Why the rows so far were refused.
    refused: Option<Error>,
}

impl Steps for FindSteps {
    type Done = Found;
    const WHAT: &'static str = "finding the version";
}

impl Find {
    /// `pin` is the manifest's hash, as put returned it; `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, name: Name, selector: Selector, pin: Option<String>, seed: u64) -> Find {
        let prefix = catalogue_prefix(&name);
        let container = name.container().to_owned();
        let list = match selector {
            Selector::Latest => ListObjectsV2 { prefix, max_keys: Some(50), ..Default::default() },
            Selector::Version(vid) => version_rows(&prefix, vid),
            Selector::Start(start) => ListObjectsV2 { prefix: format!("{prefix}{start}"), ..Default::default() },
            Selector::AsOf(at) => {
                let ahead = if is_active(Mutation::IgnoreVersionsAhead) { 0 } else { AHEAD_MS };
                let start_after = Some(format!("{prefix}{}", Vid::first_of(at.saturating_add(ahead))));
                ListObjectsV2 { prefix, start_after, ..Default::default() }
            }
            // All of them: if none fits, the error names the nearest.
            Selector::Recorded { .. } => ListObjectsV2 { prefix, ..Default::default() },
        };
        // Refused before anything is asked of the store.
        let refused = vault.check_trust().err();
        let steps = FindSteps {
            vault: vault.clone(),
            name,
            selector,
            pin,
            hidden: None,
            chosen: None,
            near: Vec::new(),
            rows: VecDeque::new(),
            refused: None,
        };
        let first = match refused {
            Some(e) => Step::done(Err(e)),
            None if matches!(selector, Selector::Start(_)) => Step::call(list, FindSteps::candidates),
            None if matches!(selector, Selector::Recorded { .. }) => Step::call(list, FindSteps::recorded),
            None => Step::call(list, FindSteps::page),
        };
        Sequence::start(vault.bucket(&container), steps, first, seed)
    }
}

/// Lists the rows of one version.
fn version_rows(prefix: &str, vid: Vid) -> ListObjectsV2 {
    ListObjectsV2 { prefix: format!("{prefix}{vid}."), ..Default::default() }
}

impl FindSteps {
    /// The versions whose id starts as asked: exactly one must be visible.
    fn candidates(&mut self, asked: &ListObjectsV2, page: Listing) -> Step<Self> {
        let next = asked.next(&page);
        for ListedObject { key, .. } in page.objects {
            let Some(CatalogueKey { entry, .. }) = CatalogueKey::parse(&key) else { continue };
            match entry {
                Entry::Deleted(vid) => self.hidden = Some(vid),
                Entry::Suspected(_) => {}
                Entry::Row(row) if self.hidden == Some(row.vid) => {}
                Entry::Row(row) => match self.chosen.replace(row.vid) {
                    Some(newer) if newer != row.vid => {
                        let which = format!("{newer} and {}", row.vid);
                        let why = format!("there is more than one {}, such as {which}", self.describe());
                        let e = Error::new(Code::Ambiguous, why).with_hint("Give more characters of the version id.");
                        return Step::done(Err(e));
                    }
                    _ => {}
                },
            }
        }
        if let Some(next) = next {
            return Step::call(next, Self::candidates);
        }
        match self.chosen.take() {
            Some(vid) => self.rows_of(vid),
            None => self.next_row(),
        }
    }

    /// Continues with the version that was meant.
    fn rows_of(&mut self, vid: Vid) -> Step<Self> {
        (self.hidden, self.selector) = (None, Selector::Version(vid));
        Step::call(version_rows(&catalogue_prefix(&self.name), vid), Self::page)
    }

    /// The versions in the order of their ids; the two that were recorded nearest to the time are kept. A version that is
    /// recorded when it is stored may be so long after the time in its id.
    fn recorded(&mut self, asked: &ListObjectsV2, page: Listing) -> Step<Self> {
        let Selector::Recorded { at, tolerance_ms } = self.selector else { return self.next_row() };
        let next = asked.next(&page);
        for ListedObject { key, .. } in page.objects {
            let Some(CatalogueKey { entry, .. }) = CatalogueKey::parse(&key) else { continue };
            match entry {
                Entry::Deleted(vid) => self.hidden = Some(vid),
                Entry::Row(row) => {
                    let is_known = self.near.iter().any(|(_, near)| near.vid == row.vid);
                    if row.kind != Kind::Del && self.hidden != Some(row.vid) && !is_known {
                        self.near.push((row.recorded_ms.abs_diff(at), row));
                        self.near.sort_by_key(|(distance, _)| *distance);
                        self.near.truncate(2);
                    }
                }
                Entry::Suspected(_) => {}
            }
        }
        if let Some(next) = next {
            return Step::call(next, Self::recorded);
        }
        let shown = |row: &RowKey| format!("{}, recorded at {}", row.vid, rfc3339(row.recorded_ms));
        match &self.near[..] {
            [] => self.next_row(),
            [(distance, nearest), ..] if *distance > tolerance_ms => {
                let missing = self.not_found(format!("there is no {}", self.describe()));
                let tolerance = match distance {
                    ..=MAX_TOLERANCE_MS => format!("tolerance_ms = {distance}, or "),
                    _ => String::new(),
                };
                let hint = format!("If that is the one, set {tolerance}version = {}.", nearest.vid);
                let nearest = format!("; the nearest is {}", shown(nearest));
                Step::done(Err(missing.append(&nearest).with_hint(hint)))
            }
            [(0, first), (1.., _)] | [(_, first)] => self.rows_of(first.vid),
            [(_, first), (second, _)] if *second > tolerance_ms => self.rows_of(first.vid),
            [(_, first), (_, second), ..] => {
                let which = format!("{} and {}", shown(first), shown(second));
                let why = format!("there is more than one {}: {which}", self.describe());
                Step::done(Err(Error::new(Code::Ambiguous, why)))
            }
        }
    }

    fn page(&mut self, asked: &ListObjectsV2, page: Listing) -> Step<Self> {
        let next = asked.next(&page);
        for ListedObject { key, size, .. } in page.objects {
            let Some(CatalogueKey { entry, .. }) = CatalogueKey::parse(&key) else { continue };
            if self.chosen.is_some_and(|vid| vid != entry.vid()) {
                return self.next_row();
            }
            match entry {
                Entry::Deleted(vid) => self.hidden = Some(vid),
                Entry::Suspected(_) => {}
                Entry::Row(row) if self.hidden == Some(row.vid) || !self.matches(&row) => {}
                Entry::Row(RowKey { kind: Kind::Del, recorded_ms, .. }) if self.chosen.is_none() => {
                    let why = format!("{} was deleted at {}", self.describe(), rfc3339(recorded_ms));
                    return Step::done(Err(self.not_found(why)));
                }
                Entry::Row(row) => {
                    self.chosen = Some(row.vid);
                    match manifest::read_limit(&key, row.size, size) {
                        Ok(limit) => self.rows.push_back((key, limit)),
                        Err(e) => drop(self.refused.get_or_insert(e)),
                    }
                }
            }
        }
        match next {
            Some(next) => Step::call(next, Self::page),
            None => self.next_row(),
        }
    }

    fn matches(&self, row: &RowKey) -> bool {
        match self.selector {
            Selector::AsOf(at) => row.recorded_ms <= at,
            _ => true,
        }
    }

    fn next_row(&mut self) -> Step<Self> {
        if let Some((key, limit)) = self.rows.pop_front() {
            return Step::try_call(GetObject::new(key, limit), |find: &mut Self, op, answer| match answer {
                Ok(object) => find.row(&op.key, object),
                // It was deleted after the LIST.
                Err(e) if e.code() == Code::NotFound => find.next_row(),
                // It is too large to be a manifest.
                Err(e) if e.code() == Code::Format => {
                    find.refused.get_or_insert(e);
                    find.next_row()
                }
                Err(e) => Step::done(Err(e)),
            });
        }
        Step::done(Err(match self.refused.take() {
            Some(e) => e,
            None => self.not_found(format!("there is no {}", self.describe())),
        }))
    }

    fn describe(&self) -> String {
        let (container, path) = (self.name.container(), self.name.path());
        match self.selector {
            Selector::Latest => format!("backup {container} {path}"),
            Selector::Version(vid) => format!("version {vid} of {container} {path}"),
            Selector::Start(start) => format!("version of {container} {path} whose id starts with {start}"),
            Selector::AsOf(at) => format!("backup {container} {path} that was recorded by {}", rfc3339(at)),
            Selector::Recorded { at, tolerance_ms } => {
                format!("version of {container} {path} that was recorded within {tolerance_ms} ms of {}", rfc3339(at))
            }
        }
    }

    fn not_found(&self, why: String) -> Error {
        let bucket = self.vault.bucket(self.name.container()).name();
        Error::new(Code::NotFound, format!("{why} in bucket {bucket}")).on(
            "ListObjectsV2",
            bucket,
            &catalogue_prefix(&self.name),
        )
    }

    fn row(&mut self, key: &str, object: Vec<u8>) -> Step<Self> {
        match self.vault.open_manifest(self.vault.bucket(self.name.container()), &object, key) {
            Ok(opened) => {
                if let Some(pin) = self.pin.as_ref().filter(|pin| **pin != opened.hash) {
                    let why = format!(
                        "the manifest of {} has the hash {}, but the pin is {pin}",
                        self.describe(),
                        opened.hash
                    );
                    return Step::done(Err(Error::new(Code::PinMismatch, why)));
                }
                Step::done(Ok(Found { row: opened.row(), manifest: opened.manifest, object: object.into() }))
            }
            Err(e) => {
                self.refused.get_or_insert(e);
                self.next_row()
            }
        }
    }
}
