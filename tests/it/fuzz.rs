//! The seeds of the fuzz targets, and what is near them, without a fuzzer.

#[path = "../fuzz/checks/mod.rs"]
mod checks;

use std::fs;

use crate::support::repository;

/// Variations of a seed, spread over its length.
const VARIATIONS: usize = 64;

#[test]
fn fuzz_seeds_and_their_neighbours_pass_the_checks() {
    for (target, check) in checks::TARGETS {
        let seeds: Vec<_> = fs::read_dir(repository("tests/fuzz/seeds").join(target)).unwrap().collect();
        assert!(!seeds.is_empty(), "{target} has no seeds");
        for seed in seeds {
            let bytes = fs::read(seed.unwrap().path()).unwrap();
            check(&bytes);
            for at in (0..bytes.len()).step_by(bytes.len() / VARIATIONS + 1) {
                check(&bytes[..at]);
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                check(&flipped);
            }
        }
    }
}

#[test]
fn fuzz_targets_are_those_that_the_checks_name() {
    let manifest = fs::read_to_string(repository("tests/fuzz/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let targets: Vec<_> =
        manifest["bin"].as_array().unwrap().iter().map(|target| target["name"].as_str().unwrap()).collect();
    assert_eq!(targets, checks::TARGETS.map(|(name, _)| name));
}
