use super::content::{Content, Movement, Noise, Timbre, Tones};
use super::questions::WORDINGS;
use super::recording::record;
use super::score::{REST, SPAN, Score, compass};
use super::voice::{Voice, sine};
use super::*;
use std::collections::{HashMap, HashSet};

/// Streams of their own for each test.
fn streams(seed: u64, count: u64) -> impl Iterator<Item = Rng> {
    (0..count).map(move |i| Rng::stream(seed, i))
}

/// All tones that there are.
fn all_tones() -> impl Iterator<Item = Tones> {
    let movements = |count| Movement::ALL.iter().map(move |&movement| (count, movement));
    Tones::COUNTS.flat_map(movements).flat_map(|(count, movement)| {
        Timbre::ALL.iter().map(move |&timbre| Tones { count, movement, timbre })
    })
}

/// Loudest sample of each 10 ms.
fn envelope(samples: &[f32]) -> Vec<f32> {
    samples.chunks(RATE / 100).map(peak).collect()
}

/// Runs of the envelope above `threshold`: where they begin and end, in samples.
fn runs(samples: &[f32], threshold: f32) -> Vec<[usize; 2]> {
    let mut runs: Vec<[usize; 2]> = Vec::new();
    let mut is_on = false;
    for (i, level) in envelope(samples).into_iter().enumerate() {
        if level > threshold {
            if !is_on {
                runs.push([i * RATE / 100, 0]);
            }
            if let Some(run) = runs.last_mut() {
                run[1] = (i + 1) * RATE / 100;
            }
        }
        is_on = level > threshold;
    }
    runs
}

/// Pitch in Hz of a sine: its rising zero crossings from the first to the last, in between exactly.
fn crossings(samples: &[f32]) -> Option<f32> {
    let times: Vec<f32> = samples
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair[0] < 0.0 && pair[1] > 0.0)
        .map(|(i, pair)| i as f32 - pair[0] / (pair[1] - pair[0]))
        .collect();
    let (first, last) = (times.first()?, times.last()?);
    Some((times.len() - 1) as f32 / (last - first) * RATE as f32)
}

/// Energy at a frequency in Hz.
fn energy(samples: &[f32], frequency: f32) -> f32 {
    let (mut re, mut im) = (0.0, 0.0);
    for (i, &sample) in samples.iter().enumerate() {
        let angle = std::f64::consts::TAU * f64::from(frequency) * i as f64 / RATE as f64;
        let window = sine(0.5 * (i as f64 + 0.5) / samples.len() as f64).powi(2);
        re += f64::from(sample * window) * angle.cos();
        im += f64::from(sample * window) * angle.sin();
    }
    ((re * re + im * im) / (samples.len() as f64).powi(2)) as f32
}

#[test]
fn sounds_keep_their_limits() {
    for split in [Split::Train, Split::HeldOut] {
        for mut rng in streams(1, 150) {
            let sound = Sound::draw(&mut rng, split);
            let lengths = SECONDS.map(samples);
            assert!((lengths[0]..=lengths[1]).contains(&sound.samples.len()));
            assert!(sound.samples.iter().all(|sample| sample.abs() <= 1.0), "not finite, or above");
            assert!(sound.transcript.len() <= MAX_TRANSCRIPT, "{}", sound.transcript);
            assert!(sound.transcript.ends_with('\n'));
            for question in &sound.questions {
                let line = format!("{}: {}\n", question.kind, question.answer);
                assert!(
                    sound.transcript.lines().any(|of| of.trim_end() == line.trim_end()),
                    "{question:?} {}",
                    sound.transcript
                );
            }
        }
    }
}

#[test]
fn the_longest_transcript_fits() {
    let longest = Content {
        tones: Some(Tones { count: 6, movement: Movement::Steady, timbre: Timbre::Hollow }),
        noise: Some(Noise::Hiss),
    };
    assert_eq!(longest.transcript(), "beeps: 6\npitch: steady\nnoise: hiss\ntimbre: hollow\n");
    assert_eq!(longest.transcript().len(), MAX_TRANSCRIPT);
    let nothing = Content { tones: None, noise: None };
    assert_eq!(nothing.transcript(), "beeps: 0\npitch: none  \nnoise: none\ntimbre: none  \n");
}

#[test]
fn a_seed_and_a_step_give_one_sound() {
    for step in 0..6 {
        let sound = |seed, step| Sound::draw(&mut Rng::stream(seed, step), Split::Train);
        assert_eq!(sound(1, step), sound(1, step));
        assert_ne!(sound(1, step).samples, sound(2, step).samples);
        assert_ne!(sound(1, step).samples, sound(1, step + 1).samples);
    }
}

/// Each three words are heard together in training, but not each four.
#[test]
fn what_is_held_out_is_new_in_fours_only() {
    let noises = [None, Some(Noise::Hiss), Some(Noise::Hum), Some(Noise::Pops)];
    let all = all_tones().flat_map(|t| noises.map(|noise| Content { tones: Some(t), noise }));
    let (held_out, train): (Vec<Content>, Vec<Content>) =
        all.partition(|content| content.split() == Some(Split::HeldOut));
    assert_eq!((held_out.len(), train.len()), (72, 288));
    // Training has all threes.
    let threes = |leave_out: usize| {
        let of = |content: &Content| {
            let Tones { count, movement, timbre } = content.tones.unwrap();
            let noise = content.noise.map_or(0, |noise| 1 + noise as usize);
            let mut words = [count, movement as usize, timbre as usize, noise];
            words[leave_out] = 0;
            words
        };
        train.iter().map(of).collect::<HashSet<_>>().len()
    };
    assert_eq!([0, 1, 2, 3].map(threes), [3 * 5 * 4, 6 * 5 * 4, 6 * 3 * 4, 6 * 3 * 5]);
    for &timbre in Timbre::ALL {
        let has = |content: &&Content| content.tones.is_some_and(|t| t.timbre == timbre);
        assert!(held_out.iter().filter(has).count() >= 12);
    }
    for mut rng in streams(2, 500) {
        for split in [Split::Train, Split::HeldOut] {
            let of = Content::draw(&mut rng, split).split();
            assert!(of.is_none_or(|of| of == split));
        }
    }
}

/// A guess that hears nothing is right about as often as there are words.
#[test]
fn answers_are_balanced() {
    let mut shares: HashMap<(&str, String), usize> = HashMap::new();
    for mut rng in streams(3, 4000) {
        let content = Content::draw(&mut rng, Split::Train);
        for question in questions::draw(content, &mut rng) {
            *shares.entry((question.kind, question.answer)).or_default() += 1;
        }
    }
    let most = |kind| shares.iter().filter(|(key, _)| key.0 == kind).map(|(_, n)| *n).max();
    for (kind, words) in [("beeps", 6), ("pitch", 3), ("noise", 4), ("timbre", 5)] {
        let most = most(kind).unwrap_or_default() as f32 / 4000.0;
        assert!(
            most < 1.2 / words as f32 + if kind == "noise" { 0.15 } else { 0.0 },
            "{kind} {most}"
        );
    }
    assert!(shares[&("beeps", "0".to_owned())] > 200);
}

#[test]
fn wordings_belong_to_one_kind() {
    let mut seen = HashSet::new();
    for (kind, wordings) in WORDINGS {
        assert!(wordings.len() > 10, "{kind}");
        assert!(wordings.iter().all(|wording| seen.insert(*wording)), "{kind}");
    }
}

/// Beeps and rests are as long as promised, and pitches as far apart and within the compass.
#[test]
fn scores_are_clear() {
    for (i, tones) in all_tones().enumerate() {
        for mut rng in streams(40 + i as u64, 12) {
            let score = Score::draw(tones, &mut rng);
            assert_eq!(score.beeps.len(), tones.count);
            let mut end = 0.0;
            for beep in &score.beeps {
                let rest = if end == 0.0 { 0.03 } else { REST };
                assert!(beep.start - end > rest - 1e-4, "{score:?}");
                assert!(beep.seconds >= 0.08 && beep.loudness <= 1.0 && beep.loudness > 0.3);
                end = beep.start + beep.seconds;
            }
            assert!(end < score.seconds - 0.03, "{score:?}");
            let pitches: Vec<f32> = score.beeps.iter().flat_map(|beep| beep.pitch).collect();
            let lowest = pitches.iter().copied().fold(f32::MAX, f32::min);
            let highest = pitches.iter().copied().fold(0.0, f32::max);
            let compass = compass(tones.timbre);
            assert!(lowest > compass.start * 0.999 && highest < compass.end * 1.001, "{pitches:?}");
            if tones.movement == Movement::Steady {
                assert_eq!(lowest, highest);
                continue;
            }
            assert!(highest - lowest > SPAN - 0.1 && highest / lowest > 1.33, "{pitches:?}");
            // No two neighbours go the other way, within a beep or between the beginnings of two.
            let sign = if tones.movement == Movement::Rises { 1.0 } else { -1.0 };
            for pair in score.beeps.windows(2) {
                let step = pair[1].pitch[0] - pair[0].pitch[0];
                let glide = pair[0].pitch[1] - pair[0].pitch[0];
                assert!(step * sign >= 0.0 && glide * sign >= 0.0, "{pitches:?}");
                // One that stands still must be told from the next.
                assert!(glide != 0.0 || step.abs() / pair[0].pitch[0] > 0.08, "{pitches:?}");
            }
        }
    }
}

/// The beeps are counted again by runs of the envelope, whatever they sound like.
#[test]
fn beeps_are_found_again() {
    for (i, tones) in all_tones().enumerate() {
        for mut rng in streams(200 + i as u64, 3) {
            let score = Score::draw(tones, &mut rng);
            let played = Voice::draw(tones.timbre, &mut rng).play(&score);
            let softest = score.beeps.iter().map(|beep| beep.loudness).fold(1.0, f32::min);
            let found = runs(&played, peak(&played) * softest * 0.01);
            assert_eq!(found.len(), tones.count, "{tones:?} {score:?}");
            // And in what is recorded, which has a room and a level of its own.
            let recorded = record(Some((played, score)), None, 4 * RATE, &mut rng);
            assert!(recorded.len() <= 4 * RATE && rms(&recorded) > 0.005);
        }
    }
}

/// Zero crossings of sines tell where the pitch goes.
#[test]
fn pitches_are_found_again() {
    for tones in all_tones().filter(|tones| tones.timbre == Timbre::Pure) {
        for mut rng in streams(5 + tones.count as u64, 12) {
            let score = Score::draw(tones, &mut rng);
            let played = Voice::draw(tones.timbre, &mut rng).play(&score);
            let thirds: Vec<f32> = runs(&played, peak(&played) * 0.02)
                .into_iter()
                .flat_map(|[start, end]| {
                    let third = (end - start) / 3;
                    [start..start + third, end - third..end]
                })
                .filter_map(|range| crossings(&played[range.start..range.end.min(played.len())]))
                .collect();
            assert_eq!(thirds.len(), 2 * tones.count);
            let lowest = thirds.iter().copied().fold(f32::MAX, f32::min);
            let highest = thirds.iter().copied().fold(0.0, f32::max);
            let (first, last) = (thirds[0], thirds[thirds.len() - 1]);
            match tones.movement {
                Movement::Steady => assert!(highest / lowest < 1.06, "{thirds:?}"),
                Movement::Rises => assert!(last / first > 1.12, "{thirds:?} {score:?}"),
                Movement::Falls => assert!(first / last > 1.12, "{thirds:?} {score:?}"),
            }
        }
    }
}

/// A steady long beep of each timbre, and its pitch in Hz.
fn steady(timbre: Timbre, rng: &mut Rng) -> (Vec<f32>, f32) {
    loop {
        let score = Score::draw(Tones { count: 1, movement: Movement::Steady, timbre }, rng);
        let beep = score.beeps[0];
        let mut voice = Voice::draw(timbre, rng);
        voice.without_sway();
        if beep.seconds > 0.25 && beep.pitch[0] > 300.0 {
            let start = samples(beep.start);
            let played = voice.play(&score);
            return (played[start..start + samples(beep.seconds)].to_vec(), beep.pitch[0]);
        }
    }
}

#[test]
fn partials_are_those_of_the_timbre() {
    for mut rng in streams(6, 40) {
        let mut share = |timbre, harmonics: &[f32]| {
            let (tone, pitch) = steady(timbre, &mut rng);
            let first = energy(&tone, pitch);
            harmonics.iter().map(|k| energy(&tone, k * pitch)).sum::<f32>() / first
        };
        let pure = share(Timbre::Pure, &[2.0, 3.0]);
        assert!(pure < 0.001, "{pure}");
        let even = share(Timbre::Hollow, &[2.0, 4.0]);
        assert!(even < 0.01, "{even}");
        let odd = share(Timbre::Hollow, &[3.0, 5.0]);
        assert!(odd > 0.02, "{odd}");
        let buzz = share(Timbre::Buzz, &[2.0, 4.0]);
        assert!(buzz > 0.05, "{buzz}");
    }
}

#[test]
fn bells_and_strings_die_away() {
    for mut rng in streams(7, 25) {
        for &timbre in Timbre::ALL {
            let (tone, _) = steady(timbre, &mut rng);
            let quarter = tone.len() / 4;
            let early = rms(&tone[quarter / 2..quarter]);
            let late = rms(&tone[tone.len() - quarter..tone.len() - quarter / 2]);
            let fall = 20.0 * (early / late).log10();
            assert_eq!(fall > 7.0, timbre.dies_away(), "{timbre:?} {fall}");
        }
    }
}

/// Most of the energy of a hum is below 400 Hz, that of a hiss above, and pops leave most of the time
/// silent.
#[test]
fn noise_is_as_named() {
    for mut rng in streams(8, 40) {
        let mut of = |kind: Noise| kind.draw(2 * RATE, 0.1, &mut rng);
        for noise in [of(Noise::Hiss), of(Noise::Hum)] {
            let below = 20.0 * (0.1 / rms(&noise)).log10();
            assert!((-0.1..15.1).contains(&below), "{below}");
        }
        // The energy of differences to that of samples grows with the frequency.
        let brightness = |noise: &[f32]| {
            let steps: Vec<f32> = noise.windows(2).map(|pair| pair[1] - pair[0]).collect();
            rms(&steps) / rms(noise)
        };
        let (hiss, hum) = (brightness(&of(Noise::Hiss)), brightness(&of(Noise::Hum)));
        assert!(hiss > 0.5 && hum < 0.12, "{hiss} {hum}");
        let pops = of(Noise::Pops);
        let quiet = envelope(&pops).iter().filter(|&&level| level < 0.05 * peak(&pops)).count();
        assert!(quiet > 100, "{quiet} of 200");
        assert!(runs(&pops, 0.1 * peak(&pops)).len() >= 3);
        assert!((0.1..0.41).contains(&peak(&pops)), "{}", peak(&pops));
    }
}

/// Of a sound without noise the rests are far below the beeps.
#[test]
fn none_is_none() {
    let silent = Content { tones: None, noise: None };
    for mut rng in streams(9, 40) {
        let sound = Sound::of(silent, &mut rng);
        let mean = sound.samples.iter().sum::<f32>() / sound.samples.len() as f32;
        assert!(sound.samples.iter().all(|sample| (sample - mean).abs() < 0.005));
        let tones = Tones { count: 2, movement: Movement::Steady, timbre: Timbre::Pure };
        let sound = Sound::of(Content { tones: Some(tones), noise: None }, &mut rng);
        let start = &sound.samples[..samples(0.035)];
        let mean = start.iter().sum::<f32>() / start.len() as f32;
        let start: Vec<f32> = start.iter().map(|sample| sample - mean).collect();
        assert!(rms(&start) < 0.02 * rms(&sound.samples), "{}", rms(&start) / rms(&sound.samples));
    }
}

#[test]
fn the_series_is_the_sine() {
    for i in -5000..5000 {
        let turns = f64::from(i) * 0.00173;
        let expected = (std::f64::consts::TAU * turns).sin();
        assert!((f64::from(sine(turns)) - expected).abs() < 5e-6, "{turns}");
    }
}
