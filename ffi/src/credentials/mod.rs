//! Credentials from this machine: core says which place has them, and this module reads, runs and asks it.
//!
//! | file | holds |
//! |---|---|
//! | `gather` | variables and files, for core to look at |
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
use crate::transport::{Transport, TransportSettings};

/// How long a `credential_process` may take.
const PROCESS_TIME: Duration = Duration::from_secs(60);

/// Gives keys, and gives them anew when they are about to end.
#[derive(Clone, Debug)]
pub(crate) struct Provider(Origin);

impl Provider {
    /// From the settings; looks nowhere yet.
    pub(crate) fn new(settings: &Settings) -> Result<Provider> {
        Origin::from_settings(settings).map(Provider)
    }

    /// Whether asking again may give other keys.
    pub(crate) fn is_renewable(&self) -> bool {
        matches!(self.0, Origin::Chain { .. })
    }

    /// The keys as they are now. The whole chain is gone through again, so that what was changed since counts.
    pub(crate) fn load(&self, control: &mut Control<'_>) -> Result<Credentials> {
        match &self.0 {
            Origin::Static(keys) => Ok(keys.clone()),
            Origin::Chain { profile } => find(&gather::environment()?, profile, PROCESS_TIME, control),
        }
    }
}

/// Goes through the chain, in this environment.
fn find(env: &Environment, profile: &str, process_time: Duration, control: &mut Control<'_>) -> Result<Credentials> {
    match chain::resolve(env, profile)? {
        Source::Keys(keys) => Ok(keys),
        Source::Process(process) => driver::blocking(move |stop| process::run(&process, process_time, stop), control)?,
        Source::Fetch(fetch) => ask(*fetch, control),
    }
}

/// Asks an endpoint of this machine, over connections of its own: no proxy, and not the store's authorities.
fn ask(fetch: Fetch, control: &mut Control<'_>) -> Result<Credentials> {
    let connect_timeout = Duration::from_millis(fetch.connect_timeout_ms());
    let transport = Transport::new(&TransportSettings {
        ca_file: None,
        connect_timeout,
        // The machine itself gives an attempt up after a while, however it goes.
        idle_timeout: Duration::from_secs(60),
        resolve_once: false,
        proxy: None,
    })?;
    driver::run(&Host { transport, keys: None }, fetch, control)
}
