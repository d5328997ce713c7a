//! The binary from outside.
#![expect(clippy::unwrap_used, reason = "a test may stop")]
#![expect(clippy::print_stderr, reason = "a skip is visible")]

mod bench;
mod clips;
mod commands;
mod convert;
mod forward_video;
mod memory;
mod plan;
mod quantize;
mod senses;
mod sessions;
mod video;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fulgurite(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fulgurite")).args(arguments).output().unwrap()
}

/// Expects success; what is on stdout.
#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let output = fulgurite(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Expects a failure with `code`, nothing on stdout, and all of `words` in one line; only wrong
/// arguments may take more.
#[track_caller]
fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    let output = fulgurite(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(code == 2 || message.trim_end().lines().count() == 1, "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
    assert!(output.stdout.is_empty());
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
