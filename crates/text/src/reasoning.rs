//! Reasoning split from what is said, in text that arrives in pieces.

use crate::marks::{Marks, held};

/// A piece of reasoning or of what is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// Reasoning.
    Reasoning(String),
    /// What is said.
    Content(String),
}

/// Splits off the reasoning at the start of an answer.
///
/// White space around the marks belongs to neither part. Marks further on are text: an answer may
/// speak of them.
#[derive(Clone, Debug)]
pub struct Reasoning {
    marks: Marks,
    at: At,
    held: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Nothing but white space so far.
    Start,
    /// Behind the opening mark, where white space is dropped.
    Opened,
    Inside,
    /// Behind the closing mark, where white space is dropped.
    Closed,
    Content,
}

impl Reasoning {
    /// Begins an answer; `opened` if the prompt ends behind the opening mark.
    pub fn new(marks: Marks, opened: bool) -> Self {
        Self { marks, at: if opened { At::Opened } else { At::Start }, held: String::new() }
    }

    /// What `piece` adds for certain.
    pub fn push(&mut self, piece: &str) -> Vec<Thinking> {
        self.held.push_str(piece);
        let mut out = Vec::new();
        while self.step(&mut out) {}
        out
    }

    /// What is left, when nothing more comes.
    pub fn finish(&mut self) -> Vec<Thinking> {
        let rest = std::mem::take(&mut self.held);
        match self.at {
            _ if rest.is_empty() => Vec::new(),
            At::Opened | At::Closed => Vec::new(),
            At::Inside => match rest.trim_end() {
                "" => Vec::new(),
                rest => vec![Thinking::Reasoning(rest.to_owned())],
            },
            At::Start | At::Content => vec![Thinking::Content(rest)],
        }
    }

    /// Whether the text is inside the marks.
    pub fn is_inside(&self) -> bool {
        matches!(self.at, At::Opened | At::Inside)
    }

    /// One step; whether there may be another.
    fn step(&mut self, out: &mut Vec<Thinking>) -> bool {
        match self.at {
            At::Start => {
                let text = self.held.trim_start();
                if let Some(rest) = text.strip_prefix(&self.marks.open[..]) {
                    self.held = rest.to_owned();
                    self.at = At::Opened;
                    return true;
                }
                if self.marks.open.starts_with(text) {
                    return false;
                }
                self.at = At::Content;
                true
            }
            At::Opened | At::Closed => {
                self.held = self.held.trim_start().to_owned();
                if self.held.is_empty() {
                    return false;
                }
                self.at = if self.at == At::Opened { At::Inside } else { At::Content };
                true
            }
            At::Inside => {
                let found = self.held.find(&self.marks.close);
                let end = found.unwrap_or(self.held.len() - held(&self.held, &self.marks.close));
                // White space may stand before the mark.
                let text = self.held[..end].trim_end();
                if !text.is_empty() {
                    out.push(Thinking::Reasoning(text.to_owned()));
                }
                match found {
                    Some(start) => {
                        self.held.drain(..start + self.marks.close.len());
                        self.at = At::Closed;
                        true
                    }
                    None => {
                        self.held.drain(..text.len());
                        false
                    }
                }
            }
            At::Content => {
                if !self.held.is_empty() {
                    out.push(Thinking::Content(std::mem::take(&mut self.held)));
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The two parts of pieces.
    fn split<'a>(opened: bool, pieces: impl IntoIterator<Item = &'a str>) -> (String, String) {
        let mut reasoning = Reasoning::new(Marks::think(), opened);
        let mut parts: Vec<_> = pieces.into_iter().flat_map(|p| reasoning.push(p)).collect();
        parts.extend(reasoning.finish());
        let (mut thought, mut said) = (String::new(), String::new());
        for part in parts {
            match part {
                Thinking::Reasoning(text) => thought += &text,
                Thinking::Content(text) => said += &text,
            }
        }
        (thought, said)
    }

    #[test]
    fn what_belongs_to_which() {
        for (opened, text, thought, said) in [
            (false, "\n<think>\na b\n</think>\n\nyes", "a b", "yes"),
            (true, "a</think>yes", "a", "yes"),
            (false, "yes", "", "yes"),
            (false, "  yes <think>", "", "  yes <think>"),
            (false, "<thin", "", "<thin"),
            (false, "<think>a</thin", "a</thin", ""),
            (true, "a </think> b </think>", "a", "b </think>"),
            (true, "", "", ""),
            (false, "<think></think>", "", ""),
        ] {
            assert_eq!(split(opened, [text]), (thought.to_owned(), said.to_owned()), "{text}");
        }
    }

    #[test]
    fn text_comes_at_once() {
        let mut reasoning = Reasoning::new(Marks::think(), false);
        assert_eq!(reasoning.push("<think>a <"), [Thinking::Reasoning("a".to_owned())]);
        assert_eq!(reasoning.push("b"), [Thinking::Reasoning(" <b".to_owned())]);
        assert_eq!(reasoning.push("</think>x <"), [Thinking::Content("x <".to_owned())]);
    }

    proptest! {
        #[test]
        fn as_if_the_text_came_at_once(
            opened in any::<bool>(),
            words in prop::collection::vec("<think>|</think>|</?th|[ab<>/é\n]{0,3}", 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let text = words.concat();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            at.retain(|&cut| text.is_char_boundary(cut));
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces = at.windows(2).map(|ends| &text[ends[0]..ends[1]]);
            prop_assert_eq!(split(opened, pieces), split(opened, [&text[..]]));
        }
    }
}
