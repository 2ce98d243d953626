//! The newest visible version of a backup, which *rm* and *undelete* decide on. Where a key is trusted, only what
//! verifies decides.
//!
//! ```text
//!  List ──▶ Read (what has to be verified, one object after the other) ──the newest visible row──▶ decide
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Seen, check_may_sign, not_found, seen};
use crate::account::Bucket;
use crate::error::{Code, Result};
use crate::op::{Call, Context, ListObjectsV2, Listing, Paged, Sequence, Step, Steps};
use crate::vault::find::{AHEAD_MS, in_the_future};
use crate::vault::manifest::Opened;
use crate::vault::objects::{CatalogueKey, Entry, RowKey, catalogue_prefix};
use crate::vault::proof::{Claim, Outcome, Proving, ignore, prove};
use crate::vault::{Name, Vault, Vid};

/// What is to be done with the newest visible version.
pub trait Wish: Sized + Send + 'static {
    /// The result.
    type Done;
    /// What is done, for the error of a cancel.
    const WHAT: &'static str;

    /// Decides on the newest visible row.
    #[doc(hidden)]
    fn decide(steps: &mut NewestSteps<Self>, newest: &RowKey) -> Decided<Self>;
}

/// What a [`Wish`] does next.
pub struct Decided<W: Wish>(pub(super) Step<NewestSteps<W>>);

/// What a machine knows that decides on the newest visible version.
pub struct NewestSteps<W> {
    pub(super) vault: Arc<Vault>,
    pub(super) bucket: Arc<Bucket>,
    pub(super) name: Name,
    pub(super) wish: W,
    /// The store's clock before the LIST.
    pub(super) clock: i64,
    /// The newest version id that counts: a new one has to be later. Only what verifies counts, if it is ahead of the clock.
    pub(super) newest: Option<Vid>,
    /// The page that follows.
    next: Option<ListObjectsV2>,
    /// The entries that are not decided on yet, the newest first.
    entries: VecDeque<Seen>,
    /// The version that the last marker hides.
    hidden: Option<Vid>,
    /// The entry that was read last counts.
    is_proven: bool,
}

impl<W: Wish> Steps for NewestSteps<W> {
    type Done = W::Done;
    const WHAT: &'static str = W::WHAT;
}

impl<W: Wish> Proving for NewestSteps<W> {
    fn place(&self) -> (&Arc<Vault>, Arc<Bucket>) {
        (&self.vault, self.bucket.clone())
    }

    /// What is hidden, or says nothing, counts as its text stands, unless it moves the version id ahead of the clock.
    fn must_read(&self, claim: &Claim) -> Option<Result<usize>> {
        let entry = CatalogueKey::parse(&claim.key)?.entry;
        let is_ahead = entry.vid().unix_ms() > self.clock;
        match entry {
            Entry::Suspected(_) if !is_ahead => None,
            Entry::Row(row) if self.hidden == Some(row.vid) && !is_ahead => None,
            _ => self.vault.must_prove(&claim.key, claim.size),
        }
    }

    fn proven(&mut self, context: &mut Context<'_>, key: &str, outcome: Outcome<Option<Opened>>) {
        self.is_proven = matches!(outcome, Outcome::Counts(_));
        if let Outcome::Refused(why) = outcome {
            ignore(context, &self.bucket, key, &why);
        }
    }
}

/// Starts a machine that decides on the newest visible version of a backup.
pub(super) fn start<W: Wish>(vault: Arc<Vault>, name: Name, wish: W, seed: u64) -> Sequence<NewestSteps<W>> {
    let first = match check_may_sign(&vault) {
        Ok(()) => NewestSteps::list(ListObjectsV2 { prefix: catalogue_prefix(&name), ..Default::default() }),
        Err(e) => Step::done(Err(e)),
    };
    let bucket = vault.bucket(name.container());
    let (entries, next, hidden) = (VecDeque::new(), None, None);
    let (clock, newest, is_proven) = (0, None, false);
    let steps =
        NewestSteps { vault, bucket: bucket.clone(), name, wish, clock, newest, next, entries, hidden, is_proven };
    Sequence::start(&bucket, steps, first, seed)
}

impl<W: Wish> NewestSteps<W> {
    fn list(op: ListObjectsV2) -> Step<Self> {
        Step::with(Call::new(op), |steps: &mut Self, _, call, page| match page {
            Ok(page) => steps.page(call, page),
            // The container has no bucket yet.
            Err(e) if e.code() == Code::NoSuchBucket && steps.vault.layout.single().is_none() => steps.nothing(),
            Err(e) => Step::done(Err(e)),
        })
    }

    fn page(&mut self, call: &Call<ListObjectsV2>, page: Listing) -> Step<Self> {
        if call.op().token.is_none() {
            self.clock = call.sent_ms();
        }
        self.next = call.op().next(&page);
        self.entries.extend(seen(page));
        self.look()
    }

    pub(super) fn nothing(&self) -> Step<Self> {
        Step::done(Err(not_found(&self.vault, &self.name, "there is no backup")))
    }

    /// Looks at the entries until the newest visible row is found.
    fn look(&mut self) -> Step<Self> {
        while let Some(seen) = self.entries.pop_front() {
            let claim = seen.claim();
            if self.must_read(&claim).is_some() {
                return prove(self, [claim], move |steps: &mut Self, _| {
                    let decision = std::mem::take(&mut steps.is_proven).then(|| steps.counts(&seen)).flatten();
                    decision.unwrap_or_else(|| steps.look())
                });
            }
            if let Some(step) = self.counts(&seen) {
                return step;
            }
        }
        // Most often the first page has a visible version.
        match self.next.take() {
            Some(next) => Self::list(next),
            None => self.nothing(),
        }
    }

    /// Counts an entry. Decides if it is the newest visible row.
    fn counts(&mut self, seen: &Seen) -> Option<Step<Self>> {
        let vid = seen.entry.vid();
        if vid.unix_ms() > self.clock.saturating_add(AHEAD_MS) {
            return Some(Step::done(Err(in_the_future(&self.name, vid))));
        }
        self.newest.get_or_insert(vid);
        match &seen.entry {
            Entry::Deleted(vid) => {
                self.hidden = Some(*vid);
                None
            }
            Entry::Row(row) if self.hidden != Some(row.vid) => Some(W::decide(self, row).0),
            Entry::Row(_) | Entry::Suspected(_) => None,
        }
    }
}
