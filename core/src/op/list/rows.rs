//! Code that the listings share: rows without an allocation for each, and checks of a page.
//!
//! A page whose keys are not in order, or which goes back, could make a caller miss keys or loop, so it is refused.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::error::{Code, Error, Result};
use crate::mutation::{Mutation, is_active};
use crate::text::{presentable, presentable_key};
use crate::time::parse_rfc3339;
use crate::uri;

/// An entry of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row<'a, R> {
    /// A key.
    Entry(R),
    /// A common prefix: the keys with the delimiter after the prefix, up to the delimiter.
    CommonPrefix(&'a str),
}

/// The error of an invalid page.
pub(super) fn wrong(why: &str) -> Error {
    Error::new(Code::BadReply, format!("the page of the listing {why}"))
}

/// The row that is being parsed: the texts of its fields in a buffer that is reused for each row.
pub(super) struct Fields<const N: usize> {
    names: [&'static str; N],
    text: String,
    at: [Option<(usize, usize)>; N],
}

impl<const N: usize> Fields<N> {
    pub(super) fn new(names: [&'static str; N]) -> Fields<N> {
        Fields { names, text: String::new(), at: [None; N] }
    }

    /// Stores an element of the row; elements that are not among the fields are ignored.
    pub(super) fn take(&mut self, name: &str, text: &str) {
        let Some(field) = self.names.iter().position(|field| *field == name) else { return };
        let start = self.text.len();
        self.text.push_str(text);
        self.at[field] = Some((start, self.text.len()));
    }

    /// The text of a field; empty if the row does not have it.
    pub(super) fn get(&self, field: usize) -> &str {
        self.at[field].map_or("", |(start, end)| &self.text[start..end])
    }

    /// The text of a field; `None` if it is missing or empty.
    pub(super) fn given(&self, field: usize) -> Option<&str> {
        Some(self.get(field)).filter(|text| !text.is_empty())
    }

    /// A field that every row must have.
    pub(super) fn required(&self, field: usize, name: &str) -> Result<&str> {
        self.given(field).ok_or_else(|| wrong(&format!("has a row without {name}")))
    }

    /// A number that every row must have.
    pub(super) fn number(&self, field: usize, name: &str) -> Result<u64> {
        let text = self.get(field);
        text.parse().map_err(|_| wrong(&format!("has a row whose {name} is '{}'", presentable(text))))
    }

    /// A time in Unix milliseconds; `None` if it is not a valid time.
    pub(super) fn time(&self, field: usize) -> Option<i64> {
        parse_rfc3339(self.given(field)?)
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.at = [None; N];
    }
}

/// The fields of a page besides its rows.
pub(super) struct Head {
    /// Whether keys are encoded. Some stores say so after the keys, so it is searched before the page is parsed.
    encoded: bool,
    said_encoded: bool,
    /// Whether another page follows, if the page says so.
    truncated: Option<bool>,
    decoded: Vec<u8>,
}

impl Head {
    pub(super) fn new(body: &[u8]) -> Head {
        let encoded = memchr::memmem::find(body, b"<EncodingType>url<").is_some();
        Head { encoded, said_encoded: false, truncated: None, decoded: Vec::new() }
    }

    /// Stores an element of the page.
    pub(super) fn take(&mut self, name: &str, text: &str) -> Result<()> {
        match name {
            "IsTruncated" => self.truncated = Some(truncated(text)?),
            "EncodingType" => self.said_encoded = text == "url",
            _ => {}
        }
        Ok(())
    }

    /// Decodes a key, a prefix or a marker.
    pub(super) fn decode<'a>(&'a mut self, text: &'a str) -> Result<&'a str> {
        if !self.encoded || !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
            return Ok(text);
        }
        self.decoded.clear();
        uri::decode_into(&mut self.decoded, text)
            .and_then(|()| std::str::from_utf8(&self.decoded).ok())
            .ok_or_else(|| wrong("has a key that is not URL-encoded UTF-8"))
    }

    /// The key marker of the next page. Some stores encode the keys but not the marker, which is then the plain last key.
    pub(super) fn marker(&mut self, text: String, last: &str) -> Result<String> {
        if text == last { Ok(text) } else { self.decode(&text).map(str::to_owned) }
    }

    /// Checks the page after its last element, and returns whether there is another page. `marked`: the page has a marker
    /// for the next one.
    pub(super) fn end(&self, marked: bool) -> Result<bool> {
        if self.encoded != self.said_encoded {
            return Err(wrong("does not say how its keys are encoded"));
        }
        match self.truncated {
            None if marked => Err(wrong("has a marker for the next page, but does not say whether there is one")),
            truncated => Ok(truncated.unwrap_or(false)),
        }
    }
}

/// Checks that names are in order, or at least after those of the previous page.
pub(super) struct Order<'a> {
    prefix: &'a str,
    /// The last name of the previous page.
    after: Option<&'a str>,
    /// Whether this page may start with the same name.
    again: bool,
    /// Whether the names in a page may be in any order.
    in_any_order: bool,
    last: String,
}

impl<'a> Order<'a> {
    pub(super) fn new(prefix: &'a str, after: Option<&'a str>, again: bool) -> Order<'a> {
        Order { prefix, after, again, in_any_order: false, last: String::new() }
    }

    /// A check for pages whose names are in any order.
    pub(super) fn in_any_order(self) -> Order<'a> {
        Order { in_any_order: true, ..self }
    }

    /// The greatest name so far.
    pub(super) fn last(&self) -> &str {
        &self.last
    }

    pub(super) fn key(&mut self, key: &str) -> Result<()> {
        let is_after = self.after.is_none_or(|after| key > after || self.again && key == after);
        self.next(key, is_after)
    }

    /// Checks a common prefix; a page may start in the middle of one.
    pub(super) fn common_prefix(&mut self, prefix: &str) -> Result<()> {
        let is_after = self.after.is_none_or(|after| prefix > after || after.starts_with(prefix));
        self.next(prefix, is_after)
    }

    fn next(&mut self, name: &str, is_after: bool) -> Result<()> {
        if let Some(last) = self.after.filter(|_| !is_after).or(Some(&*self.last).filter(|last| name < *last))
            && !self.in_any_order
            && name.starts_with(self.prefix)
            && is_folder_order(last, name)
        {
            return Err(folders(last, name));
        }
        if !is_after {
            return Err(wrong("starts before the end of the previous page: the listing would never end"));
        }
        let is_greatest = name >= &*self.last;
        if !name.starts_with(self.prefix) || !is_greatest && !self.in_any_order {
            return Err(wrong(
                "is not in the order of its keys, or has keys with another prefix, as in directory buckets, which cannot hold a vault",
            ));
        }
        if is_greatest {
            self.last.clear();
            self.last.push_str(name);
        }
        Ok(())
    }
}

/// Whether a key is after another in the order of folders, which has all keys of `vm/` before those of `vm-2/`: `/` counts
/// less than any other character.
fn is_folder_order(before: &str, after: &str) -> bool {
    let rank = |byte: u8| if byte == b'/' { 0 } else { u16::from(byte) + 1 };
    before.bytes().map(rank).lt(after.bytes().map(rank))
}

/// The error of a page in the order of folders.
fn folders(before: &str, after: &str) -> Error {
    let (before, after) = (presentable_key(before), presentable_key(after));
    wrong(&format!(
        "is in the order of folders: '{before}' comes before '{after}', but S3 lists keys in the order of their bytes"
    ))
    .with_hint("List the versions of one backup: they, get and put work with this store. Lists of all backups need a store that lists keys as S3 does.")
}

/// Maximum number of pages without a row in succession. A store that passes over many deleted objects answers with empty
/// pages, for each about a thousand of them.
const EMPTY_PAGES: usize = 10_000;

/// The empty pages in succession before a page: hashes of the tokens or markers that they named, to notice one that
/// occurs again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmptyPages(Vec<u64>);

impl EmptyPages {
    /// Refuses another empty page that names this token if the listing would never end.
    pub(in crate::op) fn check(&self, token: impl Hash) -> Result<()> {
        if self.0.contains(&hash(token)) {
            return Err(endless());
        }
        if self.0.len() + 1 >= EMPTY_PAGES {
            return Err(wrong(&format!(
                "is empty, like those before it: {EMPTY_PAGES} pages in succession have no row"
            )));
        }
        Ok(())
    }

    /// With another empty page that names this token.
    pub(in crate::op) fn and(mut self, token: impl Hash) -> EmptyPages {
        self.0.push(hash(token));
        self
    }

    /// The empty pages before the page that this token requests, after a page that was empty or not.
    pub(in crate::op) fn after(&self, is_empty: bool, token: impl Hash) -> EmptyPages {
        if is_empty { self.clone().and(token) } else { EmptyPages::default() }
    }
}

fn hash(token: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    token.hash(&mut hasher);
    hasher.finish()
}

/// Refuses a marker that would repeat the page. Nothing else is known about markers: MinIO's contain more than a key, and
/// versitygw's is the next key, not the last.
pub(super) fn check_advances(next: (&str, &str), asked: Option<(&str, &str)>, last: &str) -> Result<()> {
    if asked == Some(next) || next.0 < last { Err(endless()) } else { Ok(()) }
}

/// The error of a page whose next page would be an earlier one.
pub(super) fn endless() -> Error {
    wrong("is followed by an earlier page: the listing would never end")
}

/// The error of a truncated page without a marker.
pub(super) fn no_marker() -> Error {
    wrong("is truncated, but has no marker for the next page")
}

/// Whether a page is truncated. A listing that ended too early would hide backups, so nothing is guessed.
fn truncated(text: &str) -> Result<bool> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ if is_active(Mutation::EndAtOtherTruncated) => Ok(false),
        _ => Err(wrong(&format!("says that it is truncated with '{}' (true or false expected)", presentable(text)))),
    }
}

/// Parses a boolean.
pub(super) fn is_true(text: &str) -> bool {
    text == "true"
}
