//! What was read is found again, kept as long as it is worth it, and never given to others.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

mod support;

use engine::{
    Engine, Event, Keep, Limits, Load, Miss, Model as _, Namespace, Request, RequestId, Snapshot,
    Tier,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use support::{Fake, Tokens};
use tensor::Rng;

/// Bytes of a state: as much as 64 tokens.
const STATE: u64 = 4096;

fn engine(block: usize, limits: Limits) -> (Engine<Fake>, Arc<Fake>) {
    let model = Arc::new(Fake::new(4, block, STATE));
    (Engine::new(Arc::clone(&model), limits), model)
}

fn text(n: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng(seed);
    (0..n).map(|_| rng.below(29) as u32).collect()
}

/// Another token.
fn other(id: u32) -> u32 {
    (id + 1) % 29
}

/// Asks and waits; the tokens that were reused and why not more, and what was read and written.
fn ask(engine: &mut Engine<Fake>, request: Request<Tokens>) -> (usize, Option<Miss>, Vec<u32>) {
    let mut tokens = request.input_ids.to_vec();
    let id = RequestId(engine.stats().counts.steps + 1_000_000);
    engine.submit(id, request).unwrap();
    let mut started = None;
    for _ in 0..10_000 {
        for (_, event) in engine.step() {
            match event {
                Event::Started { cached_tokens, miss } => started = Some((cached_tokens, miss)),
                Event::Token { id, .. } => tokens.push(id),
                _ => {}
            }
        }
        if engine.is_idle() {
            let (cached, miss) = started.unwrap();
            return (cached, miss, tokens);
        }
    }
    panic!("it does not end");
}

fn reused(engine: &mut Engine<Fake>, prompt: &[u32]) -> (usize, Option<Miss>) {
    let (cached, miss, _) = ask(engine, Request::new(prompt, 1));
    (cached, miss)
}

#[test]
fn each_miss_has_its_reason() {
    let (mut engine, _) = engine(8, Limits::server(1 << 30));
    let main = text(200, 1);
    assert_eq!(reused(&mut engine, &main), (0, Some(Miss::Cold)));
    // The same again: all but the last token.
    assert_eq!(reused(&mut engine, &main), (199, None));
    // A conversation goes on behind the answer.
    let (_, _, mut longer) = ask(&mut engine, Request::new(&main[..], 9));
    let at = longer.len() - 1;
    longer.extend(text(30, 2));
    assert_eq!(reused(&mut engine, &longer), (at, Some(Miss::End { at })));
    // Others part where nobody expected it; who parts there next finds a snapshot.
    let parted = |seed| [&main[..100], &[other(main[100])][..], &text(20, seed)].concat();
    let miss = Miss::NoSnapshot { known: 100, at: 0 };
    assert_eq!(reused(&mut engine, &parted(3)), (0, Some(miss)));
    let (at, miss) = reused(&mut engine, &[&main[..100], &[28, 28, 28][..]].concat());
    assert_eq!((at, miss), (100, Some(Miss::Diverged { at: 100 })));
    // Nothing is kept, nothing is looked for.
    let request = Request { prompt_logprobs: Some(0), ..Request::new(&main[..], 1) };
    assert_eq!(ask(&mut engine, request).1, Some(Miss::Off));
    engine.forget_namespace(Namespace(0));
    assert_eq!(reused(&mut engine, &main), (0, Some(Miss::Cold)));
    let counts = engine.stats().counts;
    assert_eq!(counts.misses, [2, 1, 1, 0, 1, 1], "{:?}", Miss::REASONS);
    assert_eq!((counts.cache_queries, counts.cache_hits), (7, 4));
}

#[test]
fn what_was_let_go_of_is_told() {
    let (mut engine, _) = engine(8, Limits::server(40_000));
    let main = text(100, 1);
    reused(&mut engine, &main);
    for seed in 2..40 {
        reused(&mut engine, &text(300, seed));
    }
    let miss = Miss::Evicted { known: 100, at: 0 };
    assert_eq!(reused(&mut engine, &main), (0, Some(miss)));
    assert!(engine.stats().counts.evictions > 30);
}

#[test]
fn others_see_nothing_of_it() {
    let (mut engine, _) = engine(8, Limits::server(1 << 30));
    let main = text(100, 1);
    let of = |namespace| Request { namespace: Namespace(namespace), ..Request::new(&main[..], 5) };
    assert_eq!(ask(&mut engine, of(1)).1, Some(Miss::Cold));
    assert_eq!(ask(&mut engine, of(2)).1, Some(Miss::Cold));
    assert_eq!(ask(&mut engine, of(1)).1, None);
    engine.forget_namespace(Namespace(1));
    assert_eq!(ask(&mut engine, of(2)).1, None);
    assert_eq!(ask(&mut engine, of(1)).1, Some(Miss::Cold));
}

/// Titles, summaries and the like: a hundred short requests do not push a long conversation out.
#[test]
fn short_requests_do_not_push_out_a_long_one() {
    let main = text(1500, 1);
    let needed = 1600 * 64 + STATE;
    let (mut engine, _) = engine(8, Limits::server(needed + 8 * (STATE + 100 * 64)));
    let mut conversation = main.clone();
    for _ in 0..3 {
        conversation.extend([1, 2, 3]);
        (_, _, conversation) = ask(&mut engine, Request::new(&conversation[..], 9));
    }
    for seed in 0..100 {
        reused(&mut engine, &text(90, 100 + seed));
    }
    assert!(engine.stats().counts.evictions > 80);
    conversation.extend([1, 2, 3]);
    let (cached, miss) = reused(&mut engine, &conversation);
    assert!(cached >= 1500, "{cached}: {miss:?}");
    // Unless it is not asked for again for long: worth is only what is used.
    for seed in 0..2000 {
        reused(&mut engine, &text(90, 1000 + seed % 20));
        reused(&mut engine, &text(90, 1000 + seed % 20));
    }
    assert!(matches!(reused(&mut engine, &main).1, Some(Miss::Evicted { .. })));
}

#[test]
fn pinned_ones_stay_within_their_limit() {
    let size = STATE + 100 * 64;
    let limits = Limits { pinned_bytes: 2 * size, ..Limits::server(6 * size) };
    let (mut engine, _) = engine(8, limits);
    let pinned = |seed| Request { keep: Keep::Pinned, ..Request::new(text(100, seed), 1) };
    for seed in 1..=3 {
        ask(&mut engine, pinned(seed));
    }
    let infos = engine.snapshots();
    let of = |pinned| infos.iter().filter(|info| info.pinned == pinned).count();
    assert_eq!(of(true), 2);
    for seed in 100..150 {
        reused(&mut engine, &text(100, seed));
        assert!(engine.stats().pinned_bytes <= 2 * size);
    }
    let missed = |engine: &mut Engine<Fake>, seed| reused(engine, &text(100, seed)).1;
    assert_eq!([1, 2].map(|seed| missed(&mut engine, seed)), [None, None]);
    assert!(matches!(missed(&mut engine, 3), Some(Miss::Evicted { .. })));
    for info in engine.snapshots().iter().filter(|info| info.pinned) {
        assert!(engine.keep(info.id, Keep::Usual));
    }
    assert_eq!(engine.stats().pinned_bytes, 0);
    for seed in 200..260 {
        reused(&mut engine, &text(200, seed));
    }
    assert!(matches!(missed(&mut engine, 1), Some(Miss::Evicted { .. })));
}

/// Steps until nothing is left; the most bytes held after a step.
fn most_held(engine: &mut Engine<Fake>) -> u64 {
    let mut most = 0;
    for _ in 0..10_000 {
        if engine.is_idle() {
            return most;
        }
        engine.step();
        most = most.max(engine.stats().held_bytes);
    }
    panic!("it does not end");
}

/// The page that a snapshot shares with what goes on from it is copied only if the snapshot stays.
#[test]
fn a_snapshot_with_a_state_of_its_own_gives_way_to_promises() {
    let mut model = Fake::new(16, 8, STATE);
    model.own_states = true;
    let memory_bytes = model.bytes(21).total();
    let limits = Limits { pinned_bytes: 0, ..Limits::server(memory_bytes) };
    let mut engine = Engine::new(Arc::new(model), limits);
    // The prompt's end would be kept, amid a page, while there is one more token to read.
    engine.submit(RequestId(1), Request::new(text(20, 1), 2)).unwrap();
    assert_eq!(most_held(&mut engine), memory_bytes);
}

/// A prompt that waits for its turn shares its last page and state with a snapshot; those of another
/// one that is read meanwhile give way all the same.
#[test]
fn a_snapshot_of_a_prompt_that_waits_gives_way_to_promises() {
    let model = Arc::new(Fake::new(16, 8, STATE));
    let memory_bytes = 2 * model.bytes(72).total();
    let limits = Limits { pinned_bytes: 0, step_tokens: 34, ..Limits::server(memory_bytes) };
    let mut engine = Engine::new(model, limits);
    for (client, prompt) in [(1, 70), (2, 72)] {
        let request =
            Request { client, marks: vec![34, 68], ..Request::new(text(prompt, client), 1) };
        engine.submit(RequestId(client), request).unwrap();
    }
    // They take turns, so each waits at a mark while the other one is read from mark to mark.
    assert_eq!(most_held(&mut engine), memory_bytes);
}

/// Of answers that share a page, one goes on in it: a snapshot that fits beside that, to the byte, stays.
#[test]
fn nothing_gives_way_to_more_than_is_promised() {
    for (own_states, n) in [(false, 2), (true, 2), (false, 5), (true, 5)] {
        let mut model = Fake::new(16, 8, STATE);
        model.own_states = own_states;
        let snapshot = model.bytes(20).total();
        let answers = model.bytes(29).total() + (n as u64 - 1) * model.fork_bytes(20);
        let memory_bytes = snapshot + answers;
        let limits = Limits { pinned_bytes: 0, ..Limits::server(memory_bytes) };
        let mut engine = Engine::new(Arc::new(model), limits);
        reused(&mut engine, &text(20, 1));
        assert_eq!(engine.stats().held_bytes, snapshot);
        let request = Request { n, keep: Keep::No, ..Request::new(text(20, 2), 10) };
        engine.submit(RequestId(1), request).unwrap();
        assert_eq!(most_held(&mut engine), memory_bytes);
        assert_eq!(engine.stats().counts.evictions, 0, "{n} answers");
    }
}

/// Few snapshots of a long prompt, near its end closer together.
#[test]
fn a_ladder_is_thinned_with_the_distance() {
    let limits = Limits { ladder_tokens: 16, step_tokens: 100, ..Limits::server(1 << 30) };
    for rungs in [1, 5, 64, 200] {
        let n = rungs * 16 + 5;
        let main = text(n, 1);
        for common in (1..n).step_by(37) {
            let (mut engine, _) = engine(8, limits);
            reused(&mut engine, &main);
            let snapshots = engine.stats().snapshots;
            assert!(snapshots <= 2 * (rungs.ilog2() as usize + 2), "{snapshots} of {rungs} rungs");
            let prompt = [&main[..common], &[other(main[common])][..]].concat();
            let (cached, _) = reused(&mut engine, &prompt);
            // Not much further back than the change is from the end.
            let back = common - cached;
            assert!(back <= 2 * (n - common) + 32, "{back} tokens before {common} of {n}");
        }
    }
}

#[test]
fn marks_are_where_others_part() {
    let (mut engine, _) = engine(8, Limits::server(1 << 30));
    let main = text(400, 1);
    let marks: Vec<usize> = (0..9).map(|i| 41 * i).collect();
    ask(&mut engine, Request { marks, ..Request::new(&main[..], 1) });
    // The first and the last three.
    let at = |common: usize| [&main[..common], &[other(main[common])][..]].concat();
    assert_eq!(reused(&mut engine, &at(330)).0, 328);
    assert_eq!(reused(&mut engine, &at(290)).0, 287);
}

/// A session: its end is given away, let go of here, and comes back.
#[test]
fn what_was_given_away_is_gone_on_from() {
    let (mut engine, model) = engine(8, Limits::server(1 << 30));
    let main = text(100, 1);
    let request = Request { give_ends: true, keep: Keep::No, ..Request::new(&main[..], 20) };
    engine.submit(RequestId(1), request).unwrap();
    let mut ends = Vec::new();
    while !engine.is_idle() {
        for (_, event) in engine.step() {
            if let Event::Done { snapshots, .. } = event {
                ends = snapshots;
            }
        }
    }
    assert_eq!(engine.stats().held_bytes, 0);
    let (0, Snapshot { tokens, memory }) = ends.remove(0) else { panic!() };
    assert_eq!(tokens.len(), 119);
    let more = [&tokens[..], &[1, 2, 3]].concat();
    let from = Some(Snapshot { tokens, memory });
    let (cached, miss, _) = ask(&mut engine, Request { from, ..Request::new(&more[..], 5) });
    assert_eq!((cached, miss), (119, Some(Miss::End { at: 119 })));
    // Where it does not agree, it is brought back, or not used.
    let snapshot = |engine: &mut Engine<Fake>, tokens: &[u32]| {
        let id = engine.snapshots().iter().find(|info| info.tokens == tokens.len()).unwrap().id;
        let snapshot = engine.snapshot(id).unwrap();
        assert_eq!(*snapshot.tokens, *tokens);
        engine.forget_namespace(Namespace(0));
        snapshot
    };
    let from = Some(snapshot(&mut engine, &more[..119]));
    let other = [&more[..115], &[1, 1, 1]].concat();
    assert_eq!(ask(&mut engine, Request { from, ..Request::new(other, 5) }).0, 115);
    engine.forget_namespace(Namespace(0));
    assert_eq!(model.live_bytes(), 0);
}

/// Files that take a while.
#[derive(Debug, Default)]
struct Slow {
    kept: Arc<Mutex<HashMap<Vec<u32>, Snapshot<Tokens>>>>,
    asked: Arc<AtomicUsize>,
    broken: bool,
}

impl Tier<Tokens> for Slow {
    fn put(&mut self, _: Namespace, snapshot: Snapshot<Tokens>) {
        self.kept.lock().unwrap().insert(snapshot.tokens.to_vec(), snapshot);
    }

    fn find(&mut self, _: Namespace, tokens: &[u32]) -> usize {
        let kept = self.kept.lock().unwrap();
        kept.keys().filter(|key| tokens.starts_with(key)).map(Vec::len).max().unwrap_or(0)
    }

    fn load(&mut self, _: Namespace, tokens: &[u32]) -> Load<Tokens> {
        match self.asked.fetch_add(1, Ordering::SeqCst) {
            0..20 => Load::Pending,
            _ if self.broken => Load::Failed,
            _ => Load::Ready(self.kept.lock().unwrap().remove(tokens).unwrap()),
        }
    }
}

#[test]
fn what_was_let_go_of_comes_back_from_the_second_tier() {
    for broken in [false, true] {
        let (mut engine, model) = engine(8, Limits::server(40_000));
        let tier = Slow { broken, ..Slow::default() };
        let (kept, asked) = (Arc::clone(&tier.kept), Arc::clone(&tier.asked));
        engine.set_tier(Box::new(tier));
        let (_, _, mut main) = ask(&mut engine, Request::new(text(100, 1), 5));
        for seed in 2..40 {
            reused(&mut engine, &text(300, seed));
        }
        assert!(kept.lock().unwrap().len() > 30);
        main.extend([1, 2, 3]);
        // Another one is answered while it is loaded.
        engine.submit(RequestId(1), Request::new(&main[..], 5)).unwrap();
        engine.submit(RequestId(2), Request::new([7; 10], 5)).unwrap();
        let mut order = Vec::new();
        let mut cached = None;
        while !engine.is_idle() {
            for (id, event) in engine.step() {
                match event {
                    Event::Done { .. } => order.push(id.0),
                    Event::Started { cached_tokens, .. } if id.0 == 1 => {
                        cached = Some(cached_tokens);
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(order, [2, 1]);
        assert_eq!(asked.load(Ordering::SeqCst), 21);
        assert_eq!(cached, Some(if broken { 0 } else { 104 }));
        engine.forget_namespace(Namespace(0));
        kept.lock().unwrap().clear();
        drop(engine);
        assert_eq!(model.live_bytes(), 0);
    }
}

/// All that is in memory is worth more than what comes back: that is used before it gives way again.
#[test]
fn what_comes_back_is_used_even_if_it_is_worth_least() {
    let (mut engine, _) = engine(8, Limits::server(40_000));
    let tier = Slow::default();
    let kept = Arc::clone(&tier.kept);
    engine.set_tier(Box::new(tier));
    let (_, _, main) = ask(&mut engine, Request::new(text(100, 1), 5));
    for seed in 2..40 {
        reused(&mut engine, &text(300, seed));
    }
    assert!(kept.lock().unwrap().contains_key(&main[..104]));
    // What fills the room is gone on from again and again.
    for seed in 100..120 {
        let prompt = text(40, seed);
        for more in 0..8 {
            reused(&mut engine, &[&prompt[..], &[more; 3]].concat());
        }
    }
    let before = engine.stats().counts.evictions;
    let (cached, miss, _) = ask(&mut engine, Request::new([&main[..104], &[1, 2, 3]].concat(), 5));
    assert_eq!((cached, miss), (104, Some(Miss::End { at: 104 })));
    assert!(engine.stats().counts.evictions > before, "there was room all along");
}

/// One that waits to be loaded and is not wanted any more leaves nothing.
#[test]
fn loading_can_be_cancelled() {
    let (mut engine, _) = engine(8, Limits::server(40_000));
    engine.set_tier(Box::new(Slow::default()));
    let (_, _, main) = ask(&mut engine, Request::new(text(100, 1), 5));
    for seed in 2..40 {
        reused(&mut engine, &text(300, seed));
    }
    engine.submit(RequestId(1), Request::new([&main[..], &[1]].concat(), 5)).unwrap();
    assert!(engine.step().is_empty());
    engine.cancel(RequestId(1));
    engine.step();
    assert!(engine.is_idle());
}
