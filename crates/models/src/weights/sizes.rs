//! How large weights will be in memory, known before any is loaded.

use super::{FromCheckpoint, Policy, ROUTER, Role, Source, policy, prefix_of};
use crate::audio::voxtral::{AudioConfig, AudioEncoder};
use crate::vision::clip::{ClipVision, ClipVisionConfig};
use crate::vision::minimax_vl_01::{ImageConfig, ImageEncoder};
use crate::{Config, Error, MiniMaxText01, WeightBytes};
use tensor::gguf::DType;
use tensor::{Checkpoint, Device, Precision, Tensor, Weight};

/// Bytes of the weights of `checkpoint` as [`load`](crate::load) will hold them, nothing loaded yet;
/// saturates.
///
/// # Errors
///
/// If there is no model of `config`; what the checkpoint lacks is reported when it is loaded.
pub fn loaded_bytes(
    config: &Config,
    checkpoint: &Checkpoint,
    device: &Device,
    policy: Option<Policy>,
) -> Result<WeightBytes, Error> {
    let source = FromCheckpoint::new(checkpoint, device, policy);
    let prefix = prefix_of(checkpoint);
    sizes(config, device, policy, &|name| source.own(&format!("{prefix}{name}")))
}

/// Bytes of a part that sees, all of it stored as `stored`; saturates.
///
/// # Errors
///
/// If there is no part of `config`.
pub fn image_bytes(
    config: &ImageConfig,
    stored: DType,
    policy: Option<Policy>,
) -> Result<u64, Error> {
    part_bytes(stored, policy, |sizes| ImageEncoder::whole(config.clone(), sizes))
}

/// The same of a tower without a projector.
///
/// # Errors
///
/// If there is no tower of `config`.
pub fn tower_bytes(
    config: &ClipVisionConfig,
    stored: DType,
    policy: Option<Policy>,
) -> Result<u64, Error> {
    part_bytes(stored, policy, |sizes| ClipVision::new(config.clone(), sizes))
}

/// The same of a part that hears.
///
/// # Errors
///
/// If there is no part of `config`.
pub fn audio_bytes(
    config: &AudioConfig,
    stored: DType,
    policy: Option<Policy>,
) -> Result<u64, Error> {
    part_bytes(stored, policy, |sizes| AudioEncoder::whole(config.clone(), sizes))
}

fn part_bytes<T>(
    stored: DType,
    policy: Option<Policy>,
    make: impl FnOnce(&mut dyn Source) -> Result<T, Error>,
) -> Result<u64, Error> {
    let (device, own) = (&Device::cpu(1), &|_: &str| stored);
    let mut sizes = Sizes { device, policy, own, chosen: 1, bytes: WeightBytes::default() };
    make(&mut sizes)?;
    Ok(sizes.bytes.total)
}

/// The same for a checkpoint that is not here and stores everything as `stored`, or routers as f32,
/// which is no less; saturates.
///
/// # Errors
///
/// If there is no model of `config`.
pub fn planned_bytes(
    config: &Config,
    stored: DType,
    policy: Option<Policy>,
) -> Result<WeightBytes, Error> {
    let own = |name: &str| if name.ends_with(ROUTER) { DType::F32 } else { stored };
    sizes(config, &Device::cpu(1), policy, &own)
}

fn sizes(
    config: &Config,
    device: &Device,
    policy: Option<Policy>,
    own: &dyn Fn(&str) -> DType,
) -> Result<WeightBytes, Error> {
    let chosen = config.num_experts_per_tok as u64;
    let mut sizes = Sizes { device, policy, own, chosen, bytes: WeightBytes::default() };
    MiniMaxText01::new(config.clone(), &mut sizes)?;
    if config.tie_word_embeddings {
        // The head is packed from the table, which stays.
        let name = "model.embed_tokens.weight";
        let shape = [config.vocab_size, config.hidden_size];
        let kept = sizes.kept(name, &shape, Role::Embedding);
        sizes.add(&shape, kept, Role::Head);
    }
    Ok(sizes.bytes)
}

/// Adds up what is asked for and gives empty tensors.
struct Sizes<'a> {
    device: &'a Device,
    policy: Option<Policy>,
    /// The type in which a tensor is stored.
    own: &'a dyn Fn(&str) -> DType,
    /// Experts per token.
    chosen: u64,
    bytes: WeightBytes,
}

impl Sizes<'_> {
    fn kept(&self, name: &str, shape: &[usize], role: Role) -> DType {
        let row = shape.last().copied().unwrap_or(1);
        policy::kept(self.policy, role, name, (self.own)(name), row)
    }

    fn add(&mut self, shape: &[usize], dtype: DType, role: Role) {
        let bytes = |shape: &[usize]| match (dtype, shape) {
            (DType::Blocks(_), [n, k]) => dtype.packed_bytes(*n, *k) as u64,
            _ => {
                let size = dtype.block_bytes() as u64;
                shape.iter().fold(size, |bytes, &n| bytes.saturating_mul(n as u64))
            }
        };
        let (total, per_token) = match (role, shape) {
            (Role::Embedding, [_, k]) => (bytes(shape), bytes(&[1, *k])),
            (_, [experts, n, k]) => {
                let expert = bytes(&[*n, *k]);
                let of = |count: u64| expert.saturating_mul(count);
                (of(*experts as u64), of(self.chosen))
            }
            _ => (bytes(shape), bytes(shape)),
        };
        let WeightBytes { total: sum, per_token: sum_per_token } = &mut self.bytes;
        *sum = sum.saturating_add(total);
        *sum_per_token = sum_per_token.saturating_add(per_token);
    }

    fn empty(&self, shape: &[usize]) -> Tensor {
        Tensor::zeros(self.device, &vec![0; shape.len()])
    }
}

impl Source for Sizes<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, Error> {
        self.add(shape, self.kept(name, shape, role), role);
        Ok(self.empty(shape))
    }

    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        let kept = match self.kept(name, shape, role) {
            // Products in f32 leave bf16 as it is stored.
            DType::F32 if (self.own)(name) == DType::Bf16 => DType::Bf16,
            kept => kept,
        };
        self.add(shape, kept, role);
        Ok(Weight::new(self.empty(shape), Precision::F32))
    }
}
