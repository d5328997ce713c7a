//! The models in the program: recipes make their files, those of nano-text, nano-vision, nano-audio and
//! nano-video.

/// What `--model` calls it.
pub(crate) const NAME: &str = "nano";
/// Named in errors about the config.
pub(crate) const CONFIG_PATH: &str = "nano/config.json";
pub(crate) const CONFIG: &[u8] = include_bytes!("../nano-text/config.json");
pub(crate) const TOKENIZER: &[u8] = include_bytes!("../nano-text/byte_tokenizer.json");
pub(crate) const WEIGHTS: &[u8] = include_bytes!("../nano-text/model.safetensors");

/// What sees for the text model, in LLaVA's layout.
pub(crate) const VISION: TowerFiles = TowerFiles {
    name: "nano-vision",
    config: include_bytes!("../nano-vision/config.json"),
    preprocessor: include_bytes!("../nano-vision/preprocessor_config.json"),
    weights: include_bytes!("../nano-vision/model.safetensors"),
};
/// What hears for it, in Voxtral's layout.
pub(crate) const AUDIO: TowerFiles = TowerFiles {
    name: "nano-audio",
    config: include_bytes!("../nano-audio/config.json"),
    preprocessor: &[],
    weights: include_bytes!("../nano-audio/model.safetensors"),
};

/// What `--model` calls the model that makes clips.
pub(crate) const VIDEO_NAME: &str = "nano-video";
/// Its files.
pub(crate) const VIDEO: VideoFiles = VideoFiles {
    config: include_bytes!("../nano-video/config.json"),
    words: include_str!("../nano-video/words.json"),
    weights: include_bytes!("../nano-video/model.safetensors"),
};

/// The files of a tower.
pub(crate) struct TowerFiles {
    /// Named in errors.
    pub(crate) name: &'static str,
    /// `config.json`.
    pub(crate) config: &'static [u8],
    /// `preprocessor_config.json`, of what sees; empty of what hears.
    pub(crate) preprocessor: &'static [u8],
    /// `model.safetensors`.
    pub(crate) weights: &'static [u8],
}

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

    /// Towers are as their recipes say.
    #[test]
    fn the_towers_have_the_shapes_of_their_recipes() {
        for TowerFiles { name, config, .. } in [VISION, AUDIO] {
            let config: Value = serde_json::from_slice(config).unwrap();
            assert_eq!(config, json!(recipe(name).model), "{name}");
        }
    }

    /// What a recipe says is in 8 bits is.
    #[test]
    fn models_are_stored_as_their_recipes_say() {
        for (name, weights, least) in [
            (VIDEO_NAME, VIDEO.weights, 100),
            (VISION.name, VISION.weights, 20),
            (AUDIO.name, AUDIO.weights, 15),
        ] {
            let parts = recipe(name).q8;
            let stored = Checkpoint::from_static(name, weights).unwrap();
            let mut in_blocks = 0;
            for name in stored.names() {
                let shape = stored.shape(name).unwrap();
                let row: usize = shape[1..].iter().product();
                let named = parts.iter().any(|part| name.starts_with(&format!("{part}.")));
                let is_matrix =
                    name.ends_with(".weight") && shape.len() > 1 && row.is_multiple_of(32);
                let expected = if named && is_matrix { "Q8_0" } else { "BF16" };
                assert_eq!(stored.dtype(name).as_deref(), Some(expected), "{name}");
                in_blocks += usize::from(expected == "Q8_0");
            }
            assert!(in_blocks >= least, "{in_blocks} of {name}");
        }
    }
}
