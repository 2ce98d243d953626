//! Retires a key-encryption key (KEK): makes sure that nothing in the vault needs it, and drops it from the keyring.

use std::collections::VecDeque;

use s3vault_core::time::rfc3339;
use s3vault_core::vault::{Retire, Retired, Scope};
use s3vault_core::{Code, Error, Result};

use super::{List, Vault};
use crate::control::{Control, after_interrupt};
use crate::driver::Started;
use crate::entropy;
use crate::keyring::Keys;

/// Buckets that are looked at at the same time.
const BUCKETS: usize = 4;

/// Most locators that are named.
const NAMED: usize = 10;

/// Where the retirement of a KEK is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetireState {
    /// Puts that are running may still need it, until a time of the store.
    Waiting,
    /// Versions need it: their data keys are wrapped with it.
    Needed,
    /// Nothing needs it, and the keyring no longer has it.
    Retired,
}

impl RetireState {
    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            RetireState::Waiting => "waiting",
            RetireState::Needed => "needed",
            RetireState::Retired => "retired",
        }
    }
}

/// What [`Vault::retire`] found in all buckets of the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retirement {
    /// The KEK's id.
    pub kek: String,
    found: Retired,
}

impl Retirement {
    /// Where the retirement is. What needs the KEK is said first: a rotation comes before the wait.
    pub fn state(&self) -> RetireState {
        match (self.found.needed, self.found.wait_until_ms) {
            (1.., _) => RetireState::Needed,
            (0, Some(_)) => RetireState::Waiting,
            (0, None) => RetireState::Retired,
        }
    }

    /// Until when to wait before it is retired again, in Unix milliseconds of the store's clock; `None` if no bucket has to
    /// be waited for.
    pub fn wait_until_ms(&self) -> Option<i64> {
        self.found.wait_until_ms
    }

    /// Number of locators that need it, in the buckets that were not waited for.
    pub fn needed(&self) -> u64 {
        self.found.needed
    }

    /// Keys of the first ten of these locators.
    pub fn first(&self) -> &[String] {
        &self.found.first
    }

    /// The report as JSON: `{"kek":"<id>","state":"waiting","wait_until":"<RFC 3339>","needed":0,"first":["<key>"]}`, in
    /// which `wait_until` may be null.
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "kek": self.kek, "state": self.state().as_str(), "wait_until": self.wait_until_ms().map(rfc3339),
            "needed": self.needed(), "first": self.first(),
        })
        .to_string()
    }

    /// Adds what was found in another bucket.
    fn add(&mut self, other: Retired) {
        self.found.wait_until_ms = self.found.wait_until_ms.max(other.wait_until_ms);
        self.found.needed += other.needed;
        let room = NAMED.saturating_sub(self.found.first.len());
        self.found.first.extend(other.first.into_iter().take(room));
    }
}

impl Vault {
    /// Retires a key-encryption key (KEK) of the keyring `keys`, with which the vault was opened. The first call closes it:
    /// no new data key is wrapped with it. A call that comes once every put from before that has ended looks for what needs
    /// it in all buckets, and drops it from the keyring, and from its file, if nothing does.
    ///
    /// The current KEK is refused, and so is one that the keyring never had. A call that was stopped can be repeated; so can
    /// one for a KEK that is retired.
    pub fn retire(&self, keys: &Keys, kek: &str, control: &mut Control<'_>) -> Result<Retirement> {
        let keyring = keys.keyring();
        let own = self.0.keyring.as_ref().map(|keyring| keyring.signing_key().public());
        if own != Some(keyring.signing_key().public()) {
            let why = "the vault was opened with another keyring than the one of which a key is to be retired";
            return Err(Error::new(Code::Keyring, why).with_hint("Open the vault with that keyring."));
        }
        keyring.check_may_retire(kek)?;
        let look = |control: &mut Control<'_>| self.look_for_needs(kek, control);
        let found = control.one_call(look).map_err(|e| {
            after_interrupt(e, || {
                "Run it again to continue: the keyring still has the key, and nothing is lost.".into()
            })
        })?;
        if found.state() == RetireState::Retired {
            keys.retire(kek)?;
        }
        Ok(found)
    }

    /// Looks in each bucket of the vault for what needs the KEK.
    fn look_for_needs(&self, kek: &str, control: &mut Control<'_>) -> Result<Retirement> {
        let mut total = Retirement { kek: kek.to_owned(), found: Retired::default() };
        let mut running = VecDeque::new();
        if !self.0.vault.has_bucket_per_container() {
            total.add(self.start_retire(None, kek, control)?.end(0, control)?);
            return Ok(total);
        }
        let mut containers = List::new(self, Scope::Buckets.into())?;
        while let Some(row) = containers.next(control)? {
            if running.len() >= BUCKETS {
                end_first(&mut running, &mut total, control)?;
            }
            running.push_back(self.start_retire(Some(&row.container), kek, control)?);
        }
        while !running.is_empty() {
            end_first(&mut running, &mut total, control)?;
        }
        Ok(total)
    }

    fn start_retire(&self, container: Option<&str>, kek: &str, control: &Control<'_>) -> Result<Started<Retired>> {
        let machine = Retire::new(self.0.vault.clone(), container, kek, entropy::seed()?)?;
        Started::start(&self.0.client.host, machine, control)
    }
}

/// Waits for the bucket that was started first.
fn end_first(
    running: &mut VecDeque<Started<Retired>>,
    total: &mut Retirement,
    control: &mut Control<'_>,
) -> Result<()> {
    if let Some(bucket) = running.pop_front() {
        total.add(bucket.end(0, control)?);
    }
    Ok(())
}
