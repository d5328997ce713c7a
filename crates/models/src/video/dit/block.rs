//! A layer, and how times change what it does.

use super::attention::{Context, CrossAttention, SelfAttention, Sequences};
use super::config::DitConfig;
use super::ffn::Ffn;
use super::rows::Told;
use crate::Error;
use crate::layers::linear::LayerNorm;
use crate::video::parameters::{self, Parameter, Visit};
use crate::weights::{Role, Source};
use std::ops::Range;
use std::sync::Arc;
use tensor::Tensor;

/// One layer.
#[derive(Debug)]
pub(super) struct Block {
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
    pub(super) fn new(
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

    pub(super) fn forward(
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

    pub(super) fn walk(&mut self, name: &str, visit: Visit<'_>) {
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
pub(super) struct Modulated {
    /// `[times * modalities, 6 * hidden_size]`.
    shared: Tensor,
    modalities: usize,
    hidden_size: usize,
    /// The pair of each row.
    groups: Arc<[usize]>,
}

impl Modulated {
    /// `shared` is of each pair of [`Told`], `[pairs, 6 * hidden_size]`; `rows` says which each row has.
    pub(super) fn new(config: &DitConfig, shared: &Tensor, rows: &[Told]) -> Self {
        let modalities = config.modalities;
        let groups = rows.iter().map(|told| told.pair * modalities + told.modality);
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
pub(super) fn modulate(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    groups: &Arc<[usize]>,
) -> Tensor {
    let one = Tensor::full(scale.device(), &[scale.last_dim()], 1.0);
    x.affine_rows(Some(&scale.add_row(&one)), Some(shift), groups)
}

/// LayerNorm without weight and bias.
pub(super) fn plain_norm(x: &Tensor, eps: f64) -> Tensor {
    let constant = |value| Tensor::full(x.device(), &[x.last_dim()], value);
    x.layer_norm(&constant(1.0), &constant(0.0), eps as f32)
}
