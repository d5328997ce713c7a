//! The tape: how a tensor was computed, and the walk back from a loss to the parameters.

use crate::Tensor;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// The operation that made a tensor.
pub(crate) struct Node {
    parents: Vec<Tensor>,
    backward: Mutex<Option<Backward>>,
}

type Backward = Box<dyn FnOnce(Tensor) -> Vec<Option<Tensor>> + Send + Sync>;

impl Node {
    pub(crate) fn new(
        parents: Vec<Tensor>,
        backward: impl FnOnce(Tensor) -> Vec<Option<Tensor>> + Send + Sync + 'static,
    ) -> Self {
        Self { parents, backward: Mutex::new(Some(Box::new(backward))) }
    }

    /// Drops a graph one node at a time: a long one dropped by recursion exhausts the stack.
    pub(crate) fn drop_graph(self) {
        let mut nodes = vec![self];
        while let Some(Self { parents, backward }) = nodes.pop() {
            // First what the derivative kept, so that `parents` has the last handles.
            drop(backward);
            nodes.extend(parents.into_iter().filter_map(Tensor::into_node));
        }
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
    /// What the operations kept for this is used up: a second call on the same tensor panics.
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
            let backward = node.backward.lock().unwrap_or_else(PoisonError::into_inner).take();
            let backward = backward.expect("`backward` was called twice on the same computation");
            for (parent, gradient) in node.parents.iter().zip(backward(gradient)) {
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
            let parents = tensor.inner().node.as_ref().map_or(&[][..], |node| &node.parents);
            match parents.get(next) {
                Some(parent) => {
                    let parent = parent.clone();
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
