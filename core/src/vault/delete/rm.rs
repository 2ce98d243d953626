//! *rm*: hides a backup by a row of kind `del`. Nothing is freed, and *undelete* takes it back.
//!
//! ```text
//!  newest ──a version──▶ Row ──stored──▶ Done
//!                         │ its date has passed
//!                         └──▶ Look ──the row is there──▶ Done
//! ```
//! All attempts of the row are signed at the store's clock before the LIST, so that none takes effect later than B after
//! it. The row has no locator, since there is no data.

use std::sync::Arc;

use bytes::Bytes;

use super::newest::{self, Decided, NewestSteps, Wish};
use super::not_found;
use crate::error::{Code, Error, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, ListObjectsV2, PutObject, PutReply, Sequence, Step};
use crate::time::rfc3339;
use crate::vault::manifest::{self, Manifest, Times};
use crate::vault::objects::{Kind, RowKey};
use crate::vault::{Found, Name, Vault, Vid};

/// The machine that hides a backup.
pub type Remove = Sequence<NewestSteps<Rm>>;

/// Hides the backup.
pub struct Rm {
    /// Random bits of the version id.
    entropy: [u8; 10],
    row: Option<(Manifest, Bytes)>,
}

impl Remove {
    /// Hides a backup. `entropy`: random bits of the version id; `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, name: Name, entropy: [u8; 10], seed: u64) -> Remove {
        newest::start(vault, name, Rm { entropy, row: None }, seed)
    }
}

impl Wish for Rm {
    type Done = Found;
    const WHAT: &'static str = "the deletion";

    fn decide(steps: &mut NewestSteps<Rm>, newest: &RowKey) -> Decided<Rm> {
        Decided(if newest.kind == Kind::Del {
            let why = format!("already deleted at {}:", rfc3339(newest.recorded_ms));
            Step::done(Err(not_found(&steps.vault, &steps.name, &why)))
        } else {
            steps.remove()
        })
    }
}

impl NewestSteps<Rm> {
    fn remove(&mut self) -> Step<Self> {
        let after = self.newest.filter(|_| !is_active(Mutation::RemoveBeforeNewest));
        let vid = Vid::new(self.clock.max(after.map_or(0, |vid| vid.unix_ms() + 1)), self.wish.entropy);
        let row = RowKey { vid, recorded_ms: self.clock, kind: Kind::Del, size: 0, parent: None };
        let times = Times { initiated: self.clock, completed: self.clock, stored: self.clock };
        let manifest = Manifest::new(&self.vault.id, &self.name, &row, times, Vec::new(), None);
        let object = Bytes::from(manifest.to_object(self.vault.signing_key()));
        let put = self.vault.put_json(manifest.key.clone(), object.clone());
        self.wish.row = Some((manifest, object));
        Step::with(Call::dated(put, self.clock), |steps: &mut Self, _, call, answer| steps.stored(call, answer))
    }

    fn stored(&mut self, call: &Call<PutObject>, answer: Result<PutReply>) -> Step<Self> {
        match answer {
            Ok(_) => self.done(),
            Err(e) if e.is_expired() && call.maybe_done() => {
                let list = ListObjectsV2 { prefix: call.op().key.clone(), ..Default::default() };
                Step::call(list, move |steps: &mut Self, op, page| {
                    let is_there = page.keys().any(|key| key == op.prefix);
                    if is_there { steps.done() } else { Step::done(Err(not_done(e))) }
                })
            }
            Err(e) if e.is_expired() => Step::done(Err(not_done(e))),
            Err(e) => Step::done(Err(e)),
        }
    }

    fn done(&mut self) -> Step<Self> {
        let Some((manifest, object)) = self.wish.row.take() else { return self.nothing() };
        let signed_by = self.vault.signing_key().map(|key| key.public().id().to_owned());
        let row = manifest.row(manifest::hash(&object), signed_by);
        Step::done(Ok(Found { row, manifest, object }))
    }
}

/// The request's date has passed, and it had no effect.
fn not_done(e: Error) -> Error {
    e.recode(Code::NotDone).context("the backup was not deleted")
}
