//! Weights in blocks beside the checkpoint that they were made of: made once, and made anew when the
//! checkpoint has changed.

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use models::Config;
use models::vision::minimax_vl_01::ImageConfig;
use models::weights::{self, Policy};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use tensor::gguf::DType;
use tensor::{Checkpoint, Device, Saved, safetensors};

/// The folder in a model's folder that holds what was made of it.
const FOLDER: &str = ".fulgurite";
/// Under this a file says how and of what it was made.
const MADE: &str = "fulgurite.made";

/// The weights of `checkpoint`, which is the model's `folder`, in blocks as `policy` says: those that
/// are kept there if they are of this checkpoint, or else made and kept. `None` if there is nothing
/// to gain, or no place to keep them.
///
/// # Errors
///
/// If the checkpoint is not one of `config`.
pub(crate) fn of(
    folder: &Path,
    config: &Config,
    checkpoint: &Checkpoint,
    device: &Device,
    policy: Policy,
) -> anyhow::Result<Option<Checkpoint>> {
    let in_blocks = |name| matches!(checkpoint.stored(name), Some(DType::Blocks(_)));
    if !policy.is_quantizing() || checkpoint.names().any(in_blocks) {
        return Ok(None);
    }
    let path = folder.join(FOLDER).join(format!("{policy}.safetensors"));
    let making = format!("{policy} of {}", source(folder)?);
    if let Some(kept) = kept(&path, &making) {
        return Ok(Some(kept));
    }
    let tensors = made((config, None), checkpoint, device, policy)?;
    let notes = BTreeMap::from([(MADE.to_owned(), making)]);
    let saved = std::fs::create_dir_all(folder.join(FOLDER))
        .map_err(anyhow::Error::from)
        .and_then(|()| Ok(safetensors::save(&path, tensors, &notes)?));
    if let Err(error) = saved {
        eprintln!("note: the weights in {policy} are not kept, and are made again: {error}");
        return Ok(None);
    }
    Ok(Some(Checkpoint::open(&path)?))
}

/// The file at `path`, if it was made so. One that cannot be read is as good as none.
fn kept(path: &Path, making: &str) -> Option<Checkpoint> {
    let kept = Checkpoint::open(path).ok()?;
    kept.notes().get(MADE).is_some_and(|found| found == making).then_some(kept)
}

/// The files of weights in a folder, with their sizes and the times of their last changes: it takes
/// too long to read them all.
fn source(folder: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot list `{}`", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.contains(".safetensors") {
            continue;
        }
        // Of the file itself: in caches of downloads it is behind a link.
        let metadata = std::fs::metadata(entry.path()).with_context(cannot)?;
        let changed = metadata.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let changed = changed.map_or(0, |time| time.as_nanos());
        files.push(format!("{name}: {} bytes, changed {changed}", metadata.len()));
    }
    files.sort();
    Ok(files.join("; "))
}

/// The tensors of `checkpoint` in blocks, of the language model and of what sees if it is given, while
/// a bar shows how far that is.
pub(crate) fn made(
    parts: (&Config, Option<&ImageConfig>),
    checkpoint: &Checkpoint,
    device: &Device,
    policy: Policy,
) -> anyhow::Result<BTreeMap<String, Saved>> {
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("quantizing {wide_bar} {pos}/{len} tensors")?);
    let tensors = weights::quantized(parts, checkpoint, device, policy, |made, all| {
        bar.set_length(all as u64);
        bar.set_position(made as u64);
    })?;
    bar.finish_and_clear();
    Ok(tensors)
}

/// Files of a model's folder that go with any form of its weights.
pub(crate) fn other_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = || format!("cannot list `{}`", folder.display());
    let kinds = ["json", "jinja", "txt", "model"];
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_index = path.to_string_lossy().ends_with(".index.json");
        if path.is_file() && !is_index && extension.is_some_and(|kind| kinds.contains(&kind)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
