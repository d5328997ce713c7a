//! Outputs of the reference implementation on tiny random checkpoints (`fixtures/goldens`, made by
//! `fixtures/goldens.py`), and of any more in the folder that `FULGURITE_GOLDENS` names.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use models::weights::Policy;
use models::{Batch, Cache, CausalLm, Config, MiniMaxText01};
use std::path::{Path, PathBuf};
use tensor::{Checkpoint, Device, KvType, Tensor};

/// A checkpoint with what the reference computed.
struct Golden {
    name: String,
    model: MiniMaxText01,
    expected: Checkpoint,
    device: Device,
}

impl Golden {
    fn open(folder: &Path, policy: Policy) -> Self {
        let device = Device::cpu(2).with_f64_arithmetic();
        let path = folder.join("config.json");
        let config = Config::from_json(&std::fs::read(&path).unwrap(), &path).unwrap();
        let checkpoint = Checkpoint::open(folder).unwrap();
        let model = models::load(config, &checkpoint, &device, Some(policy)).unwrap();
        let expected = Checkpoint::open(&folder.join("expected.safetensors")).unwrap();
        Self { name: folder.display().to_string(), model, expected, device }
    }

    /// Lengths for which there are outputs.
    fn lengths(&self) -> Vec<usize> {
        let lengths = self.expected.names().filter_map(|name| name.strip_prefix("input_ids."));
        lengths.map(|length| length.parse().unwrap()).collect()
    }

    fn input(&self, length: usize) -> Vec<u32> {
        let ids = self.expected.load_ids(&format!("input_ids.{length}")).unwrap();
        ids.into_iter().map(|id| id as u32).collect()
    }

    fn expected(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        self.expected.load(&self.device, name, shape).unwrap().to_vec()
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/goldens")
}

fn folders(roots: &[PathBuf]) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for root in roots {
        let entries = std::fs::read_dir(root).unwrap_or_else(|e| panic!("{root:?}: {e}"));
        let entries = entries.map(|entry| entry.unwrap().path());
        folders.extend(
            entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("text-")),
        );
    }
    folders.sort();
    assert!(folders.len() >= 4, "goldens are missing");
    folders
}

fn max_abs_error(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The `k` best of each row, best first.
fn top_k(logits: &[f32], width: usize, k: usize) -> Vec<Vec<usize>> {
    let best = |row: &[f32]| {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        order.truncate(k);
        order
    };
    logits.chunks_exact(width).map(best).collect()
}

fn logits_of(model: &MiniMaxText01, ids: &[u32]) -> Tensor {
    let all: Vec<usize> = (0..ids.len()).collect();
    let mut cache = Cache::new(model.config(), KvType::F32);
    model.logits(&Batch::single(ids, 0, &all), &mut [&mut cache])
}

#[test]
fn f32_agrees_with_the_reference() {
    let more = std::env::var_os("FULGURITE_GOLDENS").map(PathBuf::from);
    let roots: Vec<PathBuf> = [fixtures()].into_iter().chain(more).collect();
    for folder in folders(&roots) {
        let golden = Golden::open(&folder, Policy::F32);
        let config = golden.model.config().clone();
        for length in golden.lengths() {
            let ids = golden.input(length);
            let name = format!("{} at {length}", golden.name);
            let logits = logits_of(&golden.model, &ids);
            let expected =
                golden.expected(&format!("logits.{length}"), &[length, config.vocab_size]);
            let error = max_abs_error(logits.data(), &expected);
            assert!(error <= 2e-4, "{name}: logits differ by {error}");

            let all: Vec<usize> = (0..length).collect();
            let output = golden.model.forward(&Batch::single(&ids, 0, &all), None);
            for (layer, router) in output.router.iter().enumerate() {
                let experts = config.num_local_experts;
                let expected =
                    golden.expected(&format!("router.{length}.{layer}"), &[length, experts]);
                let k = config.num_experts_per_tok;
                let chosen: Vec<Vec<usize>> = router
                    .routing
                    .experts()
                    .chunks(k)
                    .map(|row| row.iter().map(|&e| e as usize).collect())
                    .collect();
                assert_eq!(chosen, top_k(&expected, experts, k), "{name}: experts of {layer}");
            }
        }
    }
}

/// Not for the goldens of `FULGURITE_GOLDENS`: where random weights are so large that rounding them
/// changes which experts are chosen, the reference itself moves as far (`docs/perf/LOG.md`).
#[test]
fn bf16_weights_stay_close() {
    for folder in folders(&[fixtures()]) {
        let golden = Golden::open(&folder, Policy::Bf16);
        let config = golden.model.config();
        for length in golden.lengths() {
            let logits = logits_of(&golden.model, &golden.input(length));
            let expected =
                golden.expected(&format!("logits.{length}"), &[length, config.vocab_size]);
            let cosine = cosine(logits.data(), &expected);
            assert!(cosine >= 0.999, "{} at {length}: cosine {cosine}", golden.name);
        }
    }
}
