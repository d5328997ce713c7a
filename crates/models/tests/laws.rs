//! What must hold for any weights: the ways to read the same tokens agree.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use models::weights::{Policy, Random, saved};
use models::{Batch, Cache, CausalLm, Config, LayerType, MiniMaxText01};
use std::collections::BTreeMap;
use std::path::Path;
use tensor::{Checkpoint, Device, KvType, LIGHTNING_BLOCK, PAGE_TOKENS, Precision, Rng};

/// A config of odd sizes: two kinds of layers, partial rotation, grouped queries.
fn config() -> Config {
    let text = r#"{
        "model_type": "minimax_text_01", "vocab_size": 50, "hidden_size": 24,
        "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 10, "num_local_experts": 3,
        "num_experts_per_tok": 2, "attn_type_list": [0, 1, 0], "rotary_dim": 4,
        "rope_theta": 10000, "postnorm": true, "max_position_embeddings": 4096,
        "layernorm_linear_attention_alpha": 1.5, "layernorm_full_attention_alpha": 1.5,
        "layernorm_mlp_alpha": 1.5
    }"#;
    Config::from_json(text.as_bytes(), Path::new("config.json")).unwrap()
}

fn model(device: &Device) -> MiniMaxText01 {
    of_config(config(), device)
}

fn of_config(config: Config, device: &Device) -> MiniMaxText01 {
    let mut random = Random::new(device, Precision::F32, 3, 1);
    let mut model = MiniMaxText01::new(config, &mut random).unwrap();
    model.freeze();
    model
}

fn tokens(n: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng(seed);
    (0..n).map(|_| rng.below(50) as u32).collect()
}

/// Logits of all positions, `ids` read in pieces of `piece` tokens.
fn read(model: &MiniMaxText01, ids: &[u32], piece: usize, cache: &mut Cache) -> Vec<f32> {
    let mut logits = Vec::new();
    for part in ids.chunks(piece) {
        let rows: Vec<usize> = (0..part.len()).collect();
        let batch = Batch::single(part, cache.tokens(), &rows);
        logits.extend_from_slice(model.logits(&batch, &mut [cache]).data());
    }
    logits
}

fn cold(model: &MiniMaxText01, ids: &[u32], piece: usize) -> Vec<f32> {
    cold_with(model, ids, piece, KvType::F32)
}

fn cold_with(model: &MiniMaxText01, ids: &[u32], piece: usize, kv: KvType) -> Vec<f32> {
    read(model, ids, piece, &mut Cache::new(model.config(), kv))
}

fn relative_rms(want: &[f32], got: &[f32]) -> f64 {
    assert_eq!(want.len(), got.len());
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let error = squares(&mut want.iter().zip(got).map(|(w, g)| f64::from(w - g)));
    (error / squares(&mut want.iter().map(|&w| f64::from(w)))).sqrt()
}

#[test]
fn pieces_of_any_size_read_the_same() {
    for level in Device::levels() {
        let model = model(&Device::cpu_with_level(2, level).unwrap());
        let ids = tokens(600, 2);
        let exact = cold(&model, &ids, ids.len());
        for kv in KvType::ALL {
            // What differs in its last bit may be rounded to the next bf16 or the next code.
            let allowed = if kv == KvType::F32 { 1e-5 } else { 1e-3 };
            let whole = cold_with(&model, &ids, ids.len(), kv);
            for piece in [1, 7, 64, 256] {
                let error = relative_rms(&whole, &cold_with(&model, &ids, piece, kv));
                assert!(error <= allowed, "pieces of {piece}, {kv:?} on {level}: {error:e}");
            }
            let error = relative_rms(&exact, &whole);
            assert!(error <= 1e-2, "{kv:?} on {level}: {error:e}");
            assert_eq!(error == 0.0, kv == KvType::F32, "{kv:?} on {level}: {error:e}");
        }
    }
}

/// What a token gives depends on the tokens up to it only, bit for bit, at every level and for every
/// way to keep keys and values: whatever pieces it is read in, whoever reads with it, whatever comes
/// after. Of layers that are all softmax.
#[test]
fn a_token_depends_on_its_prefix_only() {
    let config = Config { layer_types: vec![LayerType::FullAttention; 3], ..config() };
    let ids = tokens(1100, 12);
    for level in Device::levels() {
        for threads in [1, 2] {
            let model = of_config(config.clone(), &Device::cpu_with_level(threads, level).unwrap());
            for kv in KvType::ALL {
                let whole = cold_with(&model, &ids, ids.len(), kv);
                for piece in [1, 7, 64, 256, 1000] {
                    // One token at a time is slow: the first ones are enough.
                    let ids = &ids[..if piece == 1 { 150 } else { ids.len() }];
                    let got = cold_with(&model, ids, piece, kv);
                    let what = format!("pieces of {piece}, {kv:?} on {level}, {threads} threads");
                    assert!(got == whole[..got.len()], "{what}");
                }
                // A fork goes on from pages that another sequence has written to since.
                let mut first = Cache::new(&config, kv);
                read(&model, &ids[..600], 600, &mut first);
                let mut second = first.clone();
                read(&model, &tokens(100, 13), 100, &mut first);
                let got = read(&model, &ids[600..], 40, &mut second);
                assert!(got == whole[600 * 50..], "a fork, {kv:?} on {level}");
            }
        }
    }
}

/// Relevant from a token on: as it comes, pieces, marks and caches notice it alike; before it the
/// softmax layer adds nothing, and without one of these it is all the same.
#[test]
fn relevance_is_remembered() {
    let device = Device::cpu(2);
    let with = |id| of_config(Config { relevance_token_id: Some(id), ..config() }, &device);
    let (model, usual) = (with(9), of_config(config(), &device));
    let mut ids: Vec<u32> =
        tokens(200, 8).iter().map(|&id| if id == 9 { 10 } else { id }).collect();
    let irrelevant = cold(&model, &ids, 200);
    ids[120] = 9;
    let whole = cold(&model, &ids, 200);
    assert_eq!(whole[..120 * 50], irrelevant[..120 * 50]);
    for piece in [1, 7, 64, 121] {
        let error = relative_rms(&whole, &cold(&model, &ids, piece));
        assert!(error <= 1e-5, "pieces of {piece}: relative error {error:e}");
    }
    let rows: Vec<usize> = (0..ids.len()).collect();
    let hidden = model.forward(&Batch::single(&ids, 0, &rows), None).hidden;
    let error = relative_rms(&whole, hidden.linear(model.lm_head()).data());
    assert!(error <= 1e-5, "without a cache: {error:e}");
    assert!(relative_rms(&cold(&usual, &ids, 200), &whole) > 1e-3, "it changes nothing");
    ids[0] = 9;
    let error = relative_rms(&cold(&usual, &ids, 200), &cold(&model, &ids, 200));
    assert!(error <= 1e-6, "relevant from the first on: {error:e}");

    let mut cache = Cache::new(model.config(), KvType::F32);
    read(&model, &[1, 2, 3], 3, &mut cache);
    let mark = cache.mark();
    let before = read(&model, &[4, 5], 2, &mut cache.clone());
    read(&model, &[9, 1], 2, &mut cache);
    let mut cut = cache.clone();
    cache.rewind(&mark);
    assert_eq!(before, read(&model, &[4, 5], 2, &mut cache));
    cut.truncate(3);
    assert_eq!(before, read(&model, &[4, 5], 2, &mut cut));
}

#[test]
fn without_a_cache_the_same() {
    let model = model(&Device::cpu(2));
    let ids = tokens(300, 3);
    let rows: Vec<usize> = (0..ids.len()).collect();
    let hidden = model.forward(&Batch::single(&ids, 0, &rows), None).hidden;
    let error = relative_rms(&cold(&model, &ids, 300), hidden.linear(model.lm_head()).data());
    assert!(error <= 1e-5, "{error:e}");
}

#[test]
fn some_rows_are_rows_of_all() {
    let model = model(&Device::cpu(2));
    let ids = tokens(90, 4);
    let whole = cold(&model, &ids, 90);
    for rows in [vec![89], vec![0, 5, 40], vec![]] {
        let mut cache = Cache::new(model.config(), KvType::F32);
        let some = model.logits(&Batch::single(&ids, 0, &rows), &mut [&mut cache]);
        let expected: Vec<f32> =
            rows.iter().flat_map(|&row| whole[row * 50..(row + 1) * 50].to_vec()).collect();
        if rows.is_empty() {
            assert!(some.is_empty());
        } else {
            assert!(relative_rms(&expected, some.data()) <= 1e-6);
        }
        // What was read does not depend on what was asked.
        let next = read(&model, &[7], 1, &mut cache);
        let mut other = Cache::new(model.config(), KvType::F32);
        read(&model, &ids, 90, &mut other);
        assert_eq!(next, read(&model, &[7], 1, &mut other));
    }
}

/// To the bit, for every way to keep keys and values.
#[test]
fn a_batch_is_its_sequences() {
    for level in Device::levels() {
        let model = model(&Device::cpu_with_level(2, level).unwrap());
        for kv in KvType::ALL {
            let sequences = [tokens(1, 5), tokens(70, 6), tokens(17, 7)];
            let new = |_: &Vec<u32>| Cache::new(model.config(), kv);
            let mut caches: Vec<Cache> = sequences.iter().map(new).collect();
            // All have read something before.
            for (ids, cache) in sequences.iter().zip(&mut caches) {
                read(&model, &ids[..ids.len() / 2], 9, cache);
            }
            let mut alone = caches.clone();
            let rest: Vec<&[u32]> = sequences.iter().map(|ids| &ids[ids.len() / 2..]).collect();
            let pieces = rest.iter().zip(&caches).map(|(&ids, cache)| (ids, cache.tokens()));
            let count = rest.iter().map(|ids| ids.len()).sum();
            let rows: Vec<usize> = (0..count).collect();
            let batch = Batch::new(pieces, &rows);
            let together = model.logits(&batch, &mut caches.iter_mut().collect::<Vec<_>>());
            let single: Vec<f32> = rest
                .iter()
                .zip(&mut alone)
                .flat_map(|(ids, cache)| read(&model, ids, ids.len(), cache))
                .collect();
            assert_eq!(single, together.data(), "{kv:?} on {level}");
        }
    }
}

/// What was read after a mark leaves no trace, to the bit.
#[test]
fn rewinding_is_never_having_read() {
    let model = model(&Device::cpu(2));
    let ids = tokens(150, 9);
    for kv in KvType::ALL {
        let mut cache = Cache::new(model.config(), kv);
        let empty = cache.mark();
        read(&model, &ids[..70], 70, &mut cache);
        let mark = cache.mark();
        let mut kept = cache.clone();
        for more in [1, 3, 80] {
            read(&model, &ids[70..70 + more], 7, &mut cache);
            cache.rewind(&mark);
            assert_eq!(cache.tokens(), 70);
            assert_eq!(cache.kv_bytes(), kept.kv_bytes());
        }
        let expected = read(&model, &ids[70..], 16, &mut kept);
        assert_eq!(expected, read(&model, &ids[70..], 16, &mut cache), "{kv:?}");
        cache.rewind(&empty);
        let cold = cold_with(&model, &ids, 150, kv);
        assert_eq!(cold, read(&model, &ids, 150, &mut cache), "{kv:?}");
    }
}

#[test]
fn a_restored_cache_goes_on_as_if_never_left() {
    let model = model(&Device::cpu(2));
    let ids = tokens(120, 8);
    for kv in KvType::ALL {
        let mut cache = Cache::new(model.config(), kv);
        read(&model, &ids[..77], 77, &mut cache);
        let mut kept = cache.clone();
        let first = read(&model, &ids[77..], 43, &mut cache);
        assert_eq!(first, read(&model, &ids[77..], 43, &mut kept), "{kv:?}: bit for bit");
    }
}

/// Forks hold what they have read in common once, and do not see what the other has read since.
#[test]
fn forks_share_pages_and_nothing_else() {
    let model = model(&Device::cpu(2));
    let ids = tokens(PAGE_TOKENS + 50, 11);
    let (start, rest) = ids.split_at(PAGE_TOKENS + 20);
    for kv in KvType::ALL {
        let mut first = Cache::new(model.config(), kv);
        read(&model, start, 256, &mut first);
        let mut second = first.clone();
        let own = |caches: &[&Cache]| {
            let pages = caches.iter().flat_map(|cache| cache.pages());
            pages.map(std::sync::Arc::as_ptr).collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!(own(&[&first, &second]), 2);
        let other: Vec<u32> = rest.iter().map(|id| (id + 1) % 50).collect();
        let others = read(&model, &other, 7, &mut second);
        assert_eq!(own(&[&first, &second]), 3, "only the last page was copied");
        let mut alone = Cache::new(model.config(), kv);
        read(&model, start, 256, &mut alone);
        assert_eq!(read(&model, rest, 7, &mut first), read(&model, rest, 7, &mut alone), "{kv:?}");
        let mut alone = Cache::new(model.config(), kv);
        read(&model, start, 256, &mut alone);
        assert_eq!(others, read(&model, &other, 7, &mut alone), "{kv:?}");
    }
}

#[test]
fn memory_is_what_the_config_says() {
    let model = model(&Device::cpu(2));
    let config = model.config();
    for kv in KvType::ALL {
        for n in [0, 1, 100, PAGE_TOKENS, PAGE_TOKENS + 1] {
            let mut cache = Cache::new(config, kv);
            read(&model, &tokens(n, 9), 100, &mut cache);
            assert_eq!(cache.state_bytes() as u64, config.state_bytes());
            assert_eq!(cache.kv_bytes() as u64, config.kv_bytes(n, kv));
        }
    }
}

#[test]
fn bf16_weights_compute_what_their_values_say() {
    let device = Device::cpu(2);
    let mut random =
        MiniMaxText01::new(config(), &mut Random::new(&device, Precision::F32, 3, 1)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    tensor::safetensors::save(&path, saved(&mut random, Precision::Bf16), &BTreeMap::new())
        .unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let ids = tokens(200, 10);
    random.freeze();
    let exact = cold(&random, &ids, 64);
    for level in Device::levels() {
        let device = Device::cpu_with_level(2, level).unwrap();
        let [bf16, f32] = [None, Some(Policy::F32)].map(|policy| {
            let model = models::load(config(), &checkpoint, &device, policy).unwrap();
            cold(&model, &ids, 64)
        });
        // Where activations are rounded too, each by up to 2^-9 of itself, a few of the eight bits
        // that are left are lost on the way through the layers.
        let rounded = device.exec().cpu.bf16.is_some();
        let error = relative_rms(&f32, &bf16);
        assert!(error <= if rounded { 3e-2 } else { 1e-5 }, "{error:e} on {level}");
        // And they differ from the weights before rounding.
        assert!(relative_rms(&exact, &bf16) > 1e-4);
    }
}

/// Kinds of layers of models for which the law of prefixes holds.
fn exact_kinds() -> Vec<[LayerType; 3]> {
    use LayerType::{FullAttention as Softmax, LinearAttention as Lightning};
    vec![[Lightning; 3], [Lightning, Softmax, Lightning], [Softmax; 3]]
}

/// A model of these kinds of layers, its weights kept as `policy` says, and the text that it reads.
fn exact_model(kinds: [LayerType; 3], policy: Policy, device: &Device) -> MiniMaxText01 {
    // Rows of whole blocks, so that weights are kept in these where the policy says so.
    let config =
        Config { layer_types: kinds.to_vec(), hidden_size: 64, intermediate_size: 32, ..config() };
    let host = device.host();
    let mut source = Random::new(&host, Precision::F32, 3, 1);
    let mut random = MiniMaxText01::new(config.clone(), &mut source).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    tensor::safetensors::save(&path, saved(&mut random, Precision::F32), &BTreeMap::new()).unwrap();
    models::load(config, &Checkpoint::open(&path).unwrap(), device, Some(policy)).unwrap()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Every model that the law is about, on every level, with one thread and with two.
fn for_each_exact(check: impl Fn(&str, [MiniMaxText01; 2], KvType)) {
    for kinds in exact_kinds() {
        for policy in [Policy::F32, Policy::Bf16, Policy::Q8, Policy::Q4] {
            for level in Device::levels() {
                let on = |threads: usize, in_f64: bool| {
                    let device = Device::cpu_with_level(threads, level).unwrap();
                    let device = if in_f64 { device.with_f64_arithmetic() } else { device };
                    exact_model(kinds, policy, &device)
                };
                let softmax = kinds.contains(&LayerType::FullAttention);
                for kv in KvType::ALL.into_iter().take(if softmax { 3 } else { 1 }) {
                    let what = format!("{kinds:?}, {policy:?}, {kv:?} on {level}");
                    check(&what, [on(1, false), on(2, false)], kv);
                    if policy == Policy::F32 {
                        check(&format!("{what} in f64"), [on(1, true), on(2, true)], kv);
                    }
                }
            }
        }
    }
}

/// The law of prefixes: what is said about a token depends on the tokens before it, bit for bit; not
/// on the pieces in which they are read, on one thread or two, nor on the kind of memory.
#[test]
fn pieces_of_any_size_give_the_same_bits() {
    let ids = tokens(150, 20);
    for_each_exact(|what, models, kv| {
        let whole = bits(&cold_with(&models[0], &ids, ids.len(), kv));
        for piece in [1, 2, 7, 31, 32, 33, 100, ids.len()] {
            for model in &models {
                let got = bits(&cold_with(model, &ids, piece, kv));
                assert!(got == whole, "{what}: pieces of {piece}");
            }
        }
        // Without a cache keys and values are what they are; that is for training, where softmax
        // attention is always f32.
        let rows: Vec<usize> = (0..ids.len()).collect();
        let hidden = models[0].forward(&Batch::single(&ids, 0, &rows), None).hidden;
        let softmax = models[0].config().count(LayerType::FullAttention) > 0;
        if kv == KvType::F32 && !(softmax && hidden.device().computes_in_f64()) {
            let got = bits(hidden.linear(models[0].lm_head()).data());
            assert!(got == whole, "{what}: without a cache");
        }
    });
}

/// Sequences that come and go on as it happens: each step reads a piece of some of them, and guesses
/// that are taken back, in one batch. Each gets the bits that it gets alone, read at once.
#[test]
fn any_company_and_any_guesses_give_the_same_bits() {
    for_each_exact(|what, models, kv| {
        let mut rng = Rng(21);
        let texts: Vec<Vec<u32>> = (0..4).map(|i| tokens(20 + 37 * i, 22 + i as u64)).collect();
        let alone: Vec<Vec<u32>> =
            texts.iter().map(|ids| bits(&cold_with(&models[0], ids, ids.len(), kv))).collect();
        let mut caches: Vec<Cache> =
            texts.iter().map(|_| Cache::new(models[1].config(), kv)).collect();
        while caches.iter().zip(&texts).any(|(cache, ids)| cache.tokens() < ids.len()) {
            let guessing = rng.below(3) == 0;
            let longest = *rng.pick(&[1, 1, 5, 70]);
            let mut chosen = Vec::new();
            for (i, (cache, ids)) in caches.iter_mut().zip(&texts).enumerate() {
                let piece = rng.below(longest + 1).min(ids.len() - cache.tokens());
                if piece > 0 {
                    let guess = tokens(piece, rng.next_u64());
                    let next = ids[cache.tokens()..][..piece].to_vec();
                    chosen.push((i, if guessing { guess } else { next }, cache));
                }
            }
            let count = chosen.iter().map(|(_, ids, _)| ids.len()).sum();
            let rows: Vec<usize> = (0..count).collect();
            let pieces = chosen.iter().map(|(_, ids, cache)| (&ids[..], cache.tokens()));
            let batch = Batch::new(pieces, &rows);
            let marks: Vec<_> = chosen.iter().map(|(_, _, cache)| cache.mark()).collect();
            let mut each: Vec<&mut Cache> =
                chosen.iter_mut().map(|(_, _, cache)| &mut **cache).collect();
            let got = bits(models[1].logits(&batch, &mut each).data());
            let mut got = &got[..];
            for ((i, ids, cache), mark) in chosen.iter_mut().zip(&marks) {
                let (own, rest) = got.split_at(ids.len() * 50);
                got = rest;
                let first = cache.tokens() - ids.len();
                if guessing && first / LIGHTNING_BLOCK == cache.tokens() / LIGHTNING_BLOCK {
                    cache.truncate(first);
                } else if guessing {
                    cache.rewind(mark);
                } else {
                    let want = &alone[*i][first * 50..cache.tokens() * 50];
                    assert!(own == want, "{what}: {} tokens from {first} of {i}", ids.len());
                }
            }
        }
    });
}
