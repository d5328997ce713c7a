use super::*;
use crate::testing::{assert_close, assert_gradient, execs, random};
use crate::{Cpu, Rng};
use proptest::prelude::*;

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

fn slopes(heads: usize) -> Vec<f32> {
    (0..heads).map(|h| 0.9 / (1.0 + 3.0 * h as f32)).collect()
}

fn check(shape: Lightning, lengths: &[usize], seed: u64) {
    let mut rng = Rng(seed);
    let tokens: usize = lengths.iter().sum();
    let qkv = random(&mut rng, tokens * shape.qkv_width());
    let initial = random(&mut rng, lengths.len() * shape.state_len());
    let slopes = slopes(shape.heads);
    let width = shape.heads * shape.head_dim;
    let (mut want, mut want_states) = (Vec::new(), Vec::new());
    let (mut spans, mut start) = (Vec::new(), 0);
    for (i, &len) in lengths.iter().enumerate() {
        let mut state = wide(&initial[i * shape.state_len()..][..shape.state_len()]);
        let mut out = vec![f64::NAN; len * width];
        let rows = &qkv[start * shape.qkv_width()..][..len * shape.qkv_width()];
        reference(&shape, &slopes, &wide(rows), &mut state, &mut out);
        want.extend(narrow(&out));
        want_states.extend(narrow(&state));
        spans.push(start..start + len);
        start += len;
    }
    for exec in execs() {
        let what = format!("{shape:?}, {lengths:?}, {exec:?}");
        let (mut out, mut states) = (vec![f32::NAN; tokens * width], initial.clone());
        let mut each: Vec<_> = states.chunks_exact_mut(shape.state_len()).collect();
        lightning_attention(&exec, &shape, &slopes, &qkv, &spans, &mut each, &mut out);
        assert_close(&what, &want, &out, 1e-5);
        assert_close(&what, &want_states, &states, 1e-5);
    }
}

#[test]
fn awkward_shapes() {
    for (heads, head_dim, chunk_size) in
        [(1, 1, 1), (2, 5, 3), (3, 32, 16), (1, 67, 256), (2, 64, 64)]
    {
        let shape = Lightning { heads, head_dim, chunk_size };
        for lengths in [&[][..], &[1], &[0, 1], &[3, 1, 40], &[16], &[17, 33], &[130]] {
            check(shape, lengths, 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn every_level_matches_reference(
        heads in 1usize..4, head_dim in 1usize..70, chunk_size in 1usize..80,
        lengths in prop::collection::vec(0usize..90, 1..4), seed in any::<u64>(),
    ) {
        check(Lightning { heads, head_dim, chunk_size }, &lengths, seed);
    }
}

/// Any split of a sequence over calls gives what one call gives: chunk = recurrent.
#[test]
fn any_chunking_is_the_same_sequence() {
    let shape = Lightning { heads: 2, head_dim: 32, chunk_size: 32 };
    let tokens = 300;
    let mut rng = Rng(4);
    let (qkv, slopes) = (random(&mut rng, tokens * shape.qkv_width()), slopes(2));
    let exec = Exec::new(2);
    let run = |piece: usize, chunk_size: usize| {
        let shape = Lightning { chunk_size, ..shape };
        let (mut out, mut state) = (vec![f32::NAN; tokens * 64], vec![0.0; shape.state_len()]);
        for start in (0..tokens).step_by(piece) {
            let span = start..tokens.min(start + piece);
            lightning_attention(
                &exec,
                &shape,
                &slopes,
                &qkv,
                &[span],
                &mut [&mut state[..]],
                &mut out,
            );
        }
        (out, state)
    };
    let (want, want_state) = run(1, 1);
    for (piece, chunk_size) in [(7, 4), (64, 16), (256, 256), (tokens, 1), (tokens, 64)] {
        let (out, state) = run(piece, chunk_size);
        assert_close("out", &want, &out, 1e-5);
        assert_close("state", &want_state, &state, 1e-5);
    }
}

/// Sequences in a batch, long and short, give the bits that each gives alone, on any number of
/// threads.
#[test]
fn a_batch_is_its_sequences() {
    let lengths = [1, 50, 1, 0, 8, 9, 1, 33, 1, 50, 2];
    for (heads, head_dim) in [(5, 32), (2, 67)] {
        let shape = Lightning::new(heads, head_dim);
        let (tokens, width) = (lengths.iter().sum::<usize>(), heads * head_dim);
        let mut rng = Rng(5);
        let qkv = random(&mut rng, tokens * shape.qkv_width());
        let initial = random(&mut rng, lengths.len() * shape.state_len());
        let (slopes, mut start) = (slopes(heads), 0);
        let spans = lengths.map(|len| {
            start += len;
            start - len..start
        });
        for cpu in Cpu::variants() {
            let run = |num_threads: usize, spans: &[Range<usize>], states: &mut [&mut [f32]]| {
                let exec = Exec { cpu, ..Exec::new(num_threads) };
                let mut out = vec![f32::NAN; tokens * width];
                lightning_attention(&exec, &shape, &slopes, &qkv, spans, states, &mut out);
                out
            };
            let mut states = initial.clone();
            let mut each: Vec<_> = states.chunks_exact_mut(shape.state_len()).collect();
            let out = run(3, &spans, &mut each);
            for (i, span) in spans.iter().enumerate() {
                let part = i * shape.state_len()..(i + 1) * shape.state_len();
                let mut state = initial[part.clone()].to_vec();
                let alone = run(1, std::slice::from_ref(span), &mut [&mut state]);
                let rows = span.start * width..span.end * width;
                assert_eq!(alone[rows.clone()], out[rows], "{span:?} on {cpu}");
                assert_eq!(state, states[part], "{span:?} on {cpu}");
            }
        }
    }
}

/// Tiles read scores beyond the diagonal: what they find there must not reach earlier tokens. (The
/// values of a block are all multiplied, by 0 where they come later, so they have to be finite.)
#[test]
fn a_token_does_not_see_the_next() {
    let shape = Lightning { heads: 1, head_dim: 32, chunk_size: 64 };
    let tokens = 60;
    let mut rng = Rng(6);
    let qkv = random(&mut rng, tokens * shape.qkv_width());
    for exec in execs() {
        let run = |qkv: &[f32], tokens: usize| {
            let (mut state, mut out) = (vec![0.0; shape.state_len()], vec![f32::NAN; tokens * 32]);
            let spans = [0..tokens];
            lightning_attention(&exec, &shape, &[0.1], qkv, &spans, &mut [&mut state], &mut out);
            out
        };
        for poisoned in [1, 11, 12, 31, 32, 59] {
            let mut bad = qkv.clone();
            for token in bad.chunks_exact_mut(shape.qkv_width()).skip(poisoned) {
                // q and k.
                token[..64].fill(f32::NAN);
            }
            let want = run(&qkv, tokens);
            assert_eq!(run(&bad, tokens)[..poisoned * 32], want[..poisoned * 32], "{exec:?}");
        }
    }
}

/// States stuck at the least subnormal number, and every step took sixty times as long.
#[test]
fn silence_leaves_no_subnormal_numbers() {
    let shape = Lightning { heads: 2, head_dim: 40, chunk_size: 256 };
    let tokens = 700;
    let mut qkv = vec![0.0; tokens * shape.qkv_width()];
    qkv[..shape.qkv_width()].fill(1.0);
    for cpu in Cpu::variants() {
        let exec = Exec { cpu, ..Exec::new(1) };
        for piece in [1, 256, tokens] {
            let (mut state, mut out) = (vec![0.0; shape.state_len()], vec![0.0; tokens * 80]);
            for start in (0..tokens).step_by(piece) {
                let span = start..tokens.min(start + piece);
                let states = &mut [&mut state[..]];
                lightning_attention(&exec, &shape, &[0.3, 0.9], &qkv, &[span], states, &mut out);
                assert!(!states[0].iter().any(|s| s.is_subnormal()), "{piece} on {cpu}");
            }
        }
    }
}

/// A head without decay recalls a value by its key, a fast one forgets it.
#[test]
fn remembers_what_it_was_told() {
    let shape = Lightning { heads: 2, head_dim: 4, chunk_size: 8 };
    let tokens = 20;
    let mut qkv = vec![0.0; tokens * shape.qkv_width()];
    for head in 0..2 {
        let at = |token: usize, part: usize| ((token * 2 + head) * 3 + part) * 4;
        // The first token stores (1, 2, 3, 4) under key 2; the last asks for key 2.
        qkv[at(0, 1) + 2] = 1.0;
        qkv[at(0, 2)..at(0, 2) + 4].copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
        qkv[at(tokens - 1, 0) + 2] = 1.0;
    }
    let (mut state, mut out) = (vec![0.0; shape.state_len()], vec![f32::NAN; tokens * 8]);
    let spans = [0..tokens];
    lightning_attention(
        &Exec::new(1),
        &shape,
        &[0.0, 3.0],
        &qkv,
        &spans,
        &mut [&mut state[..]],
        &mut out,
    );
    assert_eq!(out[(tokens - 1) * 8..][..4], [1.0, 2.0, 3.0, 4.0]);
    assert!(out[(tokens - 1) * 8 + 4..].iter().all(|x| x.abs() < 1e-20));
}

/// Slopes of the fastest head over a long block: no overflow, no NaN.
#[test]
fn fast_decay_does_not_overflow() {
    let shape = Lightning { heads: 1, head_dim: 8, chunk_size: 256 };
    let qkv = vec![1.0; 600 * shape.qkv_width()];
    let (mut state, mut out) = (vec![0.0; 64], vec![f32::NAN; 600 * 8]);
    lightning_attention(
        &Exec::new(1),
        &shape,
        &[5.0],
        &qkv,
        &[0..600],
        &mut [&mut state[..]],
        &mut out,
    );
    assert!(out.iter().all(|x| (7.9..8.2).contains(x)));
}

#[test]
fn backward_is_the_gradient() {
    for (heads, head_dim, chunk_size, lengths) in
        [(1, 3, 4, &[9usize][..]), (2, 4, 3, &[7, 5]), (1, 2, 1, &[4]), (1, 5, 16, &[6, 0, 1])]
    {
        let shape = Lightning { heads, head_dim, chunk_size };
        let tokens: usize = lengths.iter().sum();
        let mut rng = Rng(9);
        let qkv = random(&mut rng, tokens * shape.qkv_width());
        let grad = random(&mut rng, tokens * heads * head_dim);
        let slopes = slopes(heads);
        let mut spans = Vec::new();
        for &len in lengths {
            let start = spans.last().map_or(0, |span: &Range<usize>| span.end);
            spans.push(start..start + len);
        }
        let loss = |qkv: &[f64]| {
            let mut sum = 0.0;
            for span in &spans {
                let mut state = vec![0.0; shape.state_len()];
                let mut out = vec![0.0; span.len() * heads * head_dim];
                let rows = span.start * shape.qkv_width()..span.end * shape.qkv_width();
                reference(&shape, &slopes, &qkv[rows], &mut state, &mut out);
                let grad = &grad[span.start * heads * head_dim..];
                sum += out.iter().zip(grad).map(|(o, g)| o * f64::from(*g)).sum::<f64>();
            }
            sum
        };
        for exec in execs() {
            let mut grad_qkv = vec![f32::NAN; qkv.len()];
            lightning_attention_backward(
                &exec,
                &shape,
                &slopes,
                &qkv,
                &spans,
                &grad,
                &mut grad_qkv,
            );
            assert_gradient("lightning", &qkv, &grad_qkv, loss, 1e-4);
        }
    }
}
