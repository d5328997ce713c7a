//! Where tensors live and are computed: the CPU, its threads and its memory, or a GPU.

use crate::Profile;
use kernels::cuda::{Cuda, Unavailable};
use kernels::{Arithmetic, Cpu, Exec};
use std::sync::Arc;

/// A handle to the CPU and a pool of threads, or to a GPU beside them; clones share all of it.
#[derive(Clone, Debug)]
pub struct Device {
    exec: Exec,
    cuda: Option<Cuda>,
    pub(crate) profile: Option<Arc<Profile>>,
}

impl Device {
    /// The CPU with `num_threads` threads, all its instructions used.
    ///
    /// # Panics
    ///
    /// If `num_threads` is 0.
    pub fn cpu(num_threads: usize) -> Self {
        Self { exec: Exec::new(num_threads), cuda: None, profile: None }
    }

    /// The same with instructions up to `level` only (`scalar`, `avx2`, …), if the CPU has them.
    pub fn cpu_with_level(num_threads: usize, level: &str) -> Option<Self> {
        let cpu = Cpu::named(level)?;
        Some(Self { exec: Exec { cpu, ..Exec::new(num_threads) }, cuda: None, profile: None })
    }

    /// The GPU number `ordinal`: what training needs, no more yet. `num_threads` prepare its work.
    ///
    /// # Errors
    ///
    /// If there is none, or its driver or compiler is missing.
    ///
    /// # Panics
    ///
    /// If `num_threads` is 0.
    pub fn gpu(num_threads: usize, ordinal: usize) -> Result<Self, Unavailable> {
        Ok(Self { exec: Exec::new(num_threads), cuda: Some(Cuda::new(ordinal)?), profile: None })
    }

    /// The CPU beside this device: itself, unless it is a GPU.
    pub fn host(&self) -> Self {
        Self { cuda: None, ..self.clone() }
    }

    /// The same with kernels that compute in f64 between f32 inputs and outputs: for comparisons
    /// with other implementations, and slow.
    pub fn with_f64_arithmetic(mut self) -> Self {
        self.exec.cpu.arithmetic = Arithmetic::F64;
        self
    }

    /// Whether kernels compute in f64.
    pub fn computes_in_f64(&self) -> bool {
        self.exec.cpu.arithmetic == Arithmetic::F64
    }

    /// Levels that [`cpu_with_level`](Self::cpu_with_level) accepts here, narrowest first.
    pub fn levels() -> Vec<&'static str> {
        Cpu::variants().into_iter().map(Cpu::name).collect()
    }

    /// The CPU's instruction set in use.
    pub fn level(&self) -> &'static str {
        self.exec.cpu.name()
    }

    /// The GPU, if this is one.
    pub fn cuda(&self) -> Option<&Cuda> {
        self.cuda.as_ref()
    }

    /// Number of threads, the calling one included.
    pub fn num_threads(&self) -> usize {
        self.exec.threads.num_threads()
    }

    /// What kernels of the CPU take.
    pub fn exec(&self) -> &Exec {
        &self.exec
    }

    /// Gives memory that no tensor uses back to the system.
    pub fn release_memory(&self) {
        self.exec.buffers.clear();
    }
}
