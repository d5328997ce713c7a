//! Clips made from prompts: what they show, between the judge's ceiling and chance.

use super::judge::{Judged, Score, Steadiness};
use super::maker::{Given, Maker, bar, psnr};
use super::measured::{Cell, Count, Measured};
use media::Clip;
use std::collections::BTreeMap;
use train::clips::{Scene, Split};

/// Keeps random numbers of tables apart.
const PART: u64 = 1;

/// Scenes of one row.
fn scenes(maker: &Maker<'_>, split: Split) -> impl Iterator<Item = (Scene, String)> {
    let part = PART + 100 * u64::from(split == Split::HeldOut);
    (0..maker.count()).map(move |i| {
        let mut rng = maker.rng(part, i);
        let scene = Scene::draw(&mut rng, split);
        let caption = scene.caption(&mut rng);
        (scene, caption)
    })
}

const SPLITS: [(Split, &str); 2] =
    [(Split::Train, "combinations of training"), (Split::HeldOut, "combinations never seen")];

/// The judge on rendered clips and on what the autoencoder leaves of them, subjects too.
pub(super) fn ground_truth(maker: &Maker<'_>) -> anyhow::Result<Measured> {
    let mut rows = Vec::new();
    let subjects = |maker: &Maker<'_>| -> Vec<Scene> {
        let scene = |i| Scene::draw_subject(&mut maker.rng(PART + 200, i), Split::HeldOut);
        (0..maker.count()).map(scene).collect()
    };
    let mut sets: Vec<(&str, Vec<Scene>)> = SPLITS
        .iter()
        .map(|(split, name)| (*name, scenes(maker, *split).map(|(scene, _)| scene).collect()))
        .collect();
    sets.push(("subjects of hues never seen", subjects(maker)));
    for (name, scenes) in &sets {
        let mut score = Score::default();
        scenes.iter().for_each(|scene| score.add(scene, &Judged::of(&maker.render(scene))));
        rows.push(row(&format!("rendered: {name}"), &score, Cell::None));
    }
    if maker.has_codec() {
        for (name, scenes) in &sets {
            let (mut score, mut decibels) = (Score::default(), 0.0);
            let bar = bar("autoencoder", scenes.len())?;
            for scene in scenes {
                let clip = maker.render(scene);
                let coded = maker.through_codec(&clip)?;
                decibels += psnr(&coded.rgb, &clip.rgb);
                score.add(scene, &Judged::of(&coded));
                bar.inc(1);
            }
            bar.finish_and_clear();
            let mean = Cell::Number(decibels / scenes.len() as f64, 2);
            rows.push(row(&format!("autoencoder: {name}"), &score, mean));
        }
    }
    Ok(Measured {
        title: "What the judge says of rendered clips (of subjects, colour is the pattern)"
            .to_owned(),
        columns: columns(&["PSNR, dB"]),
        rows,
    })
}

fn columns(more: &[&'static str]) -> Vec<&'static str> {
    [&[""][..], &Score::COLUMNS, more].concat()
}

fn row(name: &str, score: &Score, more: Cell) -> Vec<Cell> {
    let mut cells = vec![name.into()];
    cells.extend(score.cells());
    cells.push(more);
    cells
}

/// Generated clips, of combinations that training had and of others.
pub(super) fn measure(maker: &Maker<'_>) -> anyhow::Result<Vec<Measured>> {
    let mut rows = Vec::new();
    let mut words = BTreeMap::<_, Count>::new();
    let mut steady = Vec::new();
    for (split, name) in SPLITS {
        let scenes: Vec<(Scene, String)> = scenes(maker, split).collect();
        let (mut rendered, mut coded, mut made) =
            (Score::default(), Score::default(), Score::default());
        let mut shuffled = Score::default();
        let (mut real, mut generated) = (Steadiness::default(), Steadiness::default());
        let bar = bar(name, scenes.len())?;
        for (i, (scene, caption)) in scenes.iter().enumerate() {
            let truth = maker.render(scene);
            let (seen, summary) = Judged::with_summary(&truth);
            rendered.add(scene, &seen);
            real.add(&summary);
            if maker.has_codec() {
                coded.add(scene, &Judged::of(&maker.through_codec(&truth)?));
            }
            let clip: Clip = maker.make(caption, i as u64, maker.eta(), Given::default())?;
            let (seen, summary) = Judged::with_summary(&clip);
            made.add(scene, &seen);
            generated.add(&summary);
            shuffled.add(&scenes[(i + 1) % scenes.len()].0, &seen);
            bar.inc(1);
            bar.set_message(format!("{name}: {:.0} % right", 100.0 * made.all.share()));
        }
        bar.finish_and_clear();
        for (what, score) in [
            ("rendered", &rendered),
            ("autoencoder", &coded),
            ("generated", &made),
            ("generated, by another's prompt", &shuffled),
        ] {
            rows.push(row(&format!("{what}: {name}"), score, Cell::None));
            rows.last_mut().map(Vec::pop);
        }
        for (what, steadiness) in [("rendered", &real), ("generated", &generated)] {
            let mut cells = vec![Cell::Text(format!("{what}: {name}"))];
            cells.extend(steadiness.cells());
            steady.push(cells);
        }
        made.words
            .into_iter()
            .for_each(|(word, count)| words.entry(word).or_default().merge(count));
    }
    let named = words
        .into_iter()
        .map(|((kind, word), count)| vec![Cell::Text(format!("{kind}: {word}")), count.into()]);
    Ok(vec![
        Measured {
            title: "What clips made from prompts show".to_owned(),
            columns: columns(&[]),
            rows,
        },
        Measured {
            title: "By word, generated, both kinds of combinations".to_owned(),
            columns: vec!["", "right"],
            rows: named.collect(),
        },
        Measured {
            title: "How steady they are".to_owned(),
            columns: [&[""][..], &Steadiness::COLUMNS].concat(),
            rows: steady,
        },
    ])
}
