//! How an upload ends without its object: aborted, left for its checkpoint, or not known to be there.

use super::{State, Upload};
use crate::error::{Code, Error};
use crate::mutation::{Mutation, is_active};
use crate::op::{AbortMultipartUpload, Call, Session};

impl Upload {
    /// A part or its source failed. With a checkpoint the upload stays where another process may have better luck.
    pub(super) fn failed(&mut self, session: &mut Session, upload_id: String, why: Error) -> State {
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
    pub(super) fn leave(&mut self, session: &mut Session, why: Error) {
        if let Some(call) = self.state.call() {
            call.abandon(session);
        }
        self.drop_parts(session);
        self.state = State::Done(Err(why));
    }

    /// Drops the parts that are under way, and aborts the upload; but not once its Complete was sent.
    pub(super) fn abort(&mut self, session: &mut Session, upload_id: String, why: Error) -> State {
        self.drop_parts(session);
        if self.completing && !is_active(Mutation::AbortAfterComplete) {
            return State::Done(Err(why));
        }
        State::Abort(Call::new(AbortMultipartUpload { key: self.object.key.clone(), upload_id }), why)
    }
}

/// Not aborted by this one: there is nothing left to abort, or to go on with.
pub(super) fn vanished(key: &str, upload_id: &str, why: Error) -> Error {
    let what = format!("upload {upload_id} of {key} vanished while its parts were sent");
    why.recode(Code::GivenUp).context(what).with_hint(
        "A lifecycle rule or another process aborted it, and its parts are gone: store the backup again, from its begin; a checkpoint does not help. A rule that aborts incomplete uploads needs more days than the longest backup takes.",
    )
}

pub(super) fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the upload was cancelled")
}

pub(super) fn suspended() -> Error {
    Error::new(Code::Suspended, "the upload was suspended")
}

pub(super) fn unknown(why: &Error) -> Error {
    why.clone().recode(Code::OutcomeUnknown).context("the object may be complete, or not")
}

/// The store cannot complete this upload, now or later.
pub(super) fn never_complete(why: Error) -> Error {
    why.recode(Code::GivenUp)
        .context("the store cannot put the parts together any more")
        .with_hint("Store the backup again: it begins anew, also with the checkpoint.")
}
