//! The Rust API: [`Vault`], [`Put`], [`Version`], [`Get`], [`List`], [`Report`]. The C interface has the same types as handles.

mod adopt_keys;
mod adopted;
mod delete;
mod get;
mod job;
mod list;
mod partial_file;
mod positional;
mod put;
mod restore;
mod retire;
mod seen;
mod verify;
mod version;

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use s3vault_core::credentials::Credentials;
use s3vault_core::crypto::keyring::Keyring;
use s3vault_core::settings::{Call, Settings};
use s3vault_core::vault::{Find, Labels, Name, Open, PutRequest, Query, Scope, Selector, Vid, VidPrefix};
use s3vault_core::{Code, Error, Result};

use crate::client::Client;
use crate::control::{Control, after_interrupt};
use crate::{driver, entropy};

use seen::SeenFile;

pub use get::Get;
pub use list::List;
pub use positional::PositionalReader;
pub use put::Put;
pub use retire::{RetireState, Retirement};
pub use s3vault_core::vault::{Initialized, Kind, Report, Row, Verdict, Verified};
pub use verify::{VerifyReport, verify_manifest};
pub use version::Version;

/// An open vault. Clones share the same vault; any thread may use it.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    vault: Arc<s3vault_core::vault::Vault>,
    client: Client,
    /// The keyring as it was when the vault was opened.
    keyring: Option<Arc<Keyring>>,
    /// Where the newest versions that were seen are noted.
    seen: Option<SeenFile>,
    /// What the configuration says of prune.
    retention: Settings,
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
        let account = client.bucket().account();
        let (exposure, keys) = (account.endpoint().exposure(), account.key_exposure());
        for warning in client.host.transport.warnings().iter().chain(&exposure).chain(&keys) {
            control.log(warning)?;
        }
        let vault = Arc::new(s3vault_core::vault::Vault::new(settings, client.bucket().account(), keyring.clone())?);
        let client = client.of(vault.home());
        let seen = Some(settings.text("seen")).filter(|path| !path.is_empty()).map(SeenFile::new);
        driver::run(&client.host, Open::new(vault.clone(), entropy::seed()?), control)?;
        let retention = settings.defaults_of(Call::Prune);
        Ok(Vault(Arc::new(Inner { vault, client, keyring, seen, retention })))
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
        let request = self.put_request(container, path, options, control)?;
        Put::open(self, request, checkpoint(options), control)
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
        let request = self.put_request(container, path, options, control)?;
        put::put_file(self, request, file, saved, control).map_err(|e| after_interrupt(e, || resume_hint(saved)))
    }

    /// Stores what can be read from this descriptor. A regular file is stored whole; its position is neither used nor
    /// moved. Options: `kind`, `parent`, `checkpoint`, `source`, `labels`; see [`put_file`](Vault::put_file).
    pub fn put_fd(
        &self,
        container: &str,
        path: &str,
        fd: BorrowedFd<'_>,
        options: &Settings,
        control: &mut Control<'_>,
    ) -> Result<Version> {
        let saved = checkpoint(options);
        let request = self.put_request(container, path, options, control)?;
        put::put_fd(self, request, fd, saved, control).map_err(|e| after_interrupt(e, || resume_hint(saved)))
    }

    /// Before data keys are wrapped: warns if nobody has a copy of the key that wraps them.
    fn warn_of_missing_escrow(&self, control: &mut Control<'_>) -> Result<()> {
        self.0.vault.escrow_warning().map_or(Ok(()), |warning| control.log(&warning))
    }

    fn put_request(
        &self,
        container: &str,
        path: &str,
        options: &Settings,
        control: &mut Control<'_>,
    ) -> Result<PutRequest> {
        options.only_for(Call::Put)?;
        let parent = match (options.text("kind"), options.text("parent")) {
            ("incremental", "") => return Err(contradiction("kind = incremental requires parent")),
            ("incremental", parent) => Some(Vid::parse(&parent.to_ascii_uppercase())?),
            (_, "") => None,
            _ => return Err(contradiction("parent requires kind = incremental")),
        };
        let name = Name::new(container, path)?;
        if self.0.vault.wraps_data_keys() {
            self.warn_of_missing_escrow(control)?;
        }
        Ok(PutRequest {
            name,
            parent,
            length: None,
            source: None,
            live: options.text("source") == "live",
            labels: Labels::parse(options.text("labels"))?,
            checkpoint: None,
            memory: 256 << 20,
            entropy: entropy::bytes()?,
            data_key: entropy::data_key()?,
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
        let name = Name::new(container, path)?;
        let found = control.one_call(|control| {
            let find = Find::new(self.0.vault.clone(), name.clone(), which, pin, entropy::seed()?);
            let found = driver::run(&self.0.client.host, find, control);
            if which == Selector::Latest { self.check_seen(&name, found, control) } else { found }
        })?;
        if found.row.signed_by.is_none() {
            control.log(NOT_VERIFIED)?;
        }
        Ok(Version::new(self, found))
    }

    /// Lists versions, newest first within each path: of one path, of a container, or all. Options: `as_of`, `label`.
    pub fn versions(&self, container: Option<&str>, path: Option<&str>, options: &Settings) -> Result<List> {
        options.only_for(Call::List)?;
        let scope = match (container, path) {
            (Some(container), Some(path)) => Scope::Backup(Name::new(container, path)?),
            (Some(container), None) => Scope::Container(container.to_owned()),
            (None, None) => Scope::All,
            (None, Some(_)) => return Err(Error::new(Code::InvalidArgument, "path was given without container")),
        };
        List::new(self, query(scope, options)?)
    }

    /// Lists containers, as names only.
    pub fn containers(&self, options: &Settings) -> Result<List> {
        options.only_for(Call::List)?;
        List::new(self, query(Scope::Containers, options)?)
    }

    /// Lists the multipart uploads at data keys of the vault that are in progress.
    pub fn uploads(&self, options: &Settings) -> Result<List> {
        options.only_for(Call::Uploads)?;
        Ok(List::of_uploads(self))
    }

    /// Lists the paths of a container that start with a prefix, each with its newest version. Options: `as_of`, `label`.
    pub fn paths(&self, container: &str, prefix: Option<&str>, options: &Settings) -> Result<List> {
        options.only_for(Call::List)?;
        let scope = Scope::Paths { container: container.to_owned(), prefix: prefix.unwrap_or("").to_owned() };
        List::new(self, query(scope, options)?)
    }
}

/// Logged when a version is found in a vault that knows no public key.
const NOT_VERIFIED: &str = "not verified: the vault knows no public key, so anyone who can write to the bucket may have replaced this backup. Open the vault with a keyring or set verify_keys; trust = required refuses such a backup";

/// What a listing shows, by its options.
fn query(scope: Scope, options: &Settings) -> Result<Query> {
    let label = match options.text("label") {
        "" => None,
        text => match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Some((name.to_owned(), value.to_owned())),
            _ => {
                let why = format!("label = '{text}': NAME=VALUE expected");
                return Err(Error::new(Code::InvalidOption, why)
                    .with_hint("Use a label as put stored it, for example job=nightly."));
            }
        },
    };
    Ok(Query { scope, as_of: options.time("as_of"), label })
}

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
