//! The front end of audio models: waveforms `in.NAME` `[samples]` to `out.NAME.BINS` `[bins, 256]`, the
//! first frames of a window of 30 s.

use super::{Inputs, Outputs};
use models::audio::log_mel::LogMel;
use tensor::{Device, Tensor};

/// Bins of Whisper's models, the large ones last.
const BINS: [usize; 2] = [80, 128];
/// Frames that are written.
const FRAMES: usize = 256;

pub(super) fn forward(inputs: &Inputs, device: &Device) -> anyhow::Result<Outputs> {
    let front_ends = BINS.map(LogMel::new);
    let mut outputs = Outputs::new();
    for full in inputs.0.names() {
        let Some(name) = full.strip_prefix("in.") else { continue };
        let waveform = inputs.get(full, &[None], device)?;
        for front_end in &front_ends {
            let (bins, features) = (front_end.bins(), front_end.window(waveform.data()));
            let frames = features.len() / bins;
            let first = features.chunks_exact(frames).flat_map(|bin| &bin[..FRAMES]);
            let features = Tensor::new(device, &[bins, FRAMES], first.copied().collect());
            outputs.insert(format!("out.{name}.{bins}"), features);
        }
    }
    anyhow::ensure!(
        !outputs.is_empty(),
        "`{}` has no tensor named `in.NAME`",
        inputs.0.path().display()
    );
    Ok(outputs)
}
