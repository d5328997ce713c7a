//! Operations on rows and on single elements: all bound by memory.

use crate::harness::Harness;
use crate::harness::Work::Bytes;
use crate::harness::floats;
use kernels::activation::{Activation, activation, activation_backward, swiglu, swiglu_backward};
use kernels::adamw::{AdamW, adamw};
use kernels::elementwise::{scale, scaled_sum, sum_of_squares};
use kernels::exp::exp;
use kernels::half::{bf16_to_f32, f32_to_bf16};
use kernels::layer_norm::{layer_norm, layer_norm_backward};
use kernels::rms_norm::{gated_rms_norm, gated_rms_norm_backward, rms_norm, rms_norm_backward};
use kernels::softmax::{softmax, softmax_backward};
use std::hint::black_box;

const EPS: f32 = 1e-6;

/// `[rows, dim]`: a token; more than the caches hold; rows that are no whole number of vectors.
const SHAPES: [(usize, usize); 3] = [(1, 6144), (8192, 1024), (1000, 1021)];

pub(crate) fn all(harness: &Harness) {
    for (rows, dim) in SHAPES {
        rms_norms(harness, rows, dim);
        layer_norms(harness, rows, dim);
        softmaxes(harness, rows, dim);
    }
    for n in [6144, 8 << 20, (1 << 20) - 3] {
        activations(harness, n);
        sums(harness, n);
        optimizer(harness, n);
        conversions(harness, n);
    }
}

fn rms_norms(harness: &Harness, rows: usize, dim: usize) {
    let n = rows * dim;
    let name = |kind: &str| format!("rms_norm/{kind}/{rows}x{dim}");
    harness.bench(&name("forward"), Bytes(8 * n), |exec| {
        let (x, w, mut out) = (floats(n), floats(dim), vec![0.0; n]);
        move || rms_norm(&exec, &x, &w, EPS, &mut out)
    });
    harness.bench(&name("gated"), Bytes(12 * n), |exec| {
        let (x, w, gate, mut out) = (floats(n), floats(dim), floats(n), vec![0.0; n]);
        move || gated_rms_norm(&exec, &x, &w, &gate, EPS, &mut out)
    });
    harness.bench(&name("backward"), Bytes(12 * n), |exec| {
        let (x, w, grad) = (floats(n), floats(dim), floats(n));
        let (mut gx, mut gw) = (vec![0.0; n], vec![0.0; dim]);
        move || rms_norm_backward(&exec, &x, &w, EPS, &grad, &mut gx, &mut gw)
    });
    harness.bench(&name("gated_backward"), Bytes(20 * n), |exec| {
        let (x, w, gate, grad) = (floats(n), floats(dim), floats(n), floats(n));
        let (mut gx, mut gg, mut gw) = (vec![0.0; n], vec![0.0; n], vec![0.0; dim]);
        move || {
            gated_rms_norm_backward(&exec, &x, &w, &gate, EPS, &grad, &mut gx, &mut gg, &mut gw);
        }
    });
}

fn layer_norms(harness: &Harness, rows: usize, dim: usize) {
    let n = rows * dim;
    let name = |kind: &str| format!("layer_norm/{kind}/{rows}x{dim}");
    harness.bench(&name("forward"), Bytes(8 * n), |exec| {
        let (x, w, b, mut out) = (floats(n), floats(dim), floats(dim), vec![0.0; n]);
        move || layer_norm(&exec, &x, &w, &b, EPS, &mut out)
    });
    harness.bench(&name("backward"), Bytes(12 * n), |exec| {
        let (x, w, grad) = (floats(n), floats(dim), floats(n));
        let (mut gx, mut gw, mut gb) = (vec![0.0; n], vec![0.0; dim], vec![0.0; dim]);
        move || layer_norm_backward(&exec, &x, &w, EPS, &grad, &mut gx, &mut gw, &mut gb)
    });
}

fn softmaxes(harness: &Harness, rows: usize, dim: usize) {
    let n = rows * dim;
    harness.bench(&format!("softmax/forward/{rows}x{dim}"), Bytes(8 * n), |exec| {
        // In place, again and again: rows become even, which costs the same.
        let mut x = floats(n);
        move || softmax(&exec, &mut x, dim)
    });
    harness.bench(&format!("softmax/backward/{rows}x{dim}"), Bytes(12 * n), |exec| {
        let (y, grad, mut gx) = (floats(n), floats(n), vec![0.0; n]);
        move || softmax_backward(&exec, &y, &grad, dim, &mut gx)
    });
}

fn activations(harness: &Harness, n: usize) {
    let kinds =
        [("silu", Activation::Silu), ("sigmoid", Activation::Sigmoid), ("gelu", Activation::Gelu)];
    for (name, kind) in kinds {
        harness.bench(&format!("activation/{name}/{n}"), Bytes(8 * n), |exec| {
            let (x, mut out) = (floats(n), vec![0.0; n]);
            move || activation(&exec, kind, &x, &mut out)
        });
        harness.bench(&format!("activation/{name}_backward/{n}"), Bytes(12 * n), |exec| {
            let (x, grad, mut gx) = (floats(n), floats(n), vec![0.0; n]);
            move || activation_backward(&exec, kind, &x, &grad, &mut gx)
        });
    }
    harness.bench(&format!("activation/swiglu/{n}"), Bytes(12 * n), |exec| {
        let (gate, up, mut out) = (floats(n), floats(n), vec![0.0; n]);
        move || swiglu(&exec, &gate, &up, &mut out)
    });
    harness.bench(&format!("activation/swiglu_backward/{n}"), Bytes(20 * n), |exec| {
        let (gate, up, grad) = (floats(n), floats(n), floats(n));
        let (mut gg, mut gu) = (vec![0.0; n], vec![0.0; n]);
        move || swiglu_backward(&exec, &gate, &up, &grad, &mut gg, &mut gu)
    });
}

fn sums(harness: &Harness, n: usize) {
    harness.bench(&format!("elementwise/scaled_sum/{n}"), Bytes(12 * n), |exec| {
        let (a, b, mut out) = (floats(n), floats(n), vec![0.0; n]);
        move || scaled_sum(&exec, 0.5, &a, 0.5, &b, &mut out)
    });
    harness.bench(&format!("elementwise/scale/{n}"), Bytes(8 * n), |exec| {
        let (a, mut out) = (floats(n), vec![0.0; n]);
        move || scale(&exec, 0.5, &a, &mut out)
    });
    harness.bench(&format!("elementwise/sum_of_squares/{n}"), Bytes(4 * n), |exec| {
        let x = floats(n);
        move || {
            black_box(sum_of_squares(&exec, &x));
        }
    });
}

fn optimizer(harness: &Harness, n: usize) {
    harness.bench(&format!("adamw/{n}"), Bytes(28 * n), |exec| {
        let settings = AdamW { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
        let (mut param, grad) = (floats(n), floats(n));
        let (mut m, mut v, mut step) = (vec![0.0; n], vec![0.0; n], 0);
        move || {
            step += 1;
            adamw(&exec, &settings, step, &mut param, &grad, 1.0, &mut m, &mut v);
        }
    });
}

fn conversions(harness: &Harness, n: usize) {
    harness.bench(&format!("exp/{n}"), Bytes(8 * n), |exec| {
        // exp(exp(...)) grows to the largest value, which costs the same.
        let mut x = floats(n);
        move || exp(exec.cpu, &mut x)
    });
    harness.bench_plain(&format!("half/f32_to_bf16/{n}"), Bytes(6 * n), || {
        let (x, mut out) = (floats(n), vec![0; n]);
        move || out.iter_mut().zip(black_box(&x)).for_each(|(out, &x)| *out = f32_to_bf16(x))
    });
    harness.bench_plain(&format!("half/bf16_to_f32/{n}"), Bytes(6 * n), || {
        let x: Vec<u16> = floats(n).into_iter().map(f32_to_bf16).collect();
        let mut out = vec![0.0; n];
        move || out.iter_mut().zip(black_box(&x)).for_each(|(out, &x)| *out = bf16_to_f32(x))
    });
}
