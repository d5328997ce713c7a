//! MiniMax-Text-01 and -M1 (arXiv:2501.08313, arXiv:2506.13585); compared with the checkpoint's own
//! code and with the `minimax` model of transformers.
//!
//! ```text
//! n1 = RMSNorm(x)          y  = alpha_attn n1 + beta_attn Attn(n1)
//! n2 = RMSNorm(y)          x' = alpha_mlp  n2 + beta_mlp  MoE(n2)
//! ```
//!
//! Unusual: the residual is the *normed* tensor, scaled by alpha = (2 layers)^(1/4); 7 of 8 layers
//! are lightning attention, whose decays depend on the layer; the last layer is computed only for
//! the tokens whose logits are wanted. Our own: softmax layers may be queried by relevant tokens
//! only (`docs/adr/0005-relevance.md`).

use crate::cache::Cache;
use crate::config::{Config, LayerType, ResidualFactors};
use crate::layers::lightning_attention::LightningAttention;
use crate::layers::moe::{RouterOutput, SparseMoe};
use crate::layers::softmax_attention::SoftmaxAttention;
use crate::layers::{Caches, Rows};
use crate::weights::{Role, Source};
use crate::{Batch, CausalLm, Error, WeightBytes};
use tensor::gguf::DType;
use tensor::{Attention, Lightning, Precision, Tensor, Weight};

/// The model with its weights.
#[derive(Debug)]
pub struct MiniMaxText01 {
    config: Config,
    /// `[vocab_size, hidden_size]`.
    embed_tokens: Tensor,
    layers: Vec<DecoderLayer>,
    /// `[hidden_size]`.
    norm: Tensor,
    /// `[vocab_size, hidden_size]`, always f32.
    lm_head: Weight,
}

#[derive(Debug)]
struct DecoderLayer {
    input_layernorm: Tensor,
    mixer: Mixer,
    post_attention_layernorm: Tensor,
    block_sparse_moe: SparseMoe,
    attn: ResidualFactors,
    mlp: ResidualFactors,
    postnorm: bool,
    eps: f32,
}

#[derive(Debug)]
enum Mixer {
    Lightning(LightningAttention),
    Softmax(SoftmaxAttention),
}

/// What a forward pass gives.
#[derive(Clone, Debug)]
pub struct Output {
    /// Hidden states after the last norm for the batch's output rows, `[rows, hidden_size]`.
    pub hidden: Tensor,
    /// What each layer's router said; the last layer's for the output rows only.
    pub router: Vec<RouterOutput>,
}

/// `batch` with the queries of relevant tokens only; the sequences remember whether theirs are.
fn queried(id: u32, batch: &Batch, caches: &mut Caches<'_, '_>) -> Batch {
    let mut relevant = vec![None; batch.spans.len()];
    let Some(caches) = caches else { return batch.queried_from(id, &mut relevant) };
    relevant = caches.iter().map(|cache| cache.relevant_from).collect();
    let narrowed = batch.queried_from(id, &mut relevant);
    caches.iter_mut().zip(relevant).for_each(|(cache, from)| cache.relevant_from = from);
    narrowed
}

impl MiniMaxText01 {
    /// Makes the model of `config` from `source`: a checkpoint, or random numbers.
    ///
    /// # Errors
    ///
    /// If a weight is missing or has another shape than the config says.
    pub fn new(config: Config, source: &mut dyn Source) -> Result<Self, Error> {
        let (h, vocab) = (config.hidden_size, config.vocab_size);
        let embed_tokens =
            source.tensor("model.embed_tokens.weight", &[vocab, h], Role::Embedding)?;
        let layers = (0..config.num_hidden_layers)
            .map(|i| DecoderLayer::new(&config, i, source))
            .collect::<Result<_, _>>()?;
        let norm = source.tensor("model.norm.weight", &[h], Role::Norm)?;
        let lm_head = if config.tie_word_embeddings {
            Weight::new(embed_tokens.clone(), Precision::F32)
        } else {
            source.weight("lm_head.weight", &[vocab, h], Role::Head)?
        };
        Ok(Self { config, embed_tokens, layers, norm, lm_head })
    }

    /// The hidden states of the batch's output rows, and what the routers said.
    ///
    /// With `caches`, one per sequence, the sequences go on from there and the caches are brought
    /// up to date. Without, they start here, and a tape may be kept.
    pub fn forward(&self, batch: &Batch, mut caches: Caches<'_, '_>) -> Output {
        let narrowed = self.config.relevance_token_id.map(|id| queried(id, batch, &mut caches));
        let batch = narrowed.as_ref().unwrap_or(batch);
        // [tokens, hidden_size]
        let mut x = match &batch.inserted {
            None => self.embed_tokens.embed(&batch.input_ids),
            Some(inserted) => inserted.embed(&self.embed_tokens, &batch.input_ids),
        };
        let mut router = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            let last = i + 1 == self.layers.len();
            let rows = if last { Rows::Output } else { Rows::All };
            let said;
            (x, said) = layer.forward(x, batch, &mut caches, i, rows);
            router.push(said);
        }
        if let Some(caches) = caches {
            for (cache, span) in caches.iter_mut().zip(batch.spans.iter()) {
                cache.advance(span.len());
            }
        }
        let hidden = x.rms_norm(&self.norm, self.config.rms_norm_eps as f32);
        Output { hidden, router }
    }

    /// Bytes of the weights as they are now.
    pub fn weight_bytes(&self) -> WeightBytes {
        let row = self.embed_tokens.bytes() / self.config.vocab_size;
        let head = self.norm.bytes() + self.lm_head.bytes();
        let total = (self.embed_tokens.bytes() + head) as u64;
        let mut sum = WeightBytes { total, per_token: (row + head) as u64 };
        for layer in &self.layers {
            let WeightBytes { total, per_token } = layer.weight_bytes();
            sum.total += total;
            sum.per_token += per_token;
        }
        sum
    }

    /// The type of the experts, which are most of the weights.
    pub fn dtype(&self) -> DType {
        self.layers.first().map_or(DType::F32, |layer| layer.block_sparse_moe.w1.dtype())
    }

    /// The embeddings, `[vocab_size, hidden_size]`.
    pub fn embeddings(&self) -> &Tensor {
        &self.embed_tokens
    }

    /// The head, `[vocab_size, hidden_size]`, for a loss that is fused with it.
    pub fn lm_head(&self) -> &Weight {
        &self.lm_head
    }

    /// Calls `visit` with every parameter and its name in the checkpoint. Weights of experts are
    /// visited stacked, under the name of the layer's expert tensors without the number.
    pub fn for_each_parameter(&mut self, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        visit("model.embed_tokens.weight", &mut self.embed_tokens);
        for (i, layer) in self.layers.iter_mut().enumerate() {
            layer.for_each_parameter(&format!("model.layers.{i}."), visit);
        }
        visit("model.norm.weight", &mut self.norm);
        if !self.config.tie_word_embeddings {
            visit("lm_head.weight", self.lm_head.tensor_mut());
        }
    }

    /// Leaves only what inference needs: weights packed for the kernels, nothing to be trained.
    pub fn freeze(&mut self) {
        self.embed_tokens = self.embed_tokens.detach();
        self.norm = self.norm.detach();
        for layer in &mut self.layers {
            for (_, norm) in layer.norms() {
                *norm = norm.detach();
            }
            for (_, weight) in layer.weights() {
                weight.freeze();
            }
        }
        self.lm_head.freeze();
    }
}

impl CausalLm for MiniMaxText01 {
    fn config(&self) -> &Config {
        &self.config
    }

    fn hidden(&self, batch: &Batch, caches: &mut [&mut Cache]) -> Tensor {
        self.forward(batch, Some(caches)).hidden
    }

    fn logits(&self, batch: &Batch, caches: &mut [&mut Cache]) -> Tensor {
        self.hidden(batch, caches).linear(&self.lm_head)
    }
}

impl DecoderLayer {
    fn new(config: &Config, i: usize, source: &mut dyn Source) -> Result<Self, Error> {
        let Config { hidden_size: h, num_attention_heads: heads, head_dim, .. } = *config;
        let (ffn, experts) = (config.intermediate_size, config.num_local_experts);
        let (kv_heads, width) = (config.num_key_value_heads, heads * head_dim);
        let name = |part: &str| format!("model.layers.{i}.{part}");
        let attn = |part: &str| name(&format!("self_attn.{part}.weight"));
        let mixer = match config.layer_types[i] {
            LayerType::LinearAttention => Mixer::Lightning(LightningAttention {
                qkv_proj: source.weight(
                    &attn("qkv_proj"),
                    &[3 * width, h],
                    Role::Qkv { head_dim },
                )?,
                output_gate: source.weight(&attn("output_gate"), &[width, h], Role::Projection)?,
                norm: source.tensor(&attn("norm"), &[width], Role::Norm)?,
                out_proj: source.weight(&attn("out_proj"), &[h, width], Role::Deep)?,
                shape: Lightning { heads, head_dim },
                slopes: config.slopes(i).into(),
            }),
            LayerType::FullAttention => Mixer::Softmax(SoftmaxAttention {
                q_proj: source.weight(&attn("q_proj"), &[width, h], Role::Projection)?,
                k_proj: source.weight(
                    &attn("k_proj"),
                    &[kv_heads * head_dim, h],
                    Role::Projection,
                )?,
                v_proj: source.weight(&attn("v_proj"), &[kv_heads * head_dim, h], Role::Deep)?,
                o_proj: source.weight(&attn("o_proj"), &[h, width], Role::Deep)?,
                shape: Attention { heads, kv_heads, head_dim },
                rotary_dim: config.rotary_dim,
                rope_theta: config.rope_theta,
                log_length_base: config.attention_log_length_base,
            }),
        };
        let moe = |part: &str| name(&format!("block_sparse_moe.{part}.weight"));
        Ok(Self {
            input_layernorm: source.tensor(&name("input_layernorm.weight"), &[h], Role::Norm)?,
            post_attention_layernorm: source.tensor(
                &name("post_attention_layernorm.weight"),
                &[h],
                Role::Norm,
            )?,
            block_sparse_moe: SparseMoe {
                gate: source.weight(&moe("gate"), &[experts, h], Role::Router)?,
                w1: source.weight(&moe("experts.w1"), &[experts, ffn, h], Role::Deep)?,
                w2: source.weight(&moe("experts.w2"), &[experts, h, ffn], Role::Deep)?,
                w3: source.weight(&moe("experts.w3"), &[experts, ffn, h], Role::Deep)?,
                num_experts_per_tok: config.num_experts_per_tok,
            },
            attn: match mixer {
                Mixer::Lightning(_) => config.linear_attn,
                Mixer::Softmax(_) => config.full_attn,
            },
            mixer,
            mlp: config.mlp,
            postnorm: config.postnorm,
            eps: config.rms_norm_eps as f32,
        })
    }

    /// Lets go of every tensor where it is last used: the next ones take its memory. What a chunk
    /// needs at most is computed in `crate::memory`, in the same order.
    fn forward(
        &self,
        x: Tensor,
        batch: &Batch,
        caches: &mut Caches<'_, '_>,
        i: usize,
        rows: Rows,
    ) -> (Tensor, RouterOutput) {
        let n = x.rms_norm(&self.input_layernorm, self.eps);
        let residual = rows.of(if self.postnorm { &n } else { &x }, batch);
        drop(x);
        let a = match &self.mixer {
            Mixer::Lightning(mixer) => mixer.forward(&n, batch, caches, i, rows),
            Mixer::Softmax(mixer) => mixer.forward(&n, batch, caches, i, rows),
        };
        drop(n);
        let y = residual.add_scaled(self.attn.alpha as f32, &a, self.attn.beta as f32);
        drop((residual, a));
        let n = y.rms_norm(&self.post_attention_layernorm, self.eps);
        let residual = if self.postnorm { n.clone() } else { y.clone() };
        drop(y);
        let (m, said) = self.block_sparse_moe.forward(&n);
        (residual.add_scaled(self.mlp.alpha as f32, &m, self.mlp.beta as f32), said)
    }

    fn weight_bytes(&self) -> WeightBytes {
        let mixer = match &self.mixer {
            Mixer::Lightning(LightningAttention {
                qkv_proj, output_gate, norm, out_proj, ..
            }) => norm.bytes() + qkv_proj.bytes() + output_gate.bytes() + out_proj.bytes(),
            Mixer::Softmax(SoftmaxAttention { q_proj, k_proj, v_proj, o_proj, .. }) => {
                q_proj.bytes() + k_proj.bytes() + v_proj.bytes() + o_proj.bytes()
            }
        };
        let norms = self.input_layernorm.bytes() + self.post_attention_layernorm.bytes();
        let SparseMoe { gate, w1, w2, w3, num_experts_per_tok } = &self.block_sparse_moe;
        let experts = w1.bytes() + w2.bytes() + w3.bytes();
        let rest = mixer + norms + gate.bytes();
        WeightBytes {
            total: (rest + experts) as u64,
            per_token: (rest + experts / w1.num_experts() * num_experts_per_tok) as u64,
        }
    }

    /// The weights of all norms with their names in the checkpoint.
    fn norms(&mut self) -> Vec<(&'static str, &mut Tensor)> {
        let mut norms = vec![
            ("input_layernorm.weight", &mut self.input_layernorm),
            ("post_attention_layernorm.weight", &mut self.post_attention_layernorm),
        ];
        if let Mixer::Lightning(mixer) = &mut self.mixer {
            norms.push(("self_attn.norm.weight", &mut mixer.norm));
        }
        norms
    }

    /// All matrices with their names in the checkpoint.
    fn weights(&mut self) -> Vec<(&'static str, &mut Weight)> {
        let mut weights = match &mut self.mixer {
            Mixer::Lightning(mixer) => vec![
                ("self_attn.qkv_proj.weight", &mut mixer.qkv_proj),
                ("self_attn.output_gate.weight", &mut mixer.output_gate),
                ("self_attn.out_proj.weight", &mut mixer.out_proj),
            ],
            Mixer::Softmax(mixer) => vec![
                ("self_attn.q_proj.weight", &mut mixer.q_proj),
                ("self_attn.k_proj.weight", &mut mixer.k_proj),
                ("self_attn.v_proj.weight", &mut mixer.v_proj),
                ("self_attn.o_proj.weight", &mut mixer.o_proj),
            ],
        };
        let moe = &mut self.block_sparse_moe;
        weights.extend([
            ("block_sparse_moe.gate.weight", &mut moe.gate),
            ("block_sparse_moe.experts.w1.weight", &mut moe.w1),
            ("block_sparse_moe.experts.w2.weight", &mut moe.w2),
            ("block_sparse_moe.experts.w3.weight", &mut moe.w3),
        ]);
        weights
    }

    fn for_each_parameter(&mut self, prefix: &str, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        for (name, norm) in self.norms() {
            visit(&format!("{prefix}{name}"), norm);
        }
        for (name, weight) in self.weights() {
            visit(&format!("{prefix}{name}"), weight.tensor_mut());
        }
    }
}
