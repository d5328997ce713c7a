//! Rotary position embedding by a table of angles: positions along several axes, fractions of
//! positions, and both orders of pairs. [`rope`](crate::rope) is the form with one axis and no table.
//!
//! ```text
//! (a, b) turned by angle:  (a cos - b sin,  b cos + a sin)
//! half          pairs (x_i, x_{i + pairs})
//! interleaved   pairs (x_{2 i}, x_{2 i + 1})
//! ```
//!
//! Memory-bound.

use crate::Exec;
use crate::rope::Direction;

/// Which features of a head are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// The first half of what is rotated with the second.
    Half,
    /// Neighbours.
    Interleaved,
}

/// Cosine and sine of the angle of each token and pair.
#[derive(Clone, Debug)]
pub struct Angles {
    pairs: usize,
    /// `[tokens, pairs]` of `(cos, sin)`.
    turns: Vec<(f32, f32)>,
}

impl Angles {
    /// From angles in radians, `[tokens, pairs]`.
    ///
    /// # Panics
    ///
    /// If there is no whole number of tokens.
    #[track_caller]
    pub fn new(pairs: usize, angles: impl Iterator<Item = f64>) -> Self {
        let turn = |angle: f64| (angle.cos() as f32, angle.sin() as f32);
        let turns: Vec<_> = angles.map(turn).collect();
        assert!(turns.len().is_multiple_of(pairs.max(1)), "{} angles of {pairs}", turns.len());
        Self { pairs, turns }
    }

    /// Number of pairs of each head that are turned.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.turns.len() / self.pairs.max(1)
    }
}

/// Turns the first `2 * pairs` features of each head of `x: [sequences, tokens, heads, head_dim]` in
/// place: every sequence has the tokens of the table.
///
/// # Panics
///
/// If lengths disagree or a head has fewer features.
#[track_caller]
pub fn rotate(
    exec: &Exec,
    angles: &Angles,
    pairing: Pairing,
    [heads, head_dim]: [usize; 2],
    x: &mut [f32],
    direction: Direction,
) {
    let (pairs, width) = (angles.pairs, heads * head_dim);
    assert!(2 * pairs <= head_dim, "{pairs} pairs in a head of {head_dim}");
    if x.is_empty() || pairs == 0 {
        return;
    }
    let tokens = angles.tokens();
    assert!(
        tokens > 0 && x.len().is_multiple_of(tokens * width),
        "{} elements are not sequences of {tokens} tokens of {width}",
        x.len()
    );
    let sign = if direction == Direction::Forward { 1.0 } else { -1.0 };
    let rows = exec.threads.rows_per_task(x.len() / width, 16);
    exec.threads.for_each_chunk(x, rows * width, |task, x| {
        for (i, x) in x.chunks_exact_mut(width).enumerate() {
            let token = (task * rows + i) % tokens;
            let turns = &angles.turns[token * pairs..(token + 1) * pairs];
            let turn = |a: &mut f32, b: &mut f32, &(cos, sin): &(f32, f32)| {
                let sin = sign * sin;
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            };
            for head in x.chunks_exact_mut(head_dim) {
                let head = &mut head[..2 * pairs];
                match pairing {
                    Pairing::Half => {
                        let (low, high) = head.split_at_mut(pairs);
                        let both = low.iter_mut().zip(high).zip(turns);
                        both.for_each(|((a, b), t)| turn(a, b, t));
                    }
                    Pairing::Interleaved => {
                        for ([a, b], t) in head.as_chunks_mut().0.iter_mut().zip(turns) {
                            turn(a, b, t);
                        }
                    }
                }
            }
        }
    });
}

/// The definition: one head in f64, as products of complex numbers.
pub fn reference(head: &[f64], pairing: Pairing, angles: &[f64]) -> Vec<f64> {
    let mut out = head.to_vec();
    for (i, angle) in angles.iter().enumerate() {
        let (a, b) = match pairing {
            Pairing::Half => (i, i + angles.len()),
            Pairing::Interleaved => (2 * i, 2 * i + 1),
        };
        out[a] = head[a] * angle.cos() - head[b] * angle.sin();
        out[b] = head[b] * angle.cos() + head[a] * angle.sin();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::cpu::wide;
    use crate::testing::{assert_close, execs, random};

    #[test]
    fn turned_there_and_back() {
        for (heads, head_dim, pairs) in [(1, 2, 1), (3, 7, 2), (2, 16, 8), (2, 5, 0)] {
            let (tokens, sequences) = (37, 2);
            let mut rng = Rng(4);
            let x = random(&mut rng, sequences * tokens * heads * head_dim);
            let angles: Vec<f64> =
                random(&mut rng, tokens * pairs).iter().map(|x| 50.0 * f64::from(*x)).collect();
            let table = Angles::new(pairs, angles.iter().copied());
            for pairing in [Pairing::Half, Pairing::Interleaved] {
                let heads_of = x.chunks_exact(head_dim).enumerate();
                let want = heads_of.flat_map(|(i, head)| {
                    let token = i / heads % tokens;
                    let angles = &angles[token * pairs..(token + 1) * pairs];
                    reference(&wide(head), pairing, angles)
                });
                let want: Vec<f32> = want.map(|x| x as f32).collect();
                for exec in execs() {
                    let (mut y, shape) = (x.clone(), [heads, head_dim]);
                    rotate(&exec, &table, pairing, shape, &mut y, Direction::Forward);
                    assert_close("rotated", &want, &y, 1e-6);
                    rotate(&exec, &table, pairing, shape, &mut y, Direction::Inverse);
                    assert_close("back", &x, &y, 1e-6);
                }
            }
        }
    }
}
