use super::*;
use std::collections::HashSet;
use tensor::Rng;

const SCENES: u64 = 2000;

/// Scenes of both kinds and splits.
fn scenes() -> impl Iterator<Item = (Scene, Split)> {
    (0..SCENES).map(|i| {
        let split = if i % 3 == 0 { Split::HeldOut } else { Split::Train };
        let mut rng = Rng::stream(11, i);
        let scene = if i % 2 == 0 {
            Scene::draw(&mut rng, split)
        } else {
            Scene::draw_subject(&mut rng, split)
        };
        (scene, split)
    })
}

#[test]
fn objects_are_wholly_visible() {
    for (scene, _) in scenes() {
        for frame in 0..=16 {
            let Pose { x, y, radius, .. } = scene.pose(frame as f32 / 16.0);
            let reach = radius * scene.shape.reach();
            for place in [x - reach, y - reach, 1.0 - x - reach, 1.0 - y - reach] {
                assert!(place > 0.0, "{place} at frame {frame} of {scene:?}");
            }
        }
    }
}

#[test]
fn motions_can_be_seen() {
    for (scene, _) in scenes() {
        match scene.path {
            Path::Line { dx, dy } => {
                let [x, y] = scene.motion.direction().expect("it travels");
                let travel = dx.hypot(dy);
                assert!(travel > 0.19, "{travel} in {scene:?}");
                assert!((dx * x + dy * y) / travel > 0.99, "{scene:?}");
            }
            Path::Bounce { height, .. } => assert!(height > 0.24, "{scene:?}"),
            Path::Scale { factor } if scene.motion == Motion::Grows => {
                assert!(factor > 1.45, "{scene:?}");
            }
            Path::Scale { factor } => assert!(factor < 0.7, "{scene:?}"),
            Path::Spin { .. } => assert_ne!(scene.shape.symmetry(), 0, "{scene:?}"),
            Path::Still => assert_eq!(scene.motion, Motion::Stays),
        }
    }
}

#[test]
fn training_never_sees_what_is_held_out() {
    let held_out_hue = |hue: f32| HELD_OUT_HUES.iter().any(|range| range.contains(&hue));
    for (scene, split) in scenes() {
        let held_out = match scene.fill {
            Fill::Plain { colour, .. } => {
                HELD_OUT_COLOURS.contains(&(colour, scene.shape))
                    || HELD_OUT_MOTIONS.contains(&(scene.shape, scene.motion))
            }
            Fill::Subject(tones) => tones.hues.into_iter().any(held_out_hue),
        };
        assert_eq!(held_out, split == Split::HeldOut, "{scene:?}");
    }
}

#[test]
fn all_that_has_a_name_is_drawn() {
    let mut seen = HashSet::new();
    for (scene, split) in scenes() {
        let fill = match scene.fill {
            Fill::Plain { colour, .. } => colour.name(),
            Fill::Subject(tones) => tones.pattern.name(),
        };
        let names = [fill, scene.shape.name(), scene.size.name(), scene.motion.name()];
        seen.extend(names.into_iter().chain([scene.background.kind.name()]).map(|n| (n, split)));
    }
    let names = Colour::ALL.iter().map(|it| it.name());
    let names = names.chain(Shape::ALL.iter().map(|it| it.name()));
    let names = names.chain(Size::ALL.iter().map(|it| it.name()));
    let names = names.chain(Motion::ALL.iter().map(|it| it.name()));
    let names = names.chain(Backdrop::ALL.iter().map(|it| it.name()));
    for name in names.chain(Pattern::ALL.iter().map(|it| it.name())) {
        for split in [Split::Train, Split::HeldOut] {
            assert!(seen.contains(&(name, split)), "no {name} in {split:?}");
        }
    }
}

#[test]
fn captions_say_what_is_seen() {
    let vocabulary = vocabulary();
    let tokenizer = tokenizer();
    let mut used = HashSet::new();
    for (i, (scene, _)) in scenes().enumerate() {
        let mut rng = Rng::stream(12, i as u64);
        for _ in 0..20 {
            let caption = scene.caption(&mut rng);
            let words: Vec<&str> = caption.split(' ').collect();
            assert!(words.len() <= MAX_WORDS, "{caption}");
            assert_eq!(tokenizer.encode(&caption).map(|ids| ids.len()), Ok(words.len()));
            used.extend(words.iter().map(|word| vocabulary.iter().position(|v| v == word)));
            assert!(!used.contains(&None), "{caption} has a word that is not in the vocabulary");
            match scene.colour() {
                Some(Colour::Purple) => {
                    assert!(caption.contains("purple") || caption.contains("violet"), "{caption}");
                }
                Some(Colour::Cyan) => {
                    assert!(caption.contains("cyan") || caption.contains("turquoise"), "{caption}");
                }
                Some(colour) => assert!(caption.contains(colour.name()), "{caption}"),
                None => assert!(!caption.contains(scene.shape.name()), "{caption}"),
            }
        }
    }
    assert_eq!(used.len(), vocabulary.len(), "words that no caption has");
    assert!((96..=140).contains(&vocabulary.len()), "{} words", vocabulary.len());
}

#[test]
fn sentences_of_people_are_read() {
    let tokenizer = tokenizer();
    let sentences = [
        "A red circle moves left.",
        "the small blue star is drifting to the upper right on a dark background",
        "The subject moves left",
        "a violet disk doesn't move",
        "An orange ring, slowly moving upward",
        "the object in the picture bounces up and down",
    ];
    for sentence in sentences {
        assert_eq!(tokenizer.encode(sentence).err(), None, "{sentence}");
    }
    let error = tokenizer.encode("a read circle moves left").unwrap_err();
    assert_eq!(error.words, [("read".to_owned(), Some("red".to_owned()))]);
}

#[test]
fn a_seed_and_a_step_give_one_clip() {
    for step in 0..20 {
        let clip = |seed, step| {
            let mut rng = Rng::stream(seed, step);
            let scene = Task::draw(&mut rng).scene(&mut rng, Split::Train);
            (scene.render(32, 5), scene.reference(32), scene.caption(&mut rng))
        };
        assert_eq!(clip(1, step), clip(1, step));
        assert_ne!(clip(1, step), clip(2, step));
        assert_ne!(clip(1, step), clip(1, step + 1));
    }
}

/// The covered area and the middle of what is drawn are those of the outline, to a small part of a
/// pixel: edges are smooth and positions continuous.
#[test]
fn pixels_follow_the_outline() {
    for (i, &shape) in Shape::ALL.iter().enumerate() {
        let mut rng = Rng::stream(13, i as u64);
        let fill = Fill::Plain { colour: Colour::White, rgb: [1.0; 3] };
        for _ in 0..10 {
            let mut scene = Scene::of(shape, fill, Motion::Right, &mut rng);
            scene.background.kind = Backdrop::Dark;
            scene.background.colours = [[0.0; 3]; 2];
            let moments = |size: usize, frame: usize| {
                let clip = scene.render(size, 2);
                let mut sums = [0.0; 3];
                for (i, pixel) in clip.frame(frame).chunks(3).enumerate() {
                    let cover = f64::from(pixel[0]) / 255.0 / (size * size) as f64;
                    let middle = |at| (at as f64 + 0.5) / size as f64;
                    sums[0] += cover;
                    sums[1] += cover * middle(i % size);
                    sums[2] += cover * middle(i / size);
                }
                [sums[0], sums[1] / sums[0], sums[2] / sums[0]]
            };
            for frame in [0, 1] {
                let (low, high) = (moments(64, frame), moments(320, frame));
                assert!((low[0] / high[0] - 1.0).abs() < 0.03, "{low:?} {high:?} {scene:?}");
                assert!((low[1] - high[1]).abs() < 0.1 / 64.0, "{low:?} {high:?} {scene:?}");
                assert!((low[2] - high[2]).abs() < 0.1 / 64.0, "{low:?} {high:?} {scene:?}");
                let pose = scene.pose(frame as f32);
                assert!((high[1] - f64::from(pose.x)).abs() < 0.003, "{high:?} {scene:?}");
                assert!((high[2] - f64::from(pose.y)).abs() < 0.003, "{high:?} {scene:?}");
            }
        }
    }
}

#[test]
fn awkward_sizes_are_rendered() {
    let scene = Scene::draw(&mut Rng(3), Split::Train);
    for (size, frames) in [(1, 1), (3, 2), (0, 1), (17, 0), (33, 17)] {
        assert_eq!(scene.render(size, frames).rgb.len(), size * size * frames * 3);
        assert_eq!(scene.reference(size).rgb.len(), size * size * 3);
    }
}

mod faults {
    use super::super::faults::{Fault, inject};
    use super::*;

    /// Mean absolute difference of two frames, of 255.
    fn difference(a: &[u8], b: &[u8]) -> f32 {
        let sum: u32 = a.iter().zip(b).map(|(&a, &b)| u32::from(a.abs_diff(b))).sum();
        sum as f32 / a.len() as f32
    }

    #[test]
    fn only_the_frames_that_are_named_are_wrong() {
        let mut injected = 0;
        for (i, (scene, _)) in scenes().take(400).enumerate() {
            for &fault in Fault::ALL {
                let mut rng = Rng::stream(14, i as u64);
                let frames = [5, 9, 17][i % 3];
                let Some(broken) = inject(fault, &scene, 32, frames, &mut rng) else { continue };
                injected += 1;
                let clean = scene.render(32, frames);
                let wrong = |frame| broken.frames.contains(&frame);
                assert_eq!(broken.clip.frames, frames);
                assert!(!broken.frames.is_empty() && broken.frames.is_sorted(), "{fault:?}");
                assert!(
                    !wrong(0) && broken.frames.iter().all(|&frame| frame < frames),
                    "{fault:?}"
                );
                let changed = |frame| difference(clean.frame(frame), broken.clip.frame(frame));
                match fault {
                    Fault::Dropped | Fault::Duplicated => {
                        let (first, dropped) = (broken.frames[0], fault == Fault::Dropped);
                        let whole = scene.render(32, if dropped { frames + 1 } else { frames - 1 });
                        for frame in 0..frames {
                            let source = match (frame < first, dropped) {
                                (true, _) => frame,
                                (false, true) => frame + 1,
                                (false, false) => frame - 1,
                            };
                            assert_eq!(broken.clip.frame(frame), whole.frame(source), "{scene:?}");
                        }
                    }
                    Fault::Jump => {
                        let first = broken.frames[0];
                        assert!((0..first).all(|frame| changed(frame) == 0.0), "{scene:?}");
                        assert!((first..frames).all(|frame| changed(frame) > 1.0), "{scene:?}");
                    }
                    // What is held may look like what comes next anyway.
                    Fault::Freeze => {
                        assert!((0..frames).all(|frame| wrong(frame) || changed(frame) == 0.0));
                        for &frame in &broken.frames {
                            assert_eq!(broken.clip.frame(frame - 1), broken.clip.frame(frame));
                        }
                    }
                    _ => (0..frames).for_each(|frame| {
                        let change = changed(frame);
                        let expected = if wrong(frame) { change > 0.3 } else { change == 0.0 };
                        assert!(expected, "{fault:?} changes frame {frame} by {change}: {scene:?}");
                    }),
                }
            }
        }
        assert!(injected > 2500, "{injected} of 3200 scenes");
    }

    #[test]
    fn what_cannot_be_seen_is_not_injected() {
        let mut rng = Rng(5);
        let fill = Fill::Plain { colour: Colour::Red, rgb: Colour::Red.rgb() };
        let still = Scene::of(Shape::Star, fill, Motion::Stays, &mut rng);
        for fault in [Fault::Dropped, Fault::Duplicated, Fault::Freeze] {
            assert_eq!(inject(fault, &still, 32, 9, &mut rng), None);
        }
        for &fault in Fault::ALL {
            assert_eq!(inject(fault, &still, 32, 4, &mut rng), None);
        }
    }
}
