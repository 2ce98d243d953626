//! The store: where requests go, in whose name, and what is shared by all machines that talk to it.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::credentials::Credentials;
use crate::error::{Code, Error, Result};
use crate::profile::{self, Profile};
use crate::retry::Tokens;
use crate::settings::Settings;
use crate::sigv4::{Signer, ToSign};
use crate::time::{Now, StoreClock};
use crate::uri;

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
        check_bucket(bucket)?;
        let signer = Signer::new(credentials.clone(), endpoint.region());
        Ok(Store {
            bucket: bucket.to_owned(),
            profile: profile::named(settings.text("provider"))?,
            endpoint: RwLock::new(Arc::new(endpoint)),
            region_is_open: settings.text("region").is_empty(),
            keys: Mutex::new(Keys { credentials, signer, generation: 0 }),
            clock_offset_ms: AtomicI64::new(0),
            retries: Mutex::new(Tokens::default()),
        })
    }

    /// The same bucket with other credentials, to try them. It shares nothing with this one.
    pub fn with_credentials(&self, credentials: Credentials) -> Store {
        let endpoint = self.endpoint();
        let signer = Signer::new(credentials.clone(), endpoint.region());
        Store {
            bucket: self.bucket.clone(),
            profile: self.profile,
            endpoint: RwLock::new(endpoint),
            region_is_open: self.region_is_open,
            keys: Mutex::new(Keys { credentials, signer, generation: 0 }),
            clock_offset_ms: AtomicI64::new(self.clock_offset_ms.load(Ordering::Relaxed)),
            retries: Mutex::new(Tokens::default()),
        }
    }

    /// Where requests go.
    pub(crate) fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes notice of the region that the store names. Whether another attempt may succeed: a region that was set is
    /// not corrected in silence.
    pub(crate) fn learn_region(&self, region: &str) -> bool {
        let endpoint = self.endpoint();
        let plausible =
            (1..=64).contains(&region.len()) && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !self.region_is_open || !plausible || region == endpoint.region() {
            return false;
        }
        let mut keys = self.keys();
        keys.signer = Signer::new(keys.credentials.clone(), region);
        *self.endpoint.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(endpoint.in_region(region));
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

    /// Replaces the credentials: the next signature, also of a transfer that is under way, is made with these.
    pub fn renew(&self, credentials: Credentials) {
        let mut keys = self.keys();
        keys.signer = Signer::new(credentials.clone(), self.endpoint().region());
        keys.credentials = credentials;
        keys.generation += 1;
    }

    /// The generation of keys that have expired, where they have.
    pub(crate) fn expired_keys(&self, unix_ms: i64) -> Option<u64> {
        let keys = self.keys();
        keys.credentials.is_expired(unix_ms).then_some(keys.generation)
    }

    /// Signs a request; answers with which generation of keys.
    pub(crate) fn sign(&self, to_sign: &ToSign<'_>, headers: &mut Vec<(String, String)>, unix_ms: i64) -> u64 {
        let mut keys = self.keys();
        keys.signer.sign(to_sign, headers, unix_ms);
        keys.generation
    }

    /// How long a retry has to wait for its token, in milliseconds.
    pub(crate) fn take_retry(&self, now: Now) -> u64 {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner).take(now)
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

/// Where a request goes.
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) url: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    scheme: &'static str,
    authority: String,
    path_style: bool,
    region: String,
}

impl Endpoint {
    fn from_settings(settings: &Settings) -> Result<Endpoint> {
        let region = match settings.text("region") {
            "" => "us-east-1",
            region => region,
        };
        let aws = format!("https://s3.{region}.amazonaws.com");
        let url = match settings.text("api_url") {
            "" => aws.as_str(),
            url => url,
        };
        let (scheme, authority) = parse_url(url)?;
        Ok(Endpoint { scheme, authority, path_style: settings.flag("path_style"), region: region.to_owned() })
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// Whether the bucket stands in the host name.
    pub(crate) fn has_bucket_in_host(&self) -> bool {
        !self.path_style
    }

    fn in_region(&self, region: &str) -> Endpoint {
        Endpoint { region: region.to_owned(), ..self.clone() }
    }

    pub(crate) fn service_target(&self, query: &str) -> Target {
        let question = if query.is_empty() { "" } else { "?" };
        Target {
            host: self.authority.clone(),
            path: "/".into(),
            url: format!("{}://{}/{question}{query}", self.scheme, self.authority),
        }
    }

    pub(crate) fn target(&self, bucket: &str, key: Option<&str>, query: &str) -> Target {
        let (host, mut path) = if self.path_style {
            (self.authority.clone(), format!("/{bucket}"))
        } else {
            (format!("{bucket}.{}", self.authority), String::new())
        };
        match key {
            Some(key) => {
                path.push('/');
                uri::encode_into(&mut path, key, true);
            }
            None if path.is_empty() => path.push('/'),
            None => {}
        }
        let question = if query.is_empty() { "" } else { "?" };
        let url = format!("{}://{host}{path}{question}{query}", self.scheme);
        Target { host, path, url }
    }
}

fn parse_url(url: &str) -> Result<(&'static str, String)> {
    let refuse = |why: &str| {
        let hint = "An endpoint is http:// or https://, a host, and a port where it is not 80 or 443.";
        Err(Error::new(Code::InvalidOption, format!("api_url = '{url}': {why}")).with_hint(hint))
    };
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => ("https", rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => ("http", rest),
        _ => return refuse("it does not begin with http:// or https://"),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest).to_ascii_lowercase();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => match port.parse::<u16>() {
            Ok(port) if port > 0 => (host, Some(port)),
            _ => return refuse("its port is no port"),
        },
        _ => (authority.as_str(), None),
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':');
    if host.is_empty() || !host.chars().all(valid) {
        return refuse("its host is no host; a path, a user and a query cannot stand in it");
    }
    let own = if scheme == "https" { 443 } else { 80 };
    let authority = match port {
        Some(port) if port != own => format!("{host}:{port}"),
        _ => host.to_owned(),
    };
    Ok((scheme, authority))
}

/// General purpose bucket naming rules (S3 user guide), with the capitals and `_` of older buckets.
fn check_bucket(bucket: &str) -> Result<&str> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if (3..=255).contains(&bucket.len()) && bucket.chars().all(valid) && !bucket.contains("..") {
        return Ok(bucket);
    }
    let hint = "A bucket's name has 3 to 63 characters of a-z, 0-9, '.' and '-'.";
    Err(Error::new(Code::InvalidOption, format!("bucket = '{bucket}' cannot be a bucket's name")).with_hint(hint))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    pub(crate) fn store(changes: &[(&str, &str)]) -> Result<Store> {
        let mut settings = Settings::new();
        let own = [("api_url", "http://127.0.0.1:9000"), ("bucket", "bkt"), ("access_key", "A"), ("secret_key", "S")];
        for (key, value) in own.iter().chain(changes) {
            settings.set(key, value)?;
        }
        let credentials = Credentials::from_settings(&settings)?;
        Store::from_settings(&settings, credentials)
    }

    #[test]
    fn where_requests_go() {
        let url =
            |changes: &[(&str, &str)]| store(changes).unwrap().endpoint().target("bkt", Some("/a b/ü"), "x=1").url;
        assert_eq!(url(&[]), "http://127.0.0.1:9000/bkt//a%20b/%C3%BC?x=1");
        assert_eq!(url(&[("api_url", "https://S3.example.com:443/")]), "https://s3.example.com/bkt//a%20b/%C3%BC?x=1");
        assert_eq!(url(&[("api_url", "http://[::1]:9000")]), "http://[::1]:9000/bkt//a%20b/%C3%BC?x=1");
        let aws = store(&[("api_url", ""), ("region", "eu-central-1"), ("path_style", "false")]).unwrap();
        assert_eq!(aws.endpoint().target("bkt", None, "").url, "https://bkt.s3.eu-central-1.amazonaws.com/");
    }

    #[test]
    fn what_is_no_endpoint_or_bucket_is_refused() {
        for bad in [
            "s3.example.com",
            "ftp://h",
            "http://",
            "http://h:0",
            "http://h:x",
            "http://h/path",
            "http://u@h",
            "http://h?q",
        ] {
            assert_eq!(store(&[("api_url", bad)]).unwrap_err().code(), Code::InvalidOption, "{bad}");
        }
        for bad in ["ab", "a/b", "a b", "a..b", "ä-bucket"] {
            assert_eq!(store(&[("bucket", bad)]).unwrap_err().code(), Code::InvalidOption, "{bad}");
        }
        assert!(store(&[("secret_key", "")]).unwrap_err().message().contains("secret_key"));
    }
}
