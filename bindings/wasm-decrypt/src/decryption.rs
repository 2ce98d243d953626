//! Decrypts a backup, segment by segment, as its stored bytes are read.

use s3vault_core::Error;
use s3vault_core::crypto::escrow::Escrow;
use s3vault_core::crypto::keyring::VerifyKeys;
use s3vault_core::crypto::segment::{OVERHEAD, PartSegments, SEGMENT, Segments};
use s3vault_core::vault::OfflineVersion;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::damage::{Damage, DamagedSegments, What};
use crate::error::to_js;
use crate::escrow_file::EscrowFile;

/// Stored length of a whole segment.
const STORED: u64 = (SEGMENT + OVERHEAD) as u64;

/// Decrypts a backup, from its first stored byte to its last. Memory does not depend on the size of the backup, except for
/// its manifest.
#[wasm_bindgen]
pub struct Decryption {
    segments: Segments,
    size: u64,
    /// Stored length of each part, in order.
    parts: Vec<u64>,
    next: Next,
    /// The stored bytes of the next segment, as far as they were received.
    stored: Vec<u8>,
    hasher: blake3::Hasher,
    damage: Damage,
    excess: u64,
    is_finished: bool,
}

/// The segment that the next byte belongs to.
#[derive(Default)]
struct Next {
    /// Index in the backup, from 0.
    segment: u32,
    /// Index of its part, from 0.
    part: usize,
    /// Decrypts the segments of its part; `None` after the last part.
    of_part: Option<PartSegments>,
    /// Stored bytes of its part from it on.
    rest: u64,
    /// Its offset in the stored bytes.
    start: u64,
    /// Its offset in the backup.
    offset: u64,
}

#[wasm_bindgen]
impl Decryption {
    /// Unwraps the data key of a backup: of its manifest `object`, with the keys of the escrow file, which `secret` opens:
    /// a passphrase in UTF-8, or the lines of a file of age identities. `locator` is needed only if the keys were rotated
    /// and the escrow file no longer has the one that the backup was stored with.
    ///
    /// A manifest whose signature is not by one of `public_keys` is refused; one without a signature is accepted, and then
    /// a locator without one is, too. A passphrase takes seconds and the memory that `EscrowFile.memory` says.
    ///
    /// Throws an `Error`, with the code as `name` and with a `hint`: `S3V_E_KEYRING` if the secret does not open the escrow
    /// file; `S3V_E_WRONG_KEY` if the escrow file does not have the key of this backup, which then is another vault's or was
    /// rotated; `S3V_E_UNTRUSTED` if the manifest, the locator or the wrapped key was changed or belongs to another
    /// version; `S3V_E_INVALID_ARGUMENT` if the backup is not one of envelope mode.
    #[wasm_bindgen(constructor)]
    pub fn new(
        object: &[u8],
        public_keys: &str,
        locator: Option<Vec<u8>>,
        escrow: &EscrowFile,
        secret: &[u8],
    ) -> Result<Decryption, JsValue> {
        Decryption::unlock(object, public_keys, locator.as_deref(), escrow, secret).map_err(|e| to_js(&e))
    }

    /// Size of the backup in bytes.
    #[wasm_bindgen(getter)]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Number of segments.
    #[wasm_bindgen(getter)]
    pub fn segments(&self) -> u32 {
        count(self.parts.iter().map(|part| part.div_ceil(STORED)).sum())
    }

    /// Adds the next stored bytes, in pieces of any size. Returns bytes of the backup, which follow those that were
    /// returned before: those of segments that are complete and authentic. After the first segment that is not, it returns
    /// nothing more, but continues to look for damage. Only `isComplete` says that what was returned is the backup.
    pub fn update(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut decrypted = Vec::with_capacity(self.stored.len() + bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(length) = self.length() else {
                self.excess += rest.len() as u64;
                break;
            };
            let now = rest.len().min(length - self.stored.len());
            self.stored.extend_from_slice(&rest[..now]);
            rest = &rest[now..];
            if self.stored.len() == length {
                self.open(&mut decrypted);
            }
        }
        decrypted
    }

    /// Returns the damaged segments, in order, including those whose bytes are missing. Call it after the last bytes.
    pub fn finish(&mut self) -> Vec<DamagedSegments> {
        self.is_finished = true;
        if !self.stored.is_empty() {
            self.stored.clear();
            self.close(Some(What::Truncated));
        }
        if self.next.of_part.is_some() {
            let (next, end) = (&self.next, self.parts.iter().sum());
            let numbers = (next.segment + 1, self.segments());
            self.damage.add(What::Missing, next.part as u32 + 1, numbers, (next.start, end));
            self.next.of_part = None;
        }
        self.damage.list()
    }

    /// Number of bytes after the last segment; if it is not 0, they do not belong to the backup.
    #[wasm_bindgen(getter)]
    pub fn excess(&self) -> u64 {
        self.excess
    }

    /// After `finish`: whether all of the backup was decrypted, and there was nothing else.
    #[wasm_bindgen(getter, js_name = isComplete)]
    pub fn is_complete(&self) -> bool {
        self.is_finished && self.damage.is_empty() && self.excess == 0
    }

    /// BLAKE3 of the decrypted backup, in hex; undefined unless it is complete.
    #[wasm_bindgen(getter)]
    pub fn hash(&self) -> Option<String> {
        self.is_complete().then(|| self.hasher.finalize().to_hex().to_string())
    }
}

impl Decryption {
    fn unlock(
        object: &[u8],
        public_keys: &str,
        locator: Option<&[u8]>,
        escrow: &EscrowFile,
        secret: &[u8],
    ) -> Result<Decryption, Error> {
        let keys = VerifyKeys::parse(public_keys)?;
        // Before the passphrase, which takes seconds.
        let version = OfflineVersion::open(object, locator, &keys)?;
        let escrow = Escrow::open(&escrow.bytes, secret)?;
        let mut decryption = Decryption {
            segments: version.segments(&escrow)?,
            size: version.manifest().size,
            parts: version.manifest().parts().map(|part| part.hash.length).collect(),
            next: Next::default(),
            stored: Vec::with_capacity(STORED as usize),
            hasher: blake3::Hasher::new(),
            damage: Damage::default(),
            excess: 0,
            is_finished: false,
        };
        decryption.enter_part();
        Ok(decryption)
    }

    /// Stored length of the next segment; `None` after the last one.
    fn length(&self) -> Option<usize> {
        self.next.of_part.as_ref().map(|_| self.next.rest.min(STORED) as usize)
    }

    /// Decrypts the next segment, which was received completely.
    fn open(&mut self, decrypted: &mut Vec<u8>) {
        let opened = self.next.of_part.as_ref().and_then(|part| part.open(self.next.offset, &mut self.stored));
        let what = match opened {
            Some(data) => {
                if self.damage.is_empty() {
                    self.hasher.update(data);
                    decrypted.extend_from_slice(data);
                }
                None
            }
            None => Some(What::Damaged),
        };
        self.stored.clear();
        self.close(what);
    }

    /// Continues with the segment after the next one.
    fn close(&mut self, what: Option<What>) {
        let length = self.next.rest.min(STORED);
        let next = &mut self.next;
        let (number, end) = (next.segment + 1, next.start + length);
        if let Some(what) = what {
            self.damage.add(what, next.part as u32 + 1, (number, number), (next.start, end));
        }
        (next.segment, next.start) = (number, end);
        next.offset += length - OVERHEAD as u64;
        next.rest -= length;
        if next.rest == 0 {
            next.part += 1;
            self.enter_part();
        }
    }

    fn enter_part(&mut self) {
        let next = &mut self.next;
        next.rest = self.parts.get(next.part).copied().unwrap_or(0);
        next.of_part = if next.rest > 0 { self.segments.of_part(next.part as u32) } else { None };
    }
}

fn count(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
