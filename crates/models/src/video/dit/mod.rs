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
//! projection that all share), arXiv:2509.24695, arXiv:2503.20314.

pub(crate) mod attention;
mod condition;
pub mod config;
pub(crate) mod ffn;

use crate::Error;
use crate::layers::linear::{Bias, LayerNorm, Linear};
use crate::video::parameters::{self, Parameter, Visit};
use crate::weights::{Role, Source};
use attention::{Context, CrossAttention, SelfAttention, Sequences};
use condition::{Image, Text, Times};
use config::{DitConfig, ImageConfig, TextPlacement};
use ffn::Ffn;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use tensor::{Angles, Tensor, Window};

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

/// What a forward pass is given.
#[derive(Clone, Debug)]
pub struct DitInput {
    /// `[batch, in_channels, frames, height, width]`.
    pub latents: Tensor,
    /// Rows of the text encoder, `[batch, rows, dim]`.
    pub text: Tensor,
    /// Which of these rows are looked at, all if it is not given; a prompt of which none is has all.
    pub text_mask: Option<Vec<bool>>,
    /// Rows of the image encoder, `[images, rows, dim]`.
    pub image: Option<Tensor>,
    /// A time for each sample, or for each token of each sample.
    pub times: Vec<f32>,
    /// The strength of guidance of each sample, for models that ask for it.
    pub guidance: Option<Vec<f32>>,
}

impl DitInput {
    fn batch(&self) -> usize {
        self.latents.shape()[0]
    }

    fn size(&self) -> [usize; 3] {
        let shape = self.latents.shape();
        [shape[2], shape[3], shape[4]]
    }
}

impl VideoDit {
    /// Makes the model of `config` from a source that knows our names.
    ///
    /// # Errors
    ///
    /// If a weight is missing or has another shape than the config says.
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
        let d = self.config.hidden_size;
        let (batch, grid) = (input.batch(), self.config.grid(input.size()));
        let video_len: usize = grid.iter().product();
        let window = Window {
            kernel: self.config.patch_size,
            stride: self.config.patch_size,
            padding: [[0; 2]; 3],
        };
        let latents = input.latents.permute(&[0, 2, 3, 4, 1]);
        let patches = latents.conv(&self.patch_embedding.weight, &window);
        let mut x = patches.reshape(&[batch * video_len, d]);
        if let Some(bias) = &self.patch_embedding.bias {
            x = x.add_row(bias);
        }
        let text = self.text.forward(&input.text); // [batch, rows, d]
        let text_len = match self.config.text.placement {
            TextPlacement::Cross => 0,
            TextPlacement::Packed => text.shape()[1],
        };
        if text_len > 0 {
            let video = x.reshape(&[batch, video_len, d]);
            x = Tensor::cat(&[&text, &video], 1).reshape(&[batch * (text_len + video_len), d]);
        }
        let len = text_len + video_len;
        let sequences = Sequences {
            batch,
            len,
            grid,
            angles: Arc::new(self.angles(text_len, grid)),
            pairing: self.config.rope.pairing,
        };
        let context = self.context(input, &text);
        let (pairs, groups) = self.times_of(input, text_len, video_len);
        let (vectors, shared) = self.times.forward(x.device(), &pairs);
        let modulated = Modulated::new(&self.config, &shared, &groups, text_len, len);
        for block in &self.blocks {
            x = block.forward(&x, &modulated, &sequences, &context);
        }
        self.predict(&x, &vectors, &groups, &sequences, text_len)
    }

    /// Norm and projection of the video's rows, patches put together.
    fn predict(
        &self,
        x: &Tensor,
        vectors: &Tensor,
        groups: &[usize],
        sequences: &Sequences,
        text_len: usize,
    ) -> Tensor {
        let &Sequences { batch, len, grid, .. } = sequences;
        let d = self.config.hidden_size;
        let video_len = len - text_len;
        let x =
            x.reshape(&[batch, len, d]).narrow(1, text_len..len).reshape(&[batch * video_len, d]);
        let groups: Arc<[usize]> =
            (0..batch * len).filter(|row| row % len >= text_len).map(|row| groups[row]).collect();
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

    /// Angles of the tokens of one sample: the prompt's rows along the first axis, then the video's
    /// grid after them.
    fn angles(&self, text_len: usize, [frames, height, width]: [usize; 3]) -> Angles {
        let rope = &self.config.rope;
        let text = (0..text_len).map(|row| [row, 0, 0]);
        let video = (0..frames * height * width)
            .map(|i| [text_len + i / width / height, i / width % height, i % width]);
        let angles = text.chain(video).flat_map(|position| {
            (0..3).flat_map(move |axis| {
                let dim = rope.dims[axis];
                (0..dim / 2).map(move |i| {
                    let frequency = 1.0 / rope.theta.powf(2.0 * i as f64 / dim as f64);
                    position[axis] as f64 * frequency
                })
            })
        });
        Angles::new(rope.dims.iter().sum::<usize>() / 2, angles)
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

    /// The different pairs of time and guidance, and which of them each row has; the prompt's rows
    /// have that of the first token of their sample.
    fn times_of(
        &self,
        input: &DitInput,
        text_len: usize,
        video_len: usize,
    ) -> (Vec<(f32, f32)>, Vec<usize>) {
        let (mut known, mut pairs, mut groups) = (BTreeMap::new(), Vec::new(), Vec::new());
        let batch = input.batch();
        let per_sample = input.times.len() / batch.max(1);
        for (sample, row) in
            (0..batch).flat_map(|i| (0..text_len + video_len).map(move |row| (i, row)))
        {
            let token = row.saturating_sub(text_len).min(per_sample - 1);
            let guidance = input.guidance.as_ref().map_or(0.0, |guidance| guidance[sample]);
            let pair = (input.times[sample * per_sample + token], guidance);
            let group = *known.entry((pair.0.to_bits(), pair.1.to_bits())).or_insert_with(|| {
                pairs.push(pair);
                pairs.len() - 1
            });
            groups.push(group);
        }
        (pairs, groups)
    }

    /// Whether the model can read `input`.
    ///
    /// # Errors
    ///
    /// Names the input that it cannot read, what was found and what was expected.
    pub fn check(&self, input: &DitInput) -> Result<(), Error> {
        let config = &self.config;
        let wrong = |name: &'static str, found: String, expected: String| {
            Err(Error::Input { name, found, expected })
        };
        let [batch, channels, frames, height, width] = *input.latents.shape() else {
            let found = format!("shape {:?}", input.latents.shape());
            return wrong(
                "hidden_states",
                found,
                "[batch, channels, frames, height, width]".into(),
            );
        };
        let shape = format!("shape {:?}", input.latents.shape());
        if channels != config.in_channels || batch == 0 {
            let expected = format!("[1 or more, {}, frames, height, width]", config.in_channels);
            return wrong("hidden_states", shape, expected);
        }
        let grid = config.grid([frames, height, width]);
        let max = config.rope.max_positions;
        if grid.iter().any(|n| !(1..=max).contains(n)) {
            let expected = format!("1 to {max} patches of {:?} along each axis", config.patch_size);
            return wrong("hidden_states", shape, expected);
        }
        let found = |x: &Tensor| format!("shape {:?}", x.shape());
        let dim = config.text.dim;
        let text_rows = match *input.text.shape() {
            [n, rows, features] if (n, features) == (batch, dim) && rows > 0 => rows,
            _ => {
                let expected = format!("[{batch}, 1 or more, {dim}]");
                return wrong("encoder_hidden_states", found(&input.text), expected);
            }
        };
        if let Some(mask) = &input.text_mask
            && (mask.len() != batch * text_rows || config.text.placement == TextPlacement::Packed)
        {
            let expected = match config.text.placement {
                TextPlacement::Cross => format!("{batch} x {text_rows}"),
                TextPlacement::Packed => "none for a prompt within the sequence".to_owned(),
            };
            return wrong("encoder_attention_mask", format!("{} values", mask.len()), expected);
        }
        let tokens: usize = grid.iter().product();
        if ![batch, batch * tokens].contains(&input.times.len()) {
            let expected = format!("{batch} or {batch} x {tokens}");
            return wrong("timestep", format!("{} values", input.times.len()), expected);
        }
        match (&input.guidance, config.guidance) {
            (Some(values), true) if values.len() != batch => {
                return wrong("guidance", format!("{} values", values.len()), format!("{batch}"));
            }
            (None, true) => {
                return wrong(
                    "guidance",
                    "no values".into(),
                    format!("{batch}: one for each sample"),
                );
            }
            (Some(values), false) => {
                let expected = "none: `guidance_embeds` is not true".to_owned();
                return wrong("guidance", format!("{} values", values.len()), expected);
            }
            _ => (),
        }
        let name = "encoder_hidden_states_image";
        match (&input.image, config.image) {
            (None, _) => Ok(()),
            (Some(image), None) => {
                wrong(name, found(image), "none: `image_dim` is not set".to_owned())
            }
            (Some(image), Some(ImageConfig { dim, positions })) => {
                let fits = match (image.shape(), positions) {
                    (&[n, _, features], None) => (n, features) == (batch, dim),
                    (&[n, rows, features], Some(positions)) => {
                        features == dim && 2 * rows == positions && n == 2 * batch
                    }
                    _ => false,
                };
                let expected = match positions {
                    None => format!("[{batch}, rows, {dim}]"),
                    Some(positions) => format!("[{}, {}, {dim}]", 2 * batch, positions / 2),
                };
                if fits { Ok(()) } else { wrong(name, found(image), expected) }
            }
        }
    }

    /// Calls `visit` with every parameter and our name of it, in the shape that products have.
    pub fn for_each_parameter(&mut self, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        self.walk(&mut |name, parameter| parameters::values(visit, name, parameter));
    }

    /// Leaves only what inference needs.
    pub fn freeze(&mut self) {
        self.walk(&mut |_, parameter| parameters::freeze(parameter));
    }

    fn walk(&mut self, visit: Visit<'_>) {
        parameters::linear(&mut self.patch_embedding, "patch_embedding", visit);
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

/// One layer.
#[derive(Debug)]
struct Block {
    eps: f64,
    /// Shift, scale and gate of attention, then of the feed-forward part, of each modality beside what
    /// times say: `[modalities * 6, hidden_size]`, with the axes of 1 that files have.
    table: Tensor,
    attention: SelfAttention,
    cross: Option<CrossAttention>,
    ffn_norm: Option<LayerNorm>,
    ffn: Ffn,
}

impl Block {
    fn new(
        config: &DitConfig,
        i: usize,
        table_axes: &[usize],
        source: &mut dyn Source,
    ) -> Result<Self, Error> {
        let (d, eps, layer) = (config.hidden_size, config.norm_eps, config.layers[i]);
        let part = |part: &str| format!("blocks.{i}.{part}");
        let cross = match layer.cross {
            Some(cross) => Some(CrossAttention::new(cross, d, eps, &part("cross_attn"), source)?),
            None => None,
        };
        let ffn_norm = match layer.ffn_norm_affine {
            true => Some(LayerNorm::new(source, &part("ffn_norm"), d, eps)?),
            false => None,
        };
        let table = [table_axes, &[6 * config.modalities, d]].concat();
        Ok(Self {
            eps,
            table: source.tensor(&part("table"), &table, Role::Rows)?,
            attention: SelfAttention::new(layer.attention, d, eps, &part("self_attn"), source)?,
            cross,
            ffn_norm,
            ffn: Ffn::new(layer.ffn, d, &part("ffn"), source)?,
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        modulated: &Modulated,
        sequences: &Sequences,
        context: &Context,
    ) -> Tensor {
        let [shift, scale, gate, ffn_shift, ffn_scale, ffn_gate] = modulated.of(&self.table);
        let groups = &modulated.groups;
        let n = modulate(&plain_norm(x, self.eps), &scale, &shift, groups);
        let o = self.attention.forward(&n, sequences).affine_rows(Some(&gate), None, groups);
        let mut x = x.add_scaled(1.0, &o, 1.0);
        if let Some(cross) = &self.cross {
            x = x.add_scaled(1.0, &cross.forward(&x, sequences.len, context), 1.0);
        }
        let n = match &self.ffn_norm {
            Some(norm) => norm.forward(&x),
            None => plain_norm(&x, self.eps),
        };
        let n = modulate(&n, &ffn_scale, &ffn_shift, groups);
        let o = self.ffn.forward(&n, sequences.batch, sequences.grid);
        x.add_scaled(1.0, &o.affine_rows(Some(&ffn_gate), None, groups), 1.0)
    }

    fn walk(&mut self, name: &str, visit: Visit<'_>) {
        visit(&format!("{name}.table"), Parameter::Tensor(&mut self.table));
        self.attention.walk(&format!("{name}.self_attn"), visit);
        if let Some(cross) = &mut self.cross {
            cross.walk(&format!("{name}.cross_attn"), visit);
        }
        if let Some(norm) = &mut self.ffn_norm {
            parameters::layer_norm(norm, &format!("{name}.ffn_norm"), visit);
        }
        self.ffn.walk(&format!("{name}.ffn"), visit);
    }
}

/// What times say to layers: for each pair of a time and a modality the part that layers share.
struct Modulated {
    /// `[times * modalities, 6 * hidden_size]`.
    shared: Tensor,
    modalities: usize,
    hidden_size: usize,
    /// The pair of each row.
    groups: Arc<[usize]>,
}

impl Modulated {
    /// `shared` is of each time, `[times, 6 * hidden_size]`; rows have `times`. Of each sequence of
    /// `len` rows the first `text_len` are of the last modality.
    fn new(
        config: &DitConfig,
        shared: &Tensor,
        times: &[usize],
        text_len: usize,
        len: usize,
    ) -> Self {
        let modalities = config.modalities;
        let modality = |row: usize| if row % len < text_len { modalities - 1 } else { 0 };
        let groups = times.iter().enumerate().map(|(row, time)| time * modalities + modality(row));
        let shared = if modalities == 1 { shared.clone() } else { shared.repeat(0, modalities) };
        Self { shared, modalities, hidden_size: config.hidden_size, groups: groups.collect() }
    }

    /// Shift, scale and gate of attention and of the feed-forward part, `[times * modalities,
    /// hidden_size]` each, in a layer with this table.
    fn of(&self, table: &Tensor) -> [Tensor; 6] {
        let (d, pairs) = (self.hidden_size, self.shared.rows());
        let table = table.reshape(&[self.modalities, 6 * d]);
        let modality: Arc<[usize]> = (0..pairs).map(|pair| pair % self.modalities).collect();
        let all = self.shared.affine_rows(None, Some(&table), &modality);
        [0, 1, 2, 3, 4, 5].map(|i| all.narrow(1, part(i, d)))
    }
}

fn part(i: usize, size: usize) -> Range<usize> {
    i * size..(i + 1) * size
}

/// `x * (1 + scale) + shift`, of the group of each row.
fn modulate(x: &Tensor, scale: &Tensor, shift: &Tensor, groups: &Arc<[usize]>) -> Tensor {
    let one = Tensor::full(scale.device(), &[scale.last_dim()], 1.0);
    x.affine_rows(Some(&scale.add_row(&one)), Some(shift), groups)
}

/// LayerNorm without weight and bias.
fn plain_norm(x: &Tensor, eps: f64) -> Tensor {
    let constant = |value| Tensor::full(x.device(), &[x.last_dim()], value);
    x.layer_norm(&constant(1.0), &constant(0.0), eps as f32)
}
