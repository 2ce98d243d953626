//! age files (<https://age-encryption.org/v1>): the format of the escrow, which any age tool opens and makes, for a
//! passphrase or for recipients with an X25519 key (`age1...`).
//!
//! ```text
//!  header:   a stanza for each recipient, with the file key wrapped for it, and a MAC
//!  payload:  chunks of 64 KiB, encrypted with the file key
//! ```
//! Post-quantum recipients, hardware tokens, SSH keys and plugins are not supported: their stanzas are skipped, and the age
//! tool opens such a file.

mod armor;
mod header;
mod payload;
mod recipient;

use zeroize::Zeroizing;

pub use recipient::{Identities, MOST_WORK, Passphrase, Recipients};

use crate::error::{Code, Error, Result};
use header::Header;

/// A key of a file, which its header has wrapped for each recipient.
type FileKey = Zeroizing<[u8; 16]>;

/// Why a file does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is of another version of age.
    Version,
    /// The armor is damaged, or it is not an age file.
    Armor,
    /// The header is damaged, or is not one of age.
    Header,
    /// The header was changed: its MAC does not match.
    Mac,
    /// The passphrase or the identities do not open it.
    NoMatch,
    /// The passphrase needs more work than is accepted: the logarithm of scrypt's N.
    Work(u32),
    /// The passphrase needs this many bytes of memory, and there are not as many.
    Memory(u64),
    /// The payload is damaged, was changed or is cut off.
    Payload,
}

/// Where random bytes come from: the operating system.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<()>;

/// Who can open a file.
#[derive(Debug)]
pub enum Reader {
    /// Anyone who has the passphrase.
    Passphrase(Passphrase),
    /// The recipients.
    Recipients(Recipients),
}

impl Reader {
    /// The reader that `how` names: `passphrase`, and the secret is the passphrase; or `recipients`, and it has a line for
    /// each of them, `age1...`. Empty lines and lines that start with `#` are skipped.
    pub fn new(how: &str, secret: &[u8]) -> Result<Reader> {
        match how {
            "passphrase" => Ok(Reader::Passphrase(Passphrase::new(secret)?)),
            "recipients" => Ok(Reader::Recipients(Recipients::parse(secret)?)),
            _ => Err(Error::new(Code::InvalidArgument, "how is neither 'passphrase' nor 'recipients'")),
        }
    }
}

/// What opens a file.
#[derive(Debug)]
pub enum Opener {
    /// The passphrase.
    Passphrase(Passphrase),
    /// The identities of recipients.
    Identities(Identities),
}

/// The content as an age file in ASCII armor.
pub fn encrypt(content: &[u8], reader: &Reader, random: Random<'_>) -> Result<Vec<u8>> {
    let mut file_key = FileKey::default();
    random(&mut *file_key)?;
    let stanzas = match reader {
        Reader::Passphrase(passphrase) => vec![passphrase.wrap(&file_key, random)?],
        Reader::Recipients(recipients) => recipients.wrap(&file_key, random)?,
    };
    let mut file = Header { stanzas }.to_bytes(&file_key);
    payload::encrypt(content, &file_key, random, &mut file)?;
    Ok(armor::encode(&file))
}

/// The number of bytes of memory that a passphrase takes, if the file, armored or binary, is protected by one, and not for
/// recipients.
pub fn passphrase_memory(file: &[u8]) -> std::result::Result<Option<u64>, Failure> {
    let file = armor::decode(file)?;
    recipient::passphrase_memory(&Header::parse(&file)?.0)
}

/// The content of a file, armored or binary.
pub fn decrypt(file: &[u8], opener: &Opener) -> std::result::Result<Zeroizing<Vec<u8>>, Failure> {
    let file = armor::decode(file)?;
    let (header, length) = Header::parse(&file)?;
    let file_key = match opener {
        Opener::Passphrase(passphrase) => passphrase.unwrap(&header)?,
        Opener::Identities(identities) => identities.unwrap(&header)?,
    };
    let (head, payload) = file.split_at(length);
    header::check_mac(head, &file_key)?;
    payload::decrypt(payload, &file_key)
}

#[cfg(test)]
mod tests;
