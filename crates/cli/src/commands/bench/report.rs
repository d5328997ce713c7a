//! What was measured, as tables and as JSON.

use super::measure::Split;
use crate::table;
use indicatif::HumanBytes;
use serde_json::{Value, json};
use tensor::Device;

/// The model that is measured.
#[derive(Clone, Debug)]
pub(super) struct About {
    /// Its place.
    pub(super) name: String,
    /// Of its weights in memory.
    pub(super) bytes: u64,
    pub(super) parameters: u128,
    /// Precision of its products.
    pub(super) weights: String,
}

/// What is counted per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Tokens,
    Tiles,
}

impl Unit {
    /// In sentences and in fields of JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Tiles => "tiles",
        }
    }

    /// The head of a column.
    fn per_second(self) -> &'static str {
        match self {
            Self::Tokens => "t/s",
            Self::Tiles => "tiles/s",
        }
    }
}

/// What came of a test.
#[derive(Debug)]
pub(super) struct Timed {
    pub(super) test: String,
    pub(super) unit: Unit,
    /// How many of them there were.
    pub(super) count: usize,
    /// Of each repetition.
    pub(super) seconds: Vec<f64>,
    /// The most memory that was held during the test, weights included.
    pub(super) peak_rss_bytes: Option<u64>,
    /// If it was asked for.
    pub(super) split: Option<Split>,
}

/// One test of one model with one kind of weights.
#[derive(Debug)]
pub(super) struct Row {
    about: About,
    threads: usize,
    kernels: &'static str,
    test: String,
    unit: Unit,
    count: usize,
    /// Of each repetition.
    rates: Vec<f64>,
    share_of_peak: Option<f64>,
    peak_rss_bytes: Option<u64>,
    split: Option<Split>,
}

impl Row {
    /// `share` is that of the machine's peak at so many seconds.
    pub(super) fn new(
        about: About,
        device: &Device,
        timed: Timed,
        share: impl FnOnce(f64) -> Option<f64>,
    ) -> Self {
        let Timed { test, unit, count, seconds, peak_rss_bytes, split } = timed;
        let rates: Vec<f64> = seconds.iter().map(|s| count as f64 / s).collect();
        let share_of_peak = share(count as f64 / median(&rates));
        let (threads, kernels) = (device.num_threads(), device.level());
        Self {
            about,
            threads,
            kernels,
            test,
            unit,
            count,
            rates,
            share_of_peak,
            peak_rss_bytes,
            split,
        }
    }

    fn json(&self) -> Value {
        let mut value = json!({
            "model": self.about.name,
            "weights": self.about.weights,
            "threads": self.threads,
            "test": self.test,
            "peak_rss_bytes": self.peak_rss_bytes,
            "share_of_peak": self.share_of_peak,
            "model_bytes": self.about.bytes,
            "parameters": self.about.parameters as f64,
            "kernels": self.kernels,
        });
        let unit = self.unit.name();
        value[format!("{unit}_per_second")] = json!(median(&self.rates));
        value[format!("{unit}_per_second_of_each")] = json!(self.rates);
        if let Some(times) = self.microseconds_per_token() {
            let names = TIMES.map(|(field, _)| field);
            value["microseconds_per_token"] =
                names.into_iter().zip(times).map(|(name, time)| (name, json!(time))).collect();
        }
        value
    }

    fn cells(&self) -> Vec<String> {
        let About { name: model, bytes: model_bytes, parameters, weights } = &self.about;
        let name = model.rsplit(['/', '\\']).find(|part| !part.is_empty());
        let percent = |share| format!("{:.0} %", 100.0 * share);
        let bytes = |bytes| HumanBytes(bytes).to_string();
        let unknown = || "?".to_owned();
        vec![
            name.unwrap_or(model).to_owned(),
            bytes(*model_bytes),
            table::count(*parameters as f64),
            weights.clone(),
            self.threads.to_string(),
            self.test.clone(),
            format!("{:.2} ± {:.2}", median(&self.rates), deviation(&self.rates)),
            self.share_of_peak.map_or_else(unknown, percent),
            self.peak_rss_bytes.map_or_else(unknown, bytes),
        ]
    }

    /// In the order of [`TIMES`].
    fn microseconds_per_token(&self) -> Option<[f64; TIMES.len()]> {
        let Split { classes: [lightning, softmax, experts, products], rest } = self.split?;
        let tokens = (self.count * self.rates.len()) as f64;
        let times = [lightning, softmax, experts, products, rest];
        Some(times.map(|seconds| 1e6 * seconds / tokens))
    }

    fn profile_cells(&self) -> Option<Vec<String>> {
        let times = self.microseconds_per_token()?;
        let total: f64 = times.iter().sum();
        let cell = |time: f64| format!("{time:.2} ({:.1} %)", 100.0 * time / total);
        let head = [self.about.weights.clone(), self.test.clone()];
        let times = times.into_iter().map(cell);
        Some(head.into_iter().chain(times).chain([format!("{total:.2}")]).collect())
    }
}

/// The classes of a profile: their names in JSON and in the table.
const TIMES: [(&str, &str); 5] = [
    ("lightning_attention", "lightning"),
    ("softmax_attention", "softmax"),
    ("expert_products", "experts"),
    ("other_products", "other products"),
    ("rest", "rest"),
];

/// The table of llama-bench with shares of the peak and memory, and that of the profile, if any; all
/// rows count the same.
pub(super) fn tables(rows: &[Row]) -> String {
    let rate = rows.first().map_or(Unit::Tokens, |row| row.unit).per_second();
    let columns =
        ["model", "size", "params", "weights", "threads", "test", rate, "of peak", "peak memory"];
    let right = [false, true, true, false, true, false, true, true, true];
    let mut text = table::markdown(&columns, &right, rows.iter().map(Row::cells).collect());
    let profiles: Vec<_> = rows.iter().filter_map(Row::profile_cells).collect();
    if !profiles.is_empty() {
        let head = ["weights", "test"];
        let columns: Vec<&str> =
            head.into_iter().chain(TIMES.map(|(_, name)| name)).chain(["µs/token"]).collect();
        let right = [false, false, true, true, true, true, true, true];
        text += "\n";
        text += &table::markdown(&columns, &right, profiles);
    }
    text
}

/// An array with an object for each test.
pub(super) fn json(rows: &[Row]) -> String {
    let rows: Value = rows.iter().map(Row::json).collect();
    format!("{rows:#}\n")
}

/// Of at least one value.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

/// The standard deviation of a sample; 0 of a single value.
fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (squares / (n - 1.0).max(1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn what_users_of_llama_bench_know() {
        let row = Row {
            about: About {
                name: "target/shape-1b/".to_owned(),
                bytes: 2_700_000_000,
                parameters: 1_350_000_000,
                weights: "bf16".to_owned(),
            },
            threads: 2,
            kernels: "avx512",
            test: "pp512".to_owned(),
            unit: Unit::Tokens,
            count: 512,
            rates: vec![810.0, 790.0, 800.0],
            share_of_peak: Some(0.71),
            peak_rss_bytes: Some(3 << 30),
            split: Some(Split { classes: [0.1, 0.2, 1.0, 0.5], rest: 0.1 }),
        };
        expect![[r#"
            | model    |     size | params | weights | threads | test  |            t/s | of peak | peak memory |
            | -------- | -------: | -----: | ------- | ------: | ----- | -------------: | ------: | ----------: |
            | shape-1b | 2.51 GiB | 1.35 B | bf16    |       2 | pp512 | 800.00 ± 10.00 |    71 % |    3.00 GiB |

            | weights | test  |     lightning |         softmax |         experts |  other products |          rest | µs/token |
            | ------- | ----- | ------------: | --------------: | --------------: | --------------: | ------------: | -------: |
            | bf16    | pp512 | 65.10 (5.3 %) | 130.21 (10.5 %) | 651.04 (52.6 %) | 325.52 (26.3 %) | 65.10 (5.3 %) |  1236.98 |
        "#]]
        .assert_eq(&tables(&[row]));
    }

    #[test]
    fn the_middle_and_the_spread() {
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), 3.0);
        assert_eq!(deviation(&[3.0]), 0.0);
        assert_eq!(deviation(&[1.0, 3.0]), 2.0_f64.sqrt());
    }
}
