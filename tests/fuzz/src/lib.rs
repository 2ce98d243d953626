//! What comes from outside, read byte by byte: replies of stores, refusals to explain, files and documents with keys,
//! signed objects, settings. Each function takes any bytes; it must come to an end without a panic, and keep what its
//! assertions say.
//!
//! `fuzz_targets` gives them to libFuzzer; `tests/replay.rs` gives them the corpus, on any compiler.
#![allow(clippy::panic, clippy::expect_used, reason = "a target that fails must say so")]

mod replies;

use std::collections::BTreeMap;

use s3vault_core::credentials::chain::{Content, Environment, File, Source, resolve};
use s3vault_core::credentials::{Fetch, parse_process};
use s3vault_core::crypto::keyring::VerifyKeys;
use s3vault_core::endpoint::Endpoint;
use s3vault_core::http::ReplyHead;
use s3vault_core::settings::{OPTIONS, Settings};
use s3vault_core::time::Now;
use s3vault_core::vault::objects::{CatalogueKey, LocatorKey};
use s3vault_core::vault::{Manifest, Vid};
use s3vault_core::{Error, Input, Machine, Output, sigv4};

pub use replies::reply;

/// A message stays one for people, whatever it is about.
fn readable(e: &Error) {
    assert!(e.message().len() < 8_000, "a message of {} bytes", e.message().len());
}

/// A request and a store's refusal of it, with a NUL between.
pub fn explain(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (request, reply) = text.split_once('\0').unwrap_or((&text, ""));
    match sigv4::explain::explain(request, reply) {
        Ok(explanation) => {
            let json = explanation.to_json();
            assert!(json.starts_with('{') && json.ends_with('}'));
        }
        Err(e) => readable(&e),
    }
}

/// The first byte chooses: a shared config file, a credentials file, the answer of a process, of a container's agent, or
/// of the instance's metadata.
pub fn credentials(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest).into_owned();
    let file = || File { name: "file".into(), content: Content::Text(text.clone().into()) };
    let found = match choice % 5 {
        0 => resolve(&Environment { config_file: file(), ..Environment::default() }, "p"),
        1 => resolve(&Environment { credentials_file: file(), ..Environment::default() }, ""),
        2 => {
            if let Err(e) = parse_process(rest) {
                readable(&e);
            }
            return;
        }
        3 => {
            let name = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI".to_owned();
            let vars = BTreeMap::from([(name, "/keys".to_owned().into())]);
            resolve(&Environment { vars, ..Environment::default() }, "")
        }
        _ => resolve(&Environment::default(), ""),
    };
    match found {
        Ok(Source::Fetch(fetch)) => answer(*fetch, rest),
        Ok(_) => {}
        Err(e) => readable(&e),
    }
}

/// Answers each request for keys: the replies have a NUL between them; the first byte of each chooses the status.
fn answer(mut fetch: Fetch, data: &[u8]) {
    let mut replies = data.split(|byte| *byte == 0);
    let mut mono_ms = 0;
    for _ in 0..100 {
        let now = Now { unix_ms: 1_764_000_000_000, mono_ms };
        match fetch.poll(now) {
            Output::Send(request) => {
                let (status, body) = replies.next().and_then(|reply| reply.split_first()).unwrap_or((&0, b""));
                let status = [200, 200, 400, 401, 403, 404, 500, 301][usize::from(status % 8)];
                let id = request.id;
                fetch.handle(now, Input::Head { id, head: ReplyHead { status, headers: Vec::new() } });
                fetch.handle(now, Input::Body { id, bytes: body });
                fetch.handle(now, Input::End { id });
            }
            Output::Wait(at) => mono_ms = at.map_or(mono_ms + 1, |at| at.max(mono_ms + 1)),
            Output::Done(Err(e)) => return readable(&e),
            Output::Done(Ok(_)) => return,
            _ => {}
        }
    }
    panic!("it asks without an end");
}

/// A signed object as it is stored; and its text as each kind of key and key line.
pub fn signed_object(data: &[u8]) {
    let keys = VerifyKeys::parse("").expect("no keys are keys");
    match Manifest::open(data, &keys) {
        Ok(opened) => {
            let parts: u64 = opened.manifest.parts().map(|part| part.length).sum();
            assert_eq!(parts, opened.manifest.size, "what was checked is what is used");
        }
        Err(e) => readable(&e),
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Some(key) = CatalogueKey::parse(text) {
            let _ = key.entry.vid();
        }
        let _ = LocatorKey::parse(text);
        if let Ok(vid) = Vid::parse(text) {
            assert_eq!(Vid::parse(&vid.to_string()).ok(), Some(vid));
        }
        let _ = VerifyKeys::parse(text);
    }
}

/// Lines `key=value` as settings, and an endpoint from them. A number stands for the option of that place in the table.
pub fn settings(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut settings = Settings::new();
    for line in text.lines() {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let key = key.parse().ok().and_then(|n: usize| OPTIONS.get(n)).map_or(key, |row| row.key);
        if let Err(e) = settings.set(key, value) {
            readable(&e);
        }
    }
    match Endpoint::from_settings(&settings) {
        Ok(endpoint) => {
            let bucket = settings.text("bucket");
            if endpoint.check_bucket(bucket).is_ok() {
                let target = endpoint.target(bucket, Some("a/../b c"), "");
                assert!(target.url.ends_with(&target.path) && target.url.contains(&target.host), "{target:?}");
                assert!(target.path.ends_with("/a/../b%20c"), "{target:?}");
            }
        }
        Err(e) => readable(&e),
    }
}
