//! The model in the program, trained by `recipes/nano-text.toml`.

/// What `--model` calls it.
pub(crate) const NAME: &str = "nano";
/// Named in errors about the config.
pub(crate) const CONFIG_PATH: &str = "nano/config.json";
pub(crate) const CONFIG: &[u8] = include_bytes!("../nano-text/config.json");
pub(crate) const TOKENIZER: &[u8] = include_bytes!("../nano-text/byte_tokenizer.json");
pub(crate) const WEIGHTS: &[u8] = include_bytes!("../nano-text/model.safetensors");
