//! The layer of vision and audio encoders: pre-norm, softmax attention in which every row sees all
//! rows of its sequence, and an MLP.
//!
//! ```text
//! y  = x + Attn(LN(x))        x' = y + W2 f(W1 LN(y))
//! ```

use super::linear::{Bias, LayerNorm, Linear};
use crate::Error;
use crate::config::fields::Fields;
use crate::weights::{Role, Source};
use std::sync::Arc;
use tensor::gguf::DType;
use tensor::{Activation, Attention, AttentionRows, AttentionSpan, Tensor};

/// Sizes and choices of all layers of an encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) activation: Activation,
    pub(crate) layer_norm_eps: f64,
    /// Of keys; queries, values and outputs always have one.
    pub(crate) key_bias: Bias,
}

/// What a family calls the parts of its layers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    pub(crate) attention_norm: &'static str,
    pub(crate) mlp_norm: &'static str,
    pub(crate) fc1: &'static str,
    pub(crate) fc2: &'static str,
}

/// One layer.
#[derive(Debug)]
pub(crate) struct EncoderLayer {
    attention_norm: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    mlp_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
    attention: Attention,
    names: Names,
}

impl EncoderLayer {
    /// The layer whose names begin with `prefix`.
    pub(crate) fn new(
        shape: &Shape,
        names: Names,
        prefix: &str,
        source: &mut dyn Source,
    ) -> Result<Self, Error> {
        let (h, ffn, eps) = (shape.hidden_size, shape.intermediate_size, shape.layer_norm_eps);
        let heads = shape.num_attention_heads;
        let name = |part: &str| format!("{prefix}{part}");
        let attn = |part: &str| format!("{prefix}self_attn.{part}");
        let (square, shallow, deep) = ([h, h], Role::Projection, Role::Deep);
        Ok(Self {
            attention_norm: LayerNorm::new(source, &name(names.attention_norm), h, eps)?,
            q_proj: Linear::new(source, &attn("q_proj"), square, Bias::With, shallow)?,
            k_proj: Linear::new(source, &attn("k_proj"), square, shape.key_bias, shallow)?,
            v_proj: Linear::new(source, &attn("v_proj"), square, Bias::With, deep)?,
            out_proj: Linear::new(source, &attn("out_proj"), square, Bias::With, deep)?,
            mlp_norm: LayerNorm::new(source, &name(names.mlp_norm), h, eps)?,
            fc1: Linear::new(source, &name(names.fc1), [ffn, h], Bias::With, deep)?,
            fc2: Linear::new(source, &name(names.fc2), [h, ffn], Bias::With, deep)?,
            activation: shape.activation,
            attention: Attention { heads, kv_heads: heads, head_dim: h / heads },
            names,
        })
    }

    /// From `x: [tokens, hidden_size]` to the same shape; `rows` says which sequences these are, see
    /// [`all_see_all`].
    pub(crate) fn forward(&self, x: &Tensor, rows: &Arc<AttentionRows>) -> Tensor {
        let n = self.attention_norm.forward(x);
        let [q, k, v] = [&self.q_proj, &self.k_proj, &self.v_proj].map(|proj| proj.forward(&n));
        drop(n);
        let o = q.attention(&k, &v, self.attention, rows); // [tokens, heads * head_dim]
        drop((q, k, v));
        let y = x.add_scaled(1.0, &self.out_proj.forward(&o), 1.0);
        drop(o);
        let inner = self.fc1.forward_activated(&self.mlp_norm.forward(&y), self.activation);
        y.add_scaled(1.0, &self.fc2.forward(&inner), 1.0)
    }

    /// The type of its largest matrices.
    pub(crate) fn dtype(&self) -> DType {
        self.fc1.weight.dtype()
    }

    /// Calls `visit` with every parameter and its name.
    pub(crate) fn for_each_parameter(
        &mut self,
        prefix: &str,
        visit: &mut dyn FnMut(&str, &mut Tensor),
    ) {
        for (name, norm) in self.norms() {
            norm.for_each_parameter(&format!("{prefix}{name}"), visit);
        }
        for (name, linear) in self.linears() {
            linear.for_each_parameter(&format!("{prefix}{name}"), visit);
        }
    }

    /// Leaves only what inference needs.
    pub(crate) fn freeze(&mut self) {
        self.norms().into_iter().for_each(|(_, norm)| norm.freeze());
        self.linears().into_iter().for_each(|(_, linear)| linear.freeze());
    }

    /// Its norms and their names.
    pub(crate) fn norms(&mut self) -> [(&'static str, &mut LayerNorm); 2] {
        let names = self.names;
        [(names.attention_norm, &mut self.attention_norm), (names.mlp_norm, &mut self.mlp_norm)]
    }

    /// Its products and their names.
    pub(crate) fn linears(&mut self) -> [(&'static str, &mut Linear); 6] {
        let names = self.names;
        [
            ("self_attn.q_proj", &mut self.q_proj),
            ("self_attn.k_proj", &mut self.k_proj),
            ("self_attn.v_proj", &mut self.v_proj),
            ("self_attn.out_proj", &mut self.out_proj),
            (names.fc1, &mut self.fc1),
            (names.fc2, &mut self.fc2),
        ]
    }
}

/// `batch` sequences of `len` rows each, in which every row sees all rows; heads of `head_dim`.
pub(crate) fn all_see_all(batch: usize, len: usize, head_dim: usize) -> Arc<AttentionRows> {
    let run = |i: usize| i * len..(i + 1) * len;
    let spans = (0..batch).map(|i| AttentionSpan { rows: run(i), keys: run(i) }).collect();
    let scale = (head_dim as f64).sqrt().recip() as f32;
    let rows = batch * len;
    Arc::new(AttentionRows {
        spans,
        positions: vec![len.saturating_sub(1); rows],
        scales: vec![scale; rows],
    })
}

/// The activation that the field `name` says, by the names that transformers has for them; `default`
/// if there is no such field.
pub(crate) fn activation_of(
    fields: &Fields<'_>,
    name: &str,
    default: Activation,
) -> Result<Activation, Error> {
    const NAMES: [(&str, Activation); 12] = [
        ("gelu", Activation::Gelu),
        ("gelu_python", Activation::Gelu),
        ("gelu_new", Activation::GeluTanh),
        ("gelu_fast", Activation::GeluTanh),
        ("gelu_accurate", Activation::GeluTanh),
        ("gelu_pytorch_tanh", Activation::GeluTanh),
        ("gelu_python_tanh", Activation::GeluTanh),
        ("quick_gelu", Activation::QuickGelu),
        ("silu", Activation::Silu),
        ("swish", Activation::Silu),
        ("relu", Activation::Relu),
        ("sigmoid", Activation::Sigmoid),
    ];
    Ok(fields.choice(name, &NAMES)?.unwrap_or(default))
}

/// Refuses heads that do not divide the width, by the names that the file has for them.
pub(crate) fn check_heads(
    fields: &Fields<'_>,
    heads: (&str, usize),
    hidden: (&str, usize),
) -> Result<(), Error> {
    match hidden.1.is_multiple_of(heads.1) {
        true => Ok(()),
        false => {
            Err(fields
                .wrong(heads.0, &format!("a divisor of `{}`, which is {}", hidden.0, hidden.1)))
        }
    }
}
