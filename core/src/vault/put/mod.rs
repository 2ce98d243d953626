//! Storing a version: the protocol *Put* of docs/protocol.md.
//!
//! ```text
//!  Versioning ─▶ List ─▶ Listed ─▶ Locator ─▶ First ─▶ Sending ─▶ Row ─▶ Done
//!  (once for   ▲  ▲    (`vault.json`  │ expired  (part 1)  │ ▲       │ ▲
//!   a vault)   │  │     is there)     │          Recheck ◀─┘ └───────┴─┘  when the check has aged
//!      │       │  └───────────────────┘
//!      │       └─ gone, abandoned ─┐
//!      └─ resumes ─▶ Recheck ─────┴▶ Parts ─▶ First, Sending, Row
//!
//!  Sending ── of a file, if the store broke the upload in its Complete ─▶ List
//! ```
//! A *check* is valid for the profile's `max_request_age_ms` (B). The locator and the data's PUT or Create are signed with the
//! date of the newest check, and the row with the date that the data was signed with, so that nothing takes effect
//! later than B after its check. Nothing is checked after the row. The first put of a vault writes `vault.json` beside
//! its LIST; nothing else is written until that is stored.

mod check;
mod data;
mod resume;
mod row;
mod start;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::manifest::{self, Extent};
use super::{Found, Name, Vault, Vid};
use crate::error::{Code, Error, Result};
use crate::journal::Journal;
use crate::machine::{Input, Machine, Output, PartRequest, SourceStart, misuse};
use crate::op::{
    BucketVersioning, Call, Calling, GetBucketVersioning, ListObjectsV2, ListParts, Next, Paged, PutObject, Session,
};
use crate::time::Now;
use crate::transfer::checkpoint::{Checkpoint, FileIdentity};
use crate::transfer::plan::Plan;
use crate::transfer::stored_form::StoredForm;
use crate::transfer::upload::{Listed, Ready, Upload};
use check::Purpose;
use data::too_many;
use resume::{check_contents, header};
use row::BuiltRow;

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
    /// The checkpoint to resume from. With one (even an empty one) each step is saved with [`Output::Save`]; with
    /// `None` nothing is saved.
    pub checkpoint: Option<Checkpoint>,
    /// Bytes of payload that the process may hold: a stream's parts grow up to a quarter of this.
    pub memory: u64,
    /// Random bits of the version id, from the operating system's entropy.
    pub entropy: [u8; 10],
    /// Drives the jitter of retries.
    pub seed: u64,
}

enum State {
    Versioning(Call<GetBucketVersioning>),
    List(Call<ListObjectsV2>),
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
            State::Listed
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
            State::Versioning(_)
                | State::List(_)
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
    session: Session,
    request: PutRequest,
    plan: Plan,
    state: State,
    /// Writes the vault's description if it has none.
    description: Option<Call<PutObject>>,
    starts: u32,
    vid: Vid,
    /// Start of the put: the version id's instant, or the clock's if that is earlier.
    initiated: i64,
    /// The newest check: the store's clock before its LIST.
    check: i64,
    /// The newest version id in the listing so far, and whether the listing contains the parent's row.
    newest: Option<Vid>,
    parent_seen: bool,
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
        let mut plan = plan(&vault, &request);
        let mut session = Session::new(vault.bucket(request.name.container()), request.seed);
        let mut built_row = None;
        let resume = match request.checkpoint.take() {
            None => None,
            Some(checkpoint) => {
                session.journal = Some(Journal::new(vault.checkpoint_key(), checkpoint.last));
                checkpoint.check(&header(&vault, &request, Vid::first_of(0), 0, plan))?;
                built_row = check_contents(&vault, &request, &checkpoint)?;
                if let Some(header) = &checkpoint.header {
                    plan = plan.with_part(header.part);
                }
                checkpoint.header.is_some().then_some(checkpoint)
            }
        };
        if let Some((parts, extents)) = plan.count()
            && !manifest::is_readable(parts, extents)
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
            starts: 0,
            vid: Vid::first_of(0),
            initiated: 0,
            check: 0,
            newest: None,
            parent_seen: false,
            data_check: 0,
            first: None,
            extents: Vec::new(),
            size: 0,
            stored_ms: None,
            release: None,
            built_row,
            row_sent: false,
            resume,
            source_start: None,
            source_started: false,
            stop_asked: false,
            vault,
            request,
        };
        put.state = if put.vault.versioned.load(Ordering::Relaxed) {
            put.write_description_and_list()
        } else {
            State::Versioning(Call::new(GetBucketVersioning))
        };
        Ok(put)
    }

    fn fail(&mut self, e: Error) -> State {
        if let Some(mut call) = self.description.take() {
            call.abandon(&mut self.session);
        }
        State::Done(Box::new(Err(e)))
    }
}

/// The plan of a backup.
fn plan(vault: &Vault, request: &PutRequest) -> Plan {
    Plan::new(request.length, vault.account().profile(), request.memory, StoredForm::PLAIN)
}

fn json() -> Vec<(String, String)> {
    vec![("content-type".into(), "application/json".into())]
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
            if let Some(call) = self.state.call() {
                call.abandon(&mut self.session);
            }
            self.state = self.fail(why);
        }
        if let Some(call) = &mut self.description
            && let Some(answer) = call.handle(&mut self.session, now, &input)
        {
            return self.description_written(now, answer);
        }
        let state = std::mem::replace(&mut self.state, State::Over);
        self.state = match (state, &input) {
            (State::First { request, asked: true }, Input::PartReady { number, length, digest, last }) => {
                match request.check(*number, *length, digest.as_ref(), *last) {
                    Ok(()) => {
                        let part = self.plan.part_ready(*number, request.offset, *length, *digest);
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
            (State::Versioning(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::Versioning(call),
                Some(Ok(status)) => self.versioning(status),
                // Some stores without versioning do not support the request.
                Some(Err(e)) if e.status() == 501 => self.versioning(BucketVersioning::Off),
                // These keys may not ask: the reply to the locator's PUT shows it.
                Some(Err(e)) if e.code() == Code::AccessDenied => self.write_description_and_list(),
                Some(Err(e)) => self.fail(e),
            },
            (State::List(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::List(call),
                Some(Ok(page)) => self.page(now, &call, page),
                Some(Err(e)) => self.fail(e),
            },
            (State::Locator(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::Locator(call),
                Some(Ok(reply)) => {
                    if let Err(e) = self.check_locator_stored(&call, &reply) {
                        self.state = self.fail(e);
                        return;
                    }
                    if !std::mem::replace(&mut self.source_started, true) {
                        self.source_start = Some(SourceStart::at(0, false));
                    }
                    self.first(1, 0)
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
                state @ (State::Listed
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
        let mut soonest = None;
        for call in self.description.as_mut().map(|call| call as &mut dyn Calling).into_iter().chain(self.state.call())
        {
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
