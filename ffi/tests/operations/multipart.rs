//! Uploads in parts.

use s3vault::Code;
use s3vault::op::{
    AbortMultipartUpload, CompleteMultipartUpload, CompletedPart, Content, CopySource, CreateMultipartUpload,
    CustomerKey, Encryption, GetObject, HeadObject, ListMultipartUploads, ListParts, Paged, PutObject, UploadListing,
    UploadPartCopy, UploadedPart,
};
use s3vault_core::checksum::digest;

use crate::bytes::UploadBytes;
use crate::{Bucket, assert_has_not, assert_refused, bare, world};

const KEY: &str = "m p/é+";

fn create_upload(bucket: &Bucket, key: &str) -> String {
    let headers = vec![("x-amz-meta-of".into(), "parts".into())];
    bucket.must(CreateMultipartUpload { key: key.into(), headers, encryption: Encryption::default(), checksum: true })
}

fn abort(key: &str, upload_id: &str) -> AbortMultipartUpload {
    AbortMultipartUpload { key: key.into(), upload_id: upload_id.into() }
}

fn list_parts(upload_id: &str) -> ListParts {
    ListParts { key: KEY.into(), upload_id: upload_id.into(), ..ListParts::default() }
}

/// Bytes that differ from part to part and do not repeat soon.
fn bytes(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

/// Leaves the checksums out of a Complete, for stores that keep none of copied parts.
fn leave_out_checksums(op: &mut CompleteMultipartUpload) {
    op.crc64nvme = None;
    op.parts.iter_mut().for_each(|part| part.crc64nvme = None);
}

fn complete(upload_id: &str, parts: &[(u32, &str, &[u8])]) -> CompleteMultipartUpload {
    let whole: Vec<u8> = parts.iter().flat_map(|(_, _, bytes)| *bytes).copied().collect();
    let part = |(number, etag, bytes): &(u32, &str, &[u8])| CompletedPart {
        number: *number,
        etag: (*etag).to_owned(),
        crc64nvme: Some(digest(bytes).crc64nvme),
    };
    CompleteMultipartUpload {
        key: KEY.into(),
        upload_id: upload_id.into(),
        parts: parts.iter().map(part).collect(),
        crc64nvme: Some(digest(&whole).crc64nvme),
        size: whole.len() as u64,
        encryption: Encryption::default(),
    }
}

#[test]
fn an_object_is_made_of_parts() {
    let (bucket, profile) = (Bucket::versioned("parts"), &world().profile);
    let large = 5 << 20;
    let contents = [bytes(1, large), bytes(2, large + 1), bytes(3, 1000)];
    let upload_id = create_upload(&bucket, KEY);
    assert!(bucket.must(list_parts(&upload_id)).parts.is_empty());
    let mut etags = Vec::new();
    for (number, content) in (1..).zip(&contents) {
        let UploadedPart { etag, crc64nvme } = bucket.must(UploadBytes::new(KEY, &upload_id, number, content));
        assert_eq!(crc64nvme, profile.checksums.then_some(digest(content).crc64nvme));
        etags.push(etag);
    }

    let pages = bucket.pages(ListParts { max_parts: Some(1), ..list_parts(&upload_id) });
    assert_eq!(pages.len(), 3, "{pages:?}");
    for (n, part) in pages.iter().flat_map(|page| &page.parts).enumerate() {
        assert_eq!((part.number as usize, part.size as usize), (n + 1, contents[n].len()));
        assert_eq!(bare(&part.etag), bare(&etags[n]), "{part:?}");
    }

    let parts: Vec<(u32, &str, &[u8])> =
        (1..).zip(&etags).zip(&contents).map(|((number, etag), content)| (number, &**etag, &**content)).collect();
    let op = complete(&upload_id, &parts);
    bucket.must(op.clone());
    assert!(bucket.get(KEY) == contents.concat());
    let found = bucket.must(HeadObject { key: KEY.into(), ..HeadObject::default() });
    assert_eq!((found.size, found.meta("of")), (Some(op.size), Some("parts")));
    assert!(bare(&found.etag).ends_with("-3"), "{found:?}");
    match bucket.call(op) {
        Ok(_) => assert!(profile.completes_again),
        Err(e) => assert!(!profile.completes_again && e.code() == Code::NotFound, "{e:?}"),
    }
}

#[test]
fn parts_are_copied() {
    let (bucket, profile) = (Bucket::fresh("part-copies"), &world().profile);
    let content = bytes(4, (5 << 20) + 1000);
    let key = "source é+";
    bucket.put(key, &content);
    let checksum = profile.part_copy_checksums;
    let upload_id = bucket.must(CreateMultipartUpload {
        key: KEY.into(),
        headers: Vec::new(),
        encryption: Encryption::default(),
        checksum,
    });
    let copy = |number, range| UploadPartCopy {
        key: KEY.into(),
        upload_id: upload_id.clone(),
        number,
        source: CopySource { bucket: bucket.name.clone(), key: key.into(), ..CopySource::default() },
        range,
        encryption: Encryption::default(),
    };
    if !profile.part_copy {
        assert_has_not(&bucket.refused(copy(1, None)));
        return;
    }
    let (whole, piece) = (bucket.must(copy(1, None)), bucket.must(copy(2, Some((10, 500)))));
    let mut of_nothing = copy(3, None);
    of_nothing.source.key = "not-there".into();
    assert_eq!(bucket.refused(of_nothing).code(), Code::NotFound);
    let parts = [(1, &*whole.etag, &*content), (2, &*piece.etag, &content[10..510])];
    for part in bucket.must(list_parts(&upload_id)).parts {
        let (number, etag, bytes) = parts[part.number as usize - 1];
        assert_eq!((part.number, part.size, bare(&part.etag)), (number, bytes.len() as u64, bare(etag)));
    }
    let mut op = complete(&upload_id, &parts);
    if !checksum {
        leave_out_checksums(&mut op);
    }
    bucket.must(op);
    assert!(bucket.get(KEY) == [&content[..], &content[10..510]].concat());
}

#[test]
fn customer_keys_encrypt_an_upload() {
    let (bucket, profile) = (Bucket::fresh("sse-c-parts"), &world().profile);
    let sse_c = |byte: u8| Encryption::SseC(CustomerKey::new([byte; 32]));
    let (encryption, other) = (sse_c(7), sse_c(8));
    let (key, checksum) = (KEY.to_owned(), profile.part_copy_checksums);
    let create = CreateMultipartUpload { key, headers: Vec::new(), encryption: encryption.clone(), checksum };
    let (first, second) = (bytes(5, 5 << 20), bytes(6, 1000));
    let created = bucket.call(create);
    if !profile.sse_c {
        // The store refuses the key, or ignores it. versitygw repeats the headers of a part that it stores in the clear:
        // only reading the object without the key shows that.
        let upload_id = match created {
            Ok(upload_id) => upload_id,
            Err(e) => return assert_has_not(&e),
        };
        let mut part = UploadBytes::new(KEY, &upload_id, 1, &first);
        part.op.encryption = encryption;
        match bucket.call(part) {
            Ok(part) => {
                let mut op = complete(&upload_id, &[(1, &part.etag, &first)]);
                if !checksum {
                    leave_out_checksums(&mut op);
                }
                bucket.must(op);
                assert!(bucket.get(KEY) == first);
            }
            Err(e) => assert_has_not(&e),
        }
        return;
    }
    let upload_id = created.unwrap();
    let upload = |number, content: &[u8], encryption: &Encryption| {
        let mut part = UploadBytes::new(KEY, &upload_id, number, content);
        part.op.encryption = encryption.clone();
        part
    };
    let e = bucket.refused(upload(1, &first, &other));
    assert!(matches!(e.status(), 400 | 403), "{e:?}");
    let part = bucket.must(upload(1, &first, &encryption));
    let copied = if profile.part_copy && profile.sse_c_copy {
        let source = PutObject::new("source", Content::Bytes(second.clone().into()), Vec::new());
        bucket.must(PutObject { encryption: other.clone(), ..source });
        let customer_key = other.customer_key().cloned();
        let source =
            CopySource { bucket: bucket.name.clone(), key: "source".into(), customer_key, ..CopySource::default() };
        let (key, upload_id, encryption) = (KEY.into(), upload_id.clone(), encryption.clone());
        bucket.must(UploadPartCopy { key, upload_id, number: 2, source, range: None, encryption }).etag
    } else {
        bucket.must(upload(2, &second, &encryption)).etag
    };
    let listed = bucket.must(ListParts { encryption: encryption.clone(), ..list_parts(&upload_id) });
    assert_eq!(listed.parts.iter().map(|part| part.size).collect::<Vec<_>>(), [5 << 20, 1000]);
    let mut op = complete(&upload_id, &[(1, &part.etag, &first), (2, &copied, &second)]);
    op.encryption = encryption.clone();
    if !checksum {
        leave_out_checksums(&mut op);
    }
    bucket.must(op);
    let get = |encryption| GetObject { encryption, ..GetObject::new(KEY, 6 << 20) };
    assert!(bucket.must(get(encryption)) == [first, second].concat());
    for wrong in [Encryption::default(), other] {
        assert_eq!(bucket.refused(get(wrong)).code(), Code::WrongKey);
    }
}

#[test]
fn a_missing_upload_is_not_found() {
    let bucket = Bucket::fresh("no-upload");
    let upload_id = create_upload(&bucket, KEY);
    let etag = bucket.must(UploadBytes::new(KEY, &upload_id, 1, b"x")).etag;
    let op = complete(&upload_id, &[(1, &etag, b"x")]);
    bucket.must(abort(KEY, &upload_id));
    assert_eq!(bucket.refused(UploadBytes::new(KEY, &upload_id, 1, b"x")).code(), Code::NotFound);
    assert_eq!(bucket.refused(list_parts(&upload_id)).code(), Code::NotFound);
    let e = bucket.refused(op);
    if world().profile.complete_knows_uploads {
        assert_eq!(e.code(), Code::NotFound, "{e:?}");
    } else {
        assert_eq!(e.status(), 500, "{e:?}");
    }
    match bucket.call(abort(KEY, &upload_id)) {
        Ok(()) => assert!(world().profile.aborts_again),
        Err(e) => assert!(!world().profile.aborts_again && e.code() == Code::NotFound, "{e:?}"),
    }
    assert_eq!(bucket.refused(HeadObject { key: KEY.into(), ..HeadObject::default() }).code(), Code::NotFound);
    let create = CreateMultipartUpload {
        key: KEY.into(),
        headers: Vec::new(),
        encryption: Encryption::default(),
        checksum: true,
    };
    assert_eq!(Bucket::absent("upload-bucket").refused(create).code(), Code::NoSuchBucket);
}

#[test]
fn mismatched_parts_are_refused() {
    let (bucket, checksums) = (Bucket::fresh("wrong-parts"), world().profile.checksums);
    let upload_id = create_upload(&bucket, KEY);
    let damaged = UploadBytes::with_digest(KEY, &upload_id, 1, b"x", digest(b"y"));
    match bucket.call(damaged) {
        Ok(_) => assert!(!checksums),
        Err(e) => assert!(checksums && e.code() == Code::Store && e.status() == 400, "{e:?}"),
    }
    let etag = bucket.must(UploadBytes::new(KEY, &upload_id, 1, b"x")).etag;
    let other = complete(&upload_id, &[(1, "\"00000000000000000000000000000000\"", b"x")]);
    assert_refused(&bucket.refused(other), 400, "InvalidPart");
    let mut op = complete(&upload_id, &[(1, &etag, b"x")]);
    op.crc64nvme = Some(digest(b"y").crc64nvme);
    match bucket.call(op) {
        Ok(_) => assert!(!checksums),
        Err(e) => assert!(checksums && e.status() == 400, "{e:?}"),
    }
    if checksums {
        bucket.must(complete(&upload_id, &[(1, &etag, b"x")]));
    }
    assert_eq!(bucket.get(KEY), b"x");
}

#[test]
fn a_part_that_is_too_small_may_only_be_the_last() {
    let (bucket, least) = (Bucket::fresh("small-parts"), world().profile.min_part_size as usize);
    let content = bytes(5, least);
    let finish = |length: usize| {
        let upload_id = create_upload(&bucket, KEY);
        let etag = |number, bytes| bucket.must(UploadBytes::new(KEY, &upload_id, number, bytes)).etag;
        let (first, second) = (etag(1, &content[..length]), etag(2, b"x"));
        bucket.call(complete(&upload_id, &[(1, &first, &content[..length]), (2, &second, b"x")]))
    };
    finish(least).unwrap();
    assert!(bucket.get(KEY) == [&content[..], b"x"].concat());
    if least > 1 {
        assert_refused(&finish(least - 1).unwrap_err(), 400, "EntityTooSmall");
    }
}

fn uploads(pages: &[UploadListing]) -> Vec<(&str, &str)> {
    pages.iter().flat_map(|page| &page.uploads).map(|upload| (&*upload.key, &*upload.upload_id)).collect()
}

#[test]
fn uploads_are_listed_in_pages() {
    let (bucket, profile) = (Bucket::fresh("uploads"), &world().profile);
    let first = ListMultipartUploads { plain: !profile.says_upload_encoding, ..ListMultipartUploads::default() };
    assert_eq!(uploads(&bucket.pages(first.clone())), []);
    let mut all = Vec::new();
    for key in [KEY, "m p/é+", "m p/x%2Fy", "other"] {
        all.push((key, create_upload(&bucket, key)));
    }
    let sorted = |mut found: Vec<(&str, &str)>| {
        found.sort_unstable();
        found.into_iter().map(|(key, id)| (key.to_owned(), id.to_owned())).collect::<Vec<_>>()
    };
    let expected = |prefix: &str| {
        sorted(all.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(key, id)| (*key, &**id)).collect())
    };
    let whole = bucket.pages(first.clone());
    assert_eq!(sorted(uploads(&whole)), expected(""));
    assert!(whole.iter().flat_map(|page| &page.uploads).all(|upload| upload.initiated_ms.is_some()), "{whole:?}");

    let encoded = ListMultipartUploads { plain: false, ..first.clone() };
    assert_eq!(sorted(uploads(&bucket.pages(encoded))) == expected(""), profile.says_upload_encoding);

    let of_key = bucket.pages(ListMultipartUploads { prefix: KEY.into(), ..first.clone() });
    assert_eq!(sorted(uploads(&of_key)), expected(KEY));
    let in_pages = ListMultipartUploads { max_uploads: Some(1), ..first.clone() };
    if profile.pages_uploads {
        let pages = bucket.pages(in_pages);
        assert!(pages.iter().all(|page| page.uploads.len() <= 1), "{pages:?}");
        assert_eq!(sorted(uploads(&pages)), expected(""));
    } else {
        let page = bucket.must(in_pages.clone());
        match in_pages.next(&page) {
            None => assert_eq!(sorted(uploads(&[page])), expected("")),
            Some(second) => assert_has_not(&bucket.refused(second)),
        }
    }
    let below = bucket.pages(ListMultipartUploads { prefix: "m p/".into(), ..first.clone() });
    assert_eq!(sorted(uploads(&below)), if profile.upload_prefixes { expected("m p/") } else { vec![] });

    for (key, upload_id) in &all {
        bucket.must(abort(key, upload_id));
    }
    assert_eq!(uploads(&bucket.pages(first)), []);
}
