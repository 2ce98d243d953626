//! An account: a store's endpoint and profile, one set of credentials, and what all requests made with them share: the
//! store's clock, the tokens for retries, and how long the store's replies take. Its [buckets](Bucket) are cheap.

pub(crate) mod bucket;
mod first_byte;
pub(crate) mod integrity;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

pub use bucket::Bucket;

use crate::credentials::Credentials;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::http::ReplyHead;
use crate::profile::{self, Profile};
use crate::retry::Tokens;
use crate::settings::Settings;
use crate::time::{Now, StoreClock};
use first_byte::FirstBytes;
use integrity::{Integrity, Negotiated};

/// A store, accessed with one set of credentials. All buckets that are accessed with them share it.
#[derive(Debug)]
pub struct Account {
    /// The profile of the option `provider`, or that of the store that a reply named.
    profile: OnceLock<Profile>,
    integrity: Negotiated,
    /// The endpoint of the settings. A bucket may learn another region.
    endpoint: Arc<Endpoint>,
    /// Whether the region may be learned from the store, because none was set.
    learns_region: bool,
    keys: Mutex<Keys>,
    clock_offset_ms: AtomicI64,
    /// The `Date` of the last reply minus the monotonic time at which it arrived; [`UNKNOWN`] before the first.
    passed_offset_ms: AtomicI64,
    /// Whether the `Date` of replies is not by the store's clock.
    doubts_dates: AtomicBool,
    retries: Mutex<Tokens>,
    /// How long a transfer keeps trying while the store is away, in milliseconds.
    pub(crate) retry_time_ms: u64,
    /// Whether the store has answered a request.
    answered: AtomicBool,
    first_bytes: Mutex<FirstBytes>,
    /// Customer keys (SSE-C) may be sent over plain HTTP.
    allows_plain_keys: bool,
}

/// No reply has had a `Date` yet.
const UNKNOWN: i64 = i64::MIN;

/// The credentials in use.
struct Keys {
    credentials: Credentials,
    /// Number of renewals.
    generation: u64,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, generation {}", self.credentials, self.generation)
    }
}

impl Account {
    /// The endpoint of the settings.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// An account with the settings of a vault.
    pub fn from_settings(settings: &Settings, credentials: Credentials) -> Result<Account> {
        let profile = match settings.text("provider") {
            profile::AUTO => OnceLock::new(),
            name => OnceLock::from(profile::named(name)?),
        };
        Ok(Account {
            integrity: Negotiated::new(profile.get().unwrap_or(&profile::UNKNOWN)),
            profile,
            endpoint: Arc::new(Endpoint::from_settings(settings)?),
            learns_region: settings.text("region").is_empty(),
            keys: Mutex::new(Keys { credentials, generation: 0 }),
            clock_offset_ms: AtomicI64::new(0),
            passed_offset_ms: AtomicI64::new(UNKNOWN),
            doubts_dates: AtomicBool::new(false),
            retries: Mutex::default(),
            retry_time_ms: settings.number("retry_time") * 1000,
            answered: AtomicBool::new(false),
            first_bytes: Mutex::default(),
            allows_plain_keys: settings.flag("allow_plain_sse_c"),
        })
    }

    /// The same account with another profile than the one of the option `provider`.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Account {
        self.integrity = Negotiated::new(&profile);
        self.profile = OnceLock::from(profile);
        self
    }

    /// What the store supports, as far as it is known.
    pub fn profile(&self) -> &Profile {
        self.profile.get().unwrap_or(&profile::UNKNOWN)
    }

    /// Learns from a reply which store it is, if the option `provider` leaves that open.
    pub(crate) fn learn_profile(&self, head: &ReplyHead) {
        if self.profile.get().is_none()
            && let Some(profile) = profile::recognized(|name| head.header(name))
        {
            let profile = self.profile.get_or_init(|| *profile);
            if !profile.trailers {
                self.integrity.lower(Integrity::Header);
            }
        }
    }

    /// How payload is checked on its way to the store.
    pub(crate) fn integrity(&self) -> &Negotiated {
        &self.integrity
    }

    /// The same endpoint with other credentials. It shares no state with this account.
    fn with_credentials(&self, credentials: Credentials) -> Account {
        Account {
            integrity: Negotiated::new(self.profile()),
            profile: self.profile.clone(),
            endpoint: self.endpoint.clone(),
            learns_region: self.learns_region,
            keys: Mutex::new(Keys { credentials, generation: 0 }),
            clock_offset_ms: AtomicI64::new(self.clock_offset_ms.load(Ordering::Relaxed)),
            passed_offset_ms: AtomicI64::new(self.passed_offset_ms.load(Ordering::Relaxed)),
            doubts_dates: AtomicBool::new(self.doubts_dates()),
            retries: Mutex::default(),
            retry_time_ms: self.retry_time_ms,
            answered: AtomicBool::new(self.has_answered()),
            first_bytes: Mutex::default(),
            allows_plain_keys: self.allows_plain_keys,
        }
    }

    /// Whether customer keys (SSE-C) may be sent over plain HTTP: the settings say so, for a test.
    pub(crate) fn allows_plain_keys(&self) -> bool {
        self.allows_plain_keys
    }

    /// Why customer keys are exposed on their way. `None`: they are not, since requests that carry one go over TLS only.
    pub fn key_exposure(&self) -> Option<String> {
        let is_exposed = self.allows_plain_keys && !self.endpoint.is_tls();
        is_exposed.then(|| {
            "allow_plain_sse_c = true: the encryption keys of SSE-C are sent over plain HTTP, and anyone on their way can read them and then the backups. Use https:// in api_url, or encryption = envelope, and remove allow_plain_sse_c: it is for tests only.".to_owned()
        })
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the credentials were renewed.
    pub fn generation(&self) -> u64 {
        self.keys().generation
    }

    /// The access key id in use.
    pub fn access_key(&self) -> String {
        self.keys().credentials.access_key.clone()
    }

    /// Whether these credentials are in use.
    pub fn uses(&self, credentials: &Credentials) -> bool {
        self.keys().credentials == *credentials
    }

    /// Replaces the credentials. The next signature is made with them, also in a transfer that is running.
    pub fn renew(&self, credentials: Credentials) {
        let mut keys = self.keys();
        keys.credentials = credentials;
        keys.generation += 1;
    }

    /// The generation of credentials that are about to expire, and whether they have expired. `None` for all others.
    pub(crate) fn expiring_credentials(&self, unix_ms: i64) -> Option<(u64, bool)> {
        let keys = self.keys();
        let credentials = &keys.credentials;
        credentials.is_due(unix_ms).then(|| (keys.generation, credentials.is_expired(unix_ms)))
    }

    /// How long a retry must wait for its token, in milliseconds.
    pub(crate) fn take_retry(&self, now: Now) -> u64 {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }

    /// Whether the store has answered a request, so that its address is right.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// The store has answered.
    pub(crate) fn answers(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// How long the store's replies to payload take.
    pub(crate) fn first_bytes(&self) -> MutexGuard<'_, FirstBytes> {
        self.first_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store's clock, as far as it is known.
    pub(crate) fn clock(&self) -> StoreClock {
        StoreClock::with_offset(self.clock_offset_ms.load(Ordering::Relaxed))
    }

    /// Whether the `Date` of replies is known to be by another clock than the store's, such as that of a proxy.
    pub(crate) fn doubts_dates(&self) -> bool {
        self.doubts_dates.load(Ordering::Relaxed)
    }

    /// The `Date` of replies is not by the store's clock.
    pub(crate) fn doubt_dates(&self) {
        self.doubts_dates.store(true, Ordering::Relaxed);
    }

    /// The clock that was learned from `Date` is not the store's: this machine's own counts again.
    pub(crate) fn use_own_clock(&self) {
        self.doubt_dates();
        self.clock_offset_ms.store(0, Ordering::Relaxed);
    }

    /// Learns the store's clock from a time that it wrote between `sent` and `received`.
    pub(crate) fn learn_date(&self, date_ms: i64, sent: Now, received: Now) {
        let mut clock = self.clock();
        clock.learn(date_ms, sent, received);
        self.clock_offset_ms.store(clock.offset_ms(), Ordering::Relaxed);
        self.passed_offset_ms.store(date_ms.saturating_sub(received.mono_ms as i64), Ordering::Relaxed);
    }

    /// A time that the store's clock has passed for certain, unlike that of [`clock`](Account::clock), which may be ahead
    /// by a second and the time that a reply takes. `None` before the store has answered.
    pub(crate) fn passed_ms(&self, now: Now) -> Option<i64> {
        if self.doubts_dates() {
            return self.has_answered().then(|| self.clock().at(now));
        }
        let offset = self.passed_offset_ms.load(Ordering::Relaxed);
        (offset != UNKNOWN).then(|| offset.saturating_add(now.mono_ms as i64))
    }
}
