//! Stores that have less than S3, or get it wrong: what they refuse is left out, what they say wrongly is not believed, and
//! what is stored is right.

use s3_model::{Accepts, Rules, Whole};

use super::super::*;
use super::world::*;
use crate::Code;
use crate::account::integrity::Integrity;
use crate::machine::Event;
use crate::profile::S3;
use crate::transfer::ReadRequest;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Operations of a put of several parts on a store that takes everything.
const USUAL: [&str; 9] = [
    "GetBucketVersioning",
    "PutObject",
    "ListObjectsV2",
    "PutObject",
    "CreateMultipartUpload",
    "UploadPart",
    "UploadPart",
    "UploadPart",
    "CompleteMultipartUpload",
];

fn texts(world: &World) -> Vec<String> {
    world.events.iter().map(Event::to_string).collect()
}

/// Operations beyond those of [`USUAL`] and the row, sorted.
fn extra(world: &World) -> Vec<&'static str> {
    let mut operations = world.operations();
    for usual in USUAL.iter().chain(&["PutObject"]) {
        let at = operations.iter().position(|operation| operation == usual);
        operations.remove(at.unwrap_or_else(|| panic!("{usual} was not sent: {operations:?}")));
    }
    operations.sort_unstable();
    operations
}

/// Stores a file and a stream of several parts, and a small one, and reads each as it was. Returns the operations that the
/// first put, of the file, had beyond the usual ones.
fn stores_right(rules: Rules) -> (World, Vec<&'static str>) {
    let (mut world, vault, source) = (World::with(rules), vault_on(S3, &[]), large());
    world.run(&mut put_file(&vault, source.len()), &source).unwrap();
    let extra = extra(&world);
    assert!(restored(&mut world, &vault) == source);
    world.log.clear();
    stored(&mut world, &vault, &source, 2);
    assert!(restored(&mut world, &vault) == source);
    world.run(&mut put_file(&vault, 1000), &source[..1000]).unwrap();
    assert!(restored(&mut world, &vault) == source[..1000]);
    stored(&mut world, &vault, b"", 3);
    (world, extra)
}

/// The newest version, as its objects have it.
fn restored(world: &mut World, vault: &Arc<Vault>) -> Vec<u8> {
    let found = find(world, vault, Selector::Latest).unwrap();
    let (manifest, length) = (Arc::new(found.manifest.clone()), found.row.bytes);
    let read = Read::new(vault.clone(), manifest, ReadRequest::default(), 1).unwrap();
    world.run(&mut { read }, &[]).unwrap();
    let extent = &found.manifest.extents[0];
    let version = world.versions(&extent.key).iter().find(|version| Some(&version.id) == extent.version_id.as_ref());
    let bytes = version.unwrap().content().unwrap().clone();
    assert_eq!(bytes.len() as u64, length);
    bytes
}

#[test]
fn a_store_that_takes_everything_costs_no_extra_request() {
    let (world, extra) = stores_right(Rules::default());
    assert_eq!((extra, texts(&world)), (vec![], vec![]));
}

#[test]
fn a_store_that_refuses_trailers_gets_headers() {
    let (world, extra) = stores_right(Rules { accepts: Accepts::Headers, ..Rules::default() });
    assert_eq!(extra, ["UploadPart"], "the one part that was in flight");
    let [text] = &texts(&world)[..] else { panic!("{:?}", texts(&world)) };
    assert!(text.contains("refuses checksums in trailers (501 NotImplemented)"), "{text}");
}

#[test]
fn a_store_that_refuses_checksums_gets_md5() {
    let (world, extra) = stores_right(Rules { accepts: Accepts::Md5, checksums: false, ..Rules::default() });
    assert_eq!(extra, ["CreateMultipartUpload", "HeadObject"], "which compares the size and the parts");
    let [text] = &texts(&world)[..] else { panic!("{:?}", texts(&world)) };
    assert!(text.contains("refuses the checksum CRC64NVME (501 NotImplemented)"), "{text}");
    assert!(text.contains("Content-MD5"), "{text}");
}

#[test]
fn a_first_backup_that_is_small_finds_out_too() {
    let rules = Rules { accepts: Accepts::Md5, checksums: false, ..Rules::default() };
    for is_file in [true, false] {
        let (mut world, vault) = (World::with(rules.clone()), vault_on(S3, &[]));
        let mut put = if is_file { put_file(&vault, 5) } else { put(&vault, None, 1) };
        world.run(&mut put, b"small").unwrap();
        assert_eq!(restored(&mut world, &vault), b"small");
        assert_eq!(texts(&world).len(), 1);
    }
}

#[test]
fn a_part_is_compared_with_its_first_reading_when_it_is_hashed_again() {
    let rules = Rules { accepts: Accepts::Md5, checksums: false, ..Rules::default() };
    let (mut world, vault) = (World::with(rules), vault_on(S3, &[]));
    let mut put = put_file(&vault, 5);
    while vault.account().integrity().level() != Integrity::Md5 {
        assert!(world.run_until(&mut put, b"small", 1).is_none());
    }
    let e = world.run(&mut put, b"other").unwrap_err();
    assert_eq!((e.code(), world.keys("vm/").len()), (Code::SourceChanged, 0), "{e}");
}

#[test]
fn a_store_that_keeps_the_framing_as_data_is_found_out_by_the_first_part() {
    let rules = Rules { keeps_framing: true, checksums: false, ..Rules::default() };
    let (world, extra) = stores_right(rules);
    assert_eq!(extra, ["HeadObject", "ListParts", "UploadPart"], "the one part that was sent with a trailer");
    let [text] = &texts(&world)[..] else { panic!("{:?}", texts(&world)) };
    assert!(text.contains("keeps the lengths of chunks and the trailer as data"), "{text}");
}

#[test]
fn a_store_that_compares_the_checksum_with_the_framing_gets_headers() {
    let (world, extra) = stores_right(Rules { keeps_framing: true, ..Rules::default() });
    assert_eq!(extra, ["UploadPart"; 18], "the attempts of the parts in flight");
    assert!(texts(&world)[0].contains("refuses checksums in trailers (400 BadDigest)"), "{:?}", texts(&world));
}

#[test]
fn a_store_that_shows_no_checksums_is_asked_for_one_list_in_all() {
    let (world, extra) = stores_right(Rules { checksums: false, ..Rules::default() });
    assert_eq!((extra, texts(&world)), (vec!["HeadObject", "ListParts"], vec![]));
    assert!(!world.operations().contains(&"ListParts"), "not again");
}

#[test]
fn where_parts_cannot_be_listed_no_trailers_are_used() {
    for (status, code) in [(403, "AccessDenied"), (404, "NoSuchKey"), (501, "NotImplemented")] {
        let rules = Rules { keeps_framing: true, checksums: false, ..Rules::default() };
        let (mut world, vault, source) = (World::with(rules), vault_on(S3, &[]), large());
        world.fault("ListParts", "", Fault::Refused(status, code));
        world.run(&mut put_file(&vault, source.len()), &source).unwrap_or_else(|e| panic!("{code}: {e:?}"));
        assert!(restored(&mut world, &vault) == source);
        let text = texts(&world).concat();
        assert!(text.contains("cannot be checked whether the store understands trailers"), "{text}");
    }
}

#[test]
fn what_a_store_says_of_the_whole_object_is_believed_only_if_it_can_be() {
    for (whole, expected) in [
        (Whole::Composite, vec!["HeadObject"]),
        (Whole::Wrong, vec!["HeadObject"]),
        (Whole::Refused, vec!["CompleteMultipartUpload", "ListParts"]),
    ] {
        let (world, extra) = stores_right(Rules { whole, ..Rules::default() });
        assert_eq!(extra, expected, "{whole:?}");
        let text = texts(&world).concat();
        let is_named = text.contains("the store's checksums of whole objects cannot be trusted");
        let is_wrong = whole != Whole::Composite;
        assert_eq!((is_named, world.events.len()), (is_wrong, usize::from(is_wrong)), "{text}");
        let parts = world.operations().iter().filter(|operation| **operation == "UploadPart").count();
        assert_eq!(parts, 3, "the second put sent each part once");
    }
}

#[test]
fn parts_that_cannot_be_listed_are_not_said_to_be_there() {
    let (mut world, vault, source) =
        (World::with(Rules { whole: Whole::Refused, ..Rules::default() }), vault_on(S3, &[]), large());
    world.fault("ListParts", "", Fault::Refused(403, "AccessDenied"));
    world.run(&mut put_file(&vault, source.len()), &source).unwrap();
    let [text] = &texts(&world)[..] else { panic!("{:?}", texts(&world)) };
    assert!(text.contains("(400 BadDigest, and its parts cannot be listed: 403 AccessDenied)"), "{text}");
}

#[test]
fn an_object_that_was_assembled_from_other_bytes_is_an_error() {
    for rules in [
        Rules { whole: Whole::Wrong, ..Rules::default() },
        Rules { whole: Whole::Composite, ..Rules::default() },
        Rules { checksums: false, ..Rules::default() },
    ] {
        let (mut world, vault, source) = (World::with(rules.clone()), vault_on(S3, &[]), large());
        world.hook(|world, request| {
            if request.operation == "HeadObject" {
                let key = "vm/disk";
                world.body_mut(key).pop();
            }
        });
        let e = world.run(&mut put_file(&vault, source.len()), &source).expect_err(&format!("{rules:?}"));
        assert_eq!(e.code(), Code::Damaged);
        assert!(
            e.message().contains("from other parts than were sent") && e.hint().contains("Store the backup again"),
            "{e}"
        );
        assert!(world.keys("_s3vault/1/cat").is_empty());
    }
}

#[test]
fn a_head_is_sent_without_the_request_for_checksums_where_that_is_refused() {
    for (status, is_lost) in [(501, false), (501, true), (400, false), (400, true)] {
        let (mut world, vault, source) =
            (World::with(Rules { checksums: false, ..Rules::default() }), vault_on(S3, &[]), large());
        world.fault("HeadObject", "", Fault::Refused(status, ""));
        if is_lost {
            world.fault("CompleteMultipartUpload", "", Fault::LostAfter);
        }
        world.run(&mut put_file(&vault, source.len()), &source).unwrap();
        assert!(restored(&mut world, &vault) == source);
        assert_eq!(world.versions("vm/disk").len(), 1);
    }
}

#[test]
fn keys_that_may_not_read_store_on_a_store_that_shows_no_checksums() {
    let rules = Rules { checksums: false, ..Rules::default() };
    let (mut world, vault, source) = (World::with(rules), vault_on(S3, &[]), large());
    world.fault("HeadObject", "", Fault::Refused(403, ""));
    world.run(&mut put_file(&vault, source.len()), &source).unwrap();
    assert!(restored(&mut world, &vault) == source);
}

#[test]
fn a_store_that_refuses_the_checksums_of_a_complete_is_asked_without() {
    for code in ["NotImplemented", "InvalidArgument", "MalformedXML"] {
        let (mut world, vault, source) = (World::new(), vault_on(S3, &[]), large());
        let status = if code == "NotImplemented" { 501 } else { 400 };
        world.fault("CompleteMultipartUpload", "", Fault::Refused(status, code));
        let mut put = put_file(&vault, source.len());
        let mut run = || loop {
            if let Some(result) = world.run_until(&mut put, &source, 1) {
                break result;
            }
            if vault.account().integrity().completes() == crate::account::integrity::Completes::Plain {
                world.accepts(Accepts::Md5);
            }
        };
        run().unwrap();
        assert!(texts(&world)[0].contains("refuses the checksums of a Complete"), "{:?}", texts(&world));
    }
}

#[test]
fn a_lost_complete_is_recognized_by_the_etag_of_its_parts() {
    // As Ceph, B2, Wasabi, Scality and StorageGRID show objects.
    let rules = Rules { checksums: false, ..Rules::default() };
    let (mut world, vault, source) = (World::with(rules), vault_on(S3, &[]), large());
    world.fault("CompleteMultipartUpload", "", Fault::LostAfter);
    world.run(&mut put_file(&vault, source.len()), &source).unwrap();
    assert!(restored(&mut world, &vault) == source);
    assert_eq!(world.versions("vm/disk").len(), 1, "it was not uploaded again");
}

#[test]
fn an_object_that_cannot_be_recognized_is_named() {
    let rules = Rules { checksums: false, ..Rules::default() };
    let (mut world, vault, source) = (World::with(rules), vault_on(S3, &[]), large());
    world.fault("CompleteMultipartUpload", "", Fault::LostAfter);
    for _ in 0..2 {
        world.fault("HeadObject", "", Fault::Says("etag", "\"opaque\""));
    }
    let e = world.run(&mut put_file(&vault, source.len()), &source).unwrap_err();
    assert_eq!(e.code(), Code::OutcomeUnknown);
    assert!(e.message().contains("shows neither its checksum nor an ETag of its parts"), "{e}");
    assert!(e.hint().contains("Remove the checkpoint"), "with it, the next run ends in the same way: {e}");
}

#[test]
fn a_refusal_of_a_store_that_took_trailers_is_about_something_else() {
    let (mut world, vault, source) = (World::new(), vault_on(S3, &[]), large());
    world.run(&mut put_file(&vault, source.len()), &source).unwrap();
    world.fault("UploadPart", "", Fault::Refused(400, "InvalidArgument"));
    let e = world.run(&mut put_file(&vault, source.len()), &source).unwrap_err();
    assert_eq!((e.s3_code(), texts(&world)), ("InvalidArgument", vec![]));
    assert_eq!(vault.account().integrity().level(), Integrity::Trailer);
}
