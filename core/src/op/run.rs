//! Machines that run one operation, or a listing page by page.

use std::sync::Arc;

use super::{Call, Calling, Operation, Paged, Session};
use crate::error::{Code, Error, Result};
use crate::machine::{Input, Machine, Output};
use crate::store::Store;
use crate::time::Now;

/// A machine that runs one operation.
pub struct Single<O: Operation> {
    session: Session,
    call: Call<O>,
    result: Option<Result<O::Reply>>,
}

impl<O: Operation> Single<O> {
    /// `seed` drives the jitter of retries.
    pub fn new(store: &Arc<Store>, op: O, seed: u64) -> Single<O> {
        Single { session: Session::new(store, seed), call: Call::new(op), result: None }
    }
}

impl<O: Operation> Machine for Single<O> {
    type Done = O::Reply;

    fn handle(&mut self, now: Now, input: Input<'_>) {
        if let Input::Cancel = input {
            self.call.abandon(&mut self.session);
            self.result = Some(Err(Error::new(Code::Cancelled, format!("{} was cancelled", O::NAME))));
        }
        if let Some(answer) = self.call.handle(&mut self.session, now, &input) {
            self.result = Some(answer);
        }
    }

    fn poll(&mut self, now: Now) -> Output<O::Reply> {
        if let Some(id) = self.session.abandoned() {
            return Output::Abandon(id);
        }
        match self.result.take() {
            Some(result) => Output::Done(result),
            None => self.call.poll(&mut self.session, now).into(),
        }
    }
}

/// A listing, page by page: run the machine that [`next`](Pages::next) returns, and pass its page to
/// [`after`](Pages::after). Only one page is in memory at a time, however long the listing is.
#[derive(Clone, Debug)]
pub struct Pages<O> {
    store: Arc<Store>,
    next: Option<O>,
}

impl<O: Paged + Clone> Pages<O> {
    /// A listing whose first page is the one that `first` requests.
    pub fn new(store: &Arc<Store>, first: O) -> Pages<O> {
        Pages { store: store.clone(), next: Some(first) }
    }

    /// The machine for the next page; `None` after the last page. It is the same page until `after` is called with it.
    pub fn next(&self, seed: u64) -> Option<Single<O>> {
        Some(Single::new(&self.store, self.next.clone()?, seed))
    }

    /// Moves on to the page after this one.
    pub fn after(&mut self, page: &O::Reply) {
        self.next = self.next.take().and_then(|op| op.next(page));
    }
}
