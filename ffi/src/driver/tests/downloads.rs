use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use s3vault_core::checksum::{Digest, digest};
use s3vault_core::http::{Method, Range, ReplyBody};
use s3vault_core::{Code, Error, Input, Output};

use super::super::download::{Destination, StreamDownload, Zeros, download_file};
use super::super::test_machines::{ScriptedMachine, TestDownload, request};
use super::{TempFile, host, host_with, payload};
use crate::control::{Cancel, Control};
use crate::transport::frames::FRAME;
use crate::transport::testserver::{ReceivedRequest, Server, Wire, reply, until};

const RANGE: usize = 2 * FRAME + 77;

fn destination(file: File) -> Destination {
    Destination { file, zeros: Zeros::Written, marks: None, already_done: 0 }
}

fn ranges(bytes: &[u8]) -> Vec<(Range, Digest)> {
    bytes
        .chunks(RANGE)
        .enumerate()
        .map(|(index, part)| {
            let range = Range::of_part(index as u32, (index * RANGE) as u64, part.len() as u64);
            (range, digest(part))
        })
        .collect()
}

/// Serves the ranges; `spoil` may give another answer to the n-th request.
fn store(
    bytes: &[u8],
    spoil: impl Fn(usize, &[u8], &mut dyn Wire) -> Option<bool> + Send + Sync + 'static,
) -> (Server, Arc<AtomicUsize>) {
    let parts: Vec<Vec<u8>> = bytes.chunks(RANGE).map(<[u8]>::to_vec).collect();
    let count = Arc::new(AtomicUsize::new(0));
    let requests = count.clone();
    let server = Server::http(move |seen: &ReceivedRequest, wire| {
        let part = &parts[seen.target()[1..].parse::<usize>().unwrap()];
        let from = seen.header("x-from").map_or(0, |from| from.parse().unwrap());
        let part = &part[from..];
        let nth = requests.fetch_add(1, Ordering::AcqRel);
        spoil(nth, part, wire).unwrap_or_else(|| reply(wire, 206, part))
    });
    (server, count)
}

/// Each of the first replies is wrong in its own way.
fn spoiled(nth: usize, part: &[u8], wire: &mut dyn Wire) -> Option<bool> {
    match nth {
        0 => Some(reply(wire, 500, b"internal")),
        1 => Some(reply(wire, 206, &vec![0; part.len()])),
        2 => Some(reply(wire, 206, &part[..part.len() / 2])),
        3 => Some(reply(wire, 200, &[part, b"more"].concat())),
        4 => {
            let _ = write!(wire, "HTTP/1.1 206 Partial\r\ncontent-length: {}\r\n\r\n", part.len());
            let _ = wire.write_all(&part[..part.len() / 2]);
            Some(false)
        }
        _ => None,
    }
}

#[test]
fn a_file_gets_its_bytes_after_wrong_replies() {
    let host = host();
    for length in [0, 1, RANGE, 7 * RANGE + 13] {
        let bytes = payload(length);
        let (server, _) = store(&bytes, spoiled);
        let file = TempFile::new(b"");
        let machine = TestDownload::new(&server.url(""), ranges(&bytes), 3);
        let last = Mutex::new((0, 0));
        let mut note = |event: &crate::control::Event<'_>| {
            *last.lock().unwrap() = (event.done, event.parts);
            true
        };
        let mut control = Control { on_event: Some(&mut note), ..Control::none() };
        download_file(&host, machine, destination(file.open_to_write()), length as u64, &mut control).unwrap();
        assert!(file.read() == bytes, "length {length}");
        assert_eq!(*last.lock().unwrap(), (length as u64, length.div_ceil(RANGE) as u64));
    }
    until(|| host.transport.pool().in_use() == 0);
}

#[test]
fn a_connection_that_stalls_while_others_move_is_abandoned_long_before_the_idle_time_out() {
    let host = host_with(Duration::from_secs(6));
    let bytes = payload(2 * RANGE);
    let abandoned = Arc::new(AtomicBool::new(false));
    let seen_in_time = Arc::new(AtomicBool::new(false));
    let (left, in_time) = (abandoned.clone(), seen_in_time.clone());
    let (server, _) = store(&bytes, move |nth, part, wire| {
        let head = format!("HTTP/1.1 206 Partial\r\ncontent-length: {}\r\n\r\n", part.len());
        match nth {
            0 => {
                let _ = wire.write_all(&[head.as_bytes(), &part[..part.len() / 2]].concat());
                while wire.read(&mut [0]).is_ok_and(|count| count > 0) {}
                left.store(true, Ordering::Release);
                Some(false)
            }
            1 => {
                // Sends slowly while the other connection stalls, but not until the idle time-out.
                let _ = wire.write_all(head.as_bytes());
                let mut sent = 0;
                while sent < 200 && !left.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(20));
                    let _ = wire.write_all(&part[sent..=sent]);
                    sent += 1;
                }
                in_time.store(left.load(Ordering::Acquire), Ordering::Release);
                Some(wire.write_all(&part[sent..]).is_ok())
            }
            _ => None,
        }
    });
    let file = TempFile::new(b"");
    let machine = TestDownload::new(&server.url(""), ranges(&bytes), 2);
    download_file(&host, machine, destination(file.open_to_write()), bytes.len() as u64, &mut Control::none()).unwrap();
    assert!(file.read() == bytes);
    assert!(seen_in_time.load(Ordering::Acquire), "it was not abandoned");
}

#[test]
fn a_reader_gets_the_bytes_in_order_after_wrong_replies() {
    for (length, piece) in [(0, 10), (1, 10), (RANGE, RANGE), (5 * RANGE + 13, 99_991), (2 * RANGE, 1 << 20)] {
        let bytes = payload(length);
        let (server, _) = store(&bytes, spoiled);
        let machine = TestDownload::new(&server.url(""), ranges(&bytes), 3);
        let mut download = StreamDownload::start(&host(), machine, &mut Control::none()).unwrap();
        let (mut read, mut buffer) = (Vec::new(), vec![0; piece]);
        loop {
            match download.read(&mut buffer, &mut Control::none()).unwrap() {
                0 => break,
                count => read.extend_from_slice(&buffer[..count]),
            }
        }
        assert!(read == bytes, "length {length}");
        assert_eq!(download.read(&mut buffer, &mut Control::none()).unwrap(), 0, "it stays at the end");
    }
}

#[test]
fn a_slow_reader_holds_the_machine_back_and_memory_is_bounded() {
    let window = 3;
    let bytes = payload(12 * RANGE);
    let (server, requests) = store(&bytes, |_, _, _| None);
    let host = host();
    let machine = TestDownload::new(&server.url(""), ranges(&bytes), window);
    let mut download = StreamDownload::start(&host, machine, &mut Control::none()).unwrap();
    let mut read = 0;
    let mut buffer = vec![0; 100_000];
    while read < bytes.len() {
        let count = download.read(&mut buffer, &mut Control::none()).unwrap();
        assert!(buffer[..count] == bytes[read..read + count]);
        read += count;
        std::thread::sleep(Duration::from_millis(2));
        let started = requests.load(Ordering::Acquire);
        assert!(started <= read / RANGE + window, "{started} ranges started after {read} bytes");
    }
    assert_eq!(download.read(&mut buffer, &mut Control::none()).unwrap(), 0);
    // A range that fills a whole number of frames has the next frame ready.
    let bound = window * (RANGE.div_ceil(FRAME) + 1);
    assert!(host.transport.pool().most_out() <= bound, "{} frames, bound {bound}", host.transport.pool().most_out());
}

#[test]
fn an_error_is_reported_after_the_verified_bytes_and_stays() {
    let bytes = payload(RANGE);
    let (server, _) = store(&bytes, |_, _, _| None);
    let (range, _) = ranges(&bytes)[0];
    let mut get = request(1, Method::Get, &server.url("/0"));
    get.reply = ReplyBody::Range(range);
    let machine: ScriptedMachine<()> = ScriptedMachine::new(vec![Output::Send(get)], move |outputs, input| {
        if matches!(input, Input::RangeEnd { .. }) {
            outputs.push_back(Output::Accept(range));
            outputs.push_back(Output::Done(Err(Error::new(Code::Damaged, "the next one"))));
        }
    });
    let mut download = StreamDownload::start(&host(), machine, &mut Control::none()).unwrap();
    let mut buffer = vec![0; RANGE];
    let mut read = 0;
    while read < RANGE {
        read += download.read(&mut buffer[read..], &mut Control::none()).unwrap();
    }
    assert!(buffer == bytes);
    for _ in 0..2 {
        assert_eq!(download.read(&mut [0], &mut Control::none()).unwrap_err().code(), Code::Damaged);
    }
}

#[test]
fn a_full_disk_ends_the_download_with_the_file_and_the_position() {
    let bytes = payload(3 * RANGE);
    let (server, _) = store(&bytes, |_, _, _| None);
    let machine = TestDownload::new(&server.url(""), ranges(&bytes), 2);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let error =
        download_file(&host(), machine, destination(full), bytes.len() as u64, &mut Control::none()).unwrap_err();
    assert_eq!(error.code(), Code::DiskFull, "{error}");
    assert!(error.message().contains("/dev/full") && error.message().contains("at byte"), "{error}");

    let file = TempFile::new(b"");
    let machine = TestDownload::new(&server.url(""), ranges(&bytes), 2);
    let error = download_file(&host(), machine, destination(file.open()), bytes.len() as u64, &mut Control::none())
        .unwrap_err();
    assert_eq!(error.code(), Code::Io, "{error}");
}

#[test]
fn a_cancel_ends_a_read_and_the_next_read_continues() {
    let bytes = payload(RANGE);
    let open = Arc::new(AtomicBool::new(false));
    let gate = open.clone();
    let (server, _) = store(&bytes, move |_, _, _| {
        until(|| gate.load(Ordering::Acquire));
        None
    });
    let machine = TestDownload::new(&server.url(""), ranges(&bytes), 1);
    let mut download = StreamDownload::start(&host(), machine, &mut Control::none()).unwrap();
    let cancel = Cancel::new();
    let trigger = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        trigger.trigger();
    });
    let mut buffer = vec![0; RANGE];
    let mut control = Control { cancel: Some(cancel), ..Control::none() };
    assert_eq!(download.read(&mut buffer, &mut control).unwrap_err().code(), Code::Cancelled);
    open.store(true, Ordering::Release);
    assert_eq!(download.read(&mut buffer, &mut Control::none()).unwrap(), RANGE);
    assert!(buffer == bytes);
}

#[test]
fn an_abandoned_attempt_makes_room_for_a_later_one() {
    let bytes = payload(RANGE);
    // Half of it, until the client has gone. How much of that is in the file when the attempt is abandoned is chance.
    let (server, _) = store(&bytes, |nth, part, wire| {
        (nth == 0).then(|| {
            let _ = write!(wire, "HTTP/1.1 206 Partial\r\ncontent-length: {}\r\n\r\n", part.len());
            let _ = wire.write_all(&part[..part.len() / 2]);
            wire.read(&mut [0]).is_ok_and(|count| count > 0)
        })
    });
    let file = TempFile::new(b"");
    let (range, expected) = ranges(&bytes)[0];
    let url = server.url("/0");
    let get = move |id| {
        let mut get = request(id, Method::Get, &url);
        get.reply = ReplyBody::Range(range);
        get
    };
    let first = get(1);
    let machine: ScriptedMachine<()> =
        ScriptedMachine::new(vec![Output::Send(first.clone())], move |outputs, input| match input {
            Input::Head { id, .. } if id == first.id => {
                outputs.push_back(Output::Abandon(id));
                outputs.push_back(Output::Send(get(2)));
            }
            Input::RangeEnd { digest, .. } => {
                assert_eq!(digest, expected);
                outputs.push_back(Output::Accept(range));
                outputs.push_back(Output::Done(Ok(())));
            }
            _ => {}
        });
    download_file(&host(), machine, destination(file.open_to_write()), RANGE as u64, &mut Control::none()).unwrap();
    assert!(file.read() == bytes);
}
