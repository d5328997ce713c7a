use super::*;
use std::collections::BTreeMap;

fn draw(seed: u64, split: Split) -> Picture {
    Picture::draw(&mut Rng::stream(7, seed), split)
}

/// The values of a transcript by their labels.
fn values(transcript: &str) -> BTreeMap<&str, &str> {
    let lines = transcript.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(label, value)| (label, value.trim())).collect()
}

#[test]
fn a_seed_is_a_picture() {
    let (a, b, c) = (draw(1, Split::Train), draw(1, Split::Train), draw(2, Split::Train));
    assert_eq!(a.pixels, b.pixels);
    assert_eq!((a.transcript, a.questions), (b.transcript, b.questions));
    assert_ne!(a.pixels, c.pixels);
}

#[test]
fn answers_are_values_of_the_transcript() {
    let mut kinds = BTreeMap::new();
    for seed in 0..400 {
        let split = if seed % 2 == 0 { Split::Train } else { Split::HeldOut };
        let Picture { pixels, transcript, questions, .. } = draw(seed, split);
        assert_eq!(pixels.height.max(pixels.width), SIDE);
        assert_eq!(pixels.data.len(), pixels.height * pixels.width * 3);
        assert!(transcript.len() <= MAX_TRANSCRIPT, "{} bytes: {transcript}", transcript.len());
        assert!(transcript.is_ascii(), "{transcript}");
        let values = values(&transcript);
        let lines = transcript.lines().filter(|line| !line.trim().is_empty()).count();
        assert_eq!(values.len(), lines, "labels twice: {transcript}");
        for Question { kind, text, answer } in questions {
            *kinds.entry(kind).or_insert(0) += 1;
            assert!(text.ends_with('?') && !text.contains('{'), "{text}");
            let is_there = values.values().any(|value| *value == answer);
            assert_eq!(is_there, kind != "absent", "{text} {answer} {transcript}");
        }
    }
    let expected = ["absent", "bars", "colour", "count", "relation", "shape", "writing"];
    assert_eq!(kinds.keys().copied().collect::<Vec<_>>(), expected);
    assert!(kinds.values().all(|n| *n >= 40), "{kinds:?}");
}

#[test]
fn counts_add_up() {
    for seed in 0..300 {
        let Picture { transcript, .. } = draw(seed, Split::Train);
        let values = values(&transcript);
        let Some(all) = values.get("shapes") else { continue };
        let plurals = ["circles", "squares", "triangles", "stars", "rings", "crosses"];
        let number = |text: &&str| text.parse::<usize>().unwrap();
        let sum: usize = plurals.iter().filter_map(|plural| values.get(plural)).map(number).sum();
        assert_eq!(sum, number(all), "{transcript}");
    }
}

#[test]
fn held_out_pictures_are_others() {
    let of = |split| (0..300).map(move |seed| draw(seed, split).transcript);
    let purple_star = |transcript: &String| values(transcript).get("star") == Some(&"purple");
    assert!(!of(Split::Train).any(|t| purple_star(&t)));
    assert!(of(Split::HeldOut).any(|t| purple_star(&t)));
    let word = |t: String| values(&t).get("written").map(|word| (*word).to_owned());
    let trained: Vec<String> =
        of(Split::Train).filter_map(word).filter(|word| word.len() > 2).collect();
    assert!(!trained.is_empty());
    let held_out: Vec<String> = of(Split::HeldOut).filter_map(word).collect();
    assert!(!held_out.is_empty() && held_out.iter().all(|word| !trained.contains(word)));
}

/// Letters of all typefaces stand on the line and in their width.
#[test]
fn every_character_has_strokes() {
    let mut rng = Rng::stream(3, 0);
    for _ in 0..50 {
        let style = glyphs::Style::draw(&mut rng);
        for &character in glyphs::LETTERS.iter().chain(glyphs::DIGITS) {
            let name = char::from(character).to_string();
            let word = style.word(&name);
            assert!(word.width > 0.0 && word.width < 1.6, "{name}: {word:?}");
            let at = |i: usize| ((i % 40) as f32 / 20.0 - 0.5, (i / 40) as f32 / 20.0 - 0.5);
            let inked = (0..1600).filter(|&i| word.distance(at(i).0, at(i).1) < 0.0).count();
            assert!((5..700).contains(&inked), "{name} covers {inked} of 1600 places");
        }
    }
}

/// What boxes say is there stands out from what is around it, and most of what stands out is in boxes.
#[test]
fn marks_are_where_things_are() {
    let (mut marked, mut other) = ([0u64; 2], [0u64; 2]);
    for seed in 0..300 {
        let Picture { pixels, marks, transcript, .. } = draw(seed, Split::Train);
        let is_chart = transcript.starts_with("bars");
        if is_chart {
            continue;
        }
        // The corner is background.
        let corner: [u8; 3] = pixels.data[..3].try_into().unwrap();
        for (i, pixel) in pixels.data.chunks_exact(3).enumerate() {
            let (x, y) = ((i % pixels.width) as f32 + 0.5, (i / pixels.width) as f32 + 0.5);
            let stands_out = pixel.iter().zip(corner).any(|(a, b)| a.abs_diff(b) > 60);
            let counts = if marks.at(x, y).what > 0 { &mut marked } else { &mut other };
            counts[0] += u64::from(stands_out);
            counts[1] += 1;
        }
    }
    let share = |[some, all]: [u64; 2]| some as f64 / all as f64;
    assert!(share(marked) > 0.4 && share(other) < 0.05, "{marked:?} {other:?}");
}

/// Words, numbers of shapes and heights of bars are read off the marks.
#[test]
fn marks_say_what_transcripts_say() {
    let mut kinds = [0; 3];
    for seed in 0..300 {
        let Picture { transcript, marks, .. } = draw(seed, Split::HeldOut);
        let values = values(&transcript);
        let number = |label: &str| values[label].parse::<usize>().unwrap();
        let labels: Vec<Label> = marks.boxes.iter().map(|(_, label)| *label).collect();
        if let Some(word) = values.get("written") {
            kinds[0] += 1;
            let names = glyphs::LETTERS.iter().chain(glyphs::DIGITS);
            let names: String = names.map(|&name| char::from(name)).collect();
            let read = labels.iter().map(|label| &names[label.what - 7..label.what - 6]);
            assert_eq!(read.collect::<String>(), *word);
            assert!(labels.iter().map(|label| label.number).eq(1..=word.len()));
            assert_eq!(marks.nothing.number, word.len());
        } else if values.contains_key("shapes") {
            kinds[1] += 1;
            assert_eq!([labels.len(), marks.nothing.number], [number("shapes"); 2]);
            for label in &labels {
                let alike = labels.iter().filter(|other| other.what == label.what);
                assert_eq!(alike.count(), label.number);
            }
        } else {
            kinds[2] += 1;
            assert_eq!(labels.len(), number("bars"));
            for label in labels {
                let name = colours::COLOURS[label.hue - 1].name;
                assert_eq!(number(&format!("{name:<6} bar")), label.number, "{transcript}");
            }
        }
        let nothing = |label: &Label| label.what < WHATS && label.hue < HUES;
        assert!(marks.boxes.iter().all(|(_, label)| nothing(label) && label.number < NUMBERS));
    }
    assert!(kinds.iter().all(|n| *n > 30), "{kinds:?}");
}
