//! Writes `docs/perf/PADDING.md`: what prompts of different lengths cost in blocks of 32 to 256.
//!
//! ```text
//! cargo run --release -p kernels --example padding > docs/perf/PADDING.md
//! ```
#![expect(clippy::print_stdout, reason = "a report")]

use kernels::lightning_attention::{Lightning, lightning_attention};
use kernels::{Exec, Rng};
use std::ops::Range;
use std::time::Instant;

/// The levels of MiniMax-01 (arXiv:2501.08313, section 3.3.3).
const LEVELS: [usize; 4] = [32, 64, 128, 256];
/// Prompts of a mix.
const PROMPTS: usize = 1000;

/// The level with the least padding for a prompt; of equal ones the largest, which has the fewest
/// blocks.
fn level(tokens: usize) -> usize {
    let padded = |block: usize| tokens.next_multiple_of(block);
    LEVELS.into_iter().rev().min_by_key(|&block| padded(block)).unwrap_or(LEVELS[0])
}

fn main() {
    println!(
        "\
# Padding of prompts

Lightning attention reads a prompt in blocks.
Where blocks have a fixed size, as on a GPU, a prompt is padded to whole blocks; MiniMax-01 (section 3.3.3) has kernels for 32, 64, 128 and 256 tokens and takes for each prompt the one with the least padding, of equal ones the largest.
Here the last block is as long as what is left, so nothing is padded and any size is exact; the size decides only how much work is done within blocks.

Written by `cargo run --release -p kernels --example padding`.

## Tokens, padded ones included, per token read

{PROMPTS} prompts of each mix; \"saved\" is of the tokens of blocks of 256.

| lengths | mean | 256 | 128 | 64 | 32 | levels | saved |
|---|---|---|---|---|---|---|---|"
    );
    for (name, lengths) in mixes() {
        let tokens: usize = lengths.iter().sum();
        let padded = |block: &dyn Fn(usize) -> usize| -> f64 {
            let sum: usize = lengths.iter().map(|&n| n.next_multiple_of(block(n))).sum();
            sum as f64 / tokens as f64
        };
        let fixed = [256, 128, 64, 32].map(|block| padded(&move |_| block));
        let levels = padded(&level);
        print!("| {name} | {} ", tokens / lengths.len());
        fixed.iter().chain([&levels]).for_each(|x| print!("| {x:.2} "));
        println!("| {:.0} % |", 100.0 * (1.0 - levels / fixed[0]));
    }
    println!(
        "
## Time on this CPU

Microseconds per 1000 tokens and head, one thread, {}, the median of five; prompts one by one, as many as have 8 000 tokens.

| lengths | head_dim | 256 | 128 | 64 | 32 | levels |
|---|---|---|---|---|---|---|",
        kernels::Cpu::detect()
    );
    for head_dim in [64, 128] {
        for (name, lengths) in mixes() {
            print!("| {name} | {head_dim} ");
            for seconds in times(head_dim, &lengths) {
                print!("| {:.0} ", seconds * 1e9);
            }
            println!("|");
        }
    }
    println!(
        "
So the CPU takes blocks of 32 for every prompt (`Lightning::new`): never more padding than another size would have, if it padded, and the least time, or within 2 % of it.
Prompts of at most 8 tokens go through the recurrent form."
    );
}

/// Seconds per token and head in blocks of 256, 128, 64, 32, and of the level of each prompt.
fn times(head_dim: usize, lengths: &[usize]) -> [f64; 5] {
    const HEADS: usize = 8;
    let (exec, mut spans, mut end) = (Exec::new(1), Vec::<Range<usize>>::new(), 0);
    for len in lengths {
        if end < 8000 {
            spans.push(end..end + len);
            end += len;
        }
    }
    let width = HEADS * head_dim;
    let mut rng = Rng(1);
    let qkv: Vec<f32> = (0..end * 3 * width).map(|_| rng.unit() * 2.0 - 1.0).collect();
    let slopes: Vec<f32> = (1..=HEADS).map(|head| 0.5f32.powi(head as i32)).collect();
    let (mut state, mut out) = (vec![0.0; width * head_dim], vec![0.0; end * width]);
    let mut samples = [const { Vec::new() }; 5];
    for _ in 0..5 {
        for (size, samples) in [256, 128, 64, 32, 0].into_iter().zip(&mut samples) {
            let start = Instant::now();
            for span in &spans {
                let chunk_size = if size == 0 { level(span.len()) } else { size };
                let shape = Lightning { heads: HEADS, head_dim, chunk_size };
                let (span, states) = (std::slice::from_ref(span), &mut [&mut state[..]]);
                lightning_attention(&exec, &shape, &slopes, &qkv, span, states, &mut out);
            }
            samples.push(start.elapsed().as_secs_f64() / (end * HEADS) as f64);
        }
    }
    samples.map(|mut samples| {
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    })
}

/// Names and lengths of prompts, the same in every run.
fn mixes() -> [(&'static str, Vec<usize>); 4] {
    let mut rng = Rng(7);
    let uniform = (0..PROMPTS).map(|_| 1 + rng.below(512)).collect();
    // A median of 200 tokens, a twentieth above 1 000.
    let mut log_normal = |median: f32| -> Vec<usize> {
        (0..PROMPTS).map(|_| ((median * rng.normal().exp()) as usize).clamp(1, 8192)).collect()
    };
    let chat = log_normal(200.0);
    // What is left of a long prompt whose start is cached in pieces of 64 tokens.
    let questions = log_normal(20.0);
    let tails = (0..PROMPTS).map(|_| 1 + rng.below(64)).collect();
    [
        ("1 to 512, uniform", uniform),
        ("chat, log-normal, median 200", chat),
        ("questions after a cached text, log-normal, median 20", questions),
        ("tails of a cached prefix, 1 to 64", tails),
    ]
}
