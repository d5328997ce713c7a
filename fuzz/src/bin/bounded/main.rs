//! Runs one target on changed inputs for a bounded time: `bounded TARGET SECONDS SEED FOLDER`.
//!
//! Reads seeds from `FOLDER/corpus/TARGET`. Before each run its input is written to
//! `FOLDER/failures/TARGET.current`, so that it is known even if the process is stopped. What
//! fails is kept as `FOLDER/failures/TARGET-*` and is run first the next time.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a driver tells how it went")]

mod memory;

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tensor::Rng;

/// Memory that one input may take.
const MAX_BYTES: usize = 256 << 20;
/// Time that one input may take. A slow one is tried once more with the time measured that this
/// thread had the processor, since others may use the machine.
const MAX_TIME: Duration = Duration::from_secs(1);

thread_local! {
    /// What the last panic said.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<String, String> {
    let [name, seconds, seed, folder] = arguments else {
        return Err("expected TARGET SECONDS SEED FOLDER".to_owned());
    };
    let target = fuzz::TARGETS.iter().find(|(known, _)| known == name);
    let (_, target) = target.ok_or_else(|| {
        let known = fuzz::TARGETS.map(|(name, _)| name).join(", ");
        format!("there is no target `{name}`, expected one of {known}")
    })?;
    let number = |text: &String| text.parse::<u64>().map_err(|e| format!("`{text}`: {e}"));
    let (seconds, seed) = (number(seconds)?, number(seed)?);
    let failures = Path::new(folder).join("failures");
    std::fs::create_dir_all(&failures).map_err(|e| format!("`{}`: {e}", failures.display()))?;
    let corpus = read_folder(&Path::new(folder).join("corpus").join(name), |_| true)?;
    if corpus.is_empty() {
        return Err(format!("there are no seeds in `{folder}/corpus/{name}`"));
    }
    let prefix = format!("{name}-");
    let known = read_folder(&failures, |file| file.starts_with(&prefix))?;
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        PANIC.set(text.chars().take(400).collect());
    }));
    let driver =
        Driver { name, target: *target, current: failures.join(format!("{name}.current")) };
    for input in known.iter().chain(&corpus) {
        driver.check(input)?;
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut runs = 0u64;
    while Instant::now() < end {
        runs += 1;
        driver.check(&fuzz::mutate::mutate(&corpus, &mut Rng::stream(seed, runs)))?;
    }
    let _ = std::fs::remove_file(&driver.current);
    Ok(format!("{name}: {runs} inputs in {seconds} s, none failed"))
}

struct Driver<'a> {
    name: &'a str,
    target: fuzz::Target,
    current: PathBuf,
}

impl Driver<'_> {
    /// Runs the target; `Err` says how it failed and where the input is kept.
    fn check(&self, input: &[u8]) -> Result<(), String> {
        fuzz::files::write(&self.current, input)
            .map_err(|error| format!("cannot write `{}`: {error}", self.current.display()))?;
        let mut failure = self.try_once(input);
        if let (Some(Failure::Slow(_)), Some(before)) = (&failure, processor_time()) {
            failure = self.try_once(input);
            if let (Some(Failure::Slow(time)), Some(after)) = (&mut failure, processor_time()) {
                *time = after - before;
                failure = failure.filter(|_| after - before > MAX_TIME);
            }
        }
        let Some(failure) = failure else { return Ok(()) };
        let mut hash = DefaultHasher::new();
        input.hash(&mut hash);
        let kept = self.current.with_file_name(format!("{}-{:016x}", self.name, hash.finish()));
        std::fs::rename(&self.current, &kept)
            .map_err(|error| format!("cannot write `{}`: {error}", kept.display()))?;
        let what = match failure {
            Failure::Panic(message) => message,
            Failure::Slow(time) => format!("took {time:.1?}, expected {MAX_TIME:?} at most"),
            Failure::Large(bytes) => {
                format!("took {} MiB, expected {} at most", bytes >> 20, MAX_BYTES >> 20)
            }
        };
        Err(format!("{}: {what}; the input is `{}`", self.name, kept.display()))
    }

    fn try_once(&self, input: &[u8]) -> Option<Failure> {
        let before = memory::start();
        let start = Instant::now();
        let result = std::panic::catch_unwind(|| (self.target)(input));
        let (time, bytes) = (start.elapsed(), memory::peak().saturating_sub(before));
        match result {
            Err(_) => Some(Failure::Panic(PANIC.take())),
            Ok(()) if bytes > MAX_BYTES => Some(Failure::Large(bytes)),
            Ok(()) if time > MAX_TIME => Some(Failure::Slow(time)),
            Ok(()) => None,
        }
    }
}

/// How long this thread has had the processor, where the system tells.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

enum Failure {
    Panic(String),
    Slow(Duration),
    Large(usize),
}

/// Contents of the files whose names are `wanted`, in the order of their names.
fn read_folder(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<Vec<u8>>, String> {
    let cannot = |error: std::io::Error| format!("cannot read `{}`: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted) {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).map_err(cannot)).collect()
}
