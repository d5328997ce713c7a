//! `fulgurite init`: a random checkpoint of a language model, of MiniMax-VL-01, or of a vision tower.

use crate::model::Weights;
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use models::Config;
use models::vision::clip::{self, ClipVision, ClipVisionConfig};
use models::vision::minimax_vl_01::{self, ImageEncoder};
use models::weights::{Policy, Random, random_tensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tensor::{Device, Precision, Saved, atomic, safetensors};

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
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template(
        "drawing {wide_bar} {human_pos}/{human_len} numbers {eta} left",
    )?);
    let (tensors, parameters) = random(&text, path, device, arguments.seed, precision, &bar)?;
    bar.set_length(u64::try_from(parameters).unwrap_or(u64::MAX));
    std::fs::create_dir_all(&arguments.folder)
        .with_context(|| format!("cannot make `{}`", arguments.folder.display()))?;
    safetensors::save(&arguments.folder.join(safetensors::WEIGHTS), tensors, &BTreeMap::new())?;
    bar.finish_and_clear();
    atomic::atomic_write_bytes(&arguments.folder.join("config.json"), &text)?;
    eprintln!("made {} with {} parameters", arguments.folder.display(), parameters);
    Ok(())
}

/// The tensors of a random model of a config's kind and how many parameters it has. Those of a language
/// model are drawn as they are written, which `bar` is told.
fn random(
    text: &[u8],
    path: &Path,
    device: &Device,
    seed: u64,
    precision: Precision,
    bar: &ProgressBar,
) -> anyhow::Result<(BTreeMap<String, Saved>, u128)> {
    let source = |layers, seed| Random::new(device, Precision::F32, layers, seed);
    let language = |config: Config| {
        let bar = bar.clone();
        random_tensors(config, device, seed, precision, move |numbers| bar.inc(numbers as u64))
    };
    if clip::is_named_in(text) {
        let config = ClipVisionConfig::from_json(text, path)?;
        let parameters = config.num_parameters();
        let mut random = source(config.num_hidden_layers, seed);
        let mut tower = ClipVision::new(config, &mut random)?;
        return Ok((tower.saved(precision), parameters));
    }
    if !minimax_vl_01::is_named_in(text) {
        let config = Config::from_json(text, path).map_err(with_all_kinds)?;
        let parameters = config.num_parameters();
        return Ok((language(config)?, parameters));
    }
    let (images, config) = minimax_vl_01::configs(text, path)?;
    let parameters = images.num_parameters() + config.num_parameters();
    // Another seed: its numbers are none of the language model's.
    let mut random = source(images.vision.num_hidden_layers, !seed);
    let mut tensors = ImageEncoder::whole(images, &mut random)?.saved(precision);
    let named = |(name, tensor)| (format!("{}{name}", minimax_vl_01::LANGUAGE_MODEL), tensor);
    tensors.extend(language(config)?.into_iter().map(named));
    Ok((tensors, parameters))
}

/// Tells what else there can be made than language models.
fn with_all_kinds(error: models::Error) -> models::Error {
    match error {
        models::Error::Architecture { path, found, supported } => models::Error::Kind {
            path,
            found: format!("architecture {found}"),
            supported: format!("{supported}, minimax_vl_01, clip_vision_model"),
        },
        other => other,
    }
}
