//! Making a vault before its first put: the bucket's versioning is checked, and `_s3vault/vault.json` is written. A put
//! does the same, so this only shows earlier whether the bucket fits.
//!
//! ```text
//!  GetBucketVersioning ──it fits──▶ GetObject vault.json ──none──▶ PutObject ──▶ Done
//!                                           └──that of this vault──▶ Done
//! ```
//! If each container has a bucket of its own, a put makes the bucket with its description, and there is nothing to do.

use std::sync::Arc;

use super::Vault;
use super::layout::Place;
use super::objects::VAULT_KEY;
use super::open::DESCRIPTION_LIMIT;
use crate::error::{Code, Result};
use crate::op::{BucketVersioning, GetBucketVersioning, GetObject, Sequence, Step, Steps};

/// What [`Init`] found or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Initialized {
    /// The description was written.
    Made,
    /// The bucket has the description of this vault already.
    WasThere,
    /// Each container has a bucket of its own, which its first put makes.
    BucketPerContainer,
}

/// What [`Init`] knows.
pub struct InitSteps {
    vault: Arc<Vault>,
    place: Option<Arc<Place>>,
}

impl Steps for InitSteps {
    type Done = Initialized;
    const WHAT: &'static str = "making the vault";
    const IS_QUERY: bool = true;
}

/// The machine that makes a vault.
pub type Init = Sequence<InitSteps>;

impl Init {
    /// Makes this vault, if it is not there yet. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, seed: u64) -> Init {
        let home = vault.layout.home().clone();
        let place = vault.layout.single().cloned();
        let first = match &place {
            Some(_) => Step::try_call(GetBucketVersioning, |steps: &mut InitSteps, _, answer| steps.versioning(answer)),
            None => Step::done(Ok(Initialized::BucketPerContainer)),
        };
        Sequence::start(&home, InitSteps { vault, place }, first, seed)
    }
}

impl InitSteps {
    fn versioning(&mut self, answer: Result<BucketVersioning>) -> Step<InitSteps> {
        let Some(place) = &self.place else { return Step::done(Ok(Initialized::BucketPerContainer)) };
        match answer {
            Ok(status) => {
                if let Err(e) = self.vault.layout.check_place(place, status) {
                    return Step::done(Err(e));
                }
            }
            // The keys may not ask, or the store cannot answer: the first put shows it.
            Err(e) if e.code() == Code::AccessDenied || e.status() == 501 => {}
            Err(e) => return Step::done(Err(e)),
        }
        let get = GetObject::new(VAULT_KEY, DESCRIPTION_LIMIT);
        Step::try_call(get, |steps: &mut InitSteps, _, answer| steps.description(answer))
    }

    fn description(&mut self, answer: Result<Vec<u8>>) -> Step<InitSteps> {
        let Some(place) = self.place.clone() else { return Step::done(Ok(Initialized::BucketPerContainer)) };
        match answer {
            Ok(found) => Step::done(self.vault.compare(&place.bucket, &found).map(|_| {
                place.set_described(true);
                Initialized::WasThere
            })),
            Err(e) if e.code() == Code::NotFound => {
                let put = self.vault.put_json(VAULT_KEY, self.vault.description(""));
                Step::call(put, move |_: &mut InitSteps, _, _| {
                    place.set_described(true);
                    Step::done(Ok(Initialized::Made))
                })
            }
            Err(e) => Step::done(Err(e)),
        }
    }
}
