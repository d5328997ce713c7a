use super::draw::{Drawing, Sample};
use super::pool::{Pool, scene};
use crate::{Recipe, clips::Task};
use models::video::NanoVideo;
use models::video::nano::config::NanoConfig;
use std::path::Path;
use tensor::{Device, Precision};

const PICO: &str = include_str!("../../../../../recipes/pico-video.toml");

/// Samples of the recipe of `pico` with a share of stills, and the latents that they are of.
fn samples(stills: f32, count: usize) -> (Vec<Sample>, Pool) {
    let path = Path::new("pico-video.toml");
    let mut recipe = Recipe::from_toml(PICO, path).expect("a recipe");
    let section = recipe.flow.as_mut().expect("a part for flow matching");
    section.stills = stills;
    section.pool = 6;
    let mut json = serde_json::to_value(&recipe.model).expect("a model's config");
    json["vae"] = serde_json::Value::Null;
    let config = NanoConfig::from_json(json.to_string().as_bytes(), path).expect("a config");
    let device = Device::cpu(1);
    let model = NanoVideo::to_train(config.clone(), None, &device, Precision::F32, 1)
        .expect("a model of pixels");
    let samples = Drawing::new(section, &config, 5).samples(count, 0, 0);
    let mut pool = Pool::new(&config, 5);
    pool.prepare(&model, &device, &samples);
    (samples, pool)
}

#[test]
fn a_share_of_samples_are_stills_that_have_noise_to_be_taken_away() {
    let (samples, pool) = samples(0.25, 1000);
    let [channels, frames, height, width] = pool.shape();
    let mut stills = 0;
    for sample in &samples {
        assert_eq!(sample.noise.len(), channels * sample.frames() * height * width);
        assert!(sample.levels.iter().any(|level| *level > 0.0));
        assert!(scene(5, sample.index).0 || !sample.reference);
        if sample.frames() == 1 {
            assert!(matches!(sample.task, Task::Text | Task::Subject), "{:?}", sample.task);
            stills += 1;
        } else {
            assert_eq!(sample.frames(), frames);
        }
    }
    // Five deviations of a binomial count.
    assert!((181..=319).contains(&stills), "{stills} of 1000");
}

#[test]
fn a_still_is_the_first_frame_of_its_clip() {
    let (samples, pool) = samples(0.5, 64);
    let [channels, frames, height, width] = pool.shape();
    let area = height * width;
    let mut compared = 0;
    for still in samples.iter().filter(|sample| sample.frames() == 1) {
        let is_its = |sample: &&Sample| sample.frames() > 1 && sample.index == still.index;
        let Some(clip) = samples.iter().find(is_its) else { continue };
        let (still, clip) = (pool.clean(still), pool.clean(clip));
        for channel in 0..channels {
            let first = &clip[channel * frames * area..][..area];
            assert_eq!(still[channel * area..][..area], *first);
        }
        compared += 1;
    }
    assert!(compared > 0, "no clip of a still");
}
