//! What kernel tests share: the tolerance rule, random inputs, the levels to run.

use crate::{Arithmetic, Buffers, Cpu, Exec, Rng, Threads};

/// Panics unless `got` is within `ratio` of `want`, as RMS error over RMS magnitude.
#[track_caller]
pub(crate) fn assert_close(what: &str, want: &[f32], got: &[f32], ratio: f64) {
    assert_eq!(want.len(), got.len(), "{what}: length");
    if let Some(i) = got.iter().position(|x| !x.is_finite()) {
        panic!("{what}: element {i} of {} is {}", got.len(), got[i]);
    }
    let rms = |it: &mut dyn Iterator<Item = f64>| {
        (it.map(|x| x * x).sum::<f64>() / want.len().max(1) as f64).sqrt()
    };
    let error = rms(&mut want.iter().zip(got).map(|(w, g)| f64::from(*w) - f64::from(*g)));
    let scale = rms(&mut want.iter().map(|w| f64::from(*w)));
    assert!(
        error <= ratio * scale + 1e-6,
        "{what}: error {error:.3e}, scale {scale:.3e}, ratio allowed {ratio:.1e}"
    );
}

/// `n` numbers, uniform in `[-1, 1)`.
pub(crate) fn random(rng: &mut Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.unit() * 2.0 - 1.0).collect()
}

/// Every level that this machine can run, and arithmetic in f64, each on one and on three threads.
///
/// Levels named in `REQUIRE_LEVELS` (comma-separated) must be among them.
pub(crate) fn execs() -> Vec<Exec> {
    let variants = Cpu::variants();
    if let Ok(required) = std::env::var("REQUIRE_LEVELS") {
        for name in required.split(',').filter(|name| !name.is_empty()) {
            assert!(Cpu::named(name).is_some(), "REQUIRE_LEVELS: this machine lacks `{name}`");
        }
    }
    for name in ["avx2", "avx512", "avx512_bf16", "amx_bf16", "neon"] {
        if Cpu::named(name).is_none() {
            eprintln!("skipped: no {name}");
        }
    }
    let wide = Cpu { arithmetic: Arithmetic::F64, ..Cpu::detect() };
    variants
        .into_iter()
        .chain([wide])
        .flat_map(|cpu| {
            [1, 3].map(|n| Exec { cpu, threads: Threads::new(n), buffers: Buffers::default() })
        })
        .collect()
}

/// Panics unless `analytic` is the gradient of `loss` at `x`, by central differences in f64.
///
/// `loss` is the f64 definition of the operation followed by a weighted sum of its outputs.
#[track_caller]
pub(crate) fn assert_gradient(
    what: &str,
    x: &[f32],
    analytic: &[f32],
    loss: impl Fn(&[f64]) -> f64,
    ratio: f64,
) {
    let mut x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    let numeric: Vec<f32> = (0..x.len())
        .map(|i| {
            let (kept, h) = (x[i], 1e-5);
            x[i] = kept + h;
            let above = loss(&x);
            x[i] = kept - h;
            let below = loss(&x);
            x[i] = kept;
            ((above - below) / (2.0 * h)) as f32
        })
        .collect();
    assert_close(what, &numeric, analytic, ratio);
}
