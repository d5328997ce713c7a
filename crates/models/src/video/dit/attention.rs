//! Attention of a sequence to itself and to a prompt.

use super::config::{AttentionConfig, CrossConfig, Mixer, QkNorm};
use crate::Error;
use crate::layers::linear::{Bias, LayerNorm, Linear};
use crate::video::parameters::{self, Parameter, Visit};
use crate::weights::{Role, Source};
use std::ops::Range;
use std::sync::Arc;
use tensor::{
    Activation, Angles, Attention, AttentionRows, AttentionSpan, LinearAttention, Pairing, Tensor,
};

/// Rows of a batch: sequences of equal length, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Sequences {
    pub(crate) batch: usize,
    /// Rows of each.
    pub(crate) len: usize,
    /// Frames, height and width of the grid that the last rows of each are.
    pub(crate) grid: [usize; 3],
    /// Angles of the rows of each.
    pub(crate) angles: Arc<Angles>,
    pub(crate) pairing: Pairing,
}

/// The rows that cross-attention reads, of all prompts of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// `[rows, hidden_size]`.
    pub(crate) rows: Tensor,
    /// The rows of each prompt; within them those of an image first.
    pub(crate) spans: Vec<Range<usize>>,
}

/// One of q and k on its way from its projection to attention.
#[derive(Debug)]
enum HeadNorm {
    None,
    Rms {
        weight: Tensor,
        eps: f32,
        dim: usize,
    },
    Layer(LayerNorm),
    /// Length 1: an RMSNorm by a constant.
    L2 {
        eps: f32,
    },
}

impl HeadNorm {
    fn new(
        kind: QkNorm,
        [heads, head_dim]: [usize; 2],
        name: &str,
        source: &mut dyn Source,
    ) -> Result<Self, Error> {
        let mut rms = |dim: usize, eps: f64| {
            let weight = source.tensor(&format!("{name}.weight"), &[dim], Role::Norm)?;
            Ok(Self::Rms { weight, eps: eps as f32, dim })
        };
        match kind {
            QkNorm::None => Ok(Self::None),
            QkNorm::RmsAcrossHeads(eps) => rms(heads * head_dim, eps),
            QkNorm::RmsPerHead(eps) => rms(head_dim, eps),
            QkNorm::LayerAcrossHeads(eps) => {
                Ok(Self::Layer(LayerNorm::new(source, name, heads * head_dim, eps)?))
            }
            QkNorm::L2AcrossHeads(eps) => Ok(Self::L2 { eps: eps as f32 }),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Self::None => x.clone(),
            Self::Rms { weight, eps, dim } => {
                let heads = x.reshape(&[x.len() / dim, *dim]);
                heads.rms_norm(weight, *eps).reshape(x.shape())
            }
            Self::Layer(norm) => norm.forward(x),
            Self::L2 { eps } => {
                let dim = x.last_dim() as f32;
                let weight = Tensor::full(x.device(), &[x.last_dim()], dim.sqrt().recip());
                x.rms_norm(&weight, eps * eps / dim)
            }
        }
    }

    fn walk(&mut self, name: &str, visit: Visit<'_>) {
        match self {
            Self::Rms { weight, .. } => visit(&format!("{name}.weight"), Parameter::Tensor(weight)),
            Self::Layer(norm) => parameters::layer_norm(norm, name, visit),
            Self::None | Self::L2 { .. } => (),
        }
    }
}

/// Attention of a sequence to itself.
#[derive(Debug)]
pub(crate) struct SelfAttention {
    config: AttentionConfig,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    norm_q: HeadNorm,
    norm_k: HeadNorm,
    gate: Option<Gate>,
    to_out: Linear,
}

#[derive(Debug)]
struct Gate {
    projection: Linear,
    /// `[head_dim]`.
    norm: Tensor,
    eps: f32,
}

impl SelfAttention {
    pub(crate) fn new(
        config: AttentionConfig,
        hidden_size: usize,
        eps: f64,
        name: &str,
        source: &mut dyn Source,
    ) -> Result<Self, Error> {
        let shape = [config.heads, config.head_dim];
        let inner = config.heads * config.head_dim;
        let bias = if config.bias { Bias::With } else { Bias::Without };
        let part = |part: &str| format!("{name}.{part}");
        let (wide, shallow) = ([inner, hidden_size], Role::Projection);
        let gate = match config.gated {
            false => None,
            true => Some(Gate {
                projection: Linear::new(source, &part("gate"), wide, Bias::Without, shallow)?,
                norm: source.tensor(&part("norm_gate.weight"), &[config.head_dim], Role::Norm)?,
                eps: eps as f32,
            }),
        };
        Ok(Self {
            config,
            to_q: Linear::new(source, &part("to_q"), wide, bias, shallow)?,
            to_k: Linear::new(source, &part("to_k"), wide, bias, shallow)?,
            to_v: Linear::new(source, &part("to_v"), wide, bias, Role::Deep)?,
            norm_q: HeadNorm::new(config.qk_norm, shape, &part("norm_q"), source)?,
            norm_k: HeadNorm::new(config.qk_norm, shape, &part("norm_k"), source)?,
            gate,
            to_out: Linear::new(
                source,
                &part("to_out"),
                [hidden_size, inner],
                Bias::With,
                Role::Deep,
            )?,
        })
    }

    /// `[rows, hidden_size]` to the same shape.
    pub(crate) fn forward(&self, x: &Tensor, sequences: &Sequences) -> Tensor {
        let q = self.norm_q.forward(&self.to_q.forward(x)); // [rows, heads * head_dim]
        let k = self.norm_k.forward(&self.to_k.forward(x));
        let v = self.to_v.forward(x);
        let o = match self.config.mixer {
            Mixer::Linear { eps } => self.linear(&q, &k, &v, sequences, eps as f32),
            Mixer::Softmax => self.softmax(&q, &k, &v, sequences, sequences.len),
            Mixer::Window { frames } => {
                let [_, height, width] = sequences.grid;
                self.softmax(&q, &k, &v, sequences, frames * height * width)
            }
        };
        let o = match &self.gate {
            None => o,
            Some(gate) => {
                let heads = [o.rows() * self.config.heads, self.config.head_dim];
                let factor = gate.projection.forward(x).reshape(&heads);
                o.reshape(&heads).gated_rms_norm(&gate.norm, &factor, gate.eps).reshape(o.shape())
            }
        };
        self.to_out.forward(&o)
    }

    fn linear(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        sequences: &Sequences,
        eps: f32,
    ) -> Tensor {
        let AttentionConfig { heads, head_dim, .. } = self.config;
        let Sequences { batch, len, angles, pairing, .. } = sequences;
        let run = |i: usize| i * len..(i + 1) * len;
        let spans: Arc<[AttentionSpan]> =
            (0..*batch).map(|i| AttentionSpan { rows: run(i), keys: run(i) }).collect();
        let [q, k] = [q, k].map(|x| x.activation(Activation::Relu));
        let [turned_q, turned_k] = [&q, &k].map(|x| x.rotate(angles, *pairing, head_dim));
        let shape = LinearAttention { heads, k_dim: head_dim, v_dim: head_dim };
        let sums = turned_q.linear_attention(&turned_k, v, shape, &spans);
        let ones = Tensor::full(v.device(), &[v.rows(), heads], 1.0);
        let shape = LinearAttention { v_dim: 1, ..shape };
        let weights = q.linear_attention(&k, &ones, shape, &spans); // [rows, heads]
        let rows = [v.rows() * heads, head_dim];
        sums.reshape(&rows).divide_rows(&weights.reshape(&[rows[0]]), eps).reshape(v.shape())
    }

    /// Softmax among blocks of `block` rows of each sequence.
    fn softmax(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        sequences: &Sequences,
        block: usize,
    ) -> Tensor {
        let AttentionConfig { heads, head_dim, .. } = self.config;
        let Sequences { batch, len, angles, pairing, .. } = sequences;
        let blocks = (0..*batch).flat_map(|i| {
            let (start, end) = (i * len, (i + 1) * len);
            (start..end).step_by(block.max(1)).map(move |first| first..end.min(first + block))
        });
        let spans: Vec<_> = blocks.map(|run| (run.clone(), run)).collect();
        let [q, k] = [q, k].map(|x| x.rotate(angles, *pairing, head_dim));
        let shape = Attention { heads, kv_heads: heads, head_dim };
        q.attention(&k, v, shape, &all_of(spans, head_dim))
    }

    pub(crate) fn walk(&mut self, name: &str, visit: Visit<'_>) {
        let linears =
            [("to_q", &mut self.to_q), ("to_k", &mut self.to_k), ("to_v", &mut self.to_v)];
        for (part, linear) in linears {
            parameters::linear(linear, &format!("{name}.{part}"), visit);
        }
        parameters::linear(&mut self.to_out, &format!("{name}.to_out"), visit);
        self.norm_q.walk(&format!("{name}.norm_q"), visit);
        self.norm_k.walk(&format!("{name}.norm_k"), visit);
        if let Some(gate) = &mut self.gate {
            parameters::linear(&mut gate.projection, &format!("{name}.gate"), visit);
            visit(&format!("{name}.norm_gate.weight"), Parameter::Tensor(&mut gate.norm));
        }
    }
}

/// Attention to the prompt, and to an image with keys and values of its own.
#[derive(Debug)]
pub(crate) struct CrossAttention {
    config: CrossConfig,
    norm: Option<LayerNorm>,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    norm_q: HeadNorm,
    norm_k: HeadNorm,
    image: Option<ImageKeys>,
    to_out: Linear,
}

#[derive(Debug)]
struct ImageKeys {
    to_k: Linear,
    to_v: Linear,
    norm_k: HeadNorm,
}

impl CrossAttention {
    pub(crate) fn new(
        config: CrossConfig,
        hidden_size: usize,
        eps: f64,
        name: &str,
        source: &mut dyn Source,
    ) -> Result<Self, Error> {
        let shape = [config.heads, config.head_dim];
        let inner = config.heads * config.head_dim;
        let part = |part: &str| format!("{name}.{part}");
        let wide = [inner, hidden_size];
        let norm = match config.norm {
            true => Some(LayerNorm::new(source, &part("norm"), hidden_size, eps)?),
            false => None,
        };
        let mut linear =
            |name: &str, role| Linear::new(source, &part(name), wide, Bias::With, role);
        let (to_q, to_k) = (linear("to_q", Role::Projection)?, linear("to_k", Role::Projection)?);
        let to_v = linear("to_v", Role::Deep)?;
        let image = match config.text_rows {
            None => None,
            Some(_) => Some(ImageKeys {
                to_k: linear("add_k_proj", Role::Projection)?,
                to_v: linear("add_v_proj", Role::Deep)?,
                norm_k: HeadNorm::new(config.qk_norm, shape, &part("norm_added_k"), source)?,
            }),
        };
        Ok(Self {
            config,
            norm,
            to_q,
            to_k,
            to_v,
            norm_q: HeadNorm::new(config.qk_norm, shape, &part("norm_q"), source)?,
            norm_k: HeadNorm::new(config.qk_norm, shape, &part("norm_k"), source)?,
            image,
            to_out: Linear::new(
                source,
                &part("to_out"),
                [hidden_size, inner],
                Bias::With,
                Role::Deep,
            )?,
        })
    }

    /// `[batch * len, hidden_size]` to the same shape.
    pub(crate) fn forward(&self, x: &Tensor, len: usize, context: &Context) -> Tensor {
        let n = self.norm.as_ref().map_or_else(|| x.clone(), |norm| norm.forward(x));
        let q = self.norm_q.forward(&self.to_q.forward(&n));
        let (images, texts) = self.parts(context);
        let rows = &context.rows;
        let (k, v) = (self.norm_k.forward(&self.to_k.forward(rows)), self.to_v.forward(rows));
        let o = self.attend(&q, &k, &v, len, &texts);
        let o = match &self.image {
            // Nothing is read from an image of no rows.
            Some(keys) if images.iter().any(|rows| !rows.is_empty()) => {
                let k = keys.norm_k.forward(&keys.to_k.forward(rows));
                let of_image = self.attend(&q, &k, &keys.to_v.forward(rows), len, &images);
                o.add_scaled(1.0, &of_image, 1.0)
            }
            _ => o,
        };
        self.to_out.forward(&o)
    }

    /// Which rows of each prompt are an image's and which are text.
    fn parts(&self, context: &Context) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
        let part = |span: &Range<usize>| {
            let image = self.config.text_rows.map_or(0, |text| image_rows(span.len(), text));
            (span.start..span.start + image, span.start + image..span.end)
        };
        context.spans.iter().map(part).unzip()
    }

    fn attend(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        len: usize,
        keys: &[Range<usize>],
    ) -> Tensor {
        let CrossConfig { heads, head_dim, .. } = self.config;
        let spans = keys.iter().enumerate().map(|(i, keys)| (i * len..(i + 1) * len, keys.clone()));
        let shape = Attention { heads, kv_heads: heads, head_dim };
        q.attention(k, v, shape, &all_of(spans.collect(), head_dim))
    }

    pub(crate) fn walk(&mut self, name: &str, visit: Visit<'_>) {
        let linears = [
            ("to_q", &mut self.to_q),
            ("to_k", &mut self.to_k),
            ("to_v", &mut self.to_v),
            ("to_out", &mut self.to_out),
        ];
        for (part, linear) in linears {
            parameters::linear(linear, &format!("{name}.{part}"), visit);
        }
        self.norm_q.walk(&format!("{name}.norm_q"), visit);
        self.norm_k.walk(&format!("{name}.norm_k"), visit);
        if let Some(norm) = &mut self.norm {
            parameters::layer_norm(norm, &format!("{name}.norm"), visit);
        }
        if let Some(image) = &mut self.image {
            parameters::linear(&mut image.to_k, &format!("{name}.add_k_proj"), visit);
            parameters::linear(&mut image.to_v, &format!("{name}.add_v_proj"), visit);
            image.norm_k.walk(&format!("{name}.norm_added_k"), visit);
        }
    }
}

/// How many of `rows` rows are an image's when the last `text` are the prompt's. With fewer rows than
/// that the reference counts from the other end, which is where models were trained never to be.
fn image_rows(rows: usize, text: usize) -> usize {
    match rows.checked_sub(text) {
        Some(image) => image,
        None => (2 * rows).saturating_sub(text),
    }
}

/// In each span, of rows and keys, all rows see all keys; heads of `head_dim`.
fn all_of(spans: Vec<(Range<usize>, Range<usize>)>, head_dim: usize) -> Arc<AttentionRows> {
    let see = |(rows, keys): &(Range<usize>, Range<usize>)| {
        std::iter::repeat_n(keys.len().saturating_sub(1), rows.len())
    };
    let positions: Vec<usize> = spans.iter().flat_map(see).collect();
    let scales = vec![(head_dim as f64).sqrt().recip() as f32; positions.len()];
    let spans = spans.into_iter().map(|(rows, keys)| AttentionSpan { rows, keys }).collect();
    Arc::new(AttentionRows { spans, positions, scales })
}

#[cfg(test)]
mod tests {
    use super::image_rows;

    #[test]
    fn rows_of_an_image() {
        let cases = [(769, 512, 257), (512, 512, 0), (9, 512, 0), (400, 512, 288), (3, 1, 2)];
        for (rows, text, want) in cases {
            assert_eq!(image_rows(rows, text), want, "{rows} rows, {text} of text");
        }
    }
}
