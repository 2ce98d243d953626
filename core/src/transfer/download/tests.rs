//! Any parts and slices, over a connection that breaks and changes bytes: a download delivers the exact bytes, or ends
//! with an error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::account::Bucket;
use crate::checksum::{Digester, digest};
use crate::credentials::Credentials;
use crate::http::{ReplyBody, ReplyHead, Request, RequestId, TransportFailure};
use crate::settings::Settings;
use crate::transfer::WINDOW;
use crate::transfer::stored_form::tests::segments_of;

const SMALL: u64 = 1024;

fn session() -> Session {
    let mut settings = Settings::new();
    let own = [("api_url", "http://127.0.0.1:9000"), ("bucket", "bkt"), ("access_key", "A"), ("secret_key", "S")];
    for (key, value) in own {
        settings.set(key, value).unwrap();
    }
    let credentials = Credentials::from_settings(&settings).unwrap();
    Session::new(&Arc::new(Bucket::from_settings(&settings, credentials).unwrap()), 1)
}

fn bytes(length: u64) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn pieces(lengths: &[u64]) -> (Vec<u8>, Vec<Piece>) {
    pieces_as(StoredForm::PLAIN, lengths)
}

/// The stored bytes of a backup in this form, and its pieces.
fn pieces_as(form: StoredForm, lengths: &[u64]) -> (Vec<u8>, Vec<Piece>) {
    let data = bytes(lengths.iter().map(|length| form.stored(*length)).sum());
    let (mut offset, mut start) = (0, 0);
    let pieces = lengths.iter().zip(0..).map(|(&length, number)| {
        let stored = form.stored(length);
        let hash = PartHash::new(stored, &digest(&data[start as usize..(start + stored) as usize]));
        let (key, version_id, encryption) = ("k".into(), None, Encryption::default());
        let object = data.len() as u64;
        let piece = Piece {
            number,
            key,
            version_id,
            etag: None,
            encryption,
            start,
            object,
            offset,
            length,
            hash,
            form,
            verified: true,
        };
        (offset, start) = (offset + length, start + stored);
        piece
    });
    let pieces = pieces.collect();
    (data, pieces)
}

/// What the connection does to a request.
#[derive(Clone, Copy, Debug)]
enum Line {
    Good,
    /// Breaks after this share of the bytes, of 255.
    Breaks(u8),
    Flips(u8),
    /// The connection fails before the reply starts.
    Refuses,
}

#[derive(Default)]
struct Run {
    /// The reading and the bytes of each slice that is in flight or arrived.
    kept: BTreeMap<u32, (u32, Vec<u8>)>,
    /// The ranges that were served (start, end), and for which reading.
    served: Vec<(u64, u64, u32)>,
    delivered: BTreeMap<u32, (Range, Vec<u8>)>,
    /// Maximum number of slices in memory at once.
    most: usize,
}

impl Run {
    /// Runs a download to its end; `pick` chooses which request in flight is answered next.
    fn run(
        &mut self,
        download: &mut Download,
        data: &[u8],
        mut line: impl FnMut() -> Line,
        mut pick: impl FnMut(usize) -> usize,
    ) -> Result<()> {
        let mut session = session();
        let mut under_way: Vec<Request> = Vec::new();
        let mut now = Now { unix_ms: 1_764_000_000_000, mono_ms: 0 };
        let (mut consumed, mut requests) = (0, 0);
        loop {
            match download.poll(&mut session, now) {
                Output::Send(request) => under_way.push(request),
                Output::Abandon(id) => under_way.retain(|request| request.id != id),
                Output::Accept(range) => {
                    let (_, bytes) = self.kept.remove(&range.index).expect("only what came is accepted");
                    assert!(self.delivered.insert(range.index, (range, bytes)).is_none(), "accepted twice");
                    // The reader consumes slices in order.
                    while self.delivered.contains_key(&consumed) {
                        download.handle(&mut session, now, &Input::RangeConsumed { index: consumed });
                        consumed += 1;
                    }
                }
                Output::Done(result) => return result,
                Output::Event(_) => {}
                Output::Wait(at) => {
                    self.most = self.most.max(self.kept.len() + self.delivered.len() - consumed as usize);
                    if under_way.is_empty() {
                        now.mono_ms = at.expect("something is waited for");
                        continue;
                    }
                    requests += 1;
                    assert!(requests < 20_000, "requests do not end");
                    let request = under_way.remove(pick(under_way.len()));
                    self.answer(download, &mut session, now, &request, data, line());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn answer(
        &mut self,
        download: &mut Download,
        session: &mut Session,
        now: Now,
        request: &Request,
        data: &[u8],
        line: Line,
    ) {
        let ReplyBody::Range(range) = request.reply else { panic!("not a range") };
        let id = request.id;
        let failure = TransportFailure { code: Code::ConnectionLost, maybe_sent: true, detail: "broke".into() };
        if matches!(line, Line::Refuses) {
            return download.handle(session, now, &Input::Failed { id, failure });
        }
        let asked = request.headers.iter().find(|(name, _)| name == "range");
        let (from, to) = match asked {
            None => (0, data.len() as u64),
            Some((_, text)) => {
                let (from, last) = text.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                (from.parse::<u64>().unwrap(), last.parse::<u64>().unwrap() + 1)
            }
        };
        let mut body = data[from as usize..to as usize].to_vec();
        match line {
            Line::Breaks(share) => body.truncate(body.len() * usize::from(share) / 256),
            Line::Flips(share) if !body.is_empty() => {
                let at = body.len() * usize::from(share) / 256;
                body[at] ^= 1;
            }
            _ => {}
        }
        self.served.push((from, from + body.len() as u64, range.reading));
        let headers = vec![("content-range".into(), format!("bytes {from}-{}/{}", to.max(1) - 1, data.len()))];
        let head = ReplyHead { status: if asked.is_some() { 206 } else { 200 }, headers };
        download.handle(session, now, &Input::Head { id, head });
        let kept = self.kept.entry(range.index).or_default();
        if kept.0 != range.reading {
            *kept = (range.reading, Vec::new());
        }
        assert_eq!(kept.1.len() as u64, range.done, "it resumes where it stopped");
        kept.1.extend_from_slice(&body);
        let length = kept.1.len() as u64;
        if matches!(line, Line::Breaks(_)) && length < range.stored {
            download.handle(session, now, &Input::RangeProgress { id, length });
            return download.handle(session, now, &Input::Failed { id, failure });
        }
        let mut digester = Digester::of(range.hash);
        digester.update(&kept.1);
        let digest = digester.finish();
        download.handle(session, now, &Input::RangeEnd { id, length, digest });
    }

    /// The delivered bytes, in order.
    fn bytes(&self) -> Vec<u8> {
        self.delivered.values().flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}

fn download(pieces: &[Piece], delivery: Delivery, slice: u64) -> Download {
    Download::sliced(pieces, &ReadRequest { delivery, ..ReadRequest::default() }, true, slice)
}

fn lines() -> impl Strategy<Value = Line> {
    prop_oneof![
        6 => Just(Line::Good),
        3 => any::<u8>().prop_map(Line::Breaks),
        1 => any::<u8>().prop_map(Line::Flips),
        1 => Just(Line::Refuses),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn the_exact_bytes_or_an_error(
        mut lengths in prop::collection::vec(1..9 * SMALL, 1..6),
        segment in prop_oneof![Just(None), Just(Some(SMALL)), Just(Some(SMALL / 4))],
        story in prop::collection::vec(lines(), 1..60),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
        how in 0..3_usize,
    ) {
        let form = segment.map_or(StoredForm::PLAIN, segments_of);
        // Every part but the last consists of whole segments.
        let (_, before) = lengths.split_last_mut().unwrap();
        before.iter_mut().for_each(|length| *length = length.next_multiple_of(form.segment()));
        let (data, pieces) = pieces_as(form, &lengths);
        let delivery = [Delivery::ByPosition, Delivery::InOrder, Delivery::WholeParts { memory: 1 << 20 }][how];
        let (mut story, mut picks) = (story.into_iter(), picks.iter().cycle());
        let line = || story.next().unwrap_or(Line::Good);
        let mut run = Run::default();
        let mut download = download(&pieces, delivery, SMALL);
        match run.run(&mut download, &data, line, |count| picks.next().unwrap().index(count)) {
            Ok(()) => prop_assert!(run.bytes() == data),
            Err(e) => prop_assert!(matches!(e.code(), Code::Damaged | Code::ConnectionLost), "{e:?}"),
        }
    }
}

#[test]
fn no_byte_that_arrived_is_requested_again() {
    let (data, pieces) = pieces(&[5 * SMALL + 7, 3, SMALL]);
    for delivery in [Delivery::ByPosition, Delivery::InOrder, Delivery::WholeParts { memory: 1 << 20 }] {
        let mut shares = [100, 0, 200, 128, 255, 1].into_iter().map(Line::Breaks).cycle().take(30);
        let mut run = Run::default();
        let line = || shares.next().unwrap_or(Line::Good);
        run.run(&mut download(&pieces, delivery, SMALL), &data, line, |_| 0).unwrap();
        assert!(run.bytes() == data);
        let sum: u64 = run.served.iter().map(|(from, to, _)| to - from).sum();
        assert_eq!(sum, data.len() as u64, "{:?}", run.served);
    }
}

#[test]
fn slow_progress_is_not_a_failure_and_no_progress_is() {
    let (data, pieces) = pieces(&[4 << 20]);
    let mut run = Run::default();
    // 64 KiB is a sixty-fourth of 4 MiB, and a larger share of what is left later.
    run.run(&mut download(&pieces, Delivery::ByPosition, SLICE), &data, || Line::Breaks(20), |_| 0).unwrap_err();
    let brought = run.served.len();
    assert!(brought > 20, "each brought 64 KiB until too little was left: {brought}");
    let mut run = Run::default();
    let e = run.run(&mut download(&pieces, Delivery::ByPosition, SLICE), &data, || Line::Refuses, |_| 0).unwrap_err();
    assert_eq!(e.code(), Code::ConnectionLost);
}

#[test]
fn a_part_is_read_three_times_before_it_counts_as_damaged() {
    let (data, pieces) = pieces(&[3 * SMALL, 4 * SMALL + 1, 2 * SMALL]);
    for (flips, is_good) in [(2, true), (3, false)] {
        let mut run = Run::default();
        let mut download = download(&pieces, Delivery::ByPosition, SMALL);
        let mut left = flips;
        let mut stored = data.clone();
        stored[4 * SMALL as usize] ^= u8::from(!is_good);
        // The requests go out in order, so that the fifth slice is the second of part 2.
        let mut nth = 0;
        let line = || {
            nth += 1;
            let is_hit = is_good && left > 0 && nth % 5 == 0;
            left -= usize::from(is_hit);
            if is_hit { Line::Flips(1) } else { Line::Good }
        };
        let outcome = run.run(&mut download, &stored, line, |_| 0);
        if is_good {
            outcome.unwrap();
            assert!(run.bytes() == data);
        } else {
            let e = outcome.unwrap_err();
            assert_eq!(e.code(), Code::Damaged);
            assert!(e.message().contains("part 2 of 3") && e.message().contains("3 times"), "{e}");
            assert!(run.delivered.values().all(|(range, _)| range.part != 1), "nothing of it was accepted");
            let readings: BTreeSet<u32> = run.served.iter().map(|(.., reading)| *reading).collect();
            assert_eq!(readings, BTreeSet::from([0, 1, 2]));
        }
    }
}

#[test]
fn in_order_the_end_of_a_part_waits_for_its_hash_and_damage_after_delivery_is_an_error() {
    // The last whole slice ends less than 64 KiB before the part's end.
    let slice = HOLD_BACK;
    let (mut data, pieces) = pieces(&[3 * slice + 10]);
    let last = data.len() - 1;
    data[last] ^= 1;
    let mut run = Run::default();
    let e = run.run(&mut download(&pieces, Delivery::InOrder, slice), &data, || Line::Good, |_| 0).unwrap_err();
    assert_eq!(e.code(), Code::Damaged);
    assert!(e.message().contains("already delivered"), "{e}");
    let delivered: Vec<u32> = run.delivered.keys().copied().collect();
    assert_eq!(delivered, [0, 1], "the third slice ends 10 bytes before the part does");
    assert!(run.served.iter().all(|(.., reading)| *reading == 0), "it is not read again");

    let mut run = Run::default();
    let whole = Delivery::WholeParts { memory: 1 << 20 };
    let e = run.run(&mut download(&pieces, whole, slice), &data, || Line::Good, |_| 0).unwrap_err();
    assert!(e.message().contains("3 times") && run.delivered.is_empty(), "{e}");
}

#[test]
fn a_part_of_any_size_needs_memory_for_the_slices_in_flight_only() {
    let slice = HOLD_BACK;
    let (data, pieces) = pieces(&[60 * slice + 1, slice]);
    // The slice that the reader waits for is answered last.
    let last = |count: usize| count - 1;
    let mut run = Run::default();
    run.run(&mut download(&pieces, Delivery::InOrder, slice), &data, || Line::Good, last).unwrap();
    assert!(run.bytes() == data);
    assert!(run.most <= WINDOW as usize, "{} slices of 62 were held", run.most);

    let mut run = Run::default();
    let small = Delivery::WholeParts { memory: 60 * slice };
    let e = run.run(&mut download(&pieces, small, slice), &data, || Line::Good, last).unwrap_err();
    assert_eq!(e.code(), Code::InvalidOption);
    assert!(e.message().contains("part 1 has 3932161 bytes") && run.served.is_empty(), "{e}");
    let mut run = Run::default();
    let enough = Delivery::WholeParts { memory: 61 * slice };
    run.run(&mut download(&pieces, enough, slice), &data, || Line::Good, last).unwrap();
    assert!(run.bytes() == data);
}

#[test]
fn a_download_of_one_slice_at_a_time_ends_too() {
    let (data, pieces) = pieces(&[200 << 10, 70 << 10, 1]);
    for delivery in
        [Delivery::ByPosition, Delivery::InOrder, Delivery::Unverified, Delivery::WholeParts { memory: 1 << 20 }]
    {
        let mut run = Run::default();
        let request = ReadRequest { delivery, ..ReadRequest::default() };
        let mut download = Download::sliced(&pieces, &request, false, SMALL);
        run.run(
            &mut download,
            &data,
            || Line::Good,
            |count| {
                assert_eq!(count, 1);
                0
            },
        )
        .unwrap();
        assert!(run.bytes() == data, "{delivery:?}");
    }
}

#[test]
fn only_the_requested_bytes_are_fetched() {
    let (data, pieces) = pieces(&[3 * SMALL, 2 * SMALL, 5 * SMALL]);
    let served = |request: ReadRequest| {
        let mut run = Run::default();
        run.run(&mut Download::sliced(&pieces, &request, true, SMALL), &data, || Line::Good, |_| 0).unwrap();
        (run.served.iter().map(|(from, ..)| *from).min(), run.served.iter().map(|(_, to, _)| *to).max(), run.bytes())
    };
    let (from, to) = (SMALL + 5, 4 * SMALL + 1);
    let bytes = Some(from..to);
    let got = served(ReadRequest { delivery: Delivery::Unverified, bytes: bytes.clone(), ..ReadRequest::default() });
    assert_eq!(got, (Some(from), Some(to), data[from as usize..to as usize].to_vec()));
    let got =
        served(ReadRequest { delivery: Delivery::WholeParts { memory: 1 << 20 }, bytes, ..ReadRequest::default() });
    assert_eq!(got, (Some(0), Some(5 * SMALL), data[..5 * SMALL as usize].to_vec()));
    let got = served(ReadRequest { skip: BTreeSet::from([0, 2]), ..ReadRequest::default() });
    assert_eq!(got, (Some(3 * SMALL), Some(5 * SMALL), data[3 * SMALL as usize..5 * SMALL as usize].to_vec()));
    let got = served(ReadRequest { skip: BTreeSet::from([0, 1, 2]), ..ReadRequest::default() });
    assert_eq!(got, (None, None, Vec::new()));
}

#[test]
fn bytes_that_end_where_a_part_starts_need_nothing_of_it() {
    let (data, pieces) = pieces(&[3 * SMALL, 2 * SMALL]);
    for delivery in [Delivery::Unverified, Delivery::ByPosition] {
        for bytes in [0..3 * SMALL, 3 * SMALL..5 * SMALL] {
            let request = ReadRequest { delivery, bytes: Some(bytes.clone()), ..ReadRequest::default() };
            let mut run = Run::default();
            run.run(&mut Download::sliced(&pieces, &request, true, SMALL), &data, || Line::Good, |_| 0).unwrap();
            assert_eq!(run.served.len() as u64, (bytes.end - bytes.start) / SMALL, "{delivery:?} {bytes:?}");
        }
    }
}

#[test]
fn an_empty_part_is_requested_too() {
    let (data, pieces) = pieces(&[0]);
    let mut run = Run::default();
    run.run(&mut download(&pieces, Delivery::ByPosition, SMALL), &data, || Line::Good, |_| 0).unwrap();
    assert_eq!((run.served.len(), run.delivered.len()), (1, 1), "its object must be there");
}

/// The first request of a download of one part of two slices, and what the download does next.
fn after_the_first(
    delivery: Delivery,
    answer: impl FnOnce(&mut Download, &mut Session, Now, RequestId, Range),
) -> (Output<()>, Download, Session) {
    let (_, pieces) = pieces(&[2 * SMALL]);
    let request = ReadRequest { delivery, ..ReadRequest::default() };
    let mut download = Download::sliced(&pieces, &request, false, SMALL);
    let (mut session, now) = (session(), Now { unix_ms: 1_764_000_000_000, mono_ms: 0 });
    let Output::Send(request) = download.poll(&mut session, now) else { panic!("nothing is requested") };
    let ReplyBody::Range(range) = request.reply else { panic!("not a range") };
    answer(&mut download, &mut session, now, request.id, range);
    let next = match download.poll(&mut session, now) {
        // A retry is due later.
        Output::Wait(Some(at)) => download.poll(&mut session, Now { mono_ms: at, ..now }),
        next => next,
    };
    (next, download, session)
}

fn head(range: Range) -> ReplyHead {
    let content = format!("bytes {}-{}/{}", range.offset, range.offset + range.length - 1, 2 * SMALL);
    ReplyHead { status: 206, headers: vec![("content-range".into(), content)] }
}

/// A connection may break after the last byte, before the driver told that the range is complete.
#[test]
fn a_range_whose_last_byte_arrived_is_not_requested_with_no_bytes() {
    let (next, ..) = after_the_first(Delivery::ByPosition, |download, session, now, id, range| {
        download.handle(session, now, &Input::Head { id, head: head(range) });
        download.handle(session, now, &Input::RangeProgress { id, length: SMALL });
        let failure = TransportFailure { code: Code::ConnectionLost, maybe_sent: true, detail: "broke".into() };
        download.handle(session, now, &Input::Failed { id, failure });
    });
    let Output::Send(request) = next else { panic!("{next:?}") };
    let range = request.headers.iter().find(|(name, _)| name == "range").unwrap().1.to_string();
    assert_eq!(range, format!("bytes={}-{}", SMALL - 1, SMALL - 1));
}

#[test]
fn bytes_that_are_not_verified_have_the_requested_length() {
    let (next, ..) = after_the_first(Delivery::Unverified, |download, session, now, id, range| {
        download.handle(session, now, &Input::Head { id, head: head(range) });
        let digest = digest(b"");
        download.handle(session, now, &Input::RangeEnd { id, length: SMALL - 1, digest });
    });
    assert!(matches!(&next, Output::Done(Err(e)) if e.code() == Code::BadReply), "{next:?}");
}

#[test]
fn a_range_is_consumed_once() {
    let (next, mut download, mut session) =
        after_the_first(Delivery::Unverified, |download, session, now, id, range| {
            download.handle(session, now, &Input::Head { id, head: head(range) });
            let digest = digest(b"");
            download.handle(session, now, &Input::RangeEnd { id, length: SMALL, digest });
        });
    assert!(matches!(next, Output::Accept(_)), "{next:?}");
    let now = Now { unix_ms: 1_764_000_000_000, mono_ms: 0 };
    for index in [0, 0, 9] {
        download.handle(&mut session, now, &Input::RangeConsumed { index });
    }
    assert_eq!(download.outstanding, 0);
}

#[test]
fn a_missing_object_and_a_shorter_one_are_damage() {
    let error = |code, status| explain(Error::new(code, "x").with_reply(status, "", "")).code();
    assert_eq!(error(Code::NotFound, 404), Code::DataMissing);
    assert_eq!(error(Code::Store, 416), Code::Damaged);
    assert_eq!(error(Code::AccessDenied, 403), Code::AccessDenied);
}

#[test]
fn slices_and_requested_bytes_are_whole_segments_of_the_object() {
    let form = segments_of(SMALL / 2);
    let (data, pieces) = pieces_as(form, &[3 * SMALL, 2 * SMALL, SMALL + 3]);
    assert_eq!(pieces.iter().map(|piece| piece.start).collect::<Vec<_>>(), [0, 3 * SMALL + 96, 5 * SMALL + 160]);
    let run = |request: ReadRequest| {
        let mut run = Run::default();
        run.run(&mut Download::sliced(&pieces, &request, true, SMALL), &data, || Line::Good, |_| 0).unwrap();
        let ranges: Vec<_> =
            run.delivered.values().map(|(range, _)| (range.offset, range.length, range.stored)).collect();
        (ranges, run.bytes())
    };
    let (ranges, all) = run(ReadRequest::default());
    assert!(all == data);
    assert_eq!(ranges[..2], [(0, SMALL, SMALL + 32), (SMALL, SMALL, SMALL + 32)]);
    assert_eq!(ranges[5..], [(5 * SMALL, SMALL, SMALL + 32), (6 * SMALL, 3, 19)]);
    // Of bytes inside the second part, the segments that contain them.
    let bytes = Some(3 * SMALL + 600..4 * SMALL + 10);
    let (ranges, some) = run(ReadRequest { delivery: Delivery::Unverified, bytes, ..ReadRequest::default() });
    let from = (3 * SMALL + 96 + SMALL / 2 + 16) as usize;
    assert_eq!(ranges, [(3 * SMALL + SMALL / 2, SMALL, SMALL + 32)]);
    assert!(some == data[from..from + SMALL as usize + 32]);
}

#[test]
fn a_damaged_byte_of_a_segment_is_found() {
    for lengths in [[2 * SMALL, 5], [SMALL, 5]] {
        let (mut data, pieces) = pieces_as(segments_of(SMALL), &lengths);
        data[SMALL as usize + 3] ^= 1;
        let mut run = Run::default();
        let mut download = download(&pieces, Delivery::ByPosition, SMALL);
        let e = run.run(&mut download, &data, || Line::Good, |_| 0).unwrap_err();
        assert!(e.code() == Code::Damaged && e.message().contains("part 1 of 2 (bytes 0 to"), "{e}");
    }
}
