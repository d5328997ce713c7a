//! Rows scaled and shifted by tables, rows divided. On the CPU, also for tensors of the GPU.

use crate::Tensor;
use kernels::affine::{affine, affine_backward, divide, divide_backward};
use std::sync::Arc;

impl Tensor {
    /// Row `r` times row `groups[r]` of `scale`, plus row `groups[r]` of `shift`, both
    /// `[groups, last_dim]`; what is not given is 1 and 0.
    ///
    /// # Panics
    ///
    /// If shapes do not fit or a group is beyond a table.
    #[track_caller]
    pub fn affine_rows(
        &self,
        scale: Option<&Self>,
        shift: Option<&Self>,
        groups: &Arc<[usize]>,
    ) -> Self {
        assert_eq!(groups.len(), self.rows(), "a group for each row of {self:?}");
        for table in [scale, shift].into_iter().flatten() {
            assert_eq!(table.last_dim(), self.last_dim(), "a table for {self:?}");
        }
        let mut out = self.output(self.len());
        let (a, b) = (scale.map(Self::host_data), shift.map(Self::host_data));
        let exec = self.device().exec();
        affine(exec, &self.host_data(), a.as_deref(), b.as_deref(), groups, &mut out);
        let parents: Vec<&Self> = [Some(self), scale, shift].into_iter().flatten().collect();
        let result = Self::from_data(self.device(), self.shape(), out);
        if !parents.iter().any(|parent| parent.tracked()) {
            return result;
        }
        let (x, groups) = (self.detach(), Arc::clone(groups));
        let (scale, shift) = (scale.map(Self::detach), shift.map(Self::detach));
        result.with_node(&parents, move |grad| {
            let (exec, g) = (grad.device().exec(), grad.host_data());
            let table = |table: &Self, x: Option<&[f32]>| {
                let mut out = grad.output(table.len());
                out.fill(0.0);
                affine_backward(exec, x, &groups, &g, &mut out);
                Some(table.like(out))
            };
            let mut gradients = Vec::new();
            match &scale {
                None => gradients.push(Some(grad.clone())),
                Some(scale) => {
                    let mut gx = grad.output(x.len());
                    affine(exec, &g, Some(&scale.host_data()), None, &groups, &mut gx);
                    gradients.push(Some(x.like(gx)));
                    gradients.push(table(scale, Some(&x.host_data())));
                }
            }
            gradients.extend(shift.as_ref().map(|shift| table(shift, None)));
            gradients
        })
    }

    /// Each row divided by its element of `divisor` plus `eps`.
    ///
    /// # Panics
    ///
    /// If there is not a divisor for each row.
    #[track_caller]
    pub fn divide_rows(&self, divisor: &Self, eps: f32) -> Self {
        assert_eq!(divisor.len(), self.rows(), "a divisor for each row of {self:?}");
        let mut out = self.output(self.len());
        let exec = self.device().exec();
        divide(exec, &self.host_data(), &divisor.host_data(), eps, &mut out);
        let result = Self::from_data(self.device(), self.shape(), out);
        let (out, d) = (result.detach(), divisor.detach());
        result.with_node(&[self, divisor], move |grad| {
            let (mut gx, mut gd) = (grad.output(grad.len()), grad.output(d.len()));
            let exec = grad.device().exec();
            let (out, grad_data, divisor) = (out.host_data(), grad.host_data(), d.host_data());
            divide_backward(exec, &out, &divisor, eps, &grad_data, &mut gx, &mut gd);
            vec![Some(grad.like(gx)), Some(d.like(gd))]
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{Device, Gradients, Tensor};

    #[test]
    fn gradients_reach_all_operands() {
        let device = Device::cpu(2);
        let new = |shape: &[usize], data: &[f32]| {
            Tensor::new(&device, shape, data.to_vec()).into_parameter()
        };
        let (x, a, b) =
            (new(&[3, 1], &[1.0, 2.0, 3.0]), new(&[2, 1], &[5.0, 7.0]), new(&[2, 1], &[0.5, 0.25]));
        let y = x.affine_rows(Some(&a), Some(&b), &[1, 0, 1].into());
        assert_eq!(y.data(), [7.25, 10.5, 21.25]);
        let d = new(&[3], &[1.0, 3.0, 1.0]);
        let z = y.divide_rows(&d, 1.0);
        assert_eq!(z.data(), [3.625, 2.625, 10.625]);
        let mut gradients = Gradients::default();
        let parts = [0, 1, 2].map(|i| z.take_rows(&[i].into()));
        let sum = parts[0].add_scaled(1.0, &parts[1], 1.0).add_scaled(1.0, &parts[2], 1.0);
        sum.reshape(&[1]).backward(&mut gradients);
        let of = |x: &Tensor| gradients.get(x).unwrap().to_vec();
        assert_eq!(of(&x), [3.5, 1.25, 3.5]);
        assert_eq!(of(&a), [0.5, 2.0]);
        assert_eq!(of(&b), [0.25, 1.0]);
        assert_eq!(of(&d), [-3.625 / 2.0, -2.625 / 4.0, -10.625 / 2.0]);
    }
}
