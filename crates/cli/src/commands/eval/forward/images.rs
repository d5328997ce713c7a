//! What sees in multimodal models: `in.pixel_values` `[tiles, channels, height, width]` to the tower's
//! hidden states, `out.hidden.I`, and the projector's rows, `out.image_features`
//! `[tiles, patches, hidden_size]`.

use super::{Call, Outputs};
use models::vision::minimax_vl_01::{ImageConfig, ImageEncoder};
use tensor::Checkpoint;

pub(super) fn forward(call: &Call<'_>) -> anyhow::Result<Outputs> {
    let config = ImageConfig::from_json(call.config, call.config_path)?;
    let size = Some(config.vision.image_size);
    let shape = [None, Some(config.vision.num_channels), size, size];
    let tiles = call.inputs.all("pixel_values", &shape, call.device)?;
    let checkpoint = Checkpoint::open(call.folder)?;
    let taken = config.vision_feature_layer;
    let encoder = ImageEncoder::load(config, &checkpoint, call.device, None)?;
    let mut outputs = Outputs::new();
    for (suffix, tiles) in tiles {
        let states = encoder.tower().hidden_states(&tiles);
        outputs.insert(format!("out.image_features{suffix}"), encoder.project(&states[taken]));
        for (i, state) in states.into_iter().enumerate() {
            outputs.insert(format!("out.hidden{suffix}.{i}"), state);
        }
    }
    Ok(outputs)
}
