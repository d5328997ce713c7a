//! Names: real words and invented ones, in the spellings of files.

use super::Split;
use super::grammar::Draw;
use super::words::{ENDINGS, FAMILY, FEMALE, MALE, PLACE, WORDS};
use std::sync::LazyLock;
use tensor::Rng;

/// The words that one split may use in names.
///
/// One word in five, by a hash of its letters, is kept for held-out documents, and those use no
/// other; invented words are told apart in the same way. Attributes such as `port`, values, the
/// words of sentences and the parts that make a name a kind of name (`house`, `Ltd`, `-api`) are
/// common to both.
#[derive(Debug)]
pub(super) struct Vocabulary {
    split: Split,
    words: Vec<&'static str>,
    female: Vec<&'static str>,
    male: Vec<&'static str>,
    family: Vec<&'static str>,
    endings: Vec<&'static str>,
    places: [Vec<&'static str>; 2],
}

static TRAIN: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary::new(Split::Train));
static HELD_OUT: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary::new(Split::HeldOut));

/// How the words of a name are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Snake,
    Kebab,
    Camel,
    Pascal,
    Screaming,
    Dotted,
    Spaced,
    Title,
    Sentence,
}

impl Case {
    /// Joins `words`, which are in lower case.
    pub(super) fn join<S: AsRef<str>>(self, words: &[S]) -> String {
        let mut out = String::new();
        for (i, word) in words.iter().enumerate() {
            let word = word.as_ref();
            let separator = match self {
                Self::Snake | Self::Screaming => "_",
                Self::Kebab => "-",
                Self::Dotted => ".",
                Self::Spaced | Self::Title | Self::Sentence => " ",
                Self::Camel | Self::Pascal => "",
            };
            if i > 0 {
                out.push_str(separator);
            }
            match self {
                Self::Screaming => out.extend(word.chars().flat_map(char::to_uppercase)),
                Self::Pascal | Self::Title => out.push_str(&capitalized(word)),
                Self::Camel if i > 0 => out.push_str(&capitalized(word)),
                Self::Sentence if i == 0 => out.push_str(&capitalized(word)),
                _ => out.push_str(word),
            }
        }
        out
    }
}

/// `word` with its first letter in upper case.
pub(super) fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// `name` as addresses have it: its ASCII letters, in lower case.
fn plain(name: &str) -> String {
    name.to_lowercase().chars().filter(char::is_ascii).collect()
}

/// `word` for several of it.
fn plural(word: &str) -> String {
    let stem = word.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match stem {
        Some(stem) => format!("{stem}ies"),
        None if word.ends_with(['s', 'x', 'z']) || word.ends_with("ch") || word.ends_with("sh") => {
            format!("{word}es")
        }
        None => format!("{word}s"),
    }
}

/// The words of a name, in lower case, whatever its spelling: `maxAge`, `MAX_AGE` and `max-age`
/// are `max age`.
pub(super) fn normalized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut after_lower = false;
    for c in name.chars() {
        if c.is_alphanumeric() {
            if after_lower && c.is_uppercase() {
                out.push(' ');
            }
            out.extend(c.to_lowercase());
            after_lower = c.is_lowercase();
        } else {
            if !out.ends_with(' ') && !out.is_empty() {
                out.push(' ');
            }
            after_lower = false;
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Whether names with this word belong to held-out documents only.
pub(super) fn is_held_out(word: &str) -> bool {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    word.bytes().fold(0xCBF2_9CE4_8422_2325, fnv) % 5 == 0
}

impl Vocabulary {
    /// The vocabulary of `split`.
    pub(super) fn of(split: Split) -> &'static Self {
        match split {
            Split::Train => &TRAIN,
            Split::HeldOut => &HELD_OUT,
        }
    }

    fn new(split: Split) -> Self {
        let mine = |word: &&str| is_held_out(word) == (split == Split::HeldOut);
        let own = |list: &'static str| list.split_whitespace().filter(mine).collect::<Vec<_>>();
        let all = |list: &'static str| list.split_whitespace().collect::<Vec<_>>();
        Self {
            split,
            words: own(WORDS),
            female: own(FEMALE),
            male: own(MALE),
            family: own(FAMILY),
            endings: all(ENDINGS),
            places: [all(PLACE.0), all(PLACE.1)],
        }
    }

    fn is_mine(&self, word: &str) -> bool {
        is_held_out(word) == (self.split == Split::HeldOut)
    }

    /// A word of one to four syllables that nobody knows.
    pub(super) fn invented(&self, rng: &mut Rng) -> String {
        const ONSETS: [&str; 36] = [
            "b", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "kr", "l", "m",
            "n", "p", "pl", "r", "s", "sh", "st", "t", "tr", "v", "w", "z", "qu", "", "sc", "th",
            "y", "cl", "gl", "sp",
        ];
        const VOWELS: [&str; 11] = ["a", "e", "i", "o", "u", "ai", "ea", "oo", "y", "ou", "ie"];
        const CODAS: [&str; 18] = [
            "", "", "", "", "n", "r", "l", "s", "t", "m", "x", "nd", "sk", "ck", "rn", "ll", "mp",
            "th",
        ];
        loop {
            let mut word = String::new();
            let n = 2 + rng.below(2) * rng.below(2) + rng.below(2) * rng.below(2);
            for i in 0..n {
                word.push_str(rng.pick::<&str>(&ONSETS));
                word.push_str(rng.pick::<&str>(&VOWELS));
                if i + 1 == n || rng.chance(0.25) {
                    word.push_str(rng.pick::<&str>(&CODAS));
                }
            }
            if self.is_mine(&word) {
                return word;
            }
        }
    }

    /// A word: real, invented, cut short, put together, or letters and digits that mean nothing.
    pub(super) fn word(&self, rng: &mut Rng) -> String {
        loop {
            let word = match rng.below(20) {
                0..9 => return self.real(rng).to_owned(),
                9..14 => return self.invented(rng),
                14 => {
                    let real = self.real(rng);
                    real[..real.len().min(3 + rng.below(2))].to_owned()
                }
                15 | 16 => format!("{}{}", self.real(rng), self.real(rng)),
                17 => {
                    let n = 2 + rng.below(3);
                    (0..n).map(|_| char::from(*rng.pick(b"abcdefghiklmnoprstuvwxz"))).collect()
                }
                18 => {
                    let part = ["re", "un", "pre", "auto", "lib", "mini", "micro", "open", "py"];
                    format!("{}{}", rng.pick(&part), self.real(rng))
                }
                _ => {
                    let part = ["er", "ly", "ify", "ix", "io", "y", "ster", "ful", "kit", "hub"];
                    format!("{}{}", self.real(rng), rng.pick(&part))
                }
            };
            if self.is_mine(&word) {
                return word;
            }
        }
    }

    /// `n` words.
    pub(super) fn words(&self, rng: &mut Rng, n: usize) -> Vec<String> {
        (0..n).map(|_| self.word(rng)).collect()
    }

    /// A word that is real.
    pub(super) fn real(&self, rng: &mut Rng) -> &'static str {
        rng.pick::<&str>(&self.words)
    }

    /// A name of one to three words.
    pub(super) fn name(&self, rng: &mut Rng, case: Case) -> String {
        let n = 1 + usize::from(rng.chance(0.5)) + usize::from(rng.chance(0.15));
        let mut words = self.words(rng, n);
        if rng.chance(0.1) {
            words.push((1 + rng.below(20)).to_string());
        }
        case.join(&words)
    }

    /// What a thing is called in a sentence: `boat shed`, `narrow quarry`.
    pub(super) fn thing(&self, rng: &mut Rng) -> String {
        match rng.below(8) {
            0 => self.word(rng),
            1 => format!("{} {}", self.invented(rng), self.real(rng)),
            2 => self.real(rng).to_owned(),
            3 => format!("{} {} {}", self.real(rng), self.real(rng), self.real(rng)),
            _ => format!("{} {}", self.real(rng), self.real(rng)),
        }
    }

    /// A name as packages have them.
    pub(super) fn package(&self, rng: &mut Rng) -> String {
        let case = if rng.chance(0.6) { Case::Kebab } else { Case::Snake };
        let mut words = vec![self.word(rng)];
        if rng.chance(0.25) {
            words.push(self.word(rng));
        }
        if rng.chance(0.3) {
            words.push((*rng.pick(&self.endings)).to_owned());
        }
        if rng.chance(0.04) {
            let digit = (1 + rng.below(9)).to_string();
            words[0].push_str(&digit);
        }
        case.join(&words)
    }

    /// A name that looks like `name` and is another one: as [`other`](Self::other), or a letter away.
    pub(super) fn near(&self, rng: &mut Rng, name: &str) -> String {
        if rng.chance(0.25) { self.misspelled(rng, name) } else { self.other(rng, name) }
    }

    /// A name that shares a part with `name` and that nobody would take for a slip of the pen.
    pub(super) fn other(&self, rng: &mut Rng, name: &str) -> String {
        // Options keep their dashes.
        let bare = name.trim_start_matches('-');
        if bare.len() < name.len() && !bare.is_empty() {
            return format!("{}{}", &name[..name.len() - bare.len()], self.other(rng, bare));
        }
        let separator = name.chars().find(|c| "_-. /".contains(*c)).unwrap_or('-');
        let mut parts: Vec<String> = name.split(separator).map(str::to_owned).collect();
        let i = rng.below(parts.len());
        let digits = parts[i].chars().all(|c| c.is_ascii_digit());
        let word = |rng: &mut Rng| {
            let word = self.word(rng);
            if name.chars().next().is_some_and(char::is_uppercase) && separator == ' ' {
                capitalized(&word)
            } else {
                word
            }
        };
        match rng.below(6) {
            _ if digits => parts[i] = (1 + rng.below(40)).to_string(),
            0 if separator != ' ' => return format!("{name}{}", 2 + rng.below(9)),
            3 if parts.len() > 1 && separator != ' ' => drop(parts.remove(i)),
            4 => parts.insert(0, word(rng)),
            5 if separator != ' ' => parts.push((*rng.pick(&self.endings)).to_owned()),
            _ => parts[i] = word(rng),
        }
        parts.join(&separator.to_string())
    }

    /// A value that looks like `value` and is another one.
    pub(super) fn near_value(&self, rng: &mut Rng, value: &str) -> String {
        let digits: Vec<usize> =
            value.match_indices(|c: char| c.is_ascii_digit()).map(|(i, _)| i).collect();
        if digits.is_empty() {
            return self.other(rng, value);
        }
        let i = *rng.pick(&digits);
        let digit = value.as_bytes()[i] - b'0';
        let other = (digit + 1 + rng.below(8) as u8) % 10;
        format!("{}{other}{}", &value[..i], &value[i + 1..])
    }

    /// One letter or digit changed, doubled or left out.
    fn misspelled(&self, rng: &mut Rng, name: &str) -> String {
        let mut chars: Vec<char> = name.chars().collect();
        let i = rng.below(chars.len());
        match chars[i] {
            digit @ '0'..='9' => {
                let other = (digit as u8 - b'0' + 1 + rng.below(9) as u8) % 10;
                chars[i] = char::from(b'0' + other);
            }
            letter if letter.is_ascii_alphabetic() && chars.len() > 3 => match rng.below(3) {
                0 => drop(chars.remove(i)),
                1 => chars[i] = *rng.pick(&['a', 'e', 'i', 'o', 'u', 'n', 'r', 't', 'k', 'm']),
                _ => {
                    chars.insert(i, *rng.pick(&['a', 'e', 'i', 'o', 'n', 's', 'r', 't', 'l']));
                }
            },
            _ => chars.push(*rng.pick(&['s', 'x', '2'])),
        }
        chars.into_iter().collect()
    }

    /// Given names of women, or of men.
    pub(super) fn given_names(&self, female: bool) -> &[&'static str] {
        if female { &self.female } else { &self.male }
    }

    pub(super) fn given_name(&self, rng: &mut Rng) -> String {
        let female = rng.chance(0.5);
        (*rng.pick(self.given_names(female))).to_owned()
    }

    /// A family name, known or made up.
    pub(super) fn family_name(&self, rng: &mut Rng) -> String {
        match rng.below(6) {
            0 => capitalized(&self.invented(rng)),
            1 => {
                let parts =
                    ["son", "sen", "man", "ley", "er", "ova", "ini", "ez", "berg", "dottir"];
                capitalized(&format!("{}{}", self.real(rng), rng.pick(&parts)))
            }
            _ => (*rng.pick(&self.family)).to_owned(),
        }
    }

    pub(super) fn person(&self, rng: &mut Rng) -> String {
        let (given, family) = (self.given_name(rng), self.family_name(rng));
        match rng.below(16) {
            0 => format!("{given} {}. {family}", char::from(b'A' + rng.below(26) as u8)),
            1 => format!("{given} {}-{family}", self.family_name(rng)),
            _ => format!("{given} {family}"),
        }
    }

    pub(super) fn place(&self, rng: &mut Rng) -> String {
        match rng.below(8) {
            0 | 1 => capitalized(&self.invented(rng)),
            2 => format!("{}{}", capitalized(self.real(rng)), rng.pick(&self.places[1])),
            3 => format!(
                "{} {}",
                rng.pick(&["Port", "Lake", "New", "Upper", "Saint", "Mount", "Old", "North"]),
                capitalized(&self.word(rng))
            ),
            _ => format!("{}{}", rng.pick(&self.places[0]), rng.pick(&self.places[1])),
        }
    }

    /// A name as machines and workers have them: `worker-7`, `db-east-2`.
    pub(super) fn machine(&self, rng: &mut Rng) -> String {
        let n = 1 + rng.below(2);
        let mut words = self.words(rng, n);
        if rng.chance(0.2) {
            let kinds = ["web", "db", "node", "app", "cache", "worker", "gw", "srv", "vm", "build"];
            words.insert(0, (*rng.pick(&kinds)).to_owned());
        }
        let number = 1 + rng.below(40);
        match rng.below(4) {
            0 => {}
            1 => words.push(format!("{number:02}")),
            _ => words.push(number.to_string()),
        }
        Case::Kebab.join(&words)
    }
}

/// What the tables may draw besides their own rules.
pub(super) const DRAWS: [(&str, Draw); 19] = [
    ("word", |v, rng, out| out.push_str(&v.word(rng))),
    ("real", |v, rng, out| out.push_str(v.real(rng))),
    ("reals", |v, rng, out| out.push_str(&plural(v.real(rng)))),
    ("thing", |v, rng, out| out.push_str(&v.thing(rng))),
    ("person", |v, rng, out| out.push_str(&v.person(rng))),
    ("given", |v, rng, out| out.push_str(&v.given_name(rng))),
    ("given1", |v, rng, out| out.push_str(&plain(&v.given_name(rng)))),
    ("family", |v, rng, out| out.push_str(&v.family_name(rng))),
    ("family1", |v, rng, out| out.push_str(&plain(&v.family_name(rng)))),
    ("place", |v, rng, out| out.push_str(&v.place(rng))),
    ("machine", |v, rng, out| out.push_str(&v.machine(rng))),
    ("package", |v, rng, out| out.push_str(&v.package(rng))),
    ("kebab", |v, rng, out| out.push_str(&v.name(rng, Case::Kebab))),
    ("snake", |v, rng, out| out.push_str(&v.name(rng, Case::Snake))),
    ("d", |_, rng, out| out.push(char::from(b'0' + rng.below(10) as u8))),
    ("9", |_, rng, out| out.push(char::from(b'1' + rng.below(9) as u8))),
    ("h", |_, rng, out| out.push(char::from(*rng.pick(b"0123456789abcdef")))),
    ("L", |_, rng, out| out.push(char::from(b'A' + rng.below(26) as u8))),
    ("l", |_, rng, out| out.push(char::from(b'a' + rng.below(26) as u8))),
];
