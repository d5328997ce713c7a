//! SplitMix64: the one source of pseudo-random numbers, so that a seed reproduces anywhere.

/// What the state grows by with each number.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A stream of pseudo-random numbers (SplitMix64; Steele, Lea, Flood 2014).
///
/// The whole state is one `u64`, so a checkpoint can hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng(pub u64);

impl Rng {
    /// An independent stream for each `(seed, index)`, so that item `index` does not depend on
    /// the items before it.
    pub fn stream(seed: u64, index: u64) -> Self {
        let mut rng = Self(seed ^ 0xD1B5_4A32_D192_ED03);
        rng.0 = rng.next_u64() ^ index.wrapping_mul(0xA24B_AED4_963E_E407);
        rng.next_u64();
        rng
    }

    /// Uniform over all 64-bit values.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1 << 24) as f32
    }

    /// Uniform in `0..n` (bias below 2^-32 for the sizes used here).
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0)");
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// One of `items`, all equally likely.
    ///
    /// # Panics
    ///
    /// If `items` is empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Puts `items` into a uniformly random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// Passes over as many normal numbers, at no cost.
    pub fn skip_normals(&mut self, count: u64) {
        self.0 = self.0.wrapping_add(STEP.wrapping_mul(2).wrapping_mul(count));
    }

    /// Standard normal (Box-Muller, one value per two draws).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - f64::from(self.unit())).ln()).sqrt();
        (radius * (std::f64::consts::TAU * f64::from(self.unit())).cos()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_ranges_are_right() {
        let mut rng = Rng(7);
        let n = 20_000;
        let normals: Vec<f64> = (0..n).map(|_| f64::from(rng.normal())).collect();
        let mean = normals.iter().sum::<f64>() / n as f64;
        let variance = normals.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        let mut counts = [0; 7];
        (0..7000).for_each(|_| counts[rng.below(7)] += 1);
        assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
        let mut units = (0..n).map(|_| rng.unit());
        assert!(units.all(|u| (0.0..1.0).contains(&u)));
    }

    #[test]
    fn numbers_are_passed_over() {
        let (mut all, mut rest) = (Rng(3), Rng(3));
        (0..1001).for_each(|_| _ = all.normal());
        rest.skip_normals(1001);
        assert_eq!(all, rest);
        assert_eq!(all.normal(), rest.normal());
    }

    #[test]
    fn streams_differ_and_repeat() {
        assert_eq!(Rng::stream(1, 2).next_u64(), Rng::stream(1, 2).next_u64());
        assert_ne!(Rng::stream(1, 2).next_u64(), Rng::stream(1, 3).next_u64());
        assert_ne!(Rng::stream(1, 2).next_u64(), Rng::stream(2, 2).next_u64());
    }
}
