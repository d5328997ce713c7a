//! The two products that take a tower's rows into a language model's width.

use super::linear::{Bias, Linear};
use crate::Error;
use crate::weights::{Role, Source};
use tensor::{Activation, Tensor};

/// `W2 f(W1 x)`, as `linear_1` and `linear_2`.
#[derive(Debug)]
pub(crate) struct Projector {
    linear_1: Linear,
    linear_2: Linear,
    activation: Activation,
}

impl Projector {
    /// From rows of `from` features to rows of `to`.
    pub(crate) fn new(
        source: &mut dyn Source,
        [from, to]: [usize; 2],
        bias: Bias,
        activation: Activation,
    ) -> Result<Self, Error> {
        Ok(Self {
            linear_1: Linear::new(source, "linear_1", [to, from], bias, Role::Projection)?,
            linear_2: Linear::new(source, "linear_2", [to, to], bias, Role::Projection)?,
            activation,
        })
    }

    /// From `[rows, from]` to `[rows, to]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        self.linear_2.forward(&self.linear_1.forward_activated(x, self.activation))
    }

    /// Calls `visit` with every parameter and its name.
    pub(crate) fn for_each_parameter(
        &mut self,
        prefix: &str,
        visit: &mut dyn FnMut(&str, &mut Tensor),
    ) {
        self.linear_1.for_each_parameter(&format!("{prefix}linear_1"), visit);
        self.linear_2.for_each_parameter(&format!("{prefix}linear_2"), visit);
    }

    /// Leaves only what inference needs.
    pub(crate) fn freeze(&mut self) {
        self.linear_1.freeze();
        self.linear_2.freeze();
    }
}
