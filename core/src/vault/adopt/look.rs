//! The look at the store before an object is adopted: what the catalogue has of it, and then, whether it is there.
//!
//! ```text
//!  catalogue ──▶ HEAD of each object ──400: with the key that the caller gave──▶ HEAD
//!                                                 │ none, or another one           │ another one
//!                                                 └──▶ entries of its backup: did the vault write it?
//! ```

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::{AdoptSteps, Candidate, WIDTH};
use crate::account::Bucket;
use crate::crypto::data_key::WrappedKey;
use crate::error::{Code, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{
    self, Context, HeadObject, HeadReply, ListObjectVersions, ListObjectsV2, Listing, Paged, Step, VersionListing,
};
use crate::vault::adopted::md5_of;
use crate::vault::delete::{Seen, seen};
use crate::vault::encryption::Encryption;
use crate::vault::job::Action;
use crate::vault::manifest::{self, Opened};
use crate::vault::objects::{CatalogueKey, Entry, Kind, RowKey, catalogue_prefix};
use crate::vault::proof::{Claim, Outcome, Proving, ignore, prove};
use crate::vault::stored::Stored;
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
    /// Entries of the same backups that are about no candidate, if keys of SSE-C were given.
    others: Vec<Claim>,
    /// Objects that these entries name, by key and version id: the vault wrote them.
    own: HashSet<(String, Option<String>)>,
    /// Versions that were adopted without hashes, which are to be read now, and their wrapped data keys.
    without_hashes: BTreeMap<Vid, Option<WrappedKey>>,
}

impl Proving for AdoptSteps {
    fn place(&self) -> (&Arc<Vault>, Arc<Bucket>) {
        (&self.vault, self.place.bucket.clone())
    }

    fn must_read(&self, claim: &Claim) -> Option<Result<usize>> {
        match CatalogueKey::parse(&claim.key)?.entry {
            // Whether it has hashes, and which objects it names, only the row itself says.
            Entry::Row(row)
                if row.kind != Kind::Del && (self.request.hash || !self.catalogue.entries.contains_key(&claim.key)) =>
            {
                Some(manifest::read_limit(&claim.key, row.size, claim.size))
            }
            _ => self.vault.must_prove(&claim.key, claim.size),
        }
    }

    fn proven(&mut self, context: &mut Context<'_>, key: &str, outcome: Outcome<Option<Opened>>) {
        match outcome {
            Outcome::Counts(opened) => {
                let Some(Opened { manifest, .. }) = opened else { return };
                if !self.catalogue.entries.contains_key(key) {
                    self.catalogue
                        .own
                        .extend(manifest.extents.into_iter().map(|extent| (extent.key, extent.version_id)));
                } else if manifest.has_no_hashes()
                    && let Ok(vid) = Vid::parse(&manifest.vid)
                {
                    self.catalogue.without_hashes.insert(vid, manifest.wrapped);
                }
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
            (candidate.is_seen, candidate.is_sealed) = (false, false);
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
        let (about, others): (Vec<Seen>, Vec<Seen>) =
            seen(page).partition(|seen| candidates.contains_key(&seen.entry.vid().random()));
        self.catalogue.entries.extend(about.into_iter().map(|seen| (seen.key.clone(), seen)));
        if !self.request.keys.is_empty() {
            let has_data = |seen: &&Seen| matches!(&seen.entry, Entry::Row(row) if row.kind != Kind::Del);
            self.catalogue.others.extend(others.iter().filter(has_data).map(Seen::claim));
        }
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
                    if self.request.hash && self.catalogue.without_hashes.contains_key(&vid) =>
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
                let mut candidate = Candidate { vid: *vid, has_row: true, ..candidate };
                if candidate.key.is_none()
                    && let Some(wrapped) = self.catalogue.without_hashes.get(vid).cloned().flatten()
                {
                    let id = vid.to_string();
                    let name = (candidate.name.container(), candidate.name.path(), &*id);
                    // If the key-encryption key is retired, the caller may still give the data key.
                    candidate.key = self.vault.unwrap(name, &Encryption::SseC, &wrapped).ok();
                    candidate.wrapped = Some(wrapped).filter(|_| candidate.key.is_some());
                }
                self.batch.push(candidate);
            } else if marked.contains(&n) {
                let why = "its version is being removed: run a sweep, and adopt it again later".to_owned();
                self.say_of(context, &candidate, Action::Wait, why);
            } else {
                self.batch.push(candidate);
            }
        }
        let is_object = |candidate: &&Candidate| !candidate.object.is_delete_marker;
        let heads: Vec<HeadObject> =
            self.batch.iter().filter(is_object).map(|candidate| head(candidate, candidate.access())).collect();
        let markers = self.batch.iter().filter(|candidate| candidate.object.is_delete_marker);
        let keys: BTreeSet<String> = markers.map(|candidate| candidate.object.key.clone()).collect();
        self.catalogue.markers =
            keys.into_iter().map(|prefix| ListObjectVersions { prefix, ..Default::default() }).collect();
        Step::each(heads, WIDTH, Self::object_seen, |steps, context| steps.look_with_keys(context))
    }

    /// Asks for the objects that the store did not show without a key, with those that the caller gave.
    fn look_with_keys(&mut self, context: &mut Context<'_>) -> Step<Self> {
        let given = self.request.keys.clone();
        let sealed = self.batch.iter().filter(|candidate| candidate.is_sealed);
        let heads: Vec<HeadObject> = sealed
            .filter_map(|candidate| {
                let key = given.of(&candidate.object.key, candidate.object.version_id.as_deref())?;
                Some(head(candidate, Encryption::SseC.of_data(Some(key))))
            })
            .collect();
        if heads.is_empty() {
            return self.look_for_own(context);
        }
        Step::each(heads, WIDTH, Self::opened, |steps, context| steps.look_for_own(context))
    }

    /// The reply to a HEAD with a key that the caller gave.
    fn opened(&mut self, context: &mut Context<'_>, op: &HeadObject, answer: Result<HeadReply>) -> Result<()> {
        if let Err(e) = &answer
            && e.code() == Code::WrongKey
        {
            return Ok(());
        }
        let Some(candidate) = candidate_of(&mut self.batch, op) else { return Ok(()) };
        candidate.is_sealed = false;
        candidate.key = self.request.keys.of(&op.key, op.version_id.as_deref()).cloned();
        self.object_seen(context, op, answer)
    }

    /// Reads the entries of backups that have objects under other keys: they name those that the vault wrote.
    fn look_for_own(&mut self, context: &mut Context<'_>) -> Step<Self> {
        let sealed = self.batch.iter().filter(|candidate| candidate.is_sealed);
        let prefixes: BTreeSet<String> = sealed.map(|candidate| catalogue_prefix(&candidate.name)).collect();
        let mut claims = std::mem::take(&mut self.catalogue.others);
        let prefix_of = |claim: &Claim| claim.key.rfind('/').map(|slash| claim.key[..=slash].to_owned());
        claims.retain(|claim| prefix_of(claim).is_some_and(|prefix| prefixes.contains(&prefix)));
        if claims.is_empty() {
            return self.refuse_sealed(context);
        }
        prove(self, claims, Self::refuse_sealed)
    }

    /// Says which objects none of the given keys opens.
    fn refuse_sealed(&mut self, context: &mut Context<'_>) -> Step<Self> {
        let sealed: Vec<(String, Option<String>)> = self
            .batch
            .iter()
            .filter(|candidate| candidate.is_sealed)
            .map(|candidate| (candidate.object.key.clone(), candidate.object.version_id.clone()))
            .filter(|object| !self.catalogue.own.contains(object))
            .collect();
        for (key, version_id) in sealed {
            let why = match self.request.keys.of(&key, version_id.as_deref()) {
                Some(_) => "the key that the key file has for it is not the one that it is encrypted with (SSE-C)",
                None if *self.vault.encryption() == Encryption::SseC => {
                    "it is encrypted with a customer key (SSE-C), and the key file has none for it; or an unfinished put of this vault wrote it"
                }
                None => "it is encrypted with a customer key (SSE-C), and the key file has none for it",
            };
            self.refuse(context, &key, version_id.as_deref(), why);
        }
        self.look_for_markers(context)
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
        let Some(candidate) = candidate_of(&mut self.batch, op) else { return Ok(()) };
        let why = match answer {
            // The vault wrote it itself.
            Ok(found) if found.meta("s3vault-vid").is_some() && !is_active(Mutation::AdoptOwnObjects) => return Ok(()),
            Ok(found) => {
                let object = &candidate.object;
                if found.etag.trim_matches('"') == object.etag && found.size.is_none_or(|size| size == object.size) {
                    let is_plain = candidate.key.is_none();
                    let md5 = md5_of(&candidate.object.etag, found.server_side_encryption.as_deref());
                    candidate.md5 = md5.filter(|_| is_plain);
                    candidate.is_seen = true;
                    return Ok(());
                }
                "it was replaced meanwhile: adopt it again".to_owned()
            }
            // It was deleted meanwhile.
            Err(e) if e.status() == 404 => return Ok(()),
            Err(e) if e.status() == 400 && candidate.key.is_none() && !self.request.keys.is_empty() => {
                candidate.is_sealed = true;
                return Ok(());
            }
            // The vault's own data is under keys of SSE-C.
            Err(e) if e.status() == 400 && *self.vault.encryption() == Encryption::SseC => return Ok(()),
            // The reply to a HEAD does not say why.
            Err(e) if matches!(e.status(), 400 | 403) => format!(
                "the store refuses to show it (status {}): it is encrypted with a customer key (SSE-C), which adopt_keys can give, or the access key may not read it",
                e.status()
            ),
            Err(e) => return Err(e),
        };
        self.refuse(context, &op.key, op.version_id.as_deref(), &why);
        Ok(())
    }
}

fn head(candidate: &Candidate, encryption: op::Encryption) -> HeadObject {
    let Stored { key, version_id, .. } = candidate.object.clone();
    HeadObject { key, version_id, encryption, without_checksums: true }
}

fn candidate_of<'a>(batch: &'a mut [Candidate], op: &HeadObject) -> Option<&'a mut Candidate> {
    batch.iter_mut().find(|candidate| candidate.object.key == op.key && candidate.object.version_id == op.version_id)
}
