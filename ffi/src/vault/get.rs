//! Reading a version as a stream.

use s3vault_core::Result;
use s3vault_core::transfer::{Delivery, ReadRequest};

use super::{Random, Version};
use crate::control::Control;
use crate::driver::download::StreamDownload;

/// A version that is being read.
pub struct Get {
    version: Version,
    delivery: Delivery,
    /// From the first read on.
    stream: Option<StreamDownload>,
}

impl Get {
    pub(super) fn new(version: &Version, delivery: Delivery) -> Get {
        Get { version: version.clone(), delivery, stream: None }
    }

    /// Reads at most `buffer.len()` bytes; 0 is the end, after all was verified.
    pub fn read(&mut self, buffer: &mut [u8], control: &mut Control<'_>) -> Result<usize> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let machine =
                    self.version.machine(ReadRequest { delivery: self.delivery, ..ReadRequest::default() })?;
                self.stream.insert(StreamDownload::start(self.version.host(), machine, control)?)
            }
        };
        stream.read(buffer, control)
    }

    /// Reads any bytes of the version, beside the stream.
    pub fn random(&self) -> Random {
        Random::new(&self.version, self.delivery)
    }
}
