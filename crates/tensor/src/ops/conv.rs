//! Convolutions, channels last. On the CPU, also for tensors of the GPU.

use crate::{Tensor, Weight};
use kernels::conv::depthwise::{depthwise, depthwise_backward};
use kernels::conv::{Conv, conv, conv_grad_weight, conv_grad_x};

/// How a kernel moves over time, height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Positions under it.
    pub kernel: [usize; 3],
    /// Steps from one output to the next.
    pub stride: [usize; 3],
    /// Zeros before and after each axis.
    pub padding: [[usize; 2]; 3],
}

impl Window {
    #[track_caller]
    fn over(&self, x: &Tensor) -> Conv {
        let [batch, time, height, width, channels] = *x.shape() else {
            panic!("{x:?} is not [batch, time, height, width, channels]")
        };
        let &Self { kernel, stride, padding } = self;
        Conv { input: [batch, time, height, width], channels, kernel, stride, padding }
    }
}

impl Tensor {
    /// Convolves `[batch, time, height, width, channels]` with a weight `[n, taps * channels]`, taps in
    /// the order of time, height, width: `[batch, time', height', width', n]`.
    ///
    /// # Panics
    ///
    /// If the shapes do not fit.
    #[track_caller]
    pub fn conv(&self, weight: &Weight, window: &Window) -> Self {
        let shape = window.over(self);
        let n = weight.n();
        assert_eq!(weight.k(), shape.patch_len(), "{weight:?} over {self:?} with {window:?}");
        let [batch, time, height, width] = shape.output();
        let out_shape = [batch, time, height, width, n];
        let mut out = self.output(out_shape.iter().product());
        let exec = self.device().exec();
        conv(exec, &shape, &self.host_data(), &weight.packed()[0], n, &mut out);
        if !self.tracked() && !weight.tracked() {
            return Self::from_data(self.device(), &out_shape, out);
        }
        let master = weight.tensor();
        let (x, compute) = (self.detach(), weight.compute());
        let (x_tracked, w_shape) = (self.tracked(), master.shape().to_vec());
        let w_tracked = master.tracked();
        Self::from_op(&out_shape, out, &[self, master], move |grad| {
            let (exec, g) = (grad.device().exec(), grad.host_data());
            let grad_x = x_tracked.then(|| {
                let mut out = grad.output(x.len());
                let weight = compute.to_device(&compute.device().host());
                conv_grad_x(exec, &shape, &g, weight.elements(), n, &mut out);
                x.like(out)
            });
            let grad_w = w_tracked.then(|| {
                let mut out = grad.output(compute.len());
                conv_grad_weight(exec, &shape, &x.host_data(), &g, n, compute.is_bf16(), &mut out);
                Self::from_data(grad.device(), &w_shape, out)
            });
            vec![grad_x, grad_w]
        })
    }

    /// Convolves each channel of `[batch, time, height, width, channels]` with its own column of
    /// `weight: [taps, channels]`.
    ///
    /// # Panics
    ///
    /// If the shapes do not fit.
    #[track_caller]
    pub fn depthwise_conv(&self, weight: &Self, window: &Window) -> Self {
        let shape = window.over(self);
        let [batch, time, height, width] = shape.output();
        let out_shape = [batch, time, height, width, shape.channels];
        let mut out = self.output(out_shape.iter().product());
        let exec = self.device().exec();
        depthwise(exec, &shape, &self.host_data(), &weight.host_data(), &mut out);
        let (x, w) = (self.detach(), weight.detach());
        Self::from_op(&out_shape, out, &[self, weight], move |grad| {
            let (mut gx, mut gw) = (grad.output(x.len()), grad.output(w.len()));
            let exec = grad.device().exec();
            let inputs = [&*x.host_data(), &*w.host_data()];
            depthwise_backward(exec, &shape, inputs, &grad.host_data(), &mut gx, &mut gw);
            vec![Some(x.like(gx)), Some(w.like(gw))]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Window;
    use crate::{Device, Gradients, Precision, Rng, Tensor, Weight};

    /// A kernel of one position is a product; its gradients are those of the product.
    #[test]
    fn a_kernel_of_one_is_a_product() {
        let device = Device::cpu(2);
        let mut rng = Rng(1);
        let mut normal = |shape: &[usize]| Tensor::normal(&device, shape, 1.0, &mut rng);
        let x = normal(&[1, 2, 3, 2, 4]).into_parameter();
        let w = Weight::new(normal(&[5, 4]).into_parameter(), Precision::F32);
        let total = Weight::new(normal(&[1, 60]), Precision::F32);
        let window = Window { kernel: [1; 3], stride: [1; 3], padding: [[0; 2]; 3] };
        let run = |y: Tensor| {
            let mut gradients = Gradients::default();
            let sum = y.reshape(&[1, 60]).linear(&total).reshape(&[1]);
            sum.backward(&mut gradients);
            let of = |x: &Tensor| gradients.get(x).unwrap().to_vec();
            (y.to_vec(), of(&x), of(w.tensor()))
        };
        let (want, got) = (run(x.linear(&w)), run(x.conv(&w, &window)));
        for (want, got) in [(want.0, got.0), (want.1, got.1), (want.2, got.2)] {
            assert_eq!(want.len(), got.len());
            want.iter().zip(&got).for_each(|(w, g)| assert!((w - g).abs() < 1e-5, "{w} {g}"));
        }
    }

    #[test]
    fn one_filter_per_channel() {
        let device = Device::cpu(1);
        let x = Tensor::new(&device, &[1, 1, 1, 3, 2], vec![1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
        let (x, w) = (
            x.into_parameter(),
            Tensor::new(&device, &[2, 2], vec![1.0, 0.0, 0.0, 1.0]).into_parameter(),
        );
        let window = Window { kernel: [1, 1, 2], stride: [1; 3], padding: [[0; 2]; 3] };
        let y = x.depthwise_conv(&w, &window);
        assert_eq!((y.shape(), y.data()), (&[1, 1, 1, 2, 2][..], &[1.0, 20.0, 2.0, 30.0][..]));
        let mut gradients = Gradients::default();
        y.reshape(&[4, 1]).take_rows(&[1].into()).reshape(&[1]).backward(&mut gradients);
        assert_eq!(gradients.get(&w).unwrap().data(), [0.0, 10.0, 0.0, 20.0]);
        assert_eq!(gradients.get(&x).unwrap().data(), [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    }
}
