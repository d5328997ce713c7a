//! The config in the metadata of a GGUF file of architecture `minimax-01`, in llama.cpp's keys; what
//! these have no key for is under `fulgurite.` (`docs/gguf.md` lists them).

use super::fields::Fields;
use super::{Config, LayerType, ResidualFactors, SlopeRule};
use crate::Error;
use serde_json::{Map, Value};
use std::path::Path;
use tensor::Checkpoint;
use tensor::gguf::{Array, Metadata, Value as Typed};

/// Value of `general.architecture`.
const ARCHITECTURE: &str = "minimax-01";

const NAME: &str = "general.architecture";
const SPLIT: &str = "split.count";
const LAYERS: &str = "minimax-01.block_count";
const CONTEXT: &str = "minimax-01.context_length";
const HIDDEN: &str = "minimax-01.embedding_length";
const FFN: &str = "minimax-01.feed_forward_length";
const VOCAB: &str = "minimax-01.vocab_size";
const HEADS: &str = "minimax-01.attention.head_count";
const KV_HEADS: &str = "minimax-01.attention.head_count_kv";
const KEY: &str = "minimax-01.attention.key_length";
const VALUE: &str = "minimax-01.attention.value_length";
const EPS: &str = "minimax-01.attention.layer_norm_rms_epsilon";
const RECURRENT: &str = "minimax-01.attention.recurrent_layers";
const INTERVAL: &str = "minimax-01.full_attention_interval";
const THETA: &str = "minimax-01.rope.freq_base";
const ROTARY: &str = "minimax-01.rope.dimension_count";
const EXPERTS: &str = "minimax-01.expert_count";
const EXPERTS_USED: &str = "minimax-01.expert_used_count";
const SCALE: &str = "minimax-01.residual_scale";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const ALL_EOS: &str = "fulgurite.eos_token_ids";
const SLOPES: &str = "fulgurite.slope_rule";
const LOG_LENGTH: &str = "fulgurite.attention_log_length_base";
const RELEVANCE: &str = "fulgurite.relevance_token_id";

/// All that are read.
const KEYS: [&str; 24] = [
    NAME,
    SPLIT,
    LAYERS,
    CONTEXT,
    HIDDEN,
    FFN,
    VOCAB,
    HEADS,
    KV_HEADS,
    KEY,
    VALUE,
    EPS,
    RECURRENT,
    INTERVAL,
    THETA,
    ROTARY,
    EXPERTS,
    EXPERTS_USED,
    SCALE,
    EOS,
    ALL_EOS,
    SLOPES,
    LOG_LENGTH,
    RELEVANCE,
];
/// Those of numbers that need not be whole. Another type would be taken for another number.
const FLOATS: [&str; 4] = [EPS, THETA, SCALE, LOG_LENGTH];
/// Longer lists are not looked at.
const MAX_LIST: usize = 10_000;

/// The key of a field whose value depends on others.
pub(super) fn key_of(field: &'static str) -> &'static str {
    match field {
        "num_attention_heads" => HEADS,
        "num_key_value_heads" => KV_HEADS,
        "num_local_experts" => EXPERTS,
        "num_experts_per_tok" => EXPERTS_USED,
        "hidden_size" => HIDDEN,
        other => other,
    }
}

impl Config {
    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    ///
    /// If it is of another architecture, or has values that a model cannot have.
    pub fn from_gguf(checkpoint: &Checkpoint) -> Result<Self, Error> {
        let none = Metadata::new();
        let metadata = checkpoint.metadata().unwrap_or(&none);
        let found = KEYS.into_iter().filter_map(|key| Some((key, metadata.get(key)?)));
        let map: Map<String, Value> =
            found.clone().map(|(key, value)| (key.to_owned(), json_of(value))).collect();
        let fields = Fields::new(map, checkpoint.path());
        for (key, value) in found.filter(|(key, _)| FLOATS.contains(key)) {
            let (Typed::F32(_) | Typed::F64(_)) = value else {
                return Err(fields.wrong(key, "a number of type f32 or f64"));
            };
            if fields.get(key).is_some_and(Value::is_null) {
                return Err(fields.wrong(key, "a finite number"));
            }
        }
        match fields.get(NAME) {
            None => return Err(fields.missing(NAME)),
            Some(name) if name != ARCHITECTURE => {
                let found = name.as_str().unwrap_or("?").chars().take(60).collect::<String>();
                let found = format!("`{found}`");
                let path = checkpoint.path().to_owned();
                return Err(Error::Architecture { path, found, supported: ARCHITECTURE });
            }
            Some(_) => {}
        }
        fields.refuse_unless(SPLIT, |n| *n == 0 || *n == 1, "1: a file that is not split")?;
        let num_hidden_layers = fields.size(&[LAYERS], 10_000)?;
        let hidden_size = fields.size(&[HIDDEN], 1 << 24)?;
        let num_attention_heads = fields.size(&[HEADS], 1 << 16)?;
        let head_dim = match fields.optional_size(&[KEY, VALUE], 1 << 16)? {
            Some(head_dim) => head_dim,
            None if hidden_size.is_multiple_of(num_attention_heads) => {
                hidden_size / num_attention_heads
            }
            None => return Err(fields.missing(KEY)),
        };
        let rotary_dim = fields.integer(&[ROTARY], 0..=1 << 16)?;
        let rotary_dim = rotary_dim.map_or(head_dim, |n| n as usize);
        if rotary_dim % 2 == 1 || rotary_dim > head_dim {
            let expected = format!("an even number up to `{KEY}`, which is {head_dim}");
            return Err(fields.wrong(ROTARY, &expected));
        }
        let alpha = fields.number(&[SCALE], -1e6..=1e6)?.ok_or_else(|| fields.missing(SCALE))?;
        let factors = ResidualFactors { alpha, beta: 1.0 };
        let rows = checkpoint.shape("token_embd.weight").and_then(<[usize]>::first);
        let vocab_size = match fields.optional_size(&[VOCAB], 1 << 28)? {
            Some(vocab_size) => vocab_size,
            None => *rows.ok_or_else(|| fields.missing(VOCAB))?,
        };
        let config = Self {
            vocab_size,
            hidden_size,
            intermediate_size: fields.size(&[FFN], 1 << 24)?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: fields
                .optional_size(&[KV_HEADS], 1 << 16)?
                .unwrap_or(num_attention_heads),
            head_dim,
            num_local_experts: fields.size(&[EXPERTS], 1 << 16)?,
            num_experts_per_tok: fields.size(&[EXPERTS_USED], 1 << 16)?,
            layer_types: layer_types(&fields, num_hidden_layers)?,
            full_attn: factors,
            linear_attn: factors,
            mlp: factors,
            postnorm: true,
            rms_norm_eps: fields.number(&[EPS], 0.0..=1.0)?.ok_or_else(|| fields.missing(EPS))?,
            rope_theta: fields.number(&[THETA], 1.0..=1e15)?.unwrap_or(10_000.0),
            rotary_dim,
            tie_word_embeddings: !checkpoint.contains("output.weight"),
            max_position_embeddings: fields.size(&[CONTEXT], 1 << 40)?,
            eos_token_ids: super::eos(&fields, &[ALL_EOS, EOS])?,
            slope_rule: slope_rule(&fields)?,
            attention_log_length_base: fields.number(&[LOG_LENGTH], 1.5..=1e12)?,
            relevance_token_id: fields
                .integer(&[RELEVANCE], 0..=u64::from(u32::MAX))?
                .map(|id| id as u32),
        };
        config.check(&fields, key_of)?;
        Ok(config)
    }

    /// The metadata that [`from_gguf`](Self::from_gguf) reads. Numbers that are not whole become
    /// f32, as which the model uses all of them but `rope_theta`.
    ///
    /// # Errors
    ///
    /// If the architecture has no key for a value of this config, which came from `path`.
    pub fn to_gguf(&self, path: &Path) -> Result<Metadata, Error> {
        let wrong = |field: &str, found: String, expected: &str| Error::Field {
            path: path.to_owned(),
            field: field.to_owned(),
            found,
            expected: expected.to_owned(),
        };
        if !self.postnorm {
            return Err(wrong("postnorm", "false".to_owned(), "true for a GGUF file"));
        }
        let alpha = self.mlp.alpha;
        for (field, used, factors) in [
            ("full_attention", self.count(LayerType::FullAttention) > 0, self.full_attn),
            ("linear_attention", self.count(LayerType::LinearAttention) > 0, self.linear_attn),
            ("mlp", true, self.mlp),
        ] {
            if used && factors != (ResidualFactors { alpha, beta: 1.0 }) {
                let ResidualFactors { alpha: found, beta } = factors;
                let field = format!("layernorm_{field}_alpha");
                let expected = format!(
                    "{alpha} with a beta of 1 for a GGUF file, which has one `residual_scale` for \
                     all residuals"
                );
                return Err(wrong(&field, format!("{found} with a beta of {beta}"), &expected));
            }
        }
        let mut metadata = Metadata::new();
        let mut put = |key: &str, value: Typed| metadata.insert(key.to_owned(), value);
        put(NAME, Typed::String(ARCHITECTURE.to_owned()));
        for (key, field, value) in [
            (LAYERS, "num_hidden_layers", self.num_hidden_layers),
            (CONTEXT, "max_position_embeddings", self.max_position_embeddings),
            (HIDDEN, "hidden_size", self.hidden_size),
            (FFN, "intermediate_size", self.intermediate_size),
            (VOCAB, "vocab_size", self.vocab_size),
            (HEADS, "num_attention_heads", self.num_attention_heads),
            (KV_HEADS, "num_key_value_heads", self.num_key_value_heads),
            (KEY, "head_dim", self.head_dim),
            (VALUE, "head_dim", self.head_dim),
            (ROTARY, "rotary_dim", self.rotary_dim),
            (EXPERTS, "num_local_experts", self.num_local_experts),
            (EXPERTS_USED, "num_experts_per_tok", self.num_experts_per_tok),
        ] {
            let narrow = u32::try_from(value);
            let narrow = narrow.map_err(|_| {
                wrong(field, value.to_string(), "at most 4294967295 for a GGUF file")
            })?;
            put(key, Typed::U32(narrow));
        }
        put(EPS, Typed::F32(self.rms_norm_eps as f32));
        put(THETA, Typed::F32(self.rope_theta as f32));
        put(SCALE, Typed::F32(alpha as f32));
        let recurrent =
            self.layer_types.iter().map(|kind| *kind == LayerType::LinearAttention).collect();
        put(RECURRENT, Typed::Array(Array::Bool(recurrent)));
        if let Some(&first) = self.eos_token_ids.first() {
            put(EOS, Typed::U32(first));
        }
        // A tokenizer may have another first one, or one where this has none.
        put(ALL_EOS, Typed::Array(Array::U32(self.eos_token_ids.clone())));
        if self.slope_rule == SlopeRule::Transformers {
            put(SLOPES, Typed::String(TRANSFORMERS.to_owned()));
        }
        if let Some(base) = self.attention_log_length_base {
            put(LOG_LENGTH, Typed::F64(base));
        }
        if let Some(id) = self.relevance_token_id {
            put(RELEVANCE, Typed::U32(id));
        }
        Ok(metadata)
    }
}

/// A value without its type; of a long list only its length.
fn json_of(value: &Typed) -> Value {
    match value {
        Typed::Array(list) if list.len() > MAX_LIST => format!("a list of {}", list.len()).into(),
        value => value.to_json(),
    }
}

const TRANSFORMERS: &str = "transformers";
const RELEASED: &str = "released";

fn slope_rule(fields: &Fields<'_>) -> Result<SlopeRule, Error> {
    match fields.get(SLOPES).map(|rule| rule.as_str()) {
        None | Some(Some(RELEASED)) => Ok(SlopeRule::Released),
        Some(Some(TRANSFORMERS)) => Ok(SlopeRule::Transformers),
        Some(_) => Err(fields.wrong(SLOPES, "\"released\" or \"transformers\"")),
    }
}

/// A list, or the rule that stands for it: every so-and-so-many-th layer is a softmax layer.
fn layer_types(fields: &Fields<'_>, layers: usize) -> Result<Vec<LayerType>, Error> {
    let kind = |recurrent: bool| match recurrent {
        true => LayerType::LinearAttention,
        false => LayerType::FullAttention,
    };
    if let Some(value) = fields.get(RECURRENT) {
        let list = value.as_array().filter(|list| list.len() == layers);
        let types = list.and_then(|list| list.iter().map(|v| v.as_bool().map(kind)).collect());
        let expected = format!("a list with a boolean for each layer, {layers} by `{LAYERS}`");
        return types.ok_or_else(|| fields.wrong(RECURRENT, &expected));
    }
    let interval = fields.optional_size(&[INTERVAL], 10_000)?.unwrap_or(8);
    Ok((1..=layers).map(|i| kind(!i.is_multiple_of(interval))).collect())
}
