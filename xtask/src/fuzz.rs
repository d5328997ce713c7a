//! `cargo xtask fuzz`: hostile input for everything that reads files, for a bounded time each.
//!
//! Builds `fuzz` with its driver and runs one process per target, as many at once as there are cores, so
//! that a target that ends its process, or never ends, is found as well.

use anyhow::{Context as _, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// As named in `fuzz/Cargo.toml`; a test compares.
const TARGETS: [&str; 15] = [
    "config",
    "safetensors_header",
    "index",
    "tokenizer",
    "template",
    "recipe",
    "gguf",
    "schema",
    "tool_calls",
    "request",
    "picture",
    "sound",
    "clip",
    "tower",
    "session",
];

/// How long a process may run beyond its time: others may use the machine.
const GRACE: Duration = Duration::from_secs(120);

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    seconds: u64,
    seed: u64,
    targets: Vec<String>,
}

impl Arguments {
    fn parse(words: &[String]) -> anyhow::Result<Self> {
        let mut arguments = Self { seconds: 10, seed: 1, targets: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || {
                let text = words.next().with_context(|| format!("`{word}` wants a number"))?;
                text.parse().with_context(|| format!("`{word}` is `{text}`, expected a number"))
            };
            match &word[..] {
                "--seconds" => arguments.seconds = number()?,
                "--seed" => arguments.seed = number()?,
                target => {
                    let known = TARGETS.join(", ");
                    ensure!(
                        TARGETS.contains(&target),
                        "there is no target `{target}`, expected {known}"
                    );
                    arguments.targets.push(target.to_owned());
                }
            }
        }
        if arguments.targets.is_empty() {
            arguments.targets = TARGETS.map(str::to_owned).to_vec();
        }
        Ok(arguments)
    }
}

/// Runs the targets that `words` name.
///
/// # Errors
///
/// If an input fails: says which, and where it is kept. Targets that were begun are run to their end.
pub(crate) fn run(root: &Path, words: &[String]) -> anyhow::Result<()> {
    let arguments = Arguments::parse(words)?;
    let root = &root.canonicalize()?;
    let folder = root.join("fuzz");
    let driver = build(root)?;
    let targets = Mutex::new(arguments.targets.iter());
    let next = || targets.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(target) = next() {
            let ended = run_target(&driver, &folder, target, &arguments);
            if ended.is_err() {
                // Nobody begins another.
                while next().is_some() {}
                return ended;
            }
        }
        Ok(())
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let ended = |worker: ScopedJoinHandle<'_, anyhow::Result<()>>| match worker.join() {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().map(ended).fold(Ok(()), anyhow::Result::and)
    })
}

fn run_target(
    driver: &Path,
    folder: &Path,
    target: &str,
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let mut command = Command::new(driver);
    command.arg(target).args([arguments.seconds, arguments.seed].map(|n| n.to_string()));
    command.arg(folder);
    let status = wait(&mut command, Duration::from_secs(arguments.seconds) + GRACE)?;
    let how = match status {
        Some(status) if status.success() => return Ok(()),
        Some(status) if status.code() == Some(1) => bail!("target `{target}` failed"),
        Some(status) => format!("ended its process ({status})"),
        None => "did not end".to_owned(),
    };
    let failures = folder.join("failures");
    let kept = failures.join(format!("{target}-stopped"));
    std::fs::rename(failures.join(format!("{target}.current")), &kept)
        .with_context(|| format!("target `{target}` {how}, and left no input"))?;
    bail!("target `{target}` {how}; the input is `{}`", kept.display());
}

/// Builds the driver; overflows are checked in it.
fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let built = std::path::absolute(built)?;
    let status = Command::new(env!("CARGO"))
        // With the features of the workspace, whose compiled parts are used again.
        .args(["build", "--quiet", "--workspace", "--bin", "bounded", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&built)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cannot build `fuzz`");
    Ok(built.join("debug").join(format!("bounded{}", std::env::consts::EXE_SUFFIX)))
}

/// Runs `command`; `None` if it had to be stopped after `time`.
fn wait(command: &mut Command, time: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let end = Instant::now() + time;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, String> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Arguments::parse(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_are_read_or_refused() {
        let all = TARGETS.map(str::to_owned).to_vec();
        assert_eq!(parse(&[]), Ok(Arguments { seconds: 10, seed: 1, targets: all }));
        let some = Arguments { seconds: 3, seed: 7, targets: vec!["index".to_owned()] };
        assert_eq!(parse(&["--seconds", "3", "index", "--seed", "7"]), Ok(some));
        assert_eq!(parse(&["--seed"]), Err("`--seed` wants a number".to_owned()));
        let wrong = "`--seed` is `x`, expected a number";
        assert_eq!(parse(&["--seed", "x"]), Err(wrong.to_owned()));
        assert!(parse(&["pdf"]).unwrap_err().starts_with("there is no target `pdf`, expected"));
    }

    #[test]
    fn targets_are_those_of_the_manifest_and_have_seeds() {
        let fuzz = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz"));
        let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        let paths = manifest.split("path = \"fuzz_targets/").skip(1);
        let names: Vec<&str> = paths.map(|rest| rest.split(".rs").next().unwrap()).collect();
        assert_eq!(names, TARGETS);
        let mut bytes = 0;
        for name in TARGETS {
            let seeds = std::fs::read_dir(fuzz.join("corpus").join(name)).unwrap();
            let sizes = seeds.map(|seed| seed.unwrap().metadata().unwrap().len());
            let size: u64 = sizes.sum();
            assert!(size > 0, "{name} has no seeds");
            bytes += size;
        }
        // Two of them are clips, whose pixels are not compressed.
        assert!(bytes < 96 << 10, "seeds of {bytes} bytes");
    }
}
