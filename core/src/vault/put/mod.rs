//! Storing a version: DESIGN §3's protocol, *Put*.
//!
//! ```text
//!  Versioning ─▶ List ─▶ Listed ─▶ Locator ─▶ First ─▶ Sending ─▶ Row ─▶ Done
//!  (once for   ▲  ▲    (`vault.json`  │ expired  (part 1)  │ ▲       │ ▲
//!   a vault)   │  │     is there)     │          Recheck ◀─┘ └───────┴─┘  when the check has aged
//!      │       │  └───────────────────┘
//!      │       └─ given up, gone ─┐
//!      └─ goes on ─▶ Recheck ─────┴▶ Parts ─▶ First, Sending, Row
//!
//!  Sending ── the upload was broken in its Complete ─▶ List, of a file
//! ```
//! A *check* holds for the profile's `late_ms` (B). The locator and the data's PUT or Create are signed at the newest
//! check, and the row at the one that the data was signed at, so that nothing lands later than B after its check.
//! Nothing is checked after the row. The first put of a vault writes `vault.json` beside its LIST; nothing else is
//! written before it is there.

mod begin;
mod check;
mod data;
mod resume;
mod row;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::manifest::{self, Extent};
use super::{Found, Name, Vault, Vid};
use crate::error::{Code, Error, Result};
use crate::http::Part;
use crate::journal::Journal;
use crate::machine::{Input, Machine, Output};
use crate::op::{
    BucketVersioning, Call, Calling, GetBucketVersioning, ListObjectsV2, ListParts, Next, Paged, PutObject, Session,
};
use crate::time::Now;
use crate::transfer::checkpoint::{Checkpoint, FileIdentity};
use crate::transfer::plan::Plan;
use crate::transfer::upload::{GoesOn, Listed, Ready, Upload};
use check::For;
use data::too_many;
use resume::begun;
use row::Fixed;

/// How often a put begins anew when its locator's date has passed before the store took it, or when the store can complete
/// its file's upload no more.
const BEGINNINGS: u32 = 3;

/// What to store.
#[derive(Clone, Debug)]
pub struct PutRequest {
    /// Under which name.
    pub name: Name,
    /// The version that an incremental builds on; `None` for a full.
    pub parent: Option<Vid>,
    /// In bytes, where it is known.
    pub length: Option<u64>,
    /// The file that is stored, where it is one: a checkpoint goes on with the same one only.
    pub source: Option<FileIdentity>,
    /// `None`: no steps are saved. Else [`Output::Save`] says what to append, and the put goes on where this one ends.
    pub checkpoint: Option<Checkpoint>,
    /// Bytes of payload that the process may hold: a stream's parts grow up to a quarter of it.
    pub memory: u64,
    /// Random bits of version ids, from the operating system's entropy.
    pub entropy: [u8; 10],
    /// Drives the jitter of retries.
    pub seed: u64,
}

enum State {
    Versioning(Call<GetBucketVersioning>),
    List(Call<ListObjectsV2>),
    /// The listing came before the description was there.
    Listed,
    Locator(Call<PutObject>),
    /// The first part of an extent is wanted: its number in the backup, and where it begins.
    First {
        asked: bool,
        number: u32,
        offset: u64,
    },
    Sending(Box<Upload>),
    RecheckRows(Call<ListObjectsV2>, For),
    RecheckLocators(Call<ListObjectsV2>, For),
    /// The parts of a checkpoint's upload that the store has.
    Parts(Call<ListParts>, BTreeMap<u32, Listed>),
    /// The row is fixed, and waits for the checkpoint to say so.
    Fixed,
    Row(Call<PutObject>),
    Unknown(Call<PutObject>, Option<Error>),
    /// The row may be there, its date has passed, and the check that would tell could not be made.
    Unchecked(Option<Error>),
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
            | State::Fixed
            | State::Sending(_)
            | State::Unknown(..)
            | State::Unchecked(_)
            | State::Done(_)
            | State::Over => None,
        }
    }

    /// Whether the put may stop here: the data is not there yet, and no upload has to be aborted.
    fn may_stop(&self) -> bool {
        matches!(
            self,
            State::Versioning(_)
                | State::List(_)
                | State::Listed
                | State::Locator(_)
                | State::First { .. }
                | State::RecheckRows(_, For::Data | For::Resume)
                | State::RecheckLocators(_, For::Data | For::Resume)
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
    /// Writes the vault's description, where it has none.
    describe: Option<Call<PutObject>>,
    beginnings: u32,
    vid: Vid,
    /// When the put began: the vid's instant, or the clock's where that is earlier.
    initiated: i64,
    /// The store's clock before the newest check's LIST.
    check: i64,
    /// The newest vid of the listing so far, and whether the parent's row was in it.
    newest: Option<Vid>,
    parent_seen: bool,
    /// The check that the data was signed at.
    data_check: i64,
    first: Option<Ready>,
    /// What is stored, and the `Date` of the reply that completed the last of it.
    extents: Vec<Extent>,
    stored_ms: Option<i64>,
    /// A part that is not needed.
    release: Option<u32>,
    fixed: Option<Fixed>,
    /// An attempt to write the row, whose date has passed, may have taken effect.
    row_sent: bool,
    /// What the checkpoint knows, until it was gone on from.
    resume: Option<Checkpoint>,
    /// To be said.
    source: Option<GoesOn>,
    /// It was said.
    begun: bool,
}

impl Put {
    /// A put of a vault.
    pub fn new(vault: Arc<Vault>, mut request: PutRequest) -> Result<Put> {
        let mut plan = Plan::new(request.length, &vault.store.profile, request.memory);
        let mut session = Session::new(&vault.store, request.seed);
        let resume = match request.checkpoint.take() {
            None => None,
            Some(checkpoint) => {
                session.journal = Some(Journal::default());
                checkpoint.check(&begun(&vault, &request, Vid::first_of(0), 0, plan))?;
                if let Some(begun) = &checkpoint.begun {
                    plan = plan.with_part(begun.part);
                }
                checkpoint.begun.is_some().then_some(checkpoint)
            }
        };
        if let Some((parts, extents)) = plan.count()
            && !manifest::is_readable(parts, extents)
        {
            let what = format!("a file of {} bytes", request.length.unwrap_or(0));
            let why = format!("{what} has {parts} parts of {} bytes here, in {extents} objects", plan.part());
            return Err(too_many(&vault, &request, &why).with_hint(
                "Store it as several backups. Where the store takes larger parts and objects, set provider to its name.",
            ));
        }
        let mut put = Put {
            plan,
            session,
            state: State::Over,
            describe: None,
            beginnings: 0,
            vid: Vid::first_of(0),
            initiated: 0,
            check: 0,
            newest: None,
            parent_seen: false,
            data_check: 0,
            first: None,
            extents: Vec::new(),
            stored_ms: None,
            release: None,
            fixed: None,
            row_sent: false,
            resume,
            source: None,
            begun: false,
            vault,
            request,
        };
        put.state = if put.vault.versioned.load(Ordering::Relaxed) {
            put.describe_and_list()
        } else {
            State::Versioning(Call::new(GetBucketVersioning))
        };
        Ok(put)
    }

    fn fail(&mut self, e: Error) -> State {
        if let Some(mut call) = self.describe.take() {
            call.abandon(&mut self.session);
        }
        State::Done(Box::new(Err(e)))
    }
}

fn json() -> Vec<(String, String)> {
    vec![("content-type".into(), "application/json".into())]
}

fn suspended() -> Error {
    Error::new(Code::Suspended, "the put was suspended: its checkpoint goes on from here")
}

fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the put was cancelled: nothing of it is listed")
}

impl Machine for Put {
    type Done = Found;

    fn handle(&mut self, now: Now, input: Input<'_>) {
        if let (Input::Saved, Some(journal)) = (&input, &mut self.session.journal) {
            journal.saved();
        }
        let has_checkpoint = self.session.journal.is_some();
        let stop = match &input {
            Input::Suspend if has_checkpoint => Some(suspended()),
            Input::Cancel | Input::Suspend => Some(cancelled()),
            Input::SourceFailed(e) | Input::SaveFailed(e) => Some(e.clone()),
            _ => None,
        };
        // What was done is in the checkpoint, so that a put may be suspended in any state.
        let is_left = has_checkpoint && matches!(input, Input::Suspend | Input::SaveFailed(_));
        let may_stop = self.state.may_stop() || is_left && !matches!(self.state, State::Sending(_) | State::Done(_));
        if let Some(why) = stop.filter(|_| may_stop) {
            if let Some(call) = self.state.call() {
                call.abandon(&mut self.session);
            }
            self.state = self.fail(why);
        }
        if let Some(call) = &mut self.describe
            && let Some(answer) = call.handle(&mut self.session, now, &input)
        {
            return self.described(now, answer);
        }
        let state = std::mem::replace(&mut self.state, State::Over);
        self.state = match (state, &input) {
            (State::First { number, offset, .. }, Input::PartReady { number: ready, length, digest, last })
                if *ready == number =>
            {
                self.first_ready(now, Part { number, offset, length: *length, digest: *digest }, *last)
            }
            (State::Unchecked(_), Input::Again) => self.recheck(For::Row),
            (State::Unknown(mut call, _), Input::Again) => {
                call.again();
                State::Row(call)
            }
            (State::Versioning(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::Versioning(call),
                Some(Ok(status)) => self.versioning(status),
                // Some stores without versioning do not know the question.
                Some(Err(e)) if e.status() == 501 => self.versioning(BucketVersioning::Off),
                Some(Err(e)) => self.fail(e),
            },
            (State::List(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::List(call),
                Some(Ok(page)) => self.page(now, &call, page),
                Some(Err(e)) => self.fail(e),
            },
            (State::Locator(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::Locator(call),
                Some(Ok(_)) => {
                    if !std::mem::replace(&mut self.begun, true) {
                        self.source = Some(GoesOn::at(0, false));
                    }
                    State::First { asked: false, number: 1, offset: 0 }
                }
                Some(Err(e)) if e.code() == Code::Expired && self.beginnings < BEGINNINGS => self.list(),
                Some(Err(e)) => self.fail(e),
            },
            (State::Sending(mut upload), input) => {
                upload.handle(&mut self.session, now, input);
                State::Sending(upload)
            }
            (State::RecheckRows(mut call, what), input) => match call.handle(&mut self.session, now, input) {
                None => State::RecheckRows(call, what),
                Some(Ok(page)) => self.rows_checked(&call, page, what),
                Some(Err(e)) => self.unchecked(e, what),
            },
            (State::RecheckLocators(mut call, what), input) => match call.handle(&mut self.session, now, input) {
                None => State::RecheckLocators(call, what),
                Some(Ok(page)) => self.locators_checked(now, &page, what),
                Some(Err(e)) => self.unchecked(e, what),
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
            // From here on the data is there: a cancel comes too late.
            (State::Row(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::Row(call),
                Some(answer) => self.row_answer(call, answer),
            },
            (
                state @ (State::Listed
                | State::First { .. }
                | State::Fixed
                | State::Unknown(..)
                | State::Unchecked(_)
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
            // What was just decided may have to be saved first.
            Output::Wait(until) => self.next_record().unwrap_or(Output::Wait(until)),
            output => output,
        }
    }
}

impl Put {
    fn next_record(&mut self) -> Option<Output<Found>> {
        let (record, anew) = self.session.journal.as_mut()?.next()?;
        Some(Output::Save { record, anew })
    }

    fn next_output(&mut self, now: Now) -> Output<Found> {
        if let Some(id) = self.session.abandoned() {
            return Output::Abandon(id);
        }
        if let Some(number) = self.release.take() {
            return Output::ReleasePart(number);
        }
        if let Some(GoesOn { offset, ended, done }) = self.source.take() {
            return Output::Begin { offset, ended, done };
        }
        if matches!(self.state, State::Fixed) && self.session.is_saved() {
            self.state = self.put_row_checked(now);
        }
        let mut soonest = None;
        for call in self.describe.as_mut().map(|call| call as &mut dyn Calling).into_iter().chain(self.state.call()) {
            match call.poll(&mut self.session, now) {
                Next::Wait(at) => soonest = soonest.into_iter().chain(at).min(),
                next => return next.into(),
            }
        }
        match &mut self.state {
            State::First { asked: asked @ false, number, offset } => {
                *asked = true;
                let (number, offset) = (*number, *offset);
                let length = self.plan.part_length(number, offset).unwrap_or(0);
                Output::NeedPart {
                    number,
                    offset,
                    length,
                    least: self.plan.least(length),
                    hashed: self.plan.hashed(number, number, offset),
                }
            }
            State::Sending(upload) => match upload.poll(&mut self.session, now).outward() {
                Ok(output) => output,
                Err(Err(e)) if e.code() == Code::OutcomeUnknown => Output::Done(Err(e)),
                Err(result) => {
                    let is_broken = upload.is_broken();
                    self.state = self.sending(now, result, is_broken);
                    self.next_output(now)
                }
            },
            State::Unknown(_, error) | State::Unchecked(error) => {
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
