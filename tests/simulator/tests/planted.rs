//! That the simulator sees: with each of these mutations in the engine a seed breaks a promise.

use s3vault_core::planted::plant;
use simulator::{Case, run};

/// As the code of core names them.
const MUTATIONS: &[&str] = &[
    "part not verified",
    "part delivered before it is verified",
    "reader not waited for",
    "rest of a slice from its begin",
    "dated request dated anew",
    "no end of attempts",
    "newest version read",
    "new keys not taken",
    "second page of a listing not asked for",
    "window not kept",
    "abort after Complete",
    "upload that never completes gone on with",
    "part released before it is sent",
    "settle takes what is newest",
    "extents numbered from 0",
    "data before its locator",
    "acknowledged before its row",
    "unknown outcome said to be a failure",
    "parts of before sent again",
    "suspend aborts",
    "source goes on a part too late",
    "row not saved",
    "torn record believed",
    "records not waited for",
    "checkpoint believed over the list of parts",
    "listed ETag not taken",
    "second reading not compared",
    "parts that are there read again",
    "part behind one that is there left out",
    "wanted bytes from their part's begin",
];
/// So many seeds are tried for each.
const SEEDS: u64 = 2000;

#[test]
fn each_mutation_is_found() {
    let mut unseen = Vec::new();
    for name in MUTATIONS {
        plant(name);
        let found = (0..SEEDS).find_map(|seed| Some((seed, run(&Case::of(seed), false).violation?)));
        match found {
            Some((seed, why)) => println!("{name}: seed {seed}: {why}"),
            None => unseen.push(name),
        }
    }
    plant("");
    assert!(unseen.is_empty(), "{SEEDS} seeds do not see: {unseen:?}");
}

/// The list is the code's.
#[test]
fn each_mutation_stands_in_the_code() {
    let mut found = Vec::new();
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../core/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let names = text.split("planted::on(\"").skip(1).filter_map(|rest| rest.split('"').next());
                found.extend(names.map(str::to_owned));
            }
        }
    }
    found.sort();
    found.dedup();
    let mut listed: Vec<String> = MUTATIONS.iter().map(|name| (*name).to_owned()).collect();
    listed.sort();
    assert_eq!(found, listed);
}
