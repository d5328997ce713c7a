use super::backward::Forward;
use super::*;
use crate::cpu::Bf16Unit;
use crate::half::round_to_bf16;
use crate::testing::{assert_close, assert_gradient, execs, random};
use crate::{Cpu, Rng};
use proptest::prelude::*;

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

struct Case {
    shape: Attention,
    q: Vec<f32>,
    positions: Vec<usize>,
    scales: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Case {
    fn new(shape: Attention, rows: usize, keys: usize, seed: u64) -> Self {
        let mut rng = Rng(seed);
        let width = shape.head_dim * shape.kv_heads;
        Self {
            shape,
            q: random(&mut rng, rows * shape.heads * shape.head_dim),
            positions: (0..rows).map(|_| rng.below(keys)).collect(),
            scales: (0..rows).map(|_| 0.5 + rng.unit()).collect(),
            k: random(&mut rng, keys * width),
            v: random(&mut rng, keys * width),
        }
    }

    /// Keys and values as they are kept.
    fn kept(&self, kind: KvType) -> KvPages {
        let mut pages = KvPages::new(kind, self.shape.kv_heads, self.shape.head_dim);
        pages.append(&Exec::new(1), &self.k, &self.v);
        pages
    }

    /// The definition, over the values that are kept.
    fn want(&self, kind: KvType) -> Vec<f32> {
        let [k, v] = self.kept(kind).view().widen().map(|x| wide(&x));
        self.reference(&wide(&self.q), &self.scales, &k, &v)
    }

    /// The definition, over what the first of the products on tiles is given.
    fn want_of_tiles(&self, kind: KvType) -> Vec<f32> {
        let Self { shape, q, scales, .. } = self;
        let [k, v] = self
            .kept(kind)
            .view()
            .widen()
            .map(|x| wide(&x.into_iter().map(round_to_bf16).collect::<Vec<_>>()));
        let row = (shape.heads * shape.head_dim).max(1);
        let scaled = q.iter().enumerate().map(|(i, q)| {
            let factor = scales[i / row] * std::f32::consts::LOG2_E;
            f64::from(round_to_bf16(q * factor)) / f64::from(std::f32::consts::LOG2_E)
        });
        self.reference(&scaled.collect::<Vec<_>>(), &vec![1.0; scales.len()], &k, &v)
    }

    fn reference(&self, q: &[f64], scales: &[f32], k: &[f64], v: &[f64]) -> Vec<f32> {
        let mut out = vec![f64::NAN; q.len()];
        reference(&self.shape, q, &self.positions, scales, k, v, &mut out);
        out.iter().map(|&x| x as f32).collect()
    }

    fn run(&self, exec: &Exec, kv: Kv<'_>, lse: Option<&mut [f32]>) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.q.len()];
        let Self { shape, q, positions, scales, .. } = self;
        attention(exec, shape, q, positions, scales, kv, &mut out, lse);
        out
    }

    fn check(&self) {
        for kind in KvType::ALL {
            let (kept, want) = (self.kept(kind), self.want(kind));
            let of_tiles = self.want_of_tiles(kind);
            for exec in execs() {
                let got = self.run(&exec, kept.view(), None);
                let rows = self.positions.len();
                let what = format!("{:?}, {rows} rows, {kind:?}, {exec:?}", self.shape);
                if on_tiles(&exec, kind) {
                    assert_within_rounded_weights(&what, &of_tiles, &got);
                } else {
                    assert_close(&what, &want, &got, 1e-5);
                }
            }
        }
    }
}

fn on_tiles(exec: &Exec, kind: KvType) -> bool {
    let tiles = matches!(exec.cpu.bf16, Some(Bf16Unit::Tiles(_)));
    tiles && kind != KvType::F32 && exec.cpu.arithmetic == Arithmetic::F32
}

/// Rounding each weight to bf16 changes it by at most 2^-9 of itself, and so their mean of values up
/// to 1 by at most 2^-9.
#[track_caller]
fn assert_within_rounded_weights(what: &str, want: &[f32], got: &[f32]) {
    assert_eq!(want.len(), got.len(), "{what}: length");
    for (want, got) in want.iter().zip(got) {
        let error = (want - got).abs();
        assert!(error <= 2f32.powi(-9) * 1.01 + 1e-5, "{what}: {got}, expected {want}");
    }
}

#[test]
fn awkward_shapes() {
    for (heads, kv_heads, head_dim) in [(1, 1, 1), (4, 2, 5), (6, 1, 33), (3, 3, 64), (60, 1, 8)] {
        let shape = Attention { heads, kv_heads, head_dim };
        for (rows, keys) in [(0, 1), (1, 1), (1, 300), (5, 129), (49, 130), (100, 257)] {
            Case::new(shape, rows, keys, 3).check();
        }
    }
}

/// One row or several per key head, keys that end within a block, a tile or a run, heads narrower
/// than a block or no whole number of them.
#[test]
fn few_rows() {
    for (kv_heads, group, head_dim) in
        [(4, 1, 32), (2, 3, 50), (1, 4, 5), (3, 1, 17), (5, 2, 1), (1, 1, 128)]
    {
        let shape = Attention { heads: kv_heads * group, kv_heads, head_dim };
        for rows in 1..4 {
            for keys in [1, 2, 15, 16, 31, 63, 127, 128, 129, 1000] {
                Case::new(shape, rows, keys, 17).check();
            }
        }
        let mut case = Case::new(shape, 1, RUN_KEYS + 77, 19);
        case.positions[0] = RUN_KEYS + 76;
        case.check();
    }
}

/// More keys than one run: results are folded, and positions that see nothing of some runs.
#[test]
fn long_contexts_are_folded() {
    let shape = Attention { heads: 2, kv_heads: 1, head_dim: 4 };
    let mut case = Case::new(shape, 9, 5 * RUN_KEYS + 77, 5);
    case.positions[0] = 0;
    case.positions[1] = RUN_KEYS - 1;
    case.positions[2] = RUN_KEYS;
    case.positions[3] = 5 * RUN_KEYS + 76;
    case.check();
}

impl Case {
    /// Those of the rows with these numbers, and the sequence as it was before later tokens came.
    fn of_rows(&self, rows: &[usize], kept: &KvPages) -> (Self, KvPages) {
        let width = self.shape.heads * self.shape.head_dim;
        let q = rows.iter().flat_map(|&row| self.q[row * width..(row + 1) * width].to_vec());
        let positions: Vec<usize> = rows.iter().map(|&row| self.positions[row]).collect();
        let mut kept = kept.clone();
        kept.truncate(positions.iter().max().map_or(0, |&position| position + 1));
        let case = Self {
            shape: self.shape,
            q: q.collect(),
            scales: rows.iter().map(|&row| self.scales[row]).collect(),
            positions,
            k: Vec::new(),
            v: Vec::new(),
        };
        (case, kept)
    }

    /// Bits of rows do not depend on other rows, their order, later keys, threads or whether keys and
    /// values are in pages.
    fn check_bits(&self, subsets: &[Vec<usize>]) {
        let width = self.shape.heads * self.shape.head_dim;
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        for kind in KvType::ALL {
            let kept = self.kept(kind);
            for cpu in Cpu::variants() {
                let with = |threads| Exec { cpu, ..Exec::new(threads) };
                let all = bits(&self.run(&with(2), kept.view(), None));
                let what = format!("{:?}, {kind:?} on {cpu}", self.shape);
                assert_eq!(all, bits(&self.run(&with(1), kept.view(), None)), "{what}: threads");
                for rows in subsets {
                    let (case, kept) = self.of_rows(rows, &kept);
                    let want = rows.iter().flat_map(|&row| &all[row * width..(row + 1) * width]);
                    let want: Vec<u32> = want.copied().collect();
                    for threads in [1, 2] {
                        let got = bits(&case.run(&with(threads), kept.view(), None));
                        assert_eq!(want, got, "{what}: rows {rows:?}, {threads} threads");
                    }
                }
                if kind == KvType::F32 {
                    let rows = Kv::Rows { k: &self.k, v: &self.v };
                    assert_eq!(all, bits(&self.run(&with(2), rows, None)), "{what}: not in pages");
                }
            }
        }
    }
}

/// The law that a kept prefix relies on, where results are folded: a row of a long context alone is
/// cut into runs for several threads, many rows are not.
#[test]
fn a_row_of_a_long_context_has_the_same_bits_alone() {
    for (heads, kv_heads, head_dim) in [(1, 1, 32), (8, 2, 50)] {
        let shape = Attention { heads, kv_heads, head_dim };
        let keys = 3 * RUN_KEYS + 77;
        let mut case = Case::new(shape, 300, keys, 23);
        case.positions = (keys - 300..keys).collect();
        let subsets: Vec<Vec<usize>> =
            vec![vec![299], vec![0], vec![150, 3], (0..300).rev().step_by(9).collect()];
        case.check_bits(&subsets);
    }
}

/// Values of tokens that come later are not even looked at, as far as they are in other blocks; what
/// was forgotten leaves no trace in a page that is written to again.
#[test]
fn forgotten_tokens_leave_no_trace() {
    let shape = Attention { heads: 2, kv_heads: 2, head_dim: 40 };
    let case = Case::new(shape, 3, 70, 29);
    let nan = vec![f32::NAN; 200 * 80];
    for kind in KvType::ALL {
        let kept = case.kept(kind);
        let mut other = KvPages::new(kind, 2, 40);
        other.append(&Exec::new(1), &case.k[..30 * 80], &case.v[..30 * 80]);
        other.append(&Exec::new(1), &nan, &nan);
        other.truncate(30);
        other.append(&Exec::new(1), &case.k[30 * 80..], &case.v[30 * 80..]);
        assert_eq!(kept.pages()[0].bytes(), other.pages()[0].bytes());
        for exec in execs() {
            let want = case.run(&exec, kept.view(), None);
            assert_eq!(want, case.run(&exec, other.view(), None), "{kind:?} {exec:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn every_level_matches_reference(
        kv_heads in 1usize..3, group in 1usize..4, head_dim in 1usize..70,
        rows in 1usize..70, keys in 1usize..300, seed in any::<u64>(),
    ) {
        let shape = Attention { heads: kv_heads * group, kv_heads, head_dim };
        let case = Case::new(shape, rows, keys, seed);
        case.check();
        let mut rng = Rng(seed);
        let subset: Vec<usize> = (0..1 + rng.below(rows)).map(|_| rng.below(rows)).collect();
        case.check_bits(&[vec![rng.below(rows)], subset]);
    }
}

/// Scores far beyond the range of exp: the maximum keeps them finite.
#[test]
fn large_scores_pick_the_best_key() {
    let shape = Attention { heads: 1, kv_heads: 1, head_dim: 8 };
    let mut case = Case::new(shape, 8, 200, 7);
    case.scales.fill(1e4);
    case.positions.fill(199);
    case.check();
}

#[test]
fn backward_is_the_gradient() {
    for (heads, kv_heads, head_dim) in [(1, 1, 3), (4, 2, 4)] {
        let shape = Attention { heads, kv_heads, head_dim };
        // Two sequences of 6 and 140 keys (more than one tile), few rows each.
        let mut case = Case::new(shape, 7, 146, 13);
        case.positions = vec![0, 5, 3, 139, 20, 127, 128];
        let spans =
            [AttentionSpan { rows: 0..3, keys: 0..6 }, AttentionSpan { rows: 3..7, keys: 6..146 }];
        let grad = random(&mut Rng(1), case.q.len());
        let (row, key) = (heads * head_dim, kv_heads * head_dim);
        let loss = |q: &[f64], k: &[f64], v: &[f64]| {
            let mut out = vec![0.0; q.len()];
            for span in &spans {
                let (rows, keys) = (&span.rows, &span.keys);
                reference(
                    &shape,
                    &q[rows.start * row..rows.end * row],
                    &case.positions[rows.clone()],
                    &case.scales[rows.clone()],
                    &k[keys.start * key..keys.end * key],
                    &v[keys.start * key..keys.end * key],
                    &mut out[rows.start * row..rows.end * row],
                );
            }
            out.iter().zip(&grad).map(|(o, g)| o * f64::from(*g)).sum::<f64>()
        };
        let [q, k, v] = [&case.q, &case.k, &case.v].map(|x| wide(x));
        for exec in execs() {
            let mut out = vec![f32::NAN; case.q.len()];
            let mut lse = vec![f32::NAN; 7 * heads];
            for span in &spans {
                let (rows, keys) = (&span.rows, &span.keys);
                attention(
                    &exec,
                    &shape,
                    &case.q[rows.start * row..rows.end * row],
                    &case.positions[rows.clone()],
                    &case.scales[rows.clone()],
                    Kv::Rows {
                        k: &case.k[keys.start * key..keys.end * key],
                        v: &case.v[keys.start * key..keys.end * key],
                    },
                    &mut out[rows.start * row..rows.end * row],
                    Some(&mut lse[rows.start * heads..rows.end * heads]),
                );
            }
            let forward = Forward {
                q: &case.q,
                positions: &case.positions,
                scales: &case.scales,
                k: &case.k,
                v: &case.v,
                out: &out,
                lse: &lse,
            };
            let mut grads = [&case.q, &case.k, &case.v].map(|x| vec![0.0; x.len()]);
            let [dq, dk, dv] = &mut grads;
            attention_backward(&exec, &shape, forward, &spans, &grad, [dq, dk, dv]);
            let [dq, dk, dv] = &grads;
            assert_gradient("q", &case.q, dq, |q| loss(q, &k, &v), 1e-4);
            assert_gradient("k", &case.k, dk, |k| loss(&q, k, &v), 1e-4);
            assert_gradient("v", &case.v, dv, |v| loss(&q, &k, v), 1e-4);
        }
    }
}
