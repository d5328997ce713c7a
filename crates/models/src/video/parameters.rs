//! One walk over the parts of a model, for training and for inference.

use crate::layers::linear::{LayerNorm, Linear};
use crate::weights;
use std::collections::BTreeMap;
use tensor::{Precision, Saved, Tensor, Weight};

/// One parameter.
#[derive(Debug)]
pub(crate) enum Parameter<'a> {
    /// Of products.
    Weight(&'a mut Weight),
    /// Of a convolution, as a matrix `[n, taps * channels]`, with the taps along each axis.
    Conv(&'a mut Weight, &'a [usize]),
    /// Used element by element.
    Tensor(&'a mut Tensor),
}

/// What is done with each parameter and its name.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&str, Parameter<'_>);

/// Shows a parameter's values, to be changed.
pub(crate) fn values(visit: &mut dyn FnMut(&str, &mut Tensor), name: &str, of: Parameter<'_>) {
    match of {
        Parameter::Weight(weight) | Parameter::Conv(weight, _) => visit(name, weight.tensor_mut()),
        Parameter::Tensor(tensor) => visit(name, tensor),
    }
}

/// Leaves only what inference needs.
pub(crate) fn freeze(of: Parameter<'_>) {
    match of {
        Parameter::Weight(weight) | Parameter::Conv(weight, _) => weight.freeze(),
        Parameter::Tensor(tensor) => *tensor = tensor.detach(),
    }
}

/// Bytes that a parameter takes in memory.
pub(crate) fn bytes(of: &Parameter<'_>) -> usize {
    match of {
        Parameter::Weight(weight) | Parameter::Conv(weight, _) => weight.bytes(),
        Parameter::Tensor(tensor) => tensor.bytes(),
    }
}

/// Adds a parameter to what a checkpoint holds, as files have it.
pub(crate) fn save(
    saved: &mut BTreeMap<String, Saved>,
    precision: Precision,
    name: &str,
    of: Parameter<'_>,
) {
    match of {
        Parameter::Weight(weight) => weights::save(saved, precision, name, weight.tensor(), None),
        Parameter::Conv(weight, taps) => {
            weights::save(saved, precision, name, weight.tensor(), Some(taps));
        }
        Parameter::Tensor(tensor) => weights::save(saved, precision, name, tensor, None),
    }
}

pub(crate) fn conv(linear: &mut Linear, name: &str, taps: &[usize], visit: Visit<'_>) {
    visit(&format!("{name}.weight"), Parameter::Conv(&mut linear.weight, taps));
    if let Some(bias) = &mut linear.bias {
        visit(&format!("{name}.bias"), Parameter::Tensor(bias));
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
