//! Slow parts among many, and stores that ask to slow down: concurrent requests on a simulated network.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use super::world::*;
use crate::Error;
use crate::checksum::{crc_text, digest};
use crate::http::{Body, ReplyHead, Request, RequestId};
use crate::machine::{Input, Machine, Output, PartRequest};
use crate::op::testing::confirmed;
use crate::time::Now;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const PART: u64 = 8 << 20;

/// Status and delay in milliseconds of the answer to an UploadPart, given how many were sent before it.
type Answers = fn(usize) -> (u16, u64);

/// Record of a backup.
#[derive(Default)]
struct Story {
    /// Number of parts in flight when each UploadPart was sent, itself included.
    under_way: Vec<usize>,
    abandoned: usize,
    /// Duration in milliseconds.
    took: u64,
}

/// Stores a file of this many parts, whose contents do not matter.
fn back_up(parts: u64, answers: Answers) -> (Result<Found, Error>, Story) {
    let vault = vault(&[]);
    let mut put = Put::new(vault, request(None, Some(parts * PART), 1)).unwrap();
    let (mut story, mut now, mut count) = (Story::default(), 0, 0);
    let mut under_way: BTreeSet<RequestId> = BTreeSet::new();
    let mut coming: BTreeMap<(u64, u64), (Request, u16)> = BTreeMap::new();
    let at = |mono_ms: u64| Now { unix_ms: START + mono_ms as i64, mono_ms };
    for _ in 0..100_000 {
        match put.poll(at(now)) {
            Output::Send(request) => {
                count += 1;
                let (mut status, mut delay) = (200, 10);
                if request.operation == "UploadPart" {
                    (status, delay) = answers(story.under_way.len());
                    under_way.insert(request.id);
                    story.under_way.push(under_way.len());
                }
                if let Body::Part(_) = request.body {
                    put.handle(at(now), Input::PartSent { id: request.id, digest: digest(b"part") });
                }
                put.handle(at(now), Input::Sent { id: request.id });
                coming.insert((now + delay, count), (request, status));
            }
            Output::Abandon(id) => {
                story.abandoned += 1;
                under_way.remove(&id);
                coming.retain(|_, (request, _)| request.id != id);
            }
            Output::NeedPart(PartRequest { number, length, hash_first, .. }) => {
                let digest = hash_first.then(|| digest(b"part"));
                put.handle(
                    at(now),
                    Input::PartReady { number, length, digest, last: u64::from(number) == parts, salt: None },
                );
            }
            Output::Wait(until) => {
                let next = coming.first_key_value().map(|((time, _), _)| *time);
                let soonest = next.into_iter().chain(until).min().expect("something comes");
                now = now.max(soonest);
                if next == Some(soonest)
                    && let Some((_, (request, status))) = coming.pop_first()
                {
                    under_way.remove(&request.id);
                    answer(&mut put, at(now), &request, status);
                }
            }
            Output::Done(result) => {
                story.took = now;
                return (result, story);
            }
            Output::Start(_) | Output::ReleasePart(_) => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("it does not end");
}

fn answer(put: &mut Put, now: Now, request: &Request, status: u16) {
    let id = request.id;
    let body = match request.operation {
        _ if status == 503 => "<Error><Code>SlowDown</Code></Error>",
        "GetBucketVersioning" => "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        "ListObjectsV2" => "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
        "CreateMultipartUpload" => {
            "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        }
        "CompleteMultipartUpload" => &confirmed(request),
        _ => "",
    };
    let crc = crc_text(digest(b"part").crc64nvme);
    let headers = [("etag", "\"e\""), ("x-amz-version-id", "v1"), ("x-amz-checksum-crc64nvme", &*crc)];
    let headers = headers.map(|(n, v)| (n.to_owned(), v.to_owned()));
    put.handle(now, Input::Head { id, head: ReplyHead { status, headers: headers.to_vec() } });
    put.handle(now, Input::Body { id, bytes: body.as_bytes() });
    put.handle(now, Input::End { id });
}

#[test]
fn one_slow_part_of_a_hundred_is_not_waited_for() {
    let (result, story) = back_up(100, |sent| (200, if sent == 60 { 600_000 } else { 50 }));
    result.unwrap();
    assert_eq!((story.under_way.len(), story.abandoned), (101, 1));
    assert!(story.took < 10_000, "{} ms", story.took);
}

#[test]
fn slow_first_parts_are_waited_for_since_nothing_is_known_yet() {
    let (result, story) = back_up(100, |sent| (200, if sent == 3 { 60_000 } else { 50 }));
    result.unwrap();
    assert_eq!((story.under_way.len(), story.abandoned), (100, 0));
}

#[test]
fn a_store_that_became_slow_is_hedged_a_few_times_only() {
    let (result, story) = back_up(200, |sent| (200, if sent < 30 { 50 } else { 20_000 }));
    result.unwrap();
    assert!((1..=4 + 10).contains(&story.abandoned), "{} hedges", story.abandoned);
    assert_eq!(story.under_way.len(), 200 + story.abandoned);
}

#[test]
fn a_slow_down_halves_the_parts_in_flight() {
    let (result, story) = back_up(60, |sent| (if sent == 2 { 503 } else { 200 }, 50));
    result.unwrap();
    assert_eq!(story.under_way.len(), 61);
    assert_eq!(story.under_way[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(story.under_way[10..].iter().all(|under_way| *under_way <= 4), "{:?}", story.under_way);
    let (_, story) = back_up(2_000, |_| (200, 1_000));
    assert_eq!(story.under_way.iter().max(), Some(&32), "else it takes what helps");
}
