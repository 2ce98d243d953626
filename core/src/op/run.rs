//! Machines that run one operation, or a listing page by page.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{Operation, Paged, Sequence, Step, Steps};
use crate::account::Bucket;

/// A machine that runs one operation.
pub type Single<O> = Sequence<SingleSteps<O>>;

/// [`Single`] knows nothing but its operation.
pub struct SingleSteps<O>(PhantomData<fn() -> O>);

impl<O: Operation> Steps for SingleSteps<O> {
    type Done = O::Reply;
    const WHAT: &'static str = O::NAME;
    const IS_QUERY: bool = true;
}

impl<O: Operation + Send + 'static> Single<O> {
    /// Runs `op` on a bucket. `seed` drives the jitter of retries.
    pub fn new(bucket: &Arc<Bucket>, op: O, seed: u64) -> Single<O> {
        let call = Step::call(op, |_: &mut SingleSteps<O>, _, reply| Step::done(Ok(reply)));
        Sequence::start(bucket, SingleSteps(PhantomData), call, seed)
    }
}

/// A listing, page by page: run the machine that [`next`](Pages::next) returns, and pass its page to
/// [`after`](Pages::after). Only one page is in memory at a time, however long the listing is.
#[derive(Clone, Debug)]
pub struct Pages<O> {
    bucket: Arc<Bucket>,
    next: Option<O>,
}

impl<O: Paged + Clone> Pages<O> {
    /// A listing whose first page is the one that `first` requests.
    pub fn new(bucket: &Arc<Bucket>, first: O) -> Pages<O> {
        Pages { bucket: bucket.clone(), next: Some(first) }
    }

    /// The machine for the next page; `None` after the last page. It is the same page until `after` is called with it.
    pub fn next(&self, seed: u64) -> Option<Single<O>>
    where
        O: Send + 'static,
    {
        Some(Single::new(&self.bucket, self.next.clone()?, seed))
    }

    /// Moves on to the page after this one.
    pub fn after(&mut self, page: &O::Reply) {
        self.next = self.next.take().and_then(|op| op.next(page));
    }
}
