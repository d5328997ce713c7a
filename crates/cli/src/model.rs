//! Finding a model: its config, weights and tokenizer.

use crate::{embedded, gguf, quantized};
use anyhow::Context as _;
use models::vision::minimax_vl_01::{self, ImageConfig};
use models::weights::Policy;
use models::{Config, MiniMaxText01};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tensor::{Checkpoint, Device, KvType};
use text::{ChatTemplate, GgufTokenizer, Tokenizer};

/// How the matrices of a model are kept: the names of [`Policy`].
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Weights {
    /// As they are, widened to f32
    F32,
    /// Rounded to bf16, accumulation in f32
    Bf16,
    /// Blocks of 8 bits
    Q8,
    /// Blocks of 4 bits; head and gates as they are
    Q4,
    /// Blocks of 4 bits with scales and offsets that are searched for
    Q4k,
    /// Blocks of 4 bits; head and gates in 8
    Q4Lean,
}

impl From<Weights> for Policy {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::F32 => Self::F32,
            Weights::Bf16 => Self::Bf16,
            Weights::Q8 => Self::Q8,
            Weights::Q4 => Self::Q4,
            Weights::Q4k => Self::Q4K,
            Weights::Q4Lean => Self::Q4Lean,
        }
    }
}

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Kv {
    /// As they are computed
    F32,
    /// Rounded to bf16, half the memory
    Bf16,
    /// 8 bits and a scale for 32 of them, 27 % of the memory
    Q8,
}

impl Kv {
    /// What is said, or else what goes with the weights.
    pub(crate) fn or_default(
        said: Option<Self>,
        checkpoint: &Checkpoint,
        device: &Device,
        weights: Option<Weights>,
    ) -> KvType {
        let default = || models::default_kv(checkpoint, device, weights.map(Policy::from));
        said.map_or_else(default, Self::into)
    }
}

impl From<Kv> for KvType {
    fn from(kv: Kv) -> Self {
        match kv {
            Kv::F32 => Self::F32,
            Kv::Bf16 => Self::Bf16,
            Kv::Q8 => Self::Q8,
        }
    }
}

/// A model to be loaded: the embedded one, a folder, or a GGUF file.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Part of the program.
    Embedded,
    /// A folder with `config.json`, weights and a tokenizer.
    Folder(PathBuf),
    /// A file with all of it, opened once and mapped as long as the place is held.
    Gguf(Arc<Checkpoint>),
}

impl Place {
    /// What `--model` means: a folder, a GGUF file, or the embedded model's name, which is also the
    /// default.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(crate) fn of(name: Option<&Path>) -> anyhow::Result<Self> {
        Ok(match name {
            None => Self::Embedded,
            Some(name) if name == Path::new(embedded::NAME) && !name.exists() => Self::Embedded,
            Some(file) if gguf::is_named(file) && !file.is_dir() => {
                Self::Gguf(Arc::new(Checkpoint::open(file)?))
            }
            Some(folder) => Self::Folder(folder.to_owned()),
        })
    }

    /// What `--model` would call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Embedded => embedded::NAME.to_owned(),
            Self::Folder(folder) => folder.display().to_string(),
            Self::Gguf(file) => file.path().display().to_string(),
        }
    }

    /// Where the config is, for errors.
    pub(crate) fn config_path(&self) -> PathBuf {
        match self {
            Self::Embedded => PathBuf::from(embedded::CONFIG_PATH),
            Self::Folder(folder) => folder.join("config.json"),
            Self::Gguf(file) => file.path().to_owned(),
        }
    }

    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        match self {
            Self::Embedded => Ok(Config::from_json(embedded::CONFIG, &self.config_path())?),
            Self::Gguf(file) => Ok(Config::from_gguf(file)?),
            Self::Folder(_) => {
                let path = self.config_path();
                config_of(&read(&path)?, &path)
            }
        }
    }

    /// The part that sees of a folder of MiniMax-VL-01.
    pub(crate) fn images(&self) -> anyhow::Result<Option<ImageConfig>> {
        let Self::Folder(_) = self else { return Ok(None) };
        let path = self.config_path();
        let text = read(&path)?;
        Ok(match minimax_vl_01::is_named_in(&text) {
            true => Some(ImageConfig::from_json(&text, &path)?),
            false => None,
        })
    }

    pub(crate) fn tokenizer(&self) -> anyhow::Result<Tokenizer> {
        Ok(match self {
            Self::Embedded => {
                Tokenizer::from_json(embedded::TOKENIZER, Path::new(text::BYTE_TOKENIZER))?
            }
            Self::Folder(folder) => Tokenizer::open(folder)?,
            Self::Gguf(file) => gguf::tokenizer(file)?.tokenizer()?,
        })
    }

    /// The tokenizer and the templates as a GGUF file has them, if there is a tokenizer.
    pub(crate) fn gguf_tokenizer(&self, vocab: usize) -> anyhow::Result<Option<GgufTokenizer>> {
        Ok(match self {
            Self::Embedded => {
                let special = self.tokenizer()?.special_tokens();
                Some(GgufTokenizer::bytes(&special, vocab, Path::new(text::BYTE_TOKENIZER))?)
            }
            Self::Folder(folder) => GgufTokenizer::open(folder, vocab)?,
            Self::Gguf(file) => gguf::tokenizer_or_none(file)?,
        })
    }

    /// How the model is talked to, if its folder or file says.
    pub(crate) fn template(&self) -> anyhow::Result<Option<ChatTemplate>> {
        match self {
            Self::Embedded => Ok(None),
            Self::Folder(folder) => Ok(ChatTemplate::open(folder)?),
            Self::Gguf(file) => Ok(gguf::tokenizer(file)?.template()?),
        }
    }

    pub(crate) fn load(
        &self,
        device: &Device,
        weights: Option<Weights>,
    ) -> anyhow::Result<MiniMaxText01> {
        let checkpoint = self.checkpoint()?;
        self.load_from(&checkpoint, device, weights)
    }

    /// The weights, not loaded yet.
    pub(crate) fn checkpoint(&self) -> anyhow::Result<Arc<Checkpoint>> {
        Ok(match self {
            Self::Embedded => Arc::new(Checkpoint::from_static(embedded::NAME, embedded::WEIGHTS)?),
            Self::Folder(folder) => Arc::new(Checkpoint::open(folder)?),
            Self::Gguf(file) => Arc::clone(file),
        })
    }

    pub(crate) fn load_from(
        &self,
        checkpoint: &Checkpoint,
        device: &Device,
        weights: Option<Weights>,
    ) -> anyhow::Result<MiniMaxText01> {
        let (config, policy) = (self.config()?, weights.map(Policy::from));
        let load = match self.images()? {
            Some(_) => minimax_vl_01::load_language,
            None => models::load,
        };
        if let (Self::Folder(folder), Some(policy)) = (self, policy) {
            let kept = quantized::of(folder, &config, checkpoint, device, policy)?;
            if let Some(kept) = kept {
                return Ok(load(config, &kept, device, Some(policy))?);
            }
        }
        Ok(load(config, checkpoint, device, policy)?)
    }
}

/// The config of the language model in the text of a `config.json`.
///
/// # Errors
///
/// If it is of no model that answers.
pub(crate) fn config_of(text: &[u8], path: &Path) -> anyhow::Result<Config> {
    Ok(match minimax_vl_01::is_named_in(text) {
        true => minimax_vl_01::configs(text, path)?.1,
        false => Config::from_json(text, path)?,
    })
}

/// Reads a file of a model.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    Ok(std::fs::read(path).map_err(|source| models::Error::Io { path: path.to_owned(), source })?)
}

/// Reads a text file.
pub(crate) fn read_to_string(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}
