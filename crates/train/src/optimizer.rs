//! What an optimizer remembers of each parameter, and its step.

use crate::objective::Role;
use crate::recipe::{Matrices, Optimizer};
use std::collections::BTreeMap;
use tensor::adamw::AdamW;
use tensor::muon::Muon;
use tensor::{Error, MuonParameter, Tensor};

/// Moving averages of one parameter's gradient.
#[derive(Clone, Debug)]
pub(crate) enum Memory {
    /// Of the gradient and of its square.
    AdamW { m: Tensor, v: Tensor },
    /// Of the gradient.
    Muon { m: Tensor },
    /// Nothing: the parameter stays as it is.
    Frozen,
}

/// A step of all parameters.
pub(crate) struct Update {
    /// Number of the step, from 1.
    pub(crate) step: u64,
    /// Learning rate.
    pub(crate) lr: f32,
    /// Factor of gradients.
    pub(crate) grad_scale: f32,
    pub(crate) weight_decay: f32,
}

impl Memory {
    /// The memory of a parameter, which has no history yet.
    pub(crate) fn new(settings: &Optimizer, role: Role, param: &Tensor) -> Self {
        let zeros = || Tensor::zeros(param.device(), param.shape());
        if settings.matrices == Matrices::Muon && role == Role::Hidden {
            Self::Muon { m: zeros() }
        } else {
            Self::AdamW { m: zeros(), v: zeros() }
        }
    }

    /// Its tensors and their names in a checkpoint.
    pub(crate) fn parts(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            Self::AdamW { m, v } => vec![("m", m), ("v", v)],
            Self::Muon { m } => vec![("m", m)],
            Self::Frozen => Vec::new(),
        }
    }

    /// The memory of the same kind whose parts `read` finds in a checkpoint.
    pub(crate) fn load(&self, read: &dyn Fn(&str) -> Result<Tensor, Error>) -> Result<Self, Error> {
        Ok(match self {
            Self::AdamW { .. } => Self::AdamW { m: read("m")?, v: read("v")? },
            Self::Muon { .. } => Self::Muon { m: read("m")? },
            Self::Frozen => Self::Frozen,
        })
    }
}

/// What is moved.
pub(crate) struct Parameter<'a> {
    pub(crate) role: Role,
    pub(crate) tensor: &'a mut Tensor,
    pub(crate) gradient: &'a Tensor,
    pub(crate) memory: &'a mut Memory,
}

impl Update {
    /// Moves all `parameters` against their gradients, matrices of one shape together.
    pub(crate) fn step<'a>(&self, parameters: impl IntoIterator<Item = Parameter<'a>>) {
        let &Self { step, lr, grad_scale, weight_decay } = self;
        let mut matrices: BTreeMap<[usize; 2], Vec<MuonParameter<'a>>> = BTreeMap::new();
        for Parameter { role, tensor, gradient, memory } in parameters {
            match memory {
                Memory::AdamW { m, v } => {
                    let weight_decay = if role == Role::Free { 0.0 } else { weight_decay };
                    let settings = AdamW { lr, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay };
                    tensor.adamw_step(&settings, step, gradient, grad_scale, [m, v]);
                }
                Memory::Muon { m } => {
                    let matrix = MuonParameter { param: tensor, gradient, m };
                    matrices.entry(matrix.param.matrix()).or_default().push(matrix);
                }
                Memory::Frozen => (),
            }
        }
        let settings = Muon { lr, momentum: 0.95, weight_decay };
        for parameters in matrices.values_mut() {
            Tensor::muon_step(&settings, parameters, grad_scale);
        }
    }
}
