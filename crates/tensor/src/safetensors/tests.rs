use super::*;
use proptest::prelude::*;
use std::fs;

fn file_of(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

#[track_caller]
fn message(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    fs::write(&path, bytes).unwrap();
    let error = Checkpoint::open(&path).unwrap_err().to_string();
    error.replace(&path.display().to_string(), "FILE")
}

#[test]
fn what_is_saved_is_loaded() {
    let device = Device::cpu(1);
    let floats = Tensor::new(&device, &[2, 2], vec![1.0, -2.5, 0.0, 1e9]);
    let tensors = BTreeMap::from([
        ("a.floats".to_owned(), Saved::Tensor(floats.clone())),
        ("b.halves".to_owned(), Saved::Tensor(floats.to_bf16())),
        ("c.ids".to_owned(), Saved::Ids(vec![3], vec![1, -1, 1 << 40])),
        ("d.none".to_owned(), Saved::Tensor(Tensor::zeros(&device, &[0, 4]))),
        ("e.scalar".to_owned(), Saved::Tensor(Tensor::full(&device, &[], 7.0))),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(WEIGHTS);
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    save(&path, tensors.clone(), &metadata).unwrap();
    let first = fs::read(&path).unwrap();
    save(&path, tensors, &metadata).unwrap();
    assert_eq!(first, fs::read(&path).unwrap(), "the same bytes again");

    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.load(&device, "a.floats", &[2, 2]).unwrap().data(), floats.data());
    let halves = checkpoint.load(&device, "b.halves", &[2, 2]).unwrap();
    assert!(halves.is_bf16());
    assert_eq!(halves.to_vec()[..3], [1.0, -2.5, 0.0]);
    assert_eq!(checkpoint.load_ids("c.ids").unwrap(), [1, -1, 1 << 40]);
    assert_eq!(checkpoint.unread(), ["d.none", "e.scalar"]);
    assert_eq!(checkpoint.load(&device, "d.none", &[0, 4]).unwrap().len(), 0);
    assert_eq!(checkpoint.load(&device, "e.scalar", &[]).unwrap().data(), [7.0]);
    assert!(checkpoint.unread().is_empty());
    let wrong = checkpoint.load(&device, "a.floats", &[4]).unwrap_err().to_string();
    assert!(wrong.ends_with("has shape [2, 2], expected [4]"), "{wrong}");
    let wrong = checkpoint.load(&device, "c.ids", &[3]).unwrap_err().to_string();
    assert!(wrong.ends_with("has dtype I64, expected F32, BF16 or F16"), "{wrong}");
    let wrong = checkpoint.load(&device, "nothing", &[3]).unwrap_err().to_string();
    assert!(wrong.starts_with("tensor `nothing` is missing in"), "{wrong}");
}

#[test]
fn damaged_files_say_what_is_wrong() {
    let tensor = |dtype: &str, end: u64| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,{end}]}}}}"#)
    };
    let invalid = "`FILE` is not a valid safetensors file: ";
    let cases = [
        (b"abc".to_vec(), "it has 3 bytes, expected at least 8 for the length of the header"),
        (
            u64::MAX.to_le_bytes().to_vec(),
            "its header claims 18446744073709551615 bytes, expected at most 100000000",
        ),
        (500u64.to_le_bytes().to_vec(), "its header claims 500 bytes, the file has 8"),
        (
            file_of(&tensor("F32", 8), &[0; 7]),
            "it has 69 bytes, its header describes 70; it may be cut short",
        ),
        (file_of(&tensor("F99", 8), &[0; 8]), r#"tensor `w` has unknown dtype "F99""#),
        (file_of(&tensor("F32", 4), &[0; 4]), "tensor `w` has 4 bytes, expected 8 for F32 [2]"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(message(&bytes), format!("{invalid}{expected}"));
    }
    let overlapping = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
        "b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#;
    let deep = "[".repeat(100_000);
    for bytes in [
        Vec::new(),
        file_of(overlapping, &[0; 6]),
        file_of(&deep, &[]),
        [&4u64.to_le_bytes()[..], b"{\"\xff\""].concat(),
    ] {
        assert!(message(&bytes).starts_with(invalid), "{}", message(&bytes));
    }
    assert!(message(&file_of("{", &[])).starts_with(&format!("{invalid}its header is not valid")));
}

#[test]
fn shards_stay_in_their_folder_and_hold_what_the_index_says() {
    let device = Device::cpu(1);
    let folder = tempfile::tempdir().unwrap();
    let one = |name: &str| {
        BTreeMap::from([(name.to_owned(), Saved::Tensor(Tensor::full(&device, &[1], 3.0)))])
    };
    save(&folder.path().join("a.safetensors"), one("x"), &BTreeMap::new()).unwrap();
    save(&folder.path().join("b.safetensors"), one("y"), &BTreeMap::new()).unwrap();
    let open = |index: &str| {
        fs::write(folder.path().join(INDEX), index).unwrap();
        Checkpoint::open(folder.path())
    };
    let good = r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#;
    assert_eq!(open(good).unwrap().names().collect::<Vec<_>>(), ["x", "y"]);
    for (index, expected) in [
        (r#"{"weight_map": {"x": "../a.safetensors"}}"#, "expected a file name in the same folder"),
        (r#"{"weight_map": {"x": "/etc/passwd"}}"#, "expected a file name in the same folder"),
        (r#"{"weight_map": {"x": "c.safetensors"}}"#, "shard `c.safetensors` is missing in"),
        (r#"{"weight_map": {"y": "a.safetensors"}}"#, "tensor `y` is not in shard `a.safetensors`"),
        (r#"{"weight": {}}"#, "missing field `weight_map`"),
        (r#"{"weight_map": {"x": ""}}"#, "expected a file name in the same folder"),
        (r#"{"weight_map": {"x": "."}}"#, "expected a file name in the same folder"),
        (r#"{"weight_map": {"x": "a.safetensors\u0000"}}"#, "is missing in"),
        (&format!("{{\"metadata\": {}", "[".repeat(100_000)), "EOF while parsing a list"),
    ] {
        let error = open(index).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    fs::remove_file(folder.path().join(INDEX)).unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.starts_with("no weights in"), "{error}");
}

/// `/dev/full` takes no byte: what a full disk does.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept");
    fs::write(&path, b"old").unwrap();
    let failed = atomic_write(&path, |_| {
        use std::io::Write;
        File::options().write(true).open("/dev/full")?.write_all(b"x")
    });
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = read_header(Path::new("x"), &bytes);
        let _ = parse_index(&bytes);
    }

    #[test]
    fn a_changed_header_is_read_or_refused(at in 0usize..80, byte: u8) {
        let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":{}}"#;
        let mut bytes = file_of(header, &[0; 8]);
        bytes[at] = byte;
        if let Ok(header) = read_header(Path::new("x"), &bytes) {
            for (_, _, range) in header.0 {
                prop_assert!(range.start <= range.end && range.end <= bytes.len());
            }
        }
    }
}
