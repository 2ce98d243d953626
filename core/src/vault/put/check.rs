//! The *check*: whether the version still belongs to this put. It lists the version's rows, then its locators.

use super::row::row_unknown;
use super::{Put, State};
use crate::error::{Code, Error};
use crate::op::{Call, ListObjectsV2, Listing, Paged};
use crate::text::presentable_key;
use crate::time::Now;
use crate::vault::objects::{LocatorKey, catalogue_prefix, locator_prefix};

/// The purpose of a check.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Data,
    Row,
    /// To resume from a checkpoint.
    Resume,
}

impl Put {
    /// Whether a request that is signed with this check's date can still take effect.
    pub(super) fn is_check_valid(&self, now: Now, check: i64) -> bool {
        self.session.clock(now) < check.saturating_add(self.vault.account().profile().max_request_age_ms)
    }

    pub(super) fn recheck(&mut self, purpose: Purpose) -> State {
        let prefix = format!("{}{}.", catalogue_prefix(&self.request.name), self.vid);
        State::RecheckRows(Call::new(ListObjectsV2 { prefix, ..Default::default() }), purpose)
    }

    pub(super) fn rows_checked(
        &mut self,
        now: Now,
        call: &Call<ListObjectsV2>,
        page: Listing,
        purpose: Purpose,
    ) -> State {
        if call.op().token.is_none() {
            self.check = call.sent_ms();
        }
        // A store may answer with an empty page and say that more follow.
        if page.keys().next().is_none()
            && let Some(next) = call.op().next(&page)
        {
            return State::RecheckRows(Call::new(next), purpose);
        }
        if matches!(purpose, Purpose::Resume) {
            return if self.is_future(now, self.vid) { self.future(self.vid) } else { self.resume_checked(&page) };
        }
        let own = self.built_row.as_ref().map(|built_row| built_row.manifest.key.as_str());
        if own.is_some_and(|own| page.keys().any(|key| key == own)) {
            return self.acknowledge();
        }
        if let Some(key) = page.keys().next() {
            let why = format!(
                "another process wrote {} for this version: the version was deleted, swept as abandoned, or finished",
                presentable_key(key)
            );
            return self.fail(Error::new(Code::Abandoned, why));
        }
        self.recheck_locators(purpose)
    }

    /// The second half of a check.
    pub(super) fn recheck_locators(&self, purpose: Purpose) -> State {
        let prefix = locator_prefix(&self.request.name, self.vid);
        State::RecheckLocators(Call::new(ListObjectsV2 { prefix, ..Default::default() }), purpose)
    }

    pub(super) fn locators_checked(
        &mut self,
        now: Now,
        call: &Call<ListObjectsV2>,
        page: &Listing,
        purpose: Purpose,
    ) -> State {
        if page.keys().next().is_none()
            && let Some(next) = call.op().next(page)
        {
            return State::RecheckLocators(Call::new(next), purpose);
        }
        let first = LocatorKey {
            vid: self.vid,
            generation: 0,
            kek: self.wrapped.as_ref().map(|wrapped| wrapped.kek.clone()),
            parent: self.request.parent,
        };
        if !page.keys().eq([first.key(&self.request.name)]) {
            // Somebody may have rotated the keys of the version, whose row was written after it was listed.
            let is_rotated = page.keys().next().is_some() && self.built_row.is_some();
            if is_rotated && !std::mem::replace(&mut self.is_rechecked, true) {
                return self.recheck(purpose);
            }
            if matches!(purpose, Purpose::Resume) {
                return self.restart();
            }
            let why = format!(
                "the locator of version {} is missing or was replaced: another process abandoned the version",
                self.vid
            );
            return self.fail(Error::new(Code::Abandoned, why));
        }
        match purpose {
            Purpose::Data => self.send(now),
            Purpose::Row => self.put_row(),
            Purpose::Resume => self.resumed(now),
        }
    }

    /// A check failed. If a row that was sent may exist, the put's outcome is unknown; otherwise the put fails.
    pub(super) fn check_failed(&mut self, e: Error, purpose: Purpose) -> State {
        if !matches!(purpose, Purpose::Row) || !self.row_sent {
            return self.fail(e);
        }
        State::CheckFailed(Some(row_unknown(e)))
    }
}
