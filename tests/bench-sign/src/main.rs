//! What a signature costs: s3vault, other signers in Rust, and the bare hashes.
//!
//! bench_sign.py drives this program: it prints the two requests that all sign, as one line of JSON, then for each line
//! on standard input one round: every signer in turn, nanoseconds per signature. Before that each signer must have
//! produced s3vault's own signature, or the program ends with an error.
//!
//! What a caller would prepare once is prepared outside the clock; each peer gets the fastest form that its API has.

mod peers;

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Instant;

use serde_json::json;

use peers::{AwsSigV4, Bare, Reqsign, RustyS3, S3Vault};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// 2026-03-01T12:00:00Z
const UNIX_S: i64 = 1_772_366_400;
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const REGION: &str = "eu-central-1";
const HOST: &str = "s3.eu-central-1.amazonaws.com";
const BUCKET: &str = "backups";
const KEY: &str = "vm-0147__9f3c2a1e/2026-03-01T12-00-00Z/disk-0.qcow2.part";
const PATH: &str = "/backups/vm-0147__9f3c2a1e/2026-03-01T12-00-00Z/disk-0.qcow2.part";
/// An upload id as AWS gives them.
const PUT_QUERY: &str = "partNumber=1742&uploadId=VXBsb2FkSWQtZm9yLWEtYmFja3VwLW9mLWEtdmlydHVhbC1tYWNoaW5lLmRpc2swLjIwMjYtMDMtMDE\
    kuBxxK1BZg7sWZL1Hn0Q2Vfu4pT3zqE8yRj6sD5aWc9";
const VERSION_ID: &str = "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY";
const GET_QUERY: &str = "versionId=3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY";
const EXPIRES_S: u32 = 3600;
const SSE: [(&str, &str); 4] = [
    ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="),
    ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
    ("x-amz-server-side-encryption-customer-key", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
    ("x-amz-server-side-encryption-customer-key-md5", "hpZL8ylESeQ0WQDrrL2yxg=="),
];

/// Signatures of one turn: enough for the clock, few enough that the system seldom takes the processor away meanwhile
/// (which would be charged to the slow ones).
const TURN: u32 = 100;
/// Before that, outside the clock: what the turn before has left of the caches is not this one's.
const WARM: u32 = 10;

/// Nanoseconds per signature of a turn of as many as `turn` is told.
fn clock(mut turn: impl FnMut(u32)) -> f64 {
    clock_prepared(|_| (), |count, _| turn(count))
}

/// The same, with something prepared, and dropped, outside the clock.
fn clock_prepared<T>(prepare: impl Fn(u32) -> T, mut turn: impl FnMut(u32, &mut T)) -> f64 {
    let mut prepared = prepare(TURN);
    turn(WARM, &mut prepare(WARM));
    let start = Instant::now();
    turn(TURN, &mut prepared);
    start.elapsed().as_nanos() as f64 / f64::from(TURN)
}

fn main() -> Result<()> {
    let mut s3vault = S3Vault::new();
    let header = s3vault.header(UNIX_S);
    let (presigned, query) = s3vault.presigned(UNIX_S)?;
    let bare_header = Bare::new(s3vault.canonical(true)?, &header)?;
    let bare_presigned = Bare::new(s3vault.canonical(false)?, &presigned)?;
    let aws = AwsSigV4::new()?;
    same("aws-sigv4", &aws.header()?, &header)?;
    same("aws-sigv4, presigned", &aws.presigned()?, &presigned)?;
    let reqsign = Reqsign::new()?;
    let (date, signature) = reqsign.header()?;
    same("reqsign", &signature, &s3vault.header(date))?;
    let (date, signature) = reqsign.presigned()?;
    same("reqsign, presigned", &signature, &s3vault.presigned(date)?.0)?;
    let rusty = RustyS3::new()?;
    same("rusty-s3, presigned", &rusty.presigned(), &presigned)?;

    let mut out = std::io::stdout().lock();
    let case = json!({
        "access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "region": REGION, "unix_s": UNIX_S, "host": HOST, "path": PATH,
        "header": { "method": "PUT", "query": PUT_QUERY, "headers": SSE, "signature": header },
        "presigned": { "method": "GET", "query": GET_QUERY, "expires_s": EXPIRES_S, "signature": presigned, "all": query },
        "canonical": [bare_header.length(), bare_presigned.length()],
    });
    writeln!(out, "{case}")?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let mut header = serde_json::Map::new();
        header.insert("bare SHA-256 + HMAC".into(), clock(|count| bare_header.turn(count)).into());
        header.insert("s3vault".into(), clock(|count| s3vault.header_turn(count)).into());
        header.insert("aws-sigv4".into(), clock(|count| aws.header_turn(count)).into());
        header.insert(
            "reqsign".into(),
            clock_prepared(|count| reqsign.prepare(true, count), |_, prepared| reqsign.turn(prepared, true)).into(),
        );

        let mut presigned = serde_json::Map::new();
        presigned.insert("bare SHA-256 + HMAC".into(), clock(|count| bare_presigned.turn(count)).into());
        presigned.insert("s3vault".into(), clock(|count| s3vault.presigned_turn(count)).into());
        presigned.insert("aws-sigv4".into(), clock(|count| aws.presigned_turn(count)).into());
        presigned.insert(
            "reqsign".into(),
            clock_prepared(|count| reqsign.prepare(false, count), |_, prepared| reqsign.turn(prepared, false)).into(),
        );
        presigned.insert("rusty-s3".into(), clock(|count| rusty.presigned_turn(count)).into());
        writeln!(out, "{}", json!({ "header": header, "presigned": presigned }))?;
        out.flush()?;
    }
    Ok(())
}

fn same(who: &str, theirs: &str, ours: &str) -> Result<()> {
    if theirs == ours { Ok(()) } else { Err(format!("{who}: {theirs}, and s3vault: {ours}").into()) }
}
