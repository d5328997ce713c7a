//! Softmax attention and lightning attention: whole prompts, one token, and their derivatives.

use crate::harness::Work::{Bf16Flops, Bytes, Flops};
use crate::harness::{Harness, floats};
use kernels::Exec;
use kernels::attention::{
    Attention, AttentionSpan, Forward, Kv, KvPages, KvType, attention, attention_backward,
};
use kernels::lightning_attention::{Lightning, lightning_attention, lightning_attention_backward};

pub(crate) fn all(harness: &Harness) {
    // Grouped heads; those of a small training run; heads that are no whole number of vectors.
    let prefill = [(16, 2, 128, 512), (4, 4, 64, 512), (3, 1, 50, 301)];
    for (heads, kv_heads, head_dim, tokens) in prefill {
        let shape = Attention { heads, kv_heads, head_dim };
        for kind in KvType::ALL {
            prompt(harness, shape, kind, [tokens, tokens]);
        }
        prompt_backward(harness, shape, tokens);
    }
    // A chunk of a long prompt, one group of heads as wide as those of the published model.
    for kind in KvType::ALL {
        prompt(harness, Attention { heads: 2, kv_heads: 1, head_dim: 128 }, kind, [4096, 32_768]);
    }
    // The shape of the published model; the last is that of the embedded model after a megabyte.
    let decoding =
        [(16, 2, 128, 16_384), (64, 8, 128, 1 << 16), (4, 1, 50, 100_003), (4, 4, 32, 1 << 20)];
    for (heads, kv_heads, head_dim, keys) in decoding {
        for kind in KvType::ALL {
            decode(harness, Attention { heads, kv_heads, head_dim }, kind, keys);
        }
    }
    for (heads, head_dim) in [(64, 128), (16, 64), (3, 100)] {
        recurrent(harness, heads, head_dim);
    }
    // Batches of two prompts and 18 sequences that write.
    for (heads, head_dim) in [(64, 128), (16, 64)] {
        mixed(harness, Lightning::new(heads, head_dim));
    }
    for chunk_size in [32, 64, 128, 256] {
        chunks(harness, Lightning { heads: 8, head_dim: 128, chunk_size }, 1024);
        chunks(harness, Lightning { heads: 4, head_dim: 64, chunk_size }, 1024);
    }
    chunks(harness, Lightning { heads: 3, head_dim: 50, chunk_size: 50 }, 999);
    // Prompts of a model of a billion parameters and of MiniMax-01.
    chunks(harness, Lightning::new(16, 64), 4096);
    chunks(harness, Lightning::new(64, 128), 4096);
}

fn name(what: &str, kind: KvType, shape: Attention, tokens: impl std::fmt::Display) -> String {
    let Attention { heads, kv_heads, head_dim } = shape;
    format!("attention/{what}/{}/{tokens}x{heads}:{kv_heads}x{head_dim}", kind.name())
}

/// Flops of the two products of the last `rows` of `keys` tokens, visible pairs only.
fn forward_flops(shape: Attention, [rows, keys]: [usize; 2]) -> usize {
    let pairs = |n: usize| n * (n + 1) / 2;
    4 * shape.head_dim * shape.heads * (pairs(keys) - pairs(keys - rows))
}

/// Factor of the scores: keeps them far from overflow for the numbers used here.
const SCALE: f32 = 0.1;

/// Keys and values, kept in some form.
fn kept(exec: &Exec, kind: KvType, shape: Attention, tokens: usize) -> KvPages {
    let Attention { kv_heads, head_dim, .. } = shape;
    let mut pages = KvPages::new(kind, kv_heads, head_dim);
    let x = floats(tokens * kv_heads * head_dim);
    pages.append(exec, &x, &x);
    pages
}

fn prompt(harness: &Harness, shape: Attention, kind: KvType, [rows, keys]: [usize; 2]) {
    let flops = forward_flops(shape, [rows, keys]);
    let name = match rows == keys {
        true => name("prefill", kind, shape, rows),
        false => name("prefill", kind, shape, format_args!("{rows}of{keys}")),
    };
    // What is kept in less than f32 may be multiplied by a unit for bf16.
    let work = if kind == KvType::F32 { Flops(flops) } else { Bf16Flops(flops) };
    harness.bench(&name, work, |exec| {
        let q_len = rows * shape.heads * shape.head_dim;
        let kept = kept(&exec, kind, shape, keys);
        let (q, mut out) = (floats(q_len), vec![0.0; q_len]);
        let (positions, scales): (Vec<_>, _) = ((keys - rows..keys).collect(), vec![SCALE; rows]);
        move || {
            attention(&exec, &shape, &q, &positions, &scales, kept.view(), &mut out, None);
        }
    });
}

fn prompt_backward(harness: &Harness, shape: Attention, tokens: usize) {
    // Five products instead of two.
    let work = Flops(forward_flops(shape, [tokens; 2]) / 2 * 5);
    harness.bench(&name("backward", KvType::F32, shape, tokens), work, |exec| {
        let (q_len, kv_len) = lens(shape, tokens);
        let (q, k, v) = (floats(q_len), floats(kv_len), floats(kv_len));
        let (positions, scales): (Vec<_>, _) = ((0..tokens).collect(), vec![SCALE; tokens]);
        let (mut out, mut lse) = (vec![0.0; q_len], vec![0.0; tokens * shape.heads]);
        attention(
            &exec,
            &shape,
            &q,
            &positions,
            &scales,
            Kv::Rows { k: &k, v: &v },
            &mut out,
            Some(&mut lse),
        );
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
fn decode(harness: &Harness, shape: Attention, kind: KvType, keys: usize) {
    let bytes = 2 * keys * shape.kv_heads * kind.head_bytes(shape.head_dim);
    harness.bench(&name("decode", kind, shape, keys), Bytes(bytes), |exec| {
        let kept = kept(&exec, kind, shape, keys);
        let q = floats(shape.heads * shape.head_dim);
        let mut out = vec![0.0; q.len()];
        move || {
            attention(&exec, &shape, &q, &[keys - 1], &[SCALE], kept.view(), &mut out, None);
        }
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
            lightning_attention(
                &exec,
                &shape,
                &slopes,
                &qkv,
                &[0..1],
                &mut [&mut state[..]],
                &mut out,
            );
        }
    });
}

/// Two sequences read 50 tokens, 18 one token, in one call; the states are read and written once.
fn mixed(harness: &Harness, shape: Lightning) {
    let Lightning { heads, head_dim, .. } = shape;
    let work = Bytes(20 * 8 * shape.state_len());
    harness.bench(
        &format!("lightning_attention/batch/2x50+18x1x{heads}x{head_dim}"),
        work,
        |exec| {
            let mut end = 0;
            let spans = [50, 50].into_iter().chain([1; 18]).map(|len| {
                end += len;
                end - len..end
            });
            let spans: Vec<_> = spans.collect();
            let (qkv, slopes) = (floats(end * shape.qkv_width()), slopes(heads));
            let mut states = vec![0.0; spans.len() * shape.state_len()];
            let mut out = vec![0.0; end * heads * head_dim];
            move || {
                let mut each: Vec<_> = states.chunks_exact_mut(shape.state_len()).collect();
                lightning_attention(&exec, &shape, &slopes, &qkv, &spans, &mut each, &mut out);
            }
        },
    );
}

/// Many tokens in blocks; the flops are those of the chunk form with this block, visible pairs only,
/// so compare the times of different blocks, not their shares.
fn chunks(harness: &Harness, shape: Lightning, tokens: usize) {
    let Lightning { heads, head_dim, chunk_size } = shape;
    let name =
        |kind: &str| format!("lightning_attention/{kind}_{chunk_size}/{tokens}x{heads}x{head_dim}");
    // Two products with half of the block, two with the state.
    let flops = 2 * tokens * heads * head_dim * (chunk_size + 1 + 2 * head_dim);
    harness.bench(&name("chunk"), Flops(flops), |exec| {
        let (qkv, slopes) = (floats(tokens * shape.qkv_width()), slopes(heads));
        let mut state = vec![0.0; shape.state_len()];
        let mut out = vec![0.0; tokens * heads * head_dim];
        move || {
            let spans = [0..tokens];
            lightning_attention(
                &exec,
                &shape,
                &slopes,
                &qkv,
                &spans,
                &mut [&mut state[..]],
                &mut out,
            );
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
