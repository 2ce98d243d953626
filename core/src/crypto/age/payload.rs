//! The payload: a nonce of 16 bytes, then chunks of 64 KiB, each encrypted with ChaCha20-Poly1305 (RFC 8439) under a nonce
//! that counts them and says which is the last one.

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use zeroize::Zeroizing;

use super::header::derive;
use super::{Failure, FileKey, Random};
use crate::error::{Code, Error, Result};

const NONCE: usize = 16;
const CHUNK: usize = 64 << 10;
const TAG: usize = 16;

fn cipher(file_key: &FileKey, nonce: &[u8]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new((&*derive(&**file_key, nonce, b"payload")).into())
}

/// 11 bytes that count the chunks, big-endian, and one that is 1 in the last chunk.
fn chunk_nonce(number: usize, is_last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&(number as u64).to_be_bytes());
    nonce[11] = u8::from(is_last);
    nonce
}

pub(super) fn encrypt(content: &[u8], file_key: &FileKey, random: Random<'_>, file: &mut Vec<u8>) -> Result<()> {
    let mut nonce = [0; NONCE];
    random(&mut nonce)?;
    file.extend_from_slice(&nonce);
    let cipher = cipher(file_key, &nonce);
    // Without content there is one chunk, which is empty.
    let chunks = content.len().div_ceil(CHUNK).max(1);
    for number in 0..chunks {
        let start = file.len();
        file.extend_from_slice(&content[number * CHUNK..content.len().min((number + 1) * CHUNK)]);
        let nonce = chunk_nonce(number, number + 1 == chunks);
        let tag = cipher.encrypt_inout_detached(&nonce.into(), b"", (&mut file[start..]).into());
        file.extend_from_slice(&tag.map_err(|_| too_long())?);
    }
    Ok(())
}

/// ChaCha20-Poly1305 refuses only more than 256 GiB.
pub(super) fn too_long() -> Error {
    Error::new(Code::Internal, "the content is too long for ChaCha20-Poly1305")
}

pub(super) fn decrypt(payload: &[u8], file_key: &FileKey) -> std::result::Result<Zeroizing<Vec<u8>>, Failure> {
    let (nonce, sealed) = payload.split_at_checked(NONCE).ok_or(Failure::Header)?;
    let cipher = cipher(file_key, nonce);
    let chunks = sealed.len().div_ceil(CHUNK + TAG).max(1);
    let mut content = Zeroizing::new(Vec::with_capacity(sealed.len()));
    for number in 0..chunks {
        let chunk = &sealed[number * (CHUNK + TAG)..sealed.len().min((number + 1) * (CHUNK + TAG))];
        let (data, tag) = chunk.len().checked_sub(TAG).map(|end| chunk.split_at(end)).ok_or(Failure::Payload)?;
        if data.is_empty() && number > 0 {
            return Err(Failure::Payload);
        }
        let start = content.len();
        content.extend_from_slice(data);
        let tag: [u8; TAG] = tag.try_into().map_err(|_| Failure::Payload)?;
        let nonce = chunk_nonce(number, number + 1 == chunks);
        cipher
            .decrypt_inout_detached(&nonce.into(), b"", (&mut content[start..]).into(), &tag.into())
            .map_err(|_| Failure::Payload)?;
    }
    Ok(content)
}
