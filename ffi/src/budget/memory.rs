//! Memory: frames for payload, counted, never more of them than the limit says.
//!
//! Frames are had in three ways. An *account* is a transfer's whose bytes stay in memory until somebody else acts (a
//! stream's parts until they are sent, ranges until they are read). It reserves a base once, in line, and its grants come
//! out of the base, or out of what is free while nobody waits. *More* is one frame beyond a grant, free now or not at
//! all. A *take* is one frame for a connection that reads or writes a file.
//!
//! Why nobody waits for ever:
//! - A take needs one frame, and its frame comes back by the network or the disk alone: whoever holds one takes no other
//!   before the first was handed on. A share of the memory is for takes only, so accounts cannot use up everything.
//! - A grant waits, once its account has its base, for frames of its own transfer only: all of the base comes back when
//!   the parts under way are sent, or the earlier ranges are read; and a grant is had whole or not at all.
//! - Only a base is waited for in line, by transfers that hold nothing yet; first come, first served.
//!
//! A lowered limit takes effect as frames come back. Free frames that are kept count against the limit as others do.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use s3vault_core::{Code, Error, Result};
use tokio::sync::oneshot::{self, Receiver, Sender};

use crate::transport::frames::{FRAME, Frame, Pages};
use crate::transport::runtime::guard_fork;

/// The pool keeps so many free frames (16 MiB), and while transfers run as many more as are handed out: frames that come and
/// go are made once.
const KEEP_FREE: usize = 64;

/// One in so many frames is for connections that move files.
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
    free: Vec<Pages>,
    takers: VecDeque<Sender<Frame>>,
    accounts: HashMap<u64, Books>,
    /// Accounts that wait for their base.
    line: VecDeque<u64>,
    /// Accounts that have their base, and wait for frames of their own.
    hungry: VecDeque<u64>,
    next: u64,
}

/// What is known of an account.
struct Books {
    base: usize,
    /// Whether the base was had.
    has_base: bool,
    /// Of the base, not granted.
    left: usize,
    /// Granted beyond the base.
    extra: usize,
    asks: VecDeque<(usize, Sender<Grant>)>,
}

/// What is handed out when the lock is free again: a receiver that is gone drops it, which locks.
type Gifts = Vec<Box<dyn FnOnce() + Send>>;

impl Pool {
    /// With a limit in bytes.
    pub(crate) fn new(limit: u64) -> Arc<Pool> {
        let limit = frames(limit);
        Arc::new(Pool(Mutex::new(State {
            limit,
            held: 0,
            peak: 0,
            out: 0,
            out_peak: 0,
            free: Vec::new(),
            takers: VecDeque::new(),
            accounts: HashMap::new(),
            line: VecDeque::new(),
            hungry: VecDeque::new(),
            next: 0,
        })))
    }

    /// Another limit, in bytes, from now on.
    pub(crate) fn set_limit(self: &Arc<Self>, limit: u64) {
        self.change(|state| {
            state.limit = frames(limit);
            let keep = state.limit.saturating_sub(state.held);
            state.free.truncate(keep);
        });
    }

    /// Held, the most that was held, and the limit, in bytes.
    pub(crate) fn figures(&self) -> (u64, u64, u64) {
        let state = self.state();
        let bytes = |frames: usize| (frames * FRAME) as u64;
        (bytes(state.held), bytes(state.peak), bytes(state.limit))
    }

    /// A frame for a connection; waits until there is one. Who has one hands it on before taking the next.
    pub(crate) async fn take(self: &Arc<Self>) -> Frame {
        loop {
            let (sender, receiver) = oneshot::channel();
            self.change(|state| state.takers.push_back(sender));
            // The pool drops no sender; and should it, there is one more turn.
            if let Ok(frame) = receiver.await {
                return frame;
            }
        }
    }

    /// A frame for a connection, where one is free now and nobody waits for one.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Frame> {
        self.change(|state| {
            if !state.takers.is_empty() || state.held >= state.limit {
                return None;
            }
            state.hold(1);
            Some(state.hand_out(self, None))
        })
    }

    /// An account with a base of so many bytes. It stands in line from now on.
    pub(crate) fn account(self: &Arc<Self>, base: u64) -> Account {
        let base = frames(base);
        let id = self.change(|state| {
            state.next += 1;
            let books = Books { base, has_base: false, left: 0, extra: 0, asks: VecDeque::new() };
            state.accounts.insert(state.next, books);
            state.line.push_back(state.next);
            state.next
        });
        Account { pool: self.clone(), id }
    }

    /// The most frames that were handed out at once.
    #[cfg(test)]
    pub(crate) fn most_out(&self) -> usize {
        self.state().out_peak
    }

    /// How many free frames are kept.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.state().free.len()
    }

    /// How many frames are handed out.
    pub(crate) fn in_use(&self) -> usize {
        self.state().out
    }

    /// A frame comes back.
    pub(crate) fn give_back(self: &Arc<Self>, pages: Pages, account: Option<u64>) {
        self.change(|state| {
            state.out -= 1;
            state.returned(account, 1);
            if state.held + state.free.len() < state.limit {
                state.free.push(pages);
            }
            state.free.truncate(KEEP_FREE + state.out);
        });
    }

    fn change<R>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> R) -> R {
        let mut gifts = Gifts::new();
        let mut state = self.state();
        let result = change(&mut state);
        state.serve(self, &mut gifts);
        drop(state);
        gifts.into_iter().for_each(|gift| gift());
        result
    }

    /// What the lock guards is whole after a panic too.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn frames(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(FRAME as u64)).unwrap_or(usize::MAX)
}

impl State {
    /// Of the limit, what accounts may hold.
    fn for_accounts(&self) -> usize {
        self.limit - self.limit / SHARE
    }

    fn fits(&self, frames: usize) -> bool {
        self.held.saturating_add(frames) <= self.for_accounts()
    }

    fn hold(&mut self, frames: usize) {
        self.held += frames;
        self.peak = self.peak.max(self.held);
        // A frame that is handed out comes from the free ones first, so these make room for it.
        let keep = self.limit.saturating_sub(self.held);
        self.free.truncate(keep);
    }

    fn hand_out(&mut self, pool: &Arc<Pool>, account: Option<u64>) -> Frame {
        self.out += 1;
        self.out_peak = self.out_peak.max(self.out);
        let pages = self.free.pop().unwrap_or_else(Pages::new);
        Frame::new(pages, pool.clone(), account)
    }

    /// Frames that were granted are not needed any more.
    fn returned(&mut self, account: Option<u64>, frames: usize) {
        let Some(books) = account.and_then(|id| self.accounts.get_mut(&id)) else {
            self.held -= frames;
            return;
        };
        let extra = books.extra.min(frames);
        books.extra -= extra;
        books.left += frames - extra;
        self.held -= extra;
        if let Some(id) = account
            && !books.asks.is_empty()
            && !self.hungry.contains(&id)
        {
            self.hungry.push_back(id);
        }
    }

    fn serve(&mut self, pool: &Arc<Pool>, gifts: &mut Gifts) {
        while self.held < self.limit
            && let Some(taker) = self.takers.pop_front()
        {
            if taker.is_closed() {
                continue;
            }
            self.hold(1);
            let frame = self.hand_out(pool, None);
            gifts.push(Box::new(move || drop(taker.send(frame))));
        }
        while let Some(&id) = self.line.front() {
            let Some(base) = self.accounts.get(&id).map(|books| books.base) else {
                self.line.pop_front();
                continue;
            };
            if !self.fits(base) {
                break;
            }
            self.line.pop_front();
            self.hold(base);
            if let Some(books) = self.accounts.get_mut(&id) {
                books.has_base = true;
                books.left = base;
            }
            self.hungry.push_back(id);
        }
        for _ in 0..self.hungry.len() {
            let Some(id) = self.hungry.pop_front() else { return };
            if self.feed(pool, id, gifts) {
                self.hungry.push_back(id);
            }
        }
    }

    /// Grants what an account asks for; whether it goes on waiting.
    fn feed(&mut self, pool: &Arc<Pool>, id: u64, gifts: &mut Gifts) -> bool {
        loop {
            let spare = if self.line.is_empty() { self.for_accounts().saturating_sub(self.held) } else { 0 };
            let Some(books) = self.accounts.get_mut(&id) else { return false };
            let Some((wanted, _)) = books.asks.front() else { return false };
            let wanted = *wanted;
            let own = wanted.min(books.left);
            if wanted - own > spare {
                return true;
            }
            let Some((_, ask)) = books.asks.pop_front() else { return false };
            if ask.is_closed() {
                continue;
            }
            books.left -= own;
            books.extra += wanted - own;
            self.hold(wanted - own);
            let grant = Grant { pool: pool.clone(), account: id, left: wanted };
            gifts.push(Box::new(move || drop(ask.send(grant))));
        }
    }

    /// Holds one frame more for an account, where one is free now and nobody waits for it.
    fn more(&mut self, account: u64) -> bool {
        let free = self.line.is_empty() && self.takers.is_empty() && self.hungry.is_empty() && self.fits(1);
        let Some(books) = self.accounts.get_mut(&account) else { return false };
        if books.left > 0 && books.asks.is_empty() {
            books.left -= 1;
            return true;
        }
        if free {
            books.extra += 1;
            self.hold(1);
        }
        free
    }
}

/// A transfer's account. Dropped, it waits for nothing any more, and what was not granted goes back; what was granted
/// follows as it is let go.
pub(crate) struct Account {
    pool: Arc<Pool>,
    id: u64,
}

impl Account {
    /// Asks for a grant of so many bytes, behind those that were asked for before. It is there when the receiver says so.
    pub(crate) fn ask(&self, bytes: u64) -> Result<Receiver<Grant>> {
        self.line_up(bytes, false)
    }

    /// The same, before all others: for bytes that the others wait for.
    pub(crate) fn ask_first(&self, bytes: u64) -> Result<Receiver<Grant>> {
        self.line_up(bytes, true)
    }

    fn line_up(&self, bytes: u64, first: bool) -> Result<Receiver<Grant>> {
        let (sender, receiver) = oneshot::channel();
        let wanted = frames(bytes);
        self.pool.change(|state| {
            let most = state.for_accounts();
            if wanted > most {
                let message = format!(
                    "{bytes} bytes are to be held in memory at once, and memory = {} leaves {} for that",
                    state.limit * FRAME,
                    most * FRAME
                );
                let hint = "Raise memory (s3v_process_set), or choose smaller parts.";
                return Err(Error::new(Code::InvalidOption, message).with_hint(hint));
            }
            let Some(books) = state.accounts.get_mut(&self.id) else { return Ok(()) };
            if first {
                books.asks.push_front((wanted, sender));
            } else {
                books.asks.push_back((wanted, sender));
            }
            if books.has_base && !state.hungry.contains(&self.id) {
                state.hungry.push_back(self.id);
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
        let books = self.pool.change(|state| {
            let books = state.accounts.remove(&self.id)?;
            state.held -= books.left;
            // It stays in the lines until they come to it.
            Some(books)
        });
        // Their receivers hear that nothing comes.
        drop(books);
    }
}

/// Frames that are promised to a transfer.
pub(crate) struct Grant {
    pool: Arc<Pool>,
    account: u64,
    left: usize,
}

impl Grant {
    /// One of the frames, and after the last one more where one is free and nobody waits for it.
    pub(crate) fn take(&mut self) -> Option<Frame> {
        let (pool, account) = (&self.pool, self.account);
        let promised = self.left > 0;
        self.left -= usize::from(promised);
        pool.change(|state| {
            if !promised && !state.more(account) {
                return None;
            }
            Some(state.hand_out(pool, Some(account)))
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
