//! Where the time of a forward pass goes, by class of operation: for `fulgurite bench --profile`.
//!
//! A device that carries a [`Profile`] has operations add their time to it; one that does not, which
//! is the usual case, has them look at an empty `Option`.

use crate::Device;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What an operation is for; those of no class count as the rest of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The kernel of lightning attention, without its projections.
    LightningAttention,
    /// The kernel of softmax attention, without its projections.
    SoftmaxAttention,
    /// Products with the weights of experts.
    ExpertProducts,
    /// Products with all other weights.
    OtherProducts,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::LightningAttention,
        Self::SoftmaxAttention,
        Self::ExpertProducts,
        Self::OtherProducts,
    ];
}

/// Time by class, on the CPU; operations run one after the other, so that times add up.
#[derive(Debug, Default)]
pub struct Profile {
    nanoseconds: [AtomicU64; Class::ALL.len()],
}

impl Profile {
    /// The time of a class since the last [`reset`](Self::reset).
    pub fn time(&self, class: Class) -> Duration {
        Duration::from_nanos(self.nanoseconds[class as usize].load(Ordering::Relaxed))
    }

    /// Begins anew.
    pub fn reset(&self) {
        self.nanoseconds.iter().for_each(|time| time.store(0, Ordering::Relaxed));
    }
}

impl Device {
    /// The same with operations that add their time to `profile`; tensors made on it pass it on.
    pub fn with_profile(mut self, profile: &Arc<Profile>) -> Self {
        self.profile = Some(Arc::clone(profile));
        self
    }

    /// Adds the time until the result is dropped to a class, if this device has a profile.
    pub(crate) fn timed(&self, class: Class) -> Option<Timed<'_>> {
        self.profile.as_ref().map(|profile| Timed { profile, class, start: Instant::now() })
    }
}

/// An operation that is being timed.
pub(crate) struct Timed<'a> {
    profile: &'a Profile,
    class: Class,
    start: Instant,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        let time = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.profile.nanoseconds[self.class as usize].fetch_add(time, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Precision, Tensor, Weight};

    #[test]
    fn operations_add_their_time_to_their_class() {
        let profile = Arc::new(Profile::default());
        let device = Device::cpu(1).with_profile(&profile);
        let x = Tensor::full(&device, &[64, 64], 1.0);
        let weight = Weight::new(Tensor::full(&device, &[64, 64], 1.0), Precision::F32);
        // The result is on the same device, so that the second product counts as well.
        _ = x.linear(&weight).linear(&weight);
        let of = |class| profile.time(class);
        assert!(of(Class::OtherProducts) > Duration::ZERO);
        for class in Class::ALL.into_iter().filter(|class| *class != Class::OtherProducts) {
            assert_eq!(of(class), Duration::ZERO, "{class:?}");
        }
        profile.reset();
        assert_eq!(of(Class::OtherProducts), Duration::ZERO);
    }
}
