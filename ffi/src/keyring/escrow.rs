//! Escrow files: a copy of the keyring for an emergency, as an age file (<https://age-encryption.org/v1>) in ASCII
//! armor, which any age tool opens, with a passphrase or with the identity of a recipient. What is inside is the JSON
//! of [`s3vault_core::crypto::escrow`].

use std::fmt;
use std::io::{self, Read as _, Write as _};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, EncryptError, Encryptor, Identity, IdentityFile, Recipient, scrypt};
use s3vault_core::crypto::escrow::Escrow;
use s3vault_core::crypto::keyring::{Keyring, VerifyKeys};
use s3vault_core::settings::{self, Settings};
use s3vault_core::{Code, Error, Result, vault};
use zeroize::Zeroizing;

/// Larger than the JSON of any escrow; a larger file is something else.
const LARGEST: u64 = 16 << 20;

/// Logarithm of scrypt's work for a passphrase: that of the age tool, a second and 256 MiB.
const WORK: u8 = 18;

/// Most work that is spent on a passphrase file, as in the age tool; more would exhaust the memory.
const MOST_WORK: u8 = 22;

/// Who can read an escrow file.
pub struct Reader(Vec<Box<dyn Recipient + Send>>);

impl Reader {
    /// The reader that `how` names: `passphrase`, and the secret is the passphrase; or `recipients`, and it has a line
    /// for each of them. Empty lines and lines that start with `#` are skipped.
    pub fn new(how: &str, secret: &[u8]) -> Result<Reader> {
        match how {
            "passphrase" => {
                let mut recipient = scrypt::Recipient::new(passphrase(secret)?);
                recipient.set_work_factor(WORK);
                Ok(Reader(vec![Box::new(recipient)]))
            }
            "recipients" => recipients(secret),
            _ => Err(Error::new(Code::InvalidArgument, "how is neither 'passphrase' nor 'recipients'")),
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({})", self.0.len())
    }
}

fn passphrase(secret: &[u8]) -> Result<SecretString> {
    match std::str::from_utf8(secret) {
        Ok("") => Err(Error::new(Code::InvalidArgument, "the passphrase is empty")),
        Ok(text) => Ok(SecretString::from(text.to_owned())),
        Err(_) => Err(Error::new(Code::InvalidArgument, "the passphrase is not UTF-8")),
    }
}

fn recipients(lines: &[u8]) -> Result<Reader> {
    let text =
        std::str::from_utf8(lines).map_err(|_| Error::new(Code::InvalidArgument, "the recipients are not UTF-8"))?;
    let mut recipients: Vec<Box<dyn Recipient + Send>> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Ok(recipient) = line.parse::<age::x25519::Recipient>() {
            recipients.push(Box::new(recipient));
        } else if let Ok(recipient) = line.parse::<age::tag::Recipient>() {
            recipients.push(Box::new(recipient));
        } else if let Ok(recipient) = line.parse::<age::tagpq::Recipient>() {
            recipients.push(Box::new(recipient));
        } else {
            // The line may be a secret.
            let is_secret = line.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-");
            let why = if is_secret { "an identity, which is secret" } else { "not an age recipient" };
            let hint = "Give recipients that start with 'age1'; 'age-keygen -y FILE' prints that of an identity.";
            let message = format!("line {} of the recipients is {why}", number + 1);
            return Err(Error::new(Code::InvalidArgument, message).with_hint(hint));
        }
    }
    if recipients.is_empty() {
        return Err(Error::new(Code::InvalidArgument, "there are no recipients"));
    }
    Ok(Reader(recipients))
}

/// The escrow of a keyring, whose KEKs must be marked as escrowed, with what the settings tell of the vault. In it, the
/// newest KEK is current: a KEK is exported before it becomes current, and who restores the keyring must not get the one
/// that it replaced.
pub(super) fn describe(keyring: &Keyring, settings: Option<&Settings>, created_ms: i64) -> Result<Escrow> {
    let own = keyring.signing_key().public();
    let mut copy = Keyring::from_bytes(&keyring.to_bytes())?;
    if let Some(newest) = keyring.keks().iter().max_by_key(|kek| kek.created_ms()) {
        copy.activate(newest.id())?;
    }
    let mut escrow = Escrow {
        created_ms,
        keyring: copy,
        verify_keys: vec![own.clone()],
        vault_id: None,
        settings: Default::default(),
    };
    if let Some(settings) = settings {
        let trusted = VerifyKeys::parse(settings.text("verify_keys"))?;
        escrow.verify_keys.extend(trusted.iter().filter(|key| *key != own).cloned());
        escrow.vault_id = Some(vault::vault_id(settings)?);
        let is_public = |key: &str| settings::option(key).is_ok_and(|option| !option.secret);
        let public = settings.shown().filter(|(key, _)| is_public(key));
        escrow.settings = public.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    }
    Ok(escrow)
}

/// The escrow as an age file in ASCII armor.
pub(super) fn lock(escrow: &Escrow, reader: &Reader) -> Result<Vec<u8>> {
    let content = escrow.to_bytes()?;
    let encryptor =
        Encryptor::with_recipients(reader.0.iter().map(|recipient| &**recipient as _)).map_err(|e| match e {
            EncryptError::IncompatibleRecipients { .. } => {
                let message = "recipients with and without a post-quantum key cannot read the same file";
                Error::new(Code::InvalidArgument, message).with_hint("Export twice, once for each kind of recipient.")
            }
            e => Error::new(Code::Internal, format!("the escrow could not be encrypted: {e}")),
        })?;
    let mut file = Vec::new();
    let written = (|| {
        let mut writer = encryptor.wrap_output(ArmoredWriter::wrap_output(&mut file, Format::AsciiArmor)?)?;
        writer.write_all(&content)?;
        writer.finish()?.finish().map(|_| ())
    })();
    written.map_err(|e: io::Error| Error::new(Code::Internal, format!("the escrow could not be encrypted: {e}")))?;
    Ok(file)
}

/// Opens an escrow file, armored or binary: the secret is its passphrase, or the lines of a file of age identities.
pub(super) fn open(file: &[u8], secret: &[u8]) -> Result<Escrow> {
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(file)).map_err(|e| match e {
        DecryptError::UnknownFormat => refused("its version of age is unknown"),
        _ => refused("it is not an age file, or is damaged")
            .with_hint("Name a file that 's3vault keys export' or an age tool made."),
    })?;
    let with_passphrase = decryptor.is_scrypt();
    let identities: Vec<Box<dyn Identity + Send + Sync>> = if with_passphrase {
        if is_identity(secret) {
            return Err(refused("it is protected by a passphrase, and an identity was given"));
        }
        let mut identity = scrypt::Identity::new(passphrase(secret)?);
        identity.set_max_work_factor(MOST_WORK);
        vec![Box::new(identity)]
    } else {
        let identities = IdentityFile::from_buffer(secret).ok().and_then(|file| file.into_identities().ok());
        identities.ok_or_else(|| {
            refused("it is for recipients, and what was given are not age identities")
                .with_hint("Give the file that age-keygen made, with lines AGE-SECRET-KEY-1...")
        })?
    };
    let reader = decryptor.decrypt(identities.iter().map(|identity| &**identity as _)).map_err(|e| match e {
        DecryptError::ExcessiveWork { required, .. } => {
            refused(&format!("its passphrase needs too much work (2^{required})"))
                .with_hint("Decrypt it with an age tool, and encrypt it again with less.")
        }
        DecryptError::InvalidHeader | DecryptError::InvalidMac => refused("it is damaged, or was changed"),
        _ if with_passphrase => refused("the passphrase is wrong"),
        _ => refused("none of the identities is one of its recipients"),
    })?;
    let mut content = Zeroizing::new(Vec::with_capacity(file.len()));
    reader.take(LARGEST + 1).read_to_end(&mut content).map_err(|_| refused("it is damaged, or was changed"))?;
    if content.len() as u64 > LARGEST {
        return Err(refused("it is too large for an escrow"));
    }
    Escrow::from_bytes(&content).map_err(|e| e.context("escrow file"))
}

fn refused(why: &str) -> Error {
    Error::new(Code::Keyring, format!("cannot open the escrow file: {why}"))
}

/// Whether it has a line of an age identity.
fn is_identity(secret: &[u8]) -> bool {
    secret.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"AGE-SECRET-KEY-"))
}

/// What an import found, as JSON.
pub(super) fn report_json(escrow: &Escrow, added: &[String]) -> String {
    let verify_keys: Vec<String> = escrow.verify_keys.iter().map(ToString::to_string).collect();
    serde_json::json!({
        "added": added, "vault_id": escrow.vault_id, "verify_keys": verify_keys, "settings": escrow.settings,
    })
    .to_string()
}
