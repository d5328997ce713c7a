use super::*;

const DRAWS: usize = 20_000;

fn all() -> Sampling {
    Sampling { temperature: 1.0, ..Sampling::GREEDY }
}

fn pick(logits: &[f32], sampling: &Sampling, unit: f64) -> Result<u32, Unsampled> {
    choose(logits, sampling, None, None, unit)
}

fn shares(logits: &[f32], sampling: &Sampling) -> Vec<f64> {
    let mut counts = vec![0.0; logits.len()];
    for i in 0..DRAWS {
        let id = pick(logits, sampling, unit(11, 0, i)).unwrap();
        counts[id as usize] += 1.0 / DRAWS as f64;
    }
    counts
}

#[track_caller]
fn assert_shares(want: &[f64], got: &[f64]) {
    // Five standard deviations of a share of one half.
    let near = want.iter().zip(got).all(|(w, g)| (w - g).abs() < 0.018);
    assert!(near, "expected {want:?}, found {got:?}");
}

/// The definition: everything sorted, everything kept in order.
fn reference(logits: &[f32], sampling: &Sampling, unit: f64) -> u32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = |x: f32| (f64::from(x) - f64::from(max)) / f64::from(sampling.temperature);
    let mut all: Vec<(u32, f64)> = (0..).zip(logits.iter().map(|&x| scale(x).exp())).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    if sampling.top_k > 0 {
        all.truncate(sampling.top_k);
    }
    let total: f64 = all.iter().map(|k| k.1).sum();
    let mut mass = 0.0;
    let mut kept = Vec::new();
    for (id, weight) in all {
        if !kept.is_empty() && mass >= f64::from(sampling.top_p) * total {
            break;
        }
        mass += weight;
        kept.push((id, weight));
    }
    kept.retain(|k| k.1 >= f64::from(sampling.min_p));
    kept.sort_by_key(|k| k.0);
    let mut left = unit * kept.iter().map(|k| k.1).sum::<f64>();
    for &(id, weight) in &kept {
        left -= weight;
        if left < 0.0 {
            return id;
        }
    }
    kept[kept.len() - 1].0
}

#[test]
fn filters_leave_what_their_definition_leaves() {
    let mut rng = Rng(5);
    for case in 0..2000 {
        let n = 1 + rng.below(300);
        let spread = [0.1, 2.0, 12.0][rng.below(3)];
        let logits: Vec<f32> = (0..n).map(|_| rng.normal() * spread).collect();
        let sampling = Sampling {
            temperature: 0.3 + rng.unit(),
            top_k: if rng.chance(0.5) { rng.below(n + 3) } else { 0 },
            top_p: if rng.chance(0.7) { rng.unit() } else { 1.0 },
            min_p: if rng.chance(0.3) { rng.unit() } else { 0.0 },
            ..Sampling::GREEDY
        };
        let unit = unit(case, 1, 2);
        let (want, got) = (reference(&logits, &sampling, unit), pick(&logits, &sampling, unit));
        assert_eq!(Ok(want), got, "{sampling:?} {unit}");
    }
}

#[test]
fn greedy_takes_the_lowest_of_the_best() {
    assert_eq!(pick(&[1.0, 3.0, 3.0], &Sampling::GREEDY, 0.9), Ok(1));
    assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
    assert_eq!(argmax(&[f32::NAN, -1.0, f32::NAN]), 1);
    assert_eq!(argmax(&[f32::NAN, f32::NAN]), 0);
}

#[test]
fn shares_follow_the_probabilities() {
    let logits = [4.0f32.ln(), 3.0f32.ln(), 2.0f32.ln(), 1.0f32.ln(), f32::NEG_INFINITY];
    assert_shares(&[0.4, 0.3, 0.2, 0.1, 0.0], &shares(&logits, &all()));
    let hot = Sampling { temperature: 0.5, ..all() };
    let squares = [16.0 / 30.0, 9.0 / 30.0, 4.0 / 30.0, 1.0 / 30.0, 0.0];
    assert_shares(&squares, &shares(&logits, &hot));
    let two = Sampling { top_k: 2, ..all() };
    assert_shares(&[4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0, 0.0], &shares(&logits, &two));
    let mass = Sampling { top_p: 0.69, ..all() };
    assert_shares(&[4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0, 0.0], &shares(&logits, &mass));
    let floor = Sampling { min_p: 0.45, ..all() };
    assert_shares(&[4.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0, 0.0, 0.0], &shares(&logits, &floor));
}

#[test]
fn what_is_no_number_is_an_error() {
    for sampling in [&Sampling::GREEDY, &all()] {
        assert_eq!(pick(&[1.0, f32::NAN, 2.0], sampling, 0.5), Err(Unsampled::Nan));
        assert_eq!(pick(&[1.0, f32::INFINITY], sampling, 0.5), Err(Unsampled::Infinite));
        assert_eq!(pick(&[f32::NEG_INFINITY; 3], sampling, 0.5), Err(Unsampled::AllForbidden));
    }
    // Whatever a mask would make of it.
    #[derive(Debug)]
    struct Hide;
    impl TokenMask for Hide {
        fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
            logits[1] = f32::NEG_INFINITY;
            Ok(())
        }
        fn push(&mut self, _: u32) -> Result<(), String> {
            Ok(())
        }
        fn fork(&self) -> Box<dyn TokenMask> {
            Box::new(Self)
        }
    }
    let masked = choose(&[1.0, f32::NAN], &all(), None, Some(&mut Hide), 0.5);
    assert_eq!(masked, Err(Unsampled::Nan));
    assert_eq!(choose(&[1.0, 2.0], &Sampling::GREEDY, None, Some(&mut Hide), 0.5), Ok(0));
}

#[test]
fn penalties_follow_their_formulas() {
    let mut seen = Seen::new(&[0, 1, 1]);
    [2, 2, 0].into_iter().for_each(|id| seen.push(id));
    let sampling = Sampling {
        repetition_penalty: 2.0,
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        ..Sampling::GREEDY
    };
    let mut logits = [4.0, -4.0, 8.0, 1.0];
    seen.penalize(&mut logits, &sampling);
    assert_eq!(logits, [2.0 - 0.75, -8.0, 4.0 - 1.0, 1.0]);
    // Without the penalty of repetition the prompt does not matter.
    let sampling = Sampling { repetition_penalty: 1.0, ..sampling };
    let mut logits = [4.0, -4.0, 8.0, 1.0];
    seen.penalize(&mut logits, &sampling);
    assert_eq!(logits, [3.25, -4.0, 7.0, 1.0]);
}

#[test]
fn bias_moves_the_choice() {
    let sampling = Sampling { logit_bias: vec![(2, 100.0), (0, -100.0)], ..Sampling::GREEDY };
    assert_eq!(pick(&[9.0, 0.0, -9.0], &sampling, 0.0), Ok(2));
}

#[test]
fn logprobs_are_of_the_whole_vocabulary() {
    let logits = [1.0f32.ln(), 2.0f32.ln(), 5.0f32.ln(), f32::NEG_INFINITY];
    let got = logprobs(&logits, 0, 2);
    assert!((got.logprob - 0.125f32.ln()).abs() < 1e-6);
    assert_eq!(got.top.iter().map(|t| t.0).collect::<Vec<_>>(), [2, 1]);
    assert!((got.top[0].1 - 0.625f32.ln()).abs() < 1e-6);
    assert_eq!(logprobs(&logits, 3, 9).logprob, f32::NEG_INFINITY);
    assert_eq!(logprobs(&logits, 3, 9).top.len(), 4);
}

/// Draws of neighbouring positions, answers and seeds have nothing to do with each other.
#[test]
fn draws_are_uniform_and_apart() {
    let mean = |draw: &dyn Fn(usize) -> f64| (0..DRAWS).map(draw).sum::<f64>() / DRAWS as f64;
    for draw in [&|i| unit(1, 0, i), &|i| unit(1, i, 7), &|i| unit(i as u64, 0, 7)]
        as [&dyn Fn(usize) -> f64; 3]
    {
        assert!((mean(draw) - 0.5).abs() < 0.01);
        let next = |i| (draw(i) - 0.5) * (draw(i + 1) - 0.5);
        assert!(mean(&next).abs() < 0.005);
    }
    assert_ne!(unit(1, 0, 1), unit(1, 1, 0));
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let nan = f32::NAN;
    let cases = [
        ("temperature", Sampling { temperature: nan, ..all() }),
        ("temperature", Sampling { temperature: -1.0, ..all() }),
        ("top_p", Sampling { top_p: 2.0, ..all() }),
        ("min_p", Sampling { min_p: -0.1, ..all() }),
        ("repetition_penalty", Sampling { repetition_penalty: 0.0, ..all() }),
        ("presence_penalty", Sampling { presence_penalty: 3.0, ..all() }),
        ("frequency_penalty", Sampling { frequency_penalty: nan, ..all() }),
        ("logit_bias", Sampling { logit_bias: vec![(10, 0.0)], ..all() }),
        ("logit_bias", Sampling { logit_bias: vec![(1, 101.0)], ..all() }),
    ];
    for (name, sampling) in cases {
        let refused = sampling.check(10);
        assert!(matches!(refused, Err(Refused::Invalid { field, .. }) if field == name), "{name}");
    }
    assert_eq!(all().check(10), Ok(()));
}
