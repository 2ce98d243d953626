//! How a put starts: versioning and `vault.json` once for a vault, the listing that determines the version id and finds
//! the parent, and the locator.

use std::sync::atomic::Ordering;

use super::resume::header;
use super::{Put, State, json};
use crate::error::{Code, Error, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{BucketVersioning, Call, Content, ListObjectsV2, Listing, Paged, PutObject, PutReply};
use crate::time::{Now, rfc3339};
use crate::transfer::checkpoint::Checkpoint;
use crate::vault::Vid;
use crate::vault::find::AHEAD_MS;
use crate::vault::locator::Locator;
use crate::vault::objects::{CatalogueKey, Entry, Kind, VAULT_KEY, catalogue_prefix};

impl Put {
    pub(super) fn write_description_and_list(&mut self) -> State {
        if self.resume.is_some() {
            return self.resume_from_checkpoint();
        }
        if !self.vault.has_description() {
            let content = Content::Bytes(self.vault.description().into());
            self.description = Some(Call::new(PutObject::new(VAULT_KEY, content, json())));
        }
        self.list()
    }

    /// The description was written, or cannot be.
    pub(super) fn description_written(&mut self, now: Now, answer: Result<PutReply>) {
        self.description = None;
        let state = std::mem::replace(&mut self.state, State::Over);
        self.state = match (answer, state) {
            (Ok(_), state) => {
                self.vault.described.store(true, Ordering::Relaxed);
                if let State::Listed = state { self.start(now) } else { state }
            }
            (Err(e), mut state) => {
                if let Some(call) = state.call() {
                    call.abandon(&mut self.session);
                }
                self.fail(e)
            }
        };
    }

    pub(super) fn list(&mut self) -> State {
        self.starts += 1;
        (self.newest, self.parent_seen) = (None, false);
        State::List(Call::new(ListObjectsV2 { prefix: catalogue_prefix(&self.request.name), ..Default::default() }))
    }

    pub(super) fn versioning(&mut self, status: BucketVersioning) -> State {
        match self.vault.layout.check_versioning(&self.session.bucket, status) {
            Ok(()) => {
                self.vault.versioned.store(true, Ordering::Relaxed);
                self.write_description_and_list()
            }
            Err(e) => self.fail(e),
        }
    }

    /// Where nobody could say whether the bucket has versioning, the reply to the locator's PUT does: a bucket without it is
    /// refused before data is sent.
    pub(super) fn check_locator_stored(&self, call: &Call<PutObject>, reply: &PutReply) -> Result<()> {
        if self.vault.versioned.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.vault.layout.check_stored(&self.session.bucket, &call.op().key, reply.version_id.as_deref())?;
        self.vault.versioned.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A page of the first LIST: finds the newest version id and the parent.
    pub(super) fn page(&mut self, now: Now, call: &Call<ListObjectsV2>, page: Listing) -> State {
        if call.op().token.is_none() {
            self.check = call.sent_ms();
        }
        let mut beyond = false;
        let mut deleted = None;
        for key in page.keys() {
            let Some(CatalogueKey { entry, .. }) = CatalogueKey::parse(key) else { continue };
            // Hidden rows count too: the first entry is the newest.
            let newest = *self.newest.get_or_insert(entry.vid());
            if self.is_future(now, newest) {
                return self.future(newest);
            }
            beyond |= self.request.parent.is_none_or(|parent| entry.vid() > parent);
            match entry {
                Entry::Deleted(vid) => deleted = Some(vid),
                Entry::Row(row) if Some(row.vid) == self.request.parent => {
                    self.parent_seen = deleted != Some(row.vid) && row.kind != Kind::Del;
                }
                _ => {}
            }
        }
        if let (Some(next), false, false) = (call.op().next(&page), beyond, self.parent_seen) {
            return State::List(Call::new(next));
        }
        if let Some(parent) = self.request.parent.filter(|_| !self.parent_seen) {
            let (container, path) = (self.request.name.container(), self.request.name.path());
            let why = format!("the parent {parent} is not a live version of {container} {path}");
            return self.fail(Error::new(Code::BadParent, why));
        }
        if self.description.is_some() { State::Listed } else { self.start(now) }
    }

    /// Whether a version id runs further ahead of the store's clock than any put makes one.
    pub(super) fn is_future(&self, now: Now, vid: Vid) -> bool {
        vid.unix_ms() > self.session.clock(now).saturating_add(AHEAD_MS)
    }

    pub(super) fn future(&mut self, newest: Vid) -> State {
        let (container, path) = (self.request.name.container(), self.request.name.path());
        let at = rfc3339(newest.unix_ms());
        let why = format!("the newest version of {container} {path}, {newest}, is dated {at}, which is in the future");
        self.fail(Error::new(Code::FutureVersion, why))
    }

    pub(super) fn start(&mut self, now: Now) -> State {
        let clock = self.session.clock(now);
        let newest = self.newest.filter(|_| !is_active(Mutation::IgnoreNewerVersions));
        let after = newest.map_or(0, |vid| vid.unix_ms() + 1);
        self.initiated = clock;
        self.vid = Vid::new(clock.max(after), self.request.entropy);
        let name = &self.request.name;
        let data = self.vault.layout.data_keys(name, self.vid);
        let locator = Locator::first(&self.vault.id, name, self.vid, self.request.parent, self.check, data);
        if is_active(Mutation::WriteDataBeforeLocator) {
            return self.first(1, 0);
        }
        let content = Content::Bytes(locator.to_object(self.vault.signing_key()).into());
        let header = header(&self.vault, &self.request, self.vid, self.initiated, self.plan);
        if let Some(journal) = &mut self.session.journal {
            journal.add(Checkpoint::record(header), true);
        }
        State::Locator(Call::dated(PutObject::new(locator.key, content, json()), self.check))
    }
}
