//! Whether a Complete took effect: the object is looked at, the newest under its key first, then its other versions.
//!
//! ```text
//!  Head ──ours──▶ Ours
//!    │ another object, or none
//!  Versions ──those of its size──▶ Head by version id … ──▶ NotThere
//! ```
//! A version id in its metadata proves nothing alone: size and checksum must be what was sent.

use crate::checksum::crc_text;
use crate::machine::Input;
use crate::mutation::{Mutation, is_active};
use crate::op::{
    Call, Calling, CompleteMultipartUpload, HeadObject, HeadReply, ListObjectVersions, Paged, Session, VersionListing,
};
use crate::time::Now;

/// What was found out.
pub(super) enum Settled {
    /// The object is there.
    Ours { version_id: Option<String>, date_ms: Option<i64> },
    /// It is not, now.
    NotThere,
    /// The store did not tell.
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
    /// The newest was looked at.
    listed: bool,
    /// Versions that it may be.
    candidates: Vec<String>,
}

impl Settle {
    pub(super) fn new(key: &str) -> Settle {
        Settle { state: head(key, None), key: key.to_owned(), listed: false, candidates: Vec::new() }
    }

    pub(super) fn call(&mut self) -> &mut dyn Calling {
        match &mut self.state {
            State::Head(call) => call,
            State::Versions(call) => call,
        }
    }

    pub(super) fn handle(
        &mut self,
        session: &mut Session,
        now: Now,
        input: &Input<'_>,
        sent: &CompleteMultipartUpload,
        vid: &str,
    ) -> Option<Settled> {
        match &mut self.state {
            State::Head(call) => match call.handle(session, now, input)? {
                Ok(found) if is_ours(&found, sent, vid) => {
                    let date_ms = call.date_ms();
                    return Some(Settled::Ours { version_id: found.version_id, date_ms });
                }
                // Another key's object may refuse to show itself; what was never there is not found.
                Ok(_) => {}
                Err(e) if matches!(e.status(), 400 | 403 | 404) => {}
                Err(_) => return Some(Settled::Unknown),
            },
            State::Versions(call) => {
                let page = match call.handle(session, now, input)? {
                    Ok(page) => page,
                    Err(_) => return Some(Settled::Unknown),
                };
                let next = call.op().next(&page);
                self.candidates.extend(of_size(page, &self.key, sent.size));
                if let Some(next) = next {
                    self.state = State::Versions(Call::new(next));
                    return None;
                }
                // The newest come first, and are looked at first.
                self.candidates.reverse();
            }
        }
        if !self.listed && session.store.profile.versioning {
            self.listed = true;
            let list = ListObjectVersions { prefix: self.key.clone(), ..ListObjectVersions::default() };
            self.state = State::Versions(Call::new(list));
            return None;
        }
        match self.candidates.pop() {
            Some(version_id) => {
                self.state = head(&self.key, Some(version_id));
                None
            }
            None => Some(Settled::NotThere),
        }
    }
}

fn head(key: &str, version_id: Option<String>) -> State {
    State::Head(Call::new(HeadObject { key: key.to_owned(), version_id, ..HeadObject::default() }))
}

fn of_size(page: VersionListing, key: &str, size: u64) -> impl Iterator<Item = String> {
    let versions = page.versions.into_iter().filter(move |found| !found.is_delete_marker && found.size == size);
    let key = key.to_owned();
    versions.filter(move |found| found.key == key).map(|found| found.version_id)
}

/// Whether this object is what this run sent.
fn is_ours(found: &HeadReply, sent: &CompleteMultipartUpload, vid: &str) -> bool {
    is_active(Mutation::SettleOnNewestVersion)
        || found.size == Some(sent.size)
            && sent.crc64nvme.is_some_and(|crc| found.checksum("crc64nvme") == Some(&*crc_text(crc)))
            && found.meta("s3vault-vid") == Some(vid)
}
