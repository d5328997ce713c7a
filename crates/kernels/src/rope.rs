//! Rotary position embedding of the first part of each head (arXiv:2104.09864).
//!
//! ```text
//! angle_i = position theta^(-2 i / rotary_dim)         i < rotary_dim / 2
//! (x_i, x_{i + rotary_dim / 2})  turned by  angle_i
//! ```
//!
//! The pairs are half-split, as in checkpoints on Hugging Face; dimensions from `rotary_dim` on
//! pass through. Angles are computed in f64: exact for positions far beyond 2^24.

use crate::Exec;

/// What is rotated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Heads per token.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// How much of it is rotated: even, at most `head_dim`, 0 for nothing.
    pub rotary_dim: usize,
    /// Base of the frequencies.
    pub theta: f64,
}

/// Which way to turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// By the angle.
    Forward,
    /// Back; also the derivative.
    Inverse,
}

/// Rotates `x: [tokens, heads, head_dim]` in place; `positions: [tokens]`.
///
/// # Panics
///
/// If lengths disagree or `rotary_dim` is odd or above `head_dim`.
#[track_caller]
pub fn rope(exec: &Exec, rope: &Rope, positions: &[usize], x: &mut [f32], direction: Direction) {
    let &Rope { heads, head_dim, rotary_dim, theta } = rope;
    assert!(rotary_dim <= head_dim && rotary_dim % 2 == 0, "rotary_dim {rotary_dim} of {head_dim}");
    assert_eq!(x.len(), positions.len() * heads * head_dim, "x must be [tokens, heads, head_dim]");
    let half = rotary_dim / 2;
    let frequencies: Vec<f32> = frequencies(rotary_dim, theta).collect();
    let sign = if direction == Direction::Forward { 1.0 } else { -1.0 };
    let width = heads * head_dim;
    let rows = exec.threads.rows_per_task(positions.len(), 16);
    exec.threads.for_each_chunk(x, rows * width, |task, x| {
        let mut turns = vec![(0.0, 0.0); half];
        for (&position, x) in positions[task * rows..].iter().zip(x.chunks_exact_mut(width)) {
            for (turn, frequency) in turns.iter_mut().zip(&frequencies) {
                let (sin, cos) = angle(position, *frequency).sin_cos();
                *turn = (sign * sin as f32, cos as f32);
            }
            for head in x.chunks_exact_mut(head_dim) {
                let (low, high) = head[..rotary_dim].split_at_mut(half);
                for ((a, b), &(sin, cos)) in low.iter_mut().zip(high).zip(&turns) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    });
}

pub(crate) fn frequencies(rotary_dim: usize, theta: f64) -> impl Iterator<Item = f32> {
    (0..rotary_dim / 2).map(move |i| {
        let power = theta.powf(2.0 * i as f64 / rotary_dim as f64);
        // Rounded twice, as the reference implementations do.
        1.0 / power as f32
    })
}

/// The angle as the reference implementations have it, rounded to f32: at position 10^6 it is up
/// to 0.03 away from the exact one, and models were trained with that.
fn angle(position: usize, frequency: f32) -> f64 {
    f64::from(position as f32 * frequency)
}

/// The definition: one head in f64, as products of complex numbers.
pub fn reference(head: &[f64], rotary_dim: usize, theta: f64, position: usize) -> Vec<f64> {
    let mut out = head.to_vec();
    let half = rotary_dim / 2;
    for (i, frequency) in frequencies(rotary_dim, theta).enumerate() {
        let (sin, cos) = angle(position, frequency).sin_cos();
        out[i] = head[i] * cos - head[i + half] * sin;
        out[i + half] = head[i + half] * cos + head[i] * sin;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::testing::{assert_close, execs, random};

    #[test]
    fn turned_there_and_back() {
        for (heads, head_dim, rotary_dim) in [(1, 2, 2), (3, 7, 4), (2, 16, 16), (2, 5, 0)] {
            let positions = [0, 1, 5, 1_000_000, (1 << 25) + 1];
            let x = random(&mut Rng(4), positions.len() * heads * head_dim);
            let want: Vec<f32> = x
                .chunks_exact(head_dim)
                .zip(positions.iter().flat_map(|&p| std::iter::repeat_n(p, heads)))
                .flat_map(|(head, position)| {
                    let head: Vec<f64> = head.iter().map(|&x| f64::from(x)).collect();
                    reference(&head, rotary_dim, 1e4, position)
                })
                .map(|x| x as f32)
                .collect();
            let shape = Rope { heads, head_dim, rotary_dim, theta: 1e4 };
            for exec in execs() {
                let mut y = x.clone();
                rope(&exec, &shape, &positions, &mut y, Direction::Forward);
                assert_close("rope", &want, &y, 1e-6);
                rope(&exec, &shape, &positions, &mut y, Direction::Inverse);
                assert_close("back", &x, &y, 1e-6);
            }
        }
    }

    /// The law of the method: scores depend on the distance only.
    #[test]
    fn products_depend_on_the_distance() {
        let head: Vec<f64> = random(&mut Rng(1), 8).iter().map(|&x| f64::from(x)).collect();
        let score = |a: usize, b: usize| -> f64 {
            let [a, b] = [a, b].map(|position| reference(&head, 8, 1e4, position));
            a.iter().zip(&b).map(|(a, b)| a * b).sum()
        };
        assert!((score(7, 3) - score(1007, 1003)).abs() < 1e-3);
        assert!((score(7, 3) - score(7, 4)).abs() > 1e-3);
    }
}
