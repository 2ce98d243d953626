use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use s3vault_core::http::{Method, RequestId};
use s3vault_core::{Code, Error, Input, Output, PartRequest, SourceStart};

use super::super::progress::{Figures, Progress};
use super::super::test_machines::{ScriptedMachine, TestUpload, request};
use super::super::upload::{StreamUpload, upload_file};
use super::{TempFile, host, payload};
use crate::control::{Cancel, Control, EventKind};
use crate::source_file::SourceFile;
use crate::transport::frames::FRAME;
use crate::transport::testserver::{Server, Shared, reply, until};

const PART: usize = 3 * FRAME + 1000;

const START: Output<()> = Output::Start(SourceStart { offset: 0, ended: false, stored: 0 });

type Store = Shared<BTreeMap<u32, Vec<u8>>>;

/// Keeps the parts; the first attempt at each part with a number in `refuse` is answered 503.
fn store(refuse: &'static [u32]) -> (Server, Store) {
    let parts = Store::default();
    let into = parts.clone();
    let refused = Mutex::new(Vec::new());
    let server = Server::http(move |seen, wire| {
        let number: u32 = seen.target()[1..].parse().unwrap();
        if refuse.contains(&number) && !refused.lock().unwrap().contains(&number) {
            refused.lock().unwrap().push(number);
            return reply(wire, 503, b"slow down");
        }
        into.lock().unwrap().insert(number, seen.body.clone());
        reply(wire, 200, b"")
    });
    (server, parts)
}

fn stored(parts: &Store) -> Vec<u8> {
    parts.lock().unwrap().values().flatten().copied().collect()
}

#[test]
fn a_stream_of_any_length_arrives_in_pieces_of_any_size() {
    let host = host();
    for (length, piece) in [
        (0, 1),
        (1, 1),
        (PART - 1, 777),
        (PART, PART),
        (PART + 1, 64 * 1024),
        (2 * PART, PART),
        (5 * PART + 17, 99_991),
    ] {
        let (server, parts) = store(&[2]);
        let bytes = payload(length);
        let machine = TestUpload::new(&server.url(""), PART as u64, 2);
        let mut upload = StreamUpload::start(&host, machine, None, None, &mut Control::none()).unwrap();
        for piece in bytes.chunks(piece) {
            upload.write(piece, &mut Control::none()).unwrap();
        }
        assert_eq!(upload.offset(), length as u64);
        let last = Mutex::new((0, 0));
        let mut note = |event: &crate::control::Event<'_>| {
            *last.lock().unwrap() = (event.done, event.parts);
            true
        };
        let mut control = Control { on_event: Some(&mut note), ..Control::none() };
        assert_eq!(upload.finish(&mut control).unwrap(), length as u64);
        assert_eq!(*last.lock().unwrap(), (length as u64, length.div_ceil(PART).max(1) as u64));
        assert!(stored(&parts) == bytes, "length {length}");
        assert_eq!(parts.lock().unwrap().len(), length.div_ceil(PART).max(1));
        let again = upload.finish(&mut Control::none()).unwrap_err();
        assert_eq!(
            (again.code(), upload.abort(&mut Control::none()).unwrap_err().code()),
            (Code::WrongState, Code::WrongState)
        );
    }
    until(|| host.transport.pool().in_use() == 0);
}

/// Writes until `full` bytes are accepted, and checks that no more are while the store does not answer.
fn write_until(upload: &mut StreamUpload<u64>, bytes: &[u8], full: usize) {
    let mut write = || {
        let mut short = Control { timeout: Some(Duration::from_millis(100)), ..Control::none() };
        let error = upload.write(&bytes[upload.offset() as usize..], &mut short).unwrap_err();
        assert_eq!(error.code(), Code::TimedOut);
        upload.offset()
    };
    // A busy machine may need many times as long.
    assert!((0..600).any(|_| write() == full as u64), "{full} bytes are never accepted");
    assert_eq!(write(), full as u64);
}

#[test]
fn a_fast_writer_is_held_back_and_memory_is_bounded() {
    let window = 3;
    let gate = Arc::new(AtomicBool::new(false));
    let open = gate.clone();
    let server = Server::http(move |_, wire| {
        until(|| open.load(Ordering::Acquire));
        reply(wire, 200, b"")
    });
    let host = host();
    let machine = TestUpload::new(&server.url(""), PART as u64, window);
    let mut upload = StreamUpload::start(&host, machine, None, None, &mut Control::none()).unwrap();
    let bytes = payload(10 * PART);
    // The store does not answer yet: the write ends after the window, with some bytes accepted.
    write_until(&mut upload, &bytes, window as usize * PART);
    gate.store(true, Ordering::Release);
    // And it continues from there.
    upload.write(&bytes[upload.offset() as usize..], &mut Control::none()).unwrap();
    assert_eq!(upload.finish(&mut Control::none()).unwrap(), bytes.len() as u64);
    let bound = window as usize * PART.div_ceil(FRAME);
    let peak = host.transport.pool().most_out();
    // A connection may hold the slices of a part for a moment after its reply.
    assert!(peak <= 2 * bound, "{peak} frames, {bound} in the window");
}

#[test]
fn a_stream_can_end_after_a_write_that_was_stopped_between_parts() {
    let gate = Arc::new(AtomicBool::new(false));
    let open = gate.clone();
    let parts = Store::default();
    let into = parts.clone();
    let server = Server::http(move |seen, wire| {
        until(|| open.load(Ordering::Acquire));
        into.lock().unwrap().insert(seen.target()[1..].parse().unwrap(), seen.body.clone());
        reply(wire, 200, b"")
    });
    let machine = TestUpload::new(&server.url(""), PART as u64, 1);
    let mut upload = StreamUpload::start(&host(), machine, None, None, &mut Control::none()).unwrap();
    let bytes = payload(PART + 1);
    write_until(&mut upload, &bytes, PART);
    gate.store(true, Ordering::Release);
    assert_eq!(upload.finish(&mut Control::none()).unwrap(), PART as u64);
    assert!(stored(&parts) == bytes[..PART]);
}

#[test]
fn every_later_call_returns_the_error_of_the_machine() {
    let refused = Server::http(|_, wire| reply(wire, 403, b""));
    let url = refused.url("/");
    let first = vec![Output::Send(request(1, Method::Get, &url))];
    let machine: ScriptedMachine<()> = ScriptedMachine::new(first, |outputs, input| {
        if matches!(input, Input::End { .. }) {
            outputs.push_back(Output::Done(Err(Error::new(Code::AccessDenied, "no"))));
        }
    });
    assert_eq!(
        StreamUpload::start(&host(), machine, None, None, &mut Control::none()).err().unwrap().code(),
        Code::AccessDenied
    );

    // The machine fails while the writer still fills a part.
    let first = vec![
        START,
        Output::NeedPart(PartRequest {
            number: 1,
            offset: 0,
            length: 1 << 40,
            min_length: 1 << 20,
            multiple_of: 1,
            hash_first: true,
        }),
        Output::Send(request(1, Method::Get, &url)),
    ];
    let machine: ScriptedMachine<()> = ScriptedMachine::new(first, |outputs, input| {
        if matches!(input, Input::End { .. }) {
            outputs.push_back(Output::Done(Err(Error::new(Code::AccessDenied, "no"))));
        }
    });
    let mut upload = StreamUpload::start(&host(), machine, None, None, &mut Control::none()).unwrap();
    while upload.write(&[0; 11], &mut Control::none()).is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..2 {
        assert_eq!(upload.write(&[0; 11], &mut Control::none()).unwrap_err().code(), Code::AccessDenied);
    }
    assert_eq!(upload.finish(&mut Control::none()).unwrap_err().code(), Code::AccessDenied);
    upload.abort(&mut Control::none()).unwrap();
}

#[test]
fn abort_and_drop_cancel_the_machine() {
    let machine = |cancelled: &Arc<AtomicBool>| -> ScriptedMachine<()> {
        let cancelled = cancelled.clone();
        ScriptedMachine::new(
            vec![
                START,
                Output::NeedPart(PartRequest {
                    number: 1,
                    offset: 0,
                    length: 10,
                    min_length: 10,
                    multiple_of: 1,
                    hash_first: true,
                }),
            ],
            move |outputs, input| {
                if matches!(input, Input::Cancel) {
                    cancelled.store(true, Ordering::Release);
                    outputs.push_back(Output::Done(Err(Error::new(Code::Cancelled, "cancelled"))));
                }
            },
        )
    };
    let (aborted, dropped) = (Arc::default(), Arc::default());
    let mut upload = StreamUpload::start(&host(), machine(&aborted), None, None, &mut Control::none()).unwrap();
    upload.abort(&mut Control::none()).unwrap();
    assert!(aborted.load(Ordering::Acquire));
    assert_eq!(upload.write(b"x", &mut Control::none()).unwrap_err().code(), Code::WrongState);
    drop(StreamUpload::start(&host(), machine(&dropped), None, None, &mut Control::none()).unwrap());
    until(|| dropped.load(Ordering::Acquire));
}

#[test]
fn a_cancel_ends_a_finish_and_the_next_finish_continues() {
    let gate = Arc::new(AtomicBool::new(false));
    let open = gate.clone();
    let server = Server::http(move |_, wire| {
        until(|| open.load(Ordering::Acquire));
        reply(wire, 200, b"")
    });
    let machine = TestUpload::new(&server.url(""), PART as u64, 1);
    let mut upload = StreamUpload::start(&host(), machine, None, None, &mut Control::none()).unwrap();
    upload.write(b"few bytes", &mut Control::none()).unwrap();
    let cancel = Cancel::new();
    cancel.trigger();
    let mut cancelled = Control { cancel: Some(cancel), ..Control::none() };
    // Triggered before the call: the source does not end.
    assert_eq!(upload.finish(&mut cancelled).unwrap_err().code(), Code::Cancelled);
    upload.write(b"more", &mut Control::none()).unwrap();
    let cancel = Cancel::new();
    let mut cancelled = Control { cancel: Some(cancel.clone()), ..Control::none() };
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        cancel.trigger();
    });
    assert_eq!(upload.finish(&mut cancelled).unwrap_err().code(), Code::Cancelled);
    assert_eq!(upload.write(b"more", &mut Control::none()).unwrap_err().code(), Code::WrongState);
    gate.store(true, Ordering::Release);
    assert_eq!(upload.finish(&mut Control::none()).unwrap(), 13);
}

#[test]
fn a_file_arrives_and_its_progress_is_reported() {
    let host = host();
    for length in [0, 1, PART, PART + 1, 4 * PART + 5] {
        let (server, parts) = store(&[1, 3]);
        let bytes = payload(length);
        let file = TempFile::new(&bytes);
        let events = Mutex::new(Vec::new());
        let mut note = |event: &crate::control::Event<'_>| {
            events.lock().unwrap().push((event.kind, event.done, event.total, event.parts, event.retries));
            true
        };
        let mut control = Control { on_event: Some(&mut note), ..Control::none() };
        let machine = TestUpload::new(&server.url(""), PART as u64, 2);
        let sent = upload_file(&host, machine, file.source(), None, &mut control).unwrap();
        assert_eq!(sent, length as u64);
        assert!(stored(&parts) == bytes, "length {length}");
        let events = events.into_inner().unwrap();
        assert!(events.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{events:?}");
        let count = length.div_ceil(PART).max(1) as u64;
        let retries = if count >= 3 { 2 } else { 1 };
        let end = (EventKind::Progress, length as u64, Some(length as u64), count, retries);
        assert_eq!(events.last(), Some(&end));
    }
    until(|| host.transport.pool().in_use() == 0);
}

#[test]
fn progress_restarts_from_the_resumed_position() {
    let (progress, activity) = (Progress::new(Some(20)), host().transport.activity());
    for done in [5, 0] {
        progress.resume(done);
        progress.start(RequestId(done), 1, &activity);
        progress.settle(10);
        assert_eq!(progress.figures(), Figures { done: done + 10, parts: 1, retries: 0 });
    }
}

/// Parses aws-chunked framing strictly: the payload and the trailer line.
fn unchunked(mut wire: &[u8]) -> (Vec<u8>, String) {
    let mut payload = Vec::new();
    loop {
        let end = wire.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&wire[..end]).unwrap(), 16).unwrap();
        wire = &wire[end + 2..];
        if length == 0 {
            let trailer = std::str::from_utf8(wire).unwrap();
            return (payload, trailer.strip_suffix("\r\n\r\n").unwrap().to_owned());
        }
        payload.extend_from_slice(&wire[..length]);
        assert_eq!(&wire[length..length + 2], b"\r\n");
        wire = &wire[length + 2..];
    }
}

#[test]
fn a_part_that_is_hashed_while_it_is_sent_has_its_crc_in_a_trailer() {
    for length in [1, FRAME, PART, PART + 1, 4 * PART + 5] {
        let (server, parts) = store(&[1, 3]);
        let bytes = payload(length);
        let file = TempFile::new(&bytes);
        let machine = TestUpload::hashed_while_sent(&server.url(""), PART as u64, 2);
        let sent = upload_file(&host(), machine, file.source(), None, &mut Control::none()).unwrap();
        assert_eq!(sent, length as u64);
        let mut whole = Vec::new();
        for body in parts.lock().unwrap().values() {
            let (payload, trailer) = unchunked(body);
            let crc = s3vault_core::checksum::crc_text(s3vault_core::checksum::digest(&payload).crc64nvme);
            assert_eq!(trailer, format!("x-amz-checksum-crc64nvme:{crc}"));
            whole.extend(payload);
        }
        assert!(whole == bytes, "length {length}");
    }
}

/// Stores a file that `change` modifies after it was hashed and before it is read again.
fn changed(change: impl Fn(&mut File) + Send + 'static) -> (Error, Vec<u32>) {
    let bytes = payload(2 * PART);
    let file = TempFile::new(&bytes);
    let whole: Shared<Vec<u32>> = Shared::default();
    let into = whole.clone();
    let server = Server::http(move |seen, wire| {
        into.lock().unwrap().push(seen.target()[1..].parse().unwrap());
        reply(wire, 200, b"")
    });
    let mut to_change = file.open_to_write();
    let mut upload = TestUpload::new(&server.url(""), PART as u64, 2);
    let mut hashed = 0;
    let machine: ScriptedMachine<u64> = ScriptedMachine::new(
        vec![
            Output::NeedPart(PartRequest {
                number: 1,
                offset: 0,
                length: PART as u64,
                min_length: PART as u64,
                multiple_of: 1,
                hash_first: true,
            }),
            Output::NeedPart(PartRequest {
                number: 2,
                offset: PART as u64,
                length: PART as u64,
                min_length: PART as u64,
                multiple_of: 1,
                hash_first: true,
            }),
        ],
        move |outputs, input| {
            use s3vault_core::Machine;
            let now = crate::transport::clock::now();
            if matches!(input, Input::PartReady { .. }) {
                hashed += 1;
                if hashed == 1 {
                    // The test machine counts the parts it asked for.
                    assert!(matches!(upload.poll(now), Output::Start(_)));
                    assert!(matches!(upload.poll(now), Output::NeedPart(_)));
                    assert!(matches!(upload.poll(now), Output::NeedPart(_)));
                } else {
                    change(&mut to_change);
                }
            }
            upload.handle(now, input);
            if hashed == 2 {
                loop {
                    match upload.poll(now) {
                        Output::Wait(_) => break,
                        output => outputs.push_back(output),
                    }
                    if matches!(outputs.back(), Some(Output::Done(_))) {
                        break;
                    }
                }
            }
        },
    );
    let error = upload_file(&host(), machine, file.source(), None, &mut Control::none()).unwrap_err();
    assert!(error.message().contains(file.0.to_str().unwrap()), "{error}");
    let whole = whole.lock().unwrap().clone();
    (error, whole)
}

#[test]
fn a_file_that_changes_between_its_readings_is_never_stored() {
    // The last byte of the second part, which is in the frame that is held back; and its first byte.
    for at in [2 * PART as u64 - 1, PART as u64] {
        let (error, whole) = changed(move |file| {
            file.seek(std::io::SeekFrom::Start(at)).unwrap();
            file.write_all(&[0xA5]).unwrap();
        });
        assert_eq!(error.code(), Code::SourceChanged, "{error}");
        assert!(!whole.contains(&2), "the changed part was stored");
    }
    let (error, whole) = changed(|file| file.set_len(PART as u64 + 10).unwrap());
    assert_eq!(error.code(), Code::SourceChanged, "{error}");
    assert!(error.message().contains("shorter") && !whole.contains(&2), "{error}");
}

#[test]
fn a_file_that_became_shorter_or_cannot_be_read_is_an_error() {
    let file = TempFile::new(&payload(PART));
    let machine = || TestUpload::new("http://127.0.0.1:1", 2 * PART as u64, 1);
    let source = file.source();
    File::options().write(true).open(&file.0).unwrap().set_len(PART as u64 - 1).unwrap();
    let error = upload_file(&host(), machine(), source, None, &mut Control::none()).unwrap_err();
    assert_eq!(error.code(), Code::SourceChanged, "{error}");
    let source = SourceFile::new(file.open_to_write()).unwrap();
    let error = upload_file(&host(), machine(), source, None, &mut Control::none()).unwrap_err();
    assert_eq!(error.code(), Code::Io, "{error}");
}
