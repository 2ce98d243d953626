//! The look at the store before an object is adopted: what the catalogue has of it, and then, whether it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{AdoptSteps, Candidate, WIDTH};
use crate::account::Bucket;
use crate::error::Result;
use crate::mutation::{Mutation, is_active};
use crate::op::{
    Context, HeadObject, HeadReply, ListObjectVersions, ListObjectsV2, Listing, Paged, Step, VersionListing,
};
use crate::vault::adopted::md5_of;
use crate::vault::delete::{Seen, seen};
use crate::vault::encryption::Encryption;
use crate::vault::job::Action;
use crate::vault::manifest::{self, Opened};
use crate::vault::objects::{CatalogueKey, Entry, Kind, RowKey, catalogue_prefix};
use crate::vault::proof::{Claim, Outcome, Proving, ignore, prove};
use crate::vault::{Vault, Vid};

/// What was listed of the catalogue about the batch.
#[derive(Default)]
pub(super) struct Catalogue {
    /// Entries with the random bits of a candidate, by their keys.
    entries: BTreeMap<String, Seen>,
    /// Pages that follow.
    more: Vec<ListObjectsV2>,
    /// Pages of the versions of keys whose delete markers are candidates.
    markers: Vec<ListObjectVersions>,
    /// Versions that were adopted without hashes, which are to be read now.
    without_hashes: BTreeSet<Vid>,
}

impl Proving for AdoptSteps {
    fn place(&self) -> (&Arc<Vault>, Arc<Bucket>) {
        (&self.vault, self.place.bucket.clone())
    }

    fn must_read(&self, claim: &Claim) -> Option<Result<usize>> {
        match CatalogueKey::parse(&claim.key)?.entry {
            // Whether it has hashes, only the row itself says.
            Entry::Row(row) if self.request.hash && row.kind != Kind::Del => {
                Some(manifest::read_limit(&claim.key, row.size, claim.size))
            }
            _ => self.vault.must_prove(&claim.key, claim.size),
        }
    }

    fn proven(&mut self, context: &mut Context<'_>, key: &str, outcome: Outcome<Option<Opened>>) {
        match outcome {
            Outcome::Counts(opened) => {
                let hashless = opened.filter(|opened| opened.manifest.has_no_hashes());
                self.catalogue.without_hashes.extend(hashless.and_then(|opened| Vid::parse(&opened.manifest.vid).ok()));
                return;
            }
            Outcome::Gone(_) => {}
            Outcome::Refused(why) => ignore(context, &self.place.bucket, key, &why),
        }
        self.catalogue.entries.remove(key);
    }
}

impl AdoptSteps {
    /// Looks at the batch.
    pub(super) fn look_again(&mut self, context: &mut Context<'_>) -> Step<Self> {
        self.catalogue = Catalogue::default();
        for candidate in &mut self.batch {
            candidate.is_seen = false;
        }
        // A time that the store's clock has surely passed before anything is asked.
        let passed = context.session.account().passed_ms(context.now);
        self.looked_ms = passed.unwrap_or_else(|| context.clock());
        let prefixes: BTreeSet<String> = self.batch.iter().map(|candidate| catalogue_prefix(&candidate.name)).collect();
        self.catalogue.more =
            prefixes.into_iter().map(|prefix| ListObjectsV2 { prefix, ..Default::default() }).collect();
        self.list_catalogue()
    }

    fn list_catalogue(&mut self) -> Step<Self> {
        let more = std::mem::take(&mut self.catalogue.more);
        if more.is_empty() {
            return self.prove();
        }
        Step::each(more, WIDTH, Self::entries, |steps, _| steps.list_catalogue())
    }

    fn entries(&mut self, _: &mut Context<'_>, asked: &ListObjectsV2, page: Result<Listing>) -> Result<()> {
        let page = page?;
        self.catalogue.more.extend(asked.next(&page));
        let candidates = self.by_random_bits();
        let about = seen(page).filter(|seen| candidates.contains_key(&seen.entry.vid().random()));
        self.catalogue.entries.extend(about.map(|seen| (seen.key.clone(), seen)));
        Ok(())
    }

    /// What keeps an object from being adopted counts only once it was verified.
    fn prove(&mut self) -> Step<Self> {
        let claims: Vec<Claim> = self.catalogue.entries.values().map(Seen::claim).collect();
        prove(self, claims, Self::decide)
    }

    /// Drops what is adopted already, and asks for the rest whether it is there.
    fn decide(&mut self, context: &mut Context<'_>) -> Step<Self> {
        let candidates = self.by_random_bits();
        let (mut rows, mut marked, mut unread) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        for seen in self.catalogue.entries.values() {
            let Some(n) = candidates.get(&seen.entry.vid().random()) else { continue };
            match seen.entry {
                Entry::Row(RowKey { vid, kind: Kind::Full, .. })
                    if self.request.hash && self.catalogue.without_hashes.contains(&vid) =>
                {
                    unread.insert(*n, vid).is_none()
                }
                Entry::Row(_) => rows.insert(*n),
                Entry::Deleted(_) | Entry::Suspected(_) => marked.insert(*n),
            };
        }
        for (n, candidate) in std::mem::take(&mut self.batch).into_iter().enumerate() {
            if rows.contains(&n) || unread.contains_key(&n) && marked.contains(&n) {
                self.report.kept += 1;
            } else if let Some(vid) = unread.get(&n) {
                // It gets the same row, with its hashes.
                self.batch.push(Candidate { vid: *vid, ..candidate });
            } else if marked.contains(&n) {
                let why = "its version is being removed: run a sweep, and adopt it again later".to_owned();
                self.say_of(context, &candidate, Action::Wait, why);
            } else {
                self.batch.push(candidate);
            }
        }
        let head = |candidate: &Candidate| HeadObject {
            key: candidate.object.key.clone(),
            version_id: candidate.object.version_id.clone(),
            without_checksums: true,
            ..HeadObject::default()
        };
        let is_object = |candidate: &&Candidate| !candidate.object.is_delete_marker;
        let heads: Vec<HeadObject> = self.batch.iter().filter(is_object).map(head).collect();
        let markers = self.batch.iter().filter(|candidate| candidate.object.is_delete_marker);
        let keys: BTreeSet<String> = markers.map(|candidate| candidate.object.key.clone()).collect();
        self.catalogue.markers =
            keys.into_iter().map(|prefix| ListObjectVersions { prefix, ..Default::default() }).collect();
        Step::each(heads, WIDTH, Self::object_seen, |steps, context| steps.look_for_markers(context))
    }

    /// Looks whether the delete markers are there: stores answer a HEAD of one in different ways.
    fn look_for_markers(&mut self, context: &mut Context<'_>) -> Step<Self> {
        let lists = std::mem::take(&mut self.catalogue.markers);
        if lists.is_empty() {
            self.batch.retain(|candidate| candidate.is_seen);
            return self.looked(context);
        }
        Step::each(lists, WIDTH, Self::markers_listed, |steps, context| steps.look_for_markers(context))
    }

    fn markers_listed(
        &mut self,
        _: &mut Context<'_>,
        asked: &ListObjectVersions,
        page: Result<VersionListing>,
    ) -> Result<()> {
        let page = page?;
        // Longer keys that start with this one come after all of its versions.
        let is_past = page.versions.last().is_some_and(|last| last.key != asked.prefix);
        if !is_past {
            self.catalogue.markers.extend(asked.next(&page));
        }
        for found in page.versions.into_iter().filter(|found| found.is_delete_marker) {
            let is_it = |candidate: &&mut Candidate| {
                let object = &candidate.object;
                object.is_delete_marker
                    && object.key == found.key
                    && object.version_id.as_ref() == Some(&found.version_id)
            };
            if let Some(candidate) = self.batch.iter_mut().find(is_it) {
                candidate.is_seen = true;
            }
        }
        Ok(())
    }

    fn object_seen(&mut self, context: &mut Context<'_>, op: &HeadObject, answer: Result<HeadReply>) -> Result<()> {
        let of = |candidate: &Candidate| candidate.object.key == op.key && candidate.object.version_id == op.version_id;
        let Some(candidate) = self.batch.iter_mut().find(|candidate| of(candidate)) else { return Ok(()) };
        let why = match answer {
            // The vault wrote it itself.
            Ok(found) if found.meta("s3vault-vid").is_some() && !is_active(Mutation::AdoptOwnObjects) => return Ok(()),
            Ok(found) => {
                let object = &candidate.object;
                if found.etag.trim_matches('"') == object.etag && found.size.is_none_or(|size| size == object.size) {
                    candidate.md5 = md5_of(&candidate.object.etag, found.server_side_encryption.as_deref());
                    candidate.is_seen = true;
                    return Ok(());
                }
                "it was replaced meanwhile: adopt it again".to_owned()
            }
            // It was deleted meanwhile.
            Err(e) if e.status() == 404 => return Ok(()),
            // The vault's own data is under keys of SSE-C.
            Err(e) if e.status() == 400 && *self.vault.encryption() == Encryption::SseC => return Ok(()),
            // The reply to a HEAD does not say why.
            Err(e) if matches!(e.status(), 400 | 403) => format!(
                "the store refuses to show it (status {}): it is encrypted with a customer's key, or the keys may not read it",
                e.status()
            ),
            Err(e) => return Err(e),
        };
        self.refuse(context, &op.key, op.version_id.as_deref(), &why);
        Ok(())
    }
}
