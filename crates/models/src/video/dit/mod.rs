//! A diffusion transformer for video: one core whose layers are configured.
//!
//! ```text
//! x  = patches(latents)                      m = table + modulation(time)
//! x += gate_1 * attention(norm(x) * (1 + scale_1) + shift_1)
//! x += cross_attention(x, prompt)
//! x += gate_2 * ffn(norm(x) * (1 + scale_2) + shift_2)
//! ```
//!
//! Times are per row: all rows of a sample usually have one, frames that are given have others. Rows
//! with the same time share their modulation. Sources: arXiv:2310.00426 (one table per layer beside a
//! projection that all share), arXiv:2509.24695, arXiv:2503.20314, arXiv:2403.03206 (the prompt's mean
//! beside the time).
//!
//! Where the prompt is packed a sequence is its rows, then those of a reference picture, then the
//! clip's. What is given is clean: rows of prompt and reference have time 0.

mod attention;
mod block;
mod condition;
pub mod config;
mod ffn;
mod input;
mod rows;

pub use input::DitInput;

use crate::Error;
use crate::layers::linear::{Bias, Linear};
use crate::video::parameters::{self, Parameter, Visit};
use crate::weights::{Role, Source};
use attention::{Context, Sequences};
use block::{Block, Modulated, modulate, plain_norm};
use condition::{Image, Text, Times};
use config::{DitConfig, TextPlacement};
use rows::{Rows, Told};
use std::sync::Arc;
use tensor::{Tensor, Window};

/// The model with its weights.
#[derive(Debug)]
pub struct VideoDit {
    config: DitConfig,
    patch_embedding: Linear,
    times: Times,
    text: Text,
    image: Option<Image>,
    blocks: Vec<Block>,
    /// Shift and scale of the last norm, beside the time's vector; `[2, hidden_size]`, with the axes
    /// of 1 that files have.
    head_table: Tensor,
    head: Linear,
}

impl VideoDit {
    /// Makes the model of `config` from a source that knows our names.
    ///
    /// # Errors
    ///
    /// If a weight is missing or has another shape than the config says.
    ///
    /// # Panics
    ///
    /// If parts of the config cannot go together.
    pub fn new(config: DitConfig, source: &mut dyn Source) -> Result<Self, Error> {
        Self::with_tables(config, source, [&[], &[]])
    }

    /// The same where files have more axes, of size 1, before those of the tables of the layers and of
    /// the head.
    pub(crate) fn with_tables(
        config: DitConfig,
        source: &mut dyn Source,
        [layer_axes, head_axes]: [&[usize]; 2],
    ) -> Result<Self, Error> {
        config.check();
        let d = config.hidden_size;
        let [frames, height, width] = config.patch_size;
        let filter = [d, config.in_channels, frames, height, width];
        let image = match &config.image {
            Some(image) => Some(Image::new(image, d, source)?),
            None => None,
        };
        let head_features = config.out_channels * config.patch_size.iter().product::<usize>();
        let role = Role::Projection;
        Ok(Self {
            patch_embedding: Linear::conv(source, "patch_embedding", &filter, Bias::With)?,
            times: Times::new(&config, source)?,
            text: Text::new(&config.text, d, source)?,
            image,
            blocks: (0..config.layers.len())
                .map(|i| Block::new(&config, i, layer_axes, source))
                .collect::<Result<_, _>>()?,
            head_table: source.tensor("head_table", &[head_axes, &[2, d]].concat(), Role::Rows)?,
            head: Linear::new(source, "head", [head_features, d], Bias::With, role)?,
            config,
        })
    }

    /// Its shape.
    pub fn config(&self) -> &DitConfig {
        &self.config
    }

    /// The prediction for `input`, `[batch, out_channels, frames, height, width]` of whole patches.
    ///
    /// # Panics
    ///
    /// If shapes do not fit: see [`check`](Self::check).
    #[track_caller]
    pub fn forward(&self, input: &DitInput) -> Tensor {
        if let Err(error) = self.check(input) {
            panic!("{error}");
        }
        let (batch, grid) = (input.batch(), self.config.grid(input.size()));
        let video = self.patches(&input.latents);
        let text = self.text.forward(&input.text); // [batch, rows, d]
        let reference = input.reference.as_ref().map(|reference| self.patches(reference));
        let rows = Rows::new(&self.config, &text, input.reference.as_ref(), grid);
        let parts: Vec<&Tensor> = match self.config.text.placement {
            TextPlacement::Cross => vec![&video],
            TextPlacement::Packed => {
                [Some(&text), reference.as_ref(), Some(&video)].into_iter().flatten().collect()
            }
        };
        let mut x = Tensor::cat(&parts, 1).reshape(&[batch * rows.len(), self.config.hidden_size]);
        if self.config.places {
            x = self.placed(&x, &rows, batch);
        }
        let sequences = Sequences {
            batch,
            len: rows.len(),
            grid,
            angles: Arc::new(rows.angles(&self.config.rope)),
            pairing: self.config.rope.pairing,
        };
        let context = self.context(input, &text);
        let told = rows.told(&self.config, input);
        let (vectors, shared) = self.times.forward(&told.pairs, &text);
        let modulated = Modulated::new(&self.config, &shared, &told.groups);
        for block in &self.blocks {
            x = block.forward(&x, &modulated, &sequences, &context);
        }
        self.predict(&x, &vectors, &told.groups, &sequences, &rows)
    }

    /// Rows with what their places add.
    fn placed(&self, x: &Tensor, rows: &Rows, batch: usize) -> Tensor {
        let d = self.config.hidden_size;
        let places = rows.places(x.device(), &self.config);
        let text = Tensor::zeros(x.device(), &[rows.len() - places.rows(), d]);
        let one = Tensor::cat(&[&text, &places], 0);
        let all: Vec<&Tensor> = std::iter::repeat_n(&one, batch).collect();
        x.add_scaled(1.0, &Tensor::cat(&all, 0), 1.0)
    }

    /// Latents `[batch, in_channels, frames, height, width]` as rows, `[batch, rows, hidden_size]`.
    fn patches(&self, latents: &Tensor) -> Tensor {
        let window = Window {
            kernel: self.config.patch_size,
            stride: self.config.patch_size,
            padding: [[0; 2]; 3],
        };
        let patches = latents.permute(&[0, 2, 3, 4, 1]).conv(&self.patch_embedding.weight, &window);
        let (batch, d) = (latents.shape()[0], self.config.hidden_size);
        let x = patches.reshape(&[batch, patches.len() / batch / d, d]);
        match &self.patch_embedding.bias {
            Some(bias) => x.add_row(bias),
            None => x,
        }
    }

    /// Norm and projection of the video's rows, patches put together.
    fn predict(
        &self,
        x: &Tensor,
        vectors: &Tensor,
        groups: &[Told],
        sequences: &Sequences,
        rows: &Rows,
    ) -> Tensor {
        let &Sequences { batch, len, grid, .. } = sequences;
        let d = self.config.hidden_size;
        let x = x.reshape(&[batch, len, d]).narrow(1, rows.video());
        let x = x.reshape(&[batch * rows.video().len(), d]);
        let of_video =
            groups.iter().enumerate().filter(|(row, _)| rows.video().contains(&(row % len)));
        let groups: Arc<[usize]> = of_video.map(|(_, told)| told.pair).collect();
        let tables = self.head_table.reshape(&[2, d]);
        let [shift, scale] = [0, 1].map(|i| {
            vectors.add_row(&tables.narrow(0, i..i + 1).reshape(&[d])) // [groups, d]
        });
        let n = modulate(&plain_norm(&x, self.config.out_norm_eps), &scale, &shift, &groups);
        let [frames, height, width] = grid;
        let [pt, ph, pw] = self.config.patch_size;
        let channels = self.config.out_channels;
        let patches =
            self.head.forward(&n).reshape(&[batch, frames, height, width, pt, ph, pw, channels]);
        let shape = [batch, channels, frames * pt, height * ph, width * pw];
        patches.permute(&[0, 7, 1, 4, 2, 5, 3, 6]).reshape(&shape)
    }

    /// The rows for cross-attention: of each sample those of its image, then those of its prompt that
    /// are looked at.
    fn context(&self, input: &DitInput, text: &Tensor) -> Context {
        let [batch, text_len, d] = *text.shape() else { panic!("prompts {text:?}") };
        let mut rows = text.clone();
        let mut image_len = 0;
        if let (Some(image), Some(features)) = (&self.image, &input.image) {
            let image = image.forward(features);
            image_len = image.len() / batch.max(1) / d;
            rows = Tensor::cat(&[&image.reshape(&[batch, image_len, d]), text], 1);
        }
        let len = image_len + text_len;
        let rows = rows.reshape(&[batch * len, d]);
        let span = |i: usize| i * len..(i + 1) * len;
        let Some(mask) = &input.text_mask else {
            return Context { rows, spans: (0..batch).map(span).collect() };
        };
        let mut kept = Vec::new();
        let mut spans = Vec::new();
        for (i, mask) in mask.chunks(text_len.max(1)).enumerate() {
            let start = kept.len();
            let none = !mask.contains(&true);
            let text = mask.iter().enumerate().filter(|(_, keep)| **keep || none);
            let first = i * len;
            kept.extend(
                (first..first + image_len).chain(text.map(|(row, _)| first + image_len + row)),
            );
            spans.push(start..kept.len());
        }
        Context { rows: rows.take_rows(&kept.into()), spans }
    }

    /// Calls `visit` with every parameter and our name of it, in the shape that products have.
    pub fn for_each_parameter(&mut self, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        self.walk(&mut |name, parameter| parameters::values(visit, name, parameter));
    }

    /// Leaves only what inference needs.
    pub fn freeze(&mut self) {
        self.walk(&mut |_, parameter| parameters::freeze(parameter));
    }

    pub(in crate::video) fn walk(&mut self, visit: Visit<'_>) {
        let patch = self.config.patch_size;
        parameters::conv(&mut self.patch_embedding, "patch_embedding", &patch, visit);
        self.times.walk(visit);
        self.text.walk(visit);
        if let Some(image) = &mut self.image {
            image.walk(visit);
        }
        for (i, block) in self.blocks.iter_mut().enumerate() {
            block.walk(&format!("blocks.{i}"), visit);
        }
        visit("head_table", Parameter::Tensor(&mut self.head_table));
        parameters::linear(&mut self.head, "head", visit);
    }
}
