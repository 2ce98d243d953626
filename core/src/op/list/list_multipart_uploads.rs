//! ListMultipartUploads: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>

use super::rows::{EmptyPages, Fields, Head, Order, Row, check_advances, no_marker};
use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Paged, Reply, Unsigned};
use crate::xml::{self, Item};

/// Lists the uploads of a bucket that are in progress. S3 lists them in the order of their keys; within a page, MinIO uses
/// the order of their start, and Garage the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct ListMultipartUploads {
    /// Prefix of the keys to list. MinIO lists only if it is a whole key.
    pub prefix: String,
    /// Keys with this delimiter after the prefix are listed as one common prefix.
    pub delimiter: Option<&'static str>,
    /// Marker of the previous page.
    pub marker: Option<UploadMarker>,
    /// Last key or common prefix of the previous page; earlier ones are refused. It is not sent.
    pub after: Option<String>,
    /// Most rows per page; `None`: the store's limit, usually 1,000.
    pub max_uploads: Option<u32>,
    /// Whether to request keys without encoding, for stores that encode them and do not say so.
    pub plain: bool,
    /// The empty pages before this one: leave the default.
    pub empty: EmptyPages,
}

/// The marker of the next page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UploadMarker {
    /// Last key or common prefix, or the store's own form of it.
    pub key: String,
    /// Last upload of the key; empty: all its uploads were listed.
    pub upload_id: String,
}

/// An upload in the list, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadRow<'a> {
    /// The object's key.
    pub key: &'a str,
    /// Upload id.
    pub upload_id: &'a str,
    /// Start of the upload in Unix milliseconds.
    pub initiated_ms: Option<i64>,
    /// Storage class; `None` if the store does not return it.
    pub storage_class: Option<&'a str>,
}

/// An upload in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedUpload {
    /// The object's key.
    pub key: String,
    /// Upload id.
    pub upload_id: String,
    /// Start of the upload in Unix milliseconds.
    pub initiated_ms: Option<i64>,
    /// Storage class; `None` if the store does not return it.
    pub storage_class: Option<String>,
}

/// One page of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadListing {
    /// The uploads in the order of the page.
    pub uploads: Vec<ListedUpload>,
    /// Common prefixes, each up to its delimiter, in order.
    pub common_prefixes: Vec<String>,
    /// Marker of the next page; `None` on the last.
    pub next: Option<UploadMarker>,
}

impl From<UploadRow<'_>> for ListedUpload {
    fn from(row: UploadRow<'_>) -> ListedUpload {
        let UploadRow { key, upload_id, initiated_ms, storage_class } = row;
        let storage_class = storage_class.map(str::to_owned);
        ListedUpload { key: key.to_owned(), upload_id: upload_id.to_owned(), initiated_ms, storage_class }
    }
}

const ROOT: &str = "ListMultipartUploadsResult";
const FIELDS: [&str; 4] = ["Key", "UploadId", "Initiated", "StorageClass"];

impl ListMultipartUploads {
    /// Visits the rows of a page in order, and keeps none of them. Returns the marker of the next page; `None` on the last.
    ///
    /// The rows are valid only if the result is `Ok`: a page may turn out to be truncated at its end.
    pub fn each_row(
        &self,
        body: &[u8],
        mut each: impl FnMut(Row<'_, UploadRow<'_>>) -> Result<()>,
    ) -> Result<Option<UploadMarker>> {
        let asked = self.marker.as_ref().map(|marker| (&*marker.key, &*marker.upload_id));
        let after = self.after.as_deref();
        let mut head = Head::new(body);
        let mut fields = Fields::new(FIELDS);
        let mut uploads = Order::new(&self.prefix, after, true).in_any_order();
        let mut prefixes = Order::new(&self.prefix, after, true);
        let (mut next_key, mut next_id, mut is_empty) = (None, String::new(), true);
        xml::read(body, ROOT, |item| {
            match item {
                Item::Value("Upload", "Key", text) => fields.take("Key", head.decode(text)?),
                Item::Value("Upload", name, text) => fields.take(name, text),
                Item::End("Upload") | Item::Value(ROOT, "Upload", _) => {
                    let row = UploadRow {
                        key: fields.required(0, "a key")?,
                        upload_id: fields.required(1, "an upload id")?,
                        initiated_ms: fields.time(2),
                        storage_class: fields.given(3),
                    };
                    uploads.key(row.key)?;
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
                Item::Value(ROOT, "NextKeyMarker", text) => next_key = Some(text.to_owned()),
                Item::Value(ROOT, "NextUploadIdMarker", text) => text.clone_into(&mut next_id),
                Item::Value(ROOT, name, text) => head.take(name, text)?,
                _ => {}
            }
            Ok(())
        })?;
        if !head.end(next_key.as_ref().is_some_and(|key| !key.is_empty()))? {
            return Ok(None);
        }
        let last = uploads.last().max(prefixes.last());
        // MinIO leaves out the key: its id identifies the last upload.
        let is_named = !next_id.is_empty() && !last.is_empty();
        let next_key = next_key.filter(|key| !key.is_empty()).or_else(|| is_named.then(|| last.to_owned()));
        let key = head.marker(next_key.ok_or_else(no_marker)?, last)?;
        check_advances((&key, &next_id), asked, last)?;
        let next = UploadMarker { key, upload_id: next_id };
        if is_empty {
            self.empty.check(&next)?;
        }
        Ok(Some(next))
    }
}

impl Operation for ListMultipartUploads {
    type Reply = UploadListing;
    const NAME: &'static str = "ListMultipartUploads";
    const ACTION: &'static str = "s3:ListBucketMultipartUploads";

    fn request(&self) -> Unsigned {
        let mut request = Unsigned::bucket(Method::Get).query("uploads", "").keys(&self.prefix, self.delimiter);
        if !self.plain {
            request = request.encoded();
        }
        if let Some(UploadMarker { key, upload_id }) = &self.marker {
            request = request.query("key-marker", &**key);
            if !upload_id.is_empty() {
                request = request.query("upload-id-marker", &**upload_id);
            }
        }
        request.page("max-uploads", self.max_uploads)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<UploadListing> {
        let mut page = UploadListing::default();
        page.next = self.each_row(&reply.body, |row| {
            match row {
                Row::Entry(row) => page.uploads.push(row.into()),
                Row::CommonPrefix(prefix) => page.common_prefixes.push(prefix.to_owned()),
            }
            Ok(())
        })?;
        Ok(page)
    }
}

impl Paged for ListMultipartUploads {
    fn next(&self, page: &UploadListing) -> Option<Self> {
        let last = page.uploads.iter().map(|upload| &upload.key).chain(&page.common_prefixes).max();
        let after = last.or(self.after.as_ref()).cloned();
        let marker = page.next.clone()?;
        let is_empty = page.uploads.is_empty() && page.common_prefixes.is_empty();
        let empty = self.empty.after(is_empty, &marker);
        Some(ListMultipartUploads { marker: Some(marker), after, empty, ..self.clone() })
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
        format!(
            "<ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}\
             </ListMultipartUploadsResult>"
        )
    }

    fn upload(key: &str, id: &str, at: &str) -> String {
        format!(
            "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiator><ID>arn:aws:iam::111122223333:user/u</ID>\
             <DisplayName>u</DisplayName></Initiator><Owner><ID>75aa</ID></Owner><StorageClass>STANDARD</StorageClass>\
             <Initiated>{at}</Initiated></Upload>"
        )
    }

    #[test]
    fn the_documented_examples() {
        let first = ListMultipartUploads { max_uploads: Some(3), ..Default::default() };
        assert_eq!(sent(&first), "GET /?encoding-type=url&max-uploads=3&prefix=&uploads=\n");
        let ids = [
            "XMgbGlrZSBlbHZpbmcncyBub3QgaGF2aW5nIG11Y2ggbHVjaw",
            "VXBsb2FkIElEIGZvciBlbHZpbmcncyBteS1tb3ZpZS5tMnRzIHVwbG9hZA",
        ];
        let next = "YW55IGlkZWEgd2h5IGVsdmluZydzIHVwbG9hZCBmYWlsZWQ";
        let xml = document(&format!(
            "<Bucket>bucket</Bucket><KeyMarker/><UploadIdMarker/><NextKeyMarker>my-movie.m2ts</NextKeyMarker>\
             <NextUploadIdMarker>{next}</NextUploadIdMarker><MaxUploads>3</MaxUploads><IsTruncated>true</IsTruncated>{}{}",
            upload("my-divisor", ids[0], "2010-11-10T20:48:33.000Z"),
            upload("my-movie.m2ts", ids[1], "2010-11-10T20:48:33.000Z"),
        ));
        let listed = |key: &str, id: &str| ListedUpload {
            key: key.into(),
            upload_id: id.into(),
            initiated_ms: Some(1_289_422_113_000),
            storage_class: Some("STANDARD".into()),
        };
        let page = answer(&first, &[], &xml).unwrap();
        assert_eq!(page.uploads, [listed("my-divisor", ids[0]), listed("my-movie.m2ts", ids[1])]);
        let second = first.next(&page).unwrap();
        assert_eq!(
            sent(&second),
            format!(
                "GET /?encoding-type=url&key-marker=my-movie.m2ts&max-uploads=3&prefix=&upload-id-marker={next}&uploads=\n"
            )
        );
        assert_eq!(refused(&second, &[], &xml), Some(Code::BadReply), "the same page again");

        let op = ListMultipartUploads { delimiter: Some("/"), ..Default::default() };
        let xml = document(&format!(
            "<Bucket>amzn-s3-demo-bucket</Bucket><KeyMarker/><UploadIdMarker/><NextKeyMarker>sample.jpg</NextKeyMarker>\
             <NextUploadIdMarker>Xgw4MJT6ZPAVxpY0SAuGN7q4uWJJM22ZYg1W99trdp4tpO88</NextUploadIdMarker>\
             <Delimiter>/</Delimiter><Prefix/><MaxUploads>1000</MaxUploads><IsTruncated>false</IsTruncated>{}\
             <CommonPrefixes><Prefix>photos/</Prefix></CommonPrefixes><CommonPrefixes><Prefix>videos/</Prefix>\
             </CommonPrefixes>",
            upload("sample.jpg", "Agw4MJT6ZPAVxpY0SAuGN7q4uWJJM22ZYg1N99trdp4tpO88.PT6", "2010-11-26T19:24:17.000Z"),
        ));
        let page = answer(&op, &[], &xml).unwrap();
        assert_eq!((page.uploads.len(), &*page.common_prefixes), (1, &["photos/".to_owned(), "videos/".into()][..]));
        assert!(op.next(&page).is_none());
    }

    #[test]
    fn a_listing_of_empty_pages_ends() {
        let first = ListMultipartUploads { prefix: "p/".into(), ..Default::default() };
        let row = upload("p/0", "u", "2010-11-10T20:48:33.000Z");
        for row in [&*row, "<CommonPrefixes><Prefix>p/0/</Prefix></CommonPrefixes>"] {
            empty_pages_end(&first, row, |n, rows| {
                document(&format!(
                    "<IsTruncated>true</IsTruncated>{rows}<NextKeyMarker>p/{n}</NextKeyMarker>\
                     <NextUploadIdMarker>u</NextUploadIdMarker>"
                ))
            });
        }
    }

    #[test]
    fn a_page_that_would_skip_or_repeat_keys_is_refused() {
        let marker = Some(UploadMarker { key: "p/m".into(), upload_id: "u".into() });
        let op = ListMultipartUploads { prefix: "p/".into(), marker, after: Some("p/m".into()), ..Default::default() };
        let row = |key: &str, id: &str| upload(key, id, "2010-11-10T20:48:33.000Z");
        let more = |key: &str| {
            format!(
                "<IsTruncated>true</IsTruncated><NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>"
            )
        };
        for (bad, why) in [
            ("<IsTruncated>true</IsTruncated>".to_owned(), "no marker"),
            ("<IsTruncated>TRUE</IsTruncated><NextKeyMarker>z</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>".into(), "'TRUE' (true or false expected)"),
            ("<NextKeyMarker>z</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>".into(), "does not say whether there is one"),
            (more("p/m"), "the same marker again"),
            (row("p/o", "v") + &more("p/n"), "a marker before the last row"),
            (row("p/l", "v"), "a row of the page before"),
            (row("q", "v"), "another prefix"),
            (row("p/o", ""), "no id"),
            ("<Upload/>".into(), "an empty row"),
        ] {
            assert_eq!(refused(&op, &[], &document(&bad)), Some(Code::BadReply), "{why}: {bad}");
        }
        let named = row("p/o", "v")
            + "<IsTruncated>true</IsTruncated><NextKeyMarker/><NextUploadIdMarker>v</NextUploadIdMarker>";
        let next = UploadMarker { key: "p/o".into(), upload_id: "v".into() };
        assert_eq!(answer(&op, &[], &document(&named)).unwrap().next, Some(next), "MinIO's form");
        let any_order = row("p/o", "v") + &row("p/n", "v") + &more("p/o");
        let page = answer(&op, &[], &document(&any_order)).unwrap();
        assert_eq!((page.uploads.len(), op.next(&page).unwrap().after.as_deref()), (2, Some("p/o")));
        assert!(!sent(&ListMultipartUploads { plain: true, ..op.clone() }).contains("encoding-type"));
        let encoded = format!("<EncodingType>url</EncodingType>{}", row("p/m%20", "v"));
        assert_eq!(answer(&op, &[], &document(&encoded)).unwrap().uploads[0].key, "p/m ");
    }
}
