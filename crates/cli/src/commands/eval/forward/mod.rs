//! `fulgurite eval forward`: what models that are not language models compute, for comparisons with
//! other implementations.

mod audio;
mod clip;
mod images;
mod log_mel;
mod video;
mod whisper;

use crate::model::read;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tensor::{Checkpoint, Device, Saved, Tensor, safetensors};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The model's folder, or `log-mel` for the front end of audio models
    #[arg(long, env = "FULGURITE_MODEL")]
    model: PathBuf,
    /// A safetensors file with the inputs, `in.NAME`
    #[arg(long)]
    input: PathBuf,
    /// The safetensors file to write, with the outputs, `out.NAME`
    #[arg(long)]
    output: PathBuf,
}

/// What a kind of model is given.
struct Call<'a> {
    /// The text of the folder's `config.json`.
    config: &'a [u8],
    /// Where that is, for errors.
    config_path: &'a Path,
    folder: &'a Path,
    inputs: &'a Inputs,
    device: &'a Device,
}

/// Outputs by their names.
type Outputs = BTreeMap<String, Tensor>;

/// A kind of model, by what `model_type` or `_class_name` of its config says.
struct Kind {
    names: &'static [&'static str],
    forward: fn(&Call<'_>) -> anyhow::Result<Outputs>,
}

const KINDS: &[Kind] = &[
    Kind { names: &[models::video::sana::CLASS], forward: video::sana },
    Kind { names: &[models::video::wan::CLASS], forward: video::wan },
    Kind { names: &[models::video::vae::config::CLASS], forward: video::vae },
    Kind { names: &["clip_vision_model", "clip"], forward: clip::forward },
    Kind {
        names: &["whisper", "voxtral_encoder", "qwen2_audio_encoder"],
        forward: whisper::forward,
    },
    Kind {
        names: &["minimax_vl_01", "MiniMaxVL01", "llava", "llava_next"],
        forward: images::forward,
    },
    Kind { names: &["voxtral", "qwen2_audio"], forward: audio::forward },
];

/// The name of the front end, which has no folder.
const LOG_MEL: &str = "log-mel";

pub(crate) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    let device = &device.clone().with_f64_arithmetic();
    let inputs = &Inputs(Checkpoint::open(&arguments.input)?);
    let folder = &*arguments.model;
    let outputs = if folder == Path::new(LOG_MEL) && !folder.exists() {
        log_mel::forward(inputs, device)?
    } else {
        let config_path = &folder.join("config.json");
        let config = &read(config_path)?;
        let kind = kind_of(config, config_path)?;
        (kind.forward)(&Call { config, config_path, folder, inputs, device })?
    };
    let outputs = outputs.into_iter().map(|(name, tensor)| (name, Saved::Tensor(tensor)));
    Ok(safetensors::save(&arguments.output, outputs.collect(), &BTreeMap::new())?)
}

fn kind_of(config: &[u8], path: &Path) -> anyhow::Result<&'static Kind> {
    let json = |reason: String| models::Error::Json { path: path.to_owned(), reason };
    let config: serde_json::Value =
        serde_json::from_slice(config).map_err(|error| json(error.to_string()))?;
    let name = ["model_type", "_class_name"].iter().find_map(|field| config.get(field)?.as_str());
    let kind = KINDS.iter().find(|kind| kind.names.iter().any(|known| Some(*known) == name));
    kind.ok_or_else(|| {
        let supported = KINDS.iter().flat_map(|kind| kind.names).copied();
        let supported = supported.collect::<Vec<_>>().join(", ");
        let found = name.map_or("unknown type".to_owned(), |name| format!("type `{name}`"));
        models::Error::Kind { path: path.to_owned(), found, supported }.into()
    })
}

/// The inputs of a call.
struct Inputs(Checkpoint);

impl Inputs {
    /// The inputs that are called `in.{name}`, or `in.{name}.…` of which there may be several: what
    /// follows the name, with the dot, and the elements. Each must have the dimensions of `shape`,
    /// where it says a number.
    ///
    /// # Errors
    ///
    /// If there are none, or one has another shape.
    fn all(
        &self,
        name: &str,
        shape: &[Option<usize>],
        device: &Device,
    ) -> anyhow::Result<Vec<(String, Tensor)>> {
        let full = format!("in.{name}");
        let mut found = Vec::new();
        for name in self.0.names() {
            let Some(rest) = name.strip_prefix(&full) else { continue };
            if rest.is_empty() || rest.starts_with('.') {
                found.push((rest.to_owned(), self.get(name, shape, device)?));
            }
        }
        anyhow::ensure!(
            !found.is_empty(),
            "`{}` has no tensor named `{full}`, which this model reads",
            self.0.path().display()
        );
        Ok(found)
    }

    /// Whether there is an input `in.{name}`.
    fn has(&self, name: &str) -> bool {
        self.0.contains(&format!("in.{name}"))
    }

    /// The input `in.{name}` in any shape; numbers of any type.
    ///
    /// # Errors
    ///
    /// If there is none.
    fn any(&self, name: &str, device: &Device) -> anyhow::Result<Tensor> {
        let full = format!("in.{name}");
        let shape = self.0.shape(&full).with_context(|| {
            format!(
                "`{}` has no tensor named `{full}`, which this model reads",
                self.0.path().display()
            )
        })?;
        if self.0.stored(&full).is_some() {
            return Ok(self.0.load(device, &full, shape)?.to_f32());
        }
        let numbers = self.0.load_ids(&full)?.into_iter().map(|id| id as f32).collect();
        Ok(Tensor::new(device, shape, numbers))
    }

    /// Refuses inputs that are none of `names`.
    ///
    /// # Errors
    ///
    /// Names the first of them.
    fn only(&self, names: &[&str]) -> anyhow::Result<()> {
        let inputs = self.0.names().filter_map(|name| name.strip_prefix("in."));
        for name in inputs {
            anyhow::ensure!(
                names.contains(&name),
                "`{}` has an input `in.{name}`, which this model does not read: it reads {}",
                self.0.path().display(),
                names.join(", ")
            );
        }
        Ok(())
    }

    /// The input `name`, of the dimensions of `shape` where it says a number.
    fn get(&self, name: &str, shape: &[Option<usize>], device: &Device) -> anyhow::Result<Tensor> {
        let own = self.0.shape(name).context("a tensor that is listed")?;
        let fits = own.len() == shape.len()
            && own.iter().zip(shape).all(|(own, want)| want.is_none_or(|want| want == *own));
        let wanted = |want: &Option<usize>| want.map_or("any".to_owned(), |n| n.to_string());
        anyhow::ensure!(
            fits,
            "tensor `{name}` in `{}` has shape {own:?}, expected [{}]",
            self.0.path().display(),
            shape.iter().map(wanted).collect::<Vec<_>>().join(", ")
        );
        Ok(self.0.load(device, name, own)?.to_f32())
    }
}
