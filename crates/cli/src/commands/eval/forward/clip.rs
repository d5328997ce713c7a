//! Vision towers: `in.pixel_values` `[batch, channels, height, width]` to all hidden states,
//! `out.hidden.I` `[batch, rows, hidden_size]`.

use super::{Call, Outputs};
use models::vision::clip::{ClipVision, ClipVisionConfig};
use tensor::Checkpoint;

pub(super) fn forward(call: &Call<'_>) -> anyhow::Result<Outputs> {
    let config = ClipVisionConfig::from_json(call.config, call.config_path)?;
    let size = Some(config.image_size);
    let shape = [None, Some(config.num_channels), size, size];
    let images = call.inputs.all("pixel_values", &shape, call.device)?;
    let checkpoint = Checkpoint::open(call.folder)?;
    let tower = ClipVision::load(config, &checkpoint, call.device, None)?;
    let mut outputs = Outputs::new();
    for (suffix, images) in images {
        for (i, state) in tower.hidden_states(&images).into_iter().enumerate() {
            outputs.insert(format!("out.hidden{suffix}.{i}"), state);
        }
    }
    Ok(outputs)
}
