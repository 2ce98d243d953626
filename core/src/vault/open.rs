//! Opening a vault: `_s3vault/vault.json`, the vault's description, is read and compared with the configuration, and
//! the bucket's versioning is checked beside it. The description is a pure function of the configuration, so that
//! concurrent first writers write the same bytes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::Vault;
use super::objects::VAULT_KEY;
use super::signed::FORMAT;
use crate::error::{Code, Error, Result};
use crate::machine::{Input, Machine, Output};
use crate::op::{BucketVersioning, Call, Calling, GetBucketVersioning, GetObject, Next, Session};
use crate::time::Now;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Description {
    format: u32,
    vault: String,
    layout: String,
}

impl Vault {
    /// The bytes of `vault.json`.
    pub(crate) fn description(&self) -> Vec<u8> {
        let description = Description { format: FORMAT, vault: self.id.clone(), layout: self.layout.name().into() };
        let mut bytes = serde_json::to_vec(&description).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    fn compare(&self, found: &[u8]) -> Result<()> {
        let place = format!("s3://{}/{VAULT_KEY}", self.layout.home().name());
        let format = |why: String| Err(Error::new(Code::Format, format!("{place} {why}")));
        let found: serde_json::Value = match serde_json::from_slice(found) {
            Ok(found) => found,
            Err(e) => return format(format!("is not a vault description: {e}")),
        };
        if let Some(name) = found["requires"].as_array().and_then(|names| names.first()) {
            return format(format!("requires {name}, which this library does not support"));
        }
        match serde_json::from_value::<Description>(found) {
            Err(e) => format(format!("is not a vault description: {e}")),
            Ok(found) if found.format != FORMAT => {
                format(format!("has format {}, but this library reads format {FORMAT}", found.format))
            }
            Ok(found) if found.layout != self.layout.name() => {
                let why = format!("{place} says that the vault's mode is {}", found.layout);
                Err(Error::new(Code::VaultMismatch, why))
            }
            Ok(found) if found.vault != self.id => {
                let why = format!(
                    "{place} says that this is vault {}, but the configuration names vault {}",
                    found.vault, self.id
                );
                Err(Error::new(Code::VaultMismatch, why).with_hint(format!(
                    "Check that this is the right bucket. If it was copied or renamed, set vault_id = {}.",
                    found.vault
                )))
            }
            Ok(_) => Ok(()),
        }
    }
}

/// Opens a vault: reads its description and compares it with the configuration. A bucket without one is a vault that is
/// still empty.
///
/// At the same time it asks for the bucket's versioning, so that the first put need not. A reader may lack the
/// permission, and a store may not support the request: without an answer nothing changes, and the put asks.
pub struct Open {
    vault: Arc<Vault>,
    session: Session,
    call: Call<GetObject>,
    versioning: Option<Call<GetBucketVersioning>>,
    started: Option<u64>,
    /// Monotonic time after which the versioning is no longer waited for; set once the description arrived.
    grace_until: Option<u64>,
    result: Option<Result<()>>,
}

/// Minimum time to wait for the versioning after the description arrived, in milliseconds; else as long as the
/// description took.
const GRACE_MS: u64 = 200;

impl Open {
    /// Opens this vault. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, seed: u64) -> Open {
        let session = Session::new(vault.layout.home(), seed);
        let call = Call::new(GetObject::new(VAULT_KEY, 1 << 20));
        let versioning = (!vault.versioned.load(Ordering::Relaxed)).then(|| Call::new(GetBucketVersioning));
        Open { vault, session, call, versioning, started: None, grace_until: None, result: None }
    }
}

impl Machine for Open {
    type Done = ();

    fn handle(&mut self, now: Now, input: Input<'_>) {
        if let Input::Cancel = input {
            self.call.abandon(&mut self.session);
            self.result = Some(Err(Error::new(Code::Cancelled, "opening the vault was cancelled")));
        }
        if let Some(call) = &mut self.versioning
            && let Some(answer) = call.handle(&mut self.session, now, &input)
        {
            if let Ok(BucketVersioning::Enabled) = answer {
                self.vault.versioned.store(true, Ordering::Relaxed);
            }
            self.versioning = None;
        }
        let Some(answer) = self.call.handle(&mut self.session, now, &input) else { return };
        let took = now.mono_ms.saturating_sub(self.started.unwrap_or(now.mono_ms));
        self.grace_until = Some(now.mono_ms.saturating_add(took.max(GRACE_MS)));
        self.result = Some(match answer {
            Ok(found) => self.vault.compare(&found).map(|()| self.vault.described.store(true, Ordering::Relaxed)),
            Err(e) if e.code() == Code::NotFound => Ok(()),
            Err(e) => Err(e),
        });
    }

    fn poll(&mut self, now: Now) -> Output<()> {
        if let Some(output) = self.session.pending() {
            return output;
        }
        self.started.get_or_insert(now.mono_ms);
        let is_over = match &self.result {
            Some(Ok(())) => self.grace_until.is_none_or(|until| until <= now.mono_ms),
            Some(Err(_)) => true,
            None => false,
        };
        if is_over && let Some(mut call) = self.versioning.take() {
            call.abandon(&mut self.session);
            return self.poll(now);
        }
        if self.versioning.is_none()
            && let Some(result) = self.result.take()
        {
            return Output::Done(result);
        }
        let mut soonest = self.grace_until;
        let description = self.result.is_none().then_some(&mut self.call as &mut dyn Calling);
        let versioning = self.versioning.as_mut().map(|call| call as &mut dyn Calling);
        for call in description.into_iter().chain(versioning) {
            match call.poll(&mut self.session, now) {
                Next::Wait(at) => soonest = soonest.into_iter().chain(at).min(),
                next => return next.into(),
            }
        }
        Output::Wait(soonest)
    }
}
