//! The engine with a real model of random weights: however requests meet, each is answered as alone.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use engine::{
    ContentRows, Draft, Engine, Event, Limits, Lm, Memory as _, Model as _, Part, Request,
    RequestId, Sampling, content_ids,
};
use models::weights::Random;
use models::{Batch, Cache, CausalLm as _, Config, LayerType, MiniMaxText01};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tensor::{Device, KvType, Precision, Rng, Tensor};

type Real = Lm<MiniMaxText01>;

const LIGHTNING: LayerType = LayerType::LinearAttention;
const SOFTMAX: LayerType = LayerType::FullAttention;
const MIXED: [LayerType; 3] = [LIGHTNING, SOFTMAX, LIGHTNING];
const KINDS: [[LayerType; 3]; 3] = [[LIGHTNING; 3], MIXED, [SOFTMAX; 3]];

/// Odd sizes: partial rotation, grouped queries, a head with three rows that are no tokens.
fn model(layer_types: [LayerType; 3], kv: KvType) -> Arc<Real> {
    let text = r#"{
        "model_type": "minimax_text_01", "vocab_size": 50, "hidden_size": 24,
        "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 10, "num_local_experts": 3,
        "num_experts_per_tok": 2, "attn_type_list": [0, 1, 0], "rotary_dim": 4,
        "rope_theta": 10000, "postnorm": true, "max_position_embeddings": 4096,
        "layernorm_linear_attention_alpha": 1.5, "layernorm_full_attention_alpha": 1.5,
        "layernorm_mlp_alpha": 1.5
    }"#;
    let config = Config::from_json(text.as_bytes(), Path::new("config.json")).unwrap();
    let config = Config { layer_types: layer_types.to_vec(), ..config };
    let device = Device::cpu(2);
    let mut random = Random::new(&device, Precision::F32, 3, 1);
    let mut model = MiniMaxText01::new(config, &mut random).unwrap();
    model.freeze();
    Arc::new(Lm::new(model, kv).with_vocab_size(47))
}

fn tokens(n: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng(seed);
    (0..n).map(|_| rng.below(47) as u32).collect()
}

/// A token and the bits of how likely it and others were.
type Bits = (u32, Vec<(u32, u32)>);

/// What all are answered, several answers one after the other.
fn answers(engine: &mut Engine<Real>, requests: Vec<Request<Cache>>) -> Vec<Vec<Bits>> {
    let n = requests.len();
    for (i, request) in requests.into_iter().enumerate() {
        let request = Request { logprobs: Some(20), ..request };
        engine.submit(RequestId(i as u64), request).unwrap();
    }
    let mut answers = BTreeMap::<(u64, usize), Vec<Bits>>::new();
    while !engine.is_idle() {
        for (id, event) in engine.step() {
            if let Event::Token { choice, id: token, logprobs } = event {
                let top = logprobs.unwrap().top.into_iter();
                let bits = top.map(|(id, logprob)| (id, logprob.to_bits())).collect();
                answers.entry((id.0, choice)).or_default().push((token, bits));
            }
        }
    }
    let of = |i| answers.range((i, 0)..(i + 1, 0)).flat_map(|(_, tokens)| tokens.clone());
    (0..n as u64).map(|i| of(i).collect()).collect()
}

/// What one is answered by an engine that knows nothing.
fn cold(model: &Arc<Real>, request: Request<Cache>) -> Vec<Bits> {
    let mut engine = Engine::new(Arc::clone(model), Limits::single(1000));
    answers(&mut engine, vec![request]).remove(0)
}

fn ids(answer: &[Bits]) -> Vec<u32> {
    answer.iter().map(|(id, _)| *id).collect()
}

/// The definition: read everything, take the best, append.
fn greedy(model: &Real, prompt: &[u32], n: usize) -> Vec<u32> {
    let mut cache = model.start();
    let mut piece = prompt.to_vec();
    let mut answer = Vec::new();
    while answer.len() < n {
        let batch = Batch::single(&piece, cache.tokens(), &[piece.len() - 1]);
        let logits = model.inner().logits(&batch, &mut [&mut cache]);
        // The three last rows of the head are no tokens.
        let id = engine::argmax(&logits.data()[..47]);
        answer.push(id);
        piece = vec![id];
    }
    answer
}

#[test]
fn many_at_a_time_are_each_alone() {
    for kv in KvType::ALL {
        let model = model(MIXED, kv);
        let prompts: Vec<Vec<u32>> = [1, 70, 33, 200, 5].map(|n| tokens(n, n as u64)).into();
        for step_tokens in [64, 1000] {
            let limits = Limits { step_tokens, ..Limits::server(1 << 30) };
            let mut engine = Engine::new(Arc::clone(&model), limits);
            let requests = prompts.iter().map(|prompt| Request::new(&prompt[..], 40));
            let together = answers(&mut engine, requests.collect());
            for (prompt, answer) in prompts.iter().zip(together) {
                assert_eq!(ids(&answer), greedy(&model, prompt, 40), "{kv:?} of {}", prompt.len());
            }
        }
    }
}

#[test]
fn embeddings_are_the_mean_of_all_rows() {
    let model = model(MIXED, KvType::F32);
    let prompts: Vec<Vec<u32>> = [1, 70, 33, 200].map(|n| tokens(n, n as u64)).into();
    for step_tokens in [64, 1000] {
        let limits = Limits { step_tokens, ..Limits::server(1 << 30) };
        let mut engine = Engine::new(Arc::clone(&model), limits);
        for (i, prompt) in prompts.iter().enumerate() {
            let request = Request { embed: true, ..Request::new(&prompt[..], 0) };
            engine.submit(RequestId(i as u64), request).unwrap();
        }
        engine.submit(RequestId(9), Request::new(&prompts[1][..], 40)).unwrap();
        let (mut embedded, mut written) = (BTreeMap::new(), Vec::new());
        while !engine.is_idle() {
            for (id, event) in engine.step() {
                match event {
                    Event::Embedding { values } => drop(embedded.insert(id.0, values)),
                    Event::Token { id, .. } => written.push(id),
                    _ => {}
                }
            }
        }
        assert_eq!(written, greedy(&model, &prompts[1], 40));
        assert_eq!(embedded.len(), prompts.len());
        for (i, prompt) in prompts.iter().enumerate() {
            let mut cache = model.start();
            let all: Vec<usize> = (0..prompt.len()).collect();
            let batch = Batch::single(prompt, 0, &all);
            let hidden = model.inner().hidden(&batch, &mut [&mut cache]);
            let width = hidden.last_dim();
            let mean = |column: usize| {
                let column = hidden.data()[column..].iter().step_by(width);
                (column.map(|&x| f64::from(x)).sum::<f64>() / prompt.len() as f64) as f32
            };
            let mean: Vec<f32> = (0..width).map(mean).collect();
            assert_eq!(embedded[&(i as u64)], mean, "{} tokens", prompt.len());
        }
    }
}

#[test]
fn answers_and_guesses_go_their_own_ways() {
    let prompt: Vec<u32> = (0..100).map(|i| i % 9).collect();
    let ask = |model: &Arc<Real>, draft| {
        let mut engine = Engine::new(Arc::clone(model), Limits::server(1 << 30));
        let sampling = Sampling { temperature: 0.7, ..Sampling::GREEDY };
        let usual = Request::new(&prompt[..], 90);
        let answer = answers(&mut engine, vec![Request { n: 3, sampling, draft, ..usual }]);
        (answer.concat(), engine.stats().counts)
    };
    let guessing = Draft::Lookup { ngram: 1, max: 8 };
    for kinds in KINDS {
        let model = model(kinds, KvType::F32);
        let (plain, _) = ask(&model, Draft::Off);
        assert_eq!(plain.len(), 270);
        assert_ne!(ids(&plain[..90]), ids(&plain[90..180]));
        let (guessed, counts) = ask(&model, guessing);
        assert!(counts.drafted > 100 && counts.accepted > 0, "{counts:?}");
        assert_eq!(plain, guessed, "{kinds:?}");
    }
}

/// A prompt that is known to any token is answered as if it were not, to the bit.
#[test]
fn known_beginnings_of_any_length_are_as_good_as_read_anew() {
    for kinds in KINDS {
        let model = model(kinds, KvType::F32);
        let text = tokens(2 * 32 + 3, 5);
        for length in 1..=text.len() {
            let mut engine = Engine::new(Arc::clone(&model), Limits::server(1 << 30));
            answers(&mut engine, vec![Request::new(&text[..length], 4)]);
            for (more, common) in [(&[1, 2, 3][..], length), (&[], length), (&[4][..], length - 1)]
            {
                let prompt = [&text[..common], more].concat();
                if prompt.is_empty() {
                    continue;
                }
                let request = || Request::new(&prompt[..], 6);
                let before = engine.stats().counts.cache_hit_tokens;
                let warm = answers(&mut engine, vec![request()]).remove(0);
                let reused = (engine.stats().counts.cache_hit_tokens - before) as usize;
                assert_eq!(warm, cold(&model, request()), "{kinds:?}: {common} of {length}");
                // Everything but the last token of the prompt is known, if it is within a block.
                let least = if more.len() == 1 { common / 32 * 32 } else { common - 1 };
                assert!(
                    reused >= least.min(prompt.len() - 1) || length % 32 == 0,
                    "{reused} of {common}"
                );
            }
        }
    }
}

/// Eight go on from one point at the same time, each its own way.
#[test]
fn forks_that_part_are_each_alone() {
    for kinds in KINDS {
        for kv in KvType::ALL {
            let model = model(kinds, kv);
            let text = tokens(600, 6);
            let mut engine = Engine::new(Arc::clone(&model), Limits::server(1 << 30));
            answers(&mut engine, vec![Request::new(&text[..], 1)]);
            let request = |i: u32| Request::new([&text[..], &[i, 1, i]].concat(), 40);
            let together = answers(&mut engine, (0..8).map(request).collect());
            assert_eq!(engine.stats().counts.cache_hit_tokens, 8 * 599 + 8);
            for (i, answer) in (0..8).zip(together) {
                assert_eq!(answer, cold(&model, request(i)), "{kinds:?}, {kv:?}: {i}");
            }
        }
    }
}

/// A text with pictures of 1, 40 and 70 rows, the last two side by side, and `end` behind it.
fn illustrated(end: &[u32]) -> Request<Cache> {
    let device = Device::cpu(1);
    let (mut ids, mut inserted) = (Vec::new(), Vec::new());
    for (digest, rows, before) in [(1, 1, 20), (2, 40, 33), (3, 70, 0)] {
        ids.extend(tokens(before, digest));
        let first = ids.len();
        let rows = Tensor::normal(&device, &[rows, 24], 1.0, &mut Rng(digest));
        ids.extend(content_ids(digest.into(), rows.rows()));
        inserted.push(ContentRows { first, rows });
    }
    ids.extend(tokens(50, 9));
    ids.extend(end);
    Request { inserted, ..Request::new(ids, 12) }
}

/// In pieces of any size, beside others, as several answers, with guesses, from what is known: the same
/// bits.
#[test]
fn pictures_are_read_like_text() {
    for kinds in KINDS {
        let model = model(kinds, KvType::F32);
        let plain = cold(&model, illustrated(&[5]));
        // The rows matter, not the ids.
        let mut other = illustrated(&[5]);
        other.inserted[1].rows =
            other.inserted[1].rows.add_scaled(1.0, &other.inserted[1].rows, 0.1);
        assert_ne!(cold(&model, other), plain);
        let renamed = illustrated(&[5]);
        let hidden: Vec<u32> =
            renamed.input_ids.iter().map(|&id| if id >= 1 << 31 { id ^ 77 } else { id }).collect();
        assert_eq!(cold(&model, Request { input_ids: hidden.into(), ..renamed }), plain);
        for step_tokens in [1, 7, 32, 64] {
            let limits = Limits { step_tokens, ..Limits::server(1 << 30) };
            let mut engine = Engine::new(Arc::clone(&model), limits);
            let draft = Draft::Lookup { ngram: 1, max: 8 };
            let requests = vec![
                Request { n: 2, ..illustrated(&[5]) },
                Request::new(tokens(90, 4), 12),
                Request { draft, ..illustrated(&[6]) },
            ];
            let together = answers(&mut engine, requests);
            assert_eq!(together[0], [&plain[..], &plain[..]].concat(), "{kinds:?}");
            assert_eq!(together[1], cold(&model, Request::new(tokens(90, 4), 12)));
            assert_eq!(together[2], cold(&model, illustrated(&[6])));
            // All of it is known now, so no picture has to come again.
            let before = engine.stats().counts.cache_hit_tokens;
            let request = Request { inserted: Vec::new(), ..illustrated(&[7, 8]) };
            assert_eq!(answers(&mut engine, vec![request])[0], cold(&model, illustrated(&[7, 8])));
            assert!(engine.stats().counts.cache_hit_tokens - before >= 192, "{kinds:?}");
        }
    }
}

/// What a memory holds is what was computed, also of a fork that goes on.
#[test]
fn memories_are_as_large_as_said() {
    for kv in KvType::ALL {
        let model = model(MIXED, kv);
        for n in [0, 1, 511, 512, 513, 1100] {
            let mut cache = model.start();
            let ids = tokens(n, 1);
            let read = |cache: &mut Cache, ids: &[u32]| {
                let batch = Batch::single(ids, cache.tokens(), &[]);
                model.inner().logits(&batch, &mut [cache]);
            };
            if n > 0 {
                read(&mut cache, &ids);
            }
            let bytes = |part: Part| match part {
                Part::Own(bytes) | Part::Shared { bytes, .. } => bytes,
            };
            let held: u64 = cache.parts(0).map(bytes).sum();
            assert_eq!(held, model.bytes(n).total(), "{kv:?} of {n}");
            let mut fork = cache.clone();
            read(&mut fork, &[1]);
            let kept: Vec<Part> = cache.parts(0).collect();
            let new = |part: &Part| matches!(part, Part::Own(_)) || !kept.contains(part);
            let copied: u64 = fork.parts(0).filter(new).map(bytes).sum();
            let grown = model.bytes(n + 1).total() - model.bytes(n).total();
            assert_eq!(copied, grown + model.fork_bytes(n), "{kv:?} of {n}");
            // Only the parts that belong to tokens from there on are others.
            let [before, after] = [&cache, &fork].map(|x| x.parts(0).count() - x.parts(n).count());
            assert_eq!(before, after);
            assert!(cache.parts(0).zip(fork.parts(0)).take(before).all(|(a, b)| a == b));
        }
    }
}
