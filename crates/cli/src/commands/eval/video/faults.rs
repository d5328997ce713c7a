//! What the check of frames finds of faults that are put into rendered clips.

use super::maker::{Maker, bar};
use super::measured::{Cell, Count, Measured, median};
use media::Clip;
use std::collections::BTreeMap;
use tensor::Rng;
use train::clips::{Motion, Scene, Split, faults::Fault as Injected, faults::inject};
use video::consistency::faults::{Fault, Scores, Thresholds};
use video::consistency::track::Track;

const PART: u64 = 5;
/// Share of scenes with a subject, as in training.
const SUBJECTS: f32 = 0.35;
/// Deviation of the noise of what is like an autoencoder's output, of 255.
const NOISE: f32 = 2.0;

/// What becomes of a clip before it is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    AsRendered,
    /// Blurred by [1 2 1] / 4 along rows and columns, then noise is added.
    Softened,
    /// Through the model's autoencoder.
    Coded,
}

impl Seen {
    fn name(self) -> &'static str {
        match self {
            Self::AsRendered => "as rendered",
            Self::Softened => "blurred and noisy",
            Self::Coded => "through the autoencoder",
        }
    }

    fn of(self, clip: Clip, maker: &Maker<'_>, rng: &mut Rng) -> anyhow::Result<Clip> {
        match self {
            Self::AsRendered => Ok(clip),
            Self::Softened => Ok(softened(&clip, rng)),
            Self::Coded => maker.through_codec(&clip),
        }
    }
}

fn softened(clip: &Clip, rng: &mut Rng) -> Clip {
    let [height, width] = [clip.height, clip.width];
    let mut rgb = Vec::with_capacity(clip.rgb.len());
    for i in 0..clip.frames {
        let frame = clip.frame(i);
        let at = |y: usize, x: usize, c: usize| f32::from(frame[(y * width + x) * 3 + c]);
        let three = |i: usize, n: usize| [i.saturating_sub(1), i, (i + 1).min(n - 1)];
        for p in 0..height * width {
            let (rows, columns) = (three(p / width, height), three(p % width, width));
            for c in 0..3 {
                let row = |y: usize| {
                    let [a, b, d] = columns.map(|x| at(y, x, c));
                    (a + 2.0 * b + d) / 4.0
                };
                let [a, b, d] = rows.map(row);
                let value = (a + 2.0 * b + d) / 4.0 + NOISE * rng.normal();
                rgb.push(value.round().clamp(0.0, 255.0) as u8);
            }
        }
    }
    Clip { rgb, ..clip.clone() }
}

/// What the check may call a fault: each is right for what it looks like.
fn is_named(injected: Injected, found: Fault) -> bool {
    match injected {
        Injected::Flash => found == Fault::Flash,
        Injected::DarkFrames => matches!(found, Fault::Dark | Fault::Periodic),
        Injected::Dropped | Injected::Jump => found == Fault::Jump,
        // What was late catches up in one step.
        Injected::Duplicated | Injected::Freeze => matches!(found, Fault::Freeze | Fault::Jump),
        Injected::SwappedHue => found == Fault::Hue,
        Injected::SwappedShape => found == Fault::Shape,
    }
}

#[derive(Default)]
struct Row {
    found: Count,
    located: Count,
    named: Count,
    missed: BTreeMap<Motion, Count>,
}

/// What is found of each kind of fault, and flagged without one, and the scores of clips without a fault
/// by which thresholds are set.
pub(super) fn measure(maker: &Maker<'_>) -> anyhow::Result<Vec<Measured>> {
    let mut ways = vec![Seen::AsRendered, Seen::Softened];
    if maker.has_codec() {
        ways.push(Seen::Coded);
    }
    let mut tables = Vec::new();
    for seen in ways {
        let (found, scores) = of(maker, seen)?;
        tables.extend([found, scores]);
    }
    Ok(tables)
}

fn of(maker: &Maker<'_>, seen: Seen) -> anyhow::Result<(Measured, Measured)> {
    let thresholds = match seen {
        Seen::Coded => Thresholds::decoded(),
        Seen::AsRendered | Seen::Softened => Thresholds::default(),
    };
    let scene = |rng: &mut Rng| match rng.chance(SUBJECTS) {
        true => Scene::draw_subject(rng, Split::Train),
        false => Scene::draw(rng, Split::Train),
    };
    let bar = bar(seen.name(), maker.count() * (1 + Injected::ALL.len()))?;
    let mut wrong = Count::default();
    let mut largest = BTreeMap::<Fault, Vec<f64>>::new();
    for i in 0..maker.count() {
        let mut rng = maker.rng(PART, i);
        let scene = scene(&mut rng);
        let clip = seen.of(maker.render(&scene), maker, &mut rng)?;
        let scores = Scores::of(&Track::of(&clip));
        wrong.add(!scores.flags(&thresholds).is_empty());
        for fault in Fault::ALL {
            let most = scores.fault(fault).iter().copied().fold(0.0, f64::max);
            largest.entry(fault).or_default().push(most);
        }
        bar.inc(1);
    }
    let mut rows = vec![vec!["no fault".into(), wrong.into(), Cell::None, Cell::None, Cell::None]];
    for &fault in Injected::ALL {
        let mut row = Row::default();
        for i in 0..maker.count() {
            bar.inc(1);
            let mut rng = maker.rng(PART + 1 + fault as u64, i);
            let scene = scene(&mut rng);
            let Some(broken) = inject(fault, &scene, maker.size, maker.frames, &mut rng) else {
                continue;
            };
            let clip = seen.of(broken.clip, maker, &mut rng)?;
            let flags = Scores::of(&Track::of(&clip)).flags(&thresholds);
            let near = |frame: usize| broken.frames.iter().any(|&w| w.abs_diff(frame) <= 1);
            let located = flags.iter().any(|flag| near(flag.frame));
            row.found.add(!flags.is_empty());
            row.located.add(located);
            row.named.add(flags.iter().any(|f| near(f.frame) && is_named(fault, f.fault)));
            row.missed.entry(scene.motion).or_default().add(!located);
        }
        let missed = row.missed.iter().filter(|(_, count)| count.right > 0);
        let mut missed: Vec<_> = missed.collect();
        missed.sort_by_key(|(_, count)| std::cmp::Reverse(count.right));
        let missed = missed.iter().take(3).map(|(m, c)| format!("{m} {}/{}", c.right, c.asked));
        rows.push(vec![
            fault.name().into(),
            row.found.into(),
            row.located.into(),
            row.named.into(),
            Cell::Text(missed.collect::<Vec<_>>().join(", ")),
        ]);
    }
    bar.finish_and_clear();
    let found = Measured {
        title: format!("Faults in clips of {} frames, {}", maker.frames, seen.name()),
        columns: vec!["fault", "flagged", "within one frame", "with its name", "missed most"],
        rows,
    };
    let quantile = |values: &[f64], share: f64| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[((sorted.len() - 1) as f64 * share).ceil() as usize]
    };
    let rows = largest.iter().map(|(fault, values)| {
        let number = |value| Cell::Number(value, 3);
        vec![
            fault.name().into(),
            number(median(values)),
            number(quantile(values, 0.99)),
            number(quantile(values, 0.998)),
            number(quantile(values, 1.0)),
            number(thresholds.of(*fault)),
        ]
    });
    let scores = Measured {
        title: format!("Largest scores of clips without a fault, {}", seen.name()),
        columns: vec!["score", "median", "99 %", "99.8 %", "largest", "threshold"],
        rows: rows.collect(),
    };
    Ok((found, scores))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softened_clips_keep_their_means() {
        let clip = Clip { frames: 2, height: 16, width: 16, rate: 6.0, rgb: vec![100; 2 * 768] };
        let soft = softened(&clip, &mut Rng(1));
        let mean = soft.rgb.iter().map(|v| f64::from(*v)).sum::<f64>() / soft.rgb.len() as f64;
        assert!((mean - 100.0).abs() < 0.3, "{mean}");
        assert!(soft.rgb.iter().any(|v| *v != 100));
    }
}
