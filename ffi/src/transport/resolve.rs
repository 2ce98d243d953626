//! Name resolution, and which address of a name each connection dials.
//!
//! A store is often several machines behind one name. By default connections are spread over all of them: each new connection
//! starts at the next address of the DNS answer, so that a transfer uses the bandwidth of all machines, and a bad one slows
//! only a few parts. The name is resolved again once the answer is [`MAX_AGE`] old. With `resolve_once` all connections dial
//! one address until it fails, for stores where a request to one machine does not immediately see what another one stored.
//! `Host`, SNI and the name in the certificate are the original name in both cases.
//!
//! An address has failed when no connection to it can be made, or when an attempt on it ends without any byte moving. It is
//! then dialled last for [`AVOID_FOR`] (with `resolve_once`: only after all others have failed too). When all addresses have
//! failed, the name is resolved again. Connections that are already open stay open.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock;

/// How long a DNS answer is used. Answers of AWS S3 are valid for a few seconds and name eight of many machines, but
/// connections live for minutes.
const MAX_AGE: Duration = Duration::from_secs(30);

/// How long an address that failed is dialled last.
const AVOID_FOR: Duration = Duration::from_secs(30);

type Lookup = dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync;

/// A cache of names and their addresses. Clones share it.
#[derive(Clone)]
pub(crate) struct Names(Arc<Inner>);

struct Inner {
    lookup: Box<Lookup>,
    /// Whether all connections to a name use one address.
    once: bool,
    max_age: Duration,
    names: Mutex<HashMap<String, Entry>>,
    /// Held while a name is resolved, so that connections that start at the same time do not each ask and get different
    /// answers.
    resolving: tokio::sync::Mutex<()>,
}

/// What is known about a name.
struct Entry {
    addresses: Vec<Address>,
    /// Index of the address that the next connection starts at.
    next: usize,
    /// Monotonic time at which the name was resolved.
    resolved: u64,
}

struct Address {
    ip: IpAddr,
    /// Monotonic time until which the address is dialled last.
    avoid_until: u64,
}

impl Names {
    /// Uses the system's resolver.
    pub(crate) fn new(once: bool) -> Names {
        Names::with(once, MAX_AGE, |name| async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }

    /// Uses another resolver, and another age at which answers expire. For tests.
    pub(super) fn with<F>(once: bool, max_age: Duration, lookup: impl Fn(String) -> F + Send + Sync + 'static) -> Names
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Names(Arc::new(Inner {
            lookup: Box::new(move |name| Box::pin(lookup(name))),
            once,
            max_age,
            names: Mutex::default(),
            resolving: tokio::sync::Mutex::new(()),
        }))
    }

    /// Returns the addresses that the next connection to this name dials, in order; at least one. Addresses of the first one's
    /// family come first, as they are dialled (RFC 8305).
    pub(super) async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if let Some(addresses) = self.cached(name) {
            return Ok(addresses);
        }
        let _guard = self.0.resolving.lock().await;
        if let Some(addresses) = self.cached(name) {
            return Ok(addresses);
        }
        let found = (self.0.lookup)(name.to_owned()).await;
        match &found {
            Ok(found) if !found.is_empty() => self.store(name, found),
            // An expired answer is better than none.
            _ => self.renew(name),
        }
        let nothing = |_| io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        self.rotated(name).map_or_else(|| Err(found.map_or_else(|e| e, nothing)), Ok)
    }

    /// Records that `ip` accepted the connection, and that the addresses dialled before it did not.
    pub(super) fn connected(&self, name: &str, dialled: &[IpAddr], ip: IpAddr) {
        for before in dialled.iter().take_while(|dialled| **dialled != ip) {
            self.failed(name, *before);
        }
    }

    /// Records that this address failed. Several connections may report the same failure.
    pub(super) fn failed(&self, name: &str, ip: IpAddr) {
        let now = clock::mono_ms();
        let mut names = self.names();
        let Some(entry) = names.get_mut(name) else { return };
        if self.0.once {
            if entry.addresses.get(entry.next).is_none_or(|current| current.ip != ip) {
                return;
            }
            entry.next += 1;
            if entry.next == entry.addresses.len() {
                names.remove(name);
            }
            return;
        }
        if let Some(address) = entry.addresses.iter_mut().find(|address| address.ip == ip) {
            address.avoid_until = now.saturating_add(AVOID_FOR.as_millis() as u64);
        }
        if entry.addresses.iter().all(|address| address.avoid_until > now) {
            names.remove(name);
        }
    }

    /// Returns the cached addresses of this name, unless they have expired.
    pub(super) fn cached(&self, name: &str) -> Option<Vec<IpAddr>> {
        let resolved = self.names().get(name)?.resolved;
        let old = clock::mono_ms().saturating_sub(resolved) >= self.0.max_age.as_millis() as u64;
        if old && !self.0.once { None } else { self.rotated(name) }
    }

    /// Returns the cached addresses of this name. The next call starts at the next address.
    fn rotated(&self, name: &str) -> Option<Vec<IpAddr>> {
        let now = clock::mono_ms();
        let mut names = self.names();
        let entry = names.get_mut(name)?;
        if self.0.once {
            return Some(vec![entry.addresses.get(entry.next)?.ip]);
        }
        let count = entry.addresses.len();
        let rotated = (0..count).map(|n| &entry.addresses[(entry.next + n) % count]);
        let (good, avoided): (Vec<_>, Vec<_>) = rotated.partition(|address| address.avoid_until <= now);
        let mut all: Vec<IpAddr> = good.into_iter().chain(avoided).map(|address| address.ip).collect();
        let first = all.first()?.is_ipv4();
        all.sort_by_key(|ip| ip.is_ipv4() != first);
        entry.next = (entry.next + 1) % count;
        Some(all)
    }

    fn store(&self, name: &str, found: &[IpAddr]) {
        let mut names = self.names();
        let before = names.remove(name);
        let known = |ip| before.iter().flat_map(|entry| &entry.addresses).find(|address| address.ip == ip);
        let addresses = found
            .iter()
            .map(|&ip| Address { ip, avoid_until: known(ip).map_or(0, |address| address.avoid_until) })
            .collect();
        // With `once` a name is resolved only if it has no entry, so there is no previous position to keep.
        names.insert(name.to_owned(), Entry { addresses, next: 0, resolved: clock::mono_ms() });
    }

    /// Treats the cached addresses as new.
    fn renew(&self, name: &str) {
        if let Some(entry) = self.names().get_mut(name) {
            entry.resolved = clock::mono_ms();
        }
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
