//! A product with a bias, and the norm that goes with it in encoders.

use crate::Error;
use crate::weights::{Role, Source};
use tensor::{Activation, Tensor, Weight};

/// `x W^T + b`.
#[derive(Debug)]
pub(crate) struct Linear {
    /// `[n, k]`.
    pub(crate) weight: Weight,
    /// `[n]`.
    pub(crate) bias: Option<Tensor>,
}

/// Whether a product has a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bias {
    With,
    Without,
}

impl Linear {
    /// `{name}.weight`, `[n, k]`, and `{name}.bias`, `[n]`.
    pub(crate) fn new(
        source: &mut dyn Source,
        name: &str,
        [n, k]: [usize; 2],
        bias: Bias,
        role: Role,
    ) -> Result<Self, Error> {
        let weight = source.weight(&format!("{name}.weight"), &[n, k], role)?;
        let bias = match bias {
            Bias::With => Some(source.tensor(&format!("{name}.bias"), &[n], Role::Bias)?),
            Bias::Without => None,
        };
        Ok(Self { weight, bias })
    }

    /// A convolution as a product: of `{name}.weight`, `shape` `[n, in, taps…]`, and `{name}.bias`.
    /// It multiplies rows `[taps * in]` of what is under the taps.
    pub(crate) fn conv(
        source: &mut dyn Source,
        name: &str,
        shape: &[usize],
        bias: Bias,
    ) -> Result<Self, Error> {
        let weight = source.conv(&format!("{name}.weight"), shape, Role::Projection)?;
        let bias = match bias {
            Bias::With => Some(source.tensor(&format!("{name}.bias"), &shape[..1], Role::Bias)?),
            Bias::Without => None,
        };
        Ok(Self { weight, bias })
    }

    /// From `[rows, k]` to `[rows, n]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        match &self.bias {
            Some(bias) => x.linear_with_bias(&self.weight, bias, None),
            None => x.linear(&self.weight),
        }
    }

    /// The same and an activation.
    pub(crate) fn forward_activated(&self, x: &Tensor, kind: Activation) -> Tensor {
        match &self.bias {
            Some(bias) => x.linear_with_bias(&self.weight, bias, Some(kind)),
            None => x.linear(&self.weight).activation(kind),
        }
    }

    /// Calls `visit` with each parameter and its name. A convolution's weight is visited as the matrix
    /// that it is here, `[n, taps * in]`.
    pub(crate) fn for_each_parameter(
        &mut self,
        name: &str,
        visit: &mut dyn FnMut(&str, &mut Tensor),
    ) {
        visit(&format!("{name}.weight"), self.weight.tensor_mut());
        if let Some(bias) = &mut self.bias {
            visit(&format!("{name}.bias"), bias);
        }
    }

    /// Leaves only what inference needs.
    pub(crate) fn freeze(&mut self) {
        self.weight.freeze();
        self.bias = self.bias.as_ref().map(Tensor::detach);
    }
}

/// LayerNorm with weight and bias.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    /// `[dim]`.
    pub(crate) weight: Tensor,
    /// `[dim]`.
    pub(crate) bias: Tensor,
    pub(crate) eps: f32,
}

impl LayerNorm {
    /// `{name}.weight` and `{name}.bias`, both `[dim]`.
    pub(crate) fn new(
        source: &mut dyn Source,
        name: &str,
        dim: usize,
        eps: f64,
    ) -> Result<Self, Error> {
        Ok(Self {
            weight: source.tensor(&format!("{name}.weight"), &[dim], Role::Norm)?,
            bias: source.tensor(&format!("{name}.bias"), &[dim], Role::Bias)?,
            eps: eps as f32,
        })
    }

    /// `[rows, dim]` to the same shape.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(&self.weight, &self.bias, self.eps)
    }

    /// Calls `visit` with each parameter and its name.
    pub(crate) fn for_each_parameter(
        &mut self,
        name: &str,
        visit: &mut dyn FnMut(&str, &mut Tensor),
    ) {
        visit(&format!("{name}.weight"), &mut self.weight);
        visit(&format!("{name}.bias"), &mut self.bias);
    }

    /// Leaves only what inference needs.
    pub(crate) fn freeze(&mut self) {
        self.weight = self.weight.detach();
        self.bias = self.bias.detach();
    }
}
