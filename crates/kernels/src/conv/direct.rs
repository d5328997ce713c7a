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
use crate::cpu::Bf16Unit;
use crate::matmul::bf16::correlate::{Term, Vectors, correlate};
use crate::matmul::{Elements, Mat, MatMut, Packed, Scratch, serial, serial_part};
use crate::{Arithmetic, Exec};
use std::borrow::Cow;
use std::ops::Range;

/// Parts of a sum over frames, whatever the number of threads.
const PARTS: usize = 4;
/// Elements of a frame that are copied to have zeros around them, at most: larger frames are left to
/// patches, which are made a piece at a time. One frame decides, so that it gives the same bits alone and
/// beside others. Of several frames as many are copied at once as are together no larger than this, or
/// what one output needs: frames under the taps of time.
pub(super) const MAX_COPIED: usize = 16 << 20;
/// Tasks for each thread.
const TASKS_PER_THREAD: usize = 4;

/// Frames that are to have zeros around them.
#[derive(Clone, Copy)]
struct Frames<'a> {
    /// `[frames, height, width, channels]`.
    data: &'a [f32],
    height: usize,
    width: usize,
    channels: usize,
    /// Zeros before and after, in height and width.
    padding: [[usize; 2]; 2],
}

impl<'a> Frames<'a> {
    /// Elements of each that are copied.
    fn copied(&self) -> usize {
        let [above, left] = self.padding;
        let (high, wide) = (self.height + above[0] + above[1], self.width + left[0] + left[1]);
        if self.padding == [[0; 2]; 2] { 0 } else { high * wide * self.channels }
    }

    /// Those of `range`, with their zeros.
    fn padded(&self, exec: &Exec, range: Range<usize>) -> Padded<'a> {
        let frame = self.height * self.width * self.channels;
        let data = &self.data[range.start * frame..range.end * frame];
        let shape = [range.len(), self.height, self.width, self.channels];
        Padded::new(exec, data, shape, self.padding)
    }
}

/// Outputs `0..count` in groups, each with the frames that its outputs use: as many as `fits`, which is told
/// how many of both, allows, or one. Both begin and end later from group to group.
fn groups<I: Iterator<Item = usize>>(
    count: usize,
    uses: impl Fn(usize) -> I,
    fits: impl Fn(usize, usize) -> bool,
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        if first == count {
            return None;
        }
        let (mut targets, mut sources) = (first..first, 0..0);
        while targets.end < count {
            let grown =
                uses(targets.end).fold(sources.clone(), |all, source| match all.is_empty() {
                    true => source..source + 1,
                    false => all.start.min(source)..all.end.max(source + 1),
                });
            if !targets.is_empty() && !fits(targets.len() + 1, grown.len()) {
                break;
            }
            (targets.end, sources) = (targets.end + 1, grown);
        }
        first = targets.end;
        Some((targets, sources))
    })
}

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

/// x as [`forward`] and [`grad_weight`] read it.
fn input<'a>(conv: &Conv, x: &'a [f32]) -> Frames<'a> {
    let ([_, _, height, width], [_, above, left]) = (conv.input, conv.padding);
    Frames { data: x, height, width, channels: conv.channels, padding: [above, left] }
}

/// Whether the forward pass can go here; `limit` is [`MAX_COPIED`] but in tests. What rounds only at the
/// end does not, as sums would be rounded after each row of taps.
pub(super) fn forward_fits(exec: &Exec, conv: &Conv, weight: &Packed, limit: usize) -> bool {
    let line = conv.kernel[2] * conv.channels;
    exec.cpu.arithmetic == Arithmetic::F32
        && conv.stride[1..] == [1, 1]
        && input(conv, &[]).copied() <= limit
        && weight.part().is_some_and(|part| line.is_multiple_of(part))
}

/// See [`conv`](super::conv).
pub(super) fn forward(
    exec: &Exec,
    conv: &Conv,
    x: &[f32],
    weight: &Packed,
    limit: usize,
    out: &mut [f32],
) {
    let time = conv.input[1];
    let [_, frames, high, wide] = conv.output();
    let uses = |target: usize| {
        let (batch, t) = (target / frames, target % frames);
        conv.frames_under(t).map(move |(a, source)| (a, batch * time + source))
    };
    sums(exec, conv, input(conv, x), weight, [high, wide], uses, limit, out);
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
        Elements::F32(w) => Packed::from_weight(exec, (&turn(w, conv, n)).into(), conv.channels, k),
        Elements::Bf16(w) => {
            let turned = turn(w, conv, n);
            let pack = match (conv.kernel[2] * n).is_multiple_of(Packed::BF16_PART) {
                true => Packed::from_weight,
                false => Packed::from_weight_exact,
            };
            pack(exec, Elements::Bf16(&turned), conv.channels, k)
        }
    }
}

/// The gradient of the output as [`grad_x`] reads it.
fn turned_around<'a>(conv: &Conv, grad: &'a [f32], n: usize) -> Frames<'a> {
    let ([_, _, height, width], [_, _, high, wide]) = (conv.input, conv.output());
    // Of an input the last tap is under the first output that uses it.
    let around = |axis: usize, input: usize, output: usize| {
        let before = conv.kernel[axis] - 1 - conv.padding[axis][0];
        [before, (input + conv.kernel[axis] - 1).saturating_sub(before + output)]
    };
    let padding = [around(1, height, high), around(2, width, wide)];
    Frames { data: grad, height: high, width: wide, channels: n, padding }
}

/// Whether the gradient of x can go here; `limit` as for [`forward_fits`].
pub(super) fn grad_x_fits(conv: &Conv, n: usize, limit: usize) -> bool {
    let reaches = |axis: usize| conv.padding[axis][0] < conv.kernel[axis];
    n > 0
        && conv.stride[1..] == [1, 1]
        && reaches(1)
        && reaches(2)
        && turned_around(conv, &[], n).copied() <= limit
}

/// See [`conv_grad_x`](super::conv_grad_x); `weight` as [`turned`] makes it.
pub(super) fn grad_x(
    exec: &Exec,
    conv: &Conv,
    grad: &[f32],
    weight: &Packed,
    n: usize,
    limit: usize,
    grad_x: &mut [f32],
) {
    let ([_, time, height, width], frames) = (conv.input, conv.output()[1]);
    let uses = |target: usize| {
        let (batch, t) = (target / time, target % time);
        conv.frames_over(t).map(move |(a, source)| (a, batch * frames + source))
    };
    let grad = turned_around(conv, grad, n);
    sums(exec, conv, grad, weight, [height, width], uses, limit, grad_x);
}

/// Each frame of `out: [.., height, width, n]` as the sum over what `uses` names: taps of time, and the
/// frames of `x` under them. No more than `limit` elements of x are copied at once, or what a frame uses.
#[expect(clippy::too_many_arguments, reason = "what forward and backward have in common")]
fn sums<I: Iterator<Item = (usize, usize)>>(
    exec: &Exec,
    conv: &Conv,
    x: Frames<'_>,
    weight: &Packed,
    size: [usize; 2],
    uses: impl Fn(usize) -> I + Sync,
    limit: usize,
    out: &mut [f32],
) {
    let frame = size.iter().product::<usize>() * weight.n();
    if frame == 0 || out.is_empty() {
        return;
    }
    let sources = |target: usize| uses(target).map(|(_, source)| source);
    let fits = |_, sources: usize| sources * x.copied() <= limit;
    for (targets, sources) in groups(out.len() / frame, sources, fits) {
        let x = x.padded(exec, sources.clone());
        let uses = |target: usize| {
            let first = sources.start;
            uses(targets.start + target).map(move |(a, source)| (a, source - first))
        };
        let out = &mut out[targets.start * frame..targets.end * frame];
        group_sums(exec, conv, &x, weight, size, uses, out);
        x.give_back(exec);
    }
}

/// [`sums`] of frames that are copied at once.
fn group_sums<I: Iterator<Item = (usize, usize)>>(
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

/// The gradient of the output as [`grad_weight`] reads it: lines as long as those of x, so that both go
/// on in step; what x has beyond counts 0.
fn in_step<'a>(conv: &Conv, grad: &'a [f32], n: usize) -> Frames<'a> {
    let [_, _, height, width] = conv.output();
    let beyond = conv.kernel[2] - 1;
    Frames { data: grad, height, width, channels: n, padding: [[0; 2], [0, beyond]] }
}

/// Whether the gradient of the weight can go here; `limit` as for [`forward_fits`].
pub(super) fn grad_weight_fits(conv: &Conv, n: usize, limit: usize) -> bool {
    let copied = [input(conv, &[]).copied(), in_step(conv, &[], n).copied()];
    conv.stride[1..] == [1, 1] && copied.iter().all(|copied| *copied <= limit)
}

/// See [`conv_grad_weight`](super::conv_grad_weight); with a unit both sides are rounded to bf16.
/// Frames are copied in groups, and each sum goes on from group to group, so that their size changes
/// no bit.
#[expect(
    clippy::too_many_arguments,
    reason = "those of the public function, the unit and the limit"
)]
pub(super) fn grad_weight(
    exec: &Exec,
    conv: &Conv,
    x: &[f32],
    grad: &[f32],
    n: usize,
    unit: Option<Bf16Unit>,
    limit: usize,
    grad_weight: &mut [f32],
) {
    let time = conv.input[1];
    let [batch, frames, high, wide] = conv.output();
    let [_, b_taps, c_taps] = conv.kernel;
    grad_weight.fill(0.0);
    if grad.is_empty() || x.is_empty() {
        return;
    }
    let (x, grad) = (input(conv, x), in_step(conv, grad, n));
    // A unit has each tap by itself, vectors a row of taps.
    let taps = if unit.is_some() { 1 } else { c_taps };
    let line = taps * conv.channels;
    let tasks = PARTS * conv.taps() / taps;
    let mut sums = exec.buffers.take(tasks * n * line);
    sums.fill(0.0);
    let sources = |target: usize| {
        conv.frames_under(target % frames).map(move |(_, source)| target / frames * time + source)
    };
    let fits = |targets: usize, sources: usize| {
        sources * x.copied() <= limit && targets * grad.copied() <= limit
    };
    for (targets, sources) in groups(batch * frames, sources, fits) {
        let x = x.padded(exec, sources.clone());
        let grad = grad.padded(exec, targets.clone());
        let outputs = x.outputs(high, wide);
        // Frames of both under time tap `a` in a part of all.
        let uses = |a: usize, part: usize| {
            let (targets, sources) = (targets.clone(), sources.clone());
            let own = targets.clone().filter(move |target| target % PARTS == part);
            own.filter_map(move |target| {
                let mut under = conv.frames_under(target % frames);
                let (_, source) = under.find(|(tap, _)| *tap == a)?;
                let source = target / frames * time + source;
                Some((target - targets.start, source - sources.start))
            })
        };
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
        x.give_back(exec);
        grad.give_back(exec);
    }
    for (task, sums) in sums.chunks_exact((n * line).max(1)).enumerate() {
        let first = task / PARTS * line;
        let rows = grad_weight.chunks_exact_mut(conv.patch_len());
        for (to, from) in rows.zip(sums.chunks_exact(line)) {
            to[first..first + line].iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
    }
    exec.buffers.give(sums);
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
