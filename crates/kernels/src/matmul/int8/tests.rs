use super::*;
use crate::half::f16_to_f32;
use crate::matmul::{MatMut, Packed, grouped, matmul_packed, serial_packed};
use crate::testing::{assert_close, execs, random};
use crate::{Arithmetic, Rng, quant};
use proptest::prelude::*;

const FORMATS: [Format; 3] = [Format::Q8_0, Format::Q4_0, Format::Q4K];

/// Rows of random blocks, every bit pattern but scales that are not finite.
fn blocks(rng: &mut Rng, format: Format, n: usize, k: usize) -> Vec<u8> {
    let mut bytes = vec![0; n * k / format.block_len() * format.block_bytes()];
    bytes.iter_mut().for_each(|byte| *byte = rng.below(256) as u8);
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        // From 2^-11 to 2^-8, of either sign; and some that are subnormal.
        for at in if has_minima(format) { vec![0, 2] } else { vec![0] } {
            block[at + 1] = (block[at + 1] & 0x83) | if rng.below(20) == 0 { 0 } else { 0x10 };
        }
    }
    bytes
}

/// The definition at the top of `super`, from what the file says.
fn reference(a: Mat<'_>, format: Format, bytes: &[u8], n: usize, c: &mut [f32]) {
    let k = a.cols;
    let row_bytes = k / format.block_len() * format.block_bytes();
    for (i, c) in c.chunks_exact_mut(n).enumerate() {
        for (j, c) in c.iter_mut().enumerate() {
            for b in 0..k / BLOCK {
                let x: Vec<f32> = (0..BLOCK)
                    .map(|l| a.data[i * a.row_stride + (b * BLOCK + l) * a.col_stride])
                    .collect();
                let most = x.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
                let p = |l: usize| match most {
                    0.0 => 0,
                    most => (x[l] * (127.0 / most)).round_ties_even() as i32,
                };
                let block_at = b * BLOCK / format.block_len() * format.block_bytes();
                let block = &bytes[j * row_bytes + block_at..][..format.block_bytes()];
                let (s, m, q) = split(format, block, b % (format.block_len() / BLOCK));
                let dot: i32 = (0..BLOCK).map(|l| p(l) * q[l]).sum();
                let t = most / 127.0;
                *c = (dot as f32 * s).mul_add(t, *c);
                if has_minima(format) {
                    let sum: i32 = (0..BLOCK).map(p).sum();
                    *c = (-m).mul_add(t * sum as f32, *c);
                }
            }
        }
    }
}

/// Scale, minimum and integers of run `run` of a block.
fn split(format: Format, block: &[u8], run: usize) -> (f32, f32, Vec<i32>) {
    let f16 = |at: usize| f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]));
    let nibble =
        |at: usize, high: bool| i32::from(if high { block[at] >> 4 } else { block[at] & 15 });
    let q = |l: usize| match format {
        Format::Q8_0 => i32::from(block[2 + l].cast_signed()),
        Format::Q4_0 => nibble(2 + l % 16, l >= 16) - 8,
        _ => nibble(16 + run / 2 * 32 + l, run % 2 == 1),
    };
    let q = (0..BLOCK).map(q).collect();
    if !has_minima(format) {
        return (f16(0), 0.0, q);
    }
    let (scale, offset) = quant::scale_and_offset(&block[4..16], run);
    (f16(0) * f32::from(scale), f16(2) * f32::from(offset), q)
}

fn bits(x: &[f32]) -> Vec<u32> {
    // Zeros of both signs are one number.
    x.iter().map(|x| (x + 0.0).to_bits()).collect()
}

fn check(rng: &mut Rng, format: Format, [m, n, k]: [usize; 3], accumulate: bool) {
    let bytes = blocks(rng, format, n, k);
    // Of very different sizes, a block of zeros, a transposed one.
    let mut data = random(rng, m * k);
    data.iter_mut().enumerate().for_each(|(i, x)| *x *= [1.0, 1e-3, 1e4][i / 40 % 3]);
    data.iter_mut().take(BLOCK).for_each(|x| *x = 0.0);
    let a = match rng.below(2) {
        0 => Mat::row_major(&data, m, k),
        _ => Mat::row_major(&data, k, m).t(),
    };
    let before = if accumulate { random(rng, m * n) } else { vec![0.0; m * n] };
    let mut want = before.clone();
    reference(a, format, &bytes, n, &mut want);
    for exec in execs() {
        let packed = Packed::from_blocks(&exec, format, &bytes, n, k);
        let mut wide = vec![0.0; n * k];
        quant::dequantize(format, &bytes, &mut wide);
        let mut got = before.clone();
        matmul_packed(&exec, a, &packed, MatMut::row_major(&mut got, m, n), accumulate);
        if exec.cpu.arithmetic == Arithmetic::F64 {
            let mut want = before.clone();
            for (i, c) in want.iter_mut().enumerate() {
                let x = |l: usize| f64::from(a.data[i / n * a.row_stride + l * a.col_stride]);
                let dot = |l| x(l) * f64::from(wide[i % n * k + l]);
                *c += (0..k).map(dot).sum::<f64>() as f32;
            }
            assert_close("widened", &want, &got, 1e-6);
            continue;
        }
        let what = format!("{} {m} x {k} x {n} on {:?}", format.name(), exec.cpu);
        assert!(bits(&want) == bits(&got), "{what}");
        let mut got = before.clone();
        serial_packed(exec.cpu, a, &packed, MatMut::row_major(&mut got, m, n), accumulate);
        assert!(bits(&want) == bits(&got), "{what}, serial");
    }
}

#[test]
fn every_level_gives_the_bits_of_the_definition() {
    let mut rng = Rng(7);
    for format in FORMATS {
        for [m, n, blocks] in [
            [1, 1, 1],
            [1, 33, 2],
            [2, 32, 9],
            [5, 64, 3],
            [16, 31, 1],
            [17, 65, 4],
            [31, 7, 2],
            [130, 40, 3],
            [0, 5, 1],
            [3, 2, 0],
        ] {
            let k = blocks * format.block_len();
            check(&mut rng, format, [m, n, k], false);
            check(&mut rng, format, [m, n, k], true);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(
        seed in any::<u64>(), format in 0..3usize, m in 1..70usize, n in 1..80usize, b in 1..4usize,
    ) {
        let format = FORMATS[format];
        let k = b * format.block_len() * if has_minima(format) { 1 } else { 3 };
        check(&mut Rng(seed), format, [m, n, k], seed % 2 == 0);
    }
}

#[test]
fn values_are_those_of_the_file() {
    let exec = Exec::new(1);
    for format in FORMATS {
        let (n, k) = (35, 2 * format.block_len());
        let bytes = blocks(&mut Rng(3), format, n, k);
        let mut want = vec![0.0; n * k];
        quant::dequantize(format, &bytes, &mut want);
        let lines = pack(&exec, format, &bytes, n, k);
        let w = Blocks { lines: &lines, format, n, k };
        let got: Vec<f32> = (0..n * k).map(|i| pack::value(w, i / k, i % k)).collect();
        assert_eq!(bits(&want), bits(&got), "{}", format.name());
    }
}

#[test]
fn halves_are_those_of_the_scalar_conversion() {
    for x in 0..=u16::MAX {
        let (want, got) = (f16_to_f32(x), pack::half(x));
        assert!(want.to_bits() == got.to_bits() || want.is_nan() && got.is_nan(), "{x:#x}");
    }
}

#[test]
fn numbers_that_are_not_finite_stay_so() {
    let bytes = blocks(&mut Rng(4), Format::Q8_0, 4, 64);
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for exec in execs() {
            let mut a = [0.5; 128];
            a[40] = value;
            let packed = Packed::from_blocks(&exec, Format::Q8_0, &bytes, 4, 64);
            let mut c = [0.0; 8];
            let a = Mat::row_major(&a, 2, 64);
            matmul_packed(&exec, a, &packed, MatMut::row_major(&mut c, 2, 4), false);
            assert!(c[..4].iter().all(|x| !x.is_finite()), "{c:?} on {:?}", exec.cpu);
            assert!(c[4..].iter().all(|x| x.is_finite()), "{c:?} on {:?}", exec.cpu);
        }
    }
}

/// The limit of the format: half a step of each operand, and their product.
#[test]
fn what_is_lost_is_what_the_formats_lose() {
    let (m, n, k) = (9, 40, 1024);
    let mut rng = Rng(5);
    let (a, w) = (random(&mut rng, m * k), random(&mut rng, n * k));
    let exact = |w: &[f32]| -> Vec<f32> {
        let dot = |i: usize| {
            let (a, w) = (&a[i / n * k..][..k], &w[i % n * k..][..k]);
            a.iter().zip(w).map(|(a, w)| f64::from(*a) * f64::from(*w)).sum::<f64>() as f32
        };
        (0..m * n).map(dot).collect()
    };
    let exec = Exec::new(2);
    let mut bytes = vec![0; n * k / 32 * 34];
    quant::quantize(Format::Q8_0, &w, &mut bytes).unwrap();
    let mut wide = vec![0.0; n * k];
    quant::dequantize(Format::Q8_0, &bytes, &mut wide);
    let packed = Packed::from_blocks(&exec, Format::Q8_0, &bytes, n, k);
    let mut got = vec![0.0; m * n];
    let c = MatMut::row_major(&mut got, m, n);
    matmul_packed(&exec, Mat::row_major(&a, m, k), &packed, c, false);
    // A step of 1 / 127 of the largest, uniform: 1 / 127 / sqrt(12) of 1 / sqrt(3), twice.
    assert_close("of the widened weight", &exact(&wide), &got, 0.0045);
    assert_close("of the weight", &exact(&w), &got, 0.0062);
}

/// Experts with many, few and no rows; each gets what it gets alone.
#[test]
fn runs_are_products_of_their_own() {
    let (n, k, runs) = (70, 256, [0..150, 150..150, 151..153, 153..170]);
    let mut rng = Rng(6);
    let a = random(&mut rng, 171 * k);
    for format in FORMATS {
        let weights: Vec<_> = runs.iter().map(|_| blocks(&mut rng, format, n, k)).collect();
        for exec in execs().into_iter().filter(|exec| exec.cpu.arithmetic == Arithmetic::F32) {
            let pack = |bytes: &Vec<u8>| Packed::from_blocks(&exec, format, bytes, n, k);
            let packed: Vec<_> = weights.iter().map(pack).collect();
            let mut got = vec![7.0; 171 * n];
            let c = MatMut::row_major(&mut got, 171, n);
            grouped(&exec, Mat::row_major(&a, 171, k), &packed, &runs, c);
            let mut want = vec![7.0; 171 * n];
            for (run, packed) in runs.iter().zip(&packed) {
                for row in run.clone() {
                    let c = MatMut::row_major(&mut want[row * n..][..n], 1, n);
                    let a = Mat::row_major(&a[row * k..][..k], 1, k);
                    matmul_packed(&exec, a, packed, c, false);
                }
            }
            assert!(bits(&want) == bits(&got), "{} on {:?}", format.name(), exec.cpu);
        }
    }
}
