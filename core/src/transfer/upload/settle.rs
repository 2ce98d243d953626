//! Finds out whether a Complete took effect: looks at the newest object of the key first, then at its other versions.
//!
//! ```text
//!  Head ──ours──▶ Ours
//!    │ another object, or none
//!  Versions ──those of its size──▶ Head by version id … ──▶ NotThere
//! ```
//! A version id in an object's metadata alone proves nothing: its size must also be that of what was sent, and its checksum,
//! or the ETag that is composed of those of its parts.

use super::Object;
use super::sent::Sent;
use crate::account::integrity::Completes;
use crate::error::{Code, Error};
use crate::machine::Input;
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, Calling, Encryption, HeadObject, HeadReply, ListObjectVersions, Paged, Session, VersionListing};
use crate::time::Now;

/// The result of the search.
pub(super) enum Settled {
    /// The object exists.
    Ours { version_id: Option<String>, date_ms: Option<i64> },
    /// The object does not exist at present.
    NotThere,
    /// There is an object that may be it, but the store shows neither a checksum nor an ETag that tells.
    Undecided,
    /// The store gave no answer.
    Unknown,
}

enum State {
    Head(Call<HeadObject>),
    Versions(Call<ListObjectVersions>),
}

/// Looks for the object.
pub(super) struct Settle {
    state: State,
    key: String,
    encryption: Encryption,
    /// The newest object was checked, and the other versions are listed next.
    listed: bool,
    /// Version ids of the objects that have the right size.
    candidates: Vec<String>,
    sent: Sent,
    /// An object was seen that may be the one.
    may_exist: bool,
    /// The first refusal for want of a permission: with it, the search might have found the object.
    denied: Option<Error>,
}

impl Settle {
    pub(super) fn new(Object { key, encryption, .. }: &Object, sent: Sent) -> Settle {
        let (key, encryption) = (key.clone(), encryption.clone());
        let state = head(&key, None, &encryption);
        Settle { state, key, encryption, listed: false, candidates: Vec::new(), sent, may_exist: false, denied: None }
    }

    /// The error of a search that did not find the object, with the permission that it lacked.
    pub(super) fn explain(self, unknown: Error) -> Error {
        match self.denied {
            None => unknown,
            Some(denied) => and_denied(unknown, "looking for it", &denied),
        }
    }

    fn note(&mut self, e: Error) {
        if e.code() == Code::AccessDenied {
            self.denied.get_or_insert(e);
        }
    }

    pub(super) fn call(&mut self) -> &mut dyn Calling {
        match &mut self.state {
            State::Head(call) => call,
            State::Versions(call) => call,
        }
    }

    pub(super) fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>, vid: &str) -> Option<Settled> {
        match &mut self.state {
            State::Head(call) => match call.handle(session, now, input)? {
                Ok(found) => {
                    let by_checksum = session.account().integrity().completes() == Completes::Whole;
                    match is_ours(&found, &self.sent, by_checksum, vid) {
                        Some(true) => {
                            let date_ms = call.date_ms();
                            return Some(Settled::Ours { version_id: found.version_id, date_ms });
                        }
                        Some(false) => {}
                        None => self.may_exist = true,
                    }
                }
                Err(e) if let Some(less) = call.op().less(&e) => {
                    self.state = State::Head(Call::new(less));
                    return None;
                }
                // The store may refuse to show an object that was encrypted with another key; one that does not exist
                // is not found.
                Err(e) if matches!(e.status(), 400 | 403 | 404) => self.note(e),
                Err(_) => return Some(Settled::Unknown),
            },
            State::Versions(call) => {
                let page = match call.handle(session, now, input)? {
                    Ok(page) => page,
                    // A store that keeps no versions has shown its only object.
                    Err(e) if e.status() == 501 => VersionListing::default(),
                    Err(e) => {
                        self.note(e);
                        return Some(Settled::Unknown);
                    }
                };
                let next = call.op().next(&page);
                self.candidates.extend(page.ids_of(&self.key, self.sent.size));
                if let Some(next) = next {
                    self.state = State::Versions(Call::new(next));
                    return None;
                }
                // The listing has the newest first, and `pop` takes the last.
                self.candidates.reverse();
            }
        }
        if !self.listed && session.account().profile().versioning {
            self.listed = true;
            let list = ListObjectVersions { prefix: self.key.clone(), ..ListObjectVersions::default() };
            self.state = State::Versions(Call::new(list));
            return None;
        }
        match self.candidates.pop() {
            Some(version_id) => {
                self.state = head(&self.key, Some(version_id), &self.encryption);
                None
            }
            None if self.may_exist => Some(Settled::Undecided),
            None => Some(Settled::NotThere),
        }
    }
}

fn head(key: &str, version_id: Option<String>, encryption: &Encryption) -> State {
    State::Head(Call::new(HeadObject {
        key: key.to_owned(),
        version_id,
        encryption: encryption.clone(),
        ..HeadObject::default()
    }))
}

/// Adds to the error of an unknown outcome that finding out was denied, and the permission that it needs.
pub(super) fn and_denied(unknown: Error, doing: &str, denied: &Error) -> Error {
    let hint = format!("{} {}", denied.hint(), unknown.hint());
    unknown.and_then_failed(doing, denied).with_hint(hint)
}

/// Whether this object is the one that this run sent; `None` if the store shows nothing that tells.
fn is_ours(found: &HeadReply, sent: &Sent, by_checksum: bool, vid: &str) -> Option<bool> {
    if is_active(Mutation::SettleOnNewestVersion) {
        return Some(true);
    }
    if found.meta("s3vault-vid") != Some(vid) {
        return Some(false);
    }
    sent.is(found, by_checksum)
}
