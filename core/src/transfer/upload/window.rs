//! The window of parts: asked for, ready, under way, and there.

use super::{State, Stored, Upload};
use crate::checksum::{Digest, crc_text};
use crate::error::{Code, Error, Result};
use crate::http::{Part, RequestId};
use crate::machine::{Input, Output};
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, Calling, Next, Session, UploadPart};
use crate::time::Now;
use crate::transfer::checkpoint::{Finished, Record};
use crate::transfer::extent::PartHash;

pub(super) enum InFlight {
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

impl Upload {
    /// How many parts from the oldest unfinished one on may be under way.
    pub(super) fn width(&self) -> u32 {
        self.pace.width()
    }

    fn has_room(&self, number: u32) -> bool {
        let oldest = self.in_flight.first_key_value().map_or(number, |(oldest, _)| *oldest);
        number - oldest < self.width() || is_active(Mutation::ExceedWindow)
    }

    /// Asks for the next part, where the window has room. Not before the upload id is there: a Create whose date has
    /// passed begins again with part 1, and each part is asked for once. Of a stream one part is asked for at a time: it
    /// may end early, and the next one begins there.
    pub(super) fn ask<T>(&mut self) -> Option<Output<T>> {
        if !matches!(self.state, State::Sending { .. }) {
            return None;
        }
        if let Some((number, offset, part)) = self.again.front() {
            let (number, offset, length, known) = (*number, *offset, part.length, Some(part.digest));
            if !self.has_room(number) {
                return None;
            }
            self.again.pop_front();
            self.in_flight.insert(number, InFlight::Asked { offset, length, known });
            return Some(Output::NeedPart { number, offset, length, least: length, hashed: false });
        }
        self.skip_finished();
        if self.last.is_some() {
            return None;
        }
        let (number, offset) = self.next;
        if !self.has_room(number) {
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

    pub(super) fn part_ready(&mut self, number: u32, length: u64, digest: Option<Digest>, last: bool) -> Result<()> {
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
            if is_active(Mutation::ReleasePartTooEarly) {
                self.releases.push(number);
            }
        }
        Ok(())
    }

    pub(super) fn part_answer(
        &mut self,
        session: &mut Session,
        now: Now,
        upload_id: String,
        input: &Input<'_>,
    ) -> State {
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
    pub(super) fn part_sent(&mut self, id: RequestId, now: Digest) -> Result<()> {
        for (number, entry) in &mut self.in_flight {
            let InFlight::Sending { call, digest } = entry else { continue };
            if call.is_sending(id) {
                if digest.is_some_and(|before| before != now) && !is_active(Mutation::SkipRereadComparison) {
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

    pub(super) fn poll_parts(&mut self, session: &mut Session, now: Now, upload_id: &str) -> Output<Stored> {
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

    pub(super) fn drop_parts(&mut self, session: &mut Session) {
        for entry in self.in_flight.values_mut() {
            if let InFlight::Sending { call, .. } = entry {
                call.abandon(session);
            }
        }
        self.in_flight.clear();
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
