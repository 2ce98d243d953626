//! Random bytes from the operating system, for keys, version ids and the seeds of jitter.

use ring::rand::{SecureRandom, SystemRandom};
use s3vault_core::crypto::data_key::DataKey;
use s3vault_core::{Code, Error, Result};
use zeroize::Zeroizing;

/// Returns new random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// Fills `bytes` with new random bytes.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<()> {
    let filled = SystemRandom::new().fill(bytes);
    filled.map_err(|_| Error::new(Code::Internal, "the operating system returned no random bytes"))
}

/// Returns a seed for jitter.
pub(crate) fn seed() -> Result<u64> {
    Ok(u64::from_le_bytes(bytes()?))
}

/// Returns a new data key.
pub(crate) fn data_key() -> Result<DataKey> {
    Ok(DataKey::new(*Zeroizing::new(bytes()?)))
}
