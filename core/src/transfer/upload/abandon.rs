//! How an upload ends without its object: aborted, left for its checkpoint, or with an unknown outcome.

use super::{Completion, State, Upload};
use crate::error::{Code, Error};
use crate::machine::{Event, Input};
use crate::mutation::{Mutation, is_active};
use crate::op::{AbortMultipartUpload, Call, Session};
use crate::text::presentable_key;
use crate::time::Now;

impl Upload {
    /// Handles an input that ends the upload. Returns whether it was one.
    pub(super) fn stop(&mut self, session: &mut Session, input: &Input<'_>) -> bool {
        let has_checkpoint = session.journal.is_some() && !is_active(Mutation::AbortOnSuspend);
        let why = match input {
            Input::Suspend if has_checkpoint => {
                self.leave(session, suspended());
                return true;
            }
            Input::SaveFailed(e) => {
                self.leave(session, e.clone());
                return true;
            }
            Input::Cancel | Input::Suspend => cancelled(),
            Input::SourceFailed(e) => e.clone(),
            _ => return false,
        };
        self.state = match (std::mem::replace(&mut self.state, State::Over), input) {
            // What was sent may still take effect; sweep finds it through its locator.
            (mut state @ (State::Only | State::Single(_) | State::Create(_)), _) => {
                if let Some(call) = state.call() {
                    call.abandon(session);
                }
                State::Done(Err(why))
            }
            (State::Sending { upload_id }, Input::SourceFailed(_)) => self.failed(session, upload_id, why),
            (State::Sending { upload_id }, _) => self.abort(session, upload_id, why),
            // From here on all parts are stored, or the upload has ended.
            (state, _) => state,
        };
        true
    }

    /// A part or its source failed. With a checkpoint the upload is kept, so that another process can resume it.
    pub(super) fn failed(&mut self, session: &mut Session, upload_id: String, why: Error) -> State {
        if why.s3_code() == "NoSuchUpload" {
            self.drop_parts(session);
            return State::Done(Err(upload_disappeared(&self.object.key, &upload_id, why)));
        }
        let is_final = matches!(why.code(), Code::SourceChanged | Code::Damaged | Code::Internal);
        if session.journal.is_none() || is_final {
            return self.abort(session, upload_id, why);
        }
        self.leave(session, why);
        std::mem::replace(&mut self.state, State::Over)
    }

    /// Drops everything in flight and ends; what the store has stays there.
    pub(super) fn leave(&mut self, session: &mut Session, why: Error) {
        if let Some(call) = self.state.call() {
            call.abandon(session);
        }
        self.drop_parts(session);
        self.state = State::Done(Err(why));
    }

    /// Drops the parts in flight and aborts the upload, unless its Complete was sent.
    pub(super) fn abort(&mut self, session: &mut Session, upload_id: String, why: Error) -> State {
        self.drop_parts(session);
        if self.completion >= Completion::Sent && !is_active(Mutation::AbortAfterComplete) {
            return State::Done(Err(why));
        }
        State::Abort(Call::new(AbortMultipartUpload { key: self.object.key.clone(), upload_id }), why)
    }

    /// The upload is being aborted. If the store refuses that, somebody has to know that the parts are still there.
    pub(super) fn aborting(
        &mut self,
        session: &mut Session,
        now: Now,
        input: &Input<'_>,
        (mut call, why): (Call<AbortMultipartUpload>, Error),
    ) -> State {
        match call.handle(session, now, input) {
            None => return State::Abort(call, why),
            Some(Err(e)) if e.s3_code() != "NoSuchUpload" => {
                // The hint names the permission that is missing.
                let (bucket, why) = (session.bucket.name().to_owned(), format!("{}. {}", e.message(), e.hint()));
                let AbortMultipartUpload { key, upload_id } = call.op().clone();
                session.report(Event::Orphan { bucket, key, upload_id, why });
            }
            Some(_) => {}
        }
        State::Done(Err(why))
    }
}

/// The upload is gone, and this process did not abort it: nothing is left to abort or to resume.
fn upload_disappeared(key: &str, upload_id: &str, why: Error) -> Error {
    let upload_id = presentable_key(upload_id);
    let what = format!("upload {upload_id} of {key} disappeared while its parts were being sent");
    why.recode(Code::Abandoned).context(what).with_hint(
        "A lifecycle rule or another process aborted the upload, and its parts are lost. Store the backup again from the start; a checkpoint cannot resume it. If a lifecycle rule aborts incomplete uploads, give it more days than the longest backup takes.",
    )
}

fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the upload was cancelled")
}

fn suspended() -> Error {
    Error::new(Code::Suspended, "the upload was suspended")
}

pub(super) fn unknown(why: &Error) -> Error {
    why.clone().recode(Code::OutcomeUnknown).context("the object may or may not be complete")
}

/// There is an object of the right size, and the store shows nothing that tells whether it is the one that was sent.
pub(super) fn undecided(why: &Error, key: &str) -> Error {
    let what = format!(
        "an object of the right size is at {key}, but the store shows neither its checksum nor an ETag of its parts, so it may be another one"
    );
    unknown(why).context(what).with_hint(
        "Remove the checkpoint, if there is one, and store the backup again. Report this to the store's vendor. The object that is there now takes space, and belongs to no version.",
    )
}

/// The store cannot complete this upload, now or later.
pub(super) fn cannot_complete(why: Error) -> Error {
    why.recode(Code::Abandoned)
        .context("the store can no longer assemble the parts")
        .with_hint("Store the backup again. It restarts from scratch, even with the checkpoint.")
}
