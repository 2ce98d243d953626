//! The listings: current objects, versions, open uploads. All page through a map of keys in the binary order of UTF-8.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html> and the pages of its siblings.

use std::collections::BTreeMap;
use std::ops::Bound;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::{Bucket, Content, Object, Refusal, Store, Upload, Version};

/// Most entries in one page of S3.
pub const MAX_PAGE: usize = 1000;

/// Where a page starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// At the first key.
    Start,
    /// After all entries of this key.
    Key(String),
    /// After all keys with this prefix.
    Prefix(String),
    /// After this entry of the key, or at the key's first entry when there is no such entry any more.
    Entry(String, String),
}

impl Position {
    /// The position that a continuation token of ListObjectsV2 stands for. A key has one newest version, so its name is
    /// enough.
    pub fn of_token(token: &str) -> Result<Self, Refusal> {
        let text = BASE64.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        match (text.get(..1), text.get(1..)) {
            (Some("k"), Some(key)) => Ok(Self::Key(key.to_owned())),
            (Some("p"), Some(prefix)) => Ok(Self::Prefix(prefix.to_owned())),
            _ => Err(Refusal::invalid_argument("The continuation token provided is incorrect")),
        }
    }

    /// The continuation token of this position.
    pub fn token(&self) -> String {
        BASE64.encode(match self {
            Self::Start => String::new(),
            Self::Key(key) | Self::Entry(key, _) => format!("k{key}"),
            Self::Prefix(prefix) => format!("p{prefix}"),
        })
    }

    /// The position of a key marker and the id marker of one of the key's entries. Empty markers count as missing.
    pub fn of_markers(
        key: Option<&str>,
        id: Option<&str>,
        prefix: Option<&str>,
        delimiter: Option<&str>,
    ) -> Result<Self, Refusal> {
        let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(match (given(key), given(id)) {
            (None, None) => Self::Start,
            (None, Some(_)) => {
                return Err(Refusal::invalid_argument("A marker for an id cannot be specified without a key marker"));
            }
            (Some(key), Some(id)) => Self::Entry(key, id),
            // A page may end with a common prefix, which is then the next key marker.
            (Some(key), None)
                if given(delimiter).is_some_and(|end| key.ends_with(&end)) && given(prefix) != Some(key.clone()) =>
            {
                Self::Prefix(key)
            }
            (Some(key), None) => Self::Key(key),
        })
    }

    /// The key marker and the id marker of this position.
    pub fn markers(self) -> (Option<String>, Option<String>) {
        match self {
            Self::Start => (None, None),
            Self::Entry(key, id) => (Some(key), Some(id)),
            Self::Key(key) | Self::Prefix(key) => (Some(key), None),
        }
    }
}

/// What all listings are asked for.
#[derive(Clone, Debug)]
pub struct Query {
    /// Only keys that start with this.
    pub prefix: String,
    /// Keys that contain this after the prefix are grouped up to it.
    pub delimiter: Option<String>,
    /// Where the page starts.
    pub after: Position,
    /// Most entries, common prefixes included.
    pub max: usize,
    /// Most keys without an entry that the page passes.
    pub max_passed: usize,
}

/// A page of a listing.
#[derive(Debug, PartialEq, Eq)]
pub struct Page<'a, T> {
    /// The entries with their keys.
    pub entries: Vec<(&'a str, T)>,
    /// The common prefixes.
    pub prefixes: Vec<String>,
    /// Where the next page starts, when there is one.
    pub next: Option<Position>,
}

impl<C> Bucket<C> {
    /// The newest version of each key, where it is an object.
    pub fn list_objects(&self, query: &Query) -> Page<'_, (&Version<C>, &Object<C>)> {
        fn newest<C>(versions: &[Version<C>]) -> Vec<(&Version<C>, &Object<C>)> {
            let version = versions.last();
            version.and_then(|version| Some((version, version.object.as_ref()?))).into_iter().collect()
        }
        page(&self.objects, query, newest, |(version, _)| &version.id)
    }

    /// All versions and delete markers, of each key the newest first, with whether it is the newest.
    pub fn list_versions(&self, query: &Query) -> Page<'_, (&Version<C>, bool)> {
        fn all<C>(versions: &[Version<C>]) -> Vec<(&Version<C>, bool)> {
            versions.iter().rev().enumerate().map(|(age, version)| (version, age == 0)).collect()
        }
        page(&self.objects, query, all, |(version, _)| &version.id)
    }

    /// The open uploads, of each key the oldest first.
    pub fn list_uploads(&self, query: &Query) -> Page<'_, &Upload<C>> {
        page(&self.uploads, query, |uploads| uploads.iter().collect(), |upload| &upload.id)
    }
}

impl<C: Content> Store<C> {
    /// ListBuckets: a page of the buckets whose names start with `prefix`.
    pub fn list_buckets(&self, prefix: &str, after: &Position, max: usize) -> Page<'_, &Bucket<C>> {
        let is_after = |name: &str| !matches!(after, Position::Key(after) if name <= after.as_str());
        let mut rest = self.buckets().filter(|(name, _)| name.starts_with(prefix) && is_after(name));
        let entries = rest.by_ref().take(max.min(self.rules.max_page)).map(|(name, bucket)| (name.as_str(), bucket));
        let entries: Vec<(&str, &Bucket<C>)> = entries.collect();
        let last = entries.last().filter(|_| rest.next().is_some());
        let next = last.map(|(name, _)| Position::Key((*name).to_owned()));
        Page { entries, prefixes: Vec::new(), next }
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
        Position::Key(key) if key.as_str() >= prefix => Bound::Excluded(key.clone()),
        Position::Entry(key, _) if key.as_str() >= prefix => Bound::Included(key.clone()),
        Position::Prefix(done) if done.as_str() >= prefix => past(done),
        _ => Bound::Included(prefix.to_owned()),
    };
    let mut rest = keys.range((from, Bound::Unbounded));
    let (mut last, mut passed) = (None, 0);
    while let Some((key, list)) = rest.next().filter(|(key, _)| key.starts_with(prefix)) {
        let mut entries = select(list);
        if let Position::Entry(after, after_id) = &query.after
            && after == key
            && let Some(at) = entries.iter().position(|entry| id(entry) == after_id)
        {
            entries.drain(..=at);
        }
        if entries.is_empty() {
            passed += 1;
            if passed >= query.max_passed {
                page.next = Some(Position::Key(key.clone()));
                return page;
            }
            continue;
        }
        let is_full = |page: &Page<'a, T>| page.entries.len() + page.prefixes.len() == query.max;
        if let Some(common) = common_prefix(key, prefix, query.delimiter.as_deref()) {
            if is_full(&page) {
                page.next = last;
                return page;
            }
            page.prefixes.push(common.to_owned());
            last = Some(Position::Prefix(common.to_owned()));
            // A page costs what is on it, however many keys a common prefix stands for.
            rest = keys.range((past(common), Bound::Unbounded));
            continue;
        }
        for entry in entries {
            if is_full(&page) {
                page.next = last;
                return page;
            }
            last = Some(Position::Entry(key.clone(), id(&entry).clone()));
            page.entries.push((key, entry));
        }
    }
    page
}

/// The start of the keys after all that start with `prefix`.
fn past(prefix: &str) -> Bound<String> {
    let mut next = prefix.to_owned();
    while let Some(last) = next.pop() {
        if let Some(char) = (last..=char::MAX).nth(1) {
            next.push(char);
            return Bound::Included(next);
        }
    }
    // No key is greater than one of highest characters only.
    Bound::Excluded(prefix.to_owned())
}

fn common_prefix<'k>(key: &'k str, prefix: &str, delimiter: Option<&str>) -> Option<&'k str> {
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let at = key[prefix.len()..].find(delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

/// The escaping of `encoding-type=url`: that of an HTML form, with `/` unchanged.
pub fn url_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' | b'*' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::fixture::{at, object, store};
    use super::super::{Store, Versioning, WriteCondition};
    use super::*;

    const KEYS: [&str; 9] = ["/lead", "a", "a//b", "a/b", "a/c/d", "a=2F~ü", "b", "b\u{1f600}", "b\u{ff5e}"];

    fn filled() -> Store<Vec<u8>> {
        let mut store = store(Versioning::Enabled);
        for key in KEYS {
            store.put("b", key, object(b"x"), &WriteCondition::None, at(1)).unwrap();
        }
        store
    }

    fn query(prefix: &str, delimiter: Option<&str>, max: usize) -> Query {
        let (delimiter, after) = (delimiter.map(str::to_owned), Position::Start);
        Query { prefix: prefix.to_owned(), delimiter, after, max, max_passed: usize::MAX }
    }

    /// Everything that paging gives, keys and common prefixes in the order they came.
    fn all(store: &Store<Vec<u8>>, mut query: Query) -> Vec<String> {
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
        // U+FF5E stands before U+1F600 in UTF-8, after it in UTF-16.
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
    fn url_encoding_is_that_of_s3() {
        assert_eq!(url_encode("/lead a+b=2F~\u{fc}%2F*"), "/lead+a%2Bb%3D2F%7E%C3%BC%252F*");
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
    fn delete_markers_end_a_page_before_it_is_full() {
        let mut store = filled();
        for key in KEYS.into_iter().filter(|key| *key != "/lead" && *key != "b\u{1f600}") {
            store.delete("b", key, None, false, at(2)).unwrap();
        }
        let mut query = Query { max_passed: 3, ..query("", None, 1000) };
        let mut pages = Vec::new();
        loop {
            let page = store.bucket("b").unwrap().list_objects(&query);
            pages.push(page.entries.len());
            match page.next.map(|next| Position::of_token(&next.token()).unwrap()) {
                Some(next) => query.after = next,
                None => break,
            }
        }
        assert_eq!(pages, [1, 0, 1]);
        assert_eq!(store.bucket("b").unwrap().list_versions(&query).next, None, "markers are versions");
    }

    #[test]
    fn start_after_starts_after_the_key_even_inside_a_common_prefix() {
        let store = filled();
        let after = |key: &str| Query { after: Position::Key(key.to_owned()), ..query("", Some("/"), 1000) };
        let page = store.bucket("b").unwrap().list_objects(&after("a/b")).prefixes;
        assert_eq!(page, ["a/"]);
        let query = Query { after: Position::Key("a".to_owned()), ..query("b", None, 1000) };
        assert_eq!(store.bucket("b").unwrap().list_objects(&query).entries.len(), 3);
    }

    #[test]
    fn versions_page_newest_first_and_survive_the_marker_being_deleted() {
        let mut store = store(Versioning::Enabled);
        let ids: Vec<String> = (0..3)
            .map(|second| {
                store.put("b", "k", object(b"x"), &WriteCondition::None, at(second)).unwrap().version.unwrap()
            })
            .collect();
        let marker = store.delete("b", "k", None, false, at(9)).unwrap().version.unwrap();
        let list = |store: &Store<Vec<u8>>, after: Position| {
            let query = Query { after, ..query("", None, 2) };
            let page = store.bucket("b").unwrap().list_versions(&query);
            let ids: Vec<_> = page.entries.iter().map(|(_, (version, newest))| (version.id.clone(), *newest)).collect();
            (ids, page.next)
        };
        let (first, next) = list(&store, Position::Start);
        assert_eq!(first, [(marker, true), (ids[2].clone(), false)]);
        assert_eq!(list(&store, next.clone().unwrap()).0, [(ids[1].clone(), false), (ids[0].clone(), false)]);
        store.delete("b", "k", Some(&ids[2]), false, at(10)).unwrap();
        assert_eq!(list(&store, next.unwrap()).0[1].0, ids[1]);
        assert!(store.bucket("b").unwrap().list_objects(&query("", None, 9)).entries.is_empty());
    }
}
