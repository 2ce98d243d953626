//! The store: where requests go, in whose name, and what is shared by all machines that talk to it.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::credentials::Credentials;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::op::first_byte::FirstBytes;
use crate::profile::{self, Profile};
use crate::retry::Tokens;
use crate::settings::Settings;
use crate::sigv4::{Signer, ToSign};
use crate::time::{Now, StoreClock};

/// One bucket of a store, as these credentials see it. Shared by all machines that talk to it.
#[derive(Debug)]
pub struct Store {
    pub(crate) bucket: String,
    pub(crate) profile: Profile,
    endpoint: RwLock<Arc<Endpoint>>,
    /// No region was set, so what the store says of it is believed.
    region_is_open: bool,
    keys: Mutex<Keys>,
    clock_offset_ms: AtomicI64,
    retries: Mutex<Tokens>,
    first_bytes: Mutex<FirstBytes>,
}

/// The credentials that requests are signed with now.
struct Keys {
    credentials: Credentials,
    signer: Signer,
    /// Counts renewals.
    generation: u64,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, generation {}", self.credentials, self.generation)
    }
}

impl Store {
    /// From a vault's settings.
    pub fn from_settings(settings: &Settings, credentials: Credentials) -> Result<Store> {
        let endpoint = Endpoint::from_settings(settings)?;
        let bucket = settings.required("bucket")?;
        endpoint.check_bucket(bucket)?;
        let signer = Signer::new(credentials.clone(), endpoint.region_for(bucket));
        Ok(Store {
            bucket: bucket.to_owned(),
            profile: profile::named(settings.text("provider"))?,
            endpoint: RwLock::new(Arc::new(endpoint)),
            region_is_open: settings.text("region").is_empty(),
            keys: Mutex::new(Keys { credentials, signer, generation: 0 }),
            clock_offset_ms: AtomicI64::new(0),
            retries: Mutex::new(Tokens::default()),
            first_bytes: Mutex::default(),
        })
    }

    /// The same bucket with other credentials, to try them. It shares nothing with this one.
    pub fn with_credentials(&self, credentials: Credentials) -> Store {
        let endpoint = self.endpoint();
        let signer = Signer::new(credentials.clone(), endpoint.region_for(&self.bucket));
        Store {
            bucket: self.bucket.clone(),
            profile: self.profile,
            endpoint: RwLock::new(endpoint),
            region_is_open: self.region_is_open,
            keys: Mutex::new(Keys { credentials, signer, generation: 0 }),
            clock_offset_ms: AtomicI64::new(self.clock_offset_ms.load(Ordering::Relaxed)),
            retries: Mutex::new(Tokens::default()),
            first_bytes: Mutex::default(),
        }
    }

    /// Whether the bucket stands in the host name.
    pub(crate) fn has_bucket_in_host(&self) -> bool {
        self.endpoint().has_bucket_in_host(&self.bucket)
    }

    /// Where requests go.
    pub(crate) fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes notice of the region that the store names. Whether another attempt may succeed: a region that was set is
    /// not corrected in silence.
    pub(crate) fn learn_region(&self, region: &str) -> bool {
        if !self.region_is_open {
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

    /// Counts how often the credentials were renewed.
    pub fn generation(&self) -> u64 {
        self.keys().generation
    }

    /// The access key id in use.
    pub fn access_key(&self) -> String {
        self.keys().credentials.access_key.clone()
    }

    /// Whether these are the ones in use.
    pub fn uses(&self, credentials: &Credentials) -> bool {
        self.keys().credentials == *credentials
    }

    /// Replaces the credentials: the next signature, also of a transfer that is under way, is made with these.
    pub fn renew(&self, credentials: Credentials) {
        let mut keys = self.keys();
        keys.signer = Signer::new(credentials.clone(), self.endpoint().region_for(&self.bucket));
        keys.credentials = credentials;
        keys.generation += 1;
    }

    /// The generation of keys that end soon, where they do, and whether they have ended.
    pub(crate) fn ending_keys(&self, unix_ms: i64) -> Option<(u64, bool)> {
        let keys = self.keys();
        let credentials = &keys.credentials;
        credentials.is_due(unix_ms).then(|| (keys.generation, credentials.is_expired(unix_ms)))
    }

    /// Signs a request: the headers to add, and the generation of the keys.
    pub(crate) fn sign(&self, to_sign: &ToSign<'_>, unix_ms: i64) -> (Vec<(String, String)>, u64) {
        let mut keys = self.keys();
        let signed = keys.signer.sign(to_sign, unix_ms);
        let headers = signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        (headers, keys.generation)
    }

    /// How long a retry has to wait for its token, in milliseconds.
    pub(crate) fn take_retry(&self, now: Now) -> u64 {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }

    /// How long its answers to payload take.
    pub(crate) fn first_bytes(&self) -> MutexGuard<'_, FirstBytes> {
        self.first_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store's clock, as far as it is known.
    pub(crate) fn clock(&self) -> StoreClock {
        StoreClock::with_offset(self.clock_offset_ms.load(Ordering::Relaxed))
    }

    /// Learns from a reply's `Date`.
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
