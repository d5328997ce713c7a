//! What a transformer is told beside its latents: times, guidance, prompt and image.

use super::config::{DitConfig, ImageConfig, TextConfig};
use super::rows::Pair;
use crate::Error;
use crate::layers::linear::{Bias, LayerNorm, Linear};
use crate::video::parameters::{self, Parameter, Visit};
use crate::weights::{Role, Source};
use tensor::{Activation, Tensor};

/// Two products with an activation between them.
#[derive(Debug)]
struct Mlp {
    linear_1: Linear,
    activation: Activation,
    linear_2: Linear,
}

impl Mlp {
    /// From `k` through `inner` to `n` features.
    fn new(
        source: &mut dyn Source,
        name: &str,
        [k, inner, n]: [usize; 3],
        activation: Activation,
    ) -> Result<Self, Error> {
        let mut linear = |part: &str, shape| {
            Linear::new(source, &format!("{name}.{part}"), shape, Bias::With, Role::Projection)
        };
        let linear_1 = linear("linear_1", [inner, k])?;
        Ok(Self { linear_1, activation, linear_2: linear("linear_2", [n, inner])? })
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        self.linear_2.forward(&self.linear_1.forward_activated(x, self.activation))
    }

    fn walk(&mut self, name: &str, visit: Visit<'_>) {
        parameters::linear(&mut self.linear_1, &format!("{name}.linear_1"), visit);
        parameters::linear(&mut self.linear_2, &format!("{name}.linear_2"), visit);
    }
}

/// Times, and the strength of guidance, as vectors.
#[derive(Debug)]
pub(crate) struct Times {
    frequencies: usize,
    time: Mlp,
    guidance: Option<Mlp>,
    /// Of the mean of a prompt's rows.
    pooled: Option<Linear>,
    /// From `[_, d]` to what all layers' modulations have in common, `[_, 6 d]`.
    modulation: Linear,
}

impl Times {
    pub(crate) fn new(config: &DitConfig, source: &mut dyn Source) -> Result<Self, Error> {
        let d = config.hidden_size;
        let sizes = [config.frequencies, d, d];
        let guidance = match config.guidance {
            true => Some(Mlp::new(source, "guidance", sizes, Activation::Silu)?),
            false => None,
        };
        let role = Role::Projection;
        let pooled = match config.text.pooled {
            true => Some(Linear::new(source, "pooled", [d, d], Bias::With, role)?),
            false => None,
        };
        Ok(Self {
            frequencies: config.frequencies,
            time: Mlp::new(source, "time", sizes, Activation::Silu)?,
            guidance,
            pooled,
            modulation: Linear::new(source, "modulation", [6 * d, d], Bias::With, role)?,
        })
    }

    /// Of each of `pairs` its vector, `[pairs, d]`, and what layers make their modulations of,
    /// `[pairs, 6 d]`; `text` is `[batch, rows, d]`.
    pub(crate) fn forward(&self, pairs: &[Pair], text: &Tensor) -> (Tensor, Tensor) {
        let waves = |of: &dyn Fn(&Pair) -> f32| {
            let rows = pairs.iter().flat_map(|pair| waves(of(pair), self.frequencies)).collect();
            Tensor::new(text.device(), &[pairs.len(), self.frequencies], rows)
        };
        let mut vector = self.time.forward(&waves(&|pair| pair.time));
        if let Some(guidance) = &self.guidance {
            vector = vector.add_scaled(1.0, &guidance.forward(&waves(&|pair| pair.guidance)), 1.0);
        }
        if let Some(pooled) = &self.pooled {
            let [batch, rows, d] = *text.shape() else { panic!("prompts {text:?}") };
            let mean = text.sum_groups(1, rows).reshape(&[batch, d]).scale(1.0 / rows as f32);
            let of_pairs = pairs.iter().map(|pair| pair.sample).collect();
            vector = vector.add_scaled(1.0, &pooled.forward(&mean).take_rows(&of_pairs), 1.0);
        }
        let modulation = self.modulation.forward(&vector.silu());
        (vector, modulation)
    }

    pub(crate) fn walk(&mut self, visit: Visit<'_>) {
        self.time.walk("time", visit);
        if let Some(guidance) = &mut self.guidance {
            guidance.walk("guidance", visit);
        }
        if let Some(pooled) = &mut self.pooled {
            parameters::linear(pooled, "pooled", visit);
        }
        parameters::linear(&mut self.modulation, "modulation", visit);
    }
}

/// Cosines, then sines, of `time` at frequencies from 1 down to nearly 1 / 10 000; a last 0 if `dim`
/// is odd. Rounded to f32 where models were trained with it: at time 1000 that is seen.
fn waves(time: f32, dim: usize) -> Vec<f32> {
    let half = dim / 2;
    let angle = |i: usize| {
        let exponent = -(10_000f64.ln() as f32) * i as f32 / half as f32;
        f64::from(time * f64::from(exponent).exp() as f32)
    };
    let cosines = (0..half).map(|i| angle(i).cos() as f32);
    let sines = (0..half).map(|i| angle(i).sin() as f32);
    cosines.chain(sines).chain((0..dim % 2).map(|_| 0.0)).collect()
}

/// The prompt's rows as vectors of the transformer.
#[derive(Debug)]
pub(crate) struct Text {
    projection: Mlp,
    norm: Option<(Tensor, f32)>,
}

impl Text {
    pub(crate) fn new(
        config: &TextConfig,
        d: usize,
        source: &mut dyn Source,
    ) -> Result<Self, Error> {
        let projection = Mlp::new(source, "text", [config.dim, d, d], Activation::GeluTanh)?;
        let norm = match config.norm_eps {
            Some(eps) => Some((source.tensor("text_norm.weight", &[d], Role::Norm)?, eps as f32)),
            None => None,
        };
        Ok(Self { projection, norm })
    }

    /// `[rows, dim]` to `[rows, hidden_size]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.projection.forward(x);
        match &self.norm {
            Some((weight, eps)) => x.rms_norm(weight, *eps),
            None => x,
        }
    }

    pub(crate) fn walk(&mut self, visit: Visit<'_>) {
        self.projection.walk("text", visit);
        if let Some((weight, _)) = &mut self.norm {
            visit("text_norm.weight", Parameter::Tensor(weight));
        }
    }
}

/// The rows of an image encoder as vectors of the transformer.
#[derive(Debug)]
pub(crate) struct Image {
    norm1: LayerNorm,
    up: Linear,
    down: Linear,
    norm2: LayerNorm,
    /// `[1, positions, dim]`.
    positions: Option<Tensor>,
}

/// Of the norms around the image's projection.
const IMAGE_EPS: f64 = 1e-5;

impl Image {
    pub(crate) fn new(
        config: &ImageConfig,
        d: usize,
        source: &mut dyn Source,
    ) -> Result<Self, Error> {
        let (dim, role) = (config.dim, Role::Projection);
        let positions = match config.positions {
            Some(rows) => Some(source.tensor("image.pos_embed", &[1, rows, dim], Role::Rows)?),
            None => None,
        };
        Ok(Self {
            norm1: LayerNorm::new(source, "image.norm1", dim, IMAGE_EPS)?,
            up: Linear::new(source, "image.up", [dim, dim], Bias::With, role)?,
            down: Linear::new(source, "image.down", [d, dim], Bias::With, role)?,
            norm2: LayerNorm::new(source, "image.norm2", d, IMAGE_EPS)?,
            positions,
        })
    }

    /// `[images, rows, dim]` to `[batch, rows of one prompt, hidden_size]`; with positions, two images
    /// are of one prompt.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let x = match &self.positions {
            None => x.clone(),
            Some(positions) => {
                let [_, rows, dim] = *positions.shape() else { panic!("{positions:?}") };
                let batch = x.len() / rows / dim;
                let all = positions.take_rows(&(0..batch * rows).map(|i| i % rows).collect());
                x.reshape(&[batch, rows, dim]).add_scaled(
                    1.0,
                    &all.reshape(&[batch, rows, dim]),
                    1.0,
                )
            }
        };
        let inner = self.up.forward_activated(&self.norm1.forward(&x), Activation::Gelu);
        self.norm2.forward(&self.down.forward(&inner))
    }

    pub(crate) fn walk(&mut self, visit: Visit<'_>) {
        parameters::layer_norm(&mut self.norm1, "image.norm1", visit);
        parameters::linear(&mut self.up, "image.up", visit);
        parameters::linear(&mut self.down, "image.down", visit);
        parameters::layer_norm(&mut self.norm2, "image.norm2", visit);
        if let Some(positions) = &mut self.positions {
            visit("image.pos_embed", Parameter::Tensor(positions));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::waves;

    #[test]
    fn cosines_come_first() {
        let x = waves(2.0, 5);
        let second = 10_000f64.powf(-0.5) * 2.0;
        let want = [2f64.cos(), second.cos(), 2f64.sin(), second.sin(), 0.0];
        for (x, want) in x.iter().zip(want) {
            assert!((f64::from(*x) - want).abs() < 1e-6, "{x} {want}");
        }
        assert_eq!(x.len(), 5);
    }
}
