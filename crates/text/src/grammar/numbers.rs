//! Numbers of JSON that no program reads: thousands of digits, or exponents beyond f64.
//!
//! The grammar of JSON allows them, and a model that has begun to repeat a digit goes on. So where
//! a number may end, it does not grow past these bounds, as long as something else is allowed.

use llguidance::toktrie::SimpleVob;

/// Longest number in bytes; those of f64 take 24.
const MAX_LENGTH: usize = 32;
/// Numbers shorter than this and without an exponent are fine whatever token follows.
const SHORT: usize = 12;

/// Where in JSON a text is.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    /// What comes before the JSON, while it does.
    before: Option<Before>,
    in_string: bool,
    escaped: bool,
    /// The number that the text ends with.
    number: String,
}

/// Text before the JSON of an answer.
#[derive(Clone, Debug)]
pub(super) struct Before {
    /// What begins the text; if something else does, the JSON has begun.
    pub(super) begin: Option<String>,
    /// What ends the text.
    pub(super) end: String,
    /// The text, as far as it matters.
    pub(super) seen: Vec<u8>,
}

impl Before {
    /// Takes note of more; the JSON in it, once that has begun.
    fn push(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.seen.extend_from_slice(bytes);
        if let Some(begin) = self.begin.as_ref().map(String::as_bytes) {
            if begin.starts_with(&self.seen) {
                return None;
            }
            if !self.seen.starts_with(begin) {
                return Some(std::mem::take(&mut self.seen));
            }
            self.begin = None;
        }
        let end = self.end.as_bytes();
        let found = self.seen.windows(end.len().max(1)).position(|window| window == end);
        if let Some(start) = found {
            return Some(self.seen.split_off(start + end.len()));
        }
        let done = self.seen.len().saturating_sub(end.len());
        self.seen.drain(..done);
        None
    }
}

/// Of all tokens: those that may go on with a number, and what they add to it; those that hold a
/// number that is too large.
pub(super) fn tokens(bytes: &[Vec<u8>]) -> (Vec<(u32, String)>, Vec<u32>) {
    let (mut numeric, mut monsters) = (Vec::new(), Vec::new());
    for (token, id) in bytes.iter().zip(0..) {
        let mut runs = token.split(|&byte| !is_part(byte));
        // The first run goes on with what stands before; the others are whole numbers.
        let lead = runs.next().unwrap_or_default();
        if !lead.is_empty() {
            numeric.push((id, String::from_utf8_lossy(lead).into_owned()));
        }
        if runs.chain([lead]).any(|run| too_large(&String::from_utf8_lossy(run))) {
            monsters.push(id);
        }
    }
    (numeric, monsters)
}

fn is_part(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E')
}

fn too_large(number: &str) -> bool {
    // Words such as `-----` are no numbers, but may stand in strings only.
    number.len() > MAX_LENGTH || number.parse().is_ok_and(|value: f64| !value.is_finite())
}

impl Numbers {
    /// Begins JSON, behind `before` if there is such text.
    pub(super) fn new(before: Option<Before>) -> Self {
        Self { before, ..Self::default() }
    }

    /// Takes note of what was written.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let Some(before) = &mut self.before {
            if let Some(json) = before.push(bytes) {
                self.before = None;
                self.push(&json);
            }
            return;
        }
        for &byte in bytes {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
            } else if is_part(byte) {
                self.number.push(byte.into());
            } else {
                self.number.clear();
                self.in_string = byte == b'"';
            }
        }
    }

    /// Takes tokens out of `mask` that would make a number too large, unless none were left.
    pub(super) fn restrict(
        &self,
        mask: &mut SimpleVob,
        numeric: &[(u32, String)],
        monsters: &[u32],
    ) {
        if self.in_string || self.before.is_some() {
            return;
        }
        let exponent = self.number.contains(['e', 'E']);
        let mut number = self.number.clone();
        let mut taken: Vec<u32> = Vec::new();
        taken.extend(monsters.iter().filter(|&&id| mask.is_allowed(id)));
        if self.number.len() >= SHORT || exponent {
            for (id, more) in numeric.iter().filter(|(id, _)| mask.is_allowed(*id)) {
                number.truncate(self.number.len());
                number.push_str(more);
                if too_large(&number) {
                    taken.push(*id);
                }
            }
        }
        if taken.is_empty() {
            return;
        }
        taken.iter().for_each(|&id| mask.disallow_token(id));
        if mask.is_zero() {
            taken.iter().for_each(|&id| mask.allow_token(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(before: &str, tokens: &[&str]) -> Vec<String> {
        let bytes: Vec<Vec<u8>> = tokens.iter().map(|token| token.as_bytes().to_vec()).collect();
        let (numeric, monsters) = super::tokens(&bytes);
        let mut numbers = Numbers::default();
        numbers.push(before.as_bytes());
        let mut mask = SimpleVob::alloc_ones(tokens.len());
        numbers.restrict(&mut mask, &numeric, &monsters);
        let left = (0..tokens.len()).filter(|&id| mask.get(id));
        left.map(|id| tokens[id].to_owned()).collect()
    }

    #[test]
    fn numbers_stay_within_f64() {
        assert_eq!(allowed("[1e30", &["8", "9", "]", "e"]), ["8", "]", "e"]);
        assert_eq!(allowed("[1e", &["308", "309", "-999"]), ["308", "-999"]);
        assert_eq!(allowed("[", &["1e400", "1", "x1e400,"]), ["1"]);
        let long = "1".repeat(32);
        assert_eq!(allowed(&long, &["1", "."]), ["1", "."]);
        assert_eq!(allowed(&long, &["1", ","]), [","]);
    }

    #[test]
    fn text_before_may_hold_any() {
        let after = |begin: Option<&str>, pieces: &[&str]| {
            let before = Before {
                begin: begin.map(str::to_owned),
                end: "</t>".to_owned(),
                seen: Vec::new(),
            };
            let mut numbers = Numbers::new(Some(before));
            pieces.iter().for_each(|piece| numbers.push(piece.as_bytes()));
            (numbers.before.is_none(), numbers.number)
        };
        assert_eq!(after(None, &["12 \"", "3</", "t>4", "5"]), (true, "45".to_owned()));
        assert_eq!(after(None, &["12 3</", "t"]), (false, String::new()));
        assert_eq!(after(Some("<t>"), &["<", "t>1</t>", "2"]), (true, "2".to_owned()));
        assert_eq!(after(Some("<t>"), &["1", "2"]), (true, "12".to_owned()));
    }

    #[test]
    fn strings_may_hold_any() {
        assert_eq!(allowed("[\"1e30", &["9", "1e400"]), ["9", "1e400"]);
        assert_eq!(allowed("[\"\\\"1e30", &["9"]), ["9"]);
        assert_eq!(allowed("\"1e30\", 1e30", &["9", ","]), [","]);
    }
}
