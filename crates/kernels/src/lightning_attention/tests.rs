use super::*;
use crate::Rng;
use crate::testing::{assert_close, assert_gradient, execs, random};
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
        lightning_attention(&exec, &shape, &slopes, &qkv, &spans, &mut states, &mut out);
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
            lightning_attention(&exec, &shape, &slopes, &qkv, &[span], &mut state, &mut out);
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
    lightning_attention(&Exec::new(1), &shape, &[0.0, 3.0], &qkv, &spans, &mut state, &mut out);
    assert_eq!(out[(tokens - 1) * 8..][..4], [1.0, 2.0, 3.0, 4.0]);
    assert!(out[(tokens - 1) * 8 + 4..].iter().all(|x| x.abs() < 1e-20));
}

/// Slopes of the fastest head over a long block: no overflow, no NaN.
#[test]
fn fast_decay_does_not_overflow() {
    let shape = Lightning { heads: 1, head_dim: 8, chunk_size: 256 };
    let qkv = vec![1.0; 600 * shape.qkv_width()];
    let (mut state, mut out) = (vec![0.0; 64], vec![f32::NAN; 600 * 8]);
    lightning_attention(&Exec::new(1), &shape, &[5.0], &qkv, &[0..600], &mut state, &mut out);
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
