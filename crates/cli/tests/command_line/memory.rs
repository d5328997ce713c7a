//! What is said to be needed is what is taken.

use super::succeeds;
use serde_json::Value;
use std::path::PathBuf;
use tempfile::TempDir;

/// How far a peak may lie from what was said before, as a share.
const NEAR: f64 = 0.03;
/// The same where tests run beside each other.
const NEAR_ENOUGH: f64 = 0.05;
const QUESTION: &str = "which version of serde?";
const LINE: &str = "name = \"serde\"\nversion = \"1.0.229\"\n";

/// A text of so many KiB, in a folder of its own.
fn text(kib: usize) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, &LINE.repeat((kib << 10).div_ceil(LINE.len()))[..kib << 10]).unwrap();
    (folder, path)
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeeds(arguments)).unwrap()
}

/// Reads so many KiB in a process of its own. Its peak, beside what it computed first; none where the
/// system does not tell. And the tokens of its prompt.
fn read(kib: usize, how: &[&str]) -> Option<([f64; 2], u64)> {
    let (_folder, path) = text(kib);
    let path = path.display().to_string();
    let question = ["run", QUESTION, "--json", "--max-tokens", "4", "--file", &path];
    let value = json(&[&question[..], how].concat());
    let bytes = |field: &str| value[field].as_f64();
    match ["peak_rss_bytes", "expected_peak_rss_bytes"].map(bytes) {
        [Some(peak), Some(expected)] => {
            Some(([peak, expected], value["prompt_tokens"].as_u64().unwrap()))
        }
        _ => {
            eprintln!("skipped: the system does not tell a process's memory");
            None
        }
    }
}

fn check(kib: usize) {
    let Some(([peak, expected], _)) = read(kib, &[]) else { return };
    let ratio = peak / expected;
    assert!((ratio - 1.0).abs() <= NEAR_ENOUGH, "{kib} KiB: {ratio:.3} of {expected}");
}

#[test]
fn the_peak_of_a_short_text_is_known_before() {
    check(64);
}

#[test]
fn the_peak_of_a_longer_text_is_known_before() {
    check(192);
}

/// Case 20: what `run` says and what `plan` says, over 20 configurations.
#[test]
fn the_peaks_of_twenty_configurations_are_known_before() {
    if std::env::var_os("RUN_SLOW_TESTS").is_none() {
        eprintln!("skipped: RUN_SLOW_TESTS is not set");
        return;
    }
    let mut wrong = Vec::new();
    let mut done = 0;
    let kinds = ["f32", "bf16", "q8"];
    let of_kind = |kv| {
        [(64, 512), (64, 4096), (192, 2048), (512, 512), (512, 2048), (512, 4096)]
            .map(|(kib, chunk)| (kib, kv, chunk))
    };
    let long = [(1024, "bf16", 4096), (1024, "q8", 512)];
    for (kib, kv, chunk) in kinds.into_iter().flat_map(of_kind).chain(long) {
        let chunk = chunk.to_string();
        let how = ["--kv", kv, "--chunk", &chunk];
        let Some(([peak, expected], tokens)) = read(kib, &how) else { return };
        let context = (tokens + 4).to_string();
        let machine = ["--tflops", "1", "--bandwidth", "10", "--json", "--context", &context];
        let planned = json(&[&["plan", "nano"], &machine[..], &how].concat());
        let planned = planned["peak_bytes"].as_f64().unwrap();
        let off =
            [("run", expected), ("plan", planned)].map(|(who, said)| (who, peak / said - 1.0));
        println!("{kib} KiB, {kv}, chunks of {chunk}: {off:.3?}");
        if off.iter().any(|(_, off)| off.abs() > NEAR) {
            wrong.push(format!("{kib} KiB, {kv}, chunks of {chunk}: {off:.3?}"));
        }
        done += 1;
    }
    assert_eq!(done, 20);
    assert!(wrong.is_empty(), "beyond {NEAR}: {wrong:#?}");
}
