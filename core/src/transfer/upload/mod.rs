//! Uploads: one PUT when the first part is the last, else multipart with a window of parts under way.
//!
//! ```text
//!  last part is the first             more parts follow          goes on from a checkpoint
//!        │                                   │                              │
//!     Single ──ok──▶ Stored        Create ──ok──▶ Sending ◀──────────────── ┘
//!        │                            │            │ ▲  └──all parts──▶ Complete ──ok──▶ Stored
//!      error                        error          │ └─other bytes─┐     ▲ └─InvalidPart──▶ Relist ──same bytes──▶ Complete
//!                                                  │               └─────┼───────────────────┘
//!                                                  │ error, cancel       │ no answer, NoSuchUpload
//!                                                Abort ──▶ error      Settle ──same bytes──▶ Stored
//!                                                                        └──else──▶ Unknown ──again──▶ Complete
//! ```
//! Once Complete was sent, the upload is never aborted: the object may be there. Where there is a checkpoint, a failure that
//! may pass leaves the upload for it.

mod resume;
mod settle;

use std::collections::{BTreeMap, VecDeque};

use super::checkpoint::{Finished, OpenUpload, Record, extent, length_of, whole_crc};
use super::pace::{self, Pace};
use super::plan::Plan;
use crate::checksum::{Digest, crc_text};
use crate::error::{Code, Error, Result};
use crate::http::{Part, RequestId};
use crate::machine::{Input, Output};
use crate::op::{
    AbortMultipartUpload, Call, Calling, CompleteMultipartUpload, CompletedPart, Content, CreateMultipartUpload,
    ListParts, ListedPart, Next, Paged, PartListing, PutObject, PutReply, Session, UploadPart,
};
use crate::planted;
use crate::time::Now;
use crate::vault::manifest::{Extent, PartHash};
pub(crate) use resume::{GoesOn, Listed};
use settle::{Settle, Settled};

/// How often parts that the store has otherwise are sent again.
const RELISTS: u32 = 3;

/// The object that an upload makes.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) key: String,
    /// Metadata and storage class.
    pub(crate) headers: Vec<(String, String)>,
    /// The version id in its metadata, for settling a Complete.
    pub(crate) vid: String,
}

/// An object that is stored whole.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) extent: Extent,
    /// `Date` of the reply that completed it.
    pub(crate) date_ms: Option<i64>,
    /// The part that begins the next extent, and where; `None` where the backup ends with this one.
    pub(crate) next: Option<(u32, u64)>,
}

/// A part that is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) part: Part,
    pub(crate) last: bool,
}

enum InFlight {
    Asked {
        offset: u64,
        length: u64,
        /// What its bytes were when they were sent before.
        known: Option<Digest>,
    },
    /// There, but the upload id is not.
    Waiting(Part),
    Sending {
        call: Box<Call<UploadPart>>,
        /// What the part's bytes were when all of them were read last.
        digest: Option<Digest>,
    },
}

enum State {
    Single(Call<PutObject>),
    Create(Call<CreateMultipartUpload>),
    Sending {
        upload_id: String,
    },
    Complete(Call<CompleteMultipartUpload>),
    /// A part has another ETag than was answered: the list of them tells whether it has the same bytes.
    Relist(Call<ListParts>, Call<CompleteMultipartUpload>, Error),
    /// The error says why Complete has to be settled.
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
    /// The next part to ask for, and where it begins.
    next: (u32, u64),
    in_flight: BTreeMap<u32, InFlight>,
    finished: BTreeMap<u32, Finished>,
    last: Option<u32>,
    /// The number of the first part in the backup, and where it begins.
    first: u32,
    begin: u64,
    /// The source goes on behind the last part.
    more: bool,
    /// Complete is about to be sent, and the checkpoint says so.
    sealed: bool,
    /// How often the list of parts was asked for, and what it has otherwise than it was sent: number, begin, and bytes.
    relists: u32,
    again: VecDeque<(u32, u64, Finished)>,
    releases: Vec<u32>,
    /// The date of the Create.
    signed: i64,
    pace: Pace,
}

impl Upload {
    /// Begins with the first part, signed at `dated`.
    pub(crate) fn new(object: Object, plan: Plan, first: Ready, dated: i64) -> Upload {
        let state = if first.last {
            let content = Content::Part(first.part);
            let put = PutObject::new(&*object.key, content, object.headers.clone());
            State::Single(Call::dated(put, dated))
        } else {
            let create =
                CreateMultipartUpload { key: object.key.clone(), headers: object.headers.clone(), checksum: true };
            State::Create(Call::dated(create, dated))
        };
        let Part { number, offset, length, .. } = first.part;
        let fills = plan.fills(number, number, offset, offset + length);
        Upload {
            next: (number + 1, offset + length),
            in_flight: BTreeMap::from([(number, InFlight::Waiting(first.part))]),
            last: (first.last || fills).then_some(number),
            more: fills && !first.last,
            ..Upload::at((number, offset), object, plan, state, dated)
        }
    }

    /// Before its first part, which begins there.
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
            begin: first.1,
            more: false,
            sealed: false,
            relists: 0,
            again: VecDeque::new(),
            releases: Vec::new(),
            signed,
            pace: Pace::new(if plan.is_stream() { pace::STREAM } else { pace::FILE }),
        }
    }

    fn is_finished(&self) -> bool {
        self.last.is_some_and(|last| self.finished.len() == (last - self.first + 1) as usize)
    }

    pub(crate) fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) {
        let stop = match input {
            Input::Cancel => Some(cancelled()),
            Input::Suspend if session.journal.is_none() || planted::on("suspend aborts") => Some(cancelled()),
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
                // What was sent may still take effect: sweep finds it by its locator.
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
            (State::Unknown(mut call, _), Input::Again) => {
                call.again();
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
                        _ => State::Done(Err(Error::new(Code::Internal, "a single PUT was not hashed before"))),
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
                        offset: self.begin,
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
                    let (key, upload_id) = (self.object.key.clone(), call.op().upload_id.clone());
                    State::Relist(Call::new(ListParts { key, upload_id, ..ListParts::default() }), call, e)
                }
                Some(Err(e)) if planted::on("abort after Complete") => {
                    let upload_id = call.op().upload_id.clone();
                    self.abort(session, upload_id, e)
                }
                Some(Err(e)) if call.maybe_done() || e.s3_code() == "NoSuchUpload" => {
                    State::Settle(Settle::new(&self.object.key), call, e)
                }
                Some(Err(e)) => State::Done(Err(e)),
            },
            (State::Relist(mut list, call, why), input) => match list.handle(session, now, input) {
                None => State::Relist(list, call, why),
                Some(Ok(page)) => match self.take_etags(&page) {
                    Err(e) => State::Done(Err(e)),
                    Ok(()) => match list.op().next(&page) {
                        Some(next) => State::Relist(Call::new(next), call, why),
                        None if self.again.is_empty() => {
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
                    // The upload is gone for good, and nothing stands in its place: nothing is left to go on with.
                    Some(Settled::NotThere) if call.is_new() => State::Done(Err(why.recode(Code::GivenUp))),
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

    /// What to do next; `Done` once.
    pub(crate) fn poll(&mut self, session: &mut Session, now: Now) -> Output<Stored> {
        if let Some(id) = session.abandoned() {
            return Output::Abandon(id);
        }
        if let Some(number) = self.releases.pop() {
            return Output::ReleasePart(number);
        }
        if let State::Sending { .. } = self.state {
            self.pace.begin(now);
            self.pace.heed(session, now);
        }
        if let Some(ask) = self.ask() {
            return ask;
        }
        if matches!(self.state, State::Sending { .. }) && self.again.is_empty() && self.is_finished() {
            self.seal(session);
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

    /// All parts are there: Complete follows as soon as the checkpoint says that it may have been sent.
    fn seal(&mut self, session: &mut Session) {
        if let (false, Some(last)) = (std::mem::replace(&mut self.sealed, true), self.last) {
            let ended = !self.more;
            session.save(|| Record::Complete { last, ended });
        }
        if let (true, State::Sending { upload_id }) = (session.is_saved(), &self.state) {
            self.state = State::Complete(Call::new(self.complete(upload_id)));
        }
    }

    /// How many parts from the oldest unfinished one on may be under way.
    fn width(&self) -> u32 {
        self.pace.width()
    }

    /// Asks for the next part, where the window has room. Not before the upload id is there: a Create whose date has
    /// passed begins again with part 1, and each part is asked for once. Of a stream one part is asked for at a time: it
    /// may end early, and the next one begins there.
    fn ask<T>(&mut self) -> Option<Output<T>> {
        if !matches!(self.state, State::Sending { .. }) {
            return None;
        }
        if let Some((number, offset, part)) = self.again.pop_front() {
            let length = part.length;
            self.in_flight.insert(number, InFlight::Asked { offset, length, known: Some(part.digest) });
            return Some(Output::NeedPart { number, offset, length, least: length, hashed: false });
        }
        self.skip_finished();
        if self.last.is_some() {
            return None;
        }
        let (number, offset) = self.next;
        let oldest = self.in_flight.first_key_value().map_or(number, |(oldest, _)| *oldest);
        if number - oldest >= self.width() && !planted::on("window not kept") {
            return None;
        }
        let is_asked =
            || self.in_flight.values().next_back().is_some_and(|part| matches!(part, InFlight::Asked { .. }));
        if self.plan.is_stream() && is_asked() {
            return None;
        }
        if number > self.first && self.plan.fills(self.first, number - 1, self.begin, offset) {
            return None;
        }
        let length = self.plan.part_length(number, offset)?;
        let (least, hashed) = (self.plan.least(length), self.plan.hashed(self.first, number, offset));
        if !self.plan.is_stream() {
            self.next = (number + 1, offset + length);
        }
        self.in_flight.insert(number, InFlight::Asked { offset, length, known: None });
        Some(Output::NeedPart { number, offset, length, least, hashed })
    }

    fn part_ready(&mut self, number: u32, length: u64, digest: Option<Digest>, last: bool) -> Result<()> {
        if self.last.is_some_and(|last| number > last) {
            self.releases.push(number);
            return Ok(());
        }
        let Some(InFlight::Asked { offset, length: wanted, known }) = self.in_flight.get(&number) else {
            return Err(Error::new(Code::Internal, format!("part {number} came without being asked for")));
        };
        let (offset, wanted, known) = (*offset, *wanted, *known);
        if length > wanted || (length < self.plan.least(wanted) && !last) {
            return Err(Error::new(
                Code::Internal,
                format!("part {number} has {length} bytes, and {wanted} were asked for"),
            ));
        }
        if known.is_some() {
            self.in_flight.insert(number, InFlight::Waiting(Part { number, offset, length, digest: known }));
            return Ok(());
        }
        if self.plan.is_stream() {
            self.next = (number + 1, offset + length);
        }
        if last {
            // What was asked for beyond it never comes.
            let beyond: Vec<u32> = self.in_flight.range(number + 1..).map(|(number, _)| *number).collect();
            for number in beyond {
                self.in_flight.remove(&number);
                self.releases.push(number);
            }
            self.last = Some(number);
        } else if self.plan.fills(self.first, number, self.begin, offset + length) {
            (self.last, self.more) = (Some(number), true);
        }
        if length == 0 {
            // The source ended at the end of the part before.
            self.in_flight.remove(&number);
            self.releases.push(number);
            self.last = Some(number - 1);
        } else {
            self.in_flight.insert(number, InFlight::Waiting(Part { number, offset, length, digest }));
            if planted::on("part released before it is sent") {
                self.releases.push(number);
            }
        }
        Ok(())
    }

    fn part_answer(&mut self, session: &mut Session, now: Now, upload_id: String, input: &Input<'_>) -> State {
        for (number, entry) in &mut self.in_flight {
            let InFlight::Sending { call, digest } = entry else { continue };
            match call.handle(session, now, input) {
                None => {}
                Some(Err(e)) => return self.failed(session, upload_id, e),
                Some(Ok(reply)) => {
                    let (number, length) = (*number, call.op().part.length);
                    let digest = match digest {
                        Some(digest) if reply.crc64nvme.is_none_or(|crc| crc == digest.crc64nvme) => *digest,
                        _ => {
                            let e = unlike(number, &self.object.key, *digest, reply.crc64nvme);
                            return self.failed(session, upload_id, e);
                        }
                    };
                    self.in_flight.remove(&number);
                    session.save(|| Record::Part {
                        number,
                        hash: PartHash::new(length, &digest),
                        etag: reply.etag.clone(),
                    });
                    self.finished.insert(number, Finished { length, digest, etag: reply.etag });
                    self.pace.finished(now, length);
                    self.releases.push(number);
                    break;
                }
            }
        }
        State::Sending { upload_id }
    }

    /// All bytes of a part are on their way. Each reading must give the same.
    fn part_sent(&mut self, id: RequestId, now: Digest) -> Result<()> {
        for (number, entry) in &mut self.in_flight {
            let InFlight::Sending { call, digest } = entry else { continue };
            if call.is_sending(id) {
                if digest.is_some_and(|before| before != now) {
                    let Part { offset, length, .. } = call.op().part;
                    let why = format!(
                        "part {number} (bytes {offset} to {}) had other bytes when it was read again for another attempt",
                        offset + length
                    );
                    return Err(Error::new(Code::SourceChanged, why));
                }
                *digest = Some(now);
            }
        }
        Ok(())
    }

    fn poll_parts(&mut self, session: &mut Session, now: Now, upload_id: &str) -> Output<Stored> {
        let mut soonest: Option<u64> = None;
        for (number, entry) in &mut self.in_flight {
            if let InFlight::Waiting(part) = entry {
                let (key, number) = (self.object.key.clone(), *number - self.first + 1);
                let op = UploadPart { key, upload_id: upload_id.to_owned(), number, part: *part };
                *entry = InFlight::Sending { digest: part.digest, call: Box::new(Call::new(op)) };
            }
            let InFlight::Sending { call, .. } = entry else { continue };
            match call.poll(session, now) {
                Next::Send(request) => return Output::Send(request),
                Next::NeedCredentials(generation) => return Output::NeedCredentials { generation },
                Next::Wait(at) => soonest = soonest.into_iter().chain(at).min(),
            }
        }
        Output::Wait(soonest)
    }

    /// A part or its source failed. With a checkpoint the upload stays where another process may have better luck.
    fn failed(&mut self, session: &mut Session, upload_id: String, why: Error) -> State {
        if why.s3_code() == "NoSuchUpload" {
            self.drop_parts(session);
            return State::Done(Err(vanished(&self.object.key, &upload_id, why)));
        }
        let is_final = matches!(why.code(), Code::SourceChanged | Code::Damaged | Code::Internal);
        if session.journal.is_none() || is_final {
            return self.abort(session, upload_id, why);
        }
        self.leave(session, why);
        std::mem::replace(&mut self.state, State::Over)
    }

    /// Drops what is under way, and ends; what the store has stays there.
    fn leave(&mut self, session: &mut Session, why: Error) {
        if let Some(call) = self.state.call() {
            call.abandon(session);
        }
        self.drop_parts(session);
        self.state = State::Done(Err(why));
    }

    /// Drops the parts that are under way, and aborts the upload.
    fn abort(&mut self, session: &mut Session, upload_id: String, why: Error) -> State {
        self.drop_parts(session);
        State::Abort(Call::new(AbortMultipartUpload { key: self.object.key.clone(), upload_id }), why)
    }

    fn drop_parts(&mut self, session: &mut Session) {
        for entry in self.in_flight.values_mut() {
            if let InFlight::Sending { call, .. } = entry {
                call.abandon(session);
            }
        }
        self.in_flight.clear();
    }

    fn complete(&self, upload_id: &str) -> CompleteMultipartUpload {
        let parts = self.finished.iter().map(|(number, part)| CompletedPart {
            number: *number - self.first + 1,
            etag: part.etag.clone(),
            crc64nvme: Some(part.digest.crc64nvme),
        });
        CompleteMultipartUpload {
            key: self.object.key.clone(),
            upload_id: upload_id.to_owned(),
            parts: parts.collect(),
            crc64nvme: Some(whole_crc(&self.finished)),
            size: length_of(self.finished.values()),
        }
    }

    fn completed(&mut self, session: &mut Session, reply: PutReply, date_ms: Option<i64>) -> State {
        session.save(|| Record::Stored { version_id: reply.version_id.clone(), date: date_ms });
        self.stored(reply, date_ms)
    }

    fn stored(&self, reply: PutReply, date_ms: Option<i64>) -> State {
        let extent = extent(&self.object.key, reply.version_id, &self.finished);
        let next = self.more.then_some(self.next);
        State::Done(Ok(Stored { extent, date_ms, next }))
    }
}

/// The store took a part whose bytes it did not get as they were sent.
fn unlike(number: u32, key: &str, sent: Option<Digest>, found: Option<u64>) -> Error {
    let Some(sent) = sent else {
        return Error::new(Code::BadReply, format!("part {number} of {key} was answered before all of it was sent"));
    };
    let (sent, found) = (crc_text(sent.crc64nvme), found.map(crc_text).unwrap_or_default());
    Error::new(Code::Damaged, format!("part {number} of {key}: the store has CRC64NVME {found}, and {sent} was sent"))
        .with_hint("Something on the way changed the bytes: store the backup again.")
}

/// Not aborted by this one: there is nothing left to abort, or to go on with.
fn vanished(key: &str, upload_id: &str, why: Error) -> Error {
    let what = format!("upload {upload_id} of {key} vanished while its parts were sent");
    why.recode(Code::GivenUp).context(what).with_hint(
        "A lifecycle rule or another process aborted it, and its parts are gone: store the backup again, from its begin; a checkpoint does not help. A rule that aborts incomplete uploads needs more days than the longest backup takes.",
    )
}

fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the upload was cancelled")
}

fn suspended() -> Error {
    Error::new(Code::Suspended, "the upload was suspended")
}

fn unknown(why: &Error) -> Error {
    why.clone().recode(Code::OutcomeUnknown).context("the object may be complete, or not")
}
