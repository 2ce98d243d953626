//! A model of S3 in memory: buckets, objects and their versions, multipart uploads, listings, conditions, checksums.
//!
//! It performs no I/O and reads no clock: every call that changes something takes the time at which it happens. It knows
//! no client, so that a client's mistake cannot be repeated in it.
//!
//! There are two ways to it. [`Store`]'s own methods are typed: the embedded store puts s3s in front of them, which
//! speaks the wire protocol and verifies signatures. [`Store::answer`] takes a request as method, URL, headers and body
//! and answers with status, headers and body; it verifies dates and checksums, and no signature. Faults (a request that
//! is lost, late, or arrives twice) are the caller's to inject, as is damage to what is stored: the fields of [`Bucket`]
//! are open.
//!
//! `C` is how the owner keeps bytes ([`Content`]); a `Vec<u8>` does.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html>.

mod checksum;
mod content;
mod encryption;
pub mod http;
mod list;
mod lock;
mod multipart;
mod object;
mod refusal;
mod rules;

use std::collections::BTreeMap;
use std::time::SystemTime;

pub use checksum::{Algorithm, Checksum, crc64_concat, crc64_text};
pub use content::{Content, Payload};
pub use encryption::{Encryption, SseC};
pub use list::{MAX_PAGE, Page, Position, Query, url_encode};
pub use lock::{DefaultRetention, LockMode, ObjectLock, Retention};
pub use multipart::{Completed, Completion, ListedPart, Part, Upload};
pub use object::{
    Attributes, Deleted, MAX_DELETE, NULL, Object, ReadConditions, Received, Stored, Version, WriteCondition,
    is_unsupported_header,
};
pub use refusal::Refusal;
pub use rules::{Accepts, Missing, Rules, Whole};

/// Whether a bucket keeps old versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It never did.
    Off,
    /// Every write makes a version.
    Enabled,
    /// Writes replace the version `null`; older versions stay.
    Suspended,
}

/// A bucket. Its fields are open, so that a test can damage what is stored.
#[derive(Clone, Debug)]
pub struct Bucket<C> {
    /// The time of CreateBucket.
    pub created: SystemTime,
    /// Whether it keeps old versions.
    pub versioning: Versioning,
    /// The region that CreateBucket named. `None` is us-east-1.
    pub region: Option<String>,
    /// Object lock, where it is enabled.
    pub lock: Option<ObjectLock>,
    /// Keys whose deletion is refused, and how.
    pub undeletable: BTreeMap<String, Refusal>,
    /// The versions of each key, oldest first. No list is empty.
    pub objects: BTreeMap<String, Vec<Version<C>>>,
    /// The open uploads of each key, oldest first. No list is empty.
    pub uploads: BTreeMap<String, Vec<Upload<C>>>,
}

impl<C> Bucket<C> {
    /// The versions of a key, oldest first.
    pub fn versions(&self, key: &str) -> &[Version<C>] {
        self.objects.get(key).map_or(&[], Vec::as_slice)
    }

    /// The keys that start with `prefix`, and the versions of each.
    pub fn keys(&self, prefix: &str) -> impl Iterator<Item = (&String, &[Version<C>])> {
        let from = self.objects.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        from.take_while(move |(key, _)| key.starts_with(prefix)).map(|(key, versions)| (key, versions.as_slice()))
    }

    /// All open uploads with their keys.
    pub fn open_uploads(&self) -> impl Iterator<Item = (&String, &Upload<C>)> {
        self.uploads.iter().flat_map(|(key, uploads)| uploads.iter().map(move |upload| (key, upload)))
    }

    /// The open upload of this id, whatever its key.
    pub fn open_upload(&self, id: &str) -> Option<&Upload<C>> {
        self.uploads.values().flatten().find(|upload| upload.id == id)
    }

    /// The open upload of this id, whatever its key.
    pub fn open_upload_mut(&mut self, id: &str) -> Option<&mut Upload<C>> {
        self.uploads.values_mut().flatten().find(|upload| upload.id == id)
    }
}

/// A store: all buckets of one account.
#[derive(Clone, Debug)]
pub struct Store<C> {
    /// How it behaves where stores differ.
    pub rules: Rules,
    /// Access keys that have expired. Only [`Store::answer`] looks at them.
    pub expired_keys: Vec<String>,
    /// Names of buckets that other accounts own.
    pub foreign_buckets: Vec<String>,
    buckets: BTreeMap<String, Bucket<C>>,
    /// What each Complete made, by upload id, where the rules have it answered again.
    completed: BTreeMap<String, Completed>,
    ids: Ids,
}

impl<C: Content> Store<C> {
    /// A store without buckets. `seed` makes its ids differ from another store's.
    pub fn new(rules: Rules, seed: u64) -> Self {
        let (buckets, completed) = (BTreeMap::new(), BTreeMap::new());
        let (expired_keys, foreign_buckets) = (Vec::new(), Vec::new());
        Self { rules, expired_keys, foreign_buckets, buckets, completed, ids: Ids(seed) }
    }

    /// CreateBucket. Region and lock of the bucket are set afterwards.
    pub fn create_bucket(&mut self, name: &str, versioning: Versioning, now: SystemTime) -> Result<(), Refusal> {
        if self.buckets.contains_key(name) {
            return Err(Refusal::new(
                409,
                "BucketAlreadyOwnedByYou",
                "Your previous request to create the named bucket succeeded and you already own it.",
            ));
        }
        if self.foreign_buckets.iter().any(|foreign| foreign == name) {
            return Err(Refusal::new(
                409,
                "BucketAlreadyExists",
                "The requested bucket name is not available. The bucket namespace is shared by all users of the system. \
                 Select a different name and try again.",
            ));
        }
        if self.buckets.len() >= self.rules.max_buckets {
            let max = self.rules.max_buckets;
            let message = format!("You have attempted to create more buckets than allowed: the account has {max}.");
            return Err(Refusal::new(400, "TooManyBuckets", message));
        }
        let bucket = Bucket {
            created: now,
            versioning,
            region: None,
            lock: None,
            undeletable: BTreeMap::new(),
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
        };
        self.buckets.insert(name.to_owned(), bucket);
        Ok(())
    }

    /// DeleteBucket.
    pub fn delete_bucket(&mut self, name: &str) -> Result<(), Refusal> {
        if !self.bucket(name)?.objects.is_empty() {
            return Err(Refusal::new(
                409,
                "BucketNotEmpty",
                "The bucket you tried to delete is not empty. You must delete all versions in the bucket.",
            ));
        }
        self.buckets.remove(name);
        Ok(())
    }

    /// PutBucketVersioning.
    pub fn set_versioning(&mut self, name: &str, enabled: bool) -> Result<(), Refusal> {
        let bucket = self.bucket_mut(name)?;
        if bucket.lock.is_some() && !enabled {
            return Err(Refusal::new(
                409,
                "InvalidBucketState",
                "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
            ));
        }
        bucket.versioning = if enabled { Versioning::Enabled } else { Versioning::Suspended };
        Ok(())
    }

    /// All buckets in the order of their names.
    pub fn buckets(&self) -> impl Iterator<Item = (&String, &Bucket<C>)> {
        self.buckets.iter()
    }

    /// The bucket of this name.
    pub fn bucket(&self, name: &str) -> Result<&Bucket<C>, Refusal> {
        self.buckets.get(name).ok_or_else(|| self.unknown_bucket(name))
    }

    /// The bucket of this name.
    pub fn bucket_mut(&mut self, name: &str) -> Result<&mut Bucket<C>, Refusal> {
        if self.buckets.contains_key(name) {
            return self.buckets.get_mut(name).ok_or_else(|| Refusal::no_such_bucket(name));
        }
        Err(self.unknown_bucket(name))
    }

    fn unknown_bucket(&self, name: &str) -> Refusal {
        let is_foreign = self.foreign_buckets.iter().any(|foreign| foreign == name);
        if is_foreign { Refusal::access_denied("Access Denied") } else { Refusal::no_such_bucket(name) }
    }

    /// Refuses an operation that the store does not have, by its name in S3.
    pub fn check_known(&self, operation: &str) -> Result<(), Refusal> {
        match self.rules.missing.get(operation) {
            None => Ok(()),
            Some(Missing::NotImplemented) => Err(Refusal::not_implemented(operation)),
            Some(Missing::NotAllowed) => {
                Err(Refusal::new(405, "MethodNotAllowed", "The specified method is not allowed against this resource."))
            }
        }
    }
}

/// Makes version ids and upload ids: unique, of one length, and in no order that a client could rely on.
#[derive(Clone, Debug)]
struct Ids(u64);

impl Ids {
    fn next(&mut self) -> String {
        format!("{:016x}{:016x}", self.mixed(), self.mixed())
    }

    /// An ETag that no bytes have.
    fn next_etag(&mut self) -> [u8; 16] {
        (u128::from(self.mixed()) << 64 | u128::from(self.mixed())).to_be_bytes()
    }

    /// SplitMix64, a bijection of its counter: <https://doi.org/10.1145/2714064.2660195>.
    fn mixed(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! What the tests of the model share.
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    pub(crate) fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    pub(crate) fn store(versioning: Versioning) -> Store<Vec<u8>> {
        let mut store = Store::new(Rules { completes_again: false, ..Rules::default() }, 1);
        store.create_bucket("b", versioning, at(0)).unwrap();
        store
    }

    pub(crate) fn received(data: &[u8]) -> Received<Vec<u8>> {
        let content = data.to_vec();
        Received { etag: content.etag(), crc64nvme: content.crc64nvme(), content, checksum: None }
    }

    pub(crate) fn object(data: &[u8]) -> Object<Vec<u8>> {
        Object::whole(received(data), Attributes::default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::fixture::{at, object, store};
    use super::*;

    #[test]
    fn a_bucket_is_created_once_and_deleted_when_it_is_empty() {
        let mut store = store(Versioning::Off);
        assert_eq!(store.create_bucket("b", Versioning::Off, at(1)).unwrap_err().code, "BucketAlreadyOwnedByYou");
        store.put("b", "k", object(b"x"), &WriteCondition::None, at(1)).unwrap();
        assert_eq!(store.delete_bucket("b").unwrap_err().code, "BucketNotEmpty");
        store.delete("b", "k", None, false, at(2)).unwrap();
        store.delete_bucket("b").unwrap();
        assert_eq!(store.delete_bucket("b").unwrap_err().code, "NoSuchBucket");
    }

    #[test]
    fn the_account_has_a_limit_of_buckets_and_names_belong_to_one_account() {
        let mut store = store(Versioning::Off);
        store.rules.max_buckets = 2;
        store.foreign_buckets.push("theirs".to_owned());
        let mut create = |name: &str| store.create_bucket(name, Versioning::Off, at(1)).map_err(|refusal| refusal.code);
        assert_eq!(create("theirs"), Err("BucketAlreadyExists"));
        assert_eq!(create("second"), Ok(()));
        assert_eq!(create("third"), Err("TooManyBuckets"));
        assert_eq!(create("b"), Err("BucketAlreadyOwnedByYou"), "at the limit, too");
        assert_eq!(store.bucket("theirs").unwrap_err().code, "AccessDenied");
        store.delete_bucket("second").unwrap();
        assert!(store.create_bucket("third", Versioning::Off, at(2)).is_ok());
    }

    #[test]
    fn ids_do_not_repeat() {
        let mut ids = Ids(7);
        let all: std::collections::HashSet<String> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|id| id.len() == 32));
    }
}
