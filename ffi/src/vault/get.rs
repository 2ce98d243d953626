//! Reading a version as a stream.

use s3vault_core::Result;
use s3vault_core::transfer::{Delivery, ReadRequest};

use super::adopted::{self, Comparison};
use super::{PositionalReader, Version};
use crate::control::Control;
use crate::driver::download::StreamDownload;

/// A version that is being read.
pub struct Get {
    version: Version,
    delivery: Delivery,
    /// Started by the first read.
    stream: Option<StreamDownload>,
    /// Compares what was adopted without hashes.
    comparison: Option<Comparison>,
}

impl Get {
    pub(super) fn new(version: &Version, delivery: Delivery) -> Get {
        let comparison = Comparison::of(version.manifest());
        Get { version: version.clone(), delivery, stream: None, comparison }
    }

    /// Reads at most `buffer.len()` bytes. Returns 0 at the end, after everything was verified.
    pub fn read(&mut self, buffer: &mut [u8], control: &mut Control<'_>) -> Result<usize> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                if let Some(warning) = adopted::warning(self.version.manifest()) {
                    control.log(&warning)?;
                }
                let machine =
                    self.version.machine(ReadRequest { delivery: self.delivery, ..ReadRequest::default() })?;
                self.stream.insert(StreamDownload::start(self.version.host(), machine, control)?)
            }
        };
        let count = stream.read(buffer, control)?;
        if let Some(comparison) = &mut self.comparison {
            comparison.update(&buffer[..count]);
            if count == 0 && !buffer.is_empty() {
                comparison.end(self.version.manifest())?;
            }
        }
        Ok(count)
    }

    /// Returns a reader of any bytes of the version, independent of the stream.
    pub fn positional(&self) -> PositionalReader {
        PositionalReader::new(&self.version, self.delivery)
    }
}
