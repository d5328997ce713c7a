//! Over the real engine, with a small model: what the made-up engine cannot show.

use crate::fake::{Api, Got, template, tokenizer, user};
use engine::{Bytes, Draft, Engine, Limits, Memory, Model, Part, Piece, Rows, Worker};
use serde_json::{Value, json};
use server::backend::{Backend, Local};
use server::senses::Budget;
use server::sessions::MemorySessions;
use server::{App, Defaults, Form, Served, Settings};
use std::sync::Arc;
use std::time::Duration;

const VOCAB: usize = 263;
const STATE_BYTES: u64 = 64;
const TOKEN_BYTES: u64 = 8;

/// Says letters that depend on all that it has read.
#[derive(Debug)]
struct Small {
    step: Duration,
}

/// What a sequence has read: the tokens themselves.
#[derive(Clone, Debug)]
struct Read(Vec<u32>);

impl Memory for Read {
    fn tokens(&self) -> usize {
        self.0.len()
    }

    fn truncate(&mut self, tokens: usize) {
        self.0.truncate(tokens);
    }

    fn parts(&self, from: usize) -> impl Iterator<Item = Part> {
        [Part::Own(STATE_BYTES), Part::Own(TOKEN_BYTES * (self.0.len() - from) as u64)].into_iter()
    }
}

impl Model for Small {
    type Memory = Read;

    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn context(&self) -> usize {
        4096
    }

    fn start(&self) -> Read {
        Read(Vec::new())
    }

    fn bytes(&self, tokens: usize) -> Bytes {
        Bytes { state: STATE_BYTES, kv: TOKEN_BYTES * tokens as u64 }
    }

    fn fork_bytes(&self, tokens: usize) -> u64 {
        self.bytes(tokens).total()
    }

    fn block(&self) -> usize {
        1
    }

    /// Counts of `a` and `b` so far.
    fn hidden(&self, pieces: &mut [Piece<'_, Read>]) -> Rows {
        std::thread::sleep(self.step);
        let mut hidden = Vec::new();
        for piece in pieces {
            for &id in piece.input_ids {
                piece.memory.0.push(id);
                let count = |letter: u8| {
                    piece.memory.0.iter().filter(|&&id| id == u32::from(letter)).count() as f32
                };
                hidden.extend([count(b'a'), count(b'b')]);
            }
        }
        Rows::new(hidden, 2)
    }

    fn read(&self, pieces: &mut [Piece<'_, Read>]) -> Rows {
        std::thread::sleep(self.step);
        let mut logits = Vec::new();
        for piece in pieces {
            let silent = piece.input_ids.len() - piece.outputs;
            for (i, &id) in piece.input_ids.iter().enumerate() {
                piece.memory.0.push(id);
                if i < silent {
                    continue;
                }
                let hash =
                    piece.memory.0.iter().fold(7u32, |hash, &id| {
                        (hash ^ id).wrapping_mul(0x9E37_79B1).rotate_left(11)
                    });
                let mut row = vec![0.0; VOCAB];
                row[b'a' as usize + hash as usize % 26] = 9.0;
                logits.extend(row);
            }
        }
        Rows::new(logits, VOCAB)
    }
}

fn api(step: Duration) -> (Api, Arc<Local<Small>>) {
    let app = App::new(Settings::default(), Arc::new(MemorySessions::default()));
    let limits = Limits { max_running: 8, ..Limits::server(1 << 24) };
    let (handle, _) = Worker::spawn(Engine::new(Arc::new(Small { step }), limits));
    let local = Arc::new(Local::new(handle));
    app.add(Served {
        senses: None,
        rows: Budget::new(1 << 20),
        name: "small".to_owned(),
        tokenizer: tokenizer(),
        form: Form::Chat(Box::new(template())),
        backend: Arc::clone(&local) as Arc<dyn Backend>,
        context: 4096,
        vocab_size: VOCAB,
        end_ids: vec![256],
        vocabulary: None,
        calls: None,
        thinking: None,
        defaults: Defaults::GREEDY,
        draft: Draft::Lookup { ngram: 2, max: 4 },
        fingerprint: "fp_small".to_owned(),
        created: 0,
    });
    let api = Api { router: app.router(), app, ..Api::new() };
    (api, local)
}

async fn say(api: &Api, messages: Value, session: Option<&str>) -> Got {
    let mut body = json!({"messages": messages, "max_tokens": 30});
    if let Some(name) = session {
        body["session"] = json!({"name": name});
    }
    let got = api.post("/v1/chat/completions", body).await;
    assert_eq!(got.status, 200, "{}", got.text);
    got
}

fn content(got: &Got) -> String {
    got.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

/// What was read is not read again, the reason is told, and the answer is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_on_where_it_was() {
    let (api, _) = api(Duration::ZERO);
    let first = say(&api, user("One"), Some("talk")).await;
    assert_eq!(first.header("x-fulgurite-cache"), "cached=0; miss=cold");
    let second = say(&api, user("Two"), Some("talk")).await;
    let cached = &second.json()["usage"]["prompt_tokens_details"]["cached_tokens"];
    // All of the first turn but the last token, which was written and not read.
    let read = first.json()["usage"]["total_tokens"].as_u64().unwrap() - 1;
    assert_eq!(cached.as_u64(), Some(read));
    assert_eq!(second.header("x-fulgurite-cache"), format!("cached={read}; miss=end at {read}"));
    let whole = json!([
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": content(&first)},
        {"role": "user", "content": "Two"},
    ]);
    let (other, _) = self::api(Duration::ZERO);
    let cold = say(&other, whole, None).await;
    assert_eq!(cold.header("x-fulgurite-cache"), "cached=0; miss=cold");
    assert_eq!(content(&cold), content(&second));
}

/// Answers of several choices are told apart, in a stream as well.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_several_goes_to_its_own_place() {
    let (api, _) = api(Duration::ZERO);
    let body = json!({"messages": user("One"), "n": 3, "seed": 5, "temperature": 1.5,
                      "max_tokens": 20});
    let whole = api.post("/v1/chat/completions", body.clone()).await.json();
    let mut stream = body;
    stream["stream"] = true.into();
    let got = api.post("/v1/chat/completions", stream).await;
    for i in 0..3 {
        let text: String = got
            .events()
            .iter()
            .filter(|event| event["choices"][0]["index"] == i)
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(whole["choices"][i]["message"]["content"], text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_embedded_and_nothing_of_them_is_kept() {
    let (api, engine) = api(Duration::ZERO);
    let texts = ["ab", "bbb", "xx", "ab"];
    let got = api.post("/v1/embeddings", json!({"input": texts})).await;
    assert_eq!(got.header("x-fulgurite-cache"), "cached=0; miss=off");
    let data = got.json()["data"].clone();
    let vector =
        |i: usize| -> Vec<f32> { serde_json::from_value(data[i]["embedding"].clone()).unwrap() };
    // The mean of [1, 0] and [1, 1]; of [0, 1], [0, 2] and [0, 3]; of nothing but 0.
    let length = 1.25_f64.sqrt();
    assert_eq!(vector(0), [1.0 / length, 0.5 / length].map(|x| x as f32));
    assert_eq!([vector(1), vector(2)], [[0.0, 1.0], [0.0, 0.0]]);
    assert_eq!(vector(3), vector(0));
    let stats = engine.stats();
    assert_eq!((stats.held_bytes, stats.snapshot_bytes), (0, 0), "{stats:?}");
    // A prompt that begins like one of them is read anew.
    let body = json!({"prompt": "abc", "max_tokens": 1});
    let got = api.post("/v1/completions", body).await;
    assert_eq!(got.header("x-fulgurite-cache"), "cached=0; miss=cold");
}

/// Case 11 with the real engine: requests that are dropped at any point leave neither work nor
/// memory.
#[tokio::test(flavor = "multi_thread")]
async fn dropped_requests_leave_no_memory() {
    let (api, engine) = api(Duration::from_millis(1));
    for round in 0..10u64 {
        let dropped = (0..30u64).map(|i| {
            let api = api.clone();
            tokio::spawn(async move {
                let stream = i % 2 == 0;
                let body = json!({"messages": user(&"x".repeat(i as usize * 30)), "stream": stream,
                                  "max_tokens": 2000});
                let time = Duration::from_millis((round * 11 + i * 5) % 60);
                _ = tokio::time::timeout(time, api.post("/v1/chat/completions", body)).await;
                let texts = json!({"input": vec!["x".repeat(i as usize * 30 + 1); 40]});
                _ = tokio::time::timeout(time, api.post("/v1/embeddings", texts)).await;
            })
        });
        for task in dropped.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    }
    for _ in 0..500 {
        let stats = engine.stats();
        if stats.running + stats.waiting + stats.answers == 0 && stats.running_bytes == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", engine.stats());
}
