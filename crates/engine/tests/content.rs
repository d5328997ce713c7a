//! Pictures and sounds in prompts: read in any pieces, found again as a whole, never mixed up.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

mod support;

use engine::{
    ContentRows, Draft, Engine, Event, FinishReason, Limits, Model, Refused, Request, RequestId,
    argmax, content_ids,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use support::{Fake, Tokens, seen};
use tensor::{Device, Rng, Tensor};

/// A prompt, what of it is seen, and what it is to the model.
#[derive(Clone, Default)]
struct Prompt {
    ids: Vec<u32>,
    inserted: Vec<ContentRows>,
    keys: Vec<u32>,
}

impl Prompt {
    fn text(mut self, ids: &[u32]) -> Self {
        self.ids.extend(ids);
        self.keys.extend(ids);
        self
    }

    /// Picture number `digest`.
    fn picture(mut self, digest: u128, rows: usize) -> Self {
        let row = |i| 1.0 + Rng::stream(digest as u64, i as u64).below(1 << 20) as f32;
        let data: Vec<f32> = (0..rows).map(row).collect();
        self.keys.extend(data.iter().map(|&row| seen(row)));
        let rows_of = Tensor::new(&Device::cpu(1), &[rows, 1], data);
        self.inserted.push(ContentRows { first: self.ids.len(), rows: rows_of });
        self.ids.extend(content_ids(digest, rows));
        self
    }

    fn request(&self, max_tokens: usize) -> Request<Tokens> {
        let inserted = self.inserted.clone();
        Request { inserted, ..Request::new(&self.ids[..], max_tokens) }
    }

    /// The definition: what follows, token by token.
    fn answer(&self, model: &Fake, n: usize) -> Vec<u32> {
        let mut keys = self.keys.clone();
        for _ in 0..n {
            keys.push(argmax(&model.logits(&keys)));
        }
        keys.split_off(self.keys.len())
    }
}

/// Of each request: tokens that were known, what was written, and how it ended.
type Told = BTreeMap<u64, (usize, Vec<u32>, Option<FinishReason>)>;

fn listen(told: &mut Told, engine: &mut Engine<Fake>) {
    for (id, event) in engine.step() {
        let of = told.entry(id.0).or_default();
        match event {
            Event::Started { cached_tokens, .. } => of.0 = cached_tokens,
            Event::Token { choice: 0, id, .. } => of.1.push(id),
            Event::Finished { choice: 0, reason } => of.2 = Some(reason),
            _ => {}
        }
    }
}

fn ask(engine: &mut Engine<Fake>, request: Request<Tokens>) -> (usize, Vec<u32>, FinishReason) {
    engine.submit(RequestId(1), request).unwrap();
    let mut told = Told::new();
    while !engine.is_idle() {
        listen(&mut told, engine);
    }
    let (cached, written, reason) = told.remove(&1).unwrap();
    (cached, written, reason.unwrap())
}

fn engine(limits: Limits) -> (Engine<Fake>, Arc<Fake>) {
    let model = Arc::new(Fake::new(4, 8, 400));
    (Engine::new(Arc::clone(&model), limits), model)
}

/// Thousands of prompts of few texts and pictures, in steps of any size, with guesses, forks, memory
/// that is short, requests that are cancelled, and pictures that are left out.
#[test]
fn however_requests_meet_each_sees_its_pictures() {
    let (mut with_all, mut reused, mut lost, mut left_out) = (0, 0, 0, 0);
    for seed in 0..if std::env::var_os("RUN_SLOW_TESTS").is_some() { 300 } else { 30 } {
        let mut rng = Rng(seed);
        let limits = Limits {
            step_tokens: *rng.pick(&[1, 3, 7, 40, 400]),
            max_running: 1 + rng.below(6),
            ladder_tokens: *rng.pick(&[0, 4, 16]),
            ..Limits::server(*rng.pick(&[30_000, 1 << 20]))
        };
        let (mut engine, model) = engine(limits);
        let mut prompts: BTreeMap<u64, (Prompt, bool, bool)> = BTreeMap::new();
        let mut told = Told::new();
        for id in 0..60 {
            let mut prompt = match rng.below(3) {
                0 if id > 0 => prompts[&(rng.below(id as usize) as u64)].0.clone(),
                _ => Prompt::default(),
            };
            while prompt.ids.is_empty() || prompt.ids.len() < 120 && rng.chance(0.7) {
                prompt = match rng.chance(0.5) {
                    // One picture may stand behind another.
                    true => prompt.picture(rng.below(4) as u128, *rng.pick(&[1, 2, 9, 24])),
                    false => {
                        let text = rng.below(3) as u32;
                        prompt.text(&vec![text; 1 + rng.below(20)])
                    }
                };
            }
            let whole = rng.chance(0.7);
            let mut request = prompt.request(8);
            if !whole {
                request.inserted.retain(|_| rng.chance(0.5));
            }
            request.n = 1 + rng.below(limits.max_running.min(2));
            request.marks = (0..3).map(|_| rng.below(prompt.ids.len())).collect();
            if rng.chance(0.5) {
                request.draft = Draft::Lookup { ngram: 1, max: 4 };
            }
            engine.submit(RequestId(id), request).unwrap();
            let cancelled = rng.chance(0.2);
            for _ in 0..rng.below(6) {
                listen(&mut told, &mut engine);
            }
            if cancelled {
                engine.cancel(RequestId(id));
            }
            prompts.insert(id, (prompt, whole, cancelled));
        }
        while !engine.is_idle() {
            listen(&mut told, &mut engine);
        }
        for (id, (prompt, whole, cancelled)) in &prompts {
            let (cached, written, reason) = &told[id];
            let want = prompt.answer(&model, 8);
            assert!(want.starts_with(written), "{seed}, {id}: {written:?}, expected {want:?}");
            let spans = prompt.inserted.iter().map(ContentRows::span);
            let within = |span: std::ops::Range<usize>| span.start < *cached && *cached < span.end;
            assert!(!spans.into_iter().any(within), "{seed}, {id}: {cached} tokens reused");
            match reason.as_ref().unwrap() {
                FinishReason::Length => {
                    assert_eq!(written.len(), 8);
                    with_all += usize::from(*whole);
                    reused += usize::from(prompt.inserted.iter().any(|c| c.first < *cached));
                    left_out += usize::from(!whole);
                }
                FinishReason::Cancelled => assert!(cancelled),
                FinishReason::Unread(tokens) => {
                    assert!(!whole && tokens.end > *cached, "{seed}, {id}: {tokens:?}");
                    lost += 1;
                }
                other => panic!("{seed}, {id}: {other:?}"),
            }
        }
        drop(engine);
        assert_eq!(model.live_bytes(), 0);
    }
    let counts = [with_all, reused, lost, left_out];
    assert!(counts.iter().all(|&count| count > 50), "{counts:?}");
}

#[test]
fn the_same_picture_is_known_and_another_is_not() {
    let (mut engine, model) = engine(Limits::server(1 << 30));
    let asked = |digest, question| {
        Prompt::default().text(&[1, 2, 3]).picture(digest, 50).text(&[4; 40]).text(&[question])
    };
    assert_eq!(ask(&mut engine, asked(1, 5).request(3)).0, 0);
    // In the middle of the text behind it, as far as the snapshots go.
    let request = Request { marks: vec![93], ..asked(1, 5).request(3) };
    let (cached, written, _) = ask(&mut engine, request);
    assert_eq!((cached, written), (93, asked(1, 5).answer(&model, 3)));
    let (cached, written, _) = ask(&mut engine, asked(1, 6).request(3));
    assert_eq!((cached, written), (93, asked(1, 6).answer(&model, 3)));
    let (cached, written, _) = ask(&mut engine, asked(2, 5).request(3));
    assert_eq!((cached, written), (0, asked(2, 5).answer(&model, 3)));
}

/// What was read of a picture when its request ended is not gone on from.
#[test]
fn half_a_picture_is_none() {
    let (mut engine, model) = engine(Limits { step_tokens: 64, ..Limits::server(1 << 30) });
    let prompt = Prompt::default().text(&[7; 40]).picture(1, 100).text(&[9]);
    engine.submit(RequestId(7), prompt.request(5)).unwrap();
    engine.step();
    engine.cancel(RequestId(7));
    while !engine.is_idle() {
        engine.step();
    }
    // There is a snapshot of 64 tokens, 24 of the picture's, which cannot be brought back to before it.
    let (cached, written, _) = ask(&mut engine, prompt.request(5));
    assert_eq!((cached, written), (0, prompt.answer(&model, 5)));
    // Whole ones are.
    let (cached, written, _) = ask(&mut engine, prompt.clone().text(&[3; 9]).request(5));
    assert_eq!(written, prompt.clone().text(&[3; 9]).answer(&model, 5));
    assert_eq!(cached, prompt.ids.len());
}

/// Whoever goes on behind a picture that was read needs no rows of it.
#[test]
fn a_known_picture_need_not_come_again() {
    let (mut engine, model) = engine(Limits::server(1 << 30));
    let prompt = Prompt::default().text(&[1]).picture(3, 60).text(&[4; 40]);
    let without = |prompt: &Prompt| Request::new(&prompt.ids[..], 5);
    let (cached, written, reason) = ask(&mut engine, without(&prompt));
    assert_eq!((cached, written, &reason), (0, vec![], &FinishReason::Unread(1..61)));
    assert_eq!(
        reason.failure().unwrap(),
        "tokens 1 to 61 of the prompt stand for a picture or a sound that has to be read again, expected it with the request"
    );
    ask(&mut engine, prompt.request(5));
    let longer = prompt.clone().text(&[8, 8, 8]);
    let (cached, written, reason) = ask(&mut engine, without(&longer));
    assert_eq!((cached, reason), (101, FinishReason::Length));
    assert_eq!(written, longer.answer(&model, 5));
}

/// Each token of the text is followed by a row, so that each guess would be one.
#[test]
fn nobody_guesses_pictures() {
    let (mut engine, model) = engine(Limits::single(1000));
    let mut prompt = Prompt::default();
    for id in 0..29 {
        prompt = prompt.text(&[id]).picture(u128::from(id), 1);
    }
    let request = Request { draft: Draft::Lookup { ngram: 1, max: 9 }, ..prompt.request(50) };
    let (_, written, reason) = ask(&mut engine, request);
    assert_eq!((written, reason), (prompt.answer(&model, 50), FinishReason::Length));
}

#[test]
fn pictures_have_no_logprobs() {
    let (mut engine, _) = engine(Limits { step_tokens: 3, ..Limits::single(3) });
    let prompt = Prompt::default().text(&[1, 2]).picture(1, 5).text(&[3]).picture(2, 1).text(&[4]);
    let request = Request { prompt_logprobs: Some(2), ..prompt.request(1) };
    engine.submit(RequestId(1), request).unwrap();
    let mut told = Vec::new();
    while !engine.is_idle() {
        for (_, event) in engine.step() {
            if let Event::Prompt { logprobs } = event {
                told.extend(logprobs.into_iter().map(|logprobs| logprobs.id));
            }
        }
    }
    assert_eq!(told, [2, 3, 4]);
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let (engine, model) = engine(Limits::server(1 << 30));
    let prompt = Prompt::default().text(&[1]).picture(1, 5).picture(2, 2).text(&[3]);
    let refused = |change: &dyn Fn(&mut Vec<ContentRows>)| {
        let mut request = prompt.request(1);
        change(&mut request.inserted);
        engine.limits().check(&*model, &request).map_err(|error| error.to_string())
    };
    assert_eq!(refused(&|_| {}), Ok(()));
    let places = "expected positions of content ids of the prompt, in ascending order";
    for (change, found) in [
        (
            &(|rows: &mut Vec<ContentRows>| rows[1].first = 7) as &dyn Fn(&mut Vec<ContentRows>),
            "7 to 9",
        ),
        (&|rows| rows[0].first = 0, "0 to 5"),
        (&|rows| rows[1].first = 5, "5 to 7"),
        (&|rows| rows[1].first = usize::MAX - 1, "18446744073709551614 to"),
        (&|rows| rows.swap(0, 1), "1 to 6"),
    ] {
        let error = refused(change).unwrap_err();
        assert!(error.starts_with("`inserted` is rows at ") && error.contains(found), "{error}");
        assert!(error.ends_with(places), "{error}");
    }
    // Rows are memory, too: of 7 with 4 bytes each, 9 tokens' pages and a state.
    let limits = |memory_bytes| Limits { pinned_bytes: 0, ..Limits::server(memory_bytes) };
    let needed = model.bytes(9).total() + 28;
    assert_eq!(limits(needed).check(&*model, &prompt.request(1)), Ok(()));
    let error = limits(needed - 1).check(&*model, &prompt.request(1)).unwrap_err();
    assert!(matches!(error, Refused::TooLarge { needed: found, .. } if found == needed), "{error}");
    let wide = |rows: &mut Vec<ContentRows>| rows[0].rows = rows[0].rows.reshape(&[1, 5]);
    let error = refused(&wide).unwrap_err();
    assert_eq!(error, "`inserted` is rows of shape [1, 5], expected [rows, 1]");
    // What is no row is a token, and those end with the vocabulary.
    let unknown = engine.limits().check(&*model, &Request::new([29], 1));
    assert_eq!(unknown, Err(Refused::UnknownToken { id: 29, vocab_size: 29 }));
    assert_eq!(model.row_width(), 1);
}
