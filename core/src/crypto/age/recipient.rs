//! Who can open a file: how the file key is wrapped with a passphrase (scrypt, RFC 7914) and for a recipient (X25519, RFC
//! 7748).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};
use zeroize::Zeroizing;

use super::header::{Header, Stanza, derive};
use super::payload::too_long;
use super::{Failure, FileKey, Random};
use crate::error::{Code, Error, Result};

pub(super) const SCRYPT: &str = "scrypt";
const X25519: &str = "X25519";
const SCRYPT_LABEL: &[u8] = b"age-encryption.org/v1/scrypt";
const X25519_LABEL: &[u8] = b"age-encryption.org/v1/X25519";
/// What a recipient starts with, before the `1`.
const RECIPIENT: &str = "age";
/// What an identity starts with, before the `1`.
const IDENTITY: &str = "age-secret-key-";
/// Length of a wrapped file key: 16 bytes and a tag.
const WRAPPED: usize = 32;
/// Logarithm of scrypt's N for a new file: that of the age tool, a second and 256 MiB.
const WORK: u8 = 18;
/// The largest that is accepted, as in the age tool: 4 GiB. In a browser it is 1 GiB: a module has 4 GiB at most, and no
/// allocation can have 2.
pub const MOST_WORK: u8 = if cfg!(target_family = "wasm") { 20 } else { 22 };
/// scrypt's block size and parallelisation.
const BLOCK: u32 = 8;

/// Encrypts a file key with a key that serves nothing else.
fn seal(key: &[u8; 32], file_key: &FileKey) -> Result<Vec<u8>> {
    let mut wrapped = file_key.to_vec();
    let cipher = ChaCha20Poly1305::new(key.into());
    let tag = cipher.encrypt_inout_detached(&[0; 12].into(), b"", wrapped.as_mut_slice().into());
    wrapped.extend_from_slice(&tag.map_err(|_| too_long())?);
    Ok(wrapped)
}

fn open(key: &[u8; 32], wrapped: &[u8; WRAPPED]) -> Option<FileKey> {
    let mut file_key = FileKey::default();
    file_key.copy_from_slice(&wrapped[..16]);
    let tag: [u8; 16] = wrapped[16..].try_into().ok()?;
    let opened = ChaCha20Poly1305::new(key.into()).decrypt_inout_detached(
        &[0; 12].into(),
        b"",
        file_key.as_mut_slice().into(),
        &tag.into(),
    );
    opened.is_ok().then_some(file_key)
}

/// Bytes of a fixed length in base64 without padding.
fn fixed<const N: usize>(base64: &str) -> std::result::Result<[u8; N], Failure> {
    STANDARD_NO_PAD.decode(base64).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(Failure::Header)
}

fn wrapped_of(stanza: &Stanza) -> std::result::Result<&[u8; WRAPPED], Failure> {
    stanza.body.as_slice().try_into().map_err(|_| Failure::Header)
}

/// A passphrase.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// The passphrase with these bytes.
    pub fn new(bytes: &[u8]) -> Result<Passphrase> {
        match std::str::from_utf8(bytes) {
            Ok("") => Err(Error::new(Code::InvalidArgument, "the passphrase is empty")),
            Ok(text) => Ok(Passphrase(Zeroizing::new(text.to_owned()))),
            Err(_) => Err(Error::new(Code::InvalidArgument, "the passphrase is not UTF-8")),
        }
    }

    /// `None` if scrypt does not accept the work.
    fn key(&self, salt: &[u8; 16], work: u8) -> Option<Zeroizing<[u8; 32]>> {
        let salt = [SCRYPT_LABEL, salt].concat();
        let mut key = Zeroizing::new([0; 32]);
        let params = scrypt::Params::new(work, BLOCK, 1).ok()?;
        scrypt::scrypt(self.0.as_bytes(), &salt, &params, &mut *key).ok()?;
        Some(key)
    }

    pub(super) fn wrap(&self, file_key: &FileKey, random: Random<'_>) -> Result<Stanza> {
        let mut salt = [0; 16];
        random(&mut salt)?;
        let Some(key) = self.key(&salt, WORK) else {
            return Err(Error::new(Code::Internal, "scrypt refused its own parameters"));
        };
        let arguments = vec![STANDARD_NO_PAD.encode(salt), WORK.to_string()];
        Ok(Stanza { kind: SCRYPT.into(), arguments, body: seal(&key, file_key)? })
    }

    pub(super) fn unwrap(&self, header: &Header) -> std::result::Result<FileKey, Failure> {
        if !header.has_passphrase() {
            return Err(Failure::NoMatch);
        }
        let Wrapped { salt, work, wrapped } = Wrapped::of(header)?;
        check_memory(memory(work))?;
        let key = self.key(&salt, work).ok_or(Failure::Work(work.into()))?;
        open(&key, wrapped).ok_or(Failure::NoMatch)
    }
}

/// The file key as it is wrapped with a passphrase.
struct Wrapped<'a> {
    salt: [u8; 16],
    /// Logarithm of scrypt's N.
    work: u8,
    wrapped: &'a [u8; WRAPPED],
}

impl<'a> Wrapped<'a> {
    /// The only stanza of a header: only one who knows the passphrase can have made the file.
    fn of(header: &'a Header) -> std::result::Result<Wrapped<'a>, Failure> {
        let [stanza] = header.stanzas.as_slice() else { return Err(Failure::Header) };
        let [salt, work] = stanza.arguments.as_slice() else { return Err(Failure::Header) };
        let salt = fixed(salt)?;
        let is_number = !work.starts_with('0') && work.bytes().all(|byte| byte.is_ascii_digit());
        let wrapped = wrapped_of(stanza)?;
        if !is_number {
            return Err(Failure::Header);
        }
        let work: u32 = work.parse().map_err(|_| Failure::Header)?;
        let accepted = u8::try_from(work).ok().filter(|work| *work <= MOST_WORK).ok_or(Failure::Work(work))?;
        Ok(Wrapped { salt, work: accepted, wrapped })
    }
}

/// The number of bytes of memory that the passphrase of this file takes, if it has one.
pub(super) fn passphrase_memory(header: &Header) -> std::result::Result<Option<u64>, Failure> {
    header.has_passphrase().then(|| Wrapped::of(header).map(|of| memory(of.work))).transpose()
}

/// The number of bytes of memory that scrypt takes.
fn memory(work: u8) -> u64 {
    (128 * u64::from(BLOCK)) << work
}

/// Fails if there is not this much memory: scrypt would end the module.
#[cfg(target_family = "wasm")]
fn check_memory(bytes: u64) -> std::result::Result<(), Failure> {
    let mut memory = Vec::<u8>::new();
    let there_is = usize::try_from(bytes).is_ok_and(|bytes| memory.try_reserve_exact(bytes).is_ok());
    // Otherwise the compiler removes what nobody uses.
    std::hint::black_box(&memory);
    if there_is { Ok(()) } else { Err(Failure::Memory(bytes)) }
}

/// The system lends more memory than it has.
#[cfg(not(target_family = "wasm"))]
fn check_memory(_bytes: u64) -> std::result::Result<(), Failure> {
    Ok(())
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(***)")
    }
}

/// 32 bytes in Bech32 (BIP 173) behind this prefix.
fn decode_key(text: &str, prefix: &str) -> Option<Zeroizing<[u8; 32]>> {
    let checked = CheckedHrpstring::new::<Bech32>(text).ok()?;
    if checked.hrp() != Hrp::parse(prefix).ok()? {
        return None;
    }
    let mut key = Zeroizing::new([0; 32]);
    let mut bytes = checked.byte_iter();
    for byte in key.iter_mut() {
        *byte = bytes.next()?;
    }
    bytes.next().is_none().then_some(key)
}

/// The lines that say something: empty ones, and those that start with `#`, are skipped. With their numbers, from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// The public keys of those who can open a file.
#[derive(Debug)]
pub struct Recipients(Vec<[u8; 32]>);

impl Recipients {
    /// Parses lines `age1...`. Empty lines and lines that start with `#` are skipped.
    pub fn parse(text: &[u8]) -> Result<Recipients> {
        let refuse = |why: String| Error::new(Code::InvalidArgument, why);
        let text = std::str::from_utf8(text).map_err(|_| refuse("the recipients are not UTF-8".into()))?;
        let mut recipients = Vec::new();
        for (number, line) in lines(text) {
            let Some(key) = decode_key(line, RECIPIENT) else {
                // The line may be a secret.
                let is_secret = line.to_ascii_lowercase().starts_with(IDENTITY);
                let (why, hint) = if is_secret {
                    (
                        "an identity, which is secret",
                        "Give recipients that start with 'age1'; 'age-keygen -y FILE' prints that of an identity.",
                    )
                } else if line.starts_with("age1") && line.len() > 62 {
                    (
                        "a recipient of a kind that is not supported, or is mistyped",
                        "Give a recipient that age-keygen made ('age1' and 58 characters). For a post-quantum key or a hardware token, export with a passphrase and encrypt that file with the age tool.",
                    )
                } else {
                    (
                        "not an age recipient, or is mistyped",
                        "Give recipients that start with 'age1', as age-keygen prints them.",
                    )
                };
                return Err(refuse(format!("line {number} of the recipients is {why}")).with_hint(hint));
            };
            recipients.push(*key);
        }
        if recipients.is_empty() {
            return Err(refuse("there are no recipients".into()));
        }
        Ok(Recipients(recipients))
    }

    pub(super) fn wrap(&self, file_key: &FileKey, random: Random<'_>) -> Result<Vec<Stanza>> {
        let one = |recipient: &[u8; 32]| {
            let mut ephemeral = Zeroizing::new([0; 32]);
            random(&mut *ephemeral)?;
            let share = x25519(*ephemeral, X25519_BASEPOINT_BYTES);
            let Some(key) = shared_key(&ephemeral, recipient, &share, recipient) else {
                return Err(Error::new(Code::InvalidArgument, "a recipient has a public key that hides nothing"));
            };
            let arguments = vec![STANDARD_NO_PAD.encode(share)];
            Ok(Stanza { kind: X25519.into(), arguments, body: seal(&key, file_key)? })
        };
        self.0.iter().map(one).collect()
    }
}

/// The key that wraps a file key for a recipient: of the secret that one's secret key and the other's public key share.
/// `None` for a public key of low order, with which everybody shares the same secret.
fn shared_key(secret: &[u8; 32], public: &[u8; 32], share: &[u8], recipient: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let shared = Zeroizing::new(x25519(*secret, *public));
    (*shared != [0; 32]).then(|| derive(&*shared, &[share, recipient].concat(), X25519_LABEL))
}

/// The secret keys of recipients.
pub struct Identities(Vec<Zeroizing<[u8; 32]>>);

impl Identities {
    /// Parses the lines of a file of age-keygen, `AGE-SECRET-KEY-1...`. `None` if it has none, or something else.
    pub fn parse(text: &[u8]) -> Option<Identities> {
        let keys: Vec<_> = lines(std::str::from_utf8(text).ok()?)
            .map(|(_, line)| decode_key(line, IDENTITY))
            .collect::<Option<_>>()?;
        (!keys.is_empty()).then_some(Identities(keys))
    }

    pub(super) fn unwrap(&self, header: &Header) -> std::result::Result<FileKey, Failure> {
        if header.has_passphrase() && header.stanzas.len() > 1 {
            return Err(Failure::Header);
        }
        for stanza in header.stanzas.iter().filter(|stanza| stanza.kind == X25519) {
            let [share] = stanza.arguments.as_slice() else { return Err(Failure::Header) };
            let (share, wrapped) = (fixed::<32>(share)?, wrapped_of(stanza)?);
            for identity in &self.0 {
                let recipient = x25519(**identity, X25519_BASEPOINT_BYTES);
                let key = shared_key(identity, &share, &share, &recipient).ok_or(Failure::Header)?;
                if let Some(file_key) = open(&key, wrapped) {
                    return Ok(file_key);
                }
            }
        }
        Err(Failure::NoMatch)
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}
