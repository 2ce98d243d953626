//! What re-keyings have replaced: the data and the locators of versions whose new locator is older than the grace, and
//! copies that a re-keying made without a locator. A part of each re-keying and of each sweep.
//!
//! ```text
//!  [copies] ──▶ Locators again ──▶ read them ──▶ rows ──▶ HEAD the data of the newest ──whole──▶ Data, Owners (`belongings`) ──▶ delete data ──▶ delete lower locators
//! ```
//! A verified locator decides which data a version has: what the newest one names stays, and so does what any verified
//! locator names unless the data of a newer one was seen whole. The deletions are signed at the list of the locators, so
//! that they cannot take effect on a copy that is made again much later: its locator would then be younger than the grace.

use std::collections::{BTreeMap, BTreeSet};

use super::dying::{Dying, own_vid};
use super::report::Action;
use super::walk::Version;
use super::work::{WIDTH, WorkSteps};
use crate::error::{Code, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, Context, HeadObject, HeadReply, ListObjectsV2, Listing, Paged, Step};
use crate::vault::encryption::Encryption;
use crate::vault::locator::{Locator, parse_rekeyed};
use crate::vault::objects::{EPOCH, Kind, LOCATORS, LocatorKey, data_key};
use crate::vault::proof::Outcome;
use crate::vault::read::version_id;
use crate::vault::stored::Stored;
use crate::vault::{Manifest, Vid};

/// What follows.
type Then = fn(&mut WorkSteps) -> Step<WorkSteps>;

/// What is known of the current backup.
#[derive(Default)]
pub(super) struct Clearing {
    /// Data is being listed for this, and not for *finish*.
    pub(super) is_on: bool,
    then: Option<Then>,
    /// Copies that are older than the grace.
    copies: Vec<Stored>,
    /// The verified locators of the versions.
    locators: BTreeMap<Vid, Vec<Locator>>,
    manifests: BTreeMap<Vid, Manifest>,
    /// The newest locators, where all before them goes.
    newest: BTreeMap<Vid, Locator>,
    /// The extents that a HEAD is about, by key and version id.
    asked: BTreeMap<(String, Option<String>), (Vid, usize)>,
    /// Versions whose newest locator names data that is not there.
    missing: BTreeSet<Vid>,
}

impl Clearing {
    /// Whether the data that the newest locator of a version names is not there.
    pub(super) fn is_missing(&self, vid: Vid) -> bool {
        self.missing.contains(&vid)
    }

    /// Whether the newest locator names this object.
    fn is_named(&self, locator: &Locator, manifest: &Manifest, stored: &Stored) -> bool {
        (0..manifest.extents.len()).any(|extent| {
            let id = version_id(manifest, &locator.data, extent);
            locator.data.extent(extent + 1) == stored.key && (id.is_none() || id == stored.version_id)
        })
    }
}

fn has_data(version: &Version) -> bool {
    version.rows.iter().any(|(row, _)| row.kind != Kind::Del)
}

impl WorkSteps {
    /// Removes what re-keyings have replaced in the current backup, then continues; `copies`: also looks for copies without
    /// a locator.
    pub(super) fn clear(&mut self, copies: bool, then: Then) -> Step<WorkSteps> {
        self.clearing = Clearing { then: Some(then), ..Clearing::default() };
        let is_replaced = |version: &Version| {
            let locators = || version.locators.iter().map(|(locator, _)| locator);
            has_data(version) && version.locators.len() > 1 && locators().any(|locator| locator.generation >= EPOCH)
        };
        let has_key =
            |version: &Version| has_data(version) && version.locators.iter().any(|(locator, _)| locator.kek.is_some());
        let versions = &self.backup().versions;
        let replaced: BTreeSet<Vid> = versions.iter().filter(|(_, v)| is_replaced(v)).map(|(vid, _)| *vid).collect();
        if self.only_looks() {
            return self.cleared();
        }
        let slash = self.env.vault.layout.has_leading_slash();
        let prefix = self.backup().name.as_ref().map(|name| format!("{}@", data_key(name, slash)));
        match prefix.filter(|_| copies && versions.values().any(has_key)) {
            Some(prefix) => self.list_stored(prefix, false, move |steps, stored| {
                let old: Vec<Stored> = stored.into_iter().filter(|stored| steps.is_old_copy(stored)).collect();
                let of = old.iter().filter_map(|stored| own_vid(&stored.key)).chain(replaced).collect();
                steps.clearing.copies = old;
                steps.clear_versions(of)
            }),
            None => self.clear_versions(replaced),
        }
    }

    /// Whether an object is the copy of a re-keying, and older than the grace.
    fn is_old_copy(&self, stored: &Stored) -> bool {
        let old_before = self.clock.saturating_sub(self.env.grace_ms);
        let vid = own_vid(&stored.key).filter(|vid| self.backup().versions.get(vid).is_some_and(has_data));
        vid.is_some_and(|vid| parse_rekeyed(&stored.key, vid).is_some())
            && stored.modified_ms.is_some_and(|at| at < old_before)
    }

    fn clear_versions(&mut self, of: BTreeSet<Vid>) -> Step<WorkSteps> {
        if of.is_empty() {
            return self.cleared();
        }
        let list = ListObjectsV2 { prefix: self.backup().prefix(LOCATORS), ..Default::default() };
        self.dated = None;
        Self::clear_page(list, Vec::new(), of)
    }

    /// The locators as they are now: what is deleted later is decided by them.
    fn clear_page(list: ListObjectsV2, mut found: Vec<String>, of: BTreeSet<Vid>) -> Step<WorkSteps> {
        Step::with(Call::new(list), move |steps: &mut Self, _, call: &Call<ListObjectsV2>, answer: Result<Listing>| {
            let page = match answer {
                Ok(page) => page,
                Err(e) => return Step::done(Err(e)),
            };
            steps.dated.get_or_insert(call.sent_ms());
            let next = call.op().next(&page);
            let is_of = |key: &String| LocatorKey::of(key).is_some_and(|locator| of.contains(&locator.vid));
            found.extend(page.objects.into_iter().map(|object| object.key).filter(is_of));
            match next {
                Some(next) => Self::clear_page(next, found, of),
                None => steps.read_locators(found, Self::locator_to_clear, move |steps| {
                    steps.read_manifests(of.into_iter().collect(), |steps, of| steps.judge_replaced(of))
                }),
            }
        })
    }

    fn locator_to_clear(&mut self, vid: Vid, outcome: Outcome<Locator>) {
        if let Outcome::Counts(locator) = self.of_version(vid, outcome) {
            self.clearing.locators.entry(vid).or_default().push(locator);
        }
    }

    /// Looks whether the data of the newest locators is there.
    fn judge_replaced(&mut self, of: Vec<Vid>) -> Step<WorkSteps> {
        let grace_ms = if is_active(Mutation::RekeyIgnoresGrace) { 0 } else { self.env.grace_ms };
        let old_before = self.clock.saturating_sub(grace_ms);
        self.clearing.manifests = std::mem::take(&mut self.manifests);
        self.clearing
            .manifests
            .retain(|_, manifest| manifest.encryption() == Ok(Encryption::SseC) && manifest.adopted.is_none());
        let mut heads = Vec::new();
        for vid in of {
            let Some(manifest) = self.clearing.manifests.get(&vid) else { continue };
            let locators = self.clearing.locators.get(&vid).map(Vec::as_slice).unwrap_or_default();
            let Some(highest) = locators.iter().map(|locator| locator.generation).max() else { continue };
            let mut newest = locators.iter().filter(|locator| locator.generation == highest);
            let (Some(newest), None) = (newest.next(), newest.next()) else { continue };
            let listed = self.backup().versions.get(&vid).into_iter().flat_map(|version| &version.locators);
            let is_old =
                listed.into_iter().any(|(_, object)| object.key == newest.key && object.modified_ms < old_before);
            let key = self.env.vault.data_key(newest).ok().flatten();
            if newest.rekeyed_with().is_none() || key.is_none() || locators.len() < 2 {
                continue;
            }
            if is_old {
                self.clearing.newest.insert(vid, newest.clone());
            }
            for extent in 0..manifest.extents.len() {
                let (key_of, id) = (newest.data.extent(extent + 1), version_id(manifest, &newest.data, extent));
                self.clearing.asked.insert((key_of.clone(), id.clone()), (vid, extent));
                let encryption = Encryption::SseC.of_data(key.as_ref());
                heads.push(HeadObject { key: key_of, version_id: id, encryption, without_checksums: true });
            }
        }
        Step::each(heads, WIDTH, Self::replacement_seen, |steps, _| steps.list_replaced())
    }

    fn replacement_seen(&mut self, _: &mut Context<'_>, op: &HeadObject, answer: Result<HeadReply>) -> Result<()> {
        let Some((vid, extent)) = self.clearing.asked.get(&(op.key.clone(), op.version_id.clone())).copied() else {
            return Ok(());
        };
        let size = self.clearing.manifests.get(&vid).and_then(|manifest| Some(manifest.extents.get(extent)?.size));
        let is_there = match answer {
            Ok(found) => found.size == size && found.meta("s3vault-vid") == Some(&*vid.to_string()),
            Err(e) if e.code() == Code::WrongKey || matches!(e.status(), 400 | 403 | 404) => false,
            Err(e) => return Err(e),
        };
        if !is_there && !is_active(Mutation::ClearWithoutLook) {
            self.clearing.missing.insert(vid);
        }
        Ok(())
    }

    /// Lists the data of the versions whose newest locator has all of it.
    fn list_replaced(&mut self) -> Step<WorkSteps> {
        for vid in self.clearing.missing.clone() {
            if self.clearing.newest.remove(&vid).is_some() {
                let why = "what it had before it was re-keyed stays, since the copy is not there; rekey makes it again";
                self.say(self.at, Some(vid), Action::Problem, 0, why);
            }
        }
        let vids: Vec<Vid> = self.clearing.newest.keys().copied().collect();
        self.dying = vids.into_iter().filter_map(|vid| self.replaced(vid, true)).collect();
        if self.dying.is_empty() {
            return self.delete_replaced();
        }
        self.clearing.is_on = true;
        self.list_data()
    }

    /// A version of which something goes, as *finish* knows one.
    fn replaced(&self, vid: Vid, has_key: bool) -> Option<Dying> {
        let manifest = self.clearing.manifests.get(&vid).cloned();
        manifest.as_ref()?;
        let newest = self.clearing.newest.get(&vid).map_or(0, |locator| locator.generation);
        let below = self.clearing.locators.get(&vid).into_iter().flatten().filter(|l| l.generation < newest && has_key);
        let opens = below.filter(|locator| self.env.vault.data_key(locator).is_ok());
        let locator = opens.min_by_key(|locator| locator.generation).cloned();
        let (marked_ms, has_row, stays, freed_bytes) = (self.clock, true, None, 0);
        let (objects, uploads) = (Vec::new(), Vec::new());
        Some(Dying { vid, marked_ms, has_row, manifest, locator, stays, objects, uploads, freed_bytes })
    }

    /// Deletes what was listed, and the copies without a locator.
    pub(super) fn delete_replaced(&mut self) -> Step<WorkSteps> {
        let old_before = self.clock.saturating_sub(self.env.grace_ms);
        let mut dying = std::mem::take(&mut self.dying);
        for dying in &mut dying {
            let (Some(newest), Some(manifest)) = (self.clearing.newest.get(&dying.vid), &dying.manifest) else {
                continue;
            };
            // A copy that another re-keying makes now has no locator yet.
            let is_young = |stored: &Stored| stored.modified_ms.is_none_or(|at| at >= old_before);
            dying.objects.retain(|stored| {
                let is_copy = parse_rekeyed(&stored.key, dying.vid).is_some();
                !(self.clearing.is_named(newest, manifest, stored) || is_copy && is_young(stored))
            });
        }
        for stored in std::mem::take(&mut self.clearing.copies) {
            let Some(vid) = own_vid(&stored.key).filter(|vid| !self.clearing.newest.contains_key(vid)) else {
                continue;
            };
            let Some(manifest) = self.clearing.manifests.get(&vid) else { continue };
            let mut locators = self.clearing.locators.get(&vid).into_iter().flatten();
            if locators.any(|locator| self.clearing.is_named(locator, manifest, &stored)) {
                continue;
            }
            match dying.iter_mut().find(|dying| dying.vid == vid) {
                Some(dying) => dying.objects.push(stored),
                None => dying.extend(self.replaced(vid, false).map(|dying| Dying { objects: vec![stored], ..dying })),
            }
        }
        dying.sort_by_key(|dying| dying.vid);
        self.dying = dying;
        let mut objects = Vec::new();
        for dying in self.dying.iter_mut().filter(|dying| dying.goes()) {
            dying.freed_bytes = dying.objects.iter().map(|object| object.size).sum();
            objects.extend(dying.objects.iter().cloned());
        }
        self.delete_stored(objects, |steps| {
            steps.check_deleted();
            steps.delete_replaced_locators()
        })
    }

    /// Deletes the lower locators, after the data that they name: it is found by them.
    fn delete_replaced_locators(&mut self) -> Step<WorkSteps> {
        let going = self.dying.iter().filter(|dying| dying.goes()).map(|dying| dying.vid);
        let going: BTreeMap<Vid, u32> =
            going.filter_map(|vid| Some((vid, self.clearing.newest.get(&vid)?.generation))).collect();
        if going.is_empty() {
            return self.say_replaced();
        }
        self.list_stored(self.backup().prefix(LOCATORS), false, move |steps, stored| {
            let is_lower = |key: &str| {
                let locator = LocatorKey::of(key);
                locator
                    .is_some_and(|locator| going.get(&locator.vid).is_some_and(|newest| locator.generation < *newest))
            };
            let lower = stored.into_iter().filter(|object| is_lower(&object.key)).collect();
            steps.delete_stored(lower, move |steps| {
                steps.check_deleted();
                for (vid, newest) in going {
                    if let Some(version) = steps.backup_mut().versions.get_mut(&vid) {
                        version.locators.retain(|(locator, _)| locator.generation >= newest);
                    }
                }
                steps.say_replaced()
            })
        })
    }

    fn say_replaced(&mut self) -> Step<WorkSteps> {
        for dying in std::mem::take(&mut self.dying) {
            let why = match self.clearing.newest.contains_key(&dying.vid) {
                true => "what it had before it was re-keyed was removed",
                false => "a copy that a re-keying left was removed",
            };
            match dying.stays {
                Some((action, why)) => self.say(self.at, Some(dying.vid), action, 0, why),
                None => self.say(self.at, Some(dying.vid), Action::Free, dying.freed_bytes, why),
            }
        }
        self.cleared()
    }

    fn cleared(&mut self) -> Step<WorkSteps> {
        self.dated = None;
        self.dying.clear();
        self.owners.clear();
        let missing = std::mem::take(&mut self.clearing.missing);
        match std::mem::replace(&mut self.clearing, Clearing { missing, ..Clearing::default() }).then {
            Some(then) => then(self),
            None => self.next_backup(),
        }
    }
}
