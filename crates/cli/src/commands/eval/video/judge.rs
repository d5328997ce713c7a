//! Whether clips show what they should.

use super::measured::{Cell, Count};
use media::Clip;
use std::collections::BTreeMap;
use train::clips::{Detected, Fill, Scene, detect};
use video::consistency::report::Summary;
use video::consistency::{Options, Thresholds, Verdict, check};

/// What is seen in a clip, whatever it should show.
pub(super) struct Judged {
    pub(super) object: Option<Detected>,
    /// Whether the check of frames flags one, with the thresholds for decoded clips.
    flagged: bool,
}

impl Judged {
    pub(super) fn of(clip: &Clip) -> Self {
        let flags = Verdict::of(clip, &Self::options()).flags;
        Self { object: detect(clip), flagged: !flags.is_empty() }
    }

    /// The same with how steady the clip is, which takes longer.
    pub(super) fn with_summary(clip: &Clip) -> (Self, Summary) {
        let report = check(clip, &Self::options());
        (Self { object: detect(clip), flagged: !report.flags.is_empty() }, report.summary)
    }

    fn options() -> Options<'static> {
        Options { thresholds: Thresholds::decoded(), ..Options::default() }
    }
}

/// What is right of clips.
#[derive(Clone, Debug, Default)]
pub(super) struct Score {
    pub(super) colour: Count,
    pub(super) shape: Count,
    pub(super) motion: Count,
    /// All three.
    pub(super) all: Count,
    /// The object has the same colours and shape in all frames.
    pub(super) same: Count,
    /// No frame is flagged by the check of frames, with the thresholds for decoded clips.
    pub(super) unflagged: Count,
    /// Which words are right how often.
    pub(super) words: BTreeMap<(&'static str, &'static str), Count>,
}

impl Score {
    /// The head of [`cells`](Self::cells).
    pub(super) const COLUMNS: [&'static str; 6] =
        ["colour", "shape", "motion", "all three", "same in all frames", "no frame flagged"];

    /// Judges a clip by a scene; the colours of a subject are right if its pattern is.
    pub(super) fn add(&mut self, scene: &Scene, seen: &Judged) {
        let found = seen.object.as_ref();
        let colour = found.is_some_and(|found| match &scene.fill {
            Fill::Plain { colour, .. } => found.colour == Some(*colour),
            Fill::Subject(tones) => found.pattern == Some(tones.pattern),
        });
        let shape = found.is_some_and(|found| found.shape == scene.shape);
        let motion = found.is_some_and(|found| found.motion == scene.motion);
        self.colour.add(colour);
        self.shape.add(shape);
        self.motion.add(motion);
        self.all.add(colour && shape && motion);
        self.same.add(found.is_some_and(|found| found.is_same_in_all_frames()));
        self.unflagged.add(!seen.flagged);
        let mut word = |kind, name, right| self.words.entry((kind, name)).or_default().add(right);
        if let Some(named) = scene.colour() {
            word("colour", named.name(), colour);
        }
        word("shape", scene.shape.name(), shape);
        word("motion", scene.motion.name(), motion);
    }

    pub(super) fn cells(&self) -> Vec<Cell> {
        [self.colour, self.shape, self.motion, self.all, self.same, self.unflagged]
            .map(Cell::from)
            .into()
    }
}

/// Means of what the check of frames measures, over clips.
#[derive(Clone, Debug, Default)]
pub(super) struct Steadiness {
    clips: usize,
    consistency: f64,
    warp_error: f64,
    smoothness: f64,
    dynamic: f64,
}

impl Steadiness {
    /// The head of [`cells`](Self::cells).
    pub(super) const COLUMNS: [&'static str; 4] =
        ["subject_consistency", "motion_smoothness_flow", "warp_error", "dynamic_degree"];

    pub(super) fn add(&mut self, summary: &Summary) {
        self.clips += 1;
        self.consistency += summary.subject_consistency.map_or(0.0, |r| r.mean);
        self.warp_error += summary.warp_error;
        self.smoothness += summary.motion_smoothness_flow;
        self.dynamic += summary.dynamic_degree;
    }

    pub(super) fn cells(&self) -> Vec<Cell> {
        let mean = |sum: f64, digits| match self.clips {
            0 => Cell::None,
            n => Cell::Number(sum / n as f64, digits),
        };
        vec![
            mean(self.consistency, 4),
            mean(self.smoothness, 4),
            mean(self.warp_error, 4),
            mean(self.dynamic, 2),
        ]
    }
}
