//! Resolve once: one address of a name is dialled for all connections, until it fails.
//!
//! Some stores are several machines behind one name (DNS round robin), and a request to one of them does not see at
//! once what another took. With `resolve_once` a vault talks to one of them. `Host`, SNI and the name in the
//! certificate stay the name's: only the address that is dialled is chosen here.
//!
//! When a connection to the address cannot be made, or an attempt on it ends without any byte moving, the next
//! address of the answer is dialled; when all have failed, the name is resolved again. Connections that are already
//! open are not closed for that.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::connecting;

type Lookup = dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync;

/// Names, and the address of each that is dialled. Clones share them.
#[derive(Clone)]
pub(crate) struct OneAddress(Arc<Inner>);

struct Inner {
    lookup: Box<Lookup>,
    names: Mutex<HashMap<String, Known>>,
    /// Held while a name is resolved: connections that begin at once must not each ask, and get different answers.
    resolving: tokio::sync::Mutex<()>,
}

struct Known {
    addresses: Vec<IpAddr>,
    chosen: usize,
}

impl OneAddress {
    /// With the system's resolver.
    pub(super) fn new() -> OneAddress {
        OneAddress::with(|name| async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }

    /// With another resolver, for tests.
    pub(super) fn with<F>(lookup: impl Fn(String) -> F + Send + Sync + 'static) -> OneAddress
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        OneAddress(Arc::new(Inner {
            lookup: Box::new(move |name| Box::pin(lookup(name))),
            names: Mutex::default(),
            resolving: tokio::sync::Mutex::new(()),
        }))
    }

    /// The address of this name, where it was resolved.
    pub(super) fn chosen(&self, name: &str) -> Option<IpAddr> {
        let names = self.names();
        let known = names.get(name)?;
        known.addresses.get(known.chosen).copied()
    }

    /// This address failed. Many connections may say so of the same one.
    pub(super) fn failed(&self, name: &str, address: IpAddr) {
        let mut names = self.names();
        let Some(known) = names.get_mut(name) else { return };
        if known.addresses.get(known.chosen) == Some(&address) {
            known.chosen += 1;
            if known.chosen == known.addresses.len() {
                names.remove(name);
            }
        }
    }

    async fn resolved(&self, name: String) -> io::Result<IpAddr> {
        if let Some(address) = self.chosen(&name) {
            return Ok(address);
        }
        let _alone = self.0.resolving.lock().await;
        if let Some(address) = self.chosen(&name) {
            return Ok(address);
        }
        let addresses = (self.0.lookup)(name.clone()).await?;
        let Some(first) = addresses.first().copied() else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        };
        self.names().insert(name, Known { addresses, chosen: 0 });
        Ok(first)
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolve for OneAddress {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let address = this.resolved(name.clone()).await?;
            connecting::dialling(name, address);
            // Port 0: the URL's own.
            let one: Addrs = Box::new(std::iter::once(SocketAddr::new(address, 0)));
            Ok(one)
        })
    }
}
