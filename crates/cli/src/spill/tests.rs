use super::*;
use engine::{Engine, Event, Limits, Lm, Miss, Request, RequestId};
use models::weights::Random;
use models::{Batch, CausalLm as _, MiniMaxText01};
use std::time::Instant;
use tensor::{Device, KvType, Precision, Rng};

const PLENTY: u64 = 1 << 30;

fn model() -> MiniMaxText01 {
    let text = r#"{"model_type": "minimax_text_01", "vocab_size": 50, "hidden_size": 24,
        "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 12, "num_local_experts": 2,
        "num_experts_per_tok": 1, "attn_type_list": [0, 1], "rotary_dim": 4,
        "rope_theta": 10000, "postnorm": true, "max_position_embeddings": 8192}"#;
    let config = Config::from_json(text.as_bytes(), Path::new("config.json")).unwrap();
    let device = Device::cpu(1);
    let mut random = Random::new(&device, Precision::F32, 2, 1);
    let mut model = MiniMaxText01::new(config, &mut random).unwrap();
    model.freeze();
    model
}

fn text(tokens: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng(seed);
    (0..tokens).map(|_| rng.below(50) as u32).collect()
}

fn read(model: &MiniMaxText01, ids: &[u32]) -> Snapshot<Cache> {
    let mut memory = Cache::new(model.config(), KvType::Bf16);
    model.forward(&Batch::single(ids, 0, &[]), Some(&mut [&mut memory]));
    Snapshot { tokens: ids.into(), memory }
}

fn spill(folder: &Path, most_bytes: u64) -> (Spill, Ended) {
    Spill::new(folder, most_bytes, model().config().clone()).unwrap()
}

/// Whether it comes to be so, within a time that is long for a disk.
fn soon(mut so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

fn loaded(spill: &mut Spill, namespace: Namespace, ids: &[u32]) -> Option<Snapshot<Cache>> {
    let mut found = None;
    let done = soon(|| match spill.load(namespace, ids) {
        Load::Pending => false,
        Load::Failed => true,
        Load::Ready(snapshot) => {
            found = Some(snapshot);
            true
        }
    });
    assert!(done, "it never comes");
    found
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name != ".lock");
    names.sort();
    names
}

/// What came of a question.
struct Answer {
    /// The tokens and their log-probabilities, bit for bit.
    tokens: Vec<(u32, u32)>,
    cached: usize,
    miss: Option<Miss>,
}

fn ask(engine: &mut Engine<Lm<MiniMaxText01>>, prompt: &[u32]) -> Answer {
    let request = Request { logprobs: Some(0), ..Request::new(prompt, 6) };
    engine.submit(RequestId(0), request).unwrap();
    let mut answer = Answer { tokens: Vec::new(), cached: 0, miss: None };
    let done = soon(|| {
        for (_, event) in engine.step() {
            match event {
                Event::Started { cached_tokens, miss } => {
                    (answer.cached, answer.miss) = (cached_tokens, miss);
                }
                Event::Token { id, logprobs, .. } => {
                    answer.tokens.push((id, logprobs.unwrap().logprob.to_bits()));
                }
                _ => {}
            }
        }
        engine.is_idle()
    });
    assert!(done && answer.tokens.len() == 6, "{:?}", answer.tokens);
    answer
}

/// Prompts of which memory has room for few, asked once each, and their files written.
fn spilled(
    engine: &mut Engine<Lm<MiniMaxText01>>,
    folder: &Path,
    spill: Spill,
) -> (Arc<Mutex<List>>, Vec<Vec<u32>>) {
    let list = Arc::clone(&spill.list);
    engine.set_tier(Box::new(spill));
    let prompts: Vec<Vec<u32>> = (0..8).map(|seed| text(700 + 37 * seed, seed as u64)).collect();
    for prompt in &prompts {
        ask(engine, prompt);
        // What waits for the disk is bounded, and more is let go of: here nothing is to be.
        let written = || !files(folder).iter().any(|name| name.starts_with(".new"));
        assert!(soon(written));
    }
    assert!(soon(|| locked(&list).entries.len() > 2));
    (list, prompts)
}

/// What gave way in memory comes back from files, and answers are the same to the bit.
#[test]
fn what_was_spilled_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let lm = Arc::new(Lm::new(model(), KvType::Bf16));
    let mut engine = Engine::new(Arc::clone(&lm), Limits::server(1 << 19));
    let (spill, ended) = spill(folder.path(), PLENTY);
    let (list, prompts) = spilled(&mut engine, folder.path(), spill);
    let mut from_files = 0;
    for prompt in &prompts {
        let more = [&prompt[..], &[3, 1, 4]].concat();
        let mut cold = Engine::new(Arc::clone(&lm), Limits::server(PLENTY));
        let kept = locked(&list).longest(Namespace(0), &more).map(|(_, length)| length);
        let answer = ask(&mut engine, &more);
        assert_eq!(answer.tokens, ask(&mut cold, &more).tokens);
        assert!(answer.cached >= kept.unwrap_or(0), "{} of {kept:?}", answer.cached);
        from_files += usize::from(kept.is_some());
    }
    assert!(from_files > 2, "{from_files}");
    drop(engine);
    ended.wait();
    assert_eq!(files(folder.path()), [""; 0]);
}

/// A damaged file is one that is not there: the prompt is read again, and why is told.
#[test]
fn what_was_damaged_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let lm = Arc::new(Lm::new(model(), KvType::Bf16));
    let mut engine = Engine::new(Arc::clone(&lm), Limits::server(1 << 19));
    let (spill, _ended) = spill(folder.path(), PLENTY);
    let (list, prompts) = spilled(&mut engine, folder.path(), spill);
    for name in files(folder.path()) {
        let path = folder.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    // The first is not in memory any more.
    let more = [&prompts[0][..], &[3, 1, 4]].concat();
    assert!(locked(&list).longest(Namespace(0), &more).is_some());
    let answer = ask(&mut engine, &more);
    let known = prompts[0].len();
    assert_eq!((answer.cached, answer.miss), (0, Some(Miss::Evicted { known, at: 0 })));
    let mut cold = Engine::new(lm, Limits::server(PLENTY));
    assert_eq!(answer.tokens, ask(&mut cold, &more).tokens);
    assert!(locked(&list).longest(Namespace(0), &prompts[0]).is_none());
}

#[test]
fn namespaces_are_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (model, ids) = (model(), text(600, 1));
    let (mut spill, _ended) = spill(folder.path(), PLENTY);
    spill.put(Namespace(1), read(&model, &ids));
    assert!(soon(|| spill.find(Namespace(1), &ids) == 600));
    assert_eq!(spill.find(Namespace(2), &ids), 0);
    assert!(loaded(&mut spill, Namespace(2), &ids).is_none());
    let longer = [&ids[..], &[1]].concat();
    assert_eq!(spill.find(Namespace(1), &longer), 600);
    assert_eq!(spill.find(Namespace(1), &ids[..599]), 0);
    assert!(loaded(&mut spill, Namespace(1), &ids[..512]).is_none());
    let again = loaded(&mut spill, Namespace(1), &ids).unwrap();
    assert_eq!((*again.tokens).to_vec(), ids);
    assert_eq!(again.memory.tokens(), 600);
    // What saves little more takes no file.
    spill.put(Namespace(1), read(&model, &longer));
    spill.put(Namespace(1), read(&model, &text(511, 2)));
    spill.put(Namespace(1), read(&model, &text(512, 3)));
    assert!(soon(|| spill.find(Namespace(1), &text(512, 3)) == 512));
    assert_eq!(files(folder.path()).len(), 2);
}

/// Those used last stay.
#[test]
fn the_size_is_kept_to() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let one = read(&model, &text(600, 0));
    let bytes = (one.memory.kv_bytes() + one.memory.state_bytes()) as u64;
    let most = 3 * bytes + bytes / 2;
    let (mut spill, _ended) = spill(folder.path(), most);
    let prompts: Vec<Vec<u32>> = (0..5).map(|seed| text(600, seed)).collect();
    for (i, prompt) in prompts.iter().enumerate() {
        spill.put(Namespace(0), read(&model, prompt));
        assert!(soon(|| spill.find(Namespace(0), prompt) == 600));
        if i == 2 {
            assert!(loaded(&mut spill, Namespace(0), &prompts[0]).is_some());
        }
    }
    let kept: Vec<bool> =
        prompts.iter().map(|prompt| spill.find(Namespace(0), prompt) > 0).collect();
    assert_eq!(kept, [true, false, false, true, true]);
    let names = files(folder.path());
    let sizes = names.iter().map(|name| fs::metadata(folder.path().join(name)).unwrap().len());
    assert!(sizes.sum::<u64>() <= most && names.len() == 3, "{names:?}");
}

/// A folder that cannot be written to, files that are damaged or gone.
#[test]
fn what_fails_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("spill");
    let (model, ids, other) = (model(), text(600, 1), text(600, 2));
    let (mut spill, _ended) = spill(&inner, PLENTY);
    for ids in [&ids, &other] {
        spill.put(Namespace(0), read(&model, ids));
        assert!(soon(|| spill.find(Namespace(0), ids) == 600));
    }
    let path = inner.join("snapshot-0.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    bytes[3000] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(loaded(&mut spill, Namespace(0), &ids).is_none());
    assert_eq!(spill.find(Namespace(0), &ids), 0);
    fs::remove_dir_all(&inner).unwrap();
    assert!(loaded(&mut spill, Namespace(0), &other).is_none());
    spill.put(Namespace(0), read(&model, &ids));
    // The thread goes on: the next one finds the folder again.
    assert!(soon(|| {
        fs::create_dir_all(&inner).unwrap();
        spill.put(Namespace(0), read(&model, &other));
        spill.find(Namespace(0), &other) == 600
    }));
}

#[test]
fn leftovers_go_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["snapshot-7.safetensors", ".new-a.tmp", "notes.txt", "model.safetensors"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    let (first, ended) = spill(folder.path(), PLENTY);
    assert_eq!(files(folder.path()), ["model.safetensors", "notes.txt"]);
    let Err(second) = Spill::new(folder.path(), PLENTY, model().config().clone()) else {
        panic!("two servers in one folder");
    };
    assert!(second.is::<Misuse>() && second.to_string().contains("another server"), "{second}");
    drop(first);
    ended.wait();
    spill(folder.path(), PLENTY);
}
