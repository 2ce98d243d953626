//! Where the objects of a vault are: which bucket and which keys, by the mode. Everything that differs between the modes
//! is decided here; the machines only ask.
//!
//! | mode | buckets | versions |
//! |---|---|---|
//! | `single-bucket` | one | the bucket's own: native |
//! | `single-bucket-no-versioning` | one | objects of their own: emulated |
//! | `bucket-per-vm` | one for each container | `per_vm_versioning` |

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::locator::DataKeys;
use super::names::{Name, check_container};
use super::objects::{data_key, extent_prefix};
use super::vid::Vid;
use crate::account::{Account, Bucket};
use crate::error::{Code, Error, Result};
use crate::op::BucketVersioning;
use crate::settings::Settings;

/// A bucket of a vault, and what this process knows of it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) bucket: Arc<Bucket>,
    /// Its `vault.json` was read or written.
    described: AtomicBool,
    /// Its versioning was checked, and fits.
    versioned: AtomicBool,
    /// Replies name versions although it should have no versioning.
    names: AtomicU8,
    /// Its object lock was checked.
    lockable: AtomicBool,
    /// The store encrypts with the keys that it is given (SSE-C).
    keeps_keys: AtomicBool,
    /// The key-encryption key that was looked at last and was open, and when, by the store's clock.
    open_kek: Mutex<Option<(String, i64)>>,
}

/// What is known of version ids in the replies of a bucket that should have no versioning.
mod names {
    /// There were none.
    pub(super) const NO: u8 = 0;
    /// There was one: before the next put, the store is asked again whether the bucket has versioning.
    pub(super) const DOUBTED: u8 = 1;
    /// They mean nothing: the store was asked after it had sent one (Garage).
    pub(super) const EMPTY: u8 = 2;
}

impl Place {
    fn new(bucket: Bucket) -> Arc<Place> {
        let [described, versioned, lockable, keeps_keys] = [(); 4].map(|()| AtomicBool::new(false));
        let names = AtomicU8::new(names::NO);
        Arc::new(Place {
            bucket: Arc::new(bucket),
            described,
            versioned,
            names,
            lockable,
            keeps_keys,
            open_kek: Mutex::default(),
        })
    }

    pub(crate) fn is_described(&self) -> bool {
        self.described.load(Ordering::Relaxed)
    }

    pub(crate) fn set_described(&self, is_described: bool) {
        self.described.store(is_described, Ordering::Relaxed);
    }

    pub(crate) fn is_versioned(&self) -> bool {
        self.versioned.load(Ordering::Relaxed)
    }

    /// Whether the next put need not ask for its versioning.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_versioned() && self.names.load(Ordering::Relaxed) != names::DOUBTED
    }

    pub(crate) fn is_lockable(&self) -> bool {
        self.lockable.load(Ordering::Relaxed)
    }

    pub(crate) fn set_lockable(&self) {
        self.lockable.store(true, Ordering::Relaxed);
    }

    /// Whether SSE-C was tried here, and works.
    pub(crate) fn keeps_keys(&self) -> bool {
        self.keeps_keys.load(Ordering::Relaxed)
    }

    pub(crate) fn set_keeps_keys(&self) {
        self.keeps_keys.store(true, Ordering::Relaxed);
    }

    /// When it was looked last whether this key-encryption key is closed, if it was not.
    pub(crate) fn kek_was_open_ms(&self, kek: &str) -> Option<i64> {
        let open = self.open_kek.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().filter(|(id, _)| id == kek).map(|(_, at)| *at)
    }

    /// This key-encryption key was open then.
    pub(crate) fn set_kek_open(&self, kek: &str, at_ms: i64) {
        *self.open_kek.lock().unwrap_or_else(PoisonError::into_inner) = Some((kek.to_owned(), at_ms));
    }

    pub(crate) fn set_versioned(&self, is_versioned: bool) {
        self.versioned.store(is_versioned, Ordering::Relaxed);
    }
}

/// The buckets of a vault.
#[derive(Debug)]
enum Buckets {
    /// One for all containers.
    Single(Arc<Place>),
    /// One for each container.
    PerContainer {
        /// Names of the buckets start with this.
        prefix: String,
        /// The account without a bucket, for requests about all buckets.
        service: Arc<Bucket>,
        /// The buckets that this process has used, by container.
        used: Mutex<HashMap<String, Arc<Place>>>,
    },
}

/// Where a version's data is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versioning {
    /// All versions of a backup have the same key; the bucket has versioning.
    Native,
    /// Each version has keys of its own; the bucket has no versioning.
    Emulated,
}

/// Where a vault keeps its objects.
#[derive(Debug)]
pub(crate) struct Layout {
    buckets: Buckets,
    versioning: Versioning,
    leading_slash: bool,
}

/// Most bytes of a bucket's name (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>).
const BUCKET_LIMIT: usize = 63;
/// Most bytes of `bucket_prefix`.
const PREFIX_LIMIT: usize = 30;
/// Characters of the hash at the end of the name of a container's bucket.
const HASH_LENGTH: usize = 10;

/// The id, where none is set, of the vault with this bucket or this prefix of buckets.
pub(super) fn vault_id_of(name: &str) -> String {
    hex::encode(&Sha256::digest(format!("s3vault/1\0{name}"))[..16])
}

impl Layout {
    /// The layout that the settings describe.
    pub(crate) fn from_settings(settings: &Settings, account: &Arc<Account>) -> Result<Layout> {
        let leading_slash = settings.flag("leading_slash");
        if leading_slash && !account.profile().leading_slash {
            let why = format!("leading_slash = true: {} drops a '/' at the start of a key", account.profile().name);
            return Err(Error::new(Code::InvalidOption, why).with_hint("Remove leading_slash."));
        }
        let single = || Ok(Buckets::Single(Place::new(Bucket::new(account, settings.required("bucket")?)?)));
        let (buckets, versioning) = match (settings.text("mode"), settings.text("per_vm_versioning")) {
            ("bucket-per-vm", versioning) => {
                let versioning = if versioning == "emulated" { Versioning::Emulated } else { Versioning::Native };
                (Buckets::per_container(settings.required("bucket_prefix")?, account)?, versioning)
            }
            ("single-bucket-no-versioning", _) => (single()?, Versioning::Emulated),
            _ => (single()?, Versioning::Native),
        };
        Ok(Layout { buckets, versioning, leading_slash })
    }

    /// The layout's name in `vault.json`. Versioning is no part of it: a vault keeps its identity when its mode changes
    /// between native and emulated versions, and every locator says where its data is.
    pub(crate) fn name(&self) -> &'static str {
        match self.buckets {
            Buckets::Single(_) => "single-bucket",
            Buckets::PerContainer { .. } => "bucket-per-vm",
        }
    }

    /// The bucket that holds everything of a container.
    pub(crate) fn place(&self, container: &str) -> Arc<Place> {
        match &self.buckets {
            Buckets::Single(place) => place.clone(),
            Buckets::PerContainer { prefix, service, used } => {
                let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
                let place = used.entry(container.to_owned()).or_insert_with(|| {
                    Place::new(Bucket::at_endpoint_of(service, &container_bucket(prefix, container)))
                });
                place.clone()
            }
        }
    }

    /// The bucket that a job on this container works on; without one, the only bucket.
    pub(crate) fn place_of(&self, container: Option<&str>) -> Result<Arc<Place>> {
        if let Some(container) = container {
            check_container(container)?;
            return Ok(self.place(container));
        }
        self.single().cloned().ok_or_else(|| {
            Error::new(Code::Internal, "each container has a bucket of its own, and none was given for this job")
        })
    }

    /// Whether objects of a bucket have versions, by the answer of GetBucketVersioning. The keys may not be allowed to ask,
    /// and some stores without versioning cannot answer.
    pub(crate) fn has_versions(&self, answer: Result<BucketVersioning>) -> Result<bool> {
        match answer {
            Ok(status) => Ok(status != BucketVersioning::Off),
            Err(e) if e.code() == Code::AccessDenied => Ok(self.versioning == Versioning::Native),
            Err(e) if e.status() == 501 => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The only bucket; `None` if each container has its own.
    pub(crate) fn single(&self) -> Option<&Arc<Place>> {
        match &self.buckets {
            Buckets::Single(place) => Some(place),
            Buckets::PerContainer { .. } => None,
        }
    }

    /// The bucket that a vault is opened with. If each container has its own, this is the account without a bucket:
    /// it serves requests about all buckets.
    pub(crate) fn home(&self) -> &Arc<Bucket> {
        match &self.buckets {
            Buckets::Single(place) => &place.bucket,
            Buckets::PerContainer { service, .. } => service,
        }
    }

    /// The start of the names of all buckets, if each container has its own.
    pub(crate) fn bucket_prefix(&self) -> Option<&str> {
        match &self.buckets {
            Buckets::Single(_) => None,
            Buckets::PerContainer { prefix, .. } => Some(prefix),
        }
    }

    /// Whether a bucket of this name may belong to a container: names of another form are not looked at.
    pub(crate) fn may_be_container_bucket(&self, name: &str) -> bool {
        let Some(rest) = self.bucket_prefix().and_then(|prefix| name.strip_prefix(prefix)) else { return false };
        let is_base32 = |c: u8| matches!(c, b'a'..=b'z' | b'2'..=b'7');
        rest.rsplit_once('-').is_some_and(|(_, hash)| hash.len() == HASH_LENGTH && hash.bytes().all(is_base32))
    }

    /// A bucket by its name, to read which container it belongs to.
    pub(crate) fn bucket_named(&self, name: &str) -> Arc<Bucket> {
        Arc::new(Bucket::at_endpoint_of(self.home(), name))
    }

    /// Whether data keys start with a slash.
    pub(crate) fn has_leading_slash(&self) -> bool {
        self.leading_slash
    }

    /// How versions are kept.
    pub(crate) fn versioning(&self) -> Versioning {
        self.versioning
    }

    /// The keys of a version's data objects.
    pub(crate) fn data_keys(&self, name: &Name, vid: Vid) -> DataKeys {
        self.data_keys_of(self.versioning, name, vid)
    }

    /// The key of extent 1 in the mode that this vault does not have: a put that was started before the mode was changed
    /// stored its data there.
    pub(crate) fn other_first_key(&self, name: &Name, vid: Vid) -> String {
        let other = match self.versioning {
            Versioning::Native => Versioning::Emulated,
            Versioning::Emulated => Versioning::Native,
        };
        self.data_keys_of(other, name, vid).first
    }

    fn data_keys_of(&self, versioning: Versioning, name: &Name, vid: Vid) -> DataKeys {
        let next = extent_prefix(name, vid, self.leading_slash);
        let first = match versioning {
            Versioning::Native => data_key(name, self.leading_slash),
            Versioning::Emulated => next.trim_end_matches('.').to_owned(),
        };
        DataKeys { first, next, version_ids: Vec::new() }
    }

    /// Refuses a bucket whose versioning does not fit, and remembers that it does.
    pub(crate) fn check_place(&self, place: &Place, status: BucketVersioning) -> Result<()> {
        let checked = self.check_versioning(&place.bucket, status);
        place.set_versioned(checked.is_ok());
        let _ = place.names.compare_exchange(names::DOUBTED, names::EMPTY, Ordering::Relaxed, Ordering::Relaxed);
        checked
    }

    /// Refuses a bucket whose versioning does not fit.
    fn check_versioning(&self, bucket: &Bucket, status: BucketVersioning) -> Result<()> {
        let (what, keeps, fits) = match (self.versioning, status) {
            (Versioning::Native, BucketVersioning::Enabled) => return Ok(()),
            // Objects get the version id `null`, as if there were no versioning; deletions name it.
            (Versioning::Emulated, BucketVersioning::Off | BucketVersioning::Suspended) => return Ok(()),
            (Versioning::Native, BucketVersioning::Off) => {
                ("has no versioning", "the bucket's own versions", "emulated")
            }
            (Versioning::Native, BucketVersioning::Suspended) => {
                ("has versioning suspended", "the bucket's own versions", "emulated")
            }
            (Versioning::Emulated, BucketVersioning::Enabled) => ("has versioning", "objects of their own", "native"),
        };
        let setting = match (&self.buckets, fits) {
            (Buckets::PerContainer { .. }, versioning) => format!("per_vm_versioning = {versioning}"),
            (Buckets::Single(_), "native") => "mode = single-bucket".into(),
            (Buckets::Single(_), _) => "mode = single-bucket-no-versioning".into(),
        };
        let enable = match self.versioning {
            Versioning::Native => "Enable the bucket's versioning, or set",
            Versioning::Emulated => "Set",
        };
        let why = format!("bucket {} {what}, but this vault keeps versions as {keeps}", bucket.name());
        Err(Error::new(Code::Versioning, why)
            .on("GetBucketVersioning", bucket.name(), "")
            .with_hint(format!("{enable} {setting}: that fits this bucket.")))
    }

    /// The version id that names a stored object, from the reply to the request that stored it. Refuses a reply that does not
    /// have what this layout needs.
    pub(crate) fn name_stored(&self, place: &Place, key: &str, version_id: Option<String>) -> Result<Option<String>> {
        let is_versioned = version_id.as_ref().is_some_and(|id| id != "null");
        let what = match (self.versioning, is_versioned) {
            (Versioning::Native, true) | (Versioning::Emulated, false) => return Ok(version_id),
            (Versioning::Native, false) => "returned no version id",
            (Versioning::Emulated, true) if place.is_versioned() => {
                let _ = place.names.compare_exchange(names::NO, names::DOUBTED, Ordering::Relaxed, Ordering::Relaxed);
                return Ok(None);
            }
            (Versioning::Emulated, true) => "returned a version id, so that deletions would free nothing",
        };
        place.set_versioned(false);
        let why = format!("the store accepted s3://{}/{key} but {what}", place.bucket.name());
        Err(Error::new(Code::Versioning, why))
    }
}

impl Buckets {
    fn per_container(prefix: &str, account: &Arc<Account>) -> Result<Buckets> {
        let is_allowed = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let starts_right = prefix.bytes().next().is_some_and(|c| c != b'-');
        if prefix.len() > PREFIX_LIMIT || !starts_right || !prefix.bytes().all(is_allowed) {
            let why =
                format!("bucket_prefix = '{prefix}': 1 to {PREFIX_LIMIT} of a-z, 0-9 and '-' expected, not '-' first");
            return Err(Error::new(Code::InvalidOption, why)
                .with_hint("Use a short name such as 'backup-'; each container's name and a hash follow it."));
        }
        // The names of all buckets have this form, so one stands for all.
        account.endpoint().check_bucket(&container_bucket(prefix, "x"))?;
        let service = Arc::new(Bucket::service(account));
        Ok(Buckets::PerContainer { prefix: prefix.to_owned(), service, used: Mutex::default() })
    }
}

/// The name of a container's bucket: the prefix, the container's name as far as a bucket's name can show it, and 10
/// characters of the base32 (RFC 4648, in lower case) of the name's SHA-256.
fn container_bucket(prefix: &str, container: &str) -> String {
    let room = BUCKET_LIMIT - prefix.len() - 1 - HASH_LENGTH;
    let shown = container.chars().map(|c| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9') => c,
        _ => '-',
    });
    let shown: String = shown.take(room).collect();
    format!("{prefix}{shown}-{}", base32(&Sha256::digest(container), HASH_LENGTH))
}

/// The first characters of the base32 of some bytes, in lower case.
fn base32(bytes: &[u8], length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |n: usize| bytes[n / 8] >> (7 - n % 8) & 1;
    let character = |n: usize| (0..5).fold(0, |value, place| value << 1 | bit(5 * n + place));
    (0..length).map(|n| ALPHABET[character(n) as usize] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The names are a promise: another program finds a container's bucket by them.
    #[test]
    fn the_exact_names_of_buckets() {
        for (prefix, container, expected) in [
            // The hashes are those of Python's base64.b32encode(hashlib.sha256(NAME).digest()).
            ("backup-", "vm1", "backup-vm1-pmi6hunu55"),
            ("backup-", "VM1", "backup-vm1-esf64op3cg"),
            ("b", "Größe (2) _x", "bgr--e--2---x-f4fdlmskiy"),
            (&"p".repeat(30), &"n".repeat(200), &format!("{}{}-dptdzqf542", "p".repeat(30), "n".repeat(22))),
        ] {
            let name = container_bucket(prefix, container);
            assert_eq!(name, expected);
        }
    }
}
