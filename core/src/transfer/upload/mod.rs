//! Uploads: a single PUT if the first part is the last, otherwise a multipart upload with a window of parts in flight.
//!
//! ```text
//!  last part is the first      more parts follow       resumes from a checkpoint
//!         │                            │                           │
//!       Only ▶ Single ──ok──▶ Done  Create ──ok──▶ Sending ◀───────┘
//!         ▲──────│ error               │ error       │ ▲ │ error, cancel
//!     Done(Err)                    Done(Err)         │ │ └──────▶ Abort ──▶ Done(Err)
//!                                                    │ │
//!                                          all parts │ │ parts of a file that differ
//!                                                    ▼ │
//!                           ┌──same bytes──────── Complete ──ok──▶ Done(Ok), or Verify ──▶ Done
//!                           │    ┌─InvalidPart──────┘ │ ▲
//!                           │    ▼                    │ │ retry
//!                           └─ Relist ──no answer─────┼─┼─▶ Unknown ──▶ Done(OutcomeUnknown)
//!                                │ lost, in doubt     │      ▲
//!                                └──────────▶ Settle ◀┘      │  no answer, NoSuchUpload, other checksums
//!                                               ├──not found─┘
//!                                               ├──found──▶ Done(Ok)
//!                                               └──not found, and the store broke the upload──▶ Done(Abandoned)
//! ```
//! [`Completion`] says how far Complete got: `NotSent ▶ Recorded ▶ Sent ▶ InDoubt ▶ Broken`. Once it was sent, the upload is
//! never aborted: the object may exist. With a checkpoint, a failure that may be temporary leaves the upload for the next
//! run. An upload that the store broke while completing it is abandoned: MinIO stops a Complete when its caller
//! disconnects, and then some parts are no longer listed; after they are sent again, it permanently answers
//! XAmzContentChecksumMismatch. What a driver does wrong is noted in the session and changes nothing here.

mod abandon;
mod complete;
mod resume;
mod sent;
mod settle;
mod start;
#[cfg(test)]
mod tests;
mod unproven;
mod verify;
mod window;

use std::collections::{BTreeMap, VecDeque};

use super::checkpoint::Finished;
use super::pace::{self, Pace};
use super::plan::Plan;
use crate::error::{Error, Result};
use crate::http::Part;
use crate::machine::{Input, Output};
use crate::op::{
    AbortMultipartUpload, Call, Calling, CompleteMultipartUpload, CreateMultipartUpload, Encryption, ListParts,
    PutObject, Session,
};
use crate::time::Now;
use crate::transfer::extent::Extent;
pub(crate) use complete::Completion;
pub(crate) use resume::{Listed, first_missing_part};
use sent::Sent;
use settle::Settle;
use unproven::Unproven;
use verify::Verify;
use window::InFlight;
pub(crate) use window::{check_salt, source_cut};

/// The object that an upload creates.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) key: String,
    /// Metadata and storage class.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) encryption: Encryption,
    /// The version id in its metadata, to recognize the object after a Complete without an answer.
    pub(crate) vid: String,
}

/// An object that is stored completely.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) extent: Extent,
    /// `Date` of the reply that completed the object.
    pub(crate) date_ms: Option<i64>,
    /// Number of the part that follows the object's last one, and its offset in the backup.
    pub(crate) next: (u32, u64),
    /// The backup ends with this object.
    pub(crate) ended: bool,
}

/// A part that is ready to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) part: Part,
    pub(crate) last: bool,
}

enum State {
    /// The only part is sent as soon as it has the hashes that the store needs.
    Only,
    Single(Call<PutObject>),
    Create(Call<CreateMultipartUpload>),
    Sending {
        upload_id: String,
    },
    Complete(Call<CompleteMultipartUpload>),
    /// A part has another ETag than UploadPart answered: ListParts tells whether it still has the same bytes.
    Relist(Call<ListParts>, Call<CompleteMultipartUpload>, Error),
    /// The object is complete, but the store did not confirm its checksum.
    Verify(Verify, Call<CompleteMultipartUpload>),
    /// Looks for the object. The error says why the outcome of Complete is not known.
    Settle(Settle, Call<CompleteMultipartUpload>, Error),
    /// The error is reported once.
    Unknown(Call<CompleteMultipartUpload>, Option<Error>),
    Abort(Call<AbortMultipartUpload>, Error),
    Done(Result<Stored>),
    Over,
}

impl State {
    fn call(&mut self) -> Option<&mut dyn Calling> {
        match self {
            State::Single(call) => Some(call),
            State::Create(call) => Some(call),
            State::Complete(call) => Some(call),
            State::Relist(call, ..) => Some(call),
            State::Settle(settle, ..) => Some(settle.call()),
            State::Verify(verify, _) => Some(verify.call()),
            State::Abort(call, _) => Some(call),
            State::Only | State::Sending { .. } | State::Unknown(..) | State::Done(_) | State::Over => None,
        }
    }
}

/// The last part of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LastPart {
    number: u32,
    /// The source ends with this part; otherwise it continues in the next extent.
    ends_source: bool,
}

/// An upload of one object.
pub(crate) struct Upload {
    object: Object,
    plan: Plan,
    state: State,
    /// Number of the next part to request, and its offset in the backup.
    next: (u32, u64),
    in_flight: BTreeMap<u32, InFlight>,
    finished: BTreeMap<u32, Finished>,
    /// The last part, once it is known.
    last: Option<LastPart>,
    /// Number and offset in the backup of the first part.
    first: u32,
    start: u64,
    completion: Completion,
    /// How many times the parts were listed.
    relists: u32,
    /// Parts of a file that have to be sent again: number, offset in the backup, and what they were.
    resend: VecDeque<(u32, u64, Finished)>,
    releases: Vec<u32>,
    /// Parts that were sent with a trailer, and that the store has not shown to understand.
    unproven: Unproven,
    /// Signing date of the Create, or of the single PUT.
    signed: i64,
    pace: Pace,
}

impl Upload {
    /// Starts an upload with its first part; the PUT or Create is signed with the date `dated`.
    pub(crate) fn new(session: &Session, object: Object, plan: Plan, first: Ready, dated: i64) -> Upload {
        let Part { number, offset, length, .. } = first.part;
        let fills = plan.fills_extent(number, number, offset, offset + length);
        let mut upload = Upload {
            next: (number + 1, offset + length),
            in_flight: BTreeMap::from([(number, InFlight::Waiting(first.part))]),
            last: (first.last || fills).then_some(LastPart { number, ends_source: first.last }),
            ..Upload::at((number, offset), object, plan, State::Only, dated)
        };
        if !first.last {
            upload.state = State::Create(upload.new_create(session));
        }
        upload
    }

    /// An upload before its first part, which starts at `first`.
    fn at(first: (u32, u64), object: Object, plan: Plan, state: State, signed: i64) -> Upload {
        Upload {
            object,
            plan,
            state,
            next: first,
            in_flight: BTreeMap::new(),
            finished: BTreeMap::new(),
            last: None,
            first: first.0,
            start: first.1,
            completion: Completion::NotSent,
            relists: 0,
            resend: VecDeque::new(),
            releases: Vec::new(),
            unproven: Unproven::default(),
            signed,
            pace: Pace::new(if plan.is_stream() { pace::STREAM } else { pace::FILE }),
        }
    }

    pub(crate) fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) {
        if self.stop(session, input) {
            return;
        }
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Only => self.only(session, input),
            State::Single(call) => self.single(session, now, input, call),
            State::Create(call) => self.create(session, now, input, call),
            State::Sending { upload_id } => self.sending(session, now, input, upload_id),
            State::Complete(call) => self.completing(session, now, input, call),
            State::Relist(list, call, why) => self.relisting(session, now, input, (list, call, why)),
            State::Verify(verify, call) => self.verifying(session, now, input, (verify, call)),
            State::Settle(settle, call, why) => self.settling(session, now, input, (settle, call, why)),
            State::Unknown(mut call, why) => match input {
                Input::Retry => {
                    call.restart();
                    State::Complete(call)
                }
                _ => State::Unknown(call, why),
            },
            State::Abort(call, why) => self.aborting(session, now, input, (call, why)),
            state @ (State::Done(_) | State::Over) => state,
        };
    }

    /// What to do next; returns `Done` once.
    pub(crate) fn poll(&mut self, session: &mut Session, now: Now) -> Output<Stored> {
        if let Some(output) = session.pending() {
            return output;
        }
        if let Some(number) = self.releases.pop() {
            return Output::ReleasePart(number);
        }
        if let State::Sending { .. } = self.state {
            self.pace.start(now);
            self.pace.observe(session, now);
        }
        if let Some(output) = self.request_part(session) {
            return output;
        }
        if let Some(output) = self.hash_part(session) {
            return output;
        }
        let is_stored = self.resend.is_empty() && self.is_finished() && self.unproven.is_empty();
        if matches!(self.state, State::Sending { .. }) && is_stored {
            self.complete_when_recorded(session);
        }
        if let Some(call) = self.state.call() {
            return call.poll(session, now).into();
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Only => {
                self.state = State::Only;
                Output::Wait(None)
            }
            State::Sending { upload_id } => {
                let output = self.poll_parts(session, now, &upload_id);
                self.state = State::Sending { upload_id };
                output
            }
            State::Unknown(call, error) => {
                self.state = State::Unknown(call, None);
                error.map_or(Output::Wait(None), |e| Output::Done(Err(e)))
            }
            State::Done(result) => Output::Done(result),
            _ => Output::Wait(None),
        }
    }
}
