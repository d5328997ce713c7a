//! Training of towers that see and hear as a whole, with some of a few thousand parameters and the
//! embedded text model, which reads what they give.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use support::{ends, steps, values};
use tensor::{Device, Precision, safetensors};
use train::{Recipe, Trainer};

/// `KIND` and `OF` are those of one of [`TOWERS`].
const RECIPE: &str = r#"
objective = "transcribe"
seed = 3
compute = "f32"
checkpoint_every = 100
validate_every = 6
ema = 0.9

[optimizer]
matrices = "muon"
lr = 5e-3
warmup_steps = 2
decay_steps = 2
weight_decay = 0.01
max_grad_norm = 1.0

[transcribe]
of = "OF"
language = "../cli/nano-text"
steps = 40
examples = 4
examples_at_once = 3
distance = 0.1
questions = 0
answer_weight = 1.0
held_out = 5

[model]
model_type = "KIND"
vision_feature_layer = -1

[model.text_config]
hidden_size = 192
"#;

/// What is seen or heard, the kind of model, and its tower.
const TOWERS: [[&str; 3]; 2] = [
    [
        "pictures",
        "llava",
        r#"
[model.vision_config]
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 1
num_attention_heads = 2
image_size = 56
patch_size = 4
hidden_act = "gelu"
"#,
    ],
    [
        "sounds",
        "voxtral",
        r#"
[model.audio_config]
model_type = "voxtral_encoder"
hidden_size = 32
intermediate_size = 128
num_hidden_layers = 1
num_attention_heads = 2
num_mel_bins = 80
max_source_positions = 200
"#,
    ],
];

/// Of pictures and of sounds.
fn recipes() -> [String; 2] {
    TOWERS.map(|[of, kind, tower]| RECIPE.replace("OF", of).replace("KIND", kind) + tower)
}

fn trainer(text: &str) -> Trainer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipe.toml");
    Trainer::new(Recipe::from_toml(text, &path).unwrap(), &path, &Device::cpu(2)).unwrap()
}

#[test]
fn rows_come_near_the_bytes_of_transcripts() {
    for recipe in recipes() {
        let recipe = recipe.replace("steps = 40", "steps = 60");
        let losses = steps(&mut trainer(&recipe), 60, "loss");
        let [first, last] = ends(&losses);
        assert!(last < first / 2.0, "{first} to {last}");
    }
}

/// Through a language model that is not trained: answers come to be read from the rows alone.
#[test]
fn answers_are_learned_through_the_language_model() {
    for recipe in recipes() {
        let recipe = recipe.replace("questions = 0", "questions = 2");
        let recipe = recipe.replace("answer_weight = 1.0", "answer_weight = 50.0");
        let mut trainer = trainer(&recipe);
        let losses = steps(&mut trainer, 24, "answer");
        let [first, last] = ends(&losses);
        assert!(last < 0.9 * first, "{first} to {last}");
        let towers = ["vision_tower.", "audio_tower.", "multi_modal_projector."];
        let names = values(&mut trainer).into_keys();
        let strange: Vec<_> =
            names.filter(|name| !towers.iter().any(|tower| name.starts_with(tower))).collect();
        assert!(strange.is_empty(), "{strange:?} are trained");
    }
}

/// The recipe for pictures whose tower says on the way what their places show.
fn marked() -> String {
    let marks = "marks = { state = 1, weight = 0.5 }";
    recipes()[0].replace("held_out = 5", &format!("held_out = 5\n{marks}"))
}

#[test]
fn towers_learn_what_places_show_and_leave_the_heads_behind() {
    let mut trainer = trainer(&marked());
    let losses = steps(&mut trainer, 40, "marks");
    let [first, last] = ends(&losses);
    assert!(last < 0.8 * first, "{first} to {last}");
    let shares = trainer.history().iter().filter_map(|step| step.metric("seen"));
    assert!(
        shares.clone().count() == 40 && shares.clone().all(|share| (0.0..=1.0).contains(&share))
    );
    assert!(values(&mut trainer).keys().all(|name| !name.contains("marks")));
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    for recipe in [&recipes()[..], &[marked()]].concat() {
        let recipe = recipe.replace("questions = 0", "questions = 1");
        let mut whole = trainer(&recipe);
        steps(&mut whole, 7, "loss");
        let mut first = trainer(&recipe);
        steps(&mut first, 4, "loss");
        first.save(&path).unwrap();
        let mut second = trainer(&recipe);
        second.resume(&path).unwrap();
        steps(&mut second, 3, "loss");
        assert_eq!(whole.history(), second.history());
        assert_eq!(values(&mut whole), values(&mut second));
        let measured = whole.history().iter().filter(|step| step.metric("answers").is_some());
        assert_eq!(measured.map(|step| step.step).collect::<Vec<_>>(), [6]);
    }
}

/// What is written can be begun with, convolutions in the layout of files: it computes the same.
#[test]
fn a_run_begins_with_what_another_wrote() {
    for recipe in recipes() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = trainer(&recipe.replace("ema = 0.9", ""));
        steps(&mut first, 3, "loss");
        let saved = first.weights(Precision::F32);
        let path = folder.path().join("model.safetensors");
        safetensors::save(&path, saved, &BTreeMap::new()).unwrap();
        let start = format!("seed = 3\nstart = {:?}", folder.path());
        let mut second = trainer(&recipe.replace("seed = 3", &start).replace("ema = 0.9", ""));
        assert_eq!(values(&mut first), values(&mut second));
    }
}

#[test]
fn a_width_that_the_language_model_does_not_have_is_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipe.toml");
    let recipe = recipes()[0].replace("hidden_size = 192", "hidden_size = 100");
    let recipe = Recipe::from_toml(&recipe, &path).unwrap();
    let error = Trainer::new(recipe, &path, &Device::cpu(1)).unwrap_err().to_string();
    assert!(error.contains("`model.text_config.hidden_size` is 100, expected 192"), "{error}");
}

#[test]
fn a_tower_with_too_few_rows_is_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipe.toml");
    for (i, from, to, expected) in [
        (0, "image_size = 56", "image_size = 52", "`model` has 169 rows, expected at least 196"),
        (1, "positions = 200", "positions = 196", "`model` has 49 rows, expected at least 50"),
    ] {
        let recipe = Recipe::from_toml(&recipes()[i].replace(from, to), &path).unwrap();
        let error = Trainer::new(recipe, &path, &Device::cpu(1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn sections_with_numbers_out_of_range_are_refused() {
    for (from, to, expected) in [
        ("held_out = 5", "held_out = 0", "`transcribe.held_out` is 0, expected 1 to"),
        ("distance = 0.1", "distance = -1.0", "`transcribe.distance` is -1, expected 0 to 1000"),
        ("of = \"sounds\"", "of = \"smells\"", "unknown variant `smells`"),
        (
            "held_out = 5",
            "held_out = 5\nmarks = { state = 1, weight = 0.1 }",
            "`transcribe.marks` is of pictures, and `transcribe.of` is not",
        ),
    ] {
        let recipe = recipes()[1].replace(from, to);
        let error = Recipe::from_toml(&recipe, Path::new("r.toml")).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn marks_of_a_state_that_is_not_there_are_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipe.toml");
    let recipe = Recipe::from_toml(&marked().replace("state = 1", "state = 2"), &path).unwrap();
    let error = Trainer::new(recipe, &path, &Device::cpu(1)).unwrap_err().to_string();
    assert!(error.contains("`transcribe.marks.state` is 2, expected 0 to 1"), "{error}");
}
