//! ListParts: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html>

use super::rows::{EmptyPages, Fields, Head, endless, no_marker, wrong};
use crate::error::Result;
use crate::http::Method;
use crate::op::{Encryption, Operation, Paged, Reply, Unsigned};
use crate::xml::{self, Item};

/// Lists the stored parts of an upload, in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub struct ListParts {
    /// The object's key.
    pub key: String,
    /// Upload id, as CreateMultipartUpload returned it.
    pub upload_id: String,
    /// Number of the last part of the previous page; 0: the first page.
    pub marker: u32,
    /// Most parts per page; `None`: the store's limit, usually 1,000.
    pub max_parts: Option<u32>,
    /// How the upload is encrypted: only the key of SSE-C is sent, which S3 needs for the parts' checksums.
    pub encryption: Encryption,
    /// The empty pages before this one: leave the default.
    pub empty: EmptyPages,
}

/// A part in the list, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRow<'a> {
    /// Number of the part, from 1.
    pub number: u32,
    /// Size in bytes.
    pub size: u64,
    /// ETag, as UploadPart returned it.
    pub etag: &'a str,
    /// Modification time in Unix milliseconds.
    pub last_modified_ms: Option<i64>,
    /// CRC64NVME in base64; `None` if the store does not return it.
    pub crc64nvme: Option<&'a str>,
}

/// A part in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedPart {
    /// Number of the part, from 1.
    pub number: u32,
    /// Size in bytes.
    pub size: u64,
    /// ETag, as UploadPart returned it.
    pub etag: String,
    /// Modification time in Unix milliseconds.
    pub last_modified_ms: Option<i64>,
    /// CRC64NVME in base64; `None` if the store does not return it.
    pub crc64nvme: Option<String>,
}

/// One page of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartListing {
    /// The parts in the order of their numbers.
    pub parts: Vec<ListedPart>,
    /// Marker of the next page; `None` on the last.
    pub next: Option<u32>,
}

impl From<PartRow<'_>> for ListedPart {
    fn from(row: PartRow<'_>) -> ListedPart {
        let PartRow { number, size, etag, last_modified_ms, crc64nvme } = row;
        ListedPart { number, size, etag: etag.to_owned(), last_modified_ms, crc64nvme: crc64nvme.map(str::to_owned) }
    }
}

const ROOT: &str = "ListPartsResult";
const FIELDS: [&str; 5] = ["PartNumber", "Size", "ETag", "LastModified", "ChecksumCRC64NVME"];

impl ListParts {
    /// Visits the rows of a page in order, and keeps none of them. Returns the marker of the next page; `None` on the last.
    ///
    /// The rows are valid only if the result is `Ok`: a page may turn out to be truncated at its end.
    pub fn each_row(&self, body: &[u8], mut each: impl FnMut(PartRow<'_>) -> Result<()>) -> Result<Option<u32>> {
        let mut head = Head::new(body);
        let mut fields = Fields::new(FIELDS);
        let (mut last, mut next) = (self.marker, None);
        xml::read(body, ROOT, |item| {
            match item {
                Item::Value("Part", name, text) => fields.take(name, text),
                Item::End("Part") | Item::Value(ROOT, "Part", _) => {
                    let number = fields.number(0, "number")?;
                    let row = PartRow {
                        number: u32::try_from(number).map_err(|_| wrong(&format!("has a part {number}")))?,
                        size: fields.number(1, "size")?,
                        etag: fields.required(2, "an ETag")?,
                        last_modified_ms: fields.time(3),
                        crc64nvme: fields.given(4),
                    };
                    if row.number <= last {
                        return Err(wrong(&format!("has part {} after part {last}", row.number)));
                    }
                    last = row.number;
                    each(row)?;
                    fields.clear();
                }
                Item::Value(ROOT, "NextPartNumberMarker", text) => next = text.parse().ok(),
                Item::Value(ROOT, name, text) => head.take(name, text)?,
                _ => {}
            }
            Ok(())
        })?;
        if !head.end(next.is_some_and(|number| number > 0))? {
            return Ok(None);
        }
        match next.ok_or_else(no_marker)? {
            next if next <= self.marker || next < last => Err(endless()),
            next => {
                if last == self.marker {
                    self.empty.check(next)?;
                }
                Ok(Some(next))
            }
        }
    }
}

impl Operation for ListParts {
    type Reply = PartListing;
    const NAME: &'static str = "ListParts";
    const ACTION: &'static str = "s3:ListMultipartUploadParts";

    fn request(&self) -> Unsigned {
        let mut request = Unsigned::object(Method::Get, &self.key).query("uploadId", &*self.upload_id);
        if self.marker > 0 {
            request = request.query("part-number-marker", self.marker.to_string());
        }
        self.encryption.access(request.page("max-parts", self.max_parts))
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<PartListing> {
        let mut page = PartListing::default();
        page.next = self.each_row(&reply.body, |row| {
            page.parts.push(row.into());
            Ok(())
        })?;
        Ok(page)
    }
}

impl Paged for ListParts {
    fn next(&self, page: &PartListing) -> Option<Self> {
        let marker = page.next?;
        let empty = self.empty.after(page.parts.is_empty(), marker);
        Some(ListParts { marker, empty, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::op::testing::{answer, follow, refused, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn document(inner: &str) -> String {
        format!("<ListPartsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</ListPartsResult>")
    }

    #[test]
    fn the_documented_example() {
        let id = "XXBsb2FkIElEIGZvciBlbHZpbmcncyVcdS1tb3ZpZS5tMnRzEEEwbG9hZA";
        let op = ListParts {
            key: "example-object".into(),
            upload_id: id.into(),
            marker: 1,
            max_parts: Some(2),
            ..Default::default()
        };
        assert_eq!(sent(&op), format!("GET /example-object?max-parts=2&part-number-marker=1&uploadId={id}\n"));
        let xml = document(&format!(
            "<Bucket>amzn-s3-demo-bucket</Bucket><Key>example-object</Key><UploadId>{id}</UploadId>\
             <Initiator><ID>arn:aws:iam::111122223333:user/some-user</ID><DisplayName>umat-user</DisplayName></Initiator>\
             <StorageClass>STANDARD</StorageClass><PartNumberMarker>1</PartNumberMarker>\
             <NextPartNumberMarker>3</NextPartNumberMarker><MaxParts>2</MaxParts><IsTruncated>true</IsTruncated>\
             <Part><PartNumber>2</PartNumber><LastModified>2010-11-10T20:48:34.000Z</LastModified>\
             <ETag>\"7778aef83f66abc1fa1e8477f296d394\"</ETag><Size>10485760</Size></Part>\
             <Part><PartNumber>3</PartNumber><LastModified>2010-11-10T20:48:33.000Z</LastModified>\
             <ETag>\"aaaa18db4cc2f85cedef654fccc4a4x8\"</ETag><Size>10485760</Size>\
             <ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME></Part>"
        ));
        let part = |number, at, etag: &str, crc: Option<&str>| ListedPart {
            number,
            size: 10_485_760,
            etag: format!("\"{etag}\""),
            last_modified_ms: Some(at),
            crc64nvme: crc.map(str::to_owned),
        };
        let page = answer(&op, &[], &xml).unwrap();
        let expected = [
            part(2, 1_289_422_114_000, "7778aef83f66abc1fa1e8477f296d394", None),
            part(3, 1_289_422_113_000, "aaaa18db4cc2f85cedef654fccc4a4x8", Some("rosUhgp5mIg=")),
        ];
        assert_eq!((&*page.parts, page.next), (&expected[..], Some(3)));
        let second = op.next(&page).unwrap();
        assert!(sent(&second).contains("part-number-marker=3"));
        assert_eq!(refused(&second, &[], &xml), Some(Code::BadReply), "the same page again");
        assert_eq!(
            sent(&ListParts { key: "k".into(), upload_id: "u".into(), ..Default::default() }),
            "GET /k?uploadId=u\n"
        );
    }

    /// Its markers cannot occur again, since they are numbers that grow.
    #[test]
    fn a_listing_of_empty_pages_ends() {
        let page = |n: usize, rows: &str| {
            document(&format!(
                "<IsTruncated>true</IsTruncated>{rows}<NextPartNumberMarker>{}</NextPartNumberMarker>",
                n + 1
            ))
        };
        let first = ListParts { key: "k".into(), upload_id: "u".into(), ..Default::default() };
        let (number, message) = follow(first.clone(), |n| page(n, ""));
        assert!(number == 9_999 && message.contains("10000 pages in succession have no row"), "{number}: {message}");
        let row = "<Part><PartNumber>4</PartNumber><ETag>e</ETag><Size>1</Size></Part>";
        let (number, message) = follow(first, |n| page(n, if n == 3 { row } else { "" }));
        assert!(number == 10_003, "a row starts the count again: {number}: {message}");
    }

    #[test]
    fn a_page_that_would_skip_or_repeat_keys_is_refused() {
        let op = ListParts { marker: 5, ..Default::default() };
        let part = |number: &str| format!("<Part><PartNumber>{number}</PartNumber><ETag>e</ETag><Size>1</Size></Part>");
        let more =
            |next: &str| format!("<IsTruncated>true</IsTruncated><NextPartNumberMarker>{next}</NextPartNumberMarker>");
        for (bad, why) in [
            ("<IsTruncated>true</IsTruncated>".to_owned(), "no marker"),
            (
                "<IsTruncated>TRUE</IsTruncated><NextPartNumberMarker>4</NextPartNumberMarker>".into(),
                "'TRUE' (true or false expected)",
            ),
            ("<NextPartNumberMarker>4</NextPartNumberMarker>".into(), "does not say whether there is one"),
            (more("x"), "no number"),
            (more("5"), "the same marker again"),
            (part("8") + &more("7"), "a marker before the last part"),
            (part("5"), "a part of the page before"),
            (part("7") + &part("7"), "a part twice"),
            (part("7") + &part("6"), "no order"),
            (part("4294967297"), "no part's number"),
            (part("6").replace("<ETag>e</ETag>", ""), "no ETag"),
            (part("6").replace("<Size>1</Size>", ""), "no size"),
            ("<Part/>".into(), "an empty row"),
        ] {
            assert_eq!(refused(&op, &[], &document(&bad)), Some(Code::BadReply), "{why}: {bad}");
        }
        assert_eq!(answer(&op, &[], &document(&(part("7") + &part("9") + &more("9")))).unwrap().next, Some(9));
    }
}
