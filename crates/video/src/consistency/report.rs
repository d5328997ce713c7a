//! All that is measured of a clip, frame by frame, as JSON and as words.

use super::faults::Flag;
use super::flow::{self, Motion};
use super::repair::Photometric;
use super::series;
use super::verdict::{Look, Options, Verdict};
use media::Clip;
use media::timeline::{self, Threshold, Timeline};
use serde::Serialize;
use std::fmt::Write as _;

/// What is measured of one frame. All from 0 to 1 unless said otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrameScores {
    /// Which, from 0.
    pub frame: usize,
    /// Mean brightness.
    pub luma: f64,
    /// Mean red, green and blue.
    pub rgb: [f64; 3],
    /// How far the brightness stands out from the frames around it, in steps of 1/255 or the usual
    /// deviation.
    pub spike: f64,
    /// Mean absolute difference to the frame before; none for the first.
    pub difference: Option<f64>,
    /// The same over the median of all.
    pub jump_ratio: Option<f64>,
    /// Mean way of all pixels from the frame before, in pixels.
    pub flow: Option<f64>,
    /// Difference to the frame before moved onto this one, where both are seen.
    pub warp_error: Option<f64>,
    /// Likeness to the frame before and to the first.
    pub consistency: f64,
    /// Likeness to the reference picture, -1 to 1, if there is one.
    pub reference: Option<f64>,
    /// The largest score over its threshold: flagged above 1.
    pub severity: f64,
}

/// Smallest and mean of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range {
    /// Mean of all frames.
    pub mean: f64,
    /// Smallest.
    pub min: f64,
    /// The frame that has it.
    pub argmin: usize,
}

impl Range {
    fn of(values: &[f64]) -> Option<Self> {
        let (argmin, min) =
            values.iter().copied().enumerate().min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Self { mean: series::mean(values), min, argmin })
    }
}

/// What is measured of the clip as a whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// VBench's measure, meant for scenes at rest: 1 less the mean difference of neighbours.
    pub temporal_flickering: f64,
    /// 1 less the mean difference of every second frame and what lies halfway between its neighbours by
    /// their motion. VBench's `motion_smoothness` asks a model for that frame, so this has another name.
    pub motion_smoothness_flow: f64,
    /// Mean way of all pixels from frame to frame, in pixels: a clip that stands still is consistent too.
    pub dynamic_degree: f64,
    /// Mean difference to the frame before moved onto the next, where both are seen.
    pub warp_error: f64,
    /// Likeness to the frame before and to the first.
    pub subject_consistency: Option<Range>,
    /// Likeness to the reference picture.
    pub reference: Option<Range>,
    /// Change of the mean saturation from the first to the last frame along a straight line.
    pub saturation_drift: f64,
    /// The same of the contrast.
    pub contrast_drift: f64,
    /// The period at which the differences of neighbours are largest, with Fisher's F and how much larger
    /// they are there, from two periods on.
    pub period: Option<Period>,
}

/// A period in the differences of neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Period {
    /// Frames.
    pub frames: usize,
    /// The first frame that has it.
    pub first: usize,
    /// Fisher's F of these frames against the rest.
    pub f: f64,
    /// Their mean difference less that of the rest.
    pub gap: f64,
}

/// What is measured of a clip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Frames that are wrong, by frame.
    pub flags: Vec<Flag>,
    /// Of the clip as a whole.
    pub summary: Summary,
    /// Of each frame.
    pub frames: Vec<FrameScores>,
    /// Frames that were sampled again, and what became of it.
    pub repairs: Vec<Repair>,
    /// Frames whose brightness was corrected afterwards.
    pub postprocessed: Vec<Photometric>,
}

/// An attempt to sample frames again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Repair {
    /// The pixel frames.
    pub frames: Vec<usize>,
    /// The noise level that it began at.
    pub level: f32,
    /// The largest severity of these frames before and after.
    pub before: f64,
    /// See `before`.
    pub after: f64,
    /// Whether the new frames were kept.
    pub accepted: bool,
    /// Predictions of the model that it took.
    pub evaluations: usize,
}

/// Checks a clip.
pub fn check(clip: &Clip, options: &Options<'_>) -> Report {
    let Look { frames, track, verdict } = Look::at(clip, options);
    let Verdict { flags, severity, consistency, reference } = verdict;
    // Ways are in pixels of the clip, also where it was measured on smaller frames.
    let scale = frames.first().map_or(1.0, |f| clip.width as f64 / f.width.max(1) as f64);
    let motions: Vec<Motion> =
        frames.windows(2).map(|pair| flow::motion(&pair[0], &pair[1])).collect();
    let halfway: Vec<f64> = (1..frames.len().saturating_sub(1))
        .step_by(2)
        .map(|i| flow::halfway_error(&frames[i - 1], &frames[i], &frames[i + 1]))
        .collect();
    let steps = track.differences.get(1..).unwrap_or(&[]);
    let of = |values: &dyn Fn(usize) -> f64| -> Vec<f64> { (0..clip.frames).map(values).collect() };
    let spikes = series::spikes(&of(&|i| track.means[i].luma));
    let ratios = series::ratios(steps);
    let drift = |values: Vec<f64>| series::trend(&values) * clip.frames.saturating_sub(1) as f64;
    let lengths: Vec<f64> = motions.iter().map(|m| scale * m.length).collect();
    let errors: Vec<f64> = motions.iter().map(|m| m.warp_error).collect();
    let period = series::periodicity(steps, 2..=steps.len() / 2).map(|p| Period {
        frames: p.period,
        first: p.phase + 1,
        f: p.f,
        gap: p.gap,
    });
    let before = |values: &[f64], i: usize| i.checked_sub(1).map(|j| values[j]);
    let frame_scores = (0..clip.frames).map(|i| FrameScores {
        frame: i,
        luma: track.means[i].luma,
        rgb: track.means[i].rgb,
        spike: spikes[i],
        difference: before(steps, i),
        jump_ratio: before(&ratios, i),
        flow: before(&lengths, i),
        warp_error: before(&errors, i),
        consistency: consistency[i],
        reference: reference.as_ref().map(|values| values[i]),
        severity: severity[i],
    });
    Report {
        flags,
        summary: Summary {
            temporal_flickering: 1.0 - series::mean(steps),
            motion_smoothness_flow: 1.0 - series::mean(&halfway),
            dynamic_degree: series::mean(&lengths),
            warp_error: series::mean(&errors),
            subject_consistency: Range::of(&consistency),
            reference: reference.as_deref().and_then(Range::of),
            saturation_drift: drift(of(&|i| track.means[i].saturation)),
            contrast_drift: drift(of(&|i| track.means[i].contrast)),
            period,
        },
        frames: frame_scores.collect(),
        repairs: Vec::new(),
        postprocessed: Vec::new(),
    }
}

impl Report {
    /// The report in words.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let s = &self.summary;
        _ = match self.flags.len() {
            0 => writeln!(text, "{} frames, none flagged", self.frames.len()),
            n => writeln!(text, "{} frames, {n} flagged", self.frames.len()),
        };
        for flag in &self.flags {
            let Flag { frame, score, threshold, .. } = flag;
            let name = flag.fault.name();
            _ = writeln!(text, "  frame {frame:>3}  {name:<8}  {score:.2} over {threshold:.2}");
        }
        let mut line = |name: &str, value: f64| _ = writeln!(text, "  {name:<22}  {value:.4}");
        line("dynamic_degree", s.dynamic_degree);
        line("temporal_flickering", s.temporal_flickering);
        line("motion_smoothness_flow", s.motion_smoothness_flow);
        line("warp_error", s.warp_error);
        for (name, range) in
            [("subject_consistency", s.subject_consistency), ("reference", s.reference)]
        {
            if let Some(Range { mean, min, argmin }) = range {
                _ = writeln!(text, "  {name:<22}  {mean:.4}, at least {min:.4} in frame {argmin}");
            }
        }
        for repair in &self.repairs {
            let Repair { frames, level, before, after, accepted, evaluations } = repair;
            let verdict = if *accepted { "kept" } else { "not kept" };
            _ = writeln!(
                text,
                "  frames {frames:?} sampled again from noise level {level}: {before:.2} to {after:.2} \
                 thresholds, {verdict}, {evaluations} predictions more"
            );
        }
        for done in &self.postprocessed {
            _ = writeln!(text, "  frame {:>3}  brightness corrected afterwards", done.frame);
        }
        text
    }

    /// What is wrong with each frame, in a word; empty for nothing.
    pub fn faults(&self) -> Vec<String> {
        let mut words = vec![String::new(); self.frames.len()];
        for flag in &self.flags {
            words[flag.frame] = flag.fault.name().to_owned();
        }
        words
    }

    /// The clip with its faults marked and its scores below, to be drawn.
    pub fn timeline<'a>(&self, clip: &'a Clip, title: &'a str) -> Timeline<'a> {
        let row =
            |name: &str, threshold, of: &dyn Fn(&FrameScores) -> Option<f64>| timeline::Scores {
                name: name.to_owned(),
                values: self.frames.iter().map(|f| of(f).unwrap_or(f64::NAN)).collect(),
                threshold,
            };
        // Scores far above a threshold would make all others look like nothing.
        let fault = |f: &FrameScores| Some(f.severity.min(3.0));
        let mut scores = vec![
            row("fault", Some(Threshold::Above(1.0)), &fault),
            row("consistency", None, &|f| Some(f.consistency)),
            row("motion", None, &|f| f.flow),
        ];
        if self.summary.reference.is_some() {
            scores.push(row("reference", None, &|f| f.reference));
        }
        Timeline { clip, title, faults: self.faults(), scores }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::Frame;
    use super::super::testing::{BLUE, RED, Thing, brighten, clip, moving};
    use super::*;

    #[test]
    fn a_report_says_what_is_wrong() {
        let mut broken = clip(&moving(9, 2.0));
        brighten(&mut broken, 3, 1.3, 0.1);
        let report = check(&broken, &Options::default());
        assert_eq!(report.faults()[3], "flash");
        assert!(report.to_text().starts_with("9 frames, 1 flagged\n  frame   3  flash"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["flags"][0]["fault"], "flash");
        assert_eq!(json["flags"][0]["frame"], 3);
        assert_eq!(json["frames"].as_array().unwrap().len(), 9);
        assert_eq!(json["frames"][0]["difference"], serde_json::Value::Null);
        let fine = check(&clip(&moving(9, 2.0)), &Options::default());
        assert!(fine.to_text().starts_with("9 frames, none flagged\n"));
    }

    #[test]
    fn a_clip_at_rest_is_consistent_and_says_that_nothing_moves() {
        let summary = check(&clip(&moving(9, 0.0)), &Options::default()).summary;
        assert_eq!(summary.temporal_flickering, 1.0);
        assert_eq!(summary.motion_smoothness_flow, 1.0);
        assert_eq!((summary.dynamic_degree, summary.warp_error), (0.0, 0.0));
        assert!((summary.subject_consistency.unwrap().min - 1.0).abs() < 1e-9);
        let moving = check(&clip(&moving(9, 3.0)), &Options::default()).summary;
        assert!(moving.dynamic_degree > 0.05, "{moving:?}");
        assert!(moving.temporal_flickering < 1.0);
    }

    #[test]
    fn likeness_to_a_picture() {
        let picture = |rgb| {
            let thing = Thing { x: 32.0, y: 32.0, radius: 20.0, rgb, square: false };
            Frame::of(&clip(&[thing]), 0)
        };
        let of = |reference: &Frame| {
            let options = Options { reference: Some(reference), ..Options::default() };
            check(&clip(&moving(5, 2.0)), &options).summary.reference.unwrap()
        };
        let (same, other) = (of(&picture(RED)), of(&picture(BLUE)));
        assert!(same.min > 0.98 && other.mean < 0.6, "{same:?} {other:?}");
    }

    #[test]
    fn the_frame_that_differs_most_is_named() {
        let mut things = moving(9, 2.0);
        things[6].rgb = BLUE;
        let report = check(&clip(&things), &Options::default());
        assert_eq!(report.summary.subject_consistency.unwrap().argmin, 6);
    }

    #[test]
    fn clips_of_any_size_are_checked() {
        for frames in 0..5 {
            for (height, width) in [(0, 0), (1, 1), (2, 9), (64, 64), (150, 7)] {
                let rgb = (0..frames * height * width * 3).map(|i| (i * 31 % 251) as u8).collect();
                let clip = Clip { frames, height, width, rate: 6.0, rgb };
                let report = check(&clip, &Options::default());
                assert_eq!(report.frames.len(), frames);
                let picture = report.timeline(&clip, "a clip").svg();
                assert_eq!(picture.is_ok(), frames == 0 || height * width > 0);
                assert!(Verdict::of(&clip, &Options::default()).rank().is_finite());
                let json = serde_json::to_string(&report.summary).unwrap();
                let missing = json.matches("null").count();
                // A reference and, in short clips, a period are missing; numbers never are.
                assert!(missing <= 2 + usize::from(frames == 0), "{json}");
            }
        }
    }
}
