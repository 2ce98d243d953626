//! *Retire*: makes sure that nothing in a bucket needs a key-encryption key (KEK), so that its owner can drop it.
//!
//! ```text
//!  look ──closed, 2W ago──▶ LIST of all locators ──▶ Done: what needs it, or nothing
//!   │ └──closed, younger──▶ Done: when to come again
//!   └──open──▶ PUT the marker ──▶ Done: when to come again
//! ```
//! A put has looked for the marker at most W before the date of its locator, which takes effect within B after it. So
//! after 2W the LIST shows every locator that names the KEK. The marker stays.

use std::sync::Arc;

use super::Vault;
use super::closed::{Closed, look};
use super::delete::check_may_sign;
use super::objects::{LOCATORS, LocatorKey};
use crate::crypto::keyring::{current_is_not_retired, is_kek_id};
use crate::error::{Code, Error, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, ListObjectsV2, Paged, Sequence, Step, Steps};
use crate::text::presentable;

/// Most locators that are named.
const NAMED: usize = 10;

/// What a run found in one bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Until then, in Unix milliseconds of the store's clock, a put that is running may still need the KEK: run it again
    /// later. `None`: it was looked what needs the KEK.
    pub wait_until_ms: Option<i64>,
    /// Number of locators that name it.
    pub needed: u64,
    /// Keys of the first of them.
    pub first: Vec<String>,
}

impl Retired {
    /// Whether nothing in the bucket needs the KEK.
    pub fn is_unneeded(&self) -> bool {
        self.wait_until_ms.is_none() && self.needed == 0
    }
}

/// The machine that retires a KEK in one bucket.
pub type Retire = Sequence<RetireSteps>;

/// What [`Retire`] knows on its way.
pub struct RetireSteps {
    vault: Arc<Vault>,
    kek: String,
    found: Retired,
}

impl Steps for RetireSteps {
    type Done = Retired;
    const WHAT: &'static str = "retiring the key";
}

impl Retire {
    /// Retires a KEK in the vault's bucket, or in the container's where each has its own. `seed` drives the jitter of
    /// retries.
    pub fn new(vault: Arc<Vault>, container: Option<&str>, kek: &str, seed: u64) -> Result<Retire> {
        check_may_sign(&vault)?;
        if !is_kek_id(kek) {
            let why =
                format!("'{}' is no id of a key-encryption key: 16 lower-case hex digits expected", presentable(kek));
            return Err(Error::new(Code::InvalidOption, why).with_hint("'s3vault keys list FILE' shows the ids."));
        }
        if vault.current_kek()?.id() == kek {
            return Err(current_is_not_retired(kek));
        }
        let bucket = vault.layout.place_of(container)?.bucket.clone();
        let first = look(&vault, &bucket, kek, |steps: &mut RetireSteps, context, look| {
            let wait_ms = steps.wait_ms();
            match look.closed_ms {
                None => steps.close(),
                Some(closed_ms) if closed_ms.saturating_add(wait_ms) > context.clock() => {
                    steps.wait(closed_ms.saturating_add(wait_ms))
                }
                Some(_) => steps.look_for_locators(),
            }
        });
        let steps = RetireSteps { vault, kek: kek.to_owned(), found: Retired::default() };
        Ok(Sequence::start(&bucket, steps, first, seed))
    }
}

impl RetireSteps {
    /// How old the marker must be, in milliseconds: 2W, and a second since stores say when an object was written in whole
    /// ones.
    fn wait_ms(&self) -> i64 {
        if is_active(Mutation::RetireAtOnce) {
            0
        } else {
            4 * self.vault.account().profile().max_request_age_ms + 1_000
        }
    }

    fn wait(&mut self, until_ms: i64) -> Step<Self> {
        Step::done(Ok(Retired { wait_until_ms: Some(until_ms), ..Retired::default() }))
    }

    fn close(&mut self) -> Step<Self> {
        let marker = Closed::new(&self.vault.id, &self.kek);
        let put = self.vault.put_json(marker.key.clone(), marker.to_object(self.vault.signing_key()));
        Step::with(Call::new(put), |steps: &mut Self, context, _, answer| match answer {
            Ok(_) if is_active(Mutation::RetireAtOnce) => steps.look_for_locators(),
            Ok(_) => {
                let until_ms = context.clock().saturating_add(steps.wait_ms());
                steps.wait(until_ms)
            }
            Err(e) => Step::done(Err(e)),
        })
    }

    fn look_for_locators(&mut self) -> Step<Self> {
        if is_active(Mutation::RetireWithoutLook) {
            return Step::done(Ok(Retired::default()));
        }
        Self::page(ListObjectsV2 { prefix: LOCATORS.to_owned(), ..Default::default() })
    }

    fn page(list: ListObjectsV2) -> Step<Self> {
        Step::call(list, |steps: &mut Self, list, page| {
            let next = list.next(&page);
            for key in page.objects.into_iter().map(|object| object.key) {
                if LocatorKey::of(&key).and_then(|locator| locator.kek).as_deref() != Some(&*steps.kek) {
                    continue;
                }
                steps.found.needed += 1;
                if steps.found.first.len() < NAMED {
                    steps.found.first.push(key);
                }
            }
            match next {
                Some(next) => Self::page(next),
                None => Step::done(Ok(std::mem::take(&mut steps.found))),
            }
        })
    }
}
