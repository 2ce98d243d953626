//! Calls of the caller's own functions that a machine makes: those of external key-encryption keys. They block, so the
//! runtime gets another thread for its other work meanwhile; and none is called for a machine whose caller is gone.

use std::cell::RefCell;
use std::sync::Arc;

use s3vault_core::{Code, Error, Result};

use super::progress::Progress;

thread_local! {
    /// The progress of the machine that this thread runs.
    static RUNNING: RefCell<Option<Arc<Progress>>> = const { RefCell::new(None) };
}

/// Runs code of a machine, which may call the caller's functions.
pub(super) fn run<R>(progress: &Arc<Progress>, code: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arc<Progress>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            RUNNING.set(self.0.take());
        }
    }
    let _restore = Restore(RUNNING.replace(Some(progress.clone())));
    code()
}

/// Calls a function of the caller, which may block: on a thread of the library, or on one of the caller's.
pub(crate) fn call<T>(function: impl FnOnce() -> Result<T>) -> Result<T> {
    match RUNNING.with_borrow(Clone::clone) {
        None => function(),
        Some(progress) if progress.is_left_alone() => {
            Err(Error::new(Code::Cancelled, "the call that needs the key was stopped"))
        }
        Some(_) => tokio::task::block_in_place(function),
    }
}
