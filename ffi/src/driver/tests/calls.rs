//! Promises of a call that hold for every machine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use s3vault_core::http::{Body, ERROR_LIMIT, Method, ReplyBody};
use s3vault_core::{Code, Error, Input, Output, PartRequest, Result};

use super::super::run;
use super::super::test_machines::{ScriptedMachine, request};
use super::host;
use crate::control::{Cancel, Control, EventKind};
use crate::transport::runtime;
use crate::transport::testserver::{Server, reply, until};

/// Sends one request; its result is the reply or the failure.
fn one(server: &Server, change: impl FnOnce(&mut s3vault_core::http::Request)) -> ScriptedMachine<String> {
    let mut request = request(1, Method::Get, &server.url("/b/k"));
    change(&mut request);
    let mut text = String::new();
    ScriptedMachine::new(vec![Output::Send(request)], move |outputs, input| match input {
        Input::Head { head, .. } => text = format!("{} ", head.status),
        Input::Body { bytes, .. } => text.push_str(std::str::from_utf8(bytes).unwrap()),
        Input::End { .. } => outputs.push_back(Output::Done(Ok(std::mem::take(&mut text)))),
        Input::Failed { failure, .. } => {
            let what = format!("{}, after: {text}", failure.detail);
            outputs.push_back(Output::Done(Err(Error::new(failure.code, what))));
        }
        _ => {}
    })
}

/// Never ends by itself; sets a flag when it is cancelled.
fn endless(cancelled: &Arc<AtomicBool>) -> ScriptedMachine<()> {
    let cancelled = cancelled.clone();
    ScriptedMachine::new(vec![], move |outputs, input| {
        if matches!(input, Input::Cancel) {
            cancelled.store(true, Ordering::Release);
            outputs.push_back(Output::Done(Ok(())));
        }
    })
}

#[test]
fn a_machine_runs_to_its_end() {
    let server = Server::http(|seen, wire| reply(wire, 200, &seen.body));
    let machine = one(&server, |request| {
        request.method = Method::Post;
        request.body = Body::Bytes("hello".into());
    });
    assert_eq!(run(&host(), machine, &mut Control::none()).unwrap(), "200 hello");
}

#[test]
fn the_memory_of_a_large_reply_counts_until_it_is_handled() {
    const LENGTH: usize = 3 << 20;
    let server = Server::http(|_, wire| reply(wire, 200, &[b'x'; LENGTH]));
    let host = host();
    let limit = ReplyBody::Collect { limit: LENGTH };
    let machine = one(&server, |request| request.reply = limit);
    assert_eq!(run(&host, machine, &mut Control::none()).unwrap().len(), LENGTH + 4);
    let (held, peak, _) = host.transport.budget().memory.figures();
    assert_eq!((held, peak), (0, LENGTH as u64));
    // A reply beyond its limit is refused, and counts no more than what was read.
    let machine = one(&server, |request| request.reply = ReplyBody::Collect { limit: LENGTH / 2 });
    assert!(run(&host, machine, &mut Control::none()).unwrap_err().message().contains("longer than"));
    until(|| host.transport.budget().memory.figures().0 == 0);
}

/// The inputs about a request that the machine gets, until its end.
fn inputs(server: &Server, method: Method, body: Body) -> Vec<&'static str> {
    let mut request = request(1, method, &server.url("/b/k"));
    request.body = body;
    let mut inputs = Vec::new();
    let machine = ScriptedMachine::new(vec![Output::Send(request)], move |outputs, input| match input {
        Input::Sent { .. } => inputs.push("sent"),
        Input::Head { .. } => inputs.push("head"),
        Input::End { .. } => outputs.push_back(Output::Done(Ok(std::mem::take(&mut inputs)))),
        Input::Failed { failure, .. } => outputs.push_back(Output::Done(Err(Error::new(failure.code, failure.detail)))),
        _ => {}
    });
    run(&host(), machine, &mut Control::none()).unwrap()
}

#[test]
fn a_machine_is_told_once_that_a_request_was_sent_before_its_reply() {
    // The server reads a whole request before it answers.
    let server = Server::http(|_, wire| reply(wire, 200, b""));
    assert_eq!(inputs(&server, Method::Get, Body::Empty), ["sent", "head"]);
    for length in [0, 1, 1 << 20] {
        assert_eq!(inputs(&server, Method::Put, Body::Bytes(vec![7; length].into())), ["sent", "head"], "{length}");
    }
}

#[test]
fn a_machine_is_not_told_that_a_request_was_sent_while_the_connection_is_full() {
    let gate = Arc::new(AtomicBool::new(false));
    let open = gate.clone();
    let server = Server::raw(move |mut stream| {
        use std::io::{Read, Write};
        until(|| open.load(Ordering::Acquire));
        let mut left = 32 << 20;
        let mut buffer = vec![0; 1 << 16];
        while left > 0 {
            left -= stream.read(&mut buffer).unwrap().min(left);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    let sent = Arc::new(AtomicBool::new(false));
    let flag = sent.clone();
    let mut request = request(1, Method::Put, &server.url("/b/k"));
    request.body = Body::Bytes(vec![7; 32 << 20].into());
    let machine: ScriptedMachine<()> =
        ScriptedMachine::new(vec![Output::Send(request)], move |outputs, input| match input {
            Input::Sent { .. } => flag.store(true, Ordering::Release),
            Input::Head { .. } => outputs.push_back(Output::Done(Ok(()))),
            _ => {}
        });
    let running = std::thread::spawn(move || run(&host(), machine, &mut Control::none()).unwrap());
    std::thread::sleep(Duration::from_millis(500));
    assert!(!sent.load(Ordering::Acquire), "the connection has accepted only part of it");
    gate.store(true, Ordering::Release);
    running.join().unwrap();
    assert!(sent.load(Ordering::Acquire));
}

#[test]
fn a_reply_longer_than_its_limit_is_a_failure_and_an_error_page_is_cut() {
    let server = Server::http(|seen, wire| {
        let status = if seen.line.contains("refused") { 503 } else { 200 };
        reply(wire, status, &vec![b'x'; ERROR_LIMIT + 1])
    });
    let limited = one(&server, |request| request.reply = ReplyBody::Collect { limit: ERROR_LIMIT });
    let error = run(&host(), limited, &mut Control::none()).unwrap_err();
    assert!(error.code() == Code::BadReply && error.message().contains("longer than 65536 bytes"), "{error}");

    let refused = one(&server, |request| request.url = server.url("/refused"));
    let text = run(&host(), refused, &mut Control::none()).unwrap();
    assert_eq!((&text[..4], text.len()), ("503 ", 4 + ERROR_LIMIT));
}

/// Answers with a body that comes byte by byte, without a long pause, as long as the client reads it or until the time is
/// over.
fn trickling(status: &'static str, byte: &'static [u8], time: Duration) -> Server {
    Server::http(move |_, wire| {
        let start = std::time::Instant::now();
        let mut sent = wire.write_all(format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes());
        while sent.is_ok() && start.elapsed() < time {
            std::thread::sleep(Duration::from_millis(10));
            sent = wire.write_all(&[b"1\r\n", byte, b"\r\n"].concat()).and_then(|()| wire.flush());
        }
        sent.and_then(|()| wire.write_all(b"0\r\n\r\n")).is_ok()
    })
}

#[test]
fn small_chunks_of_a_reply_reach_the_machine_joined() {
    let server = Server::http(|_, wire| {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        wire.write_all(&[&head[..], &b"1\r\nx\r\n".repeat(100_000), b"0\r\n\r\n"].concat()).is_ok()
    });
    let mut limited = request(1, Method::Get, &server.url("/"));
    limited.reply = ReplyBody::Collect { limit: 1 << 20 };
    let (mut bytes_seen, mut pieces) = (0, 0);
    let machine = ScriptedMachine::new(vec![Output::Send(limited)], move |outputs, input| match input {
        Input::Body { bytes, .. } => (bytes_seen, pieces) = (bytes_seen + bytes.len(), pieces + 1),
        Input::End { .. } => outputs.push_back(Output::Done(Ok((bytes_seen, pieces)))),
        Input::Failed { failure, .. } => panic!("{failure:?}"),
        _ => {}
    });
    assert_eq!(run(&host(), machine, &mut Control::none()).unwrap(), (100_000, 2));
}

#[test]
fn a_reply_that_trickles_ends() {
    // Longer than a busy machine pauses a thread: the reply is not to end for its silence.
    let idle_timeout = Duration::from_secs(3);
    std::thread::scope(|scope| {
        for status in ["200 OK", "503 Slow Down"] {
            scope.spawn(move || {
                let server = trickling(status, b"x", idle_timeout * 4);
                let error =
                    run(&super::host_with(idle_timeout), one(&server, |_| {}), &mut Control::none()).unwrap_err();
                assert!(
                    error.code() == Code::TimedOut && error.message().contains("of the reply came in 3000 ms"),
                    "{error}"
                );
            });
        }
        // A store that works on a request sends blanks meanwhile: more patience.
        let server = trickling("200 OK", b" ", idle_timeout * 2);
        let working = one(&server, |request| request.method = Method::Post);
        run(&super::host_with(idle_timeout), working, &mut Control::none()).unwrap();
    });
}

#[test]
fn a_deadline_wakes_the_machine() {
    let at = crate::transport::clock::mono_ms() + 50;
    let mut machine = ScriptedMachine::new(vec![Output::Wait(Some(at))], |_, _| {});
    machine.outputs.push_back(Output::Done(Ok(7)));
    assert_eq!(run(&host(), machine, &mut Control::none()).unwrap(), 7);
    assert!(crate::transport::clock::mono_ms() >= at);
}

#[test]
fn an_abandoned_request_is_dropped_and_no_longer_reported() {
    let server = Server::http(|seen, wire| {
        // The first is never answered.
        if seen.target() == "/second" { reply(wire, 200, b"") } else { wire.read(&mut [0]).is_ok_and(|n| n > 0) }
    });
    let first = request(1, Method::Get, &server.url("/first"));
    let second = request(2, Method::Get, &server.url("/second"));
    let abandon = Output::Abandon(first.id);
    let mut heard = Vec::new();
    let machine =
        ScriptedMachine::new(vec![Output::Send(first), abandon, Output::Send(second)], move |outputs, input| {
            if let Input::Head { id, .. } | Input::Failed { id, .. } | Input::End { id } = input {
                heard.push(id.0);
                if matches!(input, Input::End { .. }) {
                    outputs.push_back(Output::Done(Ok(heard.clone())));
                }
            }
        });
    assert_eq!(run(&host(), machine, &mut Control::none()).unwrap(), [2, 2]);
}

#[test]
fn a_panic_in_a_machine_is_an_error() {
    let in_handle: ScriptedMachine<()> =
        ScriptedMachine::new(vec![Output::Send(request(1, Method::Get, "http://127.0.0.1:1/"))], |_, _| {
            panic!("a defect in a test")
        });
    let error = run(&host(), in_handle, &mut Control::none()).unwrap_err();
    assert!(error.code() == Code::Internal && error.message().contains("a defect in a test"), "{error}");
}

#[test]
fn a_machine_that_asks_for_payload_without_a_source_is_an_error() {
    for output in [
        Output::NeedPart(PartRequest {
            number: 1,
            offset: 0,
            length: 1,
            min_length: 1,
            multiple_of: 1,
            hash_first: true,
        }),
        Output::Accept(s3vault_core::http::Range::of_part(0, 0, 1)),
    ] {
        let mut machine: ScriptedMachine<()> = ScriptedMachine::new(vec![output], |_, _| {});
        machine.outputs.push_back(Output::Done(Ok(())));
        let error = run(&host(), machine, &mut Control::none()).unwrap_err();
        assert_eq!(error.code(), Code::Internal);
    }
}

#[test]
fn a_cancel_a_time_out_and_a_callback_end_the_call_and_cancel_the_machine() {
    type Hold<'a> = Box<dyn Fn(&mut dyn FnMut(&mut Control<'_>) -> Result<()>) -> Result<()> + 'a>;
    let cancels: Vec<(Hold<'_>, Code)> = vec![
        (
            Box::new(|call| {
                let cancel = Cancel::new();
                let other = cancel.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(100));
                    other.trigger();
                });
                call(&mut Control { cancel: Some(cancel), ..Control::none() })
            }),
            Code::Cancelled,
        ),
        (
            Box::new(|call| call(&mut Control { timeout: Some(Duration::from_millis(100)), ..Control::none() })),
            Code::TimedOut,
        ),
        (
            Box::new(|call| {
                let mut events = 0;
                let mut stop = |event: &crate::control::Event<'_>| {
                    assert_eq!(event.kind, EventKind::Heartbeat);
                    events += 1;
                    events < 2
                };
                call(&mut Control { on_event: Some(&mut stop), ..Control::none() })
            }),
            Code::Stopped,
        ),
    ];
    for (hold, code) in cancels {
        let cancelled = Arc::new(AtomicBool::new(false));
        let error = hold(&mut |control| run(&host(), endless(&cancelled), control)).unwrap_err();
        assert_eq!(error.code(), code);
        until(|| cancelled.load(Ordering::Acquire));
    }
}

#[test]
fn a_cancel_before_the_call_wins_over_any_reply_and_nothing_is_sent() {
    let sent = Arc::new(AtomicBool::new(false));
    let flag = sent.clone();
    let server = Server::http(move |_, wire| {
        flag.store(true, Ordering::Release);
        reply(wire, 200, b"")
    });
    let cancel = Cancel::new();
    cancel.trigger();
    let mut control = Control { cancel: Some(cancel), ..Control::none() };
    for _ in 0..20 {
        // A machine that is done at once is faster than any reply.
        let mut done: ScriptedMachine<()> = ScriptedMachine::new(vec![], |_, _| {});
        done.outputs.push_back(Output::Done(Ok(())));
        assert_eq!(run(&host(), done, &mut control).unwrap_err().code(), Code::Cancelled);
        assert_eq!(run(&host(), one(&server, |_| {}), &mut control).unwrap_err().code(), Code::Cancelled);
        let work = super::super::blocking(|_| std::thread::yield_now(), &mut control);
        assert_eq!(work.unwrap_err().code(), Code::Cancelled);
    }
    assert!(!sent.load(Ordering::Acquire), "a request was sent");
}

#[test]
fn a_call_of_several_steps_has_one_time_limit_and_its_events() {
    let step = || {
        let at = crate::transport::clock::mono_ms() + 20;
        let mut machine = ScriptedMachine::new(vec![Output::Wait(Some(at))], |_, _| {});
        machine.outputs.push_back(Output::Done(Ok(())));
        machine
    };
    let heartbeats = std::cell::Cell::new(0);
    let mut count = |event: &crate::control::Event<'_>| {
        assert_eq!(event.kind, EventKind::Heartbeat);
        heartbeats.set(heartbeats.get() + 1);
        true
    };
    let mut control = Control { on_event: Some(&mut count), timeout: Some(Duration::from_secs(1)), ..Control::none() };
    // Without a limit of the call, all of these steps end well.
    let endless: Result<()> = control.one_call(|control| {
        for _ in 0..1_000 {
            run(&host(), step(), control)?;
        }
        Ok(())
    });
    assert_eq!(endless.unwrap_err().code(), Code::TimedOut);
    assert!(heartbeats.get() > 0, "no step was long enough for an event of its own");
    // The next call has its own limit.
    run(&host(), step(), &mut control).unwrap();
}

#[test]
fn callbacks_run_on_the_calling_thread() {
    let thread = std::thread::current().id();
    let threads = Mutex::new(Vec::new());
    let mut note = |_: &crate::control::Event<'_>| {
        threads.lock().unwrap().push(std::thread::current().id());
        threads.lock().unwrap().len() < 3
    };
    let mut control = Control { on_event: Some(&mut note), ..Control::none() };
    run(&host(), endless(&Arc::default()), &mut control).unwrap_err();
    assert_eq!(*threads.lock().unwrap(), [thread; 3]);
}

#[test]
fn a_child_of_a_fork_is_refused_and_does_not_hang() {
    let host = host();
    let machine = endless(&Arc::default());
    // Safety: the child calls nothing but what is under test, and _exit.
    #[allow(unsafe_code)]
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = run(&host, machine, &mut Control::none()).is_err_and(|e| e.code() == Code::Forked);
        let refused = refused && runtime::shutdown(Duration::from_secs(1)).is_err_and(|e| e.code() == Code::Forked);
        drop(host);
        // Safety: ends the child at once.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(if refused { 0 } else { 1 })
        }
    }
    let mut status = -1;
    // Safety: `status` outlives the call.
    #[allow(unsafe_code)]
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!((waited, status), (child, 0));
}

#[test]
fn a_cut_reply_reaches_the_machine_as_a_failure() {
    let server = Server::http(|_, wire| {
        let _ = wire.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345");
        false
    });
    let error = run(&host(), one(&server, |_| {}), &mut Control::none()).unwrap_err();
    assert!(error.code() == Code::ConnectionLost && error.message().contains("after: 200 12345"), "{error}");
}

/// Runs in its own process, since it stops the runtime that all tests share.
#[test]
fn shutdown_waits_for_the_background_and_joins_the_threads() {
    const ALONE: &str = "S3VAULT_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "driver::tests::calls::shutdown_waits_for_the_background_and_joins_the_threads";
        let alone = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&alone.stdout);
        assert!(alone.status.success() && output.contains("1 passed"), "{output}");
        return;
    }
    // A machine that needs a while to end.
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    let slow: ScriptedMachine<()> = ScriptedMachine::new(vec![], move |outputs, input| {
        if matches!(input, Input::Cancel) {
            outputs.push_back(Output::Wait(Some(crate::transport::clock::mono_ms() + 300)));
            outputs.push_back(Output::Done(Ok(())));
            flag.store(true, Ordering::Release);
        }
    });
    let mut short = Control { timeout: Some(Duration::from_millis(10)), ..Control::none() };
    run(&host(), slow, &mut short).unwrap_err();
    runtime::shutdown(Duration::from_secs(60)).unwrap();
    assert!(ended.load(Ordering::Acquire));
    assert_eq!(library_threads(), 0);

    // A call in progress on another thread gets an error, and a machine that never ends is reported.
    let deaf = || ScriptedMachine::<()>::new(vec![], |_, _| {});
    let waits = Arc::new(AtomicBool::new(false));
    let seen = waits.clone();
    let waiting = std::thread::spawn(move || {
        let mut note = |_: &crate::control::Event<'_>| {
            seen.store(true, Ordering::Release);
            true
        };
        run(&host(), deaf(), &mut Control { on_event: Some(&mut note), ..Control::none() })
    });
    until(|| waits.load(Ordering::Acquire));
    let mut short = Control { timeout: Some(Duration::from_millis(10)), ..Control::none() };
    run(&host(), deaf(), &mut short).unwrap_err();
    assert!(library_threads() >= 2);
    let error = runtime::shutdown(Duration::from_millis(200)).unwrap_err();
    assert!(error.message().starts_with("1 "), "{error}");
    assert_eq!(waiting.join().unwrap().unwrap_err().code(), Code::WrongState);

    // What could not be removed from the store is said, since its call has ended.
    let refused: ScriptedMachine<()> = ScriptedMachine::new(vec![], |outputs, input| {
        if matches!(input, Input::Cancel) {
            let (bucket, key) = ("bkt".to_owned(), "vm/disk".to_owned());
            let (upload_id, why) = ("u1".to_owned(), "access denied".to_owned());
            outputs.push_back(Output::Event(s3vault_core::Event::Orphan { bucket, key, upload_id, why }));
            outputs.push_back(Output::Done(Ok(())));
        }
    });
    let mut short = Control { timeout: Some(Duration::from_millis(10)), ..Control::none() };
    run(&host(), refused, &mut short).unwrap_err();
    let error = runtime::shutdown(Duration::from_secs(60)).unwrap_err();
    assert_eq!(error.code(), Code::Store);
    assert!(error.message().contains("upload u1 of s3://bkt/vm/disk stays on the store"), "{error}");
    runtime::shutdown(Duration::from_secs(60)).expect("it was said once");

    let complete: ScriptedMachine<()> = ScriptedMachine::new(vec![], |outputs, input| {
        if matches!(input, Input::Cancel) {
            let (container, path, vid) = ("vm".to_owned(), "disk".to_owned(), "7Z".to_owned());
            outputs.push_back(Output::Event(s3vault_core::Event::StoredAnyway { container, path, vid }));
            outputs.push_back(Output::Done(Ok(())));
        }
    });
    let mut short = Control { timeout: Some(Duration::from_millis(10)), ..Control::none() };
    run(&host(), complete, &mut short).unwrap_err();
    let error = runtime::shutdown(Duration::from_secs(60)).unwrap_err();
    assert_eq!((error.code(), error.hint()), (Code::WrongState, "Do not store it again."));
    assert!(error.message().contains("vm/disk was complete") && error.message().ends_with("version 7Z"), "{error}");

    // A later call starts the runtime again.
    let mut again = ScriptedMachine::new(vec![], |_, _| {});
    again.outputs.push_back(Output::Done(Ok(5)));
    assert_eq!(run(&host(), again, &mut Control::none()).unwrap(), 5);
}

fn library_threads() -> usize {
    let names = std::fs::read_dir("/proc/self/task").unwrap();
    names
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .filter(|name| name.trim() == "s3vault")
        .count()
}
