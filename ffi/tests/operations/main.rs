//! Each S3 operation of core on the store that the environment names, or on an embedded one if it names none:
//! objects are read back, listings continue page by page, refusals have their codes. What a store does not support, or does
//! differently, is in its profile, and not here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bucket;
mod bytes;
mod list;
mod multipart;
mod object;

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use s3vault::op::{
    BucketVersioning, Content, CreateBucket, GetBucketVersioning, GetObject, Operation, Paged, PutBucketVersioning,
    PutObject, PutReply,
};
use s3vault::{Client, Code, Control, Error, Settings};
use s3vault_core::profile::{self, Profile, S3};

/// Keys whose bytes must survive the path, the query and XML.
pub const ODD_KEYS: [&str; 7] = ["<&>'\"", "a b+c", "d/e", "q?#=", "x%2Fy", "z\\~", "é"];

/// The embedded store: a subset of S3.
const EMBEDDED: Profile = Profile {
    name: "s3",
    bucket_encryption: false,
    blocked_encryption: false,
    sse_c: false,
    sse_c_copy: false,
    checks_region: false,
    part_copy: false,
    completes_again: false,
    ..S3
};

/// Garage has no TLS.
const PLAIN_KEYS: (&str, &str) = ("allow_plain_sse_c", "true");

pub struct World {
    settings: Vec<(String, String)>,
    pub profile: Profile,
    _embedded: Option<embedded_store::Server>,
}

/// The store of all tests.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        if std::env::var_os("S3VAULT_API_URL").is_none() {
            let store = embedded_store::Server::start(embedded_store::Options::new("access", "secret")).unwrap();
            let keys = [("access_key", "access"), ("secret_key", "secret")];
            let settings = [("api_url", &*store.url()), PLAIN_KEYS].into_iter().chain(keys).map(own).collect();
            return World { settings, profile: EMBEDDED, _embedded: Some(store) };
        }
        let profile = match std::env::var("S3VAULT_TEST_STORE").or_else(|_| std::env::var("S3VAULT_PROVIDER")) {
            Ok(kind) if kind == "embedded" => EMBEDDED,
            Ok(kind) => profile::named(&kind).unwrap(),
            Err(_) => S3,
        };
        let named = s3vault_core::settings::OPTIONS.iter().filter_map(|row| {
            Some((row.key.to_owned(), std::env::var(format!("S3VAULT_{}", row.key.to_uppercase())).ok()?))
        });
        let settings = named.chain([own(("provider", profile.name)), own(PLAIN_KEYS)]).collect();
        World { settings, profile, _embedded: None }
    })
}

/// A bucket, and a client of it.
pub struct Bucket {
    pub name: String,
    client: Client,
}

impl Bucket {
    /// A bucket that does not exist.
    pub fn absent(what: &str) -> Bucket {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Bucket::with(&format!("ops-{what}-{}-{}", std::process::id(), now.as_millis()), &[])
    }

    /// A client of this bucket with other settings.
    pub fn with(name: &str, changes: &[(&str, &str)]) -> Bucket {
        let mut settings = Settings::new();
        let own = world().settings.iter().map(|(key, value)| (&**key, &**value));
        for (key, value) in own.chain([("bucket", name)]).chain(changes.iter().copied()) {
            settings.set(key, value).unwrap();
        }
        Bucket { name: name.to_owned(), client: Client::open(&settings, &mut Control::none()).unwrap() }
    }

    /// A new bucket.
    pub fn fresh(what: &str) -> Bucket {
        let bucket = Bucket::absent(what);
        bucket.must(CreateBucket::default());
        bucket
    }

    /// A new bucket, with versioning if the store supports it.
    pub fn versioned(what: &str) -> Bucket {
        let bucket = Bucket::fresh(what);
        if world().profile.versioning {
            bucket.must(PutBucketVersioning { enabled: true });
            assert_eq!(bucket.must(GetBucketVersioning), BucketVersioning::Enabled);
        }
        bucket
    }

    pub fn call<O>(&self, op: O) -> Result<O::Reply, Error>
    where
        O: Operation + Send + 'static,
        O::Reply: Send + 'static,
    {
        self.client.call(op, &mut Control::none())
    }

    /// The reply of an operation that succeeds.
    #[track_caller]
    pub fn must<O>(&self, op: O) -> O::Reply
    where
        O: Operation + Send + 'static,
        O::Reply: Send + 'static,
    {
        self.call(op).unwrap_or_else(|e| panic!("{}: {e:?}", O::NAME))
    }

    /// The error of an operation that is refused.
    #[track_caller]
    pub fn refused<O>(&self, op: O) -> Error
    where
        O: Operation + Send + 'static,
        O::Reply: Debug + Send + 'static,
    {
        match self.call(op) {
            Ok(reply) => panic!("{} went well: {reply:?}", O::NAME),
            Err(e) => e,
        }
    }

    /// All pages of a listing.
    #[track_caller]
    pub fn pages<O>(&self, first: O) -> Vec<O::Reply>
    where
        O: Paged + Clone + Send + 'static,
        O::Reply: Send + 'static,
    {
        let mut reader = self.client.pages(first);
        let mut pages = Vec::new();
        while let Some(page) = reader.next(&mut Control::none()).unwrap_or_else(|e| panic!("{}: {e:?}", O::NAME)) {
            pages.push(page);
            assert!(pages.len() < 50, "{} does not end", O::NAME);
        }
        pages
    }

    #[track_caller]
    pub fn put(&self, key: &str, bytes: &[u8]) -> PutReply {
        self.must(PutObject::new(key, Content::Bytes(bytes.to_vec().into()), Vec::new()))
    }

    #[track_caller]
    pub fn get(&self, key: &str) -> Vec<u8> {
        self.must(GetObject::new(key, 64 << 20))
    }
}

/// Status and code of a refusal whose code is [`Code::Store`].
#[track_caller]
pub fn assert_refused(e: &Error, status: u16, s3_code: &str) {
    assert_eq!((e.code(), e.status(), e.s3_code()), (Code::Store, status, s3_code), "{e:?}");
}

/// Asserts that the store reports that it does not support the operation.
#[track_caller]
pub fn assert_has_not(e: &Error) {
    assert!(e.status() == 501 || (400..500).contains(&e.status()) || e.code() == Code::BadReply, "{e:?}");
}

/// An ETag without quotes, to compare those of several replies.
pub fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}
