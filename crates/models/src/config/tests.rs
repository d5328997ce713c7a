use super::*;
use proptest::prelude::*;

fn released() -> Value {
    json!({
        "architectures": ["MiniMaxText01ForCausalLM"],
        "model_type": "minimax_text_01",
        "vocab_size": 200_064,
        "hidden_size": 6144,
        "intermediate_size": 9216,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "num_local_experts": 32,
        "num_experts_per_tok": 2,
        "attn_type_list": (0..80).map(|i| i32::from((i + 1) % 8 == 0)).collect::<Vec<_>>(),
        "layernorm_full_attention_alpha": 3.5565588200778455,
        "layernorm_linear_attention_alpha": 3.5565588200778455,
        "layernorm_mlp_alpha": 3.5565588200778455,
        "postnorm": true,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000_000,
        "rotary_dim": 64,
        "shared_intermediate_size": 0,
        "max_position_embeddings": 10_240_000,
    })
}

fn parse(value: &Value) -> Result<Config, Error> {
    Config::from_json(value.to_string().as_bytes(), Path::new("config.json"))
}

fn with(field: &str, value: Value) -> Value {
    let mut config = released();
    config[field] = value;
    config
}

#[test]
fn the_released_model_counts_its_parameters() {
    let config = parse(&released()).unwrap();
    assert_eq!(config.num_parameters(), 456_089_655_296);
    assert_eq!(config.num_active_parameters() / 10_000_000, 4594);
    // States, and half as much again for keys and values of blocks that are not complete.
    assert_eq!(config.state_bytes(), (280 + 140) << 20);
    assert_eq!(config.kv_bytes_per_token(KvType::F32), 2 * 40_960);
    assert_eq!(config.count(LayerType::FullAttention), 10);
}

#[test]
fn what_is_written_reads_back() {
    let mut config = parse(&released()).unwrap();
    config.attention_log_length_base = Some(4096.0);
    config.relevance_token_id = Some(7);
    config.eos_token_ids = vec![1, 7];
    config.mlp = ResidualFactors { alpha: 0.1, beta: -2.0 };
    assert_eq!(Config::from_json(config.to_json().as_bytes(), Path::new("x")).unwrap(), config);
}

#[test]
fn the_two_dialects_say_the_same() {
    let one = parse(&released()).unwrap();
    let types: Vec<&str> = (0..80)
        .map(|i| if (i + 1) % 8 == 0 { "full_attention" } else { "linear_attention" })
        .collect();
    let mut value = released();
    let map = value.as_object_mut().unwrap();
    for name in ["attn_type_list", "rope_theta", "rotary_dim", "postnorm", "num_local_experts"] {
        map.remove(name);
    }
    map.retain(|name, _| !name.starts_with("layernorm_"));
    for part in ["full_attn", "linear_attn", "mlp"] {
        map.insert(format!("{part}_alpha_factor"), json!(3.5565588200778455));
    }
    map.insert("layer_types".into(), json!(types));
    map.insert("num_experts".into(), json!(32));
    map.insert("model_type".into(), json!("minimax"));
    let rope = json!({"rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.5});
    map.insert("rope_parameters".into(), rope);
    let other = parse(&value).unwrap();
    assert_eq!(Config { slope_rule: SlopeRule::Released, ..other.clone() }, one);
    // Without any word about the width everything is rotated; without a list, every other layer.
    let map = value.as_object_mut().unwrap();
    map.remove("layer_types");
    map["rope_parameters"].as_object_mut().unwrap().remove("partial_rotary_factor");
    let bare = parse(&value).unwrap();
    assert_eq!((bare.rotary_dim, bare.count(LayerType::FullAttention)), (128, 40));
    assert_eq!(bare.layer_types[0], LayerType::FullAttention);
}

#[test]
fn slopes_of_both_rules() {
    let config = parse(&released()).unwrap();
    let near = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-6 * b, "{a} {b}");
    near(config.slopes(0)[0], 0.917_004_043 * 1.00001);
    near(config.slopes(78)[63], 0.003_906_25 * (1.0 / 79.0 + 1e-5));
    near(config.slopes(79)[63], 0.003_906_25 * 1e-5);
    let of = |heads: usize, layers: usize, slope_rule| {
        let layer_types = vec![LayerType::LinearAttention; layers];
        let sizes =
            Config { num_attention_heads: heads, num_hidden_layers: layers, ..config.clone() };
        Config { layer_types, slope_rule, ..sizes }.slopes(0)
    };
    // 4 heads, then every other one of 8.
    let want = [0.25, 0.0625, 0.015_625, 0.003_906_25, 0.5, 0.125];
    of(6, 1, SlopeRule::Released).iter().zip(want).for_each(|(a, b)| near(*a, b * 1.00001));
    let third = (-8.0f64 / 6.0).exp2();
    near(of(6, 5, SlopeRule::Transformers)[0], third * 1.00001);
    near(of(1, 1, SlopeRule::Transformers)[0], 2f64.powi(-8) * 1.00001);
}

#[test]
fn bad_values_are_named() {
    let cases = [
        (
            "num_attention_heads",
            json!(0),
            "`num_attention_heads` is 0, expected an integer from 1 to 65536",
        ),
        (
            "num_hidden_layers",
            json!(1_000_000_000),
            "`num_hidden_layers` is 1000000000, expected an integer from 1 to 10000",
        ),
        (
            "hidden_size",
            json!(61.5),
            "`hidden_size` is 61.5, expected an integer from 1 to 16777216",
        ),
        ("rms_norm_eps", json!("nan"), "`rms_norm_eps` is \"nan\", expected a number from 0 to 1"),
        (
            "rope_theta",
            json!(-1),
            "`rope_theta` is -1, expected a number from 1 to 1000000000000000",
        ),
        ("rotary_dim", json!(129), "`rotary_dim` is 129, expected an integer from 0 to 128"),
        ("rotary_dim", json!(63), "`rotary_dim` is 63, expected an even number"),
        (
            "num_key_value_heads",
            json!(7),
            "`num_key_value_heads` is 7, expected a divisor of `num_attention_heads`, which is 64",
        ),
        (
            "num_experts_per_tok",
            json!(33),
            "`num_experts_per_tok` is 33, expected at most `num_local_experts`, which is 32",
        ),
        (
            "mlp_alpha_factor",
            json!(2.0),
            "`layernorm_mlp_alpha` is 3.5565588200778455, expected the same as `mlp_alpha_factor`",
        ),
        (
            "shared_intermediate_size",
            json!([0, 5]),
            "`shared_intermediate_size` is [0,5], expected 0 (no shared expert)",
        ),
        (
            "rope_scaling",
            json!({"type": "yarn"}),
            "`rope_scaling` is {\"type\":\"yarn\"}, expected `rope_type` \"default\"",
        ),
        ("sliding_window", json!(4096), "`sliding_window` is 4096, expected null"),
        ("hidden_act", json!("gelu"), "`hidden_act` is \"gelu\", expected \"silu\""),
        ("max_position_embeddings", Value::Null, "`max_position_embeddings` is missing"),
        ("attn_type_list", Value::Null, "`attn_type_list` is missing"),
        (
            "eos_token_id",
            json!("</s>"),
            "`eos_token_id` is \"</s>\", expected a token id, a list of them or null",
        ),
    ];
    for (field, value, expected) in cases {
        let error = parse(&with(field, value)).unwrap_err().to_string();
        assert_eq!(error, format!("`config.json`: {expected}"));
    }
    let error = parse(&with("attn_type_list", json!([0, 1]))).unwrap_err().to_string();
    assert!(error.contains("`attn_type_list` is [0,1], expected a list of 80 layers"), "{error}");
    let error = parse(&with("model_type", json!("llama"))).unwrap_err().to_string();
    assert!(error.contains("is of architecture `llama`"), "{error}");
    let other = with("architectures", json!(["LlamaForCausalLM"]));
    let error = parse(&other).unwrap_err().to_string();
    assert!(error.contains("is of architecture `LlamaForCausalLM`"), "{error}");
    let mut other = with("model_type", json!("llama"));
    other["architectures"] = json!(["LlamaForCausalLM"]);
    let error = parse(&other).unwrap_err().to_string();
    assert!(
        error.starts_with("`config.json` is of architecture `LlamaForCausalLM`, supported are")
    );
    let text = br#"{"num_attention_heads": NaN}"#;
    let error = Config::from_json(text, Path::new("config.json")).unwrap_err().to_string();
    assert!(error.starts_with("`config.json` is not a valid config: expected value"), "{error}");
}

/// The last bit too: quick ways to parse numbers miss it now and then.
#[test]
fn a_number_is_read_back_as_it_was() {
    let config = parse(&with("layernorm_mlp_alpha", json!(2.1844674407370954))).unwrap();
    let written = config.to_json();
    let again = Config::from_json(written.as_bytes(), Path::new("x")).unwrap();
    assert_eq!(again.mlp.alpha, 2.1844674407370954);
}

#[test]
fn the_memory_of_absurd_contexts_does_not_overflow() {
    let mut config = parse(&released()).unwrap();
    assert_eq!(config.kv_bytes(usize::MAX, KvType::F32), u64::MAX);
    config.head_dim = usize::MAX;
    assert_eq!(config.kv_bytes_per_token(KvType::F32), u64::MAX);
    assert_eq!(config.state_bytes(), u64::MAX);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(text: Vec<u8>) {
        let _ = Config::from_json(&text, Path::new("x"));
    }

    /// Any number in any field: what is accepted can be used.
    #[test]
    fn any_number_is_used_or_refused(field in 0usize..24, number: f64, small in 0u64..300) {
        for value in [json!(number), json!(small), json!([small]), json!({"a": small})] {
            let mut config = released();
            let map = config.as_object_mut().unwrap();
            let name = map.keys().nth(field % map.len()).cloned().unwrap();
            map.insert(name, value);
            if let Ok(config) = parse(&config) {
                let slopes = config.slopes(config.num_hidden_layers - 1);
                prop_assert!(slopes.iter().all(|s| s.is_finite() && *s > 0.0));
            }
        }
    }
}
