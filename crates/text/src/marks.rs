//! Marks in text that arrives in pieces.

/// What encloses a part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Begins it.
    pub open: String,
    /// Ends it.
    pub close: String,
}

impl Marks {
    /// `<think>` and `</think>`.
    pub fn think() -> Self {
        Self { open: "<think>".to_owned(), close: "</think>".to_owned() }
    }
}

/// Bytes at the end of `text` that may be the beginning of `mark`, as many as possible.
pub(crate) fn held(text: &str, mark: &str) -> usize {
    let longest = text.len().min(mark.len().saturating_sub(1));
    let starts = text.len() - longest..text.len();
    let mut starts = starts.filter(|&start| text.is_char_boundary(start));
    starts.find(|&start| mark.starts_with(&text[start..])).map_or(0, |start| text.len() - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_is_held() {
        for (text, mark, expected) in [
            ("ab<th", "<think>", 3),
            ("<think>", "<think>", 0),
            ("a<<", "<<x", 2),
            ("é", "é!", 2),
            ("", "<", 0),
            ("x", "", 0),
        ] {
            assert_eq!(held(text, mark), expected, "{text} {mark}");
        }
    }
}
