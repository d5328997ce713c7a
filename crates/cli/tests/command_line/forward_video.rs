//! `fulgurite eval forward` with video models: what it writes and what it refuses. The values are
//! compared in `models`.

use super::{fulgurite, root};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use tensor::{Checkpoint, Device, Saved, Tensor, safetensors};

/// A copy of a fixture's folder, to be changed.
fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(root().join("fixtures/video").join(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn arguments(folder: &Path) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let model = folder.display().to_string();
    let words = ["eval", "forward", "--model", &model, "--input", &path("expected.safetensors")];
    let more = ["--output".to_owned(), path("out.safetensors")];
    words.into_iter().map(str::to_owned).chain(more).collect()
}

fn forward(folder: &Path) -> Output {
    fulgurite(&arguments(folder).iter().map(String::as_str).collect::<Vec<_>>())
}

/// Expects a failure with `code` and all of `words` in one line, and no file.
#[track_caller]
fn fails(folder: &Path, code: i32, words: &[&str]) {
    let arguments = arguments(folder);
    super::fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), code, words);
    assert!(!folder.join("out.safetensors").exists());
}

/// The config of a fixture with one field changed.
#[track_caller]
fn field_fails(name: &str, field: &str, value: Value, expected: &str) {
    let folder = copy(name);
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let found = value.to_string();
    config[field] = value;
    std::fs::write(&path, config.to_string()).unwrap();
    fails(folder.path(), 3, &[&format!("`{field}` is {found}, expected {expected}")]);
}

/// The tensors of a file, but for what `change` makes of them.
fn rewrite(path: &Path, change: impl Fn(&str, &Tensor) -> Vec<(String, Tensor)>) {
    let (device, file) = (Device::cpu(1), Checkpoint::open(path).unwrap());
    let mut tensors = std::collections::BTreeMap::new();
    for name in file.names().filter(|name| file.stored(name).is_some()) {
        let tensor = file.load(&device, name, file.shape(name).unwrap()).unwrap();
        for (name, tensor) in change(name, &tensor) {
            tensors.insert(name, Saved::Tensor(tensor));
        }
    }
    drop(file);
    safetensors::save(path, tensors, &std::collections::BTreeMap::new()).unwrap();
}

#[test]
fn outputs_have_the_names_of_the_reference() {
    for (name, outputs) in [
        ("sana-switches", &["out.sample"][..]),
        ("wan-bf16", &["out.sample"]),
        ("vae-residual", &["out.latent", "out.logvar", "out.reconstruction"]),
    ] {
        let folder = copy(name);
        let output = forward(folder.path());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let written = Checkpoint::open(&folder.path().join("out.safetensors")).unwrap();
        assert_eq!(written.names().collect::<Vec<_>>(), outputs, "{name}");
        let expected = Checkpoint::open(&folder.path().join("expected.safetensors")).unwrap();
        for name in outputs {
            assert_eq!(written.shape(name), expected.shape(name), "{name}");
        }
    }
}

#[test]
fn a_latent_alone_is_decoded() {
    let folder = copy("vae-plain");
    rewrite(&folder.path().join("expected.safetensors"), |name, tensor| {
        let latent = name == "out.latent";
        if latent { vec![("in.latent".to_owned(), tensor.clone())] } else { Vec::new() }
    });
    let output = forward(folder.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = Checkpoint::open(&folder.path().join("out.safetensors")).unwrap();
    assert_eq!(written.names().collect::<Vec<_>>(), ["out.reconstruction"]);
}

#[test]
fn fields_that_no_model_can_have_are_named() {
    let sana = "sana-times";
    field_fails(sana, "qk_norm", json!("layer_norm"), "one of \"rms_norm_across_heads\", ");
    field_fails(sana, "cross_attention_dim", json!(30), "`num_attention_heads` x ");
    field_fails(sana, "cross_attention_dim", json!(null), "an integer from 1 to ");
    field_fails(sana, "patch_size", json!([1, 2]), "a list of three integers from 1 to 64");
    field_fails(sana, "mlp_ratio", json!(0.001), "a number that gives 1 or more features");
    field_fails(sana, "attention_head_dim", json!(0), "an integer from 1 to 65536");
    let wan = "wan-image";
    field_fails(wan, "added_kv_proj_dim", json!(8), "null or `num_attention_heads` x ");
    field_fails(wan, "pos_embed_seq_len", json!(5), "null or an even number: rows of two images");
    field_fails(wan, "rope_max_seq_len", json!("many"), "an integer from 1 to 16777216");
    let vae = "vae-residual";
    field_fails(vae, "dim_mult", json!([]), "a list of 1 to 16 integers from 1 to 1024");
    field_fails(vae, "dim_mult", json!([1, 2, 5]), "levels whose shortcuts average or repeat ");
    field_fails(vae, "temperal_downsample", json!([true]), "a list of 2 or more truth values, ");
    field_fails(vae, "in_channels", json!(6), "a multiple of 4, the pixels of a patch");
    field_fails(vae, "latents_std", json!([1.0, 0.0, 1.0]), "a list of 3 numbers above 0, ");
}

#[test]
fn tensors_that_are_missing_or_too_many_are_named() {
    let folder = copy("wan-image");
    let weights = folder.path().join("diffusion_pytorch_model.safetensors");
    let lost = "blocks.0.attn2.add_k_proj.weight";
    let kept = |name: &str, tensor: &Tensor| vec![(name.to_owned(), tensor.clone())];
    rewrite(&weights, |name, tensor| if name == lost { Vec::new() } else { kept(name, tensor) });
    fails(folder.path(), 3, &["lacks 1 of the model's tensors", lost]);

    let folder = copy("vae-plain");
    let weights = folder.path().join("diffusion_pytorch_model.safetensors");
    rewrite(&weights, |name, tensor| {
        let mut all = kept(name, tensor);
        if name == "quant_conv.bias" {
            all.push(("quant_conv.scale".to_owned(), tensor.clone()));
        }
        all
    });
    fails(folder.path(), 3, &["has 1 tensors that the model does not use: `quant_conv.scale`"]);
}

/// A norm of queries that nobody uses is in some released checkpoints.
#[test]
fn an_unused_norm_is_no_mistake() {
    let folder = copy("wan-image");
    let weights = folder.path().join("diffusion_pytorch_model.safetensors");
    rewrite(&weights, |name, tensor| {
        let mut all = vec![(name.to_owned(), tensor.clone())];
        if name == "blocks.0.attn2.norm_added_k.weight" {
            all.push(("blocks.0.attn2.norm_added_q.weight".to_owned(), tensor.clone()));
        }
        all
    });
    assert!(forward(folder.path()).status.success());
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let change = |name: &str, from: &str, to: &str, narrow: bool, words: &[&str]| {
        let folder = copy(name);
        rewrite(&folder.path().join("expected.safetensors"), |name, tensor| {
            if name != from {
                return vec![(name.to_owned(), tensor.clone())];
            }
            let tensor = if narrow { tensor.narrow(1, 0..1) } else { tensor.clone() };
            vec![(to.to_owned(), tensor)]
        });
        fails(folder.path(), 1, words);
    };
    let (latents, text) = ("in.hidden_states", "in.encoder_hidden_states");
    change("sana-times", latents, "in.latents", false, &["has an input `in.latents`, which"]);
    change(
        "sana-times",
        text,
        "out.text",
        false,
        &["has no tensor named `in.encoder_hidden_states`"],
    );
    let words = ["input `hidden_states` has shape [1, 1, 2, 5, 7], expected [1 or more, 5, "];
    change("sana-times", latents, latents, true, &words);
    let words = ["input `video` has shape [2, 1, 11, 18, 13], expected [1 or more, 3, "];
    change("vae-plain", "in.video", "in.video", true, &words);
}
