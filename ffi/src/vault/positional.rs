//! Reading a version at any position.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use s3vault_core::transfer::{Delivery, ReadRequest};
use s3vault_core::vault::{Locate, Located, Read};
use s3vault_core::{Code, Error, Result};

use super::Version;
use crate::control::Control;
use crate::driver::{self, download::StreamDownload};
use crate::entropy;

/// Reads a version at any position. Any number of threads may read at once.
pub struct PositionalReader {
    version: Version,
    /// [`Delivery::WholeParts`] or [`Delivery::Unverified`].
    delivery: Delivery,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    located: Option<Located>,
    /// The part that was verified last.
    part: Option<Arc<Part>>,
}

struct Part {
    start: u64,
    bytes: Vec<u8>,
}

impl PositionalReader {
    pub(super) fn new(version: &Version, delivery: Delivery) -> PositionalReader {
        // Without hashes, nothing of a part can be verified.
        let is_unverified = delivery == Delivery::InOrder || version.manifest().has_no_hashes();
        let delivery = if is_unverified { Delivery::Unverified } else { delivery };
        PositionalReader { version: version.clone(), delivery, known: Mutex::default() }
    }

    /// Reads `buffer.len()` bytes from `offset`; fewer only at the end of the backup.
    pub fn read(&self, offset: u64, buffer: &mut [u8], control: &mut Control<'_>) -> Result<usize> {
        control.check_cancel()?;
        control.one_call(|control| self.read_steps(offset, buffer, control))
    }

    fn read_steps(&self, offset: u64, buffer: &mut [u8], control: &mut Control<'_>) -> Result<usize> {
        let size = self.version.row().bytes;
        let count = size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let buffer = &mut buffer[..count];
        if self.delivery == Delivery::Unverified {
            self.fetch(offset, buffer, control)?;
            return Ok(count);
        }
        let mut done = 0;
        while done < count {
            let at = offset + done as u64;
            let part = self.part(at, control)?;
            let rest = &part.bytes[(at - part.start) as usize..];
            let length = rest.len().min(count - done);
            buffer[done..done + length].copy_from_slice(&rest[..length]);
            done += length;
        }
        Ok(count)
    }

    /// Returns the verified part that contains this byte.
    fn part(&self, at: u64, control: &mut Control<'_>) -> Result<Arc<Part>> {
        let holds = |start: u64, length: u64| (start..start + length).contains(&at);
        if let Some(part) = self.known().part.clone()
            && holds(part.start, part.bytes.len() as u64)
        {
            return Ok(part);
        }
        let place = self.version.manifest().parts().find(|part| holds(part.offset, part.length));
        let Some((start, length)) = place.map(|part| (part.offset, part.length)) else {
            return Err(Error::new(Code::Internal, format!("no part contains byte {at}")));
        };
        if let Delivery::WholeParts { memory } = self.delivery
            && length > memory
        {
            // Core returns the error, before any memory is used.
            self.fetch(start, &mut [0], control)?;
        }
        let mut bytes = vec![0; length as usize];
        self.fetch(start, &mut bytes, control)?;
        let part = Arc::new(Part { start, bytes });
        self.known().part = Some(part.clone());
        Ok(part)
    }

    /// Fills the buffer. If the data has moved, it is located again.
    fn fetch(&self, offset: u64, buffer: &mut [u8], control: &mut Control<'_>) -> Result<()> {
        let known = self.known().located.clone();
        if let Some(located) = known {
            match self.fill(&located, offset, buffer, control) {
                Err(e) if e.code() == Code::DataMissing => {}
                done => return done,
            }
        }
        let located = driver::run(self.version.host(), self.locate()?, control)?;
        self.known().located = Some(located.clone());
        self.fill(&located, offset, buffer, control)
    }

    fn locate(&self) -> Result<Locate> {
        Locate::new(self.version.core(), self.version.manifest().clone(), entropy::seed()?)
    }

    fn fill(&self, located: &Located, offset: u64, buffer: &mut [u8], control: &mut Control<'_>) -> Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        let bytes = Some(offset..offset + buffer.len() as u64);
        let request = ReadRequest { delivery: self.delivery, bytes, ..ReadRequest::default() };
        let machine = Read::located(self.version.core(), located, request, entropy::seed()?);
        let mut download = StreamDownload::start_at(self.version.host(), machine, offset, control)?;
        let mut done = 0;
        while done < buffer.len() {
            match download.read(&mut buffer[done..], control)? {
                0 => return Err(Error::new(Code::Internal, format!("only {done} bytes were read from byte {offset}"))),
                count => done += count,
            }
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
