//! The first request of an upload: a single PUT, or Create. If the store refuses its checksum, it is sent again without.

use super::window::InFlight;
use super::{Object, State, Upload};
use crate::account::integrity::Integrity;
use crate::error::{Code, Error};
use crate::http::Part;
use crate::machine::Input;
use crate::op::{Call, Content, CreateMultipartUpload, PutObject, Session};
use crate::time::Now;
use crate::transfer::checkpoint::{Finished, Record};

impl Upload {
    /// Create, with a checksum for each part if the store supports that.
    pub(super) fn new_create(&self, session: &Session) -> Call<CreateMultipartUpload> {
        let Object { key, headers, encryption, .. } = self.object.clone();
        let checksum = session.account().integrity().level() < Integrity::Md5;
        Call::dated(CreateMultipartUpload { key, headers, encryption, checksum }, self.signed)
    }

    /// The only part is being hashed.
    pub(super) fn only(&mut self, session: &mut Session, input: &Input<'_>) -> State {
        if let Input::PartHashed { number, digest, md5 } = input
            && let Err(e) = self.part_hashed(session, *number, *digest, *md5)
        {
            return State::Done(Err(e));
        }
        State::Only
    }

    /// Sends the only part.
    pub(super) fn put_only(&mut self, part: Part) {
        let Object { key, headers, encryption, .. } = self.object.clone();
        let put = PutObject { encryption, ..PutObject::new(key, Content::Part(part), headers) };
        self.state = State::Single(Call::dated(put, self.signed));
    }

    pub(super) fn single(
        &mut self,
        session: &mut Session,
        now: Now,
        input: &Input<'_>,
        mut call: Call<PutObject>,
    ) -> State {
        let reply = match call.handle(session, now, input) {
            None => return State::Single(call),
            Some(Err(e)) if session.send_less(Integrity::Header, &e) => return State::Only,
            Some(Err(e)) => return State::Done(Err(e)),
            Some(Ok(reply)) => reply,
        };
        if let Content::Part(part) = &call.op().content {
            session.account().integrity().accepted(part.into());
        }
        self.releases.push(self.first);
        match self.in_flight.remove(&self.first) {
            Some(InFlight::Waiting(Part { length, stored, digest: Some(digest), salt, .. })) => {
                self.finished.insert(self.first, Finished { length, stored, digest, etag: String::new(), salt });
                self.stored(reply.version_id, call.date_ms())
            }
            _ => State::Done(Err(Error::new(
                Code::Internal,
                "the part of a single PUT was not hashed before it was sent",
            ))),
        }
    }

    pub(super) fn create(
        &mut self,
        session: &mut Session,
        now: Now,
        input: &Input<'_>,
        mut call: Call<CreateMultipartUpload>,
    ) -> State {
        match call.handle(session, now, input) {
            None => State::Create(call),
            Some(Err(e)) if call.op().checksum && session.send_less(Integrity::Header, &e) => {
                State::Create(self.new_create(session))
            }
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
        }
    }
}
