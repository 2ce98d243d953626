//! A client of one bucket: single operations of S3, for checks, administration and tests. Vaults stand on it.

use std::sync::Arc;

use s3vault_core::credentials::Credentials;
use s3vault_core::op::{GetObject, Operation, Paged, Pages, Single};
use s3vault_core::settings::Settings;
use s3vault_core::store::Store;
use s3vault_core::vault::objects::VAULT_KEY;
use s3vault_core::{Code, Result};

use crate::control::Control;
use crate::credentials::Provider;
use crate::driver::{self, Host, Keys};
use crate::entropy;
use crate::transport::{Transport, TransportSettings};

/// A client of one bucket. Clones are the same client; any thread may use it.
#[derive(Clone)]
pub struct Client {
    pub(crate) host: Host,
    store: Arc<Store>,
}

impl Client {
    /// From a vault's settings. Nothing is sent yet, unless `credentials = chain` has to ask for keys.
    pub fn open(settings: &Settings, control: &mut Control<'_>) -> Result<Client> {
        let provider = Provider::new(settings)?;
        let store = Arc::new(Store::from_settings(settings, provider.load(control)?)?);
        let transport = Transport::new(&TransportSettings::from_settings(settings)?)?;
        let keys = Arc::new(StoreKeys { store: store.clone(), provider });
        Ok(Client { host: Host { transport, keys: Some(keys) }, store })
    }

    /// What it is a client of.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Runs one operation to its end.
    ///
    /// Operations whose reply is a range of a backup ([`GetRange`](s3vault_core::op::GetRange)) and those that send a
    /// part need a transfer, and end in [`Code::Internal`].
    pub fn call<O>(&self, op: O, control: &mut Control<'_>) -> Result<O::Reply>
    where
        O: Operation + Send + 'static,
        O::Reply: Send + 'static,
    {
        driver::run(&self.host, Single::new(&self.store, op, entropy::seed()?), control)
    }

    /// Goes through a listing, page by page.
    pub fn pages<O: Paged + Clone>(&self, first: O) -> PageReader<O> {
        PageReader { host: self.host.clone(), pages: Pages::new(&self.store, first) }
    }

    /// Gives the client other keys, after a request that was signed with them was not refused; else the old ones stay.
    /// Transfers that are under way go on with the new ones.
    pub(crate) fn renew(&self, credentials: Credentials, control: &mut Control<'_>) -> Result<()> {
        let trial = Arc::new(self.store.with_credentials(credentials.clone()));
        let host = Host { transport: self.host.transport.clone(), keys: None };
        // What every vault may read, if it is there.
        let object = GetObject::new(VAULT_KEY, 1 << 20);
        match driver::run(&host, Single::new(&trial, object, entropy::seed()?), control) {
            Err(e) if e.code() != Code::NotFound => Err(e.context("trying the new keys")),
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
    /// The next page; `None` after the last. After an error the same page may be asked for again.
    pub fn next(&mut self, control: &mut Control<'_>) -> Result<Option<O::Reply>> {
        let Some(machine) = self.pages.next(entropy::seed()?) else { return Ok(None) };
        let page = driver::run(&self.host, machine, control)?;
        self.pages.after(&page);
        Ok(Some(page))
    }
}

/// The keys of a store, and where others may come from.
struct StoreKeys {
    store: Arc<Store>,
    provider: Provider,
}

impl Keys for StoreKeys {
    fn generation(&self) -> u64 {
        self.store.generation()
    }

    fn describe(&self) -> String {
        format!("access key {}", self.store.access_key())
    }

    fn fetch(&self) -> Option<Result<()>> {
        // Keys that stand in the settings can only be given anew by the caller.
        self.provider.is_renewable().then(|| {
            let keys = self.provider.load(&mut Control::none())?;
            if !self.store.uses(&keys) {
                self.store.renew(keys);
            }
            Ok(())
        })
    }
}
