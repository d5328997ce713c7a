//! From a picture to the tiles that the tower of MiniMax-VL-01 reads, as `preprocessor_config.json`
//! says.

use super::minimax_vl_01::grid_pinpoints;
use super::pixels::Rgb;
use super::tiles::{Plan, Tiling};
use crate::Error;
use crate::config::fields::Fields;
use serde_json::Value;
use std::path::Path;
use tensor::{Device, Tensor};

/// What is done with a picture's pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageProcessor {
    /// How pictures are cut.
    pub tiling: Tiling,
    /// Whether what is plain around a picture is cut off first ([`Rgb::trimmed`]); a field of ours.
    pub trim: bool,
    /// What bytes are multiplied with.
    pub rescale_factor: f64,
    /// Of red, green and blue after that; taken away.
    pub image_mean: [f64; 3],
    /// What is left is divided by this.
    pub image_std: [f64; 3],
}

/// CLIP's, which the released model has too.
const MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];
/// Values of `process_image_mode`, and whether pictures are cut into tiles: `pad` fits them into one.
const MODES: [(&str, bool); 2] = [("anyres", true), ("pad", false)];
/// The number that Pillow has for bicubic interpolation.
const BICUBIC: u64 = 3;

impl ImageProcessor {
    /// The released model's.
    pub fn published() -> Self {
        let tiling = Tiling::published();
        let (image_mean, image_std) = (MEAN, STD);
        Self { tiling, trim: false, rescale_factor: 1.0 / 255.0, image_mean, image_std }
    }

    /// One that trims pictures and in which bytes become numbers from -1 to 1.
    pub fn plain(tiling: Tiling) -> Self {
        let half = [0.5; 3];
        let rescale_factor = 1.0 / 255.0;
        Self { tiling, trim: true, rescale_factor, image_mean: half, image_std: half }
    }

    /// The text of its `preprocessor_config.json`.
    pub fn to_json(&self) -> String {
        let Tiling { tile_size, tile_features, grid_pinpoints } = &self.tiling;
        let is_cut = !grid_pinpoints.is_empty();
        let mode = MODES.iter().find(|(_, cut)| *cut == is_cut).map(|(mode, _)| *mode);
        let mut json = serde_json::json!({
            "process_image_mode": mode,
            "size": tile_size,
            "patch_size": tile_size / tile_features,
            "trim": self.trim,
            "rescale_factor": self.rescale_factor,
            "image_mean": self.image_mean,
            "image_std": self.image_std,
        });
        if is_cut {
            json["image_grid_pinpoints"] =
                grid_pinpoints.iter().map(|grid| grid.to_vec()).collect();
        }
        format!("{json:#}\n")
    }

    /// Reads the text of a `preprocessor_config.json`; `path` is named in errors. What is not there is
    /// as published.
    ///
    /// # Errors
    ///
    /// If it is not JSON, or asks for something else than tiles.
    pub fn from_json(text: &[u8], path: &Path) -> Result<Self, Error> {
        let fields = Fields::parse(text, path)?;
        let is_cut = fields.choice("process_image_mode", &MODES)?.unwrap_or(true);
        fields.refuse_unless("resample", |v| v == BICUBIC, "3 (bicubic)")?;
        for name in ["do_resize", "do_rescale", "do_normalize", "do_convert_rgb", "do_pad"] {
            fields.refuse_unless(name, |v| v == true, "true")?;
        }
        let patch_size = fields.optional_size(&["patch_size"], 1 << 12)?.unwrap_or(14);
        let tile_size = tile_size(&fields)?;
        if !tile_size.is_multiple_of(patch_size) {
            let expected = format!("a divisor of the tiles' size, which is {tile_size}");
            return Err(fields.wrong("patch_size", &expected));
        }
        let three = |name: &str, range: [f64; 2], default: [f64; 3]| {
            let Some(value) = fields.get(name).filter(|value| !value.is_null()) else {
                return Ok(default);
            };
            let inside = |v: &Value| v.as_f64().filter(|v| (range[0]..=range[1]).contains(v));
            let list = value.as_array().map(|list| list.iter().filter_map(inside).collect());
            let list: Vec<f64> = list.unwrap_or_default();
            let expected = format!("three numbers from {} to {}", range[0], range[1]);
            list.try_into().map_err(|_| fields.wrong(name, &expected))
        };
        Ok(Self {
            tiling: Tiling {
                tile_size,
                tile_features: tile_size / patch_size,
                grid_pinpoints: match is_cut {
                    true => grid_pinpoints(&fields, tile_size)?,
                    false => Vec::new(),
                },
            },
            trim: fields.flag("trim")?.unwrap_or(false),
            rescale_factor: fields.number(&["rescale_factor"], 1e-6..=1e6)?.unwrap_or(1.0 / 255.0),
            image_mean: three("image_mean", [-1e6, 1e6], MEAN)?,
            image_std: three("image_std", [1e-6, 1e6], STD)?,
        })
    }

    /// The tiles of a picture, `[tiles, 3, tile_size, tile_size]`, the thumbnail first, and how it was
    /// cut. Where it does not fill a grid there is black, as in the released model; where it does not
    /// fill its one tile, the mean colour, as in LLaVA.
    ///
    /// # Panics
    ///
    /// If the picture has no pixels.
    pub fn tiles(&self, device: &Device, picture: &Rgb) -> (Tensor, Plan) {
        let trimmed = self.trim.then(|| picture.trimmed());
        let picture = trimmed.as_ref().unwrap_or(picture);
        let plan = self.tiling.plan(picture.height, picture.width);
        let size = self.tiling.tile_size;
        let [height, width] = plan.resized;
        let is_one = plan.num_tiles() == 1;
        let mut canvas = match is_one {
            true => Rgb::plain(plan.canvas[0], plan.canvas[1], self.mean_colour()),
            false => Rgb::black(plan.canvas[0], plan.canvas[1]),
        };
        canvas.paste(&picture.resize(height, width), plan.offset);
        let mut data = Vec::with_capacity(plan.num_tiles() * 3 * size * size);
        if is_one {
            self.append(&canvas, &mut data);
            return (Tensor::new(device, &[1, 3, size, size], data), plan);
        }
        self.append(&picture.resize(size, size), &mut data);
        for top in (0..plan.canvas[0]).step_by(size) {
            for left in (0..plan.canvas[1]).step_by(size) {
                self.append(&canvas.crop([top, left], [size, size]), &mut data);
            }
        }
        (Tensor::new(device, &[plan.num_tiles(), 3, size, size], data), plan)
    }

    /// What becomes 0.
    fn mean_colour(&self) -> [u8; 3] {
        self.image_mean.map(|mean| (mean / self.rescale_factor).round().clamp(0.0, 255.0) as u8)
    }

    /// Appends a tile's channels, one after the other.
    fn append(&self, tile: &Rgb, data: &mut Vec<f32>) {
        for channel in 0..3 {
            let (mean, std) = (self.image_mean[channel], self.image_std[channel]);
            let value = |byte: u8| ((f64::from(byte) * self.rescale_factor - mean) / std) as f32;
            let values: Vec<f32> = (0..=u8::MAX).map(value).collect();
            let bytes = tile.data[channel..].iter().step_by(3);
            data.extend(bytes.map(|&byte| values[usize::from(byte)]));
        }
    }
}

/// The side of a tile, in any of the spellings: `size` or `crop_size`, a number, `shortest_edge`, or
/// equal `height` and `width`.
fn tile_size(fields: &Fields<'_>) -> Result<usize, Error> {
    const MAX: u64 = 1 << 12;
    let of = |name: &str| {
        let names = ["shortest_edge", "height", "width"].map(|part| format!("{name}.{part}"));
        match fields.get(name) {
            Some(Value::Number(_)) => fields.optional_size(&[name], MAX),
            _ => fields.optional_size(&names.each_ref().map(String::as_str), MAX),
        }
    };
    let size = of("size")?.or(of("crop_size")?);
    Ok(size.unwrap_or_else(|| Tiling::published().tile_size))
}
