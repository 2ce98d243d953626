//! Finds out whether a Complete took effect: looks at the newest object of the key first, then at its other versions.
//!
//! ```text
//!  Head ──ours──▶ Ours
//!    │ another object, or none
//!  Versions ──those of its size──▶ Head by version id … ──▶ NotThere
//! ```
//! A version id in an object's metadata alone proves nothing: its size and checksum must also be those that were sent.

use super::Object;
use crate::checksum::crc_text;
use crate::machine::Input;
use crate::mutation::{Mutation, is_active};
use crate::op::{
    Call, Calling, CompleteMultipartUpload, Encryption, HeadObject, HeadReply, ListObjectVersions, Paged, Session,
    VersionListing,
};
use crate::time::Now;

/// The result of the search.
pub(super) enum Settled {
    /// The object exists.
    Ours { version_id: Option<String>, date_ms: Option<i64> },
    /// The object does not exist at present.
    NotThere,
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
}

impl Settle {
    pub(super) fn new(Object { key, encryption, .. }: &Object) -> Settle {
        let (key, encryption) = (key.clone(), encryption.clone());
        Settle { state: head(&key, None, &encryption), key, encryption, listed: false, candidates: Vec::new() }
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
                // The store may refuse to show an object that was encrypted with another key; one that does not exist
                // is not found.
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
                // The listing has the newest first, and `pop` takes the last.
                self.candidates.reverse();
            }
        }
        if !self.listed && session.account().profile.versioning {
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
            None => Some(Settled::NotThere),
        }
    }
}

fn head(key: &str, version_id: Option<String>, encryption: &Encryption) -> State {
    State::Head(Call::new(HeadObject { key: key.to_owned(), version_id, encryption: encryption.clone() }))
}

fn of_size(page: VersionListing, key: &str, size: u64) -> impl Iterator<Item = String> {
    let versions = page.versions.into_iter().filter(move |found| !found.is_delete_marker && found.size == size);
    let key = key.to_owned();
    versions.filter(move |found| found.key == key).map(|found| found.version_id)
}

/// Whether this object is the one that this run sent.
fn is_ours(found: &HeadReply, sent: &CompleteMultipartUpload, vid: &str) -> bool {
    is_active(Mutation::SettleOnNewestVersion)
        || found.size == Some(sent.size)
            && sent.crc64nvme.is_some_and(|crc| found.checksum("crc64nvme") == Some(&*crc_text(crc)))
            && found.meta("s3vault-vid") == Some(vid)
}
