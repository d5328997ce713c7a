//! Sequences that are saved and go on elsewhere.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use models::sequence::{self, SavedSequence};
use models::weights::Random;
use models::{Batch, Cache, CausalLm, Config, ContentRows, Inserted, MiniMaxText01, content_ids};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tensor::{Device, KvType, Precision, Rng, Tensor};

const VOCAB: usize = 50;

/// Odd sizes, layers of both kinds, and a token from which on the softmax layers are queried.
fn config(head_dim: usize) -> Config {
    let text = format!(
        r#"{{
            "model_type": "minimax_text_01", "vocab_size": {VOCAB}, "hidden_size": 24,
            "intermediate_size": 20, "num_hidden_layers": 4, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": {head_dim}, "num_local_experts": 3,
            "num_experts_per_tok": 2, "attn_type_list": [0, 1, 0, 1], "rotary_dim": 4,
            "rope_theta": 10000, "postnorm": true, "max_position_embeddings": 8192,
            "relevance_token_id": 7
        }}"#
    );
    Config::from_json(text.as_bytes(), Path::new("config.json")).unwrap()
}

fn model(head_dim: usize) -> MiniMaxText01 {
    let device = Device::cpu(1);
    let mut random = Random::new(&device, Precision::F32, 4, 1);
    let mut model = MiniMaxText01::new(config(head_dim), &mut random).unwrap();
    model.freeze();
    model
}

fn tokens(n: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng(seed);
    (0..n).map(|_| rng.below(VOCAB) as u32).collect()
}

/// The bits of the logits of the last of `ids`.
fn read(model: &MiniMaxText01, ids: &[u32], cache: &mut Cache) -> Vec<u32> {
    let batch = Batch::single(ids, cache.tokens(), &[ids.len() - 1]);
    let logits = model.logits(&batch, &mut [cache]);
    logits.data().iter().map(|x| x.to_bits()).collect()
}

/// One token at a time; the bits of all logits.
fn write(model: &MiniMaxText01, ids: &[u32], cache: &mut Cache) -> Vec<Vec<u32>> {
    ids.chunks(1).map(|id| read(model, id, cache)).collect()
}

fn save(path: &Path, ids: &[u32], points: &[&Cache]) {
    let notes = BTreeMap::from([("title".to_owned(), "a \"talk\"".to_owned())]);
    sequence::save(path, ids, points, &[], &notes).unwrap();
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("talk.safetensors");
    (folder, path)
}

/// At random cuts, within prompts and answers, on and off the boundaries of blocks and pages.
#[test]
fn a_saved_sequence_goes_on_as_if_it_had_not_stopped() {
    let cuts = if std::env::var_os("RUN_SLOW_TESTS").is_some() { 1000 } else { 40 };
    let (_folder, path) = file();
    let model = model(10);
    let mut rng = Rng(3);
    for kv in KvType::ALL {
        for cut in 0..cuts {
            let most = *rng.pick(&[40, 600, 1100]);
            let prompt = 1 + rng.below(most);
            let written = rng.below(40);
            let ids = tokens(prompt + written + 6, cut);
            let (before, after) = ids.split_at(prompt + written);
            let mut cache = Cache::new(model.config(), kv);
            read(&model, &before[..prompt], &mut cache);
            write(&model, &before[prompt..], &mut cache);
            save(&path, before, &[&cache]);
            let whole = write(&model, after, &mut cache);
            let SavedSequence { tokens, mut points, notes, .. } =
                sequence::open(&path, model.config()).unwrap();
            assert_eq!((tokens, points.len()), (before.to_vec(), 1));
            assert_eq!(notes["title"], "a \"talk\"");
            assert_eq!(points[0].kv(), kv);
            let again = write(&model, after, &mut points[0]);
            assert_eq!(again, whole, "{kv:?}, {prompt} tokens read and {written} written");
        }
    }
}

/// Earlier points of one file share the pages of the last, and are what they were.
#[test]
fn earlier_points_are_what_they_were() {
    let (_folder, path) = file();
    let model = model(10);
    let ids = tokens(1300, 5);
    for kv in KvType::ALL {
        let mut cache = Cache::new(model.config(), kv);
        let mut points = Vec::new();
        let mut start = 0;
        for end in [1, 31, 32, 511, 512, 700, 1024, 1290] {
            read(&model, &ids[start..end], &mut cache);
            points.push(cache.clone());
            start = end;
        }
        save(&path, &ids[..start], &points.iter().collect::<Vec<_>>());
        let saved = sequence::open(&path, model.config()).unwrap();
        let pages = |cache: &Cache| -> Vec<usize> {
            cache.pages().map(|page| std::sync::Arc::as_ptr(page).addr()).collect()
        };
        let last = pages(saved.points.last().unwrap());
        let mut shared = 0;
        for (mut point, mut now) in saved.points.into_iter().zip(points) {
            shared += pages(&point).iter().filter(|page| last.contains(page)).count();
            assert_eq!(point.tokens(), now.tokens());
            let next = &ids[point.tokens()..][..5];
            assert_eq!(write(&model, next, &mut point), write(&model, next, &mut now), "{kv:?}");
        }
        assert!(shared > last.len(), "{shared} shared pages");
    }
}

/// Pages of an opened file are lines of its mapping, one after the other as they are in the file, and only
/// what is written to is copied.
#[test]
#[cfg(target_os = "linux")]
fn pages_are_used_where_they_are_mapped() {
    let (_folder, path) = file();
    // Of a model whose pages are an odd number of lines, and of a header of any length.
    let model = model(10);
    let ids = tokens(1100, 9);
    for (kv, title) in KvType::ALL.into_iter().flat_map(|kv| ["", "abc"].map(|title| (kv, title))) {
        let mut cache = Cache::new(model.config(), kv);
        read(&model, &ids, &mut cache);
        let notes = BTreeMap::from([("title".to_owned(), title.to_owned())]);
        sequence::save(&path, &ids, &[&cache], &[], &notes).unwrap();
        let mut point = sequence::open(&path, model.config()).unwrap().points.remove(0);
        let mapped = |cache: &Cache| -> Vec<Option<usize>> {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            let own = maps.lines().filter(|line| line.contains(path.to_str().unwrap()));
            let ranges: Vec<[usize; 2]> = own
                .map(|line| {
                    let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
                    [start, end].map(|text| usize::from_str_radix(text, 16).unwrap())
                })
                .collect();
            let place = |bytes: &[u8]| {
                let (first, last) = (bytes.as_ptr().addr(), bytes.as_ptr_range().end.addr());
                let inside = |[start, end]: &&[usize; 2]| *start <= first && last <= *end;
                ranges.iter().find(inside).map(|_| first)
            };
            cache.pages().map(|page| place(page.bytes())).collect()
        };
        let places = mapped(&point);
        assert_eq!(places.len(), 6, "{kv:?}");
        let first = places[0].unwrap();
        let bytes = point.pages().next().unwrap().bytes().len();
        let want: Vec<Option<usize>> = (0..6).map(|i| Some(first + i * bytes)).collect();
        assert_eq!((first % 64, places), (0, want), "{kv:?}");
        write(&model, &[1], &mut point);
        let kept = mapped(&point).iter().map(Option::is_some).collect::<Vec<_>>();
        assert_eq!(kept, [true, true, false, true, true, false], "{kv:?}");
        // A copy of it holds what the first one had: the file is as it was.
        write(&model, &[1], &mut cache);
        let again = sequence::open(&path, model.config()).unwrap().points.remove(0);
        assert_eq!((again.tokens(), point.tokens(), cache.tokens()), (1100, 1101, 1101));
        assert!(cache.pages().zip(point.pages()).all(|(a, b)| a.bytes() == b.bytes()));
    }
}

/// Tokens behind the last point, or no point at all.
#[test]
fn what_is_yet_to_be_read_is_kept() {
    let (_folder, path) = file();
    let model = model(10);
    let ids = tokens(50, 1);
    let mut cache = Cache::new(model.config(), KvType::Q8);
    read(&model, &ids[..33], &mut cache);
    save(&path, &ids, &[&cache]);
    let saved = sequence::open(&path, model.config()).unwrap();
    assert_eq!((saved.tokens.len(), saved.points[0].tokens()), (50, 33));
    save(&path, &ids, &[]);
    let saved = sequence::open(&path, model.config()).unwrap();
    assert_eq!((saved.tokens, saved.points.len()), (ids, 0));
}

/// Rows that may have to be read again are there to the bit, those before all points are not; what was
/// read goes on.
#[test]
fn pictures_are_kept_as_far_as_they_may_be_read_again() {
    let (_folder, path) = file();
    let model = model(10);
    let device = Device::cpu(1);
    let picture = |digest: u64, rows: usize| {
        (
            content_ids(digest.into(), rows).collect::<Vec<_>>(),
            Tensor::normal(&device, &[rows, 24], 1.0, &mut Rng(digest)),
        )
    };
    let [(a, a_rows), (b, b_rows)] = [picture(1, 40), picture(2, 3)];
    let ids = [&tokens(5, 1), &a[..], &tokens(20, 2), &b, &tokens(9, 3)].concat();
    let content = [(5, a_rows), (65, b_rows)].map(|(first, rows)| ContentRows { first, rows });
    let read_from = |cache: &mut Cache, content: &[ContentRows], end: usize| {
        let start = cache.tokens();
        let new: Vec<&ContentRows> = content.iter().filter(|c| c.first >= start).collect();
        let at = new.iter().flat_map(|c| c.span()).map(|i| i - start).collect();
        let data = new.iter().flat_map(|c| c.rows.to_vec()).collect::<Vec<f32>>();
        let rows = Tensor::new(&device, &[data.len() / 24, 24], data);
        let batch = Batch::single(&ids[start..end], start, &[end - start - 1]);
        let batch = batch.with(Inserted { tokens: at, rows });
        let logits = model.logits(&batch, &mut [cache]);
        logits.data().iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
    };
    let mut cache = Cache::new(model.config(), KvType::F32);
    read_from(&mut cache, &content[..1], 50);
    let middle = cache.clone();
    let whole = read_from(&mut cache, &content, ids.len());
    let save = |points: &[&Cache]| {
        sequence::save(&path, &ids, points, &content, &BTreeMap::new()).unwrap();
        sequence::open(&path, model.config()).unwrap()
    };
    for (points, kept) in [(&[][..], 2), (&[&middle, &cache], 1), (&[&cache], 0)] {
        let saved = save(points);
        assert_eq!((&saved.tokens, saved.content.len()), (&ids, kept));
        for (found, want) in saved.content.iter().zip(&content[2 - kept..]) {
            assert_eq!((found.first, found.rows.data()), (want.first, want.rows.data()));
        }
        if let Some(mut point) = saved.points.into_iter().next().filter(|p| p.tokens() == 50) {
            assert_eq!(read_from(&mut point, &saved.content, ids.len()), whole);
        }
    }
}

/// Files that somebody made: rows where there are none in the text.
#[test]
fn rows_of_other_places_are_told() {
    let (_folder, path) = file();
    let model = model(10);
    let rows = Tensor::zeros(&Device::cpu(1), &[3, 24]);
    let ids = [&content_ids(1, 3).collect::<Vec<_>>()[..], &[1, 2]].concat();
    let error = |first: usize, rows: &Tensor, ids: &[u32]| {
        let content = [ContentRows { first, rows: rows.clone() }];
        sequence::save(&path, ids, &[], &content, &BTreeMap::new()).unwrap();
        sequence::open(&path, model.config()).unwrap_err().to_string()
    };
    let message = error(1, &rows, &ids);
    assert!(message.contains("rows.0") && message.contains("1 to 4"), "{message}");
    let message = error(0, &Tensor::zeros(&Device::cpu(1), &[3, 23]), &ids);
    assert!(message.contains("rows.0") && message.contains("[3, 24]"), "{message}");
}

#[test]
fn damage_and_other_models_are_told() {
    let (_folder, path) = file();
    let model = model(10);
    let ids = tokens(40, 1);
    let mut cache = Cache::new(model.config(), KvType::Bf16);
    read(&model, &ids, &mut cache);
    save(&path, &ids, &[&cache]);
    let whole = std::fs::read(&path).unwrap();
    let mut rng = Rng(2);
    for _ in 0..1000 {
        let mut bytes = whole.clone();
        let at = rng.below(bytes.len());
        bytes[at] ^= 1 << rng.below(8);
        std::fs::write(&path, bytes).unwrap();
        let message = sequence::open(&path, model.config()).unwrap_err().to_string();
        assert!(message.contains("talk.safetensors"), "{message}");
    }
    std::fs::write(&path, whole).unwrap();
    let fails = |config: &Config, words: &[&str]| {
        let message = sequence::open(&path, config).unwrap_err().to_string();
        for word in words.iter().chain(&["talk.safetensors"]) {
            assert!(message.contains(word), "no {word:?} in: {message}");
        }
    };
    fails(&config(42), &["layers.1.kv", "expected [1, "]);
    let mut other = config(10);
    other.vocab_size = 9;
    fails(&other, &["tokens", "below 9"]);
    let mut other = config(10);
    other.layer_types.swap(1, 2);
    fails(&other, &["layers.2.kv", "missing"]);
    std::fs::remove_file(&path).unwrap();
    fails(&config(10), &["cannot read"]);
}
