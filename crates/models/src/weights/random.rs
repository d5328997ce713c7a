//! Weights by chance.

use super::{Role, Source, is_bf16, precision_of};
use crate::{Config, Error, MiniMaxText01};
use std::collections::BTreeMap;
use std::sync::Arc;
use tensor::safetensors::Made;
use tensor::{Device, Precision, Rng, Saved, Tensor, Weight};

/// Random weights as parameters to be trained: the report's initial scale (arXiv:2501.08313,
/// section 4.2), Xavier with DeepNorm's `(8 layers)^(-1/4)` on the way to the residual stream.
#[derive(Debug)]
pub struct Random<'a> {
    device: &'a Device,
    precision: Precision,
    deep_scale: f32,
    seed: u64,
    drawn: u64,
}

/// A random tensor that is not drawn yet.
#[derive(Clone, Debug)]
struct Draft {
    shape: Vec<usize>,
    numbers: Numbers,
}

#[derive(Clone, Debug)]
enum Numbers {
    All(f32),
    Normal {
        rng: Rng,
        std: f32,
        /// Rows of q, k and v of a head, of which v is scaled.
        qkv: Option<(usize, f32)>,
    },
}

impl Draft {
    fn draw(&self, device: &Device) -> Tensor {
        let (rng, std, qkv) = match &self.numbers {
            Numbers::All(value) => return Tensor::full(device, &self.shape, *value),
            Numbers::Normal { rng, std, qkv } => (rng, *std, *qkv),
        };
        let mut tensor = Tensor::normal(device, &self.shape, std, &mut rng.clone());
        if let Some((head_dim, scale)) = qkv {
            let part = head_dim * self.shape[self.shape.len() - 1];
            for head in tensor.data_mut().chunks_exact_mut(3 * part) {
                head[2 * part..].iter_mut().for_each(|v| *v *= scale);
            }
        }
        tensor
    }

    /// The matrix of each expert of stacked ones.
    fn experts(&self) -> Vec<Self> {
        let [experts, n, k] = self.shape[..] else { panic!("experts {self:?}") };
        let expert = |e: usize| {
            let mut draft = Self { shape: vec![n, k], ..self.clone() };
            if let Numbers::Normal { rng, .. } = &mut draft.numbers {
                rng.skip_normals((e * n * k) as u64);
            }
            draft
        };
        (0..experts).map(expert).collect()
    }
}

impl<'a> Random<'a> {
    /// Weights of a model of `layers` layers; the same seed gives the same weights.
    pub fn new(device: &'a Device, precision: Precision, layers: usize, seed: u64) -> Self {
        let deep_scale = (8.0 * layers as f32).powf(-0.25);
        Self { device, precision, deep_scale, seed, drawn: 0 }
    }

    fn draft(&mut self, shape: &[usize], role: Role) -> Draft {
        let of = |numbers| Draft { shape: shape.to_vec(), numbers };
        match role {
            Role::Norm => return of(Numbers::All(1.0)),
            Role::Bias => return of(Numbers::All(0.0)),
            _ => (),
        }
        self.drawn += 1;
        let (k, rest) = shape.split_last().map_or((1, &[][..]), |(k, rest)| (*k, rest));
        let [n, k] = [rest.last().copied().unwrap_or(1), k].map(|n| n as f32);
        let xavier = (2.0 / (n + k)).sqrt();
        let std = match role {
            Role::Embedding => 1.0,
            // Small beside what it is added to.
            Role::Rows => 0.02,
            // Chosen so that the first guesses are even: 1 / sqrt(hidden) would be confident.
            Role::Head | Role::Router => 0.02,
            Role::Deep => xavier * self.deep_scale,
            // As three separate square-ish matrices would get.
            Role::Qkv { .. } => (2.0 / (n / 3.0 + k)).sqrt(),
            _ => xavier,
        };
        let qkv = match role {
            Role::Qkv { head_dim } => Some((head_dim, self.deep_scale)),
            _ => None,
        };
        of(Numbers::Normal { rng: Rng::stream(self.seed, self.drawn), std, qkv })
    }

    fn draw(&mut self, shape: &[usize], role: Role) -> Tensor {
        self.draft(shape, role).draw(self.device).into_parameter()
    }
}

impl Source for Random<'_> {
    fn tensor(&mut self, _name: &str, shape: &[usize], role: Role) -> Result<Tensor, Error> {
        Ok(self.draw(shape, role))
    }

    fn weight(&mut self, _name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        Ok(Weight::new(self.draw(shape, role), precision_of(role, self.precision)))
    }
}

/// The tensors of a random checkpoint as [`saved`](super::saved) gives those of a model of [`Random`]
/// weights, each drawn when it is written: they need no more memory than the largest matrix, however large
/// the model. `written` is told the numbers of each as it is drawn.
///
/// # Errors
///
/// If there is no model of `config`.
pub fn random_tensors(
    config: Config,
    device: &Device,
    seed: u64,
    precision: Precision,
    written: impl Fn(usize) + Send + Sync + 'static,
) -> Result<BTreeMap<String, Saved>, Error> {
    let random = Random::new(device, Precision::F32, config.num_hidden_layers, seed);
    let mut drafts = Drafts { random, drafts: Vec::new() };
    MiniMaxText01::new(config, &mut drafts)?;
    let mut tensors = BTreeMap::new();
    let written = Arc::new(written);
    let mut add = |name: String, draft: Draft| {
        let (device, written) = (device.host(), Arc::clone(&written));
        let (shape, is_bf16) = (draft.shape.clone(), is_bf16(&name, precision));
        let made = Made::new(&shape, is_bf16, move || {
            let tensor = draft.draw(&device);
            written(tensor.len());
            if is_bf16 { tensor.to_bf16() } else { tensor }
        });
        tensors.insert(name, Saved::Made(made));
    };
    for (name, draft) in drafts.drafts {
        match name.split_once(".experts.") {
            None => add(name, draft),
            Some((prefix, part)) => {
                for (e, draft) in draft.experts().into_iter().enumerate() {
                    add(format!("{prefix}.experts.{e}.{part}"), draft);
                }
            }
        }
    }
    Ok(tensors)
}

/// Notes what is asked for and gives empty tensors.
struct Drafts<'a> {
    random: Random<'a>,
    drafts: Vec<(String, Draft)>,
}

impl Source for Drafts<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, Error> {
        self.drafts.push((name.to_owned(), self.random.draft(shape, role)));
        Ok(Tensor::zeros(self.random.device, &vec![0; shape.len()]))
    }

    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        Ok(Weight::new(self.tensor(name, shape, role)?, Precision::F32))
    }
}

#[cfg(test)]
mod tests {
    use super::super::saved;
    use super::*;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A checkpoint that is drawn piece by piece is the one of a model that is there as a whole.
    #[test]
    fn random_tensors_are_those_of_a_random_model() {
        let text = |tied: bool| {
            format!(
                r#"{{
                    "model_type": "minimax_text_01", "vocab_size": 70, "hidden_size": 24,
                    "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
                    "num_key_value_heads": 2, "head_dim": 8, "num_local_experts": 5,
                    "num_experts_per_tok": 2, "rope_theta": 10000, "rotary_dim": 4,
                    "attn_type_list": [0, 0, 1], "max_position_embeddings": 64,
                    "tie_word_embeddings": {tied}
                }}"#
            )
        };
        for (tied, precision) in [(false, Precision::F32), (true, Precision::Bf16)] {
            let config =
                Config::from_json(text(tied).as_bytes(), Path::new("config.json")).unwrap();
            let device = Device::cpu(2);
            let mut random = Random::new(&device, Precision::F32, config.num_hidden_layers, 9);
            let mut model = MiniMaxText01::new(config.clone(), &mut random).unwrap();
            let want = saved(&mut model, precision);
            let drawn = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&drawn);
            let written = move |numbers| _ = count.fetch_add(numbers, Ordering::Relaxed);
            let parameters = config.num_parameters();
            let got = random_tensors(config, &device, 9, precision, written).unwrap();
            assert!(got.keys().eq(want.keys()), "{:?}", got.keys());
            for (name, got) in got {
                let Saved::Made(got) = got else { panic!("{name} is there already") };
                let Saved::Tensor(want) = &want[&name] else { panic!("{name}") };
                let got = got.tensor();
                assert_eq!((got.shape(), got.is_bf16()), (want.shape(), want.is_bf16()), "{name}");
                assert_eq!(got.to_vec(), want.to_vec(), "{name}");
            }
            assert_eq!(drawn.load(Ordering::Relaxed) as u128, parameters);
        }
    }
}
