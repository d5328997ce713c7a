//! Products whose depth is positions, one side shifted against the other: gradients of the weights of
//! convolutions.
//!
//! ```text
//! out[i][j] = sum_p g[p][i] x[p + shift][j]
//! ```
//!
//! Each side is rounded and laid out once for all shifts: g with positions along its rows, as A; x in
//! pairs of positions, as B, once from the even positions and once from the odd ones, so that each
//! shift begins with a pair.

use super::{
    Line, Pairs, Rounded, STEP, TILE_ROWS, To, WIDTH, block, lines_of, pack, pieces, round_rows,
    steps,
};
use crate::Exec;
use crate::cpu::Bf16Unit;
use crate::matmul::Mat;
use crate::matmul::lines::with_lines;

/// Vectors in groups of as many positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vectors<'a> {
    /// `[groups, positions, width]`.
    pub(crate) data: &'a [f32],
    pub(crate) positions: usize,
    pub(crate) width: usize,
}

impl<'a> Vectors<'a> {
    fn group_len(&self) -> usize {
        (self.positions * self.width).max(1)
    }

    fn groups(&self) -> usize {
        self.data.len() / self.group_len()
    }

    fn group(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.group_len()..(i + 1) * self.group_len()]
    }
}

/// A term of a sum: groups of both sides, and how many positions later x begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    pub(crate) g: usize,
    pub(crate) x: usize,
    pub(crate) shift: usize,
}

/// Adds sums of terms over the first `depth` positions of groups of g: `out` is
/// `[sums, g.width, x.width]`; `terms` gives those of each sum. Subnormal numbers count as zero, as the units have it.
///
/// # Panics
///
/// If a term reads positions that x does not have.
pub(crate) fn correlate<I: Iterator<Item = Term>>(
    exec: &Exec,
    unit: Bf16Unit,
    [g, x]: [Vectors<'_>; 2],
    depth: usize,
    terms: impl Fn(usize) -> I + Sync,
    out: &mut [f32],
) {
    assert!(depth <= g.positions, "{depth} of {} positions", g.positions);
    let steps = steps(depth);
    let (rows, panels) = (g.width, x.width.div_ceil(WIDTH));
    // Beyond the last position there are zeros as far as a step reaches.
    let pairs = (x.positions + STEP).div_ceil(2) + 1;
    let (per_g, per_panel) = (lines_of(rows, steps), 2 * pairs);
    let per_x = 2 * panels * per_panel;
    with_lines(&exec.buffers, g.groups() * per_g, |a: &mut [Line]| {
        exec.threads.for_each_chunk(a, per_g.max(1), |group, lines| {
            let whole = Mat::new(g.group(group), depth, rows, rows, 1).t();
            let tiles = pieces(0..rows, TILE_ROWS, TILE_ROWS);
            for (rows, lines) in tiles.zip(lines.chunks_exact_mut((TILE_ROWS * steps).max(1))) {
                round_rows(unit, whole.row_range(rows.start, rows.len()), lines);
            }
        });
        let a = &*a;
        with_lines(&exec.buffers, x.groups() * per_x, |b: &mut [Line]| {
            exec.threads.for_each_chunk(b, per_x.max(1), |group, lines| {
                for (i, lines) in lines.chunks_exact_mut(per_panel).enumerate() {
                    pack_panel(unit, x, group, i / panels, i % panels, lines);
                }
            });
            let b = &*b;
            exec.threads.for_each_chunk(out, (rows * x.width).max(1), |sum, out| {
                for Term { g: left, x: right, shift } in terms(sum) {
                    assert!(shift + depth <= x.positions, "{depth} positions from {shift} on");
                    let lines = &b[right * per_x..(right + 1) * per_x];
                    let lines = &lines[shift % 2 * panels * per_panel..];
                    let lines = &lines[shift / 2 * 2..];
                    let b = Pairs { lines, k: depth, n: x.width, per_panel };
                    let a = Rounded { lines: &a[left * per_g..(left + 1) * per_g], rows };
                    let to = To { c: out.as_mut_ptr(), stride: x.width, accumulate: true };
                    // SAFETY: `out` has `rows` rows of `x.width` elements and is borrowed mutably.
                    unsafe { block(&exec.buffers, unit, a, b, 0..panels, to, &[]) };
                }
            });
        });
    });
}

/// Columns of a panel as pairs of positions, from position 0 or 1 on, zeros where there is nothing.
fn pack_panel(
    unit: Bf16Unit,
    x: Vectors<'_>,
    group: usize,
    odd: usize,
    panel: usize,
    lines: &mut [Line],
) {
    let x = Mat::row_major(x.group(group), x.positions, x.width);
    for (step, lines) in lines.chunks_mut(STEP).enumerate() {
        let row = step * STEP + odd;
        for half in 0..2 {
            let col = panel * WIDTH + half * WIDTH / 2;
            let to = lines.iter_mut().skip(half).step_by(2);
            if row < x.rows() && col < x.cols() {
                to.zip(pack::pairs(unit, x, row, col)).for_each(|(to, pairs)| *to = pairs);
            } else {
                to.for_each(|to| *to = Line([0; STEP]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::half::round_to_bf16;
    use crate::testing::{assert_close, execs, random};
    use proptest::prelude::*;

    /// The definition, added to `out: [sums, g.width, x.width]`, in f64 on rounded inputs.
    fn reference(
        [g, x]: [Vectors<'_>; 2],
        depth: usize,
        terms: impl Fn(usize) -> Vec<Term>,
        out: &mut [f64],
    ) {
        let at = |v: Vectors<'_>, group: usize, position: usize, i: usize| {
            f64::from(round_to_bf16(v.group(group)[position * v.width + i]))
        };
        for (sum, out) in out.chunks_exact_mut(g.width * x.width).enumerate() {
            for term in terms(sum) {
                for (i, j) in (0..g.width).flat_map(|i| (0..x.width).map(move |j| (i, j))) {
                    let products =
                        (0..depth).map(|p| at(g, term.g, p, i) * at(x, term.x, p + term.shift, j));
                    out[i * x.width + j] += products.sum::<f64>();
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn every_unit_matches_the_reference(
            g_width in 1usize..40,
            x_width in 1usize..70,
            depth in 1usize..80,
            [beyond, most_shift] in [0usize..4, 0usize..6],
            terms in prop::collection::vec(
                prop::collection::vec((0usize..3, 0usize..2, 0usize..6), 0..5), 1..4),
            seed: u64,
        ) {
            let mut rng = Rng(seed);
            let (of_g, of_x) = (depth + beyond, depth + most_shift);
            let (g, x) = (random(&mut rng, 3 * of_g * g_width), random(&mut rng, 2 * of_x * x_width));
            let g = Vectors { data: &g, positions: of_g, width: g_width };
            let x = Vectors { data: &x, positions: of_x, width: x_width };
            let of = |sum: usize| -> Vec<Term> {
                let term = |&(g, x, shift): &(usize, usize, usize)| {
                    Term { g, x, shift: shift.min(most_shift) }
                };
                terms[sum].iter().map(term).collect()
            };
            // What is there is added to.
            let before = random(&mut rng, terms.len() * g_width * x_width);
            let mut want: Vec<f64> = before.iter().map(|&x| f64::from(x)).collect();
            reference([g, x], depth, of, &mut want);
            let want: Vec<f32> = want.into_iter().map(|x| x as f32).collect();
            for exec in execs() {
                let Some(unit) = exec.cpu.bf16 else { continue };
                let mut out = before.clone();
                correlate(&exec, unit, [g, x], depth, |sum| of(sum).into_iter(), &mut out);
                assert_close(&format!("{exec:?}"), &want, &out, 1e-5);
            }
        }
    }
}
