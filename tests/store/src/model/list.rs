//! The listings: current objects, versions, uploads. All page through a map of keys in the binary order of UTF-8.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html> and its like.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Bucket;
use super::multipart::Upload;
use super::object::{Object, Version};

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Start,
    /// Behind every entry of this key.
    Key(String),
    /// Behind every key with this prefix.
    Prefix(String),
    /// Behind this entry of the key; with its first one, when there is no such entry any more.
    Entry(String, String),
}

#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) prefix: String,
    pub(crate) delimiter: Option<String>,
    pub(crate) after: After,
    pub(crate) max: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page<'a, T> {
    pub(crate) entries: Vec<(&'a str, T)>,
    pub(crate) prefixes: Vec<String>,
    /// The last thing on the page, when more follows.
    pub(crate) next: Option<After>,
}

impl Bucket {
    /// The newest versions that are objects.
    pub(crate) fn list_objects(&self, query: &Query) -> Page<'_, (&Version, &Object)> {
        fn newest(versions: &[Version]) -> Vec<(&Version, &Object)> {
            let version = versions.last();
            version.and_then(|version| Some((version, version.object.as_ref()?))).into_iter().collect()
        }
        page(&self.objects, query, newest, |(version, _)| &version.id)
    }

    /// All versions and delete markers, of each key the newest first, with whether it is the newest.
    pub(crate) fn list_versions(&self, query: &Query) -> Page<'_, (&Version, bool)> {
        fn all(versions: &[Version]) -> Vec<(&Version, bool)> {
            versions.iter().rev().enumerate().map(|(age, version)| (version, age == 0)).collect()
        }
        page(&self.objects, query, all, |(version, _)| &version.id)
    }

    /// The open uploads, of each key the oldest first.
    pub(crate) fn list_uploads(&self, query: &Query) -> Page<'_, &Upload> {
        page(&self.uploads, query, |uploads| uploads.iter().collect(), |upload| &upload.id)
    }
}

fn page<'a, S, T: Copy>(
    keys: &'a BTreeMap<String, Vec<S>>,
    query: &Query,
    select: impl Fn(&'a [S]) -> Vec<T>,
    id: impl Fn(&T) -> &String,
) -> Page<'a, T> {
    let mut page = Page { entries: Vec::new(), prefixes: Vec::new(), next: None };
    if query.max == 0 {
        return page;
    }
    let prefix = query.prefix.as_str();
    let from = match &query.after {
        After::Start => Bound::Included(prefix),
        After::Key(key) if key.as_str() >= prefix => Bound::Excluded(key.as_str()),
        After::Prefix(key) | After::Entry(key, _) if key.as_str() >= prefix => Bound::Included(key.as_str()),
        _ => Bound::Included(prefix),
    };
    let mut last = None;
    for (key, list) in keys.range::<str, _>((from, Bound::Unbounded)) {
        if !key.starts_with(prefix) {
            break;
        }
        if matches!(&query.after, After::Prefix(done) if key.starts_with(done)) {
            continue;
        }
        let mut entries = select(list);
        if let After::Entry(after, after_id) = &query.after
            && after == key
            && let Some(at) = entries.iter().position(|entry| id(entry) == after_id)
        {
            entries.drain(..=at);
        }
        if entries.is_empty() {
            continue;
        }
        if let Some(common) = common_prefix(key, prefix, query.delimiter.as_deref()) {
            if page.prefixes.last().is_some_and(|last| last == common) {
                continue;
            }
            if page.entries.len() + page.prefixes.len() == query.max {
                page.next = last;
                return page;
            }
            page.prefixes.push(common.to_owned());
            last = Some(After::Prefix(common.to_owned()));
            continue;
        }
        for entry in entries {
            if page.entries.len() + page.prefixes.len() == query.max {
                page.next = last;
                return page;
            }
            last = Some(After::Entry(key.clone(), id(&entry).clone()));
            page.entries.push((key, entry));
        }
    }
    page
}

fn common_prefix<'k>(key: &'k str, prefix: &str, delimiter: Option<&str>) -> Option<&'k str> {
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let at = key[prefix.len()..].find(delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::fixture::{at, object, store};
    use super::super::object::Condition;
    use super::super::{Store, Versioning};
    use super::*;

    const KEYS: [&str; 9] = ["/lead", "a", "a//b", "a/b", "a/c/d", "a=2F~ü", "b", "b\u{1f600}", "b\u{ff5e}"];

    fn filled() -> Store {
        let mut store = store(Versioning::Enabled);
        for key in KEYS {
            store.put("b", key, object(b"x"), &Condition::None, at(1)).unwrap();
        }
        store
    }

    fn query(prefix: &str, delimiter: Option<&str>, max: usize) -> Query {
        Query { prefix: prefix.to_owned(), delimiter: delimiter.map(str::to_owned), after: After::Start, max }
    }

    /// Everything that paging gives, keys and common prefixes in the order they came.
    fn all(store: &Store, mut query: Query) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..100 {
            let page = store.bucket("b").unwrap().list_objects(&query);
            let mut here: Vec<String> = page.entries.iter().map(|(key, _)| (*key).to_owned()).collect();
            here.extend(page.prefixes.clone());
            here.sort();
            names.extend(here);
            match page.next {
                Some(next) => query.after = next,
                None => return names,
            }
        }
        panic!("the pages do not end: {names:?}");
    }

    #[test]
    fn keys_come_in_the_binary_order_of_utf8() {
        let mut sorted = KEYS.map(str::to_owned).to_vec();
        sorted.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        // U+FF5E stands before U+1F600 in UTF-8, behind it in UTF-16.
        assert!(sorted[7].ends_with('\u{ff5e}'));
        assert_eq!(all(&filled(), query("", None, 1000)), sorted);
    }

    #[test]
    fn every_page_size_gives_the_same_whole() {
        let store = filled();
        for (prefix, delimiter) in [("", None), ("", Some("/")), ("a/", Some("/")), ("a", Some("b")), ("b", None)] {
            let whole = all(&store, query(prefix, delimiter, 1000));
            for max in 1..8 {
                assert_eq!(all(&store, query(prefix, delimiter, max)), whole, "{prefix:?} {delimiter:?} {max}");
            }
        }
        assert_eq!(all(&store, query("", Some("/"), 1000)), ["/", "a", "a/", "a=2F~ü", "b", "b\u{ff5e}", "b\u{1f600}"]);
        assert_eq!(all(&store, query("a/", Some("/"), 1000)), ["a//", "a/b", "a/c/"]);
    }

    #[test]
    fn a_page_that_is_exactly_full_is_not_truncated() {
        let store = filled();
        let bucket = store.bucket("b").unwrap();
        assert_eq!(bucket.list_objects(&query("", None, 9)).next, None);
        assert!(bucket.list_objects(&query("", None, 8)).next.is_some());
        assert_eq!(bucket.list_objects(&query("", None, 0)).next, None);
    }

    #[test]
    fn start_after_begins_behind_the_key_even_inside_a_common_prefix() {
        let store = filled();
        let after = |key: &str| Query { after: After::Key(key.to_owned()), ..query("", Some("/"), 1000) };
        let page = store.bucket("b").unwrap().list_objects(&after("a/b")).prefixes;
        assert_eq!(page, ["a/"]);
        let query = Query { after: After::Key("a".to_owned()), ..query("b", None, 1000) };
        assert_eq!(store.bucket("b").unwrap().list_objects(&query).entries.len(), 3);
    }

    #[test]
    fn versions_page_newest_first_and_survive_the_marker_being_deleted() {
        let mut store = store(Versioning::Enabled);
        let ids: Vec<String> = (0..3)
            .map(|second| store.put("b", "k", object(b"x"), &Condition::None, at(second)).unwrap().unwrap())
            .collect();
        let marker = store.delete("b", "k", None, at(9)).unwrap().version.unwrap();
        let list = |store: &Store, after: After| {
            let query = Query { after, ..query("", None, 2) };
            let page = store.bucket("b").unwrap().list_versions(&query);
            let ids: Vec<_> = page.entries.iter().map(|(_, (version, newest))| (version.id.clone(), *newest)).collect();
            (ids, page.next)
        };
        let (first, next) = list(&store, After::Start);
        assert_eq!(first, [(marker, true), (ids[2].clone(), false)]);
        assert_eq!(list(&store, next.clone().unwrap()).0, [(ids[1].clone(), false), (ids[0].clone(), false)]);
        store.delete("b", "k", Some(&ids[2]), at(10)).unwrap();
        assert_eq!(list(&store, next.unwrap()).0[1].0, ids[1]);
        assert!(store.bucket("b").unwrap().list_objects(&query("", None, 9)).entries.is_empty());
    }
}
