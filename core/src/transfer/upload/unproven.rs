//! Parts that were sent with a trailer to a store whose reply does not show that it understood them. A store that does not
//! know aws-chunked encoding may keep the chunks' lengths and the trailer as data, answer 200, and damage the backup: the size
//! of one such part in a listing tells.

use super::Upload;
use crate::account::integrity::Integrity;
use crate::error::Error;
use crate::http::Part;
use crate::machine::Input;
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, Calling, ListParts, Next, Session};
use crate::time::Now;

/// Parts that may be damaged, and the listing that tells.
#[derive(Default)]
pub(super) struct Unproven {
    /// Numbers of the parts, and their offsets in the backup.
    parts: Vec<(u32, u64)>,
    list: Option<Box<Call<ListParts>>>,
}

impl Unproven {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.parts.iter().any(|(own, _)| *own == number)
    }

    pub(super) fn poll(&mut self, session: &mut Session, now: Now) -> Next {
        self.list.as_mut().map_or(Next::Wait(None), |list| list.poll(session, now))
    }

    pub(super) fn abandon(&mut self, session: &mut Session) {
        if let Some(mut list) = self.list.take() {
            list.abandon(session);
        }
    }
}

impl Upload {
    /// The store has accepted a part. `is_proof`: its reply has the part's checksum. Returns whether it has the part as it was
    /// sent, as far as is known; otherwise the part must be sent again.
    pub(super) fn is_understood(&mut self, session: &Session, part: &Part, is_proof: bool, upload_id: &str) -> bool {
        let (used, known) = (Integrity::from(part), session.account().integrity());
        if used > Integrity::Trailer || is_proof || is_active(Mutation::TrustTrailers) {
            known.accepted(used);
            return true;
        }
        if known.is_proven(used) {
            return true;
        }
        if known.level() > Integrity::Trailer {
            return false;
        }
        self.unproven.parts.push((part.number, part.offset));
        if self.unproven.list.is_none() {
            let list = ListParts {
                key: self.object.key.clone(),
                upload_id: upload_id.to_owned(),
                marker: part.number - self.first,
                max_parts: Some(1),
                encryption: self.object.encryption.clone(),
                ..ListParts::default()
            };
            self.unproven.list = Some(Box::new(Call::new(list)));
        }
        true
    }

    /// Handles the answer of the listing. An error means that the upload cannot continue.
    pub(super) fn unproven_answer(&mut self, session: &mut Session, now: Now, input: &Input<'_>) -> Option<Error> {
        let list = self.unproven.list.as_mut()?;
        let answer = list.handle(session, now, input)?;
        let own = list.op().marker + 1;
        self.unproven.list = None;
        let parts = std::mem::take(&mut self.unproven.parts);
        let sent = self.finished.get(&(self.first + own - 1)).map(|part| part.stored);
        let found = match &answer {
            Ok(page) => page.parts.iter().find(|part| part.number == own).map(|part| part.size),
            Err(_) => None,
        };
        let why = match (&answer, found) {
            (_, Some(size)) if Some(size) == sent => {
                session.account().integrity().accepted(Integrity::Trailer);
                parts.iter().for_each(|(number, _)| self.save_part(session, *number));
                return None;
            }
            (_, Some(size)) => format!(
                "the store keeps the lengths of chunks and the trailer as data (part {own} has {size} bytes, and {} were sent)",
                sent.unwrap_or(0)
            ),
            (Err(e), _) if e.s3_code() == "NoSuchUpload" => return Some(e.clone()),
            (Err(e), _) => format!("it cannot be checked whether the store understands trailers ({})", e.message()),
            (Ok(_), None) => {
                "it cannot be checked whether the store understands trailers (its list lacks a part)".into()
            }
        };
        session.without_trailers(&why);
        for (number, offset) in parts {
            if let Some(part) = self.finished.remove(&number) {
                self.resend.push_back((number, offset, part));
            }
        }
        None
    }
}
