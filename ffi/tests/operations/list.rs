//! Listings of objects and of versions.

use s3vault::Code;
use s3vault::op::{DeleteObject, ListObjectVersions, ListObjectsV2, ListedVersion, VersionListing};

use crate::{Bucket, ODD_KEYS, bare, world};

#[test]
fn objects_are_listed_in_pages() {
    let bucket = Bucket::fresh("list");
    let mut all: Vec<&str> = ODD_KEYS.into();
    all.extend(["dir/1", "dir/2", "dir/3"]);
    all.sort_unstable();
    for key in &all {
        bucket.put(key, key.as_bytes());
    }
    let whole = bucket.must(ListObjectsV2::default());
    assert_eq!((whole.keys().collect::<Vec<_>>(), &whole.next), (all.clone(), &None));
    for object in &whole.objects {
        assert_eq!(object.size, object.key.len() as u64, "{object:?}");
        assert!(object.last_modified_ms.is_some() && bare(&object.etag).len() == 32, "{object:?}");
    }

    let pages = bucket.pages(ListObjectsV2 { max_keys: Some(3), ..ListObjectsV2::default() });
    assert!(pages.len() > 3 && pages.iter().all(|page| page.objects.len() <= 3), "{pages:?}");
    assert_eq!(pages.iter().flat_map(|page| page.keys()).collect::<Vec<_>>(), all);

    let dir = bucket.pages(ListObjectsV2 { prefix: "dir/".into(), max_keys: Some(2), ..ListObjectsV2::default() });
    assert_eq!(dir.iter().flat_map(|page| page.keys()).collect::<Vec<_>>(), ["dir/1", "dir/2", "dir/3"]);
    let folders = bucket.pages(ListObjectsV2 { delimiter: Some("/"), max_keys: Some(2), ..ListObjectsV2::default() });
    let prefixes: Vec<&str> = folders.iter().flat_map(|page| &page.common_prefixes).map(String::as_str).collect();
    assert_eq!(prefixes, ["d/", "dir/"]);
    let keys: Vec<&str> = folders.iter().flat_map(|page| page.keys()).collect();
    assert_eq!(keys, all.iter().copied().filter(|key| !key.contains('/')).collect::<Vec<_>>());
    let behind = bucket.must(ListObjectsV2 { start_after: Some("q?#=".into()), ..ListObjectsV2::default() });
    assert_eq!(behind.keys().collect::<Vec<_>>(), ["x%2Fy", "z\\~", "é"]);

    let none = bucket.must(ListObjectsV2 { prefix: "nothing".into(), ..ListObjectsV2::default() });
    assert!(none.objects.is_empty() && none.next.is_none());
    assert_eq!(Bucket::absent("list-absent").refused(ListObjectsV2::default()).code(), Code::NoSuchBucket);
}

#[test]
fn control_characters_are_listed() {
    let bucket = Bucket::fresh("control");
    bucket.put("l/\u{1}", b"x");
    let listed = bucket.must(ListObjectsV2::default());
    let is_right = listed.keys().eq(["l/\u{1}"]);
    assert_eq!((listed.objects.len(), is_right), (1, world().profile.control_characters), "{listed:?}");
}

/// Keys, whether a delete marker, whether the newest.
fn rows(pages: &[VersionListing]) -> Vec<(&str, bool, bool)> {
    let rows = pages.iter().flat_map(|page| &page.versions);
    rows.map(|row| (&*row.key, row.is_delete_marker, row.is_latest)).collect()
}

#[test]
fn versions_are_listed_in_pages() {
    let bucket = Bucket::versioned("list-versions");
    if !world().profile.versioning {
        bucket.put("k", b"first");
        bucket.put("k", b"second");
        match bucket.call(ListObjectVersions::default()) {
            Ok(page) => assert_eq!(rows(&[page]), [("k", false, true)]),
            Err(e) => assert_eq!(e.status(), 501, "{e:?}"),
        }
        return;
    }
    let mut ids = Vec::new();
    for key in ["a b+c", "d/1", "d/2", "x%2Fy", "é"] {
        for content in ["first", "second!"] {
            ids.push((key, bucket.put(key, content.as_bytes()).version_id.unwrap()));
        }
    }
    let marker = bucket.must(DeleteObject { key: "x%2Fy".into() }).version_id.unwrap();
    ids.push(("x%2Fy", marker.clone()));

    let whole = bucket.must(ListObjectVersions::default());
    let mut listed: Vec<(&str, String)> =
        whole.versions.iter().map(|row| (&*row.key, row.version_id.clone())).collect();
    listed.sort();
    ids.sort();
    assert_eq!(listed, ids);
    for row in &whole.versions {
        assert!(row.last_modified_ms.is_some(), "{row:?}");
        assert_eq!(row.is_delete_marker, row.version_id == marker, "{row:?}");
        let size = if row.is_delete_marker { 0 } else { if row.is_latest || row.size == 7 { 7 } else { 5 } };
        assert_eq!(row.size, size, "{row:?}");
    }
    let mut newest: Vec<&str> = whole.versions.iter().filter(|row| row.is_latest).map(|row| &*row.key).collect();
    newest.sort_unstable();
    assert_eq!(newest, ["a b+c", "d/1", "d/2", "x%2Fy", "é"]);

    for max_keys in [1, 2, 3] {
        let pages = bucket.pages(ListObjectVersions { max_keys: Some(max_keys), ..ListObjectVersions::default() });
        assert!(pages.iter().all(|page| page.versions.len() <= max_keys as usize), "{pages:?}");
        // In the order that all stores have in common: some list delete markers after the versions of a page.
        let in_order = |rows: &mut dyn Iterator<Item = &ListedVersion>| {
            let mut rows: Vec<ListedVersion> = rows.cloned().collect();
            rows.sort_by(|a, b| (&a.key, a.is_delete_marker).cmp(&(&b.key, b.is_delete_marker)));
            rows
        };
        let found = in_order(&mut pages.iter().flat_map(|page| &page.versions));
        assert_eq!(found, in_order(&mut whole.versions.iter()), "{max_keys}");
    }
    let of_d = bucket.pages(ListObjectVersions { prefix: "d/".into(), max_keys: Some(3), ..Default::default() });
    let expected = [("d/1", false, true), ("d/1", false, false), ("d/2", false, true), ("d/2", false, false)];
    assert_eq!(rows(&of_d), expected);
    let folders = bucket.must(ListObjectVersions { delimiter: Some("/"), ..Default::default() });
    assert_eq!((folders.common_prefixes, folders.versions.len()), (vec!["d/".to_owned()], 7));
    assert_eq!(Bucket::absent("versions-absent").refused(ListObjectVersions::default()).code(), Code::NoSuchBucket);
}
