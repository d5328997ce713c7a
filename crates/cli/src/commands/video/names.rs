//! How samplers and checks are called, on the command line, in reports and over HTTP alike.

use clap::ValueEnum;
use server::video as ordered;
use video::{Consistency, Sampler};

/// The names of [`Sampler`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// One prediction a step, along the straight line; takes `--eta`
    Euler,
    /// DPM-Solver++ of second order: fewer steps do
    Dpm,
    /// The same with noise that is renewed all the time
    SdeDpm,
}

impl Method {
    /// The sampler; `None` if it takes no such `eta`.
    pub(crate) fn sampler(self, eta: f64) -> Option<Sampler> {
        match self {
            Self::Euler => Some(Sampler::Euler { eta }),
            _ if eta != 0.0 => None,
            Self::Dpm => Some(Sampler::DpmSolver),
            Self::SdeDpm => Some(Sampler::SdeDpmSolver),
        }
    }

    /// As orders have it.
    pub(crate) fn ordered(self) -> ordered::Sampler {
        match self {
            Self::Euler => ordered::Sampler::Euler,
            Self::Dpm => ordered::Sampler::Dpm,
            Self::SdeDpm => ordered::Sampler::SdeDpm,
        }
    }
}

impl From<Sampler> for Method {
    fn from(sampler: Sampler) -> Self {
        match sampler {
            Sampler::Euler { .. } => Self::Euler,
            Sampler::DpmSolver => Self::Dpm,
            Sampler::SdeDpmSolver => Self::SdeDpm,
        }
    }
}

impl From<ordered::Sampler> for Method {
    fn from(sampler: ordered::Sampler) -> Self {
        match sampler {
            ordered::Sampler::Euler => Self::Euler,
            ordered::Sampler::Dpm => Self::Dpm,
            ordered::Sampler::SdeDpm => Self::SdeDpm,
        }
    }
}

/// The names of [`Consistency`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Frames are not looked at
    Off,
    /// Bad frames are reported
    Report,
    /// The best of several candidates is finished
    Select,
    /// Bad frames are made again where that makes them better
    Repair,
}

/// Candidates that are selected from unless so many are asked for.
const CANDIDATES: usize = 4;

impl Mode {
    /// What is done and with how many candidates, if neither or one of them is said.
    pub(crate) fn with_candidates(
        mode: Option<Self>,
        candidates: Option<usize>,
    ) -> (Consistency, usize) {
        let mode = mode.unwrap_or(match candidates {
            Some(2..) => Self::Select,
            _ => Self::Report,
        });
        let default = if mode == Self::Select { CANDIDATES } else { 1 };
        (mode.into(), candidates.unwrap_or(default))
    }

    /// As orders have it.
    pub(crate) fn ordered(self) -> ordered::Consistency {
        match self {
            Self::Off => ordered::Consistency::Off,
            Self::Report => ordered::Consistency::Report,
            Self::Select => ordered::Consistency::Select,
            Self::Repair => ordered::Consistency::Repair,
        }
    }
}

impl From<Mode> for Consistency {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Off => Self::Off,
            Mode::Report => Self::Report,
            Mode::Select => Self::Select,
            Mode::Repair => Self::Repair,
        }
    }
}

impl From<Consistency> for Mode {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::Off => Self::Off,
            Consistency::Report => Self::Report,
            Consistency::Select => Self::Select,
            Consistency::Repair => Self::Repair,
        }
    }
}

impl From<ordered::Consistency> for Mode {
    fn from(consistency: ordered::Consistency) -> Self {
        match consistency {
            ordered::Consistency::Off => Self::Off,
            ordered::Consistency::Report => Self::Report,
            ordered::Consistency::Select => Self::Select,
            ordered::Consistency::Repair => Self::Repair,
        }
    }
}

/// The name of a value of the command line.
pub(crate) fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the command line and reports say is what orders say.
    #[test]
    fn names_are_the_same_everywhere() {
        for method in Method::value_variants() {
            assert_eq!(serde_json::json!(method.ordered()), name(method));
            assert_eq!(Method::from(method.ordered()), *method);
            assert_eq!(method.sampler(0.0).map(Method::from), Some(*method));
            assert_eq!(method.sampler(0.5).is_some(), *method == Method::Euler);
        }
        for mode in Mode::value_variants() {
            assert_eq!(serde_json::json!(mode.ordered()), name(mode));
            assert_eq!(Mode::from(mode.ordered()), *mode);
            assert_eq!(Mode::from(Consistency::from(*mode)), *mode);
        }
    }

    #[test]
    fn several_candidates_are_selected_from() {
        for (mode, candidates, want) in [
            (None, None, (Consistency::Report, 1)),
            (None, Some(1), (Consistency::Report, 1)),
            (None, Some(3), (Consistency::Select, 3)),
            (Some(Mode::Select), None, (Consistency::Select, 4)),
            (Some(Mode::Repair), Some(2), (Consistency::Repair, 2)),
            (Some(Mode::Off), Some(2), (Consistency::Off, 2)),
        ] {
            assert_eq!(Mode::with_candidates(mode, candidates), want);
        }
    }
}
