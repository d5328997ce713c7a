//! What is said to be needed is what is taken.

use super::succeeds;

/// Reads so many KiB in a process of its own and compares its peak with what it computed first.
fn check(kib: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let line = "name = \"serde\"\nversion = \"1.0.229\"\n";
    std::fs::write(&path, &line.repeat((kib << 10).div_ceil(line.len()))[..kib << 10]).unwrap();
    let path = path.display().to_string();
    let question = ["run", "which version of serde?", "--json", "--max-tokens", "4", "--file"];
    let output = succeeds(&[&question[..], &[&path]].concat());
    let value: serde_json::Value = serde_json::from_str(&output).unwrap();
    let bytes = |field: &str| value[field].as_f64();
    let [Some(expected), Some(peak)] = ["expected_peak_rss_bytes", "peak_rss_bytes"].map(bytes)
    else {
        eprintln!("skipped: the system does not tell a process's memory");
        return;
    };
    let ratio = peak / expected;
    assert!((0.95..=1.05).contains(&ratio), "{kib} KiB: {ratio:.3} in {value}");
}

#[test]
fn the_peak_of_a_short_text_is_known_before() {
    check(64);
}

#[test]
fn the_peak_of_a_longer_text_is_known_before() {
    check(192);
}

#[test]
fn the_peak_of_a_long_text_is_known_before() {
    if std::env::var_os("RUN_SLOW_TESTS").is_none() {
        eprintln!("skipped: RUN_SLOW_TESTS is not set");
        return;
    }
    check(512);
    check(1024);
}
