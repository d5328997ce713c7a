//! The two kinds of attention, over whole sequences (with a tape) or over kept state.

use crate::Tensor;
use crate::profile::Class;
use kernels::attention::{self, Attention, AttentionSpan, Forward, Kv};
use kernels::cuda;
use kernels::lightning_attention::{
    Lightning, Piece, lightning_attention, lightning_attention_backward, whole_sequences,
};
use std::ops::Range;
use std::sync::Arc;

/// Which rows of a batch attend to which, for softmax attention.
#[derive(Clone, Debug)]
pub struct AttentionRows {
    /// Sequences; rows count within the queries, keys within the keys of the batch.
    pub spans: Vec<AttentionSpan>,
    /// Position of each query row in its sequence.
    pub positions: Vec<usize>,
    /// Factor of the scores of each query row.
    pub scales: Vec<f32>,
}

impl Tensor {
    /// Lightning attention of sequences that start here: `self` is `[tokens, heads * 3 * head_dim]`
    /// (per head q, k, v), the result `[tokens, heads * head_dim]`. Each of `spans` is a sequence;
    /// together they are all tokens.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn lightning(
        &self,
        shape: Lightning,
        slopes: &Arc<[f32]>,
        spans: &Arc<[Range<usize>]>,
    ) -> Self {
        let _timed = self.device().timed(Class::LightningAttention);
        let width = shape.heads * shape.head_dim;
        if let Some(gpu) = self.device().cuda() {
            let (slopes, spans) =
                (gpu.upload(slopes), cuda::lightning_attention::Spans::new(gpu, spans));
            let qkv = self.detach();
            let out = cuda::lightning_attention::lightning_attention(
                gpu,
                &shape,
                &slopes,
                qkv.gpu(),
                &spans,
            );
            return Self::from_op(&[self.rows(), width], out, &[self], move |grad| {
                let Some(gpu) = grad.device().cuda() else { panic!("a gradient of the GPU") };
                let out = cuda::lightning_attention::lightning_attention_backward(
                    gpu,
                    &shape,
                    &slopes,
                    qkv.gpu(),
                    &spans,
                    grad.gpu(),
                );
                vec![Some(qkv.like(out))]
            });
        }
        let mut out = self.output(self.rows() * width);
        let exec = self.device().exec();
        whole_sequences(exec, &shape, slopes, self.data(), spans, &mut out);
        let (qkv, slopes, spans) = (self.detach(), Arc::clone(slopes), Arc::clone(spans));
        Self::from_op(&[self.rows(), width], out, &[self], move |grad| {
            let mut out = grad.output(qkv.len());
            let exec = grad.device().exec();
            let (qkv, grad) = (&qkv, &grad);
            lightning_attention_backward(
                exec,
                &shape,
                &slopes,
                qkv.data(),
                &spans,
                grad.data(),
                &mut out,
            );
            vec![Some(Self::new(grad.device(), qkv.shape(), out))]
        })
    }

    /// [`lightning`](Self::lightning) of sequences that go on from what they keep, which is brought up
    /// to date; `pieces` say which rows are whose. No tape.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn lightning_from(
        &self,
        shape: Lightning,
        slopes: &[f32],
        pieces: &mut [Piece<'_>],
    ) -> Self {
        let _timed = self.device().timed(Class::LightningAttention);
        let width = shape.heads * shape.head_dim;
        let mut out = self.output(self.rows() * width);
        let exec = self.device().exec();
        lightning_attention(exec, &shape, slopes, self.data(), pieces, &mut out);
        Self::new(self.device(), &[self.rows(), width], out)
    }

    /// Softmax attention within a batch: `self` holds the queries `[rows, heads * head_dim]`, `k`
    /// and `v` are `[keys, kv_heads * head_dim]`; the result has the shape of the queries.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn attention(
        &self,
        k: &Self,
        v: &Self,
        shape: Attention,
        rows: &Arc<AttentionRows>,
    ) -> Self {
        let _timed = self.device().timed(Class::SoftmaxAttention);
        if self.device().cuda().is_some() {
            return self.attention_gpu(k, v, shape, rows);
        }
        let exec = self.device().exec();
        let mut out = self.output(self.len());
        // What only the backward pass needs.
        let tracked = [self, k, v].iter().any(|x| x.tracked());
        let mut lse = self.output(if tracked { self.rows() * shape.heads } else { 0 });
        let (q_width, kv_width) = (self.last_dim(), k.last_dim());
        for AttentionSpan { rows: r, keys } in &rows.spans {
            attention::attention(
                exec,
                &shape,
                &self.data()[r.start * q_width..r.end * q_width],
                &rows.positions[r.clone()],
                &rows.scales[r.clone()],
                Kv::Rows {
                    k: &k.data()[keys.start * kv_width..keys.end * kv_width],
                    v: &v.data()[keys.start * kv_width..keys.end * kv_width],
                },
                &mut out[r.start * q_width..r.end * q_width],
                tracked.then(|| &mut lse[r.start * shape.heads..r.end * shape.heads]),
            );
        }
        let rows = Arc::clone(rows);
        let result = Self::new(self.device(), self.shape(), out);
        if !tracked {
            return result;
        }
        let lse = Self::new(self.device(), &[self.rows(), shape.heads], lse);
        let kept = [self.detach(), k.detach(), v.detach(), result.detach(), lse];
        result.with_node(&[self, k, v], move |grad| {
            let [q, k, v, out, lse] = &kept;
            let mut grads = [q, k, v].map(|x| {
                let mut grad = x.output(x.len());
                grad.fill(0.0);
                grad
            });
            let forward = Forward {
                q: q.data(),
                positions: &rows.positions,
                scales: &rows.scales,
                k: k.data(),
                v: v.data(),
                out: out.data(),
                lse: lse.data(),
            };
            let [dq, dk, dv] = &mut grads;
            let exec = grad.device().exec();
            let grads_of = [&mut dq[..], &mut dk[..], &mut dv[..]];
            attention::attention_backward(
                exec,
                &shape,
                forward,
                &rows.spans,
                grad.data(),
                grads_of,
            );
            let new = |(x, data): (&Self, Vec<f32>)| Some(Self::new(x.device(), x.shape(), data));
            [q, k, v].into_iter().zip(grads).map(new).collect()
        })
    }

    fn attention_gpu(&self, k: &Self, v: &Self, shape: Attention, rows: &AttentionRows) -> Self {
        let Some(gpu) = self.device().cuda() else { panic!("{self:?} is not on the GPU") };
        let (mut first, mut end) = (Vec::new(), Vec::new());
        for AttentionSpan { rows: r, keys } in &rows.spans {
            for position in &rows.positions[r.clone()] {
                first.push(keys.start as u32);
                end.push((keys.start + position + 1) as u32);
            }
        }
        let rows = cuda::attention::Rows::new(gpu, &first, &end, &rows.scales);
        let [q, k_kept, v_kept] = [self, k, v].map(Self::detach);
        let (out, lse) =
            cuda::attention::attention(gpu, &shape, q.gpu(), k_kept.gpu(), v_kept.gpu(), &rows);
        let result = self.like(out);
        let out = result.detach();
        result.with_node(&[self, k, v], move |grad| {
            let Some(gpu) = grad.device().cuda() else { panic!("a gradient of the GPU") };
            let (k, v) = (k_kept, v_kept);
            let (gq, gk, gv) = cuda::attention::attention_backward(
                gpu,
                &shape,
                q.gpu(),
                k.gpu(),
                v.gpu(),
                &rows,
                out.gpu(),
                &lse,
                grad.gpu(),
            );
            vec![Some(q.like(gq)), Some(k.like(gk)), Some(v.like(gv))]
        })
    }

    /// Softmax attention over kept keys and values: query rows `rows` of the batch over the
    /// keys and values of its sequence. No tape.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn attention_over(&self, shape: Attention, rows: &AttentionRows, kv: &[Kv<'_>]) -> Self {
        let _timed = self.device().timed(Class::SoftmaxAttention);
        assert_eq!(kv.len(), rows.spans.len(), "keys and values of each sequence");
        let mut out = self.output(self.len());
        let width = self.last_dim();
        for (AttentionSpan { rows: r, .. }, &kv) in rows.spans.iter().zip(kv) {
            attention::attention(
                self.device().exec(),
                &shape,
                &self.data()[r.start * width..r.end * width],
                &rows.positions[r.clone()],
                &rows.scales[r.clone()],
                kv,
                &mut out[r.start * width..r.end * width],
                None,
            );
        }
        Self::new(self.device(), self.shape(), out)
    }
}
