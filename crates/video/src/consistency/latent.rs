//! Latents while a clip is sampled: frames that will be wrong, before the rest is paid for.

use super::series;
use serde::Serialize;

/// What is measured of the latents of a clip, foreseen or final.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatentScores {
    /// Root mean square of each latent frame.
    pub norms: Vec<f64>,
    /// Difference of each latent frame and the one before, as a root mean square over the median of all;
    /// 0 for the first, 1 if there is no other to compare with.
    pub ratios: Vec<f64>,
}

impl LatentScores {
    /// Of one sample, `latents: [channels, frames, height, width]`.
    ///
    /// # Panics
    ///
    /// If the length is not a multiple of `channels * frames`.
    pub fn of(latents: &[f32], channels: usize, frames: usize) -> Self {
        let planes = (channels * frames).max(1);
        assert!(
            latents.len().is_multiple_of(planes),
            "latents must be [channels, frames, height, width]"
        );
        let plane = latents.len() / planes;
        let frame = |c: usize, f: usize| &latents[(c * frames + f) * plane..][..plane];
        let count = (channels * plane).max(1) as f64;
        let rms = |f: usize, of: &dyn Fn(usize, usize) -> f32| {
            let squares = (0..channels).flat_map(|c| (0..plane).map(move |p| (c, p)));
            let sum: f64 = squares.map(|(c, p)| f64::from(of(c * frames + f, p)).powi(2)).sum();
            (sum / count).sqrt()
        };
        let value = |plane_idx: usize, p: usize| frame(plane_idx / frames, plane_idx % frames)[p];
        let norms = (0..frames).map(|f| rms(f, &value)).collect();
        let steps: Vec<f64> = (1..frames)
            .map(|f| rms(f, &|plane, p| value(plane, p) - value(plane - 1, p)))
            .collect();
        let usual = series::median(&steps).max(1e-6);
        let ratios =
            [0.0].into_iter().take(frames).chain(steps.iter().map(|s| s / usual)).collect();
        Self { norms, ratios }
    }

    /// How unsteady the clip will be, lower is better: the largest ratio, and the deviation of the norms
    /// after the first over their mean (the first latent frame is of one picture, the others of several).
    pub fn unrest(&self) -> f64 {
        let ratio = self.ratios.iter().copied().fold(1.0, f64::max);
        let rest = self.norms.get(1..).unwrap_or(&[]);
        let mean = series::mean(rest);
        let variance = series::mean(&rest.iter().map(|n| (n - mean).powi(2)).collect::<Vec<_>>());
        ratio.ln() + variance.sqrt() / mean.max(1e-6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_and_ratios_of_known_latents() {
        // Two channels, four frames of two numbers.
        let latents =
            [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 9.0, 9.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 9.0, 9.0];
        let scores = LatentScores::of(&latents, 2, 4);
        assert_eq!(scores.norms, [1.0, 2.0, 3.0, 9.0]);
        assert_eq!(scores.ratios, [0.0, 1.0, 1.0, 6.0]);
        let steady = LatentScores::of(&[1.0; 16], 2, 4);
        assert_eq!(steady.ratios, [0.0; 4]);
        assert!(scores.unrest() > steady.unrest());
        assert_eq!(steady.unrest(), 0.0);
    }

    #[test]
    fn channels_are_the_outer_axis() {
        // The second frame of the second channel alone differs.
        let scores = LatentScores::of(&[0.0, 0.0, 0.0, 2.0], 2, 2);
        assert_eq!(scores.norms, [0.0, 2f64.sqrt()]);
    }

    #[test]
    fn few_frames_are_no_trouble() {
        for (channels, frames) in [(0, 0), (0, 3), (3, 0), (2, 1)] {
            let scores = LatentScores::of(&vec![1.0; channels * frames * 4], channels, frames);
            assert_eq!(scores.norms.len(), frames);
            assert_eq!(scores.ratios.len(), frames);
            assert!(scores.unrest().is_finite());
        }
    }
}
