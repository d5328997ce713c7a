//! The models in the program: `recipes/nano-text.toml` and `recipes/nano-video.toml` make their files.

/// What `--model` calls it.
pub(crate) const NAME: &str = "nano";
/// Named in errors about the config.
pub(crate) const CONFIG_PATH: &str = "nano/config.json";
pub(crate) const CONFIG: &[u8] = include_bytes!("../nano-text/config.json");
pub(crate) const TOKENIZER: &[u8] = include_bytes!("../nano-text/byte_tokenizer.json");
pub(crate) const WEIGHTS: &[u8] = include_bytes!("../nano-text/model.safetensors");

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

#[cfg(test)]
mod tests {
    use super::*;
    use models::video::nano::config::NanoConfig;
    use serde_json::{Value, json};
    use std::path::Path;
    use tensor::Checkpoint;
    use train::Recipe;

    fn recipe(name: &str) -> Recipe {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../recipes/{name}.toml"));
        Recipe::from_toml(&std::fs::read_to_string(&path).unwrap(), &path).unwrap()
    }

    fn config(model: &Value) -> NanoConfig {
        NanoConfig::from_json(model.to_string().as_bytes(), Path::new("config.json")).unwrap()
    }

    /// The shape is that of the recipe, with the autoencoder that it names.
    #[test]
    fn the_video_model_has_the_shape_of_its_recipe() {
        let recipe = recipe("nano-video");
        let mut model = json!(recipe.model);
        let folder = recipe.flow.unwrap().autoencoder.unwrap();
        model["vae"] = json!(self::recipe(folder.file_name().unwrap().to_str().unwrap()).model);
        let (mut expected, mut found) =
            (config(&model), config(&serde_json::from_slice(VIDEO.config).unwrap()));
        // Recipes have fewer digits.
        for config in [&mut expected, &mut found] {
            let vae = config.vae.as_mut().unwrap();
            for x in vae.latents_mean.iter_mut().chain(&mut vae.latents_std) {
                *x = (*x * 1e5).round();
            }
        }
        assert_eq!(found, expected);
    }

    /// What the recipe says is in 8 bits is.
    #[test]
    fn the_video_model_is_stored_as_its_recipe_says() {
        let parts = recipe("nano-video").q8;
        let stored = Checkpoint::from_static(VIDEO_NAME, VIDEO.weights).unwrap();
        let mut in_blocks = 0;
        for name in stored.names() {
            let shape = stored.shape(name).unwrap();
            let row: usize = shape[1..].iter().product();
            let named = parts.iter().any(|part| name.starts_with(&format!("{part}.")));
            let is_matrix = name.ends_with(".weight") && shape.len() > 1 && row.is_multiple_of(32);
            let expected = if named && is_matrix { "Q8_0" } else { "BF16" };
            assert_eq!(stored.dtype(name).as_deref(), Some(expected), "{name}");
            in_blocks += usize::from(expected == "Q8_0");
        }
        assert!(in_blocks > 100, "{in_blocks}");
    }
}
