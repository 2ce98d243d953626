//! Blocking work on one file, in the order in which it was queued.
//!
//! File systems allow one write to a file at a time (Linux holds the inode's lock), and threads that wait for that
//! lock keep the processor busy. A single thread for the file does not wait for it, and need not be woken while more
//! work is queued.
//!
//! Most writes end in the system's page cache, and take less time than another thread needs to wake up and to fetch
//! the bytes from this core's cache. So a piece of work runs on the runtime's thread that queued it, under three
//! conditions that keep a slow disk or a hanging file system away from the network:
//! - only one thread of the runtime at a time does so, for all files; the runtime always has two or more, and each
//!   takes over what the others do not get to;
//! - no task depends on this thread alone (tokio's LIFO slot is emptied before);
//! - a file with a slow piece of work is left to the blocking threads for a second.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// A piece of work that takes longer waits for something, and not just for its turn on a busy core.
const SLOW: Duration = Duration::from_millis(20);

/// How long a slow file is left to the blocking threads.
const AVOIDED: Duration = Duration::from_secs(1);

/// How many pieces of other threads' work are done after one's own.
const MORE: usize = 8;

/// Whether a thread of the runtime is working on a file.
static HERE: AtomicBool = AtomicBool::new(false);

/// A queue of work on one file. It uses a thread only while there is work in it.
#[derive(Clone, Default)]
pub(super) struct FileWriter(Arc<Mutex<Queue>>);

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    /// A thread is working on this queue.
    busy: bool,
    /// Until this instant only blocking threads work on this queue.
    avoided: Option<Instant>,
}

impl FileWriter {
    /// Runs the work after everything queued before it, even if nobody waits for its result. The result never arrives
    /// if the runtime ends first or the work panics.
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
            let left = if avoided { Some(turn) } else { turn.start_here() };
            if let Some(turn) = left {
                tokio::task::spawn_blocking(move || turn.work());
            }
        }
        result
    }

    /// Behaves as after a slow piece of work, for a while.
    #[cfg(test)]
    pub(super) fn avoid(&self) {
        self.lock().avoided = Some(Instant::now() + Duration::from_secs(600));
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one thread that works on a queue.
struct Turn {
    queue: FileWriter,
    ended: bool,
}

impl Turn {
    fn work(mut self) {
        while let Some(work) = self.next() {
            work();
        }
        self.ended = true;
    }

    /// Works on this thread of the runtime as long as the conditions hold; returns itself if work is left.
    fn start_here(mut self) -> Option<Turn> {
        let Some(_here) = Here::enter() else { return Some(self) };
        let (mut done, mut slow) = (0, false);
        while done <= MORE && !slow {
            let Some(work) = self.next() else {
                self.ended = true;
                return None;
            };
            done += 1;
            // Occupies the LIFO slot, which no other thread can take from, in place of whatever was woken last.
            tokio::spawn(async {});
            let started = Instant::now();
            work();
            slow = started.elapsed() > SLOW;
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
        // The runtime ended before its turn, or the work panicked: let nobody wait.
        if !self.ended {
            let mut queue = self.queue.lock();
            queue.busy = false;
            let left = std::mem::take(&mut queue.work);
            drop(queue);
            drop(left);
        }
    }
}

/// The permission for one thread of the runtime to work on a file.
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
    fn work_runs_one_piece_at_a_time_in_order() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let (writer, at_work, done) =
            (FileWriter::default(), Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        runtime.block_on(async {
            let pieces: Vec<_> = (0..1000)
                .map(|n| {
                    let (at_work, done) = (at_work.clone(), done.clone());
                    writer.run(move || {
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
    fn nobody_waits_after_a_panic_or_the_end_of_the_runtime() {
        let runtime = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let writer = FileWriter::default();
        writer.avoid();
        let open = Arc::new(AtomicBool::new(false));
        let gate = open.clone();
        runtime.block_on(async {
            // They wait for the gate, so that both are in the queue when the first one panics.
            tokio::task::spawn_blocking(move || crate::transport::testserver::until(|| gate.load(Ordering::Acquire)));
            let first = writer.run::<()>(|| std::panic::resume_unwind(Box::new("on purpose")));
            let second = writer.run(|| ());
            open.store(true, Ordering::Release);
            assert!(first.await.is_err() && second.await.is_err());
            assert_eq!(writer.run(|| 3).await, Ok(3), "it accepts work again");
        });
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let _entered = handle.enter();
        let late = FileWriter::default();
        late.avoid();
        assert!(late.run(|| ()).blocking_recv().is_err());
    }

    #[test]
    fn other_tasks_run_on_other_threads_while_a_piece_of_work_blocks() {
        let runtime = Builder::new_multi_thread().worker_threads(2).max_blocking_threads(8).build().unwrap();
        let (open, started) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        // Works on its own file, and blocks.
        let block = || {
            let (open, started) = (open.clone(), started.clone());
            async move {
                let piece = FileWriter::default().run(move || {
                    started.fetch_add(1, Ordering::AcqRel);
                    crate::transport::testserver::until(|| open.load(Ordering::Acquire));
                });
                piece.await.unwrap();
            }
        };
        let (first, second, gate, at_work) = (block(), block(), open.clone(), started.clone());
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
    fn a_file_is_left_to_blocking_threads_after_a_slow_piece_of_work() {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (writer, here) = (FileWriter::default(), std::thread::current().id());
            let slow = || {
                std::thread::sleep(2 * SLOW);
                std::thread::current().id()
            };
            // Another test may hold the permission.
            while writer.run(slow).await.unwrap() != here {}
            assert_ne!(writer.run(|| std::thread::current().id()).await.unwrap(), here);
        });
    }
}
