//! Rotary position embedding of the first part of each head.
//!
//! Frequencies and angles are rounded as on the CPU; sine and cosine are those of f32, within two
//! units in the last place for any angle.

use super::{Cuda, DeviceVec};
use crate::rope::{Direction, Rope, frequencies};

const BLOCK: usize = 256;

/// Rotates `x: [tokens, heads, head_dim]`, tokens being at `positions: [tokens]`.
///
/// # Panics
///
/// If lengths disagree or `rotary_dim` is odd or above `head_dim`.
#[track_caller]
pub fn rope(
    cuda: &Cuda,
    shape: &Rope,
    positions: &DeviceVec<u32>,
    x: &DeviceVec<f32>,
    direction: Direction,
) -> DeviceVec<f32> {
    let &Rope { heads, head_dim, rotary_dim, theta } = shape;
    assert!(rotary_dim <= head_dim && rotary_dim % 2 == 0, "rotary_dim {rotary_dim} of {head_dim}");
    assert_eq!(x.len(), positions.len() * heads * head_dim, "x must be [tokens, heads, head_dim]");
    let frequencies: Vec<f32> = frequencies(rotary_dim, theta).collect();
    let frequencies = cuda.upload(&frequencies);
    let sign: f32 = if direction == Direction::Forward { 1.0 } else { -1.0 };
    let mut out = cuda.output(x.len());
    let threads = positions.len() * (head_dim - rotary_dim / 2);
    // SAFETY: the parameters of the kernel in its order; x and out have a row for each position,
    // and there is a frequency for each pair.
    unsafe {
        cuda.launch(
            "rope",
            [threads.div_ceil(BLOCK), 1, 1],
            BLOCK,
            &[
                positions.into(),
                (&frequencies).into(),
                x.into(),
                (&mut out).into(),
                positions.len().into(),
                heads.into(),
                head_dim.into(),
                rotary_dim.into(),
                sign.into(),
            ],
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, random};
    use crate::{Exec, Rng, rope as host};

    #[test]
    fn turned_there_and_back() {
        let Some(cuda) = super::super::testing::cuda() else { return };
        for (heads, head_dim, rotary_dim) in
            [(1, 2, 2), (3, 7, 4), (4, 32, 32), (2, 16, 8), (2, 5, 0), (2, 128, 64)]
        {
            for tokens in [0, 1, 5, 700] {
                let shape = Rope { heads, head_dim, rotary_dim, theta: 1e4 };
                let what = format!("{shape:?}, {tokens} tokens");
                // Also positions beyond what f32 holds exactly.
                let positions: Vec<u32> = (0..tokens)
                    .map(|i| if i % 5 == 4 { (1 << 25) + 1 + i } else { 173 * i })
                    .collect();
                let x = random(&mut Rng(4), tokens as usize * heads * head_dim);
                let mut want = x.clone();
                let at: Vec<usize> = positions.iter().map(|&p| p as usize).collect();
                host::rope(&Exec::new(2), &shape, &at, &mut want, Direction::Forward);
                let (positions, on_gpu) = (cuda.upload(&positions), cuda.upload(&x));
                let y = rope(&cuda, &shape, &positions, &on_gpu, Direction::Forward);
                assert_close(&what, &want, &y.to_vec(), 1e-6);
                let back = rope(&cuda, &shape, &positions, &y, Direction::Inverse);
                assert_close(&format!("{what}: back"), &x, &back.to_vec(), 1e-6);
            }
        }
    }
}
