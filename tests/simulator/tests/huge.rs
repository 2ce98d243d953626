//! Backups as large as S3 takes them, without their bytes: seconds, and memory for the table of parts only.

use std::time::Instant;

use s3vault_core::profile::S3;
use simulator::inputs::Second;
use simulator::scenario::{PutSpec, Scenario};
use simulator::store::Quirks;
use simulator::{Case, content, run_scenario};

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// What is held of a part at most, in bytes: its row in the manifest is 118 bytes of text, and while it is read back there
/// are three of these texts: the store's, the reply's, and the one that the signature is verified over. While it is
/// stored there is one, which machine, request and store share, and 48 bytes of hashes beside it. What the engine alone
/// takes is in `stream.rs`.
const OF_A_PART: u64 = 440;
/// What else a run may take: the parts of one extent as its upload, its Complete and the store's model have them.
const REST: u64 = 16 << 20;

/// Most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}

fn stores(what: &str, length: u64, is_file: bool) {
    content::without_bytes();
    let put = PutSpec {
        name: 0,
        length,
        is_file,
        ends_early: true,
        has_checkpoint: false,
        start: 0,
        slowness: 0,
        memory: 256 << 20,
        is_incremental: false,
    };
    let scenario = Scenario {
        profile: S3,
        quirks: Quirks { unique_etags: true, page: 1000, ..Quirks::default() },
        puts: vec![put],
        injections: Vec::new(),
        faults: 0,
        trip: 1,
        pace: 1,
        second: Second::default(),
    };
    let (started, before) = (Instant::now(), peak());
    let report = run_scenario(&Case::of(1), scenario, false);
    assert_eq!(report.violation, None);
    assert_eq!(report.outcomes.get("stored"), Some(&1));
    let grown = peak() - before;
    // All requests but a few are parts.
    let parts = report.requests;
    println!(
        "{what}: {} requests in {:.1} s, {} MiB at most, {} bytes a part",
        report.requests,
        started.elapsed().as_secs_f64(),
        grown >> 20,
        grown / parts
    );
    assert!(grown <= parts * OF_A_PART + REST, "{grown} bytes for {parts} parts");
}

/// One test, since the peak is the process's.
#[test]
fn backups_as_large_as_can_be_are_stored_and_found() {
    stores("a file of 49 TiB, one extent", 10_000 * 5 * GIB, true);
    stores("a file of 120 TiB, three extents", 120 * TIB, true);
    stores("a stream of 49 TiB", 49 * TIB, false);
}
