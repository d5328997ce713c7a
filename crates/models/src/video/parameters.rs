//! One walk over the parts of a model, for training and for inference.

use crate::layers::linear::{LayerNorm, Linear};
use tensor::{Tensor, Weight};

/// One parameter.
#[derive(Debug)]
pub(crate) enum Parameter<'a> {
    /// Of products.
    Weight(&'a mut Weight),
    /// Used element by element.
    Tensor(&'a mut Tensor),
}

/// What is done with each parameter and its name.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&str, Parameter<'_>);

/// Shows a parameter's values, to be changed.
pub(crate) fn values(visit: &mut dyn FnMut(&str, &mut Tensor), name: &str, of: Parameter<'_>) {
    match of {
        Parameter::Weight(weight) => visit(name, weight.tensor_mut()),
        Parameter::Tensor(tensor) => visit(name, tensor),
    }
}

/// Leaves only what inference needs.
pub(crate) fn freeze(of: Parameter<'_>) {
    match of {
        Parameter::Weight(weight) => weight.freeze(),
        Parameter::Tensor(tensor) => *tensor = tensor.detach(),
    }
}

pub(crate) fn linear(linear: &mut Linear, name: &str, visit: Visit<'_>) {
    visit(&format!("{name}.weight"), Parameter::Weight(&mut linear.weight));
    if let Some(bias) = &mut linear.bias {
        visit(&format!("{name}.bias"), Parameter::Tensor(bias));
    }
}

pub(crate) fn layer_norm(norm: &mut LayerNorm, name: &str, visit: Visit<'_>) {
    visit(&format!("{name}.weight"), Parameter::Tensor(&mut norm.weight));
    visit(&format!("{name}.bias"), Parameter::Tensor(&mut norm.bias));
}
