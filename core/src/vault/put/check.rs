//! The *check*: whether the version is still this put's. It looks at its rows, then at its locators.

use super::row::row_unknown;
use super::{Put, State};
use crate::error::{Code, Error};
use crate::op::{Call, ListObjectsV2, Listing};
use crate::time::Now;
use crate::vault::objects::{LocatorKey, catalogue_prefix, locator_prefix};

/// What a check is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum For {
    Data,
    Row,
    /// To go on from a checkpoint.
    Resume,
}

impl Put {
    /// Whether what is signed at this check could still take effect.
    pub(super) fn holds(&self, now: Now, check: i64) -> bool {
        self.session.clock(now) < check.saturating_add(self.vault.store.profile.late_ms)
    }

    pub(super) fn recheck(&mut self, what: For) -> State {
        let prefix = format!("{}{}.", catalogue_prefix(&self.request.name), self.vid);
        State::RecheckRows(Call::new(ListObjectsV2 { prefix, ..Default::default() }), what)
    }

    pub(super) fn rows_checked(&mut self, call: &Call<ListObjectsV2>, page: Listing, what: For) -> State {
        self.check = call.sent_ms();
        if matches!(what, For::Resume) {
            return self.resume_checked(&page);
        }
        let own = self.fixed.as_ref().map(|fixed| fixed.manifest.key.as_str());
        if own.is_some_and(|own| page.keys().any(|key| key == own)) {
            return self.acknowledge();
        }
        if let Some(key) = page.keys().next() {
            let why = format!(
                "another process has written {key} for this version: it was deleted, or swept as abandoned, or finished"
            );
            return self.fail(Error::new(Code::GivenUp, why));
        }
        self.recheck_locators(what)
    }

    /// The second half of a check.
    pub(super) fn recheck_locators(&self, what: For) -> State {
        let prefix = locator_prefix(&self.request.name, self.vid);
        State::RecheckLocators(Call::new(ListObjectsV2 { prefix, ..Default::default() }), what)
    }

    pub(super) fn locators_checked(&mut self, now: Now, page: &Listing, what: For) -> State {
        let first = LocatorKey { vid: self.vid, generation: 0, kek: None, parent: self.request.parent };
        if !page.keys().eq([first.key(&self.request.name)]) {
            if matches!(what, For::Resume) {
                return self.anew();
            }
            let why =
                format!("the locator of version {} is gone or was replaced: another process gave it up", self.vid);
            return self.fail(Error::new(Code::GivenUp, why));
        }
        match what {
            For::Data => self.send(now),
            For::Row => self.put_row(),
            For::Resume => self.resumed(now),
        }
    }

    /// A check failed. Where a row that was sent may be there, that is no failure of the put.
    pub(super) fn unchecked(&mut self, e: Error, what: For) -> State {
        if !matches!(what, For::Row) || !self.row_sent {
            return self.fail(e);
        }
        State::Unchecked(Some(row_unknown(e)))
    }
}
