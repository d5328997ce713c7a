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

/// Bits, so that 0 and -0 are not the same.
fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Runs of rows of these lengths, one after the other.
fn runs(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut end = 0;
    let run = |&len: &usize| {
        end += len;
        end - len..end
    };
    lengths.iter().map(run).collect()
}

/// One sequence from its beginning, read in pieces of these lengths.
fn read(
    exec: &Exec,
    shape: &Lightning,
    slopes: &[f32],
    qkv: &[f32],
    lengths: &[usize],
) -> (Vec<f32>, LightningState) {
    let tokens = lengths.iter().sum::<usize>();
    let mut state = LightningState::new(shape);
    let mut out = vec![f32::NAN; tokens * shape.heads * shape.head_dim];
    for rows in runs(lengths) {
        let piece = Piece { past: rows.start, rows, state: &mut state };
        lightning_attention(exec, shape, slopes, qkv, &mut [piece], &mut out);
    }
    (out, state)
}

/// Whole sequences in one call, each against the recurrence.
fn check(shape: Lightning, lengths: &[usize], seed: u64) {
    let tokens: usize = lengths.iter().sum();
    let qkv = random(&mut Rng(seed), tokens * shape.qkv_width());
    let slopes = slopes(shape.heads);
    let width = shape.heads * shape.head_dim;
    let mut want = Vec::new();
    for rows in runs(lengths) {
        let (mut state, mut out) =
            (vec![0.0; shape.state_len()], vec![f64::NAN; rows.len() * width]);
        let qkv = &qkv[rows.start * shape.qkv_width()..rows.end * shape.qkv_width()];
        reference(&shape, &slopes, &wide(qkv), &mut state, &mut out);
        want.extend(narrow(&out));
    }
    for exec in execs() {
        let mut out = vec![f32::NAN; tokens * width];
        whole_sequences(&exec, &shape, &slopes, &qkv, &runs(lengths), &mut out);
        assert_close(&format!("{shape:?}, {lengths:?}, {exec:?}"), &want, &out, 1e-5);
    }
}

#[test]
fn awkward_shapes() {
    for (heads, head_dim) in [(1, 1), (2, 5), (3, 32), (1, 67), (2, 64), (1, 128), (1, 200)] {
        let shape = Lightning { heads, head_dim };
        for lengths in [&[][..], &[1], &[0, 1], &[3, 1, 40], &[16], &[32], &[17, 33], &[130]] {
            check(shape, lengths, 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn every_level_matches_reference(
        heads in 1usize..4, head_dim in 1usize..70,
        lengths in prop::collection::vec(0usize..90, 1..4), seed in any::<u64>(),
    ) {
        check(Lightning { heads, head_dim }, &lengths, seed);
    }
}

/// The law: whatever the pieces and the number of threads, the same outputs and the same state.
fn check_pieces(shape: Lightning, qkv: &[f32], tokens: usize, lengths: &[usize]) {
    let slopes = slopes(shape.heads);
    let mut whole = None;
    for exec in execs() {
        let what = format!("{shape:?}, pieces of {lengths:?} on {exec:?}");
        let run = |lengths: &[usize]| {
            let (out, mut state) = read(&exec, &shape, &slopes, qkv, lengths);
            (bits(&out), bits(state.floats()))
        };
        // One thread is followed by three on the same level.
        if exec.threads.num_threads() == 1 {
            whole = Some(run(&[tokens]));
        }
        let whole = whole.as_ref().expect("one thread comes first");
        assert!(run(lengths) == *whole, "{what}");
    }
}

#[test]
fn pieces_of_one_size_are_the_same_sequence() {
    for (heads, head_dim, tokens) in [(2, 32, 150), (1, 5, 100), (1, 67, 97), (1, 128, 70)] {
        let shape = Lightning { heads, head_dim };
        let qkv = random(&mut Rng(4), tokens * shape.qkv_width());
        for piece in [1, 2, 3, 7, 31, 32, 33, 64, 90] {
            let mut lengths = vec![piece; tokens / piece];
            lengths.push(tokens % piece);
            check_pieces(shape, &qkv, tokens, &lengths);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Sparse numbers give sums of 0 and of -0, tiny ones products that are rounded to them.
    #[test]
    fn any_pieces_are_the_same_sequence(
        heads in 1usize..4, head_dim in 1usize..70,
        lengths in prop::collection::vec(0usize..50, 1..12), seed in any::<u64>(),
        zeros in 0usize..4, tiny in any::<bool>(),
    ) {
        let shape = Lightning { heads, head_dim };
        let tokens = lengths.iter().sum();
        let mut rng = Rng(seed);
        let mut qkv = random(&mut rng, tokens * shape.qkv_width());
        for x in &mut qkv {
            if rng.below(4) < zeros {
                *x = if rng.below(2) == 0 { 0.0 } else { -0.0 };
            } else if tiny {
                *x *= 1e-22;
            }
        }
        check_pieces(shape, &qkv, tokens, &lengths);
    }
}

/// Pieces of several sequences at any place of their blocks, long and short, in one call on three
/// threads: the bits that each gives alone on one.
#[test]
fn a_batch_is_its_sequences() {
    let pasts = [0, 50, 31, 7, 64, 9, 30, 3, 32, 5, 1];
    let lengths = [1, 50, 1, 0, 8, 9, 2, 33, 1, 50, 2];
    for (heads, head_dim) in [(5, 32), (2, 67)] {
        let shape = Lightning { heads, head_dim };
        let (slopes, width) = (slopes(heads), heads * head_dim);
        let mut rng = Rng(5);
        let before = pasts.map(|past| random(&mut rng, past * shape.qkv_width()));
        let rows = runs(&lengths);
        let tokens = rows.last().map_or(0, |rows| rows.end);
        let qkv = random(&mut rng, tokens * shape.qkv_width());
        for cpu in Cpu::variants() {
            let run = |num_threads: usize, pieces: &mut [Piece<'_>]| {
                let exec = Exec { cpu, ..Exec::new(num_threads) };
                let mut out = vec![f32::NAN; tokens * width];
                lightning_attention(&exec, &shape, &slopes, &qkv, pieces, &mut out);
                out
            };
            let exec = Exec { cpu, ..Exec::new(1) };
            let mut alone: Vec<_> = before
                .iter()
                .zip(&pasts)
                .map(|(qkv, &past)| read(&exec, &shape, &slopes, qkv, &[past]).1)
                .collect();
            let mut states = alone.clone();
            let mut pieces: Vec<_> = states
                .iter_mut()
                .zip(rows.iter().zip(pasts))
                .map(|(state, (rows, past))| Piece { rows: rows.clone(), past, state })
                .collect();
            let out = run(3, &mut pieces);
            for (i, (state, rows)) in alone.iter_mut().zip(&rows).enumerate() {
                let piece = Piece { rows: rows.clone(), past: pasts[i], state };
                let single = run(1, &mut [piece]);
                let columns = rows.start * width..rows.end * width;
                assert_eq!(bits(&single[columns.clone()]), bits(&out[columns]), "{i} on {cpu}");
                assert_eq!(*state, states[i], "{i} on {cpu}");
            }
        }
    }
}

/// Tiles read scores beyond the diagonal: what they find there must not reach earlier tokens. (The
/// values of a block are all multiplied, by 0 where they come later, so they have to be finite.)
#[test]
fn a_token_does_not_see_the_next() {
    let shape = Lightning { heads: 1, head_dim: 32 };
    let tokens = 60;
    let qkv = random(&mut Rng(6), tokens * shape.qkv_width());
    for exec in execs() {
        let want = read(&exec, &shape, &[0.1], &qkv, &[tokens]).0;
        for poisoned in [1, 11, 12, 31, 32, 59] {
            let mut bad = qkv.clone();
            for token in bad.chunks_exact_mut(shape.qkv_width()).skip(poisoned) {
                // q and k.
                token[..64].fill(f32::NAN);
            }
            for lengths in [&[tokens][..], &[9, tokens - 9], &[40, 20]] {
                let got = read(&exec, &shape, &[0.1], &bad, lengths).0;
                assert_eq!(got[..poisoned * 32], want[..poisoned * 32], "{exec:?}");
            }
        }
    }
}

/// States stuck at the least subnormal number, and every step took sixty times as long.
#[test]
fn silence_leaves_no_subnormal_numbers() {
    let shape = Lightning { heads: 2, head_dim: 40 };
    let tokens = 700;
    let mut qkv = vec![0.0; tokens * shape.qkv_width()];
    qkv[..shape.qkv_width()].fill(1.0);
    for cpu in Cpu::variants() {
        let exec = Exec { cpu, ..Exec::new(1) };
        for piece in [1, 100, 350] {
            let lengths = vec![piece; tokens / piece];
            let mut state = LightningState::new(&shape);
            for rows in runs(&lengths) {
                let piece = Piece { past: rows.start, rows, state: &mut state };
                let mut out = vec![0.0; tokens * 80];
                lightning_attention(&exec, &shape, &[0.3, 0.9], &qkv, &mut [piece], &mut out);
                assert!(!state.floats().iter().any(|s| s.is_subnormal()), "on {cpu}");
            }
        }
    }
}

/// A head without decay recalls a value by its key, a fast one forgets it; within a block and beyond.
#[test]
fn remembers_what_it_was_told() {
    let shape = Lightning { heads: 2, head_dim: 4 };
    for tokens in [20, 90] {
        let mut qkv = vec![0.0; tokens * shape.qkv_width()];
        for head in 0..2 {
            let at = |token: usize, part: usize| ((token * 2 + head) * 3 + part) * 4;
            // The first token stores (1, 2, 3, 4) under key 2; the last asks for key 2.
            qkv[at(0, 1) + 2] = 1.0;
            qkv[at(0, 2)..at(0, 2) + 4].copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
            qkv[at(tokens - 1, 0) + 2] = 1.0;
        }
        let (out, _) = read(&Exec::new(1), &shape, &[0.0, 3.0], &qkv, &[tokens]);
        let (slow, fast) = out[(tokens - 1) * 8..].split_at(4);
        assert_eq!(slow, [1.0, 2.0, 3.0, 4.0], "after {tokens} tokens");
        assert!(fast.iter().all(|x| x.abs() < 1e-20), "after {tokens} tokens");
    }
}

/// Slopes of the fastest head over a long text: no overflow, no NaN.
#[test]
fn fast_decay_does_not_overflow() {
    let shape = Lightning { heads: 1, head_dim: 8 };
    let qkv = vec![1.0; 600 * shape.qkv_width()];
    let (out, _) = read(&Exec::new(1), &shape, &[5.0], &qkv, &[600]);
    assert!(out.iter().all(|x| (7.9..8.2).contains(x)));
}

#[test]
fn a_state_takes_what_its_shape_says() {
    for (heads, head_dim) in [(1, 1), (3, 50), (64, 128)] {
        let shape = Lightning { heads, head_dim };
        assert_eq!(LightningState::new(&shape).bytes() as u64, shape.state_bytes());
    }
    assert_eq!(Lightning { heads: 2, head_dim: 128 }.state_bytes(), 2 * 4 * 128 * (128 + 2 * 32));
    assert_eq!(Lightning { heads: 64, head_dim: usize::MAX }.state_bytes(), u64::MAX);
}

#[test]
fn backward_is_the_gradient() {
    for (heads, head_dim, lengths) in
        [(1, 3, &[9usize][..]), (2, 2, &[7, 35]), (1, 2, &[70]), (1, 5, &[6, 0, 1])]
    {
        let shape = Lightning { heads, head_dim };
        let tokens: usize = lengths.iter().sum();
        let mut rng = Rng(9);
        let qkv = random(&mut rng, tokens * shape.qkv_width());
        let grad = random(&mut rng, tokens * heads * head_dim);
        let (slopes, spans) = (slopes(heads), runs(lengths));
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
