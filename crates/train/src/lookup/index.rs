//! What the text says, by canonical names: whether a question has one answer, many, or none.

use super::language::LANGUAGE;
use super::vocabulary::normalized;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Everything that a text says.
#[derive(Debug, Default)]
pub(super) struct Index {
    seen: HashMap<u64, Seen, BuildHasherDefault<Identity>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    One(u64),
    Many,
}

/// What may be asked: the last word of an attribute alone, its group, the attribute itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked<'a> {
    Attribute(&'a str),
    /// The last word of an attribute.
    Head(&'a str),
    Group(&'a str),
}

impl Index {
    /// Notes that the `attribute` of `subject` is `value`.
    pub(super) fn note(&mut self, subject: &str, attribute: &str, value: &str) {
        let value = LANGUAGE.spelling(value);
        let name = LANGUAGE.canonical(attribute);
        let mut asked = vec![name, key(Asked::Head(attribute))];
        if let Some(id) = LANGUAGE.attribute_of(name) {
            let group = LANGUAGE.attributes[usize::from(id)].group;
            if !group.is_empty() {
                asked.push(key(Asked::Group(group)));
            }
        }
        let whole = LANGUAGE.spelling(subject);
        for asked in &asked {
            self.put(pair(0, *asked), value);
        }
        if subject.is_empty() {
            return;
        }
        self.put(pair(whole, 0), 0);
        for asked in &asked {
            self.put(pair(whole, *asked), value);
        }
        // `server.tls` is a part of `server`, and it may be called `tls`.
        if subject.contains(['.', '/', ':']) {
            for part in subject.split(['.', '/', ':']).filter(|part| !part.is_empty()) {
                let part = LANGUAGE.spelling(part);
                self.put(pair(part, 0), 0);
                for asked in &asked {
                    self.put(pair(part, *asked), value);
                }
            }
        }
    }

    fn put(&mut self, key: u64, value: u64) {
        self.seen
            .entry(key)
            .and_modify(|seen| {
                if *seen != Seen::One(value) {
                    *seen = Seen::Many;
                }
            })
            .or_insert(Seen::One(value));
    }

    /// Whether this has one answer; an empty subject asks for the attribute of anything.
    pub(super) fn is_unique(&self, subject: &str, asked: Asked<'_>) -> bool {
        matches!(self.seen.get(&pair(subject_key(subject), key(asked))), Some(Seen::One(_)))
    }

    /// Whether nothing is known of this.
    pub(super) fn is_unknown(&self, subject: &str, asked: Asked<'_>) -> bool {
        !self.seen.contains_key(&pair(subject_key(subject), key(asked)))
    }

    /// Whether anything is known of `subject`.
    pub(super) fn is_subject(&self, subject: &str) -> bool {
        self.seen.contains_key(&pair(subject_key(subject), 0))
    }
}

/// The last word of `attribute`.
pub(super) fn head(attribute: &str) -> String {
    let words = normalized(attribute);
    words.rsplit(' ').next().unwrap_or_default().to_owned()
}

fn key(asked: Asked<'_>) -> u64 {
    match asked {
        Asked::Attribute(name) => LANGUAGE.canonical(name),
        Asked::Head(name) => LANGUAGE.canonical(&head(name)) ^ 0x5555_0000_5555_0000,
        Asked::Group(group) => LANGUAGE.spelling(group) ^ 0x3333_3333_0000_0000,
    }
}

fn subject_key(subject: &str) -> u64 {
    if subject.is_empty() { 0 } else { LANGUAGE.spelling(subject) }
}

fn pair(subject: u64, asked: u64) -> u64 {
    let mixed = (subject.rotate_left(29) ^ asked).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ mixed >> 31 ^ subject
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
