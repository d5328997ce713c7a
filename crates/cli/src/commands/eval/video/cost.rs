//! Time of a step by the length of the clip, with linear and softmax layers.

use super::maker::Maker;
use super::measured::{Cell, Measured, median};
use crate::plot::{Axes, Line};
use models::video::NanoVideo;
use models::video::dit::config::Mixer;
use std::time::Instant;
use tensor::{Device, Precision, Tensor};

/// Frames of clips.
const FRAMES: [usize; 6] = [9, 17, 33, 65, 129, 257];
/// Steps that are timed; the first of one more is not.
const TIMES: usize = 3;

pub(super) fn measure(
    maker: &Maker<'_>,
    device: &Device,
) -> anyhow::Result<(Measured, (Axes<'static>, Vec<Line>))> {
    let own = maker.nano()?.model().config();
    let eps = 1e-6;
    // Weights by chance take as long as trained ones, and each kind of layer needs others.
    let model = |mixer: Option<Mixer>| {
        let mut config = own.clone();
        config.vae = None;
        config.transformer.rope.max_positions = 4096;
        if let Some(mixer) = mixer {
            config.transformer.layers.iter_mut().for_each(|l| l.attention.mixer = mixer);
        }
        let mut model = NanoVideo::to_train(config, None, device, Precision::F32, 1)?;
        // Nothing is kept for gradients.
        model.freeze();
        anyhow::Ok(model)
    };
    let kinds = [
        ("all linear", model(Some(Mixer::Linear { eps }))?),
        ("as trained", model(None)?),
        ("all softmax", model(Some(Mixer::Softmax))?),
    ];
    let mut lines: Vec<Line> =
        kinds.iter().map(|(name, _)| Line { name: (*name).to_owned(), points: vec![] }).collect();
    let mut rows = Vec::new();
    for frames in FRAMES {
        let [channels, frames_, height, width] = own.latent_shape([frames, own.height, own.width]);
        let shape = [1, channels, frames_, height, width];
        let mut cells = Vec::new();
        let mut row_count = 0;
        for ((_, model), line) in kinds.iter().zip(&mut lines) {
            let text = model.encode_prompts(&[vec![1]]);
            let values = (0..shape.iter().product()).map(|i: usize| (i % 17) as f32 * 0.1 - 0.8);
            let latents = Tensor::new(device, &shape, values.collect());
            row_count = model.rows(&latents);
            let levels = vec![0.5; row_count];
            let time = || {
                let start = Instant::now();
                std::hint::black_box(model.velocity(&latents, &text, None, &levels).to_vec());
                1e3 * start.elapsed().as_secs_f64()
            };
            time();
            let ms = median(&(0..TIMES).map(|_| time()).collect::<Vec<_>>());
            line.points.push((frames as f64, ms));
            cells.push(Cell::Number(ms, 1));
        }
        let mut row = vec![Cell::Number(frames as f64, 0), Cell::Number(row_count as f64, 0)];
        row.extend(cells);
        rows.push(row);
    }
    let table = Measured {
        title: "Milliseconds of one prediction, weights in f32, median of 3".to_owned(),
        columns: vec!["frames", "rows", "all linear", "as trained", "all softmax"],
        rows,
    };
    let axes = Axes {
        title: "one prediction by the length of the clip",
        x: "frames",
        y: "ms",
        logarithmic: true,
    };
    Ok((table, (axes, lines)))
}
