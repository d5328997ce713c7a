//! The noise levels that sampling goes through.

/// Levels evenly spaced, then shifted towards noise: `s -> k s / (1 + (k - 1) s)` (arXiv:2403.03206).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseSchedule {
    /// `k`, above 0; 1 leaves the levels evenly spaced.
    pub shift: f64,
}

impl NoiseSchedule {
    /// The levels of so many steps: `steps + 1` values from 1 strictly down to 0.
    ///
    /// # Panics
    ///
    /// If there are no steps or the shift is not above 0.
    pub fn sigmas(&self, steps: usize) -> Vec<f64> {
        self.sigmas_from(1.0, steps)
    }

    /// The same from the level `start` on, which must be above 0 and at most 1: evenly spaced before
    /// they are shifted.
    ///
    /// # Panics
    ///
    /// If there are no steps, or the shift or `start` is out of range.
    pub fn sigmas_from(&self, start: f64, steps: usize) -> Vec<f64> {
        let k = self.shift;
        assert!(k > 0.0 && k.is_finite(), "shift {k}");
        assert!(start > 0.0 && start <= 1.0, "start {start}");
        assert!(steps > 0, "0 steps");
        let t = start / (k - (k - 1.0) * start);
        let level = |i: usize| {
            let t = t * (steps - i) as f64 / steps as f64;
            k * t / (1.0 + (k - 1.0) * t)
        };
        [start].into_iter().chain((1..=steps).map(level)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn levels_are_pinned() {
        let check = |shift: f64, steps: usize, expected: &[f64]| {
            let found = NoiseSchedule { shift }.sigmas(steps);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-15, "{found} {expected}");
            }
        };
        check(1.0, 1, &[1.0, 0.0]);
        check(1.0, 4, &[1.0, 0.75, 0.5, 0.25, 0.0]);
        check(3.0, 4, &[1.0, 0.9, 0.75, 0.5, 0.0]);
        check(8.0, 5, &[1.0, 32.0 / 33.0, 12.0 / 13.0, 16.0 / 19.0, 2.0 / 3.0, 0.0]);
        check(12.0, 3, &[1.0, 0.96, 6.0 / 7.0, 0.0]);
    }

    #[test]
    fn levels_from_the_middle_are_those_of_the_rest() {
        let schedule = NoiseSchedule { shift: 3.0 };
        let all = schedule.sigmas(20);
        let rest = schedule.sigmas_from(all[12], 8);
        for (a, b) in all[12..].iter().zip(&rest) {
            assert!((a - b).abs() < 1e-14, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn levels_fall_to_zero(shift in 0.05f64..50.0, start in 1e-3f64..1.0, steps in 1usize..1000) {
            let levels = NoiseSchedule { shift }.sigmas_from(start, steps);
            prop_assert_eq!(levels.len(), steps + 1);
            prop_assert_eq!((levels[0], levels[steps]), (start, 0.0));
            prop_assert!(levels.windows(2).all(|pair| pair[0] > pair[1]), "{:?}", levels);
            // A model is told them as f32.
            prop_assert!(levels.windows(2).all(|pair| pair[0] as f32 > pair[1] as f32));
        }
    }
}
