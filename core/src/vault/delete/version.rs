//! *Delete a version*: hides it by a marker. Its data goes when the marker is old enough, with the next prune or sweep.
//!
//! ```text
//!  Rows ──▶ Locators ──no version depends on it──▶ Marker ──▶ Done
//! ```
//! A version on which another depends is refused, also one whose put is still in progress. So is one that is held or
//! locked.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{check_may_sign, seen};
use crate::account::Bucket;
use crate::error::{Code, Error, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{Context, ListObjectsV2, Listing, Paged, Sequence, Step, Steps};
use crate::vault::manifest::Opened;
use crate::vault::marker::{Mark, Marker};
use crate::vault::objects::{Entry, LocatorKey, catalogue_prefix, locators_prefix};
use crate::vault::proof::{Claim, Outcome, Proving, ignore, prove};
use crate::vault::{Manifest, Name, Vault, Vid};

/// The machine that deletes a version.
pub type DeleteVersion = Sequence<DeleteVersionSteps>;

/// What [`DeleteVersion`] knows on its way.
pub struct DeleteVersionSteps {
    vault: Arc<Vault>,
    bucket: Arc<Bucket>,
    name: Name,
    vid: Vid,
    /// Versions with a row that depend on it.
    dependents: Vec<Vid>,
    /// Versions without a row that depend on it: puts that are in progress, or were stopped.
    puts: Vec<Vid>,
    /// Markers of versions that depend on it, to verify.
    markers: Vec<Claim>,
    /// Versions that have a row.
    committed: BTreeSet<Vid>,
}

impl Steps for DeleteVersionSteps {
    type Done = ();
    const WHAT: &'static str = "deleting the version";
}

impl Proving for DeleteVersionSteps {
    fn place(&self) -> (&Arc<Vault>, Arc<Bucket>) {
        (&self.vault, self.bucket.clone())
    }

    fn proven(&mut self, context: &mut Context<'_>, key: &str, outcome: Outcome<Option<Opened>>) {
        match outcome {
            Outcome::Counts(_) => {
                let entry = key.rsplit_once('/').and_then(|(_, last)| Entry::parse(last));
                self.dependents.retain(|dependent| entry.as_ref().is_none_or(|entry| entry.vid() != *dependent));
            }
            Outcome::Gone(_) => {}
            Outcome::Refused(why) => ignore(context, &self.bucket, key, &why),
        }
    }
}

impl DeleteVersion {
    /// Deletes the version of a verified manifest. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, manifest: &Manifest, now_ms: i64, seed: u64) -> Result<DeleteVersion> {
        check_may_sign(&vault)?;
        manifest.check_may_go(now_ms)?;
        let name = Name::new(&manifest.container, &manifest.path)?;
        let vid = Vid::parse(&manifest.vid)?;
        let list = ListObjectsV2 { prefix: catalogue_prefix(&name), ..Default::default() };
        let bucket = vault.bucket(name.container());
        let steps = DeleteVersionSteps {
            vault,
            bucket: bucket.clone(),
            name,
            vid,
            dependents: Vec::new(),
            puts: Vec::new(),
            markers: Vec::new(),
            committed: BTreeSet::new(),
        };
        Ok(Sequence::start(&bucket, steps, Step::call(list, DeleteVersionSteps::rows), seed))
    }
}

impl DeleteVersionSteps {
    fn rows(&mut self, asked: &ListObjectsV2, page: Listing) -> Step<Self> {
        let next = asked.next(&page);
        let mut marker = None;
        for seen in seen(page) {
            match seen.entry {
                Entry::Deleted(vid) => marker = Some((vid, Claim { key: seen.key, size: seen.size })),
                Entry::Suspected(_) => {}
                Entry::Row(row) => {
                    self.committed.insert(row.vid);
                    if row.parent == Some(self.vid) {
                        self.dependents.push(row.vid);
                        let own = marker.take().filter(|(vid, _)| *vid == row.vid);
                        self.markers.extend(own.map(|(_, claim)| claim));
                    }
                }
            }
        }
        match next {
            Some(next) => Step::call(next, Self::rows),
            None if !self.committed.contains(&self.vid) => {
                let why = format!("version {} of {} {}", self.vid, self.name.container(), self.name.path());
                Step::done(Err(Error::new(Code::NotFound, format!("{why} is deleted already"))))
            }
            None => self.prove(),
        }
    }

    /// A version that is deleted itself does not need its parent.
    fn prove(&mut self) -> Step<Self> {
        let markers = std::mem::take(&mut self.markers);
        prove(self, markers, |steps: &mut Self, _| {
            let prefix = locators_prefix(&steps.name);
            Step::call(ListObjectsV2 { prefix, ..Default::default() }, Self::locators)
        })
    }

    /// A put that is in progress has only a locator yet.
    fn locators(&mut self, asked: &ListObjectsV2, page: Listing) -> Step<Self> {
        let next = asked.next(&page);
        for key in page.keys() {
            let Some(locator) = LocatorKey::of(key) else { continue };
            if locator.parent == Some(self.vid) && !self.committed.contains(&locator.vid) {
                self.puts.push(locator.vid);
            }
        }
        if let Some(next) = next {
            return Step::call(next, Self::locators);
        }
        let is_needed = !(self.dependents.is_empty() && self.puts.is_empty());
        if is_needed && !is_active(Mutation::DeleteNeededVersion) {
            return Step::done(Err(self.needed()));
        }
        let marker = Marker::new(&self.vault.id, &self.name, self.vid, Mark::Deleted);
        let object = marker.to_object(self.vault.signing_key());
        Step::call(self.vault.put_json(marker.key, object), |_: &mut Self, _, _| Step::done(Ok(())))
    }

    fn needed(&self) -> Error {
        let (container, path) = (self.name.container(), self.name.path());
        let is_stored = !self.dependents.is_empty();
        let needed_by = if is_stored { &self.dependents } else { &self.puts };
        let shown: Vec<String> = needed_by.iter().take(3).map(Vid::to_string).collect();
        let more = match needed_by.len() {
            count @ 4.. => format!(" and {} more", count - 3),
            _ => String::new(),
        };
        let by = if is_stored { "" } else { "a backup that is being stored, or whose put was stopped: " };
        let why = format!("version {} of {container} {path} is needed by {by}{}{more}", self.vid, shown.join(", "));
        let e = Error::new(Code::HasDependents, why);
        if is_stored {
            return e;
        }
        e.with_hint("Wait for the put to end. What a stopped put left is removed by a sweep, after the grace that it has (grace).")
    }
}
