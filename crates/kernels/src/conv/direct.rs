//! Convolutions of stride 1 in height and width, without patches in memory.
//!
//! In a frame with its zeros around it, what is under a row of taps, `kernel width * channels` numbers,
//! lies in one piece, and the next output's piece begins `channels` later: patches are rows of a
//! matrix that overlap. A frame is a sum of products, one for each row of taps:
//!
//! ```text
//! y[t][h, w] = sum_{a, b} X[t + a][h + b, w .. w + kernel width] W[a, b]
//! ```
//!
//! All of a frame is one product: outputs beyond its right edge are computed too, and dropped. Frames
//! before the first are skipped. The gradient of x is a convolution of the same kind, that of the
//! weight a product with the transpose of the overlapping rows.

use super::Conv;
use crate::Exec;
use crate::cpu::Bf16Unit;
use crate::matmul::bf16::correlate::{Term, Vectors, correlate};
use crate::matmul::{Elements, Mat, MatMut, Packed, Scratch, serial, serial_part};
use std::borrow::Cow;
use std::ops::Range;

/// Parts of a sum over frames, whatever the number of threads.
const PARTS: usize = 4;
/// Elements of x that are copied to have zeros around them, at most: more is left to patches, which
/// are made a piece at a time.
const MAX_COPIED: usize = 16 << 20;
/// Tasks for each thread.
const TASKS_PER_THREAD: usize = 4;

/// Frames with zeros around them.
struct Padded<'a> {
    data: Cow<'a, [f32]>,
    high: usize,
    wide: usize,
    channels: usize,
}

impl<'a> Padded<'a> {
    /// `x: [frames, height, width, channels]` between so many zeros before and after each axis.
    fn new(
        exec: &Exec,
        x: &'a [f32],
        [frames, height, width, channels]: [usize; 4],
        [above, left]: [[usize; 2]; 2],
    ) -> Self {
        let (high, wide) = (height + above[0] + above[1], width + left[0] + left[1]);
        if [high, wide] == [height, width] {
            return Self { data: x.into(), high, wide, channels };
        }
        let mut data = exec.buffers.take(frames * high * wide * channels);
        let (line, padded) = (width * channels, wide * channels);
        if x.is_empty() {
            data.fill(0.0);
            return Self { data: data.into(), high, wide, channels };
        }
        exec.threads.for_each_chunk(&mut data, high * padded, |frame, out| {
            let frame = &x[frame * height * line..(frame + 1) * height * line];
            let (top, rest) = out.split_at_mut(above[0] * padded);
            let (lines, bottom) = rest.split_at_mut(height * padded);
            top.fill(0.0);
            bottom.fill(0.0);
            for (from, to) in frame.chunks_exact(line).zip(lines.chunks_exact_mut(padded)) {
                let (before, to) = to.split_at_mut(left[0] * channels);
                let (to, after) = to.split_at_mut(line);
                before.fill(0.0);
                to.copy_from_slice(from);
                after.fill(0.0);
            }
        });
        Self { data: data.into(), high, wide, channels }
    }

    /// The rows under taps `[b, 0..taps]` of `rows` lines of `width` outputs from line `first` on, with
    /// those beyond the right edge; `[outputs, taps * channels]`.
    fn under(&self, frame: usize, first: usize, [rows, width, taps]: [usize; 3]) -> Mat<'_> {
        let start = (frame * self.high + first) * self.wide * self.channels;
        let outputs = self.outputs(rows, width);
        Mat::new(&self.data[start..], outputs, taps * self.channels, self.channels, 1)
    }

    /// Outputs of so many lines of `width`, with those beyond the right edge of all but the last.
    fn outputs(&self, rows: usize, width: usize) -> usize {
        rows.saturating_sub(1) * self.wide + width
    }

    fn give_back(self, exec: &Exec) {
        if let Cow::Owned(data) = self.data {
            exec.buffers.give(data);
        }
    }
}

/// Whether the forward pass can go here.
pub(super) fn forward_fits(conv: &Conv, weight: &Packed) -> bool {
    let line = conv.kernel[2] * conv.channels;
    let copied =
        if conv.padding[1..] == [[0; 2]; 2] { 0 } else { conv.input_rows() * conv.channels };
    conv.stride[1..] == [1, 1]
        && copied <= MAX_COPIED
        && weight.part().is_some_and(|part| line.is_multiple_of(part))
}

/// See [`conv`](super::conv).
pub(super) fn forward(exec: &Exec, conv: &Conv, x: &[f32], weight: &Packed, out: &mut [f32]) {
    let [batch, time, height, width] = conv.input;
    let [_, frames, high, wide] = conv.output();
    let [_, above, left] = conv.padding;
    let shape = [batch * time, height, width, conv.channels];
    let x = Padded::new(exec, x, shape, [above, left]);
    let uses = |target: usize| {
        let (batch, t) = (target / frames, target % frames);
        conv.frames_under(t).map(move |(a, source)| (a, batch * time + source))
    };
    sums(exec, conv, &x, weight, [high, wide], uses, out);
    x.give_back(exec);
}

/// The weight of [`grad_x`]: `[channels, taps * n]`, packed, of `weight: [n, taps * channels]`.
pub(super) fn turned(exec: &Exec, conv: &Conv, weight: Elements<'_>, n: usize) -> Packed {
    /// Taps are turned around within their frame.
    fn turn<T: Copy>(weight: &[T], conv: &Conv, n: usize) -> Vec<T> {
        let (channels, area) = (conv.channels, conv.kernel[1] * conv.kernel[2]);
        let mut turned = Vec::with_capacity(weight.len());
        for c in 0..channels {
            for tap in 0..conv.taps() {
                let tap = tap / area * area + (area - 1 - tap % area);
                turned.extend((0..n).map(|j| weight[(j * conv.taps() + tap) * channels + c]));
            }
        }
        turned
    }
    let k = conv.taps() * n;
    match weight {
        Elements::F32(w) => {
            Packed::from_weight(exec.cpu, (&turn(w, conv, n)).into(), conv.channels, k)
        }
        Elements::Bf16(w) => {
            let turned = turn(w, conv, n);
            let pack = match (conv.kernel[2] * n).is_multiple_of(Packed::BF16_PART) {
                true => Packed::from_weight,
                false => Packed::from_weight_exact,
            };
            pack(exec.cpu, Elements::Bf16(&turned), conv.channels, k)
        }
    }
}

/// Whether the gradient of x can go here.
pub(super) fn grad_x_fits(conv: &Conv, n: usize) -> bool {
    let reaches = |axis: usize| conv.padding[axis][0] < conv.kernel[axis];
    n > 0 && conv.stride[1..] == [1, 1] && reaches(1) && reaches(2)
}

/// See [`conv_grad_x`](super::conv_grad_x); `weight` as [`turned`] makes it.
pub(super) fn grad_x(
    exec: &Exec,
    conv: &Conv,
    grad: &[f32],
    weight: &Packed,
    n: usize,
    grad_x: &mut [f32],
) {
    let [_, time, height, width] = conv.input;
    let [batch, frames, high, wide] = conv.output();
    // Of an input the last tap is under the first output that uses it.
    let around = |axis: usize, input: usize, output: usize| {
        let before = conv.kernel[axis] - 1 - conv.padding[axis][0];
        let padded = input + conv.kernel[axis] - 1;
        (before, padded.saturating_sub(before + output))
    };
    let (above, left) = (around(1, height, high), around(2, width, wide));
    let padding = [[above.0, above.1], [left.0, left.1]];
    let grad = Padded::new(exec, grad, [batch * frames, high, wide, n], padding);
    let uses = |target: usize| {
        let (batch, t) = (target / time, target % time);
        conv.frames_over(t).map(move |(a, source)| (a, batch * frames + source))
    };
    sums(exec, conv, &grad, weight, [height, width], uses, grad_x);
    grad.give_back(exec);
}

/// Each frame of `out: [.., height, width, n]` as the sum over what `uses` names: taps of time, and the
/// frames of `x` under them.
fn sums<I: Iterator<Item = (usize, usize)>>(
    exec: &Exec,
    conv: &Conv,
    x: &Padded<'_>,
    weight: &Packed,
    [height, width]: [usize; 2],
    uses: impl Fn(usize) -> I + Sync,
    out: &mut [f32],
) {
    let n = weight.n();
    let frame = height * width * n;
    if frame == 0 || out.is_empty() {
        return;
    }
    let [_, b_taps, c_taps] = conv.kernel;
    // Frames are cut into equal parts where there are too few for all threads.
    let wanted = (TASKS_PER_THREAD * exec.threads.num_threads()).div_ceil(out.len() / frame);
    let parts = (wanted..=height).find(|parts| height.is_multiple_of(*parts)).unwrap_or(height);
    let rows = height / parts;
    exec.threads.for_each_chunk(out, rows * width * n, |task, out| {
        let (target, first) = (task / parts, task % parts * rows);
        let outputs = x.outputs(rows, width);
        let in_place = x.wide == width;
        let mut buffer = exec.buffers.take(if in_place { 0 } else { outputs * n });
        let mut accumulate = false;
        for (a, source) in uses(target) {
            for b in 0..b_taps {
                let under = x.under(source, first + b, [rows, width, c_taps]);
                let sums = if in_place { &mut *out } else { &mut buffer[..] };
                let sums = MatMut::row_major(sums, outputs, n);
                let tap = (a * b_taps + b) * c_taps;
                serial_part(exec, under, weight, tap * x.channels, sums, accumulate);
                accumulate = true;
            }
        }
        if !accumulate {
            out.fill(0.0);
        } else if !in_place {
            let lines = buffer.chunks(x.wide * n);
            for (to, from) in out.chunks_exact_mut(width * n).zip(lines) {
                to.copy_from_slice(&from[..width * n]);
            }
        }
        exec.buffers.give(buffer);
    });
}

/// Whether the gradient of the weight can go here.
pub(super) fn grad_weight_fits(conv: &Conv) -> bool {
    conv.stride[1..] == [1, 1]
}

/// See [`conv_grad_weight`](super::conv_grad_weight); with a unit both sides are rounded to bf16.
pub(super) fn grad_weight(
    exec: &Exec,
    conv: &Conv,
    x: &[f32],
    grad: &[f32],
    n: usize,
    unit: Option<Bf16Unit>,
    grad_weight: &mut [f32],
) {
    let [_, time, height, width] = conv.input;
    let [batch, frames, high, wide] = conv.output();
    let [_, b_taps, c_taps] = conv.kernel;
    let [_, above, left] = conv.padding;
    grad_weight.fill(0.0);
    if grad.is_empty() || x.is_empty() {
        return;
    }
    let shape = [batch * time, height, width, conv.channels];
    let x = Padded::new(exec, x, shape, [above, left]);
    // Lines as long as those of x, so that both go on in step; what x has beyond counts 0.
    let after = [0, x.wide - wide];
    let grad = Padded::new(exec, grad, [batch * frames, high, wide, n], [[0; 2], after]);
    let outputs = x.outputs(high, wide);
    // Frames of both under time tap `a` in a part of all.
    let uses = |a: usize, part: usize| {
        (part..batch * frames).step_by(PARTS).filter_map(move |target| {
            let mut under = conv.frames_under(target % frames);
            let (_, source) = under.find(|(tap, _)| *tap == a)?;
            Some((target, target / frames * time + source))
        })
    };
    // A unit has each tap by itself, vectors a row of taps.
    let taps = if unit.is_some() { 1 } else { c_taps };
    let line = taps * conv.channels;
    let tasks = PARTS * conv.taps() / taps;
    let mut sums = exec.buffers.take(tasks * n * line);
    if let Some(unit) = unit {
        let g = Vectors { data: &grad.data, positions: high * grad.wide, width: n };
        let positions = x.high * x.wide;
        let right = Vectors { data: &x.data, positions, width: conv.channels };
        let terms = |task: usize| {
            let (part, tap) = (task % PARTS, task / PARTS);
            let shift = tap / c_taps % b_taps * x.wide + tap % c_taps;
            uses(tap / c_taps / b_taps, part).map(move |(g, x)| Term { g, x, shift })
        };
        correlate(exec, unit, [g, right], outputs, terms, &mut sums);
    } else {
        exec.threads.for_each_chunk(&mut sums, (n * line).max(1), |task, sums| {
            let (part, tap) = (task % PARTS, task / PARTS);
            sums.fill(0.0);
            let mut scratch = Scratch::default();
            for (target, source) in uses(tap / b_taps, part) {
                let under = x.under(source, tap % b_taps, [high, wide, c_taps]);
                let g = &grad.data[target * high * grad.wide * n..];
                let g = Mat::row_major(&g[..outputs * n], outputs, n);
                let sums = MatMut::row_major(sums, n, line);
                serial(exec.cpu, g.t(), under, sums, true, &mut scratch);
            }
        });
    }
    for (task, sums) in sums.chunks_exact((n * line).max(1)).enumerate() {
        let first = task / PARTS * line;
        let rows = grad_weight.chunks_exact_mut(conv.patch_len());
        for (to, from) in rows.zip(sums.chunks_exact(line)) {
            to[first..first + line].iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
    }
    exec.buffers.give(sums);
    x.give_back(exec);
    grad.give_back(exec);
}

impl Conv {
    /// Taps of time of output frame `t`, each with the frame of x under it.
    fn frames_under(&self, t: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (stride, before, time) = (self.stride[0], self.padding[0][0], self.input[1]);
        let taps: Range<usize> = 0..self.kernel[0];
        taps.filter_map(move |a| {
            let frame = (t * stride + a).checked_sub(before)?;
            (frame < time).then_some((a, frame))
        })
    }

    /// Taps of time that are over frame `t` of x, each with its output frame.
    fn frames_over(&self, t: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (stride, before, frames) = (self.stride[0], self.padding[0][0], self.output()[1]);
        let taps: Range<usize> = 0..self.kernel[0];
        taps.filter_map(move |a| {
            let place = (t + before).checked_sub(a)?;
            let frame = place / stride;
            (place.is_multiple_of(stride) && frame < frames).then_some((a, frame))
        })
    }
}
