//! How a put starts: versioning and `vault.json` once for a vault, the listing that determines the version id and finds
//! the parent, and the locator, beside the listing or after it.

use bytes::Bytes;

use super::extend::Extend;
use super::preflight::Preflight;
use super::resume::header;
use super::seen::{Says, Seen};
use super::{Put, State};
use crate::crypto::data_key::WrappedKey;
use crate::error::{Code, Error, Result};
use crate::machine::SourceStart;
use crate::mutation::{Mutation, is_active};
use crate::op::{
    BucketVersioning, Call, Calling, GetObjectLockConfiguration, ListObjectsV2, Listing, ObjectLock, Paged, PutObject,
    PutReply, Strand,
};
use crate::time::Now;
use crate::transfer::checkpoint::{Checkpoint, Header};
use crate::vault::Vid;
use crate::vault::encryption::Encryption;
use crate::vault::find::{AHEAD_MS, in_the_future};
use crate::vault::locator::Locator;
use crate::vault::manifest::Opened;
use crate::vault::objects::{VAULT_KEY, catalogue_prefix};
use crate::vault::proof::{Claim, Outcome, ReadVerified, ignored};

impl Put {
    /// The bucket is there and fits, as far as these keys may see: if the put is to lock what it stores, object lock is
    /// looked at, once for a bucket. A store may ignore what it does not know.
    pub(super) fn bucket_fits(&mut self) -> State {
        if self.vault.immutable.is_some() && !self.place.is_lockable() {
            return State::LockCheck(Call::new(GetObjectLockConfiguration));
        }
        self.try_keys()
    }

    /// The bucket may lock what is stored: tries whether the store encrypts with the vault's keys, once for a bucket.
    fn try_keys(&mut self) -> State {
        if *self.vault.encryption() != Encryption::SseC || self.place.keeps_keys() {
            return self.write_description_and_list();
        }
        let (preflight, first) = Preflight::start(&self.vault, &self.place, &self.request.entropy);
        State::Trying(Strand::start(preflight, first))
    }

    pub(super) fn lock_checked(&mut self, answer: Result<ObjectLock>) -> State {
        match answer {
            Ok(ObjectLock { enabled: true, .. }) => {}
            // These keys may not ask: a store with object lock refuses a lock in a bucket without it.
            Err(e) if e.code() == Code::AccessDenied => {}
            Err(e) if !is_without_lock(&e) => return self.fail(e),
            Ok(_) | Err(_) => {
                let bucket = self.session.bucket.name();
                let why = format!("immutable_days is set, but bucket {bucket} has no object lock");
                let e = Error::new(Code::InvalidOption, why).on("GetObjectLockConfiguration", bucket, "");
                return self.fail(e.with_hint(
                    "Enable object lock on the bucket (some stores can do that only when it is created), or remove immutable_days.",
                ));
            }
        }
        self.place.set_lockable();
        self.try_keys()
    }

    pub(super) fn write_description_and_list(&mut self) -> State {
        if self.resume.is_some() {
            return self.resume_from_checkpoint();
        }
        if !self.place.is_described() {
            let description = self.vault.description(self.request.name.container());
            self.description = Some(Call::new(self.vault.put_json(VAULT_KEY, description)));
        }
        self.list()
    }

    /// The description was written, or cannot be.
    pub(super) fn description_written(&mut self, answer: Result<PutReply>) {
        self.description = None;
        let state = std::mem::replace(&mut self.state, State::Over);
        self.state = match (answer, state) {
            (Ok(_), state) => {
                self.place.set_described(true);
                if let State::Listed = state { self.decided() } else { state }
            }
            (Err(e), state) => {
                self.state = state;
                self.abandon_state();
                self.fail(e)
            }
        };
    }

    /// Starts the put from the LIST.
    pub(super) fn list(&mut self) -> State {
        self.starts += 1;
        self.abandon_beside();
        State::Start
    }

    /// Sends the LIST, and the locator beside it where everything else is known: the bucket, and the store's clock.
    pub(super) fn start_listing(&mut self, now: Now) -> State {
        self.seen = Seen::default();
        self.look_at_kek(self.session.clock(now), self.look_lasts_ms() / 2);
        let is_known = self.place.is_described() && self.place.is_versioned() && self.kek_look.is_none();
        // Not again after a locator that expired: this machine's clock may have been set.
        let may_send = is_known && self.starts == 1 && !is_active(Mutation::WriteDataBeforeLocator);
        if let Some(t0) = self.session.account().passed_ms(now).filter(|_| may_send) {
            self.check = t0;
            if let Err(e) = self.choose_vid(self.session.clock(now), None) {
                return self.fail(e);
            }
            self.seen.chosen_at = now.mono_ms;
            self.beside = Beside::Sending(self.locator());
        }
        State::List(Call::new(ListObjectsV2 { prefix: catalogue_prefix(&self.request.name), ..Default::default() }))
    }

    /// The version id that this put would have if the listing showed nothing newer, as a time.
    fn own_time(&self, now: Now) -> i64 {
        if self.beside.is_sent() { self.vid.unix_ms() } else { self.session.clock(now) }
    }

    pub(super) fn abandon_beside(&mut self) {
        if let Beside::Sending(mut call) = std::mem::take(&mut self.beside) {
            call.abandon(&mut self.session);
        }
    }

    /// The locator that was sent beside the LIST is stored, or cannot be.
    pub(super) fn locator_answered_beside(&mut self, answer: Result<PutReply>) {
        match answer {
            Ok(_) => self.beside = Beside::Stored,
            Err(e) => {
                self.beside = Beside::No;
                if e.is_expired() && matches!(self.state, State::List(_) | State::Proving(..)) {
                    // The LIST is still running: another version id is chosen after it.
                    return;
                }
                self.abandon_state();
                self.state = if e.is_expired() { self.list() } else { self.fail(e) };
            }
        }
    }

    pub(super) fn versioning(&mut self, status: BucketVersioning) -> State {
        match self.vault.layout.check_place(&self.place, status) {
            Ok(()) => self.bucket_fits(),
            Err(e) => self.fail(e),
        }
    }

    /// Where nobody could say whether the bucket has versioning, the reply to the locator's PUT does: a bucket without it is
    /// refused before data is sent.
    pub(super) fn check_locator_stored(&self, call: &Call<PutObject>, reply: &PutReply) -> Result<()> {
        if self.place.is_versioned() {
            return Ok(());
        }
        self.vault.layout.name_stored(&self.place, &call.op().key, reply.version_id.clone())?;
        self.place.set_versioned(true);
        Ok(())
    }

    /// A page of the first LIST: finds the newest version id and the parent.
    pub(super) fn page(&mut self, now: Now, call: &Call<ListObjectsV2>, page: Listing) -> State {
        if call.op().token.is_none() {
            self.seen.listed_ms = call.sent_ms();
        }
        let own = self.own_time(now);
        let next = call.op().next(&page);
        for object in &page.objects {
            self.seen.see(&self.vault, self.request.parent, own, object);
        }
        match next.filter(|_| self.seen.needs_more(&self.vault, self.request.parent)) {
            Some(next) => State::List(Call::new(next)),
            None => self.listed_all(now),
        }
    }

    /// Everything that the put needs of the listing was seen: what counts only once it is verified is read first.
    pub(super) fn listed_all(&mut self, now: Now) -> State {
        while let Some(proof) = self.seen.next_proof(self.request.parent) {
            let Claim { key, size } = proof.claim;
            match self.vault.must_prove(&key, size) {
                None => self.seen.counts(proof.says),
                Some(Err(e)) => self.ignore(proof.says, &key, &e),
                Some(Ok(limit)) => {
                    let read = ReadVerified::entry(&self.vault, &self.session.bucket, key, limit);
                    return State::Proving(read, proof.says);
                }
            }
        }
        if let Some(newest) = self.seen.newest.filter(|newest| self.is_future(now, *newest)) {
            return self.future(newest);
        }
        if let Some(parent) = self.request.parent
            && let Some(why) = self.seen.refuses_parent()
        {
            let (container, path) = (self.request.name.container(), self.request.name.path());
            let why = format!("the parent {parent} is not a live version of {container} {path}{why}");
            return self.fail(Error::new(Code::BadParent, why));
        }
        if let Err(e) = self.settle_vid(now) {
            return self.fail(e);
        }
        match (self.lock, self.request.parent) {
            (Some(lock), Some(parent)) => {
                let (extend, first) = Extend::start(&self.vault, &self.request.name, parent, lock);
                State::Extending(Box::new(Strand::start(extend, first)))
            }
            _ => self.decided(),
        }
    }

    /// Nothing is left to decide before the locator.
    pub(super) fn decided(&mut self) -> State {
        self.look_at_kek(self.check, self.look_lasts_ms());
        if self.description.is_some() || self.kek_look.is_some() { State::Listed } else { self.start() }
    }

    /// What the listing shows was read.
    pub(super) fn proof_read(
        &mut self,
        now: Now,
        says: Says,
        key: &str,
        answer: Result<Outcome<Option<Opened>>>,
    ) -> State {
        match answer {
            Ok(Outcome::Counts(_)) => self.seen.counts(says),
            Ok(Outcome::Gone(_)) => {}
            Ok(Outcome::Refused(e)) => self.ignore(says, key, &e),
            Err(e) => return self.fail(e),
        }
        self.listed_all(now)
    }

    /// An object that does not verify decides nothing.
    fn ignore(&mut self, says: Says, key: &str, why: &Error) {
        self.seen.is_refused(says, why.message());
        self.session.report(ignored(&self.session.bucket, key, why));
    }

    /// Whether a version id runs further ahead of the store's clock than any put makes one.
    pub(super) fn is_future(&self, now: Now, vid: Vid) -> bool {
        vid.unix_ms() > self.session.clock(now).saturating_add(AHEAD_MS)
    }

    pub(super) fn future(&mut self, newest: Vid) -> State {
        let e = in_the_future(&self.request.name, newest);
        self.fail(e)
    }

    /// The listing is complete: the version id that the locator beside it has is kept, or another is chosen.
    fn settle_vid(&mut self, now: Now) -> Result<()> {
        if self.beside.is_sent() && self.is_own_vid_newest(now) {
            // The LIST is the check of the data and the row, whatever a clock did since the reply that t0 is from.
            self.check = self.check.min(self.seen.listed_ms);
            return Ok(());
        }
        self.abandon_beside();
        self.check = self.seen.listed_ms;
        let newest = self.seen.newest.filter(|_| !is_active(Mutation::IgnoreNewerVersions));
        self.choose_vid(self.session.clock(now), newest)
    }

    /// The version id is decided: the locator is sent, unless it was sent beside the LIST.
    pub(super) fn start(&mut self) -> State {
        if is_active(Mutation::WriteDataBeforeLocator) {
            return self.first(1, 0);
        }
        self.save_header();
        match std::mem::take(&mut self.beside) {
            Beside::Sending(call) => State::Locator(call),
            Beside::Stored => self.locator_stored(),
            Beside::No => State::Locator(self.locator()),
        }
    }

    /// Whether the version id that was chosen before the LIST may stay: nothing that counts is newer, or as new, and the
    /// clock that it was chosen by still seems right.
    fn is_own_vid_newest(&self, now: Now) -> bool {
        let newest = self.seen.newest.filter(|_| !is_active(Mutation::IgnoreNewerVersions));
        let passed = (now.mono_ms as i64).saturating_sub(self.seen.chosen_at as i64);
        let by_the_clock_now = self.session.clock(now).saturating_sub(passed);
        by_the_clock_now.abs_diff(self.initiated) <= SAME_CLOCK_MS
            && newest.is_none_or(|newest| newest.unix_ms() < self.vid.unix_ms())
    }

    fn choose_vid(&mut self, clock: i64, newest: Option<Vid>) -> Result<()> {
        let after = newest.map_or(0, |vid| vid.unix_ms() + 1);
        self.initiated = clock;
        self.lock = self.vault.immutable.map(|immutable| immutable.from(clock));
        self.vid = Vid::new(self.vault.vid_clock.next(clock.max(after)), self.request.entropy);
        self.wrapped = self.wrap()?;
        Ok(())
    }

    /// The data key, wrapped for this version, if it has one.
    fn wrap(&self) -> Result<Option<WrappedKey>> {
        let (name, encryption) = (&self.request.name, self.vault.encryption());
        let has_key = encryption.has_data_key();
        has_key.then(|| self.vault.wrap(name, self.vid, encryption, &self.request.data_key)).transpose()
    }

    /// PUTs the locator, dated by the check.
    fn locator(&self) -> Call<PutObject> {
        let name = &self.request.name;
        let data = self.vault.layout.data_keys(name, self.vid);
        let locator = Locator::first(&self.vault.id, name, self.vid, self.request.parent, self.check, data).encrypted(
            name,
            self.vault.encryption(),
            self.wrapped.clone(),
        );
        let object = locator.to_object(self.vault.signing_key());
        Call::dated(self.put_own(locator.key, object), self.check)
    }

    /// The PUT of the version's locator or row, which are locked as its data is.
    pub(super) fn put_own(&self, key: impl Into<String>, object: impl Into<Bytes>) -> PutObject {
        let mut put = self.vault.put_json(key, object);
        put.headers.extend(self.lock.iter().flat_map(|lock| lock.headers()));
        put
    }

    /// The version id is decided: the checkpoint starts. A put that ends before has nothing to resume.
    fn save_header(&mut self) {
        let header = Header {
            wrapped: self.wrapped.clone(),
            ..header(&self.vault, &self.request, self.vid, self.initiated, self.plan)
        };
        if let Some(journal) = &mut self.session.journal {
            journal.add(Checkpoint::record(header), true);
        }
    }

    pub(super) fn locator_stored(&mut self) -> State {
        if !std::mem::replace(&mut self.source_started, true) {
            self.source_start = Some(SourceStart::at(0, false));
        }
        self.first(1, 0)
    }
}

/// The locator that is sent beside the LIST.
#[allow(clippy::large_enum_variant)] // A put has one.
#[derive(Default)]
pub(super) enum Beside {
    /// It is not: it follows the LIST.
    #[default]
    No,
    Sending(Call<PutObject>),
    Stored,
}

impl Beside {
    fn is_sent(&self) -> bool {
        !matches!(self, Beside::No)
    }

    pub(super) fn call(&mut self) -> Option<&mut dyn Calling> {
        match self {
            Beside::Sending(call) => Some(call),
            Beside::No | Beside::Stored => None,
        }
    }
}

/// Whether a store says that a bucket has no object lock, or that it does not know what that is.
fn is_without_lock(e: &Error) -> bool {
    matches!(e.status(), 404 | 405 | 501) && e.code() != Code::NoSuchBucket
}

/// How far the clock may be corrected while the LIST is in progress before the time of the put is read again, in
/// milliseconds: `Date` has whole seconds.
const SAME_CLOCK_MS: u64 = 2_000;
