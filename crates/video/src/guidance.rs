//! Guidance: predictions with and without what is asked for, and a step beyond them.
//!
//! ```text
//! text              v = u + w_t (t - u)
//! text and image    v = u + w_i (i - u) + w_t (ti - i)       arXiv:2502.11079
//! rescaled          v * (1 - r + r deviation(conditional) / deviation(v))       arXiv:2305.08891
//! ```
//!
//! `u` knows nothing but the negative prompt, `i` the subject beside it, `t` the prompt, `ti` both.

/// How much more than the model says is done of what is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    /// `w_t`, 0 or more: 1 leaves the prompt to the model, 0 ignores it.
    pub text: f32,
    /// `w_i` for the subject, 0 or more; 1 leaves it to the model.
    pub image: f32,
    /// The levels, from and to, at which there is guidance; at others both weights are 1.
    pub interval: [f64; 2],
    /// `r`, from 0 to 1: how far the deviation is brought back to that of the conditional prediction.
    pub rescale: f32,
}

impl Guidance {
    /// The model's own predictions: one evaluation for each step.
    pub const NONE: Self = Self { text: 1.0, image: 1.0, interval: [0.0, 1.0], rescale: 0.0 };

    /// The weights of predictions at level `s`; those of 0 need not be made.
    pub fn weights(&self, s: f64, has_subject: bool) -> Weights {
        let [low, high] = self.interval;
        let [text, image] =
            if (low..=high).contains(&s) { [self.text, self.image] } else { [1.0; 2] };
        match has_subject {
            true => Weights { plain: 1.0 - image, subject: image - text, full: text },
            false => Weights { plain: 1.0 - text, subject: 0.0, full: text },
        }
    }

    /// Brings the deviation of `guided` back towards that of `full`, the prediction with all that is
    /// asked for, over the elements that `counts` says.
    ///
    /// # Panics
    ///
    /// If lengths disagree.
    #[track_caller]
    pub fn rescale(&self, guided: &mut [f32], full: &[f32], counts: impl Fn(usize) -> bool) {
        assert_eq!(guided.len(), full.len(), "predictions");
        if self.rescale == 0.0 {
            return;
        }
        let [wanted, found] = [full, guided].map(|x| deviation(x, &counts));
        if found > 0.0 {
            let rescale = f64::from(self.rescale);
            let factor = 1.0 - rescale + rescale * wanted / found;
            guided.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
        }
    }
}

/// What each prediction counts; together 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// With the negative prompt only.
    pub plain: f32,
    /// With the subject and the negative prompt.
    pub subject: f32,
    /// With all that is asked for.
    pub full: f32,
}

/// The standard deviation of the elements of `x` that count, summed in order.
fn deviation(x: &[f32], counts: &impl Fn(usize) -> bool) -> f64 {
    let values = || (0..x.len()).filter(|&i| counts(i)).map(|i| f64::from(x[i]));
    let n = values().count().max(1) as f64;
    let mean = values().sum::<f64>() / n;
    (values().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combined(w: Weights, [u, i, ti]: [f32; 3]) -> f32 {
        w.plain * u + w.subject * i + w.full * ti
    }

    #[test]
    fn weights_are_those_of_the_formula() {
        let guidance = Guidance { text: 4.0, image: 2.5, ..Guidance::NONE };
        let (u, i, ti) = (0.5, -1.0, 2.0);
        let expected = u + 2.5 * (i - u) + 4.0 * (ti - i);
        assert_eq!(combined(guidance.weights(0.5, true), [u, i, ti]), expected);
        let expected = u + 4.0 * (ti - u);
        assert_eq!(combined(guidance.weights(0.5, false), [u, f32::NAN.min(0.0), ti]), expected);
    }

    /// What is not weighed is not computed.
    #[test]
    fn ones_leave_the_conditional_prediction_alone() {
        let alone = Weights { plain: 0.0, subject: 0.0, full: 1.0 };
        assert_eq!(Guidance::NONE.weights(0.3, true), alone);
        assert_eq!(Guidance::NONE.weights(0.3, false), alone);
        let text_only = Guidance { text: 5.0, ..Guidance::NONE }.weights(0.3, true);
        assert_eq!((text_only.plain, text_only.subject, text_only.full), (0.0, -4.0, 5.0));
        let nothing = Guidance { text: 0.0, ..Guidance::NONE }.weights(0.3, false);
        assert_eq!((nothing.plain, nothing.full), (1.0, 0.0));
    }

    #[test]
    fn guidance_ends_at_its_interval() {
        let guidance = Guidance { text: 3.0, interval: [0.2, 0.9], ..Guidance::NONE };
        for (s, text) in [(1.0, 1.0), (0.9, 3.0), (0.5, 3.0), (0.2, 3.0), (0.1, 1.0)] {
            assert_eq!(guidance.weights(s, false).full, text, "{s}");
        }
    }

    #[test]
    fn a_rescaled_prediction_has_the_deviation_of_the_conditional_one() {
        let full: Vec<f32> = (0..101).map(|i| (i as f32 * 0.7).sin()).collect();
        let guided: Vec<f32> = full.iter().map(|x| 3.0 * x + 0.2).collect();
        let counts = |i: usize| !i.is_multiple_of(3);
        for (rescale, expected) in [(0.0, 3.0), (0.5, 2.0), (1.0, 1.0)] {
            let mut found = guided.clone();
            Guidance { rescale, ..Guidance::NONE }.rescale(&mut found, &full, counts);
            let ratio = deviation(&found, &counts) / deviation(&full, &counts);
            assert!((ratio - expected).abs() < 1e-6, "{ratio} {expected}");
        }
        let mut still = vec![0.0; 5];
        Guidance { rescale: 1.0, ..Guidance::NONE }.rescale(&mut still, &[1.0; 5], |_| true);
        assert_eq!(still, [0.0; 5]);
    }
}
