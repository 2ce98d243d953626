//! A download that keeps nothing, as a call that runs beside others: it ends with whether all bytes are those of the
//! manifest.

use super::slices::count;
use super::{Download, Piece, ReadRequest};
use crate::checksum::SLICE;
use crate::error::{Code, Error, Result};
use crate::machine::Input;
use crate::op::{Asking, Calling, Next, Session};
use crate::time::Now;

/// Reads pieces and compares them with their hashes. The driver must discard the ranges that it reads.
pub(crate) struct Check<T> {
    /// What the pieces are of.
    pub(crate) of: T,
    download: Download,
}

impl<T> Check<T> {
    /// A check of these pieces; `parallel` unless the store cannot serve several ranges at once. `take` reserves the indices
    /// of this many ranges, so that those of checks that run at the same time differ, and returns the first.
    pub(crate) fn new(of: T, pieces: &[Piece], parallel: bool, take: impl FnOnce(u32) -> u32) -> Check<T> {
        let request = ReadRequest { is_discarded: true, ..ReadRequest::default() };
        let mut download = Download::new(pieces, &request, parallel);
        let ranges: u64 = pieces.iter().map(|piece| count(piece.length, SLICE)).sum();
        download.next.number_from(take(u32::try_from(ranges).unwrap_or(u32::MAX)));
        Check { of, download }
    }
}

impl<T> Calling for Check<T> {
    fn poll(&mut self, session: &mut Session, now: Now) -> Next {
        self.download.next_call(session, now)
    }

    fn abandon(&mut self, session: &mut Session) {
        self.download.fail(session, Error::new(Code::Cancelled, "the check was cancelled"));
    }
}

impl<T> Asking for Check<T> {
    type Answer = Result<()>;

    fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) -> Option<Result<()>> {
        self.download.handle(session, now, input);
        self.download.outstanding -= self.download.accepts.drain(..).count();
        match self.download.failed.take() {
            Some(e) => Some(Err(e)),
            None => self.download.is_over().then_some(Ok(())),
        }
    }
}
