//! A client of one bucket: single S3 operations, for checks, administration and tests. Vaults are built on it.

use std::sync::Arc;

use s3vault_core::credentials::Credentials;
use s3vault_core::op::{GetObject, Operation, Paged, Pages, Single};
use s3vault_core::settings::Settings;
use s3vault_core::store::Store;
use s3vault_core::vault::objects::VAULT_KEY;
use s3vault_core::{Code, Result};

use crate::control::Control;
use crate::credentials::Provider;
use crate::driver::{self, Host, KeySource};
use crate::entropy;
use crate::transport::{Transport, TransportSettings};

/// A client of one bucket. Clones share the same client; any thread may use it.
#[derive(Clone)]
pub struct Client {
    pub(crate) host: Host,
    store: Arc<Store>,
}

impl Client {
    /// Opens a client with a vault's settings. It sends no request, unless `credentials = chain` has to fetch keys.
    pub fn open(settings: &Settings, control: &mut Control<'_>) -> Result<Client> {
        let provider = Provider::new(settings)?;
        let store = Arc::new(Store::from_settings(settings, provider.load(control)?)?);
        let transport = Transport::new(&TransportSettings::from_settings(settings)?)?;
        let keys = Arc::new(StoreKeys { store: store.clone(), provider });
        Ok(Client { host: Host { transport, keys: Some(keys) }, store })
    }

    /// The bucket, as core describes it.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Runs one operation to its end.
    ///
    /// An operation whose reply is a range of a backup ([`GetRange`](s3vault_core::op::GetRange)), or one that sends a
    /// part, needs a transfer, and fails here with [`Code::Internal`].
    pub fn call<O>(&self, op: O, control: &mut Control<'_>) -> Result<O::Reply>
    where
        O: Operation + Send + 'static,
        O::Reply: Send + 'static,
    {
        driver::run(&self.host, Single::new(&self.store, op, entropy::seed()?), control)
    }

    /// Reads a listing page by page.
    pub fn pages<O: Paged + Clone>(&self, first: O) -> PageReader<O> {
        PageReader { host: self.host.clone(), pages: Pages::new(&self.store, first) }
    }

    /// Replaces the client's keys, if a trial request signed with the new ones is not refused; otherwise the old ones
    /// stay. Transfers in progress continue with the new ones.
    pub(crate) fn renew(&self, credentials: Credentials, control: &mut Control<'_>) -> Result<()> {
        let trial = Arc::new(self.store.with_credentials(credentials.clone()));
        let host = Host { transport: self.host.transport.clone(), keys: None };
        // An object that the keys of any vault may read, if it exists.
        let object = GetObject::new(VAULT_KEY, 1 << 20);
        match driver::run(&host, Single::new(&trial, object, entropy::seed()?), control) {
            Err(e) if e.code() != Code::NotFound => Err(e.context("the trial of the new keys failed")),
            _ => {
                self.store.renew(credentials);
                Ok(())
            }
        }
    }
}

/// The pages of a listing.
pub struct PageReader<O> {
    host: Host,
    pages: Pages<O>,
}

impl<O> PageReader<O>
where
    O: Paged + Clone + Send + 'static,
    O::Reply: Send + 'static,
{
    /// Returns the next page; `None` after the last. After an error, call it again for the same page.
    pub fn next(&mut self, control: &mut Control<'_>) -> Result<Option<O::Reply>> {
        let Some(machine) = self.pages.next(entropy::seed()?) else { return Ok(None) };
        let page = driver::run(&self.host, machine, control)?;
        self.pages.after(&page);
        Ok(Some(page))
    }
}

/// The keys of a store, and where new ones come from.
struct StoreKeys {
    store: Arc<Store>,
    provider: Provider,
}

impl KeySource for StoreKeys {
    fn generation(&self) -> u64 {
        self.store.generation()
    }

    fn describe(&self) -> String {
        format!("access key {}", self.store.access_key())
    }

    fn fetch(&self) -> Option<Result<()>> {
        // Keys from the settings can only be replaced by the caller.
        self.provider.is_renewable().then(|| {
            let keys = self.provider.load(&mut Control::none())?;
            if !self.store.uses(&keys) {
                self.store.renew(keys);
            }
            Ok(())
        })
    }
}
