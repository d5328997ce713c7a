//! The models in the program, trained by `recipes/nano-text.toml` and `recipes/nano-video.toml`.

/// What `--model` calls it.
pub(crate) const NAME: &str = "nano";
/// Named in errors about the config.
pub(crate) const CONFIG_PATH: &str = "nano/config.json";
pub(crate) const CONFIG: &[u8] = include_bytes!("../nano-text/config.json");
pub(crate) const TOKENIZER: &[u8] = include_bytes!("../nano-text/byte_tokenizer.json");
pub(crate) const WEIGHTS: &[u8] = include_bytes!("../nano-text/model.safetensors");

/// The files of what sees for the text model, in LLaVA's layout; none until it is trained.
pub(crate) const VISION: Option<TowerFiles> = None;
/// The files of what hears for it, in Voxtral's layout; none until it is trained.
pub(crate) const AUDIO: Option<TowerFiles> = None;

/// The files of a tower.
pub(crate) struct TowerFiles {
    /// Named in errors.
    pub(crate) name: &'static str,
    /// `config.json`.
    pub(crate) config: &'static [u8],
    /// `preprocessor_config.json`, of what sees.
    pub(crate) preprocessor: &'static [u8],
    /// `model.safetensors`.
    pub(crate) weights: &'static [u8],
}

/// What `--model` calls the model that makes clips.
pub(crate) const VIDEO_NAME: &str = "nano-video";
/// Its files.
pub(crate) const VIDEO: VideoFiles = VideoFiles {
    config: include_bytes!("../nano-video/config.json"),
    words: include_str!("../nano-video/words.json"),
    weights: include_bytes!("../nano-video/model.safetensors"),
};

/// The files of a model that makes clips.
pub(crate) struct VideoFiles {
    /// `config.json`.
    pub(crate) config: &'static [u8],
    /// `words.json`.
    pub(crate) words: &'static str,
    /// `model.safetensors`.
    pub(crate) weights: &'static [u8],
}
