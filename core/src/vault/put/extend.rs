//! The locks of the versions that an incremental builds on are extended to the end of its own, before its data is sent: a
//! version that is locked for a year is worth nothing if its parent can be deleted tomorrow.
//!
//! ```text
//!  Rows: its entries ─▶ Row: the first that verifies ─▶ Locators ─▶ Lock: all of them, and the data ─▶ the next parent
//!                          │ is locked for long enough, so its ancestors are, too        │ refused
//!                          └▶ Done                                Done ◀── locked longer ┴▶ Look at each
//! ```
//! For each ancestor that is not locked for long enough: two LISTs of versions, one GET, and one PutObjectRetention for
//! each of its data objects, locators and entries. A lock is never shortened, and keeps its mode. Of an ancestor that was
//! re-keyed, the locators are read as well, since they say where its data is now.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::{Code, Error};
use crate::op::{
    GetObjectRetention, ListObjectVersions, Paged, PutObjectRetention, Retention, Step, Steps, VersionListing,
};
use crate::vault::immutable::Lock;
use crate::vault::locator::Locator;
use crate::vault::objects::{CatalogueKey, EPOCH, Entry, Kind, LocatorKey, catalogue_prefix, locator_prefix};
use crate::vault::proof::{Outcome, ReadVerified};
use crate::vault::read::version_id;
use crate::vault::{Manifest, Name, Vault, Vid, manifest};

/// How many locks are set at the same time.
const WIDTH: usize = 8;

/// The data of the walk along the chain.
pub(super) struct Extend {
    vault: Arc<Vault>,
    name: Name,
    /// The lock of the incremental.
    lock: Lock,
    /// The ancestor whose locks are extended.
    vid: Vid,
    /// Its entries that were not read yet, with the most bytes to read.
    rows: VecDeque<(String, usize)>,
    manifest: Option<Manifest>,
    /// Its objects: keys and version ids.
    objects: Vec<(String, Option<String>)>,
    /// Those of them that may be gone: the data that a re-keying has replaced, and its locators.
    replaced: Vec<(String, Option<String>)>,
    /// Keys of its locators that were not read yet, the highest generation last.
    locators: Vec<String>,
    /// Those whose lock could not be set.
    refused: Vec<(PutObjectRetention, Error)>,
}

impl Steps for Extend {
    type Done = ();
    const WHAT: &'static str = "extending the locks of the versions that the incremental builds on";
}

impl Extend {
    /// Extends the locks of this version, and of all that it builds on.
    pub(super) fn start(vault: &Arc<Vault>, name: &Name, parent: Vid, lock: Lock) -> (Extend, Step<Extend>) {
        let mut extend = Extend {
            vault: vault.clone(),
            name: name.clone(),
            lock,
            vid: parent,
            rows: VecDeque::new(),
            manifest: None,
            objects: Vec::new(),
            replaced: Vec::new(),
            locators: Vec::new(),
            refused: Vec::new(),
        };
        let first = extend.ancestor(parent);
        (extend, first)
    }

    fn ancestor(&mut self, vid: Vid) -> Step<Extend> {
        (self.vid, self.manifest) = (vid, None);
        self.rows.clear();
        self.objects.clear();
        self.replaced.clear();
        self.locators.clear();
        let prefix = format!("{}{vid}.", catalogue_prefix(&self.name));
        Step::call(ListObjectVersions { prefix, ..Default::default() }, Extend::rows_listed)
    }

    fn rows_listed(&mut self, list: &ListObjectVersions, page: VersionListing) -> Step<Extend> {
        let next = list.next(&page);
        for version in page.versions.into_iter().filter(|version| !version.is_delete_marker) {
            let Some(CatalogueKey { entry: Entry::Row(row), .. }) = CatalogueKey::parse(&version.key) else { continue };
            if row.kind == Kind::Del {
                continue;
            }
            let is_new = self.rows.back().is_none_or(|(key, _)| *key != version.key);
            if let Ok(limit) = manifest::read_limit(&version.key, row.size, version.size)
                && is_new
            {
                self.rows.push_back((version.key.clone(), limit));
            }
            self.objects.push((version.key, Some(version.version_id)));
        }
        match next {
            Some(next) => Step::call(next, Extend::rows_listed),
            None => self.next_row(Error::new(Code::BadParent, "it has no catalogue entry")),
        }
    }

    /// Reads the next entry of the ancestor; the first that verifies counts.
    fn next_row(&mut self, why: Error) -> Step<Extend> {
        let Some((key, limit)) = self.rows.pop_front() else {
            let (vid, container, path) = (self.vid, self.name.container(), self.name.path());
            let why = format!("version {vid} of {container} {path}, which the parent builds on: {}", why.message());
            return Step::done(Err(Error::new(Code::BadParent, why)));
        };
        let read = ReadVerified::row(&self.vault, &self.vault.bucket(self.name.container()), key, limit);
        Step::with(read, |extend: &mut Extend, _, read, answer| match answer {
            Ok(Outcome::Counts(opened)) => extend.row(opened.manifest, read.key()),
            Ok(Outcome::Gone(e) | Outcome::Refused(e)) => extend.next_row(e),
            Err(e) => Step::done(Err(e)),
        })
    }

    fn row(&mut self, manifest: Manifest, key: &str) -> Step<Extend> {
        // Its put has extended the locks of its own ancestors as far as its own.
        if manifest.lock.is_some_and(|lock| lock.until >= self.lock.until) {
            return Step::done(Ok(()));
        }
        // What anyone may have written beside it is not locked.
        self.objects.retain(|(own, _)| own == key);
        let data = manifest.extents.iter().map(|extent| (extent.key.clone(), extent.version_id.clone()));
        self.objects.extend(data);
        self.manifest = Some(manifest);
        let prefix = locator_prefix(&self.name, self.vid);
        Step::call(ListObjectVersions { prefix, ..Default::default() }, Extend::locators_listed)
    }

    fn locators_listed(&mut self, list: &ListObjectVersions, page: VersionListing) -> Step<Extend> {
        let next = list.next(&page);
        let own = page.versions.into_iter().filter(|version| !version.is_delete_marker);
        for version in own.filter(|version| LocatorKey::of(&version.key).is_some()) {
            if self.locators.last() != Some(&version.key) {
                self.locators.push(version.key.clone());
            }
            self.objects.push((version.key, Some(version.version_id)));
        }
        match next {
            Some(next) => Step::call(next, Extend::locators_listed),
            None if self.locators.iter().filter_map(|key| LocatorKey::of(key)).any(|l| l.generation >= EPOCH) => {
                self.next_locator()
            }
            None => self.extend(),
        }
    }

    /// Reads the next lower locator of a version that was re-keyed: the first that verifies says where the data is.
    fn next_locator(&mut self) -> Step<Extend> {
        let Some(key) = self.locators.pop() else { return self.extend() };
        let read = ReadVerified::locator(&self.vault, &self.vault.bucket(self.name.container()), key);
        Step::with(read, |extend: &mut Extend, _, _, answer| match answer {
            Ok(Outcome::Counts(locator)) => extend.moved(&locator),
            Ok(Outcome::Gone(_) | Outcome::Refused(_)) => extend.next_locator(),
            Err(e) => Step::done(Err(e)),
        })
    }

    fn moved(&mut self, locator: &Locator) -> Step<Extend> {
        let Some(manifest) = self.manifest.as_ref().filter(|_| locator.rekeyed_with().is_some()) else {
            return self.extend();
        };
        let is_old = |key: &str| {
            let is_data = manifest.extents.iter().any(|extent| extent.key == key);
            is_data || LocatorKey::of(key).is_some_and(|own| own.generation < locator.generation)
        };
        let (replaced, kept) = std::mem::take(&mut self.objects).into_iter().partition(|(key, _)| is_old(key));
        (self.replaced, self.objects) = (replaced, kept);
        let extents = 0..manifest.extents.len();
        let data = extents.map(|n| (locator.data.extent(n + 1), version_id(manifest, &locator.data, n)));
        self.objects.extend(data.collect::<Vec<_>>());
        self.extend()
    }

    /// Locks the ancestor's objects.
    fn extend(&mut self) -> Step<Extend> {
        let mode = self.manifest.as_ref().and_then(|manifest| manifest.lock).map_or(self.lock.mode, |lock| lock.mode);
        let retention = Some(Lock { mode, ..self.lock }.retention());
        let objects = std::mem::take(&mut self.objects).into_iter().chain(self.replaced.iter().cloned());
        let locks: Vec<PutObjectRetention> = objects
            .map(|(key, version_id)| PutObjectRetention { key, version_id, retention, bypass_governance: false })
            .collect();
        Step::each(
            locks,
            WIDTH,
            |extend: &mut Extend, _, lock, answer| match answer {
                Err(e) if e.code() == Code::AccessDenied => {
                    extend.refused.push((lock.clone(), e));
                    Ok(())
                }
                Err(e) if e.status() == 404 && extend.is_replaced(lock) => Ok(()),
                answer => answer.map_err(|e| extend.failed(e)),
            },
            |extend, _| extend.look_at_refused(),
        )
    }

    fn is_replaced(&self, lock: &PutObjectRetention) -> bool {
        self.replaced.iter().any(|(key, id)| *key == lock.key && *id == lock.version_id)
    }

    /// A store refuses to shorten a lock, or to change its mode, as if a permission were missing: another incremental may
    /// have locked the object for longer.
    fn look_at_refused(&mut self) -> Step<Extend> {
        let Some((lock, refusal)) = self.refused.pop() else { return self.next_ancestor() };
        let get = GetObjectRetention { key: lock.key.clone(), version_id: lock.version_id.clone() };
        Step::try_call(get, move |extend: &mut Extend, _, answer| match answer {
            Ok(found) if found.until_ms >= extend.lock.until => extend.look_at_refused(),
            Ok(found) if lock.retention.is_some_and(|wanted| wanted.mode != found.mode) => {
                let retention = Some(Retention { until_ms: extend.lock.until, ..found });
                Step::try_call(
                    PutObjectRetention { retention, ..lock },
                    |extend: &mut Extend, _, answer| match answer {
                        Ok(()) => extend.look_at_refused(),
                        Err(e) => Step::done(Err(extend.failed(e))),
                    },
                )
            }
            _ => Step::done(Err(extend.failed(refusal))),
        })
    }

    fn next_ancestor(&mut self) -> Step<Extend> {
        let parent = self.manifest.as_ref().and_then(|manifest| manifest.parent.as_deref());
        match parent.map(Vid::parse) {
            None => Step::done(Ok(())),
            // A newer version sorts first. A chain leads back in time, so it ends.
            Some(Ok(parent)) if parent > self.vid => self.ancestor(parent),
            Some(_) => {
                let why = format!("version {} names a parent that is not older than it", self.vid);
                Step::done(Err(Error::new(Code::BadParent, why)))
            }
        }
    }

    fn failed(&self, e: Error) -> Error {
        e.context(format_args!("extending the lock of version {}, which the parent builds on or is", self.vid))
    }
}
