//! Laws of samplers over data whose velocity is known.
//!
//! Of data `N(mean, deviation^2)` the latents at level `s` are normal with variance
//! `(1 - s)^2 deviation^2 + s^2`, and the ODE brings `z`, at level 1, to `mean + deviation z`.

use video::noise::{Place, Use, fill};
use video::sampler::{Solver, Step, predict_clean};
use video::{NoiseSchedule, Sampler};

#[derive(Clone, Copy)]
struct Gaussian {
    mean: f64,
    deviation: f64,
}

impl Gaussian {
    fn variance(&self, s: f64) -> f64 {
        ((1.0 - s) * self.deviation).powi(2) + s * s
    }

    /// The mean of `e - x0` where the latent is `x`.
    fn velocity(&self, x: f32, s: f64) -> f32 {
        let beside = f64::from(x) - (1.0 - s) * self.mean;
        let clean = self.mean + (1.0 - s) * self.deviation.powi(2) / self.variance(s) * beside;
        (s / self.variance(s) * beside - clean) as f32
    }
}

fn noise(of: Use, step: u32, n: usize) -> Vec<f32> {
    let mut out = vec![0.0; n];
    fill(Place { seed: 11, of, step, frame: 0 }, &mut out);
    out
}

/// A step of `solver` between two levels.
fn step(solver: &mut Solver, x: &mut [f32], velocity: &[f32], levels: [&[f64]; 2], noise: &[f32]) {
    let [now, next] = levels;
    let clean = predict_clean(x, velocity, now);
    solver.step(x, velocity, Step { now, next, noise, clean: &clean });
}

/// Sampling from level 1 of `n` latents, told about each level it comes to.
fn sample(
    data: Gaussian,
    sampler: Sampler,
    sigmas: &[f64],
    n: usize,
    mut at: impl FnMut(f64, &[f32]),
) -> Vec<f32> {
    let mut x = noise(Use::Start, 0, n);
    let mut solver = Solver::new(sampler);
    for (i, pair) in sigmas.windows(2).enumerate() {
        let velocity: Vec<f32> = x.iter().map(|&x| data.velocity(x, pair[0])).collect();
        let noise = noise(Use::Step, i as u32, n);
        let [now, next] = [pair[0], pair[1]].map(|s| [s; 1]);
        step(&mut solver, &mut x, &velocity, [&now, &next], &noise);
        at(pair[1], &x);
    }
    x
}

fn moments(x: &[f32]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    (mean, x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n)
}

/// The largest distance to the exact solution, between these levels.
fn error(data: Gaussian, sampler: Sampler, steps: usize, [from, to]: [f64; 2]) -> f64 {
    let exact = |s: f64, z: f32| (1.0 - s) * data.mean + data.variance(s).sqrt() * f64::from(z);
    let start = noise(Use::Start, 0, 64);
    let mut x: Vec<f32> = start.iter().map(|&z| exact(from, z) as f32).collect();
    let level = |i: usize| from + (to - from) * i as f64 / steps as f64;
    let mut solver = Solver::new(sampler);
    for i in 0..steps {
        let (s, next) = (level(i), level(i + 1));
        let velocity: Vec<f32> = x.iter().map(|&x| data.velocity(x, s)).collect();
        step(&mut solver, &mut x, &velocity, [&[s], &[next]], &[]);
    }
    let distance = |(x, z): (&f32, &f32)| (f64::from(*x) - exact(to, *z)).abs();
    x.iter().zip(&start).map(distance).fold(0.0, f64::max)
}

/// From noise to data DPM-Solver++ loses a logarithm: its variable is infinite at both ends.
#[test]
fn solvers_of_the_ode_have_their_order() {
    for data in [Gaussian { mean: 0.3, deviation: 0.5 }, Gaussian { mean: -1.0, deviation: 1.5 }] {
        for (sampler, levels, steps, order) in [
            (Sampler::ODE, [1.0, 0.0], [32, 128], 1.0),
            (Sampler::DpmSolver, [0.9, 0.1], [64, 256], 2.0),
            (Sampler::DpmSolver, [1.0, 0.0], [64, 256], 1.8),
        ] {
            let [coarse, fine] = steps.map(|steps| error(data, sampler, steps, levels));
            let found = (coarse / fine).log2() / 2.0;
            assert!(
                (found - order).abs() < 0.15,
                "{sampler:?} {levels:?}: {coarse} {fine} {found}"
            );
        }
    }
}

/// With data of one point every sampler is exact, in any number of steps.
#[test]
fn a_point_is_reached_at_once() {
    let data = Gaussian { mean: 0.7, deviation: 0.0 };
    let samplers =
        [Sampler::ODE, Sampler::Euler { eta: 1.0 }, Sampler::DpmSolver, Sampler::SdeDpmSolver];
    for (sampler, steps) in samplers.into_iter().zip([1, 2, 3, 5]) {
        let sigmas = NoiseSchedule { shift: 3.0 }.sigmas(steps);
        let end = sample(data, sampler, &sigmas, 100, |_, _| ());
        assert!(end.iter().all(|x| (x - 0.7).abs() < 1e-6), "{sampler:?}");
    }
}

/// Where the clean data is known the noise has the deviation that the level says, whichever eta.
#[test]
fn the_variance_of_noise_is_kept_at_every_eta() {
    let data = Gaussian { mean: -0.4, deviation: 0.0 };
    let sigmas = NoiseSchedule { shift: 3.0 }.sigmas(12);
    let n = 40_000;
    for eta in [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0] {
        sample(data, Sampler::Euler { eta }, &sigmas, n, |s, x| {
            let (mean, variance) = moments(x);
            // Four deviations of the means of n draws.
            let four = 4.0 / (n as f64).sqrt();
            assert!((mean - (1.0 - s) * data.mean).abs() <= four * s + 1e-6, "{eta} {s}: {mean}");
            let expected = s * s;
            let error = (variance - expected).abs();
            assert!(error <= four * 2f64.sqrt() * expected + 1e-9, "{eta} {s}: {variance}");
        });
    }
}

/// The SDE forgets its noise and still ends in the data.
#[test]
fn the_sde_ends_in_the_data() {
    let data = Gaussian { mean: 0.5, deviation: 0.8 };
    let sigmas = NoiseSchedule { shift: 1.0 }.sigmas(200);
    let n = 20_000;
    let end = sample(data, Sampler::SdeDpmSolver, &sigmas, n, |_, _| ());
    let (mean, variance) = moments(&end);
    assert!((mean - 0.5).abs() < 0.03, "{mean}");
    assert!((variance / 0.64 - 1.0).abs() < 0.06, "{variance}");
    let start = noise(Use::Start, 0, n);
    let product: f64 =
        end.iter().zip(&start).map(|(x, z)| (f64::from(*x) - 0.5) * f64::from(*z)).sum();
    let correlation = product / n as f64 / 0.8;
    assert!(correlation.abs() < 0.1, "{correlation}");
}

/// Written as the formula says.
fn eta_family(eta: f64, x: f32, v: f32, z: f32, [s, next]: [f64; 2]) -> f64 {
    let [x, v, z] = [x, v, z].map(f64::from);
    let (clean, e) = (x - s * v, x + (1.0 - s) * v);
    (1.0 - next) * clean + next * ((1.0 - eta * eta).sqrt() * e + eta * z)
}

#[test]
fn eta_goes_from_euler_to_all_new_noise() {
    let n = 1000;
    let (x, v, z) = (noise(Use::Start, 0, n), noise(Use::Repair, 0, n), noise(Use::Step, 0, n));
    let [s, next] = [0.8, 0.55];
    let run = |sampler| {
        let mut out = x.clone();
        step(&mut Solver::new(sampler), &mut out, &v, [&[s], &[next]], &z);
        out
    };
    let euler = |(x, v): (&f32, &f32)| (f64::from(*x) + (next - s) * f64::from(*v)) as f32;
    let expected: Vec<u32> = x.iter().zip(&v).map(euler).map(f32::to_bits).collect();
    let found: Vec<u32> = run(Sampler::Euler { eta: 0.0 }).iter().map(|x| x.to_bits()).collect();
    assert_eq!(found, expected);
    for eta in [0.0, 0.3, 0.8, 1.0] {
        for (i, found) in run(Sampler::Euler { eta }).into_iter().enumerate() {
            let expected = eta_family(eta, x[i], v[i], z[i], [s, next]);
            assert!((f64::from(found) - expected).abs() < 4e-7, "{eta}: {found} {expected}");
        }
    }
}

/// A clip of which some positions are given and the others are at two levels: each moves by its own.
#[test]
fn a_position_moves_by_its_own_level() {
    let levels = [0.0, 0.9, 0.4];
    let lower = [0.0, 0.6, 0.0];
    let (x, v) = (noise(Use::Start, 0, 12), noise(Use::Repair, 0, 12));
    let z = noise(Use::Step, 0, 12);
    let clean = predict_clean(&x, &v, &levels);
    let samplers =
        [Sampler::ODE, Sampler::Euler { eta: 0.6 }, Sampler::DpmSolver, Sampler::SdeDpmSolver];
    for sampler in samplers {
        let mut out = x.clone();
        step(&mut Solver::new(sampler), &mut out, &v, [&levels, &lower], &z);
        for i in 0..12 {
            let p = i % 3;
            let mut alone = [x[i]];
            let levels = [&levels[p..p + 1], &lower[p..p + 1]];
            step(&mut Solver::new(sampler), &mut alone, &v[i..i + 1], levels, &z[i..i + 1]);
            assert_eq!(out[i].to_bits(), alone[0].to_bits(), "{sampler:?}");
            match p {
                0 => assert_eq!((out[i], clean[i]), (x[i], x[i])),
                2 => assert!((out[i] - clean[i]).abs() < 1e-6),
                _ => (),
            }
        }
    }
}
