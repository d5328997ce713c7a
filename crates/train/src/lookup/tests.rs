use super::vocabulary::{Vocabulary, is_held_out, normalized};
use super::writer::{LONGEST_ANSWER, Writer};
use super::*;
use std::collections::HashSet;

fn spec(split: Split, max_bytes: usize) -> Spec {
    Spec { split, min_bytes: max_bytes / 2, max_bytes, questions: 12, absent_share: 0.2 }
}

fn documents(split: Split, max_bytes: usize, n: u64) -> impl Iterator<Item = Document> {
    (0..n).map(move |i| document(&spec(split, max_bytes), &mut Rng::stream(7, i)))
}

#[test]
fn the_same_seed_gives_the_same_document() {
    let twice = [0, 0].map(|_| document(&spec(Split::Train, 3000), &mut Rng::stream(1, 2)));
    assert_eq!(twice[0], twice[1]);
    assert_ne!(twice[0], document(&spec(Split::Train, 3000), &mut Rng::stream(1, 3)));
}

#[test]
fn lengths_are_as_asked() {
    for bytes in [400, 5000, 100_000] {
        for document in documents(Split::Train, bytes, 20) {
            let len = document.text.len();
            assert!((bytes / 2..bytes + 900).contains(&len), "{len} for {bytes}");
        }
    }
}

#[test]
fn answers_are_in_the_text() {
    let mut kinds = HashSet::new();
    let (mut total, mut absent) = (0, 0);
    for document in documents(Split::Train, 2000, 400) {
        for question in &document.questions {
            total += 1;
            kinds.insert(question.kind);
            if question.is_absent() {
                absent += 1;
            } else {
                let found = document.text.contains(&question.answer);
                assert!(found, "{question:?} in\n{}", document.text);
                assert!(question.answer.len() <= LONGEST_ANSWER);
            }
        }
    }
    assert_eq!(kinds.len(), Kind::ALL.len());
    let share = absent as f32 / total as f32;
    assert!((0.1..0.25).contains(&share), "{absent} of {total} are absent");
}

#[test]
fn names_of_the_two_splits_share_no_word() {
    let names = |split| -> HashSet<String> {
        let vocabulary = Vocabulary::of(split);
        let mut rng = Rng(3);
        (0..5000).map(|_| vocabulary.word(&mut rng)).collect()
    };
    let (train, held_out) = (names(Split::Train), names(Split::HeldOut));
    assert!(train.len() > 1500 && held_out.len() > 1000);
    assert!(train.is_disjoint(&held_out));
    assert!(train.iter().all(|word| !is_held_out(word)));
}

#[test]
fn spellings_of_one_name_are_one_name() {
    for name in ["max_age", "maxAge", "MAX_AGE", "max-age", "Max Age", "max.age", "--max-age"] {
        assert_eq!(normalized(name), "max age");
    }
    assert_eq!(normalized("worker-7"), "worker 7");
}

/// A list of keys and values is read back: what is asked is there once, what is absent is not.
#[test]
fn questions_about_lists_have_one_answer() {
    let mut asked = 0;
    for seed in 0..300 {
        let mut writer = Writer::new(Split::Train, Rng::stream(5, seed), 900);
        writer.section(Kind::Ini, 900);
        for question in questions::ask(&mut writer, 10, 0.3) {
            let lines: Vec<(String, &str)> = writer
                .text
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(key, value)| (normalized(key), value.trim_matches([' ', '"', '\''])))
                .collect();
            let asks = normalized(&question.text);
            let named: Vec<_> = lines
                .iter()
                .filter(|(key, _)| asks.ends_with(&format!("value of {key}")))
                .collect();
            if let (Some(_), false) = (asks.find("value of"), named.is_empty()) {
                asked += 1;
                let values: HashSet<&str> = named.iter().map(|(_, value)| *value).collect();
                assert!(
                    values.len() == 1 && values.contains(&question.answer[..]),
                    "{question:?} in\n{}",
                    writer.text
                );
            }
        }
    }
    assert!(asked > 20, "{asked}");
}

/// A fact that is not written would make a question that nobody can answer, or hide one that
/// nobody asked.
#[test]
fn facts_are_in_the_text() {
    for seed in 0..1500 {
        let kind = Kind::ALL[seed as usize % Kind::ALL.len()];
        let mut writer = Writer::new(Split::Train, Rng::stream(6, seed), 3000);
        writer.section(kind, 1500);
        let text = normalized(&writer.text);
        let facts = writer.facts.iter().filter(|fact| fact.class != subject::Class::Deed);
        for fact in facts.filter(|fact| !fact.own_only) {
            let parts = fact.subject.split('.').chain([fact.value.as_str()]);
            for part in parts {
                let part = normalized(part);
                assert!(text.contains(&part), "{part} of {fact:?} in\n{}", writer.text);
            }
        }
    }
}

#[test]
fn synonyms_and_short_forms_are_one_attribute() {
    let mut index = index::Index::default();
    index.note("oak lamp", "price", "12");
    for name in ["price", "cost", "unit_price", "Costs"] {
        assert!(index.is_unique("Oak Lamp", index::Asked::Attribute(name)), "{name}");
        assert!(index.is_unique("", index::Asked::Attribute(name)), "{name}");
    }
    index.note("oak-lamp", "cost", "13");
    assert!(!index.is_unique("oak lamp", index::Asked::Attribute("price")));
    index.note("", "max_conn", "5");
    assert!(index.is_unique("", index::Asked::Attribute("maximum connections")));
    assert!(index.is_unknown("oak lamp", index::Asked::Attribute("weight")));
    index.note("server.tls", "port", "443");
    assert!(index.is_unique("tls", index::Asked::Attribute("port")));
    assert!(!index.is_unknown("server", index::Asked::Attribute("port")));
}
