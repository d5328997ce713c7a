//! Strings that end an answer, found in text that arrives in pieces.

/// Holds text back while it may be the beginning of a stop string.
#[derive(Clone, Debug)]
pub struct StopStrings {
    strings: Vec<String>,
    held: String,
    /// Which one was found.
    found: Option<usize>,
}

impl StopStrings {
    /// Watches for `strings`; empty ones are ignored.
    pub fn new(strings: impl IntoIterator<Item = String>) -> Self {
        let strings = strings.into_iter().filter(|string| !string.is_empty()).collect();
        Self { strings, held: String::new(), found: None }
    }

    /// The text that can be shown now, and whether a stop string ended it. Of several the one that
    /// is complete first counts, of those the one that begins first.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        let found = self.strings.iter().enumerate().filter_map(|(i, string)| {
            let start = self.held.find(string)?;
            Some((start + string.len(), start, i))
        });
        if let Some((_, start, i)) = found.min() {
            self.found = Some(i);
            self.held.truncate(start);
            return (std::mem::take(&mut self.held), true);
        }
        // The longest end that begins a stop string stays.
        let starts = self.held.char_indices().map(|(i, _)| i);
        let keep = starts
            .into_iter()
            .find(|&i| self.strings.iter().any(|string| string.starts_with(&self.held[i..])));
        let kept = self.held.split_off(keep.unwrap_or(self.held.len()));
        (std::mem::replace(&mut self.held, kept), false)
    }

    /// The string that ended the text.
    pub fn found(&self) -> Option<&str> {
        self.found.and_then(|i| self.strings.get(i)).map(String::as_str)
    }

    /// What was held back, when nothing more comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_if_the_text_came_at_once(
            pieces in prop::collection::vec("[abü]{0,4}", 0..8),
            strings in prop::collection::vec("[abü]{0,3}", 0..3),
        ) {
            let text = pieces.concat();
            let found = strings
                .iter()
                .filter(|s| !s.is_empty())
                .filter_map(|s| text.find(s).map(|start| (start + s.len(), start)))
                .min()
                .map(|(_, start)| start);
            let mut stop = StopStrings::new(strings.iter().cloned());
            let (mut shown, mut stopped) = (String::new(), false);
            for piece in &pieces {
                let (more, end) = stop.push(piece);
                shown += &more;
                if end {
                    stopped = true;
                    break;
                }
            }
            if !stopped {
                shown += &stop.finish();
            }
            prop_assert_eq!(stopped, found.is_some());
            let ends = |string: &str| text[..].starts_with(&[&shown[..], string].concat());
            prop_assert_eq!(stopped, stop.found().is_some_and(ends));
            prop_assert_eq!(&shown, &text[..found.unwrap_or(text.len())]);
        }
    }
}
