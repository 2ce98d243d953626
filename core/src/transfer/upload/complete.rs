//! CompleteMultipartUpload: the parts that it names, and the object that it makes.

use super::{State, Stored, Upload};
use crate::error::Error;
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, CompleteMultipartUpload, CompletedPart, PutReply, Session};
use crate::transfer::checkpoint::{Record, extent, length_of, whole_crc};

impl Upload {
    /// The upload had all parts, but the store can no longer assemble them, and there is no object instead.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// All parts are stored.
    pub(crate) fn is_finished(&self) -> bool {
        self.last.is_some_and(|last| self.finished.len() == (last - self.first + 1) as usize)
    }

    /// All parts are stored: sends Complete as soon as the checkpoint has recorded that it may have been sent.
    pub(super) fn start_complete(&mut self, session: &mut Session) {
        if let (false, Some(last)) = (std::mem::replace(&mut self.sealed, true), self.last) {
            let ended = !self.continues;
            session.save(|| Record::Complete { last, ended });
        }
        if let (true, State::Sending { upload_id }) = (session.is_saved(), &self.state) {
            self.completing = true;
            self.state = State::Complete(Call::new(self.complete(upload_id)));
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
            size: length_of(self.finished.values()),
            encryption: self.object.encryption.clone(),
        }
    }

    pub(super) fn completed(&mut self, session: &mut Session, reply: PutReply, date_ms: Option<i64>) -> State {
        session.save(|| Record::Stored { version_id: reply.version_id.clone(), date: date_ms });
        self.stored(reply, date_ms)
    }

    pub(super) fn stored(&self, reply: PutReply, date_ms: Option<i64>) -> State {
        let extent = extent(&self.object.key, reply.version_id, &self.finished);
        let next = self.continues.then_some(self.next);
        State::Done(Ok(Stored { extent, date_ms, next }))
    }
}

/// The store computes other checksums for the parts than were sent, however often it is asked.
pub(super) fn is_checksum_refusal(refusal: &Error) -> bool {
    matches!(refusal.s3_code(), "BadDigest" | "XAmzContentChecksumMismatch") && !is_active(Mutation::KeepBrokenUpload)
}
