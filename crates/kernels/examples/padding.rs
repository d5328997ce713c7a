//! Writes `docs/perf/PADDING.md`: how many tokens prompts of different lengths have in blocks of 32 to
//! 256.
//!
//! ```text
//! cargo run -p kernels --example padding > docs/perf/PADDING.md
//! ```
#![expect(clippy::print_stdout, reason = "a report")]

use kernels::Rng;

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
Here the last block is as long as what is left, and nothing is padded.

Written by `cargo run -p kernels --example padding`.

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
On a CPU the work per token inside a block grows with the block, and products of 32 tokens are deep enough: blocks of 32 were the fastest for every mix, or within 2 % ([log](LOG.md), 2026-11-26).
So blocks have 32 tokens, at the same positions however a sequence is read ([ADR 7](../adr/0007-a-token-depends-on-its-prefix.md))."
    );
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
