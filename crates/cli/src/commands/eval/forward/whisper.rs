//! Audio encoders: `in.input_features` `[batch, bins, frames]` to `out.last_hidden_state`
//! `[batch, positions, d_model]`.

use super::{Call, Outputs};
use models::audio::whisper::{WhisperConfig, WhisperEncoder};
use tensor::Checkpoint;

pub(super) fn forward(call: &Call<'_>) -> anyhow::Result<Outputs> {
    let config = WhisperConfig::from_json(call.config, call.config_path)?;
    // As its reference, which reads whole windows only.
    let shape = [None, Some(config.num_mel_bins), Some(config.max_frames())];
    let features = call.inputs.all("input_features", &shape, call.device)?;
    let checkpoint = Checkpoint::open(call.folder)?;
    let encoder = WhisperEncoder::load(config, &checkpoint, call.device, None)?;
    let output = |(suffix, features): (String, _)| {
        (format!("out.last_hidden_state{suffix}"), encoder.forward(&features))
    };
    Ok(features.into_iter().map(output).collect())
}
