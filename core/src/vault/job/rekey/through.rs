//! Data that passes through this machine, where the store does not copy what it encrypts with customer keys (Ceph), and the
//! caller allows it: a piece is read under the old data key and sent under the new one, to the key that a copy would have.
//!
//! ```text
//!  room in memory ──▶ GET of the piece ──▶ PutObject, of a small object; otherwise UploadPart
//! ```
//! A later run continues the upload as that of a copy: the parts that it has are not sent again. What was sent is then read
//! back and compared with the manifest, as a copy is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::super::work::{Env, Task, WorkSteps};
use super::copy::Large;
use super::{COPIES, RekeyRequest, Rekeyed};
use crate::error::Result;
use crate::machine::Input;
use crate::op::{
    Asking, Call, Calling, CompletedPart, Content, Context, GetObject, Next, Operation, PutObject, PutReply, Session,
    Step, UploadPartBytes, UploadedPart,
};
use crate::time::Now;
use crate::vault::Vid;

/// Length of a piece in bytes, unless the object would have too many of them.
pub(super) const PIECE: u64 = 8 << 20;
/// Most bytes of pieces that a job holds in memory. A piece that is longer passes alone.
const HELD: u64 = 32 << 20;
/// Most pieces of an object that are prepared at the same time.
const PREPARED: usize = 64;

impl Rekeyed {
    /// Why a version is left as it is that the store cannot copy, for the reason `why`.
    pub(super) fn why_not_sent(&self, why: &str) -> String {
        let bytes: u64 = self.copies.iter().filter(|copy| !copy.is_done).map(|copy| copy.size).sum();
        format!(
            "left as it is, since {why}. With through_client = true its {bytes} bytes pass through this machine, which reads and sends them"
        )
    }
}

impl WorkSteps {
    /// Whether data may pass through this machine.
    pub(super) fn may_send(&self) -> bool {
        matches!(&self.env.task, Task::Rekey(RekeyRequest { through_client: true, .. }))
    }

    /// Sends each extent that the store cannot copy and that is one piece.
    pub(super) fn send_small(&mut self) -> Step<WorkSteps> {
        if !self.may_send() {
            return self.next_large();
        }
        let longest = PIECE.min(self.env.vault.account().profile().max_part_size);
        let mut pieces = Vec::new();
        for (vid, extent, version) in self.to_copy() {
            let size = version.copies[extent].size;
            if size > longest || self.why_not_copied(size).is_none() {
                continue;
            }
            let (key, headers) = (version.locator.data.extent(extent + 1), version.headers(extent, self.clock));
            let encryption = version.encryption();
            let put = move |bytes| PutObject { encryption, ..PutObject::new(key, Content::Data(bytes), headers) };
            pieces.push(Piece::new(&self.env, (vid, extent, 1), version, (0, size), put));
        }
        self.note_sent(pieces.iter().map(|piece| piece.of.0).collect());
        let sent = |steps: &mut Self, _: &mut Context<'_>, piece: &Piece<PutObject>, answer: Result<PutReply>| {
            let (vid, extent, _) = piece.of;
            match answer {
                Ok(reply) => {
                    steps.copied(vid, extent, reply.version_id);
                    Ok(())
                }
                Err(e) => steps.refused(vid, NOT_SENT, e),
            }
        };
        Step::each_asking(pieces, COPIES, sent, |steps, _| steps.next_large())
    }

    /// Sends parts that the upload does not have.
    pub(super) fn send_parts(&mut self, large: Large, missing: Vec<u32>) -> Step<WorkSteps> {
        let Some(version) = self.rekeying.versions.get(&large.vid) else { return self.next_large() };
        let pieces: Vec<Piece<UploadPartBytes>> = missing
            .into_iter()
            .take(PREPARED)
            .map(|number| {
                let (key, upload_id, encryption) = (large.key.clone(), large.upload_id.clone(), version.encryption());
                let part = move |bytes| UploadPartBytes { key, upload_id, number, bytes, encryption };
                Piece::new(&self.env, (large.vid, large.extent, number), version, large.range(number), part)
            })
            .collect();
        self.note_sent(vec![large.vid]);
        let sent =
            |steps: &mut Self, _: &mut Context<'_>, piece: &Piece<UploadPartBytes>, answer: Result<UploadedPart>| {
                let (vid, _, number) = piece.of;
                match answer {
                    Ok(reply) => {
                        steps.rekeying.parts_copied.push(CompletedPart { number, etag: reply.etag, crc64nvme: None });
                        Ok(())
                    }
                    // Another run has completed the upload, or the version was removed: the copy tells.
                    Err(e) if e.status() == 404 => Ok(()),
                    Err(e) => steps.refused(vid, NOT_SENT, e),
                }
            };
        Step::each_asking(pieces, COPIES, sent, move |steps, _| steps.parts_made(large))
    }

    fn note_sent(&mut self, versions: Vec<Vid>) {
        for vid in versions {
            if let Some(version) = self.rekeying.versions.get_mut(&vid) {
                version.is_sent = true;
            }
        }
    }
}

/// What failed where a piece was not read, or not sent.
const NOT_SENT: &str = "its data did not pass through this machine";

/// Memory that a piece has been given, in bytes.
struct Held {
    env: Arc<Env>,
    bytes: u64,
}

impl Held {
    /// `None` while other pieces of the job have too much.
    fn take(env: &Arc<Env>, bytes: u64) -> Option<Held> {
        let more = |held: u64| (held == 0 || held.saturating_add(bytes) <= HELD).then_some(held + bytes);
        env.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Held { env: env.clone(), bytes })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.env.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A piece of an extent, or all of it, on its way through this machine.
struct Piece<O> {
    /// The version, the extent, numbered from 0, and the part, numbered from 1.
    of: (Vid, usize, u32),
    length: u64,
    env: Arc<Env>,
    /// Kept as long as the piece is.
    held: Option<Held>,
    stage: Stage<O>,
}

enum Stage<O> {
    /// It is read; then this makes the operation that sends it.
    Read(Box<Call<GetObject>>, Box<dyn FnOnce(Bytes) -> O + Send>),
    Send(Box<Call<O>>),
    Over,
}

impl<O: Operation> Piece<O> {
    /// A piece of the old data of a version, from this offset and of this length, that the operation sends which `send` makes.
    fn new(
        env: &Arc<Env>,
        of: (Vid, usize, u32),
        version: &Rekeyed,
        (offset, length): (u64, u64),
        send: impl FnOnce(Bytes) -> O + Send + 'static,
    ) -> Piece<O> {
        let stage = match length {
            // No range of an empty object can be satisfied.
            0 => Stage::Send(Box::new(Call::new(send(Bytes::new())))),
            _ => {
                let (key, version_id) = version.source(of.1);
                let (limit, range) = (usize::try_from(length).unwrap_or(usize::MAX), Some((offset, length)));
                let get = GetObject { key, limit, version_id, range, encryption: version.source_encryption() };
                Stage::Read(Box::new(Call::new(get)), Box::new(send))
            }
        };
        Piece { of, length, env: env.clone(), held: None, stage }
    }
}

impl<O: Operation> Calling for Piece<O> {
    fn poll(&mut self, session: &mut Session, now: Now) -> Next {
        if self.held.is_none() {
            self.held = Held::take(&self.env, self.length);
        }
        match &mut self.stage {
            // The end of another piece is an input of the machine, and after each it is polled again.
            _ if self.held.is_none() => Next::Wait(None),
            Stage::Read(call, _) => call.poll(session, now),
            Stage::Send(call) => call.poll(session, now),
            Stage::Over => Next::Wait(None),
        }
    }

    fn abandon(&mut self, session: &mut Session) {
        match &mut self.stage {
            Stage::Read(call, _) => call.abandon(session),
            Stage::Send(call) => call.abandon(session),
            Stage::Over => {}
        }
    }
}

impl<O: Operation> Asking for Piece<O> {
    type Answer = Result<O::Reply>;

    fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) -> Option<Result<O::Reply>> {
        let read = match &mut self.stage {
            Stage::Read(call, _) => call.handle(session, now, input)?,
            Stage::Send(call) => return call.handle(session, now, input),
            Stage::Over => return None,
        };
        match (read, std::mem::replace(&mut self.stage, Stage::Over)) {
            (Ok(bytes), Stage::Read(_, send)) => {
                self.stage = Stage::Send(Box::new(Call::new(send(bytes.into()))));
                None
            }
            (Err(e), _) => Some(Err(e)),
            (Ok(_), _) => None,
        }
    }
}
