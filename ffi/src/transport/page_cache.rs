//! Reads from the page cache: file reads that never wait for a disk.
//!
//! Handing a read to a blocking thread costs two thread switches and leaves the bytes in another core's cache, which is more
//! than the read itself costs when the bytes are in memory. `preadv2` with RWF_NOWAIT (Linux 4.14) reads from the page cache
//! only.

use std::fs::File;
use std::io::IoSliceMut;

use rustix::fs::fstatfs;
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::body::read_at;
use super::frames::Frame;

/// Reads exactly `length` bytes of a file into an empty frame, if they are in memory. Returns `false`, with the frame still
/// empty, if a blocking thread must read them; that read also reports any error of the file.
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

/// Whether the file is on a file system without a disk, where Linux does not support RWF_NOWAIT.
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
    use s3vault_core::checksum::digest;
    use s3vault_core::http::Part;
    use tokio::runtime::{Builder, Runtime};

    use super::super::body::{Outgoing, Sending};
    use super::super::frames::FRAME;
    use super::super::watchdog::Activity;
    use super::*;
    use crate::budget::Budget;
    use crate::source_file::SourceFile;

    #[test]
    fn a_file_in_the_page_cache_is_read_without_another_thread() {
        let (file, bytes) = file(MEMORY);
        let open = Arc::new(AtomicBool::new(false));
        let gate = open.clone();
        let runtime = runtime();
        runtime.spawn_blocking(move || super::super::testserver::until(|| gate.load(Ordering::Acquire)));
        let _entered = runtime.enter();
        let mut body = pin!(body(file, &bytes, &budget()));
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
        assert!(ended, "the body waited for the blocking thread, which is busy, after {} bytes", sent.len());
        assert!(sent == bytes);
    }

    #[test]
    fn a_file_that_is_not_in_the_page_cache_is_read_completely() {
        let (file, bytes) = file(std::env::temp_dir().to_str().unwrap());
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let mut body = pin!(body(file, &bytes, &budget()));
        let mut sent = Vec::new();
        runtime().block_on(async {
            while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
                sent.extend_from_slice(frame.unwrap().data_ref().unwrap());
            }
        });
        assert!(sent == bytes);
    }

    #[test]
    fn a_body_holds_one_frame_until_it_is_written() {
        let ((file, bytes), budget) = (file(MEMORY), budget());
        let mut body = pin!(body(file, &bytes, &budget));
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = woken.clone().into();
        let mut context = Context::from_waker(&waker);
        let mut sent = Vec::new();
        loop {
            let mut in_flight = Vec::new();
            let ended = loop {
                match body.as_mut().poll_frame(&mut context) {
                    Poll::Ready(Some(frame)) => in_flight.push(frame.unwrap().into_data().unwrap()),
                    Poll::Ready(None) => break true,
                    Poll::Pending => break false,
                }
            };
            assert_eq!(budget.memory.in_use(), 1);
            in_flight.iter().for_each(|piece| sent.extend_from_slice(piece));
            if ended {
                break;
            }
            woken.0.store(false, Ordering::Release);
            drop(in_flight);
            assert!(woken.0.load(Ordering::Acquire), "the body was not woken when its frame was written");
        }
        assert!(sent == bytes);
    }

    /// Whether the waker was called.
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
        }
    }

    #[test]
    fn a_read_beyond_the_end_is_left_to_the_blocking_thread() {
        let (file, bytes) = file(MEMORY);
        let mut frame = crate::budget::Pool::new(1 << 20).try_take().unwrap();
        assert!(!read(&file, &mut frame, bytes.len() as u64 - 100, 101));
        assert!(frame.filled().is_empty());
        assert!(read(&file, &mut frame, bytes.len() as u64 - 100, 100));
        assert!(frame.filled() == &bytes[bytes.len() - 100..]);
    }

    /// A file system in memory, wherever the temporary directory is.
    const MEMORY: &str = "/dev/shm";

    fn file(folder: &str) -> (File, Vec<u8>) {
        let bytes: Vec<u8> = (0..4 * FRAME + 77).map(|n| ((n * n) >> 9) as u8).collect();
        let mut file = tempfile::tempfile_in(folder).unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    /// A runtime with one blocking thread.
    fn runtime() -> Runtime {
        Builder::new_current_thread().max_blocking_threads(1).build().unwrap()
    }

    fn budget() -> Arc<Budget> {
        Budget::new(&s3vault_core::settings::Settings::new())
    }

    /// A part whose digest is known. One that is hashed while it is sent reads its last frame on the blocking thread, which
    /// then compares the file.
    fn body(file: File, bytes: &[u8], budget: &Arc<Budget>) -> Sending {
        let length = bytes.len() as u64;
        let part =
            Part { number: 1, offset: 0, length, stored: length, digest: Some(digest(bytes)), md5: None, salt: None };
        let body = Outgoing::file(Arc::new(SourceFile::new(file).unwrap()), budget.memory.clone(), part);
        body.into_body(Activity::new(Arc::default()), budget.clone())
    }
}
