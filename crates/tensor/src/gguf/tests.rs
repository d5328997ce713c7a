use super::*;
use crate::{Checkpoint, Device, Error, Tensor};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/gguf").join(name)
}

fn sample() -> Vec<u8> {
    fs::read(fixture("sample.gguf")).unwrap()
}

/// What is said of a file of these bytes.
fn message(bytes: &[u8]) -> Result<(), String> {
    let wrong = parse(bytes).map(drop).map_err(|wrong| wrong.into_error("FILE".into()));
    wrong.map_err(|error| error.to_string())
}

fn refused(bytes: &[u8]) -> String {
    let message = message(bytes).unwrap_err();
    message.strip_prefix("`FILE` is not a valid GGUF file: ").unwrap().to_owned()
}

#[test]
fn a_file_of_the_reference_is_read() {
    let device = Device::cpu(1);
    let checkpoint = Checkpoint::open(&fixture("sample.gguf")).unwrap();
    let metadata = checkpoint.metadata().unwrap();
    let strings = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    for (key, expected) in [
        ("general.architecture", Value::String("minimax-01".to_owned())),
        ("sample.u8", Value::U8(200)),
        ("sample.u16", Value::U16(60_000)),
        ("sample.u32", Value::U32(4_000_000_000)),
        ("sample.u64", Value::U64(1 << 60)),
        ("sample.i8", Value::I8(-100)),
        ("sample.i16", Value::I16(-30_000)),
        ("sample.i32", Value::I32(i32::MIN)),
        ("sample.i64", Value::I64(-(1 << 60))),
        ("sample.f32", Value::F32(0.1)),
        ("sample.f64", Value::F64(0.1)),
        ("sample.bool", Value::Bool(true)),
        ("sample.string", Value::String("fulgurite \u{26a1}".to_owned())),
        ("sample.strings", Value::Array(Array::String(strings(&["a", "", "\u{e9}"])))),
        ("sample.bools", Value::Array(Array::Bool(vec![true, false, true]))),
        ("sample.integers", Value::Array(Array::I32(vec![1, -2, 3]))),
    ] {
        assert_eq!(metadata.get(key), Some(&expected), "{key}");
    }
    assert_eq!(metadata.len(), 16);
    let number = |key: &str| metadata[key].as_f64().unwrap();
    assert_eq!((number("sample.f32"), number("sample.i8")), (0.1, -100.0));
    assert_eq!(
        (metadata["sample.u64"].as_u64(), metadata["sample.i8"].as_u64()),
        (Some(1 << 60), None)
    );

    let rows: Vec<f32> = (0..64).map(|i| i as f32 / 8.0 - 3.0).collect();
    for (name, error) in [("f32", 0.0), ("f16", 0.0), ("bf16", 0.0), ("q8_0", 0.02), ("q4_0", 0.7)]
    {
        let tensor = checkpoint.load(&device, name, &[2, 32]).unwrap();
        assert_eq!(tensor.is_bf16(), name == "bf16");
        let off = tensor.to_vec().iter().zip(&rows).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= error, "{name} is off by {off}");
        assert_eq!(checkpoint.dtype(name), Some(name.to_uppercase()));
    }
    for name in ["Q4_K", "Q5_K", "Q6_K"] {
        let want = fs::read(fixture(&format!("{name}.f32"))).unwrap();
        let tensor = checkpoint.load(&device, &name.to_lowercase(), &[2, 256]).unwrap();
        let got: Vec<u8> = tensor.data().iter().flat_map(|x| x.to_le_bytes()).collect();
        assert!(got == want[1024..3072], "{name}");
    }
    assert!(checkpoint.unread().is_empty());
}

fn written(folder: &Path) -> (Vec<u8>, Metadata, Vec<(Planned, Tensor)>) {
    let device = Device::cpu(1);
    let metadata = Metadata::from([
        ("a.text".to_owned(), Value::String("x".to_owned())),
        ("a.list".to_owned(), Value::Array(Array::String(vec![String::new(), "yz".to_owned()]))),
        ("a.none".to_owned(), Value::Array(Array::F64(Vec::new()))),
        ("b.flag".to_owned(), Value::Bool(false)),
        ("b.number".to_owned(), Value::F32(1e-5)),
    ]);
    let mut rng = crate::Rng(1);
    let tensors: Vec<(Planned, Tensor)> = [
        ("scalar", vec![], DType::F32),
        ("vector", vec![5], DType::F32),
        ("halves", vec![3, 2, 7], DType::Bf16),
        ("bytes", vec![2, 3, 1, 64], DType::Blocks(Format::Q8_0)),
        ("nibbles", vec![4, 32], DType::Blocks(Format::Q4_0)),
        ("runs", vec![3, 512], DType::Blocks(Format::Q4K)),
    ]
    .into_iter()
    .map(|(name, shape, dtype)| {
        let tensor = Tensor::normal(&device, &shape, 1.0, &mut rng);
        let tensor = if dtype == DType::Bf16 { tensor.to_bf16() } else { tensor };
        (Planned { name: name.to_owned(), shape, dtype }, tensor)
    })
    .collect();
    let planned: Vec<Planned> = tensors.iter().map(|(planned, _)| planned.clone()).collect();
    let path = folder.join("x.gguf");
    save::<Error>(&path, &metadata, &planned, |i| Ok(tensors[i].1.clone())).unwrap();
    (fs::read(&path).unwrap(), metadata, tensors)
}

#[test]
fn what_is_saved_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, metadata, tensors) = written(folder.path());
    assert_eq!(bytes, written(folder.path()).0, "the same bytes again");
    let checkpoint = Checkpoint::open(&folder.path().join("x.gguf")).unwrap();
    assert_eq!(checkpoint.metadata(), Some(&metadata));
    for (Planned { name, shape, dtype }, tensor) in tensors {
        let loaded = checkpoint.load(tensor.device(), &name, &shape).unwrap();
        let off = loaded.to_vec().into_iter().zip(tensor.to_vec()).map(|(a, b)| (a - b).abs());
        let off = off.fold(0.0, f32::max);
        assert!(off <= if dtype.block_len() > 1 { 0.5 } else { 0.0 }, "{name} is off by {off}");
    }
    let wrong = checkpoint.load(&Device::cpu(1), "bytes", &[64]).unwrap_err().to_string();
    assert!(wrong.ends_with("has shape [2, 3, 1, 64], expected [64]"), "{wrong}");
    let wrong = checkpoint.load_ids("vector").unwrap_err().to_string();
    assert!(wrong.ends_with("has dtype F32, expected I64, I32, U32, U8 or BOOL"), "{wrong}");
}

#[test]
fn what_a_type_cannot_hold_is_named_and_the_old_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    fs::write(&path, "old").unwrap();
    let dtype = DType::Blocks(Format::Q8_0);
    let planned = [Planned { name: "w".to_owned(), shape: vec![2, 32], dtype }];
    let save = |value: f32| {
        let mut data = vec![0.5; 64];
        data[40] = value;
        let tensor = Tensor::new(&Device::cpu(1), &[2, 32], data);
        save::<Error>(&path, &Metadata::new(), &planned, |_| Ok(tensor.clone()))
    };
    let error = save(f32::NAN).unwrap_err().to_string();
    let expected = "element 40 of tensor `w` is NaN, expected a number that Q8_0 can hold";
    assert!(error.ends_with(expected), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    save(1.0).unwrap();
    assert!(message(&fs::read(&path).unwrap()).is_ok());
}

/// A header in pieces.
fn file(keys: &[&[u8]], tensors: &[&[u8]], data: usize) -> Vec<u8> {
    let mut bytes = [&MAGIC[..], &3u32.to_le_bytes()].concat();
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((keys.len() as u64).to_le_bytes());
    bytes.extend(keys.concat());
    bytes.extend(tensors.concat());
    bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn key(name: &str, id: u32, value: &[u8]) -> Vec<u8> {
    [&text(name)[..], &id.to_le_bytes(), value].concat()
}

fn tensor(name: &str, dims: &[u64], id: u32, offset: u64) -> Vec<u8> {
    let mut bytes = [&text(name)[..], &(dims.len() as u32).to_le_bytes()].concat();
    bytes.extend(dims.iter().flat_map(|n| n.to_le_bytes()));
    bytes.extend(id.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

#[test]
fn damaged_files_say_what_is_wrong() {
    let good = file(&[&key("k", 7, &[1])], &[&tensor("w", &[2], 0, 0)], 8);
    message(&good).unwrap();
    let replaced = |at: usize, with: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    };
    let one = |tensor: Vec<u8>| file(&[], &[&tensor], 64);
    let with = |id: u32, value: &[u8]| file(&[&key("k", id, value)], &[], 0);
    let array = |id: u32, count: u64| [&id.to_le_bytes()[..], &count.to_le_bytes()].concat();
    let cases = [
        (b"GGU".to_vec(), "magic is cut short at byte 3, expected 4 bytes at byte 0"),
        (b"GGML1234".to_vec(), "magic is [47, 47, 4d, 4c], expected [47, 47, 55, 46]"),
        (replaced(4, &[1]), "version is 1, expected 2 or 3, little endian"),
        (
            replaced(4, &[0, 0, 0, 3]),
            "version is 50331648, big endian, expected 2 or 3, little endian",
        ),
        (
            replaced(8, &[0xFF; 8]),
            "number of tensors is 18446744073709551615, expected at most 3 in the 88 bytes that are left",
        ),
        (
            replaced(16, &[9]),
            "number of keys is 9, expected at most 6 in the 80 bytes that are left",
        ),
        (replaced(24, &[0xFF; 8]), "length of key 0 is 18446744073709551615, expected at most 72"),
        (
            replaced(32, &[0xFF]),
            "key 0 is invalid utf-8 sequence of 1 bytes from index 0, expected UTF-8",
        ),
        (
            with(13, &[0]),
            "type of `k` is 13, expected one of 0 (u8), 1 (i8), 2 (u16), 3 (i16), 4 (u32), 5 (i32), 6 (f32), 7 (bool), 8 (string), 9 (array), 10 (u64), 11 (i64), 12 (f64)",
        ),
        (with(7, &[2]), "`k` is 2, expected 0 or 1"),
        (
            with(8, &u64::MAX.to_le_bytes()),
            "length of `k` is 18446744073709551615, expected at most 19",
        ),
        (
            with(9, &array(9, 1)),
            "type of the elements of `k` is 9, expected one of 0 (u8), 1 (i8), 2 (u16), 3 (i16), 4 (u32), 5 (i32), 6 (f32), 7 (bool), 8 (string), 10 (u64), 11 (i64), 12 (f64)",
        ),
        (
            with(9, &array(4, 1 << 62)),
            "number of elements of `k` is 4611686018427387904, expected at most 3 in the 15 bytes that are left",
        ),
        (
            with(9, &array(8, 1 << 40)),
            "number of elements of `k` is 1099511627776, expected at most 1 in the 15 bytes that are left",
        ),
        (
            file(&[&key("k", 9, &array(7, (1 << 21) + 1))], &[], 3 << 20),
            "number of elements of `k` is 2097153, expected at most 2097152",
        ),
        (
            file(&[&key("k", 8, &((64u64 << 20) + 1).to_le_bytes())], &[], 65 << 20),
            "length of `k` is 67108865, expected at most 67108864",
        ),
        (
            file(&[&key("k", 9, &[&array(7, 2)[..], &[1, 9]].concat())], &[], 0),
            "an element of `k` is 9, expected 0 or 1",
        ),
        (
            file(&[&key("k", 7, &[1]), &key("k", 7, &[1])], &[], 0),
            "key 1 is `k` again, expected another key",
        ),
        (
            file(&[&key(ALIGNMENT, 4, &[3, 0, 0, 0])], &[], 0),
            "general.alignment is 3, expected a power of two from 8 to 1048576, as u32",
        ),
        (
            one(tensor(&"n".repeat(65), &[1], 0, 0)),
            "length of name of tensor 0 is 65, expected at most 64",
        ),
        (
            one(tensor("w", &[1; 5], 0, 0)),
            "number of dimensions of tensor `w` is 5, expected 4 at most",
        ),
        (
            one(tensor("w", &[4, 0], 0, 0)),
            "dimension 1 of tensor `w` is 0, expected 1 or more, and 2^60 at most with the other dimensions",
        ),
        (
            one(tensor("w", &[1 << 40, 1 << 40], 0, 0)),
            "dimension 1 of tensor `w` is 1099511627776, expected 1 or more, and 2^60 at most with the other dimensions",
        ),
        (
            one(tensor("w", &[1], 3, 0)),
            "type of tensor `w` is 3, expected one of 0 (F32), 1 (F16), 2 (Q4_0), 8 (Q8_0), 12 (Q4_K), 13 (Q5_K), 14 (Q6_K), 30 (BF16)",
        ),
        (
            one(tensor("w", &[33], 8, 0)),
            "dimension 0 of tensor `w` is 33, expected a multiple of 32 for Q8_0",
        ),
        (
            one(tensor("w", &[1], 0, 4)),
            "offset of tensor `w` is 4, expected 0, where the data begins",
        ),
        (
            one(tensor("w", &[17], 0, 0)),
            "offset of tensor `w` is 0, expected 68 bytes within the file, which has 64 for data; it may be cut short",
        ),
        (
            one(tensor("w", &[1], 0, u64::MAX - 31)),
            "offset of tensor `w` is 18446744073709551584, expected 0, where the data begins",
        ),
        (
            file(&[], &[&tensor("w", &[1], 0, 0), &tensor("w", &[1], 0, 32)], 36),
            "tensor 1 is `w` again, expected another name",
        ),
        (
            file(&[], &[&tensor("v", &[9], 0, 0), &tensor("w", &[1], 0, 32)], 68),
            "offset of tensor `w` is 32, expected 64, behind `v`",
        ),
        (
            one(tensor("w", &[8], 0, 0)),
            "type, shape or place of tensor `w` is such that it ends at byte 96, expected less than 32 bytes behind it in a file of 128 bytes",
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(refused(&bytes), expected);
    }
}

#[test]
fn the_second_version_and_other_alignments_are_read() {
    let mut old = sample();
    old[4] = 2;
    message(&old).unwrap();
    let aligned = key(ALIGNMENT, 4, &[64, 0, 0, 0]);
    let tensors = [tensor("v", &[1], 0, 0), tensor("w", &[16], 0, 64)];
    let mut bytes = file(&[&aligned], &[&tensors[0], &tensors[1]], 0);
    bytes.resize(bytes.len().next_multiple_of(64) + 128, 0);
    assert_eq!(parse(&bytes).unwrap().tensors[1].range, bytes.len() - 64..bytes.len());
}

#[test]
fn a_file_cut_short_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for bytes in [sample(), written(folder.path()).0] {
        let ranges = || parse(&bytes).unwrap().tensors.into_iter().map(|tensor| tensor.range);
        // What stands behind the last tensor fills it up and says nothing.
        let end = ranges().map(|range| range.end).max().unwrap();
        message(&bytes[..end]).unwrap();
        let parts = (0..64).map(|part| end * part / 64);
        for len in parts.chain(0..=ranges().map(|range| range.start).min().unwrap()) {
            refused(&bytes[..len]);
        }
    }
}

/// Every byte of the header in turn, with several values: what is still read stays in the file.
#[test]
fn a_changed_byte_is_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    for bytes in [sample(), written(folder.path()).0] {
        let data = parse(&bytes).unwrap().tensors.iter().map(|t| t.range.start).min().unwrap();
        for at in 0..data {
            let old = bytes[at];
            for new in [0, 1, 9, 0x7F, 0x80, 0xFF, old ^ 1, old.wrapping_add(1), old ^ 0x40] {
                let mut bytes = bytes.clone();
                bytes[at] = new;
                let Ok(header) = parse(&bytes) else { continue };
                for tensor in header.tensors {
                    assert!(tensor.range.end <= bytes.len());
                    let elements: usize = tensor.shape.iter().product();
                    let blocks = elements / tensor.dtype.block_len();
                    assert_eq!(tensor.range.len(), blocks * tensor.dtype.block_bytes());
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes: Vec<u8>) {
        let _ = parse(&bytes);
        bytes.splice(0..0, [&MAGIC[..], &[3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]].concat());
        let _ = parse(&bytes);
    }
}
