//! What facts are about.

use super::language::LANGUAGE;
use super::writer::Writer;

/// What kind of thing a subject is; each kind has attributes of its own in `language/persons.txt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Thing,
    Person,
    Place,
    Service,
    Package,
    Company,
    Product,
    Field,
    Event,
    Machine,
    Project,
    /// A part of a settings file.
    Section,
    /// Anything that a list or a log names.
    Entry,
    /// What somebody did.
    Deed,
}

impl Class {
    /// Those with attributes in the lexicon.
    pub(super) const KNOWN: [Self; 11] = [
        Self::Thing,
        Self::Person,
        Self::Place,
        Self::Service,
        Self::Package,
        Self::Company,
        Self::Product,
        Self::Field,
        Self::Event,
        Self::Machine,
        Self::Project,
    ];

    /// The letter of the class in the lexicon.
    fn letter(self) -> char {
        match self {
            Self::Thing => 't',
            Self::Person => 'p',
            Self::Place => 'l',
            Self::Service => 's',
            Self::Package => 'k',
            Self::Company => 'c',
            Self::Product => 'o',
            Self::Field => 'f',
            Self::Event => 'e',
            Self::Machine => 'm',
            Self::Project => 'j',
            Self::Section | Self::Entry => '-',
            Self::Deed => '!',
        }
    }

    /// What one calls such a thing.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Thing => "thing",
            Self::Person => "person",
            Self::Place => "place",
            Self::Service => "service",
            Self::Package => "package",
            Self::Company => "company",
            Self::Product => "product",
            Self::Field => "field",
            Self::Event => "event",
            Self::Machine => "host",
            Self::Project => "project",
            Self::Section => "section",
            Self::Entry => "entry",
            Self::Deed => "deed",
        }
    }

    /// Whether the name of the subject follows an article: "the boat shed", but "Ada Brooks".
    pub(super) fn has_article(self, name: &str) -> bool {
        let common = name.starts_with(|c: char| c.is_lowercase()) && name.contains(' ');
        match self {
            Self::Thing => !name.starts_with(char::is_uppercase),
            Self::Event | Self::Product => common,
            Self::Project => common && !name.starts_with("project"),
            _ => false,
        }
    }

    /// The attributes of such things, by their places in the lexicon.
    pub(super) fn attributes(self) -> impl Iterator<Item = u16> {
        let letter = self.letter();
        let attributes = LANGUAGE.attributes.iter().enumerate();
        attributes.filter(move |(_, a)| a.classes.contains(letter)).map(|(i, _)| i as u16)
    }

    /// The rule that names such a thing.
    fn rule(self) -> &'static str {
        match self {
            Self::Thing => "name_thing",
            Self::Person => "name_person",
            Self::Place => "name_place",
            Self::Service => "name_service",
            Self::Package => "name_package",
            Self::Company => "company",
            Self::Product => "product",
            Self::Field => "name_field",
            Self::Event => "event",
            Self::Machine => "name_machine",
            Self::Project => "project",
            Self::Section | Self::Entry | Self::Deed => "name_entry",
        }
    }

    /// Draws a name.
    pub(super) fn name(self, w: &mut Writer<'_>) -> String {
        w.rule(self.rule())
    }

    /// Draws up to `n` attributes of different groups.
    pub(super) fn some_attributes(self, w: &mut Writer<'_>, n: usize) -> Vec<u16> {
        let mut all: Vec<u16> = self.attributes().collect();
        w.rng.shuffle(&mut all);
        let mut groups: Vec<&str> = Vec::new();
        all.retain(|id| {
            let group = LANGUAGE.attributes[usize::from(*id)].group;
            let new = group.is_empty() || !groups.contains(&group);
            groups.push(group);
            new
        });
        all.truncate(n);
        all
    }
}
