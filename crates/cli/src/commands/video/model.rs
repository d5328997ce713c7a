//! The model that makes clips: its weights and words.

use crate::embedded;
use crate::model::read_to_string;
use anyhow::Context as _;
use models::video::NanoVideo;
use models::video::nano::config::NanoConfig;
use std::path::Path;
use tensor::{Checkpoint, Device};
use text::words::Words;
use video::Nano;

/// The file with the words of a model.
const WORDS: &str = "words.json";

/// A model that is loaded.
pub(crate) struct Model {
    pub(crate) nano: Nano,
    pub(crate) words: Words,
    /// What `--model` calls it.
    pub(crate) name: String,
}

impl Model {
    /// The model in the folder, or else the embedded one.
    ///
    /// # Errors
    ///
    /// If files are missing or not those of such a model.
    pub(crate) fn open(folder: Option<&Path>, device: &Device) -> anyhow::Result<Self> {
        let Some(folder) = folder else { return Self::embedded(device) };
        let path = folder.join(WORDS);
        let words = words(&read_to_string(&path)?, &path)?;
        let nano = Nano::new(NanoVideo::open(folder, device, None)?);
        Ok(Self { nano, words, name: folder.display().to_string() })
    }

    fn embedded(device: &Device) -> anyhow::Result<Self> {
        let name = embedded::VIDEO_NAME;
        let files = embedded::VIDEO;
        let path = Path::new(name);
        let config = NanoConfig::from_json(files.config, &path.join("config.json"))?;
        let words = words(files.words, &path.join(WORDS))?;
        let checkpoint = Checkpoint::from_static(name, files.weights)?;
        let nano = Nano::new(NanoVideo::load(config, &checkpoint, device, None)?);
        Ok(Self { nano, words, name: name.to_owned() })
    }
}

fn words(text: &str, path: &Path) -> anyhow::Result<Words> {
    Words::from_json(text).with_context(|| format!("cannot read `{}`", path.display()))
}
