//! Losses of pictures and of distributions. On the CPU, also for tensors of the GPU.

use crate::Tensor;

/// Bounds of the logarithm of a variance, in nats.
pub const LOG_VARIANCE: [f32; 2] = [-30.0, 20.0];

impl Tensor {
    /// Sum over all elements of the smooth absolute difference to `target`, which gets no gradient:
    /// `d^2 / (2 beta)` where `|d| < beta`, `|d| - beta / 2` elsewhere (Girshick 2015,
    /// arXiv:1504.08083, with a width). A tensor of one element.
    ///
    /// # Panics
    ///
    /// If the shapes differ or `beta` is not above 0.
    #[track_caller]
    pub fn smooth_l1(&self, target: &Self, beta: f32) -> Self {
        assert_eq!(self.shape(), target.shape(), "shapes of a difference");
        assert!(beta > 0.0, "a width of {beta}");
        let mut slopes = self.output(self.len());
        let mut sum = 0.0;
        for ((slope, x), y) in slopes.iter_mut().zip(&*self.host_data()).zip(&*target.host_data()) {
            let d = x - y;
            *slope = (d / beta).clamp(-1.0, 1.0);
            sum += f64::from(if d.abs() < beta { d * d / beta } else { 2.0 * d.abs() - beta });
        }
        let slopes = self.like(slopes);
        Self::from_op(&[1], vec![(sum / 2.0) as f32], &[self], move |grad| {
            vec![Some(slopes.scale(grad.host_data()[0]))]
        })
    }

    /// Sum over all elements of the divergence of a normal distribution with this mean and
    /// `log_variance` from the standard one, in nats: `(mean^2 + exp(lv) - 1 - lv) / 2`, the
    /// logarithm held within [`LOG_VARIANCE`]. A tensor of one element.
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    #[track_caller]
    pub fn gaussian_kl(&self, log_variance: &Self) -> Self {
        assert_eq!(self.shape(), log_variance.shape(), "shapes of mean and variance");
        let (mean, log_variance) = (self.detach(), log_variance.clone());
        let values = log_variance.detach();
        let pairs = mean
            .host_data()
            .iter()
            .zip(&*values.host_data())
            .map(|(m, l)| {
                let l = f64::from(bounded(*l));
                f64::from(m * m) + l.exp_m1() - l
            })
            .sum::<f64>();
        Self::from_op(&[1], vec![(pairs / 2.0) as f32], &[self, &log_variance], move |grad| {
            let grad = grad.host_data()[0];
            let slope = |&l: &f32| if is_bounded(l) { grad * l.exp_m1() / 2.0 } else { 0.0 };
            let slopes: Vec<f32> = values.host_data().iter().map(slope).collect();
            let of_variance = values.like(slopes);
            vec![Some(mean.scale(grad)), Some(of_variance)]
        })
    }

    /// What such a distribution gives for standard normal `noise`: `mean + exp(lv / 2) noise`, the
    /// logarithm held within -30 and 20.
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    #[track_caller]
    pub fn gaussian_sample(&self, log_variance: &Self, noise: &Self) -> Self {
        assert_eq!(self.shape(), log_variance.shape(), "shapes of mean and variance");
        assert_eq!(self.shape(), noise.shape(), "shapes of mean and noise");
        let values = log_variance.detach();
        let noises = values
            .host_data()
            .iter()
            .zip(&*noise.host_data())
            .map(|(&l, e)| (bounded(l) / 2.0).exp() * e)
            .collect::<Vec<f32>>();
        let sample = self.host_data().iter().zip(&noises).map(|(m, e)| m + e).collect::<Vec<f32>>();
        Self::from_op(self.shape(), sample, &[self, log_variance], move |grad| {
            let of_variance = values
                .host_data()
                .iter()
                .zip(&noises)
                .zip(&*grad.host_data())
                .map(|((&l, e), g)| if is_bounded(l) { e * g / 2.0 } else { 0.0 })
                .collect::<Vec<f32>>();
            let of_variance = values.like(of_variance);
            vec![Some(grad), Some(of_variance)]
        })
    }
}

fn bounded(log_variance: f32) -> f32 {
    let [low, high] = LOG_VARIANCE;
    log_variance.clamp(low, high)
}

fn is_bounded(log_variance: f32) -> bool {
    let [low, high] = LOG_VARIANCE;
    (low..=high).contains(&log_variance)
}

#[cfg(test)]
mod tests {
    use crate::{Device, Gradients, Rng, Tensor};

    fn normal(seed: u64) -> Tensor {
        Tensor::normal(&Device::cpu(2), &[3, 5], 1.5, &mut Rng(seed))
    }

    /// The gradients of a loss of two tensors are its differences.
    fn check(of: impl Fn(&Tensor, &Tensor) -> Tensor, [a, b]: [Tensor; 2], both: bool) {
        let (a, b) = (a.into_parameter(), b.into_parameter());
        let mut gradients = Gradients::default();
        let loss = of(&a, &b);
        // Twice the loss: what comes down to it is not 1.
        loss.scale(2.0).backward(&mut gradients);
        for (i, x) in [&a, &b].into_iter().enumerate().take(if both { 2 } else { 1 }) {
            let got = gradients.get(x).unwrap().to_vec();
            for (k, got) in got.iter().enumerate() {
                let at = |step: f32| {
                    let mut data = x.to_vec();
                    data[k] += step;
                    let moved = Tensor::new(x.device(), x.shape(), data);
                    let loss = if i == 0 { of(&moved, &b) } else { of(&a, &moved) };
                    f64::from(loss.data()[0])
                };
                let want = (at(1e-2) - at(-1e-2)) / 1e-2;
                assert!((want - f64::from(*got)).abs() < 2e-2 * (1.0 + want.abs()), "{want} {got}");
            }
        }
    }

    #[test]
    fn gradients_are_differences() {
        check(|x, y| x.smooth_l1(&y.detach(), 0.5), [normal(1), normal(2)], false);
        check(|m, l| m.gaussian_kl(l), [normal(3), normal(4)], true);
        let (noise, zeros) = (normal(7), normal(8));
        let of = |m: &Tensor, l: &Tensor| m.gaussian_sample(l, &noise).smooth_l1(&zeros, 3.0);
        check(of, [normal(5), normal(6)], true);
    }

    #[test]
    fn known_values() {
        let device = Device::cpu(1);
        let of = |data: &[f32]| Tensor::new(&device, &[data.len()], data.to_vec());
        let (x, y) = (of(&[1.0, 0.0, 0.25]), of(&[0.0, 2.0, 0.0]));
        assert_eq!(x.smooth_l1(&y, 1.0).data(), [0.5 + 1.5 + 0.03125]);
        assert_eq!(of(&[0.0]).gaussian_kl(&of(&[0.0])).data(), [0.0]);
        assert_eq!(of(&[2.0]).gaussian_kl(&of(&[0.0])).data(), [2.0]);
        let sample = of(&[1.0]).gaussian_sample(&of(&[4.0f32.ln()]), &of(&[3.0]));
        assert!((sample.data()[0] - 7.0).abs() < 1e-5, "{sample:?}");
        // Beyond the bounds nothing is infinite, and no gradient comes.
        let (m, l) = (of(&[0.0]).into_parameter(), of(&[1e4]).into_parameter());
        let mut gradients = Gradients::default();
        m.gaussian_kl(&l).backward(&mut gradients);
        assert_eq!(gradients.get(&l).unwrap().data(), [0.0]);
        assert!(m.gaussian_kl(&l).data()[0].is_finite());
    }
}
