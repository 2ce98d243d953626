//! Names, and which of its addresses each connection dials.
//!
//! A store is several machines behind one name. By default connections are spread over all of them: each new one begins at the
//! next address of the answer, so that a transfer takes what they give together and one bad machine slows few parts. The name
//! is resolved again once its answer is [`FRESH`] old. With `resolve_once` one address is dialled for all connections, until it
//! fails, for stores where a request to one machine does not see at once what another took. `Host`, SNI and the name in the
//! certificate stay the name's in both.
//!
//! An address has failed when a connection to it cannot be made, or when an attempt on it ends without any byte moving. It is
//! dialled last for [`AVOIDED`] (with `resolve_once`: not until all others have failed too). When all have, the name is resolved
//! again. Connections that are already open are not closed for that.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock;

/// An answer is used for so long. Those of AWS S3 are good for a few seconds and name eight of many machines; connections
/// live for minutes.
const FRESH: Duration = Duration::from_secs(30);

/// An address that failed is dialled last for so long.
const AVOIDED: Duration = Duration::from_secs(30);

type Lookup = dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync;

/// Names and their addresses. Clones share them.
#[derive(Clone)]
pub(crate) struct Names(Arc<Inner>);

struct Inner {
    lookup: Box<Lookup>,
    /// One address for all connections.
    once: bool,
    fresh: Duration,
    names: Mutex<HashMap<String, Known>>,
    /// Held while a name is resolved: connections that begin at once must not each ask, and get different answers.
    resolving: tokio::sync::Mutex<()>,
}

struct Known {
    addresses: Vec<Address>,
    /// Where the next connection begins.
    next: usize,
    /// When it was resolved, by the monotonic clock.
    resolved: u64,
}

struct Address {
    ip: IpAddr,
    /// Until when it is dialled last, by the monotonic clock.
    avoided: u64,
}

impl Names {
    /// With the system's resolver.
    pub(crate) fn new(once: bool) -> Names {
        Names::with(once, FRESH, |name| async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }

    /// With another resolver, and answers that are good for so long; for tests.
    pub(super) fn with<F>(once: bool, fresh: Duration, lookup: impl Fn(String) -> F + Send + Sync + 'static) -> Names
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Names(Arc::new(Inner {
            lookup: Box::new(move |name| Box::pin(lookup(name))),
            once,
            fresh,
            names: Mutex::default(),
            resolving: tokio::sync::Mutex::new(()),
        }))
    }

    /// The addresses that the next connection to this name dials, in this order; at least one. Those of the first one's family
    /// come first, as they are dialled (RFC 8305).
    pub(super) async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        let _alone = self.0.resolving.lock().await;
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        let found = (self.0.lookup)(name.to_owned()).await;
        match &found {
            Ok(found) if !found.is_empty() => self.learn(name, found),
            // What was true a minute ago is better than nothing.
            _ => self.keep(name),
        }
        let nothing = |_| io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        self.turned(name).map_or_else(|| Err(found.map_or_else(|e| e, nothing)), Ok)
    }

    /// Of the addresses that were dialled in this order, `ip` took the connection. Those before it did not.
    pub(super) fn connected(&self, name: &str, dialled: &[IpAddr], ip: IpAddr) {
        for before in dialled.iter().take_while(|dialled| **dialled != ip) {
            self.failed(name, *before);
        }
    }

    /// This address failed. Many connections may say so of the same one.
    pub(super) fn failed(&self, name: &str, ip: IpAddr) {
        let now = clock::mono_ms();
        let mut names = self.names();
        let Some(known) = names.get_mut(name) else { return };
        if self.0.once {
            if known.addresses.get(known.next).is_none_or(|chosen| chosen.ip != ip) {
                return;
            }
            known.next += 1;
            if known.next == known.addresses.len() {
                names.remove(name);
            }
            return;
        }
        if let Some(address) = known.addresses.iter_mut().find(|address| address.ip == ip) {
            address.avoided = now.saturating_add(AVOIDED.as_millis() as u64);
        }
        if known.addresses.iter().all(|address| address.avoided > now) {
            names.remove(name);
        }
    }

    /// What is known of this name, unless that is too old.
    pub(super) fn known(&self, name: &str) -> Option<Vec<IpAddr>> {
        let resolved = self.names().get(name)?.resolved;
        let old = clock::mono_ms().saturating_sub(resolved) >= self.0.fresh.as_millis() as u64;
        if old && !self.0.once { None } else { self.turned(name) }
    }

    /// What is known of this name; who asks next gets it turned by one.
    fn turned(&self, name: &str) -> Option<Vec<IpAddr>> {
        let now = clock::mono_ms();
        let mut names = self.names();
        let known = names.get_mut(name)?;
        if self.0.once {
            return Some(vec![known.addresses.get(known.next)?.ip]);
        }
        let count = known.addresses.len();
        let turned = (0..count).map(|n| &known.addresses[(known.next + n) % count]);
        let (good, avoided): (Vec<_>, Vec<_>) = turned.partition(|address| address.avoided <= now);
        let mut all: Vec<IpAddr> = good.into_iter().chain(avoided).map(|address| address.ip).collect();
        let first = all.first()?.is_ipv4();
        all.sort_by_key(|ip| ip.is_ipv4() != first);
        known.next = (known.next + 1) % count;
        Some(all)
    }

    fn learn(&self, name: &str, found: &[IpAddr]) {
        let mut names = self.names();
        let before = names.remove(name);
        let known = |ip| before.iter().flat_map(|known| &known.addresses).find(|known| known.ip == ip);
        let addresses =
            found.iter().map(|&ip| Address { ip, avoided: known(ip).map_or(0, |address| address.avoided) }).collect();
        // With `once` a name is resolved anew only where nothing is known of it.
        names.insert(name.to_owned(), Known { addresses, next: 0, resolved: clock::mono_ms() });
    }

    /// What is known counts as new.
    fn keep(&self, name: &str) {
        if let Some(known) = self.names().get_mut(name) {
            known.resolved = clock::mono_ms();
        }
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
