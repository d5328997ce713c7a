//! `fulgurite eval forward` against what the reference computed (`fixtures/towers`, made by `make.py`
//! there; and the folders `vision-*` and `audio-*` of the one that `FULGURITE_GOLDENS` names), and what
//! it refuses.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tensor::{Checkpoint, Device};

/// Half of this is usual: references round to f32 between operations.
const TOLERANCE: f32 = 1e-5;
/// Of references that compute all in f32, sums of squares included.
const LOG_MEL_TOLERANCE: f32 = 1e-4;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/towers")
}

fn forward(model: &Path, input: &Path, output: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulgurite"));
    command.args(["eval", "forward", "--model"]).arg(model).arg("--input").arg(input);
    command.arg("--output").arg(output).output().unwrap()
}

/// Compares all outputs of the model in `folder`, or of the front end of that name.
fn check(folder: &Path) {
    let temp = tempfile::tempdir().unwrap();
    let (expected, written) = (folder.join("expected.safetensors"), temp.path().join("out"));
    let front_end = !folder.join("config.json").exists();
    let (model, tolerance) = match front_end {
        true => (Path::new("log-mel"), LOG_MEL_TOLERANCE),
        false => (folder, TOLERANCE),
    };
    let output = forward(model, &expected, &written);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (expected, written) =
        (Checkpoint::open(&expected).unwrap(), Checkpoint::open(&written).unwrap());
    let wanted: Vec<&str> = expected.names().filter(|name| name.starts_with("out.")).collect();
    assert!(!wanted.is_empty(), "{folder:?}");
    assert_eq!(written.names().collect::<Vec<_>>(), wanted, "{folder:?}");
    let device = Device::cpu(1);
    for name in wanted {
        let shape = expected.shape(name).unwrap();
        let load = |file: &Checkpoint| file.load(&device, name, shape).unwrap().to_vec();
        let (want, got) = (load(&expected), load(&written));
        let error = want.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error <= tolerance, "{folder:?}: `{name}` differs by {error}");
    }
}

#[test]
fn outputs_are_those_of_the_reference() {
    let more = std::env::var_os("FULGURITE_GOLDENS").map(PathBuf::from);
    let mut checked = 0;
    for root in [fixtures()].into_iter().chain(more) {
        for entry in std::fs::read_dir(root).unwrap() {
            let folder = entry.unwrap().path();
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            let known = ["vision-", "audio-", "image-", "log-mel"];
            if folder.is_dir() && known.iter().any(|known| name.starts_with(known)) {
                check(&folder);
                checked += 1;
            }
        }
    }
    assert!(checked >= 6, "fixtures are missing");
}

/// A copy of a fixture's folder with its config changed.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["model.safetensors", "expected.safetensors"] {
        std::fs::copy(fixtures().join(name).join(file), folder.path().join(file)).unwrap();
    }
    let text = std::fs::read(fixtures().join(name).join("config.json")).unwrap();
    let mut config = serde_json::from_slice(&text).unwrap();
    change(&mut config);
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

/// Expects `code` and all of `words` in one line, and no output.
#[track_caller]
fn fails(folder: &Path, code: i32, words: &[&str]) {
    let output = folder.join("out");
    let result = forward(folder, &folder.join("expected.safetensors"), &output);
    let message = String::from_utf8(result.stderr).unwrap();
    assert_eq!(result.status.code(), Some(code), "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
    assert!(!output.exists());
}

#[test]
fn what_a_config_says_is_doubted() {
    for (field, value, words) in [
        ("model_type", json!("siglip_vision_model"), &["config.json", "`siglip_vision_model`"][..]),
        ("hidden_act", json!("mish"), &["`hidden_act` is \"mish\"", "\"quick_gelu\""]),
        ("num_attention_heads", json!(5), &["`num_attention_heads` is 5", "divisor", "24"]),
        ("patch_size", json!(36), &["`patch_size` is 36", "35"]),
        ("image_size", json!([35, 35]), &["`image_size` is [35,35]", "an integer"]),
        ("hidden_size", json!(27), &["class_embedding", "[24]", "[27]"]),
        ("num_hidden_layers", json!(3), &["lacks 16", "encoder.layers.2.layer_norm1.bias"]),
        ("num_hidden_layers", json!(1), &["16 tensors", "encoder.layers.1.layer_norm1.bias"]),
        ("attention_bias", json!(false), &["`attention_bias` is false", "true"]),
    ] {
        fails(changed("vision-clip", |config| config[field] = value).path(), 3, words);
    }
    let part = |outer: &'static str, inner: &'static str, value: Value| {
        move |config: &mut Value| config[outer][inner] = value
    };
    let vl = |change: &dyn Fn(&mut Value)| changed("image-vl", change);
    let folder = vl(&|config| config["vision_feature_layer"] = json!(3));
    fails(folder.path(), 3, &["`vision_feature_layer` is 3", "from -3 to 2"]);
    let folder = changed("image-vl", part("vision_config", "hidden_act", json!(1)));
    fails(folder.path(), 3, &["`vision_config.hidden_act` is 1"]);
    let folder = vl(&|config| config["vision_config"] = Value::Null);
    fails(folder.path(), 3, &["`vision_config` is missing"]);
    let folder = vl(&|config| config["image_grid_pinpoints"] = json!([[28, 30]]));
    fails(folder.path(), 3, &["`image_grid_pinpoints`", "multiples of 28"]);
    let folder = changed("audio-voxtral", part("audio_config", "intermediate_size", json!(50)));
    fails(folder.path(), 3, &["`audio_config.intermediate_size` is 50", "24"]);
    let whisper = |field: &'static str, value: Value| {
        changed("audio-whisper", move |config| config[field] = value)
    };
    fails(whisper("encoder_layers", json!(0)).path(), 3, &["`encoder_layers` is 0"]);
    fails(whisper("encoder_layers", json!(3)).path(), 3, &["`num_hidden_layers` is 2"]);
    fails(whisper("num_mel_bins", json!(21)).path(), 1, &["`in.input_features`", "[2, 20, 44]"]);
}

#[test]
fn other_inputs_are_named() {
    let folder = changed("vision-clip", |_| ());
    let input = fixtures().join("audio-whisper/expected.safetensors");
    std::fs::copy(input, folder.path().join("expected.safetensors")).unwrap();
    fails(folder.path(), 1, &["has no tensor named `in.pixel_values`"]);
    std::fs::write(folder.path().join("config.json"), "[]").unwrap();
    fails(folder.path(), 3, &["config.json", "unknown type", "clip_vision_model"]);
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    fails(folder.path(), 3, &["config.json"]);
}
