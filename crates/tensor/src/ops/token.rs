//! Where tokens come in and go out: embedding, rotation by position, the loss of a prediction.

use crate::tensor::Data;
use crate::{Tensor, Weight};
use kernels::cross_entropy::{cross_entropy, cross_entropy_backward};
use kernels::cuda;
use kernels::embedding::{embedding, embedding_backward};
use kernels::rope::{Direction, Rope, rope};
use kernels::rope_table::{self, Angles, Pairing};
use std::sync::Arc;

/// The result of [`Tensor::cross_entropy`].
#[derive(Debug)]
pub struct CrossEntropy {
    /// Sum of the weighted losses in nats, a scalar on the tape.
    pub total: Tensor,
    /// Loss of each row in nats, not weighted.
    pub losses: Vec<f32>,
    /// The id with the highest logit of each row, the lowest among equals.
    pub best: Vec<u32>,
}

impl Tensor {
    /// Rows `ids` of this table, `[vocab, hidden]`: `[ids, hidden]`.
    ///
    /// # Panics
    ///
    /// If an id is out of bounds.
    #[track_caller]
    pub fn embed(&self, ids: &Arc<[u32]>) -> Self {
        let hidden = self.last_dim();
        let out: Data = match self.device().cuda() {
            Some(gpu) => {
                assert!(ids.iter().all(|&id| (id as usize) < self.rows()), "ids of {self:?}");
                cuda::embedding::embedding(gpu, self.gpu(), hidden, &gpu.upload(ids)).into()
            }
            None => {
                let mut out = self.output(ids.len() * hidden);
                embedding(self.device().exec(), self.elements(), hidden, ids, &mut out);
                out.into()
            }
        };
        let (ids_kept, shape) = (Arc::clone(ids), self.shape().to_vec());
        Self::from_op(&[ids.len(), hidden], out, &[self], move |grad| {
            let table: Data = match grad.device().cuda() {
                Some(gpu) => {
                    let vocab = shape[0];
                    cuda::embedding::embedding_backward(gpu, &ids_kept, vocab, hidden, grad.gpu())
                        .into()
                }
                None => {
                    let mut table = vec![0.0; shape.iter().product()];
                    embedding_backward(&ids_kept, hidden, grad.data(), &mut table);
                    table.into()
                }
            };
            vec![Some(Self::from_data(grad.device(), &shape, table))]
        })
    }

    /// Turns the first features of each head of `[sequences * tokens, heads * head_dim]` by the angles
    /// of its token; every sequence has the tokens of the table. On the CPU, also for tensors of the
    /// GPU.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn rotate(&self, angles: &Arc<Angles>, pairing: Pairing, head_dim: usize) -> Self {
        assert!(self.last_dim().is_multiple_of(head_dim), "heads of {head_dim} in {self:?}");
        let heads = [self.last_dim() / head_dim, head_dim];
        let turned = move |x: &Self, angles: &Angles, direction| {
            let mut out = x.output(x.len());
            out.copy_from_slice(&x.host_data());
            rope_table::rotate(x.device().exec(), angles, pairing, heads, &mut out, direction);
            out
        };
        let out = turned(self, angles, Direction::Forward);
        let angles = Arc::clone(angles);
        Self::from_op(self.shape(), out, &[self], move |grad| {
            vec![Some(grad.like(turned(&grad, &angles, Direction::Inverse)))]
        })
    }

    /// Rotates the first part of each head of `[tokens, heads * head_dim]` by its position.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn rope(&self, shape: Rope, positions: &Arc<[usize]>) -> Self {
        if shape.rotary_dim == 0 {
            return self.clone();
        }
        let turned = move |x: &Self, positions: &[usize], direction| -> Data {
            if let Some(gpu) = x.device().cuda() {
                let positions: Vec<u32> = positions.iter().map(|&p| p as u32).collect();
                let positions = gpu.upload(&positions);
                return cuda::rope::rope(gpu, &shape, &positions, x.gpu(), direction).into();
            }
            let mut out = x.output(x.len());
            out.copy_from_slice(x.data());
            rope(x.device().exec(), &shape, positions, &mut out, direction);
            out.into()
        };
        let out = turned(self, positions, Direction::Forward);
        let positions = Arc::clone(positions);
        Self::from_op(self.shape(), out, &[self], move |grad| {
            vec![Some(grad.like(turned(&grad, &positions, Direction::Inverse)))]
        })
    }

    /// Cross entropy of predicting `targets` from these hidden states, `[rows, hidden]`, through
    /// the head `[vocab, hidden]`; row `i` counts `weights[i]` times. Always f32.
    ///
    /// # Panics
    ///
    /// If shapes do not fit or a target is out of bounds.
    #[track_caller]
    pub fn cross_entropy(&self, head: &Weight, targets: &[u32], weights: &[f32]) -> CrossEntropy {
        assert_eq!(weights.len(), targets.len(), "one weight per target");
        assert_eq!(targets.len(), self.rows(), "one target per row");
        if self.device().cuda().is_some() {
            return self.cross_entropy_gpu(head, targets, weights);
        }
        let (rows, dim) = (self.rows(), self.last_dim());
        let table = head.tensor();
        let exec = self.device().exec();
        let (mut losses, mut lse) = (vec![0.0; rows], vec![0.0; rows]);
        let mut best = vec![0; rows];
        let (x, w) = (self.data(), table.data());
        cross_entropy(exec, x, w, dim, targets, &mut losses, &mut lse, &mut best);
        let total: f64 = losses.iter().zip(weights).map(|(l, w)| f64::from(l * w)).sum();
        let (hidden, head) = (self.detach(), table.detach());
        let (targets, weights) = (targets.to_vec(), weights.to_vec());
        let total = Self::from_op(&[1], vec![total as f32], &[self, table], move |grad| {
            let factor = grad.data()[0];
            let weights: Vec<f32> = weights.iter().map(|w| w * factor).collect();
            let mut grad_hidden = grad.output(hidden.len());
            let mut grad_head = vec![0.0; head.len()];
            cross_entropy_backward(
                grad.device().exec(),
                hidden.data(),
                head.data(),
                dim,
                &targets,
                &lse,
                &weights,
                &mut grad_hidden,
                &mut grad_head,
            );
            let new = |x: &Self, data| Some(Self::new(x.device(), x.shape(), data));
            vec![new(&hidden, grad_hidden), new(&head, grad_head)]
        });
        CrossEntropy { total, losses, best }
    }
    /// [`cross_entropy`](Self::cross_entropy) on the GPU, where all logits fit at once.
    fn cross_entropy_gpu(&self, head: &Weight, targets: &[u32], weights: &[f32]) -> CrossEntropy {
        let logits = self.linear(head);
        let Some(gpu) = self.device().cuda() else { panic!("{self:?} is not on the GPU") };
        let vocab = logits.last_dim();
        assert!(targets.iter().all(|&id| (id as usize) < vocab), "targets of {vocab} tokens");
        let (targets, weights) = (gpu.upload(targets), gpu.upload(weights));
        let said = cuda::cross_entropy::cross_entropy(gpu, logits.gpu(), vocab, &targets);
        let total = cuda::cross_entropy::weighted_sum(gpu, &said.losses, &weights);
        let (losses, best) = (said.losses.to_vec(), said.best.to_vec());
        let (kept, lse) = (logits.detach(), said.lse);
        let total = Self::from_op(&[1], total, &[&logits], move |grad| {
            let Some(gpu) = grad.device().cuda() else { panic!("a gradient of the GPU") };
            let (logits, factor) = (kept.gpu(), grad.gpu());
            let out = cuda::cross_entropy::cross_entropy_backward(
                gpu, logits, vocab, &targets, &lse, &weights, factor,
            );
            vec![Some(kept.like(out))]
        });
        CrossEntropy { total, losses, best }
    }
}
