//! Opening a vault: `_s3vault/vault.json`, the vault's description, is read and compared with the configuration, and
//! the bucket's versioning is checked beside it. The description is a pure function of the configuration, so that
//! concurrent first writers write the same bytes.
//!
//! If each container has a bucket of its own, each of these buckets has a description, which names the container. It is
//! compared when a put first uses the bucket; opening the vault compares that of the first bucket, which stands for all.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::layout::Place;
use super::objects::VAULT_KEY;
use super::signed::FORMAT;
use super::{Vault, is_vault_id};
use crate::account::Bucket;
use crate::error::{Code, Error, Result};
use crate::op::{
    BucketList, BucketVersioning, Call, Context, GetBucketVersioning, GetObject, ListBuckets, Sequence, Step, Steps,
};
use crate::text::presentable;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Description {
    format: u32,
    vault: String,
    layout: String,
    /// The container, if the bucket is that of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    container: Option<String>,
}

/// Maximum size of a description that is read, in bytes: it has a few short fields.
pub const DESCRIPTION_LIMIT: usize = 64 << 10;

impl Vault {
    /// The bytes of `vault.json` in the bucket of this container.
    pub(crate) fn description(&self, container: &str) -> Vec<u8> {
        let container = self.layout.single().is_none().then(|| container.to_owned());
        let (vault, layout) = (self.id.clone(), self.layout.name().into());
        let description = Description { format: FORMAT, vault, layout, container };
        let mut bytes = serde_json::to_vec(&description).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Compares the description that was found in a bucket with the configuration. Returns the container that it names.
    pub(crate) fn compare(&self, bucket: &Bucket, found: &[u8]) -> Result<Option<String>> {
        let place = format!("s3://{}/{VAULT_KEY}", bucket.name());
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
            Ok(found) => Ok(found.container),
        }
    }
}

/// The data of [`Open`].
pub struct OpenSteps {
    vault: Arc<Vault>,
    /// The bucket; `None` if each container has its own.
    place: Option<Arc<Place>>,
}

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
        let place = vault.layout.single().cloned();
        let description = GetObject::new(VAULT_KEY, DESCRIPTION_LIMIT);
        let first = match &place {
            None => {
                let prefix = vault.layout.bucket_prefix().unwrap_or_default().to_owned();
                let list = ListBuckets { prefix, max_buckets: Some(1), ..Default::default() };
                Step::with(Call::new(list), OpenSteps::buckets)
            }
            Some(place) if place.is_versioned() => {
                Step::try_call(description, |steps: &mut OpenSteps, _, answer| Step::done(steps.described(answer)))
            }
            Some(_) => {
                let patience = |answer: &Result<_>, took: u64| match answer {
                    Err(e) if e.code() != Code::NotFound => Some(0),
                    _ => Some(took.max(GRACE_MS)),
                };
                Step::both(description, GetBucketVersioning, patience, OpenSteps::both)
            }
        };
        Sequence::start(&home, OpenSteps { vault, place }, first, seed)
    }
}

impl OpenSteps {
    fn both(&mut self, description: Result<Vec<u8>>, versioning: Option<Result<BucketVersioning>>) -> Step<OpenSteps> {
        if let (Some(Ok(status)), Some(place)) = (versioning, &self.place) {
            // If it does not fit, the first put says so: reading needs no versioning.
            let _ = self.vault.layout.check_place(place, status);
        }
        Step::done(self.described(description))
    }

    fn described(&self, description: Result<Vec<u8>>) -> Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        match description {
            Ok(found) => self.vault.compare(&place.bucket, &found).map(|_| place.set_described(true)),
            Err(e) if e.code() == Code::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// The store answered, so its address and the credentials are right. The description of the first bucket stands for
    /// all: a vault with another id is refused. Those who only store need not be allowed to list the buckets.
    fn buckets(&mut self, context: &mut Context<'_>, _: &Call<ListBuckets>, answer: Result<BucketList>) -> Step<Self> {
        let page = match answer {
            Ok(page) => page,
            Err(e) if e.code() == Code::AccessDenied => return Step::done(Ok(())),
            Err(e) => return Step::done(Err(e)),
        };
        let mut names = page.buckets.into_iter().map(|bucket| bucket.name);
        let Some(name) = names.find(|name| self.vault.layout.may_be_container_bucket(name)) else {
            return Step::done(Ok(()));
        };
        let bucket = self.vault.layout.bucket_named(&name);
        context.session.bucket = bucket.clone();
        let description = GetObject::new(VAULT_KEY, DESCRIPTION_LIMIT);
        Step::try_call(description, move |steps: &mut Self, _, found| {
            Step::done(match found {
                Ok(found) => steps.vault.compare(&bucket, &found).map(|_| ()),
                // Not a bucket of a vault, or not one that these keys may read.
                Err(e) if matches!(e.code(), Code::NotFound | Code::NoSuchBucket | Code::AccessDenied) => Ok(()),
                Err(e) => Err(e),
            })
        })
    }
}
