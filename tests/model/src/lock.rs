//! Object lock: versions that cannot be deleted until a date.
//!
//! Legal holds are not part of the model.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html>.

use std::time::{Duration, SystemTime};

use super::{Attributes, Bucket, Content, Refusal, Store, Version, Versioning};

/// Who can remove a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Requests with `x-amz-bypass-governance-retention`.
    Governance,
    /// Nobody.
    Compliance,
}

impl LockMode {
    /// The mode as requests and replies show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }

    /// The mode of this name.
    pub fn from_name(name: &str) -> Result<Self, Refusal> {
        let modes = [Self::Governance, Self::Compliance];
        let unknown = || Refusal::new(400, "MalformedXML", format!("{name:?} is not the mode of a lock."));
        modes.into_iter().find(|mode| mode.name() == name).ok_or_else(unknown)
    }
}

/// The lock of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Who can remove it.
    pub mode: LockMode,
    /// When it ends.
    pub until: SystemTime,
}

/// The lock that a bucket puts on new versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRetention {
    /// Who can remove it.
    pub mode: LockMode,
    /// How long it lasts. A year has 365 days.
    pub days: u32,
}

/// The object lock configuration of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectLock {
    /// The lock of a version whose request names none.
    pub default: Option<DefaultRetention>,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl<C> Bucket<C> {
    /// Sets the lock of a new version: its own, or else the bucket's default.
    pub(super) fn lock(&self, attributes: &mut Attributes, created: SystemTime) -> Result<(), Refusal> {
        match (&attributes.retention, self.lock) {
            (Some(_), None) => return Err(not_configured()),
            (Some(retention), _) => in_future(retention, created)?,
            (None, lock) => {
                let default = lock.and_then(|lock| lock.default);
                attributes.retention = default
                    .map(|default| Retention { mode: default.mode, until: created + DAY.saturating_mul(default.days) });
            }
        }
        Ok(())
    }
}

impl<C> Version<C> {
    /// Refuses to delete this version while it is locked.
    pub(super) fn check_unlocked(&self, bypass_governance: bool, now: SystemTime) -> Result<(), Refusal> {
        let retention = self.object.as_ref().and_then(|object| object.attributes.retention);
        match retention.filter(|retention| retention.until > now) {
            Some(Retention { mode: LockMode::Governance, .. }) if bypass_governance => Ok(()),
            Some(_) => Err(Refusal::access_denied("Access Denied because object protected by object lock.")),
            None => Ok(()),
        }
    }
}

impl<C: Content> Store<C> {
    /// PutObjectLockConfiguration: enables object lock, which stays enabled, and sets the default.
    pub fn set_lock(&mut self, bucket: &str, lock: ObjectLock) -> Result<(), Refusal> {
        let bucket = self.bucket_mut(bucket)?;
        if bucket.versioning != Versioning::Enabled {
            return Err(Refusal::new(
                409,
                "InvalidBucketState",
                "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
            ));
        }
        bucket.lock = Some(lock);
        Ok(())
    }

    /// GetObjectLockConfiguration.
    pub fn lock(&self, bucket: &str) -> Result<ObjectLock, Refusal> {
        self.bucket(bucket)?.lock.ok_or_else(|| {
            Refusal::new(
                404,
                "ObjectLockConfigurationNotFoundError",
                "Object Lock configuration does not exist for this bucket",
            )
        })
    }

    /// Refuses bytes without `Content-MD5` or a checksum where they will be locked, by their own request or by the
    /// bucket's default.
    pub fn check_digest(&self, bucket: &str, own: Option<&Retention>, has_digest: bool) -> Result<(), Refusal> {
        let default = self.bucket(bucket)?.lock.and_then(|lock| lock.default);
        if has_digest || (own.is_none() && default.is_none()) {
            return Ok(());
        }
        Err(Refusal::invalid_request(
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters",
        ))
    }

    /// PutObjectRetention: locks a version, or changes its lock. `None` removes it.
    pub fn set_retention(
        &mut self,
        bucket: &str,
        key: &str,
        id: Option<&str>,
        retention: Option<Retention>,
        bypass_governance: bool,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        if self.bucket(bucket)?.lock.is_none() {
            return Err(not_configured());
        }
        if let Some(retention) = &retention {
            in_future(retention, now)?;
        }
        let attributes = &mut self.object_mut(bucket, key, id)?.attributes;
        let is_weaker = |old: &Retention| retention.is_none_or(|new| new.mode != old.mode || new.until < old.until);
        if let Some(old) = attributes.retention.filter(|old| old.until > now && is_weaker(old))
            && !(old.mode == LockMode::Governance && bypass_governance)
        {
            return Err(Refusal::access_denied("Access Denied because object protected by object lock."));
        }
        attributes.retention = retention;
        Ok(())
    }

    /// GetObjectRetention.
    pub fn retention(&self, bucket: &str, key: &str, id: Option<&str>) -> Result<Retention, Refusal> {
        if self.bucket(bucket)?.lock.is_none() {
            return Err(not_configured());
        }
        let (_, object) = self.get(bucket, key, id)?;
        object.attributes.retention.ok_or_else(|| {
            Refusal::new(
                404,
                "NoSuchObjectLockConfiguration",
                "The specified object does not have a ObjectLock configuration",
            )
        })
    }
}

fn not_configured() -> Refusal {
    Refusal::invalid_request("Bucket is missing Object Lock Configuration")
}

fn in_future(retention: &Retention, now: SystemTime) -> Result<(), Refusal> {
    if retention.until > now {
        return Ok(());
    }
    Err(Refusal::invalid_argument("The retain until date must be in the future!"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::fixture::{at, object, store};
    use super::super::{Versioning, WriteCondition};
    use super::*;

    fn locked(default: Option<DefaultRetention>) -> Store<Vec<u8>> {
        let mut store = store(Versioning::Enabled);
        store.set_lock("b", ObjectLock { default }).unwrap();
        store
    }

    fn put(store: &mut Store<Vec<u8>>, retention: Option<Retention>, second: u64) -> Result<String, &'static str> {
        let mut object = object(b"x");
        object.attributes.retention = retention;
        let stored = store.put("b", "k", object, &WriteCondition::None, at(second));
        stored.map(|stored| stored.version.unwrap()).map_err(|refusal| refusal.code)
    }

    fn until(mode: LockMode, second: u64) -> Option<Retention> {
        Some(Retention { mode, until: at(second) })
    }

    #[test]
    fn a_lock_needs_versioning_and_stays() {
        let mut store = store(Versioning::Off);
        assert_eq!(store.lock("b").unwrap_err().code, "ObjectLockConfigurationNotFoundError");
        assert_eq!(store.set_lock("b", ObjectLock::default()).unwrap_err().code, "InvalidBucketState");
        assert_eq!(put(&mut store, until(LockMode::Governance, 9), 1), Err("InvalidRequest"));
        store.set_versioning("b", true).unwrap();
        store.set_lock("b", ObjectLock::default()).unwrap();
        assert_eq!(store.set_versioning("b", false).unwrap_err().code, "InvalidBucketState");
        assert_eq!(put(&mut store, until(LockMode::Governance, 1), 1), Err("InvalidArgument"));
        assert!(put(&mut store, until(LockMode::Governance, 2), 1).is_ok());
    }

    #[test]
    fn a_locked_version_stays_until_its_lock_ends_and_a_marker_hides_it() {
        let mut store = locked(None);
        let id = put(&mut store, until(LockMode::Compliance, 100), 1).unwrap();
        for bypass in [false, true] {
            assert_eq!(store.delete("b", "k", Some(&id), bypass, at(99)).unwrap_err().code, "AccessDenied");
        }
        let marker = store.delete("b", "k", None, false, at(50)).unwrap();
        assert!(marker.marker);
        assert!(
            store.delete("b", "k", marker.version.as_deref(), false, at(51)).unwrap().marker,
            "a marker has no lock"
        );
        store.delete("b", "k", Some(&id), false, at(100)).unwrap();
        assert!(store.bucket("b").unwrap().versions("k").is_empty());
    }

    #[test]
    fn governance_can_be_bypassed() {
        let mut store = locked(None);
        let id = put(&mut store, until(LockMode::Governance, 100), 1).unwrap();
        assert!(store.delete("b", "k", Some(&id), false, at(2)).is_err());
        assert!(store.delete("b", "k", Some(&id), true, at(2)).is_ok());
    }

    #[test]
    fn the_default_locks_what_names_no_lock() {
        let mut store = locked(Some(DefaultRetention { mode: LockMode::Governance, days: 2 }));
        let id = put(&mut store, None, 10).unwrap();
        let expected = Retention { mode: LockMode::Governance, until: at(10 + 2 * 86_400) };
        assert_eq!(store.retention("b", "k", Some(&id)), Ok(expected));
        let own = until(LockMode::Compliance, 500);
        put(&mut store, own, 11).unwrap();
        assert_eq!(store.retention("b", "k", None).ok(), own);
        assert_eq!(store.check_digest("b", None, false).unwrap_err().code, "InvalidRequest");
        assert_eq!(store.check_digest("b", None, true), Ok(()));
        assert_eq!(locked(None).check_digest("b", None, false), Ok(()));
    }

    #[test]
    fn locks_are_extended_by_all_and_weakened_only_by_a_bypass_of_governance() {
        let mut store = locked(None);
        put(&mut store, None, 1).unwrap();
        assert_eq!(store.retention("b", "k", None).unwrap_err().code, "NoSuchObjectLockConfiguration");
        let mut set = |retention: Option<Retention>, bypass: bool| {
            store.set_retention("b", "k", None, retention, bypass, at(2)).map_err(|refusal| refusal.code)
        };
        assert_eq!(set(until(LockMode::Governance, 2), false), Err("InvalidArgument"));
        assert_eq!(set(until(LockMode::Governance, 50), false), Ok(()));
        assert_eq!(set(until(LockMode::Governance, 60), false), Ok(()));
        assert_eq!(set(until(LockMode::Governance, 59), false), Err("AccessDenied"));
        assert_eq!(set(until(LockMode::Compliance, 60), false), Err("AccessDenied"));
        assert_eq!(set(None, false), Err("AccessDenied"));
        assert_eq!(set(until(LockMode::Governance, 40), true), Ok(()));
        assert_eq!(set(None, true), Ok(()));
        assert_eq!(set(until(LockMode::Compliance, 50), true), Ok(()));
        assert_eq!(set(until(LockMode::Compliance, 51), false), Ok(()));
        for weaker in [None, until(LockMode::Compliance, 50), until(LockMode::Governance, 90)] {
            assert_eq!(set(weaker, true), Err("AccessDenied"));
        }
    }
}
