//! In which type each class of tensors is kept while a model runs: one table, by name.
//!
//! ```text
//! policy    matrices of layers   gates of lightning layers, head   embedding    norms, routers
//! (none)    as stored            as stored                         as stored    f32
//! f32       f32                  f32                               as stored    f32
//! bf16      bf16                 bf16; head as stored              as stored    f32
//! q8        Q8_0                 as stored                         as stored    f32
//! q4        Q4_0                 as stored                         as stored    f32
//! q4k       Q4_K                 as stored                         as stored    f32
//! q4-lean   Q4_0                 Q8_0                              as stored    f32
//! ```
//!
//! The head multiplies f32 activations as f32, unless it is in blocks. Where rows are not whole
//! blocks of Q4_K they may be of Q4_0, which takes as many bytes, and where they are not whole blocks
//! at all the matrix is bf16. Q5_K and Q6_K are not multiplied: such matrices become Q8_0, which
//! loses a 250th of a block's largest number at most.

use super::Role;
use std::fmt;
use std::str::FromStr;
use tensor::gguf::{DType, Format};

/// A named choice of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Everything in f32.
    F32,
    /// Matrices in bf16.
    Bf16,
    /// Matrices of layers in 8 bits.
    Q8,
    /// Matrices of layers in 4 bits.
    Q4,
    /// The same with scales and offsets that fit better.
    Q4K,
    /// Matrices of layers in 4 bits, gates and head in 8.
    Q4Lean,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::F32, Self::Bf16, Self::Q8, Self::Q4, Self::Q4K, Self::Q4Lean];

    /// By this it is known on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
            Self::Q4K => "q4k",
            Self::Q4Lean => "q4-lean",
        }
    }

    /// The type of the matrices of layers.
    pub fn matrices(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::Bf16,
            Self::Q8 => DType::Blocks(Format::Q8_0),
            Self::Q4 | Self::Q4Lean => DType::Blocks(Format::Q4_0),
            Self::Q4K => DType::Blocks(Format::Q4K),
        }
    }

    /// Whether there are blocks, which take time to make.
    pub fn is_quantizing(self) -> bool {
        matches!(self.matrices(), DType::Blocks(_))
    }

    /// The type of heads and of gates of lightning layers; `None`: as stored.
    fn sensitive(self) -> Option<DType> {
        (self == Self::Q4Lean).then_some(DType::Blocks(Format::Q8_0))
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|policy| policy.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("`{name}` is none of {names}")
        })
    }
}

/// The type of tensor `name` of `role`, whose rows have `row` elements and are stored as `own`.
pub(super) fn kept(
    policy: Option<Policy>,
    role: Role,
    name: &str,
    own: DType,
    row: usize,
) -> DType {
    let own = match own {
        DType::F16 => DType::F32,
        DType::Blocks(Format::Q5K | Format::Q6K) => DType::Blocks(Format::Q8_0),
        own => own,
    };
    let sensitive = role == Role::Head || name.ends_with("output_gate.weight");
    let wanted = match (role, policy) {
        (Role::Norm | Role::Router | Role::Bias | Role::Rows, _) => DType::F32,
        // Looked up, not multiplied.
        (Role::Embedding, _) if matches!(own, DType::Blocks(_)) => DType::F32,
        (Role::Embedding, _) | (_, None) => own,
        (Role::Head, Some(Policy::Bf16)) => own,
        (Role::Head, Some(Policy::F32)) if own == DType::Bf16 => own,
        (_, Some(policy)) if sensitive && policy.is_quantizing() => {
            policy.sensitive().unwrap_or(own)
        }
        (_, Some(policy)) => policy.matrices(),
    };
    fitting(wanted, row)
}

/// `wanted`, or what comes next where rows of `row` elements are not whole blocks of it.
pub(super) fn fitting(wanted: DType, row: usize) -> DType {
    match wanted {
        wanted if row.is_multiple_of(wanted.block_len()) => wanted,
        DType::Blocks(Format::Q4K) => fitting(DType::Blocks(Format::Q4_0), row),
        _ => DType::Bf16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q8: DType = DType::Blocks(Format::Q8_0);
    const Q4: DType = DType::Blocks(Format::Q4_0);
    const Q4K: DType = DType::Blocks(Format::Q4K);
    const Q6K: DType = DType::Blocks(Format::Q6K);

    #[test]
    fn the_table() {
        let gate = "model.layers.0.self_attn.output_gate.weight";
        let of = |policy, role, own| kept(policy, role, "x.weight", own, 512);
        for policy in Policy::ALL.map(Some).into_iter().chain([None]) {
            assert_eq!(of(policy, Role::Norm, DType::Bf16), DType::F32);
            assert_eq!(of(policy, Role::Router, Q4), DType::F32);
            assert_eq!(of(policy, Role::Embedding, DType::Bf16), DType::Bf16);
            assert_eq!(of(policy, Role::Embedding, Q4), DType::F32);
        }
        for own in [DType::F32, DType::Bf16, Q8, Q4, Q4K] {
            assert_eq!(of(None, Role::Deep, own), own);
        }
        assert_eq!(of(None, Role::Head, Q6K), Q8);
        assert_eq!(of(None, Role::Deep, DType::F16), DType::F32);
        let row = |policy| {
            let projection = of(Some(policy), Role::Projection, DType::Bf16);
            let gate = kept(Some(policy), Role::Projection, gate, DType::Bf16, 512);
            (projection, gate, of(Some(policy), Role::Head, DType::Bf16))
        };
        assert_eq!(row(Policy::F32), (DType::F32, DType::F32, DType::Bf16));
        assert_eq!(row(Policy::Bf16), (DType::Bf16, DType::Bf16, DType::Bf16));
        assert_eq!(row(Policy::Q8), (Q8, DType::Bf16, DType::Bf16));
        assert_eq!(row(Policy::Q4), (Q4, DType::Bf16, DType::Bf16));
        assert_eq!(row(Policy::Q4K), (Q4K, DType::Bf16, DType::Bf16));
        assert_eq!(row(Policy::Q4Lean), (Q4, Q8, Q8));
    }

    #[test]
    fn rows_that_are_not_whole_blocks() {
        assert_eq!([512, 32, 20].map(|row| fitting(Q4K, row)), [Q4K, Q4, DType::Bf16]);
        assert_eq!([32, 20].map(|row| fitting(Q8, row)), [Q8, DType::Bf16]);
        assert_eq!(fitting(DType::F32, 1), DType::F32);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for policy in Policy::ALL {
            assert_eq!(policy.name().parse(), Ok(policy));
        }
        let error = "q5".parse::<Policy>().unwrap_err();
        assert_eq!(error, "`q5` is none of f32, bf16, q8, q4, q4k, q4-lean");
    }
}
