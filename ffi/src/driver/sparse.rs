//! Files with holes where the data is zero.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What to do with zeros in the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zeros {
    /// Write them like other bytes.
    Written,
    /// Leave them out: the file has nothing there yet.
    LeftOut,
    /// Make a hole: the file may have other bytes there.
    Punched,
}

impl Zeros {
    /// The same choice where other bytes may have been written before.
    pub(super) fn over_old_data(self) -> Zeros {
        if self == Zeros::LeftOut { Zeros::Punched } else { self }
    }
}

/// Holes are whole blocks of this many bytes, aligned in the file: the unit in which file systems allocate.
const BLOCK: usize = 4096;

static ZERO: [u8; BLOCK] = [0; BLOCK];

/// Writes bytes at a position.
pub(super) fn write_at(file: &File, bytes: &[u8], position: u64, zeros: Zeros) -> io::Result<()> {
    if zeros == Zeros::Written {
        return file.write_all_at(bytes, position);
    }
    let mut from = 0;
    while from < bytes.len() {
        let is_zero = zero_block(bytes, position, from);
        let mut to = from;
        while to < bytes.len() && zero_block(bytes, position, to) == is_zero {
            to = block_end(bytes, position, to);
        }
        let (run, at) = (&bytes[from..to], position + from as u64);
        let is_hole = is_zero && (zeros == Zeros::LeftOut || punch(file, at, run.len()));
        if !is_hole {
            file.write_all_at(run, at)?;
        }
        from = to;
    }
    Ok(())
}

/// Returns the end of the block that contains this byte, or the end of the bytes.
fn block_end(bytes: &[u8], position: u64, from: usize) -> usize {
    let within = ((position + from as u64) % BLOCK as u64) as usize;
    (from + BLOCK - within).min(bytes.len())
}

/// Whether a whole block of zeros starts here.
fn zero_block(bytes: &[u8], position: u64, from: usize) -> bool {
    let to = block_end(bytes, position, from);
    to - from == BLOCK && bytes[from..to] == ZERO
}

/// Makes a hole. Returns whether the file system did.
#[cfg(target_os = "linux")]
fn punch(file: &File, at: u64, length: usize) -> bool {
    use nix::fcntl::{FallocateFlags, fallocate};
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let (Ok(at), Ok(length)) = (i64::try_from(at), i64::try_from(length)) else { return false };
    fallocate(file, flags, at, length).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn punch(_file: &File, _at: u64, _length: usize) -> bool {
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_become_holes_at_any_position_and_the_bytes_stay_the_same() {
        let mut bytes = vec![0; 1 << 20];
        bytes[300_000..300_500].fill(7);
        bytes[(1 << 20) - 1] = 1;
        for (zeros, before) in [(Zeros::LeftOut, 0), (Zeros::Punched, 9)] {
            for shift in [0, 1, 4095] {
                let file = tempfile::tempfile().unwrap();
                file.write_all_at(&vec![before; if before == 0 { 0 } else { 2 << 20 }], 0).unwrap();
                for (n, piece) in bytes.chunks(200_000).enumerate() {
                    write_at(&file, piece, shift + n as u64 * 200_000, zeros).unwrap();
                }
                file.set_len(shift + bytes.len() as u64).unwrap();
                let mut read = vec![1; bytes.len()];
                file.read_exact_at(&mut read, shift).unwrap();
                assert!(read == bytes, "{zeros:?} at {shift}");
                let blocks = file.metadata().unwrap().blocks() * 512;
                assert!(blocks < 200_000, "{zeros:?} at {shift}: {blocks} bytes are allocated");
            }
        }
    }
}
