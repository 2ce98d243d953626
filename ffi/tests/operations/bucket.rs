//! Operations on buckets.

use std::time::{SystemTime, UNIX_EPOCH};

use s3vault::Code;
use s3vault::op::{
    BucketEncryption, BucketVersioning, Content, CreateBucket, DefaultRetention, DeleteBucket, DeleteObject,
    DeleteObjectVersion, GetBucketEncryption, GetBucketLocation, GetBucketVersioning, GetObjectLockConfiguration,
    GetObjectRetention, HeadBucket, HeadObject, ListBuckets, LockMode, LockPeriod, ObjectLock, PutBucketEncryption,
    PutBucketVersioning, PutObject, PutObjectLockConfiguration, PutObjectRetention, Retention,
};

use crate::{Bucket, assert_has_not, assert_refused, world};

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

#[test]
fn a_bucket_is_made_found_and_deleted() {
    let (bucket, profile) = (Bucket::absent("made"), &world().profile);
    assert_eq!(bucket.refused(HeadBucket).code(), Code::NoSuchBucket);
    assert_eq!(bucket.refused(GetBucketLocation).code(), Code::NoSuchBucket);
    assert_eq!(bucket.refused(DeleteBucket).code(), Code::NoSuchBucket);

    bucket.must(CreateBucket::default());
    match bucket.call(CreateBucket::default()) {
        Ok(()) => assert!(!profile.refuses_own_bucket),
        Err(e) => {
            assert_refused(&e, 409, "BucketAlreadyOwnedByYou");
            assert!(profile.refuses_own_bucket);
        }
    }
    let region = bucket.must(GetBucketLocation);
    if let Some(named) = bucket.must(HeadBucket).region {
        assert_eq!(named, region);
    }
    if profile.checks_region {
        assert_eq!(region, "us-east-1");
    }

    bucket.put("k", b"x");
    assert_refused(&bucket.refused(DeleteBucket), 409, "BucketNotEmpty");
    bucket.must(DeleteObject { key: "k".into() });
    bucket.must(DeleteBucket);
    assert_eq!(bucket.refused(HeadBucket).code(), Code::NoSuchBucket);
}

#[test]
fn buckets_are_listed() {
    let (first, second) = (Bucket::fresh("listed-1"), Bucket::fresh("listed-2"));
    let names = |asked: ListBuckets| -> Vec<Vec<String>> {
        let pages = first.pages(asked);
        pages.into_iter().map(|page| page.buckets.into_iter().map(|bucket| bucket.name).collect()).collect()
    };
    let all: Vec<String> = names(ListBuckets::default()).concat();
    for bucket in [&first, &second] {
        assert!(all.contains(&bucket.name), "{} is not in {all:?}", bucket.name);
    }
    let listed = first.must(ListBuckets::default()).buckets;
    let made = listed.iter().find(|bucket| bucket.name == first.name).unwrap().created_ms.unwrap();
    assert!((made - now_ms()).abs() < 3_600_000, "{made}");

    let in_pages = ListBuckets { max_buckets: Some(1), ..ListBuckets::default() };
    if world().profile.pages_buckets {
        let pages = names(in_pages);
        assert!(pages.iter().all(|page| page.len() <= 1), "{pages:?}");
        let found = pages.concat();
        assert!(found.contains(&first.name) && found.contains(&second.name), "{found:?}");
    } else {
        match first.call(in_pages) {
            Ok(page) => assert!(page.buckets.len() > 1 && page.next.is_none(), "{page:?}"),
            Err(e) => assert_has_not(&e),
        }
    }
}

#[test]
fn a_bucket_keeps_versions() {
    let bucket = Bucket::fresh("versioning");
    let before = bucket.call(GetBucketVersioning);
    let enabled = bucket.call(PutBucketVersioning { enabled: true });
    if !world().profile.versioning {
        before.map_or_else(|e| assert_eq!(e.status(), 501), |status| assert_eq!(status, BucketVersioning::Off));
        assert_eq!(enabled.unwrap_err().status(), 501);
        return;
    }
    assert_eq!(before.unwrap(), BucketVersioning::Off);
    enabled.unwrap();
    assert_eq!(bucket.must(GetBucketVersioning), BucketVersioning::Enabled);
    let (first, second) = (bucket.put("k", b"1").version_id, bucket.put("k", b"2").version_id);
    assert!(first.is_some() && second.is_some() && first != second, "{first:?} {second:?}");
    bucket.must(PutBucketVersioning { enabled: false });
    assert_eq!(bucket.must(GetBucketVersioning), BucketVersioning::Suspended);
}

#[test]
fn a_bucket_encrypts() {
    let (bucket, profile) = (Bucket::fresh("encryption"), &world().profile);
    let rules = BucketEncryption::default().with_sse_c(true);
    if !profile.bucket_encryption {
        assert_has_not(&bucket.refused(PutBucketEncryption { encryption: rules }));
        assert_has_not(&bucket.refused(GetBucketEncryption));
        return;
    }
    if let Err(e) = bucket.call(GetBucketEncryption) {
        let s3_code = "ServerSideEncryptionConfigurationNotFoundError";
        assert_eq!((e.code(), e.status(), e.s3_code()), (Code::NotFound, 404, s3_code));
    }
    bucket.must(PutBucketEncryption { encryption: rules });
    let kept = bucket.must(GetBucketEncryption);
    assert_eq!(kept.rules[0].algorithm.as_deref(), Some("AES256"), "{kept:?}");
    assert_eq!(kept.blocks_sse_c(), profile.blocked_encryption.then_some(true), "{kept:?}");
    bucket.put("k", b"x");
    assert_eq!(bucket.get("k"), b"x");
}

fn until(hours: i64) -> Retention {
    Retention { mode: LockMode::Governance, until_ms: (now_ms() / 1000 + hours * 3600) * 1000 }
}

fn lock_longer(version_id: Option<String>, retention: Retention) -> PutObjectRetention {
    PutObjectRetention { key: "k".into(), version_id, retention: Some(retention), bypass_governance: false }
}

#[test]
fn a_bucket_without_locks_has_none() {
    let bucket = Bucket::fresh("no-lock");
    bucket.put("k", b"x");
    let e = bucket.refused(GetObjectLockConfiguration);
    assert!(
        e.s3_code() == "ObjectLockConfigurationNotFoundError" && e.code() == Code::NotFound || e.status() == 501,
        "{e:?}"
    );
    assert_has_not(&bucket.refused(GetObjectRetention { key: "k".into(), version_id: None }));
    if !world().profile.object_lock {
        assert_eq!(bucket.refused(PutObjectLockConfiguration { default: None }).status(), 501);
        assert_eq!(bucket.refused(lock_longer(None, until(1))).status(), 501);
    }
}

#[test]
fn objects_are_locked() {
    if !world().profile.object_lock {
        // What is refused then: a_bucket_without_locks_has_none.
        return;
    }
    let bucket = Bucket::absent("lock");
    bucket.must(CreateBucket { object_lock: true, ..CreateBucket::default() });
    assert!(bucket.must(GetObjectLockConfiguration).enabled);
    let default = Some(DefaultRetention { mode: LockMode::Governance, period: LockPeriod::Days(1) });
    bucket.must(PutObjectLockConfiguration { default });
    assert_eq!(bucket.must(GetObjectLockConfiguration), ObjectLock { enabled: true, default });

    let put = PutObject::new("k", Content::Bytes("x".into()), until(2).headers().into());
    let version_id = bucket.must(put).version_id;
    let get = GetObjectRetention { key: "k".into(), version_id: version_id.clone() };
    let locked = bucket.must(get.clone());
    assert!(locked.mode == LockMode::Governance && (locked.until_ms - until(2).until_ms).abs() < 60_000, "{locked:?}");
    let head = bucket.must(HeadObject { key: "k".into(), version_id: version_id.clone(), ..HeadObject::default() });
    assert_eq!(head.lock, Some(locked));
    let longer = until(48);
    bucket.must(lock_longer(version_id.clone(), longer));
    assert_eq!(bucket.must(get), longer);

    let Some(version_id) = version_id else {
        assert!(!world().profile.versioning);
        let e = bucket.refused(DeleteObject { key: "k".into() });
        return assert_eq!(e.code(), Code::AccessDenied);
    };
    let delete =
        |bypass_governance| DeleteObjectVersion { key: "k".into(), version_id: version_id.clone(), bypass_governance };
    let shorter =
        |bypass_governance| PutObjectRetention { bypass_governance, ..lock_longer(Some(version_id.clone()), until(1)) };
    // MinIO says 400.
    assert!(matches!(bucket.refused(delete(false)).status(), 400 | 403));
    assert!(matches!(bucket.refused(shorter(false)).status(), 400 | 403));
    assert_eq!(bucket.get("k"), b"x");
    for outcome in [bucket.call(shorter(true)), bucket.call(delete(true)).map(drop)] {
        match outcome {
            Ok(()) => assert!(world().profile.governance_bypass),
            Err(e) => assert!(!world().profile.governance_bypass, "{e:?}"),
        }
    }
}

#[test]
fn a_wrong_region_is_reported_by_stores_that_check_it() {
    let bucket = Bucket::fresh("region");
    let elsewhere = Bucket::with(&bucket.name, &[("region", "eu-west-1")]);
    match elsewhere.call(PutObject::new("k", Content::Bytes("x".into()), Vec::new())) {
        Ok(_) => assert!(!world().profile.checks_region),
        Err(e) => {
            assert_eq!((e.code(), e.hint()), (Code::WrongRegion, "Set region = us-east-1."), "{e:?}");
            assert!(world().profile.checks_region);
        }
    }
}
