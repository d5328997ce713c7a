use super::super::{Fill, Path, Scene, Split};
use super::*;
use tensor::Rng;

/// How a clip is spoiled before it is judged.
#[derive(Clone, Copy, Debug)]
struct Damage {
    /// Share of a pixel that goes to each neighbour, across and then down.
    blur: f32,
    /// Standard deviation of the noise, of 255.
    noise: f32,
}

const NONE: Damage = Damage { blur: 0.0, noise: 0.0 };
/// Worse than what an autoencoder does at 30 dB, which is noise of 8.
const BAD: Damage = Damage { blur: 0.25, noise: 10.0 };

impl Damage {
    fn apply(self, clip: &mut Clip, rng: &mut Rng) {
        let (height, width) = (clip.height, clip.width);
        let mut values: Vec<f32> = clip.rgb.iter().map(|&value| value.into()).collect();
        for (len, step) in [(width, 3), (height, width * 3)] {
            let before = values.clone();
            for (i, value) in values.iter_mut().enumerate() {
                let at = i / step % len;
                let left = if at > 0 { before[i - step] } else { before[i] };
                let right = if at + 1 < len { before[i + step] } else { before[i] };
                *value = before[i] + self.blur * (left + right - 2.0 * before[i]);
            }
        }
        for (byte, value) in clip.rgb.iter_mut().zip(values) {
            *byte = (value + self.noise * rng.normal()).round().clamp(0.0, 255.0) as u8;
        }
    }
}

/// In how many clips what is found is true.
#[derive(Debug, Default)]
struct Counts {
    clips: usize,
    colour: usize,
    shape: usize,
    motion: usize,
    size: usize,
    pattern: usize,
    same: usize,
    /// Of subjects: the hues are within 12 degrees.
    hues: usize,
}

impl Counts {
    /// All counts but those of clips and hues.
    fn shares(&self) -> [f32; 6] {
        [self.colour, self.shape, self.motion, self.size, self.pattern, self.same]
            .map(|count| count as f32 / self.clips as f32)
    }
}

fn pattern_of(scene: &Scene) -> Option<Pattern> {
    match scene.fill {
        Fill::Plain { .. } => None,
        Fill::Subject(tones) => Some(tones.pattern),
    }
}

/// Judges clips of `size` x `size` pixels; `truth` says with which scene a clip's is compared.
fn count(
    draw: fn(&mut Rng, Split) -> Scene,
    clips: usize,
    [size, frames]: [usize; 2],
    damage: Damage,
    truth: impl Fn(usize) -> usize,
) -> Counts {
    let scenes: Vec<Scene> = (0..clips)
        .map(|i| {
            let split = if i % 3 == 0 { Split::HeldOut } else { Split::Train };
            draw(&mut Rng::stream(21, i as u64), split)
        })
        .collect();
    let mut counts = Counts { clips, ..Counts::default() };
    for (i, scene) in scenes.iter().enumerate() {
        let mut clip = scene.render(size, frames);
        damage.apply(&mut clip, &mut Rng::stream(22, i as u64));
        let Some(found) = detect(&clip) else { continue };
        let scene = scenes[truth(i)];
        counts.colour += usize::from(found.colour == scene.colour());
        counts.shape += usize::from(found.shape == scene.shape);
        counts.motion += usize::from(found.motion == scene.motion);
        counts.size += usize::from(found.size == scene.size);
        counts.pattern += usize::from(found.pattern == pattern_of(&scene));
        counts.same += usize::from(found.is_same_in_all_frames());
        if let (Some(hues), Fill::Subject(tones)) = (found.hues, scene.fill) {
            counts.hues += usize::from(hues_difference(hues, tones.hues) < 12.0);
        }
    }
    println!("{size}x{size}x{frames} {damage:?}: {counts:?}");
    counts
}

#[test]
fn objects_with_names_are_recognized() {
    for (clips, shape, damage) in
        [(400, [64, 9], NONE), (120, [64, 9], BAD), (150, [32, 5], NONE), (30, [64, 17], NONE)]
    {
        let counts = count(Scene::draw, clips, shape, damage, |i| i);
        assert!(counts.shares().iter().all(|&share| share >= 0.99), "{counts:?}");
    }
}

#[test]
fn subjects_are_recognized() {
    for (clips, shape, damage) in [(200, [64, 9], NONE), (100, [64, 9], BAD), (150, [32, 5], NONE)]
    {
        let counts = count(Scene::draw_subject, clips, shape, damage, |i| i);
        assert!(counts.shares().iter().all(|&share| share >= 0.99), "{counts:?}");
        assert!(counts.hues * 100 >= 99 * counts.clips, "{counts:?}");
    }
}

/// Compared with the scene of another clip it is right as often as by chance.
#[test]
fn what_is_found_is_of_the_clip() {
    let counts = count(Scene::draw, 100, [64, 9], NONE, |i| (i + 1) % 100);
    let [colour, shape, motion, ..] = counts.shares();
    assert!(colour < 0.3 && shape < 0.35 && motion < 0.25, "{counts:?}");
    let counts = count(Scene::draw_subject, 100, [64, 9], NONE, |i| (i + 1) % 100);
    assert!(counts.hues * 10 < counts.clips && counts.pattern * 2 < counts.clips, "{counts:?}");
}

#[test]
fn numbers_are_those_of_the_scene() {
    for i in 0..60 {
        let scene = Scene::draw(&mut Rng::stream(23, i), Split::Train);
        let found = detect(&scene.render(64, 9)).expect("an object");
        for (frame, seen) in found.frames.iter().enumerate() {
            let (seen, pose) = (seen.expect("an object"), scene.pose(frame as f32 / 8.0));
            let off = (seen.place[0] - pose.x).hypot(seen.place[1] - pose.y) * 64.0;
            assert!(off < 0.5, "{off} pixels in frame {frame} of {scene:?}");
            assert!((seen.radius / pose.radius - 1.0).abs() < 0.05, "{seen:?} {pose:?}");
            if scene.shape.symmetry() != 0 {
                let period = std::f32::consts::TAU / scene.shape.symmetry() as f32;
                let off =
                    (seen.angle - pose.angle + period / 2.0).rem_euclid(period) - period / 2.0;
                assert!(off.abs() < 0.06, "{off} radians in frame {frame} of {scene:?}");
            }
        }
        match scene.path {
            Path::Line { dx, dy } => {
                let [x, y] = found.track.travel;
                assert!((x - dx).hypot(y - dy) < 0.01, "{:?} {scene:?}", found.track);
            }
            Path::Scale { factor } => {
                assert!((found.track.growth / factor - 1.0).abs() < 0.05, "{scene:?}");
            }
            Path::Spin { angle } => {
                assert!((found.track.turn - angle).abs() < 0.1, "{:?} {scene:?}", found.track);
            }
            _ => {}
        }
    }
}

#[test]
fn references_show_the_subject() {
    for i in 0..100 {
        let scene = Scene::draw_subject(&mut Rng::stream(24, i), Split::Train);
        let found = detect(&scene.reference(32)).expect("an object");
        let Fill::Subject(tones) = scene.fill else { unreachable!("a subject was drawn") };
        assert_eq!((found.shape, found.pattern), (scene.shape, Some(tones.pattern)), "{scene:?}");
        let off = hues_difference(found.hues.expect("two tones"), tones.hues);
        assert!(off < 6.0, "{off} degrees in {scene:?}");
    }
}

#[test]
fn what_shows_nothing_is_said_to() {
    let clip = |height, width, frames, rgb: &mut dyn FnMut(usize) -> u8| {
        let rgb = (0..height * width * frames * 3).map(rgb).collect();
        Clip { frames, height, width, rate: 6.0, rgb }
    };
    let mut rng = Rng(9);
    for [height, width, frames] in
        [[64, 64, 9], [1, 1, 1], [1, 5, 2], [7, 1, 2], [0, 0, 1], [8, 8, 0]]
    {
        for level in [0, 128, 255] {
            assert_eq!(detect(&clip(height, width, frames, &mut |_| level)), None);
        }
        // Whatever it says of noise, it says something.
        detect(&clip(height, width, frames, &mut |_| rng.below(256) as u8));
    }
    let mut half = Scene::draw(&mut Rng(4), Split::Train).render(64, 9);
    half.rgb[4 * 64 * 64 * 3..].fill(0);
    let found = detect(&half).expect("an object in the first frames");
    assert_eq!(found.frames.iter().filter(|seen| seen.is_some()).count(), 4);
    assert!(!found.is_same_in_all_frames());
}

#[test]
fn hues_lie_on_a_circle() {
    assert_eq!(hue_difference(350.0, 10.0), 20.0);
    assert_eq!(hue_difference(0.0, 180.0), 180.0);
    assert_eq!(hues_difference([350.0, 100.0], [100.0, 10.0]), 10.0);
    let [a, b] = mean_hues(vec![[350.0, 100.0], [102.0, 14.0], [356.0, 98.0]]);
    assert!(hue_difference(a, 0.0) < 0.1 && hue_difference(b, 100.0) < 0.1, "{a} {b}");
}
