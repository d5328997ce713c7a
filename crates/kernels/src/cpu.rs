//! What this machine's CPU can do: asked once at start-up, then passed down by value.

use crate::{Buffers, Threads};
use fearless_simd::{Level, Simd as _};
use std::fmt;

/// How kernels compute: with which instructions, and in what precision.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// Widest vector level that kernels may use; what `dispatch!` takes.
    pub level: Level,
    /// Precision of what happens between reading f32 and writing f32.
    pub arithmetic: Arithmetic,
}

/// In what precision matrix products, RMSNorm, activations and both kinds of attention compute
/// between reading f32 and writing f32, where nothing is kept for a backward pass. What does one or
/// two operations per element (sums, rotation, routing) rounds as f32 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32: as fast as the machine can.
    F32,
    /// f64, as the references of the kernels: for comparisons, where what differs should not be
    /// our own rounding. Slow.
    F64,
}

/// `x` in f64.
pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// `x` rounded to f32, into `out` of the same length.
pub(crate) fn narrow(x: &[f64], out: &mut [f32]) {
    out.iter_mut().zip(x).for_each(|(out, x)| *out = *x as f32);
}

/// What every kernel that is worth more than one thread takes first: the CPU and its threads.
#[derive(Clone, Debug)]
pub struct Exec {
    /// Instruction sets.
    pub cpu: Cpu,
    /// Worker threads; kernels split their work once, over rows, heads or experts.
    pub threads: Threads,
    /// Scratch and output memory that is used again.
    pub buffers: Buffers,
}

impl Cpu {
    /// Asks the CPU for everything it has.
    pub fn detect() -> Self {
        Self { level: Level::new(), arithmetic: Arithmetic::F32 }
    }

    /// Every level that this machine can run, scalar first, [`Cpu::detect`] last.
    ///
    /// Tests run a kernel on each of them; `--cpu-level` picks one.
    pub fn variants() -> Vec<Self> {
        let best = Level::new();
        let mut levels = vec![fearless_simd::Fallback::new().level()];
        #[cfg(target_arch = "x86_64")]
        levels.extend(
            [
                best.as_sse4_2().map(Level::Sse4_2),
                best.as_avx2().map(Level::Avx2),
                best.as_avx512().map(Level::Avx512),
            ]
            .into_iter()
            .flatten(),
        );
        #[cfg(target_arch = "aarch64")]
        levels.extend(best.as_neon().map(Level::Neon));
        levels.dedup_by_key(|level| std::mem::discriminant(level));
        levels.into_iter().map(|level| Self { level, arithmetic: Arithmetic::F32 }).collect()
    }

    /// The level with this [`name`](Self::name), if this machine can run it.
    pub fn named(name: &str) -> Option<Self> {
        Self::variants().into_iter().find(|cpu| cpu.name() == name)
    }

    /// `scalar`, `sse4.2`, `avx2`, `avx512` or `neon`.
    pub fn name(self) -> &'static str {
        match self.level {
            #[cfg(target_arch = "x86_64")]
            Level::Sse4_2(_) => "sse4.2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Level::Neon(_) => "neon",
            _ => "scalar",
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Exec {
    /// Everything the CPU has, on `num_threads` threads.
    ///
    /// # Panics
    ///
    /// If `num_threads` is 0.
    pub fn new(num_threads: usize) -> Self {
        Self { cpu: Cpu::detect(), threads: Threads::new(num_threads), buffers: Buffers::default() }
    }
}
