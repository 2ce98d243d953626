//! A store whose listings never end: empty pages with another token each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use s3vault::{Cancel, Code, Control, Event, Settings, Vault};

/// Answers requests until the connection ends.
fn serve(stream: TcpStream, pages: &AtomicUsize) -> std::io::Result<()> {
    let mut wire = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    loop {
        let Some(first) = lines.next().transpose()? else { return Ok(()) };
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let (status, body) = if first.contains("list-type=2") {
            let page = pages.fetch_add(1, Ordering::Relaxed);
            let next = format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{page}</NextContinuationToken>");
            ("200 OK", format!("<ListBucketResult>{next}</ListBucketResult>"))
        } else if first.contains("versioning") {
            ("200 OK", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>".to_owned())
        } else {
            ("404 Not Found", "<Error><Code>NoSuchKey</Code><Message>no</Message></Error>".to_owned())
        };
        let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        wire.write_all(reply.as_bytes())?;
    }
}

/// A vault on such a store, and the number of pages that the store has sent.
fn endless() -> (Vault, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let pages = Arc::new(AtomicUsize::new(0));
    let counted = pages.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let pages = counted.clone();
            std::thread::spawn(move || serve(stream, &pages));
        }
    });
    let vault = Vault::open(&support::reaching(&url, "endless"), None, &mut Control::none()).unwrap();
    (vault, pages)
}

#[test]
fn a_call_ends_at_its_time_limit_however_many_pages_it_reads() {
    let (vault, pages) = endless();
    let control = &mut Control { timeout: Some(Duration::from_millis(300)), ..Control::none() };
    let mut list = vault.versions(None, None, &Settings::new()).unwrap();
    assert_eq!(list.next(control).unwrap_err().code(), Code::TimedOut);
    assert!(pages.load(Ordering::Relaxed) > 1);
    let found = vault.find("vm", "disk", &Settings::new(), control).map(|_| ());
    assert_eq!(found.unwrap_err().code(), Code::TimedOut);
}

#[test]
fn a_listing_sends_heartbeats_and_heeds_the_callback_and_the_cancel() {
    let (vault, _) = endless();
    let mut list = vault.versions(None, None, &Settings::new()).unwrap();
    let mut stop = |_: &Event<'_>| false;
    let mut control = Control { on_event: Some(&mut stop), ..Control::none() };
    assert_eq!(list.next(&mut control).unwrap_err().code(), Code::Stopped);
    let cancel = Cancel::new();
    let mut control = Control { cancel: Some(cancel.clone()), ..Control::none() };
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        cancel.trigger();
    });
    assert_eq!(list.next(&mut control).unwrap_err().code(), Code::Cancelled);
}
