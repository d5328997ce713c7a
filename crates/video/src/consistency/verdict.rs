//! What says whether a clip is good enough, and which frames are not.

use super::embedding::{self, Embedder, HueAndShape};
use super::faults::{Fault, Flag, Scores, Thresholds};
use super::frames::Frame;
use super::series;
use super::track::Track;
use media::Clip;

/// How a clip is checked.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// From where on frames are flagged.
    pub thresholds: Thresholds,
    /// A picture of what the clip should show.
    pub reference: Option<&'a Frame>,
    /// What frames are compared by.
    pub embedder: &'a dyn Embedder,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { thresholds: Thresholds::default(), reference: None, embedder: &HueAndShape }
    }
}

/// What is wrong with a clip and how alike its frames are: what selecting and repairing go by. Motion is
/// not looked at, which takes most of the time of a [`Report`](super::Report).
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Frames that are wrong, by frame.
    pub flags: Vec<Flag>,
    /// How bad each frame is: its largest score over its threshold, flagged above 1.
    pub severity: Vec<f64>,
    /// Likeness of each frame to the one before and to the first, 0 to 1.
    pub consistency: Vec<f64>,
    /// Likeness of each frame to the reference picture, -1 to 1, if there is one.
    pub reference: Option<Vec<f64>>,
}

/// A verdict and what it was found by.
pub(super) struct Look {
    pub(super) frames: Vec<Frame>,
    pub(super) track: Track,
    pub(super) verdict: Verdict,
}

impl Look {
    pub(super) fn at(clip: &Clip, options: &Options<'_>) -> Self {
        let frames = Frame::all(clip);
        let track = Track::new(clip, &frames);
        let scores = Scores::of(&track);
        let regions = frames.iter().zip(&track.regions);
        let vectors: Vec<Vec<f64>> =
            regions.map(|(frame, region)| options.embedder.embed(frame, region.as_ref())).collect();
        let likeness = |picture| embedding::resemblance(&vectors, picture, options.embedder);
        let verdict = Verdict {
            flags: scores.flags(&options.thresholds),
            severity: scores.severity(&options.thresholds),
            consistency: embedding::consistency(&vectors),
            reference: options.reference.map(likeness),
        };
        Self { frames, track, verdict }
    }
}

impl Verdict {
    /// Checks a clip of any size.
    pub fn of(clip: &Clip, options: &Options<'_>) -> Self {
        Look::at(clip, options).verdict
    }

    /// The frames with a flag that is of the frame itself: a drift is of the whole clip.
    pub fn wrong_frames(&self) -> Vec<usize> {
        self.flags.iter().filter(|f| f.fault != Fault::Drift).map(|f| f.frame).collect()
    }

    /// How good the clip is among others of the same prompt, higher is better: likeness of its frames, to
    /// each other and to the reference, less what is flagged.
    pub fn rank(&self) -> f64 {
        let likeness = |values: &[f64]| match values.iter().copied().reduce(f64::min) {
            Some(least) => 0.5 * (series::mean(values) + least),
            None => 0.0,
        };
        let reference = self.reference.as_deref().map_or(0.0, likeness);
        let worst = self.severity.iter().copied().fold(0.0, f64::max);
        // Scores far above a threshold say no more than that there is a fault.
        likeness(&self.consistency) + reference
            - 0.2 * worst.min(2.0)
            - 0.1 * self.flags.len().min(5) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::testing::{BLUE, RED, Thing, brighten, clip, moving};
    use super::*;

    /// Of a picture of a disc.
    fn disc(rgb: [f32; 3]) -> Frame {
        let thing = Thing { x: 32.0, y: 32.0, radius: 20.0, rgb, square: false };
        Frame::of(&clip(&[thing]), 0)
    }

    /// The rank of clips goes by faults, by the likeness of frames and by that to a picture.
    #[test]
    fn better_clips_rank_higher() {
        let mut flashed = clip(&moving(9, 2.0));
        brighten(&mut flashed, 3, 1.3, 0.1);
        let mut things = moving(9, 2.0);
        things[6].rgb = BLUE;
        let (fine, blue) = (clip(&moving(9, 2.0)), clip(&things));
        let of = |clip: &Clip, reference| {
            Verdict::of(clip, &Options { reference, ..Options::default() })
        };
        assert_eq!(of(&flashed, None).wrong_frames(), [3]);
        assert!(of(&fine, None).wrong_frames().is_empty());
        assert!(of(&fine, None).rank() > of(&flashed, None).rank());
        assert!(of(&fine, None).rank() > of(&blue, None).rank());
        assert!(of(&fine, Some(&disc(RED))).rank() > of(&fine, Some(&disc(BLUE))).rank() + 0.3);
    }

    /// A report says of frames what the verdict says.
    #[test]
    fn reports_have_the_verdict() {
        let mut broken = clip(&moving(9, 2.0));
        brighten(&mut broken, 3, 1.3, 0.1);
        let picture = disc(BLUE);
        let options = Options {
            thresholds: Thresholds::decoded(),
            reference: Some(&picture),
            ..Options::default()
        };
        let (verdict, report) = (Verdict::of(&broken, &options), check(&broken, &options));
        assert_eq!(verdict.flags, report.flags);
        assert!(!verdict.flags.is_empty());
        for (i, frame) in report.frames.iter().enumerate() {
            assert_eq!(frame.severity, verdict.severity[i]);
            assert_eq!(frame.consistency, verdict.consistency[i]);
            assert_eq!(frame.reference, verdict.reference.as_ref().map(|values| values[i]));
        }
    }
}
