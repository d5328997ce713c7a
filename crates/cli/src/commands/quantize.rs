//! `fulgurite quantize`: a model with its matrices in blocks of 8 or 4 bits.

use crate::commands::convert;
use crate::model::{Place, Weights};
use crate::{embedded, gguf, quantized};
use anyhow::Context as _;
use indicatif::HumanBytes;
use models::weights::Policy;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tensor::{Checkpoint, Device, atomic, safetensors};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A model's folder, a GGUF file, or `nano`
    from: PathBuf,
    /// The folder or `.gguf` file to write; what is there of the same names is replaced
    to: PathBuf,
    /// How matrices are stored
    #[arg(long, env = "FULGURITE_WEIGHTS", default_value = "q8")]
    weights: Weights,
}

pub(crate) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    let policy = Policy::from(arguments.weights);
    anyhow::ensure!(
        policy.is_quantizing(),
        "`{policy}` is not in blocks: expected q8, q4, q4k or q4-lean, or use `fulgurite convert`"
    );
    let place = Place::of(Some(&arguments.from))?;
    let (config, checkpoint) = (place.config()?, place.checkpoint()?);
    let to = &arguments.to;
    if gguf::is_named(to) {
        return convert::to_gguf((&place, &config, &checkpoint), to, Some(policy), device);
    }
    anyhow::ensure!(
        !same_folder(&arguments.from, to),
        "`{}` is what is to be read: expected another folder",
        to.display()
    );
    let images = place.images()?;
    let tensors = quantized::made((&config, images.as_ref()), &checkpoint, device, policy)?;
    std::fs::create_dir_all(to).with_context(|| format!("cannot make `{}`", to.display()))?;
    let notes = BTreeMap::from([("fulgurite.weights".to_owned(), policy.to_string())]);
    let path = to.join(safetensors::WEIGHTS);
    safetensors::save(&path, tensors, &notes)?;
    match &place {
        Place::Folder(folder) => {
            for file in quantized::other_files(folder)? {
                let Some(name) = file.file_name() else { continue };
                let text = std::fs::read(&file)
                    .with_context(|| format!("cannot read `{}`", file.display()))?;
                write(&to.join(name), &text)?;
            }
        }
        Place::Embedded => {
            write(&to.join("config.json"), embedded::CONFIG)?;
            write(&to.join(text::BYTE_TOKENIZER), embedded::TOKENIZER)?;
        }
        Place::Gguf(_) => {
            write(&to.join("config.json"), config.to_json().as_bytes())?;
            let tokenizer = gguf::tokenizer_or_none(&checkpoint)?;
            for (name, text) in tokenizer.map_or(Vec::new(), |tokenizer| tokenizer.files()) {
                write(&to.join(name), text.as_bytes())?;
            }
        }
    }
    let [before, after] = [checkpoint.total_bytes(), Checkpoint::open(&path)?.total_bytes()]
        .map(|bytes| HumanBytes(bytes as u64));
    eprintln!("made {}: {after} of weights in {policy}, {before} before", to.display());
    Ok(())
}

/// Whether both are one folder, where both exist.
fn same_folder(a: &Path, b: &Path) -> bool {
    a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    atomic::atomic_write_bytes(path, bytes)
        .with_context(|| format!("cannot write `{}`", path.display()))
}
