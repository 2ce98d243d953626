//! A process: a vault, the machine that works on it, and the driver of that machine.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use s3vault_core::crypto::segment::Segments;
use s3vault_core::http::{Body, Part, Range, ReplyBody, ReplyHead, Request, TransportFailure};
use s3vault_core::time::Now;
use s3vault_core::vault::Vault;
use s3vault_core::{Code, Input, Output, PartRequest, Result};

use crate::content::{Chunk, Content, mix};
use crate::network::IDLE_MS;
use crate::sealing::{Sealing, open};
use crate::task::{Ended, Machine};
use crate::wire::{Answer, Wire};

/// Payload that a machine stores or reads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Source {
    /// Which source.
    pub(crate) number: u32,
    /// Length in bytes.
    pub(crate) length: u64,
    /// It is read by position.
    pub(crate) is_file: bool,
}

impl Source {
    fn read(&self, offset: u64, length: u64) -> Content {
        let length = length.min(self.length.saturating_sub(offset));
        if length == 0 {
            return Content::default();
        }
        Content::chunk(Chunk { source: self.number, edition: 0, offset, length, flipped: false })
    }
}

/// A machine at work.
pub(crate) struct Process {
    pub(crate) vault: Arc<Vault>,
    machine: Option<Machine>,
    /// Requests that it has sent and that have not arrived, each with the time at which its connection is dropped.
    pub(crate) requests: VecDeque<(Request, u64)>,
    /// When it wants to be polled.
    pub(crate) wake: Option<u64>,
    /// The payload of what it does.
    pub(crate) source: Source,
    /// How its parts are encrypted.
    sealing: Option<Sealing>,
    /// How the ranges that it reads are decrypted.
    segments: Option<Arc<Segments>>,
    /// The checkpoint's file.
    pub(crate) disk: Vec<u8>,
    /// Received bytes of ranges, by index and reading.
    ranges: BTreeMap<(u32, u32), Content>,
    /// Bytes that were delivered.
    delivered: u64,
    /// A delivered range has other bytes than the source.
    pub(crate) differs: Option<u64>,
}

impl Process {
    pub(crate) fn new(vault: Arc<Vault>) -> Process {
        Process {
            vault,
            machine: None,
            requests: VecDeque::new(),
            wake: None,
            source: Source::default(),
            sealing: None,
            segments: None,
            disk: Vec::new(),
            ranges: BTreeMap::new(),
            delivered: 0,
            differs: None,
        }
    }

    /// Starts a machine. Returns its result if it ends at once.
    pub(crate) fn start(&mut self, now: Now, machine: Machine) -> Option<Result<Ended>> {
        let key = if let Machine::Put(put) = &machine { put.seals_with() } else { None };
        self.sealing = key.map(|key| Sealing::new(key, mix(u64::from(self.source.number), now.mono_ms)));
        (self.machine, self.segments) = (Some(machine), None);
        (self.delivered, self.differs) = (0, None);
        self.ranges.clear();
        self.drive(now, None)
    }

    /// Whether all bytes of the source were delivered.
    pub(crate) fn has_all(&self) -> bool {
        self.delivered == self.source.length && self.differs.is_none()
    }

    /// Whether the source was delivered, and what arrived was encrypted.
    pub(crate) fn has_decrypted(&self) -> bool {
        self.segments.is_some() && self.has_all()
    }

    /// Hands an input to the machine, and does what it says until it waits or ends.
    pub(crate) fn drive(&mut self, now: Now, input: Option<Input<'_>>) -> Option<Result<Ended>> {
        let mut machine = self.machine.take()?;
        if let Some(input) = input {
            machine.handle(now, input);
        }
        loop {
            let answer = match machine.poll(now) {
                Output::Send(request) => {
                    let idle = now.mono_ms + IDLE_MS;
                    let drop_at = request.drop_at.map_or(idle, |at| at.min(idle));
                    self.requests.push_back((request, drop_at));
                    continue;
                }
                Output::Abandon(id) => {
                    self.requests.retain(|(request, _)| request.id != id);
                    continue;
                }
                Output::NeedPart(PartRequest { number, offset, length, .. }) => {
                    let content = self.source.read(offset, length);
                    let length = content.length();
                    let last = offset + length == self.source.length;
                    let (digest, salt) = match &mut self.sealing {
                        Some(sealing) => {
                            let (stored, salt) = sealing.seal(number, offset, &content, last);
                            (Some(stored.digest()), Some(salt))
                        }
                        None => (Some(content.digest()), None),
                    };
                    Input::PartReady { number, length, digest, last, salt }
                }
                Output::HashPart(Part { number, offset, length, .. }) => {
                    let content = self.source.read(offset, length);
                    Input::PartHashed { number, digest: content.digest(), md5: content.md5() }
                }
                Output::Save { record, restart } => {
                    if restart {
                        self.disk.clear();
                    }
                    self.disk.extend_from_slice(&record);
                    Input::Saved
                }
                Output::Accept(range) => {
                    self.accept(range);
                    Input::RangeConsumed { index: range.index }
                }
                Output::NeedCredentials { .. } => Input::CredentialsKept(None),
                Output::ReleasePart(number) => {
                    self.sealing.iter_mut().for_each(|sealing| sealing.release(number));
                    continue;
                }
                Output::Segments(segments) => {
                    self.segments = Some(segments);
                    continue;
                }
                Output::Start(_) | Output::Event(_) => continue,
                Output::Wait(until) => {
                    self.wake = until;
                    self.machine = Some(machine);
                    return None;
                }
                Output::Done(result) => {
                    self.requests.clear();
                    return Some(result);
                }
            };
            machine.handle(now, answer);
        }
    }

    /// The body of a request, as it arrives.
    pub(crate) fn wire(&self, request: &Request) -> Wire {
        let (content, trailer) = match &request.body {
            Body::Empty => (Content::default(), None),
            Body::Bytes(bytes) => (Content::Bytes(bytes.clone()), None),
            Body::Part(part) if let Some(sealing) = &self.sealing => (sealing.part(part.number).clone(), None),
            Body::Part(part) => {
                let content = self.source.read(part.offset, part.length);
                let trailer = part.digest.is_none().then(|| content.digest().crc64nvme);
                (content, trailer)
            }
        };
        Wire::new(request, content, trailer)
    }

    /// Hands the answer to a request to the machine.
    pub(crate) fn answered(&mut self, now: Now, request: &Request, answer: Answer) -> Option<Result<Ended>> {
        let id = request.id;
        if let Body::Part(part) = &request.body
            && part.digest.is_none()
        {
            let digest = self.source.read(part.offset, part.length).digest();
            let ended = self.drive(now, Some(Input::PartSent { id, digest }));
            debug_assert!(ended.is_none(), "a request in progress ends nothing");
        }
        let Answer { status, headers, body } = answer;
        if let Some(result) = self.drive(now, Some(Input::Head { id, head: ReplyHead { status, headers } })) {
            return Some(result);
        }
        match request.reply {
            ReplyBody::Range(range) if status < 300 => {
                let kept = self.ranges.entry((range.index, range.reading)).or_default();
                *kept = Content::concat([&kept.slice(0, range.done), &body].into_iter());
                let (length, digest) = (kept.length(), kept.digest_of(range.hash));
                self.drive(now, Some(Input::RangeEnd { id, length, digest }))
            }
            _ => {
                if let Some(result) = self.drive(now, Some(Input::Body { id, bytes: body.as_bytes() })) {
                    return Some(result);
                }
                self.drive(now, Some(Input::End { id }))
            }
        }
    }

    /// A request is lost with its connection.
    pub(crate) fn dropped(&mut self, now: Now, request: &Request) -> Option<Result<Ended>> {
        let detail = "the connection was dropped".to_owned();
        let failure = TransportFailure { code: Code::ConnectionLost, maybe_sent: true, detail };
        self.drive(now, Some(Input::Failed { id: request.id, failure }))
    }

    fn accept(&mut self, range: Range) {
        let kept = self.ranges.get(&(range.index, range.reading)).cloned().unwrap_or_default();
        let source = self.source.read(range.offset, range.length);
        let is_same = match &self.segments {
            Some(segments) => open(segments, range, &kept).is_some_and(|opened| opened == source.to_vec()),
            None => kept == source,
        };
        if !is_same {
            self.differs.get_or_insert(range.offset);
        }
        self.delivered += range.length;
    }
}
