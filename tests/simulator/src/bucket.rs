//! The model store: one bucket with versioning, as S3 and the profiles say.

use std::collections::BTreeMap;

use s3vault_core::checksum::{Crc, combine_all, crc_text, parse_crc};
use s3vault_core::http::Method;
use s3vault_core::profile::Profile;
use s3vault_core::{uri, xml};

use crate::content::Content;
use crate::wire::{Answer, Wire, http_date, xml_date};

/// A version of an object.
#[derive(Clone, Debug)]
pub struct Version {
    /// Of the version.
    pub id: String,
    /// Its bytes.
    pub content: Content,
    /// `x-amz-meta-`.
    pub metadata: Vec<(String, String)>,
    crc64nvme: u64,
    etag: String,
    modified_ms: i64,
}

/// A part that was uploaded.
#[derive(Clone, Debug)]
pub struct StoredPart {
    /// An attempt's own, or that of its bytes, as the store is.
    pub etag: String,
    /// Its bytes.
    pub content: Content,
    crc64nvme: u64,
}

/// A multipart upload that is open.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Of the object that it will be.
    pub key: String,
    /// By S3's numbers.
    pub parts: BTreeMap<u32, StoredPart>,
    /// `x-amz-meta-`.
    pub metadata: Vec<(String, String)>,
    /// A Complete of it was begun and not ended, and none ends any more.
    pub is_broken: bool,
}

/// What a store is like beside its profile.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Each attempt at a part has an ETag of its own, as where the store encrypts.
    pub etags_differ: bool,
    /// Rows of a page at most.
    pub page: usize,
}

/// One bucket.
#[derive(Debug)]
pub struct Bucket {
    /// By key, the newest last.
    pub versions: BTreeMap<String, Vec<Version>>,
    /// By id.
    pub uploads: BTreeMap<String, Upload>,
    /// The answer to each Complete that took effect, by upload id.
    completed: BTreeMap<String, Answer>,
    profile: Profile,
    habits: Habits,
    /// Access keys that have expired.
    pub expired: Vec<String>,
    count: u64,
}

impl Bucket {
    /// Without objects.
    pub fn new(profile: Profile, habits: Habits) -> Bucket {
        Bucket {
            versions: BTreeMap::new(),
            uploads: BTreeMap::new(),
            completed: BTreeMap::new(),
            profile,
            habits,
            expired: Vec::new(),
            count: 0,
        }
    }

    /// What this request does, and the answer to it.
    pub fn answer(&mut self, wire: &Wire, unix_ms: i64) -> Answer {
        if (wire.date_ms() - unix_ms).abs() > self.profile.max_request_age_ms {
            return Answer::error(403, "RequestTimeTooSkewed");
        }
        if self.expired.iter().any(|key| key == wire.access_key()) {
            return Answer::error(400, "ExpiredToken");
        }
        let upload_id = wire.parameter("uploadId");
        match wire.method {
            Method::Get if wire.query.contains_key("versioning") => {
                Answer::xml("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
            }
            Method::Get if wire.key.is_empty() && wire.query.contains_key("versions") => self.list_versions(wire),
            Method::Get if wire.key.is_empty() && wire.query.contains_key("uploads") => self.list_uploads(),
            Method::Get if wire.key.is_empty() => self.list(wire),
            Method::Post if wire.query.contains_key("uploads") => self.create(wire),
            Method::Put if !upload_id.is_empty() => self.upload_part(wire, upload_id),
            Method::Get if !upload_id.is_empty() => self.list_parts(wire, upload_id),
            Method::Post => self.complete(wire, upload_id, unix_ms),
            Method::Delete if !upload_id.is_empty() => match self.uploads.remove(upload_id) {
                None if !self.profile.aborts_again => Answer::error(404, "NoSuchUpload"),
                _ => Answer::empty(204),
            },
            Method::Delete => Answer::empty(204),
            Method::Put => self.put(wire, unix_ms),
            Method::Get | Method::Head => self.get(wire),
        }
    }

    /// The part that this request is about.
    pub fn part(&self, wire: &Wire) -> Option<&StoredPart> {
        self.uploads.get(wire.parameter("uploadId"))?.parts.get(&wire.parameter("partNumber").parse().ok()?)
    }

    fn next(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}{}", self.count)
    }

    /// Compares what arrived with the checksums that came along.
    fn verify(&self, wire: &Wire) -> Result<u64, Answer> {
        let found = wire.body.digest().crc64nvme;
        let said = wire.trailer.or_else(|| wire.header("x-amz-checksum-crc64nvme").and_then(parse_crc));
        self.verify_document(wire)?;
        if self.profile.checksums && said.is_some_and(|said| said != found) {
            return Err(Answer::error(400, "BadDigest"));
        }
        Ok(found)
    }

    fn etag(&mut self, crc: u64) -> String {
        if self.habits.etags_differ { format!("\"{}\"", self.next("e")) } else { format!("\"{crc:016x}\"") }
    }

    fn put(&mut self, wire: &Wire, unix_ms: i64) -> Answer {
        let crc64nvme = match self.verify(wire) {
            Ok(crc) => crc,
            Err(answer) => return answer,
        };
        let (id, etag) = (self.next("v"), self.etag(crc64nvme));
        let (content, metadata) = (wire.body.clone(), metadata(wire));
        let version =
            Version { id: id.clone(), content, metadata, crc64nvme, etag: etag.clone(), modified_ms: unix_ms };
        self.versions.entry(wire.key.clone()).or_default().push(version);
        Answer::empty(200).with("etag", etag).with("x-amz-version-id", id)
    }

    fn create(&mut self, wire: &Wire) -> Answer {
        let id = self.next("u");
        let upload =
            Upload { key: wire.key.clone(), parts: BTreeMap::new(), metadata: metadata(wire), is_broken: false };
        self.uploads.insert(id.clone(), upload);
        Answer::xml(&format!(
            "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        ))
    }

    fn upload_part(&mut self, wire: &Wire, upload_id: &str) -> Answer {
        let number: u32 = wire.parameter("partNumber").parse().unwrap_or(0);
        if number == 0 || number > self.profile.max_parts {
            return Answer::error(400, "InvalidArgument");
        }
        if wire.body.length() > self.profile.max_part_size {
            return Answer::error(400, "EntityTooLarge");
        }
        if self.uploads.get(upload_id).is_none_or(|upload| upload.key != wire.key) {
            return Answer::error(404, "NoSuchUpload");
        }
        let crc64nvme = match self.verify(wire) {
            Ok(crc) => crc,
            Err(answer) => return answer,
        };
        let etag = self.etag(crc64nvme);
        if let Some(upload) = self.uploads.get_mut(upload_id) {
            upload.parts.insert(number, StoredPart { etag: etag.clone(), content: wire.body.clone(), crc64nvme });
        }
        let answer = Answer::empty(200).with("etag", etag);
        if self.profile.checksums { answer.with("x-amz-checksum-crc64nvme", crc_text(crc64nvme)) } else { answer }
    }

    fn list_parts(&self, wire: &Wire, upload_id: &str) -> Answer {
        let Some(upload) = self.uploads.get(upload_id) else { return Answer::error(404, "NoSuchUpload") };
        let after: u32 = wire.parameter("part-number-marker").parse().unwrap_or(0);
        let mut rows = upload.parts.range(after + 1..);
        let mut text = String::from("<ListPartsResult>");
        let mut last = after;
        for (number, part) in rows.by_ref().take(self.habits.page) {
            let (etag, size) = (xml::escape(&part.etag), part.content.length());
            text += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><Size>{size}</Size>");
            if self.profile.checksums {
                text += &format!("<ChecksumCRC64NVME>{}</ChecksumCRC64NVME>", crc_text(part.crc64nvme));
            }
            text += "</Part>";
            last = *number;
        }
        let more = rows.next().is_some();
        if more {
            text += &format!("<NextPartNumberMarker>{last}</NextPartNumberMarker>");
        }
        Answer::xml(&format!("{text}<IsTruncated>{more}</IsTruncated></ListPartsResult>"))
    }

    fn complete(&mut self, wire: &Wire, upload_id: &str, unix_ms: i64) -> Answer {
        if let (true, Some(answer)) = (self.profile.completes_again, self.completed.get(upload_id)) {
            return answer.clone();
        }
        let Some(upload) = self.uploads.get(upload_id) else {
            return if self.profile.complete_knows_uploads {
                Answer::error(404, "NoSuchUpload")
            } else {
                Answer::error(500, "UnknownError")
            };
        };
        if let Err(answer) = self.verify_document(wire) {
            return answer;
        }
        let text = String::from_utf8_lossy(wire.body.as_bytes()).replace("&quot;", "\"");
        let element = |text: &str, name: &str| -> Option<String> {
            let rest = text.split_once(&format!("<{name}>"))?.1;
            Some(rest.split_once('<')?.0.to_owned())
        };
        let mut parts = Vec::new();
        let named: Vec<&str> = text.split("<Part>").skip(1).collect();
        for (n, row) in named.iter().enumerate() {
            let number: u32 = element(row, "PartNumber").and_then(|text| text.parse().ok()).unwrap_or(0);
            match upload.parts.get(&number) {
                Some(part) if Some(&part.etag) == element(row, "ETag").as_ref() => parts.push(part.clone()),
                _ => return Answer::error(400, "InvalidPart"),
            }
            let said = element(row, "ChecksumCRC64NVME").and_then(|text| parse_crc(&text));
            if self.profile.checksums && said.is_some_and(|said| said != parts[n].crc64nvme) {
                return Answer::error(400, "InvalidPart");
            }
            if n + 1 < named.len() && parts[n].content.length() < self.profile.min_part_size {
                return Answer::error(400, "EntityTooSmall");
            }
        }
        if parts.is_empty() {
            return Answer::error(400, "MalformedXML");
        }
        let crcs = parts.iter().map(|part| (part.crc64nvme, part.content.length()));
        let crc = combine_all(Crc::Crc64Nvme, crcs);
        let said = wire.header("x-amz-checksum-crc64nvme").and_then(parse_crc);
        if self.profile.checksums && said.is_some_and(|said| said != crc) {
            return Answer::error(400, "BadDigest");
        }
        if upload.is_broken {
            return Answer::error(400, "XAmzContentChecksumMismatch");
        }
        let content = Content::concat(parts.iter().map(|part| &part.content));
        let size = wire.header("x-amz-mp-object-size").and_then(|text| text.parse().ok());
        if size.is_some_and(|size: u64| size != content.length()) {
            return Answer::error(400, "InvalidRequest");
        }
        if content.length() > self.profile.max_object_size {
            return Answer::error(400, "EntityTooLarge");
        }
        let Some(upload) = self.uploads.remove(upload_id) else { return Answer::error(404, "NoSuchUpload") };
        let (id, etag) = (self.next("v"), format!("\"{crc:016x}-{}\"", parts.len()));
        let version = Version {
            id: id.clone(),
            content,
            metadata: upload.metadata,
            crc64nvme: crc,
            etag: etag.clone(),
            modified_ms: unix_ms,
        };
        self.versions.entry(upload.key).or_default().push(version);
        let etag = xml::escape(&etag);
        let text = format!("<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>");
        let answer = Answer::xml(&text).with("x-amz-version-id", id);
        self.completed.insert(upload_id.to_owned(), answer.clone());
        answer
    }

    fn verify_document(&self, wire: &Wire) -> Result<(), Answer> {
        // The signature covers the bytes of small bodies.
        if wire.is_damaged { Err(Answer::error(400, "XAmzContentSHA256Mismatch")) } else { Ok(()) }
    }

    fn get(&self, wire: &Wire) -> Answer {
        let versions = self.versions.get(&wire.key).map(Vec::as_slice).unwrap_or_default();
        let wanted = wire.query.get("versionId");
        let Some(version) = versions.iter().rfind(|version| wanted.is_none_or(|id| *id == version.id)) else {
            return Answer::error(404, if versions.is_empty() { "NoSuchKey" } else { "NoSuchVersion" });
        };
        let mut answer = Answer::empty(200)
            .with("etag", &*version.etag)
            .with("x-amz-version-id", &*version.id)
            .with("last-modified", http_date(version.modified_ms));
        answer.headers.extend(version.metadata.iter().cloned());
        if self.profile.checksums && wire.header("x-amz-checksum-mode").is_some() {
            answer = answer.with("x-amz-checksum-crc64nvme", crc_text(version.crc64nvme));
            answer = answer.with("x-amz-checksum-type", "FULL_OBJECT");
        }
        let length = version.content.length();
        if wire.method == Method::Head {
            return answer.with("content-length", length.to_string());
        }
        let range = wire.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let Some((first, last)) = range else {
            answer.body = version.content.clone();
            return answer.with("content-length", length.to_string());
        };
        let (first, last): (u64, u64) = (first.parse().unwrap_or(0), last.parse().unwrap_or(u64::MAX));
        if first >= length {
            return Answer::error(416, "InvalidRange");
        }
        let last = last.min(length - 1);
        answer.status = 206;
        answer.body = version.content.slice(first, last - first + 1);
        answer
            .with("content-length", (last - first + 1).to_string())
            .with("content-range", format!("bytes {first}-{last}/{length}"))
    }

    fn list(&self, wire: &Wire) -> Answer {
        let prefix = wire.parameter("prefix");
        let token = wire.query.get("continuation-token").or(wire.query.get("start-after"));
        let after = token.map_or("", String::as_str);
        let most = wire.parameter("max-keys").parse().unwrap_or(1000).min(self.habits.page);
        let mut text = String::new();
        let keys = from(&self.versions, prefix).take_while(|(key, _)| key.starts_with(prefix));
        let mut rows = keys.filter(|(key, _)| key.as_str() > after);
        let mut last = "";
        for (key, versions) in rows.by_ref().take(most) {
            let size = versions.last().map_or(0, |version| version.content.length());
            text += &format!("<Contents><Key>{}</Key><Size>{size}</Size></Contents>", uri::encode_path(key));
            last = key;
        }
        let more = rows.next().is_some();
        if more {
            text += &format!("<NextContinuationToken>{}</NextContinuationToken>", xml::escape(last));
        }
        Answer::xml(&format!(
            "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated>{text}</ListBucketResult>"
        ))
    }

    fn list_versions(&self, wire: &Wire) -> Answer {
        let prefix = wire.parameter("prefix");
        let (marker, marker_id) = (wire.parameter("key-marker"), wire.parameter("version-id-marker"));
        let keys = from(&self.versions, prefix).take_while(|(key, _)| key.starts_with(prefix));
        let all = keys.flat_map(|(key, versions)| {
            let newest = versions.len().wrapping_sub(1);
            versions.iter().enumerate().rev().map(move |(n, version)| (key, version, n == newest))
        });
        let mut rows: Vec<_> = all.collect();
        if !marker.is_empty() {
            let at = rows.iter().position(|(key, version, _)| *key == marker && version.id == marker_id);
            let begin = at.map(|at| at + 1).unwrap_or_else(|| rows.partition_point(|(key, ..)| key.as_str() <= marker));
            rows.drain(..begin);
        }
        let more = rows.len() > self.habits.page;
        rows.truncate(self.habits.page);
        let mut text = String::new();
        for (key, version, is_latest) in &rows {
            text += &format!(
                "<Version><Key>{}</Key><VersionId>{}</VersionId><IsLatest>{is_latest}</IsLatest>\
                 <LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size></Version>",
                uri::encode_path(key),
                version.id,
                xml_date(version.modified_ms),
                xml::escape(&version.etag),
                version.content.length()
            );
        }
        if let (true, Some((key, version, _))) = (more, rows.last()) {
            text += &format!(
                "<NextKeyMarker>{}</NextKeyMarker><NextVersionIdMarker>{}</NextVersionIdMarker>",
                uri::encode_path(key),
                version.id
            );
        }
        Answer::xml(&format!(
            "<ListVersionsResult><EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated>{text}</ListVersionsResult>"
        ))
    }

    fn list_uploads(&self) -> Answer {
        let mut rows: Vec<_> = self.uploads.iter().map(|(id, upload)| (&upload.key, id)).collect();
        rows.sort();
        let mut text = String::new();
        for (key, id) in rows {
            text += &format!("<Upload><Key>{}</Key><UploadId>{id}</UploadId></Upload>", uri::encode_path(key));
        }
        Answer::xml(&format!(
            "<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{text}\
             </ListMultipartUploadsResult>"
        ))
    }
}

fn metadata(wire: &Wire) -> Vec<(String, String)> {
    wire.headers.iter().filter(|(name, _)| name.starts_with("x-amz-meta-")).cloned().collect()
}

/// From the first key that is not before this one.
pub(crate) fn from<'a>(
    versions: &'a BTreeMap<String, Vec<Version>>,
    key: &str,
) -> impl Iterator<Item = (&'a String, &'a Vec<Version>)> {
    versions.range::<str, _>((std::ops::Bound::Included(key), std::ops::Bound::Unbounded))
}
