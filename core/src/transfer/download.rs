//! Downloads: the parts of a backup as parallel ranges, each accepted when its hashes are the manifest's.
//!
//! ```text
//!  Queue ──window──▶ Getting ──both hashes right──▶ Accepted ──consumed──▶ (room for the next)
//!                      │  ▲ other bytes came: twice more
//!                      └──┘──else──▶ Done(Damaged)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::WINDOW;
use crate::error::{Code, Error};
use crate::http::Range;
use crate::machine::{Input, Output};
use crate::op::{Call, Calling, GetRange, Next, Session};
use crate::time::Now;
use crate::vault::manifest::PartHash;

/// Ranges under way and not yet consumed hold at most so many bytes, but for one that is larger alone.
const MEMORY: u64 = 256 << 20;
/// How often a part is read when its bytes are not the ones that were stored: a line or a proxy may have changed them.
const READINGS: u32 = 3;

/// A part of a backup, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) key: String,
    pub(crate) version_id: Option<String>,
    /// Where it begins in its object, in bytes.
    pub(crate) begin: u64,
    /// Where it belongs in the backup, in bytes.
    pub(crate) offset: u64,
    pub(crate) hash: PartHash,
}

struct Getting {
    call: Call<GetRange>,
    readings: u32,
}

/// A download of one version.
pub(crate) struct Download {
    pieces: Vec<Piece>,
    next: usize,
    window: usize,
    getting: BTreeMap<u32, Getting>,
    /// Accepted, and not consumed by the reader.
    accepted: BTreeSet<u32>,
    accepts: Vec<Range>,
    failed: Option<Error>,
}

impl Download {
    /// Of these pieces, in the order of the backup's bytes; `parallel` unless the store cannot.
    pub(crate) fn new(pieces: Vec<Piece>, parallel: bool) -> Download {
        let largest = pieces.iter().map(|piece| piece.hash.length).max().unwrap_or(0).max(1);
        let window = if parallel { (MEMORY / largest).clamp(1, u64::from(WINDOW)) as usize } else { 1 };
        Download {
            pieces,
            next: 0,
            window,
            getting: BTreeMap::new(),
            accepted: BTreeSet::new(),
            accepts: Vec::new(),
            failed: None,
        }
    }

    pub(crate) fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) {
        match input {
            Input::Cancel => self.fail(session, Error::new(Code::Cancelled, "the download was cancelled")),
            Input::SourceFailed(e) => self.fail(session, e.clone()),
            Input::RangeConsumed { index } => {
                self.accepted.remove(index);
            }
            _ => {
                let answer = self.getting.iter_mut().find_map(|(index, getting)| {
                    let range = getting.call.op().range;
                    getting.call.handle(session, now, input).map(|answer| (*index, range, answer))
                });
                match answer {
                    None => {}
                    Some((index, range, Ok((length, digest)))) => {
                        if self.pieces[index as usize].hash.matches(length, &digest) {
                            self.getting.remove(&index);
                            self.accepted.insert(index);
                            self.accepts.push(range);
                        } else {
                            self.read_again(session, index, length);
                        }
                    }
                    Some((_, _, Err(e))) => self.fail(session, explain(e)),
                }
            }
        }
    }

    fn read_again(&mut self, session: &mut Session, index: u32, length: u64) {
        let Some(getting) = self.getting.get_mut(&index) else { return };
        getting.readings += 1;
        if getting.readings < READINGS {
            getting.call.again();
            return;
        }
        let piece = &self.pieces[index as usize];
        let what = if length == piece.hash.length {
            "its hashes are not the manifest's"
        } else {
            "its length is not the manifest's"
        };
        let why = format!(
            "part {} of {} (bytes {} to {} of the backup, in {}) is damaged: {what}, {READINGS} times",
            index + 1,
            self.pieces.len(),
            piece.offset,
            piece.offset + piece.hash.length,
            piece.key,
        );
        let e = Error::new(Code::Damaged, why).on("GetObject", &session.store.bucket, &piece.key);
        self.fail(session, e);
    }

    fn fail(&mut self, session: &mut Session, why: Error) {
        for getting in self.getting.values_mut() {
            getting.call.abandon(session);
        }
        self.getting.clear();
        self.next = self.pieces.len();
        self.failed.get_or_insert(why);
    }

    pub(crate) fn poll(&mut self, session: &mut Session, now: Now) -> Output<()> {
        if let Some(id) = session.abandoned() {
            return Output::Abandon(id);
        }
        if let Some(e) = self.failed.take() {
            return Output::Done(Err(e));
        }
        if let Some(range) = self.accepts.pop() {
            return Output::Accept(range);
        }
        if self.next < self.pieces.len() && self.getting.len() + self.accepted.len() < self.window {
            let index = self.next as u32;
            let piece = &self.pieces[self.next];
            self.next += 1;
            let op = GetRange {
                key: piece.key.clone(),
                version_id: piece.version_id.clone(),
                begin: piece.begin,
                range: Range { index, offset: piece.offset, length: piece.hash.length },
            };
            self.getting.insert(index, Getting { call: Call::new(op), readings: 0 });
        }
        let mut soonest: Option<u64> = None;
        for getting in self.getting.values_mut() {
            match getting.call.poll(session, now) {
                Next::Send(request) => return Output::Send(request),
                Next::NeedCredentials(generation) => return Output::NeedCredentials { generation },
                Next::Wait(at) => soonest = soonest.into_iter().chain(at).min(),
            }
        }
        if self.next == self.pieces.len() && self.getting.is_empty() && self.accepted.is_empty() {
            return Output::Done(Ok(()));
        }
        Output::Wait(soonest)
    }
}

/// What a refused range means: the manifest says that the data is there.
fn explain(e: Error) -> Error {
    match (e.code(), e.status()) {
        (Code::NotFound, _) => e.recode(Code::DataMissing),
        (_, 416) => e.recode(Code::Damaged).context("the object is shorter than it was"),
        _ => e,
    }
}
