//! Chores of the repository; its tests check what no single crate can.
#![expect(clippy::print_stderr, reason = "a chore talks to its user")]

mod fuzz;

use anyhow::{Context as _, ensure};
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

const USAGE: &str = "usage:
  cargo xtask kernel [WORDS]                              tests the kernels, then measures them
  cargo xtask fuzz [--seconds N] [--seed N] [TARGET...]   hostile input for all that reads files
  cargo test -p xtask                                     checks of the repository as a whole";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((command, words)) if command == "kernel" => kernel(words),
        Some((command, words)) if command == "fuzz" => fuzz::run(root(), words),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Green first: a kernel that is wrong is not worth measuring.
fn kernel(words: &[String]) -> anyhow::Result<()> {
    let bench = ["bench", "--quiet", "--package", "kernels", "--bench", "kernels", "--"];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    cargo(&["test", "--quiet", "--package", "kernels"])?;
    cargo(&[&bench[..], &words].concat())
}

/// Runs cargo, which says itself what is wrong.
fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(cargo).args(arguments).status().context("cannot start cargo")?;
    ensure!(status.success(), "`cargo {}` failed: {status}", arguments[0]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::root;
    use std::collections::{BTreeMap, BTreeSet};
    use std::process::Command;

    type Edges = BTreeMap<String, BTreeSet<String>>;

    /// Crates of the workspace and which of them each imports.
    fn imported() -> Edges {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
        let ours: BTreeSet<String> = packages.iter().map(name).collect();
        let edges = packages.iter().map(|package| {
            let all = package["dependencies"].as_array().unwrap().iter();
            let imports = all.filter(|d| d["kind"].is_null()).map(name);
            (name(package), imports.filter(|name| ours.contains(name)).collect())
        });
        edges.collect()
    }

    /// The same from the table in `ARCHITECTURE.md`.
    fn documented() -> Edges {
        let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
        let table = text.split("| crate | imports |").nth(1).unwrap();
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let edges = rows.map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let imports = cells[2].split(", ").filter(|name| *name != "—").map(str::to_owned);
            (cells[1].to_owned(), imports.collect())
        });
        edges.collect()
    }

    #[test]
    fn crates_import_what_the_table_says() {
        assert_eq!(imported(), documented());
    }

    #[test]
    fn the_architecture_fits_on_two_hundred_lines() {
        let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
        assert!(text.lines().count() <= 200);
    }

    /// The files change; an answer that is gone would count every right one as wrong.
    #[test]
    fn answers_of_the_lookup_list_are_in_their_files() {
        let folder = root().join("fixtures/lookup");
        let list = std::fs::read_to_string(folder.join("questions.tsv")).unwrap();
        let mut asked = 0;
        for line in list.lines().skip(1) {
            let &[file, question, answer] = &line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("not three fields: {line}");
            };
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            let found = text.lines().any(|line| line.contains(answer));
            let absent = answer == "not in the text";
            assert!(found != absent, "`{file}`: {question} => {answer}");
            asked += 1;
        }
        assert!(asked >= 60, "{asked} questions");
    }
}
