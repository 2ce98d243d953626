//! The store: where requests go, in whose name, and what is shared by all machines that talk to it.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::credentials::Credentials;
use crate::error::{Code, Error, Result};
use crate::profile::{self, Profile};
use crate::settings::Settings;
use crate::time::{Now, StoreClock};
use crate::uri;

/// One bucket of a store, as these credentials see it.
#[derive(Debug)]
pub struct Store {
    scheme: &'static str,
    /// Host, and the port where it is not the scheme's own.
    authority: String,
    path_style: bool,
    pub(crate) region: String,
    pub(crate) bucket: String,
    pub(crate) credentials: Credentials,
    pub(crate) profile: Profile,
    clock_offset_ms: AtomicI64,
}

/// Where a request goes.
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) url: String,
}

impl Store {
    /// From a vault's settings.
    pub fn from_settings(settings: &Settings) -> Result<Store> {
        let region = settings.text("region").to_owned();
        let aws = format!("https://s3.{region}.amazonaws.com");
        let url = match settings.text("api_url") {
            "" => aws.as_str(),
            url => url,
        };
        let (scheme, authority) = parse_url(url)?;
        Ok(Store {
            scheme,
            authority,
            path_style: settings.flag("path_style"),
            region,
            bucket: check_bucket(settings.required("bucket")?)?.to_owned(),
            credentials: Credentials::from_settings(settings)?,
            profile: profile::S3,
            clock_offset_ms: AtomicI64::new(0),
        })
    }

    pub(crate) fn target(&self, key: Option<&str>, query: &str) -> Target {
        let (host, mut path) = if self.path_style {
            (self.authority.clone(), format!("/{}", self.bucket))
        } else {
            (format!("{}.{}", self.bucket, self.authority), String::new())
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

    /// Where the bucket is, or an object in it.
    pub fn url(&self, key: Option<&str>) -> String {
        self.target(key, "").url
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
        Store::from_settings(&settings)
    }

    #[test]
    fn where_requests_go() {
        let url = |changes: &[(&str, &str)]| store(changes).unwrap().target(Some("/a b/ü"), "x=1").url;
        assert_eq!(url(&[]), "http://127.0.0.1:9000/bkt//a%20b/%C3%BC?x=1");
        assert_eq!(url(&[("api_url", "https://S3.example.com:443/")]), "https://s3.example.com/bkt//a%20b/%C3%BC?x=1");
        assert_eq!(url(&[("api_url", "http://[::1]:9000")]), "http://[::1]:9000/bkt//a%20b/%C3%BC?x=1");
        let aws = store(&[("api_url", ""), ("region", "eu-central-1"), ("path_style", "false")]).unwrap();
        assert_eq!(aws.target(None, "").url, "https://bkt.s3.eu-central-1.amazonaws.com/");
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
