//! What an optimizer remembers of each parameter, and its step.

use crate::recipe::{Matrices, Optimizer};
use std::collections::BTreeMap;
use tensor::adamw::AdamW;
use tensor::muon::Muon;
use tensor::{Error, MuonParameter, Saved, Tensor};

/// Moving averages of one parameter's gradient.
#[derive(Clone, Debug)]
pub(crate) enum Memory {
    /// Of the gradient and of its square.
    AdamW { m: Tensor, v: Tensor },
    /// Of the gradient.
    Muon { m: Tensor },
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
    /// The memory of the parameter `name`, which has no history yet.
    pub(crate) fn new(settings: &Optimizer, name: &str, param: &Tensor) -> Self {
        let zeros = || Tensor::zeros(param.device(), param.shape());
        if settings.matrices == Matrices::Muon && is_hidden_matrix(name, param) {
            Self::Muon { m: zeros() }
        } else {
            Self::AdamW { m: zeros(), v: zeros() }
        }
    }

    fn parts(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            Self::AdamW { m, v } => vec![("m", m), ("v", v)],
            Self::Muon { m } => vec![("m", m)],
        }
    }

    /// Adds what is remembered of the parameter `name` to a checkpoint.
    pub(crate) fn save(&self, name: &str, tensors: &mut BTreeMap<String, Saved>) {
        for (part, data) in self.parts() {
            let data = data.to_device(&data.device().host());
            tensors.insert(format!("{part}.{name}"), Saved::Tensor(data));
        }
    }

    /// The memory of the same kind whose parts `read` finds in a checkpoint.
    pub(crate) fn load(&self, read: &dyn Fn(&str) -> Result<Tensor, Error>) -> Result<Self, Error> {
        Ok(match self {
            Self::AdamW { .. } => Self::AdamW { m: read("m")?, v: read("v")? },
            Self::Muon { .. } => Self::Muon { m: read("m")? },
        })
    }
}

/// What is moved.
pub(crate) struct Parameter<'a> {
    pub(crate) name: &'a str,
    pub(crate) tensor: &'a mut Tensor,
    pub(crate) gradient: &'a Tensor,
    pub(crate) memory: &'a mut Memory,
}

impl Update {
    /// Moves all `parameters` against their gradients, matrices of one shape together.
    pub(crate) fn step<'a>(&self, parameters: impl IntoIterator<Item = Parameter<'a>>) {
        let &Self { step, lr, grad_scale, weight_decay } = self;
        let mut matrices: BTreeMap<[usize; 2], Vec<MuonParameter<'a>>> = BTreeMap::new();
        for Parameter { name, tensor, gradient, memory } in parameters {
            match memory {
                Memory::AdamW { m, v } => {
                    // Norms and the embedding are not pulled to zero.
                    let pulled = tensor.shape().len() > 1 && name != "model.embed_tokens.weight";
                    let weight_decay = if pulled { weight_decay } else { 0.0 };
                    let settings = AdamW { lr, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay };
                    tensor.adamw_step(&settings, step, gradient, grad_scale, [m, v]);
                }
                Memory::Muon { m } => {
                    let matrix = MuonParameter { param: tensor, gradient, m };
                    matrices.entry(matrix.param.matrix()).or_default().push(matrix);
                }
            }
        }
        let settings = Muon { lr, momentum: 0.95, weight_decay };
        for parameters in matrices.values_mut() {
            Tensor::muon_step(&settings, parameters, grad_scale);
        }
    }
}

/// Whether `param` is a matrix between hidden states: not a table of tokens, not a router.
fn is_hidden_matrix(name: &str, param: &Tensor) -> bool {
    let is_table = name == "model.embed_tokens.weight" || name == "lm_head.weight";
    param.shape().len() > 1 && !is_table && !name.ends_with("block_sparse_moe.gate.weight")
}
