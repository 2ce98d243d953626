//! CompleteMultipartUpload: the parts that it names, and the object that it makes.

use super::abandon::{cannot_complete, unknown};
use super::settle::{Settle, Settled};
use super::{Object, State, Stored, Upload};
use crate::error::{Code, Error};
use crate::machine::Input;
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, CompleteMultipartUpload, CompletedPart, ListParts, Paged, PutReply, Session};
use crate::time::Now;
use crate::transfer::checkpoint::{Record, extent, length_of, stored_length_of, whole_crc};

/// How many times parts that differ in the store are sent again.
const RELISTS: u32 = 3;

/// How far the Complete of an upload got. It never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Completion {
    /// It was not sent, and the checkpoint does not say that it may have been.
    NotSent,
    /// The checkpoint says, or is about to say, that it may have been sent.
    Recorded,
    /// It was sent, and every answer so far was definite.
    Sent,
    /// It was sent, and one attempt got no definite answer: the store may have started to assemble the parts.
    InDoubt,
    /// The store can no longer complete the upload, and there is no object instead.
    Broken,
}

impl Upload {
    /// How far Complete got.
    pub(crate) fn completion(&self) -> Completion {
        self.completion
    }

    pub(super) fn advance(&mut self, completion: Completion) {
        self.completion = self.completion.max(completion);
    }

    /// All parts are stored.
    pub(crate) fn is_finished(&self) -> bool {
        self.last.is_some_and(|last| self.finished.len() == (last.number - self.first + 1) as usize)
    }

    /// All parts are stored: sends Complete as soon as the checkpoint has recorded that it may have been sent.
    pub(super) fn complete_when_recorded(&mut self, session: &mut Session) {
        if let (Completion::NotSent, Some(last)) = (self.completion, self.last) {
            session.save(|| Record::Complete { last: last.number, ended: last.ends_source });
            self.advance(Completion::Recorded);
        }
        if let (true, State::Sending { upload_id }) = (session.is_saved(), &self.state) {
            self.state = State::Complete(Call::new(self.complete(upload_id)));
            self.advance(Completion::Sent);
        }
    }

    pub(super) fn completing(
        &mut self,
        session: &mut Session,
        now: Now,
        input: &Input<'_>,
        mut call: Call<CompleteMultipartUpload>,
    ) -> State {
        let e = match call.handle(session, now, input) {
            None => return State::Complete(call),
            Some(Ok(reply)) => return self.completed(session, reply, call.date_ms()),
            Some(Err(e)) => e,
        };
        let upload_id = call.op().upload_id.clone();
        if e.s3_code() == "InvalidPart" && self.relists < RELISTS {
            self.relists += 1;
            if call.maybe_done() {
                self.advance(Completion::InDoubt);
            }
            let Object { key, encryption, .. } = self.object.clone();
            let list = ListParts { key, upload_id, encryption, ..ListParts::default() };
            return State::Relist(Call::new(list), call, e);
        }
        if is_active(Mutation::AbortAfterComplete) {
            return self.abort(session, upload_id, e);
        }
        if is_checksum_refusal(&e) {
            return State::Settle(Settle::new(&self.object), call, cannot_complete(e));
        }
        if call.maybe_done() || e.s3_code() == "NoSuchUpload" {
            return State::Settle(Settle::new(&self.object), call, e);
        }
        State::Done(Err(e))
    }

    pub(super) fn relisting(
        &mut self,
        session: &mut Session,
        now: Now,
        input: &Input<'_>,
        (mut list, call, why): (Call<ListParts>, Call<CompleteMultipartUpload>, Error),
    ) -> State {
        let page = match list.handle(session, now, input) {
            None => return State::Relist(list, call, why),
            Some(Err(_)) => return State::Unknown(call, Some(unknown(&why))),
            Some(Ok(page)) => page,
        };
        match self.update_from_listing(list.op(), &page) {
            Err(e) if e.code() == Code::Abandoned => return State::Settle(Settle::new(&self.object), call, e),
            Err(e) => return State::Done(Err(e)),
            Ok(()) => {}
        }
        match list.op().next(&page) {
            Some(next) => State::Relist(Call::new(next), call, why),
            None if self.resend.is_empty() => State::Complete(Call::new(self.complete(&call.op().upload_id))),
            None => State::Sending { upload_id: call.op().upload_id.clone() },
        }
    }

    pub(super) fn settling(
        &mut self,
        session: &mut Session,
        now: Now,
        input: &Input<'_>,
        (mut settle, call, why): (Settle, Call<CompleteMultipartUpload>, Error),
    ) -> State {
        match settle.handle(session, now, input, call.op(), &self.object.vid) {
            None => State::Settle(settle, call, why),
            Some(Settled::Ours { version_id, date_ms }) => self.completed(session, PutReply { version_id }, date_ms),
            // Nothing is left to resume, and there is no object instead.
            Some(Settled::NotThere) if why.code() == Code::Abandoned => {
                self.advance(Completion::Broken);
                State::Done(Err(why))
            }
            Some(Settled::NotThere | Settled::Unknown) => State::Unknown(call, Some(unknown(&why))),
        }
    }

    pub(super) fn complete(&self, upload_id: &str) -> CompleteMultipartUpload {
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
            size: stored_length_of(self.finished.values()),
            encryption: self.object.encryption.clone(),
        }
    }

    pub(super) fn completed(&mut self, session: &mut Session, reply: PutReply, date_ms: Option<i64>) -> State {
        session.save(|| Record::Stored { version_id: reply.version_id.clone(), date: date_ms });
        self.stored(reply, date_ms)
    }

    pub(super) fn stored(&self, reply: PutReply, date_ms: Option<i64>) -> State {
        let extent = extent(&self.object.key, reply.version_id, &self.finished);
        let end = self.start + length_of(self.finished.values());
        let (next, ended) = self.last.map_or((self.next.0, true), |last| (last.number + 1, last.ends_source));
        State::Done(Ok(Stored { extent, date_ms, next: (next, end), ended }))
    }
}

/// The store computes other checksums for the parts than were sent, however often it is asked.
fn is_checksum_refusal(refusal: &Error) -> bool {
    matches!(refusal.s3_code(), "BadDigest" | "XAmzContentChecksumMismatch") && !is_active(Mutation::KeepBrokenUpload)
}
