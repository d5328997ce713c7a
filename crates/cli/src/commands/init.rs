//! `fulgurite init`: a random checkpoint.

use crate::model::Weights;
use anyhow::Context as _;
use models::weights::{Policy, Random, saved};
use models::{Config, MiniMaxText01};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tensor::{Device, Precision, atomic, safetensors};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The shape: a `config.json`
    config: PathBuf,
    /// The folder to make; files of the same names in it are replaced
    folder: PathBuf,
    /// Decides the numbers
    #[arg(long, env = "FULGURITE_SEED", default_value_t = 0)]
    seed: u64,
    /// Precision of the file, f32 or bf16; routers stay in f32
    #[arg(long, env = "FULGURITE_WEIGHTS", default_value = "bf16")]
    weights: Weights,
}

pub(crate) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    let precision = match arguments.weights {
        Weights::F32 => Precision::F32,
        Weights::Bf16 => Precision::Bf16,
        other => anyhow::bail!(
            "`{}` is not what a checkpoint is made in: expected f32 or bf16, then `fulgurite quantize`",
            Policy::from(other)
        ),
    };
    let path = &arguments.config;
    let text =
        std::fs::read(path).map_err(|source| models::Error::Io { path: path.clone(), source })?;
    let config = Config::from_json(&text, path)?;
    let layers = config.num_hidden_layers;
    let mut random = Random::new(device, Precision::F32, layers, arguments.seed);
    let mut model = MiniMaxText01::new(config.clone(), &mut random)?;
    let tensors = saved(&mut model, precision);
    std::fs::create_dir_all(&arguments.folder)
        .with_context(|| format!("cannot make `{}`", arguments.folder.display()))?;
    safetensors::save(&arguments.folder.join(safetensors::WEIGHTS), tensors, &BTreeMap::new())?;
    atomic::atomic_write_bytes(&arguments.folder.join("config.json"), &text)?;
    eprintln!("made {} with {} parameters", arguments.folder.display(), config.num_parameters());
    Ok(())
}
