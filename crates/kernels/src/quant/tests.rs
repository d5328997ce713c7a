use super::*;
use crate::Rng;
use proptest::prelude::*;
use std::path::Path;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/gguf").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn floats(name: &str) -> Vec<f32> {
    fixture(name).as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect()
}

fn dequantized(format: Format, blocks: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; blocks.len() / format.block_bytes() * format.block_len()];
    dequantize(format, blocks, &mut out);
    out
}

type Quantize = fn(&[f32], &mut [u8]) -> Result<(), Unrepresentable>;
const QUANTIZED: [(Format, Quantize); 2] =
    [(Format::Q8_0, quantize_q8_0), (Format::Q4_0, quantize_q4_0)];

fn quantized(format: Format, x: &[f32]) -> Result<Vec<u8>, Unrepresentable> {
    let mut blocks = vec![0xAA; x.len() / format.block_len() * format.block_bytes()];
    let (_, quantize) = QUANTIZED.into_iter().find(|(known, _)| *known == format).unwrap();
    quantize(x, &mut blocks).map(|()| blocks)
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn blocks_are_read_as_the_reference_reads_them() {
    for format in Format::ALL {
        let name = format.name();
        let (want, got) = (
            floats(&format!("{name}.f32")),
            dequantized(format, &fixture(&format!("{name}.blocks"))),
        );
        assert_eq!(bits(&want), bits(&got), "{name}");
    }
}

#[test]
fn blocks_are_written_as_the_reference_writes_them() {
    for (format, _) in QUANTIZED {
        let name = format.name();
        let got = quantized(format, &floats(&format!("{name}.source"))).unwrap();
        assert!(got == fixture(&format!("{name}.blocks")), "{name}");
    }
}

/// The half, as f16, and then bytes; computed by hand.
#[test]
fn known_blocks() {
    const HALF: [u8; 2] = [0x00, 0x38];
    let q8_0 = [&HALF[..], &[4, 0xFC, 127, 0x80], &[0; 28]].concat();
    assert_eq!(dequantized(Format::Q8_0, &q8_0)[..5], [2.0, -2.0, 63.5, -64.0, 0.0]);

    let q4_0 = [&HALF[..], &[0xF0, 0x89], &[0x88; 14]].concat();
    let x = dequantized(Format::Q4_0, &q4_0);
    assert_eq!((x[..3].to_vec(), x[16..19].to_vec()), (vec![-4.0, 0.5, 0.0], vec![3.5, 0.0, 0.0]));

    // Scales 1 to 4 and 16 + 5 to 16 + 8; offsets 8 to 5 and 32 + 4 to 32 + 1.
    let scales = [0x41, 0x42, 0x43, 0x44, 0x88, 0x87, 0x86, 0x85, 0x45, 0x36, 0x27, 0x18];
    let q4_k = [&HALF[..], &HALF, &scales, &[0x31; 128]].concat();
    let want = |j: usize, q: f32| {
        let scale = [1.0, 2.0, 3.0, 4.0, 21.0, 22.0, 23.0, 24.0][j];
        0.5 * scale * q - 0.5 * [8.0, 7.0, 6.0, 5.0, 36.0, 35.0, 34.0, 33.0][j]
    };
    for (i, x) in dequantized(Format::Q4K, &q4_k).into_iter().enumerate() {
        assert_eq!(x, want(i / 32, if i / 32 % 2 == 0 { 1.0 } else { 3.0 }), "{i}");
    }
    // The fifth bit of element 0 of every run, and of all elements of run 7.
    let mut high = [0x80; 32];
    high[0] = 0xFF;
    let q5_k = [&HALF[..], &HALF, &scales, &high, &[0x31; 128]].concat();
    for (i, x) in dequantized(Format::Q5K, &q5_k).into_iter().enumerate() {
        let more = if i % 32 == 0 || i / 32 == 7 { 16.0 } else { 0.0 };
        assert_eq!(x, want(i / 32, more + if i / 32 % 2 == 0 { 1.0 } else { 3.0 }), "{i}");
    }
    // Runs of a half: 1, 1, 2, 2, and 16 times 0, 1, 2, 3; scales 1 to 16, every other negative.
    let scales: Vec<u8> =
        (1..=16i8).map(|i| if i % 2 == 0 { -i } else { i }.cast_unsigned()).collect();
    let q6_k = [&[0x21; 128][..], &[0b1110_0100; 64], &scales, &HALF].concat();
    for (i, x) in dequantized(Format::Q6K, &q6_k).into_iter().enumerate() {
        let q = [1.0, 17.0, 34.0, 50.0][i / 32 % 4] - 32.0;
        let scale = (i / 16 + 1) as f32 * if i / 16 % 2 == 0 { 1.0 } else { -1.0 };
        assert_eq!(x, 0.5 * scale * q, "{i}");
    }
}

#[test]
fn odd_numbers() {
    for (format, _) in QUANTIZED {
        let name = format.name();
        assert_eq!(quantized(format, &[]), Ok(Vec::new()), "{name}");
        // Zeros of both signs, and what is below the f16s, are zeros.
        for tiny in [0.0, -0.0, f32::MIN_POSITIVE, -1e-40, 1e-9] {
            let x = dequantized(format, &quantized(format, &[tiny; 32]).unwrap());
            assert!(x.iter().all(|x| *x == 0.0), "{name}: {tiny:e}");
        }
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38, -1e8] {
            let mut x = [1.0; 96];
            x[70] = value;
            let error = quantized(format, &x).unwrap_err();
            assert_eq!((error.index, error.value.to_bits()), (70, value.to_bits()), "{name}");
        }
        // A scale in the subnormal f16s is used.
        let x = dequantized(format, &quantized(format, &[-3e-5; 32]).unwrap());
        assert!(x.iter().all(|x| (x + 3e-5).abs() < 5e-6), "{name}: {}", x[0]);
    }
}

#[test]
fn any_block_is_read() {
    let mut rng = Rng(1);
    for format in Format::ALL {
        for _ in 0..200 {
            let block: Vec<u8> =
                (0..format.block_bytes()).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
            dequantized(format, &block);
            assert!(dequantized(format, &vec![0; block.len()]).iter().all(|x| *x == 0.0));
            dequantized(format, &vec![0xFF; block.len()]);
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_near(
        scale in -7i32..6, blocks in 1usize..4, seed: u64, zeros in 0usize..3,
    ) {
        let mut rng = Rng(seed);
        let number = |_| {
            let x = rng.normal() * 10f32.powi(scale);
            if rng.below(3) < zeros { 0.0 } else { x }
        };
        let x: Vec<f32> = (0..32 * blocks).map(number).collect();
        for (format, _) in QUANTIZED {
            let got = dequantized(format, &quantized(format, &x).unwrap());
            for (i, (x, got)) in x.chunks(32).zip(got.chunks(32)).enumerate() {
                let most = x.iter().fold(0f32, |most, x| most.max(x.abs()));
                let (steps, widest) = match format {
                    Format::Q8_0 => (1.0 / 254.0, 127.0),
                    _ => (1.0 / 8.0, 8.0),
                };
                let lost = (most / 2048.0).max(widest * 2f32.powi(-25));
                let allowed = (most * steps + lost) * (1.0 + 1e-5);
                for (x, got) in x.iter().zip(got) {
                    prop_assert!((x - got).abs() <= allowed, "block {i} {format:?}: {x} is {got}");
                }
            }
        }
    }

    /// Numbers that a format can hold are held exactly.
    #[test]
    fn whole_numbers_stay(seed: u64) {
        let mut rng = Rng(seed);
        let mut whole = |most: usize| {
            let mut x: Vec<f32> = (0..32).map(|_| rng.below(2 * most) as f32 - most as f32).collect();
            x[7] = -(most as f32);
            x
        };
        for (format, x) in [(Format::Q8_0, whole(127)), (Format::Q4_0, whole(8))] {
            prop_assert_eq!(&dequantized(format, &quantized(format, &x).unwrap()), &x);
        }
    }
}
