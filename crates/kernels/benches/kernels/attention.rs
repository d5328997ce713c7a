//! Softmax attention and lightning attention: whole prompts, one token, and their derivatives.

use crate::harness::Work::{Bytes, Flops};
use crate::harness::{Harness, floats};
use kernels::attention::{Attention, AttentionSpan, Forward, attention, attention_backward};
use kernels::lightning_attention::{Lightning, lightning_attention, lightning_attention_backward};

pub(crate) fn all(harness: &Harness) {
    // Grouped heads; those of a small training run; heads that are no whole number of vectors.
    let prefill = [(16, 2, 128, 512), (4, 4, 64, 512), (3, 1, 50, 301)];
    for (heads, kv_heads, head_dim, tokens) in prefill {
        let shape = Attention { heads, kv_heads, head_dim };
        prompt(harness, shape, tokens);
        prompt_backward(harness, shape, tokens);
    }
    // The last is that of the embedded model after a megabyte, all heads of a key in 512 bytes.
    let decoding = [(16, 2, 128, 16_384), (4, 1, 50, 100_003), (4, 4, 32, 1 << 20)];
    for (heads, kv_heads, head_dim, keys) in decoding {
        decode(harness, Attention { heads, kv_heads, head_dim }, keys);
    }
    for (heads, head_dim) in [(64, 128), (16, 64), (3, 100)] {
        recurrent(harness, heads, head_dim);
    }
    for chunk_size in [32, 64, 128, 256] {
        chunks(harness, Lightning { heads: 8, head_dim: 128, chunk_size }, 1024);
        chunks(harness, Lightning { heads: 4, head_dim: 64, chunk_size }, 1024);
    }
    chunks(harness, Lightning { heads: 3, head_dim: 50, chunk_size: 50 }, 999);
}

fn name(kind: &str, shape: Attention, tokens: usize) -> String {
    let Attention { heads, kv_heads, head_dim } = shape;
    format!("attention/{kind}/{tokens}x{heads}:{kv_heads}x{head_dim}")
}

/// Flops of the two products, visible pairs only.
fn forward_flops(shape: Attention, tokens: usize) -> usize {
    4 * shape.head_dim * shape.heads * (tokens * (tokens + 1) / 2)
}

/// Factor of the scores: keeps them far from overflow for the numbers used here.
const SCALE: f32 = 0.1;

fn prompt(harness: &Harness, shape: Attention, tokens: usize) {
    let work = Flops(forward_flops(shape, tokens));
    harness.bench(&name("prefill", shape, tokens), work, |exec| {
        let (q_len, kv_len) = lens(shape, tokens);
        let (q, k, v, mut out) = (floats(q_len), floats(kv_len), floats(kv_len), vec![0.0; q_len]);
        let (positions, scales): (Vec<_>, _) = ((0..tokens).collect(), vec![SCALE; tokens]);
        move || attention(&exec, &shape, &q, &positions, &scales, &k, &v, &mut out, None)
    });
}

fn prompt_backward(harness: &Harness, shape: Attention, tokens: usize) {
    // Five products instead of two.
    let work = Flops(forward_flops(shape, tokens) / 2 * 5);
    harness.bench(&name("backward", shape, tokens), work, |exec| {
        let (q_len, kv_len) = lens(shape, tokens);
        let (q, k, v) = (floats(q_len), floats(kv_len), floats(kv_len));
        let (positions, scales): (Vec<_>, _) = ((0..tokens).collect(), vec![SCALE; tokens]);
        let (mut out, mut lse) = (vec![0.0; q_len], vec![0.0; tokens * shape.heads]);
        attention(&exec, &shape, &q, &positions, &scales, &k, &v, &mut out, Some(&mut lse));
        let (grad, spans) = (floats(q_len), [AttentionSpan { rows: 0..tokens, keys: 0..tokens }]);
        let (mut gq, mut gk, mut gv) = (vec![0.0; q_len], vec![0.0; kv_len], vec![0.0; kv_len]);
        move || {
            let (positions, scales) = (&positions[..], &scales[..]);
            let forward = Forward { q: &q, positions, scales, k: &k, v: &v, out: &out, lse: &lse };
            let grads = [&mut gq[..], &mut gk[..], &mut gv[..]];
            attention_backward(&exec, &shape, forward, &spans, &grad, grads);
        }
    });
}

/// One row over many keys: bound by reading them.
fn decode(harness: &Harness, shape: Attention, keys: usize) {
    let (_, kv_len) = lens(shape, keys);
    harness.bench(&name("decode", shape, keys), Bytes(8 * kv_len), |exec| {
        let (q, k, v) = (floats(shape.heads * shape.head_dim), floats(kv_len), floats(kv_len));
        let mut out = vec![0.0; q.len()];
        move || attention(&exec, &shape, &q, &[keys - 1], &[SCALE], &k, &v, &mut out, None)
    });
}

/// Elements of q and of k for `tokens` tokens.
fn lens(shape: Attention, tokens: usize) -> (usize, usize) {
    let Attention { heads, kv_heads, head_dim } = shape;
    (tokens * heads * head_dim, tokens * kv_heads * head_dim)
}

fn slopes(heads: usize) -> Vec<f32> {
    (0..heads).map(|head| 0.5f32.powi(head as i32 % 8 + 1)).collect()
}

/// One token: the state is read and written once.
fn recurrent(harness: &Harness, heads: usize, head_dim: usize) {
    let shape = Lightning::new(heads, head_dim);
    let work = Bytes(8 * shape.state_len());
    harness.bench(&format!("lightning_attention/recurrent/{heads}x{head_dim}"), work, |exec| {
        let (qkv, slopes) = (floats(shape.qkv_width()), slopes(heads));
        let (mut state, mut out) = (vec![0.0; shape.state_len()], vec![0.0; heads * head_dim]);
        move || {
            lightning_attention(&exec, &shape, &slopes, &qkv, &[0..1], &mut state, &mut out);
        }
    });
}

/// Many tokens in blocks; the flops are those of the chunk form with this block, so compare the
/// times of different blocks, not their shares.
fn chunks(harness: &Harness, shape: Lightning, tokens: usize) {
    let Lightning { heads, head_dim, chunk_size } = shape;
    let name =
        |kind: &str| format!("lightning_attention/{kind}_{chunk_size}/{tokens}x{heads}x{head_dim}");
    // Two products with the block, two with the state.
    let flops = 4 * tokens * heads * head_dim * (chunk_size + head_dim);
    harness.bench(&name("chunk"), Flops(flops), |exec| {
        let (qkv, slopes) = (floats(tokens * shape.qkv_width()), slopes(heads));
        let mut state = vec![0.0; shape.state_len()];
        let mut out = vec![0.0; tokens * heads * head_dim];
        move || {
            let spans = [0..tokens];
            lightning_attention(&exec, &shape, &slopes, &qkv, &spans, &mut state, &mut out);
        }
    });
    // Five of each kind.
    harness.bench(&name("backward"), Flops(flops / 2 * 5), |exec| {
        let (qkv, slopes) = (floats(tokens * shape.qkv_width()), slopes(heads));
        let (grad, mut out) = (floats(tokens * heads * head_dim), vec![0.0; qkv.len()]);
        move || {
            let spans = [0..tokens];
            lightning_attention_backward(&exec, &shape, &slopes, &qkv, &spans, &grad, &mut out);
        }
    });
}
