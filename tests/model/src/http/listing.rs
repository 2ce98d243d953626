//! The listings of a bucket.

use super::xml::Document;
use super::{Reply, Request, xml_date};
use crate::{Page, Payload, Position, Query, Refusal, Rules, Store, url_encode};

/// A listing that is asked for.
struct Listing {
    query: Query,
    is_encoded: bool,
}

impl Listing {
    fn new<C>(request: &Request<C>, after: Position, max: &str, rules: &Rules) -> Result<Self, Refusal> {
        let is_encoded = match request.parameter("encoding-type") {
            None => false,
            Some("url") => true,
            Some(other) => return Err(Refusal::invalid_argument(format!("Invalid Encoding Method: {other:?}"))),
        };
        let query = Query {
            prefix: request.parameter("prefix").unwrap_or_default().to_owned(),
            delimiter: request.parameter("delimiter").map(str::to_owned),
            after,
            max: request.number(max)?.unwrap_or(usize::MAX).min(rules.max_page),
            max_passed: rules.max_passed,
        };
        Ok(Self { query, is_encoded })
    }

    /// The position of `key-marker` and the marker of this name.
    fn after<C>(request: &Request<C>, id_marker: &str) -> Result<Position, Refusal> {
        let parameter = |name| request.parameter(name);
        let (key, id) = (parameter("key-marker"), parameter(id_marker));
        Position::of_markers(key, id, parameter("prefix"), parameter("delimiter"))
    }

    fn encoded(&self, text: &str) -> String {
        if self.is_encoded { url_encode(text) } else { text.to_owned() }
    }

    /// What all pages have in common: common prefixes, encoding, and the start of the next page.
    fn finish<T, C: Payload>(
        &self,
        root: &str,
        page: &Page<'_, T>,
        entry: impl Fn(&mut Document, &str, &T),
        next: impl FnOnce(&mut Document, &Position),
    ) -> Reply<C> {
        let mut xml = Document::new();
        xml.element(root, |xml| {
            if self.is_encoded {
                xml.text("EncodingType", "url");
            }
            xml.text("IsTruncated", page.next.is_some());
            for (key, found) in &page.entries {
                entry(xml, &self.encoded(key), found);
            }
            for prefix in &page.prefixes {
                xml.element("CommonPrefixes", |xml| xml.text("Prefix", self.encoded(prefix)));
            }
            if let Some(position) = &page.next {
                next(xml, position);
            }
        });
        Reply::xml(xml.finish())
    }

    fn markers(&self, xml: &mut Document, position: &Position, id_marker: &str) {
        let (key, id) = position.clone().markers();
        if let Some(key) = key {
            xml.text("NextKeyMarker", self.encoded(&key));
        }
        if let Some(id) = id {
            xml.text(id_marker, id);
        }
    }
}

impl<C: Payload> Store<C> {
    pub(super) fn answer_list_objects(&self, request: &Request<C>) -> Result<Reply<C>, Refusal> {
        let after = match (request.parameter("continuation-token"), request.parameter("start-after")) {
            (Some(token), _) => Position::of_token(token)?,
            (None, Some(key)) => Position::Key(key.to_owned()),
            (None, None) => Position::Start,
        };
        let listing = Listing::new(request, after, "max-keys", &self.rules)?;
        let page = self.bucket(&request.bucket)?.list_objects(&listing.query);
        Ok(listing.finish(
            "ListBucketResult",
            &page,
            |xml, key, (version, object)| {
                xml.element("Contents", |xml| {
                    xml.text("Key", key);
                    xml.text("LastModified", xml_date(version.modified));
                    xml.text("ETag", format!("\"{}\"", object.etag));
                    xml.text("Size", object.content.length());
                    xml.text("StorageClass", object.attributes.storage_class.as_deref().unwrap_or("STANDARD"));
                });
            },
            |xml, position| xml.text("NextContinuationToken", position.token()),
        ))
    }

    pub(super) fn answer_list_versions(&self, request: &Request<C>) -> Result<Reply<C>, Refusal> {
        let after = Listing::after(request, "version-id-marker")?;
        let listing = Listing::new(request, after, "max-keys", &self.rules)?;
        let page = self.bucket(&request.bucket)?.list_versions(&listing.query);
        Ok(listing.finish(
            "ListVersionsResult",
            &page,
            |xml, key, (version, is_latest)| {
                let element = if version.object.is_some() { "Version" } else { "DeleteMarker" };
                xml.element(element, |xml| {
                    xml.text("Key", key);
                    xml.text("VersionId", &version.id);
                    xml.text("IsLatest", is_latest);
                    xml.text("LastModified", xml_date(version.modified));
                    if let Some(object) = &version.object {
                        xml.text("ETag", format!("\"{}\"", object.etag));
                        xml.text("Size", object.content.length());
                        xml.text("StorageClass", object.attributes.storage_class.as_deref().unwrap_or("STANDARD"));
                    }
                });
            },
            |xml, position| listing.markers(xml, position, "NextVersionIdMarker"),
        ))
    }

    pub(super) fn answer_list_uploads(&self, request: &Request<C>) -> Result<Reply<C>, Refusal> {
        let after = Listing::after(request, "upload-id-marker")?;
        let listing = Listing::new(request, after, "max-uploads", &self.rules)?;
        let page = self.bucket(&request.bucket)?.list_uploads(&listing.query);
        Ok(listing.finish(
            "ListMultipartUploadsResult",
            &page,
            |xml, key, upload| {
                xml.element("Upload", |xml| {
                    xml.text("Key", key);
                    xml.text("UploadId", &upload.id);
                    xml.text("Initiated", xml_date(upload.initiated));
                });
            },
            |xml, position| listing.markers(xml, position, "NextUploadIdMarker"),
        ))
    }
}
