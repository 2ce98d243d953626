//! The state of the store: buckets, versions, uploads. Pure: no clock, no I/O; every call gets the time it happens at.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html>.

pub(crate) mod list;
pub(crate) mod multipart;
pub(crate) mod object;

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::refusal::Refusal;
use multipart::Upload;
use object::Version;

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

#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) created: SystemTime,
    pub(crate) versioning: Versioning,
    /// Versions of each key, oldest first. No list is empty.
    objects: BTreeMap<String, Vec<Version>>,
    /// Open uploads of each key, oldest first. No list is empty.
    uploads: BTreeMap<String, Vec<Upload>>,
}

/// All buckets.
#[derive(Debug, Default)]
pub(crate) struct Store {
    buckets: BTreeMap<String, Bucket>,
    ids: Ids,
}

impl Store {
    /// `seed` makes the ids of this store differ from another's.
    pub(crate) fn new(seed: u64) -> Self {
        Self { buckets: BTreeMap::new(), ids: Ids(seed) }
    }

    pub(crate) fn create_bucket(&mut self, name: &str, versioning: Versioning, now: SystemTime) -> Result<(), Refusal> {
        if self.buckets.contains_key(name) {
            return Err(Refusal::new(
                409,
                "BucketAlreadyOwnedByYou",
                "Your previous request to create the named bucket succeeded and you already own it.",
            ));
        }
        let bucket = Bucket { created: now, versioning, objects: BTreeMap::new(), uploads: BTreeMap::new() };
        self.buckets.insert(name.to_owned(), bucket);
        Ok(())
    }

    pub(crate) fn delete_bucket(&mut self, name: &str) -> Result<(), Refusal> {
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

    pub(crate) fn set_versioning(&mut self, name: &str, enabled: bool) -> Result<(), Refusal> {
        let versioning = if enabled { Versioning::Enabled } else { Versioning::Suspended };
        self.bucket_mut(name)?.versioning = versioning;
        Ok(())
    }

    pub(crate) fn buckets(&self) -> impl Iterator<Item = (&String, &Bucket)> {
        self.buckets.iter()
    }

    pub(crate) fn bucket(&self, name: &str) -> Result<&Bucket, Refusal> {
        self.buckets.get(name).ok_or_else(|| Refusal::no_such_bucket(name))
    }

    fn bucket_mut(&mut self, name: &str) -> Result<&mut Bucket, Refusal> {
        self.buckets.get_mut(name).ok_or_else(|| Refusal::no_such_bucket(name))
    }
}

/// Makes version and upload ids: unique, of one length, and in no order that a client could lean on.
#[derive(Debug, Default)]
struct Ids(u64);

impl Ids {
    fn next(&mut self) -> String {
        format!("{:016x}{:016x}", self.mixed(), self.mixed())
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

    use super::object::{Attributes, Object};
    use super::{Store, SystemTime, Versioning};
    use crate::checksum::Announced;
    use crate::payload::Budget;

    pub(crate) fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    pub(crate) fn store(versioning: Versioning) -> Store {
        let mut store = Store::new(1);
        store.create_bucket("b", versioning, at(0)).unwrap();
        store
    }

    pub(crate) fn object(data: &[u8]) -> Object {
        Object::whole(received(data), Attributes::default())
    }

    pub(crate) fn received(data: &[u8]) -> crate::checksum::Received {
        let body = s3s::Body::from(data.to_vec()).into();
        let budget = Budget::new(u64::MAX);
        let received = Announced::default().receive(Some(body), None, &budget);
        // The body is ready at once, so one poll is enough.
        let mut received = std::pin::pin!(received);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match received.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(received) => received.unwrap(),
            std::task::Poll::Pending => unreachable!(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::fixture::{at, object, store};
    use super::object::Condition;
    use super::*;

    #[test]
    fn a_bucket_is_made_once_and_removed_when_empty() {
        let mut store = store(Versioning::Off);
        assert_eq!(store.create_bucket("b", Versioning::Off, at(1)).unwrap_err().code, "BucketAlreadyOwnedByYou");
        store.put("b", "k", object(b"x"), &Condition::None, at(1)).unwrap();
        assert_eq!(store.delete_bucket("b").unwrap_err().code, "BucketNotEmpty");
        store.delete("b", "k", None, at(2)).unwrap();
        store.delete_bucket("b").unwrap();
        assert_eq!(store.delete_bucket("b").unwrap_err().code, "NoSuchBucket");
    }

    #[test]
    fn ids_do_not_repeat() {
        let mut ids = Ids(7);
        let all: std::collections::HashSet<String> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|id| id.len() == 32));
    }
}
