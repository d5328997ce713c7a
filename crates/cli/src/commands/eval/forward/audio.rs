//! What hears in multimodal models: `in.input_features` `[batch, bins, frames]` to the encoder's
//! `out.last_hidden_state` `[batch, positions, d_model]`, and the projector's rows,
//! `out.audio_features` `[batch, rows, hidden_size]`.

use super::{Call, Outputs};
use models::audio::voxtral::{AudioConfig, AudioEncoder};
use tensor::Checkpoint;

pub(super) fn forward(call: &Call<'_>) -> anyhow::Result<Outputs> {
    let config = AudioConfig::from_json(call.config, call.config_path)?;
    let shape = [None, Some(config.audio.num_mel_bins), Some(config.audio.max_frames())];
    let features = call.inputs.all("input_features", &shape, call.device)?;
    let checkpoint = Checkpoint::open(call.folder)?;
    let encoder = AudioEncoder::load(config, &checkpoint, call.device, None)?;
    let mut outputs = Outputs::new();
    for (suffix, features) in features {
        let state = encoder.encoder().forward(&features);
        outputs.insert(format!("out.audio_features{suffix}"), encoder.project(&state));
        outputs.insert(format!("out.last_hidden_state{suffix}"), state);
    }
    Ok(outputs)
}
