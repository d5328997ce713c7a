//! Mixture of experts: routing weights, tokens to experts and back, balance loss.

use crate::tensor::Data;
use crate::{Device, Tensor};
use kernels::cuda::{self, DeviceVec};
use kernels::moe;
use std::ops::Range;
use std::sync::Arc;

/// Which experts each token of a batch goes to, and with which weights.
#[derive(Debug)]
pub struct Routing(OnDevice<moe::Routing, cuda::moe::Routing>);

/// The tokens of a batch sorted by expert.
#[derive(Debug)]
pub struct Groups(OnDevice<moe::Groups, cuda::moe::Groups>);

#[derive(Debug)]
enum OnDevice<C, G> {
    Cpu(C),
    Gpu(G),
}

const ELSEWHERE: &str = "tokens and their routing are on different devices";

impl Routing {
    /// The chosen experts, best first, `[tokens, k]`.
    pub fn experts(&self) -> Vec<u32> {
        match &self.0 {
            OnDevice::Cpu(routing) => routing.experts.clone(),
            OnDevice::Gpu(routing) => routing.experts.to_vec(),
        }
    }

    /// The tokens sorted by their experts, of which there are `num_experts`.
    ///
    /// # Panics
    ///
    /// If `device` is not that of the router's logits.
    #[track_caller]
    pub fn groups(&self, device: &Device, num_experts: usize) -> Arc<Groups> {
        Arc::new(Groups(match (&self.0, device.cuda()) {
            (OnDevice::Cpu(routing), None) => OnDevice::Cpu(moe::Groups::new(routing, num_experts)),
            (OnDevice::Gpu(routing), Some(gpu)) => {
                OnDevice::Gpu(cuda::moe::Groups::new(gpu, routing, num_experts))
            }
            _ => panic!("{ELSEWHERE}"),
        }))
    }
}

impl Groups {
    /// Number of pairs of a token and one of its experts.
    fn len(&self) -> usize {
        match &self.0 {
            OnDevice::Cpu(groups) => groups.len(),
            OnDevice::Gpu(groups) => groups.len(),
        }
    }

    /// The run of rows of each of `num_experts`, where the CPU computes.
    pub(crate) fn ranges(&self, num_experts: usize) -> Vec<Range<usize>> {
        match &self.0 {
            OnDevice::Cpu(groups) => (0..num_experts).map(|e| groups.range(e)).collect(),
            OnDevice::Gpu(_) => panic!("{ELSEWHERE}"),
        }
    }

    /// Where the run of each expert begins, and the end of the last, where the GPU computes.
    pub(crate) fn offsets(&self) -> &DeviceVec<u32> {
        match &self.0 {
            OnDevice::Gpu(groups) => groups.offsets(),
            OnDevice::Cpu(_) => panic!("{ELSEWHERE}"),
        }
    }
}

impl Tensor {
    /// The `k` best experts of each row of these router logits, `[tokens, num_experts]`, and their
    /// weights, `[tokens, k]`.
    ///
    /// # Panics
    ///
    /// If `k` is 0 or above the number of experts.
    #[track_caller]
    pub fn route(&self, k: usize) -> (Self, Arc<Routing>) {
        let num_experts = self.last_dim();
        let (weights, routing): (Data, _) = match self.device().cuda() {
            Some(gpu) => {
                let routing = cuda::moe::route(gpu, self.gpu(), num_experts, k);
                (routing.weights.duplicate().into(), OnDevice::Gpu(routing))
            }
            None => {
                let routing = moe::route(self.data(), num_experts, k);
                (routing.weights.clone().into(), OnDevice::Cpu(routing))
            }
        };
        let routing = Arc::new(Routing(routing));
        let (kept, shape) = (Arc::clone(&routing), self.shape().to_vec());
        let weights = Self::from_op(&[self.rows(), k], weights, &[self], move |grad| {
            let out: Data = match (&kept.0, grad.device().cuda()) {
                (OnDevice::Gpu(routing), Some(gpu)) => {
                    cuda::moe::route_backward(gpu, routing, num_experts, grad.gpu()).into()
                }
                (OnDevice::Cpu(routing), None) => {
                    let mut out = vec![0.0; shape.iter().product()];
                    moe::route_backward(routing, num_experts, grad.data(), &mut out);
                    out.into()
                }
                _ => panic!("{ELSEWHERE}"),
            };
            vec![Some(Self::from_data(grad.device(), &shape, out))]
        });
        (weights, routing)
    }

    /// The balance loss of these router logits, `[tokens, num_experts]`, as a scalar; 1 if even.
    ///
    /// # Panics
    ///
    /// If `routing` is of other logits.
    #[track_caller]
    pub fn balance_loss(&self, routing: &Routing) -> Self {
        let num_experts = self.last_dim();
        let (loss, gradient): (Data, Data) = match (&routing.0, self.device().cuda()) {
            (OnDevice::Gpu(routing), Some(gpu)) => {
                let (loss, gradient) =
                    cuda::moe::balance_loss(gpu, self.gpu(), num_experts, routing);
                (loss.into(), gradient.into())
            }
            (OnDevice::Cpu(routing), None) => {
                let (loss, gradient) = moe::balance_loss(self.data(), num_experts, routing);
                (vec![loss].into(), gradient.into())
            }
            _ => panic!("{ELSEWHERE}"),
        };
        let gradient = self.like(gradient);
        // The factor is read back from a GPU, which waits for what was launched before.
        Self::from_op(&[1], loss, &[self], move |grad| vec![Some(gradient.scale(grad.to_vec()[0]))])
    }

    /// Each token, `[tokens, dim]`, once for each of its experts, sorted by expert: `[slots, dim]`.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn gather_slots(&self, groups: &Arc<Groups>) -> Self {
        let dim = self.last_dim();
        let out: Data = match (&groups.0, self.device().cuda()) {
            (OnDevice::Gpu(groups), Some(gpu)) => groups.gather(gpu, self.gpu(), dim).into(),
            (OnDevice::Cpu(groups), None) => {
                let mut out = self.output(groups.len() * dim);
                groups.gather(self.device().exec(), self.data(), dim, &mut out);
                out.into()
            }
            _ => panic!("{ELSEWHERE}"),
        };
        let (kept, shape) = (Arc::clone(groups), self.shape().to_vec());
        Self::from_op(&[groups.len(), dim], out, &[self], move |grad| {
            let out: Data = match (&kept.0, grad.device().cuda()) {
                (OnDevice::Gpu(groups), Some(gpu)) => {
                    groups.combine(gpu, grad.gpu(), None, dim).into()
                }
                (OnDevice::Cpu(groups), None) => {
                    let mut out = grad.output(shape.iter().product());
                    groups.combine(grad.device().exec(), grad.data(), None, dim, &mut out);
                    out.into()
                }
                _ => panic!("{ELSEWHERE}"),
            };
            vec![Some(Self::from_data(grad.device(), &shape, out))]
        })
    }

    /// The experts' results, `[slots, dim]`, summed by token with `weights: [tokens, k]`:
    /// `[tokens, dim]`.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn combine_slots(&self, weights: &Self, groups: &Arc<Groups>) -> Self {
        let dim = self.last_dim();
        let tokens = weights.rows();
        let out: Data = match (&groups.0, self.device().cuda()) {
            (OnDevice::Gpu(groups), Some(gpu)) => {
                groups.combine(gpu, self.gpu(), Some(weights.gpu()), dim).into()
            }
            (OnDevice::Cpu(groups), None) => {
                let mut out = self.output(tokens * dim);
                let exec = self.device().exec();
                groups.combine(exec, self.data(), Some(weights.data()), dim, &mut out);
                out.into()
            }
            _ => panic!("{ELSEWHERE}"),
        };
        let (y, w, kept) = (self.detach(), weights.detach(), Arc::clone(groups));
        Self::from_op(&[tokens, dim], out, &[self, weights], move |grad| {
            let (gy, gw): (Data, Data) = match (&kept.0, grad.device().cuda()) {
                (OnDevice::Gpu(groups), Some(gpu)) => {
                    let (gy, gw) = groups.combine_backward(gpu, y.gpu(), w.gpu(), dim, grad.gpu());
                    (gy.into(), gw.into())
                }
                (OnDevice::Cpu(groups), None) => {
                    let (mut gy, mut gw) = (grad.output(y.len()), grad.output(w.len()));
                    let (exec, grad) = (grad.device().exec(), grad.data());
                    let (y, w) = (y.data(), w.data());
                    groups.combine_backward(exec, y, w, dim, grad, &mut gy, &mut gw);
                    (gy.into(), gw.into())
                }
                _ => panic!("{ELSEWHERE}"),
            };
            vec![Some(y.like(gy)), Some(w.like(gw))]
        })
    }
}
