//! Clips that begin with a picture: is it kept, and does the rest go on as it should.

use super::judge::{Judged, Score};
use super::maker::{Given, Maker, bar, picture, psnr};
use super::measured::{Cell, Measured};
use train::clips::{Scene, Split};

const PART: u64 = 2;

pub(super) fn measure(maker: &Maker<'_>) -> anyhow::Result<Measured> {
    let (mut first, mut both) = (Score::default(), Score::default());
    // First frames of the autoencoder and of both kinds of clips, last frames of the same.
    let (mut ceiling, mut kept) = ([0.0; 2], [[0.0; 2]; 2]);
    let n = maker.count();
    let bar = bar("first frames", n)?;
    for i in 0..n {
        let mut rng = maker.rng(PART, i);
        let scene = Scene::draw(&mut rng, Split::Train);
        let caption = scene.caption(&mut rng);
        let truth = maker.render(&scene);
        let last = truth.frames - 1;
        let decibels =
            |clip: &media::Clip| [0, last].map(|i| psnr(clip.frame(i), truth.frame(i)) / n as f64);
        let add = |sum: &mut [f64; 2], clip: &media::Clip| {
            sum.iter_mut().zip(decibels(clip)).for_each(|(sum, value)| *sum += value);
        };
        let coded = if maker.has_codec() { maker.through_codec(&truth)? } else { truth.clone() };
        add(&mut ceiling, &coded);
        let given = Given { first: Some(picture(&truth, 0)), ..Given::default() };
        let clip = maker.make(&caption, i as u64, maker.eta(), given.clone())?;
        add(&mut kept[0], &clip);
        first.add(&scene, &Judged::of(&clip));
        // A clip of two latent frames has none to make between two that are given.
        if maker.nano()?.model().config().latent_shape([maker.frames, 1, 1])[1] > 2 {
            let given = Given { last: Some(picture(&truth, last)), ..given };
            let clip = maker.make(&caption, i as u64, maker.eta(), given)?;
            add(&mut kept[1], &clip);
            both.add(&scene, &Judged::of(&clip));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let row = |name: &str, [first, last]: [f64; 2], score: &Score| {
        let mut cells = vec![name.into(), Cell::Number(first, 2), Cell::Number(last, 2)];
        cells.extend(score.cells());
        cells
    };
    let mut rows = vec![
        row("autoencoder", ceiling, &Score::default()),
        row("first frame given", kept[0], &first),
    ];
    if both.all.asked > 0 {
        rows.push(row("first and last frame given", kept[1], &both));
    }
    let head = ["", "PSNR of the first frame, dB", "of the last, dB"];
    Ok(Measured {
        title: "Clips made from a first frame and a prompt".to_owned(),
        columns: [&head[..], &Score::COLUMNS].concat(),
        rows,
    })
}
