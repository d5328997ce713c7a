//! Loads and stores of a slice's next lanes, tail included: what elementwise loops share.

#![expect(unsafe_code, reason = "a prefetch takes an address")]

use fearless_simd::prelude::*;

/// The first lanes of `x`; lanes beyond its end are 0.
#[inline(always)]
pub(crate) fn load<S: Simd>(simd: S, x: &[f32]) -> S::f32s {
    let lanes = S::f32s::LEN;
    if let Some(x) = x.get(..lanes) {
        return S::f32s::from_slice(simd, x);
    }
    let mut padded = [0.0; 16];
    padded[..x.len()].copy_from_slice(x);
    S::f32s::from_slice(simd, &padded[..lanes])
}

/// Writes the lanes to the start of `out`; what does not fit is dropped.
#[inline(always)]
pub(crate) fn store<S: Simd>(v: S::f32s, out: &mut [f32]) {
    let lanes = S::f32s::LEN;
    if let Some(out) = out.get_mut(..lanes) {
        return v.store_slice(out);
    }
    let mut padded = [0.0; 16];
    v.store_slice(&mut padded[..lanes]);
    let n = out.len();
    out.copy_from_slice(&padded[..n]);
}

/// `sum(a[i] * b[i])`, in the order of the lanes.
#[inline(always)]
pub(crate) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sum = S::f32s::splat(simd, 0.0);
    for i in (0..a.len()).step_by(S::f32s::LEN) {
        sum = load(simd, &a[i..]).mul_add(load(simd, &b[i..]), sum);
    }
    sum.reduce_sum()
}

/// Asks for the line of memory at `x` to be brought into the second-level cache, where there is a way
/// to ask. It may lie anywhere, also where nothing is.
#[inline(always)]
pub(crate) fn prefetch<T>(x: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch may be of any address, and SSE is part of the architecture.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(x.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = x;
}

/// The same of a line that will be written.
#[inline(always)]
pub(crate) fn prefetch_to_write<T>(x: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(x.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = x;
}
