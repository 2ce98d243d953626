//! Adopting what was looked at: reading it, if that is asked for, and storing its locator and its row.

use std::collections::VecDeque;

use super::{AdoptSteps, Candidate, WIDTH};
use crate::checksum::{Crc, Digest, combine_all};
use crate::error::{Code, Error, Result};
use crate::http::Range;
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, Context, GetRange, PutObject, PutReply, Step};
use crate::text::presentable_key;
use crate::transfer::extent::{Extent, PartHash};
use crate::vault::closed::look;
use crate::vault::job::Action;
use crate::vault::locator::{DataKeys, Locator};
use crate::vault::manifest::{Manifest, Times};
use crate::vault::objects::{Kind, RowKey};
use crate::vault::{Adopted, Name};

/// Most ranges of an object that are read at the same time.
const READS: usize = 8;
/// Least length of a part, in bytes.
const PART: u64 = 16 << 20;
/// Most parts of an object.
const PARTS: u64 = 10_000;
/// How often a batch whose PUTs expired is looked at again.
const LOOKS: u32 = 3;

impl AdoptSteps {
    /// The batch may be adopted.
    pub(super) fn looked(&mut self, context: &mut Context<'_>) -> Step<Self> {
        if self.request.dry_run {
            for candidate in std::mem::take(&mut self.batch) {
                self.say_adopted(context, &candidate);
            }
            return self.next_page();
        }
        let is_unread = |candidate: &&Candidate| candidate.parts.is_none() && !candidate.object.is_delete_marker;
        if self.request.hash && self.batch.iter().any(|candidate| is_unread(&candidate)) {
            let (unread, rest) =
                std::mem::take(&mut self.batch).into_iter().partition(|candidate| is_unread(&candidate));
            self.unread = VecDeque::<Candidate>::from(unread);
            self.batch = rest;
        }
        self.wrap_keys()
    }

    fn say_adopted(&mut self, context: &mut Context<'_>, candidate: &Candidate) {
        let object = &candidate.object;
        let what = if object.is_delete_marker { "delete marker of" } else { "object" };
        let id = object.version_id.as_ref().map(|id| format!(", version {}", presentable_key(id))).unwrap_or_default();
        let reason = format!("{what} s3://{}/{}{id}", self.place.bucket.name(), presentable_key(&object.key));
        self.say_of(context, candidate, Action::Adopt, reason);
    }

    /// Continues with what is not read yet, then with the next page.
    fn next_unread(&mut self) -> Step<Self> {
        let Some(candidate) = self.unread.pop_front() else { return self.next_page() };
        let size = candidate.object.size;
        let part = PART.max(size.div_ceil(PARTS).next_multiple_of(1 << 20));
        let count = size.div_ceil(part).max(1);
        let mut reads = Vec::new();
        for number in 0..count {
            let (start, index) = (number * part, self.ranges);
            self.ranges = self.ranges.wrapping_add(1);
            let range = Range::of_part(number as u32, start, part.min(size - start));
            let range = Range { index, object: Some(size), ..range };
            let object = &candidate.object;
            let (key, version_id, etag) = (object.key.clone(), object.version_id.clone(), Some(object.etag.clone()));
            let encryption = candidate.access();
            reads.push(GetRange { key, version_id, etag, encryption, sequential: false, range });
        }
        let empty = PartHash::new(0, &Digest { crc64nvme: 0, blake3: [0; 32] });
        self.batch = vec![Candidate { parts: Some(vec![empty; count as usize]), ..candidate }];
        Step::each(reads, READS, Self::range_read, |steps, context| steps.read(context))
    }

    fn range_read(&mut self, _: &mut Context<'_>, op: &GetRange, answer: Result<(u64, Digest)>) -> Result<()> {
        match answer {
            Ok((length, digest)) if length == op.range.stored => {
                let parts = self.batch.first_mut().and_then(|candidate| candidate.parts.as_mut());
                if let Some(part) = parts.and_then(|parts| parts.get_mut(op.range.part as usize)) {
                    *part = PartHash::new(length, &digest);
                }
                Ok(())
            }
            Ok((length, _)) => {
                let why = format!("{length} bytes of a range arrived, but {} were requested", op.range.stored);
                self.unreadable.get_or_insert(Error::new(Code::BadReply, why));
                Ok(())
            }
            // It was replaced or deleted, is in an archive, or may not be read.
            Err(e) if matches!(e.status(), 400 | 403 | 404 | 416) || e.code() == Code::DataMissing => {
                self.unreadable.get_or_insert(e);
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// An object was read, which may have taken long: the look at it is repeated.
    fn read(&mut self, context: &mut Context<'_>) -> Step<Self> {
        let Some(why) = self.unreadable.take() else { return self.look_again(context) };
        for candidate in std::mem::take(&mut self.batch) {
            let why = format!("it cannot be read: {}", why.message());
            self.refuse(context, &candidate.object.key, candidate.object.version_id.as_deref(), &why);
        }
        self.next_unread()
    }

    /// Wraps the keys of SSE-C, unless the key-encryption key is closed. This look comes after the one that dates the PUTs.
    fn wrap_keys(&mut self) -> Step<Self> {
        let mut is_new = false;
        for candidate in &mut self.batch {
            if let (Some(key), None) = (&candidate.key, &candidate.wrapped) {
                match self.vault.wrap(&candidate.name, candidate.vid, &candidate.encryption(), key) {
                    Ok(wrapped) => candidate.wrapped = Some(wrapped),
                    Err(e) => return Step::done(Err(e)),
                }
            }
            is_new |= candidate.wrapped.is_some() && !candidate.has_row;
        }
        match self.vault.current_kek().map(|kek| kek.id().to_owned()) {
            Ok(kek) if is_new => {
                look(&self.vault, &self.place.bucket, &kek.clone(), move |steps: &mut Self, _, look| {
                    match look.closed_ms {
                        Some(_) => Step::done(Err(steps.vault.closed(&kek))),
                        None => steps.store_locators(),
                    }
                })
            }
            _ => self.store_locators(),
        }
    }

    fn store_locators(&mut self) -> Step<Self> {
        let date = self.looked_ms;
        // A version that has a row has a locator, perhaps of a later generation.
        let has_data = |candidate: &&Candidate| !candidate.object.is_delete_marker && !candidate.has_row;
        let locators: Vec<Call<PutObject>> =
            self.batch.iter().filter(has_data).map(|candidate| dated(self.locator(candidate), date)).collect();
        Step::each_call(locators, WIDTH, Self::locator_stored, |steps, context| {
            if steps.has_expired { steps.stored(context) } else { steps.store_rows() }
        })
    }

    fn locator(&self, candidate: &Candidate) -> PutObject {
        let (object, vid) = (&candidate.object, candidate.vid);
        let (first, next) = (object.key.clone(), format!("{}@{vid}.", object.key));
        let data = DataKeys { first, next, version_ids: Vec::new() };
        let mut locator = Locator::first(&self.vault.id, &candidate.name, vid, None, candidate.modified_ms, data);
        locator = locator.encrypted(&candidate.name, &candidate.encryption(), candidate.wrapped.clone());
        locator.adopted = Some(adopted(candidate));
        self.vault.put_json(locator.key.clone(), locator.to_object(self.vault.signing_key()))
    }

    fn locator_stored(&mut self, _: &mut Context<'_>, op: &PutObject, answer: Result<PutReply>) -> Result<()> {
        match answer {
            Ok(reply) if self.place.is_versioned() => drop(reply),
            Ok(reply) => {
                self.vault.layout.name_stored(&self.place, &op.key, reply.version_id)?;
                self.place.set_versioned(true);
            }
            Err(e) if e.is_expired() => self.has_expired = true,
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn store_rows(&mut self) -> Step<Self> {
        let (key, date) = (self.vault.signing_key(), self.looked_ms);
        let row = |candidate: &Candidate| {
            let manifest = manifest(&self.vault.id, candidate);
            let object = manifest.to_object(key);
            dated(self.vault.put_json(manifest.key, object), date)
        };
        let rows: Vec<Call<PutObject>> = self.batch.iter().map(row).collect();
        Step::each_call(rows, WIDTH, Self::row_stored, |steps, context| steps.stored(context))
    }

    fn row_stored(&mut self, _: &mut Context<'_>, op: &PutObject, answer: Result<PutReply>) -> Result<()> {
        match answer {
            Ok(_) => {
                self.vault.stored(&op.key);
                let is_of = |candidate: &&mut Candidate| manifest_key(candidate) == op.key;
                if let Some(candidate) = self.batch.iter_mut().find(is_of) {
                    candidate.is_adopted = true;
                }
                Ok(())
            }
            Err(e) if e.is_expired() => {
                self.has_expired = true;
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// The batch is stored, except what expired.
    fn stored(&mut self, context: &mut Context<'_>) -> Step<Self> {
        for candidate in std::mem::take(&mut self.batch) {
            match candidate.is_adopted {
                true => self.say_adopted(context, &candidate),
                false => self.batch.push(candidate),
            }
        }
        if !std::mem::take(&mut self.has_expired) {
            self.expired = 0;
            return self.next_unread();
        }
        self.expired += 1;
        if self.expired > LOOKS {
            let why = "each request expired before the store accepted it";
            return Step::done(Err(Error::new(Code::NotDone, why)));
        }
        self.look_again(context)
    }
}

/// A PUT that takes effect at the time of the look, or not much later.
fn dated(put: PutObject, date: i64) -> Call<PutObject> {
    if is_active(Mutation::AdoptUndated) { Call::new(put) } else { Call::dated(put, date) }
}

fn adopted(candidate: &Candidate) -> Adopted {
    Adopted { etag: candidate.object.etag.clone(), md5: candidate.md5.clone() }
}

fn row_key(candidate: &Candidate) -> RowKey {
    let (vid, kind) = (candidate.vid, candidate.kind());
    let size = if kind == Kind::Del { 0 } else { candidate.object.size };
    RowKey { vid, recorded_ms: candidate.modified_ms, kind, size, parent: None }
}

fn manifest_key(candidate: &Candidate) -> String {
    let name: &Name = &candidate.name;
    format!("{}{}", crate::vault::objects::catalogue_prefix(name), row_key(candidate))
}

/// The manifest of an adopted version.
fn manifest(vault: &str, candidate: &Candidate) -> Manifest {
    let row = row_key(candidate);
    let at = candidate.modified_ms;
    let parts = candidate.parts.clone().unwrap_or_default();
    let crc64nvme = (!parts.is_empty())
        .then(|| combine_all(Crc::Crc64Nvme, parts.iter().map(|part| (part.crc64nvme, part.length))));
    let (key, version_id) = (candidate.object.key.clone(), candidate.object.version_id.clone());
    let extent = Extent { key, version_id, size: row.size, crc64nvme, parts, salts: Vec::new() };
    let times = Times { initiated: at, completed: at, stored: at };
    let mut manifest = Manifest::new(vault, &candidate.name, &row, times, vec![extent], None);
    manifest.set_encryption(&candidate.encryption(), candidate.wrapped.clone());
    manifest.adopted = Some(adopted(candidate));
    manifest
}
