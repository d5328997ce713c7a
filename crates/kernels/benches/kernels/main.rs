//! `cargo kernel [words]`: how fast each kernel is, against what the machine can do at most.
//!
//! Each line has a name such as `matmul/f32/1024x1024x4096/avx512/t2`: operation, shape, level,
//! threads. Words pick lines: a level (`avx512`) or a number of threads (`t2`) picks machines, any
//! other word must be part of the name. A line gives the median time of a call, its speed in
//! GFLOP/s or GB/s, and the share of the limit that was measured first, for the same level and
//! number of threads.
//!
//! Operations bound by memory count each operand once, read or written. More than 100 % means that
//! the operands of that shape stay in a cache; far less on an awkward shape only (a power of two as
//! stride, a long tail) means that the kernel treats it badly. Correctness is the tests' job.
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

mod attention;
mod harness;
mod products;
mod rows;
mod tokens;
mod video;

use harness::Harness;

fn main() {
    let harness = Harness::from_args(std::env::args().skip(1));
    harness.print_limits();
    products::all(&harness);
    rows::all(&harness);
    tokens::all(&harness);
    attention::all(&harness);
    video::all(&harness);
    harness.finish();
}
