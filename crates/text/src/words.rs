//! A tokenizer of whole words, for models that know few of them: each word is a token, and a text with a
//! word that the model has never read is refused, with the nearest words that it has.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// The token that fills a sequence up; no word of a text becomes it.
pub const PAD: u32 = 0;

/// How [`PAD`] is written in files.
const PAD_WORD: &str = "<pad>";

/// Unknown words that an error lists.
const MAX_LISTED: usize = 8;
/// Characters of a word that an error shows; longer ones have no near words.
const MAX_SHOWN: usize = 24;

/// The words of a model, with their ids from 1 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    file: File,
    ids: HashMap<String, u32>,
}

/// `words.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The word of each id; the first is the pad word.
    words: Vec<String>,
    /// Other words for some of them, or for several at once.
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

/// What is wrong with a list of words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid list of words: {0}")]
pub struct InvalidWords(String);

/// The words of a text that are not known, each once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownWords {
    /// Those words, as the text has them but in lower case, each with the nearest known word if one is
    /// near.
    pub words: Vec<(String, Option<String>)>,
}

impl fmt::Display for UnknownWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.words.len() == 1 { "word" } else { "words" };
        write!(f, "the model does not know the {plural} ")?;
        for (i, (word, near)) in self.words.iter().take(MAX_LISTED).enumerate() {
            f.write_str(if i == 0 { "`" } else { ", `" })?;
            let shown: String = word.chars().take(MAX_SHOWN).collect();
            f.write_str(&shown)?;
            f.write_str(if shown.len() < word.len() { "…`" } else { "`" })?;
            if let Some(near) = near {
                write!(f, " (the nearest that it knows is `{near}`)")?;
            }
        }
        match self.words.len().saturating_sub(MAX_LISTED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Words {
    /// A tokenizer of these words, of which the first gets the id 1, and of other words that are read as
    /// one or more of them.
    ///
    /// # Errors
    ///
    /// If a word is there twice, is not one word in lower case, or an alias stands for an unknown word.
    pub fn new<'a>(
        words: impl IntoIterator<Item = &'a str>,
        aliases: &[(&str, &str)],
    ) -> Result<Self, InvalidWords> {
        let words = [PAD_WORD].into_iter().chain(words).map(str::to_owned).collect();
        let aliases = aliases.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
        Self::check(File { words, aliases: aliases.collect() })
    }

    /// The tokenizer that [`Words::to_json`] has written.
    ///
    /// # Errors
    ///
    /// If the text is not one: not JSON, without the pad word, or as for [`Words::new`].
    pub fn from_json(json: &str) -> Result<Self, InvalidWords> {
        Self::check(serde_json::from_str(json).map_err(|error| InvalidWords(error.to_string()))?)
    }

    /// The text of a `words.json`.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(&self.file).unwrap_or_default();
        json.push('\n');
        json
    }

    fn check(file: File) -> Result<Self, InvalidWords> {
        if file.words.first().is_none_or(|word| word != PAD_WORD) {
            let found = file.words.first().map(|word| shorten(word)).unwrap_or_default();
            return Err(InvalidWords(format!(
                "the first word is `{found}`, expected `{PAD_WORD}`"
            )));
        }
        let plain = |word: &str| split(word).eq([word.to_owned()]);
        let mut ids = HashMap::new();
        for (id, word) in file.words.iter().enumerate().skip(1) {
            if !plain(word) {
                let word = shorten(word);
                return Err(InvalidWords(format!("`{word}` is not one word in lower case")));
            }
            let id = u32::try_from(id).map_err(|_| InvalidWords("too many words".to_owned()))?;
            if ids.insert(word.clone(), id).is_some() {
                return Err(InvalidWords(format!("`{}` is there twice", shorten(word))));
            }
        }
        for (alias, meaning) in &file.aliases {
            let alias = shorten(alias);
            if !plain(&alias) || ids.contains_key(&alias) {
                return Err(InvalidWords(format!("the alias `{alias}` is not a new word")));
            }
            if split(meaning).next().is_none()
                || !split(meaning).all(|word| ids.contains_key(&word))
            {
                let meaning = shorten(meaning);
                let reason =
                    format!("`{alias}` stands for `{meaning}`, which is not among the words");
                return Err(InvalidWords(reason));
            }
        }
        Ok(Self { file, ids })
    }

    /// Number of ids, that of the pad word with them.
    #[expect(clippy::len_without_is_empty, reason = "the pad word is always there")]
    pub fn len(&self) -> usize {
        self.file.words.len()
    }

    /// All words, the pad word first.
    pub fn words(&self) -> &[String] {
        &self.file.words
    }

    /// The ids of a text's words. Case and punctuation do not count; a hyphen parts words, an apostrophe
    /// does not.
    ///
    /// # Errors
    ///
    /// If there are words that are not known: all of them.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, UnknownWords> {
        let mut ids = Vec::new();
        let mut unknown: Vec<(String, Option<String>)> = Vec::new();
        for word in split(text) {
            if let Some(&id) = self.ids.get(&word) {
                ids.push(id);
            } else if let Some(meaning) = self.file.aliases.get(&word) {
                ids.extend(split(meaning).filter_map(|word| self.ids.get(&word)));
            } else if unknown.iter().all(|(known, _)| *known != word) {
                let near = self.nearest(&word).map(str::to_owned);
                unknown.push((word, near));
            }
        }
        if unknown.is_empty() { Ok(ids) } else { Err(UnknownWords { words: unknown }) }
    }

    /// The known word with the fewest differences, if there are few.
    fn nearest(&self, word: &str) -> Option<&str> {
        let len = word.chars().count();
        if len > MAX_SHOWN {
            return None;
        }
        let known = self.file.words[1..].iter().chain(self.file.aliases.keys());
        let distances = known.map(|known| (differences(word, known), known));
        let (distance, near) = distances.min_by_key(|(distance, _)| *distance)?;
        (distance <= (len / 3).max(1) && distance < len).then_some(near)
    }
}

/// The words of a text in lower case.
fn split(text: &str) -> impl Iterator<Item = String> {
    let part = |c: char| !c.is_alphanumeric() && !is_apostrophe(c);
    let words = text.split(part).map(|word| {
        word.chars().filter(|c| !is_apostrophe(*c)).flat_map(char::to_lowercase).collect::<String>()
    });
    words.filter(|word| !word.is_empty())
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2019}')
}

/// A word from a file as an error may show it.
fn shorten(word: &str) -> String {
    word.chars().take(MAX_SHOWN).collect()
}

/// How many letters must be put in, left out, replaced or swapped with the next to make one word of the
/// other.
fn differences(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    // Row `i` holds the differences between the first `i` letters of `from` and all beginnings of `to`.
    let mut before = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i; to.len() + 1];
        for j in 1..=to.len() {
            let replaced = last[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words() -> Words {
        let list = ["a", "red", "circle", "moves", "left", "does", "not", "move"];
        Words::new(list, &[("crimson", "red"), ("doesnt", "does not")]).unwrap()
    }

    #[test]
    fn case_and_punctuation_do_not_count() {
        let check =
            |text: &str, ids: &[u32]| assert_eq!(words().encode(text).unwrap(), ids, "{text}");
        check("a red circle moves left", &[1, 2, 3, 4, 5]);
        check("  A RED, circle\u{2014}moves\tleft!\n", &[1, 2, 3, 4, 5]);
        check("red-circle", &[2, 3]);
        check("a crimson circle doesn't move", &[1, 2, 3, 6, 7, 8]);
        check("doesn\u{2019}t", &[6, 7]);
        check("", &[]);
        check("?!", &[]);
    }

    #[test]
    fn unknown_words_are_named_with_near_ones() {
        let check = |text: &str, expected: &str| {
            assert_eq!(words().encode(text).unwrap_err().to_string(), expected, "{text}");
        };
        check(
            "a red cirlce moves",
            "the model does not know the word `cirlce` (the nearest that it knows is `circle`)",
        );
        check(
            "Dragons and circels, dragons",
            "the model does not know the words `dragons`, `and`, `circels` (the nearest that it \
             knows is `circle`)",
        );
        check("<pad>", "the model does not know the word `pad`");
        let long = "x".repeat(100_000);
        let shown = "x".repeat(24);
        check(&long, &format!("the model does not know the word `{shown}…`"));
        let many: Vec<String> = (0..20).map(|i| format!("zzzz{i}")).collect();
        let error = words().encode(&many.join(" ")).unwrap_err();
        assert_eq!(error.words.len(), 20);
        assert!(error.to_string().ends_with("`zzzz7` and 12 more"), "{error}");
    }

    #[test]
    fn broken_lists_are_refused() {
        let check = |json: &str, reason: &str| {
            let error = Words::from_json(json).unwrap_err().to_string();
            assert!(error.starts_with("not a valid list of words: "), "{error}");
            assert!(error.contains(reason), "{error} should say {reason}");
        };
        check("", "EOF");
        check("[]", "invalid length 0");
        check("7", "invalid type: integer");
        check("{}", "missing field `words`");
        check(r#"{"words": []}"#, "the first word is ``, expected `<pad>`");
        check(r#"{"words": ["red"]}"#, "the first word is `red`, expected `<pad>`");
        check(r#"{"words": ["<pad>", "red", "red"]}"#, "`red` is there twice");
        check(r#"{"words": ["<pad>", "Red"]}"#, "`Red` is not one word in lower case");
        check(r#"{"words": ["<pad>", "two words"]}"#, "`two words` is not one word");
        check(r#"{"words": ["<pad>", ""]}"#, "`` is not one word");
        check(r#"{"words": ["<pad>"], "more": 1}"#, "unknown field `more`");
        check(r#"{"words": ["<pad>", "a"], "aliases": {"b": "c"}}"#, "`b` stands for `c`");
        check(r#"{"words": ["<pad>", "a"], "aliases": {"b": ""}}"#, "`b` stands for ``");
        check(r#"{"words": ["<pad>", "a"], "aliases": {"a": "a"}}"#, "alias `a` is not a new word");
    }

    proptest! {
        #[test]
        fn a_file_reads_back(list in proptest::collection::btree_set("[a-z]{1,9}", 0..40)) {
            let words = Words::new(list.iter().map(String::as_str), &[]).unwrap();
            prop_assert_eq!(&Words::from_json(&words.to_json()).unwrap(), &words);
            prop_assert_eq!(words.len(), list.len() + 1);
            let text: Vec<&str> = list.iter().map(String::as_str).collect();
            let ids: Vec<u32> = (1..=list.len() as u32).collect();
            prop_assert_eq!(words.encode(&text.join(" ")).unwrap(), ids);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            let known = words();
            match known.encode(&text) {
                Ok(ids) => prop_assert!(ids.iter().all(|&id| id > PAD && (id as usize) < known.len())),
                Err(error) => prop_assert!(!error.words.is_empty() && !error.to_string().is_empty()),
            }
        }

        #[test]
        fn differences_are_a_distance(a in "[ab]{0,6}", b in "[ab]{0,6}") {
            prop_assert_eq!(differences(&a, &b), differences(&b, &a));
            prop_assert_eq!(differences(&a, &b) == 0, a == b);
            prop_assert!(differences(&a, &b) >= a.len().abs_diff(b.len()));
            prop_assert!(differences(&a, &b) <= a.len().max(b.len()));
        }
    }
}
