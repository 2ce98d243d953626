//! Downloads: the parts of a backup in slices, several at once; a part counts when its merged hashes are the manifest's.
//!
//! ```text
//!  next slice ──width──▶ Getting ──came──▶ its Part ──all came, hashes right──▶ Accept ──consumed──▶ (room for more)
//!                         │  ▲              │
//!                         └──┘ broke: goes  └─hashes wrong──▶ read again whole, twice ──▶ Done(Damaged)
//!                              on behind its last byte
//! ```

mod part;
mod slices;
#[cfg(all(test, not(target_family = "wasm")))]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::pace::{self, Pace};
use crate::checksum::{Digest, SLICE};
use crate::error::{Code, Error, Result};
use crate::http::Range;
use crate::machine::{Input, Output};
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, Calling, GetRange, Next, Session};
use crate::time::Now;
use crate::transfer::extent::PartHash;
use part::{Part, Verdict};
use slices::{Slices, count};

/// How often a part is read when its bytes are not the ones that were stored: a line or a proxy may have changed them.
const READINGS: u32 = 3;

/// Of a part that is delivered before it is verified, so many last bytes wait until it is.
const HELD: u64 = 64 << 10;

/// A range that broke has got somewhere when so many more bytes came: the attempts before it do not count.
const PROGRESS: u64 = 64 << 10;

/// A piece of a backup, and where it is: a part, or what is wanted of one.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Of its part, from 0.
    pub(crate) number: u32,
    pub(crate) key: String,
    pub(crate) version_id: Option<String>,
    /// Where it begins in its object, in bytes.
    pub(crate) begin: u64,
    /// Where it belongs in the backup, in bytes.
    pub(crate) offset: u64,
    /// Its length, and what it is.
    pub(crate) hash: PartHash,
    /// It is a whole part, which can be compared with its hash.
    pub(crate) verified: bool,
}

/// How the bytes are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taking {
    /// Each where it belongs, in any order: a driver keeps none. A part is accepted when it is verified.
    #[default]
    ByPosition,
    /// In order, slice by slice, before their part is verified; but the end of a part only when it is.
    InOrder,
    /// In order, and only of parts that are verified. A part must fit into so many bytes of memory.
    WholeParts {
        /// In bytes.
        memory: u64,
    },
    /// Just the bytes that are wanted, in order, and not verified.
    Unverified,
}

/// What is wanted of a version.
#[derive(Clone, Debug, Default)]
pub struct Want {
    /// How its bytes are taken.
    pub taking: Taking,
    /// Parts that are there already, by their numbers from 0.
    pub have: BTreeSet<u32>,
    /// Only these bytes of the backup, with the rest of their parts where parts are verified.
    pub bytes: Option<std::ops::Range<u64>>,
}

impl Want {
    /// Chooses from the parts of a version.
    fn choose(&self, parts: &[Piece]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for piece in parts {
            let end = piece.offset + piece.hash.length;
            let number = piece.number - u32::from(is_active(Mutation::SkipPartAfterKeptOne) && piece.number > 0);
            if self.have.contains(&number) && !is_active(Mutation::RereadKeptParts) {
                continue;
            }
            let mut wanted = None;
            if let Some(bytes) = &self.bytes {
                let (from, to) = (bytes.start.max(piece.offset), bytes.end.min(end));
                if from >= to {
                    continue;
                }
                wanted = Some((from, to));
            }
            let mut chosen = piece.clone();
            if self.taking == Taking::Unverified {
                chosen.verified = false;
                if let Some((from, to)) = wanted {
                    if !is_active(Mutation::ReadFromPartStart) {
                        chosen.begin += from - piece.offset;
                    }
                    (chosen.offset, chosen.hash.length) = (from, to - from);
                }
            }
            pieces.push(chosen);
        }
        pieces
    }

    /// Refuses parts that cannot be kept until they are verified.
    fn check(&self, pieces: &[Piece]) -> Result<()> {
        let Taking::WholeParts { memory } = self.taking else { return Ok(()) };
        match pieces.iter().find(|piece| piece.hash.length > memory) {
            None => Ok(()),
            Some(piece) => Err(Error::new(
                Code::InvalidOption,
                format!(
                    "verify = part holds a part in memory until it is verified, and part {} has {} bytes; a quarter of the memory is {memory}",
                    piece.number + 1,
                    piece.hash.length
                ),
            )
            .with_hint("Take verify = end, restore into a file, or raise the process's option memory.")),
        }
    }
}

/// A download of one version.
pub(crate) struct Download {
    pieces: Vec<Piece>,
    taking: Taking,
    slice: u64,
    parallel: bool,
    pace: Pace,
    /// Slices under way and delivered ones that were not consumed are at most so many.
    room: usize,
    /// How many there are.
    in_hand: usize,
    next: Slices,
    /// Slices of parts that are read again.
    again: VecDeque<(usize, Range)>,
    getting: BTreeMap<u32, (usize, Call<GetRange>)>,
    /// Parts with slices under way, by the place of their piece.
    parts: BTreeMap<usize, Part>,
    accepts: VecDeque<Range>,
    /// Of the version.
    parts_in_all: usize,
    failed: Option<Error>,
}

impl Download {
    /// Of these parts, in the order of the backup's bytes; `parallel` unless the store cannot.
    pub(crate) fn new(parts: &[Piece], want: &Want, parallel: bool) -> Download {
        Download::sliced(parts, want, parallel, SLICE)
    }

    fn sliced(parts: &[Piece], want: &Want, parallel: bool, slice: u64) -> Download {
        let parts_in_all = parts.len();
        let pieces = want.choose(parts);
        let failed = want.check(&pieces).err();
        let most = pieces.iter().map(|piece| count(piece.hash.length, slice)).max().unwrap_or(1) as usize;
        let mut download = Download {
            taking: want.taking,
            slice,
            parallel,
            // What is read in order is held until it is its turn.
            pace: Pace::new(if want.taking == Taking::ByPosition { pace::FILE } else { pace::STREAM }),
            room: 0,
            in_hand: 0,
            next: Slices::new(slice),
            again: VecDeque::new(),
            getting: BTreeMap::new(),
            parts: BTreeMap::new(),
            accepts: VecDeque::new(),
            parts_in_all,
            failed: None,
            pieces,
        };
        if failed.is_some() {
            download.next.stop();
            download.failed = failed;
        }
        download.room = match want.taking {
            Taking::ByPosition => usize::MAX,
            // The last slice of a part may be shorter than what is held of it; then the one before it is held, too.
            Taking::InOrder | Taking::Unverified => download.width().max(HELD.div_ceil(slice) as usize + 1),
            Taking::WholeParts { .. } => download.width().max(most),
        };
        download
    }

    /// How many slices are under way at most.
    fn width(&self) -> usize {
        if self.parallel { self.pace.width() as usize } else { 1 }
    }

    pub(crate) fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) {
        match input {
            Input::Cancel => self.fail(session, Error::new(Code::Cancelled, "the download was cancelled")),
            Input::Suspend => self.fail(session, Error::new(Code::Suspended, "the download was suspended")),
            Input::SourceFailed(e) => self.fail(session, e.clone()),
            Input::RangeConsumed { .. } => self.in_hand = self.in_hand.saturating_sub(1),
            Input::Arrived { id, length } => {
                let getting = self.getting.values_mut().map(|(_, call)| call).find(|call| call.is_sending(*id));
                if let Some(call) = getting {
                    let range = &mut call.op_mut().range;
                    let more = length.saturating_sub(range.done);
                    range.done = range.done.max((*length).min(range.length.saturating_sub(1)));
                    if more >= PROGRESS {
                        call.progressed(now);
                    }
                }
            }
            _ => {
                let answer = self.getting.iter_mut().find_map(|(index, (at, call))| {
                    let range = call.op().range;
                    call.handle(session, now, input).map(|answer| (*index, *at, range, answer))
                });
                match answer {
                    None => {}
                    Some((index, at, range, Ok((length, digest)))) => {
                        self.getting.remove(&index);
                        self.pace.finished(now, length);
                        self.came(session, at, range, length, digest);
                    }
                    Some((.., Err(e))) => self.fail(session, explain(e)),
                }
            }
        }
    }

    /// A slice came whole.
    fn came(&mut self, session: &mut Session, at: usize, range: Range, length: u64, digest: Digest) {
        let Some(piece) = self.pieces.get(at) else { return };
        if !piece.verified {
            if length == range.length {
                self.accepts.push_back(range);
            } else {
                let why = format!("{length} bytes came where {} were asked for", range.length);
                let e = Error::new(Code::BadReply, why).on("GetObject", &session.store.bucket, &piece.key);
                self.fail(session, e);
            }
            return;
        }
        let part = self.parts.entry(at).or_insert_with(|| Part::new(piece.hash.length, self.slice));
        match part.take(&piece.hash, piece.offset, range, length, digest) {
            Some(Verdict::Right) => {
                self.accepts.extend(part.waiting());
                self.parts.remove(&at);
            }
            Some(Verdict::Wrong(what)) => self.wrong(session, at, what),
            None => {
                let ends = range.offset + range.length - piece.offset;
                let is_early = self.taking == Taking::InOrder || is_active(Mutation::DeliverUnverifiedPart);
                if is_early && length == range.length && ends + HELD <= piece.hash.length {
                    part.deliver(range);
                    self.accepts.push_back(range);
                }
            }
        }
    }

    /// A part came whole, and is not the one that was stored.
    fn wrong(&mut self, session: &mut Session, at: usize, what: &str) {
        let (Some(part), Some(piece)) = (self.parts.get_mut(&at), self.pieces.get(at)) else { return };
        if part.any_delivered() {
            let why = format!("{}: {what}, and bytes of it were handed out", self.name(piece));
            let e = Error::new(Code::Damaged, why)
                .on("GetObject", &session.store.bucket, &piece.key)
                .with_hint("With verify = part, and into a file, a part is read again before it counts as damaged.");
            self.fail(session, e);
        } else if part.readings + 1 < READINGS {
            let ranges: Vec<Range> = part.waiting().collect();
            part.forget();
            let reading = part.readings;
            self.again.extend(ranges.into_iter().map(|range| (at, Range { done: 0, reading, ..range })));
        } else {
            let why = format!("{}: {what}, {READINGS} times", self.name(piece));
            let e = Error::new(Code::Damaged, why).on("GetObject", &session.store.bucket, &piece.key);
            self.fail(session, e);
        }
    }

    fn name(&self, piece: &Piece) -> String {
        let (from, to) = (piece.offset, piece.offset + piece.hash.length);
        let (number, all, key) = (piece.number + 1, self.parts_in_all, &piece.key);
        format!("part {number} of {all} (bytes {from} to {to} of the backup, in {key}) is damaged")
    }

    fn fail(&mut self, session: &mut Session, why: Error) {
        for (_, call) in self.getting.values_mut() {
            call.abandon(session);
        }
        self.getting.clear();
        self.again.clear();
        self.next.stop();
        self.failed.get_or_insert(why);
    }

    /// Begins the next slice, where there is room for one.
    fn begin(&mut self) {
        if self.getting.len() >= self.width() {
            return;
        }
        let next = match self.again.pop_front() {
            Some(again) => Some(again),
            None if self.in_hand < self.room || is_active(Mutation::IgnoreSlowReader) => {
                let next = self.next.next(&self.pieces);
                self.in_hand += usize::from(next.is_some());
                next
            }
            None => None,
        };
        if let Some((at, range)) = next
            && let Some(piece) = self.pieces.get(at)
        {
            let begin = piece.begin + (range.offset - piece.offset);
            let op = GetRange { key: piece.key.clone(), version_id: piece.version_id.clone(), begin, range };
            self.getting.insert(range.index, (at, Call::new(op)));
        }
    }

    pub(crate) fn poll(&mut self, session: &mut Session, now: Now) -> Output<()> {
        if let Some(id) = session.abandoned() {
            return Output::Abandon(id);
        }
        // What was verified before the failure is good.
        if let Some(range) = self.accepts.pop_front() {
            return Output::Accept(range);
        }
        if let Some(e) = self.failed.take() {
            return Output::Done(Err(e));
        }
        self.pace.begin(now);
        self.pace.heed(session, now);
        self.begin();
        let mut soonest: Option<u64> = None;
        for (_, call) in self.getting.values_mut() {
            match call.poll(session, now) {
                Next::Send(request) => return Output::Send(request),
                Next::NeedCredentials(generation) => return Output::NeedCredentials { generation },
                Next::Wait(at) => soonest = soonest.into_iter().chain(at).min(),
            }
        }
        if self.next.is_over(&self.pieces) && self.getting.is_empty() && self.again.is_empty() && self.in_hand == 0 {
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
