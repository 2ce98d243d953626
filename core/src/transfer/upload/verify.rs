//! Looks at an object that is complete, where the store did not confirm the checksum of all of it: it must have the size and
//! the parts that were sent.

use super::sent::Sent;
use super::{Object, State, Upload};
use crate::account::integrity::Completes;
use crate::checksum::crc_text;
use crate::error::{Code, Error};
use crate::machine::Input;
use crate::op::{Call, Calling, CompleteMultipartUpload, CompletedUpload, HeadObject, HeadReply, Session};
use crate::time::Now;

/// The reply to Complete, and the request that looks at the object.
pub(super) struct Verify {
    head: Call<HeadObject>,
    reply: CompletedUpload,
    sent: Sent,
}

impl Verify {
    pub(super) fn new(Object { key, encryption, .. }: &Object, reply: CompletedUpload, sent: Sent) -> Verify {
        let version_id = reply.version_id.clone().filter(|id| id != "null");
        let head = HeadObject { key: key.clone(), version_id, encryption: encryption.clone(), ..HeadObject::default() };
        Verify { head: Call::new(head), reply, sent }
    }

    pub(super) fn call(&mut self) -> &mut dyn Calling {
        &mut self.head
    }
}

impl Upload {
    pub(super) fn verifying(
        &mut self,
        session: &mut Session,
        now: Now,
        input: &Input<'_>,
        (mut verify, call): (Verify, Call<CompleteMultipartUpload>),
    ) -> State {
        let found = match verify.head.handle(session, now, input) {
            None => return State::Verify(verify, call),
            Some(Err(e)) if let Some(less) = verify.head.op().less(&e) => {
                verify.head = Call::new(less);
                return State::Verify(verify, call);
            }
            // Keys that may only write: the store was given the checksum of the whole, and did not refuse it.
            Some(Err(e))
                if e.code() == Code::AccessDenied
                    && call.op().crc64nvme.is_some()
                    && verify.reply.crc64nvme.is_none() =>
            {
                return self.completed(session, verify.reply.version_id, call.date_ms());
            }
            Some(Err(e)) => {
                return State::Done(Err(
                    e.context("the object is complete, but it cannot be compared with what was sent")
                ));
            }
            Some(Ok(found)) => found,
        };
        let Verify { reply, sent, .. } = verify;
        if sent.is(&found, false) == Some(false) {
            return State::Done(Err(assembled_wrongly(&self.object.key, &sent, &found)));
        }
        if let Some(crc) = reply.crc64nvme.filter(|crc| *crc != sent.crc64nvme) {
            let why = format!(
                "the store's checksums of whole objects cannot be trusted (it computed CRC64NVME {}, and {} is right)",
                crc_text(crc),
                crc_text(sent.crc64nvme)
            );
            session.complete_less(Completes::Parts, &why);
        }
        self.completed(session, reply.version_id, call.date_ms())
    }
}

fn assembled_wrongly(key: &str, sent: &Sent, found: &HeadReply) -> Error {
    let size = found.size.map_or("an unknown number of".to_owned(), |size| size.to_string());
    let why = format!(
        "the store assembled {key} from other parts than were sent: it has {size} bytes and ETag {}, and {} bytes were sent",
        crate::text::presentable(&found.etag),
        sent.size
    );
    Error::new(Code::Damaged, why).with_hint(
        "Store the backup again. If this happens again, the store or a proxy before it damages uploads: report it to its vendor, and use another store.",
    )
}
