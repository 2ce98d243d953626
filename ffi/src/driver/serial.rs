//! Work on one file that may block: one piece after the other, in the order in which it was given.
//!
//! File systems write to a file one at a time whoever asks (Linux holds the inode's lock), and threads that wait for that
//! lock keep the processor busy. And a thread that finds the next piece waiting need not be woken for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A queue, which takes a thread only while there is work in it.
#[derive(Clone, Default)]
pub(super) struct Serial(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    work: VecDeque<Box<dyn FnOnce() + Send>>,
    /// A thread takes from it.
    busy: bool,
}

impl Serial {
    /// Does this after what was given before, also where nobody waits for what it returns. That never comes when the runtime
    /// ends first, or when the work panics.
    pub(super) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
        let (done, result) = oneshot::channel();
        let work = Box::new(move || {
            let _ = done.send(work());
        });
        let mut queue = self.lock();
        queue.work.push_back(work);
        let busy = std::mem::replace(&mut queue.busy, true);
        drop(queue);
        if !busy {
            let turn = Turn { queue: self.clone(), ended: false };
            tokio::task::spawn_blocking(move || turn.work());
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one thread that works.
struct Turn {
    queue: Serial,
    ended: bool,
}

impl Turn {
    fn work(mut self) {
        while let Some(work) = self.next() {
            work();
        }
        self.ended = true;
    }

    fn next(&self) -> Option<Box<dyn FnOnce() + Send>> {
        let mut queue = self.queue.lock();
        let next = queue.work.pop_front();
        queue.busy = next.is_some();
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The runtime ended before its turn came, or the work panicked: nobody is left waiting.
        if !self.ended {
            let mut queue = self.queue.lock();
            queue.busy = false;
            let left = std::mem::take(&mut queue.work);
            drop(queue);
            drop(left);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn pieces_of_work_come_one_after_the_other_in_their_order() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let (serial, at_work, done) =
            (Serial::default(), Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        runtime.block_on(async {
            let pieces: Vec<_> = (0..1000)
                .map(|n| {
                    let (at_work, done) = (at_work.clone(), done.clone());
                    serial.run(move || {
                        assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                        done.lock().unwrap().push(n);
                        at_work.fetch_sub(1, Ordering::SeqCst);
                        n
                    })
                })
                .collect();
            for (n, piece) in pieces.into_iter().enumerate() {
                assert_eq!(piece.await.unwrap(), n);
            }
        });
        assert!(done.lock().unwrap().iter().copied().eq(0..1000));
    }

    #[test]
    fn a_panic_or_the_end_of_the_runtime_leaves_nobody_waiting() {
        let runtime = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let serial = Serial::default();
        let open = Arc::new(AtomicBool::new(false));
        let gate = open.clone();
        runtime.block_on(async {
            // Behind the gate, so that both are in the queue when the first one panics.
            tokio::task::spawn_blocking(move || crate::transport::testserver::until(|| gate.load(Ordering::Acquire)));
            let first = serial.run::<()>(|| std::panic::resume_unwind(Box::new("planted")));
            let second = serial.run(|| ());
            open.store(true, Ordering::Release);
            assert!(first.await.is_err() && second.await.is_err());
            assert_eq!(serial.run(|| 3).await, Ok(3), "it takes work again");
        });
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let _entered = handle.enter();
        assert!(Serial::default().run(|| ()).blocking_recv().is_err());
    }
}
