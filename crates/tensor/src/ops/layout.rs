//! Axes in another order, parts of them, repetitions. On the CPU, also for tensors of the GPU.

use crate::Tensor;
use kernels::layout::{View, gather, scatter_add};
use std::ops::Range;

impl Tensor {
    /// Axis `axes[i]` of this as axis `i`.
    ///
    /// # Panics
    ///
    /// If `axes` are not all axes, each once.
    #[track_caller]
    pub fn permute(&self, axes: &[usize]) -> Self {
        let view = View::of(self.shape()).permute(axes);
        let shape = view.dims().to_vec();
        self.shown(view, &shape)
    }

    /// Positions `range` of `axis`.
    ///
    /// # Panics
    ///
    /// If they are out of bounds.
    #[track_caller]
    pub fn narrow(&self, axis: usize, range: Range<usize>) -> Self {
        if range == (0..self.shape()[axis]) {
            return self.clone();
        }
        let view = View::of(self.shape()).narrow(axis, range.start, range.len());
        let shape = view.dims().to_vec();
        self.shown(view, &shape)
    }

    /// Each position of `axis` `times` times in a row.
    ///
    /// # Panics
    ///
    /// If there is no such axis.
    #[track_caller]
    pub fn repeat(&self, axis: usize, times: usize) -> Self {
        let mut shape = self.shape().to_vec();
        shape[axis] *= times;
        self.shown(View::of(self.shape()).repeat(axis, times), &shape)
    }

    /// The sums of `count` neighbours along `axis`: what [`repeat`](Self::repeat) is the derivative
    /// of.
    ///
    /// # Panics
    ///
    /// If the axis is not a whole number of such groups.
    #[track_caller]
    pub fn sum_groups(&self, axis: usize, count: usize) -> Self {
        let mut shape = self.shape().to_vec();
        assert!(shape[axis].is_multiple_of(count), "groups of {count} along axis {axis}: {self:?}");
        shape[axis] /= count;
        let view = View::of(&shape).repeat(axis, count);
        let mut out = self.output(shape.iter().product());
        out.fill(0.0);
        scatter_add(&view, &self.host_data(), &mut out);
        let old = self.shape().to_vec();
        Self::from_op(&shape, out, &[self], move |grad| vec![Some(grad.gathered(&view, &old))])
    }

    /// `parts` one after the other along `axis`.
    ///
    /// # Panics
    ///
    /// If there are no parts or their other axes differ.
    #[track_caller]
    pub fn cat(parts: &[&Self], axis: usize) -> Self {
        let first = parts[0];
        if parts.len() == 1 {
            return first.clone();
        }
        let mut shape = first.shape().to_vec();
        shape[axis] = parts.iter().map(|part| part.shape()[axis]).sum();
        let mut ranges = Vec::new();
        let mut end = 0;
        for part in parts {
            let same =
                (0..shape.len()).all(|i| i == axis || part.shape().get(i) == Some(&shape[i]));
            assert!(same && part.shape().len() == shape.len(), "{part:?} beside {first:?}");
            ranges.push(end..end + part.shape()[axis]);
            end += part.shape()[axis];
        }
        let mut out = first.output(shape.iter().product());
        out.fill(0.0);
        for (part, range) in parts.iter().zip(&ranges) {
            let view = View::of(&shape).narrow(axis, range.start, range.len());
            scatter_add(&view, &part.host_data(), &mut out);
        }
        Self::from_op(&shape, out, parts, move |grad| {
            ranges.into_iter().map(|range| Some(grad.narrow(axis, range))).collect()
        })
    }

    /// What `view` shows, under a shape of as many elements.
    #[track_caller]
    fn shown(&self, view: View, shape: &[usize]) -> Self {
        let result = self.gathered(&view, shape);
        let old = self.shape().to_vec();
        result.with_node(&[self], move |grad| {
            let mut out = grad.output(old.iter().product());
            out.fill(0.0);
            scatter_add(&view, &grad.host_data(), &mut out);
            vec![Some(Self::from_data(grad.device(), &old, out))]
        })
    }

    #[track_caller]
    fn gathered(&self, view: &View, shape: &[usize]) -> Self {
        let mut out = self.output(view.len());
        gather(self.device().exec(), view, &self.host_data(), &mut out);
        Self::from_data(self.device(), shape, out)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Device, Gradients, Tensor};

    fn counted(shape: &[usize]) -> Tensor {
        let device = Device::cpu(2);
        let data = (0..shape.iter().product()).map(|i: usize| i as f32).collect();
        Tensor::new(&device, shape, data)
    }

    /// The gradient of `<f(x), weights>` for weights 1, 2, 3, …
    fn gradient(x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Vec<f32> {
        let x = x.clone().into_parameter();
        let y = f(&x);
        let weights = (1..=y.len()).map(|i| i as f32).collect();
        let weights = Tensor::new(x.device(), &[1, y.len()], weights);
        let weights = crate::Weight::new(weights, crate::Precision::F32);
        let mut gradients = Gradients::default();
        y.reshape(&[1, y.len()]).linear(&weights).reshape(&[1]).backward(&mut gradients);
        gradients.get(&x).unwrap().data().to_vec()
    }

    #[test]
    fn axes_change_places() {
        let x = counted(&[2, 3]);
        let f = |x: &Tensor| x.permute(&[1, 0]);
        assert_eq!((f(&x).shape(), f(&x).data()), (&[3, 2][..], &[0., 3., 1., 4., 2., 5.][..]));
        assert_eq!(gradient(&x, f), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    }

    #[test]
    fn parts_and_their_concatenation() {
        let x = counted(&[2, 3]);
        let f = |x: &Tensor| x.narrow(1, 1..3);
        assert_eq!(f(&x).data(), [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(gradient(&x, f), [0.0, 1.0, 2.0, 0.0, 3.0, 4.0]);
        let f = |x: &Tensor| Tensor::cat(&[&x.narrow(1, 2..3), x, &x.narrow(1, 0..0)], 1);
        assert_eq!(f(&x).data(), [2.0, 0.0, 1.0, 2.0, 5.0, 3.0, 4.0, 5.0]);
        assert_eq!(gradient(&x, f), [2.0, 3.0, 5.0, 6.0, 7.0, 13.0]);
    }

    #[test]
    fn repetitions_and_sums() {
        let x = counted(&[2, 2]);
        let f = |x: &Tensor| x.repeat(0, 2);
        assert_eq!(
            (f(&x).shape(), f(&x).data()),
            (&[4, 2][..], &[0., 1., 0., 1., 2., 3., 2., 3.][..])
        );
        assert_eq!(gradient(&x, f), [4.0, 6.0, 12.0, 14.0]);
        let f = |x: &Tensor| x.sum_groups(1, 2);
        assert_eq!((f(&x).shape(), f(&x).data()), (&[2, 1][..], &[1.0, 5.0][..]));
        assert_eq!(gradient(&x, f), [1.0, 1.0, 2.0, 2.0]);
    }
}
