//! A client of one bucket: single S3 operations, for checks, administration and tests. Vaults are built on it.

use std::sync::Arc;

use s3vault_core::account::{Account, Bucket};
use s3vault_core::credentials::Credentials;
use s3vault_core::op::{GetObject, ListBuckets, Operation, Paged, Pages, Single};
use s3vault_core::settings::Settings;
use s3vault_core::vault::objects::VAULT_KEY;
use s3vault_core::vault::open::DESCRIPTION_LIMIT;
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
    bucket: Arc<Bucket>,
}

impl Client {
    /// Opens a client with a vault's settings. It sends no request, unless `credentials = chain` has to fetch keys.
    pub fn open(settings: &Settings, control: &mut Control<'_>) -> Result<Client> {
        let provider = Provider::new(settings)?;
        let bucket = Arc::new(Bucket::from_settings(settings, provider.load(control)?)?);
        let transport = Transport::new(&TransportSettings::from_settings(settings)?)?;
        let keys = Arc::new(AccountKeys { account: bucket.account().clone(), provider });
        Ok(Client { host: Host { transport, keys: Some(keys) }, bucket })
    }

    /// The bucket that it is a client of.
    pub fn bucket(&self) -> &Arc<Bucket> {
        &self.bucket
    }

    /// A client of another bucket of the same account.
    pub(crate) fn of(&self, bucket: &Arc<Bucket>) -> Client {
        Client { host: self.host.clone(), bucket: bucket.clone() }
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
        driver::run(&self.host, Single::new(&self.bucket, op, entropy::seed()?), control)
    }

    /// Reads a listing page by page.
    pub fn pages<O: Paged + Clone>(&self, first: O) -> PageReader<O> {
        PageReader { host: self.host.clone(), pages: Pages::new(&self.bucket, first) }
    }

    /// Replaces the client's keys, if a trial request signed with the new ones is not refused; otherwise the old ones
    /// stay. Transfers in progress continue with the new ones.
    pub(crate) fn renew(&self, credentials: Credentials, control: &mut Control<'_>) -> Result<()> {
        let trial = Arc::new(self.bucket.with_credentials(credentials.clone()));
        let host = Host { transport: self.host.transport.clone(), keys: None };
        let answer = if trial.name().is_empty() {
            // Each container has a bucket of its own. Keys that may not list the buckets are valid all the same.
            let list = ListBuckets { max_buckets: Some(1), ..Default::default() };
            match driver::run(&host, Single::new(&trial, list, entropy::seed()?), control) {
                Err(e) if e.code() != Code::AccessDenied => Err(e),
                _ => Ok(()),
            }
        } else {
            // An object that the keys of any vault may read, if it exists.
            let object = GetObject::new(VAULT_KEY, DESCRIPTION_LIMIT);
            match driver::run(&host, Single::new(&trial, object, entropy::seed()?), control) {
                Err(e) if e.code() != Code::NotFound => Err(e),
                _ => Ok(()),
            }
        };
        answer.map_err(|e| e.context("the trial of the new keys failed"))?;
        self.bucket.account().renew(credentials);
        Ok(())
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

/// The keys of an account, and where new ones come from.
struct AccountKeys {
    account: Arc<Account>,
    provider: Provider,
}

impl KeySource for AccountKeys {
    fn generation(&self) -> u64 {
        self.account.generation()
    }

    fn describe(&self) -> String {
        format!("access key {}", self.account.access_key())
    }

    fn fetch(&self) -> Option<Result<()>> {
        // Keys from the settings can only be replaced by the caller.
        self.provider.is_renewable().then(|| {
            let keys = self.provider.load(&mut Control::none())?;
            if !self.account.uses(&keys) {
                self.account.renew(keys);
            }
            Ok(())
        })
    }
}
