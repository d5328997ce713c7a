//! Writes the first table of `docs/perf/PADDING.md`: what padding costs prompts of different lengths
//! in blocks of 32 to 256.
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
    println!("| lengths | mean | 256 | 128 | 64 | 32 | levels | saved |");
    println!("|---|---|---|---|---|---|---|---|");
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
