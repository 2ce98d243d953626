//! A bucket of an account: its name, the region that it is in, and the signer for that region.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::Account;
use crate::credentials::Credentials;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::http::HeaderValue;
use crate::mutation::{Mutation, is_active};
use crate::settings::Settings;
use crate::sigv4::{Signer, ToSign};

/// One bucket, accessed with the credentials of an account. All machines on the bucket share it.
pub struct Bucket {
    account: Arc<Account>,
    name: String,
    /// The account's endpoint, in the region that was learned for this bucket.
    endpoint: RwLock<Arc<Endpoint>>,
    signer: Mutex<CurrentSigner>,
}

/// A signer with the credentials of one generation.
struct CurrentSigner {
    signer: Signer,
    generation: u64,
}

impl CurrentSigner {
    fn new(account: &Account, region: &str) -> CurrentSigner {
        let keys = account.keys();
        CurrentSigner { signer: Signer::new(keys.credentials.clone(), region), generation: keys.generation }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("name", &self.name).field("account", &self.account).finish_non_exhaustive()
    }
}

impl Bucket {
    /// A bucket of an account. An access point's alias or ARN is a name, too.
    pub fn new(account: &Arc<Account>, name: &str) -> Result<Bucket> {
        account.endpoint.check_bucket(name)?;
        Ok(Bucket::at(account.clone(), name, account.endpoint.clone()))
    }

    /// A bucket with a name that was checked before, in the region of the account's endpoint.
    pub(crate) fn at_endpoint_of(other: &Bucket, name: &str) -> Bucket {
        Bucket::at(other.account.clone(), name, other.account.endpoint.clone())
    }

    /// The account without a bucket: for requests about all of its buckets.
    pub(crate) fn service(account: &Arc<Account>) -> Bucket {
        Bucket::at(account.clone(), "", account.endpoint.clone())
    }

    fn at(account: Arc<Account>, name: &str, endpoint: Arc<Endpoint>) -> Bucket {
        let signer = Mutex::new(CurrentSigner::new(&account, endpoint.region_for(name)));
        Bucket { account, name: name.to_owned(), endpoint: RwLock::new(endpoint), signer }
    }

    /// The bucket that the option `bucket` names, with an account of its own.
    pub fn from_settings(settings: &Settings, credentials: Credentials) -> Result<Bucket> {
        let account = Arc::new(Account::from_settings(settings, credentials)?);
        if settings.text("mode") == "bucket-per-vm" && settings.text("bucket").is_empty() {
            return Ok(Bucket::service(&account));
        }
        Bucket::new(&account, settings.required("bucket")?)
    }

    /// The same bucket with other credentials, to try them. It shares no state with this one.
    pub fn with_credentials(&self, credentials: Credentials) -> Bucket {
        Bucket::at(Arc::new(self.account.with_credentials(credentials)), &self.name, self.endpoint())
    }

    /// The account that the bucket is accessed with.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// The bucket's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the bucket is in the host name.
    pub(crate) fn is_in_host_name(&self) -> bool {
        self.endpoint().has_bucket_in_host(&self.name)
    }

    /// The endpoint that requests are sent to.
    pub(crate) fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Learns the region that the store names, unless one was set: a region that was set is never corrected silently.
    /// Returns whether another attempt may succeed.
    pub(crate) fn learn_region(&self, region: &str) -> bool {
        if !self.account.learns_region && !is_active(Mutation::CorrectConfiguredRegion) {
            return false;
        }
        let mut signer = self.signer();
        let endpoint = self.endpoint();
        let moved = endpoint.in_region(region);
        if moved == *endpoint {
            return false;
        }
        *signer = CurrentSigner::new(&self.account, moved.region_for(&self.name));
        *self.endpoint.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(moved);
        true
    }

    /// Signs a request. Returns the headers to add, and the generation of the credentials. With `has_secret` the signer
    /// keeps nothing of what it signed.
    pub(crate) fn sign(
        &self,
        to_sign: &ToSign<'_>,
        has_secret: bool,
        unix_ms: i64,
    ) -> (Vec<(String, HeaderValue)>, u64) {
        let mut signer = self.signer();
        if signer.generation != self.account.generation() {
            *signer = CurrentSigner::new(&self.account, self.endpoint().region_for(&self.name));
        }
        let signed = signer.signer.sign(to_sign, unix_ms);
        let is_secret = |name| name == "x-amz-security-token";
        let value = |name, value: &str| if is_secret(name) { HeaderValue::secret(value) } else { value.into() };
        let headers = signed.headers().map(|(name, text)| (name.to_owned(), value(name, text))).collect();
        if has_secret {
            signer.signer.forget();
        }
        (headers, signer.generation)
    }

    fn signer(&self) -> MutexGuard<'_, CurrentSigner> {
        self.signer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn bucket(changes: &[(&str, &str)]) -> Result<Bucket> {
        let mut settings = Settings::new();
        let own = [("api_url", "http://127.0.0.1:9000"), ("bucket", "bkt"), ("access_key", "A"), ("secret_key", "S")];
        for (key, value) in own.iter().chain(changes) {
            settings.set(key, value)?;
        }
        let credentials = Credentials::from_settings(&settings)?;
        Bucket::from_settings(&settings, credentials)
    }

    fn authorization(bucket: &Bucket) -> String {
        let (method, payload) = (crate::http::Method::Get, crate::sigv4::Payload::Bytes(b""));
        let to_sign = ToSign { method, host: "127.0.0.1:9000", path: "/", query: "", headers: &[], payload };
        let (headers, _) = bucket.sign(&to_sign, false, 1_764_000_000_000);
        headers.into_iter().find(|(name, _)| name == "authorization").unwrap().1.to_string()
    }

    #[test]
    fn buckets_of_one_account_share_its_credentials_and_learn_regions_of_their_own() {
        let first = bucket(&[]).unwrap();
        let second = Bucket::new(first.account(), "other").unwrap();
        assert!(first.learn_region("eu-west-1"));
        assert!(authorization(&first).contains("/eu-west-1/"), "the region was learned for this bucket");
        assert!(authorization(&second).contains("/us-east-1/"), "and for no other");
        let mut settings = Settings::new();
        settings.set("access_key", "NEW").unwrap();
        settings.set("secret_key", "S").unwrap();
        first.account().renew(Credentials::from_settings(&settings).unwrap());
        for bucket in [&first, &second] {
            assert!(authorization(bucket).contains("Credential=NEW/"), "{bucket:?}");
        }
        assert!(authorization(&first).contains("/eu-west-1/"), "new credentials keep the learned region");
    }

    #[test]
    fn a_bucket_name_is_checked() {
        let first = bucket(&[]).unwrap();
        assert!(Bucket::new(first.account(), "").is_err());
        assert!(Bucket::new(first.account(), "a/b").is_err());
    }
}
