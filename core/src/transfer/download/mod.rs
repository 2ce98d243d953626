//! Downloads: reads the parts of a backup in slices, several at once. A part is verified when the merged hashes of its
//! slices match the manifest.
//!
//! ```text
//!  next slice ──width──▶ Getting ──arrived──▶ its Part ──all arrived, hashes match──▶ Accept ──consumed──▶ (room)
//!                         │  ▲              │
//!                         └──┘ broke: resumes  └─hashes differ──▶ read again, twice ──▶ Done(Damaged)
//!                              after its last byte
//! ```

mod check;
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
use crate::op::{Call, Calling, Encryption, GetRange, Next, Session};
use crate::time::Now;
use crate::transfer::extent::PartHash;
use crate::transfer::stored_form::StoredForm;
pub(crate) use check::Check;
use part::{Part, Verdict};
use slices::{Slices, count};

/// How many times a part is read if its bytes differ from the stored ones: a network or a proxy may have changed them.
const READINGS: u32 = 3;

/// Number of bytes at the end of a part that are held back until the part is verified, if its other bytes are delivered
/// before.
const HOLD_BACK: u64 = 64 << 10;

/// A piece of a backup and its location: a part, or the requested bytes of one.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Number of its part, from 0.
    pub(crate) number: u32,
    pub(crate) key: String,
    pub(crate) version_id: Option<String>,
    /// ETag without its quotes, of an object that no hash verifies.
    pub(crate) etag: Option<String>,
    pub(crate) encryption: Encryption,
    /// Offset in its object, in stored bytes.
    pub(crate) start: u64,
    /// Length of its object, in stored bytes.
    pub(crate) object: u64,
    /// Offset in the backup, in bytes.
    pub(crate) offset: u64,
    /// Length in bytes of the backup.
    pub(crate) length: u64,
    /// Length and hashes of the stored bytes.
    pub(crate) hash: PartHash,
    /// The form in which the backup is stored.
    pub(crate) form: StoredForm,
    /// It is a whole part, which can be verified against its hashes.
    pub(crate) verified: bool,
}

impl Piece {
    /// Narrows the piece to the whole segments that contain its bytes from `from` to `to`.
    fn narrow(&mut self, from: u64, to: u64) {
        let segment = self.form.segment();
        let (from, to) = (from / segment * segment, to.next_multiple_of(segment).min(self.length));
        if !is_active(Mutation::ReadFromPartStart) {
            self.start += self.form.position(from);
        }
        self.offset += from;
        self.length = to - from;
        self.hash.length = self.form.stored(self.length);
    }
}

/// How the bytes are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// By position, in any order: the driver writes each range to its place and keeps none. A part is delivered when it
    /// is verified.
    #[default]
    ByPosition,
    /// In order, slice by slice, before the part is verified; but the end of each part only after it is.
    InOrder,
    /// In order, and only from verified parts. A part must fit into `memory`.
    WholeParts {
        /// Memory for one part, in bytes.
        memory: u64,
    },
    /// Only the requested bytes, in order, not verified; of a backup in segments, the whole segments that contain them.
    Unverified,
}

/// What to read of a version.
#[derive(Clone, Debug, Default)]
pub struct ReadRequest {
    /// How the bytes are delivered.
    pub delivery: Delivery,
    /// Numbers, from 0, of parts to skip because the caller has them already.
    pub skip: BTreeSet<u32>,
    /// Read only these bytes of the backup; where parts are verified, the parts that contain them.
    pub bytes: Option<std::ops::Range<u64>>,
    /// The data is only verified: what was encrypted by the vault need not be decrypted.
    pub is_discarded: bool,
}

impl ReadRequest {
    /// The pieces to read of a version with these parts.
    fn choose(&self, parts: &[Piece]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for piece in parts {
            let end = piece.offset + piece.length;
            let number = piece.number - u32::from(is_active(Mutation::SkipPartAfterKeptOne) && piece.number > 0);
            if self.skip.contains(&number) && !is_active(Mutation::RereadKeptParts) {
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
            if self.delivery == Delivery::Unverified || !chosen.verified {
                chosen.verified = false;
                if let Some((from, to)) = wanted {
                    chosen.narrow(from - piece.offset, to - piece.offset);
                }
            }
            pieces.push(chosen);
        }
        pieces
    }

    /// Refuses parts that do not fit into memory until they are verified.
    fn check(&self, pieces: &[Piece]) -> Result<()> {
        let Delivery::WholeParts { memory } = self.delivery else { return Ok(()) };
        match pieces.iter().find(|piece| piece.verified && piece.length > memory) {
            None => Ok(()),
            Some(piece) => Err(Error::new(
                Code::InvalidOption,
                format!(
                    "verify = part holds each part in memory until it is verified, but part {} has {} bytes, more than a quarter of the memory ({memory} bytes)",
                    piece.number + 1,
                    piece.length
                ),
            )
            .with_hint("Use verify = end, restore into a file, or raise the process's option memory.")),
        }
    }
}

/// A download of one version.
pub(crate) struct Download {
    pieces: Vec<Piece>,
    delivery: Delivery,
    slice: u64,
    parallel: bool,
    pace: Pace,
    /// Maximum number of slices that are in flight, or delivered and not consumed yet.
    max_outstanding: usize,
    /// Current number of these slices.
    outstanding: usize,
    next: Slices,
    /// Slices of parts that have to be read again.
    rereads: VecDeque<(usize, Range)>,
    getting: BTreeMap<u32, (usize, Call<GetRange>)>,
    /// Parts with slices in flight, by the index of their piece.
    parts: BTreeMap<usize, Part>,
    accepts: VecDeque<Range>,
    /// Delivered slices that are not consumed yet, by their index.
    unconsumed: BTreeSet<u32>,
    /// Number of parts of the version.
    parts_in_all: usize,
    failed: Option<Error>,
    /// Number of the part that could not be read as it was stored.
    bad_part: Option<u32>,
}

impl Download {
    /// A download of these parts, in the order of the backup's bytes; `parallel` unless the store cannot serve several
    /// ranges at once.
    pub(crate) fn new(parts: &[Piece], request: &ReadRequest, parallel: bool) -> Download {
        Download::sliced(parts, request, parallel, SLICE)
    }

    fn sliced(parts: &[Piece], request: &ReadRequest, parallel: bool, slice: u64) -> Download {
        let parts_in_all = parts.len();
        let pieces = request.choose(parts);
        let failed = request.check(&pieces).err();
        let verified = pieces.iter().filter(|piece| piece.verified);
        let most = verified.map(|piece| count(piece.length, slice)).max().unwrap_or(1) as usize;
        let mut download = Download {
            delivery: request.delivery,
            slice,
            parallel,
            // Slices that are delivered in order are held in memory until their turn.
            pace: Pace::new(if request.delivery == Delivery::ByPosition { pace::FILE } else { pace::STREAM }),
            max_outstanding: 0,
            outstanding: 0,
            next: Slices::new(slice),
            rereads: VecDeque::new(),
            getting: BTreeMap::new(),
            parts: BTreeMap::new(),
            accepts: VecDeque::new(),
            unconsumed: BTreeSet::new(),
            parts_in_all,
            failed: None,
            bad_part: None,
            pieces,
        };
        if failed.is_some() {
            download.next.stop();
            download.failed = failed;
        }
        download.max_outstanding = match request.delivery {
            Delivery::ByPosition => usize::MAX,
            // The last slice of a part may be shorter than what is held back; then the one before it is held back too.
            Delivery::InOrder | Delivery::Unverified => download.width().max(HOLD_BACK.div_ceil(slice) as usize + 1),
            Delivery::WholeParts { .. } => download.width().max(most),
        };
        download
    }

    /// Maximum number of slices in flight.
    fn width(&self) -> usize {
        if self.parallel { self.pace.width() as usize } else { 1 }
    }

    pub(crate) fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) {
        match input {
            Input::Cancel => self.fail(session, Error::new(Code::Cancelled, "the download was cancelled")),
            Input::Suspend => self.fail(session, Error::new(Code::Suspended, "the download was suspended")),
            Input::SourceFailed(e) => self.fail(session, e.clone()),
            Input::RangeConsumed { index } => {
                if self.unconsumed.remove(index) {
                    self.outstanding -= 1;
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
                        self.arrived(session, at, range, length, digest);
                    }
                    Some((_, at, _, Err(e))) => {
                        let e = explain(e);
                        if matches!(e.code(), Code::DataMissing | Code::Damaged) {
                            self.set_bad(at);
                        }
                        self.fail(session, e);
                    }
                }
            }
        }
    }

    /// A slice arrived completely.
    fn arrived(&mut self, session: &mut Session, at: usize, range: Range, length: u64, digest: Digest) {
        let Some(piece) = self.pieces.get(at) else { return };
        if !piece.verified {
            if length == range.stored {
                self.accepts.push_back(range);
            } else {
                let why = format!("{length} bytes arrived, but {} were requested", range.stored);
                let e = Error::new(Code::BadReply, why).on("GetObject", session.bucket.name(), &piece.key);
                self.fail(session, e);
            }
            return;
        }
        let part = self.parts.entry(at).or_insert_with(|| Part::new(piece, self.slice));
        match part.take(piece, range, length, digest) {
            Some(Verdict::Right) => {
                self.accepts.extend(part.undelivered());
                self.parts.remove(&at);
            }
            Some(Verdict::Wrong(what)) => self.part_mismatch(session, at, what),
            None => {
                let ends = range.offset + range.length - piece.offset;
                let is_early = self.delivery == Delivery::InOrder || is_active(Mutation::DeliverUnverifiedPart);
                if is_early && length == range.stored && ends + HOLD_BACK <= piece.length {
                    part.deliver(range);
                    self.accepts.push_back(range);
                }
            }
        }
    }

    fn set_bad(&mut self, at: usize) {
        if self.failed.is_none() {
            self.bad_part = self.pieces.get(at).map(|piece| piece.number);
        }
    }

    /// The number of the part that could not be read as it was stored, if that is why the download failed.
    pub(crate) fn bad_part(&self) -> Option<u32> {
        self.bad_part
    }

    /// A part arrived completely, but differs from the stored one.
    fn part_mismatch(&mut self, session: &mut Session, at: usize, what: &str) {
        let (Some(part), Some(piece)) = (self.parts.get_mut(&at), self.pieces.get(at)) else { return };
        if part.any_delivered() {
            let why = format!("{}: {what}, and some of its bytes were already delivered", self.describe_part(piece));
            let e = Error::new(Code::Damaged, why).on("GetObject", session.bucket.name(), &piece.key).with_hint(
                "Use verify = part or restore into a file: a part is then read again before it counts as damaged.",
            );
            self.set_bad(at);
            self.fail(session, e);
        } else if part.readings + 1 < READINGS {
            let ranges: Vec<Range> = part.undelivered().collect();
            part.restart();
            let reading = part.readings;
            self.rereads.extend(ranges.into_iter().map(|range| (at, Range { done: 0, reading, ..range })));
        } else {
            let why = format!("{}: {what}, {READINGS} times", self.describe_part(piece));
            let e = Error::new(Code::Damaged, why).on("GetObject", session.bucket.name(), &piece.key);
            self.set_bad(at);
            self.fail(session, e);
        }
    }

    fn describe_part(&self, piece: &Piece) -> String {
        let (from, to) = (piece.offset, piece.offset + piece.length);
        let (number, all, key) = (piece.number + 1, self.parts_in_all, &piece.key);
        format!("part {number} of {all} (bytes {from} to {to} of the backup, in {key}) is damaged")
    }

    fn fail(&mut self, session: &mut Session, why: Error) {
        for (_, call) in self.getting.values_mut() {
            call.abandon(session);
        }
        self.getting.clear();
        self.rereads.clear();
        self.next.stop();
        self.failed.get_or_insert(why);
    }

    /// Starts the next slice, if there is room for one.
    fn start_next(&mut self) {
        if self.getting.len() >= self.width() {
            return;
        }
        let next = match self.rereads.pop_front() {
            Some(again) => Some(again),
            None if self.outstanding < self.max_outstanding || is_active(Mutation::IgnoreSlowReader) => {
                let next = self.next.next(&self.pieces);
                self.outstanding += usize::from(next.is_some());
                next
            }
            None => None,
        };
        if let Some((at, range)) = next
            && let Some(piece) = self.pieces.get(at)
        {
            let Piece { key, version_id, etag, encryption, .. } = piece.clone();
            let op = GetRange { key, version_id, etag, encryption, sequential: !self.parallel, range };
            self.getting.insert(range.index, (at, Call::new(op)));
        }
    }

    pub(crate) fn poll(&mut self, session: &mut Session, now: Now) -> Output<()> {
        if let Some(output) = session.pending() {
            return output;
        }
        // What was verified before the failure is still delivered.
        if let Some(range) = self.accepts.pop_front() {
            self.unconsumed.insert(range.index);
            return Output::Accept(range);
        }
        if let Some(e) = self.failed.take() {
            return Output::Done(Err(e));
        }
        match self.next_call(session, now) {
            Next::Wait(_) if self.is_over() => Output::Done(Ok(())),
            next => next.into(),
        }
    }

    /// What the requests for slices need next.
    fn next_call(&mut self, session: &mut Session, now: Now) -> Next {
        self.pace.start(now);
        self.pace.observe(session, now);
        self.start_next();
        let mut soonest: Option<u64> = None;
        for (_, call) in self.getting.values_mut() {
            match call.poll(session, now) {
                Next::Wait(at) => soonest = soonest.into_iter().chain(at).min(),
                next => return next,
            }
        }
        Next::Wait(soonest)
    }

    /// Whether all slices were read and consumed.
    fn is_over(&self) -> bool {
        self.next.is_over(&self.pieces) && self.getting.is_empty() && self.rereads.is_empty() && self.outstanding == 0
    }
}

/// Explains a refused range: according to the manifest, the data exists.
fn explain(e: Error) -> Error {
    match (e.code(), e.status()) {
        (Code::NotFound, _) => e.recode(Code::DataMissing),
        (_, 416) => e.recode(Code::Damaged).context("the object is shorter than when it was stored"),
        _ => e,
    }
}
