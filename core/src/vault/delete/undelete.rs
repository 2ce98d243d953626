//! *undelete*: hides the newest row of kind `del` by a marker, so that the version before it is visible again.
//!
//! ```text
//!  newest ──a `del` row──▶ Marker ──▶ Done
//! ```

use std::sync::Arc;

use super::newest::{self, Decided, NewestSteps, Wish};
use crate::error::{Code, Error};
use crate::op::{Sequence, Step};
use crate::vault::marker::{Mark, Marker};
use crate::vault::objects::{Kind, RowKey};
use crate::vault::{Name, Vault};

/// The machine that takes a deletion back.
pub type Undelete = Sequence<NewestSteps<Undo>>;

/// Takes the newest deletion back.
pub struct Undo;

impl Undelete {
    /// Takes the newest deletion of a backup back. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, name: Name, seed: u64) -> Undelete {
        newest::start(vault, name, Undo, seed)
    }
}

impl Wish for Undo {
    type Done = ();
    const WHAT: &'static str = "taking the deletion back";

    fn decide(steps: &mut NewestSteps<Undo>, newest: &RowKey) -> Decided<Undo> {
        Decided(if newest.kind == Kind::Del {
            let marker = Marker::new(&steps.vault.id, &steps.name, newest.vid, Mark::Deleted);
            let object = marker.to_object(steps.vault.signing_key());
            Step::call(steps.vault.put_json(marker.key, object), |_, _, _| Step::done(Ok(())))
        } else {
            let (container, path) = (steps.name.container(), steps.name.path());
            let why = format!("{container} {path} is not deleted: its newest version is {}", newest.vid);
            Step::done(Err(Error::new(Code::NotFound, why).with_hint("There is nothing to take back.")))
        })
    }
}
