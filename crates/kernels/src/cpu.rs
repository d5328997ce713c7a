//! What this machine's CPU can do: asked once at start-up, then passed down by value.

#![cfg_attr(
    all(target_arch = "x86_64", target_os = "linux"),
    expect(unsafe_code, reason = "the permission to use tiles is asked of the system")
)]

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
    /// What multiplies bf16 by bf16. Where there is such a unit, products with bf16 weights round
    /// the other operand to bf16 too; where there is none, they compute as f32 weights do.
    pub bf16: Option<Bf16Unit>,
    /// What multiplies integers of 8 bits; plain loops where there is none. The results are the
    /// same.
    pub int8: Option<Int8Unit>,
}

/// Instructions that multiply integers of 8 bits; each holds the proof that they exist.
#[derive(Clone, Copy, Debug)]
pub enum Int8Unit {
    /// `vpmaddubsw`, by way of 16 bits.
    Avx2(Avx2),
    /// `vpdpbusd`, four products per lane.
    Vnni(Avx512Vnni),
    /// `tdpbssd`, 16 x 16 sums of up to 64 products.
    Tiles(AmxInt8),
}

/// Proof that AVX2 and FMA are available.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

/// Proof that AVX-512 F, BW, VL and VNNI are available.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Vnni(());

/// Proof that AMX's tiles are available and that the system lets this process use them.
#[derive(Clone, Copy, Debug)]
pub struct AmxTile(());

/// Proof that AMX's products of 8 bits are available, beside what [`AmxTile`] and [`Avx512Vnni`]
/// prove.
#[derive(Clone, Copy, Debug)]
pub struct AmxInt8(AmxTile, Avx512Vnni);

impl Int8Unit {
    /// `avx2`, `avx512_vnni` or `amx_int8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx2(_) => "avx2",
            Self::Vnni(_) => "avx512_vnni",
            Self::Tiles(_) => "amx_int8",
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        has.then_some(Self(()))
    }
}

#[cfg(target_arch = "x86_64")]
impl Avx512Vnni {
    fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        has.then_some(Self(()))
    }
}

#[cfg(target_arch = "x86_64")]
impl AmxInt8 {
    fn detect() -> Option<Self> {
        let vnni = Avx512Vnni::detect()?;
        AmxTile::detect(AMX_INT8).map(|tiles| Self(tiles, vnni))
    }

    /// The proof that it has in common with the unit of vectors.
    pub(crate) fn vnni(self) -> Avx512Vnni {
        self.1
    }

    /// The proof that it has in common with the unit for bf16.
    pub(crate) fn tiles(self) -> AmxTile {
        self.0
    }
}

/// `AMX-INT8` in EDX of leaf 7.
#[cfg(target_arch = "x86_64")]
const AMX_INT8: u32 = 1 << 25;
/// `AMX-BF16`, there too.
#[cfg(target_arch = "x86_64")]
const AMX_BF16: u32 = 1 << 22;

/// Instructions that multiply bf16 by bf16 and add up in f32; each holds the proof that they exist.
#[derive(Clone, Copy, Debug)]
pub enum Bf16Unit {
    /// `vdpbf16ps`, two products per lane.
    Dot(Avx512Bf16),
    /// `tdpbf16ps`, 16 x 16 sums of 32 products.
    Tiles(AmxBf16),
}

/// Proof that AVX-512 F, BW, VL and BF16 are available; only [`Cpu::detect`] and
/// [`Cpu::variants`] make one.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Bf16(());

/// Proof that AMX's tiles and bf16 products are available and that the system lets this process
/// use them, beside what [`Avx512Bf16`] proves; made where that one is.
#[derive(Clone, Copy, Debug)]
pub struct AmxBf16(AmxTile, Avx512Bf16);

impl Bf16Unit {
    /// The proof that both units have in common.
    pub(crate) fn avx512(self) -> Avx512Bf16 {
        match self {
            Self::Dot(token) | Self::Tiles(AmxBf16(_, token)) => token,
        }
    }
}

impl AmxBf16 {
    /// The proof of what it has beside tiles.
    pub(crate) fn avx512(self) -> Avx512Bf16 {
        self.1
    }

    /// The proof that it has in common with the unit for 8 bits.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn tiles(self) -> AmxTile {
        self.0
    }
}

impl Avx512Bf16 {
    #[cfg(target_arch = "x86_64")]
    fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bf16");
        has.then_some(Self(()))
    }
}

#[cfg(target_arch = "x86_64")]
impl AmxBf16 {
    fn detect() -> Option<Self> {
        let avx512 = Avx512Bf16::detect()?;
        AmxTile::detect(AMX_BF16).map(|tiles| Self(tiles, avx512))
    }
}

#[cfg(target_arch = "x86_64")]
impl AmxTile {
    /// Asks the CPU, also for `feature`, and asks the system for the permission that it wants asked
    /// for, once per process; threads have what the process has.
    #[cfg(target_os = "linux")]
    fn detect(feature: u32) -> Option<Self> {
        use std::arch::x86_64::{__cpuid_count, __get_cpuid_max};
        /// `AMX-TILE` in EDX of leaf 7.
        const AMX_TILE: u32 = 1 << 24;
        /// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`: Documentation/arch/x86/xstate.rst
        /// of Linux 5.16.
        const ARCH_PRCTL: i64 = 158;
        const REQUEST_PERMISSION: i64 = 0x1023;
        const TILE_DATA: i64 = 18;
        let features = AMX_TILE | feature;
        if __get_cpuid_max(0).0 < 7 || __cpuid_count(7, 0).edx & features != features {
            return None;
        }
        let result: i64;
        // SAFETY: this system call reads and writes no memory of ours; it overwrites rcx and r11.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => result,
                in("rdi") REQUEST_PERMISSION,
                in("rsi") TILE_DATA,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        }
        // The system grants it only where it saves and restores tiles.
        (result == 0).then_some(Self(()))
    }

    #[cfg(not(target_os = "linux"))]
    fn detect(_: u32) -> Option<Self> {
        None
    }
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
    /// Asks the CPU for what it has, and takes the level that is fastest there.
    ///
    /// # Panics
    ///
    /// Never: every CPU has a level.
    pub fn detect() -> Self {
        let usable = |cpu: &Self| !matches!(cpu.bf16, Some(Bf16Unit::Dot(_)) if !dots_are_fast());
        Self::variants().into_iter().rfind(usable).expect("every CPU has a level")
    }

    /// Every level that this machine can run, scalar first.
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
        let plain = |level| {
            #[cfg(target_arch = "x86_64")]
            let int8 = match level {
                Level::Avx2(_) => Avx2::detect().map(Int8Unit::Avx2),
                Level::Avx512(_) => {
                    let vnni = Avx512Vnni::detect().map(Int8Unit::Vnni);
                    vnni.or(Avx2::detect().map(Int8Unit::Avx2))
                }
                _ => None,
            };
            #[cfg(not(target_arch = "x86_64"))]
            let int8 = None;
            Self { level, arithmetic: Arithmetic::F32, bf16: None, int8 }
        };
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "units are x86's"))]
        let mut all: Vec<Self> = levels.into_iter().map(plain).collect();
        #[cfg(target_arch = "x86_64")]
        if let Some(level) = best.as_avx512().map(Level::Avx512) {
            let dot = Avx512Bf16::detect().map(Bf16Unit::Dot);
            all.extend(dot.map(|unit| Self { bf16: Some(unit), ..plain(level) }));
            all.extend(AmxBf16::detect().map(Bf16Unit::Tiles).map(|unit| {
                let int8 = AmxInt8::detect().map(Int8Unit::Tiles).or(plain(level).int8);
                Self { bf16: Some(unit), int8, ..plain(level) }
            }));
        }
        all
    }

    /// The level with this [`name`](Self::name), if this machine can run it.
    pub fn named(name: &str) -> Option<Self> {
        Self::variants().into_iter().find(|cpu| cpu.name() == name)
    }

    /// `scalar`, `sse4.2`, `avx2`, `avx512`, `avx512_bf16`, `amx_bf16` or `neon`.
    pub fn name(self) -> &'static str {
        match self.bf16 {
            Some(Bf16Unit::Dot(_)) => return "avx512_bf16",
            Some(Bf16Unit::Tiles(_)) => return "amx_bf16",
            None => (),
        }
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

/// Whether `vdpbf16ps` does more flops than f32 does with the weights widened. Intel's CPUs
/// start it a quarter as often as a multiply-add of f32, AMD's Zen 5 as often (docs/perf/LOG.md,
/// 2026-11-27); others are taken to be as the latter.
fn dots_are_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let vendor = std::arch::x86_64::__cpuid(0);
        // "GenuineIntel", in the order in which the registers hold it.
        let name = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
        name.as_flattened() != b"GenuineIntel"
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
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
