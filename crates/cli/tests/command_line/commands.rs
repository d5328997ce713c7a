//! The binary from outside: what it writes, and how it fails.

use super::{fails, fulgurite, root};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn golden(name: &str) -> PathBuf {
    root().join("fixtures/goldens").join(name)
}

/// A copy of a golden's folder, to be damaged.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "expected.safetensors"] {
        std::fs::copy(golden("text-released").join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn logits_of(folder: &Path) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let model = folder.display().to_string();
    let words = ["eval", "logits", "--model", &model, "--input", &path("expected.safetensors")];
    let more = ["--output".to_owned(), path("out.safetensors")];
    words.into_iter().map(str::to_owned).chain(more).collect()
}

#[track_caller]
fn logits_fail(folder: &Path, words: &[&str]) {
    let arguments = logits_of(folder);
    fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 3, words);
    assert!(!folder.join("out.safetensors").exists());
}

#[test]
fn logits_are_written() {
    let folder = copy();
    let arguments = logits_of(folder.path());
    let output = fulgurite(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = std::fs::read(folder.path().join("out.safetensors")).unwrap();
    // The header names what was asked for; the values are compared in `models`.
    let header = String::from_utf8_lossy(&written[8..300]).into_owned();
    assert!(header.contains("logits.1") && header.contains("[33,128]"), "{header}");
}

#[test]
fn a_random_model_is_made_and_seen() {
    let folder = tempfile::tempdir().unwrap();
    let config = golden("text-hybrid").join("config.json").display().to_string();
    let made: Vec<PathBuf> = ["a", "b"].map(|name| folder.path().join(name)).into();
    for path in &made {
        let path = path.display().to_string();
        let output = fulgurite(&["init", &config, &path, "--seed", "7"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let [a, b] = [0, 1].map(|i| std::fs::read(made[i].join("model.safetensors")).unwrap());
    assert!(a == b, "the same seed gives other weights");
    let output = fulgurite(&["inspect", &made[0].display().to_string()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("model.embed_tokens.weight") && text.contains("parameters"), "{text}");
}

#[test]
fn the_embedded_model_reads_any_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.bin");
    std::fs::write(&file, b"port = 8080\n\xFF\xFE\0 owner = Ada Berg\n").unwrap();
    let output = fulgurite(&["run", "--file", &file.display().to_string(), "port?", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["prompt_tokens"], 33 + 5 + 3);
    assert_eq!(value["cached_tokens"], 0);
    for field in ["completion_tokens", "state_bytes", "kv_bytes"] {
        assert!(value[field].as_u64().is_some_and(|n| n > 0), "{field} in {value}");
    }
}

/// However wild the choice, what nano writes stands in the file, or says that it does not.
#[test]
fn an_answer_is_a_piece_of_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let text = "The ferry leaves at 7:40.\nIts captain is Maria Lund.\n";
    std::fs::write(&path, text).unwrap();
    for seed in ["1", "2", "3", "4", "5"] {
        let file = path.display().to_string();
        let wild = ["--temperature", "5", "--seed", seed, "--json"];
        let output = fulgurite(&[&["run", "--file", &file], &wild[..], &["captain?"]].concat());
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let answer = value["text"].as_str().unwrap();
        let said = format!("{text}not in the text");
        assert!(!answer.is_empty() && said.contains(answer), "{answer:?}");
    }
}

#[test]
fn bad_files_are_named() {
    let folder = copy();
    let path = folder.path();
    let weights = std::fs::read(path.join("model.safetensors")).unwrap();
    let config = std::fs::read_to_string(path.join("config.json")).unwrap();

    std::fs::write(path.join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    logits_fail(path, &["model.safetensors"]);
    std::fs::write(path.join("model.safetensors"), [0xFF; 64]).unwrap();
    logits_fail(path, &["model.safetensors", "header"]);
    std::fs::remove_file(path.join("model.safetensors")).unwrap();
    logits_fail(path, &["no weights", "model.safetensors.index.json"]);
    let index = r#"{"weight_map": {"lm_head.weight": "../model.safetensors"}}"#;
    std::fs::write(path.join("model.safetensors.index.json"), index).unwrap();
    logits_fail(path, &["index", ".."]);
    std::fs::write(path.join("model.safetensors"), &weights).unwrap();

    for (from, to, words) in [
        ("\"num_attention_heads\": 4", "\"num_attention_heads\": 0", ["num_attention_heads", "0"]),
        (
            "\"num_hidden_layers\": 8",
            "\"num_hidden_layers\": 1000000000",
            ["num_hidden_layers", "1000000000"],
        ),
        ("\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": NaN", ["config.json", "NaN"]),
        ("\"vocab_size\": 128", "\"vocab_size\": 130", ["130", "128"]),
        ("minimax_text_01", "gpt9", ["supported", "MiniMaxText01ForCausalLM"]),
        ("\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"", ["hidden_act", "gelu"]),
    ] {
        let changed = config
            .replace(from, to)
            .replace("1e-05", if to.contains("NaN") { "NaN" } else { "1e-05" });
        assert_ne!(changed, config, "{from}");
        std::fs::write(path.join("config.json"), changed).unwrap();
        if to.contains("NaN") {
            logits_fail(path, &words[..1]);
        } else {
            logits_fail(path, &words);
        }
    }
}

#[test]
fn bad_input_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.txt");
    std::fs::write(&empty, "").unwrap();
    fails(&["run", "--file", &empty.display().to_string(), "what?"], 1, &["empty.txt", "empty"]);
    fails(&["run", "--file", "/nowhere.txt", "what?"], 1, &["/nowhere.txt"]);
    fails(&["run", "--model", "/nowhere", "what?"], 3, &["/nowhere"]);
    assert_eq!(fulgurite(&["run", "--no-such-flag"]).status.code(), Some(2));
    let config = golden("text-hybrid").join("config.json").display().to_string();
    if Path::new("/proc/self").exists() {
        fails(&["init", &config, "/proc/nowhere"], 1, &["/proc/nowhere"]);
    }
}

/// What cannot fit is refused before it is read, a file without an end as well.
#[test]
fn files_beyond_the_context_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.txt");
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let long = path.display().to_string();
    let words = ["long.txt", "more than 4194304 bytes", "expected at most that"];
    fails(&["run", "--file", &long, "which version?"], 4, &words);
    let short = folder.path().join("short.txt");
    std::fs::write(&short, "a = 1").unwrap();
    let short = short.display().to_string();
    fails(&["run", "--file", &short, "--file", &long, "which version?"], 4, &words);
    if cfg!(unix) {
        fails(&["run", "--file", "/dev/zero", "which version?"], 4, &["/dev/zero"]);
    }
}

/// As behind a pipe to `head`.
#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fulgurite"))
        .args(["inspect", "nano"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
}
