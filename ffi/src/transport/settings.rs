//! The transport's part of a vault's settings.

use std::path::PathBuf;
use std::time::Duration;

use s3vault_core::settings::Settings;
use s3vault_core::{Code, Error, Result};

use super::proxy::Proxies;

/// The transport's part of a vault's settings.
#[derive(Clone, Debug)]
pub(crate) struct TransportSettings {
    /// The HTTP client to use.
    pub(crate) client: ClientKind,
    /// PEM file with the CA certificates to trust. `None` means the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Limit for name resolution, TCP, proxy and TLS together.
    pub(crate) connect_timeout: Duration,
    /// An attempt ends when no byte moves in either direction for this long.
    pub(crate) idle_timeout: Duration,
    /// Whether one address of a name is dialled until it fails.
    pub(crate) resolve_once: bool,
    /// The proxies that stores are reached through.
    pub(crate) proxies: Proxies,
}

/// The HTTP clients that a transport can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientKind {
    /// hyper's connections, driven by this crate.
    Direct,
    /// The crate `reqwest`.
    #[cfg(feature = "reqwest")]
    Reqwest,
}

impl ClientKind {
    /// Reads option `transport`.
    fn parse(text: &str) -> Result<ClientKind> {
        match text {
            #[cfg(feature = "reqwest")]
            "reqwest" => Ok(ClientKind::Reqwest),
            "direct" => Ok(ClientKind::Direct),
            other => Err(Error::new(
                Code::InvalidOption,
                format!("transport = {other}: this build of the library does not include that transport"),
            )
            .with_hint("Set transport = direct, or use a build with the Cargo feature 'reqwest'.")),
        }
    }

    /// Whether the client can use SOCKS5 proxies.
    fn has_socks(self) -> bool {
        self != ClientKind::Direct
    }
}

impl TransportSettings {
    /// Reads the transport's settings from a vault's settings, and from the environment if `proxy = system`.
    pub(crate) fn from_settings(settings: &Settings) -> Result<TransportSettings> {
        let client = ClientKind::parse(settings.text("transport"))?;
        let proxies = Proxies::parse(settings.text("proxy"), |variable| std::env::var(variable).ok())?;
        if let Some(proxy) = proxies.socks().filter(|_| !client.has_socks()) {
            return Err(Error::new(
                Code::InvalidOption,
                format!("{proxy} is a SOCKS5 proxy, which transport = direct does not support"),
            )
            .with_hint("Set transport = reqwest."));
        }
        let resolve_once = settings.flag("resolve_once");
        if let Some(proxy) = proxies.any().filter(|_| resolve_once) {
            return Err(Error::new(
                Code::InvalidOption,
                format!(
                    "resolve_once = true has no effect with a proxy, because the proxy resolves the names: {proxy}"
                ),
            )
            .with_hint("Remove resolve_once or proxy."));
        }
        Ok(TransportSettings {
            client,
            ca_file: Some(settings.text("ca_file")).filter(|text| !text.is_empty()).map(PathBuf::from),
            connect_timeout: Duration::from_millis(settings.number("connect_timeout_ms")),
            idle_timeout: Duration::from_millis(settings.number("idle_timeout_ms")),
            resolve_once,
            proxies,
        })
    }
}
