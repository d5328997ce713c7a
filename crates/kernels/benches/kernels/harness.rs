//! Which lines to measure, on which levels and threads, and the measuring itself.

use kernels::peak::Limit;
use kernels::{Buffers, Cpu, Exec, Rng};
use std::cell::Cell;
use std::hint::black_box;
use std::time::Instant;

/// Calls are repeated to at least this many seconds per sample.
const SAMPLE_SECONDS: f64 = 0.005;
/// Seconds for all samples of a line; but at least 3 and at most 21 samples.
const LINE_SECONDS: f64 = 0.2;

/// Samples of the limit beside each of a call: a few milliseconds.
const LIMIT_SAMPLES: usize = 2;

/// What bounds an operation, and how much of it one call needs.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Multiplications and additions.
    Flops(usize),
    /// The same of bf16 by bf16, added up in f32, where the level has a unit for that.
    Bf16Flops(usize),
    /// Products of 8 bits and their sums, two operations each.
    Int8Operations(usize),
    /// Bytes of all operands, each once.
    Bytes(usize),
    /// Neither: only the time is of interest.
    Overhead,
}

pub(crate) struct Harness {
    words: Vec<String>,
    machines: Vec<Machine>,
    /// Calls each line once and measures nothing: shows that it runs.
    once: bool,
    lines: Cell<usize>,
}

/// A level and a number of threads, with the bytes that are read from memory per second.
struct Machine {
    name: String,
    exec: Exec,
    bytes: f64,
}

impl Harness {
    /// `cargo bench` passes `--bench`; without it, as in `cargo test --benches`, lines run once.
    pub(crate) fn from_args(args: impl Iterator<Item = String>) -> Self {
        let (flags, mut words): (Vec<_>, Vec<_>) = args.partition(|arg| arg.starts_with('-'));
        let once = !flags.iter().any(|flag| flag == "--bench");
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let mut counts = vec![1, cores];
        counts.dedup();
        let levels = Cpu::variants().into_iter().map(|cpu| (cpu.name().to_owned(), cpu)).collect();
        let counts = counts.into_iter().map(|n| (format!("t{n}"), n)).collect();
        let levels = picked(levels, &mut words);
        let machines = picked(counts, &mut words)
            .into_iter()
            .flat_map(|(count, num_threads)| machines(&levels, &count, num_threads, once))
            .collect();
        Self { words, machines, once, lines: Cell::new(0) }
    }

    pub(crate) fn print_limits(&self) {
        for machine in self.machines.iter().filter(|_| !self.once) {
            let name = format!("limit/{}", machine.name);
            let limit = |limit: Limit| limit.per_second(&machine.exec) / 1e9;
            let [flops, bf16, int8] = [Limit::F32, Limit::Bf16, Limit::Int8].map(limit);
            let bytes = machine.bytes / 1e9;
            println!(
                "{name:<58} {flops:>8.1} GFLOP/s  {bytes:>6.1} GB/s  {bf16:>8.1} in bf16  \
                 {int8:>8.1} in int8"
            );
        }
    }

    /// A line for each level and number of threads; `prepare` makes the operands, once per line,
    /// and returns the call.
    pub(crate) fn bench<F: FnMut()>(&self, name: &str, work: Work, prepare: impl Fn(Exec) -> F) {
        for machine in &self.machines {
            let name = format!("{name}/{}", machine.name);
            if self.wants(&name) {
                self.line(&name, work, machine, &mut prepare(machine.exec.clone()));
            }
        }
    }

    /// A single line, for what has neither levels nor threads.
    pub(crate) fn bench_plain<F: FnMut()>(&self, name: &str, work: Work, prepare: impl Fn() -> F) {
        if let Some(machine) = self.machines.first().filter(|_| self.wants(name)) {
            self.line(name, work, machine, &mut prepare());
        }
    }

    pub(crate) fn finish(&self) {
        if self.lines.get() == 0 {
            println!("no line has these words in its name: {}", self.words.join(" "));
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.words.iter().all(|word| name.contains(word))
    }

    fn line(&self, name: &str, work: Work, machine: &Machine, call: &mut dyn FnMut()) {
        self.lines.set(self.lines.get() + 1);
        if self.once {
            call();
            println!("{name:<58} runs");
            return;
        }
        let (amount, unit, limit) = match work {
            Work::Flops(flops) => (flops, "GFLOP/s", Some(Limit::F32)),
            Work::Bf16Flops(flops) => (flops, "GFLOP/s", Some(Limit::Bf16)),
            Work::Int8Operations(operations) => (operations, "GOP/s", Some(Limit::Int8)),
            Work::Bytes(bytes) => (bytes, "GB/s", None),
            Work::Overhead => (0, "", None),
        };
        let now = limit.map(|limit| move || limit.per_second_now(&machine.exec, LIMIT_SAMPLES));
        let samples = samples(call, now);
        let seconds = median(samples.iter().map(|sample| sample.seconds));
        let share = match limit {
            Some(_) => median(samples.iter().map(|s| amount as f64 / s.seconds / s.limit)),
            None => amount as f64 / seconds / machine.bytes,
        };
        let speed = amount as f64 / seconds / 1e9;
        match work {
            Work::Overhead => println!("{name:<58} {:>11.2} µs", seconds * 1e6),
            _ => println!(
                "{name:<58} {:>11.2} µs {speed:>8.1} {unit:<7} {:>4.0} %",
                seconds * 1e6,
                100.0 * share
            ),
        }
    }
}

/// Those of `all` that `words` name, which are taken out; all of them if it names none.
fn picked<T>(all: Vec<(String, T)>, words: &mut Vec<String>) -> Vec<(String, T)> {
    let named = |(name, _): &(String, T)| words.contains(name);
    let (chosen, others): (Vec<_>, Vec<_>) = all.into_iter().partition(named);
    words.retain(|word| chosen.iter().all(|(name, _)| name != word));
    if chosen.is_empty() { others } else { chosen }
}

/// The machines of one number of threads. Memory is as fast for all levels: the widest measures it.
fn machines(levels: &[(String, Cpu)], count: &str, num_threads: usize, once: bool) -> Vec<Machine> {
    let widest = Exec::new(num_threads);
    let bytes = if once { f64::NAN } else { Limit::Memory.per_second(&widest) };
    let machine = |(level, cpu): &(String, Cpu)| {
        let exec = Exec { cpu: *cpu, threads: widest.threads.clone(), buffers: Buffers::default() };
        let name = format!("{level}/{count}");
        Machine { name, exec, bytes }
    };
    levels.iter().map(machine).collect()
}

/// Seconds per call, and what the machine could do at most right before and after.
struct Sample {
    seconds: f64,
    limit: f64,
}

/// Samples of a call, each between two of its limit: on a machine that others use too, both slow down
/// together.
fn samples(call: &mut dyn FnMut(), limit: Option<impl Fn() -> f64>) -> Vec<Sample> {
    let limit = || limit.as_ref().map_or(f64::NAN, |limit| limit());
    let mut sample = |calls: usize| {
        let start = Instant::now();
        for _ in 0..calls {
            call();
        }
        start.elapsed().as_secs_f64() / calls as f64
    };
    // The first call fills caches and wakes threads.
    sample(1);
    let estimate = sample(1).max(1e-9);
    let calls = (SAMPLE_SECONDS / estimate).ceil().max(1.0);
    let samples = (LINE_SECONDS / (calls * estimate)).clamp(3.0, 21.0) as usize;
    let mut before = limit();
    let one = |_| {
        let seconds = sample(calls as usize);
        let after = limit();
        Sample { seconds, limit: (std::mem::replace(&mut before, after) + after) / 2.0 }
    };
    (0..samples).map(one).collect()
}

fn median(x: impl Iterator<Item = f64>) -> f64 {
    let mut x: Vec<f64> = x.collect();
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

/// `n` numbers, uniform in `[-1, 1)`, the same in every run.
pub(crate) fn floats(n: usize) -> Vec<f32> {
    let mut rng = Rng(n as u64);
    black_box((0..n).map(|_| rng.unit() * 2.0 - 1.0).collect())
}
