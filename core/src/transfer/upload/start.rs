//! The first request of an upload: a single PUT, or Create.

use super::window::InFlight;
use super::{State, Upload};
use crate::error::{Code, Error};
use crate::http::Part;
use crate::machine::Input;
use crate::op::{Call, CreateMultipartUpload, PutObject, Session};
use crate::time::Now;
use crate::transfer::checkpoint::{Finished, Record};

impl Upload {
    pub(super) fn single(
        &mut self,
        session: &mut Session,
        now: Now,
        input: &Input<'_>,
        mut call: Call<PutObject>,
    ) -> State {
        let reply = match call.handle(session, now, input) {
            None => return State::Single(call),
            Some(Err(e)) => return State::Done(Err(e)),
            Some(Ok(reply)) => reply,
        };
        self.releases.push(self.first);
        match self.in_flight.remove(&self.first) {
            Some(InFlight::Waiting(Part { length, stored, digest: Some(digest), .. })) => {
                self.finished.insert(self.first, Finished { length, stored, digest, etag: String::new() });
                self.stored(reply, call.date_ms())
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
