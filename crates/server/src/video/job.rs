//! An order and what became of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is asked for; what is `None` the model decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// What is to be seen.
    pub prompt: String,
    /// What is not to be seen.
    pub negative_prompt: Option<String>,
    /// Width and height in pixels.
    pub size: Option<(usize, usize)>,
    /// Frames.
    pub frames: Option<usize>,
    /// Seconds, in place of frames.
    pub seconds: Option<f64>,
    /// The same seed gives the same clip.
    pub seed: u64,
    /// Steps of sampling.
    pub steps: Option<usize>,
    /// How much more is done of what the prompt says.
    pub guidance: Option<f64>,
    /// The same of the subject.
    pub image_guidance: Option<f64>,
    /// How much noise is new in each step, 0 to 1.
    pub eta: Option<f64>,
    /// How far levels of noise are shifted towards noise.
    pub shift: Option<f64>,
    /// How a step is made.
    pub sampler: Option<Sampler>,
    /// Clips that are begun, of which the best is finished.
    pub candidates: Option<usize>,
    /// What is done about bad frames.
    pub consistency: Option<Consistency>,
}

impl Order {
    /// Frames times steps times candidates, of an order that leaves none of them open.
    pub(crate) fn work(&self) -> u64 {
        let counts = [self.frames, self.steps, self.candidates];
        counts.into_iter().fold(1, |work: u64, n| work.saturating_mul(n.unwrap_or(1) as u64))
    }
}

/// How a step is made, under the names that clips and reports have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sampler {
    /// The eta family.
    Euler,
    /// DPM-Solver++ of second order.
    Dpm,
    /// The same with noise.
    #[serde(alias = "dpm_sde")]
    SdeDpm,
}

/// What is done about bad frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// They are not looked for.
    Off,
    /// They are reported.
    Report,
    /// The best of several candidates is finished and reported.
    Select,
    /// They are made again where that makes them better, and reported.
    Repair,
}

/// Pictures that go with an order: files as they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pictures {
    /// The first frame.
    pub first: Option<Vec<u8>>,
    /// The last frame.
    pub last: Option<Vec<u8>>,
    /// A subject.
    pub subject: Option<Vec<u8>>,
}

/// A file of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The first frame of the order.
    First,
    /// The last frame of the order.
    Last,
    /// The subject of the order.
    Subject,
    /// The clip as MP4.
    Video,
    /// The clip as GIF.
    Gif,
    /// Its first frame as PNG.
    Thumbnail,
    /// Its frames in a row with their faults, as SVG.
    Timeline,
    /// What was found in each frame, as JSON.
    Report,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::First,
        Self::Last,
        Self::Subject,
        Self::Video,
        Self::Gif,
        Self::Thumbnail,
        Self::Timeline,
        Self::Report,
    ];

    /// The name of its file.
    pub fn file(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
            Self::Subject => "subject",
            Self::Video => "video.mp4",
            Self::Gif => "video.gif",
            Self::Thumbnail => "thumbnail.png",
            Self::Timeline => "timeline.svg",
            Self::Report => "report.json",
        }
    }

    /// The media type of what was made.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::First | Self::Last | Self::Subject => "application/octet-stream",
            Self::Video => "video/mp4",
            Self::Gif => "image/gif",
            Self::Thumbnail => "image/png",
            Self::Timeline => "image/svg+xml",
            Self::Report => "application/json",
        }
    }
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It waits or is being made, which is begun again after a restart.
    Queued,
    /// It is there.
    Completed {
        /// What is told of it.
        facts: Facts,
    },
    /// There will be none.
    Failed {
        /// Why, for whoever ordered it.
        message: String,
    },
}

/// What is told of a clip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// In pixels, before frames are enlarged.
    pub width: usize,
    /// In pixels, before frames are enlarged.
    pub height: usize,
    /// Frames.
    pub frames: usize,
    /// Frames per second.
    pub rate: f64,
    /// Bytes of [`Part::Video`].
    pub bytes: u64,
    /// Frames in which something is wrong, from 0.
    pub flagged: Vec<usize>,
    /// Frames that were changed to mend them, from 0.
    pub repaired: Vec<usize>,
}

/// An order in the line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub id: String,
    /// Whose it is.
    pub client: u64,
    /// Its place: jobs with smaller numbers came first.
    pub number: u64,
    /// The model that was asked.
    pub model: String,
    /// What was asked for.
    pub order: Order,
    /// Where it stands.
    #[serde(flatten)]
    pub state: State,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970, once it is completed or has failed.
    pub ended: Option<u64>,
}

impl Job {
    /// Whether it waits or is being made.
    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Queued
    }
}
