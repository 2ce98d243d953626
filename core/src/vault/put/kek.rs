//! Whether the key-encryption key (KEK) is closed that a put wraps its data key with: that is looked at, beside the first
//! LIST, at most W before the locator is signed. A process remembers it for each bucket.

use std::sync::Arc;

use super::{Put, State};
use crate::error::Result;
use crate::mutation::{Mutation, is_active};
use crate::op::{Step, Steps, Strand};
use crate::vault::Vault;
use crate::vault::closed::look;
use crate::vault::layout::Place;

/// The data of the look.
pub(super) struct KekLook {
    vault: Arc<Vault>,
    place: Arc<Place>,
    kek: String,
}

impl Steps for KekLook {
    type Done = ();
    const WHAT: &'static str = "looking whether the key is closed";
}

impl KekLook {
    fn start(vault: &Arc<Vault>, place: &Arc<Place>, kek: &str) -> Strand<KekLook> {
        let first = look(vault, &place.bucket, kek, |steps: &mut KekLook, _, look| {
            if look.closed_ms.is_some() {
                return Step::done(Err(steps.vault.closed(&steps.kek)));
            }
            steps.place.set_kek_open(&steps.kek, look.listed_ms);
            Step::done(Ok(()))
        });
        Strand::start(KekLook { vault: vault.clone(), place: place.clone(), kek: kek.to_owned() }, first)
    }
}

impl Put {
    /// How old a look may be when a locator is signed, in milliseconds: W.
    pub(super) fn look_lasts_ms(&self) -> i64 {
        2 * self.vault.account().profile().max_request_age_ms
    }

    /// Looks at the KEK unless that was done at most `lasts_ms` before this time.
    pub(super) fn look_at_kek(&mut self, at_ms: i64, lasts_ms: i64) {
        if self.kek_look.is_some() || !self.vault.encryption().has_data_key() || is_active(Mutation::PutIgnoresClosed) {
            return;
        }
        // That there is one was checked at the start.
        let Ok(kek) = self.vault.current_kek() else { return };
        let is_known = self
            .place
            .kek_was_open_ms(kek.id())
            .is_some_and(|looked_ms| looked_ms.saturating_add(lasts_ms) >= at_ms || is_active(Mutation::PutLooksOnce));
        if !is_known {
            self.kek_look = Some(KekLook::start(&self.vault, &self.place, kek.id()));
        }
    }

    /// The look has ended.
    pub(super) fn kek_looked(&mut self, result: Result<()>) {
        self.kek_look = None;
        let state = std::mem::replace(&mut self.state, State::Over);
        self.state = match (result, state) {
            (Ok(()), State::Listed) => self.decided(),
            (Ok(()), state) => state,
            (Err(e), state) => {
                self.state = state;
                self.abandon_state();
                self.fail(e)
            }
        };
    }
}
