//! Prompts with pictures and sounds in them: logits against those of transformers, with LLaVA-NeXT,
//! Voxtral and Qwen2-Audio on MiniMax-Text-01 (`fixtures/towers/splice-*`, made by `splice.py`).
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use models::audio::voxtral::{AudioConfig, AudioEncoder};
use models::vision::minimax_vl_01;
use models::{Batch, Cache, CausalLm as _, Config, Inserted, MiniMaxText01, expand};
use std::path::{Path, PathBuf};
use tensor::{Checkpoint, Device, KvType, Tensor};

/// A model's folder and what is expected of it.
struct Fixture {
    folder: PathBuf,
    config: Vec<u8>,
    checkpoint: Checkpoint,
    expected: Checkpoint,
}

impl Fixture {
    fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/towers").join(name);
        let expected = Checkpoint::open(&folder.join("expected.safetensors")).unwrap();
        let config = std::fs::read(folder.join("config.json")).unwrap();
        Self { config, checkpoint: Checkpoint::open(&folder).unwrap(), expected, folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("config.json")
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        self.expected.load_ids(name).unwrap().into_iter().map(|id| id as u32).collect()
    }

    fn tensor(&self, name: &str, device: &Device) -> Tensor {
        self.expected.load(device, name, self.expected.shape(name).unwrap()).unwrap()
    }

    /// Checks what `language` says of a prompt whose runs of `placeholder` are pictures or sounds:
    /// `rows` are all of theirs, `counts` of each.
    #[track_caller]
    fn check(&self, language: &MiniMaxText01, placeholder: u32, rows: Tensor, counts: &[usize]) {
        let want_ids = self.ids("ids");
        // As a user has it: one placeholder for each.
        let mut prompt = want_ids.clone();
        prompt.dedup_by(|a, b| a == b && *a == placeholder);
        let (ids, tokens) = expand(&prompt, placeholder, counts).unwrap();
        assert_eq!(ids, want_ids);
        let all: Vec<usize> = (0..ids.len()).collect();
        let batch = Batch::single(&ids, 0, &all).with(Inserted { tokens, rows });
        let mut cache = Cache::new(language.config(), KvType::F32);
        let got = language.logits(&batch, &mut [&mut cache]);
        let want = self.tensor("logits", &Device::cpu(1));
        assert_eq!(got.shape(), want.shape());
        let apart = got.data().iter().zip(want.data()).map(|(a, b)| (a - b).abs());
        let worst = apart.fold(0.0, f32::max);
        assert!(worst <= 2e-4, "{worst}");
        let least = want.data().iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        assert!(least > 0.5, "logits of at most {least} tell little");
    }
}

/// Rows of all tensors one below the other.
fn stacked(parts: &[Tensor]) -> Tensor {
    let all: Vec<_> = parts.iter().map(|part| (part, 0..part.len())).collect();
    let rows = parts.iter().map(Tensor::rows).sum();
    Tensor::concat(&all, &[rows, parts[0].last_dim()])
}

#[test]
fn pictures_in_a_prompt() {
    let device = Device::cpu(2).with_f64_arithmetic();
    let fixture = Fixture::open("splice-pictures");
    let configs = minimax_vl_01::configs(&fixture.config, &fixture.path()).unwrap();
    let (images, language) =
        minimax_vl_01::load(configs, &fixture.checkpoint, &device, None).unwrap();
    let tiling = images.config().tiling();
    let picture = |i: usize| {
        let size = fixture.ids(&format!("size.{i}"));
        let plan = tiling.plan(size[0] as usize, size[1] as usize);
        images.picture(&fixture.tensor(&format!("tiles.{i}"), &device), &plan)
    };
    let pictures = [picture(0), picture(1)];
    let counts = pictures.each_ref().map(Tensor::rows);
    let want: Vec<usize> = fixture.ids("rows").into_iter().map(|rows| rows as usize).collect();
    assert_eq!(counts[..], want);
    let placeholder = images.config().image_token_index.unwrap();
    fixture.check(&language, placeholder, stacked(&pictures), &counts);
}

/// Sounds of so many windows each.
fn sounds(name: &str, windows: &[usize]) {
    let device = Device::cpu(2).with_f64_arithmetic();
    let fixture = Fixture::open(name);
    let config = AudioConfig::from_json(&fixture.config, &fixture.path()).unwrap();
    let (placeholder, rows) = (config.audio_token_id.unwrap(), config.window_rows());
    let ears = AudioEncoder::load(config, &fixture.checkpoint, &device, None).unwrap();
    // The same folder's language model, which has the released names.
    let text = serde_json::from_slice::<serde_json::Value>(&fixture.config).unwrap();
    let config = Config::from_json(text["text_config"].to_string().as_bytes(), &fixture.path());
    let language =
        minimax_vl_01::load_language(config.unwrap(), &fixture.checkpoint, &device, None).unwrap();
    let heard = ears.rows(&fixture.tensor("features", &device));
    let counts: Vec<usize> = windows.iter().map(|windows| windows * rows).collect();
    let heard = heard.reshape(&[counts.iter().sum(), heard.last_dim()]);
    fixture.check(&language, placeholder, heard, &counts);
}

#[test]
fn sounds_in_a_prompt_of_voxtral() {
    sounds("splice-voxtral", &[1, 2]);
}

#[test]
fn a_sound_in_a_prompt_of_qwen2_audio() {
    sounds("splice-qwen2", &[1]);
}
