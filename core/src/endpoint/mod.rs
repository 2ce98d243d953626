//! The endpoint of a store: the URLs of its requests, and the region that they are signed for. It is a pure value.
//!
//! Sources: "Amazon S3 endpoints and quotas" (AWS general reference); "Virtual hosting of general purpose buckets"
//! and "Referencing access points" (S3 user guide).
//!
//! | file | contents |
//! |---|---|
//! | `url` | parses `api_url` (scheme, host, port and path), and refuses anything else |
//! | `aws` | AWS's partitions and hosts, with their dualstack and FIPS variants |
//! | `bucket` | bucket names, access points and their ARNs |
//!
//! **Path style or virtual hosts.** The option `path_style` decides. Regardless of it, a bucket is in the path if its name
//! is not valid in a host name (capitals, `_`, longer than a label), or if its name has a dot and TLS is used (a wildcard
//! certificate covers only one label), and a store below a path has its buckets there. An access point is always in the host name: S3 has no other form for it.

mod aws;
mod bucket;
#[cfg(test)]
mod tests;
mod url;

use crate::error::{Code, Error, Result};
use crate::settings::Settings;
use crate::uri;

use aws::{AwsHost, Found};
use bucket::AccessPoint;
use url::{Host, Scheme};

/// The region to sign for if it is not known. Most other stores accept it.
pub const DEFAULT_REGION: &str = "us-east-1";

/// The endpoint of a store.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    scheme: Scheme,
    site: Site,
    /// Port; `None` if it is the scheme's default.
    port: Option<u16>,
    region: String,
    path_style: bool,
    /// The path in front of all buckets, encoded: `/storage/v1/s3`. Requests are signed with it. Empty for most stores.
    path: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Site {
    /// AWS, at the host of the endpoint's region.
    Aws(AwsHost),
    /// AWS, through an interface endpoint (PrivateLink) in the user's network, which serves one region.
    AwsInterface(String),
    /// Another store.
    Other(Host),
}

/// The target of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Value of the `Host` header.
    pub host: String,
    /// Path, encoded as it is sent and signed.
    pub path: String,
    /// The whole URL with the query.
    pub url: String,
}

impl Endpoint {
    /// The endpoint according to `api_url`, `region`, `path_style`, `dualstack` and `fips`, and `bucket` if it is an ARN.
    pub fn from_settings(settings: &Settings) -> Result<Endpoint> {
        let wanted = match settings.text("region") {
            "" => None,
            region => Some(checked_region(region)?),
        };
        let access_point = bucket::access_point(settings.text("bucket"))?;
        let of_bucket = access_point.as_ref().map(|point| point.region);
        if let (Some(region), Some(of_arn)) = (wanted, of_bucket)
            && region != of_arn
        {
            return Err(two_regions(region, "the ARN in bucket", of_arn));
        }
        let wanted = wanted.or(of_bucket);
        let host = AwsHost { dualstack: settings.flag("dualstack"), fips: settings.flag("fips") };

        let (scheme, site, port, region, path) = match settings.text("api_url") {
            "" => {
                let region = wanted.unwrap_or(DEFAULT_REGION);
                if !aws::is_region(region) {
                    return Err(invalid(format!("region = '{region}' is not an AWS region, and api_url is empty"))
                        .with_hint(
                            "Set api_url to the store's endpoint, or region to an AWS region such as eu-central-1.",
                        ));
                }
                (Scheme::Https, Site::Aws(host), None, region.to_owned(), String::new())
            }
            api_url => {
                let url = url::parse(api_url)?;
                let (site, region) = site(api_url, &url.host, host, wanted)?;
                check_path(api_url, &url.path, &site, settings)?;
                (url.scheme, site, url.port, region, url.path)
            }
        };
        if let Site::Aws(host) = &site {
            host.check(&region)?;
        } else if let Some(option) = host.named() {
            return Err(invalid(format!("{option} = true, but api_url names a host")).with_hint(format!(
                "Leave {option} out: it selects one of AWS's hosts, and only if api_url is empty."
            )));
        }
        let path_style = settings.flag("path_style");
        if let Site::Other(Host::V4(_) | Host::V6(_)) = &site
            && !path_style
        {
            return Err(invalid("path_style = false, but the host of api_url is an IP address").with_hint(
                "Set path_style = true, or use a host name in api_url: a bucket cannot be the prefix of an IP address.",
            ));
        }
        let endpoint = Endpoint { scheme, site, port, region, path_style, path };
        if let Some(point) = access_point {
            endpoint.check_access_point(&point)?;
        }
        Ok(endpoint)
    }

    /// The region that requests are signed for, except those to an access point: see [`Endpoint::region_for`].
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The region that requests to this bucket are signed for; the ARN of an access point names it.
    pub fn region_for<'a>(&'a self, bucket: &'a str) -> &'a str {
        match bucket::access_point(bucket) {
            Ok(Some(point)) => point.region,
            _ => &self.region,
        }
    }

    /// The path in front of all buckets; empty for most stores.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether this is AWS.
    pub fn is_aws(&self) -> bool {
        !matches!(self.site, Site::Other(_))
    }

    /// The same endpoint for a region that the store named in an error: for AWS, the host of that region; for other
    /// stores, the same host, signed for that region. A text that is not a valid region changes nothing.
    pub fn in_region(&self, region: &str) -> Endpoint {
        let fits = match self.site {
            Site::Aws(host) => aws::is_region(region) && host.check(region).is_ok(),
            _ => checked_region(region).is_ok(),
        };
        let region = if fits { region } else { &self.region };
        Endpoint { region: region.to_owned(), ..self.clone() }
    }

    /// The target of a request without a bucket: ListBuckets.
    pub fn service_target(&self, query: &str) -> Target {
        self.to(self.host(), format!("{}/", self.path), query)
    }

    /// The target of a request for a bucket or an object in it. The query is already encoded.
    pub fn target(&self, bucket: &str, key: Option<&str>, query: &str) -> Target {
        let mut path = String::with_capacity(bucket.len() + key.map_or(0, str::len) * 5 / 4 + 2);
        let host = match self.host_of(bucket) {
            Some(host) => host,
            None => {
                path.push_str(&self.path);
                path.push('/');
                uri::encode_into(&mut path, bucket, false);
                self.host()
            }
        };
        if let Some(key) = key {
            path.push('/');
            uri::encode_into(&mut path, key, true);
        } else if path.is_empty() {
            path.push('/');
        }
        self.to(host, path, query)
    }

    /// Fails if this is not a valid bucket name here, or is a kind of bucket that cannot hold a vault.
    pub fn check_bucket(&self, bucket: &str) -> Result<()> {
        match bucket::access_point(bucket)? {
            Some(point) => self.check_access_point(&point),
            None => {
                bucket::check_name(bucket)?;
                if self.is_aws() {
                    bucket::check_aws_name(bucket)?;
                    if bucket::is_alias(bucket) {
                        self.check_secure(bucket)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn check_access_point(&self, point: &AccessPoint<'_>) -> Result<()> {
        let arn = point.arn;
        match &self.site {
            Site::Other(_) => {
                return Err(invalid(format!(
                    "bucket = '{arn}' is an access point of AWS, but api_url is another store's endpoint"
                ))
                .with_hint("Set bucket to the bucket's name, or leave api_url empty."));
            }
            Site::AwsInterface(host) if point.region != self.region => {
                return Err(two_regions(point.region, &format!("api_url ({host})"), &self.region));
            }
            Site::AwsInterface(_) => {}
            Site::Aws(host) => {
                let (own, its) = (aws::partition(&self.region).name, aws::partition(point.region).name);
                if own != its {
                    let what = format!("bucket = '{arn}' is in the partition {its}, but the endpoint is in {own}");
                    return Err(
                        invalid(what).with_hint("Set region to that of the access point, and leave api_url empty.")
                    );
                }
                host.check(point.region)?;
            }
        }
        self.check_secure(arn)
    }

    /// "S3 access points don't support access through HTTP."
    fn check_secure(&self, bucket: &str) -> Result<()> {
        if self.is_tls() {
            return Ok(());
        }
        Err(invalid(format!("bucket = '{bucket}' is an access point, but api_url starts with http://"))
            .with_hint("Leave api_url empty, or start it with https://: access points support only TLS."))
    }

    /// Whether requests are encrypted on their way.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// Why requests are exposed on their way: they go to another machine without TLS. `None`: they do not.
    pub fn exposure(&self) -> Option<String> {
        let is_here = match &self.site {
            Site::Other(Host::Name(name)) => name == "localhost" || name.ends_with(".localhost"),
            Site::Other(Host::V4(address)) => address.is_loopback(),
            Site::Other(Host::V6(address)) => address.is_loopback(),
            Site::Aws(_) | Site::AwsInterface(_) => false,
        };
        (self.scheme == Scheme::Http && !is_here).then(|| {
            format!(
                "requests to http://{} are not encrypted: anyone on their way can read and change backups, and can use a signed request until its date expires. Use https:// in api_url.",
                self.host()
            )
        })
    }

    /// The host without a bucket.
    fn host(&self) -> String {
        match &self.site {
            Site::Aws(host) => host.service(&self.region),
            Site::AwsInterface(host) => host.clone(),
            Site::Other(host) => host.to_string(),
        }
    }

    /// The host for this bucket; `None` if the bucket is in the path.
    fn host_of(&self, bucket: &str) -> Option<String> {
        if self.is_aws()
            && let Ok(Some(point)) = bucket::access_point(bucket)
        {
            return Some(match &self.site {
                Site::Aws(host) => format!("{}.{}", point.label(), host.access_points(point.region)),
                _ => format!("{}.{}", point.label(), self.host()),
            });
        }
        let is_alias = self.is_aws() && bucket::is_alias(bucket);
        let dot_matters = self.scheme == Scheme::Https && bucket.contains('.');
        let in_host = (is_alias || !self.path_style) && bucket::fits_host(bucket) && !dot_matters;
        in_host.then(|| format!("{bucket}.{}", self.host()))
    }

    /// Whether this bucket is in the host name.
    pub fn has_bucket_in_host(&self, bucket: &str) -> bool {
        self.host_of(bucket).is_some()
    }

    fn to(&self, mut host: String, path: String, query: &str) -> Target {
        if let Some(port) = self.port {
            host.push_str(&format!(":{port}"));
        }
        let question = if query.is_empty() { "" } else { "?" };
        let url = format!("{}://{host}{path}{question}{query}", self.scheme.name());
        Target { host, path, url }
    }
}

/// Checks the path of `api_url`: it is in front of the bucket, which must not be in it.
fn check_path(api_url: &str, path: &str, site: &Site, settings: &Settings) -> Result<()> {
    let refuse = |why: String, hint: &str| Err(invalid(format!("api_url = '{api_url}': {why}")).with_hint(hint));
    match path.strip_prefix('/') {
        None => Ok(()),
        Some(_) if !matches!(site, Site::Other(_)) => {
            refuse("AWS's endpoints have no path".into(), "Leave the path out, and set bucket to the bucket's name.")
        }
        Some(name) if name == settings.text("bucket") => refuse(
            "its path is the name of the bucket, which is added to it".into(),
            "Leave the path out. If the store is really below a path of that name, give the store another path.",
        ),
        Some(_) if !settings.flag("path_style") => refuse(
            format!("it has the path {path}, but path_style = false"),
            "Set path_style = true: a store below a path has its buckets there.",
        ),
        Some(_) => Ok(()),
    }
}

/// The kind of store at the host of `api_url`, and its region.
fn site(api_url: &str, host: &Host, options: AwsHost, wanted: Option<&str>) -> Result<(Site, String)> {
    let found = match host {
        Host::Name(name) => aws::recognise(api_url, name)?,
        _ => Found::Other,
    };
    let or_default = || wanted.unwrap_or(DEFAULT_REGION).to_owned();
    Ok(match found {
        Found::Other => (Site::Other(host.clone()), or_default()),
        // This host names no region; it forwards to all regions of its partition.
        Found::Global => {
            let region = or_default();
            if !aws::is_region(&region) || aws::partition(&region).suffix != aws::AWS.suffix {
                return Err(two_regions(&region, &format!("api_url ({host})"), DEFAULT_REGION));
            }
            (Site::Aws(options), region)
        }
        Found::Regional { region, .. } | Found::Interface { region }
            if wanted.is_some_and(|wanted| wanted != region) =>
        {
            return Err(two_regions(wanted.unwrap_or_default(), &format!("api_url ({host})"), &region));
        }
        Found::Regional { region, host } => {
            let host = AwsHost { dualstack: host.dualstack || options.dualstack, fips: host.fips || options.fips };
            (Site::Aws(host), region)
        }
        Found::Interface { region } => (Site::AwsInterface(host.to_string()), region),
    })
}

/// Whether a name is valid in a signature's scope, whose parts are separated by `/`.
pub fn is_scope_name(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&name.len()) && name.chars().all(valid)
}

/// Checks that a region is valid in a signature's scope. Other stores choose the names of their regions freely.
pub fn checked_region(region: &str) -> Result<&str> {
    if is_scope_name(region) {
        return Ok(region);
    }
    Err(invalid(format!("region = '{region}' is not a valid region name")).with_hint(
        "Use letters, digits, '-', '_' and '.', for example eu-central-1, or leave region empty to detect it.",
    ))
}

fn two_regions(region: &str, other: &str, its: &str) -> Error {
    invalid(format!("region is '{region}', but {other} is in '{its}'"))
        .with_hint("Remove region, or set it to the same region.")
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidOption, message)
}
