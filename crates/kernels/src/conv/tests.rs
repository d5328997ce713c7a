use super::*;
use crate::Rng;
use crate::cpu::wide;
use crate::testing::{assert_close, assert_gradient, execs, random};

/// All kinds of edges: none, causal, asymmetric, strides that leave a rest, kernels that do not
/// fit, nothing at all.
pub(crate) fn cases() -> Vec<Conv> {
    let plain = Conv {
        input: [1, 3, 4, 5],
        channels: 3,
        kernel: [3, 3, 3],
        stride: [1; 3],
        padding: [[1, 1]; 3],
    };
    vec![
        plain,
        Conv { padding: [[2, 0], [1, 1], [1, 1]], input: [2, 4, 3, 2], ..plain },
        Conv { kernel: [1, 3, 3], stride: [1, 2, 2], padding: [[0; 2], [0, 1], [0, 1]], ..plain },
        Conv { kernel: [3, 1, 1], stride: [2, 1, 1], padding: [[0; 2]; 3], channels: 1, ..plain },
        Conv { kernel: [1, 2, 2], stride: [1, 2, 2], padding: [[0; 2]; 3], ..plain },
        Conv { kernel: [1; 3], padding: [[0; 2]; 3], channels: 37, input: [2, 1, 5, 7], ..plain },
        Conv { kernel: [2, 3, 1], stride: [3, 2, 1], padding: [[1, 2], [2, 0], [0, 0]], ..plain },
        Conv { kernel: [5, 1, 1], padding: [[0; 2]; 3], ..plain },
        Conv { kernel: [1, 5, 1], padding: [[0; 2]; 3], ..plain },
        Conv { input: [1, 2, 0, 5], ..plain },
        Conv { input: [1, 0, 4, 5], padding: [[0; 2], [1, 1], [1, 1]], ..plain },
    ]
}

#[test]
fn awkward_shapes() {
    for (case, n) in cases().into_iter().flat_map(|case| [1, 5].map(|n| (case, n))) {
        let mut rng = Rng(1);
        let x = random(&mut rng, case.input_rows() * case.channels);
        let w = random(&mut rng, n * case.patch_len());
        let want = reference(&case, &wide(&x), &wide(&w), n);
        let want: Vec<f32> = want.iter().map(|&x| x as f32).collect();
        for exec in execs() {
            let weight = Packed::from_weight_exact(&exec, (&w).into(), n, case.patch_len());
            let mut out = vec![f32::NAN; want.len()];
            conv(&exec, &case, &x, &weight, n, &mut out);
            assert_close(&format!("{case:?}"), &want, &out, 1e-5);
        }
    }
}

#[test]
fn gradients() {
    for case in cases() {
        let n = 2;
        let mut rng = Rng(2);
        let x = random(&mut rng, case.input_rows() * case.channels);
        let w = random(&mut rng, n * case.patch_len());
        let grad = random(&mut rng, case.output_rows() * n);
        let loss = |x: &[f64], w: &[f64]| -> f64 {
            let out = reference(&case, x, w, n);
            out.iter().zip(&grad).map(|(o, g)| o * f64::from(*g)).sum()
        };
        let (wx, ww) = (wide(&x), wide(&w));
        for exec in [&execs()[0], &Exec::new(3)] {
            let (mut gx, mut gw) = (vec![f32::NAN; x.len()], vec![f32::NAN; w.len()]);
            conv_grad_x(exec, &case, &grad, (&w).into(), n, &mut gx);
            conv_grad_weight(exec, &case, &x, &grad, n, false, &mut gw);
            assert_gradient("x", &x, &gx, |x| loss(x, &ww), 1e-5);
            assert_gradient("weight", &w, &gw, |w| loss(&wx, w), 1e-5);
        }
    }
}

/// Small integers are exact in bf16 and so are their sums: any order and any level gives the same.
#[test]
fn products_in_bf16() {
    let plain = Conv {
        input: [2, 4, 5, 6],
        channels: 32,
        kernel: [3; 3],
        stride: [1; 3],
        padding: [[2, 0], [1, 1], [1, 1]],
    };
    let cases = [
        (plain, 64),
        (Conv { channels: 24, ..plain }, 32),
        (Conv { stride: [2, 1, 1], ..plain }, 16),
        (Conv { kernel: [3, 1, 1], padding: [[1, 0], [0; 2], [0; 2]], ..plain }, 32),
        (Conv { stride: [1, 2, 2], ..plain }, 32),
    ];
    for (case, n) in cases {
        let mut rng = Rng(3);
        let mut integers =
            |len: usize| -> Vec<f32> { (0..len).map(|_| rng.below(5) as f32 - 2.0).collect() };
        let x = integers(case.input_rows() * case.channels);
        let w = integers(n * case.patch_len());
        let grad = integers(case.output_rows() * n);
        let halves: Vec<_> = w.iter().map(|x| crate::half::f32_to_bf16(*x)).collect();
        let narrow = |x: Vec<f64>| x.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        let want = narrow(reference(&case, &wide(&x), &wide(&w), n));
        let gradients = |exec: &Exec, w: Elements<'_>, rounded: bool| {
            let (mut gx, mut gw) = (vec![f32::NAN; x.len()], vec![f32::NAN; w.len()]);
            conv_grad_x(exec, &case, &grad, w, n, &mut gx);
            conv_grad_weight(exec, &case, &x, &grad, n, rounded, &mut gw);
            (gx, gw)
        };
        let exact = gradients(&Exec::new(1), (&w).into(), false);
        for exec in execs() {
            let weight = Packed::from_weight(&exec, Elements::Bf16(&halves), n, case.patch_len());
            let mut out = vec![f32::NAN; want.len()];
            conv(&exec, &case, &x, &weight, n, &mut out);
            assert!(want == out, "{case:?}");
            let got = gradients(&exec, Elements::Bf16(&halves), true);
            assert!(exact == got, "{case:?}");
        }
    }
}

/// Every way that the work goes: in one group, in groups of few frames, and by patches.
const LIMITS: [usize; 3] = [direct::MAX_COPIED, 3 * 130 * 130 * 8, 0];

/// More outputs than one piece: nothing is lost between pieces or groups, forward or back. The sum over
/// all outputs of a kernel of ones counts how often each input is used.
#[test]
fn many_pieces() {
    let plain = Conv {
        input: [1, 4, 128, 128],
        channels: 8,
        kernel: [3; 3],
        stride: [1; 3],
        padding: [[2, 0], [1, 1], [1, 1]],
    };
    let strided = Conv { stride: [1, 2, 2], ..plain };
    for (case, limit) in LIMITS.map(|limit| (plain, limit)).into_iter().chain([(strided, 0)]) {
        assert!(case.output_rows() > 3 * case.rows_at_once());
        let exec = Exec::new(2);
        let w = vec![1.0; case.patch_len()];
        let weight = Packed::from_weight_exact(&exec, (&w).into(), 1, w.len());
        let x = vec![1.0; case.input_rows() * 8];
        let ones = vec![1.0; case.output_rows()];
        let mut out = vec![f32::NAN; ones.len()];
        conv_within(limit, &exec, &case, &x, &weight, 1, &mut out);
        let (mut gx, mut gw) = (vec![f32::NAN; x.len()], vec![f32::NAN; w.len()]);
        conv_grad_x_within(limit, &exec, &case, &ones, (&w).into(), 1, &mut gx);
        conv_grad_weight_within(limit, &exec, &case, &x, &ones, 1, false, &mut gw);
        // Along one axis, which output has which tap over which input.
        let [_, time, high, wide] = case.output();
        let over = |axis: usize, count: usize| -> Vec<[usize; 3]> {
            let (stride, before) = (case.stride[axis], case.padding[axis][0]);
            let all = (0..count).flat_map(|o| (0..3).map(move |tap| (o, tap)));
            let all = all.filter_map(|(o, tap)| {
                let place = (o * stride + tap).checked_sub(before)?;
                (place < case.input[axis + 1]).then_some([o, tap, place])
            });
            all.collect()
        };
        let over = [over(0, time), over(1, high), over(2, wide)];
        let count = |kind: usize, at: [usize; 3]| -> usize {
            let of = |axis: usize| over[axis].iter().filter(|use_| use_[kind] == at[axis]).count();
            (0..3).map(of).product()
        };
        for (row, y) in out.iter().enumerate() {
            let at = [row / wide / high, row / wide % high, row % wide];
            // Counting is slow: a part of all, the edges among them.
            if at[1].is_multiple_of(7) || at[1] + 1 == high {
                assert_eq!(*y, (8 * count(0, at)) as f32, "{case:?}: output {at:?}");
            }
        }
        for (i, g) in gx.iter().enumerate() {
            let row = i / 8;
            let at = [row / 128 / 128, row / 128 % 128, row % 128];
            if at[1].is_multiple_of(7) || at[1] == 127 {
                assert_eq!(*g, count(2, at) as f32, "{case:?}: input {at:?}");
            }
        }
        for (i, g) in gw.iter().enumerate() {
            let at = [i / 8 / 9, i / 8 / 3 % 3, i / 8 % 3];
            assert_eq!(*g, count(1, at) as f32, "{case:?}: tap {at:?}");
        }
    }
}

/// Weights of both kinds.
fn packed(exec: &Exec, w: &[f32], n: usize, k: usize) -> [Packed; 2] {
    let halves: Vec<_> = w.iter().map(|x| crate::half::f32_to_bf16(*x)).collect();
    [Elements::F32(w), Elements::Bf16(&halves)].map(|w| Packed::from_weight(exec, w, n, k))
}

/// The law of ADR 7: a frame gives the same bits alone and beside so many that they are copied in groups;
/// and as a part of a longer clip, as far as its own frames reach.
#[test]
fn company_changes_no_bit() {
    let frame = Conv {
        input: [1, 1, 9, 11],
        channels: 32,
        kernel: [1, 3, 3],
        stride: [1; 3],
        padding: [[0; 2], [1, 1], [1, 1]],
    };
    let causal =
        Conv { input: [1, 2, 9, 11], kernel: [3; 3], padding: [[2, 0], [1, 1], [1, 1]], ..frame };
    let (copied, n) = (11 * 13 * 32, 24);
    for one in [frame, causal, Conv { channels: 24, ..frame }] {
        let mut rng = Rng(5);
        let batched = Conv { input: [7, one.input[1], 9, 11], ..one };
        let longer = Conv { input: [1, 7, 9, 11], ..one };
        let x = random(&mut rng, batched.input_rows() * one.channels);
        let w = random(&mut rng, n * one.patch_len());
        let len = one.input_rows() * one.channels;
        for exec in execs() {
            for weight in packed(&exec, &w, n, one.patch_len()) {
                let run = |limit: usize, case: &Conv, x: &[f32]| {
                    let mut out = vec![f32::NAN; case.output_rows() * n];
                    conv_within(limit, &exec, case, x, &weight, n, &mut out);
                    out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
                };
                let alone: Vec<_> = x.chunks_exact(len).map(|x| run(copied, &one, x)).collect();
                let what = format!("{one:?}, {exec:?}");
                for limit in [copied, 2 * copied, 5 * copied, direct::MAX_COPIED] {
                    assert!(alone.concat() == run(limit, &batched, &x), "{what}, {limit}");
                    let clip = run(limit, &longer, &x[..longer.input_rows() * one.channels]);
                    assert!(clip.starts_with(&alone[0]), "{what}, {limit}");
                }
            }
        }
    }
}

/// In groups of any size gradients have the same bits.
#[test]
fn groups_change_no_bit_of_gradients() {
    let case = Conv {
        input: [2, 5, 6, 7],
        channels: 19,
        kernel: [3; 3],
        stride: [2, 1, 1],
        padding: [[2, 0], [1, 1], [1, 1]],
    };
    let (mut rng, n) = (Rng(6), 21);
    let x = random(&mut rng, case.input_rows() * case.channels);
    let grad = random(&mut rng, case.output_rows() * n);
    let w = random(&mut rng, n * case.patch_len());
    let halves: Vec<_> = w.iter().map(|x| crate::half::f32_to_bf16(*x)).collect();
    for exec in execs() {
        for rounded in [false, true] {
            let run = |limit: usize| {
                let w = if rounded { Elements::Bf16(&halves) } else { (&w).into() };
                let (mut gx, mut gw) = (vec![f32::NAN; x.len()], vec![f32::NAN; w.len()]);
                conv_grad_x_within(limit, &exec, &case, &grad, w, n, &mut gx);
                conv_grad_weight_within(limit, &exec, &case, &x, &grad, n, rounded, &mut gw);
                (gx, gw)
            };
            let whole = run(direct::MAX_COPIED);
            for frames in [1, 2, 3, 7] {
                assert!(whole == run(frames * 8 * 9 * n), "{exec:?}, {frames}, {rounded}");
            }
        }
    }
}

/// In f64 nothing is rounded before the end: the result is the f32 next to the definition's.
#[test]
fn f64_rounds_once() {
    let exec = execs().into_iter().find(|exec| exec.cpu.arithmetic == Arithmetic::F64).unwrap();
    for case in cases() {
        let (mut rng, n) = (Rng(7), 5);
        let x = random(&mut rng, case.input_rows() * case.channels);
        let w = random(&mut rng, n * case.patch_len());
        let want = reference(&case, &wide(&x), &wide(&w), n);
        let want: Vec<f32> = want.iter().map(|&x| x as f32).collect();
        let weight = Packed::from_weight_exact(&exec, (&w).into(), n, case.patch_len());
        let mut out = vec![f32::NAN; want.len()];
        conv(&exec, &case, &x, &weight, n, &mut out);
        assert_eq!(want, out, "{case:?}");
    }
}

/// Channels that are no whole steps or lines: sums of products of rounded gradients and weights.
#[test]
fn grad_x_in_bf16() {
    for (channels, n) in [(5, 32), (33, 32), (37, 96), (3, 37), (16, 1)] {
        let case = Conv {
            input: [2, 3, 5, 7],
            channels,
            kernel: [2, 3, 3],
            stride: [1; 3],
            padding: [[1, 0], [1, 1], [0, 2]],
        };
        let mut rng = Rng(8);
        let grad = random(&mut rng, case.output_rows() * n);
        let w = random(&mut rng, n * case.patch_len());
        let halves: Vec<_> = w.iter().map(|x| crate::half::f32_to_bf16(*x)).collect();
        let rounded = |x: &[f32]| -> Vec<f32> {
            x.iter().map(|x| crate::half::bf16_to_f32(crate::half::f32_to_bf16(*x))).collect()
        };
        let w = rounded(&w);
        for exec in execs() {
            let whole = (3 * n).is_multiple_of(Packed::BF16_PART);
            let rounds = exec.cpu.bf16.is_some() && exec.cpu.arithmetic == Arithmetic::F32;
            let g = if rounds && whole { rounded(&grad) } else { grad.clone() };
            let mut want = vec![0.0; case.input_rows() * channels];
            for row in 0..case.output_rows() {
                case.for_each_tap(row, |tap, input| {
                    let Some(input) = input else { return };
                    for c in 0..channels {
                        let terms = (0..n).map(|j| {
                            let w = w[j * case.patch_len() + tap * channels + c];
                            f64::from(g[row * n + j]) * f64::from(w)
                        });
                        want[input * channels + c] += terms.sum::<f64>();
                    }
                });
            }
            let want: Vec<f32> = want.into_iter().map(|x| x as f32).collect();
            let mut gx = vec![f32::NAN; want.len()];
            conv_grad_x(&exec, &case, &grad, Elements::Bf16(&halves), n, &mut gx);
            assert_close(&format!("{channels} of {n}, {exec:?}"), &want, &gx, 1e-5);
        }
    }
}
