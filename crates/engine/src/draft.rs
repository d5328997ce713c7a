//! Guessing tokens by looking up what followed before (prompt lookup decoding).
//!
//! All that was read is searched anew for each token, from the end on: a million tokens take a fraction
//! of a millisecond, much less than the token itself. An index of them took 17 bytes a token and was
//! built for 20 ms before the second token of an answer about half a million.

/// The tokens that followed when the last `ngram` ones of `tokens`, at least one, occurred before, `max` at
/// most; none if they did not.
pub(crate) fn guess(tokens: &[u32], ngram: usize, max: usize) -> &[u32] {
    if max == 0 || tokens.len() < ngram {
        return &[];
    }
    let run = &tokens[tokens.len() - ngram..];
    let is_end =
        |&end: &usize| tokens[end - 1] == run[ngram - 1] && tokens[end - ngram..end] == *run;
    match (ngram..tokens.len()).rev().find(is_end) {
        Some(end) => &tokens[end..tokens.len().min(end.saturating_add(max))],
        None => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::Rng;

    #[test]
    fn what_followed_last_follows_again() {
        let cases: [(&[u32], usize, &[u32]); 6] = [
            (&[1], 9, &[]),
            (&[1, 2], 9, &[]),
            (&[1, 2, 3, 1, 2], 9, &[3, 1, 2]),
            (&[1, 2, 3, 1, 2], 1, &[3]),
            (&[1, 2, 3, 1, 2, 4, 1, 2], 2, &[4, 1]),
            (&[1, 2, 3, 1, 2, 4, 1, 2, 7], 2, &[]),
        ];
        for (tokens, max, want) in cases {
            assert_eq!(guess(tokens, 2, max), want, "{tokens:?}");
        }
    }

    #[test]
    fn guesses_are_those_of_a_plain_search() {
        let mut rng = Rng(3);
        for ngram in 1..4 {
            let tokens: Vec<u32> = (0..400).map(|_| rng.below(4) as u32).collect();
            for n in 0..tokens.len() {
                let seen = &tokens[..n];
                let run = &seen[n - ngram.min(n)..];
                let last = (ngram..n).rev().find(|&end| &seen[end - ngram..end] == run);
                let want = last.map_or(&[][..], |end| &seen[end..n.min(end + 5)]);
                assert_eq!(guess(seen, ngram, 5), want);
                assert!(guess(seen, ngram, 0).is_empty());
            }
        }
    }
}
