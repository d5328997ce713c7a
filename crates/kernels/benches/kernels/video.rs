//! Operations of video models: convolutions, linear attention without order, rows scaled and shifted.

use crate::harness::Harness;
use crate::harness::Work::{Bytes, Flops};
use crate::harness::floats;
use kernels::affine::affine;
use kernels::attention::AttentionSpan;
use kernels::conv::depthwise::{depthwise, depthwise_backward};
use kernels::conv::{Conv, conv, conv_grad_weight, conv_grad_x};
use kernels::half::f32_to_bf16;
use kernels::layout::{View, gather};
use kernels::linear_attention::{LinearAttention, linear_attention, linear_attention_backward};
use kernels::matmul::{Elements, Packed};
use kernels::rope::Direction;
use kernels::rope_table::{Angles, Pairing, rotate};

pub(crate) fn all(harness: &Harness) {
    // A level of an autoencoder, channels that are a whole number of vectors and none.
    for channels in [96, 37] {
        convolutions(harness, [1, 4, 32, 32], channels);
    }
    // Tokens and heads of a small model, and of SANA-Video at 480 x 832 pixels.
    for (tokens, heads, dim) in [(220, 4, 32), (7800, 20, 112)] {
        linear(harness, tokens, heads, dim);
        rows(harness, tokens, heads, dim);
    }
}

fn convolutions(harness: &Harness, input: [usize; 4], channels: usize) {
    let around = [1, 1];
    let shape =
        Conv { input, channels, kernel: [3; 3], stride: [1; 3], padding: [[2, 0], around, around] };
    let (n, k) = (input.iter().product::<usize>() * channels, shape.patch_len());
    let work = Flops(2 * n * k);
    let name = |kind: &str| format!("conv/{kind}/4x32x32x{channels}");
    harness.bench(&name("3x3x3"), work, |exec| {
        let (x, w, mut out) = (floats(n), floats(channels * k), vec![0.0; n]);
        let weight = Packed::from_weight_exact(&exec, (&w).into(), channels, k);
        move || conv(&exec, &shape, &x, &weight, channels, &mut out)
    });
    harness.bench(&name("grad_x"), work, |exec| {
        let (grad, w, mut gx) = (floats(n), floats(channels * k), vec![0.0; n]);
        move || conv_grad_x(&exec, &shape, &grad, (&w).into(), channels, &mut gx)
    });
    harness.bench(&name("grad_weight"), work, |exec| {
        let (x, grad, mut gw) = (floats(n), floats(n), vec![0.0; channels * k]);
        move || conv_grad_weight(&exec, &shape, &x, &grad, channels, false, &mut gw)
    });
    // As training in bf16 has it.
    harness.bench(&name("grad_x_bf16"), work, |exec| {
        let (grad, mut gx) = (floats(n), vec![0.0; n]);
        let w: Vec<_> = floats(channels * k).into_iter().map(f32_to_bf16).collect();
        move || {
            conv_grad_x(&exec, &shape, &grad, Elements::Bf16(&w), channels, &mut gx);
        }
    });
    harness.bench(&name("grad_weight_bf16"), work, |exec| {
        let (x, grad, mut gw) = (floats(n), floats(n), vec![0.0; channels * k]);
        move || conv_grad_weight(&exec, &shape, &x, &grad, channels, true, &mut gw)
    });
    let plane = Conv { kernel: [1, 3, 3], padding: [[0, 0], around, around], ..shape };
    harness.bench(&name("depthwise_3x3"), Bytes(8 * n), |exec| {
        let (x, w, mut out) = (floats(n), floats(plane.patch_len()), vec![0.0; n]);
        move || depthwise(&exec, &plane, &x, &w, &mut out)
    });
    harness.bench(&name("depthwise_3x3_backward"), Bytes(16 * n), |exec| {
        let (x, w, grad) = (floats(n), floats(plane.patch_len()), floats(n));
        let (mut gx, mut gw) = (vec![0.0; n], vec![0.0; w.len()]);
        move || depthwise_backward(&exec, &plane, [&x, &w], &grad, &mut gx, &mut gw)
    });
    harness.bench(&name("channels_last"), Bytes(8 * n), |exec| {
        let [batch, time, height, width] = input;
        let view = View::of(&[batch, channels, time, height, width]).permute(&[0, 2, 3, 4, 1]);
        let (x, mut out) = (floats(n), vec![0.0; n]);
        move || gather(&exec, &view, &x, &mut out)
    });
}

fn linear(harness: &Harness, tokens: usize, heads: usize, dim: usize) {
    let (shape, n) = (LinearAttention { heads, k_dim: dim, v_dim: dim }, tokens * heads * dim);
    let name = |kind: &str| format!("linear_attention/{kind}/{tokens}x{heads}x{dim}");
    let span = [AttentionSpan { rows: 0..tokens, keys: 0..tokens }];
    harness.bench(&name("forward"), Flops(4 * n * dim), |exec| {
        let (q, k, v, mut out) = (floats(n), floats(n), floats(n), vec![0.0; n]);
        let span = span.clone();
        move || linear_attention(&exec, &shape, &q, &k, &v, &span, &mut out)
    });
    harness.bench(&name("backward"), Flops(10 * n * dim), |exec| {
        let (q, k, v, grad) = (floats(n), floats(n), floats(n), floats(n));
        let [mut gq, mut gk, mut gv] = [0, 1, 2].map(|_| vec![0.0; n]);
        let span = span.clone();
        move || {
            let grads = [&mut gq[..], &mut gk[..], &mut gv[..]];
            linear_attention_backward(&exec, &shape, [&q, &k, &v], &span, &grad, grads);
        }
    });
}

fn rows(harness: &Harness, tokens: usize, heads: usize, dim: usize) {
    let width = heads * dim;
    let n = tokens * width;
    harness.bench(&format!("affine/both/{tokens}x{width}"), Bytes(8 * n), |exec| {
        let (x, scale, shift, mut out) = (floats(n), floats(width), floats(width), vec![0.0; n]);
        let groups = vec![0; tokens];
        move || affine(&exec, &x, Some(&scale), Some(&shift), &groups, &mut out)
    });
    let name = format!("rope_table/interleaved/{tokens}x{heads}x{dim}");
    harness.bench(&name, Bytes(8 * n), |exec| {
        let angles = Angles::new(dim / 2, (0..tokens * dim / 2).map(|i| i as f64));
        let (mut x, shape) = (floats(n), [heads, dim]);
        move || rotate(&exec, &angles, Pairing::Interleaved, shape, &mut x, Direction::Forward)
    });
}
