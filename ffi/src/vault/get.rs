//! Reading a version as a stream.

use s3vault_core::Result;
use s3vault_core::vault::Read;

use super::Vault;
use crate::control::Control;
use crate::driver::download::StreamDownload;

/// A version that is being read. Only verified bytes come out of it.
pub struct Get(StreamDownload);

impl Get {
    pub(super) fn open(vault: &Vault, machine: Read, control: &mut Control<'_>) -> Result<Get> {
        Ok(Get(StreamDownload::start(&vault.0.client.host, machine, control)?))
    }

    /// Reads at most `buffer.len()` bytes; 0 is the end, after all was verified.
    pub fn read(&mut self, buffer: &mut [u8], control: &mut Control<'_>) -> Result<usize> {
        self.0.read(buffer, control)
    }
}
