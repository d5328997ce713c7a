//! Which lines to measure, on which levels and threads, and the measuring itself.

use kernels::{Buffers, Cpu, Exec, Rng, peak};
use std::cell::Cell;
use std::hint::black_box;
use std::time::Instant;

/// Calls are repeated to at least this many seconds per sample.
const SAMPLE_SECONDS: f64 = 0.005;
/// Seconds for all samples of a line; but at least 3 and at most 21 samples.
const LINE_SECONDS: f64 = 0.2;

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

/// A level and a number of threads, with its limits: flops of f32 and of bf16, operations of int8
/// and bytes, per second.
struct Machine {
    name: String,
    exec: Exec,
    flops: f64,
    bf16_flops: f64,
    int8_operations: f64,
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
            let [flops, bf16, int8, bytes] =
                [machine.flops, machine.bf16_flops, machine.int8_operations, machine.bytes]
                    .map(|x| x / 1e9);
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
        let seconds = median(call);
        let speed = match work {
            Work::Flops(flops) => share(flops, seconds, "GFLOP/s", machine.flops),
            Work::Bf16Flops(flops) => share(flops, seconds, "GFLOP/s", machine.bf16_flops),
            Work::Int8Operations(n) => share(n, seconds, "GOP/s", machine.int8_operations),
            Work::Bytes(bytes) => share(bytes, seconds, "GB/s", machine.bytes),
            Work::Overhead => String::new(),
        };
        println!("{name:<58} {:>11.2} µs {speed}", seconds * 1e6);
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
    let limit = |f: fn(&Exec) -> f64, exec: &Exec| if once { f64::NAN } else { f(exec) };
    let bytes = limit(peak::read_bytes_per_second, &widest);
    let machine = |(level, cpu): &(String, Cpu)| {
        let exec = Exec { cpu: *cpu, threads: widest.threads.clone(), buffers: Buffers::default() };
        let flops = limit(peak::flops_per_second, &exec);
        let bf16_flops = limit(peak::bf16_flops_per_second, &exec);
        let int8_operations = limit(peak::int8_operations_per_second, &exec);
        let name = format!("{level}/{count}");
        Machine { name, exec, flops, bf16_flops, int8_operations, bytes }
    };
    levels.iter().map(machine).collect()
}

/// A speed, and what share of the limit it is.
fn share(amount: usize, seconds: f64, unit: &str, limit: f64) -> String {
    let speed = amount as f64 / seconds;
    format!("{:>8.1} {unit:<7} {:>4.0} %", speed / 1e9, 100.0 * speed / limit)
}

/// Seconds per call.
fn median(call: &mut dyn FnMut()) -> f64 {
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
    let mut seconds: Vec<f64> = (0..samples).map(|_| sample(calls as usize)).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[samples / 2]
}

/// `n` numbers, uniform in `[-1, 1)`, the same in every run.
pub(crate) fn floats(n: usize) -> Vec<f32> {
    let mut rng = Rng(n as u64);
    black_box((0..n).map(|_| rng.unit() * 2.0 - 1.0).collect())
}
