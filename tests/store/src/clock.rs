//! The store's clock: the machine's, moved by what a test asks for.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// Whole seconds, as S3 dates objects.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset: AtomicI64,
}

impl Clock {
    /// Moves the clock this many seconds away from the machine's.
    pub(crate) fn set_offset(&self, seconds: i64) {
        self.offset.store(seconds, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> SystemTime {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let seconds = since.saturating_add_signed(self.offset.load(Ordering::Relaxed));
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }
}
