//! Checks the data part by part, as it is read.

use std::rc::Rc;

use s3vault_core::checksum::Digester;
use s3vault_core::vault::manifest::PartHash;
use s3vault_core::{Code, Error};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::to_js;
use crate::verification::Verification;

/// Checks consecutive parts, or all of them: the length, CRC64NVME and BLAKE3 of each. Several of these, in workers, can
/// share the parts of a backup.
#[wasm_bindgen]
pub struct PartsCheck {
    parts: Rc<[PartHash]>,
    /// Index of the part that the next byte belongs to.
    next: usize,
    /// Index after the last part to check.
    end: usize,
    /// Bytes received of the part `next`.
    filled: u64,
    digester: Digester,
    excess: u64,
    bad: Vec<u32>,
}

#[wasm_bindgen]
impl PartsCheck {
    /// Checks `count` parts of the backup, starting at the part with the number `first` (from 1).
    #[wasm_bindgen(constructor)]
    pub fn new(verification: &Verification, first: u32, count: u32) -> Result<PartsCheck, JsValue> {
        PartsCheck::over(verification.parts(), first, count).map_err(|e| to_js(&e))
    }

    /// Adds the next bytes, in pieces of any size, from the first byte of the first part on.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(part) = self.parts[..self.end].get(self.next) else {
                self.excess += rest.len() as u64;
                return;
            };
            let room = part.length - self.filled;
            let now = rest.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            self.digester.update(&rest[..now]);
            self.filled += now as u64;
            rest = &rest[now..];
            if now as u64 == room {
                self.close();
            }
        }
    }

    /// Returns the numbers (from 1) of the damaged parts, in order, including parts whose bytes are missing. Call it
    /// once, after the last bytes.
    pub fn finish(&mut self) -> Vec<u32> {
        while self.next < self.end {
            self.close();
        }
        std::mem::take(&mut self.bad)
    }

    /// Number of bytes after the last part; if it is not 0, the file is longer than the backup.
    #[wasm_bindgen(getter)]
    pub fn excess(&self) -> u64 {
        self.excess
    }
}

impl PartsCheck {
    fn over(parts: Rc<[PartHash]>, first: u32, count: u32) -> Result<PartsCheck, Error> {
        let next = (first as usize).checked_sub(1);
        let end = next.and_then(|next| next.checked_add(count as usize)).filter(|end| *end <= parts.len());
        let (Some(next), Some(end)) = (next, end) else {
            let why = format!("the manifest has {} parts; {count} from part {first} on were requested", parts.len());
            return Err(Error::new(Code::InvalidArgument, why)
                .with_hint("Number the parts from 1. A manifest whose verdict is bad has no parts to check."));
        };
        Ok(PartsCheck { parts, next, end, filled: 0, digester: Digester::new(), excess: 0, bad: Vec::new() })
    }

    fn close(&mut self) {
        if !self.parts[self.next].matches(self.filled, &self.digester.finish()) {
            self.bad.push(self.next as u32 + 1);
        }
        self.next += 1;
        self.filled = 0;
        self.digester = Digester::new();
    }
}
