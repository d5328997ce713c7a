//! The models in the program, trained by `recipes/nano-text.toml` and `recipes/nano-video.toml`.

/// What `--model` calls it.
pub(crate) const NAME: &str = "nano";
/// Named in errors about the config.
pub(crate) const CONFIG_PATH: &str = "nano/config.json";
pub(crate) const CONFIG: &[u8] = include_bytes!("../nano-text/config.json");
pub(crate) const TOKENIZER: &[u8] = include_bytes!("../nano-text/byte_tokenizer.json");
pub(crate) const WEIGHTS: &[u8] = include_bytes!("../nano-text/model.safetensors");

/// What `--model` calls the model that makes clips.
pub(crate) const VIDEO_NAME: &str = "nano-video";
/// Its files, if the program has them.
pub(crate) const VIDEO: Option<VideoFiles> = None;

/// The files of a model that makes clips.
pub(crate) struct VideoFiles {
    /// `config.json`.
    pub(crate) config: &'static [u8],
    /// `words.json`.
    pub(crate) words: &'static str,
    /// `model.safetensors`.
    pub(crate) weights: &'static [u8],
}
