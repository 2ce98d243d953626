//! The corpus, and what the fuzzer once found, on any compiler.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::panic::catch_unwind;
use std::path::Path;

type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("reply", s3vault_fuzz::reply),
    ("explain", s3vault_fuzz::explain),
    ("credentials", s3vault_fuzz::credentials),
    ("signed_object", s3vault_fuzz::signed_object),
    ("settings", s3vault_fuzz::settings),
];

/// An input, cut and with a bit turned at up to 64 places: each stands for its neighbours too.
fn neighbours(input: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![input.to_vec()];
    let steps = input.len().min(64);
    for step in 0..steps {
        let at = step * input.len() / steps;
        all.push(input[..at].to_vec());
        let mut turned = input.to_vec();
        turned[at] ^= 1 << (step % 8);
        all.push(turned);
    }
    all
}

#[test]
fn the_corpus_is_read_without_a_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut count = 0;
    for (name, target) in TARGETS {
        let entries = std::fs::read_dir(corpus.join(name)).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 3, "the corpus of {name} has {} files", files.len());
        files.sort();
        for file in files {
            for input in neighbours(&std::fs::read(&file).unwrap()) {
                count += 1;
                if catch_unwind(|| target(&input)).is_err() {
                    panic!("{name} fails near {}: {}", file.display(), input.escape_ascii());
                }
            }
        }
    }
    println!("fuzz corpus: {count} inputs replayed");
}
