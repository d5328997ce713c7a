//! `config.json` of the MiniMax-01 family, in both dialects: that of the released checkpoints
//! (`attn_type_list`, `layernorm_*_alpha`, …) and that of transformers (`layer_types`,
//! `*_alpha_factor`, …), and mixtures of them, which exist.
//!
//! A field may be spelled twice if both say the same. What is not here is ignored.

pub(crate) mod fields;
mod gguf;
#[cfg(test)]
mod tests;

use crate::Error;
use fields::Fields;
use serde_json::{Value, json};
use std::path::Path;
use tensor::{KvType, Lightning, PAGE_TOKENS};

/// The kind of attention of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerType {
    /// Lightning attention: a state of fixed size.
    LinearAttention,
    /// Softmax attention: keys and values that grow.
    FullAttention,
}

/// Factors of one residual connection: `alpha * input + beta * output`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResidualFactors {
    /// Of the (normed) input.
    pub alpha: f64,
    /// Of the sub-layer's output.
    pub beta: f64,
}

/// How decay rates follow from head and layer; the two agree to 1e-5 for powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlopeRule {
    /// As the code of the released checkpoints.
    Released,
    /// As transformers.
    Transformers,
}

/// The shape of a model; fields are named as in the files.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Inner width of one expert.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Query heads, in layers of both kinds.
    pub num_attention_heads: usize,
    /// Key and value heads of softmax layers.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Experts per layer.
    pub num_local_experts: usize,
    /// Experts per token.
    pub num_experts_per_tok: usize,
    /// The kind of each layer.
    pub layer_types: Vec<LayerType>,
    /// Residual factors of softmax layers.
    pub full_attn: ResidualFactors,
    /// Residual factors of lightning layers.
    pub linear_attn: ResidualFactors,
    /// Residual factors of the experts.
    pub mlp: ResidualFactors,
    /// Whether residuals are the normed tensors, as in every release.
    pub postnorm: bool,
    /// Epsilon of the norms.
    pub rms_norm_eps: f64,
    /// Base of the rotation's frequencies.
    pub rope_theta: f64,
    /// How much of each head is rotated, in softmax layers.
    pub rotary_dim: usize,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Longest context.
    pub max_position_embeddings: usize,
    /// Tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// How decay rates are computed.
    pub slope_rule: SlopeRule,
    /// Our own: scores of softmax layers are multiplied by `log_base(position)` where it is above
    /// 1, which keeps attention as sharp over a long text as over one of `base` tokens.
    pub attention_log_length_base: Option<f64>,
    /// Our own: a token is relevant from the first one of this id in its sequence on, and only
    /// relevant tokens query softmax layers; the others are read in linear time, by lightning layers
    /// and experts. All tokens are relevant if it is not set (`docs/adr/0005-relevance.md`).
    pub relevance_token_id: Option<u32>,
}

const SUPPORTED: &str = "MiniMaxText01ForCausalLM, MiniMaxM1ForCausalLM and MiniMaxForCausalLM";

impl Config {
    /// Reads the text of a `config.json`; `path` is named in errors.
    ///
    /// # Errors
    ///
    /// If it is not JSON, of another architecture, or has values that a model cannot have.
    pub fn from_json(text: &[u8], path: &Path) -> Result<Self, Error> {
        Self::from_fields(&Fields::parse(text, path)?)
    }

    /// The same of fields that may be a part of a file.
    pub(crate) fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        let slope_rule = architecture(fields)?;
        fields.refuse_unless("sliding_window", Value::is_null, "null")?;
        fields.refuse_unless("hidden_act", |v| v == "silu", "\"silu\"")?;
        let no_experts = |v: &Value| match v {
            Value::Array(list) => list.iter().all(|v| v == 0),
            other => other == 0,
        };
        fields.refuse_unless("shared_intermediate_size", no_experts, "0 (no shared expert)")?;

        let num_hidden_layers = fields.size(&["num_hidden_layers"], 10_000)?;
        let num_attention_heads = fields.size(&["num_attention_heads"], 1 << 16)?;
        let hidden_size = fields.size(&["hidden_size"], 1 << 24)?;
        let num_local_experts = fields.size(&["num_local_experts", "num_experts"], 1 << 16)?;
        let (head_dim, rotary_dim, rope_theta) =
            rotation(fields, hidden_size, num_attention_heads)?;
        let config = Self {
            vocab_size: fields.size(&["vocab_size"], 1 << 28)?,
            hidden_size,
            intermediate_size: fields.size(&["intermediate_size"], 1 << 24)?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: fields
                .optional_size(&["num_key_value_heads"], 1 << 16)?
                .unwrap_or(num_attention_heads),
            head_dim,
            num_local_experts,
            num_experts_per_tok: fields.size(&["num_experts_per_tok"], 1 << 16)?,
            layer_types: layer_types(fields, num_hidden_layers, slope_rule)?,
            full_attn: factors(fields, "full_attn", "layernorm_full_attention")?,
            linear_attn: factors(fields, "linear_attn", "layernorm_linear_attention")?,
            mlp: factors(fields, "mlp", "layernorm_mlp")?,
            postnorm: fields.flag("postnorm")?.unwrap_or(slope_rule == SlopeRule::Transformers),
            rms_norm_eps: fields.number(&["rms_norm_eps"], 0.0..=1.0)?.unwrap_or(1e-5),
            rope_theta,
            rotary_dim,
            tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(false),
            max_position_embeddings: fields
                .optional_size(&["max_position_embeddings"], 1 << 40)?
                .ok_or_else(|| fields.missing("max_position_embeddings"))?,
            eos_token_ids: eos(fields, &["eos_token_id"])?,
            slope_rule,
            attention_log_length_base: fields.number(&["attention_log_length_base"], 1.5..=1e12)?,
            relevance_token_id: fields
                .integer(&["relevance_token_id"], 0..=u64::from(u32::MAX))?
                .map(|id| id as u32),
        };
        config.check(fields, |name| name)?;
        Ok(config)
    }

    /// What fields have to do with each other; `name` is what the file calls a field.
    fn check(
        &self,
        fields: &Fields<'_>,
        name: impl Fn(&'static str) -> &'static str,
    ) -> Result<(), Error> {
        let heads = self.num_attention_heads;
        if !heads.is_multiple_of(self.num_key_value_heads) {
            let expected =
                format!("a divisor of `{}`, which is {heads}", name("num_attention_heads"));
            return Err(fields.wrong(name("num_key_value_heads"), &expected));
        }
        let experts = self.num_local_experts;
        if self.num_experts_per_tok > experts {
            let expected = format!("at most `{}`, which is {experts}", name("num_local_experts"));
            return Err(fields.wrong(name("num_experts_per_tok"), &expected));
        }
        if self.num_parameters() > 1 << 50 {
            let expected = format!(
                "a model of fewer than 2^50 parameters (these sizes make {})",
                self.num_parameters()
            );
            return Err(fields.wrong(name("hidden_size"), &expected));
        }
        Ok(())
    }

    /// The text of a `config.json` in the dialect of the released checkpoints. Reads back equal
    /// for configs of that dialect; the slope rule is not written.
    pub fn to_json(&self) -> String {
        let types: Vec<u8> =
            self.layer_types.iter().map(|t| u8::from(*t == LayerType::FullAttention)).collect();
        let eos = match &self.eos_token_ids[..] {
            [] => Value::Null,
            [one] => json!(one),
            many => json!(many),
        };
        let mut value = json!({
            "architectures": ["MiniMaxText01ForCausalLM"],
            "model_type": "minimax_text_01",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "num_local_experts": self.num_local_experts,
            "num_experts_per_tok": self.num_experts_per_tok,
            "attn_type_list": types,
            "layernorm_full_attention_alpha": self.full_attn.alpha,
            "layernorm_full_attention_beta": self.full_attn.beta,
            "layernorm_linear_attention_alpha": self.linear_attn.alpha,
            "layernorm_linear_attention_beta": self.linear_attn.beta,
            "layernorm_mlp_alpha": self.mlp.alpha,
            "layernorm_mlp_beta": self.mlp.beta,
            "postnorm": self.postnorm,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rotary_dim": self.rotary_dim,
            "tie_word_embeddings": self.tie_word_embeddings,
            "max_position_embeddings": self.max_position_embeddings,
            "eos_token_id": eos,
            "hidden_act": "silu",
            "shared_intermediate_size": 0,
        });
        if let Some(base) = self.attention_log_length_base {
            value["attention_log_length_base"] = json!(base);
        }
        if let Some(id) = self.relevance_token_id {
            value["relevance_token_id"] = json!(id);
        }
        format!("{value:#}\n")
    }

    /// Decay rate of each head in layer `layer`: `base(head) * factor(layer)`, in f64.
    pub fn slopes(&self, layer: usize) -> Vec<f32> {
        let (l, last) = (layer as f64, self.num_hidden_layers as f64 - 1.0);
        let factor = match self.slope_rule {
            SlopeRule::Released if last == 0.0 => 1.0 + 1e-5,
            SlopeRule::Released => 1.0 - l / last + 1e-5,
            SlopeRule::Transformers => 1.0 - l / (last + 1e-5) + 1e-5,
        };
        let heads = self.num_attention_heads;
        let geometric = |n: usize| -> Vec<f64> {
            (1..=n).map(|h| (-8.0 * h as f64 / n as f64).exp2()).collect()
        };
        let base = match self.slope_rule {
            SlopeRule::Transformers => geometric(heads),
            SlopeRule::Released => {
                let power = 1 << heads.ilog2();
                let more = geometric(2 * power).into_iter().step_by(2).take(heads - power);
                geometric(power).into_iter().chain(more).collect()
            }
        };
        base.into_iter().map(|base| (base * factor) as f32).collect()
    }

    /// Number of parameters.
    pub fn num_parameters(&self) -> u128 {
        let tables = if self.tie_word_embeddings { 1 } else { 2 };
        let [h, vocab] = [self.hidden_size, self.vocab_size].map(|n| n as u128);
        tables * vocab * h + h + self.layer_parameters(self.num_local_experts)
    }

    /// Number of parameters that one token uses, embedding and head not counted.
    pub fn num_active_parameters(&self) -> u128 {
        self.hidden_size as u128 + self.layer_parameters(self.num_experts_per_tok)
    }

    fn layer_parameters(&self, experts: usize) -> u128 {
        let wide = |n: usize| n as u128;
        let h = wide(self.hidden_size);
        let width = wide(self.num_attention_heads) * wide(self.head_dim);
        let kv_width = wide(self.num_key_value_heads) * wide(self.head_dim);
        let mixer = |kind: &LayerType| match kind {
            LayerType::LinearAttention => 5 * width * h + width,
            LayerType::FullAttention => 2 * width * h + 2 * kv_width * h,
        };
        let rest = 2 * h
            + wide(self.num_local_experts) * h
            + wide(experts) * 3 * h * wide(self.intermediate_size);
        self.layer_types.iter().map(|kind| mixer(kind) + rest).sum()
    }

    /// Sizes of all lightning layers.
    pub(crate) fn lightning(&self) -> Lightning {
        Lightning { heads: self.num_attention_heads, head_dim: self.head_dim }
    }

    /// Bytes that one sequence keeps of its lightning layers, in f32; `u64::MAX` if there are more.
    pub fn state_bytes(&self) -> u64 {
        self.count(LayerType::LinearAttention).saturating_mul(self.lightning().state_bytes())
    }

    /// Bytes of the pages that hold the keys and values of `tokens` tokens, kept as `kv`; `u64::MAX` if
    /// there are more.
    pub fn kv_bytes(&self, tokens: usize, kv: KvType) -> u64 {
        let pages = tokens.div_ceil(PAGE_TOKENS) as u64;
        let page = kv.page_bytes(self.num_key_value_heads, self.head_dim) as u64;
        let layers = self.count(LayerType::FullAttention);
        [page, pages].into_iter().fold(layers, u64::saturating_mul)
    }

    /// Bytes of the keys and values of one token, kept as `kv`, heads padded to whole blocks;
    /// `u64::MAX` if there are more.
    pub fn kv_bytes_per_token(&self, kv: KvType) -> u64 {
        let layers = self.count(LayerType::FullAttention);
        let (heads, head) = (self.num_key_value_heads as u64, kv.head_bytes(self.head_dim) as u64);
        [2, heads, head].into_iter().fold(layers, u64::saturating_mul)
    }

    /// Number of layers of a kind.
    pub fn count(&self, kind: LayerType) -> u64 {
        self.layer_types.iter().filter(|t| **t == kind).count() as u64
    }
}

/// Accepts the spellings of releases and tools; a model of transformers has its slope rule.
fn architecture(fields: &Fields<'_>) -> Result<SlopeRule, Error> {
    let model_type = fields.get("model_type").and_then(Value::as_str);
    let class = fields.get("architectures").and_then(|list| list.get(0)?.as_str());
    let known = ["MiniMaxForCausalLM", "MiniMaxText01ForCausalLM", "MiniMaxM1ForCausalLM"];
    match (model_type, class) {
        (_, Some(class)) if !known.contains(&class) => Err(unknown(fields, class)),
        (Some("minimax"), _) | (None, Some("MiniMaxForCausalLM")) => Ok(SlopeRule::Transformers),
        (Some("minimax_text_01" | "MiniMaxText01" | "minimax_m1" | "MiniMaxM1"), _)
        | (None, Some("MiniMaxText01ForCausalLM" | "MiniMaxM1ForCausalLM")) => {
            Ok(SlopeRule::Released)
        }
        (Some(model_type), _) => Err(unknown(fields, model_type)),
        (None, _) => Err(Error::Architecture {
            path: fields.path().to_owned(),
            found: "no name (`architectures` and `model_type` are missing)".to_owned(),
            supported: SUPPORTED,
        }),
    }
}

fn unknown(fields: &Fields<'_>, name: &str) -> Error {
    let (path, found) = (fields.path().to_owned(), format!("`{name}`"));
    Error::Architecture { path, found, supported: SUPPORTED }
}

/// Width of a head, of its rotated part, and the base of the rotation.
///
/// The released files name the rotated width; transformers rotates everything.
fn rotation(
    fields: &Fields<'_>,
    hidden: usize,
    heads: usize,
) -> Result<(usize, usize, f64), Error> {
    let head_dim = match fields.optional_size(&["head_dim"], 1 << 16)? {
        Some(head_dim) => head_dim,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(fields.missing("head_dim")),
    };
    for name in ["rope_scaling", "rope_parameters"] {
        let nested = fields.get(name).filter(|v| !v.is_null());
        let kind = nested.and_then(|v| v.get("rope_type").or(v.get("type")));
        if kind.is_some_and(|kind| kind != "default") {
            return Err(fields.wrong(name, "`rope_type` \"default\""));
        }
    }
    let theta = fields
        .number(&["rope_theta", "rope_parameters.rope_theta"], 1.0..=1e15)?
        .ok_or_else(|| fields.missing("rope_theta"))?;
    let partial = ["partial_rotary_factor", "rope_parameters.partial_rotary_factor"];
    let partial = fields.number(&partial, 0.0..=1.0)?;
    let rotary_dim = match (fields.integer(&["rotary_dim"], 0..=head_dim as u64)?, partial) {
        (Some(rotary_dim), _) => rotary_dim as usize,
        (None, Some(factor)) => (head_dim as f64 * factor) as usize,
        (None, None) => head_dim,
    };
    if rotary_dim % 2 == 1 {
        return Err(fields.wrong("rotary_dim", "an even number"));
    }
    Ok((head_dim, rotary_dim, theta))
}

fn factors(fields: &Fields<'_>, native: &str, released: &str) -> Result<ResidualFactors, Error> {
    let one = |letter: &str| {
        let names = [format!("{native}_{letter}_factor"), format!("{released}_{letter}")];
        let names = [&names[0][..], &names[1][..]];
        Ok::<_, Error>(fields.number(&names, -1e6..=1e6)?.unwrap_or(1.0))
    };
    Ok(ResidualFactors { alpha: one("alpha")?, beta: one("beta")? })
}

fn layer_types(
    fields: &Fields<'_>,
    layers: usize,
    rule: SlopeRule,
) -> Result<Vec<LayerType>, Error> {
    let mut found: Option<Vec<LayerType>> = None;
    for name in ["attn_type_list", "decoder_attention_types", "layer_types"] {
        let Some(value) = fields.get(name).filter(|v| !v.is_null()) else { continue };
        let kind = |v: &Value| match v {
            v if *v == 0 || v == "linear_attention" => Some(LayerType::LinearAttention),
            v if *v == 1 || v == "full_attention" || v == "attention" => {
                Some(LayerType::FullAttention)
            }
            _ => None,
        };
        let types: Option<Vec<_>> =
            value.as_array().and_then(|list| list.iter().map(kind).collect());
        let Some(types) = types.filter(|types| types.len() == layers) else {
            let expected = format!(
                "a list of {layers} layers, each 0 or \"linear_attention\", or 1 or \
                 \"full_attention\""
            );
            return Err(fields.wrong(name, &expected));
        };
        if found.as_ref().is_some_and(|found| *found != types) {
            return Err(fields.wrong(name, "the same as the other list of layers"));
        }
        found = Some(types);
    }
    match (found, rule) {
        (Some(types), _) => Ok(types),
        // The library's default, which is not the released models' pattern.
        (None, SlopeRule::Transformers) => Ok((0..layers)
            .map(|i| if i % 2 == 0 { LayerType::FullAttention } else { LayerType::LinearAttention })
            .collect()),
        (None, SlopeRule::Released) => Err(fields.missing("attn_type_list")),
    }
}

/// Under the first of `names` that there is: an id or several.
fn eos(fields: &Fields<'_>, names: &[&str]) -> Result<Vec<u32>, Error> {
    let found = names.iter().find_map(|name| Some((name, fields.get(name)?)));
    let Some((name, value)) = found else { return Ok(Vec::new()) };
    let id = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match value {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list.iter().map(id).collect(),
        one => id(one).map(|id| vec![id]),
    };
    ids.ok_or_else(|| fields.wrong(name, "a token id, a list of them or null"))
}
