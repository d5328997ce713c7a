//! `quantize`, and what is kept beside a checkpoint that is quantized while it is loaded.

use super::{fails, succeeds};
use std::path::{Path, PathBuf};

/// A file with an answer, and the question.
fn text(folder: &Path) -> (String, &'static str) {
    let path = folder.join("harbour.ini");
    std::fs::write(&path, "[gate]\naccess_code = 7319\nkeeper = Ines\n").unwrap();
    (path.display().to_string(), "what is the access code of the gate?")
}

#[test]
fn a_quantized_nano_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (file, question) = text(folder.path());
    for weights in ["q8", "q4", "q4k", "q4-lean"] {
        let path =
            |name: &str| folder.path().join(format!("{weights}{name}")).display().to_string();
        let [made, gguf, again] = ["", ".gguf", "-again"].map(path);
        succeeds(&["quantize", "nano", &made, "--weights", weights]);
        succeeds(&["quantize", "nano", &gguf, "--weights", weights]);
        succeeds(&["quantize", &gguf, &again, "--weights", weights]);
        let answers = [&made, &gguf, &again]
            .map(|model| succeeds(&["run", "--model", model, "--file", &file, question]));
        assert_eq!(answers[0].trim_end(), "7319", "{weights}");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{weights}: {answers:?}");
        let size = |path: &str| std::fs::metadata(Path::new(path)).unwrap().len();
        let (whole, blocks) = (12_000_000, size(&format!("{made}/model.safetensors")));
        assert!(blocks < if weights == "q8" { whole * 6 / 10 } else { whole * 4 / 10 }, "{blocks}");
    }
}

/// A folder of nano with plain weights.
fn nano(folder: &Path) -> PathBuf {
    let nano = folder.join("nano");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("nano-text");
    std::fs::create_dir(&nano).unwrap();
    for file in ["config.json", "byte_tokenizer.json", "model.safetensors"] {
        std::fs::copy(from.join(file), nano.join(file)).unwrap();
    }
    nano
}

#[test]
fn what_is_quantized_while_loading_is_kept_and_made_anew_when_it_must() {
    let folder = tempfile::tempdir().unwrap();
    let (file, question) = text(folder.path());
    let nano = nano(folder.path());
    let kept = nano.join(".fulgurite/q4.safetensors");
    let model = nano.display().to_string();
    let answer = || {
        let arguments = ["run", "--model", &model, "--weights", "q4", "--file", &file, question];
        succeeds(&arguments).trim_end().to_owned()
    };
    let changed = || std::fs::metadata(&kept).unwrap().modified().unwrap();
    assert_eq!(answer(), "7319");
    let first = changed();
    assert_eq!(answer(), "7319");
    assert_eq!(changed(), first, "made again");

    // Damaged, cut short, of nothing: never used.
    let whole = std::fs::read(&kept).unwrap();
    for damaged in [&whole[..whole.len() / 2], &whole[..5], &[]] {
        std::fs::write(&kept, damaged).unwrap();
        assert_eq!(answer(), "7319");
        assert!(std::fs::read(&kept).unwrap() == whole, "not made again");
    }

    // Another checkpoint of the same size: an answer of its weights, not of those that are kept.
    let weights = nano.join("model.safetensors");
    let mut other = std::fs::read(&weights).unwrap();
    let len = other.len();
    other[len / 2..].fill(0);
    std::fs::write(&weights, &other).unwrap();
    let before = changed();
    assert_ne!(answer(), "7319");
    assert_ne!(changed(), before, "an old one was used");

    // No place to keep it: the same answer.
    std::fs::remove_dir_all(nano.join(".fulgurite")).unwrap();
    std::fs::write(nano.join(".fulgurite"), "a file").unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("nano-text/model.safetensors");
    std::fs::copy(source, &weights).unwrap();
    assert_eq!(answer(), "7319");
}

#[test]
fn misuse_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let nano = nano(folder.path()).display().to_string();
    let to = folder.path().join("to").display().to_string();
    let not_in_blocks = "`bf16` is not in blocks: expected q8, q4, q4k or q4-lean";
    fails(&["quantize", &nano, &to, "--weights", "bf16"], 1, &[not_in_blocks]);
    fails(&["quantize", &nano, &to, "--weights", "q5"], 2, &["q4-lean"]);
    fails(&["quantize", &nano, &nano], 1, &["is what is to be read: expected another folder"]);
    fails(&["quantize", "nowhere", &to], 3, &["nowhere"]);
    let config = format!("{nano}/config.json");
    fails(&["init", &config, &to, "--weights", "q4"], 1, &["expected f32 or bf16"]);
}
