//! Noise that depends on where it is and on nothing else: not on the batch, the threads or what was
//! drawn before.
//!
//! ```text
//! bits   = Philox4x32-10(key = seed, counter = [element / 4, frame, step, use])
//! normal = sqrt(-2 ln u) * (cos, sin)(2 pi u')      u, u' = (bits + 1/2) / 2^32
//! ```
//!
//! Philox: Salmon and others 2011, "Parallel random numbers: as easy as 1, 2, 3". Normals: Box and
//! Muller 1958, computed in f64; the largest is 6.8.

use std::f64::consts::TAU;

/// What noise is for: draws for different uses have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Use {
    /// What sampling begins with.
    Start = 0,
    /// What a stochastic sampler adds at a step.
    Step = 1,
    /// What frames that are repaired begin with; rounds count on the step's place.
    Repair = 2,
    /// What a stochastic sampler adds while frames are repaired.
    RepairStep = 3,
}

/// Where noise is drawn, beside its element within a latent frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The seed of the clip.
    pub seed: u64,
    /// What it is for.
    pub of: Use,
    /// The step of the sampler.
    pub step: u32,
    /// The latent frame, counted from the beginning of the clip.
    pub frame: u32,
}

/// Standard normal noise for the elements from 0 on of one latent frame.
pub fn fill(place: Place, out: &mut [f32]) {
    for (block, out) in (0u32..).zip(out.chunks_mut(4)) {
        let counter = [block, place.frame, place.step, place.of as u32];
        let normals = normals(philox(counter, place.seed));
        out.copy_from_slice(&normals[..out.len()]);
    }
}

/// Noise for a part of a clip, `[channels, frames, positions]`, whose first latent frame is that of
/// `place`; elements of a frame are counted along positions, then channels.
pub fn of_clip(place: Place, [channels, frames, positions]: [usize; 3]) -> Vec<f32> {
    let mut out = vec![0.0; channels * frames * positions];
    let mut one = vec![0.0; channels * positions];
    for i in 0..frames {
        fill(Place { frame: place.frame + i as u32, ..place }, &mut one);
        for (channel, values) in one.chunks(positions.max(1)).enumerate() {
            let at = (channel * frames + i) * positions;
            out[at..at + positions].copy_from_slice(values);
        }
    }
    out
}

/// Four normals of 128 bits.
fn normals(bits: [u32; 4]) -> [f32; 4] {
    let unit = |x: u32| (f64::from(x) + 0.5) / (1u64 << 32) as f64;
    let pair = |a: u32, b: u32| {
        let radius = (-2.0 * unit(a).ln()).sqrt();
        let (sin, cos) = (TAU * unit(b)).sin_cos();
        [(radius * cos) as f32, (radius * sin) as f32]
    };
    let ([a, b], [c, d]) = (pair(bits[0], bits[1]), pair(bits[2], bits[3]));
    [a, b, c, d]
}

/// Philox4x32 with 10 rounds.
fn philox(counter: [u32; 4], key: u64) -> [u32; 4] {
    const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let mut x = counter;
    let mut key = [key as u32, (key >> 32) as u32];
    for _ in 0..10 {
        let products = [MULTIPLIERS[0] * u64::from(x[0]), MULTIPLIERS[1] * u64::from(x[2])];
        let [(high_0, low_0), (high_1, low_1)] = products.map(|p| ((p >> 32) as u32, p as u32));
        x = [high_1 ^ x[1] ^ key[0], low_1, high_0 ^ x[3] ^ key[1], low_0];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { seed: 7, of: Use::Start, step: 0, frame: 0 };

    /// The vectors that come with the authors' library.
    #[test]
    fn bits_are_those_of_philox() {
        let zeros = [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8];
        assert_eq!(philox([0; 4], 0), zeros);
        let ones = [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd];
        assert_eq!(philox([u32::MAX; 4], u64::MAX), ones);
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let pi = [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1];
        assert_eq!(philox(counter, 0x299f_31d0_a409_3822), pi);
    }

    #[test]
    fn moments_are_those_of_a_normal() {
        let mut x = vec![0.0; 200_003];
        fill(PLACE, &mut x);
        let n = x.len() as f64;
        let moment = |k: i32| x.iter().map(|&x| f64::from(x).powi(k)).sum::<f64>() / n;
        // Deviations of the mean of x^k are sqrt(E x^2k / n).
        for (k, expected, of_square) in
            [(1, 0.0, 1.0), (2, 1.0, 3.0), (3, 0.0, 15.0), (4, 3.0, 105.0)]
        {
            let error = (moment(k) - expected).abs();
            assert!(error < 4.0 * (of_square / n).sqrt(), "moment {k}: {}", moment(k));
        }
        assert!(x.iter().all(|x| x.abs() < 6.8));
        let below = |t: f32| x.iter().filter(|x| **x < t).count() as f64 / n;
        for (t, expected) in [(-2.0, 0.02275), (-1.0, 0.15866), (0.5, 0.69146)] {
            assert!((below(t) - expected).abs() < 0.004, "below {t}: {}", below(t));
        }
    }

    /// Neither a longer clip nor one that begins later changes what a frame has.
    #[test]
    fn a_frame_has_its_noise_in_any_clip() {
        let (channels, positions) = (3, 5);
        let long = of_clip(PLACE, [channels, 6, positions]);
        let late = of_clip(Place { frame: 2, ..PLACE }, [channels, 2, positions]);
        for channel in 0..channels {
            let at = (channel * 6 + 2) * positions;
            let of_late = channel * 2 * positions..(channel + 1) * 2 * positions;
            assert_eq!(&long[at..at + 2 * positions], &late[of_late]);
        }
    }

    #[test]
    fn places_have_nothing_in_common() {
        let others = [
            PLACE,
            Place { seed: 8, ..PLACE },
            Place { seed: 7 | 1 << 32, ..PLACE },
            Place { of: Use::Step, ..PLACE },
            Place { step: 1, ..PLACE },
            Place { frame: 1, ..PLACE },
        ];
        let draws = others.map(|place| {
            let mut x = vec![0.0; 4001];
            fill(place, &mut x);
            x
        });
        for (i, a) in draws.iter().enumerate() {
            for b in &draws[..i] {
                let n = a.len() as f64;
                let product: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum();
                assert!((product / n).abs() < 4.0 / n.sqrt(), "{i}");
            }
        }
    }
}
