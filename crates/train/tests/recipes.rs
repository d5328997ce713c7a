//! The recipes of the repository: all can be followed, and those of the embedded video model fit together.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use models::video::NanoVideo;
use models::video::nano::config::NanoConfig;
use models::video::vae::config::WanVaeConfig;
use std::path::{Path, PathBuf};
use tensor::{Checkpoint, Device};
use toml::{Table, Value};
use train::recipe::Kind;
use train::{Recipe, Trainer};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes")
}

/// The recipe that writes a folder `../NAME`.
fn writer(of: &Path) -> PathBuf {
    let name = of.strip_prefix("..").unwrap().to_str().unwrap();
    folder().join(format!("{name}.toml"))
}

fn json(model: &Table) -> serde_json::Value {
    serde_json::to_value(model).unwrap()
}

#[test]
fn every_recipe_can_be_followed() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let read =
            |path: &Path| Recipe::from_toml(&std::fs::read_to_string(path).unwrap(), path).unwrap();
        let recipe = read(&path);
        if let Some(start) = &recipe.start {
            assert_eq!(read(&writer(start)).objective, recipe.objective, "{}", path.display());
        }
        let mut model = json(&recipe.model);
        match recipe.objective {
            // Their language model is in the repository.
            Kind::Transcribe => {
                let recipe = Recipe { start: None, ..recipe };
                drop(Trainer::new(recipe, &path, &Device::cpu(1)).unwrap());
            }
            Kind::Lookup => drop(recipe.config(&path).unwrap()),
            Kind::Autoencoder => {
                WanVaeConfig::from_json(model.to_string().as_bytes(), &path).unwrap();
            }
            Kind::Flow => {
                let autoencoder = recipe.flow.unwrap().autoencoder;
                model["vae"] = autoencoder.map_or(serde_json::Value::Null, |folder| {
                    let autoencoder = read(&writer(&folder));
                    assert_eq!(autoencoder.objective, Kind::Autoencoder);
                    json(&autoencoder.model)
                });
                NanoConfig::from_json(model.to_string().as_bytes(), &path).unwrap();
            }
        }
        seen += 1;
    }
    assert!(seen >= 9, "{seen} recipes");
}

/// The four runs of `docs/models/nano-video.md`, of two steps each and a smaller autoencoder.
#[test]
fn the_runs_of_the_video_model_fit_together() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("recipes")).unwrap();
    let device = Device::cpu(2);
    let run = |name: &str| {
        let text = std::fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap();
        let mut recipe: Table = text.parse().unwrap();
        shorten(&mut recipe);
        let path = root.path().join(format!("recipes/{name}.toml"));
        let recipe = Recipe::from_toml(&recipe.to_string(), &path).unwrap();
        let mut trainer = Trainer::new(recipe, &path, &device).unwrap();
        (0..2).for_each(|_| drop(trainer.step().unwrap()));
        let output = root.path().join(name);
        std::fs::create_dir_all(&output).unwrap();
        trainer.write_model(&output).unwrap();
        Checkpoint::open(&output).unwrap()
    };
    let first = run("nano-video-vae");
    let second = run("nano-video-vae-decoder");
    run("nano-video-coarse");
    let whole = run("nano-video");
    let host = Device::cpu(1);
    let values = |of: &Checkpoint, name: &str, shape: &[usize]| {
        of.load(&host, name, shape).unwrap().to_vec()
    };
    let mut learned = 0;
    for name in second.names() {
        let shape = second.shape(name).unwrap();
        let after = values(&second, name, shape);
        let is_same = values(&first, name, shape) == after;
        match name.split('.').next() {
            // What the transformer learns from.
            Some("encoder" | "quant_conv") => assert!(is_same, "{name}"),
            _ => learned += usize::from(!is_same),
        }
        // In 8 bits or as it was.
        let stored = format!("vae.{name}");
        let rows = [shape[0], shape[1..].iter().product()];
        let in_blocks = whole.dtype(&stored).as_deref() == Some("Q8_0");
        let found = values(&whole, &stored, if in_blocks { &rows } else { shape });
        let largest = after.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let most = if in_blocks { largest / 200.0 } else { 0.0 };
        assert!(found.iter().zip(&after).all(|(a, b)| (a - b).abs() <= most), "{stored}");
    }
    assert!(learned > 10, "{learned} of the decoder have changed");
    for name in ["transformer.blocks.0.self_attn.to_q.weight", "text.words.weight"] {
        assert_eq!(whole.dtype(name).as_deref(), Some("Q8_0"), "{name}");
    }
    let config = |name: &str| {
        let text = std::fs::read(root.path().join(name).join("config.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()
    };
    assert_eq!(config("nano-video")["vae"], config("nano-video-vae-decoder"));
    let statistics = ["latents_mean", "latents_std"];
    assert!(statistics.iter().all(|of| config("nano-video")["vae"][of].is_array()));
    NanoVideo::open(&root.path().join("nano-video"), &device, None).unwrap();
}

/// Two steps of few small clips.
fn shorten(recipe: &mut Table) {
    let at = |table: &mut Table, name: &str, value: i64| {
        assert!(table.contains_key(name), "{name}");
        table.insert(name.to_owned(), value.into());
    };
    let part = |recipe: &mut Table, name: &str, fields: &[(&str, i64)]| {
        let Some(Value::Table(table)) = recipe.get_mut(name) else { return };
        fields.iter().for_each(|(name, value)| at(table, name, *value));
    };
    recipe.remove("validate_every");
    part(recipe, "optimizer", &[("warmup_steps", 1), ("decay_steps", 1)]);
    if recipe["objective"].as_str() == Some("autoencoder") {
        part(recipe, "model", &[("base_dim", 8)]);
        part(recipe, "autoencoder", &[("steps", 2)]);
        let batches = recipe["autoencoder"].get_mut("batches").and_then(Value::as_array_mut);
        for batch in batches.unwrap().iter_mut().filter_map(Value::as_table_mut) {
            at(batch, "clips", 1);
            at(batch, "size", 16);
        }
        return;
    }
    part(recipe, "model", &[("height", 32), ("width", 32), ("reference_size", 16)]);
    let flow = [
        ("steps", 2),
        ("pool", 4),
        ("fresh", 1),
        ("clips", 2),
        ("clips_at_once", 2),
        ("prompts", 0),
    ];
    part(recipe, "flow", &flow);
}
