//! Clips of a subject that is known by its picture alone.

use super::judge::{Judged, Score};
use super::maker::{Given, Maker, bar, picture};
use super::measured::{Cell, Measured, median};
use train::clips::{Fill, Scene, Split, detect::hue_difference, detect::hues_difference};
use video::consistency::region;

const PART: u64 = 3;

/// Degrees between the hues of the scene's subject and those of a clip; 90 if there is nothing to compare.
fn hue_error(scene: &Scene, seen: &Judged) -> f64 {
    let Fill::Subject(tones) = &scene.fill else { return 90.0 };
    let Some(found) = &seen.object else { return 90.0 };
    match found.hues {
        Some(hues) => f64::from(hues_difference(hues, tones.hues)),
        // One colour instead of two: as far as it is from each.
        None => {
            let (hue, _) = region::hue(found.rgb.map(f64::from));
            let to = |tone: f32| f64::from(hue_difference(hue as f32, tone));
            0.5 * (to(tones.hues[0]) + to(tones.hues[1]))
        }
    }
}

pub(super) fn measure(maker: &Maker<'_>) -> anyhow::Result<Measured> {
    let mut rows = Vec::new();
    for (split, name) in [(Split::HeldOut, "hues never seen"), (Split::Train, "hues of training")] {
        let part = PART + 100 * u64::from(split == Split::HeldOut);
        let scenes: Vec<(Scene, String)> = (0..maker.count())
            .map(|i| {
                let mut rng = maker.rng(part, i);
                let scene = Scene::draw_subject(&mut rng, split);
                let caption = scene.caption(&mut rng);
                (scene, caption)
            })
            .collect();
        let mut sets: Vec<(&str, Score, Vec<f64>)> = [
            "rendered",
            "autoencoder",
            "with the picture",
            "with the picture, by another's",
            "without the picture",
        ]
        .map(|what| (what, Score::default(), Vec::new()))
        .into();
        let bar = bar(name, scenes.len())?;
        for (i, (scene, caption)) in scenes.iter().enumerate() {
            let mut add = |set: usize, scene: &Scene, seen: &Judged| {
                sets[set].1.add(scene, seen);
                sets[set].2.push(hue_error(scene, seen));
            };
            let truth = maker.render(scene);
            add(0, scene, &Judged::of(&truth));
            if maker.has_codec() {
                add(1, scene, &Judged::of(&maker.through_codec(&truth)?));
            }
            let subject = Some(picture(&scene.reference(maker.reference), 0));
            let given = Given { subject, ..Given::default() };
            let made = Judged::of(&maker.make(caption, i as u64, maker.eta(), given)?);
            add(2, scene, &made);
            add(3, &scenes[(i + 1) % scenes.len()].0, &made);
            let blind = maker.make(caption, i as u64, maker.eta(), Given::default())?;
            add(4, scene, &Judged::of(&blind));
            bar.inc(1);
        }
        bar.finish_and_clear();
        for (what, score, errors) in sets.iter().filter(|set| !set.2.is_empty()) {
            rows.push(vec![
                Cell::Text(format!("{what}: {name}")),
                Cell::Number(median(errors), 1),
                score.colour.into(),
                score.shape.into(),
                score.motion.into(),
                score.same.into(),
            ]);
        }
    }
    Ok(Measured {
        title: "Clips of a subject known by its picture".to_owned(),
        columns: vec!["", "hue error, degrees", "pattern", "shape", "motion", "same in all frames"],
        rows,
    })
}
