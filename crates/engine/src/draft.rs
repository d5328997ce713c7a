//! Guessing tokens by looking up what followed before (prompt lookup decoding).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Where runs of `ngram` tokens of a sequence occurred last, so far as something follows them.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    ngram: usize,
    /// By the hash of a run: its end.
    ends: HashMap<u64, usize>,
    /// Runs that end before this are in `ends`.
    next_end: usize,
    hasher: RandomState,
}

impl Lookup {
    /// With nothing read.
    pub(crate) fn new(ngram: usize) -> Self {
        Self { ngram, ends: HashMap::new(), next_end: ngram, hasher: RandomState::new() }
    }

    /// The tokens that followed when the last ones of `tokens` occurred before, `max` at most; none if
    /// they did not. `tokens` begin as at earlier calls.
    pub(crate) fn guess<'a>(&mut self, tokens: &'a [u32], max: usize) -> &'a [u32] {
        if tokens.len() < self.ngram {
            return &[];
        }
        for end in self.next_end..tokens.len() {
            self.ends.insert(self.hasher.hash_one(&tokens[end - self.ngram..end]), end);
        }
        self.next_end = self.next_end.max(tokens.len());
        let run = &tokens[tokens.len() - self.ngram..];
        match self.ends.get(&self.hasher.hash_one(run)) {
            // Another run may have the same hash.
            Some(&end) if &tokens[end - self.ngram..end] == run => {
                &tokens[end..tokens.len().min(end.saturating_add(max))]
            }
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::Rng;

    #[test]
    fn what_followed_last_follows_again() {
        let mut lookup = Lookup::new(2);
        let cases: [(&[u32], usize, &[u32]); 6] = [
            (&[1], 9, &[]),
            (&[1, 2], 9, &[]),
            (&[1, 2, 3, 1, 2], 9, &[3, 1, 2]),
            (&[1, 2, 3, 1, 2], 1, &[3]),
            (&[1, 2, 3, 1, 2, 4, 1, 2], 2, &[4, 1]),
            (&[1, 2, 3, 1, 2, 4, 1, 2, 7], 2, &[]),
        ];
        for (tokens, max, want) in cases {
            assert_eq!(lookup.guess(tokens, max), want, "{tokens:?}");
        }
    }

    /// However the tokens came, guesses are those of a plain search.
    #[test]
    fn guesses_are_those_of_a_search() {
        let mut rng = Rng(3);
        for ngram in 1..4 {
            let tokens: Vec<u32> = (0..400).map(|_| rng.below(4) as u32).collect();
            let mut lookup = Lookup::new(ngram);
            let mut n = 0;
            while n < tokens.len() {
                n = (n + 1 + rng.below(9)).min(tokens.len());
                let seen = &tokens[..n];
                let run = &seen[n - ngram.min(n)..];
                let ends = (ngram..n).rev();
                let last = ends.into_iter().find(|&end| &seen[end - ngram..end] == run);
                let want = last.map_or(&[][..], |end| &seen[end..n.min(end + 5)]);
                assert_eq!(lookup.guess(seen, 5), want);
            }
        }
    }
}
