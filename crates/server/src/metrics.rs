//! Counters and histograms, in the text format of Prometheus.

use engine::{Miss, Stats};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds in seconds of times until something comes.
const WAITS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
/// The same of times between tokens.
const GAPS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75,
    1.0, 2.5, 5.0,
];

/// How often values fell below bounds.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// One for each bound and one above them all.
    counts: Vec<AtomicU64>,
    /// Nanoseconds.
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = self.bounds.partition_point(|&bound| bound < seconds);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    fn write(&self, out: &mut Page, name: &str, help: &str, labels: &str) {
        out.head(name, help, "histogram");
        let mut total = 0;
        for (i, count) in self.counts.iter().enumerate() {
            total += count.load(Relaxed);
            let bound = self.bounds.get(i).map_or("+Inf".to_owned(), f64::to_string);
            out.line(&format!("{name}_bucket"), &format!("{labels},le=\"{bound}\""), total as f64);
        }
        out.line(&format!("{name}_sum"), labels, self.sum.load(Relaxed) as f64 / 1e9);
        out.line(&format!("{name}_count"), labels, total as f64);
    }
}

/// What is counted for a model.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) time_to_first_token: Histogram,
    pub(crate) inter_token_latency: Histogram,
    pub(crate) request_latency: Histogram,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) generation_tokens: AtomicU64,
    pub(crate) cache_queries: AtomicU64,
    pub(crate) cache_hits: AtomicU64,
    pub(crate) streams: AtomicU64,
    finished: [AtomicU64; FINISHES.len()],
}

const FINISHES: [&str; 5] = ["stop", "length", "tool_calls", "abort", "error"];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            time_to_first_token: Histogram::new(WAITS),
            inter_token_latency: Histogram::new(GAPS),
            request_latency: Histogram::new(WAITS),
            prompt_tokens: AtomicU64::default(),
            generation_tokens: AtomicU64::default(),
            cache_queries: AtomicU64::default(),
            cache_hits: AtomicU64::default(),
            streams: AtomicU64::default(),
            finished: Default::default(),
        }
    }
}

impl Metrics {
    /// Counts an answer that ended for `reason`.
    pub(crate) fn finished(&self, reason: &str) {
        if let Some(i) = FINISHES.iter().position(|name| *name == reason) {
            self.finished[i].fetch_add(1, Relaxed);
        }
    }

    /// Writes all of them, for the model `name`.
    pub(crate) fn write(&self, page: &mut Page, name: &str) {
        let labels = label("model_name", name);
        let labels = &labels[..];
        let counter = |page: &mut Page, name: &str, help: &str, value: &AtomicU64| {
            page.head(name, help, "counter");
            page.line(name, labels, value.load(Relaxed) as f64);
        };
        counter(page, "prompt_tokens_total", "Tokens of prompts.", &self.prompt_tokens);
        counter(page, "generation_tokens_total", "Tokens written.", &self.generation_tokens);
        let help = "Tokens of prompts that were looked for among what was read before.";
        counter(page, "prefix_cache_queries_total", help, &self.cache_queries);
        let help = "Tokens of prompts that were not read again.";
        counter(page, "prefix_cache_hits_total", help, &self.cache_hits);
        page.head("request_success_total", "Answers that ended, by reason.", "counter");
        for (reason, count) in FINISHES.iter().zip(&self.finished) {
            let labels = format!("{labels},{}", label("finished_reason", reason));
            page.line("request_success_total", &labels, count.load(Relaxed) as f64);
        }
        let name = "time_to_first_token_seconds";
        self.time_to_first_token.write(page, name, "From request to first token.", labels);
        let name = "inter_token_latency_seconds";
        self.inter_token_latency.write(page, name, "Between two tokens of an answer.", labels);
        let name = "e2e_request_latency_seconds";
        self.request_latency.write(page, name, "From request to last token.", labels);
        page.gauge("num_streams", "Answers being sent.", labels, self.streams.load(Relaxed) as f64);
    }
}

/// Writes what goes on in an engine.
pub(crate) fn write_engine(stats: &Stats, page: &mut Page, labels: &str) {
    let gauges = [
        ("num_requests_running", "Requests that run.", stats.running as f64),
        ("num_requests_waiting", "Requests that wait.", stats.waiting as f64),
        ("num_answers_running", "Answers that run.", stats.answers as f64),
        ("held_bytes", "Bytes of all memories, shared ones once.", stats.held_bytes as f64),
        ("kv_bytes", "Bytes of them that grow with tokens.", stats.kv_bytes as f64),
        ("running_bytes", "Bytes of them that requests hold.", stats.running_bytes as f64),
        ("state_bytes", "Bytes of them that only snapshots hold.", stats.snapshot_bytes as f64),
        ("pinned_bytes", "Bytes of them that pinned snapshots hold.", stats.pinned_bytes as f64),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help, labels, value);
    }
    let tier = format!("{labels},{}", label("tier", "memory"));
    page.gauge("state_snapshots", "Snapshots that are kept.", &tier, stats.snapshots as f64);
    let counts = &stats.counts;
    let counters = [
        ("tokens_read_total", "Tokens that the model read.", counts.tokens_read),
        ("steps_total", "Steps in which something was read.", counts.steps),
        ("spec_decode_num_draft_tokens_total", "Tokens guessed ahead.", counts.drafted),
        ("spec_decode_num_accepted_tokens_total", "Guesses that were right.", counts.accepted),
        ("snapshot_evictions_total", "Snapshots that gave way.", counts.evictions),
        ("faults_total", "Steps in which the model failed.", counts.faults),
    ];
    for (name, help, value) in counters {
        page.counter(name, help, labels, value as f64);
    }
    let help = "Requests by why not more of their prompt was known.";
    for (reason, count) in Miss::REASONS.iter().zip(counts.misses) {
        let labels = format!("{labels},{}", label("reason", reason));
        page.counter("cache_miss_total", help, &labels, count as f64);
    }
}

/// `name="value"`, escaped.
pub(crate) fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

/// A page being written.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// What is before each name.
    const PREFIX: &str = "fulgurite_";

    pub(crate) fn head(&mut self, name: &str, help: &str, kind: &str) {
        let prefix = Self::PREFIX;
        // Several models write the same names.
        let head = format!("# HELP {prefix}{name} {help}\n# TYPE {prefix}{name} {kind}\n");
        if !self.0.contains(&head) {
            self.0.push_str(&head);
        }
    }

    pub(crate) fn line(&mut self, name: &str, labels: &str, value: f64) {
        _ = writeln!(self.0, "{}{name}{{{labels}}} {value}", Self::PREFIX);
    }

    /// A value that goes up and down.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, labels: &str, value: f64) {
        self.head(name, help, "gauge");
        self.line(name, labels, value);
    }

    /// A value that only goes up.
    pub(crate) fn counter(&mut self, name: &str, help: &str, labels: &str, value: f64) {
        self.head(name, help, "counter");
        self.line(name, labels, value);
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let histogram = Histogram::new(&[0.1, 1.0]);
        for milliseconds in [50, 100, 500, 5000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let mut page = Page::default();
        histogram.write(&mut page, "x_seconds", "Time.", &label("m", "a\"b"));
        expect_test::expect![[r#"
            # HELP fulgurite_x_seconds Time.
            # TYPE fulgurite_x_seconds histogram
            fulgurite_x_seconds_bucket{m="a\"b",le="0.1"} 2
            fulgurite_x_seconds_bucket{m="a\"b",le="1"} 3
            fulgurite_x_seconds_bucket{m="a\"b",le="+Inf"} 4
            fulgurite_x_seconds_sum{m="a\"b"} 5.65
            fulgurite_x_seconds_count{m="a\"b"} 4
        "#]]
        .assert_eq(&page.finish());
    }
}
