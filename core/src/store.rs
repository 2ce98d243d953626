//! The store: its endpoint and bucket, the credentials, and the state that all machines on it share.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::credentials::Credentials;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::http::HeaderValue;
use crate::op::first_byte::FirstBytes;
use crate::profile::{self, Profile};
use crate::retry::Tokens;
use crate::settings::Settings;
use crate::sigv4::{Signer, ToSign};
use crate::time::{Now, StoreClock};

/// One bucket of a store, accessed with one set of credentials. All machines on the bucket share it.
#[derive(Debug)]
pub struct Store {
    pub(crate) bucket: String,
    pub(crate) profile: Profile,
    endpoint: RwLock<Arc<Endpoint>>,
    /// Whether the region may be learned from the store, because none was set.
    learns_region: bool,
    keys: Mutex<Keys>,
    clock_offset_ms: AtomicI64,
    retries: Mutex<Tokens>,
    first_bytes: Mutex<FirstBytes>,
}

/// The credentials in use, and their signer.
struct Keys {
    credentials: Credentials,
    signer: Signer,
    /// Number of renewals.
    generation: u64,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, generation {}", self.credentials, self.generation)
    }
}

impl Store {
    /// A store with the settings of a vault.
    pub fn from_settings(settings: &Settings, credentials: Credentials) -> Result<Store> {
        let endpoint = Endpoint::from_settings(settings)?;
        let bucket = settings.required("bucket")?;
        endpoint.check_bucket(bucket)?;
        let signer = Signer::new(credentials.clone(), endpoint.region_for(bucket));
        Ok(Store {
            bucket: bucket.to_owned(),
            profile: profile::named(settings.text("provider"))?,
            endpoint: RwLock::new(Arc::new(endpoint)),
            learns_region: settings.text("region").is_empty(),
            keys: Mutex::new(Keys { credentials, signer, generation: 0 }),
            clock_offset_ms: AtomicI64::new(0),
            retries: Mutex::new(Tokens::default()),
            first_bytes: Mutex::default(),
        })
    }

    /// The same store with another profile than the one of the option `provider`.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Store {
        self.profile = profile;
        self
    }

    /// The same bucket with other credentials, to try them. It shares no state with this one.
    pub fn with_credentials(&self, credentials: Credentials) -> Store {
        let endpoint = self.endpoint();
        let signer = Signer::new(credentials.clone(), endpoint.region_for(&self.bucket));
        Store {
            bucket: self.bucket.clone(),
            profile: self.profile,
            endpoint: RwLock::new(endpoint),
            learns_region: self.learns_region,
            keys: Mutex::new(Keys { credentials, signer, generation: 0 }),
            clock_offset_ms: AtomicI64::new(self.clock_offset_ms.load(Ordering::Relaxed)),
            retries: Mutex::new(Tokens::default()),
            first_bytes: Mutex::default(),
        }
    }

    /// Whether the bucket is in the host name.
    pub(crate) fn has_bucket_in_host(&self) -> bool {
        self.endpoint().has_bucket_in_host(&self.bucket)
    }

    /// The endpoint that requests are sent to.
    pub(crate) fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Learns the region that the store names, unless one was set: a region that was set is never corrected silently.
    /// Returns whether another attempt may succeed.
    pub(crate) fn learn_region(&self, region: &str) -> bool {
        if !self.learns_region {
            return false;
        }
        let mut keys = self.keys();
        let endpoint = self.endpoint();
        let moved = endpoint.in_region(region);
        if moved == *endpoint {
            return false;
        }
        keys.signer = Signer::new(keys.credentials.clone(), moved.region_for(&self.bucket));
        *self.endpoint.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(moved);
        true
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

    /// Replaces the credentials. The next request is signed with the new ones, also in a transfer in progress.
    pub fn renew(&self, credentials: Credentials) {
        let mut keys = self.keys();
        keys.signer = Signer::new(credentials.clone(), self.endpoint().region_for(&self.bucket));
        keys.credentials = credentials;
        keys.generation += 1;
    }

    /// If the credentials expire soon: their generation, and whether they have expired.
    pub(crate) fn ending_keys(&self, unix_ms: i64) -> Option<(u64, bool)> {
        let keys = self.keys();
        let credentials = &keys.credentials;
        credentials.is_due(unix_ms).then(|| (keys.generation, credentials.is_expired(unix_ms)))
    }

    /// Signs a request. Returns the headers to add, and the generation of the credentials. If a header of the request is a
    /// secret, nothing of the request is kept.
    pub(crate) fn sign(
        &self,
        to_sign: &ToSign<'_>,
        has_secret: bool,
        unix_ms: i64,
    ) -> (Vec<(String, HeaderValue)>, u64) {
        let mut keys = self.keys();
        let signed = keys.signer.sign(to_sign, unix_ms);
        let is_secret = |name| name == "x-amz-security-token";
        let value = |name, value: &str| if is_secret(name) { HeaderValue::secret(value) } else { value.into() };
        let headers = signed.headers().map(|(name, text)| (name.to_owned(), value(name, text))).collect();
        if has_secret {
            keys.signer.forget();
        }
        (headers, keys.generation)
    }

    /// Takes a token for a retry, and returns how long the retry must wait for it, in milliseconds.
    pub(crate) fn take_retry(&self, now: Now) -> u64 {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }

    /// The times of the store's replies to requests with payload.
    pub(crate) fn first_bytes(&self) -> MutexGuard<'_, FirstBytes> {
        self.first_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store's clock, as far as it was learned.
    pub(crate) fn clock(&self) -> StoreClock {
        StoreClock::with_offset(self.clock_offset_ms.load(Ordering::Relaxed))
    }

    /// Learns the store's clock from the `Date` of a reply.
    pub(crate) fn learn_date(&self, date_ms: i64, sent: Now, received: Now) {
        let mut clock = self.clock();
        clock.learn(date_ms, sent, received);
        self.clock_offset_ms.store(clock.offset_ms(), Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn store(changes: &[(&str, &str)]) -> Result<Store> {
        let mut settings = Settings::new();
        let own = [("api_url", "http://127.0.0.1:9000"), ("bucket", "bkt"), ("access_key", "A"), ("secret_key", "S")];
        for (key, value) in own.iter().chain(changes) {
            settings.set(key, value)?;
        }
        let credentials = Credentials::from_settings(&settings)?;
        Store::from_settings(&settings, credentials)
    }
}
