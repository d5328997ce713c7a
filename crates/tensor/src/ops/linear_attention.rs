//! Linear attention without order. On the CPU, also for tensors of the GPU.

use crate::Tensor;
use crate::profile::Class;
use kernels::attention::AttentionSpan;
use kernels::linear_attention::{LinearAttention, linear_attention, linear_attention_backward};
use std::sync::Arc;

impl Tensor {
    /// `sum_j (q . k_j) v_j` for each query `q`, a row of this, over the keys of its span: `self` is
    /// `[rows, heads * k_dim]`, `k` `[keys, heads * k_dim]`, `v` `[keys, heads * v_dim]`, the result
    /// `[rows, heads * v_dim]`. Together the spans are all rows, and all keys, in order.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn linear_attention(
        &self,
        k: &Self,
        v: &Self,
        shape: LinearAttention,
        spans: &Arc<[AttentionSpan]>,
    ) -> Self {
        let _timed = self.device().timed(Class::LightningAttention);
        let mut out = self.output(self.rows() * shape.heads * shape.v_dim);
        let [q, k_kept, v_kept] = [self, k, v].map(Self::detach);
        let exec = self.device().exec();
        let (q_data, k_data, v_data) = (q.host_data(), k_kept.host_data(), v_kept.host_data());
        linear_attention(exec, &shape, &q_data, &k_data, &v_data, spans, &mut out);
        drop((q_data, k_data, v_data));
        let spans = Arc::clone(spans);
        let width = shape.heads * shape.v_dim;
        Self::from_op(&[self.rows(), width], out, &[self, k, v], move |grad| {
            let mut grads = [&q, &k_kept, &v_kept].map(|x| grad.output(x.len()));
            let [gq, gk, gv] = &mut grads;
            let (q_data, k_data, v_data) = (q.host_data(), k_kept.host_data(), v_kept.host_data());
            linear_attention_backward(
                grad.device().exec(),
                &shape,
                [&q_data, &k_data, &v_data],
                &spans,
                &grad.host_data(),
                [gq, gk, gv],
            );
            [&q, &k_kept, &v_kept].into_iter().zip(grads).map(|(x, g)| Some(x.like(g))).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{AttentionSpan, Device, Gradients, LinearAttention, Tensor};

    /// One head of one feature: `o = q (k_1 v_1 + k_2 v_2)`.
    #[test]
    fn gradients_reach_all_operands() {
        let device = Device::cpu(2);
        let new =
            |data: &[f32]| Tensor::new(&device, &[data.len(), 1], data.to_vec()).into_parameter();
        let (q, k, v) = (new(&[2.0]), new(&[3.0, 5.0]), new(&[7.0, 11.0]));
        let shape = LinearAttention { heads: 1, k_dim: 1, v_dim: 1 };
        let o =
            q.linear_attention(&k, &v, shape, &[AttentionSpan { rows: 0..1, keys: 0..2 }].into());
        assert_eq!(o.data(), [2.0 * (21.0 + 55.0)]);
        let mut gradients = Gradients::default();
        o.reshape(&[1]).backward(&mut gradients);
        let of = |x: &Tensor| gradients.get(x).unwrap().to_vec();
        assert_eq!((of(&q), of(&k), of(&v)), (vec![76.0], vec![14.0, 22.0], vec![6.0, 10.0]));
    }
}
