//! Elements in another order: what permutations, slices and repetitions of axes have in common.
//!
//! ```text
//! out[i_0, …, i_n] = x[offset + i_0 strides_0 + … + i_n strides_n]
//! ```
//!
//! A stride of 0 repeats. The derivative of [`gather`] is [`scatter_add`], and the other way round.
//! Memory-bound.

use crate::Exec;

/// Elements per task, at least.
const PIECE: usize = 16 * 1024;

/// Which element of an array stands where in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Sizes of the axes of the view.
    dims: Vec<usize>,
    /// How far neighbours along each axis are apart in the array.
    strides: Vec<usize>,
    /// Where the view begins in the array.
    offset: usize,
}

impl View {
    /// All of a row-major array of `shape`, in its order.
    pub fn of(shape: &[usize]) -> Self {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        Self { dims: shape.to_vec(), strides, offset: 0 }
    }

    /// The same elements with axis `axes[i]` in place `i`.
    ///
    /// # Panics
    ///
    /// If `axes` are not all axes, each once.
    #[track_caller]
    pub fn permute(&self, axes: &[usize]) -> Self {
        let mut seen = vec![false; self.dims.len()];
        for &axis in axes {
            assert!(!std::mem::replace(&mut seen[axis], true), "axis {axis} twice in {axes:?}");
        }
        assert_eq!(axes.len(), self.dims.len(), "axes {axes:?} of {:?}", self.dims);
        let pick = |from: &[usize]| axes.iter().map(|&axis| from[axis]).collect();
        Self { dims: pick(&self.dims), strides: pick(&self.strides), offset: self.offset }
    }

    /// Positions `first..first + count` of `axis`.
    ///
    /// # Panics
    ///
    /// If they are out of bounds.
    #[track_caller]
    pub fn narrow(mut self, axis: usize, first: usize, count: usize) -> Self {
        let size = self.dims[axis];
        assert!(first + count <= size, "{first}..{} of {size}", first + count);
        self.offset += first * self.strides[axis];
        self.dims[axis] = count;
        self
    }

    /// Each position of `axis` `times` times in a row: a new axis of `times` after it.
    pub fn repeat(mut self, axis: usize, times: usize) -> Self {
        self.dims.insert(axis + 1, times);
        self.strides.insert(axis + 1, 0);
        self
    }

    /// Sizes of the axes.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[track_caller]
    fn check(&self, array: usize) {
        if self.is_empty() {
            return;
        }
        let steps = self.dims.iter().zip(&self.strides).map(|(n, stride)| (n - 1) * stride);
        let last = self.offset + steps.sum::<usize>();
        assert!(last < array, "a view up to element {last} of an array of {array}");
    }

    /// The same with as few axes as it takes: those that follow each other in memory are one.
    fn merged(&self) -> Self {
        let mut merged = Self { dims: Vec::new(), strides: Vec::new(), offset: self.offset };
        for (&n, &stride) in self.dims.iter().zip(&self.strides).filter(|(n, _)| **n != 1) {
            match (merged.dims.last_mut(), merged.strides.last_mut()) {
                (Some(last_n), Some(last_stride)) if *last_stride == n * stride => {
                    (*last_n, *last_stride) = (*last_n * n, stride);
                }
                _ => {
                    merged.dims.push(n);
                    merged.strides.push(stride);
                }
            }
        }
        if merged.dims.is_empty() {
            (merged.dims, merged.strides) = (vec![1], vec![1]);
        }
        merged
    }

    /// Where run `run` of the innermost axis begins.
    fn run_start(&self, mut run: usize) -> usize {
        let outer = self.dims.len() - 1;
        let mut at = self.offset;
        for axis in (0..outer).rev() {
            at += run % self.dims[axis] * self.strides[axis];
            run /= self.dims[axis];
        }
        at
    }
}

/// Writes the elements of `x` that `view` shows to `out`, in the view's order.
///
/// # Panics
///
/// If the view reaches beyond `x` or `out` is not as long as it.
#[track_caller]
pub fn gather(exec: &Exec, view: &View, x: &[f32], out: &mut [f32]) {
    view.check(x.len());
    assert_eq!(out.len(), view.len(), "elements of the view and of out");
    let view = view.merged();
    let (inner, stride) = (view.dims[view.dims.len() - 1], view.strides[view.dims.len() - 1]);
    if out.is_empty() {
        return;
    }
    let runs = PIECE.div_ceil(inner);
    exec.threads.for_each_chunk(out, runs * inner, |task, out| {
        for (i, out) in out.chunks_exact_mut(inner).enumerate() {
            let at = view.run_start(task * runs + i);
            match stride {
                0 => out.fill(x[at]),
                1 => out.copy_from_slice(&x[at..at + inner]),
                _ => out.iter_mut().zip(x[at..].iter().step_by(stride)).for_each(|(o, x)| *o = *x),
            }
        }
    });
}

/// Adds each element of `x` to that of `out` which `view` shows in its place, in the order of `x`.
///
/// # Panics
///
/// If the view reaches beyond `out` or `x` is not as long as it.
#[track_caller]
pub fn scatter_add(view: &View, x: &[f32], out: &mut [f32]) {
    view.check(out.len());
    assert_eq!(x.len(), view.len(), "elements of the view and of x");
    let view = view.merged();
    let (inner, stride) = (view.dims[view.dims.len() - 1], view.strides[view.dims.len() - 1]);
    if x.is_empty() {
        return;
    }
    for (run, x) in x.chunks_exact(inner).enumerate() {
        let at = view.run_start(run);
        match stride {
            0 => x.iter().for_each(|x| out[at] += x),
            _ => {
                out[at..].iter_mut().step_by(stride).zip(x).for_each(|(o, x)| *o += x);
            }
        }
    }
}

/// The definition: the index in the array of each element of the view, in its order.
pub fn reference(view: &View) -> Vec<usize> {
    let mut indices = vec![view.offset];
    for (&n, &stride) in view.dims.iter().zip(&view.strides) {
        indices = indices.iter().flat_map(|at| (0..n).map(move |i| at + i * stride)).collect();
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::testing::{execs, random};

    fn views() -> Vec<(usize, View)> {
        let shape = [2, 3, 1, 4, 5];
        let all = View::of(&shape);
        let mut views = vec![
            all.clone(),
            all.permute(&[0, 4, 1, 3, 2]),
            all.permute(&[4, 3, 2, 1, 0]),
            all.permute(&[0, 1, 3, 2, 4]),
            all.clone().narrow(3, 1, 2),
            all.clone().narrow(0, 1, 1).narrow(4, 2, 3),
            all.clone().narrow(1, 2, 0),
            all.clone().repeat(4, 3),
            all.clone().repeat(1, 2).repeat(0, 1),
            all.permute(&[3, 4, 0, 1, 2]).narrow(1, 1, 4).repeat(1, 2),
        ];
        views.push(View::of(&[]));
        views.push(View::of(&[PIECE * 2 + 3]));
        views.push(View::of(&[PIECE + 1, 2]).permute(&[1, 0]));
        views.into_iter().map(|view| (120.max(view.len()), view)).collect()
    }

    #[test]
    fn elements_in_the_order_of_the_view() {
        for (len, view) in views() {
            let x = random(&mut Rng(1), len);
            let want: Vec<f32> = reference(&view).into_iter().map(|i| x[i]).collect();
            for exec in execs() {
                let mut out = vec![f32::NAN; view.len()];
                gather(&exec, &view, &x, &mut out);
                assert_eq!(out, want, "{view:?}");
            }
        }
    }

    /// `<gather(x), y> = <x, scatter_add(y)>`, which is what makes it the derivative.
    #[test]
    fn scattering_is_the_derivative_of_gathering() {
        for (len, view) in views() {
            let y = random(&mut Rng(2), view.len());
            let mut want = vec![0.5f32; len];
            for (i, y) in reference(&view).into_iter().zip(&y) {
                want[i] += y;
            }
            let mut out = vec![0.5; len];
            scatter_add(&view, &y, &mut out);
            assert_eq!(out, want, "{view:?}");
        }
    }

    #[test]
    #[should_panic(expected = "a view up to element 5 of an array of 5")]
    fn beyond_the_end() {
        gather(&execs()[0], &View::of(&[6]), &[0.0; 5], &mut [0.0; 6]);
    }
}
