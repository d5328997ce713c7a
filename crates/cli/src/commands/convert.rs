//! `fulgurite convert`: from a model's folder to a GGUF file, and back.

use crate::gguf;
use crate::model::Place;
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use models::Config;
use models::weights::{self, Policy};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tensor::gguf::DType;
use tensor::{Checkpoint, Device, Precision, atomic, safetensors};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A model's folder, a GGUF file, or `nano`
    from: PathBuf,
    /// The `.gguf` file to write, or the folder; what is there of the same names is replaced
    to: PathBuf,
    /// How matrices are stored; F32 or BF16 as they are unless set
    #[arg(long = "type")]
    kind: Option<Kind>,
}

/// Types of matrices.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// 32 bits
    F32,
    /// 16 bits
    Bf16,
    /// 8 bits and a scale for 32 numbers; GGUF only
    #[value(name = "q8_0")]
    Q8_0,
    /// 4 bits and a scale for 32 numbers; GGUF only
    #[value(name = "q4_0")]
    Q4_0,
    /// 4 bits, and scales and offsets for 32 numbers that are searched for; GGUF only
    #[value(name = "q4_k")]
    Q4K,
}

impl From<Kind> for Policy {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::F32 => Self::F32,
            Kind::Bf16 => Self::Bf16,
            Kind::Q8_0 => Self::Q8,
            Kind::Q4_0 => Self::Q4,
            Kind::Q4K => Self::Q4K,
        }
    }
}

pub(crate) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    let place = Place::of(Some(&arguments.from))?;
    let (config, checkpoint) = (place.config()?, place.checkpoint()?);
    if gguf::is_named(&arguments.to) {
        let policy = arguments.kind.map(Policy::from);
        return to_gguf((&place, &config, &checkpoint), &arguments.to, policy, device);
    }
    let Place::Gguf(_) = place else {
        let (from, to) = (arguments.from.display(), arguments.to.display());
        anyhow::bail!("neither `{from}` nor `{to}` ends in `.gguf`: expected one that does");
    };
    to_folder(arguments, &config, &checkpoint, device)
}

/// Writes a model as the GGUF file `to`.
///
/// # Errors
///
/// If the model has what such files cannot say, or the system refuses.
pub(crate) fn to_gguf(
    (place, config, checkpoint): (&Place, &Config, &Checkpoint),
    to: &Path,
    policy: Option<Policy>,
    device: &Device,
) -> anyhow::Result<()> {
    let dtype = policy.map_or_else(|| most(checkpoint), Policy::matrices);
    let mut metadata = config.to_gguf(&place.config_path())?;
    metadata.extend(gguf::file_type(dtype));
    metadata.extend(gguf::keys(place.gguf_tokenizer(config.vocab_size)?.as_ref()));
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("writing {wide_bar} {pos}/{len} tensors")?);
    weights::to_gguf(config, checkpoint, device, (to, &metadata, policy), |written, all| {
        bar.set_length(all as u64);
        bar.set_position(written as u64);
    })?;
    bar.finish_and_clear();
    let own: Vec<&str> = [
        config.attention_log_length_base.map(|_| "attention_log_length_base"),
        config.relevance_token_id.map(|_| "relevance_token_id"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !own.is_empty() {
        let own = own.join("`, `fulgurite.");
        eprintln!("note: other programs do not know `fulgurite.{own}` and compute without");
    }
    if place.images()?.is_some() {
        eprintln!("note: GGUF files hold no towers, so this one reads and writes but does not see");
    }
    eprintln!("made {}", to.display());
    Ok(())
}

/// The type that most tensors have, of those that are written as they are.
fn most(checkpoint: &Checkpoint) -> DType {
    let names = checkpoint.names();
    let bf16 = names.filter(|name| checkpoint.dtype(name).as_deref() == Some("BF16")).count();
    if 2 * bf16 > checkpoint.names().count() { DType::Bf16 } else { DType::F32 }
}

fn to_folder(
    arguments: &Arguments,
    config: &Config,
    checkpoint: &Checkpoint,
    device: &Device,
) -> anyhow::Result<()> {
    let precision = match arguments.kind {
        None => None,
        Some(Kind::F32) => Some(Precision::F32),
        Some(Kind::Bf16) => Some(Precision::Bf16),
        Some(Kind::Q8_0 | Kind::Q4_0 | Kind::Q4K) => {
            anyhow::bail!("a folder holds f32 or bf16: expected `--type f32` or `--type bf16`")
        }
    };
    let tokenizer = gguf::tokenizer_or_none(checkpoint)?;
    let tensors = weights::to_released(config, checkpoint, device, precision)?;
    let folder = &arguments.to;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make `{}`", folder.display()))?;
    safetensors::save(&folder.join(safetensors::WEIGHTS), tensors, &BTreeMap::new())?;
    let files = tokenizer.map_or(Vec::new(), |tokenizer| tokenizer.files());
    write(folder, "config.json", &config.to_json())?;
    for (name, text) in files {
        write(folder, name, &text)?;
    }
    eprintln!("made {}", folder.display());
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    atomic::atomic_write_bytes(&path, text.as_bytes())
        .with_context(|| format!("cannot write `{}`", path.display()))
}
