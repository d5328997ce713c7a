//! Statistics of short series of numbers, one for each frame or each step between frames.
//!
//! Clips are short, so everything is built on medians: one bad frame of nine must not move what it is
//! compared with.

/// Half a step of 8-bit pixels: differences below it are rounding.
const ROUNDING: f64 = 0.5 / 255.0;

/// The middle of `values`, the mean of both middles of an even number, 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]),
    }
}

/// The median distance from the median (MAD).
pub fn median_deviation(values: &[f64]) -> f64 {
    let middle = median(values);
    median(&values.iter().map(|v| (v - middle).abs()).collect::<Vec<_>>())
}

/// The mean, 0 of none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// What is around element `i`: those at most two away, itself included.
fn around(series: &[f64], i: usize) -> &[f64] {
    &series[i.saturating_sub(2)..(i + 3).min(series.len())]
}

/// How far each element stands out from those around it, with its sign:
///
/// ```text
/// (m[i] - median(m[i-2 ..= i+2])) / (1.48 MAD(m[i-2 ..= i+2]) + 1/255)
/// ```
///
/// 1.48 MAD is the standard deviation of normal numbers; `m` is in 0 … 1.
pub fn spikes(series: &[f64]) -> Vec<f64> {
    let spike = |i: usize| {
        let near = around(series, i);
        (series[i] - median(near)) / (1.48 * median_deviation(near) + 1.0 / 255.0)
    };
    (0..series.len()).map(spike).collect()
}

/// Each element less the median of those at most two away.
pub fn departures(series: &[f64]) -> Vec<f64> {
    (0..series.len()).map(|i| series[i] - median(around(series, i))).collect()
}

/// Each element over the median of all; where the median is rounding only, rounding counts as it.
pub fn ratios(series: &[f64]) -> Vec<f64> {
    let middle = median(series).max(ROUNDING);
    series.iter().map(|v| v / middle).collect()
}

/// What is usual around element `i`, itself aside: the second largest of the four nearest others.
///
/// One more outlier among them does no harm, and a series that swings, such as the speed of a ball,
/// is not mistaken for one with a jump at its fastest. 0 if there is no other.
pub fn usual(series: &[f64], i: usize) -> f64 {
    let mut others: Vec<usize> = (0..series.len()).filter(|&j| j != i).collect();
    others.sort_by_key(|&j| j.abs_diff(i));
    others.truncate(4);
    let mut near: Vec<f64> = others.into_iter().map(|j| series[j]).collect();
    near.sort_by(|a, b| b.total_cmp(a));
    near.get(1).or(near.first()).copied().unwrap_or(0.0)
}

/// The slope of the straight line through the series by least squares, per element.
pub fn trend(series: &[f64]) -> f64 {
    let middle = (series.len() as f64 - 1.0) / 2.0;
    let level = mean(series);
    let (mut up, mut square) = (0.0, 0.0);
    for (i, v) in series.iter().enumerate() {
        let x = i as f64 - middle;
        up += x * (v - level);
        square += x * x;
    }
    if square > 0.0 { up / square } else { 0.0 }
}

/// The median slope between elements `lag` apart, per element: what a fault that comes again at that
/// distance, and a few others, do not change. 0 if there are none.
pub fn slope(series: &[f64], lag: usize) -> f64 {
    let rises: Vec<f64> = series.iter().zip(series.iter().skip(lag)).map(|(a, b)| b - a).collect();
    median(&rises) / lag.max(1) as f64
}

/// The series less a line of this slope.
pub fn levelled(series: &[f64], slope: f64) -> Vec<f64> {
    series.iter().enumerate().map(|(i, v)| v - slope * i as f64).collect()
}

/// How much elements `phase, phase + period, …` differ from the rest: Fisher's F with 1 and n - 2
/// degrees of freedom, and the difference of the means.
///
/// What varies inside of both groups is taken to be rounding at least. 0 if a group is empty or
/// fewer than 3 elements are given.
pub fn fold(series: &[f64], period: usize, phase: usize) -> (f64, f64) {
    let inside = |i: usize| i >= phase && (i - phase).is_multiple_of(period.max(1));
    let group = |wanted: bool| -> Vec<f64> {
        let numbered = series.iter().enumerate().filter(|(i, _)| inside(*i) == wanted);
        numbered.map(|(_, v)| *v).collect()
    };
    let (hit, rest) = (group(true), group(false));
    if hit.is_empty() || rest.is_empty() || series.len() < 3 {
        return (0.0, 0.0);
    }
    let gap = mean(&hit) - mean(&rest);
    let squares = |values: &[f64]| {
        let level = mean(values);
        values.iter().map(|v| (v - level).powi(2)).sum::<f64>()
    };
    let within = (squares(&hit) + squares(&rest)) / (series.len() - 2) as f64;
    let (n, m) = (hit.len() as f64, rest.len() as f64);
    (n * m / (n + m) * gap * gap / within.max(ROUNDING * ROUNDING), gap)
}

/// A fault that comes again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Period {
    /// Frames from one to the next.
    pub period: usize,
    /// The first that has it.
    pub phase: usize,
    /// Fisher's F of these against the rest.
    pub f: f64,
    /// Their mean less that of the rest.
    pub gap: f64,
}

/// The period, of those given, and first element by which the series is explained best, beside a line.
///
/// Something that comes again comes twice at least; once is a spike.
pub fn periodicity(series: &[f64], periods: impl IntoIterator<Item = usize>) -> Option<Period> {
    let mut best: Option<Period> = None;
    for period in periods.into_iter().filter(|&p| p >= 2) {
        let level = levelled(series, slope(series, period));
        // Of two halves that alternate, the one without the first frame is what is wrong. A first
        // element beyond the first period leaves out the one before.
        let first = (1..2 * period).chain([0]);
        for phase in first.filter(|phase| phase + period < series.len()) {
            let (f, gap) = fold(&level, period, phase);
            if f > best.map_or(0.0, |b| b.f) {
                best = Some(Period { period, phase, f, gap });
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_few() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[3.0, 1.0]), 2.0);
        assert_eq!(median(&[5.0, 1.0, 2.0]), 2.0);
        assert_eq!(median_deviation(&[1.0, 2.0, 3.0, 4.0, 100.0]), 1.0);
        assert_eq!(mean(&[]), 0.0);
    }

    #[test]
    fn a_spike_is_counted_in_steps_of_a_pixel_where_nothing_else_moves() {
        let mut series = [0.5; 9];
        series[4] = 0.5 + 10.0 / 255.0;
        let scores = spikes(&series);
        assert!((scores[4] - 10.0).abs() < 1e-9, "{scores:?}");
        assert!(scores.iter().enumerate().all(|(i, s)| i == 4 || *s == 0.0), "{scores:?}");
    }

    #[test]
    fn a_ramp_has_no_spikes() {
        let series: Vec<f64> = (0..9).map(|i| 0.1 * f64::from(i)).collect();
        assert!(spikes(&series).iter().all(|s| s.abs() < 1.0), "{:?}", spikes(&series));
        assert!((trend(&series) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn spikes_of_tiny_series_are_finite() {
        for n in 0..4 {
            let series: Vec<f64> = (0..n).map(f64::from).collect();
            assert!(spikes(&series).iter().all(|s| s.is_finite()));
            assert_eq!(ratios(&series).len(), n as usize);
            assert!(trend(&series).is_finite());
            assert!(periodicity(&series, 1..9).is_none(), "{n}");
        }
    }

    #[test]
    fn a_jump_has_a_ratio() {
        assert_eq!(ratios(&[0.02, 0.02, 0.2, 0.02])[2], 10.0);
        assert_eq!(ratios(&[0.0, 0.0, 1.0 / 255.0])[2], 2.0);
    }

    #[test]
    fn what_is_usual_ignores_one_other_outlier() {
        // An excursion is two jumps: away and back.
        let steps = [1.0, 1.0, 9.0, 9.0, 1.0, 1.0];
        assert_eq!(usual(&steps, 2), 1.0);
        assert_eq!(usual(&steps, 3), 1.0);
        assert_eq!(usual(&[], 0), 0.0);
        assert_eq!(usual(&[4.0], 0), 0.0);
        assert_eq!(usual(&[4.0, 2.0], 0), 2.0);
    }

    #[test]
    fn every_seventeenth_frame_is_found() {
        let series: Vec<f64> = (0..85)
            .map(|i| if i % 17 == 16 { 0.1 } else { 0.01 + 0.001 * f64::from(i % 3) })
            .collect();
        let found = periodicity(&series, 2..=42).unwrap();
        assert_eq!((found.period, found.phase), (17, 16));
        assert!((found.gap - 0.089).abs() < 1e-3);
        assert!(found.f > 1000.0);
    }

    #[test]
    fn a_period_may_begin_late_and_ride_on_a_line() {
        let series: Vec<f64> = (0..9)
            .map(|i| 0.3 - 0.02 * f64::from(i) - if i >= 2 && i % 2 == 0 { 0.1 } else { 0.0 })
            .collect();
        let found = periodicity(&series, 2..=4).unwrap();
        assert_eq!((found.period, found.phase), (2, 2));
        assert!((found.gap + 0.1).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn slopes_are_medians() {
        assert_eq!(slope(&[0.0, 1.0, 2.0, 30.0, 4.0], 1), 1.0);
        assert_eq!(slope(&[0.0, 1.0, 2.0, 3.0], 3), 1.0);
        assert_eq!(slope(&[1.0], 1), 0.0);
        assert_eq!(levelled(&[1.0, 2.0, 3.0], 1.0), [1.0; 3]);
    }

    #[test]
    fn the_statistic_is_fishers() {
        // Groups {2, 4} and {1, 3, 2}: means 3 and 2, squares 2 + 2 over 3 degrees of freedom.
        let (f, gap) = fold(&[1.0, 2.0, 3.0, 4.0, 2.0], 2, 1);
        assert!((gap - 1.0).abs() < 1e-12);
        assert!((f - (6.0 / 5.0) / (4.0 / 3.0)).abs() < 1e-12, "{f}");
        assert_eq!(fold(&[1.0, 2.0], 2, 1), (0.0, 0.0));
        assert_eq!(fold(&[1.0, 2.0, 3.0], 9, 5), (0.0, 0.0));
    }
}
