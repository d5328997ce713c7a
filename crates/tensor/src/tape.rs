//! The tape: how a tensor was computed, and the walk back from a loss to the parameters.

use crate::Tensor;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The operation that made a tensor; `None` once [`Tensor::backward`] has used it.
pub(crate) struct Node(Mutex<Option<Operation>>);

struct Operation {
    parents: Vec<Tensor>,
    backward: Backward,
}

type Backward = Box<dyn FnOnce(Tensor) -> Vec<Option<Tensor>> + Send + Sync>;

impl Node {
    pub(crate) fn new(
        parents: Vec<Tensor>,
        backward: impl FnOnce(Tensor) -> Vec<Option<Tensor>> + Send + Sync + 'static,
    ) -> Self {
        Self(Mutex::new(Some(Operation { parents, backward: Box::new(backward) })))
    }

    /// Drops a graph one node at a time: a long one dropped by recursion exhausts the stack.
    pub(crate) fn drop_graph(self) {
        let mut nodes = vec![self];
        while let Some(Self(operation)) = nodes.pop() {
            let operation = operation.into_inner().unwrap_or_else(PoisonError::into_inner);
            let Some(Operation { parents, backward }) = operation else { continue };
            // First what the derivative kept, so that `parents` has the last handles.
            drop(backward);
            nodes.extend(parents.into_iter().filter_map(Tensor::into_node));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Operation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parent number `i`.
    fn parent(&self, i: usize) -> Option<Tensor> {
        self.lock().as_ref().and_then(|operation| operation.parents.get(i).cloned())
    }
}

/// Gradients of parameters, summed over all calls of [`Tensor::backward`] that were given it.
#[derive(Default)]
pub struct Gradients {
    by_key: HashMap<usize, Tensor>,
}

impl Gradients {
    /// The gradient of `parameter`, in its shape; `None` if the losses did not depend on it.
    pub fn get(&self, parameter: &Tensor) -> Option<&Tensor> {
        self.by_key.get(&parameter.key())
    }

    /// Multiplies all gradients by `factor`.
    pub fn scale(&mut self, factor: f32) {
        for gradient in self.by_key.values_mut() {
            let scaled = gradient.scale(factor);
            *gradient = scaled;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.by_key.clear();
    }
}

impl fmt::Debug for Gradients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gradients({} parameters)", self.by_key.len())
    }
}

impl Tensor {
    /// Whether gradients flow to or through this tensor.
    pub fn tracked(&self) -> bool {
        self.inner().is_parameter || self.inner().node.is_some()
    }

    /// Adds the gradient of this scalar with respect to each parameter to `gradients`.
    ///
    /// What the operations kept for this is used up, and given back as soon as it was: a second
    /// call on the same tensor panics.
    ///
    /// # Panics
    ///
    /// If this is not a single element, or a tensor on the way was used for `backward` before.
    #[track_caller]
    pub fn backward(&self, gradients: &mut Gradients) {
        assert_eq!(self.len(), 1, "backward from {self:?}");
        let one = Self::full(self.device(), self.shape(), 1.0);
        let mut pending = HashMap::from([(self.key(), one)]);
        for tensor in self.in_reverse_order() {
            let Some(gradient) = pending.remove(&tensor.key()) else { continue };
            if tensor.inner().is_parameter {
                add_to(&mut gradients.by_key, tensor.key(), gradient);
                continue;
            }
            let Some(node) = &tensor.inner().node else { continue };
            let operation = node.lock().take();
            let Operation { parents, backward } =
                operation.expect("`backward` was called twice on the same computation");
            for (parent, gradient) in parents.iter().zip(backward(gradient)) {
                if let Some(gradient) = gradient.filter(|_| parent.tracked()) {
                    debug_assert_eq!(gradient.shape(), parent.shape(), "shape of a gradient");
                    add_to(&mut pending, parent.key(), gradient);
                }
            }
        }
    }

    /// All tensors that this one depends on and that gradients reach, each after all its users.
    fn in_reverse_order(&self) -> Vec<Self> {
        let mut order = Vec::new();
        let mut seen = HashSet::from([self.key()]);
        // Depth first with an explicit stack: a deep model must not exhaust the real one.
        let mut stack = vec![(self.clone(), 0)];
        while let Some((tensor, next)) = stack.pop() {
            match tensor.inner().node.as_ref().and_then(|node| node.parent(next)) {
                Some(parent) => {
                    stack.push((tensor, next + 1));
                    if parent.tracked() && seen.insert(parent.key()) {
                        stack.push((parent, 0));
                    }
                }
                None => order.push(tensor),
            }
        }
        order.reverse();
        order
    }
}

fn add_to(map: &mut HashMap<usize, Tensor>, key: usize, gradient: Tensor) {
    match map.remove(&key) {
        None => map.insert(key, gradient),
        Some(sum) => map.insert(key, sum.add_scaled(1.0, &gradient, 1.0)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn a_value_used_twice_gets_both_gradients() {
        let device = Device::cpu(2);
        let x = Tensor::new(&device, &[1], vec![3.0]).into_parameter();
        // y = 2x, z = y + 5y = 12x
        let y = x.scale(2.0);
        let z = y.add_scaled(1.0, &y, 5.0);
        let mut gradients = Gradients::default();
        z.backward(&mut gradients);
        assert_eq!(gradients.get(&x).unwrap().data(), [12.0]);
        // A second computation adds to the first.
        x.scale(0.5).backward(&mut gradients);
        assert_eq!(gradients.get(&x).unwrap().data(), [12.5]);
    }

    /// Long sequences are trained in the memory that their forward pass needs, no more.
    #[test]
    fn what_was_used_is_given_back_while_the_result_is_alive() {
        let device = Device::cpu(1);
        let x = Tensor::full(&device, &[4096], 1.0).into_parameter();
        let y = x.silu().silu().silu();
        let sum = y.reshape(&[4096, 1]).take_rows(&[0].into()).reshape(&[1]);
        let before = device.exec().buffers.free_bytes();
        sum.backward(&mut Gradients::default());
        drop(y);
        assert!(device.exec().buffers.free_bytes() >= before + 3 * 4096 * 4);
        assert!(sum.tracked());
    }

    #[test]
    fn nothing_is_kept_without_parameters() {
        let device = Device::cpu(2);
        let x = Tensor::full(&device, &[2, 2], 1.0);
        assert!(!x.scale(2.0).tracked());
        assert!(x.clone().into_parameter().scale(2.0).tracked());
        assert!(!x.into_parameter().scale(2.0).detach().tracked());
    }

    #[test]
    fn deep_graphs_do_not_exhaust_the_stack() {
        let device = Device::cpu(2);
        let x = Tensor::full(&device, &[1], 1.0).into_parameter();
        let mut y = x.scale(-1.0);
        for _ in 0..50_001 {
            y = y.scale(-1.0);
        }
        let mut gradients = Gradients::default();
        y.backward(&mut gradients);
        assert_eq!(gradients.get(&x).unwrap().data(), [1.0]);
    }
}
