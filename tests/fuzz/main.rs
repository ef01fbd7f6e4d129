//! Hostile input, on stable Rust: a corpus of our own is replayed, and inputs that are made out of it are tried.
//!
//! A target takes any bytes, asserts what must hold, and says which features it saw: kinds of instructions with what they
//! have, kinds of mistakes, shapes of results. An input with a feature that was not there before is kept and changed
//! further, so that the search goes where the code goes, with no instrumentation and no other compiler. The seed of a search
//! stands in its output; the same seed tries the same inputs.
//!
//! `cargo test --test fuzz` replays the corpus and searches for a second per target. `LONGSHORE_FUZZ_SECS=600` searches longer
//! and `LONGSHORE_FUZZ_SEED=7` elsewhere; CONTRIBUTING.md has the command line for an optimized build. An input that fails is
//! written to `corpus/TARGET/found-*`: committed with the repair, it stays a test.

#![expect(clippy::print_stdout, reason = "what a search has tried is to be seen")]

mod mutate;
mod targets;

use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mutate::Mutator;
use targets::{Features, Target};

/// So long a search is if nobody says otherwise.
const SECONDS: u64 = 1;
/// So long one input may take: generous, since this build may not be optimized and the machine may be busy.
const INPUT_SECONDS: u64 = 20;
/// Inputs that the search makes are no larger, in bytes.
const INPUT_MAX: usize = 4096;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number in the variable"))
}

/// Replays the corpus of a target, then searches.
fn search(name: &str, dictionary: &[&str], target: Target) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(name);
    let entries = fs::read_dir(&directory).expect("a corpus");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has no corpus");

    let mut known = HashSet::new();
    let mut kept = Vec::new();
    for file in &files {
        let input = fs::read(file).expect("an input");
        known.extend(try_one(&input, target, &|| file.clone()));
        kept.push(input);
    }
    let of_corpus = known.len();

    let seed = number("LONGSHORE_FUZZ_SEED").unwrap_or(0);
    let length = Duration::from_secs(number("LONGSHORE_FUZZ_SECS").unwrap_or(SECONDS));
    let mut mutator = Mutator::new(seed, dictionary);
    let (started, mut tried) = (Instant::now(), 0_u64);
    while started.elapsed() < length {
        let input = mutator.next(&kept, INPUT_MAX);
        tried += 1;
        let before = known.len();
        known.extend(try_one(&input, target, &|| {
            keep(&directory, "found-", &input)
        }));
        if known.len() > before {
            kept.push(input);
        }
    }
    if let Some(place) = std::env::var_os("LONGSHORE_FUZZ_KEEP") {
        let place = PathBuf::from(place).join(name);
        fs::create_dir_all(&place).expect("a place for what is kept");
        for input in &kept {
            keep(&place, "", input);
        }
    }
    println!(
        "{name}: {} inputs of the corpus with {of_corpus} features; seed {seed}: {tried} more in {} s, {} features",
        files.len(),
        started.elapsed().as_secs(),
        known.len()
    );
}

/// Runs one input; `place` says where it is kept if it fails.
fn try_one(input: &[u8], target: Target, place: &dyn Fn() -> PathBuf) -> Features {
    let started = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
    let took = started.elapsed();
    match outcome {
        Ok(features) if took < Duration::from_secs(INPUT_SECONDS) => features,
        Ok(_) => panic!("{} took {took:?}", place().display()),
        Err(panic) => {
            println!("{} fails", place().display());
            resume_unwind(panic)
        }
    }
}

fn keep(directory: &Path, prefix: &str, input: &[u8]) -> PathBuf {
    let path = directory.join(format!("{prefix}{:016x}", targets::hash(input)));
    fs::write(&path, input).expect("a place for an input");
    path
}

#[test]
fn lexer() {
    search("lexer", targets::DOCKERFILE_WORDS, targets::lexer);
}

#[test]
fn parser() {
    search("parser", targets::DOCKERFILE_WORDS, targets::parser);
}

#[test]
fn plan() {
    search("plan", targets::DOCKERFILE_WORDS, targets::plan);
}

#[test]
fn expansion() {
    search("expansion", targets::EXPANSION_WORDS, targets::expansion);
}

#[test]
fn ignore() {
    search("ignore", targets::IGNORE_WORDS, targets::ignore);
}

#[test]
fn glob() {
    search("glob", targets::IGNORE_WORDS, targets::glob);
}

#[test]
fn reference() {
    search("reference", targets::REFERENCE_WORDS, targets::reference);
}
