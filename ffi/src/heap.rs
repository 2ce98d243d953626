//! The heap of the library: its pages are left out of core dumps, are not swapped out as far as the system lets them be locked,
//! and what is freed is overwritten.
//!
//! Keys, session tokens and passwords pass through buffers of hyper and rustls too, so every piece of the heap may hold one.
//! Small pieces come from `dlmalloc`, over pages that are taken here; large ones are mappings of their own, and go back to
//! the system when they are freed.
//!
//! The program's own heap is not touched. With the variable `S3VAULT_TEST_SYSTEM_HEAP` the library shares it, so that a memory
//! checker sees each piece; pieces are still overwritten when they are freed.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use dlmalloc::{Allocator, Dlmalloc};

/// A piece of at least this many bytes is a mapping of its own. They are rare: payload is in frames, which are mappings too.
const LARGE: usize = 256 * 1024;

/// At most this many bytes are locked, and at most half of what the process may lock.
const MOST_LOCKED: usize = 64 << 20;

/// The size of a page is not less on any system, and a mapping starts at least so.
const PAGE: usize = 4096;

#[global_allocator]
static HEAP: Heap = Heap {
    lock: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
    small: UnsafeCell::new(Dlmalloc::new_with_allocator(Pages)),
};

struct Heap {
    /// Of the C library, since only its locks can be released by the child of a fork.
    lock: UnsafeCell<libc::pthread_mutex_t>,
    small: UnsafeCell<Dlmalloc<Pages>>,
}

// SAFETY: `small` is used with the lock held.
unsafe impl Sync for Heap {}

impl Heap {
    fn with<R>(&self, work: impl FnOnce(&mut Dlmalloc<Pages>) -> R) -> R {
        self.acquire();
        // SAFETY: the lock is held, and `work` is a call of dlmalloc, which does not come back here.
        let result = work(unsafe { &mut *self.small.get() });
        self.release();
        result
    }

    fn acquire(&self) {
        // SAFETY: the mutex is initialised and never destroyed. Locking it fails only where it is held by this thread.
        unsafe { libc::pthread_mutex_lock(self.lock.get()) };
    }

    fn release(&self) {
        // SAFETY: this thread, or the one that forked it, holds the mutex.
        unsafe { libc::pthread_mutex_unlock(self.lock.get()) };
    }
}

/// Whether a piece is a mapping of its own.
fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= PAGE
}

// SAFETY: pieces are those of dlmalloc, of the system's allocator, or mappings; which of them is decided by the layout, and by
// `is_shared`, which never changes.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_shared() {
            // SAFETY: the caller's promises are those of this function.
            return unsafe { System.alloc(layout) };
        }
        if is_large(layout) {
            return map(layout.size());
        }
        // SAFETY: the layout is valid.
        self.with(|small| unsafe { small.malloc(layout.size(), layout.align()) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_shared() {
            // SAFETY: as above.
            return unsafe { System.alloc_zeroed(layout) };
        }
        if is_large(layout) {
            return map(layout.size());
        }
        // SAFETY: as above.
        self.with(|small| unsafe { small.calloc(layout.size(), layout.align()) })
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        if !is_shared() && is_large(layout) {
            // The system overwrites pages before it hands them out again.
            return unmap(piece, layout.size());
        }
        // SAFETY: the piece has this many bytes, and nobody uses it any more. The compiler keeps this call.
        unsafe { libc::explicit_bzero(piece.cast(), layout.size()) };
        if is_shared() {
            // SAFETY: it came from there.
            return unsafe { System.dealloc(piece, layout) };
        }
        // SAFETY: as above.
        self.with(|small| unsafe { small.free(piece, layout.size(), layout.align()) });
    }

    /// A small piece is copied, so that the old one can be overwritten.
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size is valid with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !is_shared() && is_large(layout) && is_large(wanted) {
            // SAFETY: the mapping has the old size.
            let moved = unsafe { libc::mremap(piece.cast(), layout.size(), size, libc::MREMAP_MAYMOVE) };
            return if moved == libc::MAP_FAILED { null_mut() } else { moved.cast() };
        }
        // SAFETY: both pieces have the bytes that are copied, and do not overlap.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                new.copy_from_nonoverlapping(piece, layout.size().min(size));
                self.dealloc(piece, layout);
            }
            new
        }
    }
}

/// Takes pages that core dumps leave out; null if the system has none.
fn map(size: usize) -> *mut u8 {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping touches no other.
    let pages = unsafe { libc::mmap(null_mut(), size, protection, flags, -1, 0) };
    if pages == libc::MAP_FAILED {
        return null_mut();
    }
    // SAFETY: the pages are ours. Where the kernel does not know the advice, a dump has them, as it has all else.
    unsafe { libc::madvise(pages, size, libc::MADV_DONTDUMP) };
    pages.cast()
}

fn unmap(pages: *mut u8, size: usize) {
    // SAFETY: the caller gives back what it took.
    unsafe { libc::munmap(pages.cast(), size) };
}

/// The pages that dlmalloc divides. It calls with the heap's lock held.
struct Pages;

/// How many bytes of pages dlmalloc has.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the pages are mappings of this process, and used by dlmalloc alone.
unsafe impl Allocator for Pages {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let pages = map(size);
        if pages.is_null() {
            return (pages, 0, 0);
        }
        static FIRST: Once = Once::new();
        FIRST.call_once(free_the_lock_after_forks);
        let taken = TAKEN.fetch_add(size, Ordering::Relaxed);
        // What is locked is never more than what was taken when it was.
        if taken + size <= may_lock() {
            // SAFETY: the pages are ours. Where the system refuses, they may be swapped out, as all else.
            unsafe { libc::mlock(pages.cast(), size) };
        }
        (pages, size, 0)
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        null_mut()
    }

    fn free_part(&self, pages: *mut u8, size: usize, kept: usize) -> bool {
        // SAFETY: the part that is kept lies in the pages.
        self.free(unsafe { pages.add(kept) }, size - kept)
    }

    fn free(&self, pages: *mut u8, size: usize) -> bool {
        unmap(pages, size);
        TAKEN.fetch_sub(size, Ordering::Relaxed);
        true
    }

    fn can_release_part(&self, _: u32) -> bool {
        true
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        // SAFETY: no preconditions.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(PAGE)
    }
}

/// How many bytes may be locked: half of the limit, since the rest is the program's.
fn may_lock() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is there to be written.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    usize::try_from(limit.rlim_cur / 2).unwrap_or(usize::MAX).min(MOST_LOCKED)
}

/// Another thread may hold the lock when the process forks, and does not exist in the child. So a fork waits for the lock.
/// Called once, when the first pages are taken.
fn free_the_lock_after_forks() {
    extern "C" fn acquire() {
        HEAP.acquire();
    }
    extern "C" fn release() {
        HEAP.release();
    }
    // SAFETY: the functions are there as long as the library is loaded, and the C library forgets them when it is unloaded.
    // It fails only where no memory is left.
    unsafe { libc::pthread_atfork(Some(acquire), Some(release), Some(release)) };
}

/// Whether the library shares the program's heap.
fn is_shared() -> bool {
    const UNKNOWN: u8 = 2;
    static SHARED: AtomicU8 = AtomicU8::new(UNKNOWN);
    let shared = match SHARED.load(Ordering::Relaxed) {
        UNKNOWN => {
            // SAFETY: the name ends with a zero. The variable is read before the library's first piece is handed out, and a
            // program that changes its environment at the same time breaks the rules of the C library for its own calls too.
            let value = unsafe { libc::getenv(c"S3VAULT_TEST_SYSTEM_HEAP".as_ptr()) };
            let shared = u8::from(!value.is_null());
            SHARED.store(shared, Ordering::Relaxed);
            shared
        }
        known => known,
    };
    shared == 1
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    /// The flags of the mapping that has this address (`VmFlags` of proc_pid_smaps(5)).
    fn flags(address: usize) -> String {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_there = false;
        for line in smaps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let ends = range.map(|(start, end)| [start, end].map(|end| usize::from_str_radix(end, 16)));
            match (ends, line.strip_prefix("VmFlags: ")) {
                (Some([Ok(start), Ok(end)]), _) => is_there = (start..end).contains(&address),
                (_, Some(flags)) if is_there => return flags.to_owned(),
                _ => {}
            }
        }
        panic!("no mapping has {address:x}");
    }

    fn has(flags: &str, flag: &str) -> bool {
        flags.split(' ').any(|one| one == flag)
    }

    #[test]
    fn pieces_are_left_out_of_core_dumps_and_small_ones_are_locked() {
        let (key, large) = (Box::new([7_u8; 32]), vec![7_u8; 2 * LARGE]);
        let (of_key, of_large) = (flags(key.as_ptr().addr()), flags(large.as_ptr().addr()));
        assert!(has(&of_key, "dd") && has(&of_large, "dd"), "{of_key}; {of_large}");
        let mut own = 7_u8;
        assert!(!has(&flags((&raw mut own).addr()), "dd"), "the stack is dumped");
        // The first pages of the process are locked, if any may be.
        let locked = std::fs::read_to_string("/proc/self/status").unwrap();
        let locked = locked.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim().to_owned();
        assert_eq!(locked != "0 kB", may_lock() >= 64 * 1024, "{locked}");
    }

    #[test]
    fn a_freed_piece_is_overwritten() {
        let layout = Layout::from_size_align(4096, 8).unwrap();
        // SAFETY: the layout has a size, and the piece is not used after it is freed.
        let address = unsafe {
            let piece = std::alloc::alloc(layout);
            piece.write_bytes(0xa5, 4096);
            std::alloc::dealloc(piece, layout);
            piece.addr()
        };
        let (mut left, memory) = ([0; 4096], File::open("/proc/self/mem").unwrap());
        memory.read_exact_at(&mut left, address as u64).unwrap();
        let run = left.windows(16).filter(|run| run.iter().all(|byte| *byte == 0xa5)).count();
        assert_eq!(run, 0);
    }

    /// Allocates, changes and frees pieces of all sizes, and checks that each keeps its bytes.
    fn work(seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pieces: Vec<(u8, Vec<u8>)> = Vec::new();
        for n in 0..2_000_u32 {
            let (mark, size) = (n as u8, 1_usize << random.u32(0..20));
            let size = random.usize(size / 2..=size);
            match random.u8(0..4) {
                0 => pieces.push((mark, vec![mark; size])),
                1 => {
                    let mut zeroed = vec![0_u8; size];
                    assert!(zeroed.iter().all(|byte| *byte == 0));
                    zeroed.fill(mark);
                    pieces.push((mark, zeroed));
                }
                2 if !pieces.is_empty() => {
                    let at = random.usize(0..pieces.len());
                    let (mark, piece) = &mut pieces[at];
                    piece.resize(size, *mark);
                    piece.shrink_to_fit();
                }
                _ if !pieces.is_empty() => {
                    let (mark, piece) = pieces.swap_remove(random.usize(0..pieces.len()));
                    assert!(piece.iter().all(|byte| *byte == mark));
                }
                _ => {}
            }
        }
        assert!(pieces.iter().all(|(mark, piece)| piece.iter().all(|byte| byte == mark)));
    }

    #[test]
    fn pieces_of_all_sizes_keep_their_bytes_in_all_threads() {
        std::thread::scope(|scope| (0..4).for_each(|seed| drop(scope.spawn(move || work(seed)))));
    }

    #[test]
    fn pieces_with_large_alignments_are_where_they_should_be() {
        for align in (0..=16).map(|bits| 1_usize << bits) {
            for size in [1, 100, LARGE, 3 * LARGE] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the layout has a size, and each piece is freed once, with its layout.
                unsafe {
                    let piece = std::alloc::alloc(layout);
                    assert!(!piece.is_null() && piece.addr().is_multiple_of(align), "{layout:?}");
                    piece.write_bytes(1, size);
                    let wanted = Layout::from_size_align(2 * size, align).unwrap();
                    let piece = std::alloc::realloc(piece, layout, wanted.size());
                    assert!(piece.addr().is_multiple_of(align) && *piece.add(size - 1) == 1, "{layout:?}");
                    std::alloc::dealloc(piece, wanted);
                }
            }
        }
    }

    #[test]
    fn a_forked_child_allocates_although_threads_did_when_it_was_forked() {
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        drop(std::hint::black_box(vec![1_u8; 100]));
                    }
                });
            }
            for _ in 0..200 {
                // SAFETY: the child allocates, which is what is tested, and ends; if it waits, the alarm ends it.
                let status = unsafe {
                    let child = libc::fork();
                    if child == 0 {
                        libc::alarm(20);
                        drop(std::hint::black_box(vec![1_u8; 100]));
                        libc::_exit(0);
                    }
                    let mut status = -1;
                    libc::waitpid(child, &raw mut status, 0);
                    status
                };
                assert_eq!(status, 0);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
