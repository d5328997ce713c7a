//! Samplers: from a level of noise to the next lower one, with the velocity that a model predicts.
//!
//! ```text
//! Euler              x' = x + (s' - s) v
//! eta                x' = (1 - s') x0 + s' (sqrt(1 - eta^2) e + eta z)       arXiv:2509.05952
//! DPM-Solver++ 2M    x' = (s'/s) x + (1 - s') (1 - exp(-h)) D                arXiv:2211.01095
//! its SDE form       x' = (s'/s) exp(-h) x + (1 - s') (1 - exp(-2 h)) D + s' sqrt(1 - exp(-2 h)) z
//!
//! x0 = x - s v     e = x + (1 - s) v     l = ln((1 - s) / s)     h = l' - l
//! D  = x0 + h / (2 h_before) (x0 - x0_before)     z = new noise
//! ```
//!
//! Each position of a clip has its own level, so what is given, at level 0, stays what it is, bit for
//! bit. The eta family keeps the coefficients of clean data and noise, whichever eta: where the model
//! is sure of the clean data, the noise has exactly the deviation that the next level says. Where it is
//! not, `e` is a mean and has less than deviation 1, and replacing much of it at each of many steps
//! takes from the variety of the data.

/// How a step is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// The eta family: 0 is the Euler step of the ODE, 1 replaces all noise at each step.
    Euler {
        /// From 0 to 1.
        eta: f64,
    },
    /// DPM-Solver++ of second order with two steps' predictions.
    DpmSolver,
    /// The same for the SDE, whose noise is renewed all the time.
    SdeDpmSolver,
}

impl Sampler {
    /// The Euler step of the ODE.
    pub const ODE: Self = Self::Euler { eta: 0.0 };

    /// Whether steps add noise.
    pub fn is_stochastic(self) -> bool {
        match self {
            Self::Euler { eta } => eta > 0.0,
            Self::DpmSolver => false,
            Self::SdeDpmSolver => true,
        }
    }
}

/// A step's levels and what it adds.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The level of each position.
    pub now: &'a [f64],
    /// That after the step, at most as high.
    pub next: &'a [f64],
    /// Noise like the latents, for samplers that are stochastic.
    pub noise: &'a [f32],
    /// The clean latents that the velocity says: see [`predict_clean`].
    pub clean: &'a [f32],
}

/// A sampler on its way through the levels of one clip.
#[derive(Clone, Debug)]
pub struct Solver {
    sampler: Sampler,
    /// The clean latents of the step before, and the levels they were predicted at.
    before: Option<(Vec<f32>, Vec<f64>)>,
}

impl Solver {
    /// At the start.
    pub fn new(sampler: Sampler) -> Self {
        Self { sampler, before: None }
    }

    /// Brings `x: [channels, positions]` to the next levels by `velocity`, of the same shape.
    ///
    /// # Panics
    ///
    /// If lengths disagree, or a stochastic sampler gets no noise.
    #[track_caller]
    pub fn step(&mut self, x: &mut [f32], velocity: &[f32], step: Step<'_>) {
        let positions = step.now.len();
        assert_eq!(step.next.len(), positions, "levels of a step");
        assert_eq!(velocity.len(), x.len(), "velocities");
        assert_eq!(step.clean.len(), x.len(), "clean latents");
        assert!(positions > 0 && x.len().is_multiple_of(positions), "{} latents", x.len());
        let stochastic = self.sampler.is_stochastic();
        assert!(!stochastic || step.noise.len() == x.len(), "noise of a stochastic sampler");
        let noise = |i: usize| if stochastic { f64::from(step.noise[i]) } else { 0.0 };
        let levels = |i: usize| (step.now[i % positions], step.next[i % positions]);
        if let Sampler::Euler { eta } = self.sampler {
            let kept = (1.0 - eta * eta).sqrt() - 1.0;
            for (i, (x, v)) in x.iter_mut().zip(velocity).enumerate() {
                let ((s, next), v) = (levels(i), f64::from(*v));
                let euler = euler(f64::from(*x), v, s, next);
                // The eta family as what it adds to Euler's step, so that eta 0 is that step exactly.
                let e = f64::from(*x) + (1.0 - s) * v;
                *x = (euler + next * (kept * e + eta * noise(i))) as f32;
            }
            return;
        }
        let before = self.before.take();
        let before = before.as_ref().map(|(x, levels)| (&x[..], &levels[..]));
        let weights: Vec<Weights> = (0..positions)
            .map(|i| {
                let before = before.map(|(_, levels)| levels[i]);
                Weights::new(self.sampler, before, step.now[i], step.next[i])
            })
            .collect();
        for (i, (x, clean)) in x.iter_mut().zip(step.clean).enumerate() {
            let w = &weights[i % positions];
            let x0 = f64::from(*clean);
            let change = before.map_or(0.0, |(before, _)| x0 - f64::from(before[i]));
            let data = x0 + w.change * change;
            *x = (w.x * f64::from(*x) + w.data * data + w.noise * noise(i)) as f32;
        }
        self.before = Some((step.clean.to_vec(), step.now.to_vec()));
    }
}

/// The clean latents that `x: [channels, positions]` and its velocity say, each by its own level.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn predict_clean(x: &[f32], velocity: &[f32], levels: &[f64]) -> Vec<f32> {
    assert_eq!(velocity.len(), x.len(), "velocities");
    let level = |i: usize| levels[i % levels.len()];
    let clean =
        |(i, (x, v)): (usize, (&f32, &f32))| (f64::from(*x) - level(i) * f64::from(*v)) as f32;
    x.iter().zip(velocity).enumerate().map(clean).collect()
}

fn euler(x: f64, v: f64, s: f64, next: f64) -> f64 {
    x + (next - s) * v
}

/// What a step of DPM-Solver++ sums, for a position.
struct Weights {
    x: f64,
    data: f64,
    /// Of the change of the clean latents since the step before.
    change: f64,
    noise: f64,
}

impl Weights {
    fn new(sampler: Sampler, before: Option<f64>, s: f64, next: f64) -> Self {
        // A position that does not move, or is clean already.
        if s == next {
            return Self { x: 1.0, data: 0.0, change: 0.0, noise: 0.0 };
        }
        // The last step takes the clean latents; the ratio of its steps would be infinite.
        if next == 0.0 {
            return Self { x: 0.0, data: 1.0, change: 0.0, noise: 0.0 };
        }
        // exp(-h), which is 0 from pure noise on: there h is infinite.
        let decay = (1.0 - s) / (1.0 - next) * (next / s);
        let h = -decay.ln();
        let change = match before {
            Some(before) if before < 1.0 && before > s => {
                let h_before = ((1.0 - s) / s).ln() - ((1.0 - before) / before).ln();
                h / (2.0 * h_before)
            }
            _ => 0.0,
        };
        match sampler {
            Sampler::SdeDpmSolver => {
                let renewed = 1.0 - decay * decay;
                let (data, noise) = ((1.0 - next) * renewed, next * renewed.sqrt());
                Self { x: next / s * decay, data, change, noise }
            }
            _ => Self { x: next / s, data: (1.0 - next) * (1.0 - decay), change, noise: 0.0 },
        }
    }
}
