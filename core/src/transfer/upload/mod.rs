//! Uploads: a single PUT if the first part is the last, otherwise a multipart upload with a window of parts in flight.
//!
//! ```text
//!  last part is the first             more parts follow          resumes from a checkpoint
//!        │                                   │                              │
//!     Single ──ok──▶ Stored        Create ──ok──▶ Sending ◀──────────────── ┘
//!        │                            │            │ ▲  └──all parts──▶ Complete ──ok──▶ Stored
//!      error                        error          │ └─differ──────┐     ▲ └─InvalidPart──▶ Relist ──same bytes──▶ Complete
//!                                                  │               └─────┼───────────────────┘
//!                                                  │ error, cancel       │ no answer, NoSuchUpload, other checksums
//!                                                Abort ──▶ error      Settle ──same bytes──▶ Stored
//!                                                                        ├──broken──▶ error
//!                                                                        └──else──▶ Unknown ──retry──▶ Complete
//! ```
//! Once Complete was sent, the upload is never aborted: the object may exist. With a checkpoint, a failure that may be
//! temporary leaves the upload for the next run. An upload that the store broke while completing it is abandoned: MinIO
//! stops a Complete when its caller disconnects, and then some parts are no longer listed; after they are sent again,
//! it permanently answers XAmzContentChecksumMismatch.

mod abandon;
mod complete;
mod resume;
mod settle;
mod window;

use std::collections::{BTreeMap, VecDeque};

use super::checkpoint::{Finished, Record};
use super::pace::{self, Pace};
use super::plan::Plan;
use crate::error::{Code, Error, Result};
use crate::http::Part;
use crate::machine::{Input, Output};
use crate::mutation::{Mutation, is_active};
use crate::op::{
    AbortMultipartUpload, Call, Calling, CompleteMultipartUpload, Content, CreateMultipartUpload, Encryption,
    ListParts, Paged, PutObject, PutReply, Session,
};
use crate::time::Now;
use crate::transfer::extent::Extent;
use abandon::{cancelled, cannot_complete, suspended, unknown};
use complete::is_checksum_refusal;
pub(crate) use resume::{Listed, first_missing_part};
use settle::{Settle, Settled};
use window::InFlight;

/// How many times parts that differ in the store are sent again.
const RELISTS: u32 = 3;

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
    /// Number and offset of the first part of the next extent; `None` if the backup ends with this extent.
    pub(crate) next: Option<(u32, u64)>,
}

/// A part that is ready to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) part: Part,
    pub(crate) last: bool,
}

enum State {
    Single(Call<PutObject>),
    Create(Call<CreateMultipartUpload>),
    Sending {
        upload_id: String,
    },
    Complete(Call<CompleteMultipartUpload>),
    /// A part has another ETag than UploadPart answered: ListParts tells whether it still has the same bytes.
    Relist(Call<ListParts>, Call<CompleteMultipartUpload>, Error),
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
            State::Abort(call, _) => Some(call),
            State::Sending { .. } | State::Unknown(..) | State::Done(_) | State::Over => None,
        }
    }
}

/// An upload of one object.
pub(crate) struct Upload {
    object: Object,
    plan: Plan,
    state: State,
    /// Number and offset of the next part to request.
    next: (u32, u64),
    in_flight: BTreeMap<u32, InFlight>,
    finished: BTreeMap<u32, Finished>,
    last: Option<u32>,
    /// Number and offset in the backup of the first part.
    first: u32,
    start: u64,
    /// The source continues after the last part.
    continues: bool,
    /// The checkpoint records that Complete is about to be sent.
    sealed: bool,
    /// Complete was sent by this process, or may have been sent by an earlier one.
    completing: bool,
    /// The outcome of a Complete is not known: the store may have started to assemble the parts.
    doubtful: bool,
    /// The store can no longer complete the upload, and there is no object instead.
    broken: bool,
    /// How many times the parts were listed.
    relists: u32,
    resend: VecDeque<(u32, u64, Finished)>,
    releases: Vec<u32>,
    /// Signing date of the Create.
    signed: i64,
    pace: Pace,
}

impl Upload {
    /// Starts an upload with its first part; the PUT or Create is signed with the date `dated`.
    pub(crate) fn new(object: Object, plan: Plan, first: Ready, dated: i64) -> Upload {
        let state = if first.last {
            let content = Content::Part(first.part);
            let put = PutObject::new(&*object.key, content, object.headers.clone());
            State::Single(Call::dated(PutObject { encryption: object.encryption.clone(), ..put }, dated))
        } else {
            let Object { key, headers, encryption, .. } = object.clone();
            State::Create(Call::dated(CreateMultipartUpload { key, headers, encryption, checksum: true }, dated))
        };
        let Part { number, offset, length, .. } = first.part;
        let fills = plan.fills_extent(number, number, offset, offset + length);
        Upload {
            next: (number + 1, offset + length),
            in_flight: BTreeMap::from([(number, InFlight::Waiting(first.part))]),
            last: (first.last || fills).then_some(number),
            continues: fills && !first.last,
            ..Upload::at((number, offset), object, plan, state, dated)
        }
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
            continues: false,
            sealed: false,
            completing: false,
            doubtful: false,
            broken: false,
            relists: 0,
            resend: VecDeque::new(),
            releases: Vec::new(),
            signed,
            pace: Pace::new(if plan.is_stream() { pace::STREAM } else { pace::FILE }),
        }
    }

    pub(crate) fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) {
        let stop = match input {
            Input::Cancel => Some(cancelled()),
            Input::Suspend if session.journal.is_none() || is_active(Mutation::AbortOnSuspend) => Some(cancelled()),
            Input::SourceFailed(e) | Input::SaveFailed(e) => Some(e.clone()),
            _ => None,
        };
        if let Input::Suspend | Input::SaveFailed(_) = input
            && session.journal.is_some()
        {
            self.leave(session, stop.unwrap_or_else(suspended));
            return;
        }
        let state = std::mem::replace(&mut self.state, State::Over);
        self.state = match (state, input) {
            (mut state @ (State::Single(_) | State::Create(_)), _) if stop.is_some() => {
                // What was sent may still take effect; sweep finds it through its locator.
                if let Some(call) = state.call() {
                    call.abandon(session);
                }
                State::Done(Err(stop.unwrap_or_else(cancelled)))
            }
            (State::Sending { upload_id }, Input::Cancel | Input::Suspend) => {
                self.abort(session, upload_id, cancelled())
            }
            (State::Sending { upload_id }, Input::SourceFailed(e)) => self.failed(session, upload_id, e.clone()),
            (State::Sending { upload_id }, Input::PartReady { number, length, digest, last }) => {
                match self.part_ready(*number, *length, *digest, *last) {
                    Ok(()) => State::Sending { upload_id },
                    Err(e) => self.failed(session, upload_id, e),
                }
            }
            (State::Sending { upload_id }, Input::PartSent { id, digest }) => match self.part_sent(*id, *digest) {
                Ok(()) => State::Sending { upload_id },
                Err(e) => self.failed(session, upload_id, e),
            },
            (State::Unknown(mut call, _), Input::Retry) => {
                call.restart();
                State::Complete(call)
            }
            (State::Single(mut call), input) => match call.handle(session, now, input) {
                None => State::Single(call),
                Some(Err(e)) => State::Done(Err(e)),
                Some(Ok(reply)) => {
                    self.releases.push(self.first);
                    match self.in_flight.remove(&self.first) {
                        Some(InFlight::Waiting(Part { length, digest: Some(digest), .. })) => {
                            self.finished.insert(self.first, Finished { length, digest, etag: String::new() });
                            self.stored(reply, call.date_ms())
                        }
                        _ => State::Done(Err(Error::new(
                            Code::Internal,
                            "the part of a single PUT was not hashed before it was sent",
                        ))),
                    }
                }
            },
            (State::Create(mut call), input) => match call.handle(session, now, input) {
                None => State::Create(call),
                Some(Err(e)) => State::Done(Err(e)),
                Some(Ok(upload_id)) => {
                    session.save(|| Record::Extent {
                        key: self.object.key.clone(),
                        upload_id: upload_id.clone(),
                        first: self.first,
                        offset: self.start,
                        signed: self.signed,
                    });
                    State::Sending { upload_id }
                }
            },
            (State::Sending { upload_id }, input) => self.part_answer(session, now, upload_id, input),
            (State::Complete(mut call), input) => match call.handle(session, now, input) {
                None => State::Complete(call),
                Some(Ok(reply)) => {
                    let date_ms = call.date_ms();
                    self.completed(session, reply, date_ms)
                }
                Some(Err(e)) if e.s3_code() == "InvalidPart" && self.relists < RELISTS => {
                    self.relists += 1;
                    self.doubtful |= call.maybe_done();
                    let (Object { key, encryption, .. }, upload_id) =
                        (self.object.clone(), call.op().upload_id.clone());
                    let list = ListParts { key, upload_id, encryption, ..ListParts::default() };
                    State::Relist(Call::new(list), call, e)
                }
                Some(Err(e)) if is_active(Mutation::AbortAfterComplete) => {
                    let upload_id = call.op().upload_id.clone();
                    self.abort(session, upload_id, e)
                }
                Some(Err(e)) if is_checksum_refusal(&e) => {
                    State::Settle(Settle::new(&self.object), call, cannot_complete(e))
                }
                Some(Err(e)) if call.maybe_done() || e.s3_code() == "NoSuchUpload" => {
                    State::Settle(Settle::new(&self.object), call, e)
                }
                Some(Err(e)) => State::Done(Err(e)),
            },
            (State::Relist(mut list, call, why), input) => match list.handle(session, now, input) {
                None => State::Relist(list, call, why),
                Some(Ok(page)) => match self.update_from_listing(list.op(), &page) {
                    Err(e) if e.code() == Code::Abandoned => State::Settle(Settle::new(&self.object), call, e),
                    Err(e) => State::Done(Err(e)),
                    Ok(()) => match list.op().next(&page) {
                        Some(next) => State::Relist(Call::new(next), call, why),
                        None if self.resend.is_empty() => {
                            State::Complete(Call::new(self.complete(&call.op().upload_id)))
                        }
                        None => State::Sending { upload_id: call.op().upload_id.clone() },
                    },
                },
                Some(Err(_)) => State::Unknown(call, Some(unknown(&why))),
            },
            (State::Settle(mut settle, call, why), input) => {
                match settle.handle(session, now, input, call.op(), &self.object.vid) {
                    None => State::Settle(settle, call, why),
                    Some(Settled::Ours { version_id, date_ms }) => {
                        self.completed(session, PutReply { version_id }, date_ms)
                    }
                    // Nothing is left to resume, and there is no object instead.
                    Some(Settled::NotThere) if why.code() == Code::Abandoned => {
                        self.broken = true;
                        State::Done(Err(why))
                    }
                    Some(Settled::NotThere | Settled::Unknown) => State::Unknown(call, Some(unknown(&why))),
                }
            }
            (State::Abort(mut call, why), input) => match call.handle(session, now, input) {
                None => State::Abort(call, why),
                Some(_) => State::Done(Err(why)),
            },
            (state @ (State::Unknown(..) | State::Done(_) | State::Over), _) => state,
        };
    }

    /// What to do next; returns `Done` once.
    pub(crate) fn poll(&mut self, session: &mut Session, now: Now) -> Output<Stored> {
        if let Some(id) = session.abandoned() {
            return Output::Abandon(id);
        }
        if let Some(number) = self.releases.pop() {
            return Output::ReleasePart(number);
        }
        if let State::Sending { .. } = self.state {
            self.pace.start(now);
            self.pace.observe(session, now);
        }
        if let Some(output) = self.request_part() {
            return output;
        }
        if matches!(self.state, State::Sending { .. }) && self.resend.is_empty() && self.is_finished() {
            self.start_complete(session);
        }
        if let Some(call) = self.state.call() {
            return call.poll(session, now).into();
        }
        match std::mem::replace(&mut self.state, State::Over) {
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
