//! How different clips of one prompt are, by how much noise steps renew.

use super::maker::{Given, Maker, bar};
use super::measured::{Cell, Count, Measured};
use crate::plot::{Axes, Line};
use train::clips::{Colour, Detected, Motion, Scene, Shape, Split, detect};

const PART: u64 = 4;
/// Shares of noise that are renewed.
const ETAS: [f64; 4] = [0.0, 0.3, 0.7, 1.0];
/// What is asked for again and again.
const PROMPTS: [(Colour, Shape, Motion, &str); 4] = [
    (Colour::Red, Shape::Circle, Motion::Left, "a red circle moves left"),
    (Colour::Blue, Shape::Star, Motion::Right, "a blue star moves right"),
    (Colour::Yellow, Shape::Triangle, Motion::Down, "a yellow triangle moves down"),
    (Colour::Cyan, Shape::Ring, Motion::UpLeft, "a cyan ring moves up left"),
];
/// Rendered clips of each prompt, to know how different the data is.
const RENDERED: usize = 200;

/// Where it begins, across and down, and how far it goes.
fn features(found: &Detected) -> [f64; 3] {
    let track = &found.track;
    let [x, y] = track.travel.map(f64::from);
    [track.start[0].into(), track.start[1].into(), x.hypot(y)]
}

/// Standard deviation of each feature.
fn deviations(all: &[[f64; 3]]) -> [f64; 3] {
    let n = all.len().max(1) as f64;
    [0, 1, 2].map(|k| {
        let mean = all.iter().map(|f| f[k]).sum::<f64>() / n;
        (all.iter().map(|f| (f[k] - mean).powi(2)).sum::<f64>() / n).sqrt()
    })
}

pub(super) fn measure(maker: &Maker<'_>) -> anyhow::Result<(Measured, (Axes<'static>, Vec<Line>))> {
    let each = maker.count().div_ceil(PROMPTS.len()).max(2);
    // As scenes of these names come, drawn until there are enough.
    let data = PROMPTS.map(|(colour, shape, motion, _)| {
        let named = |scene: &Scene| {
            scene.colour() == Some(colour) && scene.shape == shape && scene.motion == motion
        };
        let mut rng = maker.rng(PART, motion as usize);
        let drawn = std::iter::repeat_with(|| Scene::draw(&mut rng, Split::Train));
        let found = drawn.filter(named).take(RENDERED);
        let found = found.filter_map(|scene| detect(&maker.render(&scene)));
        deviations(&found.map(|found| features(&found)).collect::<Vec<_>>())
    });
    let bar = bar("diversity", ETAS.len() * PROMPTS.len() * each)?;
    let (mut rows, mut ratios, mut rights) = (Vec::new(), Vec::new(), Vec::new());
    for eta in ETAS {
        let (mut sums, mut right) = ([0.0; 3], Count::default());
        for ((colour, shape, motion, prompt), data) in PROMPTS.iter().zip(&data) {
            let mut all = Vec::new();
            for i in 0..each {
                let clip = maker.make(prompt, i as u64, eta, Given::default())?;
                let found = detect(&clip);
                right.add(found.as_ref().is_some_and(|d| {
                    d.colour == Some(*colour) && d.shape == *shape && d.motion == *motion
                }));
                all.extend(found.as_ref().map(features));
                bar.inc(1);
            }
            let found = deviations(&all);
            (0..3).for_each(|k| sums[k] += found[k] / data[k] / PROMPTS.len() as f64);
        }
        let mean = sums.iter().sum::<f64>() / 3.0;
        ratios.push((eta, mean));
        rights.push((eta, right.share()));
        let mut cells = vec![Cell::Number(eta, 1)];
        cells.extend(sums.map(|v| Cell::Number(v, 2)));
        cells.extend([Cell::Number(mean, 2), right.into()]);
        rows.push(cells);
    }
    bar.finish_and_clear();
    let table = Measured {
        title: format!(
            "Deviation over that of the data, {each} seeds of each of {} prompts",
            PROMPTS.len()
        ),
        columns: vec!["eta", "start across", "start down", "speed", "mean", "all three right"],
        rows,
    };
    let axes =
        Axes { title: "variety and accuracy by eta", x: "eta", y: "share", logarithmic: false };
    let lines = vec![
        Line { name: "deviation over the data's".to_owned(), points: ratios },
        Line { name: "clips right".to_owned(), points: rights },
    ];
    Ok((table, (axes, lines)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_of_training_and_say_what_they_mean() {
        for (colour, shape, motion, prompt) in PROMPTS {
            assert!(Split::Train.has(colour, shape, motion), "{prompt}");
            for word in [colour.name(), shape.name(), motion.name()] {
                assert!(prompt.contains(word), "{prompt}: {word}");
            }
        }
    }

    #[test]
    fn deviations_of_known_features() {
        let all = [[0.0, 1.0, 5.0], [2.0, 1.0, 5.0]];
        assert_eq!(deviations(&all), [1.0, 0.0, 0.0]);
        assert_eq!(deviations(&[]), [0.0; 3]);
    }
}
