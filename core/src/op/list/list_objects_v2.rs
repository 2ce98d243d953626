//! ListObjectsV2: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>

use super::rows::{EmptyPages, Fields, Head, Order, Row, endless, no_marker};
use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Paged, Reply, Unsigned};
use crate::xml::{self, Item};

/// Lists the objects of a bucket in the order of their keys.
#[derive(Clone, Debug, Default)]
pub struct ListObjectsV2 {
    /// Prefix of the keys to list.
    pub prefix: String,
    /// Keys with this delimiter after the prefix are listed as one common prefix.
    pub delimiter: Option<&'static str>,
    /// Keys up to this one are not listed. It is sent for the first page; in later pages, such keys are refused.
    pub start_after: Option<String>,
    /// Continuation token of the previous page.
    pub token: Option<String>,
    /// Most rows per page; `None`: the store's limit, usually 1,000.
    pub max_keys: Option<u32>,
    /// The empty pages before this one: leave the default.
    pub empty: EmptyPages,
}

/// An object in the list, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectRow<'a> {
    /// Key of the object.
    pub key: &'a str,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in Unix milliseconds.
    pub last_modified_ms: Option<i64>,
    /// ETag with its quotes; empty if the store does not return it.
    pub etag: &'a str,
    /// Storage class; `None` if the store does not return it.
    pub storage_class: Option<&'a str>,
}

/// An object in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedObject {
    /// Key of the object.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in Unix milliseconds.
    pub last_modified_ms: Option<i64>,
    /// ETag with its quotes; empty if the store does not return it.
    pub etag: String,
    /// Storage class; `None` if the store does not return it.
    pub storage_class: Option<String>,
}

/// One page of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The objects in the order of their keys.
    pub objects: Vec<ListedObject>,
    /// Common prefixes, each up to its delimiter, in order.
    pub common_prefixes: Vec<String>,
    /// Marker of the next page; `None` on the last.
    pub next: Option<String>,
}

impl Listing {
    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.objects.iter().map(|object| &*object.key)
    }
}

impl From<ObjectRow<'_>> for ListedObject {
    fn from(row: ObjectRow<'_>) -> ListedObject {
        let ObjectRow { key, size, last_modified_ms, etag, storage_class } = row;
        let storage_class = storage_class.map(str::to_owned);
        ListedObject { key: key.to_owned(), size, last_modified_ms, etag: etag.to_owned(), storage_class }
    }
}

const ROOT: &str = "ListBucketResult";
const FIELDS: [&str; 5] = ["Key", "Size", "LastModified", "ETag", "StorageClass"];

impl ListObjectsV2 {
    /// Visits the rows of a page in order, and keeps none of them. Returns the token of the next page; `None` on the last.
    ///
    /// The rows are valid only if the result is `Ok`: a page may turn out to be truncated at its end.
    pub fn each_row(
        &self,
        body: &[u8],
        mut each: impl FnMut(Row<'_, ObjectRow<'_>>) -> Result<()>,
    ) -> Result<Option<String>> {
        let mut head = Head::new(body);
        let mut fields = Fields::new(FIELDS);
        let mut keys = Order::new(&self.prefix, self.start_after.as_deref(), false);
        let mut prefixes = Order::new(&self.prefix, self.start_after.as_deref(), false);
        let (mut next, mut is_empty) = (None, true);
        xml::read(body, ROOT, |item| {
            match item {
                Item::Value("Contents", "Key", text) => fields.take("Key", head.decode(text)?),
                Item::Value("Contents", name, text) => fields.take(name, text),
                Item::End("Contents") | Item::Value(ROOT, "Contents", _) => {
                    let row = ObjectRow {
                        key: fields.required(0, "a key")?,
                        size: fields.number(1, "size")?,
                        last_modified_ms: fields.time(2),
                        etag: fields.get(3),
                        storage_class: fields.given(4),
                    };
                    keys.key(row.key)?;
                    is_empty = false;
                    each(Row::Entry(row))?;
                    fields.clear();
                }
                Item::Value("CommonPrefixes", "Prefix", text) => {
                    let prefix = head.decode(text)?;
                    prefixes.common_prefix(prefix)?;
                    is_empty = false;
                    each(Row::CommonPrefix(prefix))?;
                }
                Item::Value(ROOT, "NextContinuationToken", text) => next = Some(text.to_owned()),
                Item::Value(ROOT, name, text) => head.take(name, text)?,
                _ => {}
            }
            Ok(())
        })?;
        if !head.end(next.as_ref().is_some_and(|token| !token.is_empty()))? {
            return Ok(None);
        }
        let next = next.filter(|token| !token.is_empty()).ok_or_else(no_marker)?;
        if self.token.as_ref() == Some(&next) {
            return Err(endless());
        }
        if is_empty {
            self.empty.check(&next)?;
        }
        Ok(Some(next))
    }
}

impl Operation for ListObjectsV2 {
    type Reply = Listing;
    const NAME: &'static str = "ListObjectsV2";
    const ACTION: &'static str = "s3:ListBucket";

    fn request(&self) -> Unsigned {
        let mut request =
            Unsigned::bucket(Method::Get).query("list-type", "2").encoded().keys(&self.prefix, self.delimiter);
        match (&self.token, &self.start_after) {
            (Some(token), _) => request = request.query("continuation-token", &**token),
            (None, Some(key)) => request = request.query("start-after", &**key),
            (None, None) => {}
        }
        request.page("max-keys", self.max_keys)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<Listing> {
        let mut page = Listing::default();
        page.next = self.each_row(&reply.body, |row| {
            match row {
                Row::Entry(row) => page.objects.push(row.into()),
                Row::CommonPrefix(prefix) => page.common_prefixes.push(prefix.to_owned()),
            }
            Ok(())
        })?;
        Ok(page)
    }
}

impl Paged for ListObjectsV2 {
    fn next(&self, page: &Listing) -> Option<Self> {
        let last = page.objects.last().map(|object| &object.key).max(page.common_prefixes.last());
        let start_after = last.or(self.start_after.as_ref()).cloned();
        let token = page.next.clone()?;
        let is_empty = page.objects.is_empty() && page.common_prefixes.is_empty();
        let empty = self.empty.after(is_empty, &token);
        Some(ListObjectsV2 { token: Some(token), start_after, empty, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::op::testing::{answer, empty_pages_end, refused, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn document(inner: &str) -> String {
        format!("<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</ListBucketResult>")
    }

    fn row(key: &str) -> String {
        format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>")
    }

    fn op(prefix: &str) -> ListObjectsV2 {
        ListObjectsV2 { prefix: prefix.into(), ..Default::default() }
    }

    #[test]
    fn the_documented_examples() {
        assert_eq!(sent(&op("")), "GET /?encoding-type=url&list-type=2&prefix=\n");
        let xml = document(
            "<Name>bucket</Name><Prefix/><KeyCount>205</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>\
             <Contents><Key>my-image.jpg</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified>\
             <ETag>\"fba9dede5f27731c9771645a39863328\"</ETag><Size>434234</Size><StorageClass>STANDARD</StorageClass>\
             </Contents>",
        );
        let object = ListedObject {
            key: "my-image.jpg".into(),
            size: 434_234,
            last_modified_ms: Some(1_255_369_830_000),
            etag: "\"fba9dede5f27731c9771645a39863328\"".into(),
            storage_class: Some("STANDARD".into()),
        };
        assert_eq!(answer(&op(""), &[], &xml), Ok(Listing { objects: vec![object], ..Default::default() }));

        let first = ListObjectsV2 {
            prefix: "E".into(),
            max_keys: Some(3),
            start_after: Some("ExampleGuide.pdf".into()),
            ..op("")
        };
        let query = "encoding-type=url&list-type=2&max-keys=3&prefix=E&start-after=ExampleGuide.pdf";
        assert_eq!(sent(&first), format!("GET /?{query}\n"));
        let xml = document(
            "<Name>amzn-s3-demo-bucket</Name><Prefix>E</Prefix><StartAfter>ExampleGuide.pdf</StartAfter><KeyCount>1</KeyCount>\
             <MaxKeys>3</MaxKeys><IsTruncated>false</IsTruncated><Contents><Key>ExampleObject.txt</Key>\
             <LastModified>2013-09-17T18:07:53.000Z</LastModified><ETag>\"599bab3ed2c697f1d26842727561fd94\"</ETag>\
             <Size>857</Size><StorageClass>REDUCED_REDUNDANCY</StorageClass></Contents>",
        );
        assert_eq!(answer(&first, &[], &xml).unwrap().keys().collect::<Vec<_>>(), ["ExampleObject.txt"]);

        let page = ListObjectsV2 { token: Some("1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=".into()), ..op("") };
        let token = "continuation-token=1ueGcxLPRx1Tr%2FXYExHnhbYLgveDs2J%2Fwm36Hy4vbOwM%3D";
        assert_eq!(sent(&page), format!("GET /?{token}&encoding-type=url&list-type=2&prefix=\n"));
    }

    #[test]
    fn a_listing_of_empty_pages_ends() {
        empty_pages_end(&op("p/"), &row("p/a"), |n, rows| {
            document(&format!(
                "<IsTruncated>true</IsTruncated>{rows}<NextContinuationToken>{n}</NextContinuationToken>"
            ))
        });
    }

    #[test]
    fn a_page_is_parsed_and_the_next_one_requested() {
        let first = ListObjectsV2 { delimiter: Some("/"), ..op("p/") };
        let xml = document(
            "<Name>b</Name><IsTruncated>true</IsTruncated><Contents><Key>p/a%20b</Key><Size>1</Size></Contents>\
             <Contents><Size>2</Size><Key>p/c+d</Key></Contents><CommonPrefixes><Prefix>p/x%2Fy/</Prefix></CommonPrefixes>\
             <EncodingType>url</EncodingType><NextContinuationToken>t&amp;1</NextContinuationToken>",
        );
        let page = answer(&first, &[], &xml).unwrap();
        assert_eq!(page.keys().collect::<Vec<_>>(), ["p/a b", "p/c d"]);
        assert_eq!((&*page.common_prefixes, page.next.as_deref()), (&["p/x/y/".to_owned()][..], Some("t&1")));
        let second = first.next(&page).unwrap();
        assert_eq!(
            sent(&second),
            "GET /?continuation-token=t%261&delimiter=%2F&encoding-type=url&list-type=2&prefix=p%2F\n"
        );
        assert_eq!(answer(&first, &[], &document(&row("p/a%20b"))).unwrap().objects[0].key, "p/a%20b", "not encoded");

        assert_eq!(refused(&second, &[], &xml), Some(Code::BadReply), "the same page again");
        assert_eq!(refused(&second, &[], &document(&row("p/x/y/"))), Some(Code::BadReply), "where the last one ended");
        assert!(answer(&second, &[], &document(&row("p/y"))).is_ok());
        let again = "<IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken>";
        assert_eq!(refused(&second, &[], &document(again)), Some(Code::BadReply), "the same token again");
    }

    #[test]
    fn a_page_that_would_skip_or_repeat_keys_is_refused() {
        for bad in [
            "<IsTruncated>true</IsTruncated>".to_owned(),
            "<IsTruncated>true</IsTruncated><NextContinuationToken/>".into(),
            "<IsTruncated>True</IsTruncated><NextContinuationToken>t</NextContinuationToken>".into(),
            "<IsTruncated>1</IsTruncated>".into(),
            "<IsTruncated/>".into(),
            "<NextContinuationToken>t</NextContinuationToken>".into(),
            row("p/b") + &row("p/a"),
            row("q"),
            format!("<EncodingType>url</EncodingType>{}", row("p/%FF")),
            "<Contents><Key>p/a</Key></Contents>".into(),
            "<Contents><Key>p/a</Key><Size>-1</Size></Contents>".into(),
            "<Contents><Size>1</Size></Contents>".into(),
            "<Contents/>".into(),
            "<CommonPrefixes><Prefix>q/</Prefix></CommonPrefixes>".into(),
            "<!--<EncodingType>url</EncodingType>-->".into(),
        ] {
            assert_eq!(refused(&op("p/"), &[], &document(&bad)), Some(Code::BadReply), "{bad}");
        }
    }

    #[test]
    fn a_page_may_start_in_the_middle_of_a_common_prefix() {
        let op = ListObjectsV2 { start_after: Some("p/x/5".into()), ..op("p/") };
        let prefix = |name: &str| document(&format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"));
        assert!(answer(&op, &[], &prefix("p/x/")).is_ok());
        assert_eq!(refused(&op, &[], &prefix("p/w/")), Some(Code::BadReply));
    }
}
