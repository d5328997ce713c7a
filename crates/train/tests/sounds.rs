//! The set of sounds that another synthesizer made is what its list says, as far as a few lines can hear.

use media::sound::{Limits, decode};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use train::senses::sounds::{MAX_TRANSCRIPT, Movement, Noise, RATE, SECONDS, Timbre};

/// The answers of each file, by kind.
fn answers() -> BTreeMap<String, HashMap<String, String>> {
    let list = std::fs::read_to_string(folder().join("questions.tsv")).expect("a list");
    let mut lines = list.lines();
    assert_eq!(lines.next(), Some("file\tkind\tquestion\tanswer"));
    let mut files: BTreeMap<String, HashMap<String, String>> = BTreeMap::new();
    for line in lines {
        let columns: Vec<&str> = line.split('\t').collect();
        let [file, kind, question, answer] = columns[..] else { panic!("{line}") };
        assert!(!question.is_empty(), "{line}");
        let answers = files.entry(file.to_owned()).or_default();
        assert_eq!(answers.insert(kind.to_owned(), answer.to_owned()), None, "{line}");
    }
    files
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sounds")
}

fn samples(file: &str) -> Vec<f32> {
    let bytes = std::fs::read(folder().join(file)).expect("a file of the list");
    let sound = decode(bytes, RATE as u32, &Limits::default()).expect("a sound");
    assert!(!sound.cut_short, "{file}");
    sound.samples
}

/// Beeps by the loudness of each 10 ms: one begins at a quarter of the loudest, and ends at an eighth.
fn beeps(samples: &[f32]) -> usize {
    let levels =
        samples.chunks(RATE / 100).map(|part| part.iter().fold(0.0, |a: f32, b| a.max(b.abs())));
    let levels: Vec<f32> = levels.collect();
    let loudest = levels.iter().copied().fold(0.0, f32::max);
    let (mut count, mut is_on) = (0, false);
    for level in levels {
        if !is_on && level > loudest / 4.0 {
            count += 1;
            is_on = true;
        }
        is_on &= level > loudest / 8.0;
    }
    count
}

#[test]
fn the_list_uses_the_words_of_transcripts() {
    let files = answers();
    assert!(files.len() >= 60 && files.values().map(HashMap::len).sum::<usize>() >= 150);
    let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
    for (kind, answer) in files.values().flatten() {
        *counts.entry((kind.as_str(), answer.as_str())).or_default() += 1;
        let is_word = match kind.as_str() {
            "beeps" => answer.parse::<usize>().is_ok_and(|count| count <= 6),
            "pitch" => Movement::ALL.iter().any(|movement| movement.name() == answer),
            "noise" => answer == "none" || Noise::ALL.iter().any(|noise| noise.name() == answer),
            "timbre" => Timbre::ALL.iter().any(|timbre| timbre.name() == answer),
            _ => false,
        };
        assert!(is_word, "{kind}: {answer}");
        assert!(answer.len() < MAX_TRANSCRIPT);
    }
    // Of each kind no answer comes more than a quarter more often than another, but for sounds without
    // beeps.
    for kind in ["beeps", "pitch", "noise", "timbre"] {
        let of = counts.iter().filter(|(key, _)| key.0 == kind && key.1 != "0").map(|(_, n)| *n);
        let (least, most) = of.fold((usize::MAX, 0), |(a, b), n| (a.min(n), b.max(n)));
        assert!(most * 4 <= least * 5, "{kind}: {least} to {most}");
    }
}

#[test]
fn files_are_heard_as_listed() {
    for (file, answers) in answers() {
        let samples = samples(&file);
        let seconds = samples.len() as f32 / RATE as f32;
        assert!((SECONDS[0]..=SECONDS[1]).contains(&seconds), "{file}: {seconds} s");
        let loudest = samples.iter().fold(0.0, |a: f32, b| a.max(b.abs()));
        assert!(loudest <= 1.05, "{file}: {loudest}");
        match (answers["beeps"].as_str(), answers["noise"].as_str()) {
            ("0", "none") => assert!(loudest < 0.003, "{file}: {loudest}"),
            (count, "none") => assert_eq!(beeps(&samples).to_string(), count, "{file}"),
            _ => assert!(loudest > 0.1, "{file}: {loudest}"),
        }
    }
}
