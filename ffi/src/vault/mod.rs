//! The Rust API: [`Vault`], [`Put`], [`Version`], [`Get`], [`List`]. The C interface has the same types as handles.

mod get;
mod list;
mod partial_file;
mod positional;
mod put;
mod restore;
mod verify;
mod version;

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use s3vault_core::credentials::Credentials;
use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::settings::{Call, Settings};
use s3vault_core::vault::{Find, Name, Open, PutRequest, Scope, Selector, Vid, VidPrefix};
use s3vault_core::{Code, Error, Result};

use crate::client::Client;
use crate::control::{Control, after_interrupt};
use crate::{driver, entropy};

pub use get::Get;
pub use list::List;
pub use positional::PositionalReader;
pub use put::Put;
pub use s3vault_core::vault::{Kind, Row};
pub use verify::verify_manifest;
pub use version::Version;

/// An open vault. Clones share the same vault; any thread may use it.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    vault: Arc<s3vault_core::vault::Vault>,
    client: Client,
}

impl Vault {
    /// Opens the vault that these settings describe. Without a keyring, backups are not signed; if no key is trusted,
    /// signatures are not checked.
    ///
    /// It sends one request, and compares the description in the bucket with the settings. A bucket without a
    /// description is a vault in which nothing was stored yet.
    pub fn open(settings: &Settings, keyring: Option<Arc<Keyring>>, control: &mut Control<'_>) -> Result<Vault> {
        control.one_call(|control| Vault::open_steps(settings, keyring, control))
    }

    fn open_steps(settings: &Settings, keyring: Option<Arc<Keyring>>, control: &mut Control<'_>) -> Result<Vault> {
        for warning in settings.warnings() {
            control.log(warning)?;
        }
        let client = Client::open(settings, control)?;
        let exposure = client.bucket().account().endpoint().exposure();
        for warning in client.host.transport.warnings().iter().chain(&exposure) {
            control.log(warning)?;
        }
        let vault = Arc::new(s3vault_core::vault::Vault::new(settings, client.bucket().account(), keyring)?);
        let client = client.of(vault.home());
        driver::run(&client.host, Open::new(vault.clone(), entropy::seed()?), control)?;
        Ok(Vault(Arc::new(Inner { vault, client })))
    }

    /// Replaces the vault's credentials by `access_key`, `secret_key` and `session_token` of these settings. They are
    /// tried with one signed request; if the store refuses them, the old ones stay. Transfers in progress continue with
    /// the new ones. It may be called from a callback.
    pub fn update(&self, settings: &Settings, control: &mut Control<'_>) -> Result<()> {
        settings.only_for(Call::Update)?;
        let credentials = Credentials::from_settings(settings)?;
        self.0.client.renew(credentials, control)
    }

    /// Starts to store a stream of unknown length, or resumes a checkpoint: see [`Put::offset`]. Options: `kind`,
    /// `parent`, `checkpoint`, `source`.
    pub fn put(&self, container: &str, path: &str, options: &Settings, control: &mut Control<'_>) -> Result<Put> {
        Put::open(self, self.put_request(container, path, options)?, checkpoint(options), control)
    }

    /// Stores a file, or anything else that can be read at that path. Options: `kind`, `parent`, `checkpoint`, `source`.
    /// A file that changes meanwhile is [`Code::SourceChanged`], and no version is listed, unless `source` is `live`.
    pub fn put_file(
        &self,
        container: &str,
        path: &str,
        file: &Path,
        options: &Settings,
        control: &mut Control<'_>,
    ) -> Result<Version> {
        let saved = checkpoint(options);
        put::put_file(self, self.put_request(container, path, options)?, file, saved, control)
            .map_err(|e| after_interrupt(e, || resume_hint(saved)))
    }

    /// Stores what can be read from this descriptor. A regular file is stored whole; its position is neither used nor
    /// moved. Options: `kind`, `parent`, `checkpoint`, `source`; see [`put_file`](Vault::put_file).
    pub fn put_fd(
        &self,
        container: &str,
        path: &str,
        fd: BorrowedFd<'_>,
        options: &Settings,
        control: &mut Control<'_>,
    ) -> Result<Version> {
        let saved = checkpoint(options);
        put::put_fd(self, self.put_request(container, path, options)?, fd, saved, control)
            .map_err(|e| after_interrupt(e, || resume_hint(saved)))
    }

    fn put_request(&self, container: &str, path: &str, options: &Settings) -> Result<PutRequest> {
        options.only_for(Call::Put)?;
        let parent = match (options.text("kind"), options.text("parent")) {
            ("incremental", "") => return Err(contradiction("kind = incremental requires parent")),
            ("incremental", parent) => Some(Vid::parse(&parent.to_ascii_uppercase())?),
            (_, "") => None,
            _ => return Err(contradiction("parent requires kind = incremental")),
        };
        let name = Name::new(container, path)?;
        Ok(PutRequest {
            name,
            parent,
            length: None,
            source: None,
            live: options.text("source") == "live",
            checkpoint: None,
            memory: 256 << 20,
            entropy: entropy::bytes()?,
            seed: entropy::seed()?,
        })
    }

    /// Finds a version: the newest, unless an option says otherwise. Options: `version`, `as_of`, `recorded` with
    /// `tolerance_ms`, `pin`.
    ///
    /// It sends one LIST and one GET, and verifies the manifest. A vault without a public key cannot verify the signature:
    /// it logs that, and the version says nobody signed it.
    pub fn find(&self, container: &str, path: &str, options: &Settings, control: &mut Control<'_>) -> Result<Version> {
        options.only_for(Call::Find)?;
        let which = match (options.text("version"), options.time("as_of"), options.time("recorded")) {
            ("", None, None) => Selector::Latest,
            ("", Some(at), None) => Selector::AsOf(at),
            ("", None, Some(at)) => Selector::Recorded { at, tolerance_ms: options.number("tolerance_ms") },
            (vid, None, None) => {
                let start = VidPrefix::parse(vid)?;
                start.whole().map_or(Selector::Start(start), Selector::Version)
            }
            _ => return Err(contradiction("only one of version, as_of and recorded can be set")),
        };
        let pin = Some(options.text("pin")).filter(|pin| !pin.is_empty()).map(str::to_owned);
        let find = Find::new(self.0.vault.clone(), Name::new(container, path)?, which, pin, entropy::seed()?);
        let found = driver::run(&self.0.client.host, find, control)?;
        if found.row.signed_by.is_none() {
            control.log(NOT_VERIFIED)?;
        }
        Ok(Version::new(self, found))
    }

    /// Lists versions, newest first within each path: of one path, of a container, or all.
    pub fn versions(&self, container: Option<&str>, path: Option<&str>, options: &Settings) -> Result<List> {
        options.only_for(Call::List)?;
        let scope = match (container, path) {
            (Some(container), Some(path)) => Scope::Backup(Name::new(container, path)?),
            (Some(container), None) => Scope::Container(container.to_owned()),
            (None, None) => Scope::All,
            (None, Some(_)) => return Err(Error::new(Code::InvalidArgument, "path was given without container")),
        };
        List::new(self, scope)
    }

    /// Lists containers, as names only.
    pub fn containers(&self, options: &Settings) -> Result<List> {
        options.only_for(Call::List)?;
        List::new(self, Scope::Containers)
    }

    /// Lists the paths of a container that start with a prefix, each with its newest version.
    pub fn paths(&self, container: &str, prefix: Option<&str>, options: &Settings) -> Result<List> {
        options.only_for(Call::List)?;
        List::new(self, Scope::Paths { container: container.to_owned(), prefix: prefix.unwrap_or("").to_owned() })
    }
}

/// Logged when a version is found in a vault that knows no public key.
const NOT_VERIFIED: &str = "not verified: the vault knows no public key, so anyone who can write to the bucket may have replaced this backup. Open the vault with a keyring or set verify_keys; trust = required refuses such a backup";

/// The path of the checkpoint, if one is set.
fn checkpoint(options: &Settings) -> Option<&Path> {
    Some(options.text("checkpoint")).filter(|path| !path.is_empty()).map(Path::new)
}

/// What the caller of a put that it ended can do next.
fn resume_hint(checkpoint: Option<&Path>) -> String {
    match checkpoint {
        Some(file) => format!("Make the same call again to resume from the checkpoint {}.", file.display()),
        None => "Nothing is listed. What was sent is removed in the background: s3v_shutdown, at the end of the program, waits for that and says what stays. With a checkpoint the put could be resumed.".into(),
    }
}

fn contradiction(why: &str) -> Error {
    Error::new(Code::InvalidOption, why)
}
