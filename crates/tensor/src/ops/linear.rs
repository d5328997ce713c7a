//! Products with weights: one matrix for all rows, or one per expert for runs of rows.

use crate::profile::Class;
use crate::tensor::Data;
use crate::{Groups, Tensor, Weight};
use kernels::activation::{Activation, add_bias};
use kernels::cuda::{self, DeviceVec};
use kernels::matmul::{self, Elements, Mat, MatMut, Packed, matmul_packed};
use std::ops::Range;
use std::sync::Arc;

impl Tensor {
    /// `self W^T`: from `[…, k]` to `[…, n]`, for a weight `[n, k]`.
    ///
    /// # Panics
    ///
    /// If the shapes do not fit.
    #[track_caller]
    pub fn linear(&self, weight: &Weight) -> Self {
        let _timed = self.device().timed(Class::OtherProducts);
        let rows = self.rows();
        let mut shape = self.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = weight.n();
        }
        let runs = match self.device().cuda() {
            Some(gpu) => Runs::One(gpu.upload(&[0, rows as u32])),
            None => Runs::Ranges(vec![0..rows]),
        };
        grouped(self, weight, runs).reshape(&shape)
    }

    /// `f(self W^T + bias)`, or without an activation the sum: the bits of
    /// [`linear`](Self::linear), [`add_row`](Self::add_row) and [`activation`](Self::activation), in one
    /// pass over the product where no gradient is wanted.
    ///
    /// # Panics
    ///
    /// If the shapes do not fit.
    #[track_caller]
    pub fn linear_with_bias(&self, weight: &Weight, bias: &Self, kind: Option<Activation>) -> Self {
        let tracked = self.tracked() || weight.tracked() || bias.tracked();
        if tracked || self.device().cuda().is_some() {
            let sum = self.linear(weight).add_row(bias);
            return match kind {
                Some(kind) => sum.activation(kind),
                None => sum,
            };
        }
        let n = weight.n();
        assert_eq!(
            (self.last_dim(), bias.shape()),
            (weight.k(), &[n][..]),
            "{self:?} times {weight:?}"
        );
        let mut out = {
            let _timed = self.device().timed(Class::OtherProducts);
            product(self, weight, &[0..self.rows()])
        };
        add_bias(self.device().exec(), kind, bias.data(), &mut out);
        let mut shape = self.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = n;
        }
        Self::from_data(self.device(), &shape, out)
    }

    /// `self W_e^T` for the run of rows of each expert `e`: from `[rows, k]` to `[rows, n]`, for
    /// weights `[experts, n, k]`.
    ///
    /// # Panics
    ///
    /// If the shapes do not fit.
    #[track_caller]
    pub fn grouped_linear(&self, weight: &Weight, groups: &Arc<Groups>) -> Self {
        let _timed = self.device().timed(Class::ExpertProducts);
        let runs = match self.device().cuda() {
            Some(_) => Runs::Groups(Arc::clone(groups)),
            None => Runs::Ranges(groups.ranges(weight.num_experts())),
        };
        grouped(self, weight, runs)
    }
}

/// The rows of each matrix, as the device wants them.
enum Runs {
    /// Where the CPU computes.
    Ranges(Vec<Range<usize>>),
    /// Offsets of one run, where the GPU computes.
    One(DeviceVec<u32>),
    /// Those of experts, where the GPU computes.
    Groups(Arc<Groups>),
}

impl Runs {
    fn ranges(&self) -> &[Range<usize>] {
        match self {
            Self::Ranges(ranges) => ranges,
            _ => panic!("rows on the GPU where the CPU computes"),
        }
    }

    fn offsets(&self) -> &DeviceVec<u32> {
        match self {
            Self::One(offsets) => offsets,
            Self::Groups(groups) => groups.offsets(),
            Self::Ranges(_) => panic!("rows on the CPU where the GPU computes"),
        }
    }
}

#[track_caller]
fn grouped(x: &Tensor, weight: &Weight, runs: Runs) -> Tensor {
    let (n, k) = (weight.n(), weight.k());
    assert_eq!(x.last_dim(), k, "{x:?} times {weight:?}");
    let rows = x.rows();
    let out: Data = match x.device().cuda() {
        Some(gpu) => {
            let w = weight.tensor().gpu();
            cuda::matmul::grouped_linear(gpu, x.gpu(), w, runs.offsets(), [rows, n, k]).into()
        }
        None => product(x, weight, runs.ranges()).into(),
    };
    if !x.tracked() && !weight.tracked() {
        return Tensor::from_data(x.device(), &[rows, n], out);
    }
    let master = weight.tensor();
    let (kept, compute) = (x.detach(), weight.compute());
    let (x_tracked, w_tracked) = (x.tracked(), master.tracked());
    let (x_shape, w_shape) = (x.shape().to_vec(), master.shape().to_vec());
    Tensor::from_op(&[rows, n], out, &[x, master], move |grad| {
        let size = [rows, n, k];
        let grad_x = x_tracked.then(|| {
            let out: Data = match grad.device().cuda() {
                Some(gpu) => {
                    let (grad, w) = (grad.gpu(), compute.gpu());
                    cuda::matmul::grouped_linear_grad_x(gpu, grad, w, runs.offsets(), size).into()
                }
                None => product_grad_x(&grad, &compute, runs.ranges(), [n, k]).into(),
            };
            Tensor::from_data(grad.device(), &x_shape, out)
        });
        let grad_w = w_tracked.then(|| {
            let out: Data = match grad.device().cuda() {
                Some(gpu) => {
                    let (grad, x) = (grad.gpu(), kept.gpu());
                    cuda::matmul::grouped_linear_grad_w(gpu, grad, x, runs.offsets(), size).into()
                }
                None => {
                    let in_bf16 = matches!(compute.elements(), Elements::Bf16(_));
                    product_grad_w(&grad, &kept, runs.ranges(), [n, k], in_bf16).into()
                }
            };
            Tensor::from_data(grad.device(), &w_shape, out)
        });
        vec![grad_x, grad_w]
    })
}

fn product(x: &Tensor, weight: &Weight, runs: &[Range<usize>]) -> Vec<f32> {
    let (n, k) = (weight.n(), weight.k());
    let mut out = x.output(x.rows() * n);
    let a = Mat::row_major(x.data(), x.rows(), k);
    let c = MatMut::row_major(&mut out, x.rows(), n);
    matmul::grouped(x.device().exec(), a, weight.packed(), runs, c);
    out
}

fn product_grad_x(
    grad: &Tensor,
    weight: &Tensor,
    runs: &[Range<usize>],
    [n, k]: [usize; 2],
) -> Vec<f32> {
    let (exec, mut out) = (grad.device().exec(), grad.output(grad.rows() * k));
    for (e, run) in runs.iter().enumerate() {
        let g = Mat::row_major(&grad.data()[run.start * n..run.end * n], run.len(), n);
        let c = MatMut::row_major(&mut out[run.start * k..run.end * k], run.len(), k);
        match weight.elements().slice(e * n * k..(e + 1) * n * k) {
            _ if run.is_empty() => (),
            Elements::F32(w) => matmul::matmul(exec, g, Mat::row_major(w, n, k), c, false),
            w => matmul_packed(exec, g, &Packed::from_rows(exec.cpu, w, n, k), c, false),
        }
    }
    out
}

fn product_grad_w(
    grad: &Tensor,
    x: &Tensor,
    runs: &[Range<usize>],
    [n, k]: [usize; 2],
    in_bf16: bool,
) -> Vec<f32> {
    let mut out = grad.output(runs.len() * n * k);
    for (e, run) in runs.iter().enumerate() {
        let g = Mat::row_major(&grad.data()[run.start * n..run.end * n], run.len(), n);
        let x = Mat::row_major(&x.data()[run.start * k..run.end * k], run.len(), k);
        let c = MatMut::row_major(&mut out[e * n * k..(e + 1) * n * k], n, k);
        matmul::transposed(grad.device().exec(), g, x, c, in_bf16);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Activation, Runs, grouped};
    use crate::{Device, Gradients, Precision, Rng, Tensor, Weight};

    /// In one pass or on the tape: the same bits.
    #[test]
    fn biases_and_activations_in_one_pass() {
        let device = Device::cpu(2);
        let mut rng = Rng(6);
        let mut normal = |shape: &[usize]| Tensor::normal(&device, shape, 1.0, &mut rng);
        let (x, w, bias) = (normal(&[3, 37, 20]), normal(&[33, 20]), normal(&[33]));
        let weight = Weight::new(w, Precision::F32);
        for kind in [None, Some(Activation::Gelu), Some(Activation::Relu)] {
            let whole = x.linear_with_bias(&weight, &bias, kind);
            let taped = x.clone().into_parameter().linear_with_bias(&weight, &bias, kind);
            assert!(taped.tracked() && !whole.tracked());
            assert_eq!(whole.shape(), [3, 37, 33]);
            assert_eq!((taped.shape(), taped.data()), (whole.shape(), whole.data()), "{kind:?}");
        }
    }

    /// `sum(x W^T * g)` is bilinear, so its gradients are exact products.
    #[test]
    fn gradients_of_runs() {
        let device = Device::cpu(2);
        let mut rng = Rng(1);
        let mut normal = |shape: &[usize]| Tensor::normal(&device, shape, 1.0, &mut rng);
        let x = normal(&[5, 3]).into_parameter();
        let w = Weight::new(normal(&[2, 4, 3]).into_parameter(), Precision::F32);
        let y = grouped(&x, &w, Runs::Ranges(vec![0..2, 2..5]));
        let ones = Tensor::full(&device, &[20, 1], 1.0);
        let total = Weight::new(ones.reshape(&[1, 20]), Precision::F32);
        let mut gradients = Gradients::default();
        y.reshape(&[1, 20]).linear(&total).reshape(&[1]).backward(&mut gradients);
        let (gx, gw) = (gradients.get(&x).unwrap(), gradients.get(w.tensor()).unwrap());
        for row in 0..5 {
            let expert = usize::from(row >= 2);
            for i in 0..3 {
                let want: f32 = (0..4).map(|j| w.tensor().data()[(expert * 4 + j) * 3 + i]).sum();
                assert!((gx.data()[row * 3 + i] - want).abs() < 1e-5);
            }
        }
        for (expert, rows) in [(0, 0..2), (1, 2..5)] {
            for (j, i) in (0..4).flat_map(|j| (0..3).map(move |i| (j, i))) {
                let want: f32 = rows.clone().map(|row| x.data()[row * 3 + i]).sum();
                assert!((gw.data()[(expert * 4 + j) * 3 + i] - want).abs() < 1e-5);
            }
        }
    }

    /// And what is multiplied with it, forward and backward, on levels with a unit for bf16; there both
    /// sides of the weight's gradient, too.
    #[test]
    fn bf16_rounds_the_weight() {
        for level in Device::levels() {
            let device = Device::cpu_with_level(1, level).unwrap();
            let number = || Tensor::new(&device, &[1, 1], vec![1.001]);
            let x = number().into_parameter();
            let w = Weight::new(number().into_parameter(), Precision::Bf16);
            let y = x.linear(&w);
            let expected = if device.exec().cpu.bf16.is_some() { 1.0 } else { 1.001 };
            assert_eq!(y.data(), [expected], "{level}");
            let mut gradients = Gradients::default();
            y.linear(&Weight::new(number(), Precision::F32)).reshape(&[1]).backward(&mut gradients);
            assert_eq!(gradients.get(&x).unwrap().data(), [expected], "{level}");
            let grad_w = gradients.get(w.tensor()).unwrap().data()[0];
            let expected = if device.exec().cpu.bf16.is_some() { 1.0 } else { 1.001 * 1.001 };
            assert!((grad_w - expected).abs() < 1e-6, "{grad_w} on {level}");
        }
    }

    #[test]
    fn a_changed_weight_is_packed_again_and_a_frozen_one_still_multiplies() {
        let device = Device::cpu(1);
        let x = Tensor::full(&device, &[1, 2], 1.0);
        let mut w = Weight::new(Tensor::full(&device, &[1, 2], 1.0), Precision::F32);
        assert_eq!(x.linear(&w).data(), [2.0]);
        w.tensor_mut().data_mut()[0] = 5.0;
        assert_eq!(x.linear(&w).data(), [6.0]);
        w.freeze();
        assert_eq!(x.linear(&w).data(), [6.0]);
    }
}
