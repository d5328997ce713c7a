//! Models whose matrices are in blocks: laws, and how far they are from the checkpoint.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use models::weights::{Policy, Random, quantized, saved, to_gguf};
use models::{Batch, Cache, CausalLm, Config, MiniMaxText01};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tensor::gguf::DType;
use tensor::{Checkpoint, Device, KvType, Precision, Rng, Saved, Tensor, safetensors};

const QUANTIZING: [Policy; 4] = [Policy::Q8, Policy::Q4, Policy::Q4K, Policy::Q4Lean];

/// Rows of one block of Q4_K, of some of Q8_0, and of no whole number of any.
fn config() -> Config {
    let text = r#"{
        "model_type": "minimax_text_01", "vocab_size": 50, "hidden_size": 256,
        "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 12, "num_local_experts": 3,
        "num_experts_per_tok": 2, "attn_type_list": [0, 1, 0], "rotary_dim": 4,
        "rope_theta": 10000, "postnorm": true, "max_position_embeddings": 4096,
        "layernorm_linear_attention_alpha": 1.5, "layernorm_full_attention_alpha": 1.4,
        "layernorm_mlp_alpha": 1.5
    }"#;
    Config::from_json(text.as_bytes(), Path::new("config.json")).unwrap()
}

fn tokens(n: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng(seed);
    (0..n).map(|_| rng.below(50) as u32).collect()
}

fn random(config: &Config, precision: Precision) -> BTreeMap<String, Saved> {
    let device = Device::cpu(1);
    let mut random = Random::new(&device, Precision::F32, 3, 1);
    saved(&mut MiniMaxText01::new(config.clone(), &mut random).unwrap(), precision)
}

fn write(folder: &Path, name: &str, tensors: BTreeMap<String, Saved>) -> Checkpoint {
    let path = folder.join(name);
    safetensors::save(&path, tensors, &BTreeMap::new()).unwrap();
    Checkpoint::open(&path).unwrap()
}

fn load(config: &Config, checkpoint: &Checkpoint, policy: Option<Policy>) -> MiniMaxText01 {
    models::load(config.clone(), checkpoint, &Device::cpu(2), policy).unwrap()
}

/// Logits of all positions, read in pieces of `piece` tokens.
fn logits(model: &MiniMaxText01, ids: &[u32], piece: usize) -> Vec<f32> {
    let mut cache = Cache::new(model.config(), KvType::F32);
    let mut logits = Vec::new();
    for part in ids.chunks(piece) {
        let rows: Vec<usize> = (0..part.len()).collect();
        let batch = Batch::single(part, cache.tokens(), &rows);
        logits.extend_from_slice(model.logits(&batch, &mut [&mut cache]).data());
    }
    logits
}

fn relative_rms(want: &[f32], got: &[f32]) -> f64 {
    assert_eq!(want.len(), got.len());
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let error = squares(&mut want.iter().zip(got).map(|(w, g)| f64::from(w - g)));
    (error / squares(&mut want.iter().map(|&w| f64::from(w)))).sqrt()
}

/// Made ahead as a folder or as a GGUF file, or while loading: the same bits.
#[test]
fn all_ways_to_blocks_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { full_attn: config().linear_attn, ..config() };
    let ids = tokens(70, 1);
    for precision in [Precision::F32, Precision::Bf16] {
        let from = write(folder.path(), "x.safetensors", random(&config, precision));
        for policy in QUANTIZING {
            let device = Device::cpu(2);
            let want = logits(&load(&config, &from, Some(policy)), &ids, 70);
            let made = quantized((&config, None), &from, &device, policy, |_, _| ()).unwrap();
            let made = write(folder.path(), "made.safetensors", made);
            let w1 = "model.layers.0.block_sparse_moe.experts.2.w1.weight";
            assert_eq!(made.stored(w1), Some(policy.matrices()), "{policy}");
            assert_eq!(made.shape(w1), Some(&[32, 256][..]), "{policy}");
            for policy in [None, Some(policy)] {
                assert_eq!(want, logits(&load(&config, &made, policy), &ids, 70), "{policy:?}");
            }
            let path = folder.path().join("x.gguf");
            let metadata = config.to_gguf(Path::new("config.json")).unwrap();
            let to = (&*path, &metadata, Some(policy));
            to_gguf(&config, &from, &device, to, |_, _| ()).unwrap();
            let gguf = Checkpoint::open(&path).unwrap();
            assert_eq!(want, logits(&load(&config, &gguf, None), &ids, 70), "{policy} in GGUF");
        }
    }
}

#[test]
fn laws_hold_in_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let config = config();
    let from = write(folder.path(), "x.safetensors", random(&config, Precision::Bf16));
    for policy in QUANTIZING {
        let model = load(&config, &from, Some(policy));
        let ids = tokens(150, 2);
        let want = logits(&model, &ids, 150);
        for piece in [1, 7, 64] {
            // Rounding to integers makes steps of what was a difference in the last bit.
            let error = relative_rms(&want, &logits(&model, &ids, piece));
            assert!(error < 5e-3, "{policy}: {error:e} in pieces of {piece}");
        }
        // A batch is its sequences alone, bit for bit.
        let lengths = [40, 1, 13];
        let sequences: Vec<Vec<u32>> = (0..3).map(|i| tokens(lengths[i], i as u64)).collect();
        let mut caches: Vec<Cache> = lengths.map(|_| Cache::new(&config, KvType::F32)).into();
        let parts: Vec<(&[u32], usize)> = sequences.iter().map(|ids| (&ids[..], 0)).collect();
        let rows: Vec<usize> = (0..lengths.iter().sum()).collect();
        let batch = Batch::new(parts, &rows);
        let mut caches: Vec<&mut Cache> = caches.iter_mut().collect();
        let together = model.logits(&batch, &mut caches).to_vec();
        let alone: Vec<f32> =
            sequences.iter().flat_map(|ids| logits(&model, ids, ids.len())).collect();
        assert_eq!(alone, together, "{policy}");
    }
}

/// Every level multiplies blocks with the same bits, so it is only the other operations that differ.
#[test]
fn levels_agree_in_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let config = config();
    let from = write(folder.path(), "x.safetensors", random(&config, Precision::F32));
    let ids = tokens(40, 3);
    let want = logits(&load(&config, &from, Some(Policy::Q8)), &ids, 40);
    for level in Device::levels() {
        let device = Device::cpu_with_level(1, level).unwrap();
        let model = models::load(config.clone(), &from, &device, Some(Policy::Q8)).unwrap();
        let error = relative_rms(&want, &logits(&model, &ids, 40));
        // `out_proj`, whose rows are not whole blocks, is bf16.
        assert!(
            error < if device.level().contains("bf16") { 2e-2 } else { 1e-2 },
            "{level}: {error:e}"
        );
    }
}

fn goldens() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/goldens");
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("text-");
    entries.filter(text).collect()
}

#[test]
fn goldens_move_as_little_as_blocks_round() {
    for folder in goldens() {
        let path = folder.join("config.json");
        let config = Config::from_json(&std::fs::read(&path).unwrap(), &path).unwrap();
        let from = Checkpoint::open(&folder).unwrap();
        let expected = Checkpoint::open(&folder.join("expected.safetensors")).unwrap();
        let Some(name) = expected.names().find(|name| name.starts_with("input_ids.")) else {
            panic!("{folder:?} has no ids")
        };
        let ids: Vec<u32> =
            expected.load_ids(name).unwrap().into_iter().map(|id| id as u32).collect();
        let want = logits(&load(&config, &from, Some(Policy::Bf16)), &ids, 64);
        for (policy, allowed) in [(Policy::Q8, 0.05), (Policy::Q4, 0.6), (Policy::Q4K, 0.6)] {
            let got = logits(&load(&config, &from, Some(policy)), &ids, 64);
            let error = relative_rms(&want, &got);
            assert!(error < allowed, "{folder:?} in {policy}: {error}");
        }
    }
}

#[test]
fn what_is_loaded_takes_what_is_computed() {
    let folder = tempfile::tempdir().unwrap();
    // Sizes that fill every panel, so that nothing is padded.
    let config = Config { vocab_size: 64, head_dim: 16, num_local_experts: 32, ..config() };
    let from = write(folder.path(), "x.safetensors", random(&config, Precision::Bf16));
    let device = Device::cpu(1);
    let bytes =
        |policy| models::weights::loaded_bytes(&config, &from, &device, policy).unwrap().total;
    let all = [Policy::F32, Policy::Bf16, Policy::Q8, Policy::Q4].map(|policy| bytes(Some(policy)));
    assert!(all.windows(2).all(|pair| pair[0] >= pair[1]), "{all:?}");
    for policy in Policy::ALL.map(Some).into_iter().chain([None]) {
        let held = load(&config, &from, policy).weight_bytes().total as u64;
        assert_eq!(bytes(policy), held, "{policy:?}");
    }
}

#[test]
fn numbers_that_are_none_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = config();
    let mut tensors = random(&config, Precision::F32);
    let name = "model.layers.1.self_attn.v_proj.weight";
    let device = Device::cpu(1);
    let mut numbers = vec![0.5; 24 * 256];
    numbers[1000] = f32::NAN;
    tensors.insert(name.to_owned(), Saved::Tensor(Tensor::new(&device, &[24, 256], numbers)));
    let from = write(folder.path(), "x.safetensors", tensors);
    let error = models::load(config, &from, &device, Some(Policy::Q4)).unwrap_err().to_string();
    let expected = format!("element 1000 of `{name}` is NaN, expected one that Q4_0 can hold");
    assert!(error.ends_with(&expected), "{error}");
}

/// Bytes under a name that ends in a type's, as a file that was tampered with has them.
#[test]
fn odd_blocks_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = config();
    let name = "model.layers.1.self_attn.v_proj.weight";
    let error = |kind: &str, shape: [usize; 2]| {
        let mut tensors = random(&config, Precision::F32);
        tensors.remove(name);
        let bytes = Saved::Bytes(shape, vec![0; shape[0] * shape[1]]);
        tensors.insert(format!("{name}.{kind}"), bytes);
        let from = write(folder.path(), "x.safetensors", tensors);
        models::load(config.clone(), &from, &Device::cpu(1), None).unwrap_err().to_string()
    };
    for (kind, shape, words) in [
        ("q4_0", [24, 18], "has shape [24, 32], expected [24, 256]"),
        ("q4_0", [23, 144], "has shape [23, 256], expected [24, 256]"),
        ("q4_0", [24, 143], "lacks 1 of the model's tensors"),
        ("q4_9", [24, 144], "lacks 1 of the model's tensors"),
    ] {
        let error = error(kind, shape);
        assert!(error.contains(words), "{kind} {shape:?}: {error}");
    }
    let whole = {
        let mut tensors = random(&config, Precision::F32);
        tensors.remove(name);
        tensors.insert(format!("{name}.q4_0"), Saved::Bytes([24, 144], vec![0; 24 * 144]));
        write(folder.path(), "x.safetensors", tensors)
    };
    assert!(matches!(whole.stored(name), Some(DType::Blocks(_))));
    load(&config, &whole, None);
}

/// Weights that are packed where the file has them say what loaded ones say, in every layout.
#[test]
fn bf16_in_place_is_bf16_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { full_attn: config().linear_attn, ..config() };
    let narrow = random(&config, Precision::Bf16);
    let widen = |(name, saved): (&String, &Saved)| match saved {
        Saved::Tensor(tensor) => (name.clone(), Saved::Tensor(tensor.to_f32())),
        _ => panic!("{name} is no tensor"),
    };
    let wide = narrow.iter().map(widen).collect();
    let from = write(folder.path(), "narrow.safetensors", narrow);
    assert!(
        from.bf16("model.layers.0.block_sparse_moe.experts.1.w2.weight", &[256, 32])
            .unwrap()
            .is_some()
    );
    let wide = write(folder.path(), "wide.safetensors", wide);
    let path = folder.path().join("x.gguf");
    let metadata = config.to_gguf(Path::new("config.json")).unwrap();
    to_gguf(&config, &from, &Device::cpu(1), (&*path, &metadata, None), |_, _| ()).unwrap();
    let gguf = Checkpoint::open(&path).unwrap();
    let ids = tokens(70, 4);
    for policy in [Policy::Bf16, Policy::F32] {
        let want = logits(&load(&config, &wide, Some(policy)), &ids, 70);
        for file in [&from, &gguf] {
            assert!(want == logits(&load(&config, file, Some(policy)), &ids, 70), "{policy}");
        }
    }
}
