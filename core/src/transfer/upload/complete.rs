//! CompleteMultipartUpload: the parts that it names, and the object that it makes.

use super::abandon::{cannot_complete, undecided, unknown};
use super::settle::{Settle, Settled, and_denied};
use super::{Object, State, Stored, Upload};
use crate::account::integrity::{Completes, is_about_form};
use crate::error::{Code, Error};
use crate::machine::Input;
use crate::mutation::{Mutation, is_active};
use crate::op::{
    Call, CompleteMultipartUpload, CompletedPart, CompletedUpload, ListParts, Paged, Session, answer_of,
    is_about_checksum,
};
use crate::time::Now;
use crate::transfer::checkpoint::{Record, extent, length_of, stored_length_of, whole_crc};
use crate::transfer::upload::{Sent, Verify};

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
            self.state = State::Complete(Call::new(self.complete(session, upload_id)));
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
            Some(Ok(reply)) => return self.assembled(session, reply, call),
            Some(Err(e)) => e,
        };
        let upload_id = call.op().upload_id.clone();
        if call.maybe_done() {
            self.advance(Completion::InDoubt);
        }
        if call.op().has_checksums() && (is_about_form(&e) || e.s3_code() == "MalformedXML") {
            let why = format!("the store refuses the checksums of a Complete ({})", answer_of(&e));
            session.complete_less(Completes::Plain, &why);
            return State::Complete(Call::new(self.complete(session, &upload_id)));
        }
        // The store may have all parts, and compute another checksum of the whole.
        let is_whole_wrong = is_checksum_refusal(&e) && call.op().crc64nvme.is_some();
        if (e.s3_code() == "InvalidPart" || is_whole_wrong) && self.relists < RELISTS {
            self.relists += 1;
            let Object { key, encryption, .. } = self.object.clone();
            let list = ListParts { key, upload_id, encryption, ..ListParts::default() };
            return State::Relist(Call::new(list), call, e);
        }
        if is_active(Mutation::AbortAfterComplete) {
            return self.abort(session, upload_id, e);
        }
        if is_checksum_refusal(&e) {
            return State::Settle(self.settle_sent(), call, cannot_complete(e));
        }
        if call.maybe_done() || e.s3_code() == "NoSuchUpload" {
            return State::Settle(self.settle_sent(), call, e);
        }
        State::Done(Err(e))
    }

    /// The search for the object that consists of the parts that were sent.
    pub(super) fn settle_sent(&self) -> Settle {
        Settle::new(&self.object, Sent::new(&self.finished))
    }

    /// The store has assembled the object. If its reply does not show the checksum that was sent, the object is looked at: a
    /// store that knows no checksums ignores the one that it is asked to compare.
    fn assembled(
        &mut self,
        session: &mut Session,
        reply: CompletedUpload,
        call: Call<CompleteMultipartUpload>,
    ) -> State {
        let sent = call.op().crc64nvme.unwrap_or_else(|| whole_crc(&self.finished));
        if reply.crc64nvme == Some(sent) {
            return self.completed(session, reply.version_id, call.date_ms());
        }
        State::Verify(Verify::new(&self.object, reply, Sent::new(&self.finished)), call)
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
            // Complete names each part with its ETag and its checksum.
            Some(Err(e)) if is_checksum_refusal(&why) => {
                let parts = format!("and its parts cannot be listed: {}", answer_of(&e));
                return self.complete_parts(session, &call, &why, &parts);
            }
            Some(Err(e)) if e.code() == Code::AccessDenied => {
                return State::Unknown(call, Some(and_denied(unknown(&why), "listing its parts", &e)));
            }
            Some(Err(_)) => return State::Unknown(call, Some(unknown(&why))),
            Some(Ok(page)) => page,
        };
        match self.update_from_listing(list.op(), &page) {
            Err(e) if e.code() == Code::Abandoned => return State::Settle(self.settle_sent(), call, e),
            Err(e) => return State::Done(Err(e)),
            Ok(()) => {}
        }
        match list.op().next(&page) {
            Some(next) => State::Relist(Call::new(next), call, why),
            None if self.resend.is_empty() && is_checksum_refusal(&why) => {
                self.complete_parts(session, &call, &why, "though it has all parts as they were sent")
            }
            None if self.resend.is_empty() => State::Complete(Call::new(self.complete(session, &call.op().upload_id))),
            None => State::Sending { upload_id: call.op().upload_id.clone() },
        }
    }

    /// Sends a Complete without the checksum of the whole object, which the store refused. `parts` is what is known of those
    /// that the store has.
    fn complete_parts(
        &self,
        session: &mut Session,
        call: &Call<CompleteMultipartUpload>,
        why: &Error,
        parts: &str,
    ) -> State {
        let why = format!("the store's checksums of whole objects cannot be trusted ({}, {parts})", answer_of(why));
        session.complete_less(Completes::Parts, &why);
        State::Complete(Call::new(self.complete(session, &call.op().upload_id)))
    }

    pub(super) fn settling(
        &mut self,
        session: &mut Session,
        now: Now,
        input: &Input<'_>,
        (mut settle, call, why): (Settle, Call<CompleteMultipartUpload>, Error),
    ) -> State {
        match settle.handle(session, now, input, &self.object.vid) {
            None => State::Settle(settle, call, why),
            Some(Settled::Ours { version_id, date_ms }) => self.completed(session, version_id, date_ms),
            // Nothing is left to resume, and there is no object instead.
            Some(Settled::NotThere) if why.code() == Code::Abandoned => {
                if self.completion >= Completion::InDoubt {
                    self.advance(Completion::Broken);
                }
                State::Done(Err(why))
            }
            Some(Settled::Undecided) => State::Unknown(call, Some(undecided(&why, &self.object.key))),
            Some(Settled::NotThere | Settled::Unknown) => State::Unknown(call, Some(settle.explain(unknown(&why)))),
        }
    }

    pub(super) fn complete(&self, session: &Session, upload_id: &str) -> CompleteMultipartUpload {
        let completes = session.account().integrity().completes();
        let parts = self.finished.iter().map(|(number, part)| CompletedPart {
            number: *number - self.first + 1,
            etag: part.etag.clone(),
            crc64nvme: (completes < Completes::Plain).then_some(part.digest.crc64nvme),
        });
        CompleteMultipartUpload {
            key: self.object.key.clone(),
            upload_id: upload_id.to_owned(),
            parts: parts.collect(),
            crc64nvme: (completes == Completes::Whole).then(|| whole_crc(&self.finished)),
            size: stored_length_of(self.finished.values()),
            encryption: self.object.encryption.clone(),
        }
    }

    pub(super) fn completed(
        &mut self,
        session: &mut Session,
        version_id: Option<String>,
        date_ms: Option<i64>,
    ) -> State {
        session.save(|| Record::Stored { version_id: version_id.clone(), date: date_ms });
        self.stored(version_id, date_ms)
    }

    pub(super) fn stored(&self, version_id: Option<String>, date_ms: Option<i64>) -> State {
        let extent = extent(&self.object.key, version_id, &self.finished);
        let end = self.start + length_of(self.finished.values());
        let (next, ended) = self.last.map_or((self.next.0, true), |last| (last.number + 1, last.ends_source));
        State::Done(Ok(Stored { extent, date_ms, next: (next, end), ended }))
    }
}

/// The store computes other checksums for the parts than were sent, however often it is asked.
fn is_checksum_refusal(refusal: &Error) -> bool {
    is_about_checksum(refusal.s3_code()) && !is_active(Mutation::KeepBrokenUpload)
}
