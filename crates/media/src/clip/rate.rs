//! Frames per second as a fraction.

/// Rates that clips may have, in frames per second.
pub(super) const RATES: std::ops::RangeInclusive<f64> = 0.01..=1000.0;

/// The largest denominator: 1001, of 30000 frames in 1001 s.
const DENOMINATOR: u32 = 1001;

/// The fraction with the smallest denominator that is `rate` to nine digits, or the nearest there is;
/// `None` out of [`RATES`].
pub(super) fn fraction(rate: f64) -> Option<(u32, u32)> {
    if !RATES.contains(&rate) {
        return None;
    }
    let off = |d: &u32| ((rate * f64::from(*d)).round() / f64::from(*d) - rate).abs();
    let exact = (1..=DENOMINATOR).find(|d| off(d) <= rate * 1e-9);
    let nearest = || (1..=DENOMINATOR).min_by(|a, b| off(a).total_cmp(&off(b)));
    let denominator = exact.or_else(nearest)?;
    Some((((rate * f64::from(denominator)).round() as u32).max(1), denominator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_fractions() {
        for (rate, want) in [
            (6.0, (6, 1)),
            (12.5, (25, 2)),
            (30_000.0 / 1001.0, (30_000, 1001)),
            (29.97, (2997, 100)),
            (0.01, (1, 100)),
            (1000.0, (1000, 1)),
            (1.0 / 3.0, (1, 3)),
        ] {
            assert_eq!(fraction(rate), Some(want), "{rate}");
        }
        for rate in [0.0, -6.0, 0.009, 1000.5, f64::NAN, f64::INFINITY] {
            assert_eq!(fraction(rate), None, "{rate}");
        }
        let (a, b) = fraction(std::f64::consts::PI).unwrap();
        assert!((f64::from(a) / f64::from(b) - std::f64::consts::PI).abs() < 1e-6);
    }
}
