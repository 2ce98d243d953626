//! Memory: counted frames for payload, never more than the limit.
//!
//! There are three ways to get frames. An *account* belongs to a transfer whose bytes stay in memory until somebody
//! else acts (the parts of a stream until they are sent, ranges until they are read). It reserves a base once, in
//! line, and its grants come from the base, or from free memory while nobody waits. *More* is one frame beyond a
//! grant, available now or not at all. A *take* is one frame for a connection that reads or writes a file.
//!
//! Why nobody waits forever:
//! - A take needs one frame, and only the network or the disk is needed to return it: a holder of a frame takes no other
//!   before it has handed on the first. A share of the memory is reserved for takes, so accounts cannot use up everything.
//! - Once its account has its base, a grant waits only for frames of its own transfer: all of the base is returned
//!   when the parts in progress are sent, or the earlier ranges are read; and a grant is given whole or not at all.
//! - Only for a base do accounts wait in line, first come, first served; those transfers hold nothing yet.
//!
//! A frame that holds a segment counts as four. One that is taken for a file is taken before its connection, and is kept until
//! its range is there, since a segment cannot be decrypted before it is complete. Its holder may wait for a connection, whose
//! holder may wait for a take: so these frames leave half of the share to takes, and accounts leave them the other half.
//!
//! A reply that is collected (a listing, a manifest) counts too, in whole frames. It never waits, since the transfer that
//! holds all memory may be the one that needs the reply: payload waits for it instead. So what is in use exceeds the
//! limit by such replies at most.
//!
//! A lowered limit takes effect as frames are returned. Free frames that are kept take memory too: together with frames that
//! are handed out, and with replies, they never exceed the limit. What is only promised takes none yet.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use s3vault_core::{Code, Error, Result};
use tokio::sync::oneshot::{self, Receiver, Sender};

use crate::transport::frames::{FRAME, Frame, Pages, Size};
use crate::transport::runtime::guard_fork;

/// The pool keeps this many free frames (16 MiB), and as many again as are handed out; while a transfer has an account, all that
/// the limit allows. So frames in frequent use are allocated once.
const KEEP_FREE: usize = 64;

/// One frame in this many is reserved for connections that transfer files.
const SHARE: usize = 8;

/// The memory of all transfers.
pub(crate) struct Pool(Mutex<State>);

struct State {
    limit: usize,
    /// Frames that are promised or handed out.
    held: usize,
    peak: usize,
    /// Frames that are handed out.
    out: usize,
    out_peak: usize,
    /// Frames that collected replies count as.
    replies: usize,
    free: Vec<Pages>,
    /// Free frames for segments.
    free_segments: Vec<Pages>,
    takers: VecDeque<Sender<Frame>>,
    segment_takers: VecDeque<Sender<Frame>>,
    accounts: HashMap<u64, Ledger>,
    /// Accounts that wait for their base.
    line: VecDeque<u64>,
    /// Accounts that have their base and wait for frames of their own.
    waiting: VecDeque<u64>,
    next: u64,
}

/// What is known about an account.
struct Ledger {
    base: usize,
    /// Whether it has received its base.
    has_base: bool,
    /// Frames of the base that are not granted.
    left: usize,
    /// Frames granted beyond the base.
    extra: usize,
    requests: VecDeque<(usize, Sender<Grant>)>,
}

/// What is handed out after the lock is released: if a receiver is gone, dropping the delivery takes the lock again.
type Deliveries = Vec<Box<dyn FnOnce() + Send>>;

impl Pool {
    /// Creates a pool with a limit in bytes.
    pub(crate) fn new(limit: u64) -> Arc<Pool> {
        let limit = frames(limit);
        Arc::new(Pool(Mutex::new(State {
            limit,
            held: 0,
            peak: 0,
            out: 0,
            out_peak: 0,
            replies: 0,
            free: Vec::new(),
            free_segments: Vec::new(),
            takers: VecDeque::new(),
            segment_takers: VecDeque::new(),
            accounts: HashMap::new(),
            line: VecDeque::new(),
            waiting: VecDeque::new(),
            next: 0,
        })))
    }

    /// Changes the limit, in bytes.
    pub(crate) fn set_limit(self: &Arc<Self>, limit: u64) {
        self.change(|state| {
            state.limit = frames(limit);
            state.drop_free();
        });
    }

    /// Memory in use, its peak, and its limit, in bytes.
    pub(crate) fn figures(&self) -> (u64, u64, u64) {
        let state = self.state();
        let bytes = |frames: usize| (frames * FRAME) as u64;
        (bytes(state.held), bytes(state.peak), bytes(state.limit))
    }

    /// Waits for a frame for a connection. The holder hands it on before it takes the next.
    pub(crate) async fn take(self: &Arc<Self>) -> Frame {
        self.take_of(Size::Plain).await
    }

    /// The same, for a segment. The holder has no connection yet: it keeps the frame while it waits for one.
    pub(crate) async fn take_segment(self: &Arc<Self>) -> Frame {
        self.take_of(Size::Segment).await
    }

    async fn take_of(self: &Arc<Self>, size: Size) -> Frame {
        loop {
            let (sender, receiver) = oneshot::channel();
            self.change(|state| match size {
                Size::Plain => state.takers.push_back(sender),
                Size::Segment => state.segment_takers.push_back(sender),
            });
            // The pool drops no sender; if it ever does, the caller waits again.
            if let Ok(frame) = receiver.await {
                return frame;
            }
        }
    }

    /// Returns a frame for a connection, if one is free now and nobody waits for one.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Frame> {
        self.change(|state| {
            if state.is_wanted() || state.held >= state.limit {
                return None;
            }
            state.hold(1);
            Some(state.hand_out(self, Size::Plain, None))
        })
    }

    /// Starts to count a reply.
    pub(crate) fn collected(self: &Arc<Self>) -> Collected {
        Collected { pool: self.clone(), bytes: 0, frames: 0 }
    }

    /// Opens an account with a base of `base` bytes, and puts it in line.
    pub(crate) fn account(self: &Arc<Self>, base: u64) -> Account {
        let base = frames(base);
        let id = self.change(|state| {
            state.next += 1;
            let ledger = Ledger { base, has_base: false, left: 0, extra: 0, requests: VecDeque::new() };
            state.accounts.insert(state.next, ledger);
            state.line.push_back(state.next);
            state.next
        });
        Account { pool: self.clone(), id }
    }

    /// The highest number of frames that were handed out at once.
    #[cfg(test)]
    pub(crate) fn most_out(&self) -> usize {
        self.state().out_peak
    }

    /// How many free frames are kept.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        let state = self.state();
        state.free.len() + state.free_segments.len() * Size::Segment.frames()
    }

    /// How many frames are handed out.
    pub(crate) fn in_use(&self) -> usize {
        self.state().out
    }

    /// Returns a frame to the pool.
    pub(crate) fn give_back(self: &Arc<Self>, pages: Pages, account: Option<u64>) {
        self.change(|state| {
            let frames = pages.size().frames();
            state.out -= frames;
            state.returned(account, frames);
            state.free_of(pages.size()).push(pages);
            state.drop_free();
        });
    }

    fn change<R>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> R) -> R {
        let mut deliveries = Deliveries::new();
        let mut state = self.state();
        let result = change(&mut state);
        state.serve(self, &mut deliveries);
        drop(state);
        deliveries.into_iter().for_each(|delivery| delivery());
        result
    }

    /// The locked state is consistent even after a panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn frames(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(FRAME as u64)).unwrap_or(usize::MAX)
}

impl State {
    /// The part of the limit that accounts may hold.
    fn for_accounts(&self) -> usize {
        self.limit - self.limit / SHARE
    }

    /// The part of the limit that may be held when a segment for a file is taken: half of what accounts leave.
    fn for_segments(&self) -> usize {
        self.limit - self.limit / SHARE / 2
    }

    fn fits(&self, frames: usize) -> bool {
        self.held.saturating_add(frames) <= self.for_accounts()
    }

    fn hold(&mut self, frames: usize) {
        self.held += frames;
        self.peak = self.peak.max(self.held);
    }

    fn free_of(&mut self, size: Size) -> &mut Vec<Pages> {
        match size {
            Size::Plain => &mut self.free,
            Size::Segment => &mut self.free_segments,
        }
    }

    /// Drops the free frames that exceed the limit, or what is worth keeping.
    fn drop_free(&mut self) {
        // The parts of a transfer end in bursts, and the next ones begin: what it has once allocated it needs again.
        let worth = if self.accounts.is_empty() { KEEP_FREE + self.out } else { usize::MAX };
        let most = self.limit.saturating_sub(self.out + self.replies).min(worth);
        self.free.truncate(most);
        self.free_segments.truncate((most - self.free.len()) / Size::Segment.frames());
    }

    fn hand_out(&mut self, pool: &Arc<Pool>, size: Size, account: Option<u64>) -> Frame {
        self.out += size.frames();
        self.out_peak = self.out_peak.max(self.out);
        let pages = self.free_of(size).pop().unwrap_or_else(|| {
            self.drop_free();
            Pages::new(size)
        });
        Frame::new(pages, pool.clone(), account)
    }

    /// Frees frames that were granted and are no longer needed.
    fn returned(&mut self, account: Option<u64>, frames: usize) {
        let Some(ledger) = account.and_then(|id| self.accounts.get_mut(&id)) else {
            self.held -= frames;
            return;
        };
        let extra = ledger.extra.min(frames);
        ledger.extra -= extra;
        ledger.left += frames - extra;
        self.held -= extra;
        if let Some(id) = account
            && !ledger.requests.is_empty()
            && !self.waiting.contains(&id)
        {
            self.waiting.push_back(id);
        }
    }

    fn serve(&mut self, pool: &Arc<Pool>, deliveries: &mut Deliveries) {
        while self.held + Size::Segment.frames() <= self.for_segments()
            && let Some(taker) = self.segment_takers.pop_front()
        {
            self.deliver(pool, Size::Segment, taker, deliveries);
        }
        while self.held < self.limit
            && let Some(taker) = self.takers.pop_front()
        {
            self.deliver(pool, Size::Plain, taker, deliveries);
        }
        while let Some(&id) = self.line.front() {
            let Some(base) = self.accounts.get(&id).map(|ledger| ledger.base) else {
                self.line.pop_front();
                continue;
            };
            if !self.fits(base) {
                break;
            }
            self.line.pop_front();
            self.hold(base);
            if let Some(ledger) = self.accounts.get_mut(&id) {
                ledger.has_base = true;
                ledger.left = base;
            }
            self.waiting.push_back(id);
        }
        for _ in 0..self.waiting.len() {
            let Some(id) = self.waiting.pop_front() else { return };
            if self.grant_next(pool, id, deliveries) {
                self.waiting.push_back(id);
            }
        }
    }

    /// Hands a frame to a taker, unless it is gone.
    fn deliver(&mut self, pool: &Arc<Pool>, size: Size, taker: Sender<Frame>, deliveries: &mut Deliveries) {
        if taker.is_closed() {
            return;
        }
        self.hold(size.frames());
        let frame = self.hand_out(pool, size, None);
        deliveries.push(Box::new(move || drop(taker.send(frame))));
    }

    /// Whether somebody waits for a frame for a connection.
    fn is_wanted(&self) -> bool {
        self.takers.iter().chain(&self.segment_takers).any(|taker| !taker.is_closed())
    }

    /// Grants what an account requested. Returns whether it still waits.
    fn grant_next(&mut self, pool: &Arc<Pool>, id: u64, deliveries: &mut Deliveries) -> bool {
        loop {
            let spare = if self.line.is_empty() { self.for_accounts().saturating_sub(self.held) } else { 0 };
            let Some(ledger) = self.accounts.get_mut(&id) else { return false };
            let Some((wanted, _)) = ledger.requests.front() else { return false };
            let wanted = *wanted;
            let own = wanted.min(ledger.left);
            if wanted - own > spare {
                return true;
            }
            let Some((_, request)) = ledger.requests.pop_front() else { return false };
            if request.is_closed() {
                continue;
            }
            ledger.left -= own;
            ledger.extra += wanted - own;
            self.hold(wanted - own);
            let grant = Grant { pool: pool.clone(), account: id, left: wanted };
            deliveries.push(Box::new(move || drop(request.send(grant))));
        }
    }

    /// Holds this many more frames for an account, if they are free now and nobody waits for them.
    fn more(&mut self, account: u64, frames: usize) -> bool {
        let free = self.line.is_empty() && !self.is_wanted() && self.waiting.is_empty() && self.fits(frames);
        let Some(ledger) = self.accounts.get_mut(&account) else { return false };
        if ledger.left >= frames && ledger.requests.is_empty() {
            ledger.left -= frames;
            return true;
        }
        if free {
            ledger.extra += frames;
            self.hold(frames);
        }
        free
    }
}

/// The memory of a reply that is collected. It counts until it is dropped.
pub(crate) struct Collected {
    pool: Arc<Pool>,
    bytes: usize,
    frames: usize,
}

impl Collected {
    /// Counts bytes that arrived.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        let more = self.bytes / FRAME - self.frames;
        if more > 0 {
            self.frames += more;
            self.pool.change(|state| {
                state.hold(more);
                state.replies += more;
                state.drop_free();
            });
        }
    }
}

impl Drop for Collected {
    fn drop(&mut self) {
        if self.frames > 0 && guard_fork().is_ok() {
            self.pool.change(|state| {
                state.replies -= self.frames;
                state.returned(None, self.frames);
            });
        }
    }
}

/// The account of a transfer. When it is dropped, it stops waiting, and frames that were not granted are returned;
/// granted frames follow as they are released.
pub(crate) struct Account {
    pool: Arc<Pool>,
    id: u64,
}

impl Account {
    /// Requests a grant of `bytes` bytes, after its earlier requests. The receiver delivers it.
    pub(crate) fn ask(&self, bytes: u64) -> Result<Receiver<Grant>> {
        self.request(bytes, false)
    }

    /// The same, before its other requests: for bytes that the others wait for.
    pub(crate) fn ask_first(&self, bytes: u64) -> Result<Receiver<Grant>> {
        self.request(bytes, true)
    }

    fn request(&self, bytes: u64, first: bool) -> Result<Receiver<Grant>> {
        let (sender, receiver) = oneshot::channel();
        let wanted = frames(bytes);
        self.pool.change(|state| {
            let most = state.for_accounts();
            if wanted > most {
                let message = format!(
                    "{bytes} bytes must be held in memory at once, but memory = {} allows only {}",
                    state.limit * FRAME,
                    most * FRAME
                );
                let hint = "Raise memory (s3v_process_set), or use smaller parts.";
                return Err(Error::new(Code::InvalidOption, message).with_hint(hint));
            }
            let Some(ledger) = state.accounts.get_mut(&self.id) else { return Ok(()) };
            if first {
                ledger.requests.push_front((wanted, sender));
            } else {
                ledger.requests.push_back((wanted, sender));
            }
            if ledger.has_base && !state.waiting.contains(&self.id) {
                state.waiting.push_back(self.id);
            }
            Ok(())
        })?;
        Ok(receiver)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if guard_fork().is_err() {
            return;
        }
        let ledger = self.pool.change(|state| {
            let ledger = state.accounts.remove(&self.id)?;
            state.held -= ledger.left;
            state.drop_free();
            // Its places in the queues are dropped when their turn comes.
            Some(ledger)
        });
        // Their receivers are told that nothing will arrive.
        drop(ledger);
    }
}

/// Frames that are promised to a transfer.
pub(crate) struct Grant {
    pool: Arc<Pool>,
    account: u64,
    left: usize,
}

impl Grant {
    /// Returns one of the frames, or as many in one piece as this size takes, which all of a grant must have in common; after
    /// the last one, one more if it is free and nobody waits for it.
    pub(crate) fn take(&mut self, size: Size) -> Option<Frame> {
        let (pool, account, frames) = (&self.pool, self.account, size.frames());
        let promised = self.left >= frames;
        self.left -= if promised { frames } else { 0 };
        pool.change(|state| {
            if !promised && !state.more(account, frames) {
                return None;
            }
            Some(state.hand_out(pool, size, Some(account)))
        })
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if self.left > 0 && guard_fork().is_ok() {
            self.pool.change(|state| state.returned(Some(self.account), self.left));
        }
    }
}
