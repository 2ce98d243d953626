//! Parts that stay in memory until the machine releases them.

use std::collections::HashMap;
use std::sync::Arc;

use s3vault_core::checksum::{ContentMd5, Digester};
use s3vault_core::http::Part;
use s3vault_core::{Code, Error, PartRequest, Result};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot::Receiver;

use super::engine::Message;
use super::part_buffer::least_memory;
use crate::budget::{Account, Grant, Pool};
use crate::transport::body::Outgoing;
use crate::transport::frames::Frame;

/// The parts of one upload.
pub(super) struct HeldParts {
    parts: HashMap<u32, Vec<Arc<Frame>>>,
    /// Bytes of each frame that are not the backup's.
    overhead: usize,
    pool: Arc<Pool>,
    /// Opened with the first part, whose least length is its base.
    account: Option<Account>,
    engine: UnboundedSender<Message>,
}

impl HeldParts {
    pub(super) fn new(pool: Arc<Pool>, overhead: usize, engine: UnboundedSender<Message>) -> HeldParts {
        HeldParts { parts: HashMap::new(), overhead, pool, account: None, engine }
    }

    /// Asks for memory for the least length of a part.
    pub(super) fn ask(&mut self, request: &PartRequest) -> Result<Receiver<Grant>> {
        if request.length == 0 {
            return Err(Error::new(Code::Internal, format!("part {} was requested with length 0", request.number)));
        }
        let least = least_memory(request);
        self.account.get_or_insert_with(|| self.pool.account(least)).ask(least)
    }

    pub(super) fn insert(&mut self, number: u32, frames: Vec<Arc<Frame>>) {
        self.parts.insert(number, frames);
    }

    /// Drops a part. Returns its length in bytes of the backup.
    pub(super) fn release(&mut self, number: u32) -> u64 {
        let frames = self.parts.remove(&number).unwrap_or_default();
        frames.iter().map(|frame| frame.filled().len().saturating_sub(self.overhead) as u64).sum()
    }

    /// Hashes a part, and tells the machine.
    pub(super) fn hash(&self, part: &Part) -> Result<()> {
        let (number, frames, engine) = (part.number, self.held(part)?.to_vec(), self.engine.clone());
        tokio::task::spawn_blocking(move || {
            let (mut digester, mut md5) = (Digester::new(), ContentMd5::default());
            for frame in &frames {
                digester.update(frame.filled());
                md5.update(frame.filled());
            }
            // A released frame is free only when this task has dropped it.
            drop(frames);
            let _ = engine.send(Message::PartHashed { number, digest: digester.finish(), md5: md5.finish() });
        });
        Ok(())
    }

    /// The body of a request that sends a part.
    pub(super) fn body(&self, part: &Part) -> Result<Outgoing> {
        let body = Outgoing::frames(self.held(part)?);
        if body.length() == part.stored {
            return Ok(body);
        }
        let lengths = format!("{} bytes, not {}", body.length(), part.stored);
        Err(Error::new(Code::Internal, format!("part {} has {lengths}", part.number)))
    }

    /// The frames of a part that was not released.
    fn held(&self, part: &Part) -> Result<&[Arc<Frame>]> {
        self.parts
            .get(&part.number)
            .map(Vec::as_slice)
            .ok_or_else(|| Error::new(Code::Internal, format!("part {} is to be sent, but was released", part.number)))
    }
}
