//! Reading a version as a stream.

use s3vault_core::Result;
use s3vault_core::transfer::{Taking, Want};

use super::{Random, Version};
use crate::control::Control;
use crate::driver::download::StreamDownload;

/// A version that is being read.
pub struct Get {
    version: Version,
    taking: Taking,
    /// From the first read on.
    stream: Option<StreamDownload>,
}

impl Get {
    pub(super) fn new(version: &Version, taking: Taking) -> Get {
        Get { version: version.clone(), taking, stream: None }
    }

    /// Reads at most `buffer.len()` bytes; 0 is the end, after all was verified.
    pub fn read(&mut self, buffer: &mut [u8], control: &mut Control<'_>) -> Result<usize> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let machine = self.version.machine(Want { taking: self.taking, ..Want::default() })?;
                self.stream.insert(StreamDownload::start(self.version.host(), machine, control)?)
            }
        };
        stream.read(buffer, control)
    }

    /// Reads any bytes of the version, beside the stream.
    pub fn random(&self) -> Random {
        Random::new(&self.version, self.taking)
    }
}
