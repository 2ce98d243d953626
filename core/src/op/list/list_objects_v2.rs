//! ListObjectsV2: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>

use crate::error::{Code, Error, Result};
use crate::http::{Method, ReplyBody};
use crate::op::{Operation, Reply, Unsigned};
use crate::uri;
use crate::xml::{self, Item};

/// Largest page: 1,000 rows with keys of 1,024 bytes, each byte encoded, and what stands around them.
const PAGE_LIMIT: usize = 8 << 20;

/// Lists the keys of a bucket, in their order.
#[derive(Clone, Debug, Default)]
pub struct ListObjectsV2 {
    /// Only keys that begin with it.
    pub prefix: String,
    /// Keys that have it behind the prefix are shown as one common prefix.
    pub delimiter: Option<&'static str>,
    /// Keys up to this one are left out. For the first page.
    pub start_after: Option<String>,
    /// From the page before.
    pub token: Option<String>,
    /// Largest page; the store's own limit, mostly 1,000, where there is none.
    pub max_keys: Option<u32>,
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In their order.
    pub keys: Vec<String>,
    /// Each up to its delimiter, in their order.
    pub common_prefixes: Vec<String>,
    /// For the next page; `None` on the last.
    pub next: Option<String>,
}

impl Operation for ListObjectsV2 {
    type Reply = Listing;
    const NAME: &'static str = "ListObjectsV2";
    const ACTION: &'static str = "s3:ListBucket";

    fn request(&self) -> Unsigned {
        // Without the encoding a key that XML cannot hold would break the whole page.
        let mut request = Unsigned::bucket(Method::Get).query("list-type", "2").query("encoding-type", "url");
        request = request.query("prefix", &*self.prefix);
        if let Some(delimiter) = self.delimiter {
            request = request.query("delimiter", delimiter);
        }
        if let Some(key) = &self.start_after {
            request = request.query("start-after", &**key);
        }
        if let Some(token) = &self.token {
            request = request.query("continuation-token", &**token);
        }
        if let Some(count) = self.max_keys {
            request = request.query("max-keys", count.to_string());
        }
        request.reply = ReplyBody::Collect { limit: PAGE_LIMIT };
        request
    }

    fn parse(&self, reply: &Reply<'_>) -> Result<Listing> {
        let wrong = |why: &str| Error::new(Code::BadReply, format!("the page of the listing {why}"));
        let mut page = Listing::default();
        let (mut truncated, mut encoded) = (false, false);
        xml::read(reply.body, "ListBucketResult", |item| {
            match item {
                Item::Value("Contents", "Key", key) => page.keys.push(key.to_owned()),
                Item::Value("CommonPrefixes", "Prefix", prefix) => page.common_prefixes.push(prefix.to_owned()),
                Item::Value(_, "IsTruncated", text) => truncated = text == "true",
                Item::Value(_, "EncodingType", text) => encoded = text == "url",
                Item::Value("ListBucketResult", "NextContinuationToken", text) => page.next = Some(text.to_owned()),
                _ => {}
            }
            Ok(())
        })?;
        if encoded {
            for key in page.keys.iter_mut().chain(&mut page.common_prefixes) {
                *key = uri::decode(key).ok_or_else(|| wrong("has a key that is not URL-encoded UTF-8"))?;
            }
        }
        if !truncated {
            page.next = None;
        } else if page.next.is_none() {
            return Err(wrong("says that more follows, but not where"));
        }
        let sorted = page.keys.is_sorted() && page.common_prefixes.is_sorted();
        let inside = page.keys.iter().chain(&page.common_prefixes).all(|key| key.starts_with(&self.prefix));
        if !sorted || !inside {
            return Err(wrong(
                "is not in the order of keys, or has keys of another prefix; directory buckets list so, and a vault cannot live in one",
            ));
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::ReplyHead;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn parse(inner: &str) -> Result<Listing> {
        let xml =
            format!("<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</ListBucketResult>");
        let op = ListObjectsV2 { prefix: "p/".into(), ..Default::default() };
        op.parse(&Reply { head: &ReplyHead::default(), body: xml.as_bytes(), range: None })
    }

    #[test]
    fn a_page_is_read() {
        let page = parse(
            "<Name>b</Name><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
             <Contents><Key>p/a%20b</Key><Size>1</Size></Contents><Contents><Key>p/c+d</Key></Contents>\
             <CommonPrefixes><Prefix>p/x/</Prefix></CommonPrefixes><NextContinuationToken>t&amp;1</NextContinuationToken>",
        );
        let expected = Listing {
            keys: vec!["p/a b".into(), "p/c d".into()],
            common_prefixes: vec!["p/x/".into()],
            next: Some("t&1".into()),
        };
        assert_eq!(page.unwrap(), expected);
        assert_eq!(
            parse("<Contents><Key>p/a%20b</Key></Contents>").unwrap().keys,
            ["p/a%20b"],
            "not said to be encoded"
        );
    }

    #[test]
    fn a_page_that_would_mislead_is_refused() {
        for bad in [
            "<IsTruncated>true</IsTruncated>",
            "<Contents><Key>p/b</Key></Contents><Contents><Key>p/a</Key></Contents>",
            "<Contents><Key>q</Key></Contents>",
            "<EncodingType>url</EncodingType><Contents><Key>p/%FF</Key></Contents>",
        ] {
            assert_eq!(parse(bad).unwrap_err().code(), Code::BadReply, "{bad}");
        }
    }
}
