//! `fulgurite bench --serve`: many clients at once, and how each is served.

use super::Arguments;
use crate::failure::Misuse;
use crate::fit;
use crate::table;
use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches, ValueEnum as _};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use server::load::{self, Load, Report, percentile};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tensor::Device;

/// How a server is put under load.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Measure a server of the model under the load of many clients, or the one at this address
    #[arg(long, env = "FULGURITE_BENCH_URL", value_name = "URL", num_args = 0..=1)]
    #[arg(default_missing_value = "")]
    serve: Option<String>,
    /// Numbers of clients, with commas between
    #[arg(long, env = "FULGURITE_STREAMS", value_delimiter = ',', default_value = "1,8,32")]
    streams: Vec<std::num::NonZeroUsize>,
    /// Bytes of each prompt
    #[arg(long, env = "FULGURITE_PROMPT_BYTES", default_value_t = 512)]
    prompt_bytes: usize,
    /// Seconds that requests are begun for each number of clients
    #[arg(long, env = "FULGURITE_SECONDS", default_value_t = 20)]
    seconds: u64,
    /// The key of the server
    #[arg(long, env = "FULGURITE_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// What the server calls its model
    #[arg(long, env = "FULGURITE_NAME")]
    name: Option<String>,
    /// Memory of our server for what conversations have read, in GiB
    #[arg(long, env = "FULGURITE_MEMORY")]
    memory: Option<f64>,
}

/// [`Options`], of which none is given on the command line without `--serve`. Variables of the environment
/// are fine: they are there for `serve`, too.
pub(super) struct Asked(pub(super) Options);

impl clap::Args for Asked {
    fn augment_args(command: clap::Command) -> clap::Command {
        Options::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Options::augment_args_for_update(command)
    }
}

impl FromArgMatches for Asked {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let options = Options::from_arg_matches(matches)?;
        let given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let ids = ["streams", "prompt_bytes", "seconds", "api_key", "name", "memory"];
        match ids.iter().find(|id| given(id)) {
            Some(id) if !options.is_asked_for() => {
                let message = format!("--{} goes with --serve only\n", id.replace('_', "-"));
                Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, message))
            }
            _ => Ok(Self(options)),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Options {
    pub(super) fn is_asked_for(&self) -> bool {
        self.serve.is_some()
    }
}

/// What was measured with one number of clients.
struct Row {
    streams: usize,
    report: Report,
    /// Of our server, before and after.
    rss_bytes: Option<[u64; 2]>,
}

pub(super) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    let options = &arguments.load.0;
    let &[max_tokens] = &arguments.decode_tokens[..] else {
        return Err(Misuse(
            "`--serve` asks for answers of one length, expected one `-n`".to_owned(),
        )
        .into());
    };
    if max_tokens == 0 || options.seconds == 0 {
        let message = "`-n 0` or `--seconds 0` leaves nothing to measure, expected numbers above 0";
        return Err(Misuse(message.to_owned()).into());
    }
    let url = options.serve.clone().unwrap_or_default();
    let own = match url.is_empty() {
        true => Some(Own::start(arguments, device)?),
        false => None,
    };
    let url = own.as_ref().map_or(url, |own| own.url.clone());
    let mut rows = Vec::new();
    for streams in options.streams.iter().map(|n| n.get()) {
        let load = Load {
            url: url.clone(),
            api_key: options.api_key.clone(),
            model: options.name.clone(),
            streams,
            prompt_bytes: options.prompt_bytes,
            max_tokens,
            duration: Duration::from_secs(options.seconds),
        };
        let rss = || own.as_ref().and_then(|own| fit::rss_bytes_of(own.child.id()));
        let before = rss();
        let bar = ProgressBar::new(options.seconds);
        bar.set_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} s")?);
        let report = load::run(&load, |passed, tokens| {
            bar.set_position(passed.as_secs());
            bar.set_message(format!("{streams} clients, {tokens} tokens"));
        })?;
        bar.finish_and_clear();
        if report.answered == 0 {
            let times = |(what, times): (&String, &u64)| format!("{times} x {what}");
            let failed: Vec<String> = report.failed.iter().map(times).collect();
            anyhow::bail!("no request of {streams} clients was answered: {}", failed.join(", "));
        }
        let rss_bytes = before.zip(rss()).map(|(before, after)| [before, after]);
        rows.push(Row { streams, report, rss_bytes });
    }
    let text = if arguments.json { json(&rows) } else { table(&rows) };
    Ok(write!(std::io::stdout().lock(), "{text}")?)
}

/// A server of ours, in a process of its own: it ends with this value.
struct Own {
    child: Child,
    url: String,
    /// Its home, so that it leaves the user's alone; removed after the process has ended.
    _home: TempDir,
}

impl Own {
    /// Starts it and waits for its model.
    fn start(arguments: &Arguments, device: &Device) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the program itself")?;
        let mut command = Command::new(program);
        command.args(["--threads", &device.num_threads().to_string()]);
        command.args(["serve", "--port", "0", "--host", "127.0.0.1"]);
        if let Some(model) = &arguments.model {
            command.arg("--model").arg(model);
        }
        match &arguments.weights[..] {
            [] => {}
            [weights] => {
                let value = weights.to_possible_value().context("a type without a name")?;
                command.args(["--weights", value.get_name()]);
            }
            _ => return Err(Misuse("`--serve` takes one `--weights`".to_owned()).into()),
        }
        let options = &arguments.load.0;
        if let Some(memory) = options.memory {
            command.args(["--memory", &memory.to_string()]);
        }
        if let Some(name) = &options.name {
            command.args(["--name", name]);
        }
        command.args(["--parallel", &most_streams(options).to_string()]);
        // Arguments can be read by other users of the machine, variables cannot.
        command.env_remove("FULGURITE_API_KEY").env_remove("FULGURITE_API_KEY_FILE");
        if let Some(key) = &options.api_key {
            command.env("FULGURITE_API_KEY", key);
        }
        let home = tempfile::tempdir().context("cannot make a folder for the server")?;
        command.env("FULGURITE_HOME", home.path());
        let child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn();
        let child = child.context("cannot start a server")?;
        let mut own = Self { child, url: String::new(), _home: home };
        let stderr = own.child.stderr.take().context("the server has no stderr")?;
        let mut lines = BufReader::new(stderr).lines();
        let mut last = "it said nothing".to_owned();
        for line in lines.by_ref() {
            let line = line.context("cannot read what the server says")?;
            if let Some((_, url)) = line.split_once(" at http://") {
                own.url = format!("http://{url}");
            }
            let ready = line.starts_with("ready:");
            last = line;
            if ready {
                // What it says later is for the one at the terminal.
                std::thread::spawn(move || {
                    lines.map_while(Result::ok).for_each(|line| eprintln!("{line}"));
                });
                return Ok(own);
            }
        }
        anyhow::bail!("the server did not start: {last}")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn most_streams(options: &Options) -> usize {
    options.streams.iter().map(|n| n.get()).max().unwrap_or(1)
}

const SHARES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

fn json(rows: &[Row]) -> String {
    let rows: Value = rows
        .iter()
        .map(|row| {
            let Row { streams, report, rss_bytes } = row;
            let of = |values: &[f64]| -> Value {
                SHARES
                    .iter()
                    .map(|(name, share)| ((*name).to_owned(), json!(percentile(values, *share))))
                    .collect()
            };
            json!({
                "streams": streams,
                "tokens_per_second": report.tokens as f64 / report.seconds,
                "answered": report.answered,
                "failed": report.failed,
                "seconds_to_first_token": of(&report.first),
                "seconds_between_tokens": of(&report.gaps),
                "most_over_least_tokens": Some(report.unfairness()).filter(|x| x.is_finite()),
                "rss_bytes": rss_bytes,
            })
        })
        .collect();
    format!("{rows:#}\n")
}

fn table(rows: &[Row]) -> String {
    let columns = [
        "clients",
        "t/s",
        "answers",
        "first token p50 / p95 / p99",
        "between tokens p50 / p95 / p99",
        "most / least",
        "memory",
        "failed",
    ];
    let right = [true, true, true, true, true, true, true, false];
    let milliseconds = |values: &[f64]| {
        let cell = |(_, share): &(&str, f64)| {
            percentile(values, *share).map_or("?".to_owned(), |s| format!("{:.1}", 1e3 * s))
        };
        format!("{} ms", SHARES.iter().map(cell).collect::<Vec<_>>().join(" / "))
    };
    let cells = rows.iter().map(|Row { streams, report, rss_bytes }| {
        let failed = report.failed.iter().map(|(what, times)| format!("{times} x {what}"));
        let memory = |[before, after]: &[u64; 2]| {
            format!("{} to {}", HumanBytes(*before), HumanBytes(*after))
        };
        vec![
            streams.to_string(),
            format!("{:.1}", report.tokens as f64 / report.seconds),
            report.answered.to_string(),
            milliseconds(&report.first),
            milliseconds(&report.gaps),
            format!("{:.2}", report.unfairness()),
            rss_bytes.as_ref().map_or("?".to_owned(), memory),
            failed.collect::<Vec<_>>().join(", "),
        ]
    });
    table::markdown(&columns, &right, cells.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn what_clients_saw() {
        let report = Report {
            answered: 12,
            failed: [("429 Too Many Requests".to_owned(), 2)].into(),
            tokens: 500,
            seconds: 10.0,
            first: vec![0.01, 0.02, 0.03],
            gaps: vec![0.004; 400],
            tokens_of_each: vec![200, 300],
        };
        let row = Row { streams: 2, report, rss_bytes: Some([1 << 30, 3 << 29]) };
        expect![[r#"
            | clients |  t/s | answers | first token p50 / p95 / p99 | between tokens p50 / p95 / p99 | most / least |               memory | failed                    |
            | ------: | ---: | ------: | --------------------------: | -----------------------------: | -----------: | -------------------: | ------------------------- |
            |       2 | 50.0 |      12 |       20.0 / 30.0 / 30.0 ms |             4.0 / 4.0 / 4.0 ms |         1.50 | 1.00 GiB to 1.50 GiB | 2 x 429 Too Many Requests |
        "#]]
        .assert_eq(&table(&[row]));
    }
}
