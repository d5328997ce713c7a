use super::*;
use crate::half::{bf16_to_f32, f32_to_bf16, round_to_bf16};
use crate::testing::{assert_close, execs, random};
use crate::{Arithmetic, Rng, Threads};
use proptest::prelude::*;

fn transposed(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect()
}

fn check(m: usize, k: usize, n: usize, seed: u64) {
    let mut rng = Rng(seed);
    let (a, b) = (random(&mut rng, m * k), random(&mut rng, k * n));
    let (at, bt) = (transposed(&a, m, k), transposed(&b, k, n));
    let initial = random(&mut rng, m * n);
    let mut want = vec![f32::NAN; m * n];
    reference(&a, &b, &mut want, k, n);
    let summed: Vec<f32> = want.iter().zip(&initial).map(|(x, y)| x + y).collect();
    for exec in execs() {
        let what = format!("[{m}, {k}] x [{k}, {n}], {exec:?}");
        let lhs = [Mat::row_major(&a, m, k), Mat::row_major(&at, k, m).t()];
        let rhs = [Mat::row_major(&b, k, n), Mat::row_major(&bt, n, k).t()];
        let packed = Packed::from_weight(&exec, (&bt).into(), n, k);
        let mut bits: Option<Vec<f32>> = None;
        let mut same = |what: &str, got: Vec<f32>| {
            assert_close(what, &want, &got, 1e-5);
            let first = bits.get_or_insert_with(|| got.clone());
            assert_eq!(*first, got, "{what}: other bits");
        };
        let mut got = vec![f32::NAN; m * n];
        let c = MatMut::row_major(&mut got, m, n);
        super::transposed(&exec, lhs[1].t(), rhs[0], c, false);
        same(&what, got);
        for a in lhs {
            for b in rhs {
                let mut got = vec![f32::NAN; m * n];
                matmul(&exec, a, b, MatMut::row_major(&mut got, m, n), false);
                same(&what, got);
                let mut got = vec![f32::NAN; m * n];
                let c = MatMut::row_major(&mut got, m, n);
                serial(exec.cpu, a, b, c, false, &mut Scratch::default());
                same(&what, got);
                let mut got = initial.clone();
                matmul(&exec, a, b, MatMut::row_major(&mut got, m, n), true);
                assert_close(&what, &summed, &got, 1e-5);
            }
            let mut got = vec![f32::NAN; m * n];
            matmul_packed(&exec, a, &packed, MatMut::row_major(&mut got, m, n), false);
            same(&what, got);
            let other = Packed::from_rows(exec.cpu, (&b).into(), k, n);
            let mut got = vec![f32::NAN; m * n];
            matmul_packed(&exec, a, &other, MatMut::row_major(&mut got, m, n), false);
            same(&what, got);
            let mut got = vec![f32::NAN; m * n];
            let c = MatMut::row_major(&mut got, m, n);
            serial_packed(exec.cpu, a, &packed, c, false);
            same(&what, got);
        }
    }
}

#[test]
fn awkward_shapes() {
    for (m, k, n) in [
        (0, 3, 3),
        (3, 0, 3),
        (3, 3, 0),
        (1, 1, 1),
        (1, 63, 1000),
        (6, 16, 16),
        (7, 17, 33),
        (5, 256, 15),
        (97, 257, 31),
        (200, 513, 40),
        (27, 300, 70),
        (1030, 300, 35),
        (64, 64, 64),
    ] {
        check(m, k, n, 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_level_and_layout_matches_reference(
        m in 1usize..60, k in 1usize..80, n in 1usize..70, seed in any::<u64>(),
    ) {
        check(m, k, n, seed);
    }
}

/// Rows of a batch have the bits that they have alone: what makes batching invisible.
#[test]
fn a_row_alone_equals_the_row_in_a_batch() {
    let (m, k, n) = (301, 300, 50);
    let mut rng = Rng(3);
    let (a, w) = (random(&mut rng, m * k), random(&mut rng, n * k));
    for exec in execs() {
        let packed = Packed::from_weight(&exec, (&w).into(), n, k);
        let mut all = vec![f32::NAN; m * n];
        let c = MatMut::row_major(&mut all, m, n);
        matmul_packed(&exec, Mat::row_major(&a, m, k), &packed, c, false);
        for (row, want) in a.chunks_exact(k).zip(all.chunks_exact(n)) {
            let mut got = vec![f32::NAN; n];
            let c = MatMut::row_major(&mut got, 1, n);
            matmul_packed(&exec, Mat::row_major(row, 1, k), &packed, c, false);
            assert_eq!(want, got);
        }
    }
}

/// Sums in f64 round once: the result is the nearest f32, the same at every level.
#[test]
fn f64_arithmetic_is_the_reference_to_the_bit() {
    for (m, k, n) in [(1, 1, 1), (7, 100, 33), (40, 256, 17)] {
        let mut rng = Rng(6);
        let (a, b) = (random(&mut rng, m * k), random(&mut rng, k * n));
        let mut want = vec![f32::NAN; m * n];
        reference(&a, &b, &mut want, k, n);
        for mut exec in execs() {
            exec.cpu.arithmetic = Arithmetic::F64;
            let (a, b) = (Mat::row_major(&a, m, k), Mat::row_major(&b, k, n));
            let mut got = vec![f32::NAN; m * n];
            matmul(&exec, a, b, MatMut::row_major(&mut got, m, n), false);
            assert_eq!(want, got, "{exec:?}");
            let c = MatMut::row_major(&mut got, m, n);
            serial(exec.cpu, a, b, c, true, &mut Scratch::default());
            let twice: Vec<f32> = want.iter().map(|x| 2.0 * x).collect();
            assert_close("accumulated", &twice, &got, 1e-7);
        }
    }
}

/// Where the level has no unit for bf16, and with f64 arithmetic.
#[test]
fn bf16_weights_are_exactly_their_f32_values() {
    let (m, k, n) = (9, 70, 37);
    let mut rng = Rng(5);
    let (a, w) = (random(&mut rng, m * k), random(&mut rng, n * k));
    let bits: Vec<Bf16> = w.iter().map(|&x| f32_to_bf16(x)).collect();
    let rounded: Vec<f32> = bits.iter().map(|&x| bf16_to_f32(x)).collect();
    for exec in execs().into_iter().filter(|exec| !rounds(exec)) {
        let [wide, narrow] = [Elements::F32(&rounded), Elements::Bf16(&bits)].map(|w| {
            let packed = Packed::from_weight(&exec, w, n, k);
            let mut c = vec![f32::NAN; m * n];
            let out = MatMut::row_major(&mut c, m, n);
            matmul_packed(&exec, Mat::row_major(&a, m, k), &packed, out, false);
            c
        });
        assert_eq!(wide, narrow);
    }
}

/// Whether activations are rounded where weights are bf16.
fn rounds(exec: &Exec) -> bool {
    exec.cpu.bf16.is_some() && exec.cpu.arithmetic == Arithmetic::F32
}

/// A bf16 weight and the exact product of the operands that take part in it: activations are
/// rounded where the level says so. What is left is the rounding of f32 sums in another order,
/// 2^-24 for each of `k` terms at most, and far less on average.
fn check_bf16(m: usize, k: usize, n: usize) {
    let mut rng = Rng(8);
    let (a, w) = (random(&mut rng, m * k), random(&mut rng, n * k));
    let initial = random(&mut rng, m * n);
    let bits: Vec<Bf16> = w.iter().map(|&x| f32_to_bf16(x)).collect();
    let b: Vec<f32> = bits.iter().map(|&x| bf16_to_f32(x)).collect();
    let (at, b) = (transposed(&a, m, k), transposed(&b, n, k));
    let rounded: Vec<f32> = a.iter().map(|&x| round_to_bf16(x)).collect();
    for exec in execs() {
        let what = format!("[{m}, {k}] x [{k}, {n}], {exec:?}");
        let mut want = vec![f32::NAN; m * n];
        reference(if rounds(&exec) { &rounded } else { &a }, &b, &mut want, k, n);
        let summed: Vec<f32> = want.iter().zip(&initial).map(|(x, y)| x + y).collect();
        let packed = Packed::from_weight(&exec, (&bits[..]).into(), n, k);
        let rows: Vec<Bf16> = b.iter().map(|&x| f32_to_bf16(x)).collect();
        let other = Packed::from_rows(exec.cpu, (&rows[..]).into(), k, n);
        let lhs = [Mat::row_major(&a, m, k), Mat::row_major(&at, k, m).t()];
        let mut all: Option<Vec<f32>> = None;
        for a in lhs {
            let mut got = vec![f32::NAN; m * n];
            matmul_packed(&exec, a, &packed, MatMut::row_major(&mut got, m, n), false);
            assert_close(&what, &want, &got, 1e-5);
            assert_eq!(*all.get_or_insert_with(|| got.clone()), got, "{what}: other bits");
            got.fill(f32::NAN);
            serial_packed(exec.cpu, a, &other, MatMut::row_major(&mut got, m, n), false);
            assert_eq!(all.as_deref(), Some(&got[..]), "{what}: other bits alone");
            let mut got = initial.clone();
            matmul_packed(&exec, a, &packed, MatMut::row_major(&mut got, m, n), true);
            assert_close(&what, &summed, &got, 1e-5);
        }
        for (rows, all) in all.iter().flat_map(|all| [1, 2, 5, 17, 40].map(|rows| (rows, all))) {
            for first in (0..m).step_by(7.max(m / 8)) {
                let rows = rows.min(m - first);
                let mut got = vec![f32::NAN; rows * n];
                let c = MatMut::row_major(&mut got, rows, n);
                matmul_packed(&exec, lhs[0].row_range(first, rows), &packed, c, false);
                assert_eq!(got, all[first * n..][..rows * n], "{what}: {rows} rows of {first}");
            }
        }
    }
}

#[test]
fn bf16_weights_match_the_reference_and_rows_their_batch() {
    for (m, k, n) in [
        (0, 3, 3),
        (3, 0, 3),
        (3, 3, 0),
        (1, 1, 1),
        (1, 63, 1000),
        (7, 17, 33),
        (15, 512, 32),
        (16, 513, 31),
        (33, 32, 64),
        (130, 1100, 40),
        (300, 100, 97),
    ] {
        check_bf16(m, k, n);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn bf16_weights_of_any_shape(m in 1usize..80, k in 1usize..80, n in 1usize..70) {
        check_bf16(m, k, n);
    }
}

/// Rounding is to nearest, ties to even; an infinite or missing number spoils its own row only, and
/// padding does not spoil any.
#[test]
fn bf16_rounds_activations_to_nearest_even_and_keeps_what_is_no_number() {
    let (k, n) = (33, 5);
    let ulp = 1.0 / 128.0;
    let values = [1.0 + 0.5 * ulp, 1.0 + 1.5 * ulp, 1.0 + 0.5001 * ulp, f32::INFINITY, f32::NAN];
    let mut a = vec![0.0; values.len() * k];
    a.chunks_exact_mut(k).zip(values).for_each(|(row, x)| row[k - 1] = x);
    let w = vec![f32_to_bf16(1.0); n * k];
    for exec in execs().into_iter().filter(rounds) {
        let packed = Packed::from_weight(&exec, (&w[..]).into(), n, k);
        let mut c = vec![0.0; values.len() * n];
        let out = MatMut::row_major(&mut c, values.len(), n);
        matmul_packed(&exec, Mat::row_major(&a, values.len(), k), &packed, out, false);
        let want = [1.0, 1.0 + 2.0 * ulp, 1.0 + ulp, f32::INFINITY];
        for (row, want) in c.chunks_exact(n).zip(want) {
            assert_eq!(row, [want; 5], "{exec:?}");
        }
        assert!(c[4 * n..].iter().all(|x| x.is_nan()), "{exec:?}");
    }
}

/// What a weight in bf16 is multiplied with stays f32: the bits are those of the same weight in
/// f32, on every level, for few rows and many.
#[test]
fn exact_bf16_weights_are_their_f32_values() {
    for (m, k, n) in [(1, 1, 1), (1, 700, 100), (4, 300, 33), (9, 70, 37), (100, 257, 64)] {
        let mut rng = Rng(15);
        let (a, w) = (random(&mut rng, m * k), random(&mut rng, n * k));
        let bits: Vec<Bf16> = w.iter().map(|&x| f32_to_bf16(x)).collect();
        let rounded: Vec<f32> = bits.iter().map(|&x| bf16_to_f32(x)).collect();
        for mut exec in execs() {
            for arithmetic in [Arithmetic::F32, Arithmetic::F64] {
                exec.cpu.arithmetic = arithmetic;
                let [wide, narrow] = [Elements::F32(&rounded), Elements::Bf16(&bits)].map(|w| {
                    let packed = Packed::from_weight_exact(&exec, w, n, k);
                    let mut c = vec![f32::NAN; m * n];
                    let out = MatMut::row_major(&mut c, m, n);
                    matmul_packed(&exec, Mat::row_major(&a, m, k), &packed, out, false);
                    (packed.bytes(), c)
                });
                assert_eq!(wide.1, narrow.1, "[{m}, {k}] x [{k}, {n}], {exec:?}");
                assert_eq!(wide.0, 2 * narrow.0, "half the memory");
            }
        }
    }
}

/// Runs of rows have the bits that each has alone, for all kinds of panels; rows of none stay.
#[test]
fn grouped_runs_equal_single_products() {
    let lists: [&[Range<usize>]; 5] = [
        &[0..0, 0..0, 0..0],
        &[0..1, 1..1, 1..2],
        &[3..40, 40..41, 50..200],
        &[0..64, 64..128, 128..192],
        &[0..5, 5..295, 295..300],
    ];
    for (k, n) in [(0, 5), (70, 37), (300, 100), (1100, 64)] {
        let mut rng = Rng(16);
        let rows = 300;
        let (a, w) = (random(&mut rng, rows * k), random(&mut rng, 3 * n * k));
        let bits: Vec<Bf16> = w.iter().map(|&x| f32_to_bf16(x)).collect();
        for exec in execs() {
            let all = [
                (Elements::F32(&w), Packed::from_weight as fn(_, _, _, _) -> _),
                (Elements::Bf16(&bits), Packed::from_weight),
                (Elements::Bf16(&bits), Packed::from_weight_exact),
            ];
            for (kind, (elements, pack)) in all.into_iter().enumerate() {
                let matrix = |e: usize| elements.slice(e * n * k..(e + 1) * n * k);
                let packed: Vec<Packed> = (0..3).map(|e| pack(&exec, matrix(e), n, k)).collect();
                for runs in lists {
                    let what = format!("kind {kind}, {runs:?} of {k} x {n}, {exec:?}");
                    let mut want = vec![7.0; rows * n];
                    for (run, packed) in runs.iter().zip(&packed) {
                        let a = Mat::row_major(&a, rows, k).row_range(run.start, run.len());
                        let c = &mut want[run.start * n..run.end * n];
                        let c = MatMut::row_major(c, run.len(), n);
                        serial_packed(exec.cpu, a, packed, c, false);
                    }
                    let mut got = vec![7.0; rows * n];
                    let c = MatMut::row_major(&mut got, rows, n);
                    grouped(&exec, Mat::row_major(&a, rows, k), &packed, runs, c);
                    assert!(want == got, "{what}");
                }
            }
        }
    }
}

/// Packed for one level, multiplied on another of the same width or with other arithmetic.
#[test]
fn bf16_panels_of_a_unit_widen_elsewhere() {
    let (m, k, n) = (3, 300, 37);
    let mut rng = Rng(9);
    let (a, w) = (random(&mut rng, m * k), random(&mut rng, n * k));
    let bits: Vec<Bf16> = w.iter().map(|&x| f32_to_bf16(x)).collect();
    for exec in execs().into_iter().filter(rounds) {
        let plain = Cpu { bf16: None, ..exec.cpu };
        let exact = Cpu { arithmetic: Arithmetic::F64, ..exec.cpu };
        for cpu in [plain, exact] {
            let [want, got] = [Cpu { bf16: None, ..cpu }, exec.cpu].map(|packed_for| {
                let exec = Exec { cpu: packed_for, ..exec.clone() };
                let packed = Packed::from_weight(&exec, (&bits[..]).into(), n, k);
                let mut c = vec![f32::NAN; m * n];
                let out = MatMut::row_major(&mut c, m, n);
                serial_packed(cpu, Mat::row_major(&a, m, k), &packed, out, false);
                c
            });
            assert_eq!(want, got);
        }
    }
}

#[test]
fn strided_output_leaves_the_gaps_alone() {
    let exec = Exec { threads: Threads::new(2), ..Exec::new(1) };
    let mut c = vec![7.0; 3 * 5];
    let (a, b) = ([1.0; 6], [1.0; 8]);
    let out = MatMut::new(&mut c, 3, 4, 5);
    matmul(&exec, Mat::row_major(&a, 3, 2), Mat::row_major(&b, 2, 4), out, false);
    for row in c.chunks_exact(5) {
        assert_eq!(row, [2.0, 2.0, 2.0, 2.0, 7.0]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn transposed_matches_the_reference(
        [depth, m, n] in [0usize..150, 1usize..80, 1usize..80],
        gap in 0usize..3,
        seed: u64,
    ) {
        let mut rng = Rng(seed);
        let (a, b) = (random(&mut rng, depth * m), random(&mut rng, depth * n));
        for exec in execs() {
            for in_bf16 in [false, true] {
                let unit = in_bf16 && exec.cpu.bf16.is_some() && exec.cpu.arithmetic == Arithmetic::F32;
                let seen = |x: &[f32]| -> Vec<f32> {
                    x.iter().map(|&x| if unit { round_to_bf16(x) } else { x }).collect()
                };
                let mut want = vec![f32::NAN; m * n];
                reference(&transposed(&seen(&a), depth, m), &seen(&b), &mut want, depth, n);
                let stride = n + gap;
                let mut got = vec![f32::NAN; m * stride];
                let (a, b) = (Mat::row_major(&a, depth, m), Mat::row_major(&b, depth, n));
                super::transposed(&exec, a, b, MatMut::new(&mut got, m, n, stride), in_bf16);
                let (got, beyond): (Vec<_>, Vec<_>) =
                    got.into_iter().enumerate().partition(|(i, _)| i % stride < n);
                let got: Vec<f32> = got.into_iter().map(|(_, x)| x).collect();
                assert_close(&format!("[{depth}, {m}] [{depth}, {n}] {exec:?}"), &want, &got, 1e-5);
                prop_assert!(beyond.iter().all(|(_, x)| x.is_nan()));
            }
        }
    }
}

#[test]
fn transposed_adds_up_waves_of_rows() {
    let depth = 50_000;
    let (a, b) = (vec![1.0; depth], vec![0.5; depth]);
    for exec in execs() {
        let mut got = [f32::NAN];
        let (a, b) = (Mat::row_major(&a, depth, 1), Mat::row_major(&b, depth, 1));
        super::transposed(&exec, a, b, MatMut::row_major(&mut got, 1, 1), true);
        assert_eq!(got, [25_000.0], "{exec:?}");
    }
}
