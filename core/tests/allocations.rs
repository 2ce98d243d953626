//! Memory of a listing: no allocation for a row beyond what the caller keeps, and one page at a time however long the
//! listing is.

#![cfg(not(target_family = "wasm"))]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use s3vault_core::account::Bucket;
use s3vault_core::credentials::Credentials;
use s3vault_core::http::ReplyHead;
use s3vault_core::op::{ListMultipartUploads, ListObjectVersions, ListObjectsV2, ListParts, Pages};
use s3vault_core::settings::Settings;
use s3vault_core::time::Now;
use s3vault_core::{Input, Machine, Output};

/// Counts the system allocator's allocations of each thread separately: the test runner's own thread allocates too.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn took(bytes: usize) {
    COUNT.set(COUNT.get() + 1);
    HELD.set(HELD.get() + bytes as isize);
    PEAK.set(PEAK.get().max(HELD.get()));
}

fn gave(bytes: usize) {
    HELD.set(HELD.get() - bytes as isize);
}

// SAFETY: every call is passed to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller upholds this function's contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        gave(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        gave(layout.size());
        took(size);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const OWNER: &str = "<Owner><ID>75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a</ID></Owner>";
const ETAG: &str = "<ETag>&quot;fba9dede5f27731c9771645a39863328&quot;</ETag>";
const TIME: &str = "2009-10-12T17:50:30.000Z";

/// Writes a page with rows `from..to`, whose keys need decoding, and a marker if more follows.
fn versions(out: &mut String, from: u32, to: u32, more: bool) {
    out.clear();
    out.push_str("<ListVersionsResult><EncodingType>url</EncodingType>");
    for n in from..to {
        write!(
            out,
            "<Version><Key>p/disk%20{n:07}</Key><VersionId>{n:032}</VersionId>{ETAG}<Size>434234</Size></Version>"
        )
        .unwrap();
    }
    let last = to - 1;
    if more {
        let marker = format_args!("p/disk%20{last:07}");
        write!(
            out,
            "<IsTruncated>true</IsTruncated><NextKeyMarker>{marker}</NextKeyMarker>\
             <NextVersionIdMarker>{last:032}</NextVersionIdMarker>"
        )
        .unwrap();
    }
    out.push_str("</ListVersionsResult>");
}

fn page(root: &str, rows: u32, row: impl Fn(u32) -> String) -> String {
    let rows: String = (1..=rows).map(row).collect();
    format!("<{root}><EncodingType>url</EncodingType>{rows}</{root}>")
}

/// Number of allocations when visiting this page, if nothing is kept.
fn allocations(visit: &dyn Fn(&[u8]) -> u32, page: &str, rows: u32) -> usize {
    let before = COUNT.get();
    let seen = visit(page.as_bytes());
    let count = COUNT.get() - before;
    assert_eq!(seen, rows, "all rows were visited");
    count
}

#[test]
fn a_row_allocates_nothing() {
    type Visit = Box<dyn Fn(&[u8]) -> u32>;
    type Element<'a> = &'a dyn Fn(u32) -> String;
    macro_rules! visit {
        ($op:expr) => {
            Box::new(|body| {
                let mut seen = 0;
                $op.each_row(body, |row| {
                    black_box(row);
                    seen += 1;
                    Ok(())
                })
                .unwrap();
                seen
            })
        };
    }
    let object = |n: u32| {
        format!(
            "<Contents><Key>a%20{n:07}</Key><LastModified>{TIME}</LastModified>{ETAG}<Size>1</Size>{OWNER}</Contents>"
        )
    };
    let upload = |n: u32| {
        format!(
            "<Upload><Key>a%20{n:07}</Key><UploadId>u{n:07}</UploadId><Initiated>{TIME}</Initiated>{OWNER}</Upload>"
        )
    };
    let part = |n: u32| {
        format!("<Part><PartNumber>{n}</PartNumber><LastModified>{TIME}</LastModified>{ETAG}<Size>10</Size></Part>")
    };
    let prefix = |n: u32| format!("<CommonPrefixes><Prefix>a%20{n:07}/</Prefix></CommonPrefixes>");
    let version = |n: u32| {
        format!(
            "<Version><Key>a%20{n:07}</Key><VersionId>v{n:07}</VersionId><LastModified>{TIME}</LastModified>{ETAG}<Size>1</Size>{OWNER}</Version>"
        )
    };
    let listings: Vec<(&str, Visit, Element<'_>)> = vec![
        ("ListVersionsResult", visit!(ListObjectVersions::default()), &version),
        ("ListBucketResult", visit!(ListObjectsV2::default()), &object),
        ("ListBucketResult", visit!(ListObjectsV2::default()), &prefix),
        ("ListMultipartUploadsResult", visit!(ListMultipartUploads::default()), &upload),
        ("ListPartsResult", visit!(ListParts::default()), &part),
    ];
    for (root, visit, row) in &listings {
        let short = allocations(visit, &page(root, 10, row), 10);
        let long = allocations(visit, &page(root, 1000, row), 1000);
        assert!((1..=40).contains(&long), "{root}: {long} allocations for 1,000 rows");
        assert_eq!(short, long, "{root}: the same for ten rows");
    }
}

fn bucket() -> Arc<Bucket> {
    let mut settings = Settings::new();
    for (name, value) in
        [("api_url", "http://127.0.0.1:9"), ("bucket", "bkt"), ("access_key", "A"), ("secret_key", "S")]
    {
        settings.set(name, value).unwrap();
    }
    Arc::new(Bucket::from_settings(&settings, Credentials::from_settings(&settings).unwrap()).unwrap())
}

/// Lists this many pages of 1,000 rows, which are written as they are requested. Returns the number of rows.
fn list(count: u32) -> u64 {
    let mut pages = Pages::new(&bucket(), ListObjectVersions { prefix: "p/".into(), ..Default::default() });
    let now = Now { unix_ms: 1_764_000_000_000, mono_ms: 0 };
    let (mut xml, mut asked, mut rows) = (String::new(), 0, 0);
    while let Some(mut machine) = pages.next(1) {
        let page = loop {
            match machine.poll(now) {
                Output::Send(request) => {
                    let from = asked * 1000;
                    assert_eq!(
                        asked > 0,
                        request.url.contains(&format!("key-marker=p%2Fdisk%20{:07}", from.max(1) - 1))
                    );
                    asked += 1;
                    versions(&mut xml, from, asked * 1000, asked < count);
                    machine
                        .handle(now, Input::Head { id: request.id, head: ReplyHead { status: 200, headers: vec![] } });
                    machine.handle(now, Input::Body { id: request.id, bytes: xml.as_bytes() });
                    machine.handle(now, Input::End { id: request.id });
                }
                Output::Done(page) => break page.unwrap(),
                _ => panic!("a listing only sends"),
            }
        };
        rows += page.versions.len() as u64;
        pages.after(&page);
    }
    rows
}

fn peak_of(count: u32) -> isize {
    let before = HELD.get();
    PEAK.set(before);
    assert_eq!(list(count), u64::from(count) * 1000);
    PEAK.get() - before
}

#[test]
fn a_million_rows_hold_one_page() {
    let (few, many) = (peak_of(3), peak_of(1000));
    assert!(0 < few && many < few + few / 8, "three pages hold {few} bytes, a thousand {many}");
    assert!(many < 3 << 20, "a page of 1,000 rows, as it came and as it was read: {many} bytes");
}
