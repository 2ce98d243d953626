//! Finding a version: one LIST of the catalogue, one GET of the row.
//!
//! ```text
//!  Start ──the only version whose id starts like that, or that was recorded at that time──▶ List
//!  List ──page without an answer──▶ List      Row ──not verified──▶ Row (the next row of the same vid)
//!    │ a visible row                           │ │ none verifies: the newest version that does is named in the error
//!    └────────────▶ Row                        │ └──▶ Done
//!                                              └ verified ──▶ Done
//! ```
//! What hides a version is proven first ([`super::proof`]).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::manifest::Opened;
use super::needed::Needing;
use super::objects::{CatalogueKey, Entry, Kind, RowKey, catalogue_prefix};
use super::proof::{Claim, Outcome, Proving, ReadVerified, ignore, prove};
use super::standing::{Proofs, Standing};
use super::{Manifest, Name, Row, Vault, Vid, VidPrefix, manifest};
use crate::account::Bucket;
use crate::error::{Code, Error, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, Context, GetObject, ListObjectsV2, ListedObject, Listing, Paged, Sequence, Step, Steps};
use crate::time::rfc3339;

/// How far version ids may run ahead of recorded times, in milliseconds.
pub(crate) const AHEAD_MS: i64 = 3_600_000;

/// The error for a version that is dated further ahead than any put dates one.
pub(crate) fn in_the_future(name: &Name, vid: Vid) -> Error {
    let (container, path, at) = (name.container(), name.path(), rfc3339(vid.unix_ms()));
    let why = format!("the newest version of {container} {path}, {vid}, is dated {at}, which is in the future");
    Error::new(Code::FutureVersion, why)
}

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

/// How many versions that do not verify are passed over to find one that does, for the error.
const PASSED_OVER: usize = 100;

/// What [`Find`] knows on its way.
pub struct FindSteps {
    vault: Arc<Vault>,
    name: Name,
    selector: Selector,
    pin: Option<String>,
    /// Versions that were listed and not decided on yet, in order. The last may be incomplete while pages follow.
    versions: VecDeque<Listed>,
    /// The next page of the listing.
    next: Option<ListObjectsV2>,
    proofs: Proofs,
    /// Visible versions whose id starts as asked: at most two.
    fitting: Vec<Vid>,
    /// Versions that were recorded near the time that was asked for: at most two, the nearest first.
    near: Vec<(u64, RowKey)>,
    /// Key of the last marker that hides a version.
    deleted_by: Option<String>,
    /// What may need the version that was asked for, once a marker hides it.
    needing: Option<Needing>,
    /// The version that was asked for is hidden, and needed by one that is not.
    is_needed: bool,
    /// Why the newest version was refused, and how many were.
    refused: Option<Error>,
    passed_over: usize,
}

/// The entries of a version.
struct Listed {
    vid: Vid,
    marker: Option<Claim>,
    /// Rows that were not tried yet.
    rows: VecDeque<(Claim, RowKey)>,
    /// Rows that do not verify, and why.
    refused: Vec<(String, Error)>,
}

impl Steps for FindSteps {
    type Done = Found;
    const WHAT: &'static str = "finding the version";
}

impl Proving for FindSteps {
    fn place(&self) -> (&Arc<Vault>, Arc<Bucket>) {
        (&self.vault, self.bucket())
    }

    fn proven(&mut self, context: &mut Context<'_>, key: &str, outcome: Outcome<Option<Opened>>) {
        self.proofs.settle(context, &self.bucket(), key, outcome);
    }
}

impl Find {
    /// `pin` is the manifest's hash, as put returned it; `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, name: Name, selector: Selector, pin: Option<String>, seed: u64) -> Find {
        let prefix = catalogue_prefix(&name);
        let bucket = vault.bucket(name.container());
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
            vault,
            name,
            selector,
            pin,
            versions: VecDeque::new(),
            next: None,
            proofs: Proofs::default(),
            fitting: Vec::new(),
            near: Vec::new(),
            deleted_by: None,
            needing: None,
            is_needed: false,
            refused: None,
            passed_over: 0,
        };
        let first = match refused {
            Some(e) => Step::done(Err(e)),
            None => FindSteps::list(list),
        };
        Sequence::start(&bucket, steps, first, seed)
    }
}

/// Lists the rows of one version.
fn version_rows(prefix: &str, vid: Vid) -> ListObjectsV2 {
    ListObjectsV2 { prefix: format!("{prefix}{vid}."), ..Default::default() }
}

impl FindSteps {
    fn bucket(&self) -> Arc<Bucket> {
        self.vault.bucket(self.name.container())
    }

    fn list(list: ListObjectsV2) -> Step<Self> {
        Step::with(Call::new(list), Self::page)
    }

    fn page(&mut self, context: &mut Context<'_>, call: &Call<ListObjectsV2>, page: Result<Listing>) -> Step<Self> {
        let page = match page {
            Ok(page) => page,
            // The container has no bucket yet.
            Err(e) if e.code() == Code::NoSuchBucket && self.vault.layout.single().is_none() => Listing::default(),
            Err(e) => return Step::done(Err(e)),
        };
        // A short page is enough where nothing is hidden; where much is, the next ones are whole.
        self.next = call.op().next(&page).map(|next| ListObjectsV2 { max_keys: None, ..next });
        for ListedObject { key, size, .. } in page.objects {
            let Some(CatalogueKey { entry, .. }) = CatalogueKey::parse(&key) else { continue };
            let vid = entry.vid();
            if self.versions.back().is_none_or(|version| version.vid != vid) {
                self.versions.push_back(Listed { vid, marker: None, rows: VecDeque::new(), refused: Vec::new() });
            }
            let Some(version) = self.versions.back_mut() else { continue };
            match entry {
                Entry::Suspected(_) => {}
                Entry::Deleted(_) => version.marker = Some(Claim { key, size }),
                Entry::Row(row) => version.rows.push_back((Claim { key, size }, row)),
            }
        }
        self.decide(context)
    }

    /// Number of versions of which all entries are known.
    fn complete(&self) -> usize {
        self.versions.len().saturating_sub(usize::from(self.next.is_some()))
    }

    /// Decides on the versions that were listed, as far as that needs no other page.
    fn decide(&mut self, context: &mut Context<'_>) -> Step<Self> {
        match self.selector {
            Selector::Start(_) | Selector::Recorded { .. } => self.gather(),
            Selector::Latest | Selector::Version(_) | Selector::AsOf(_) => self.first_visible(context),
        }
    }

    /// Gathers the versions that may be meant, one of which is continued with when all were listed.
    fn gather(&mut self) -> Step<Self> {
        let (complete, mut unproven) = (self.complete(), Vec::new());
        let listed = self.versions.iter().take(complete);
        let is_visible: Vec<bool> = listed.map(|version| !self.is_hidden(version, &mut unproven)).collect();
        if !unproven.is_empty() {
            return prove(self, unproven, Self::decide);
        }
        let listed: Vec<Listed> = self.versions.drain(..complete).collect();
        for version in
            listed.into_iter().zip(is_visible).filter_map(|(version, is_visible)| is_visible.then_some(version))
        {
            if let Selector::Recorded { at, .. } = self.selector {
                // A version that is recorded when it is stored may be so long after the time in its id.
                if let Some((_, row)) = version.rows.into_iter().find(|(_, row)| row.kind != Kind::Del) {
                    self.near.push((row.recorded_ms.abs_diff(at), row));
                    self.near.sort_by_key(|(distance, _)| *distance);
                    self.near.truncate(2);
                }
            } else if !version.rows.is_empty() {
                self.fitting.push(version.vid);
                if let [newer, older, ..] = self.fitting[..] {
                    let why = format!("there is more than one {}, such as {newer} and {older}", self.describe());
                    let e = Error::new(Code::Ambiguous, why).with_hint("Give more characters of the version id.");
                    return Step::done(Err(e));
                }
            }
        }
        match (self.next.take(), self.selector) {
            (Some(next), _) => Self::list(next),
            (None, Selector::Recorded { at: _, tolerance_ms }) => self.recorded(tolerance_ms),
            (None, _) => match self.fitting.pop() {
                Some(vid) => self.rows_of(vid),
                None => self.missing(),
            },
        }
    }

    /// Continues with the version that was meant.
    fn rows_of(&mut self, vid: Vid) -> Step<Self> {
        self.selector = Selector::Version(vid);
        Self::list(version_rows(&catalogue_prefix(&self.name), vid))
    }

    /// Continues with the version that was recorded at the time that was asked for.
    fn recorded(&mut self, tolerance_ms: u64) -> Step<Self> {
        let shown = |row: &RowKey| format!("{}, recorded at {}", row.vid, rfc3339(row.recorded_ms));
        match &self.near[..] {
            [] => self.missing(),
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

    /// Whether a marker hides a version that has rows.
    fn is_hidden(&self, version: &Listed, unproven: &mut Vec<Claim>) -> bool {
        let marker = version.marker.as_ref().filter(|_| !version.rows.is_empty() && !self.is_needed);
        marker.is_some_and(|marker| self.proofs.counts(&self.vault, marker, unproven))
    }

    /// The row of a version that is tried next.
    fn first_row<'a>(&self, version: &'a Listed, unproven: &mut Vec<Claim>) -> Option<&'a RowKey> {
        let counts = |(claim, row): &&(Claim, RowKey), unproven: &mut Vec<Claim>| match row.kind {
            Kind::Del => self.proofs.counts(&self.vault, claim, unproven),
            Kind::Full | Kind::Inc => true,
        };
        let mut rows = version.rows.iter().filter(|(_, row)| self.matches(row));
        rows.find(|row| counts(row, unproven)).map(|(_, row)| row)
    }

    /// Continues with the first version that is visible and matches.
    fn first_visible(&mut self, context: &mut Context<'_>) -> Step<Self> {
        let (complete, mut unproven, mut first) = (self.complete(), Vec::new(), None);
        for (n, version) in self.versions.iter().take(complete).enumerate() {
            if self.is_hidden(version, &mut unproven) {
                continue;
            }
            if let Some(row) = self.first_row(version, &mut unproven) {
                first = Some((n, row.clone()));
                break;
            }
        }
        if !unproven.is_empty() {
            return prove(self, unproven, Self::decide);
        }
        let passed = first.as_ref().map_or(complete, |(n, _)| *n);
        let passed: Vec<Listed> = self.versions.drain(..passed).collect();
        for version in passed {
            if let Some(e) = self.pass_over(context, version) {
                return Step::done(Err(e));
            }
        }
        match (first, self.next.take()) {
            (Some((_, row)), next) => {
                self.next = next;
                if row.kind == Kind::Del { self.deleted(&row) } else { self.read_row(row) }
            }
            (None, Some(next)) => Self::list(next),
            (None, None) => self.missing(),
        }
    }

    /// Passes over a version that is hidden or has no row that matches and verifies. Returns an error if that ends the
    /// search.
    fn pass_over(&mut self, context: &mut Context<'_>, version: Listed) -> Option<Error> {
        let marker = version.marker.filter(|_| !version.rows.is_empty());
        if let Some(marker) = marker.filter(|marker| self.proofs.standing(&self.vault, marker) == Standing::Counts) {
            self.deleted_by = Some(marker.key);
        }
        // No put makes one so far ahead of the store's clock, unless that was wrong: then it is signed.
        let is_future = version.vid.unix_ms() > context.clock().saturating_add(AHEAD_MS);
        if is_future && !matches!(self.selector, Selector::Version(_)) {
            version.refused.iter().for_each(|(key, why)| ignore(context, &self.bucket(), key, why));
            return None;
        }
        let (_, why) = version.refused.into_iter().next()?;
        self.refused.get_or_insert(why);
        self.passed_over += 1;
        let is_end = matches!(self.selector, Selector::Version(_)) || self.passed_over >= PASSED_OVER;
        self.refused.take_if(|_| is_end)
    }

    /// The newest version that matches is a `del` row.
    fn deleted(&mut self, row: &RowKey) -> Step<Self> {
        let at = rfc3339(row.recorded_ms);
        Step::done(Err(match self.refused.take() {
            Some(e) => e.append(&format!("; before that, the backup was deleted at {at}")),
            None => self.not_found(format!("{} was deleted at {at}", self.describe())),
        }))
    }

    /// Nothing that was listed is what was asked for.
    fn missing(&mut self) -> Step<Self> {
        Step::done(Err(match self.refused.take() {
            Some(e) => e,
            None if let (Some(key), Selector::Version(vid)) = (self.deleted_by.take(), self.selector) => {
                if self.needing.is_none() {
                    self.deleted_by = Some(key);
                    self.needing = Some(Needing::new(vid));
                    return self
                        .list_needing(ListObjectsV2 { prefix: catalogue_prefix(&self.name), ..Default::default() });
                }
                let why = format!("{} is deleted: a marker hides it", self.describe());
                self.not_found(why)
                    .on("ListObjectsV2", self.bucket().name(), &key)
                    .with_hint("Its data is removed soon. Choose another version of this container and path.")
            }
            None => self.not_found(format!("there is no {}", self.describe())),
        }))
    }

    /// Lists the versions that are newer than the one that a marker hides: one that is not hidden may need it.
    fn list_needing(&self, list: ListObjectsV2) -> Step<Self> {
        Step::with(Call::new(list), |find: &mut Self, context, call: &Call<ListObjectsV2>, page| {
            let page: Listing = match page {
                Ok(page) => page,
                Err(e) => return Step::done(Err(e)),
            };
            let next = call.op().next(&page);
            let has_newer = find.needing.as_mut().is_some_and(|needing| needing.see(page));
            match next.filter(|_| has_newer) {
                Some(next) => find.list_needing(next),
                None => find.decide_needed(context),
            }
        })
    }

    /// A hidden version that another needs is found as that one's chain is.
    fn decide_needed(&mut self, _: &mut Context<'_>) -> Step<Self> {
        let Some(needing) = &self.needing else { return self.missing() };
        let mut unproven = Vec::new();
        let vid = needing.vid;
        let is_needed = needing.is_needed(|claim| self.proofs.counts(&self.vault, claim, &mut unproven));
        if !unproven.is_empty() {
            return prove(self, unproven, Self::decide_needed);
        }
        if !is_needed {
            return self.missing();
        }
        self.is_needed = true;
        self.rows_of(vid)
    }

    fn matches(&self, row: &RowKey) -> bool {
        match self.selector {
            Selector::AsOf(at) => row.recorded_ms <= at,
            _ => true,
        }
    }

    /// Reads this row of the first version.
    fn read_row(&mut self, row: RowKey) -> Step<Self> {
        let Some(version) = self.versions.front_mut() else { return self.missing() };
        // Those before it do not match, or do not count.
        while let Some((Claim { key, size }, found)) = version.rows.pop_front() {
            if found != row {
                continue;
            }
            return match manifest::read_limit(&key, row.size, size) {
                Ok(limit) => {
                    let open = |vault: &Vault, bucket: &Bucket, key: &str, object: Vec<u8>| {
                        vault.open_manifest(bucket, &object, key).map(|opened| (opened, object))
                    };
                    let read =
                        ReadVerified::new(&self.vault, &self.vault.bucket(self.name.container()), key, limit, open);
                    Step::with(read, |find: &mut Self, context, read, answer| find.row(context, read.key(), answer))
                }
                Err(e) => {
                    version.refused.push((key, e));
                    Step::each([], 1, |_: &mut Self, _, _: &GetObject, _| Ok(()), Self::decide)
                }
            };
        }
        self.missing()
    }

    fn row(&mut self, context: &mut Context<'_>, key: &str, answer: Result<Outcome<(Opened, Vec<u8>)>>) -> Step<Self> {
        let (opened, object) = match answer {
            Ok(Outcome::Counts(opened)) => opened,
            Ok(Outcome::Gone(_)) => return self.decide(context),
            Ok(Outcome::Refused(e)) => {
                if let Some(version) = self.versions.front_mut() {
                    version.refused.push((key.to_owned(), e));
                }
                return self.decide(context);
            }
            Err(e) => return Step::done(Err(e)),
        };
        let row = opened.row();
        if let Some(e) = self.refused.take() {
            let newest =
                format!("; the newest version that verifies is {}, recorded at {}", row.vid, rfc3339(row.recorded_ms));
            let hint = format!("{} To take the newest version that verifies, set version = {}.", e.hint(), row.vid);
            return Step::done(Err(e.append(&newest).with_hint(hint)));
        }
        if let Some(pin) = self.pin.as_ref().filter(|pin| **pin != opened.hash) {
            let why = format!("the manifest of {} has the hash {}, but the pin is {pin}", self.describe(), opened.hash);
            return Step::done(Err(Error::new(Code::PinMismatch, why)));
        }
        let refused = self.versions.pop_front().map(|version| version.refused).unwrap_or_default();
        refused.iter().for_each(|(key, why)| ignore(context, &self.bucket(), key, why));
        Step::done(Ok(Found { row, manifest: opened.manifest, object: object.into() }))
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
        let bucket = self.bucket();
        Error::new(Code::NotFound, format!("{why} in bucket {}", bucket.name())).on(
            "ListObjectsV2",
            bucket.name(),
            &catalogue_prefix(&self.name),
        )
    }
}
