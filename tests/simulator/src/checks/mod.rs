//! What must hold: checked when requests are sent, when they take effect, and at the end.

mod outcome;
mod reads;
mod requests;
mod source;
pub(crate) mod waits;

use crate::content::Content;
use crate::network::IDLE_MS;

/// Maximum number of parts or slices of a file in flight; the same of a stream; and the minimum length of a stream's part.
const FILE_WINDOW: u32 = 32;
const STREAM_WINDOW: u32 = 8;
const LEAST: u64 = 8 << 20;
/// Maximum number of bytes that a reader holds: the slices in flight.
const MOST_READ: u64 = FILE_WINDOW as u64 * LEAST;
/// Failures of one request one after the other: an attempt each five seconds on average while the store is away, for 15
/// minutes, a few for keys, clock and region, and what was sent a second time since it was slow.
const ATTEMPTS: u32 = 400;
/// A Complete that is refused for a part's ETag is followed by this many lists of parts.
const RELISTS: u32 = 3;

/// What is wrong with bytes that should be a source's; whichever of its editions.
pub(crate) fn wrong(content: &Content, source: u32, offset: u64, length: u64) -> Option<String> {
    if content.length() != length {
        return Some(format!("{} bytes in place of {length}", content.length()));
    }
    let mut at = offset;
    for chunk in content.chunks() {
        if chunk.source != source || chunk.offset != at || chunk.flipped {
            return Some(format!("{chunk:?} at {at}"));
        }
        at += chunk.length;
    }
    (at - offset != length).then(|| "bytes of no source".to_owned())
}
