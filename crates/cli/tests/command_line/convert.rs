//! Conversions to GGUF files and back, with the embedded model.

use super::{fails, root, succeeds};
use std::path::Path;

/// The README's question, about the packages around the answer.
#[test]
fn nano_answers_in_every_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let at = lock.find("name = \"serde\"\n").unwrap();
    let part = &lock[lock[..at - 3000].rfind("[[package]]").unwrap()..at + 1000];
    std::fs::write(path("Cargo.lock"), part).unwrap();
    let expected = lock[at..].split('"').nth(3).unwrap();
    for kind in ["bf16", "q8_0", "q4_0", "q4_k"] {
        let model = path(&format!("{kind}.gguf"));
        succeeds(&["convert", "nano", &model, "--type", kind]);
        let file = path("Cargo.lock");
        let answer =
            succeeds(&["run", "--model", &model, "--file", &file, "which version of serde?"]);
        assert_eq!(answer.trim_end(), expected, "{kind}");
    }
    let text = succeeds(&["inspect", &path("q4_0.gguf")]);
    for line in [
        "general.architecture = \"minimax-01\"",
        "fulgurite.attention_log_length_base = 512.0",
        "tokenizer.ggml.tokens = \"a list of 260\"",
        "Q4_0  [576, 192]           blk.0.attn_qkv.weight",
        "BF16  [260, 192]           output.weight",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line:?} in {text}");
    }
}

#[test]
fn nano_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let [file, back] = ["x.gguf", "back"].map(|name| folder.path().join(name));
    let [file, back] = [&file, &back].map(|path| path.display().to_string());
    succeeds(&["convert", "nano", &file]);
    succeeds(&["convert", &file, &back]);
    let original = root().join("crates/cli/nano-text");
    for name in ["model.safetensors", "byte_tokenizer.json"] {
        let [a, b] = [&original, Path::new(&back)].map(|path| path.join(name));
        assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap(), "{name}");
    }
    let [a, b] = [&original, Path::new(&back)].map(|path| {
        let text = std::fs::read(path.join("config.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()
    });
    for (field, value) in a.as_object().unwrap() {
        assert_eq!(value, &b[field], "{field}");
    }
    assert_eq!(std::fs::read_dir(&back).unwrap().count(), 3);
}

#[test]
fn logits_of_a_file_are_those_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let golden = root().join("fixtures/goldens/text-released");
    let input = golden.join("expected.safetensors").display().to_string();
    let golden = golden.display().to_string();
    let file = path("x.gguf");
    succeeds(&["convert", &golden, &file]);
    for (model, output) in [(&golden, path("a")), (&file, path("b"))] {
        succeeds(&["eval", "logits", "--model", model, "--input", &input, "--output", &output]);
    }
    assert!(std::fs::read(path("a")).unwrap() == std::fs::read(path("b")).unwrap());
    // The golden has no tokenizer.
    fails(&["run", "--model", &file, "x"], 3, &["x.gguf", "tokenizer.ggml.model", "no_vocab"]);
}

#[test]
fn what_cannot_be_converted_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let file = path("x.gguf");
    fails(&["convert", "nano", &path("y")], 1, &["neither", ".gguf"]);
    succeeds(&["convert", "nano", &file]);
    fails(&["convert", &file, &path("y"), "--type", "q8_0"], 1, &["--type bf16"]);
    fails(&["convert", &file, &path("y"), "--type", "q9"], 2, &["q4_0"]);
    fails(&["convert", "/nowhere.gguf", &path("y")], 3, &["/nowhere.gguf"]);
    let factors = root().join("fixtures/goldens/text-factors").display().to_string();
    fails(&["convert", &factors, &path("z.gguf")], 3, &["config.json", "residual_scale"]);
    assert!(!Path::new(&path("z.gguf")).exists() && !Path::new(&path("y")).exists());

    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    for command in [&["run", "--model", &file, "x"][..], &["inspect", &file]] {
        fails(command, 3, &["x.gguf", "offset of tensor", "cut short"]);
    }
    std::fs::write(&file, b"GGUX").unwrap();
    fails(&["inspect", &file], 3, &["x.gguf", "magic"]);
}
