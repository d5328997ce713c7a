//! Matrix products: dense, packed, small, and one per expert.

use crate::harness::Work::{Bf16Flops, Bytes, Flops, Int8Operations};
use crate::harness::{Harness, Work, floats};
use kernels::Exec;
use kernels::half::{Bf16, f32_to_bf16};
use kernels::matmul::{
    Elements, Mat, MatMut, Packed, Scratch, grouped, matmul, matmul_packed, serial,
};
use kernels::muon::{Muon, muon};
use kernels::quant::Format;
use std::hint::black_box;
use std::ops::Range;

/// `[m, k] x [k, n]`: large; a training step's; powers of two as strides and their neighbour
/// without; primes, whose tails are long; a few rows; one row, whole and with a tail.
const SHAPES: [(usize, usize, usize); 8] = [
    (1024, 1024, 4096),
    (4096, 256, 1024),
    (1024, 4096, 1024),
    (1000, 4080, 1008),
    (251, 509, 127),
    (6, 2048, 2048),
    (1, 4096, 4096),
    (1, 4093, 1021),
];

/// More for bf16 weights: layers and experts of 1.35 B parameters and of the embedded model, many
/// rows and one; a few rows beside one; the largest.
const BF16_SHAPES: [(usize, usize, usize); 16] = [
    (64, 1024, 1536),
    (512, 1024, 1536),
    (512, 1536, 1024),
    (512, 1024, 1024),
    (512, 1024, 3072),
    (4096, 1024, 3072),
    (512, 2048, 6144),
    (2048, 4096, 4096),
    (1024, 128, 384),
    (1024, 192, 128),
    (257, 2011, 1003),
    (1, 2048, 6144),
    (1, 8192, 8192),
    (4, 8192, 8192),
    (1, 128, 384),
    (16, 192, 128),
];

/// For weights in blocks: layers and experts of 1.35 B parameters, from many rows to one; more than
/// any cache holds.
const BLOCKS_SHAPES: [(usize, usize, usize); 6] = [
    (512, 1024, 3072),
    (4096, 1024, 1024),
    (64, 1024, 1536),
    (1, 1024, 3072),
    (1, 16384, 16384),
    (4, 16384, 16384),
];

pub(crate) fn all(harness: &Harness) {
    for (m, k, n) in SHAPES {
        dense(harness, m, k, n);
        packed(harness, m, k, n);
    }
    for (m, k, n) in BF16_SHAPES {
        packed_of(harness, m, k, n, "bf16");
    }
    for (m, k, n) in BLOCKS_SHAPES {
        for format in [Format::Q8_0, Format::Q4_0, Format::Q4K] {
            blocks(harness, m, k, n, format);
        }
    }
    // The head of 1.35 B parameters.
    for kind in ["f32", "exact", "bf16"] {
        packed_of(harness, 1, 1024, 32000, kind);
    }
    tile(harness, 48, 64, 128);
    experts(harness);
    for shape in [[32, 128, 128], [1, 1024, 1024], [1, 384, 128]] {
        orthogonal(harness, shape);
    }
}

/// Muon, nearly all of it small products.
fn orthogonal(harness: &Harness, [count, rows, cols]: [usize; 3]) {
    let (long, short) = (rows.max(cols), rows.min(cols));
    let work = Flops(count * 5 * (4 * long + 2 * short) * short * short);
    harness.bench(&format!("muon/{count}x{rows}x{cols}"), work, |exec| {
        let settings = Muon { lr: 1e-3, momentum: 0.95, weight_decay: 0.1 };
        let n = count * rows * cols;
        let (mut param, grad, mut m) = (floats(n), floats(n), vec![0.0; n]);
        move || muon(&exec, &settings, [count, rows, cols], &mut param, &grad, 1.0, &mut m)
    });
}

/// Few rows are bound by reading the weights, many by arithmetic.
fn work(m: usize, k: usize, n: usize, kind: &str) -> Work {
    match kind {
        "bf16" | "exact" if m < 16 => Bytes(2 * k * n),
        "bf16" => Bf16Flops(2 * m * k * n),
        _ if m < 16 => Bytes(4 * k * n),
        _ => Flops(2 * m * k * n),
    }
}

/// Both operands as they come: forward, and the two products of the backward pass.
fn dense(harness: &Harness, m: usize, k: usize, n: usize) {
    let views = [("f32", false, false), ("f32_a_t", true, false), ("f32_b_t", false, true)];
    for (kind, a_t, b_t) in views {
        harness.bench(&format!("matmul/{kind}/{m}x{k}x{n}"), work(m, k, n, kind), |exec| {
            let (a, b, mut c) = (floats(m * k), floats(k * n), vec![0.0; m * n]);
            move || {
                let view = |x, rows, cols, transposed| {
                    if transposed {
                        Mat::row_major(x, cols, rows).t()
                    } else {
                        Mat::row_major(x, rows, cols)
                    }
                };
                let c = MatMut::row_major(&mut c, m, n);
                matmul(&exec, view(&a, m, k, a_t), view(&b, k, n, b_t), c, false);
            }
        });
    }
}

/// A weight that was packed before, and the packing.
fn packed(harness: &Harness, m: usize, k: usize, n: usize) {
    for (kind, bytes) in [("f32", 4), ("bf16", 2), ("exact", 2)] {
        packed_of(harness, m, k, n, kind);
        if m == 1 && kind != "exact" {
            harness.bench(
                &format!("matmul/pack_{kind}/{n}x{k}"),
                Bytes(2 * bytes * k * n),
                |exec| {
                    let weight = Weight::new(n * k, kind);
                    move || {
                        black_box(Packed::from_weight(&exec, weight.elements(), n, k));
                    }
                },
            );
        }
    }
}

fn packed_of(harness: &Harness, m: usize, k: usize, n: usize, kind: &str) {
    let name = format!("matmul/packed_{kind}/{m}x{k}x{n}");
    harness.bench(&name, work(m, k, n, kind), |exec| {
        let weight = Weight::new(n * k, kind);
        let packed = weight.packed(&exec, n, k);
        let (a, mut c) = (floats(m * k), vec![0.0; m * n]);
        move || {
            let c = MatMut::row_major(&mut c, m, n);
            matmul_packed(&exec, Mat::row_major(&a, m, k), &packed, c, false);
        }
    });
}

/// A weight in blocks, packed before; and the packing.
fn blocks(harness: &Harness, m: usize, k: usize, n: usize, format: Format) {
    let (name, bytes) = (format.name(), n * k / format.block_len() * format.block_bytes());
    let work = if m < 16 { Bytes(bytes) } else { Int8Operations(2 * m * k * n) };
    // Scales of 2^-9.
    let blocks: Vec<u8> =
        [0x00, 0x18, 0x00, 0x18].into_iter().chain(3..=251).cycle().take(256).collect();
    let weight = || -> Vec<u8> {
        let block = &blocks[..format.block_bytes()];
        block.iter().copied().cycle().take(bytes).collect()
    };
    harness.bench(&format!("matmul/packed_{name}/{m}x{k}x{n}"), work, |exec| {
        let packed = Packed::from_blocks(&exec, format, &weight(), n, k);
        let (a, mut c) = (floats(m * k), vec![0.0; m * n]);
        move || {
            let c = MatMut::row_major(&mut c, m, n);
            matmul_packed(&exec, Mat::row_major(&a, m, k), &packed, c, false);
        }
    });
    if m == 4096 {
        harness.bench(&format!("matmul/pack_{name}/{n}x{k}"), Bytes(2 * bytes), |exec| {
            let weight = weight();
            move || {
                black_box(Packed::from_blocks(&exec, format, &weight, n, k));
            }
        });
    }
}

/// A product within a task, as both kinds of attention make them.
fn tile(harness: &Harness, m: usize, k: usize, n: usize) {
    harness.bench(&format!("matmul/serial/{m}x{k}x{n}"), Flops(2 * m * k * n), |exec| {
        let (a, b, mut c) = (floats(m * k), floats(n * k), vec![0.0; m * n]);
        let mut scratch = Scratch::default();
        move || {
            let (a, b) = (Mat::row_major(&a, m, k), Mat::row_major(&b, n, k).t());
            serial(exec.cpu, a, b, MatMut::row_major(&mut c, m, n), false, &mut scratch);
        }
    });
}

/// A product per expert for its run of rows: evenly routed, half of the rows with one expert, and
/// one token with two experts. Of 1.35 B parameters: a prompt of 512 tokens.
fn experts(harness: &Harness) {
    let (experts, rows, k, n) = (16, 1024, 1024, 1536);
    let each = rows / experts;
    let even: Vec<_> = (0..experts).map(|e| e * each..(e + 1) * each).collect();
    let rest = rows / 2 / (experts - 1);
    let skewed: Vec<_> = (0..experts)
        .map(|e| if e == 0 { 0..rows / 2 } else { rows / 2 + (e - 1) * rest..rows / 2 + e * rest })
        .collect();
    let token: Vec<_> = (0..experts).map(|e| e.min(2)..(e + 1).min(2)).collect();
    for (kind, bytes) in [("f32", 4), ("bf16", 2), ("exact", 2)] {
        for (routing, runs) in [("even", &even), ("skewed", &skewed), ("token", &token)] {
            let used: usize = runs.iter().map(Range::len).sum();
            let work = if routing == "token" {
                Bytes(used * k * n * bytes)
            } else if kind == "bf16" {
                Bf16Flops(2 * used * k * n)
            } else {
                Flops(2 * used * k * n)
            };
            let name = format!("matmul/grouped_{kind}/{routing}/{experts}x{k}x{n}");
            harness.bench(&name, work, |exec| {
                let weight = Weight::new(n * k, kind);
                let packed = weight.packed(&exec, n, k);
                // Copies, or all experts would be one matrix in the cache.
                let packed = vec![packed; experts];
                let (x, mut out, runs) = (floats(rows * k), vec![0.0; rows * n], runs.clone());
                move || {
                    let (a, c) =
                        (Mat::row_major(&x, rows, k), MatMut::row_major(&mut out, rows, n));
                    grouped(&exec, a, &packed, &runs, c);
                }
            });
        }
    }
}

/// Elements of a weight in either precision.
enum Weight {
    F32(Vec<f32>),
    Bf16(Vec<Bf16>),
    /// Whose products are exact.
    Exact(Vec<Bf16>),
}

impl Weight {
    fn new(len: usize, kind: &str) -> Self {
        let values = floats(len);
        match kind {
            "f32" => Self::F32(values),
            "exact" => Self::Exact(values.into_iter().map(f32_to_bf16).collect()),
            _ => Self::Bf16(values.into_iter().map(f32_to_bf16).collect()),
        }
    }

    fn elements(&self) -> Elements<'_> {
        match self {
            Self::F32(x) => Elements::F32(x),
            Self::Bf16(x) | Self::Exact(x) => Elements::Bf16(x),
        }
    }

    fn packed(&self, exec: &Exec, n: usize, k: usize) -> Packed {
        match self {
            Self::Exact(_) => Packed::from_weight_exact(exec, self.elements(), n, k),
            _ => Packed::from_weight(exec, self.elements(), n, k),
        }
    }
}
