//! The header: the stanzas of those who can open the file, and a MAC with a key that is derived from the file key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::armor::COLUMNS;
use super::{Failure, FileKey};
use crate::crypto::hkdf::hkdf;

const VERSION: &[u8] = b"age-encryption.org/v1";
/// What any version starts with.
const ANY_VERSION: &[u8] = b"age-encryption.org/";
const STANZA: &[u8] = b"-> ";
/// Before the MAC, which covers it and all before it.
const MAC_LINE: &[u8] = b"---";

type Mac = Hmac<Sha256>;

/// The file key, wrapped for one who can open the file.
pub(super) struct Stanza {
    pub(super) kind: String,
    pub(super) arguments: Vec<String>,
    pub(super) body: Vec<u8>,
}

pub(super) struct Header {
    pub(super) stanzas: Vec<Stanza>,
}

impl Header {
    pub(super) fn has_passphrase(&self) -> bool {
        self.stanzas.iter().any(|stanza| stanza.kind == super::recipient::SCRYPT)
    }

    /// The header, with its MAC.
    pub(super) fn to_bytes(&self, file_key: &FileKey) -> Vec<u8> {
        let mut bytes = [VERSION, b"\n"].concat();
        for stanza in &self.stanzas {
            bytes.extend_from_slice(STANZA);
            bytes.extend_from_slice(stanza.kind.as_bytes());
            for argument in &stanza.arguments {
                bytes.push(b' ');
                bytes.extend_from_slice(argument.as_bytes());
            }
            bytes.push(b'\n');
            let body = STANDARD_NO_PAD.encode(&stanza.body);
            for line in body.as_bytes().chunks(COLUMNS) {
                bytes.extend_from_slice(line);
                bytes.push(b'\n');
            }
            // The last line is always shorter than the others.
            if body.len().is_multiple_of(COLUMNS) {
                bytes.push(b'\n');
            }
        }
        bytes.extend_from_slice(MAC_LINE);
        let mac = mac(&bytes, file_key).finalize().into_bytes();
        bytes.extend_from_slice(format!(" {}\n", STANDARD_NO_PAD.encode(mac)).as_bytes());
        bytes
    }

    /// Parses the header at the start of a file. Returns its length, too.
    pub(super) fn parse(file: &[u8]) -> Result<(Header, usize), Failure> {
        let mut lines = Lines { file, at: 0 };
        match lines.next() {
            Some(VERSION) => {}
            Some(line) if line.starts_with(ANY_VERSION) => return Err(Failure::Version),
            _ => return Err(Failure::Header),
        }
        let mut stanzas = Vec::new();
        loop {
            let line = lines.next().ok_or(Failure::Header)?;
            if let Some(words) = line.strip_prefix(STANZA) {
                stanzas.push(Stanza::parse(words, &mut lines)?);
            } else if line.starts_with(MAC_LINE) && !stanzas.is_empty() {
                mac_of(line)?;
                return Ok((Header { stanzas }, lines.at));
            } else {
                return Err(Failure::Header);
            }
        }
    }
}

impl Stanza {
    /// Parses the words behind `-> `, and the lines of the body that follow.
    fn parse(words: &[u8], lines: &mut Lines<'_>) -> Result<Stanza, Failure> {
        let words = std::str::from_utf8(words).map_err(|_| Failure::Header)?;
        let mut words = words.split(' ').map(str::to_owned);
        let kind = words.next().unwrap_or_default();
        let arguments: Vec<String> = words.collect();
        let is_word = |word: &String| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
        if ![&kind].into_iter().chain(&arguments).all(is_word) {
            return Err(Failure::Header);
        }
        let mut base64 = Vec::new();
        loop {
            let line = lines.next().filter(|line| line.len() <= COLUMNS).ok_or(Failure::Header)?;
            base64.extend_from_slice(line);
            if line.len() < COLUMNS {
                break;
            }
        }
        let body = STANDARD_NO_PAD.decode(base64).map_err(|_| Failure::Header)?;
        Ok(Stanza { kind, arguments, body })
    }
}

/// The lines of a header, without their `\n`.
struct Lines<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = &self.file[self.at..];
        let length = memchr::memchr(b'\n', rest)?;
        self.at += length + 1;
        Some(&rest[..length])
    }
}

/// The MAC that the last line of a header has.
fn mac_of(line: &[u8]) -> Result<[u8; 32], Failure> {
    let base64 = line.strip_prefix(b"--- ").ok_or(Failure::Header)?;
    STANDARD_NO_PAD.decode(base64).ok().and_then(|mac| mac.try_into().ok()).ok_or(Failure::Header)
}

/// Verifies the MAC of a header, in constant time.
pub(super) fn check_mac(header: &[u8], file_key: &FileKey) -> Result<(), Failure> {
    let start = memchr::memrchr(b'\n', &header[..header.len() - 1]).map_or(0, |end| end + 1);
    let expected = mac_of(header[start..].trim_ascii_end())?;
    let covered = &header[..start + MAC_LINE.len()];
    mac(covered, file_key).verify_slice(&expected).map_err(|_| Failure::Mac)
}

fn mac(covered: &[u8], file_key: &FileKey) -> Mac {
    // HMAC takes keys of any length.
    let key = derive(&**file_key, b"", b"header");
    let mut mac = Mac::new_from_slice(&*key).unwrap_or_else(|_| Mac::new(&hmac::digest::Key::<Mac>::default()));
    mac.update(covered);
    mac
}

/// A key of 32 bytes, by HKDF-SHA256.
pub(super) fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    hkdf(secret, salt, info, &mut *key);
    key
}
