//! bf16 and f16 as bits, and their conversions to and from f32.
//!
//! bf16 is the upper half of an f32; f16 is IEEE 754 binary16. Both widen exactly; narrowing rounds
//! to nearest, ties to even, and keeps NaN a NaN.

/// bf16 as its bits.
pub type Bf16 = u16;

/// f16 as its bits.
pub type F16 = u16;

/// The f32 with the same value.
#[inline(always)]
pub fn bf16_to_f32(x: Bf16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// The nearest bf16, ties to even.
#[inline(always)]
pub fn f32_to_bf16(x: f32) -> Bf16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) as u16
}

/// `x` rounded to the nearest bf16 value, still an f32.
#[inline(always)]
pub fn round_to_bf16(x: f32) -> f32 {
    bf16_to_f32(f32_to_bf16(x))
}

/// The f32 with the same value.
pub fn f16_to_f32(x: F16) -> f32 {
    let sign = u32::from(x >> 15) << 31;
    let (exponent, mantissa) = (u32::from(x >> 10) & 0x1F, u32::from(x) & 0x3FF);
    match (exponent, mantissa) {
        (0, m) => {
            let magnitude = m as f32 * (1.0 / (1 << 24) as f32);
            f32::from_bits(magnitude.to_bits() | sign)
        }
        (31, m) => f32::from_bits(sign | 0x7F80_0000 | (m << 13)),
        (e, m) => f32::from_bits(sign | ((e + 112) << 23) | (m << 13)),
    }
}

/// The nearest f16, ties to even; what is too large becomes an infinity.
pub fn f32_to_f16(x: f32) -> F16 {
    let bits = x.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = f32::from_bits(bits & 0x7FFF_FFFF);
    if magnitude.is_nan() {
        return sign | 0x7E00;
    }
    if magnitude >= 65520.0 {
        return sign | 0x7C00;
    }
    if magnitude < 6.103_515_6e-5 {
        // Subnormal: adding 0.5 makes the f32 adder round at 2^-24, to nearest even.
        return sign | ((magnitude + 0.5).to_bits() - 0.5f32.to_bits()) as u16;
    }
    let bits = magnitude.to_bits();
    let rounded = bits + 0xFFF + ((bits >> 13) & 1);
    sign | ((rounded - (112 << 23)) >> 13) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bf16_and_f16_survives_the_round_trip() {
        for bits in 0..=u16::MAX {
            let (b, h) = (bf16_to_f32(bits), f16_to_f32(bits));
            assert!(b.is_nan() || f32_to_bf16(b) == bits, "bf16 {bits:#x}");
            assert!(h.is_nan() || f32_to_f16(h) == bits, "f16 {bits:#x}");
            assert_eq!(b.is_nan(), bf16_to_f32(f32_to_bf16(b)).is_nan());
            assert_eq!(h.is_nan(), f16_to_f32(f32_to_f16(h)).is_nan());
        }
    }

    #[test]
    fn narrowing_rounds_to_nearest_even() {
        // Halfway between two neighbours, and one f32 step to either side of it.
        for bits in (0..0x7C00u16).chain(0x8000..0xFC00) {
            let next = bits + 1;
            for (widen, narrow) in [
                (bf16_to_f32 as fn(u16) -> f32, f32_to_bf16 as fn(f32) -> u16),
                (f16_to_f32, f32_to_f16),
            ] {
                let half = ((f64::from(widen(bits)) + f64::from(widen(next))) / 2.0) as f32;
                if !half.is_finite() || !widen(next).is_finite() {
                    continue;
                }
                let even = if bits % 2 == 0 { bits } else { next };
                assert_eq!(narrow(half), even, "{half}");
                if half.abs() > f32::MIN_POSITIVE {
                    let (down, up) =
                        (f32::from_bits(half.to_bits() - 1), f32::from_bits(half.to_bits() + 1));
                    assert_eq!((narrow(down), narrow(up)), (bits, next), "{half}");
                }
            }
        }
    }
}
