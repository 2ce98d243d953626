//! Objects, their versions, and delete markers.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html> and
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{Bucket, Checksum, Content, Encryption, Refusal, Retention, Store, Versioning};

/// The id of the one version that a bucket without versioning keeps.
pub const NULL: &str = "null";
/// Most keys that one DeleteObjects may name.
pub const MAX_DELETE: usize = 1000;
/// Most bytes of user metadata, names and values together.
const MAX_METADATA: usize = 2048;

/// Headers that change what is stored, and that the model does not know. Each is refused: none is ignored in silence.
const UNSUPPORTED: [&str; 8] = [
    "x-amz-copy-source-server-side-encryption",
    "x-amz-grant-",
    "x-amz-mfa",
    "x-amz-object-lock-legal-hold",
    "x-amz-server-side-encryption",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
];

/// Whether a request with this header (in lower case) must be refused, since the model does not know what it asks for.
pub fn is_unsupported_header(name: &str) -> bool {
    UNSUPPORTED.iter().any(|prefix| name.starts_with(prefix))
}

/// What a client says about an object and gets back unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The headers of [`Attributes::HEADERS`] that the client sent, by their names.
    pub headers: BTreeMap<&'static str, String>,
    /// User metadata by name, without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// The storage class. `None` is STANDARD.
    pub storage_class: Option<String>,
    /// The lock. While an object is stored, `None` stands for the bucket's default.
    pub retention: Option<Retention>,
    /// How the store encrypts it.
    pub encryption: Encryption,
}

impl Attributes {
    /// The headers that are kept with an object and returned with it.
    pub const HEADERS: [&str; 6] =
        ["cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"];

    /// One of these headers, as the client sent it.
    pub fn header(&self, name: &str) -> Option<&String> {
        self.headers.get(name)
    }

    pub(super) fn check(&self) -> Result<(), Refusal> {
        let size: usize = self.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size > MAX_METADATA {
            let message = format!(
                "Your metadata headers exceed the maximum allowed metadata size: {size} bytes, of {MAX_METADATA}."
            );
            return Err(Refusal::new(400, "MetadataTooLarge", message));
        }
        Ok(())
    }
}

/// The bytes of an object or a part as they arrived, verified against what their headers said.
#[derive(Clone, Debug)]
pub struct Received<C> {
    /// The bytes.
    pub content: C,
    /// MD5 of the bytes, or another value that stands for them.
    pub etag: [u8; 16],
    /// CRC64NVME of the bytes.
    pub crc64nvme: u64,
    /// The checksum that the client sent.
    pub checksum: Option<Checksum>,
}

/// An object: the bytes of a version and what is said about them.
#[derive(Clone, Debug)]
pub struct Object<C> {
    /// What the client said about it.
    pub attributes: Attributes,
    /// The bytes.
    pub content: C,
    /// The ETag without quotes.
    pub etag: String,
    /// CRC64NVME of the whole object.
    pub crc64nvme: u64,
    /// The checksum that came with the PUT.
    pub checksum: Option<Checksum>,
}

impl<C> Object<C> {
    /// An object that came in one piece.
    pub fn whole(received: Received<C>, attributes: Attributes) -> Self {
        Self {
            attributes,
            content: received.content,
            etag: hex::encode(received.etag),
            crc64nvme: received.crc64nvme,
            checksum: received.checksum,
        }
    }
}

/// A version of an object.
#[derive(Clone, Debug)]
pub struct Version<C> {
    /// The version id.
    pub id: String,
    /// Last-Modified.
    pub modified: SystemTime,
    /// The object, or `None` for a delete marker.
    pub object: Option<Object<C>>,
}

impl<C> Version<C> {
    /// The bytes, unless this is a delete marker.
    pub fn content(&self) -> Option<&C> {
        self.object.as_ref().map(|object| &object.content)
    }
}

/// What must hold for a write to take place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteCondition {
    /// Nothing.
    None,
    /// `If-None-Match: *`: there is no object.
    Absent,
    /// `If-Match`: the object has this ETag.
    Matches(String),
}

/// What must hold for a read. `Some(None)` is `*`, which every object matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadConditions {
    /// `If-Match`.
    pub if_match: Option<Option<String>>,
    /// `If-None-Match`.
    pub if_none_match: Option<Option<String>>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<SystemTime>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<SystemTime>,
}

impl ReadConditions {
    /// Checks them in the order of RFC 9110, section 13.2.2. The status of the refusal is 412 or 304.
    pub fn check<C>(&self, version: &Version<C>, object: &Object<C>) -> Result<(), Refusal> {
        let is = |etag: &Option<String>| etag.as_ref().is_none_or(|etag| *etag == object.etag);
        let not_modified =
            || Refusal::new(304, "NotModified", "Not Modified").header("etag", format!("\"{}\"", object.etag));
        match (&self.if_match, self.if_unmodified_since) {
            (Some(etag), _) if !is(etag) => return Err(Refusal::precondition_failed("If-Match")),
            (None, Some(time)) if version.modified > time => {
                return Err(Refusal::precondition_failed("If-Unmodified-Since"));
            }
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(etag), _) if is(etag) => Err(not_modified()),
            (None, Some(time)) if version.modified <= time => Err(not_modified()),
            _ => Ok(()),
        }
    }
}

/// What a PUT stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored {
    /// The version id as the reply shows it.
    pub version: Option<String>,
    /// The ETag without quotes.
    pub etag: String,
}

/// What a DELETE did.
#[derive(Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The version that was removed, or the delete marker that was created.
    pub version: Option<String>,
    /// Whether that is a delete marker.
    pub marker: bool,
}

impl<C> Bucket<C> {
    pub(super) fn newest(&self, key: &str) -> Option<&Version<C>> {
        self.versions(key).last()
    }

    pub(super) fn check(&self, key: &str, condition: &WriteCondition) -> Result<(), Refusal> {
        let object = self.newest(key).and_then(|version| version.object.as_ref());
        match (condition, object) {
            (WriteCondition::Absent, Some(_)) => Err(Refusal::precondition_failed("If-None-Match")),
            (WriteCondition::Matches(_), None) => Err(Refusal::no_such_key(key)),
            (WriteCondition::Matches(etag), Some(object)) if *etag != object.etag => {
                Err(Refusal::precondition_failed("If-Match"))
            }
            _ => Ok(()),
        }
    }

    /// Adds a version as the newest. In a bucket that is not versioned it replaces `null`.
    pub(super) fn add(&mut self, key: &str, version: Version<C>) {
        let versions = self.objects.entry(key.to_owned()).or_default();
        if version.id == NULL {
            versions.retain(|old| old.id != NULL);
        }
        versions.push(version);
    }

    fn remove(&mut self, key: &str, id: &str) -> Option<Version<C>> {
        let versions = self.objects.get_mut(key)?;
        let at = versions.iter().position(|version| version.id == id)?;
        let removed = versions.remove(at);
        if versions.is_empty() {
            self.objects.remove(key);
        }
        Some(removed)
    }

    /// The version id as replies show it.
    pub fn shown(&self, id: &str) -> Option<String> {
        (self.versioning != Versioning::Off).then(|| id.to_owned())
    }
}

impl<C: Content> Store<C> {
    pub(super) fn new_version_id(&mut self, bucket: &str) -> Result<String, Refusal> {
        Ok(match self.bucket(bucket)?.versioning {
            Versioning::Enabled => self.ids.next(),
            Versioning::Off | Versioning::Suspended => NULL.to_owned(),
        })
    }

    /// PutObject, and CopyObject once its source was read.
    pub fn put(
        &mut self,
        bucket: &str,
        key: &str,
        mut object: Object<C>,
        condition: &WriteCondition,
        now: SystemTime,
    ) -> Result<Stored, Refusal> {
        object.attributes.check()?;
        self.check_length(object.content.length())?;
        self.bucket(bucket)?.check(key, condition)?;
        if self.rules.unique_etags {
            object.etag = hex::encode(self.ids.next_etag());
        }
        self.bucket(bucket)?.lock(&mut object.attributes, now)?;
        let id = self.new_version_id(bucket)?;
        let name = self.rules.names_all_versions.then(|| self.ids.next());
        let bucket = self.bucket_mut(bucket)?;
        let stored = Stored { version: bucket.shown(&id).or(name), etag: object.etag.clone() };
        bucket.add(key, Version { id, modified: now, object: Some(object) });
        Ok(stored)
    }

    /// Refuses a part, or an object in one piece, that is too long.
    pub fn check_length(&self, length: u64) -> Result<(), Refusal> {
        let max = self.rules.max_part;
        if length > max {
            let message = format!("Your proposed upload exceeds the maximum allowed size: {length} bytes, of {max}.");
            return Err(Refusal::new(400, "EntityTooLarge", message));
        }
        Ok(())
    }

    /// GetObject and HeadObject: the object of a version, or of the newest one.
    pub fn get(&self, bucket: &str, key: &str, id: Option<&str>) -> Result<(&Version<C>, &Object<C>), Refusal> {
        let bucket = self.bucket(bucket)?;
        let version = match id {
            None => bucket.newest(key).ok_or_else(|| Refusal::no_such_key(key))?,
            Some(id) => {
                let mut versions = bucket.versions(key).iter();
                versions.find(|version| version.id == id).ok_or_else(|| self.no_such_version(key, id))?
            }
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

    /// The object of a version, or of the newest one, to damage it. ETag and checksums stay as they are.
    pub fn object_mut(&mut self, bucket: &str, key: &str, id: Option<&str>) -> Result<&mut Object<C>, Refusal> {
        let id = self.get(bucket, key, id)?.0.id.clone();
        let mut versions = self.bucket_mut(bucket)?.objects.get_mut(key).into_iter().flatten();
        let version = versions.find(|version| version.id == id);
        version.and_then(|version| version.object.as_mut()).ok_or_else(|| Refusal::no_such_key(key))
    }

    /// Gives the newest version of a key another id: the one that it had in the store that it was copied from.
    pub fn set_version_id(&mut self, bucket: &str, key: &str, id: &str) -> Result<(), Refusal> {
        let versions = self.bucket_mut(bucket)?.objects.get_mut(key);
        let version = versions.and_then(|versions| versions.last_mut()).ok_or_else(|| Refusal::no_such_key(key))?;
        id.clone_into(&mut version.id);
        Ok(())
    }

    /// Makes the objects older whose key contains `part`: their Last-Modified is this long before what it was.
    pub fn age(&mut self, bucket: &str, part: &str, by: Duration) -> Result<(), Refusal> {
        let objects = self.bucket_mut(bucket)?.objects.iter_mut();
        for version in objects.filter(|(key, _)| key.contains(part)).flat_map(|(_, versions)| versions) {
            version.modified -= by;
        }
        Ok(())
    }

    /// DeleteObject: removes a version, or hides the object behind a delete marker.
    pub fn delete(
        &mut self,
        bucket: &str,
        key: &str,
        id: Option<&str>,
        bypass_governance: bool,
        now: SystemTime,
    ) -> Result<Deleted, Refusal> {
        if let Some(refusal) = self.bucket(bucket)?.undeletable.get(key) {
            return Err(refusal.clone());
        }
        if let Some(id) = id {
            match self.bucket(bucket)?.versions(key).iter().find(|version| version.id == id) {
                Some(version) => version.check_unlocked(bypass_governance, now)?,
                None if self.is_version_id(id) => {}
                None => return Err(self.no_such_version(key, id)),
            }
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

    /// DeleteObjects: deletes keys, or versions of them, each for itself.
    pub fn delete_many<'a>(
        &mut self,
        bucket: &str,
        objects: impl ExactSizeIterator<Item = (&'a str, Option<&'a str>)>,
        bypass_governance: bool,
        now: SystemTime,
    ) -> Result<Vec<Result<Deleted, Refusal>>, Refusal> {
        self.bucket(bucket)?;
        if !(1..=MAX_DELETE).contains(&objects.len()) {
            let message = format!("DeleteObjects names 1 to {MAX_DELETE} keys, not {}.", objects.len());
            return Err(Refusal::new(400, "MalformedXML", message));
        }
        Ok(objects.map(|(key, id)| self.delete(bucket, key, id, bypass_governance, now)).collect())
    }

    /// Whether an id may be one of a version. One of another store may not, if the rules have it.
    fn is_version_id(&self, id: &str) -> bool {
        let is_own = id == NULL || (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        is_own || !self.rules.checks_version_ids
    }

    /// The refusal of a version that is not there.
    fn no_such_version(&self, key: &str, id: &str) -> Refusal {
        if self.is_version_id(id) {
            return Refusal::no_such_version(key, id);
        }
        Refusal::invalid_argument("Invalid version id specified")
            .element("ArgumentName", "versionId")
            .element("ArgumentValue", id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::fixture::{at, object, store};
    use super::*;

    fn put(store: &mut Store<Vec<u8>>, data: &[u8], second: u64) -> Option<String> {
        store.put("b", "k", object(data), &WriteCondition::None, at(second)).unwrap().version
    }

    fn len(store: &Store<Vec<u8>>, id: Option<&str>) -> Result<u64, &'static str> {
        store.get("b", "k", id).map(|(_, object)| object.content.length()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn versions_stay_until_they_are_deleted_by_id() {
        let mut store = store(Versioning::Enabled);
        let one = put(&mut store, b"1", 1);
        let two = put(&mut store, b"22", 2);
        assert_ne!(one, two);
        let marker = store.delete("b", "k", None, false, at(3)).unwrap();
        assert!(marker.marker);
        assert_eq!(len(&store, None), Err("NoSuchKey"));
        assert_eq!(len(&store, one.as_deref()), Ok(1));
        assert_eq!(len(&store, marker.version.as_deref()), Err("MethodNotAllowed"));
        assert_eq!(store.delete("b", "k", marker.version.as_deref(), false, at(4)).unwrap(), marker);
        assert_eq!(len(&store, None), Ok(2));
        assert!(!store.delete("b", "k", two.as_deref(), false, at(5)).unwrap().marker);
        assert_eq!(len(&store, two.as_deref()), Err("NoSuchVersion"));
        assert_eq!(len(&store, None), Ok(1));
    }

    #[test]
    fn without_versioning_a_put_replaces_and_shows_no_id() {
        let mut store = store(Versioning::Off);
        assert_eq!(put(&mut store, b"1", 1), None);
        assert_eq!(put(&mut store, b"22", 2), None);
        assert_eq!(len(&store, Some(NULL)), Ok(2));
        assert_eq!(store.delete("b", "k", None, false, at(3)).unwrap(), Deleted { version: None, marker: false });
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
        let marker = store.delete("b", "k", None, false, at(4)).unwrap();
        assert_eq!((marker.version.as_deref(), marker.marker), (Some(NULL), true));
        assert_eq!(len(&store, None), Err("NoSuchKey"));
        store.delete("b", "k", Some(NULL), false, at(5)).unwrap();
        assert_eq!(len(&store, None), Ok(5));
    }

    #[test]
    fn conditions_look_at_the_newest_version() {
        let mut store = store(Versioning::Enabled);
        let mut put = |condition: &WriteCondition| {
            store.put("b", "k", object(b"x"), condition, at(1)).map(|_| ()).map_err(|refusal| refusal.code)
        };
        let etag = object(b"x").etag;
        assert_eq!(put(&WriteCondition::Matches(etag.clone())), Err("NoSuchKey"));
        assert_eq!(put(&WriteCondition::Absent), Ok(()));
        assert_eq!(put(&WriteCondition::Absent), Err("PreconditionFailed"));
        assert_eq!(put(&WriteCondition::Matches("other".to_owned())), Err("PreconditionFailed"));
        assert_eq!(put(&WriteCondition::Matches(etag)), Ok(()));
        store.delete("b", "k", None, false, at(2)).unwrap();
        assert!(store.put("b", "k", object(b"x"), &WriteCondition::Absent, at(3)).is_ok());
    }

    #[test]
    fn a_version_id_of_another_store_is_refused_and_one_that_is_gone_is_not_found() {
        let mut store = store(Versioning::Enabled);
        let id = put(&mut store, b"1", 1).unwrap();
        assert_eq!(len(&store, Some("3HL4kqtJvjVBH40Nrjfkd")), Err("InvalidArgument"));
        let mut delete = |id: &str| store.delete("b", "k", Some(id), false, at(2)).map_err(|refusal| refusal.code);
        assert_eq!(delete("3HL4kqtJvjVBH40Nrjfkd"), Err("InvalidArgument"));
        assert!(delete(&id).is_ok());
        assert_eq!(delete(&id), Ok(Deleted { version: Some(id.clone()), marker: false }), "as S3 does");
        assert_eq!(len(&store, Some(&id)), Err("NoSuchVersion"));
        store.rules.checks_version_ids = false;
        assert_eq!(len(&store, Some("3HL4kqtJvjVBH40Nrjfkd")), Err("NoSuchVersion"));
        store.rules.checks_version_ids = true;
        put(&mut store, b"copied", 3).unwrap();
        store.set_version_id("b", "k", "copied-id").unwrap();
        assert_eq!(len(&store, Some("copied-id")), Ok(6), "an id that the store has counts in any form");
    }

    #[test]
    fn each_key_of_a_batch_is_deleted_for_itself() {
        let mut store = store(Versioning::Enabled);
        let one = put(&mut store, b"1", 1).unwrap();
        let denied = Refusal::access_denied("Access Denied");
        store.bucket_mut("b").unwrap().undeletable.insert("kept".to_owned(), denied.clone());
        store.put("b", "kept", object(b"x"), &WriteCondition::None, at(1)).unwrap();
        let batch = [("k", Some(&*one)), ("kept", None), ("absent", None), ("k", Some("x"))];
        let results = store.delete_many("b", batch.into_iter(), false, at(2)).unwrap();
        assert_eq!(results[0], Ok(Deleted { version: Some(one.clone()), marker: false }));
        assert_eq!(results[1], Err(denied));
        assert!(results[2].as_ref().unwrap().marker, "a marker hides even what never was");
        assert_eq!(results[3].as_ref().unwrap_err().code, "InvalidArgument");
        assert!(store.get("b", "kept", None).is_ok());
        let too_many = vec![("k", None); MAX_DELETE + 1];
        for batch in [too_many, Vec::new()] {
            let refused = store.delete_many("b", batch.into_iter(), false, at(3)).unwrap_err();
            assert_eq!(refused.code, "MalformedXML");
        }
    }

    #[test]
    fn damage_leaves_the_etag_and_other_versions() {
        let mut store = store(Versioning::Enabled);
        let old = put(&mut store, b"same", 1);
        put(&mut store, b"same", 2);
        store.object_mut("b", "k", old.as_deref()).unwrap().content.truncate(1);
        assert_eq!((len(&store, old.as_deref()), len(&store, None)), (Ok(1), Ok(4)));
        assert_eq!(store.get("b", "k", old.as_deref()).unwrap().1.etag, object(b"same").etag);
    }
}
