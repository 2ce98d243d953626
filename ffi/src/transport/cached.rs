//! Reads that wait for no disk.
//!
//! A thread that may block costs two changes of threads, and the bytes come back in another core's cache: more than a read
//! of what is in memory. `preadv2` with RWF_NOWAIT (Linux 4.14) reads from the page cache only.

use std::fs::File;
use std::io::IoSliceMut;

use rustix::fs::fstatfs;
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::body::read_at;
use super::frames::Frame;

/// Reads exactly `length` bytes of a file into an empty frame, where no disk has to be waited for. `false`, with the frame
/// still empty: it is for a thread that may block, which also learns what is wrong with the file.
pub(super) fn read(file: &File, frame: &mut Frame, position: u64, length: usize) -> bool {
    let mut room = [IoSliceMut::new(&mut frame.room()[..length])];
    match preadv2(file, &mut room, position, ReadWriteFlags::NOWAIT) {
        Ok(count) if count == length => {
            frame.grow(length);
            true
        }
        Err(Errno::OPNOTSUPP) if is_in_memory(file) => read_at(file, frame, position, length).is_ok(),
        _ => false,
    }
}

/// Whether it lies in a file system that has no disk. Linux knows no RWF_NOWAIT there.
fn is_in_memory(file: &File) -> bool {
    fstatfs(file).is_ok_and(|system| system.f_type == libc::TMPFS_MAGIC)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use http_body::Body;
    use s3vault_core::http::Part;
    use tokio::runtime::{Builder, Runtime};

    use super::super::activity::Activity;
    use super::super::body::{Outgoing, Sending};
    use super::super::frames::FRAME;
    use super::*;
    use crate::budget::Budget;

    #[test]
    fn what_is_in_memory_needs_no_other_thread() {
        let (file, bytes) = file(MEMORY);
        let open = Arc::new(AtomicBool::new(false));
        let gate = open.clone();
        let runtime = runtime();
        runtime.spawn_blocking(move || super::super::testserver::until(|| gate.load(Ordering::Acquire)));
        let _entered = runtime.enter();
        let mut body = pin!(body(file, bytes.len(), &budget()));
        let mut context = Context::from_waker(Waker::noop());
        let mut sent = Vec::new();
        let ended = loop {
            match body.as_mut().poll_frame(&mut context) {
                Poll::Ready(Some(frame)) => sent.extend_from_slice(frame.unwrap().data_ref().unwrap()),
                Poll::Ready(None) => break true,
                Poll::Pending => break false,
            }
        };
        open.store(true, Ordering::Release);
        assert!(ended, "it waited for the thread that is taken, after {} bytes", sent.len());
        assert!(sent == bytes);
    }

    #[test]
    fn what_is_not_in_memory_comes_whole() {
        let (file, bytes) = file(std::env::temp_dir().to_str().unwrap());
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let mut body = pin!(body(file, bytes.len(), &budget()));
        let mut sent = Vec::new();
        runtime().block_on(async {
            while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
                sent.extend_from_slice(frame.unwrap().data_ref().unwrap());
            }
        });
        assert!(sent == bytes);
    }

    #[test]
    fn a_body_has_one_frame_until_it_is_written() {
        let ((file, bytes), budget) = (file(MEMORY), budget());
        let mut body = pin!(body(file, bytes.len(), &budget));
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = woken.clone().into();
        let mut context = Context::from_waker(&waker);
        let mut sent = Vec::new();
        loop {
            let mut on_their_way = Vec::new();
            let ended = loop {
                match body.as_mut().poll_frame(&mut context) {
                    Poll::Ready(Some(frame)) => on_their_way.push(frame.unwrap().into_data().unwrap()),
                    Poll::Ready(None) => break true,
                    Poll::Pending => break false,
                }
            };
            assert_eq!(budget.memory.in_use(), 1);
            on_their_way.iter().for_each(|piece| sent.extend_from_slice(piece));
            if ended {
                break;
            }
            woken.0.store(false, Ordering::Release);
            drop(on_their_way);
            assert!(woken.0.load(Ordering::Acquire), "nobody said that the frame is written");
        }
        assert!(sent == bytes);
    }

    /// Whether somebody was woken.
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
        }
    }

    #[test]
    fn what_is_not_there_is_left_to_the_thread_that_may_block() {
        let (file, bytes) = file(MEMORY);
        let mut frame = crate::budget::Pool::new(1 << 20).try_take().unwrap();
        assert!(!read(&file, &mut frame, bytes.len() as u64 - 100, 101));
        assert!(frame.filled().is_empty());
        assert!(read(&file, &mut frame, bytes.len() as u64 - 100, 100));
        assert!(frame.filled() == &bytes[bytes.len() - 100..]);
    }

    /// In memory, whatever the folder of temporary files lies on.
    const MEMORY: &str = "/dev/shm";

    fn file(folder: &str) -> (File, Vec<u8>) {
        let bytes: Vec<u8> = (0..4 * FRAME + 77).map(|n| ((n * n) >> 9) as u8).collect();
        let mut file = tempfile::tempfile_in(folder).unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    /// One thread for what may block.
    fn runtime() -> Runtime {
        Builder::new_current_thread().max_blocking_threads(1).build().unwrap()
    }

    fn budget() -> Arc<Budget> {
        Budget::new(&s3vault_core::settings::Settings::new())
    }

    fn body(file: File, length: usize, budget: &Arc<Budget>) -> Sending {
        let part = Part { number: 1, offset: 0, length: length as u64, digest: None };
        let body = Outgoing::file(Arc::new(file), budget.memory.clone(), part);
        body.into_body(Activity::new(Arc::default()), budget.clone())
    }
}
