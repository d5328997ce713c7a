//! One function for each kind of file that is read: any bytes are read or refused, and what was
//! read can be used. A panic, a hang or a growing memory is a bug.

pub mod files;
pub mod mutate;
mod session;

use engine::{Refused, Stats};
use files::{Folder, open_gguf, open_header};
use models::Config;
use models::audio::voxtral::{AudioConfig, AudioEncoder};
use models::audio::whisper::{WhisperConfig, WhisperEncoder};
use models::vision::clip::{ClipVision, ClipVisionConfig};
use models::vision::minimax_vl_01::{self, ImageConfig, ImageEncoder};
use models::vision::processor::ImageProcessor;
use models::vision::tiles::Tiling;
use server::backend::{Ask, Backend, Point, Sink};
use server::senses::Budget;
use server::sessions::MemorySessions;
use server::{App, Client, Defaults, Served, Settings};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use tensor::Device;
use text::grammar::{Form, Rules};
use text::tool_calls::Piece;
use text::{Answer, AnswerForm, CallFormat, CallParser, Delta, FinishReason, Marks};
use text::{ChatTemplate, Content, Conversation, Message, Part, ToolCall};
use text::{Detokenizer, GgufTokenizer, Specials, StopStrings, Tokenizer};
use text::{Grammar, Vocabulary};
use train::Recipe;

pub use session::session;

/// What takes any bytes.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 15] = [
    ("config", config),
    ("safetensors_header", safetensors_header),
    ("index", index),
    ("tokenizer", tokenizer),
    ("template", template),
    ("recipe", recipe),
    ("gguf", gguf),
    ("schema", schema),
    ("tool_calls", tool_calls),
    ("request", request),
    ("picture", picture),
    ("sound", sound),
    ("clip", clip),
    ("tower", tower),
    ("session", session),
];

/// Special tokens of the byte-level tokenizer that targets use.
const SPECIALS: [&str; 4] = ["<s>", "</s>", "<think>", "<function_call>"];

/// A `config.json`, and the model that it describes made from a file that has nothing.
pub fn config(bytes: &[u8]) {
    video_config(bytes);
    let Ok(config) = Config::from_json(bytes, Path::new("config.json")) else { return };
    let written = config.to_json();
    let again = Config::from_json(written.as_bytes(), Path::new("written"));
    let again = again.unwrap_or_else(|error| panic!("what was written is refused: {error}"));
    assert_eq!(Config { slope_rule: config.slope_rule, ..again }, config);
    let slopes = config.slopes(config.num_hidden_layers - 1);
    assert!(slopes.iter().all(|slope| slope.is_finite() && *slope > 0.0), "{slopes:?}");
    assert!(config.num_active_parameters() <= config.num_parameters());
    config.state_bytes();
    config.kv_bytes(config.max_position_embeddings, tensor::KvType::Q8);
    let device = Device::cpu(1);
    let empty = open_header(b"{}").unwrap_or_else(|error| panic!("an empty file: {error}"));
    let Err(error) = models::load(config, &empty, &device, None) else {
        panic!("a model of nothing");
    };
    assert!(error.to_string().len() < 10_000, "{error}");
}

/// The same of a video model.
fn video_config(bytes: &[u8]) {
    use models::video::{WanVae, sana, vae::config::WanVaeConfig, wan};
    let (path, device) = (Path::new("config.json"), Device::cpu(1));
    let empty = open_header(b"{}").unwrap_or_else(|error| panic!("an empty file: {error}"));
    let mut errors = Vec::new();
    if let Ok(config) = sana::config_from_json(bytes, path) {
        errors.extend(sana::load(config, &empty, &device, None).err());
    }
    if let Ok(config) = wan::config_from_json(bytes, path) {
        errors.extend(wan::load(config, &empty, &device, None).err());
    }
    if let Ok(config) = WanVaeConfig::from_json(bytes, path) {
        assert!(config.space_factor() > 0 && config.time_factor() > 0);
        errors.extend(WanVae::load(config, &empty, &device, None).err());
    }
    for error in errors {
        let text = error.to_string();
        assert!(text.contains("lacks") && text.len() < 10_000, "{text}");
    }
}

/// A safetensors file; or only its header as JSON, which gets its length in front and, if it is
/// short of that, up to 4 KiB of zeros behind.
pub fn safetensors_header(bytes: &[u8]) {
    let Ok(checkpoint) = open_header(bytes) else { return };
    let device = Device::cpu(1);
    for name in checkpoint.names() {
        let shape = checkpoint.shape(name).unwrap_or_default();
        let loaded = checkpoint.load(&device, name, shape);
        let ids = checkpoint.load_ids(name);
        assert!(loaded.is_err() || ids.is_err(), "`{name}` is both");
        assert!(checkpoint.load(&device, name, &[7, 7]).is_err() || shape == [7, 7]);
        if let Ok(tensor) = loaded {
            assert_eq!(tensor.len(), shape.iter().product::<usize>());
        }
        assert!(checkpoint.dtype(name).is_some());
    }
    assert!(checkpoint.unread().is_empty());
    checkpoint.total_bytes();
}

/// The index of a folder with the shards `a.safetensors` and `b.safetensors`.
pub fn index(bytes: &[u8]) {
    let Ok(checkpoint) = Folder::with_index(bytes).open() else { return };
    let device = Device::cpu(1);
    for name in checkpoint.names() {
        let loaded = checkpoint.load(&device, name, &[1]);
        assert!(loaded.is_ok_and(|tensor| tensor.data() == [0.0]), "`{name}` is not ours");
    }
}

/// A `tokenizer.json`; or a `byte_tokenizer.json`, if it looks like one.
pub fn tokenizer(bytes: &[u8]) {
    let byte_level = bytes.starts_with(b"{\"special_tokens\"");
    let name = if byte_level { text::BYTE_TOKENIZER } else { "tokenizer.json" };
    let Ok(tokenizer) = Tokenizer::from_json(bytes, Path::new(name)) else { return };
    let written = "a <|end|>\u{e9} 12\n\u{1f980}";
    for specials in [Specials::AsText, Specials::Parse] {
        let Ok(ids) = tokenizer.encode(written, specials) else { continue };
        let mut detokenizer = Detokenizer::new(&tokenizer);
        let mut stop = StopStrings::new(["12".to_owned()]);
        for id in ids.into_iter().chain([0, 255, 256, 300, u32::MAX]) {
            stop.push(&detokenizer.push(id));
        }
        stop.push(&detokenizer.finish());
    }
    let _ = tokenizer.encode_bytes(&[0, 255, b'a']);
    tokenizer.vocab_size();
    tokenizer.special_id("<|end|>");
}

/// A template; or a `tokenizer_config.json`, if it is one.
pub fn template(bytes: &[u8]) {
    let path = Path::new("template");
    let template = match ChatTemplate::from_config(bytes, path) {
        Ok(found) => found,
        Err(_) => {
            let tokens = [("bos_token".to_owned(), "<s>".to_owned())].into();
            ChatTemplate::from_jinja(bytes, path, tokens).ok()
        }
    };
    let Some(template) = template else { return };
    let call = ToolCall {
        id: Some("1".to_owned()),
        name: "weigh".to_owned(),
        arguments: r#"{"what": "stone"}"#.parse().unwrap_or_default(),
    };
    let parts = vec![Part::Text("see".to_owned()), Part::Image];
    let messages = [
        Message::new("system", "Be short."),
        Message { content: Content::Parts(parts), ..Message::new("user", "") },
        Message { tool_calls: vec![call], ..Message::new("assistant", "") },
        Message { tool_call_id: Some("1".to_owned()), ..Message::new("tool", "3") },
    ];
    for messages in [&messages[..], &messages[..1], &[]] {
        let conversation = Conversation {
            messages,
            add_generation_prompt: true,
            now: Some(std::time::SystemTime::UNIX_EPOCH),
            ..Conversation::empty()
        };
        let _ = template.render(&conversation);
        let said = [Message::new("user", "</s><s>"), Message::new("assistant", "a </")];
        let messages = [&said, messages].concat();
        let tokenizer = Tokenizer::bytes(SPECIALS);
        let conversation = Conversation { messages: &messages, ..conversation };
        let _ = template.encode(&tokenizer, &conversation);
    }
}

/// A JSON schema, and the first tokens of an answer that fits.
pub fn schema(bytes: &[u8]) {
    static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| {
        Vocabulary::new(&Tokenizer::bytes(SPECIALS), &[257])
            .unwrap_or_else(|error| panic!("no vocabulary: {error}"))
    });
    let Ok(schema) = serde_json::from_slice(bytes) else { return };
    let rules = Rules { form: Form::Schema(&schema), reasoning: None };
    let mut grammar = match Grammar::new(&VOCABULARY, &rules) {
        Ok(grammar) => grammar,
        Err(error) => {
            assert!(error.to_string().len() < 10_000, "{error}");
            return;
        }
    };
    let mut choice = bytes.iter().fold(1_usize, |sum, &byte| sum.wrapping_mul(31) + byte as usize);
    for _ in 0..48 {
        let mut logits = vec![0.0; VOCABULARY.num_ids() + 3];
        grammar.mask(&mut logits);
        let ids: Vec<u32> =
            (0..).zip(&logits).filter(|(_, l)| **l == 0.0).map(|(i, _)| i).collect();
        let Some(&id) = ids.get(choice % ids.len().max(1)) else { panic!("no token is allowed") };
        choice = choice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) >> 1;
        if id == 257 || grammar.error().is_some() {
            return;
        }
        assert!(grammar.push(id).is_ok(), "{id} was allowed");
    }
}

/// What a model writes, in pieces of all lengths: the same calls, and nothing lost.
pub fn tool_calls(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for format in [CallFormat::Tags, CallFormat::Typescript] {
        let mut whole = CallParser::new(format);
        let mut found = whole.push(&text);
        found.extend(whole.finish());
        let is_text = |piece: &Piece| matches!(piece, Piece::Text(_));
        if found.iter().all(is_text) {
            let joined = found.iter().map(|piece| match piece {
                Piece::Text(text) => &text[..],
                Piece::Call { .. } => "",
            });
            assert_eq!(joined.collect::<String>(), text);
        }
        let tokenizer = Tokenizer::bytes(SPECIALS);
        let form = AnswerForm {
            stop: vec!["\n\n\n".to_owned()],
            reasoning: Some((Marks::think(), false)),
            calls: Some(format),
        };
        let run = |ids: &[u32]| {
            let mut answer = Answer::new(&tokenizer, form.clone());
            let mut deltas: Vec<Delta> = ids.iter().flat_map(|&id| answer.push(id)).collect();
            let (rest, reason) = answer.finish(FinishReason::Stop);
            deltas.extend(rest);
            let said = deltas.iter().map(|delta| match delta {
                Delta::Content(text) | Delta::Reasoning(text) => text.clone(),
                other => format!("{other:?}"),
            });
            (said.collect::<String>(), reason)
        };
        let Ok(as_text) = tokenizer.encode(&text, Specials::AsText) else { return };
        let Ok(parsed) = tokenizer.encode(&text, Specials::Parse) else { return };
        // Special tokens that are no marks are text in one and nothing in the other.
        let no_mark = format == CallFormat::Tags && text.contains("<function_call>");
        if !text.contains("s>") && !no_mark {
            assert_eq!(run(&as_text), run(&parsed));
        }
    }
}

/// A recipe of a training run.
pub fn recipe(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("recipe.toml");
    let Ok(recipe) = Recipe::from_toml(text, path) else { return };
    let _ = recipe.config(path);
    let total = recipe.total_steps();
    recipe.optimizer.lr_at(1, total);
}

/// A GGUF file: its metadata, all of its tensors, the tokenizer and the model that it holds.
pub fn gguf(bytes: &[u8]) {
    let Ok(checkpoint) = open_gguf(bytes) else { return };
    let device = Device::cpu(1);
    for name in checkpoint.names() {
        let shape = checkpoint.shape(name).unwrap_or_default();
        let tensor = checkpoint.load(&device, name, shape);
        assert!(tensor.is_ok_and(|tensor| tensor.len() == shape.iter().product::<usize>()));
        assert!(checkpoint.load_ids(name).is_err(), "`{name}` is of integers");
    }
    let keys = checkpoint.metadata().into_iter().flatten();
    let keys = keys.map(|(key, value)| (key.clone(), value.to_json())).collect();
    if let Ok(packed) = GgufTokenizer::from_keys(&keys, Path::new("x.gguf")) {
        if let Ok(tokenizer) = packed.tokenizer() {
            let _ = tokenizer.encode("a <|end|>\u{e9} 12", Specials::Parse);
        }
        let _ = packed.template();
        packed.files();
        packed.to_keys();
    }
    let Ok(config) = Config::from_gguf(&checkpoint) else { return };
    assert!(
        config.to_gguf(Path::new("x.gguf")).is_ok() || config.max_position_embeddings >> 32 > 0
    );
    if let Err(error) = models::load(config, &checkpoint, &device, None) {
        assert!(error.to_string().len() < 10_000, "{error}");
    }
}

/// An engine that takes nothing: requests are made ready for it, and that is all.
#[derive(Debug)]
struct Nobody;

impl Backend for Nobody {
    fn submit(&self, _: Ask, _: Sink) -> Result<u64, Refused> {
        Err(Refused::Stopping)
    }

    fn cancel(&self, _: u64) {}

    fn points(&self, _: Client, _: &Arc<[u32]>) -> Vec<Point> {
        Vec::new()
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }

    fn is_healthy(&self) -> bool {
        true
    }

    fn stop(&self) {}
}

/// A request of any interface, up to where the engine would be asked.
pub fn request(bytes: &[u8]) {
    static APP: LazyLock<Arc<App>> = LazyLock::new(|| {
        let app = App::new(Settings::default(), Arc::new(MemorySessions::default()));
        let tokenizer = Tokenizer::bytes(SPECIALS);
        let template = "{% for m in messages %}<s>{{ m.role }}:{{ m.content }}</s>{% endfor %}";
        let template =
            ChatTemplate::from_jinja(template.as_bytes(), Path::new("x.jinja"), [].into());
        let template = template.unwrap_or_else(|error| panic!("{error}"));
        app.add(Served {
            name: "fuzz".to_owned(),
            vocabulary: Vocabulary::new(&tokenizer, &[256]).ok(),
            vocab_size: tokenizer.vocab_size(),
            thinking: Some(Marks::think()),
            form: server::Form::Chat(Box::new(template)),
            tokenizer,
            backend: Arc::new(Nobody),
            senses: None,
            rows: Budget::new(1 << 20),
            context: 1 << 16,
            end_ids: vec![257],
            calls: Some(CallFormat::Typescript),
            defaults: Defaults::GREEDY,
            draft: engine::Draft::Off,
            fingerprint: "fp".to_owned(),
            created: 0,
        });
        app
    });
    let Err(error) = server::dry_run(&APP, bytes) else { return };
    assert!(error.status().is_client_error(), "{error}");
    assert!(error.message.len() < 10_000, "{error}");
}

/// A picture: none larger than allowed, and one that can be cut into tiles.
pub fn picture(bytes: &[u8]) {
    let limits = media::picture::Limits { bytes: 1 << 20, pixels: 1 << 16, side: 1 << 12 };
    let Ok(picture) = media::picture::decode(bytes, &limits) else { return };
    assert!(picture.width * picture.height <= 1 << 16 && picture.width * picture.height > 0);
    assert_eq!(picture.rgb.len(), picture.width * picture.height * 3);
    Tiling::published().plan(picture.height, picture.width);
}

/// A clip, and that again in all formats.
pub fn clip(bytes: &[u8]) {
    use media::clip::{Chroma, Format, Limits, Options, decode, encode};
    let limits = Limits { bytes: 1 << 20, side: 256, frames: 16, pixels: 1 << 15 };
    let Ok(recording) = decode(bytes, &limits) else { return };
    let clip = &recording.clip;
    assert_eq!(clip.rgb.len(), clip.frames * clip.height * clip.width * 3);
    assert!(clip.rgb.len() <= 3 << 15 && !clip.rgb.is_empty() && clip.rate > 0.0);
    let about = recording.about.as_deref().unwrap_or_default();
    for format in [Format::Mp4, Format::Gif, Format::Y4m(Chroma::Full)] {
        let Ok((bytes, written)) = encode(clip, format, &Options { scale: None, about }) else {
            continue;
        };
        let again = decode(&bytes, &Limits::default());
        let again = again.unwrap_or_else(|error| panic!("what was written is refused: {error}"));
        assert_eq!((again.clip.frames, again.scale), (clip.frames, written.scale));
        assert_eq!((again.clip.width, again.clip.height), (clip.width, clip.height));
        assert_eq!(
            again.about.as_deref().unwrap_or_default(),
            if written.with_about { about } else { "" }
        );
    }
}

/// A sound: none longer than allowed, of numbers only.
pub fn sound(bytes: &[u8]) {
    let limits = media::sound::Limits { bytes: 1 << 20, seconds: 3 };
    let Ok(sound) = media::sound::decode(bytes.to_vec(), 16_000, &limits) else { return };
    assert!(!sound.samples.is_empty() && sound.seconds() <= 3.01, "{} s", sound.seconds());
    assert!(sound.samples.iter().all(|sample| sample.is_finite()));
}

/// The `config.json` of a model that sees or hears, or a `preprocessor_config.json`, and the towers
/// that they describe made from a file that has nothing.
pub fn tower(bytes: &[u8]) {
    let path = Path::new("config.json");
    let device = Device::cpu(1);
    let empty = open_header(b"{}").unwrap_or_else(|error| panic!("an empty file: {error}"));
    let refused = |error: Option<models::Error>| {
        let Some(error) = error else { panic!("a model of nothing") };
        assert!(error.to_string().len() < 10_000, "{error}");
    };
    if let Ok(processor) = ImageProcessor::from_json(bytes, path) {
        processor.tiling.plan(37, 1000);
    }
    if let Ok(config) = ClipVisionConfig::from_json(bytes, path) {
        refused(ClipVision::load(config, &empty, &device, None).err());
    }
    if let Ok(config) = WhisperConfig::from_json(bytes, path) {
        refused(WhisperEncoder::load(config, &empty, &device, None).err());
    }
    if let Ok(config) = AudioConfig::from_json(bytes, path) {
        refused(AudioEncoder::load(config, &empty, &device, None).err());
    }
    if let Ok(config) = ImageConfig::from_json(bytes, path) {
        config.tiling().plan(1000, 37);
        refused(ImageEncoder::load(config, &empty, &device, None).err());
    }
    let _ = minimax_vl_01::configs(bytes, path);
}
