//! Softmax attention and lightning attention: whole prompts, one token, and their derivatives.

use crate::harness::Work::{Bf16Flops, Bytes, Flops};
use crate::harness::{Harness, floats};
use kernels::Exec;
use kernels::attention::{
    Attention, AttentionSpan, Forward, Kv, KvPages, KvType, attention, attention_backward,
};
use kernels::lightning_attention::{
    BLOCK, Lightning, LightningState, Piece, lightning_attention, lightning_attention_backward,
};

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
    // The tower of MiniMax-VL-01, and the embedded one.
    for (heads, head_dim, rows) in [(16, 64, 577), (4, 32, 197)] {
        tower(harness, Attention { heads, kv_heads: heads, head_dim }, rows);
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
        one_token(harness, 1, Lightning { heads, head_dim });
    }
    // No cache holds these.
    one_token(harness, 64, Lightning { heads: 64, head_dim: 128 });
    // Batches of two prompts and 18 sequences that write.
    for (heads, head_dim) in [(64, 128), (16, 64)] {
        mixed(harness, Lightning { heads, head_dim });
    }
    // Guesses that are checked, what is left of a prompt, prompts of a model of a billion parameters
    // and of MiniMax-01.
    for (count, heads, head_dim) in [
        (2, 64, 128),
        (5, 64, 128),
        (20, 64, 128),
        (1024, 8, 128),
        (1024, 4, 64),
        (999, 3, 50),
        (4096, 16, 64),
        (4096, 64, 128),
    ] {
        tokens(harness, Lightning { heads, head_dim }, count);
    }
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

/// As in towers, where every row sees all.
fn tower(harness: &Harness, shape: Attention, tokens: usize) {
    let work = Flops(4 * shape.head_dim * shape.heads * tokens * tokens);
    harness.bench(&name("tower", KvType::F32, shape, tokens), work, |exec| {
        let (q_len, kv_len) = lens(shape, tokens);
        let (q, k, v, mut out) = (floats(q_len), floats(kv_len), floats(kv_len), vec![0.0; q_len]);
        let (positions, scales) = (vec![tokens - 1; tokens], vec![SCALE; tokens]);
        move || {
            let kv = Kv::Rows { k: &k, v: &v };
            attention(&exec, &shape, &q, &positions, &scales, kv, &mut out, None);
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

/// One token, with all of a block's before it in turn: the state is read, keys and values of the block
/// are read as far as they go, and once in 32 tokens the state is written.
fn one_token(harness: &Harness, sequences: usize, shape: Lightning) {
    let Lightning { heads, head_dim } = shape;
    // Halves of the block's keys and values; the state again, read and written, for each 32nd.
    let of_block = BLOCK * heads * head_dim;
    let work =
        Bytes(4 * sequences * (shape.state_len() + of_block + 2 * shape.state_len() / BLOCK));
    let name = format!("lightning_attention/token/{sequences}x{heads}x{head_dim}");
    harness.bench(&name, work, |exec| {
        let (qkv, slopes) = (floats(sequences * shape.qkv_width()), slopes(heads));
        let mut states = vec![LightningState::new(&shape); sequences];
        let (mut out, mut past) = (vec![0.0; sequences * heads * head_dim], 0);
        move || {
            let pieces = states.iter_mut().enumerate();
            let piece = |(i, state)| Piece { rows: i..i + 1, past, state };
            let mut pieces: Vec<_> = pieces.map(piece).collect();
            lightning_attention(&exec, &shape, &slopes, &qkv, &mut pieces, &mut out);
            past += 1;
        }
    });
}

/// Two sequences read 50 tokens, 18 one token, in one call; the states are read once.
fn mixed(harness: &Harness, shape: Lightning) {
    let Lightning { heads, head_dim } = shape;
    let work = Bytes(20 * 4 * shape.state_len());
    harness.bench(
        &format!("lightning_attention/batch/2x50+18x1x{heads}x{head_dim}"),
        work,
        |exec| {
            let lengths = [50, 50].into_iter().chain([1; 18]);
            let tokens = lengths.clone().sum::<usize>();
            let (qkv, slopes) = (floats(tokens * shape.qkv_width()), slopes(heads));
            let mut states = vec![LightningState::new(&shape); 20];
            let (mut out, mut calls) = (vec![0.0; tokens * heads * head_dim], 0);
            move || {
                let mut end = 0;
                let pieces = states.iter_mut().zip(lengths.clone()).map(|(state, len)| {
                    end += len;
                    Piece { rows: end - len..end, past: calls * len, state }
                });
                let mut pieces: Vec<_> = pieces.collect();
                lightning_attention(&exec, &shape, &slopes, &qkv, &mut pieces, &mut out);
                calls += 1;
            }
        },
    );
}

/// Many tokens; the flops are those of the block form, visible pairs only.
fn tokens(harness: &Harness, shape: Lightning, tokens: usize) {
    let Lightning { heads, head_dim } = shape;
    let name = |kind: &str| format!("lightning_attention/{kind}/{tokens}x{heads}x{head_dim}");
    // Two products with half of the block, two with the state.
    let flops = 2 * tokens * heads * head_dim * (BLOCK + 1 + 2 * head_dim);
    harness.bench(&name("tokens"), Flops(flops), |exec| {
        let (qkv, slopes) = (floats(tokens * shape.qkv_width()), slopes(heads));
        let mut state = LightningState::new(&shape);
        let (mut out, mut past) = (vec![0.0; tokens * heads * head_dim], 0);
        move || {
            let mut pieces = [Piece { rows: 0..tokens, past, state: &mut state }];
            lightning_attention(&exec, &shape, &slopes, &qkv, &mut pieces, &mut out);
            past += tokens;
        }
    });
    if tokens < BLOCK {
        return;
    }
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
