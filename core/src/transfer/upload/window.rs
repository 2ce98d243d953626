//! The window of parts: requested, ready, in flight, and stored.

use super::{LastPart, State, Stored, Upload};
use crate::account::integrity::Integrity;
use crate::checksum::{Digest, crc_text};
use crate::crypto::segment::Salt;
use crate::error::{Code, Error, Result};
use crate::http::{Part, RequestId};
use crate::machine::{Input, Output, PartRequest, misuse};
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, Calling, Next, Session, UploadPart};
use crate::time::Now;
use crate::transfer::checkpoint::{Finished, Record};
use crate::transfer::extent::PartHash;
use crate::transfer::plan::Plan;

pub(super) enum InFlight {
    Requested {
        request: PartRequest,
        /// Digest of its bytes when they were sent before.
        known: Option<Digest>,
    },
    /// The part is ready, but it is not being sent yet.
    Waiting(Part),
    /// The part is ready, and the driver was asked for the hashes that it lacks.
    Hashing(Part),
    Sending {
        call: Box<Call<UploadPart>>,
        /// Digest of the part's bytes when they were last read completely.
        digest: Option<Digest>,
    },
}

impl Upload {
    /// How many parts may be in flight, counted from the oldest unfinished one.
    pub(super) fn width(&self) -> u32 {
        self.pace.width()
    }

    fn has_room(&self, number: u32) -> bool {
        let oldest = self.in_flight.first_key_value().map_or(number, |(oldest, _)| *oldest);
        number.saturating_sub(oldest) < self.width() || is_active(Mutation::ExceedWindow)
    }

    /// Requests the next part if the window has room. It waits for the upload id: a Create whose date has passed
    /// restarts with part 1, and each part is requested once. A stream's parts are requested one at a time: a part may
    /// end early, and the next one starts there.
    pub(super) fn request_part<T>(&mut self, session: &Session) -> Option<Output<T>> {
        if !matches!(self.state, State::Sending { .. }) {
            return None;
        }
        if let Some((number, offset, part)) = self.resend.front() {
            let (number, offset, length, known) = (*number, *offset, part.length, Some(part.digest));
            if !self.has_room(number) {
                return None;
            }
            self.resend.pop_front();
            let multiple_of = self.plan.form().segment();
            let request = PartRequest { number, offset, length, min_length: length, multiple_of, hash_first: false };
            self.in_flight.insert(number, InFlight::Requested { request, known });
            return Some(Output::NeedPart(request));
        }
        self.skip_finished();
        if self.last.is_some() {
            return None;
        }
        let (number, offset) = self.next;
        if !self.has_room(number) {
            return None;
        }
        let is_requested =
            || self.in_flight.values().next_back().is_some_and(|part| matches!(part, InFlight::Requested { .. }));
        if self.plan.is_stream() && is_requested() {
            return None;
        }
        if number > self.first && self.plan.fills_extent(self.first, number - 1, self.start, offset) {
            return None;
        }
        let length = self.plan.part_length(number, offset)?;
        if !self.plan.is_stream() {
            self.next = (number + 1, offset + length);
        }
        let level = session.account().integrity().level();
        let request = self.plan.request(self.first, number, offset, length, level);
        self.in_flight.insert(number, InFlight::Requested { request, known: None });
        Some(Output::NeedPart(request))
    }

    /// Has the first part hashed that is ready and lacks a hash which this store needs. The only part is sent once it has
    /// all.
    pub(super) fn hash_part<T>(&mut self, session: &Session) -> Option<Output<T>> {
        let level = session.account().integrity().level();
        if !matches!(self.state, State::Only | State::Sending { .. }) {
            return None;
        }
        for entry in self.in_flight.values_mut() {
            let InFlight::Waiting(part) = entry else { continue };
            let part = *part;
            let has_hashes = match level {
                Integrity::Trailer => part.digest.is_some() || !matches!(self.state, State::Only),
                Integrity::Header => part.digest.is_some(),
                Integrity::Md5 => part.md5.is_some(),
            };
            if !has_hashes {
                *entry = InFlight::Hashing(part);
                return Some(Output::HashPart(part));
            }
            if matches!(self.state, State::Only) {
                self.put_only(part);
                break;
            }
        }
        None
    }

    /// A part was hashed. Each reading of it must give the same bytes.
    pub(super) fn part_hashed(
        &mut self,
        session: &mut Session,
        number: u32,
        digest: Digest,
        md5: [u8; 16],
    ) -> Result<()> {
        let Some(InFlight::Hashing(part)) = self.in_flight.get(&number) else {
            session.misused(misuse(format!("part {number} was hashed without being asked for")));
            return Ok(());
        };
        let part = *part;
        if part.digest.is_some_and(|before| before != digest) {
            return Err(part_changed(&part));
        }
        let md5 = (session.account().integrity().level() == Integrity::Md5).then_some(md5);
        self.in_flight.insert(number, InFlight::Waiting(Part { digest: Some(digest), md5, ..part }));
        Ok(())
    }

    pub(super) fn sending(&mut self, session: &mut Session, now: Now, input: &Input<'_>, upload_id: String) -> State {
        match input {
            Input::PartReady { number, length, digest, last, salt } => {
                let is_cut = *length == 0 && *number > self.first && !self.plan.form().is_plain();
                if *last && is_cut && matches!(self.in_flight.get(number), Some(InFlight::Requested { .. })) {
                    return self.failed(session, upload_id, source_cut(*number));
                }
                if let Err(e) = self.part_ready(*number, *length, *digest, *last, *salt) {
                    session.misused(e);
                }
            }
            Input::PartHashed { number, digest, md5 } => {
                if let Err(e) = self.part_hashed(session, *number, *digest, *md5) {
                    return self.failed(session, upload_id, e);
                }
            }
            Input::PartSent { id, digest } => {
                if let Err(e) = self.part_sent(*id, *digest) {
                    return self.failed(session, upload_id, e);
                }
            }
            input => return self.part_answer(session, now, upload_id, input),
        }
        State::Sending { upload_id }
    }

    /// A part is ready. An error means that it is not the part that was requested.
    fn part_ready(
        &mut self,
        number: u32,
        length: u64,
        digest: Option<Digest>,
        last: bool,
        salt: Option<Salt>,
    ) -> Result<()> {
        if self.last.is_some_and(|last| number > last.number) {
            self.releases.push(number);
            return Ok(());
        }
        let Some(InFlight::Requested { request, known }) = self.in_flight.get(&number) else {
            return Err(misuse(format!("part {number} was supplied without being asked for")));
        };
        let (PartRequest { offset, .. }, known) = (*request, *known);
        request.check(number, length, digest.as_ref(), last)?;
        check_salt(self.plan, number, salt)?;
        if known.is_some() {
            let part = self.plan.part_ready(number, offset, length, known, salt);
            self.in_flight.insert(number, InFlight::Waiting(part));
            return Ok(());
        }
        if self.plan.is_stream() {
            self.next = (number + 1, offset + length);
        }
        if last {
            // Parts that were requested after the last one do not exist.
            let beyond: Vec<u32> = self.in_flight.range(number + 1..).map(|(number, _)| *number).collect();
            for number in beyond {
                self.in_flight.remove(&number);
                self.releases.push(number);
            }
            self.last = Some(LastPart { number, ends_source: true });
        } else if self.plan.fills_extent(self.first, number, self.start, offset + length) {
            self.last = Some(LastPart { number, ends_source: false });
        }
        if length == 0 {
            // The source ended at the end of the previous part.
            self.in_flight.remove(&number);
            self.releases.push(number);
            self.last = Some(LastPart { number: number - 1, ends_source: true });
        } else {
            let part = self.plan.part_ready(number, offset, length, digest, salt);
            self.in_flight.insert(number, InFlight::Waiting(part));
            if is_active(Mutation::ReleasePartTooEarly) {
                self.releases.push(number);
            }
        }
        Ok(())
    }

    fn part_answer(&mut self, session: &mut Session, now: Now, upload_id: String, input: &Input<'_>) -> State {
        if let Some(e) = self.unproven_answer(session, now, input) {
            return self.failed(session, upload_id, e);
        }
        for (number, entry) in &mut self.in_flight {
            let InFlight::Sending { call, digest } = entry else { continue };
            match call.handle(session, now, input) {
                None => {}
                Some(Err(e)) => {
                    let part = Part { digest: *digest, ..call.op().part };
                    if !session.send_less(Integrity::from(&call.op().part), &e) {
                        return self.failed(session, upload_id, e);
                    }
                    *entry = InFlight::Waiting(part);
                    break;
                }
                Some(Ok(reply)) => {
                    let (number, part @ Part { length, stored, salt, .. }) = (*number, call.op().part);
                    let digest = match digest {
                        Some(digest) if reply.crc64nvme.is_none_or(|crc| crc == digest.crc64nvme) => *digest,
                        _ => {
                            let e = checksum_mismatch(number, &self.object.key, *digest, reply.crc64nvme);
                            return self.failed(session, upload_id, e);
                        }
                    };
                    self.in_flight.remove(&number);
                    let finished = Finished { length, stored, digest, etag: reply.etag, salt };
                    let is_proof = reply.crc64nvme.is_some();
                    if !self.is_understood(session, &part, is_proof, &upload_id) {
                        self.in_flight.insert(number, InFlight::Waiting(Part { digest: Some(digest), ..part }));
                        break;
                    }
                    self.finished.insert(number, finished);
                    if !self.unproven.contains(number) {
                        self.save_part(session, number);
                    }
                    self.pace.finished(now, stored);
                    self.releases.push(number);
                    break;
                }
            }
        }
        State::Sending { upload_id }
    }

    /// Records in the checkpoint that the store has a part.
    pub(super) fn save_part(&self, session: &mut Session, number: u32) {
        let Some(Finished { stored, digest, etag, salt, .. }) = self.finished.get(&number) else { return };
        session.save(|| Record::Part { number, hash: PartHash::new(*stored, digest), etag: etag.clone(), salt: *salt });
    }

    /// All bytes of a part were sent. Each reading of it must give the same bytes.
    fn part_sent(&mut self, id: RequestId, now: Digest) -> Result<()> {
        for entry in self.in_flight.values_mut() {
            let InFlight::Sending { call, digest } = entry else { continue };
            if call.is_sending(id) {
                if digest.is_some_and(|before| before != now) && !is_active(Mutation::SkipRereadComparison) {
                    return Err(part_changed(&call.op().part));
                }
                *digest = Some(now);
            }
        }
        Ok(())
    }

    pub(super) fn poll_parts(&mut self, session: &mut Session, now: Now, upload_id: &str) -> Output<Stored> {
        let mut soonest = match self.unproven.poll(session, now) {
            Next::Wait(at) => at,
            next => return next.into(),
        };
        for (number, entry) in &mut self.in_flight {
            if let InFlight::Waiting(part) = entry {
                let (key, number) = (self.object.key.clone(), *number - self.first + 1);
                let encryption = self.object.encryption.clone();
                let op = UploadPart { key, upload_id: upload_id.to_owned(), number, part: *part, encryption };
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

    pub(super) fn drop_parts(&mut self, session: &mut Session) {
        for entry in self.in_flight.values_mut() {
            if let InFlight::Sending { call, .. } = entry {
                call.abandon(session);
            }
        }
        self.in_flight.clear();
        self.unproven.abandon(session);
    }
}

/// The error about a part whose bytes are not the same at each reading.
fn part_changed(part: &Part) -> Error {
    let Part { number, offset, length, .. } = part;
    let why = format!("part {number} (bytes {offset} to {}) changed between two attempts to send it", offset + length);
    Error::new(Code::SourceChanged, why)
}

/// The store accepted a part, but not with the bytes that were sent.
fn checksum_mismatch(number: u32, key: &str, sent: Option<Digest>, found: Option<u64>) -> Error {
    let Some(sent) = sent else {
        return Error::new(
            Code::BadReply,
            format!("the store answered part {number} of {key} before all of it was sent"),
        );
    };
    let (sent, found) = (crc_text(sent.crc64nvme), found.map(crc_text).unwrap_or_default());
    Error::new(
        Code::Damaged,
        format!("part {number} of {key}: the store reports CRC64NVME {found}, but {sent} was sent"),
    )
    .with_hint("Something between here and the store changed the bytes. Store the backup again.")
}

/// Refuses a part that is not in the form of its backup.
pub(crate) fn check_salt(plan: Plan, number: u32, salt: Option<Salt>) -> Result<()> {
    match (plan.form().is_plain(), salt) {
        (true, None) | (false, Some(_)) => Ok(()),
        (true, Some(_)) => Err(misuse(format!("part {number} has a salt, but the backup is not encrypted"))),
        (false, None) => Err(misuse(format!("part {number} has no salt, but the backup is encrypted"))),
    }
}

/// A source that was resumed ended where the run before had read more of it: the last segment that is stored does not say
/// that it is the last one.
pub(crate) fn source_cut(number: u32) -> Error {
    let why = format!("the source ended before part {number}, but had more bytes when this put was started");
    Error::new(Code::SourceChanged, why).with_hint("Remove the checkpoint to store the backup from the start.")
}
