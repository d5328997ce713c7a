//! Conversions to GGUF files and back: what must stay the same, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use models::weights::{Policy, Random, saved, to_gguf, to_released};
use models::{Batch, Cache, CausalLm, Config, MiniMaxText01};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tensor::gguf::DType;
use tensor::{Checkpoint, Device, KvType, Precision, safetensors};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/goldens").join(name)
}

fn config_of(folder: &Path) -> Config {
    let path = folder.join("config.json");
    Config::from_json(&std::fs::read(&path).unwrap(), &path).unwrap()
}

/// A config with rows of whole blocks and every field that files may have.
fn config() -> Config {
    let text = r#"{
        "model_type": "minimax_text_01", "vocab_size": 50, "hidden_size": 64,
        "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "num_local_experts": 3,
        "num_experts_per_tok": 2, "attn_type_list": [0, 1, 0], "rotary_dim": 4,
        "rope_theta": 10000000, "postnorm": true, "max_position_embeddings": 4194304,
        "rms_norm_eps": 1e-5, "eos_token_id": [3, 7], "attention_log_length_base": 512.5,
        "relevance_token_id": 9, "layernorm_linear_attention_alpha": 1.5,
        "layernorm_full_attention_alpha": 1.5, "layernorm_mlp_alpha": 1.5
    }"#;
    Config::from_json(text.as_bytes(), Path::new("config.json")).unwrap()
}

/// A random checkpoint of `config`.
fn checkpoint(config: &Config, precision: Precision, folder: &Path) -> Checkpoint {
    let device = Device::cpu(1);
    let mut random = Random::new(&device, Precision::F32, 3, 1);
    let mut model = MiniMaxText01::new(config.clone(), &mut random).unwrap();
    let path = folder.join("model.safetensors");
    safetensors::save(&path, saved(&mut model, precision), &BTreeMap::new()).unwrap();
    Checkpoint::open(&path).unwrap()
}

fn converted(
    config: &Config,
    from: &Checkpoint,
    path: &Path,
    policy: Option<Policy>,
) -> Checkpoint {
    let metadata = config.to_gguf(Path::new("config.json")).unwrap();
    let mut last = 0;
    let progress = |done, all| {
        assert!(done < all);
        last = done + 1;
    };
    to_gguf(config, from, &Device::cpu(1), (path, &metadata, policy), progress).unwrap();
    let made = Checkpoint::open(path).unwrap();
    assert_eq!(made.names().count(), last);
    made
}

fn logits(config: &Config, checkpoint: &Checkpoint) -> Vec<f32> {
    let device = Device::cpu(2);
    let model = models::load(config.clone(), checkpoint, &device, None).unwrap();
    let ids: Vec<u32> = (0..40).map(|i| i * 7 % 50).collect();
    let rows: Vec<usize> = (0..ids.len()).collect();
    let mut cache = Cache::new(config, KvType::F32);
    model.logits(&Batch::single(&ids, 0, &rows), &mut [&mut cache]).to_vec()
}

fn relative_rms(want: &[f32], got: &[f32]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let error = squares(&mut want.iter().zip(got).map(|(w, g)| f64::from(w - g)));
    (error / squares(&mut want.iter().map(|&w| f64::from(w)))).sqrt()
}

#[test]
fn there_and_back_is_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let (gguf, back) = (folder.path().join("x.gguf"), folder.path().join("back.safetensors"));
    let config = config();
    for precision in [Precision::F32, Precision::Bf16] {
        let from = checkpoint(&config, precision, folder.path());
        let made = converted(&config, &from, &gguf, None);
        assert_eq!(Config::from_gguf(&made).unwrap(), config);
        let tensors = to_released(&config, &made, &Device::cpu(1), None).unwrap();
        safetensors::save(&back, tensors, &BTreeMap::new()).unwrap();
        let [from, back] = [from.path(), &back].map(|path| std::fs::read(path).unwrap());
        assert!(from == back, "{precision:?}");
    }
}

/// The released dialect and that of transformers, experts stacked in the latter.
#[test]
fn goldens_keep_their_tensors_and_logits() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["text-released", "text-hybrid", "text-top1"] {
        let config = config_of(&golden(name));
        let from = Checkpoint::open(&golden(name)).unwrap();
        let made = converted(&config, &from, &folder.path().join("x.gguf"), None);
        let read = Config::from_gguf(&made).unwrap();
        assert_eq!(read.to_gguf(Path::new("x")).unwrap(), config.to_gguf(Path::new("x")).unwrap());
        assert_eq!(logits(&config, &from), logits(&read, &made), "{name}");
        let qkv = "blk.0.attn_qkv.weight";
        assert_eq!(made.shape(qkv), from.shape("model.layers.0.self_attn.qkv_proj.weight"));
        assert_eq!(made.dtype(qkv).as_deref(), Some("F32"));
    }
}

#[test]
fn logits_move_as_little_as_the_type_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let config = config();
    let from = checkpoint(&config, Precision::F32, folder.path());
    let want = logits(&config, &from);
    for (policy, allowed) in
        [(Policy::F32, 0.0), (Policy::Bf16, 0.03), (Policy::Q8, 0.03), (Policy::Q4, 0.4)]
    {
        let dtype = policy.matrices();
        let made = converted(&config, &from, &folder.path().join("x.gguf"), Some(policy));
        let error = relative_rms(&want, &logits(&config, &made));
        assert!(error <= allowed, "{}: {error}", dtype.name());
        for (tensor, expected) in [
            ("blk.0.attn_norm.weight", "F32"),
            ("blk.0.attn_norm_2.weight", "F32"),
            ("blk.0.ffn_gate_inp.weight", "F32"),
            ("blk.0.ffn_down_exps.weight", dtype.name()),
            ("blk.1.attn_v.weight", dtype.name()),
            ("output.weight", if dtype == DType::Bf16 { "BF16" } else { "F32" }),
            ("blk.2.attn_gate.weight", if dtype == DType::Bf16 { "BF16" } else { "F32" }),
        ] {
            assert_eq!(made.dtype(tensor).as_deref(), Some(expected), "{tensor}");
        }
        assert_eq!(made.shape("blk.0.ffn_down_exps.weight"), Some(&[3, 64, 32][..]));
    }
    // Rows that are not whole blocks.
    let config = config_of(&golden("text-released"));
    let from = Checkpoint::open(&golden("text-released")).unwrap();
    let made = converted(&config, &from, &folder.path().join("x.gguf"), Some(Policy::Q8));
    assert_eq!(made.dtype("blk.0.ffn_down_exps.weight").as_deref(), Some("BF16"));
    // Rows of 256 beside shorter ones.
    let config = Config { hidden_size: 256, ..self::config() };
    let from = checkpoint(&config, Precision::F32, folder.path());
    let want = logits(&config, &from);
    let error = |policy| {
        let made = converted(&config, &from, &folder.path().join("x.gguf"), Some(policy));
        (relative_rms(&want, &logits(&config, &made)), made)
    };
    let ((searched, made), (plain, _)) = (error(Policy::Q4K), error(Policy::Q4));
    assert!(searched < plain, "{searched}, Q4_0 {plain}");
    let dtype = |name: &str| made.dtype(&format!("blk.0.{name}.weight"));
    assert_eq!(dtype("ffn_up_exps").as_deref(), Some("Q4_K"));
    assert_eq!(dtype("ffn_down_exps").as_deref(), Some("Q4_0"));
}

#[test]
fn what_the_format_has_no_key_for_is_refused() {
    let error = |config: Config| config.to_gguf(Path::new("c.json")).unwrap_err().to_string();
    let factors = config_of(&golden("text-factors"));
    let expected = "`c.json`: `layernorm_full_attention_alpha` is 1.3 with a beta of 1.1, expected \
                    2.1 with a beta of 1 for a GGUF file, which has one `residual_scale` for all \
                    residuals";
    assert_eq!(error(factors), expected);
    let expected = "`c.json`: `postnorm` is false, expected true for a GGUF file";
    assert_eq!(error(Config { postnorm: false, ..config() }), expected);
    let long = Config { max_position_embeddings: 1 << 32, ..config() };
    assert!(error(long).contains("`max_position_embeddings` is 4294967296, expected at most"));
}

#[test]
fn bad_files_are_named() {
    use tensor::gguf::{Array, Metadata, Value, save};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    let good = config().to_gguf(&path).unwrap();
    let read = |metadata: &Metadata| {
        save::<tensor::Error>(&path, metadata, &[], |_| unreachable!()).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        let error = Config::from_gguf(&checkpoint).map(drop).map_err(|error| error.to_string());
        error.map_err(|error| error.replace(&path.display().to_string(), "FILE"))
    };
    read(&good).unwrap();
    for (key, value, expected) in [
        (
            "general.architecture",
            Some(Value::String("llama".to_owned())),
            "`FILE` is of architecture `llama`, supported are minimax-01",
        ),
        ("general.architecture", None, "`FILE`: `general.architecture` is missing"),
        (
            "minimax-01.attention.head_count",
            Some(Value::U32(0)),
            "`FILE`: `minimax-01.attention.head_count` is 0, expected an integer from 1 to 65536",
        ),
        (
            "minimax-01.attention.head_count_kv",
            Some(Value::U32(3)),
            "`FILE`: `minimax-01.attention.head_count_kv` is 3, expected a divisor of `minimax-01.attention.head_count`, which is 4",
        ),
        (
            "minimax-01.attention.value_length",
            Some(Value::U32(9)),
            "`FILE`: `minimax-01.attention.value_length` is 9, expected the same as `minimax-01.attention.key_length`",
        ),
        (
            "minimax-01.attention.recurrent_layers",
            Some(Value::Bool(true)),
            "`FILE`: `minimax-01.attention.recurrent_layers` is true, expected a list with a boolean for each layer, 3 by `minimax-01.block_count`",
        ),
        (
            "minimax-01.attention.layer_norm_rms_epsilon",
            Some(Value::F32(f32::NAN)),
            "`FILE`: `minimax-01.attention.layer_norm_rms_epsilon` is null, expected a finite number",
        ),
        (
            "minimax-01.rope.freq_base",
            Some(Value::U32(10_000)),
            "`FILE`: `minimax-01.rope.freq_base` is 10000, expected a number of type f32 or f64",
        ),
        (
            "fulgurite.eos_token_ids",
            Some(Value::Array(Array::U8(vec![1; 20_000]))),
            "`FILE`: `fulgurite.eos_token_ids` is \"a list of 20000\", expected a token id, a list of them or null",
        ),
        (
            "split.count",
            Some(Value::U16(3)),
            "`FILE`: `split.count` is 3, expected 1: a file that is not split",
        ),
        ("minimax-01.residual_scale", None, "`FILE`: `minimax-01.residual_scale` is missing"),
        (
            "minimax-01.expert_used_count",
            Some(Value::U8(4)),
            "`FILE`: `minimax-01.expert_used_count` is 4, expected at most `minimax-01.expert_count`, which is 3",
        ),
        (
            "fulgurite.slope_rule",
            Some(Value::U8(4)),
            "`FILE`: `fulgurite.slope_rule` is 4, expected \"released\" or \"transformers\"",
        ),
    ] {
        let mut metadata = good.clone();
        match value {
            Some(value) => metadata.insert(key.to_owned(), value),
            None => metadata.remove(key),
        };
        assert_eq!(read(&metadata).unwrap_err(), expected);
    }
    let mut ruled = good.clone();
    ruled.remove("minimax-01.attention.recurrent_layers");
    ruled.insert("minimax-01.full_attention_interval".to_owned(), Value::U32(2));
    read(&ruled).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let types = Config::from_gguf(&checkpoint).unwrap().layer_types;
    assert_eq!(types, config().layer_types);
    let error = models::load(config(), &checkpoint, &Device::cpu(1), None).unwrap_err().to_string();
    assert!(error.contains("tensors: `blk.0.attn_gate.weight`"), "{error}");
}
