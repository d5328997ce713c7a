//! The frames' consistency as what sampling judges clips by.

use crate::consistency::faults::{Scores, Thresholds};
use crate::consistency::track::Track;
use crate::denoiser::Denoiser;
use crate::judge::{Judge, Verdict};
use media::Clip;

/// Judges clips by their frames' consistency.
#[derive(Clone, Debug)]
pub struct Checks {
    thresholds: Thresholds,
    /// Frames that the model makes at once.
    chunk: usize,
}

impl Checks {
    /// For clips of `model`.
    pub fn new(model: &dyn Denoiser) -> Self {
        Self { thresholds: Thresholds::default(), chunk: model.shape().frames }
    }

    fn severity(&self, clip: &Clip) -> Vec<f64> {
        Scores::of(&Track::of(clip), Some(self.chunk)).severity(&self.thresholds)
    }
}

impl Judge for Checks {
    fn early(&self, _: &[f32], _: [usize; 4], preview: &Clip) -> f64 {
        self.severity(preview).iter().sum()
    }

    fn verdict(&self, clip: &Clip) -> Verdict {
        let severity = self.severity(clip);
        let bad = (0..clip.frames).filter(|i| severity[*i] > 1.0).collect();
        Verdict { badness: severity.iter().sum(), bad }
    }

    fn accepts(&self, before: &Clip, after: &Clip, frames: &[usize]) -> bool {
        let [before, after] = [before, after].map(|clip| self.severity(clip));
        let sum = |severity: &[f64]| frames.iter().map(|i| severity[*i]).sum::<f64>();
        let others = (0..before.len()).filter(|i| !frames.contains(i));
        let no_worse = |i: usize| after[i] <= before[i].max(1.0);
        sum(&after) < sum(&before) && others.into_iter().all(no_worse)
    }

    fn photometric(&self, _: &Clip, _: &[usize]) -> Option<(Clip, Vec<usize>)> {
        None
    }
}
