//! What `plan` says, and that it comes true.

use super::{fails, fulgurite, root, succeeds};
use serde_json::Value;

fn plan(arguments: &[&str]) -> Value {
    // The machine's speed is given, for it would be measured.
    let machine = ["--tflops", "2", "--bandwidth", "20", "--memory", "1000", "--json"];
    serde_json::from_str(&succeeds(&[&["plan"], arguments, &machine].concat())).unwrap()
}

/// The arithmetic of the 456 B model, by hand (reference: MiniMax-01's config).
#[test]
fn the_large_model_is_planned_from_its_config_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let kinds: Vec<String> =
        (0..80).map(|i| if i % 8 == 7 { "1" } else { "0" }.to_owned()).collect();
    let text = format!(
        r#"{{"model_type": "minimax_text_01", "architectures": ["MiniMaxText01ForCausalLM"],
            "vocab_size": 200064, "hidden_size": 6144, "intermediate_size": 9216,
            "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
            "head_dim": 128, "num_local_experts": 32, "num_experts_per_tok": 2,
            "rotary_dim": 64, "rope_theta": 10000000, "postnorm": true, "rms_norm_eps": 1e-5,
            "attn_type_list": [{}], "max_position_embeddings": 10240000}}"#,
        kinds.join(", ")
    );
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    let plan = plan(&[&path, "--context", "1048576", "--sequences", "2", "--price", "3.6"]);
    let number = |field: &str| plan[field].as_f64().unwrap();
    assert!((456e9..457e9).contains(&number("parameters")), "{plan}");
    assert!((45e9..46e9).contains(&number("active_parameters")), "{plan}");
    // 70 layers of 64 x (128 + 2 x 32) x 128 in f32; 10 of 2 x 8 x 128 in bf16 for each token; of two each.
    assert_eq!(number("state_bytes"), 2.0 * 70.0 * 64.0 * 128.0 * (128.0 + 2.0 * 32.0) * 4.0);
    assert_eq!(number("kv_bytes"), 2.0 * 1_048_576.0 * 10.0 * 2.0 * 8.0 * 128.0 * 2.0);
    // Routers and norms are f32.
    let weights = number("weights_bytes");
    assert!((2.0..2.001).contains(&(weights / number("parameters"))), "{plan}");
    // Nine of ten softmax layers see half of all pairs; of the last only keys and values are needed.
    let read = number("flops_per_token") * 1_048_576.0;
    let tokens = 1_048_576.0;
    let pairs = 9.0 * 2.0 * tokens * tokens * 64.0 * 128.0;
    assert!((0.97..1.0).contains(&(read / (pairs + 2.0 * 45.9e9 * tokens))), "{read}");
    assert_eq!(number("prompt_seconds_at_least"), read / 2e12);
    let written = number("write_tokens_per_second_at_most");
    let bound = 2.0 * 20e9 / (2.0 * number("bytes_per_token_at_end"));
    assert!((written / bound - 1.0).abs() < 1e-9, "{written}, {bound}");
    let price = number("price_per_million_written");
    assert!((price - 3.6 / 3600.0 * 1e6 / written).abs() < 1e-9 * price, "{price}");
    assert_eq!((&plan["fits"], &plan["weights_assumed"]), (&Value::Bool(true), &Value::Bool(true)));
}

/// What is assumed without a checkpoint is what there is with one that stores everything as bf16.
#[test]
fn weights_are_planned_as_they_are_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model").display().to_string();
    let config = root().join("crates/cli/nano-text/config.json").display().to_string();
    succeeds(&["init", &config, &model, "--weights", "bf16"]);
    for weights in ["f32", "bf16", "q8", "q4", "q4k", "q4-lean"] {
        let [with, without] = [&model, &config].map(|of| plan(&[of, "--weights", weights]));
        for field in ["weights_bytes", "weights_bytes_per_token", "kv_bytes", "chunk_bytes"] {
            assert_eq!(with[field], without[field], "{field} in {weights}");
        }
    }
}

#[test]
fn what_does_not_fit_has_an_exit_code() {
    let output = fulgurite(&["plan", "nano", "--context", "4000000", "--memory", "0.5"]);
    assert_eq!(output.status.code(), Some(4));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("4000000 tokens need"), "{message}");
    // The plan is shown all the same.
    assert!(String::from_utf8(output.stdout).unwrap().contains("does not fit in 512.00 MiB"));
    fails(&["plan", "nano", "--context", "99999999"], 4, &["--context 99999999", "4194304"]);
    fails(&["plan", "/nowhere"], 3, &["/nowhere"]);
    fails(&["plan", "/nowhere/config.json"], 1, &["/nowhere/config.json"]);
    fails(&["plan", "nano", "--memory=-1"], 2, &["--memory"]);
    fails(&["plan", "nano", "--price", "nan"], 2, &["--price", "above 0"]);
    fails(&["plan", "nano", "--context", "0"], 2, &["--context"]);
}
