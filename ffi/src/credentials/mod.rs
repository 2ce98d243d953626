//! Credentials from this machine: core decides which place has them, and this module reads files, runs processes and
//! asks endpoints.
//!
//! | file | contents |
//! |---|---|
//! | `gather` | variables and files for core's chain |
//! | `process` | a `credential_process` |

mod gather;
mod process;
#[cfg(test)]
mod tests;

use std::time::Duration;

use s3vault_core::Result;
use s3vault_core::credentials::chain::{self, Environment, Source};
use s3vault_core::credentials::{Credentials, Fetch, Origin};
use s3vault_core::settings::Settings;

use crate::control::Control;
use crate::driver::{self, Host};
use crate::transport::{ClientKind, Proxies, Transport, TransportSettings};

/// How long a `credential_process` may take.
const PROCESS_TIME: Duration = Duration::from_secs(60);

/// Provides keys, and new ones when they are about to expire.
#[derive(Clone, Debug)]
pub(crate) struct Provider(Origin);

impl Provider {
    /// Creates a provider from the settings, without looking for keys yet.
    pub(crate) fn new(settings: &Settings) -> Result<Provider> {
        Origin::from_settings(settings).map(Provider)
    }

    /// Whether asking again may return other keys.
    pub(crate) fn is_renewable(&self) -> bool {
        matches!(self.0, Origin::Chain { .. })
    }

    /// Returns the current keys. The whole chain is searched again, so that changes made since count.
    pub(crate) fn load(&self, control: &mut Control<'_>) -> Result<Credentials> {
        match &self.0 {
            Origin::Static(keys) => Ok(keys.clone()),
            Origin::Chain { profile } => find(&gather::environment()?, profile, PROCESS_TIME, control),
        }
    }
}

/// Searches the chain in this environment.
fn find(env: &Environment, profile: &str, process_time: Duration, control: &mut Control<'_>) -> Result<Credentials> {
    match chain::resolve(env, profile)? {
        Source::Keys(keys) => Ok(keys),
        Source::Process(process) => driver::blocking(move |stop| process::run(&process, process_time, stop), control)?,
        Source::Fetch(fetch) => ask(*fetch, control),
    }
}

/// Asks an endpoint of this machine, over connections of its own: without a proxy, and without the store's CA
/// certificates.
fn ask(fetch: Fetch, control: &mut Control<'_>) -> Result<Credentials> {
    let connect_timeout = Duration::from_millis(fetch.connect_timeout_ms());
    let transport = Transport::new(&TransportSettings {
        client: ClientKind::Direct,
        ca_file: None,
        connect_timeout,
        // The machine itself abandons an attempt after a while.
        idle_timeout: Duration::from_secs(60),
        resolve_once: false,
        proxies: Proxies::default(),
    })?;
    driver::run(&Host { transport, keys: None }, fetch, control)
}
