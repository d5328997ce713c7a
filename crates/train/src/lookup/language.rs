//! What the generator knows of language: the grammar, what things have (`persons.txt` and others), the keys
//! of settings (`keys.txt`), short forms of words (`abbreviations.txt`).

use super::grammar::{Grammar, Rule, Template};
use super::vocabulary::{DRAWS, normalized};
use std::collections::HashMap;
use std::sync::LazyLock;

/// The tables, read once.
pub(super) static LANGUAGE: LazyLock<Language> = LazyLock::new(Language::read);

/// Grammar, attributes and keys.
#[derive(Debug)]
pub(super) struct Language {
    pub(super) grammar: Grammar,
    pub(super) attributes: Vec<Attribute>,
    /// Keys with the rules of their values.
    pub(super) keys: Vec<(&'static str, Rule)>,
    /// The attribute of a canonical name.
    by_name: HashMap<u64, u16>,
    /// The rule of the values of a key, by its canonical name.
    values: HashMap<u64, Rule>,
    long: HashMap<&'static str, &'static str>,
    short: HashMap<&'static str, &'static str>,
}

/// Something that things of certain classes have.
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) name: &'static str,
    /// All its names, the first is `name`.
    pub(super) names: Vec<&'static str>,
    /// Those that fit into "what is the ... of".
    pub(super) nouns: Vec<&'static str>,
    pub(super) value: Rule,
    /// Letters of the classes that have it.
    pub(super) classes: &'static str,
    /// Attributes of one group may answer the same broad question.
    pub(super) group: &'static str,
    /// Asked only in its own wordings, because those name the unit.
    pub(super) own_only: bool,
    pub(super) says: Vec<Template>,
    pub(super) asks: Vec<Template>,
    pub(super) broad_asks: Vec<Template>,
    pub(super) reverse: Vec<Template>,
}

impl Language {
    fn read() -> Self {
        let sources = [
            include_str!("language/values.txt"),
            include_str!("language/english.txt"),
            include_str!("language/questions.txt"),
            include_str!("language/sentences.txt"),
        ];
        let mut grammar = Grammar::new(&sources, &DRAWS);
        // The questions for what logs report are rules of their own, `event error code`.
        let mut name = "";
        for line in lines(include_str!("language/events.txt")) {
            match line.split_at(2) {
                ("@ ", rest) => name = rest.split(" : ").next().unwrap_or(rest),
                ("? ", rest) => grammar.add(&format!("event {name}"), rest),
                ("< ", rest) => grammar.add(&format!("actor of {name}"), rest),
                _ => {}
            }
        }
        let mut language = Self {
            attributes: Vec::new(),
            keys: Vec::new(),
            by_name: HashMap::new(),
            values: HashMap::new(),
            long: HashMap::new(),
            short: HashMap::new(),
            grammar,
        };
        for line in lines(include_str!("language/abbreviations.txt")) {
            let (short, long) = line.split_once(' ').expect("a line is `short long`");
            language.long.insert(short, long);
            language.short.insert(long, short);
        }
        let lexicon = [
            include_str!("language/persons.txt"),
            include_str!("language/things.txt"),
            include_str!("language/software.txt"),
            include_str!("language/settings.txt"),
        ];
        for line in lexicon.into_iter().flat_map(lines) {
            language.lexicon_line(line);
        }
        for (i, attribute) in language.attributes.iter().enumerate() {
            for name in &attribute.names {
                let hash = words_hash(&language.long, name);
                language.by_name.entry(hash).or_insert(i as u16);
            }
        }
        for line in lines(include_str!("language/keys.txt")) {
            let (rule, keys) = line.split_once(" = ").expect("a line is `rule = keys`");
            let rule = language.grammar.rule(rule);
            for key in keys.split_whitespace() {
                language.keys.push((key, rule));
                language.values.insert(language.canonical(key), rule);
            }
        }
        language
    }

    fn lexicon_line(&mut self, line: &'static str) {
        let (mark, rest) = line.split_at(line.find(' ').expect("a mark and a space"));
        let rest = rest.trim();
        if mark == "@" {
            let parts: Vec<&str> = rest.split(':').map(str::trim).collect();
            let [name, value, classes, group] = parts[..] else { panic!("four parts: `{line}`") };
            let own_only = name.ends_with('!');
            let name = name.trim_end_matches('!');
            self.attributes.push(Attribute {
                name,
                names: vec![name],
                nouns: vec![name],
                value: self.grammar.rule(value),
                classes,
                group: if group == "-" { "" } else { group },
                own_only,
                says: Vec::new(),
                asks: Vec::new(),
                broad_asks: Vec::new(),
                reverse: Vec::new(),
            });
            return;
        }
        let template = self.grammar.template(rest);
        let attribute = self.attributes.last_mut().expect("an attribute begins with `@`");
        match mark {
            "n" => {
                let names = rest.split('|');
                attribute.nouns.extend(names.clone().filter(|name| is_noun(name)));
                attribute.names.extend(names);
            }
            "=" => attribute.says.push(template),
            "?" => attribute.asks.push(template),
            "?~" => attribute.broad_asks.push(template),
            "<" => attribute.reverse.push(template),
            _ => panic!("unknown mark `{mark}`"),
        }
    }

    /// The same number for all names of the same attribute.
    pub(super) fn canonical(&self, name: &str) -> u64 {
        let hash = words_hash(&self.long, name);
        self.by_name.get(&hash).map_or(hash, |id| u64::from(*id) + 1)
    }

    /// The same number for all spellings of a word or name.
    pub(super) fn spelling(&self, name: &str) -> u64 {
        words_hash(&self.long, name)
    }

    /// The attribute with the [`canonical`](Self::canonical) name `hash`.
    pub(super) fn attribute_of(&self, hash: u64) -> Option<u16> {
        let id = hash.wrapping_sub(1);
        (id < self.attributes.len() as u64).then_some(id as u16)
    }

    /// The rule of the values that `name` usually has.
    pub(super) fn value_rule(&self, name: &str) -> Option<Rule> {
        let hash = self.canonical(name);
        self.values
            .get(&hash)
            .copied()
            .or_else(|| self.attribute_of(hash).map(|id| self.attributes[usize::from(id)].value))
    }

    /// The long form of a short word, or the short form of a long one.
    pub(super) fn other_form(&self, word: &str) -> Option<&'static str> {
        self.long.get(word).or_else(|| self.short.get(word)).copied()
    }
}

fn lines(source: &'static str) -> impl Iterator<Item = &'static str> {
    source.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty())
}

/// Whether `name` fits into "what is the ... of".
fn is_noun(name: &str) -> bool {
    const NO_NOUNS: [&str; 18] = [
        "where",
        "since",
        "long",
        "high",
        "wide",
        "deep",
        "takes",
        "every",
        "due",
        "begins",
        "born",
        "weighs",
        "completed",
        "founded",
        "opened",
        "built",
        "date opened",
        "established",
    ];
    let last = name.rsplit(' ').next().unwrap_or(name);
    let preposition = ["by", "in", "at", "on", "of", "to", "for", "under", "stock"].contains(&last);
    !NO_NOUNS.contains(&name) && (!preposition || !name.contains(' '))
}

/// Hashes the words of `name`: case, separators, short forms and plurals make no difference.
fn words_hash(long: &HashMap<&'static str, &'static str>, name: &str) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for word in normalized(name).split(' ') {
        let word = long.get(word).copied().unwrap_or(word);
        let singular = match word.strip_suffix('s') {
            Some(stem) if stem.len() > 3 && !stem.ends_with(['s', 'u']) => stem,
            _ => word,
        };
        for byte in singular.bytes().chain([b' ']) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
    hash | 1 << 63
}
