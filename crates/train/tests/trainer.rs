//! Training as a whole, with a model of a few thousand parameters.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use std::collections::BTreeMap;
use std::path::Path;
use tensor::{Device, Precision};
use train::{Recipe, Step, Trainer};

const RECIPE: &str = r#"
seed = 3
compute = "f32"
checkpoint_every = 2

[model]
model_type = "minimax_text_01"
vocab_size = 260
hidden_size = 16
num_hidden_layers = 2
num_attention_heads = 2
head_dim = 8
attn_type_list = [0, 1]
rotary_dim = 0
rope_theta = 10000.0
intermediate_size = 16
num_local_experts = 4
num_experts_per_tok = 2
postnorm = true
max_position_embeddings = 4096

[optimizer]
lr = 5e-3
warmup_steps = 5
decay_steps = 5
weight_decay = 0.05
max_grad_norm = 1.0
balance_loss = 0.01

[[stages]]
steps = 60
tokens_per_step = 600
tokens_per_micro_batch = 400
min_bytes = 100
max_bytes = 200
questions = 5
absent_share = 0.2
document_weight = 0.1
question_weight = 0.1
"#;

fn trainer(text: &str, device: &Device) -> Trainer {
    let path = Path::new("recipe.toml");
    Trainer::new(Recipe::from_toml(text, path).unwrap(), path, device).unwrap()
}

fn loss(step: &Step) -> f64 {
    step.metric("loss").unwrap()
}

fn steps(trainer: &mut Trainer, n: usize) {
    for _ in 0..n {
        trainer.step().unwrap();
    }
}

/// What would fail only hours later is refused when the recipe is read.
#[test]
fn absurd_numbers_of_a_recipe_are_refused() {
    let cases = [
        ("lr = 5e-3", "lr = nan", "`optimizer.lr` is NaN"),
        ("lr = 5e-3", "lr = -1.0", "`optimizer.lr` is -1, expected a number from"),
        ("max_grad_norm = 1.0", "max_grad_norm = 0.0", "`optimizer.max_grad_norm` is 0"),
        ("steps = 60", "steps = 9223372036854775807", "`stages[0].steps` is 9223372036854775807"),
        ("max_bytes = 200", "max_bytes = 9999999999999", "`stages[0].max_bytes` is 9999999999999"),
        ("rope_theta = 10000.0", "rope_theta = inf", "`model.rope_theta` is inf"),
    ];
    for (from, to, words) in cases {
        let text = RECIPE.replacen(from, to, 1);
        let error = Recipe::from_toml(&text, Path::new("recipe.toml")).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(error.contains("recipe.toml"), "{error}");
    }
}

/// A run that begins with the weights of another predicts as that one did at its end.
#[test]
fn a_run_begins_with_the_weights_of_another() {
    let device = Device::cpu(2);
    let mut first = trainer(RECIPE, &device);
    let early = first.step().unwrap();
    steps(&mut first, 30);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(tensor::safetensors::WEIGHTS);
    let weights = first.weights(Precision::F32);
    tensor::safetensors::save(&path, weights, &BTreeMap::new()).unwrap();
    let start = format!("start = {:?}\n{RECIPE}", folder.path().display().to_string());
    let late = trainer(&start, &device).step().unwrap();
    assert!(loss(&late) < 0.9 * loss(&early), "{early:?} {late:?}");
    let wrong = start.replace("hidden_size = 16", "hidden_size = 24");
    let recipe = Recipe::from_toml(&wrong, Path::new("recipe.toml")).unwrap();
    let error = Trainer::new(recipe, Path::new("recipe.toml"), &device).unwrap_err().to_string();
    assert!(error.contains("expected [260, 24]"), "{error}");
}

#[test]
fn the_loss_falls() {
    for compute in ["f32", "bf16"] {
        let text = RECIPE.replace("\"f32\"", &format!("\"{compute}\""));
        let mut trainer = trainer(&text, &Device::cpu(2));
        let losses: Vec<f64> = (0..60).map(|_| loss(&trainer.step().unwrap())).collect();
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let (first, last) = (mean(&losses[..5]), mean(&losses[50..]));
        assert!(last < first - 1.0, "{first} to {last} in {compute}");
    }
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let mut whole = trainer(RECIPE, &Device::cpu(2));
    steps(&mut whole, 6);

    let mut first = trainer(RECIPE, &Device::cpu(2));
    steps(&mut first, 3);
    first.save(&path).unwrap();
    let mut second = trainer(RECIPE, &Device::cpu(2));
    second.resume(&path).unwrap();
    steps(&mut second, 3);

    assert_eq!(whole.history(), second.history());
    let files = [("a", &mut whole), ("b", &mut second)].map(|(name, trainer)| {
        let path = folder.path().join(name);
        let weights = trainer.weights(Precision::F32);
        tensor::safetensors::save(&path, weights, &Default::default()).unwrap();
        std::fs::read(path).unwrap()
    });
    assert!(files[0] == files[1], "the weights differ");
}

/// The first GPU; `None`, said aloud, if there is none. `REQUIRE_CUDA=1` makes that a failure.
fn gpu() -> Option<Device> {
    match Device::gpu(2, 0) {
        Ok(device) => Some(device),
        Err(reason) => {
            assert!(std::env::var_os("REQUIRE_CUDA").is_none(), "{reason}");
            // Not through `eprintln!`: the harness shows that of failing tests only.
            let line = format!("skipped: training on a GPU: {reason}\n");
            std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
            None
        }
    }
}

/// Every kernel of a step, forward, backward and of both optimizers, at once.
#[test]
fn the_gpu_trains_as_the_cpu_does() {
    let Some(gpu) = gpu() else { return };
    let text = RECIPE
        .replace("[optimizer]", "[optimizer]\nmatrices = \"muon\"")
        .replace("num_hidden_layers = 2", "num_hidden_layers = 3\nrelevance_token_id = 257")
        .replace("attn_type_list = [0, 1]", "attn_type_list = [0, 1, 1]");
    let mut on_cpu = trainer(&text, &Device::cpu(2));
    let mut on_gpu = trainer(&text, &gpu);
    for _ in 0..10 {
        let (a, b) = (on_cpu.step().unwrap(), on_gpu.step().unwrap());
        let close = |a: f64, b: f64| (a - b).abs() <= 2e-3 * a.abs().max(1e-3);
        let balance = |step: &Step| step.metric("balance").unwrap();
        assert!(close(loss(&a), loss(&b)) && close(a.grad_norm, b.grad_norm), "{a:?} {b:?}");
        assert!(close(balance(&a), balance(&b)), "{a:?} {b:?}");
    }
}

#[test]
fn a_run_on_the_gpu_is_repeatable_and_resumed() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let mut whole = trainer(RECIPE, &gpu);
    steps(&mut whole, 6);
    let mut first = trainer(RECIPE, &gpu);
    steps(&mut first, 3);
    first.save(&path).unwrap();
    let mut second = trainer(RECIPE, &gpu);
    second.resume(&path).unwrap();
    steps(&mut second, 3);
    assert_eq!(whole.history(), second.history());
}

#[test]
fn another_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    trainer(RECIPE, &Device::cpu(1)).save(&path).unwrap();
    let mut other = trainer(&RECIPE.replace("seed = 3", "seed = 4"), &Device::cpu(1));
    let error = other.resume(&path).unwrap_err().to_string();
    assert!(error.contains("seed") && error.contains("run.safetensors"), "{error}");
    let mut wider =
        trainer(&RECIPE.replace("hidden_size = 16", "hidden_size = 24"), &Device::cpu(1));
    assert!(wider.resume(&path).unwrap_err().to_string().contains("shape"));
}

#[test]
fn bad_recipes_are_named() {
    for (from, to, expected) in [
        ("seed = 3", "seed = -3", "seed"),
        ("compute = \"f32\"", "compute = \"f16\"", "f16"),
        ("questions = 5", "questions = 0", "questions"),
        ("absent_share = 0.2", "absent_share = 2.0", "absent_share"),
        ("min_bytes = 100", "min_bytes = 300", "min_bytes"),
        ("lr = 5e-3", "learning = 5e-3", "learning"),
    ] {
        let text = RECIPE.replace(from, to);
        let error = Recipe::from_toml(&text, Path::new("recipe.toml")).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("recipe.toml"), "{error}");
    }
}
