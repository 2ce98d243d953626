//! Opening a vault: `_s3vault/vault.json`, the vault's description, is read and compared with the configuration, and
//! the bucket's versioning is checked beside it. The description is a pure function of the configuration, so that
//! concurrent first writers write the same bytes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::objects::VAULT_KEY;
use super::signed::FORMAT;
use super::{Vault, is_vault_id};
use crate::error::{Code, Error, Result};
use crate::op::{BucketVersioning, GetBucketVersioning, GetObject, Sequence, Step, Steps};
use crate::text::presentable;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Description {
    format: u32,
    vault: String,
    layout: String,
}

/// Maximum size of a description that is read, in bytes: it has a few short fields.
pub const DESCRIPTION_LIMIT: usize = 64 << 10;

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
            Err(e) => return format(format!("is not a vault description: {}", presentable(e))),
        };
        if let Some(name) = found["requires"].as_array().and_then(|names| names.first()) {
            return format(format!("requires {}, which this library does not support", presentable(name)));
        }
        match serde_json::from_value::<Description>(found) {
            Err(e) => format(format!("is not a vault description: {}", presentable(e))),
            Ok(found) if found.format != FORMAT => {
                format(format!("has format {}, but this library reads format {FORMAT}", found.format))
            }
            Ok(found) if found.layout != self.layout.name() => {
                let why = format!("{place} says that the vault's mode is {}", presentable(found.layout));
                Err(Error::new(Code::VaultMismatch, why))
            }
            Ok(found) if found.vault != self.id => {
                let why = format!(
                    "{place} says that this is vault {}, but the configuration names vault {}",
                    presentable(&found.vault),
                    self.id
                );
                let e = Error::new(Code::VaultMismatch, why);
                Err(if is_vault_id(&found.vault) {
                    e.with_hint(format!(
                        "Check that this is the right bucket. If it was copied or renamed, set vault_id = {}.",
                        found.vault
                    ))
                } else {
                    e.with_hint("Do not set this as vault_id, since it is not the id of a vault: look who can write to the bucket.")
                })
            }
            Ok(_) => Ok(()),
        }
    }
}

/// The data of [`Open`].
pub struct OpenSteps(Arc<Vault>);

impl Steps for OpenSteps {
    type Done = ();
    const WHAT: &'static str = "opening the vault";
    const IS_QUERY: bool = true;
}

/// Opens a vault: reads its description and compares it with the configuration. A bucket without one is a vault that is
/// still empty.
///
/// At the same time it asks for the bucket's versioning, so that the first put need not. A reader may lack the
/// permission, and a store may not support the request: without an answer nothing changes, and the put asks.
pub type Open = Sequence<OpenSteps>;

/// Minimum time to wait for the versioning after the description arrived, in milliseconds; else as long as the
/// description took.
const GRACE_MS: u64 = 200;

impl Open {
    /// Opens this vault. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, seed: u64) -> Open {
        let home = vault.layout.home().clone();
        let description = GetObject::new(VAULT_KEY, DESCRIPTION_LIMIT);
        let first = if vault.versioned.load(Ordering::Relaxed) {
            Step::try_call(description, |steps: &mut OpenSteps, _, answer| Step::done(steps.described(answer)))
        } else {
            let patience = |answer: &Result<_>, took: u64| match answer {
                Err(e) if e.code() != Code::NotFound => Some(0),
                _ => Some(took.max(GRACE_MS)),
            };
            Step::both(description, GetBucketVersioning, patience, OpenSteps::both)
        };
        Sequence::start(&home, OpenSteps(vault), first, seed)
    }
}

impl OpenSteps {
    fn both(&mut self, description: Result<Vec<u8>>, versioning: Option<Result<BucketVersioning>>) -> Step<OpenSteps> {
        if let Some(Ok(BucketVersioning::Enabled)) = versioning {
            self.0.versioned.store(true, Ordering::Relaxed);
        }
        Step::done(self.described(description))
    }

    fn described(&self, description: Result<Vec<u8>>) -> Result<()> {
        match description {
            Ok(found) => self.0.compare(&found).map(|()| self.0.described.store(true, Ordering::Relaxed)),
            Err(e) if e.code() == Code::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }
}
