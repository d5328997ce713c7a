//! Models with eyes and ears, of random weights: what they see is in their prompts, in any order of
//! events.

use super::sessions::Home;
use super::{fails, fulgurite, root, succeeds};
use models::audio::voxtral::{AudioConfig, AudioEncoder};
use models::vision::minimax_vl_01::{ImageConfig, ImageEncoder};
use models::weights::Random;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tensor::gguf::{DType, Format};
use tensor::{Checkpoint, Device, Precision, Saved, safetensors};

const HIDDEN: usize = 32;

fn text_config() -> Value {
    json!({
        "model_type": "minimax_text_01", "vocab_size": 264, "hidden_size": HIDDEN,
        "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "num_local_experts": 2,
        "num_experts_per_tok": 1, "attn_type_list": [0, 1, 0], "rotary_dim": 8,
        "rope_theta": 10000, "postnorm": true, "max_position_embeddings": 8192,
        "eos_token_id": 259
    })
}

fn vision_config(kind: &str, text: &Value) -> Value {
    json!({
        "model_type": kind, "image_token_index": 260, "projector_hidden_act": "gelu",
        "vision_feature_layer": -1, "vision_feature_select_strategy": "default",
        "image_grid_pinpoints": [[56, 56], [56, 112]],
        "vision_config": {
            "model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 8,
            "hidden_act": "gelu"
        },
        "text_config": text
    })
}

fn audio_config() -> Value {
    json!({
        "model_type": "voxtral", "projector_hidden_act": "gelu",
        "audio_config": {
            "model_type": "voxtral_encoder", "hidden_size": 16, "intermediate_size": 64,
            "num_hidden_layers": 1, "num_attention_heads": 2, "num_mel_bins": 80,
            "max_source_positions": 200
        },
        "text_config": {"hidden_size": HIDDEN}
    })
}

fn write(path: &Path, value: &Value) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, value.to_string()).unwrap();
}

/// The weights of a tower.
fn visions(config: &Value) -> BTreeMap<String, Saved> {
    let device = Device::cpu(1);
    let config = ImageConfig::from_json(config.to_string().as_bytes(), Path::new("c")).unwrap();
    let [mut a, mut b, mut c] = [1, 2, 3].map(|seed| Random::new(&device, Precision::F32, 2, seed));
    let mut encoder = ImageEncoder::new(config, [&mut a, &mut b, &mut c]).unwrap();
    encoder.saved(Precision::F32)
}

fn audios(config: &Value) -> BTreeMap<String, Saved> {
    let device = Device::cpu(1);
    let config = AudioConfig::from_json(config.to_string().as_bytes(), Path::new("c")).unwrap();
    let [mut a, mut b] = [4, 5].map(|seed| Random::new(&device, Precision::F32, 2, seed));
    let mut encoder = AudioEncoder::new(config, [&mut a, &mut b]).unwrap();
    encoder.saved(Precision::F32)
}

fn save(folder: &Path, tensors: BTreeMap<String, Saved>) {
    let path = folder.join(safetensors::WEIGHTS);
    safetensors::save(&path, tensors, &BTreeMap::new()).unwrap();
}

/// A model of random weights, and a home.
struct Model {
    home: Home,
    folder: PathBuf,
}

impl Model {
    fn init(special: &[&str]) -> Self {
        let home = Home::new();
        let folder = home.path().join("model");
        let config = home.path().join("text.json");
        write(&config, &text_config());
        let [config, to] = [&config, &folder].map(|path| path.to_str().unwrap());
        succeeds(&["init", config, to, "--seed", "3", "--weights", "f32"]);
        write(&folder.join("byte_tokenizer.json"), &json!({ "special_tokens": special }));
        Self { home, folder }
    }

    /// One whose answers are pieces of what it reads; it sees and hears.
    fn lookup() -> Self {
        let model = Self::init(&["<|document|>", "<|question|>", "<|answer|>", "<|end|>"]);
        let vision = vision_config("llava", &json!({"hidden_size": HIDDEN}));
        write(&model.folder.join("vision/config.json"), &vision);
        let pixels = json!({
            "process_image_mode": "pad", "size": {"height": 56, "width": 56}, "patch_size": 8
        });
        write(&model.folder.join("vision/preprocessor_config.json"), &pixels);
        save(&model.folder.join("vision"), visions(&vision));
        write(&model.folder.join("audio/config.json"), &audio_config());
        save(&model.folder.join("audio"), audios(&audio_config()));
        model
    }

    /// One in the layout of MiniMax-VL-01.
    fn vl() -> Self {
        let model = Self::init(&["<s>", "</s>", "<pad>", "<end>", "<image>"]);
        let template = "{% for m in messages %}<s>{{ m.role }}:\
            {% if m.content is string %}{{ m.content }}{% else %}\
            {% for part in m.content %}{% if part.type == 'image' %}<image>{% else %}\
            {{ part.text }}{% endif %}{% endfor %}{% endif %}</s>{% endfor %}\
            {% if add_generation_prompt %}<s>assistant:{% endif %}";
        fs::write(model.folder.join("chat_template.jinja"), template).unwrap();
        let config = vision_config("minimax_vl_01", &text_config());
        let mut tensors = visions(&config);
        let text = Checkpoint::open(&model.folder).unwrap();
        let device = Device::cpu(1);
        for name in text.names() {
            let tensor = text.load(&device, name, text.shape(name).unwrap()).unwrap();
            tensors.insert(format!("language_model.{name}"), Saved::Tensor(tensor));
        }
        save(&model.folder, tensors);
        write(&model.folder.join("config.json"), &config);
        model
    }

    fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let model = ["--model", self.folder.to_str().unwrap(), "--max-tokens", "12"];
        [arguments, &model].concat()
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Value {
        let arguments = self.arguments(&[&["run", "--json"], arguments].concat());
        serde_json::from_str(&self.home.succeeds(&arguments)).unwrap()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) {
        self.home.fails(&self.arguments(&[&["run"], arguments].concat()), code, words);
    }
}

fn media(name: &str) -> String {
    root().join("fixtures/media").join(name).display().to_string()
}

fn count(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap()
}

/// 49 features of one tile, 50 rows of each 4 s.
#[test]
fn pictures_and_sounds_are_in_the_prompt() {
    let model = Model::lookup();
    let (rgb, gray, sound) = (media("rgb.png"), media("gray.png"), media("mono16k.wav"));
    let plain = model.run(&["which?"]);
    let of = |arguments: &[&str]| {
        let answer = model.run(&[arguments, &["which?"]].concat());
        count(&answer, "prompt_tokens") - count(&plain, "prompt_tokens")
    };
    assert_eq!(of(&["--image", &rgb]), 49);
    assert_eq!(of(&["--image", &rgb, "--image", &gray]), 98);
    let windows = of(&["--audio", &sound]) / 50;
    assert_eq!(of(&["--audio", &sound]), windows * 50);
    assert_eq!(of(&["--audio", &sound, "--image", &rgb]), windows * 50 + 49);
    assert_eq!(of(&["--image", &rgb, "--chunk", "7"]), 49);
}

/// What a random tower's rows are like is no text, but answers are pieces of it.
#[test]
fn answers_are_pieces_of_what_is_seen() {
    let model = Model::lookup();
    let picture = media("rgb.png");
    let arguments = model.arguments(&["run", "-v", "--image", &picture, "what is it?"]);
    let output = model.home.output(&arguments);
    let [out, seen] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{seen}");
    assert!(seen.contains("rgb.png`: 49 tokens\n"), "{seen}");
    let answer = out.trim_end_matches('\n');
    let absent = "not in the text".starts_with(answer);
    assert!(absent || seen.contains(answer), "{answer:?} is not of {seen:?}");
}

/// A session answers as if all had been asked at once, and the picture comes once.
#[test]
fn a_session_keeps_what_was_seen() {
    let model = Model::lookup();
    let (picture, sound) = (media("rgb.png"), media("mono16k.wav"));
    let shown = ["--image", &picture, "--audio", &sound];
    let ask = |rest: &[&str]| model.run(&[&["--session", "talk"], rest].concat());
    let first = ask(&[&shown[..], &["which colour?"]].concat());
    let alone = model.run(&[&shown[..], &["which colour?"]].concat());
    assert_eq!(first["text"], alone["text"]);
    assert_eq!(first["prompt_tokens"], alone["prompt_tokens"]);
    for question in ["how many?", "what is written?"] {
        let later = ask(&[question]);
        let alone = model.run(&[&shown[..], &[question]].concat());
        assert_eq!(later["text"], alone["text"], "{question}");
        assert_eq!(later["prompt_tokens"], alone["prompt_tokens"], "{question}");
        assert!(count(&later, "cached_tokens") >= 100, "{later}");
    }
    // The same picture again is known; another one comes behind it.
    let gray = media("gray.png");
    let both = ask(&["--image", &gray, "and now?"]);
    assert_eq!(count(&both, "prompt_tokens"), count(&first, "prompt_tokens") + 49 - 5);
    let file = fs::read(model.home.file("talk")).unwrap();
    let bytes = fs::read(&picture).unwrap();
    let held = |part: &[u8]| file.windows(part.len()).any(|window| window == part);
    assert!(held(b"hearing"), "notes of what was heard");
    assert!(
        !held(&bytes[..64.min(bytes.len())]) && !held(b"iVBORw0KGgo"),
        "no copy of the picture"
    );
}

#[test]
fn chats_look_and_listen() {
    let model = Model::lookup();
    let (picture, sound) = (media("rgb.png"), media("mono16k.wav"));
    let chat = |session: &str, lines: &str| {
        let folder = model.folder.to_str().unwrap();
        let arguments = ["--model", folder, "--max-tokens", "12"];
        model.home.chat_with(session, &arguments, lines)
    };
    let talk = chat("talk", &format!("/image {picture}\n/audio {sound}\nwhich?\nhow many?\n"));
    let asked = |question| {
        let shown = ["--image", &picture, "--audio", &sound, question];
        model.run(&shown)["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(talk, format!("{}\n{}\n", asked("which?"), asked("how many?")));
    assert_eq!(chat("talk", "which?\n"), format!("{}\n", asked("which?")));
}

/// Matrices of both parts in blocks, made ahead or while it is loaded, say the same.
#[test]
fn the_released_layout_is_quantized() {
    let model = Model::vl();
    let picture = media("rgb.png");
    let shown = ["--image", &picture, "what?"];
    let loaded = model.run(&[&["--weights", "q8"], &shown[..]].concat());
    let kept = model.folder.join(".fulgurite/q8.safetensors");
    assert!(Checkpoint::open(&kept).unwrap().contains("language_model.model.norm.weight"));
    let made = Model { home: Home::new(), folder: model.home.path().join("made") };
    let [from, to] = [&model.folder, &made.folder].map(|path| path.to_str().unwrap());
    succeeds(&["quantize", from, to, "--weights", "q8"]);
    let file = Checkpoint::open(&made.folder).unwrap();
    for name in [
        "language_model.model.layers.0.block_sparse_moe.experts.1.w1.weight",
        "vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight",
        "multi_modal_projector.linear_2.weight",
    ] {
        assert_eq!(file.stored(name), Some(DType::Blocks(Format::Q8_0)), "{name}");
    }
    let said = made.run(&shown);
    assert_eq!(
        (&said["text"], &said["prompt_tokens"]),
        (&loaded["text"], &loaded["prompt_tokens"])
    );
    // What has no tower in it says so.
    let gguf = model.home.path().join("text.gguf").display().to_string();
    let output = fulgurite(&["convert", from, &gguf]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("does not see"), "{told}");
    succeeds(&["run", "--model", &gguf, "--max-tokens", "3", "what?"]);
}

/// `init` makes the released layout, `bench` shows it tiles.
#[test]
fn random_eyes_are_made_and_measured() {
    let home = Home::new();
    let path = |name: &str| home.path().join(name).display().to_string();
    let whole = vision_config("minimax_vl_01", &text_config());
    for (name, config) in [("vl", &whole), ("tower", &whole["vision_config"])] {
        let (file, to) = (path(&format!("{name}.json")), path(name));
        write(Path::new(&file), config);
        succeeds(&["init", &file, &to, "--seed", "3"]);
        let again = path("again");
        succeeds(&["init", &file, &again, "--seed", "3"]);
        let weights = |folder: &str| fs::read(Path::new(folder).join("model.safetensors")).unwrap();
        assert!(weights(&to) == weights(&again), "a seed is a model");
        let size = ["--tiles", "1,3", "--repeat", "2", "--threads", "2", "--weights", "bf16,q8"];
        let text = succeeds(&[&["bench", "--json", "--model", &to], &size[..]].concat());
        let rows: Value = serde_json::from_str(&text).unwrap();
        let found: Vec<_> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                assert!(row["tiles_per_second"].as_f64().unwrap() > 0.0, "{row}");
                assert!(row["share_of_peak"].as_f64().unwrap() > 0.0, "{row}");
                assert_eq!(row["tiles_per_second_of_each"].as_array().unwrap().len(), 2);
                (row["weights"].as_str().unwrap(), row["test"].as_str().unwrap())
            })
            .collect();
        assert_eq!(found, [("bf16", "im1"), ("bf16", "im3"), ("q8", "im1"), ("q8", "im3")]);
        let table = succeeds(&[&["bench", "--model", &to], &size[..]].concat());
        assert!(table.contains("tiles/s") && table.contains("im3"), "{table}");
    }
    let other = path("other.json");
    write(Path::new(&other), &json!({"model_type": "llava"}));
    fails(&["init", &other, &path("other")], 3, &["`llava`", "minimax_vl_01, clip_vision_model"]);
    // The program's own.
    assert!(succeeds(&["bench", "--tiles", "2", "--repeat", "1"]).contains("im2"));
    let blind = path("blind");
    let golden = root().join("fixtures/goldens/text-hybrid/config.json");
    succeeds(&["init", golden.to_str().unwrap(), &blind]);
    fails(&["bench", "--tiles", "1", "--model", &blind], 2, &["`--tiles` needs", "MiniMax-VL-01"]);
    fails(&["bench", "--tiles", "1", "--profile"], 2, &["--profile", "cannot be used"]);
    for wrong in ["0", "65", "2,x"] {
        fails(&["bench", "--tiles", wrong], 2, &["invalid value", "--tiles"]);
    }
}

/// MiniMax-VL-01: 49 features of the thumbnail, and 7 rows of 7 with a newline each.
#[test]
fn the_released_layout_is_run() {
    let model = Model::vl();
    let picture = media("rgb.png");
    let plain = count(&model.run(&["what?"]), "prompt_tokens");
    let one = model.run(&["--image", &picture, "what?"]);
    let tokens = count(&one, "prompt_tokens") - plain;
    assert!(tokens > 49 && tokens <= 49 + 7 * 15, "{tokens}");
    let two = model.run(&["--image", &picture, "--image", &picture, "what?"]);
    assert_eq!(count(&two, "prompt_tokens") - plain, 2 * tokens);
    // What is typed stands for nothing.
    assert!(count(&model.run(&["<image> what?"]), "prompt_tokens") > plain + 6);
    let ask = |rest: &[&str]| model.run(&[&["--session", "talk"], rest].concat());
    let first = ask(&["--image", &picture, "what?"]);
    assert_eq!(first["text"], one["text"]);
    let second = ask(&["and?"]);
    assert!(count(&second, "cached_tokens") + 1 >= count(&first, "prompt_tokens"), "{second}");
    model.fails(&["--audio", &media("mono16k.wav"), "?"], 2, &["mono16k.wav", "does not hear"]);
}

#[test]
fn what_cannot_be_seen_is_told() {
    let model = Model::lookup();
    let text = root().join("README.md").display().to_string();
    model.fails(&["--image", &text, "?"], 1, &["README.md", "no picture", "expected PNG"]);
    model.fails(&["--audio", &text, "?"], 1, &["README.md", "no sound", "expected WAV"]);
    model.fails(&["--image", "nowhere.png", "?"], 1, &["cannot read `nowhere.png`"]);
    let none = media("none.wav");
    model.fails(&["--audio", &none, "?"], 1, &["none.wav", "no samples"]);
    let session = ["--session", "talk", "--image", &text, "?"];
    model.fails(&session, 1, &["README.md", "no picture"]);
    // Towers of another model's width.
    let vision = vision_config("llava", &json!({"hidden_size": 31}));
    write(&model.folder.join("vision/config.json"), &vision);
    model.fails(&["?"], 3, &["config.json", "vision part", "31", "32"]);
    fs::remove_dir_all(model.folder.join("vision")).unwrap();
    fs::remove_dir_all(model.folder.join("audio")).unwrap();
    let picture = media("rgb.png");
    let words = ["rgb.png", "as a picture", "does not see", "folder of MiniMax-VL-01"];
    model.fails(&["--image", &picture, "?"], 2, &words);
    fails(&["run", "--model", "nowhere", "--image", &picture, "?"], 3, &["nowhere"]);
}

#[test]
fn plans_count_what_sees_and_hears() {
    let [lookup, vl] = [Model::lookup(), Model::vl()];
    let plan = |model: &Model, path: &str| -> Value {
        let path = model.folder.join(path).display().to_string();
        let peaks = ["--tflops", "1", "--bandwidth", "10", "--json"];
        serde_json::from_str(&succeeds(&[&["plan", &path], &peaks[..]].concat())).unwrap()
    };
    let of = |plan: &Value| {
        assert!(count(plan, "sense_bytes") > 10_000);
        let fields = ["picture_tokens", "sound_tokens_per_window", "sound_seconds_per_window"];
        fields.map(|field| plan[field].clone())
    };
    let seen = of(&plan(&lookup, ""));
    assert_eq!(seen, [json!([49, 49]), json!(50), json!(4.0)]);
    assert_eq!(of(&plan(&vl, "")), [json!([105, 154]), Value::Null, Value::Null]);
    assert_eq!(of(&plan(&vl, "config.json"))[0], json!([105, 154]));
}
