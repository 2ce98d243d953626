//! Work on one file that may block: one piece after the other, in the order in which it was given.
//!
//! File systems write to a file one at a time whoever asks (Linux holds the inode's lock), and threads that wait for that
//! lock keep the processor busy. And a thread that finds the next piece waiting need not be woken for it.
//!
//! Most writes end in the system's memory, and take less time than another thread takes to wake and to fetch the bytes from
//! this core's cache. So a piece is done by the thread that brings it, one of the runtime's, under three conditions that keep
//! a slow disk, and a file system that hangs, away from the network:
//! - one thread of the runtime at a time, of all files; it always has two or more, and each takes over what the others do not
//!   get to;
//! - nothing waits for this thread alone (tokio's LIFO slot is emptied before);
//! - not for a second after a piece of this file that took long: that is done by threads that may block.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// A piece that takes longer waits for something, and not only for its turn on a busy core.
const SLOW: Duration = Duration::from_millis(20);

/// So long a file that was slow is left to threads that may block.
const AVOIDED: Duration = Duration::from_secs(1);

/// So many pieces that others brought are done after one's own.
const MORE: usize = 8;

/// A thread of the runtime is at work on a file.
static HERE: AtomicBool = AtomicBool::new(false);

/// A queue, which takes a thread only while there is work in it.
#[derive(Clone, Default)]
pub(super) struct Serial(Arc<Mutex<Queue>>);

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    /// A thread takes from it.
    busy: bool,
    /// Until then by threads that may block.
    avoided: Option<Instant>,
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
        let avoided = queue.avoided.is_some_and(|until| Instant::now() < until);
        drop(queue);
        if !busy {
            let turn = Turn { queue: self.clone(), ended: false };
            let left = if avoided { Some(turn) } else { turn.begin_here() };
            if let Some(turn) = left {
                tokio::task::spawn_blocking(move || turn.work());
            }
        }
        result
    }

    /// As after a piece that took long, for a while.
    #[cfg(test)]
    pub(super) fn avoid(&self) {
        self.lock().avoided = Some(Instant::now() + Duration::from_secs(600));
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

    /// Works on this thread of the runtime, as long as that is right; returns itself where work is left.
    fn begin_here(mut self) -> Option<Turn> {
        let Some(_here) = Here::enter() else { return Some(self) };
        let (mut done, mut slow) = (0, false);
        while done <= MORE && !slow {
            let Some(work) = self.next() else {
                self.ended = true;
                return None;
            };
            done += 1;
            // Takes the place in the LIFO slot, which no other thread can take from, of whatever was woken last.
            tokio::spawn(async {});
            let begun = Instant::now();
            work();
            slow = begun.elapsed() > SLOW;
        }
        let mut queue = self.queue.lock();
        if slow {
            queue.avoided = Some(Instant::now() + AVOIDED);
        }
        queue.busy = !queue.work.is_empty();
        self.ended = !queue.busy;
        drop(queue);
        (!self.ended).then_some(self)
    }

    fn next(&self) -> Option<Work> {
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

/// The one place of a thread of the runtime that works.
struct Here;

impl Here {
    fn enter() -> Option<Here> {
        (!HERE.swap(true, Ordering::Acquire)).then_some(Here)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        HERE.store(false, Ordering::Release);
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
        serial.avoid();
        let open = Arc::new(AtomicBool::new(false));
        let gate = open.clone();
        runtime.block_on(async {
            // Behind the gate, so that both are in the queue when the first one panics.
            tokio::task::spawn_blocking(move || crate::transport::testserver::until(|| gate.load(Ordering::Acquire)));
            let first = serial.run::<()>(|| std::panic::resume_unwind(Box::new("a panic on purpose")));
            let second = serial.run(|| ());
            open.store(true, Ordering::Release);
            assert!(first.await.is_err() && second.await.is_err());
            assert_eq!(serial.run(|| 3).await, Ok(3), "it takes work again");
        });
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let _entered = handle.enter();
        let late = Serial::default();
        late.avoid();
        assert!(late.run(|| ()).blocking_recv().is_err());
    }

    #[test]
    fn what_is_woken_before_a_piece_that_blocks_runs_elsewhere_and_so_does_all_else() {
        let runtime = Builder::new_multi_thread().worker_threads(2).max_blocking_threads(8).build().unwrap();
        let (open, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        // Works on a file of its own, and blocks.
        let block = || {
            let (open, begun) = (open.clone(), begun.clone());
            async move {
                let piece = Serial::default().run(move || {
                    begun.fetch_add(1, Ordering::AcqRel);
                    crate::transport::testserver::until(|| open.load(Ordering::Acquire));
                });
                piece.await.unwrap();
            }
        };
        let (first, second, gate, at_work) = (block(), block(), open.clone(), begun.clone());
        let (done, ended) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            // Woken, and in the LIFO slot of the thread that is about to block.
            tokio::spawn(async move {
                tokio::spawn(second);
                while at_work.load(Ordering::Acquire) < 2 {
                    tokio::task::yield_now().await;
                }
                gate.store(true, Ordering::Release);
            });
            first.await;
            done.send(()).unwrap();
        });
        let ended = ended.recv_timeout(Duration::from_secs(30));
        open.store(true, Ordering::Release);
        ended.unwrap();
    }

    #[test]
    fn after_a_piece_that_took_long_threads_that_may_block_have_the_file() {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (serial, here) = (Serial::default(), std::thread::current().id());
            let slow = || {
                std::thread::sleep(2 * SLOW);
                std::thread::current().id()
            };
            // Another test may be the one that is at work here.
            while serial.run(slow).await.unwrap() != here {}
            assert_ne!(serial.run(|| std::thread::current().id()).await.unwrap(), here);
        });
    }
}
