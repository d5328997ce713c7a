//! `/v1/videos`.

use crate::video::{Consistency, Sampler};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// A clip that is ordered. Numbers may be written as text too, as forms and OpenAI's `seconds` have them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct VideoRequest {
    /// What is to be seen.
    #[schemars(length(min = 1, max = 32_000))]
    pub prompt: String,
    /// The model; the one that is served if not given.
    pub model: Option<String>,
    /// Width and height in pixels, such as `64x64`.
    pub size: Option<String>,
    /// How long the clip is; the nearest number of frames that the model makes.
    #[serde(default, deserialize_with = "number")]
    #[schemars(with = "Option<f64>", range(max = 3600.0), extend("exclusiveMinimum" = 0))]
    pub seconds: Option<f64>,
    /// How many frames it has, in place of `seconds`.
    #[serde(default, deserialize_with = "whole")]
    #[schemars(with = "Option<u64>", range(min = 1, max = 10_000))]
    pub num_frames: Option<u64>,
    /// The first frame.
    pub input_reference: Option<Picture>,
    /// The first frame, by another name.
    pub first_frame_image: Option<Picture>,
    /// The last frame.
    pub last_frame_image: Option<Picture>,
    /// Somebody or something that is to be seen.
    pub subject_reference: Option<Picture>,
    /// What is not to be seen.
    #[schemars(length(max = 32_000))]
    pub negative_prompt: Option<String>,
    /// The same seed gives the same clip; drawn if not given.
    #[serde(default, deserialize_with = "whole")]
    #[schemars(with = "Option<u64>", range(min = 0))]
    pub seed: Option<u64>,
    /// Steps of sampling.
    #[serde(default, deserialize_with = "whole")]
    #[schemars(with = "Option<u64>", range(min = 1, max = 1000))]
    pub num_inference_steps: Option<u64>,
    /// How much more is done of what the prompt says; 1 is not at all.
    #[serde(default, deserialize_with = "number")]
    #[schemars(with = "Option<f64>", range(min = 0.0, max = 100.0))]
    pub guidance_scale: Option<f64>,
    /// The same of the subject.
    #[serde(default, deserialize_with = "number")]
    #[schemars(with = "Option<f64>", range(min = 0.0, max = 100.0))]
    pub image_guidance_scale: Option<f64>,
    /// How much noise is new in each step: from 0, stable, to 1, free.
    #[serde(default, deserialize_with = "number")]
    #[schemars(with = "Option<f64>", range(min = 0.0, max = 1.0))]
    pub eta: Option<f64>,
    /// How far levels of noise are shifted towards noise; 1 is not at all.
    #[serde(default, deserialize_with = "number")]
    #[schemars(with = "Option<f64>", range(min = 0.01, max = 100.0))]
    pub shift: Option<f64>,
    /// How a step is made; `euler` with `eta` if not given.
    pub sampler: Option<Sampler>,
    /// What is done about bad frames; they are reported if not given.
    pub consistency: Option<Consistency>,
    /// Clips that are begun, of which the best is finished.
    #[serde(default, deserialize_with = "whole")]
    #[schemars(with = "Option<u64>", range(min = 1, max = 64))]
    pub candidates: Option<u64>,
}

/// A picture.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a picture as `data:` address, or an object with `image_url`"
)]
pub enum Picture {
    /// Its bytes in base64, with or without `data:TYPE;base64,` in front.
    Data(String),
    /// The same in an object.
    Object {
        /// Its bytes in base64, with or without `data:TYPE;base64,` in front.
        image_url: String,
    },
}

impl Picture {
    /// The text that stands for it.
    pub(crate) fn data(&self) -> &str {
        match self {
            Self::Data(data) | Self::Object { image_url: data } => data,
        }
    }
}

/// Numbers above this are not whole in many languages: 2^53.
const MOST: f64 = 9_007_199_254_740_992.0;

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number")]
enum Written {
    Whole(u64),
    Number(f64),
    Text(String),
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let number = match Option::deserialize(from)? {
        None => return Ok(None),
        Some(Written::Whole(number)) => number as f64,
        Some(Written::Number(number)) => number,
        Some(Written::Text(text)) => {
            let wrong = |_| D::Error::custom(format!("`{text}` is not a number"));
            text.trim().parse().map_err(wrong)?
        }
    };
    match number.is_finite() {
        true => Ok(Some(number)),
        false => Err(D::Error::custom("it is not finite")),
    }
}

fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let wrong = |found: &dyn std::fmt::Display| {
        D::Error::custom(format!("it is {found}, expected a whole number from 0 to 2^64 - 1"))
    };
    // As floating-point numbers beyond 2^53 they would be others than those that were written.
    let of_number = |number: f64| {
        let is_whole = number.fract() == 0.0 && (0.0..=MOST).contains(&number);
        is_whole.then_some(number as u64).ok_or_else(|| wrong(&number))
    };
    match Option::deserialize(from)? {
        None => Ok(None),
        Some(Written::Whole(number)) => Ok(Some(number)),
        Some(Written::Number(number)) => of_number(number).map(Some),
        Some(Written::Text(text)) => match text.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => match text.trim().parse() {
                Ok(number) => of_number(number).map(Some),
                Err(_) => Err(D::Error::custom(format!("`{text}` is not a number"))),
            },
        },
    }
}

/// A clip, there or on its way.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Video {
    /// Its name.
    pub id: String,
    /// `video`.
    pub object: &'static str,
    /// The model.
    pub model: String,
    /// Where it stands.
    pub status: Status,
    /// From 0 to 100.
    pub progress: u32,
    /// Seconds until it is there, once that can be told.
    pub seconds_left: Option<f64>,
    /// Whether `content?variant=preview` shows what it looks like now.
    pub preview: bool,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Seconds since 1970.
    pub completed_at: Option<u64>,
    /// Clips are kept until there are too many: `null`.
    pub expires_at: Option<u64>,
    /// What is to be seen.
    pub prompt: String,
    /// Width and height in pixels.
    pub size: String,
    /// How long it is.
    pub seconds: String,
    /// `standard`.
    pub quality: &'static str,
    /// `null`: clips are not made of others.
    pub remixed_from_video_id: Option<String>,
    /// Why there is none.
    pub error: Option<VideoError>,
    /// What it was made with.
    pub settings: Settings,
    /// Frames in which something is wrong, from 0.
    pub flagged_frames: Vec<usize>,
    /// Frames that were changed to mend them, from 0.
    pub repaired_frames: Vec<usize>,
    /// What `content` has of it, by `variant`.
    pub variants: Vec<&'static str>,
}

/// Where a clip stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits.
    Queued,
    /// It is being made.
    InProgress,
    /// It is there.
    Completed,
    /// There will be none.
    Failed,
}

/// Why there is no clip.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct VideoError {
    /// `failed`.
    pub code: &'static str,
    /// In a sentence.
    pub message: String,
}

/// What a clip is made with, under the names of the request.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Settings {
    /// Decides the noise.
    pub seed: u64,
    /// What is not to be seen.
    pub negative_prompt: Option<String>,
    /// Frames.
    pub num_frames: Option<usize>,
    /// Steps of sampling.
    pub num_inference_steps: Option<usize>,
    /// How much more is done of what the prompt says.
    pub guidance_scale: Option<f64>,
    /// The same of the subject.
    pub image_guidance_scale: Option<f64>,
    /// How much noise is new in each step.
    pub eta: Option<f64>,
    /// How far levels of noise are shifted towards noise.
    pub shift: Option<f64>,
    /// How a step is made.
    pub sampler: Option<Sampler>,
    /// What is done about bad frames.
    pub consistency: Option<Consistency>,
    /// Clips that are begun.
    pub candidates: Option<usize>,
}

/// Clips of a client.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct VideoList {
    /// `list`.
    pub object: &'static str,
    /// One by one.
    pub data: Vec<Video>,
    /// The name of the first.
    pub first_id: Option<String>,
    /// The name of the last.
    pub last_id: Option<String>,
    /// Whether there are more after the last.
    pub has_more: bool,
}

/// A piece of the list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct ListQuery {
    /// Begins after the clip of this name.
    pub after: Option<String>,
    /// So many, 20 unless set.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<usize>,
    /// `desc`, the latest first, or `asc`.
    pub order: Option<Direction>,
}

/// Which come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The oldest.
    Asc,
    /// The latest.
    #[default]
    Desc,
}

/// Which file of a clip.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct ContentQuery {
    /// `video` unless set.
    pub variant: Option<Variant>,
}

/// A file of a clip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// The clip as MP4.
    #[default]
    Video,
    /// The clip as GIF.
    Gif,
    /// Its first frame as PNG.
    Thumbnail,
    /// Its frames in a row with their faults, as SVG.
    Timeline,
    /// What was found in each frame, as JSON.
    Report,
    /// What it looks like while it is being made, as GIF or PNG.
    Preview,
}
