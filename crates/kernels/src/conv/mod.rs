//! Convolution over time, height and width, channels last; those over less have kernels of 1.
//!
//! ```text
//! y[o] = sum_{tap} x[o stride - before + tap] W_tap        o, tap: (time, height, width)
//! ```
//!
//! What lies beyond the edges is 0. The patches under the kernel are rows of a matrix that is
//! multiplied with the kernels for products; its weight is `[n, taps * channels]`. With strides of 1
//! in height and width they are rows of x as it is (`conv/direct`); else they are made a piece at a
//! time.
//! Compute-bound: `2 n taps channels` flops per output. [`depthwise`] has one filter per channel and
//! is bound by memory.

pub mod depthwise;
mod direct;

use crate::matmul::{Elements, Mat, MatMut, Packed, matmul, matmul_packed};
use crate::{Arithmetic, Exec};

/// Elements of patches made at once: 4 MiB.
const PIECE: usize = 1 << 20;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// `[batch, time, height, width]` of what comes in.
    pub input: [usize; 4],
    /// Features of each position.
    pub channels: usize,
    /// Positions under the kernel: time, height, width.
    pub kernel: [usize; 3],
    /// Steps from one output to the next.
    pub stride: [usize; 3],
    /// Zeros before and after each axis.
    pub padding: [[usize; 2]; 3],
}

impl Conv {
    /// `[batch, time, height, width]` of what comes out; 0 along an axis that is shorter than the
    /// kernel.
    ///
    /// # Panics
    ///
    /// If a kernel or stride is 0.
    #[track_caller]
    pub fn output(&self) -> [usize; 4] {
        let mut output = self.input;
        for axis in 0..3 {
            let (kernel, stride) = (self.kernel[axis], self.stride[axis]);
            assert!(kernel > 0 && stride > 0, "a kernel of {kernel}, a stride of {stride}");
            let padded = self.input[axis + 1] + self.padding[axis].iter().sum::<usize>();
            output[axis + 1] = (padded + stride).saturating_sub(kernel) / stride;
        }
        output
    }

    /// Positions under the kernel.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Elements of a patch, tap by tap.
    pub fn patch_len(&self) -> usize {
        self.taps() * self.channels
    }

    fn input_rows(&self) -> usize {
        self.input.iter().product()
    }

    fn output_rows(&self) -> usize {
        self.output().iter().product()
    }

    /// Outputs whose patches are made at once.
    fn rows_at_once(&self) -> usize {
        (PIECE / self.patch_len().max(1)).max(1)
    }

    #[track_caller]
    fn check_input(&self, x: &[f32]) {
        let [batch, time, height, width] = self.input;
        let len = self.input_rows() * self.channels;
        assert_eq!(x.len(), len, "[{batch}, {time}, {height}, {width}, {}]", self.channels);
    }

    /// Calls `each(tap, row)` for each tap of output `row` in order; the row of x is `None` beyond
    /// the edges.
    #[inline]
    fn for_each_tap(&self, row: usize, mut each: impl FnMut(usize, Option<usize>)) {
        let [_, time, height, width] = self.output();
        let at = [row / width / height % time, row / width % height, row % width];
        let batch = row / width / height / time;
        let inside = |axis: usize, tap: usize| {
            let place = (at[axis] * self.stride[axis] + tap).checked_sub(self.padding[axis][0])?;
            (place < self.input[axis + 1]).then_some(place)
        };
        let mut tap = 0;
        for a in 0..self.kernel[0] {
            let t = inside(0, a).map(|t| batch * self.input[1] + t);
            for b in 0..self.kernel[1] {
                let h = t.and_then(|t| Some(t * self.input[2] + inside(1, b)?));
                for c in 0..self.kernel[2] {
                    each(tap, h.and_then(|h| Some(h * self.input[3] + inside(2, c)?)));
                    tap += 1;
                }
            }
        }
    }

    /// Calls `each(tap, row)` for each output row that input row `row` is part of, with the tap
    /// under which it is.
    #[inline]
    fn for_each_use(&self, row: usize, mut each: impl FnMut(usize, usize)) {
        let [_, time, height, width] = self.input;
        let at = [row / width / height % time, row / width % height, row % width];
        let (batch, output) = (row / width / height / time, self.output());
        let used = |axis: usize, tap: usize| {
            let place = (at[axis] + self.padding[axis][0]).checked_sub(tap)?;
            let (place, rest) = (place / self.stride[axis], place % self.stride[axis]);
            (rest == 0 && place < output[axis + 1]).then_some(place)
        };
        for a in 0..self.kernel[0] {
            let Some(t) = used(0, a) else { continue };
            for b in 0..self.kernel[1] {
                let Some(h) = used(1, b) else { continue };
                for c in 0..self.kernel[2] {
                    let Some(w) = used(2, c) else { continue };
                    let tap = (a * self.kernel[1] + b) * self.kernel[2] + c;
                    let row = (batch * output[1] + t) * output[2] + h;
                    each(tap, row * output[3] + w);
                }
            }
        }
    }

    /// Patches of the outputs from `first` on, as many as `out` has room for.
    fn patches(&self, exec: &Exec, x: &[f32], first: usize, out: &mut [f32]) {
        let (channels, patch) = (self.channels, self.patch_len());
        let rows = exec.threads.rows_per_task(out.len() / patch, 8);
        exec.threads.for_each_chunk(out, rows * patch, |task, out| {
            for (i, out) in out.chunks_exact_mut(patch).enumerate() {
                self.for_each_tap(first + task * rows + i, |tap, row| {
                    let out = &mut out[tap * channels..(tap + 1) * channels];
                    match row {
                        Some(row) => out.copy_from_slice(&x[row * channels..(row + 1) * channels]),
                        None => out.fill(0.0),
                    }
                });
            }
        });
    }
}

/// Convolves `x: [batch, time, height, width, channels]` with a packed weight
/// `[n, kernel, channels]` and writes `out: [.., n]` in the shape of [`Conv::output`].
///
/// # Panics
///
/// If lengths disagree or the weight was packed for another CPU level.
#[track_caller]
pub fn conv(exec: &Exec, conv: &Conv, x: &[f32], weight: &Packed, n: usize, out: &mut [f32]) {
    conv.check_input(x);
    let rows = conv.output_rows();
    assert_eq!(out.len(), rows * n, "out must be {:?} of {n}", conv.output());
    if direct::forward_fits(conv, weight) {
        return direct::forward(exec, conv, x, weight, out);
    }
    let (piece, patch) = (conv.rows_at_once(), conv.patch_len());
    let mut patches = exec.buffers.take(piece.min(rows) * patch);
    for first in (0..rows).step_by(piece) {
        let count = piece.min(rows - first);
        let patches = &mut patches[..count * patch];
        conv.patches(exec, x, first, patches);
        let c = MatMut::row_major(&mut out[first * n..(first + count) * n], count, n);
        matmul_packed(exec, Mat::row_major(patches, count, patch), weight, c, false);
    }
    exec.buffers.give(patches);
}

/// The gradient of x, from `grad` of the output and `weight: [n, taps * channels]`; written. With a
/// weight of bf16 `grad` is rounded to bf16 where [`Cpu::bf16`](crate::Cpu::bf16) says so and rows of
/// taps are whole steps of its unit.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn conv_grad_x(
    exec: &Exec,
    conv: &Conv,
    grad: &[f32],
    weight: Elements<'_>,
    n: usize,
    grad_x: &mut [f32],
) {
    conv.check_input(grad_x);
    let (rows, patch, channels) = (conv.output_rows(), conv.patch_len(), conv.channels);
    assert_eq!((grad.len(), weight.len()), (rows * n, n * patch), "lengths of grad and weight");
    if grad_x.is_empty() || grad.is_empty() {
        grad_x.fill(0.0);
        return;
    }
    if direct::grad_x_fits(conv, n) {
        let turned = direct::turned(exec, conv, weight, n);
        return direct::grad_x(exec, conv, grad, &turned, n, grad_x);
    }
    grad_x.fill(0.0);
    let weight = weight.to_f32();
    let piece = conv.rows_at_once();
    let mut patches = exec.buffers.take(piece.min(rows) * patch);
    for first in (0..rows).step_by(piece) {
        let count = piece.min(rows - first);
        let patches = &mut patches[..count * patch];
        let g = Mat::row_major(&grad[first * n..(first + count) * n], count, n);
        let c = MatMut::row_major(patches, count, patch);
        matmul(exec, g, Mat::row_major(&weight, n, patch), c, false);
        let per_task = exec.threads.rows_per_task(grad_x.len() / channels, 8);
        exec.threads.for_each_chunk(grad_x, per_task * channels, |task, out| {
            for (i, out) in out.chunks_exact_mut(channels).enumerate() {
                conv.for_each_use(task * per_task + i, |tap, row| {
                    if let Some(row) = row.checked_sub(first).filter(|row| *row < count) {
                        let at = row * patch + tap * channels;
                        let part = &patches[at..at + channels];
                        out.iter_mut().zip(part).for_each(|(o, p)| *o += p);
                    }
                });
            }
        });
    }
    exec.buffers.give(patches);
}

/// The gradient of the weight, `[n, taps * channels]`, from that of the output; written. If `rounded`,
/// both sides are rounded to bf16 where [`Cpu::bf16`](crate::Cpu::bf16) says so and strides in height
/// and width are 1.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn conv_grad_weight(
    exec: &Exec,
    conv: &Conv,
    x: &[f32],
    grad: &[f32],
    n: usize,
    rounded: bool,
    grad_weight: &mut [f32],
) {
    conv.check_input(x);
    let (rows, patch) = (conv.output_rows(), conv.patch_len());
    assert_eq!((grad.len(), grad_weight.len()), (rows * n, n * patch), "lengths of the gradients");
    grad_weight.fill(0.0);
    if direct::grad_weight_fits(conv) {
        let exact = !rounded || exec.cpu.arithmetic == Arithmetic::F64;
        let unit = exec.cpu.bf16.filter(|_| !exact);
        return direct::grad_weight(exec, conv, x, grad, n, unit, grad_weight);
    }
    let piece = conv.rows_at_once();
    let mut patches = exec.buffers.take(piece.min(rows) * patch);
    for first in (0..rows).step_by(piece) {
        let count = piece.min(rows - first);
        let patches = &mut patches[..count * patch];
        conv.patches(exec, x, first, patches);
        let g = Mat::row_major(&grad[first * n..(first + count) * n], count, n);
        let c = MatMut::row_major(grad_weight, n, patch);
        matmul(exec, g.t(), Mat::row_major(patches, count, patch), c, true);
    }
    exec.buffers.give(patches);
}

/// The definition, in f64: loops over everything.
pub fn reference(conv: &Conv, x: &[f64], weight: &[f64], n: usize) -> Vec<f64> {
    let [_, time, height, width] = conv.input;
    let [batch, out_time, out_height, out_width] = conv.output();
    let mut out = Vec::new();
    let at = |batch: usize, place: [usize; 3], c: usize| {
        let mut inside = [0; 3];
        for axis in 0..3 {
            inside[axis] = place[axis].checked_sub(conv.padding[axis][0])?;
        }
        let [t, h, w] = inside;
        let row = ((batch * time + t) * height + h) * width + w;
        (t < time && h < height && w < width).then(|| x[row * conv.channels + c])
    };
    for b in 0..batch {
        for (t, h) in (0..out_time).flat_map(|t| (0..out_height).map(move |h| (t, h))) {
            for (w, j) in (0..out_width).flat_map(|w| (0..n).map(move |j| (w, j))) {
                let mut sum = 0.0;
                for i in 0..conv.patch_len() {
                    let (tap, c) = (i / conv.channels, i % conv.channels);
                    let [_, kh, kw] = conv.kernel;
                    let tap = [tap / kw / kh, tap / kw % kh, tap % kw];
                    let place = [t, h, w];
                    let place = [0, 1, 2].map(|k| place[k] * conv.stride[k] + tap[k]);
                    sum += at(b, place, c).unwrap_or(0.0) * weight[j * conv.patch_len() + i];
                }
                out.push(sum);
            }
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
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
            Conv {
                kernel: [1, 3, 3],
                stride: [1, 2, 2],
                padding: [[0; 2], [0, 1], [0, 1]],
                ..plain
            },
            Conv {
                kernel: [3, 1, 1],
                stride: [2, 1, 1],
                padding: [[0; 2]; 3],
                channels: 1,
                ..plain
            },
            Conv { kernel: [1, 2, 2], stride: [1, 2, 2], padding: [[0; 2]; 3], ..plain },
            Conv {
                kernel: [1; 3],
                padding: [[0; 2]; 3],
                channels: 37,
                input: [2, 1, 5, 7],
                ..plain
            },
            Conv {
                kernel: [2, 3, 1],
                stride: [3, 2, 1],
                padding: [[1, 2], [2, 0], [0, 0]],
                ..plain
            },
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
                let weight = Packed::from_weight_exact(exec.cpu, (&w).into(), n, case.patch_len());
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
                let weight =
                    Packed::from_weight(exec.cpu, Elements::Bf16(&halves), n, case.patch_len());
                let mut out = vec![f32::NAN; want.len()];
                conv(&exec, &case, &x, &weight, n, &mut out);
                assert!(want == out, "{case:?}");
                let got = gradients(&exec, Elements::Bf16(&halves), true);
                assert!(exact == got, "{case:?}");
            }
        }
    }

    /// More outputs than one piece: nothing is lost between pieces, forward or back. The sum over all
    /// outputs of a kernel of ones counts how often each input is used.
    #[test]
    fn many_pieces() {
        let case = Conv {
            input: [1, 3, 128, 128],
            channels: 8,
            kernel: [3; 3],
            stride: [1; 3],
            padding: [[2, 0], [1, 1], [1, 1]],
        };
        assert!(case.output_rows() > 3 * case.rows_at_once());
        let exec = Exec::new(2);
        let w = vec![1.0; case.patch_len()];
        let weight = Packed::from_weight_exact(exec.cpu, (&w).into(), 1, w.len());
        let x = vec![1.0; case.input_rows() * 8];
        let mut out = vec![f32::NAN; case.output_rows()];
        conv(&exec, &case, &x, &weight, 1, &mut out);
        let count = |n: usize, i: usize| if i == 0 || i == n - 1 { 2 } else { 3 };
        for (row, y) in out.iter().enumerate() {
            let (t, h, w) = (row / 128 / 128, row / 128 % 128, row % 128);
            let want = 8 * (t + 1) * count(128, h) * count(128, w);
            assert_eq!(*y, want as f32, "output {row}");
        }
        let mut gx = vec![f32::NAN; x.len()];
        conv_grad_x(&exec, &case, &vec![1.0; out.len()], (&w).into(), 1, &mut gx);
        for (i, g) in gx.iter().enumerate() {
            let row = i / 8;
            let (t, h, w) = (row / 128 / 128, row / 128 % 128, row % 128);
            assert_eq!(*g, ((3 - t) * count(128, h) * count(128, w)) as f32, "input {row}");
        }
        let mut gw = vec![f32::NAN; w.len()];
        conv_grad_weight(&exec, &case, &x, &vec![1.0; out.len()], 1, false, &mut gw);
        for (i, g) in gw.iter().enumerate() {
            let tap = i / 8;
            let side = |tap: usize| if tap == 1 { 128 } else { 127 };
            let want = (1 + tap / 9) * side(tap / 3 % 3) * side(tap % 3);
            assert_eq!(*g, want as f32, "tap {tap}");
        }
    }
}
