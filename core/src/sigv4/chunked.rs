//! Bodies with content encoding `aws-chunked`: each chunk's signature includes the previous one, and a trailer may follow.
//!
//! Sources: "Transferring Payload in Multiple Chunks", "Including trailing headers in chunked uploads", S3 API
//! reference. The request has the headers `content-encoding: aws-chunked`, `x-amz-decoded-content-length` and, with a
//! trailer, `x-amz-trailer`.

use sha2::{Digest as _, Sha256};

use super::canonical;
use super::headers::Headers;
use super::{ALGORITHM, key};

/// Signs the chunks of one body, in their order.
pub struct ChunkSigner {
    /// `None` if chunks are not signed.
    key: Option<key::Mac>,
    /// Date and scope, one per line.
    dated: String,
    /// The previous signature in hex.
    last: String,
    text: String,
}

impl ChunkSigner {
    pub(super) fn new(key: Option<key::Mac>, date: &str, scope: &str, seed: &str) -> ChunkSigner {
        ChunkSigner { key, dated: format!("{date}\n{scope}\n"), last: seed.to_owned(), text: String::new() }
    }

    /// The line before these bytes; they are followed by `\r\n`. An empty chunk is the last: its line is followed by the
    /// trailer, or else by `\r\n`.
    pub fn chunk(&mut self, bytes: &[u8]) -> String {
        let hash = if self.key.is_some() { Sha256::digest(bytes).into() } else { [0; 32] };
        self.chunk_hash(bytes.len() as u64, &hash)
    }

    /// The line before a chunk with this SHA-256, which is not used if chunks are not signed.
    pub fn chunk_hash(&mut self, length: u64, sha256: &[u8; 32]) -> String {
        const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        if self.key.is_none() {
            return format!("{length:x}\r\n");
        }
        self.sign("-PAYLOAD\n", &[EMPTY, "\n"], sha256);
        format!("{length:x};chunk-signature={}\r\n", self.last)
    }

    /// The trailing headers, their signature and the end of the body: everything after the last chunk's line.
    pub fn trailer(&mut self, trailers: &[(&str, &str)]) -> String {
        let mut headers = Headers::default();
        headers.set(trailers, &[], "");
        let lines = String::from_utf8_lossy(headers.lines());
        // The lines are signed with `\n`, and sent with `\r\n`.
        let mut wire = lines.replace('\n', "\r\n");
        if self.key.is_some() {
            self.sign("-TRAILER\n", &[], &Sha256::digest(lines.as_bytes()).into());
            wire += &format!("x-amz-trailer-signature:{}\r\n", self.last);
        }
        wire + "\r\n"
    }

    fn sign(&mut self, kind: &str, more: &[&str], hash: &[u8; 32]) {
        let Some(key) = &self.key else { return };
        let text = &mut self.text;
        text.clear();
        for part in [ALGORITHM, kind, &self.dated, &self.last, "\n"].iter().chain(more) {
            text.push_str(part);
        }
        canonical::push_hex(text, hash);
        let signature = key::tag(key, text.as_bytes());
        self.last.clear();
        canonical::push_hex(&mut self.last, &signature);
    }
}
