//! ListObjectVersions: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>

use super::rows::{EmptyPages, Fields, Head, Order, Row, check_advances, is_true, no_marker};
use crate::error::Result;
use crate::http::Method;
use crate::op::{Operation, Paged, Reply, Unsigned};
use crate::xml::{self, Item};

/// Lists all versions and delete markers of a bucket in the order of their keys, the newest version of a key first.
#[derive(Clone, Debug, Default)]
pub struct ListObjectVersions {
    /// Prefix of the keys to list.
    pub prefix: String,
    /// Keys with this delimiter after the prefix are listed as one common prefix.
    pub delimiter: Option<&'static str>,
    /// Marker of the previous page.
    pub marker: Option<VersionMarker>,
    /// Last key or common prefix of the previous page; earlier ones are refused. It is not sent.
    pub after: Option<String>,
    /// Most rows per page; `None`: the store's limit, usually 1,000.
    pub max_keys: Option<u32>,
    /// The empty pages before this one: leave the default.
    pub empty: EmptyPages,
}

/// The marker of the next page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VersionMarker {
    /// Last key or common prefix, or the store's own form of it.
    pub key: String,
    /// Last version of the key; empty: all its versions were listed.
    pub version_id: String,
}

/// A version or a delete marker in the list, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRow<'a> {
    /// The object's key.
    pub key: &'a str,
    /// Version id; `null` for a version that was created without versioning.
    pub version_id: &'a str,
    /// Whether it is a delete marker, which has only a key, a version id and a time.
    pub is_delete_marker: bool,
    /// Whether it is the newest version of its key.
    pub is_latest: bool,
    /// Modification time in Unix milliseconds.
    pub last_modified_ms: Option<i64>,
    /// Size in bytes.
    pub size: u64,
    /// ETag with its quotes; empty if the store does not return it.
    pub etag: &'a str,
    /// Storage class; `None` if the store does not return it.
    pub storage_class: Option<&'a str>,
}

/// A version or a delete marker in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedVersion {
    /// The object's key.
    pub key: String,
    /// Version id; `null` for a version that was created without versioning.
    pub version_id: String,
    /// Whether it is a delete marker, which has only a key, a version id and a time.
    pub is_delete_marker: bool,
    /// Whether it is the newest version of its key.
    pub is_latest: bool,
    /// Modification time in Unix milliseconds.
    pub last_modified_ms: Option<i64>,
    /// Size in bytes.
    pub size: u64,
    /// ETag with its quotes; empty if the store does not return it.
    pub etag: String,
    /// Storage class; `None` if the store does not return it.
    pub storage_class: Option<String>,
}

/// One page of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionListing {
    /// The uploads in the order of the page. S3 mixes versions and delete markers in the order of keys; some stores show one kind
    /// after the other.
    pub versions: Vec<ListedVersion>,
    /// Common prefixes, each up to its delimiter, in order.
    pub common_prefixes: Vec<String>,
    /// Marker of the next page; `None` on the last.
    pub next: Option<VersionMarker>,
}

impl VersionListing {
    /// Version ids of the objects with this key and size, in the order of the page: delete markers are not objects.
    pub(crate) fn ids_of(self, key: &str, size: u64) -> impl Iterator<Item = String> {
        let is_one = move |found: &ListedVersion| !found.is_delete_marker && found.key == key && found.size == size;
        self.versions.into_iter().filter(is_one).map(|found| found.version_id)
    }
}

impl From<VersionRow<'_>> for ListedVersion {
    fn from(row: VersionRow<'_>) -> ListedVersion {
        ListedVersion {
            key: row.key.to_owned(),
            version_id: row.version_id.to_owned(),
            is_delete_marker: row.is_delete_marker,
            is_latest: row.is_latest,
            last_modified_ms: row.last_modified_ms,
            size: row.size,
            etag: row.etag.to_owned(),
            storage_class: row.storage_class.map(str::to_owned),
        }
    }
}

const ROOT: &str = "ListVersionsResult";
const FIELDS: [&str; 7] = ["Key", "VersionId", "IsLatest", "LastModified", "Size", "ETag", "StorageClass"];

impl ListObjectVersions {
    /// Visits the rows of a page in order, and keeps none of them. Returns the marker of the next page; `None` on the last.
    ///
    /// The rows are valid only if the result is `Ok`: a page may turn out to be truncated at its end.
    pub fn each_row(
        &self,
        body: &[u8],
        mut each: impl FnMut(Row<'_, VersionRow<'_>>) -> Result<()>,
    ) -> Result<Option<VersionMarker>> {
        let asked = self.marker.as_ref().map(|marker| (&*marker.key, &*marker.version_id));
        let after = self.after.as_deref();
        let mut head = Head::new(body);
        let mut fields = Fields::new(FIELDS);
        let order = || Order::new(&self.prefix, after, true);
        let (mut versions, mut markers, mut prefixes) = (order(), order(), order());
        let (mut next_key, mut next_id, mut is_empty) = (None, String::new(), true);
        xml::read(body, ROOT, |item| {
            match item {
                Item::Value("Version" | "DeleteMarker", "Key", text) => fields.take("Key", head.decode(text)?),
                Item::Value("Version" | "DeleteMarker", name, text) => fields.take(name, text),
                Item::End(kind @ ("Version" | "DeleteMarker"))
                | Item::Value(ROOT, kind @ ("Version" | "DeleteMarker"), _) => {
                    let is_delete_marker = kind == "DeleteMarker";
                    let row = VersionRow {
                        key: fields.required(0, "a key")?,
                        version_id: fields.required(1, "a version id")?,
                        is_delete_marker,
                        is_latest: is_true(fields.get(2)),
                        last_modified_ms: fields.time(3),
                        size: if is_delete_marker { 0 } else { fields.number(4, "size")? },
                        etag: fields.get(5),
                        storage_class: fields.given(6),
                    };
                    if is_delete_marker {
                        markers.key(row.key)?
                    } else {
                        versions.key(row.key)?
                    }
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
                Item::Value(ROOT, "NextVersionIdMarker", text) => text.clone_into(&mut next_id),
                Item::Value(ROOT, name, text) => head.take(name, text)?,
                _ => {}
            }
            Ok(())
        })?;
        if !head.end(next_key.as_ref().is_some_and(|key| !key.is_empty()))? {
            return Ok(None);
        }
        let last = versions.last().max(markers.last()).max(prefixes.last());
        let key = head.marker(next_key.filter(|key| !key.is_empty()).ok_or_else(no_marker)?, last)?;
        check_advances((&key, &next_id), asked, last)?;
        let next = VersionMarker { key, version_id: next_id };
        if is_empty {
            self.empty.check(&next)?;
        }
        Ok(Some(next))
    }
}

impl Operation for ListObjectVersions {
    type Reply = VersionListing;
    const NAME: &'static str = "ListObjectVersions";
    const ACTION: &'static str = "s3:ListBucketVersions";

    fn request(&self) -> Unsigned {
        let mut request =
            Unsigned::bucket(Method::Get).query("versions", "").encoded().keys(&self.prefix, self.delimiter);
        if let Some(VersionMarker { key, version_id }) = &self.marker {
            request = request.query("key-marker", &**key);
            if !version_id.is_empty() {
                request = request.query("version-id-marker", &**version_id);
            }
        }
        request.page("max-keys", self.max_keys)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<VersionListing> {
        let mut page = VersionListing::default();
        page.next = self.each_row(&reply.body, |row| {
            match row {
                Row::Entry(row) => page.versions.push(row.into()),
                Row::CommonPrefix(prefix) => page.common_prefixes.push(prefix.to_owned()),
            }
            Ok(())
        })?;
        Ok(page)
    }
}

impl Paged for ListObjectVersions {
    fn next(&self, page: &VersionListing) -> Option<Self> {
        // Some stores list versions and delete markers separately, one kind after the other.
        let last = page.versions.iter().map(|version| &version.key).chain(&page.common_prefixes).max();
        let after = last.or(self.after.as_ref()).cloned();
        let marker = page.next.clone()?;
        let is_empty = page.versions.is_empty() && page.common_prefixes.is_empty();
        let empty = self.empty.after(is_empty, &marker);
        Some(ListObjectVersions { marker: Some(marker), after, empty, ..self.clone() })
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
        format!("<ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01\">{inner}</ListVersionsResult>")
    }

    fn row(key: &str, id: &str) -> String {
        format!("<Version><Key>{key}</Key><VersionId>{id}</VersionId><Size>1</Size></Version>")
    }

    fn after(key: &str, version_id: &str) -> ListObjectVersions {
        let marker = Some(VersionMarker { key: key.into(), version_id: version_id.into() });
        ListObjectVersions { prefix: "p/".into(), marker, after: Some(key.into()), ..Default::default() }
    }

    #[test]
    fn the_documented_example() {
        let op = ListObjectVersions { prefix: "my".into(), ..Default::default() };
        assert_eq!(sent(&op), "GET /?encoding-type=url&prefix=my&versions=\n");
        let owner = "<Owner><ID>75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a</ID>\
                     <DisplayName>mtd@amazon.com</DisplayName></Owner>";
        let xml = document(&format!(
            "<Name>bucket</Name><Prefix>my</Prefix><KeyMarker/><VersionIdMarker/><MaxKeys>5</MaxKeys>\
             <IsTruncated>false</IsTruncated>\
             <Version><Key>my-image.jpg</Key><VersionId>3/L4kqtJl40Nr8X8gdRqBpUMLUo</VersionId><IsLatest>true</IsLatest>\
             <LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>\"fba9dede5f27731c9771645a39863328\"</ETag>\
             <Size>434234</Size><StorageClass>STANDARD</StorageClass>{owner}</Version>\
             <DeleteMarker><Key>my-second-image.jpg</Key><VersionId>03jpff543dhffds434rfdsFDN943fdsFkdmqnh892</VersionId>\
             <IsLatest>true</IsLatest><LastModified>2009-11-12T17:50:30.000Z</LastModified>{owner}</DeleteMarker>\
             <Version><Key>my-second-image.jpg</Key><VersionId>QUpfdndhfd8438MNFDN93jdnJFkdmqnh893</VersionId>\
             <IsLatest>false</IsLatest><LastModified>2009-10-10T17:50:30.000Z</LastModified>\
             <ETag>\"9b2cf535f27731c974343645a3985328\"</ETag><Size>166434</Size><StorageClass>STANDARD</StorageClass>\
             {owner}</Version>"
        ));
        let version = |key: &str, id: &str, is_latest, at, size, etag: &str| ListedVersion {
            key: key.into(),
            version_id: id.into(),
            is_delete_marker: false,
            is_latest,
            last_modified_ms: Some(at),
            size,
            etag: format!("\"{etag}\""),
            storage_class: Some("STANDARD".into()),
        };
        let etags = ["fba9dede5f27731c9771645a39863328", "9b2cf535f27731c974343645a3985328"];
        let expected = VersionListing {
            versions: vec![
                version("my-image.jpg", "3/L4kqtJl40Nr8X8gdRqBpUMLUo", true, 1_255_369_830_000, 434_234, etags[0]),
                ListedVersion {
                    key: "my-second-image.jpg".into(),
                    version_id: "03jpff543dhffds434rfdsFDN943fdsFkdmqnh892".into(),
                    is_delete_marker: true,
                    is_latest: true,
                    last_modified_ms: Some(1_258_048_230_000),
                    ..ListedVersion::default()
                },
                version(
                    "my-second-image.jpg",
                    "QUpfdndhfd8438MNFDN93jdnJFkdmqnh893",
                    false,
                    1_255_197_030_000,
                    166_434,
                    etags[1],
                ),
            ],
            common_prefixes: vec![],
            next: None,
        };
        assert_eq!(answer(&op, &[], &xml), Ok(expected));
    }

    #[test]
    fn the_next_page_starts_after_the_last_version() {
        let first =
            ListObjectVersions { prefix: "p/".into(), delimiter: Some("/"), max_keys: Some(2), ..Default::default() };
        let end = "<IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>";
        let xml = document(&format!(
            "{}{}<NextKeyMarker>p/b%20%2B</NextKeyMarker><NextVersionIdMarker>v+2</NextVersionIdMarker>{end}",
            row("p/b%20%2B", "v+1"),
            row("p/b%20%2B", "v+2"),
        ));
        let page = answer(&first, &[], &xml).unwrap();
        let second = first.next(&page).unwrap();
        assert_eq!(
            sent(&second),
            "GET /?delimiter=%2F&encoding-type=url&key-marker=p%2Fb%20%2B&max-keys=2&prefix=p%2F\
             &version-id-marker=v%2B2&versions=\n"
        );
        assert_eq!(refused(&second, &[], &xml), Some(Code::BadReply), "the same marker again");
        assert_eq!(second.after.as_deref(), Some("p/b +"));
        let empty = second.next(&VersionListing { next: page.next.clone(), ..Default::default() }).unwrap();
        assert_eq!(empty.after, second.after, "a page without rows");
        let plain = xml.replace("<NextKeyMarker>p/b%20%2B<", "<NextKeyMarker>p/b +<");
        assert_eq!(answer(&first, &[], &plain), Ok(page), "a store that does not encode its marker");
        let prefix = "<CommonPrefixes><Prefix>p/x/</Prefix></CommonPrefixes><NextKeyMarker>p/x/</NextKeyMarker>";
        let page = answer(&first, &[], &document(&format!("{prefix}{end}"))).unwrap();
        assert_eq!(page.common_prefixes, ["p/x/"]);
        assert!(sent(&first.next(&page).unwrap()).contains("key-marker=p%2Fx%2F&max-keys=2&prefix=p%2F&versions="));
    }

    /// MinIO's marker of the key `p/copy` sorts after `p/copy2`, which is the next key.
    #[test]
    fn rows_are_checked_against_the_last_row_and_not_the_marker() {
        let first = ListObjectVersions { prefix: "p/".into(), ..Default::default() };
        let end = |key: &str| {
            format!(
                "<IsTruncated>true</IsTruncated><NextKeyMarker>{key}[minio_cache:v2]</NextKeyMarker>\
                 <NextVersionIdMarker>v</NextVersionIdMarker>"
            )
        };
        let page = answer(&first, &[], &document(&(row("p/copy", "v") + &end("p/copy")))).unwrap();
        let second = first.next(&page).unwrap();
        assert!(sent(&second).contains("key-marker=p%2Fcopy%5Bminio_cache%3Av2%5D"));
        assert!(answer(&second, &[], &document(&(row("p/copy2", "v") + &end("p/copy2")))).is_ok());
        assert_eq!(refused(&second, &[], &document(&row("p/cop", "v"))), Some(Code::BadReply));
    }

    #[test]
    fn a_listing_of_empty_pages_ends() {
        let first = ListObjectVersions { prefix: "p/".into(), ..Default::default() };
        let prefix = "<CommonPrefixes><Prefix>p/0/</Prefix></CommonPrefixes>";
        for row in [&row("p/0", "v"), prefix] {
            empty_pages_end(&first, row, |n, rows| {
                document(&format!(
                    "<IsTruncated>true</IsTruncated>{rows}<NextKeyMarker>p/{n}</NextKeyMarker>\
                     <NextVersionIdMarker>v</NextVersionIdMarker>"
                ))
            });
        }
        // Version ids of one key.
        empty_pages_end(&first, &row("p/k", "0"), |n, rows| {
            document(&format!(
                "<IsTruncated>true</IsTruncated>{rows}<NextKeyMarker>p/k</NextKeyMarker>\
                 <NextVersionIdMarker>{n}</NextVersionIdMarker>"
            ))
        });
    }

    #[test]
    fn a_page_that_would_skip_or_repeat_keys_is_refused() {
        let more = |key: &str, id: &str| {
            let ids =
                if id.is_empty() { String::new() } else { format!("<NextVersionIdMarker>{id}</NextVersionIdMarker>") };
            format!("<IsTruncated>true</IsTruncated><NextKeyMarker>{key}</NextKeyMarker>{ids}")
        };
        let marker = |key: &str| format!("<DeleteMarker><Key>{key}</Key><VersionId>v</VersionId></DeleteMarker>");
        for (bad, why) in [
            ("<IsTruncated>true</IsTruncated>".to_owned(), "no marker"),
            (
                "<IsTruncated>TRUE</IsTruncated><NextKeyMarker>z</NextKeyMarker>".into(),
                "'TRUE' (true or false expected)",
            ),
            ("<NextKeyMarker>z</NextKeyMarker>".into(), "does not say whether there is one"),
            (more("", ""), "an empty marker"),
            (more("p/m", "v"), "the same marker again"),
            (row("p/o", "v") + &more("p/n", "v"), "a marker before the last row"),
            (row("p/l", "v"), "a row of the page before"),
            (row("p/o", "v") + &row("p/n", "v"), "no order"),
            (marker("p/o") + &marker("p/n"), "no order"),
            (row("q", "v"), "another prefix"),
            (row("p/o", ""), "no id"),
            (row("", "v"), "no key"),
            ("<DeleteMarker/>".into(), "an empty row"),
            (row("p/o", "v").replace("<Size>1", "<Size>1x"), "no size"),
        ] {
            assert_eq!(refused(&after("p/m", "v"), &[], &document(&bad)), Some(Code::BadReply), "{why}: {bad}");
        }
        let good = marker("p/o") + &row("p/m", "w") + &row("p/n", "v") + &more("p/o", "v");
        assert_eq!(refused(&after("p/m", "v"), &[], &document(&good)), None, "one kind after the other, the key again");
        assert_eq!(refused(&after("p/m", "v"), &[], &document(&more("p/m", "w"))), None, "more of the same key");
    }
}
