//! The versions of a bucket, from a store over HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use s3vault::{Client, Control};
use s3vault_core::op::{Content, ListObjectVersions, PutObject};
use s3vault_core::settings::Settings;

use crate::{Result, median};

const OBJECTS: usize = 20_000;
const ROUNDS: usize = 11;
const WRITERS: usize = 4;
/// Rows a second of one core.
const TARGET: f64 = 150_000.0;

fn client() -> Result<Client> {
    let mut settings = Settings::new();
    for name in ["api_url", "access_key", "secret_key", "region", "path_style", "bucket"] {
        let variable = format!("S3VAULT_{}", name.to_uppercase());
        settings.set(name, &std::env::var(&variable).map_err(|_| format!("{variable} is not set"))?)?;
    }
    Ok(Client::open(&settings, &mut Control::default())?)
}

/// Puts small objects until the bucket has what is listed.
fn fill(client: &Client) -> Result<()> {
    let next = AtomicUsize::new(0);
    let write = || -> s3vault_core::Result<()> {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= OBJECTS {
                return Ok(());
            }
            let key = format!("vm-0147__9f3c2a1e/2026-03-01 full/disk-{n:06}.qcow2");
            client.call(PutObject::new(key, Content::Bytes("x".into()), Vec::new()), &mut Control::default())?;
        }
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        writers.into_iter().try_for_each(|writer| writer.join().map_err(|_| "a writer panicked")?.map_err(Into::into))
    })
}

/// Of all threads, user and system.
fn processor_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let time = |value: TimeVal| Duration::new(value.tv_sec() as u64, value.tv_usec() as u32 * 1000);
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

pub(crate) fn run() -> Result<()> {
    let client = client()?;
    fill(&client)?;
    let (mut core, mut wall) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (before, start) = (processor_time()?, Instant::now());
        let mut rows = 0;
        let mut pages = client.pages(ListObjectVersions::default());
        while let Some(page) = pages.next(&mut Control::default())? {
            rows += page.versions.len();
        }
        if rows != OBJECTS {
            return Err(format!("{rows} rows came in place of {OBJECTS}").into());
        }
        wall.push(rows as f64 / start.elapsed().as_secs_f64());
        core.push(rows as f64 / (processor_time()? - before).as_secs_f64());
    }
    let (core, wall) = (median(core), median(wall));
    println!("end to end, {OBJECTS} versions in pages of 1,000, medians of {ROUNDS} turns");
    println!("  rows a second of a core, this process: {core:>10.0}  (target: {TARGET:.0})");
    println!("  rows a second of the wall, with the store: {wall:>6.0}");
    if core < TARGET { Err("slower than the target".into()) } else { Ok(()) }
}
