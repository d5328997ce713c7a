//! Chores of the repository; its tests check what no single crate can.
#![expect(clippy::print_stderr, reason = "a chore talks to its user")]

use std::ffi::OsString;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["kernel", ref words @ ..] => kernel(words),
        _ => {
            eprintln!("usage: cargo xtask kernel [words]   tests the kernels, then measures them");
            eprintln!("       cargo test -p xtask          checks of the repository as a whole");
            return ExitCode::from(2);
        }
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Green first: a kernel that is wrong is not worth measuring.
fn kernel(words: &[&str]) -> bool {
    let bench = ["bench", "--quiet", "--package", "kernels", "--bench", "kernels", "--"];
    cargo(&["test", "--quiet", "--package", "kernels"]) && cargo(&[&bench, words].concat())
}

/// Whether cargo did this without an error.
fn cargo(args: &[&str]) -> bool {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    match Command::new(cargo).args(args).status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("error: cannot start cargo: {error}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;
    use std::process::Command;

    type Edges = BTreeMap<String, BTreeSet<String>>;

    fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
    }

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
}
