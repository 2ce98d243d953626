//! Multipart uploads.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::checksum::multipart_etag;
use super::{
    Algorithm, Attributes, Bucket, Checksum, Content, Object, Received, Refusal, Store, Version, Whole, WriteCondition,
    crc64_concat, crc64_text,
};

/// An upload that is neither completed nor aborted.
#[derive(Clone, Debug)]
pub struct Upload<C> {
    /// The upload id.
    pub id: String,
    /// The time of CreateMultipartUpload.
    pub initiated: SystemTime,
    /// What the client said about the object.
    pub attributes: Attributes,
    /// The algorithm that every part must use. With `None` parts carry no checksum.
    pub algorithm: Option<Algorithm>,
    /// The parts by their numbers.
    pub parts: BTreeMap<u32, Part<C>>,
    /// The store failed while it completed the upload, and every further Complete fails, as MinIO's does.
    pub is_broken: bool,
}

/// A part of an open upload.
#[derive(Clone, Debug)]
pub struct Part<C> {
    /// Its bytes and checksums.
    pub received: Received<C>,
    /// The time of UploadPart.
    pub modified: SystemTime,
}

impl<C> Part<C> {
    /// The ETag without quotes.
    pub fn etag(&self) -> String {
        hex::encode(self.received.etag)
    }

    /// The checksum in `algorithm`, where the store knows it.
    fn checksum(&self, algorithm: Algorithm) -> Option<String> {
        match &self.received.checksum {
            Some(checksum) if checksum.algorithm == algorithm => Some(checksum.value.clone()),
            _ if algorithm == Algorithm::Crc64Nvme => Some(crc64_text(self.received.crc64nvme)),
            _ => None,
        }
    }
}

/// A part as CompleteMultipartUpload names it.
#[derive(Clone, Debug)]
pub struct ListedPart {
    /// The part number.
    pub number: u32,
    /// The ETag without quotes.
    pub etag: String,
    /// The checksums that go with it.
    pub checksums: Vec<Checksum>,
}

/// What CompleteMultipartUpload asks for.
#[derive(Debug)]
pub struct Completion {
    /// The parts of the object.
    pub parts: Vec<ListedPart>,
    /// CRC64NVME of the whole object, as the client computed it.
    pub crc64nvme: Option<String>,
    /// Size of the whole object, as the client counted it.
    pub size: Option<u64>,
    /// What must hold for the object to be written.
    pub condition: WriteCondition,
}

/// What CompleteMultipartUpload created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// The version id as the reply shows it.
    pub version: Option<String>,
    /// The ETag without quotes.
    pub etag: String,
    /// CRC64NVME of the whole object.
    pub crc64nvme: u64,
}

impl<C> Bucket<C> {
    fn upload(&self, key: &str, id: &str) -> Result<&Upload<C>, Refusal> {
        self.uploads
            .get(key)
            .and_then(|uploads| uploads.iter().find(|upload| upload.id == id))
            .ok_or_else(|| Refusal::no_such_upload(id))
    }

    fn take_upload(&mut self, key: &str, id: &str) -> Result<Upload<C>, Refusal> {
        let missing = || Refusal::no_such_upload(id);
        let uploads = self.uploads.get_mut(key).ok_or_else(missing)?;
        let at = uploads.iter().position(|upload| upload.id == id).ok_or_else(missing)?;
        let upload = uploads.remove(at);
        if uploads.is_empty() {
            self.uploads.remove(key);
        }
        Ok(upload)
    }
}

impl<C: Content> Store<C> {
    /// CreateMultipartUpload. Returns the upload id.
    pub fn create_upload(
        &mut self,
        bucket: &str,
        key: &str,
        mut attributes: Attributes,
        algorithm: Option<Algorithm>,
        now: SystemTime,
    ) -> Result<String, Refusal> {
        attributes.check()?;
        // The object will have the date of its initiation, and its lock counts from there.
        self.bucket(bucket)?.lock(&mut attributes, now)?;
        let id = self.ids.next();
        let parts = BTreeMap::new();
        let upload = Upload { id: id.clone(), initiated: now, attributes, algorithm, parts, is_broken: false };
        self.bucket_mut(bucket)?.uploads.entry(key.to_owned()).or_default().push(upload);
        Ok(id)
    }

    /// The open upload of this key and id.
    pub fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<&Upload<C>, Refusal> {
        self.bucket(bucket)?.upload(key, id)
    }

    /// What must hold for a part before its bytes arrive: its number, the upload, and the checksum's algorithm.
    pub fn check_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: u32,
        algorithm: Option<Algorithm>,
    ) -> Result<(), Refusal> {
        let max = self.rules.max_parts;
        if !(1..=max).contains(&number) {
            let message = format!("Part number must be an integer between 1 and {max}, inclusive");
            return Err(Refusal::invalid_argument(message));
        }
        let expected = self.upload(bucket, key, id)?.algorithm;
        match algorithm {
            Some(actual) if self.rules.checksums && expected != Some(actual) => Err(type_mismatch(expected, actual)),
            _ => Ok(()),
        }
    }

    /// UploadPart: stores a part, in place of an earlier one of the same number, and returns its ETag.
    pub fn put_part(
        &mut self,
        bucket: &str,
        key: &str,
        id: &str,
        number: u32,
        mut received: Received<C>,
        now: SystemTime,
    ) -> Result<String, Refusal> {
        self.check_length(received.content.length())?;
        if self.rules.unique_etags {
            received.etag = self.ids.next_etag();
        }
        let uploads = self.bucket_mut(bucket)?.uploads.get_mut(key);
        let upload = uploads
            .and_then(|uploads| uploads.iter_mut().find(|upload| upload.id == id))
            .ok_or_else(|| Refusal::no_such_upload(id))?;
        let part = Part { received, modified: now };
        let etag = part.etag();
        upload.parts.insert(number, part);
        Ok(etag)
    }

    /// AbortMultipartUpload.
    pub fn abort(&mut self, bucket: &str, key: &str, id: &str) -> Result<(), Refusal> {
        let aborted = self.bucket_mut(bucket)?.take_upload(key, id).map(|_| ());
        if self.rules.aborts_again { Ok(()) } else { aborted }
    }

    /// CompleteMultipartUpload: makes an object of the listed parts. One that is refused leaves the upload open.
    pub fn complete(
        &mut self,
        bucket: &str,
        key: &str,
        id: &str,
        completion: &Completion,
    ) -> Result<Completed, Refusal> {
        if let Some(completed) = self.completed.get(id) {
            return Ok(completed.clone());
        }
        let place = self.bucket(bucket)?;
        let upload = match place.upload(key, id) {
            Err(_) if !self.rules.complete_knows_uploads => {
                return Err(Refusal::new(500, "UnknownError", "An internal error occurred."));
            }
            upload => upload?,
        };
        let parts = self.listed_parts(upload, &completion.parts)?;
        let pieces = parts.iter().map(|part| (part.received.crc64nvme, part.received.content.length()));
        let crc64nvme = crc64_concat(pieces);
        let length: u64 = parts.iter().map(|part| part.received.content.length()).sum();
        if let Some(size) = completion.size
            && size != length
        {
            return Err(Refusal::invalid_request(format!(
                "The provided 'x-amz-mp-object-size' header value {size} does not match what was computed: {length}"
            )));
        }
        if self.rules.checksums
            && let Some(given) = &completion.crc64nvme
        {
            if let Some(other) = upload.algorithm.filter(|algorithm| *algorithm != Algorithm::Crc64Nvme) {
                return Err(type_mismatch(Some(other), Algorithm::Crc64Nvme));
            }
            let computed = match self.rules.whole {
                Whole::Right => crc64_text(crc64nvme),
                Whole::Composite | Whole::Wrong => given.clone(),
                Whole::Refused => crc64_text(!crc64nvme),
            };
            if *given != computed {
                return Err(Refusal::bad_digest("CRC64NVME", given, &computed));
            }
        }
        if length > self.rules.max_object {
            let max = self.rules.max_object;
            let message = format!("Your proposed upload exceeds the maximum allowed size: {length} bytes, of {max}.");
            return Err(Refusal::new(400, "EntityTooLarge", message));
        }
        place.check(key, &completion.condition)?;
        if upload.is_broken {
            return Err(Refusal::new(
                400,
                "XAmzContentChecksumMismatch",
                "The provided 'x-amz-checksum' header does not match what was computed.",
            ));
        }

        let etag = multipart_etag(parts.iter().map(|part| &part.received.etag));
        let mut content = C::default();
        for part in &parts {
            content.append(&part.received.content);
        }
        let version = self.new_version_id(bucket)?;
        let place = self.bucket_mut(bucket)?;
        let upload = place.take_upload(key, id)?;
        let object = Object { attributes: upload.attributes, content, etag: etag.clone(), crc64nvme, checksum: None };
        let completed = Completed { version: place.shown(&version), etag, crc64nvme };
        // S3 dates a multipart object by its initiation.
        place.add(key, Version { id: version, modified: upload.initiated, object: Some(object) });
        if self.rules.completes_again {
            self.completed.insert(id.to_owned(), completed.clone());
        }
        Ok(completed)
    }

    fn listed_parts<'a>(&self, upload: &'a Upload<C>, listed: &[ListedPart]) -> Result<Vec<&'a Part<C>>, Refusal> {
        if listed.is_empty() {
            return Err(Refusal::new(
                400,
                "MalformedXML",
                "The XML you provided was not well-formed or did not validate against our published schema: it lists no part.",
            ));
        }
        if !listed.is_sorted_by(|a, b| a.number < b.number) {
            return Err(Refusal::new(
                400,
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            ));
        }
        let fits = |part: &Part<C>, checksum: &Checksum| {
            !self.rules.checksums || part.checksum(checksum.algorithm).as_ref() == Some(&checksum.value)
        };
        let mut parts = Vec::with_capacity(listed.len());
        for (n, entry) in listed.iter().enumerate() {
            let part = upload.parts.get(&entry.number).filter(|part| {
                part.etag() == entry.etag && entry.checksums.iter().all(|checksum| fits(part, checksum))
            });
            let Some(part) = part else {
                let number = entry.number;
                return Err(Refusal::new(
                    400,
                    "InvalidPart",
                    format!(
                        "Part {number} could not be found. It may not have been uploaded, or its ETag or checksum may not match."
                    ),
                ));
            };
            let (length, least) = (part.received.content.length(), self.rules.min_part);
            if n + 1 < listed.len() && length < least {
                return Err(Refusal::new(
                    400,
                    "EntityTooSmall",
                    format!(
                        "Your proposed upload is smaller than the minimum allowed size: part {} has {length} bytes, the \
                         least is {least}.",
                        entry.number
                    ),
                ));
            }
            parts.push(part);
        }
        Ok(parts)
    }
}

/// S3 wants CreateMultipartUpload to announce the algorithm of every part.
fn type_mismatch(expected: Option<Algorithm>, actual: Algorithm) -> Refusal {
    Refusal::invalid_request(format!(
        "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
        expected.map_or("null", Algorithm::name).to_lowercase(),
        actual.name().to_lowercase()
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Versioning;
    use super::super::fixture::{at, object, received, store};
    use super::*;

    const MIN_PART: u64 = 5 << 20;

    fn create(store: &mut Store<Vec<u8>>) -> String {
        store.create_upload("b", "k", Attributes::default(), None, at(10)).unwrap()
    }

    fn part(store: &mut Store<Vec<u8>>, id: &str, number: u32, data: &[u8]) -> ListedPart {
        let etag = store.put_part("b", "k", id, number, received(data), at(11)).unwrap();
        ListedPart { number, etag, checksums: Vec::new() }
    }

    fn completion(parts: &[ListedPart]) -> Completion {
        Completion { parts: parts.to_vec(), crc64nvme: None, size: None, condition: WriteCondition::None }
    }

    fn code(store: &mut Store<Vec<u8>>, id: &str, completion: &Completion) -> &'static str {
        store.complete("b", "k", id, completion).unwrap_err().code
    }

    #[test]
    fn the_object_is_the_parts_joined_and_dated_by_initiation() {
        let mut store = store(Versioning::Enabled);
        let id = create(&mut store);
        let big = vec![7; MIN_PART as usize];
        let listed = [part(&mut store, &id, 2, &big), part(&mut store, &id, 9, b"tail")];
        let whole = object(&[big.as_slice(), b"tail"].concat());
        let good = Completion {
            crc64nvme: Some(crc64_text(whole.crc64nvme)),
            size: Some(MIN_PART + 4),
            ..completion(&listed)
        };
        let completed = store.complete("b", "k", &id, &good).unwrap();
        assert_eq!(completed.crc64nvme, whole.crc64nvme);
        assert!(completed.etag.ends_with("-2"));
        let (version, object) = store.get("b", "k", None).unwrap();
        assert_eq!((version.modified, object.content.length()), (at(10), MIN_PART + 4));
        assert_eq!(Some(&version.id), completed.version.as_ref());
        assert_eq!(code(&mut store, &id, &good), "NoSuchUpload");
    }

    #[test]
    fn a_complete_that_took_effect_is_answered_again_where_the_rules_say_so() {
        let mut store = store(Versioning::Enabled);
        store.rules.completes_again = true;
        let id = create(&mut store);
        let listed = [part(&mut store, &id, 1, b"all")];
        let first = store.complete("b", "k", &id, &completion(&listed)).unwrap();
        assert_eq!(store.complete("b", "k", &id, &completion(&listed)).unwrap(), first);
        assert_eq!(store.bucket("b").unwrap().versions("k").len(), 1);
    }

    #[test]
    fn a_broken_upload_never_completes() {
        let mut store = store(Versioning::Enabled);
        let id = create(&mut store);
        let listed = [part(&mut store, &id, 1, b"all")];
        store.bucket_mut("b").unwrap().open_upload_mut(&id).unwrap().is_broken = true;
        assert_eq!(code(&mut store, &id, &completion(&listed)), "XAmzContentChecksumMismatch");
        assert!(store.bucket("b").unwrap().open_upload(&id).is_some());
    }

    #[test]
    fn a_refused_completion_leaves_the_upload_open() {
        let mut store = store(Versioning::Enabled);
        let id = create(&mut store);
        let first = part(&mut store, &id, 1, &vec![1; MIN_PART as usize]);
        let small = part(&mut store, &id, 2, b"small");
        let last = part(&mut store, &id, 3, b"last");
        let wrong = ListedPart { etag: "0".repeat(32), ..first.clone() };
        let crc = Checksum { algorithm: Algorithm::Crc64Nvme, value: "AAAAAAAAAAA=".to_owned() };
        let unverified = ListedPart { checksums: vec![crc], ..first.clone() };
        let good = completion(&[first.clone(), small.clone()]);
        for (parts, expected) in [
            (vec![], "MalformedXML"),
            (vec![small.clone(), first.clone()], "InvalidPartOrder"),
            (vec![first.clone(), first.clone()], "InvalidPartOrder"),
            (vec![wrong], "InvalidPart"),
            (vec![unverified], "InvalidPart"),
            (vec![ListedPart { number: 4, ..last.clone() }], "InvalidPart"),
            (vec![first, small, last], "EntityTooSmall"),
        ] {
            assert_eq!(code(&mut store, &id, &completion(&parts)), expected);
        }
        let parts = good.parts.clone();
        assert_eq!(code(&mut store, &id, &Completion { size: Some(1), ..completion(&parts) }), "InvalidRequest");
        let crc64nvme = Some("AAAAAAAAAAA=".to_owned());
        assert_eq!(code(&mut store, &id, &Completion { crc64nvme, ..completion(&parts) }), "BadDigest");
        let condition = WriteCondition::Matches("x".to_owned());
        assert_eq!(code(&mut store, &id, &Completion { condition, ..completion(&parts) }), "NoSuchKey");
        assert_eq!(store.get("b", "k", None).unwrap_err().code, "NoSuchKey");
        store.complete("b", "k", &id, &good).unwrap();
    }

    #[test]
    fn a_part_sent_again_replaces_the_earlier_one() {
        let mut store = store(Versioning::Off);
        let id = create(&mut store);
        let old = part(&mut store, &id, 1, b"old");
        let new = part(&mut store, &id, 1, b"newer");
        assert_eq!(code(&mut store, &id, &completion(&[old])), "InvalidPart");
        assert_eq!(store.complete("b", "k", &id, &completion(&[new])).unwrap().version, None);
        assert_eq!(store.get("b", "k", None).unwrap().1.content.length(), 5);
    }

    #[test]
    fn an_aborted_upload_is_gone_and_another_keys_upload_is_not_ours() {
        let mut store = store(Versioning::Enabled);
        let id = create(&mut store);
        assert_eq!(store.upload("b", "other", &id).unwrap_err().code, "NoSuchUpload");
        store.abort("b", "k", &id).unwrap();
        assert_eq!(store.abort("b", "k", &id).unwrap_err().code, "NoSuchUpload");
        assert_eq!(store.put_part("b", "k", &id, 1, received(b""), at(1)).unwrap_err().code, "NoSuchUpload");
    }
}
