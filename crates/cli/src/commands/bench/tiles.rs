//! `imN`: N tiles of pictures become rows, all of them at once.

use super::measure::{Bar, Limits};
use super::report::{About, Row, Timed, Unit};
use super::{Arguments, name_of};
use crate::failure::Misuse;
use crate::fit;
use crate::model::{Place, Weights, read};
use crate::senses::{Parts, Sight};
use models::vision::clip::{self, ClipVision, ClipVisionConfig};
use models::vision::minimax_vl_01::ImageEncoder;
use models::weights::{Policy, image_bytes, tower_bytes};
use std::time::Instant;
use tensor::{Device, Rng, Tensor};

/// What sees: a tower, and the projector behind it where there is one.
enum Eyes {
    Alone(Box<ClipVision>),
    OfModel(Box<ImageEncoder>),
}

const UNIT: Unit = Unit::Tiles;

impl Eyes {
    fn load(place: &Place, device: &Device, weights: Option<Weights>) -> anyhow::Result<Self> {
        let (checkpoint, policy) = (place.checkpoint()?, weights.map(Policy::from));
        if let Place::Folder(_) = place {
            let path = place.config_path();
            let config = read(&path)?;
            if clip::is_named_in(&config) {
                let config = ClipVisionConfig::from_json(&config, &path)?;
                let tower = ClipVision::load(config, &checkpoint, device, policy)?;
                return Ok(Self::Alone(Box::new(tower)));
            }
        }
        let parts = Parts::of(place, Some(&checkpoint), place.config()?.hidden_size)?;
        let Some(Sight { config, checkpoint: Some(file), .. }) = &parts.sight else {
            let name = &parts.name;
            let message = format!(
                "the model `{name}` does not see, which `--tiles` needs: expected `nano`, a folder of \
                 MiniMax-VL-01 or of a CLIP vision tower, or one with a folder `vision` in it"
            );
            return Err(Misuse(message).into());
        };
        let encoder = ImageEncoder::load(config.clone(), file, device, policy)?;
        Ok(Self::OfModel(Box::new(encoder)))
    }

    fn tower(&self) -> &ClipVision {
        match self {
            Self::Alone(tower) => tower,
            Self::OfModel(encoder) => encoder.tower(),
        }
    }

    fn rows(&self, tiles: &Tensor) -> Tensor {
        match self {
            Self::Alone(tower) => tower.hidden_state(tiles, tower.config().num_hidden_layers),
            Self::OfModel(encoder) => encoder.features(tiles),
        }
    }

    /// Floating-point operations for a tile.
    fn flops(&self) -> f64 {
        match self {
            Self::Alone(tower) => tower.config().flops(),
            Self::OfModel(encoder) => encoder.config().flops(),
        }
    }

    fn parameters(&self) -> u128 {
        match self {
            Self::Alone(tower) => tower.config().num_parameters(),
            Self::OfModel(encoder) => encoder.config().num_parameters(),
        }
    }

    /// Bytes of the weights in memory.
    fn bytes(&self) -> Result<u64, models::Error> {
        // The matrices are as they are used, so there is nothing to be made of them.
        let dtype = self.tower().dtype();
        match self {
            Self::Alone(tower) => tower_bytes(tower.config(), dtype, None),
            Self::OfModel(encoder) => image_bytes(encoder.config(), dtype, None),
        }
    }
}

/// Measures each number of tiles with each kind of weights.
pub(super) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<Vec<Row>> {
    let place = Place::of(arguments.model.as_deref())?;
    let (variants, repeat) = (arguments.weights(), arguments.repeat.get());
    let tiles = || arguments.tiles.iter().copied().map(usize::from);
    let runs = (repeat + 1).saturating_mul(variants.len());
    let bar = Bar::new(tiles().fold(0, usize::saturating_add).saturating_mul(runs) as u64, UNIT)?;
    let mut limits = Limits::new(device);
    let mut rows = Vec::new();
    for weights in variants {
        let eyes = Eyes::load(&place, device, weights)?;
        let dtype = eyes.tower().dtype();
        let about = About {
            name: place.name(),
            bytes: eyes.bytes()?,
            parameters: eyes.parameters(),
            weights: name_of(weights, dtype),
        };
        limits.measure(dtype);
        let measure = |count: usize| {
            let test = format!("im{count}");
            bar.begin(format!("{} {test}", about.weights));
            device.release_memory();
            fit::forget_peak_rss();
            let seconds = seconds(&eyes, count, repeat, device, &bar);
            let peak_rss_bytes = fit::peak_rss_bytes();
            Timed { test, unit: UNIT, count, seconds, peak_rss_bytes, split: None }
        };
        let timed: Vec<Timed> = tiles().map(measure).collect();
        limits.measure(dtype);
        rows.extend(timed.into_iter().map(|timed| {
            let flops = eyes.flops() * timed.count as f64;
            let share = |seconds| limits.share_of_flops(dtype, flops / seconds);
            Row::new(about.clone(), device, timed, share)
        }));
    }
    bar.clear();
    Ok(rows)
}

/// Of each repetition; one before them warms up.
fn seconds(eyes: &Eyes, tiles: usize, repeat: usize, device: &Device, bar: &Bar) -> Vec<f64> {
    let config = eyes.tower().config();
    let shape = [tiles, config.num_channels, config.image_size, config.image_size];
    let mut rng = Rng(0);
    let pixels = (0..shape.iter().product()).map(|_| rng.normal()).collect();
    let pixels = Tensor::new(device, &shape, pixels);
    let once = |_| {
        let start = Instant::now();
        std::hint::black_box(eyes.rows(&pixels));
        let seconds = start.elapsed().as_secs_f64();
        bar.add(tiles);
        seconds
    };
    (0..=repeat).map(once).skip(1).collect()
}
