//! Objects, their versions, and delete markers.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html> and
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>.

use std::collections::HashMap;
use std::time::SystemTime;

use super::{Bucket, Store, Versioning};
use crate::checksum::{Given, Received};
use crate::payload::Payload;
use crate::refusal::Refusal;

/// The id of the one version that a bucket without versioning keeps.
pub(crate) const NULL: &str = "null";

/// What a client says about an object and gets back as it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Attributes {
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) expires: Option<s3s::dto::Timestamp>,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) storage_class: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) attributes: Attributes,
    pub(crate) payload: Payload,
    pub(crate) etag: String,
    /// The CRC64NVME of the whole object.
    pub(crate) crc64: u64,
    /// The checksum that came with the PUT.
    pub(crate) given: Option<Given>,
}

impl Object {
    /// An object that came in one piece.
    pub(crate) fn whole(received: Received, attributes: Attributes) -> Self {
        Self {
            attributes,
            payload: received.payload,
            etag: hex::encode(received.md5),
            crc64: received.crc64,
            given: received.given,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) modified: SystemTime,
    /// `None`: a delete marker.
    pub(crate) object: Option<Object>,
}

/// What must hold for a write to take place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match` with an ETag.
    Matches(String),
}

/// What a DELETE did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Deleted {
    /// The version that was removed, or the marker that was made.
    pub(crate) version: Option<String>,
    /// Whether that is a delete marker.
    pub(crate) marker: bool,
}

/// How stored bytes are spoilt behind the store's back.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    /// One bit of the byte at this offset is changed.
    Flip(u64),
    /// Only this many bytes are left.
    Cut(u64),
    /// Other bytes take the place.
    Replace(Payload),
}

impl Bucket {
    pub(super) fn newest(&self, key: &str) -> Option<&Version> {
        self.objects.get(key)?.last()
    }

    pub(super) fn check(&self, key: &str, condition: &Condition) -> Result<(), Refusal> {
        let object = self.newest(key).and_then(|version| version.object.as_ref());
        match (condition, object) {
            (Condition::Absent, Some(_)) => Err(Refusal::precondition_failed("If-None-Match")),
            (Condition::Matches(_), None) => Err(Refusal::no_such_key(key)),
            (Condition::Matches(etag), Some(object)) if *etag != object.etag => {
                Err(Refusal::precondition_failed("If-Match"))
            }
            _ => Ok(()),
        }
    }

    /// Adds a version as the newest. In a bucket that is not versioned it takes the place of `null`.
    pub(super) fn add(&mut self, key: &str, version: Version) {
        let versions = self.objects.entry(key.to_owned()).or_default();
        if version.id == NULL {
            versions.retain(|old| old.id != NULL);
        }
        versions.push(version);
    }

    fn remove(&mut self, key: &str, id: &str) -> Option<Version> {
        let versions = self.objects.get_mut(key)?;
        let at = versions.iter().position(|version| version.id == id)?;
        let removed = versions.remove(at);
        if versions.is_empty() {
            self.objects.remove(key);
        }
        Some(removed)
    }

    /// The version id as replies show it.
    pub(crate) fn shown(&self, id: &str) -> Option<String> {
        (self.versioning != Versioning::Off).then(|| id.to_owned())
    }
}

impl Store {
    pub(super) fn new_version_id(&mut self, bucket: &str) -> Result<String, Refusal> {
        Ok(match self.bucket(bucket)?.versioning {
            Versioning::Enabled => self.ids.next(),
            Versioning::Off | Versioning::Suspended => NULL.to_owned(),
        })
    }

    /// Stores an object and returns its version id as the reply shows it.
    pub(crate) fn put(
        &mut self,
        bucket: &str,
        key: &str,
        object: Object,
        condition: &Condition,
        now: SystemTime,
    ) -> Result<Option<String>, Refusal> {
        self.bucket(bucket)?.check(key, condition)?;
        let id = self.new_version_id(bucket)?;
        let bucket = self.bucket_mut(bucket)?;
        let shown = bucket.shown(&id);
        bucket.add(key, Version { id, modified: now, object: Some(object) });
        Ok(shown)
    }

    /// The object of a version, or of the newest one.
    pub(crate) fn get(&self, bucket: &str, key: &str, id: Option<&str>) -> Result<(&Version, &Object), Refusal> {
        let bucket = self.bucket(bucket)?;
        let version = match id {
            None => bucket.newest(key).ok_or_else(|| Refusal::no_such_key(key))?,
            Some(id) => bucket
                .objects
                .get(key)
                .and_then(|versions| versions.iter().find(|version| version.id == id))
                .ok_or_else(|| Refusal::no_such_version(key, id))?,
        };
        let Some(object) = &version.object else {
            let refusal = match id {
                None => Refusal::no_such_key(key),
                Some(_) => Refusal::new(
                    405,
                    "MethodNotAllowed",
                    "The specified method is not allowed against this resource: the version is a delete marker.",
                )
                .header("allow", "DELETE"),
            };
            return Err(refusal.header("x-amz-delete-marker", "true").header("x-amz-version-id", &version.id));
        };
        Ok((version, object))
    }

    pub(crate) fn delete(
        &mut self,
        bucket: &str,
        key: &str,
        id: Option<&str>,
        now: SystemTime,
    ) -> Result<Deleted, Refusal> {
        if let Some(id) = id {
            let bucket = self.bucket_mut(bucket)?;
            let removed = bucket.remove(key, id);
            let marker = removed.is_some_and(|version| version.object.is_none());
            return Ok(Deleted { version: bucket.shown(id), marker });
        }
        if self.bucket(bucket)?.versioning == Versioning::Off {
            self.bucket_mut(bucket)?.remove(key, NULL);
            return Ok(Deleted { version: None, marker: false });
        }
        let id = self.new_version_id(bucket)?;
        self.bucket_mut(bucket)?.add(key, Version { id: id.clone(), modified: now, object: None });
        Ok(Deleted { version: Some(id), marker: true })
    }

    /// Spoils stored bytes. ETag and checksums stay as they were.
    pub(crate) fn damage(&mut self, bucket: &str, key: &str, id: Option<&str>, damage: Damage) -> Result<(), Refusal> {
        let id = self.get(bucket, key, id)?.0.id.clone();
        let object = self
            .bucket_mut(bucket)?
            .objects
            .get_mut(key)
            .and_then(|versions| versions.iter_mut().find(|version| version.id == id)?.object.as_mut())
            .ok_or_else(|| Refusal::no_such_key(key))?;
        let len = object.payload.len();
        let damaged = match damage {
            Damage::Flip(offset) => object.payload.flipped(offset),
            Damage::Cut(len) => object.payload.cut(len),
            Damage::Replace(payload) => Some(payload),
        };
        object.payload = damaged.ok_or_else(|| {
            Refusal::invalid_argument(format!("{bucket}/{key} has {len} bytes; the place to damage lies behind them."))
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::fixture::{at, object, store};
    use super::*;

    fn put(store: &mut Store, data: &[u8], second: u64) -> Option<String> {
        store.put("b", "k", object(data), &Condition::None, at(second)).unwrap()
    }

    fn len(store: &Store, id: Option<&str>) -> Result<u64, &'static str> {
        store.get("b", "k", id).map(|(_, object)| object.payload.len()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn versions_stay_until_they_are_deleted_by_id() {
        let mut store = store(Versioning::Enabled);
        let one = put(&mut store, b"1", 1);
        let two = put(&mut store, b"22", 2);
        assert_ne!(one, two);
        let marker = store.delete("b", "k", None, at(3)).unwrap();
        assert!(marker.marker);
        assert_eq!(len(&store, None), Err("NoSuchKey"));
        assert_eq!(len(&store, one.as_deref()), Ok(1));
        assert_eq!(len(&store, marker.version.as_deref()), Err("MethodNotAllowed"));
        assert_eq!(store.delete("b", "k", marker.version.as_deref(), at(4)).unwrap(), marker);
        assert_eq!(len(&store, None), Ok(2));
        assert!(!store.delete("b", "k", two.as_deref(), at(5)).unwrap().marker);
        assert_eq!(len(&store, two.as_deref()), Err("NoSuchVersion"));
        assert_eq!(len(&store, None), Ok(1));
    }

    #[test]
    fn without_versioning_a_put_replaces_and_shows_no_id() {
        let mut store = store(Versioning::Off);
        assert_eq!(put(&mut store, b"1", 1), None);
        assert_eq!(put(&mut store, b"22", 2), None);
        assert_eq!(len(&store, Some(NULL)), Ok(2));
        assert_eq!(store.delete("b", "k", None, at(3)).unwrap(), Deleted { version: None, marker: false });
        assert_eq!(len(&store, None), Err("NoSuchKey"));
    }

    #[test]
    fn suspension_keeps_what_was_and_replaces_only_null() {
        let mut store = store(Versioning::Off);
        put(&mut store, b"null", 1);
        store.set_versioning("b", true).unwrap();
        let kept = put(&mut store, b"kept!", 2);
        store.set_versioning("b", false).unwrap();
        assert_eq!(put(&mut store, b"null again", 3).as_deref(), Some(NULL));
        assert_eq!(len(&store, kept.as_deref()), Ok(5));
        assert_eq!(len(&store, Some(NULL)), Ok(10));
        let marker = store.delete("b", "k", None, at(4)).unwrap();
        assert_eq!((marker.version.as_deref(), marker.marker), (Some(NULL), true));
        assert_eq!(len(&store, None), Err("NoSuchKey"));
        store.delete("b", "k", Some(NULL), at(5)).unwrap();
        assert_eq!(len(&store, None), Ok(5));
    }

    #[test]
    fn conditions_look_at_the_newest_version() {
        let mut store = store(Versioning::Enabled);
        let mut put = |condition: &Condition| {
            store.put("b", "k", object(b"x"), condition, at(1)).map(|_| ()).map_err(|refusal| refusal.code)
        };
        let etag = object(b"x").etag;
        assert_eq!(put(&Condition::Matches(etag.clone())), Err("NoSuchKey"));
        assert_eq!(put(&Condition::Absent), Ok(()));
        assert_eq!(put(&Condition::Absent), Err("PreconditionFailed"));
        assert_eq!(put(&Condition::Matches("other".to_owned())), Err("PreconditionFailed"));
        assert_eq!(put(&Condition::Matches(etag)), Ok(()));
        store.delete("b", "k", None, at(2)).unwrap();
        assert!(store.put("b", "k", object(b"x"), &Condition::Absent, at(3)).is_ok());
    }

    #[test]
    fn damage_leaves_the_etag_and_other_versions() {
        let mut store = store(Versioning::Enabled);
        let old = put(&mut store, b"same", 1);
        put(&mut store, b"same", 2);
        store.damage("b", "k", old.as_deref(), Damage::Cut(1)).unwrap();
        assert_eq!((len(&store, old.as_deref()), len(&store, None)), (Ok(1), Ok(4)));
        assert_eq!(store.get("b", "k", old.as_deref()).unwrap().1.etag, object(b"same").etag);
        assert_eq!(store.damage("b", "k", None, Damage::Flip(4)).unwrap_err().code, "InvalidArgument");
    }
}
