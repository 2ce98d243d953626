//! Storing a version: the protocol *Put* of docs/protocol.md.
//!
//! ```text
//!  Versioning ─▶ Start ─▶ List ─▶ Proving ─▶ Listed ─▶ Locator ─▶ First ─▶ Sending ─▶ Row ─▶ Done
//!  (once for     ▲  ▲       │   (if it must) (`vault.json` │ expired  (part 1)  │ ▲       │ ▲
//!   a bucket)    │  │       │                  is there)   │          Recheck ◀─┘ └───────┴─┘  when the check has aged
//!      │         │  └───────┼──────────────────────────────┘
//!      │         │          └ beside it: the locator, if the store's clock is known
//!      │         └─ gone, abandoned ─┐
//!      └─ resumes ─▶ Recheck ────────┴▶ Parts ─▶ First, Sending, Row
//!
//!  Trying after Versioning, once for a bucket, where the store is to encrypt with the vault's keys (put/preflight.rs)
//!  Preparing instead of Versioning, where each container has a bucket of its own (put/bucket.rs)
//!  Sending ── of a file, if the store broke the upload in its Complete ─▶ Start
//! ```
//! A *check* is valid for the profile's `max_request_age_ms` (B). The locator and the data's PUT or Create are signed with the
//! date of the newest check, and the row with the date that the data was signed with, so that nothing takes effect
//! later than B after its check. Nothing is checked after the row. The first put of a vault writes `vault.json` beside
//! its LIST; nothing else is written until that is stored.
//!
//! Otherwise the locator is sent beside the LIST, with a version id by the store's clock, and both are signed at the same
//! time. If the LIST shows a version that is not older, another version id is chosen, and its locator follows the LIST;
//! sweep removes the first one.

mod bucket;
mod check;
mod data;
mod extend;
mod kek;
mod preflight;
mod resume;
mod row;
mod seen;
mod start;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::immutable::Lock;
use super::layout::Place;
use super::manifest::{self, Extent, Opened};
use super::proof::ReadVerified;
use super::{Found, Labels, Name, Vault, Vid};
use crate::crypto::data_key::{DataKey, WrappedKey};
use crate::error::{Code, Error, Result};
use crate::journal::Journal;
use crate::machine::{Input, Machine, Output, PartRequest, SourceStart, misuse};
use crate::op::{
    Asking, BucketVersioning, Call, Calling, GetBucketVersioning, GetObjectLockConfiguration, ListObjectsV2, ListParts,
    Next, Paged, PutObject, Session, Strand,
};
use crate::time::Now;
use crate::transfer::checkpoint::{Checkpoint, FileIdentity};
use crate::transfer::plan::Plan;
use crate::transfer::upload::{Listed, Ready, Upload, check_salt};
use bucket::Prepare;
use check::Purpose;
use data::too_many;
use extend::Extend;
use kek::KekLook;
use preflight::Preflight;
use resume::{Contents, check_contents, header};
use row::BuiltRow;
use seen::{Says, Seen};
use start::Beside;

/// How many times a put starts if its locator's date passed before the store accepted it, or if the store can no longer
/// complete the upload of its file.
const MAX_STARTS: u32 = 3;

/// What to store.
#[derive(Clone, Debug)]
pub struct PutRequest {
    /// Name of the backup.
    pub name: Name,
    /// The version that an incremental builds on; `None` for a full backup.
    pub parent: Option<Vid>,
    /// Length in bytes, if it is known.
    pub length: Option<u64>,
    /// Identity of the file, if the source is one: a checkpoint resumes only with the same file.
    pub source: Option<FileIdentity>,
    /// The source may change while it is stored, and the manifest says so.
    pub live: bool,
    /// Labels of the version.
    pub labels: Labels,
    /// The checkpoint to resume from. With one (even an empty one) each step is saved with [`Output::Save`]; with
    /// `None` nothing is saved.
    pub checkpoint: Option<Checkpoint>,
    /// Bytes of payload that the process may hold: a stream's parts grow up to a quarter of this.
    pub memory: u64,
    /// Random bits of the version id, from the operating system's entropy.
    pub entropy: [u8; 10],
    /// Key of the data, if the vault encrypts it with one, from the operating system's entropy.
    pub data_key: DataKey,
    /// Drives the jitter of retries.
    pub seed: u64,
}

enum State {
    /// Looks at the container's own bucket, and creates it where it is missing.
    Preparing(Strand<Prepare>),
    Versioning(Call<GetBucketVersioning>),
    /// Looks whether the bucket has object lock.
    LockCheck(Call<GetObjectLockConfiguration>),
    /// Tries whether the store encrypts with the vault's keys.
    Trying(Strand<Preflight>),
    /// The LIST starts with the next poll, which knows the time.
    Start,
    List(Call<ListObjectsV2>),
    /// Reads what the listing shows and what counts only once it was verified.
    Proving(ReadVerified<Option<Opened>>, Says),
    /// Extends the locks of the versions that an incremental builds on.
    Extending(Box<Strand<Extend>>),
    /// The listing is complete, but the description is not written yet.
    Listed,
    Locator(Call<PutObject>),
    /// Waits for the first part of an extent.
    First {
        request: PartRequest,
        asked: bool,
    },
    Sending(Box<Upload>),
    RecheckRows(Call<ListObjectsV2>, Purpose),
    RecheckLocators(Call<ListObjectsV2>, Purpose),
    /// Lists the parts that the store has of a checkpoint's upload.
    Parts(Call<ListParts>, BTreeMap<u32, Listed>),
    /// The row is built, and waits until the checkpoint has recorded it.
    RowBuilt,
    Row(Call<PutObject>),
    Unknown(Call<PutObject>, Option<Error>),
    /// The row may exist, its date has passed, and the check that would find it failed.
    CheckFailed(Option<Error>),
    Done(Box<Result<Found>>),
    Over,
}

impl State {
    fn call(&mut self) -> Option<&mut dyn Calling> {
        match self {
            State::Versioning(call) => Some(call),
            State::Locator(call) | State::Row(call) => Some(call),
            State::List(call) | State::RecheckRows(call, _) | State::RecheckLocators(call, _) => Some(call),
            State::Parts(call, _) => Some(call),
            State::Proving(read, _) => Some(read),
            State::LockCheck(call) => Some(call),
            State::Preparing(_)
            | State::Trying(_)
            | State::Extending(_)
            | State::Start
            | State::Listed
            | State::First { .. }
            | State::RowBuilt
            | State::Sending(_)
            | State::Unknown(..)
            | State::CheckFailed(_)
            | State::Done(_)
            | State::Over => None,
        }
    }

    /// Whether the put may stop here: the data is not stored yet, and no upload has to be aborted.
    fn may_stop(&self) -> bool {
        matches!(
            self,
            State::Preparing(_)
                | State::Versioning(_)
                | State::LockCheck(_)
                | State::Trying(_)
                | State::Start
                | State::List(_)
                | State::Proving(..)
                | State::Extending(_)
                | State::Listed
                | State::Locator(_)
                | State::First { .. }
                | State::RecheckRows(_, Purpose::Data | Purpose::Resume)
                | State::RecheckLocators(_, Purpose::Data | Purpose::Resume)
                | State::Parts(..)
        )
    }
}

/// Stores one version.
pub struct Put {
    vault: Arc<Vault>,
    place: Arc<Place>,
    session: Session,
    request: PutRequest,
    plan: Plan,
    state: State,
    /// Writes the vault's description if it has none.
    description: Option<Call<PutObject>>,
    /// Looks whether the key-encryption key is closed.
    kek_look: Option<Strand<KekLook>>,
    /// The locator that is sent beside the LIST.
    beside: Beside,
    starts: u32,
    vid: Vid,
    /// Start of the put: the version id's instant, or the clock's if that is earlier.
    initiated: i64,
    /// The lock of everything that the put stores.
    lock: Option<Lock>,
    /// The data key in the locator and the manifest, if there is one.
    wrapped: Option<WrappedKey>,
    /// The newest check: the store's clock before its LIST.
    check: i64,
    /// What the listing shows so far.
    seen: Seen,
    /// The check that the data was signed with.
    data_check: i64,
    first: Option<Ready>,
    /// Extents that are stored, their length in bytes of the backup, and the `Date` of the reply that completed the last
    /// of them.
    extents: Vec<Extent>,
    size: u64,
    stored_ms: Option<i64>,
    /// A part to release.
    release: Option<u32>,
    built_row: Option<BuiltRow>,
    /// The row was looked for once more, since another generation of the locator was there.
    is_rechecked: bool,
    /// An attempt to write the row may have taken effect, although its date has passed.
    row_sent: bool,
    /// The checkpoint, until the put has resumed from it.
    resume: Option<Checkpoint>,
    /// Output to emit.
    source_start: Option<SourceStart>,
    /// [`Output::Start`] was emitted or is about to be.
    source_started: bool,
    /// The caller asked to stop.
    stop_asked: bool,
}

impl Put {
    /// Stores a version in this vault.
    pub fn new(vault: Arc<Vault>, mut request: PutRequest) -> Result<Put> {
        vault.check_may_encrypt()?;
        let mut plan = plan(&vault, &request);
        let place = vault.layout.place(request.name.container());
        let mut session = Session::new(&place.bucket, request.seed);
        let mut built_row = None;
        let resume = match request.checkpoint.take() {
            None => None,
            Some(checkpoint) => {
                session.journal = Some(Journal::new(vault.checkpoint_key(), checkpoint.last));
                checkpoint.check(&header(&vault, &request, Vid::first_of(0), 0, plan))?;
                match check_contents(&vault, &request, &checkpoint)? {
                    Contents::Nothing => None,
                    Contents::Steps(row) => {
                        built_row = row;
                        if let Some(header) = &checkpoint.header {
                            plan = plan.with_part(header.part);
                            if let Some(wrapped) = &header.wrapped {
                                let name = (request.name.container(), request.name.path(), &*header.vid);
                                let key = vault.unwrap(name, vault.encryption(), wrapped);
                                request.data_key = key.map_err(|e| resume::without_key(&vault, wrapped, e))?;
                            }
                        }
                        Some(checkpoint)
                    }
                }
            }
        };
        if let Some((parts, extents)) = plan.count()
            && !manifest::is_readable(plan.form(), parts, extents)
        {
            let what = format!("a file of {} bytes", request.length.unwrap_or(0));
            let why = format!("{what} would have {parts} parts of {} bytes in {extents} objects", plan.part());
            return Err(too_many(&vault, &request, &why).with_hint(
                "Store it as several backups. If the store accepts larger parts and objects, set provider to its name.",
            ));
        }
        let mut put = Put {
            plan,
            session,
            state: State::Over,
            description: None,
            kek_look: None,
            beside: Beside::No,
            starts: 0,
            vid: Vid::first_of(0),
            initiated: 0,
            lock: None,
            wrapped: None,
            check: 0,
            seen: Seen::default(),
            data_check: 0,
            first: None,
            extents: Vec::new(),
            size: 0,
            stored_ms: None,
            release: None,
            built_row,
            is_rechecked: false,
            row_sent: false,
            resume,
            source_start: None,
            source_started: false,
            stop_asked: false,
            vault,
            place,
            request,
        };
        let is_known = put.place.is_settled();
        put.state = if put.vault.layout.single().is_none() && !(is_known && put.place.is_described()) {
            let (prepare, first) = Prepare::start(&put.vault, &put.place, put.request.name.container());
            State::Preparing(Strand::start(prepare, first))
        } else if is_known {
            put.bucket_fits()
        } else {
            State::Versioning(Call::new(GetBucketVersioning))
        };
        Ok(put)
    }

    /// The key that the source's parts are to be encrypted with before they are handed over, if the vault's are.
    pub fn seals_with(&self) -> Option<DataKey> {
        (!self.plan.form().is_plain()).then(|| self.request.data_key.clone())
    }

    /// Drops what the state waits for.
    fn abandon_state(&mut self) {
        match &mut self.state {
            State::Preparing(strand) => strand.cancel(&mut self.session),
            State::Trying(strand) => strand.cancel(&mut self.session),
            State::Extending(strand) => strand.cancel(&mut self.session),
            state => {
                if let Some(call) = state.call() {
                    call.abandon(&mut self.session);
                }
            }
        }
    }

    fn fail(&mut self, e: Error) -> State {
        if let Some(mut call) = self.description.take() {
            call.abandon(&mut self.session);
        }
        if let Some(mut look) = self.kek_look.take() {
            look.cancel(&mut self.session);
        }
        self.abandon_beside();
        State::Done(Box::new(Err(e)))
    }
}

/// The plan of a backup.
fn plan(vault: &Vault, request: &PutRequest) -> Plan {
    // What is encrypted is never read again: each part is kept until the store has it, as of a stream.
    let length = request.length.filter(|_| vault.encryption().form().is_plain());
    Plan::new(length, vault.account().profile(), request.memory, vault.encryption().form())
}

fn suspended() -> Error {
    Error::new(Code::Suspended, "the put was suspended: its checkpoint resumes from here")
}

fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the put was cancelled before its version was listed")
}

impl Machine for Put {
    type Done = Found;

    fn handle(&mut self, now: Now, input: Input<'_>) {
        match (&input, &mut self.session.journal) {
            (Input::Saved, Some(journal)) if !journal.is_saved() => journal.saved(),
            (Input::Saved, _) | (Input::SaveFailed(_), None) => {
                return self
                    .session
                    .misused(misuse("the outcome of a save was reported, but no record was to be saved"));
            }
            _ => {}
        }
        let has_checkpoint = self.session.journal.is_some();
        let stop = match &input {
            Input::Suspend if has_checkpoint => Some(suspended()),
            Input::Cancel | Input::Suspend => Some(cancelled()),
            Input::SourceFailed(e) | Input::SaveFailed(e) => Some(e.clone()),
            _ => None,
        };
        self.stop_asked |= matches!(input, Input::Cancel | Input::Suspend);
        // The checkpoint contains every completed step, so a put may be suspended in any state.
        let is_left = has_checkpoint && matches!(input, Input::Suspend | Input::SaveFailed(_));
        let may_stop = self.state.may_stop() || is_left && !matches!(self.state, State::Sending(_) | State::Done(_));
        if let Some(why) = stop.filter(|_| may_stop) {
            self.abandon_state();
            self.state = self.fail(why);
        }
        if let Some(call) = &mut self.description
            && let Some(answer) = call.handle(&mut self.session, now, &input)
        {
            return self.description_written(answer);
        }
        if let Some(look) = &mut self.kek_look {
            look.handle(&mut self.session, now, &input);
        }
        if let Beside::Sending(call) = &mut self.beside
            && let Some(answer) = call.handle(&mut self.session, now, &input)
        {
            return self.locator_answered_beside(answer);
        }
        let state = std::mem::replace(&mut self.state, State::Over);
        self.state = match (state, &input) {
            (State::First { request, asked: true }, Input::PartReady { number, length, digest, last, salt }) => {
                let is_right = request.check(*number, *length, digest.as_ref(), *last);
                match is_right.and_then(|()| check_salt(self.plan, *number, *salt)) {
                    Ok(()) => {
                        let part = self.plan.part_ready(*number, request.offset, *length, *digest, *salt);
                        self.first_ready(now, part, *last)
                    }
                    Err(e) => {
                        self.session.misused(e);
                        State::First { request, asked: true }
                    }
                }
            }
            (State::CheckFailed(_), Input::Retry) => self.recheck(Purpose::Row),
            (State::Unknown(mut call, _), Input::Retry) => {
                call.restart();
                State::Row(call)
            }
            (State::Preparing(mut strand), input) => {
                strand.handle(&mut self.session, now, input);
                State::Preparing(strand)
            }
            (State::Versioning(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::Versioning(call),
                Some(Ok(status)) => self.versioning(status),
                // Some stores without versioning do not support the request.
                Some(Err(e)) if e.status() == 501 => self.versioning(BucketVersioning::Off),
                // These keys may not ask: the reply to the locator's PUT shows it.
                Some(Err(e)) if e.code() == Code::AccessDenied => self.bucket_fits(),
                Some(Err(e)) => self.fail(e),
            },
            (State::LockCheck(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::LockCheck(call),
                Some(answer) => self.lock_checked(answer),
            },
            (State::Trying(mut strand), input) => {
                strand.handle(&mut self.session, now, input);
                State::Trying(strand)
            }
            (State::Extending(mut strand), input) => {
                strand.handle(&mut self.session, now, input);
                State::Extending(strand)
            }
            (State::List(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::List(call),
                Some(Ok(page)) => self.page(now, &call, page),
                Some(Err(e)) => self.fail(e),
            },
            (State::Proving(mut read, says), input) => match read.handle(&mut self.session, now, input) {
                None => State::Proving(read, says),
                Some(answer) => self.proof_read(now, says, read.key(), answer),
            },
            (State::Locator(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::Locator(call),
                Some(Ok(reply)) => {
                    if let Err(e) = self.check_locator_stored(&call, &reply) {
                        self.state = self.fail(e);
                        return;
                    }
                    self.locator_stored()
                }
                Some(Err(e)) if e.is_expired() && self.starts < MAX_STARTS => self.list(),
                Some(Err(e)) => self.fail(e),
            },
            (State::Sending(mut upload), input) => {
                upload.handle(&mut self.session, now, input);
                State::Sending(upload)
            }
            (State::RecheckRows(mut call, what), input) => match call.handle(&mut self.session, now, input) {
                None => State::RecheckRows(call, what),
                Some(Ok(page)) => self.rows_checked(now, &call, page, what),
                Some(Err(e)) => self.check_failed(e, what),
            },
            (State::RecheckLocators(mut call, what), input) => match call.handle(&mut self.session, now, input) {
                None => State::RecheckLocators(call, what),
                Some(Ok(page)) => self.locators_checked(now, &call, &page, what),
                Some(Err(e)) => self.check_failed(e, what),
            },
            (State::Parts(mut call, mut listed), input) => match call.handle(&mut self.session, now, input) {
                None => State::Parts(call, listed),
                Some(Ok(page)) => {
                    listed.extend(page.parts.iter().map(|part| (part.number, Listed::from(part))));
                    match call.op().next(&page) {
                        Some(next) => State::Parts(Call::new(next), listed),
                        None => self.listed(&listed),
                    }
                }
                Some(Err(e)) if e.status() == 404 => self.upload_gone(e),
                Some(Err(e)) => self.fail(e),
            },
            // The data is stored: a cancel comes too late.
            (State::Row(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::Row(call),
                Some(answer) => self.row_answer(call, answer),
            },
            (
                state @ (State::Start
                | State::Listed
                | State::First { .. }
                | State::RowBuilt
                | State::Unknown(..)
                | State::CheckFailed(_)
                | State::Done(_)
                | State::Over),
                _,
            ) => state,
        };
    }

    fn poll(&mut self, now: Now) -> Output<Found> {
        if let Some(save) = self.next_record() {
            return save;
        }
        match self.next_output(now) {
            // The last decision may have to be saved first.
            Output::Wait(until) => self.next_record().unwrap_or(Output::Wait(until)),
            output => output,
        }
    }
}

impl Put {
    fn next_record(&mut self) -> Option<Output<Found>> {
        let (record, restart) = self.session.journal.as_mut()?.next()?;
        Some(Output::Save { record, restart })
    }

    fn next_output(&mut self, now: Now) -> Output<Found> {
        if let Some(output) = self.session.pending() {
            return output;
        }
        if let Some(number) = self.release.take() {
            return Output::ReleasePart(number);
        }
        if let Some(start) = self.source_start.take() {
            return Output::Start(start);
        }
        if matches!(self.state, State::RowBuilt) && self.session.is_saved() {
            self.state = self.put_row_checked(now);
        }
        let ended = match &mut self.state {
            State::Preparing(strand) => strand.poll(&mut self.session, now).outward(),
            State::Trying(strand) => strand.poll(&mut self.session, now).outward(),
            State::Extending(strand) => strand.poll(&mut self.session, now).outward(),
            _ => Ok(Output::Wait(None)),
        };
        let mut soonest = match ended {
            // The locator may be sent beside it.
            Ok(Output::Wait(until)) => until,
            Ok(output) => return output,
            Err(Err(e)) => {
                self.state = self.fail(e);
                return self.next_output(now);
            }
            Err(Ok(())) => {
                self.state = match self.state {
                    State::Preparing(_) => self.bucket_fits(),
                    State::Trying(_) => self.write_description_and_list(),
                    _ => self.decided(),
                };
                return self.next_output(now);
            }
        };
        if matches!(self.state, State::Start) {
            self.state = self.start_listing(now);
        }
        if let Some(look) = &mut self.kek_look {
            match look.poll(&mut self.session, now).outward() {
                Ok(Output::Wait(until)) => soonest = soonest.into_iter().chain(until).min(),
                Ok(output) => return output,
                Err(result) => {
                    self.kek_looked(result);
                    return self.next_output(now);
                }
            }
        }
        let description = self.description.as_mut().map(|call| call as &mut dyn Calling);
        for call in description.into_iter().chain(self.state.call()).chain(self.beside.call()) {
            match call.poll(&mut self.session, now) {
                Next::Wait(at) => soonest = soonest.into_iter().chain(at).min(),
                next => return next.into(),
            }
        }
        match &mut self.state {
            State::First { request, asked: asked @ false } => {
                *asked = true;
                Output::NeedPart(*request)
            }
            State::Sending(upload) => match upload.poll(&mut self.session, now).outward() {
                Ok(output) => output,
                Err(Err(e)) if e.code() == Code::OutcomeUnknown => Output::Done(Err(e)),
                Err(result) => {
                    let completion = upload.completion();
                    self.state = self.upload_ended(now, result, completion);
                    self.next_output(now)
                }
            },
            State::Unknown(_, error) | State::CheckFailed(error) => {
                error.take().map_or(Output::Wait(None), |e| Output::Done(Err(e)))
            }
            State::Done(_) => match std::mem::replace(&mut self.state, State::Over) {
                State::Done(result) => Output::Done(*result),
                _ => Output::Wait(None),
            },
            _ => Output::Wait(soonest),
        }
    }
}
