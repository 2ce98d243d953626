//! What the listings have in common: rows without an allocation for each, and what no page may do.
//!
//! A page that breaks the order of its keys, or goes back, would make a caller miss keys or never end, so it is refused.

use crate::error::{Code, Error, Result};
use crate::time::parse_rfc3339;
use crate::uri;

/// What a listing shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row<'a, R> {
    /// One entry.
    Entry(R),
    /// Keys that have the delimiter behind the prefix, as one: up to the delimiter.
    CommonPrefix(&'a str),
}

/// The error of a page.
pub(super) fn wrong(why: &str) -> Error {
    Error::new(Code::BadReply, format!("the page of the listing {why}"))
}

/// The row that is being read: the text of its fields one after the other in a buffer that each row uses again.
pub(super) struct Fields<const N: usize> {
    names: [&'static str; N],
    text: String,
    at: [Option<(usize, usize)>; N],
}

impl<const N: usize> Fields<N> {
    pub(super) fn new(names: [&'static str; N]) -> Fields<N> {
        Fields { names, text: String::new(), at: [None; N] }
    }

    /// Takes an element of the row; one that is none of its fields is nothing to the engine.
    pub(super) fn take(&mut self, name: &str, text: &str) {
        let Some(field) = self.names.iter().position(|field| *field == name) else { return };
        let begin = self.text.len();
        self.text.push_str(text);
        self.at[field] = Some((begin, self.text.len()));
    }

    /// Empty where the row has none.
    pub(super) fn get(&self, field: usize) -> &str {
        self.at[field].map_or("", |(begin, end)| &self.text[begin..end])
    }

    /// `None` for an empty one too.
    pub(super) fn given(&self, field: usize) -> Option<&str> {
        Some(self.get(field)).filter(|text| !text.is_empty())
    }

    /// A field that each row has.
    pub(super) fn required(&self, field: usize, name: &str) -> Result<&str> {
        self.given(field).ok_or_else(|| wrong(&format!("has a row without {name}")))
    }

    /// A number that each row has.
    pub(super) fn number(&self, field: usize, name: &str) -> Result<u64> {
        let text = self.get(field);
        text.parse().map_err(|_| wrong(&format!("has a row whose {name} is '{}'", text.escape_debug())))
    }

    /// Unix milliseconds; `None` for what is no time.
    pub(super) fn time(&self, field: usize) -> Option<i64> {
        parse_rfc3339(self.given(field)?)
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.at = [None; N];
    }
}

/// What a page says of itself beside its rows.
pub(super) struct Head {
    /// Whether keys are encoded. Some stores say so behind them, so it is looked for before the page is read.
    encoded: bool,
    said_encoded: bool,
    truncated: bool,
    decoded: Vec<u8>,
}

impl Head {
    pub(super) fn new(body: &[u8]) -> Head {
        let encoded = memchr::memmem::find(body, b"<EncodingType>url<").is_some();
        Head { encoded, said_encoded: false, truncated: false, decoded: Vec::new() }
    }

    /// Takes an element that stands beside the rows.
    pub(super) fn take(&mut self, name: &str, text: &str) {
        match name {
            "IsTruncated" => self.truncated = is_true(text),
            "EncodingType" => self.said_encoded = text == "url",
            _ => {}
        }
    }

    /// A key, a prefix or a marker as it is.
    pub(super) fn decode<'a>(&'a mut self, text: &'a str) -> Result<&'a str> {
        if !self.encoded || !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
            return Ok(text);
        }
        self.decoded.clear();
        uri::decode_into(&mut self.decoded, text)
            .and_then(|()| std::str::from_utf8(&self.decoded).ok())
            .ok_or_else(|| wrong("has a key that is not URL-encoded UTF-8"))
    }

    /// The key marker of the next page. A store that encodes its keys and not its marker shows the last key as it is.
    pub(super) fn marker(&mut self, text: String, last: &str) -> Result<String> {
        if text == last { Ok(text) } else { self.decode(&text).map(str::to_owned) }
    }

    /// After the last element: whether more follows.
    pub(super) fn end(&self) -> Result<bool> {
        if self.encoded == self.said_encoded {
            Ok(self.truncated)
        } else {
            Err(wrong("does not say how it is encoded"))
        }
    }
}

/// Watches over names that come in order, or at least behind those of the page before.
pub(super) struct Order<'a> {
    prefix: &'a str,
    /// Where the page before ended.
    after: Option<&'a str>,
    /// Whether this one may begin there too.
    again: bool,
    /// Whether names may come in any order within the page.
    in_any_order: bool,
    last: String,
}

impl<'a> Order<'a> {
    pub(super) fn new(prefix: &'a str, after: Option<&'a str>, again: bool) -> Order<'a> {
        Order { prefix, after, again, in_any_order: false, last: String::new() }
    }

    /// The same for pages whose names stand in any order.
    pub(super) fn in_any_order(self) -> Order<'a> {
        Order { in_any_order: true, ..self }
    }

    /// The greatest name that came.
    pub(super) fn last(&self) -> &str {
        &self.last
    }

    pub(super) fn key(&mut self, key: &str) -> Result<()> {
        let is_behind = self.after.is_none_or(|after| key > after || self.again && key == after);
        self.next(key, is_behind)
    }

    /// A page may begin in the middle of a common prefix.
    pub(super) fn common_prefix(&mut self, prefix: &str) -> Result<()> {
        let is_behind = self.after.is_none_or(|after| prefix > after || after.starts_with(prefix));
        self.next(prefix, is_behind)
    }

    fn next(&mut self, name: &str, is_behind: bool) -> Result<()> {
        if !is_behind {
            return Err(wrong("begins where the page before has been: the listing would never end"));
        }
        let is_greatest = name >= &*self.last;
        if !name.starts_with(self.prefix) || !is_greatest && !self.in_any_order {
            return Err(wrong(
                "is not in the order of keys, or has keys of another prefix; directory buckets list so, and a vault cannot live in one",
            ));
        }
        if is_greatest {
            self.last.clear();
            self.last.push_str(name);
        }
        Ok(())
    }
}

/// Refuses a marker from which the listing would not go on. Nothing else is known of it: MinIO's has more than a key in
/// it, versitygw's is the next key in place of the last.
pub(super) fn goes_on(next: (&str, &str), asked: Option<(&str, &str)>, last: &str) -> Result<()> {
    if asked == Some(next) || next.0 < last { Err(endless()) } else { Ok(()) }
}

/// That the next page would be one that has been.
pub(super) fn endless() -> Error {
    wrong("goes on where it has been: the listing would never end")
}

/// That more follows, but not where.
pub(super) fn no_marker() -> Error {
    wrong("says that more follows, but not where")
}

/// `true` on the wire.
pub(super) fn is_true(text: &str) -> bool {
    text == "true"
}
