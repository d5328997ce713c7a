//! What can be done about frames that are wrong: which latent frames to sample again, whether that
//! helped, and a correction of brightness that needs no model.

use super::verdict::Verdict;
use media::Clip;
use serde::Serialize;

/// The latent frame that pixel frame `frame` is decoded from: the first is alone, then `stride` frames
/// share one.
pub fn latent_frame(frame: usize, stride: usize) -> usize {
    frame.div_ceil(stride.max(1))
}

/// The pixel frames that are decoded from latent frame `latent`, of a clip of `frames`.
pub fn pixel_frames(latent: usize, stride: usize, frames: usize) -> std::ops::Range<usize> {
    let first = if latent == 0 { 0 } else { (latent - 1) * stride + 1 };
    first.min(frames)..(latent * stride + 1).min(frames)
}

/// The latent frames to sample again for these pixel frames: theirs and one on each side, of a clip of
/// `frames`; sorted, each once.
pub fn latent_frames(wrong: &[usize], frames: usize, stride: usize) -> Vec<usize> {
    if frames == 0 {
        return Vec::new();
    }
    let last = latent_frame(frames - 1, stride);
    let around = |frame: &usize| {
        let latent = latent_frame(*frame, stride);
        latent.saturating_sub(1)..=(latent + 1).min(last)
    };
    let mut latents: Vec<usize> = wrong.iter().flat_map(around).collect();
    latents.sort_unstable();
    latents.dedup();
    latents.retain(|&latent| latent <= last);
    latents
}

/// Scores of one frame that differ by no more than this, in thresholds, are equal.
const TOLERANCE: f64 = 0.05;

/// Whether a repair of pixel frames `repaired` is to be kept: the worst of them has become better by more
/// than a twentieth of a threshold, and no other frame has become worse by more than that, unless it is
/// still below half a threshold.
///
/// # Panics
///
/// If the verdicts are not of clips of one length.
pub fn accept(before: &Verdict, after: &Verdict, repaired: &[usize]) -> bool {
    let (old, new) = (&before.severity, &after.severity);
    assert_eq!(old.len(), new.len(), "verdicts of clips of different lengths");
    let worst = |severity: &[f64]| {
        repaired.iter().filter_map(|&i| severity.get(i)).copied().fold(0.0, f64::max)
    };
    let kept = (0..old.len()).filter(|i| !repaired.contains(i));
    let mut unharmed = kept.map(|i| new[i] <= (old[i] + TOLERANCE).max(0.5));
    worst(new) + TOLERANCE < worst(old) && unharmed.all(|fine| fine)
}

/// A correction of one frame's brightness: `value * gain + offset` per channel, values from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Photometric {
    /// The frame that was corrected.
    pub frame: usize,
    /// Factor for red, green and blue.
    pub gain: [f64; 3],
    /// What is added.
    pub offset: [f64; 3],
    /// Always true: pixels were changed after the model made them.
    pub postprocess: bool,
}

/// Two frames agree on a pixel that differs by no more than this, of 255.
const STILL: u8 = 6;
/// Weight of "the gain is 1" against what pixels say, as the variance of a channel.
const PRIOR: f64 = (2.0 / 255.0) * (2.0 / 255.0);

/// Takes a flash or a dark frame back: fits gain and offset of each channel so that pixels that do not
/// move are as in the frames before and after, and applies them.
///
/// `None`, and no change, if there is no neighbour that is not itself in `wrong`, or fewer than a tenth of
/// the pixels rest.
pub fn photometric(clip: &mut Clip, frame: usize, wrong: &[usize]) -> Option<Photometric> {
    let fine = |i: &usize| *i < clip.frames && !wrong.contains(i);
    let before = (0..frame).rev().find(fine);
    let after = (frame + 1..clip.frames).find(fine);
    let (Some(a), Some(b)) = (before.or(after), after.or(before)) else { return None };
    if frame >= clip.frames {
        return None;
    }
    let (mut gain, mut offset) = ([1.0; 3], [0.0; 3]);
    for c in 0..3 {
        let channel = |i: usize| clip.frame(i).iter().skip(c).step_by(3);
        let triples = channel(frame).zip(channel(a)).zip(channel(b));
        // What is black or white has lost what it was.
        let rests = triples.filter(|((x, a), b)| a.abs_diff(**b) <= STILL && (1..255).contains(*x));
        let pairs: Vec<(f64, f64)> = rests
            .map(|((x, a), b)| {
                let to = |v: u8| f64::from(v) / 255.0;
                (to(*x), 0.5 * (to(*a) + to(*b)))
            })
            .collect();
        if pairs.len() * 10 < clip.height * clip.width || pairs.is_empty() {
            return None;
        }
        [gain[c], offset[c]] = line(&pairs);
    }
    let len = clip.height * clip.width * 3;
    for (i, value) in clip.rgb[frame * len..(frame + 1) * len].iter_mut().enumerate() {
        let corrected = f64::from(*value) / 255.0 * gain[i % 3] + offset[i % 3];
        *value = (corrected * 255.0).round().clamp(0.0, 255.0) as u8;
    }
    Some(Photometric { frame, gain, offset, postprocess: true })
}

/// Gain and offset by least squares, twice: the second time without what the first does not explain,
/// such as things that moved there and back.
fn line(pairs: &[(f64, f64)]) -> [f64; 2] {
    let fit = |pairs: &[(f64, f64)]| {
        let n = pairs.len().max(1) as f64;
        let (mx, my) = pairs.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
        let (mut xx, mut xy) = (PRIOR, PRIOR);
        for (x, y) in pairs {
            xx += (x - mx) * (x - mx) / n;
            xy += (x - mx) * (y - my) / n;
        }
        let gain = xy / xx;
        [gain, my - gain * mx]
    };
    let first = fit(pairs);
    let off = |p: &(f64, f64)| (p.0 * first[0] + first[1] - p.1).abs();
    let usual = super::series::median(&pairs.iter().map(off).collect::<Vec<_>>());
    let kept: Vec<(f64, f64)> =
        pairs.iter().copied().filter(|p| off(p) <= 3.0 * usual.max(1.0 / 255.0)).collect();
    if 2 * kept.len() >= pairs.len() { fit(&kept) } else { first }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{brighten, clip, moving};
    use super::super::verdict::Options;
    use super::*;

    #[test]
    fn pixel_frames_and_latent_frames() {
        let latents: Vec<usize> = (0..10).map(|i| latent_frame(i, 4)).collect();
        assert_eq!(latents, [0, 1, 1, 1, 1, 2, 2, 2, 2, 3]);
        assert_eq!(pixel_frames(0, 4, 9), 0..1);
        assert_eq!(pixel_frames(2, 4, 9), 5..9);
        assert_eq!(pixel_frames(2, 4, 7), 5..7);
        assert_eq!(pixel_frames(5, 4, 9), 9..9);
        for frames in 1..20 {
            for stride in 1..5 {
                let all = (0..=latent_frame(frames - 1, stride))
                    .flat_map(|latent| pixel_frames(latent, stride, frames));
                assert_eq!(all.collect::<Vec<_>>(), (0..frames).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn wrong_frames_are_sampled_again_with_their_neighbours() {
        assert_eq!(latent_frames(&[0], 17, 4), [0, 1]);
        assert_eq!(latent_frames(&[5, 6], 17, 4), [1, 2, 3]);
        assert_eq!(latent_frames(&[16], 17, 4), [3, 4]);
        assert_eq!(latent_frames(&[1], 2, 4), [0, 1]);
        assert_eq!(latent_frames(&[0], 1, 4), [0]);
        assert!(latent_frames(&[], 9, 4).is_empty());
        assert!(latent_frames(&[3], 0, 4).is_empty());
    }

    #[test]
    fn a_flash_is_taken_back_to_within_rounding() {
        let clean = clip(&moving(9, 2.7));
        for (gain, offset) in [(1.3, 0.1), (0.6, 0.0), (1.0, 0.2)] {
            let mut flashed = clean.clone();
            brighten(&mut flashed, 4, gain, offset);
            let done = photometric(&mut flashed, 4, &[4]).unwrap();
            assert!(done.postprocess && done.frame == 4);
            let worst = clean.frame(4).iter().zip(flashed.frame(4)).map(|(a, b)| a.abs_diff(*b));
            // What was driven to white is lost: the disc's red was that bright.
            let lost = if offset > 0.0 { 80 } else { 6 };
            assert!(worst.max().unwrap() <= lost, "{gain} {offset} {done:?}");
            assert_eq!(flashed.frame(3), clean.frame(3));
            assert!(Verdict::of(&flashed, &Options::default()).flags.is_empty());
        }
    }

    #[test]
    fn nothing_is_done_where_nothing_can_be_compared() {
        let mut alone = clip(&moving(1, 0.0));
        assert_eq!(photometric(&mut alone, 0, &[0]), None);
        let mut both = clip(&moving(2, 0.0));
        assert_eq!(photometric(&mut both, 0, &[0, 1]), None);
        assert_eq!(photometric(&mut both, 7, &[7]), None);
        assert!(photometric(&mut both, 0, &[0]).is_some());
    }

    #[test]
    fn a_repair_must_help_and_not_harm() {
        let options = Options::default();
        let clean = Verdict::of(&clip(&moving(9, 2.7)), &options);
        let mut flashed = clip(&moving(9, 2.7));
        brighten(&mut flashed, 4, 1.3, 0.1);
        let flashed = Verdict::of(&flashed, &options);
        assert!(accept(&flashed, &clean, &[4]));
        assert!(!accept(&clean, &flashed, &[4]));
        assert!(!accept(&flashed, &flashed, &[4]));
        // The flash is gone, but now another frame is dark.
        let mut moved = clip(&moving(9, 2.7));
        brighten(&mut moved, 6, 0.7, 0.0);
        assert!(!accept(&flashed, &Verdict::of(&moved, &options), &[4]));
    }
}
