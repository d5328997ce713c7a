//! Thousands of random requests: whatever arrives, is cancelled, forked, let go of or broken, every
//! answer is what it is alone, every byte is counted, and nothing is left behind.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

mod support;

use engine::{
    Draft, Engine, Event, FinishReason, Keep, Limits, Load, Memory as _, Miss, Namespace, Refused,
    Request, RequestId, Sampling, Snapshot, Stats, Tier,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{Fake, Tokens};
use tensor::Rng;

/// What a request asks, to be asked again alone.
#[derive(Clone, Debug)]
struct Asked {
    embed: bool,
    input_ids: Vec<u32>,
    sampling: Sampling,
    seed: u64,
    n: usize,
    max_tokens: usize,
    stop_ids: Vec<u32>,
}

impl Asked {
    fn request(&self) -> Request<Tokens> {
        Request {
            embed: self.embed,
            sampling: self.sampling.clone(),
            seed: self.seed,
            n: self.n,
            stop_ids: self.stop_ids.clone(),
            ..Request::new(&self.input_ids[..], self.max_tokens)
        }
    }
}

/// What was told of a request.
#[derive(Debug, Default)]
struct Told {
    started: bool,
    read: usize,
    answers: Vec<Vec<u32>>,
    reasons: Vec<Option<FinishReason>>,
    embedding: Option<Vec<f32>>,
    done: bool,
}

/// A disk: texts, whose memories are made anew, late or not at all.
struct Disk {
    rng: Rng,
    model: Arc<Fake>,
    texts: Vec<(Namespace, Vec<u32>)>,
    loads: Arc<AtomicU64>,
}

impl Tier<Tokens> for Disk {
    fn put(&mut self, namespace: Namespace, snapshot: Snapshot<Tokens>) {
        assert_eq!(*snapshot.tokens, *snapshot.memory.list());
        self.texts.push((namespace, snapshot.tokens.to_vec()));
        if self.texts.len() > 40 {
            let i = self.rng.below(40);
            self.texts.swap_remove(i);
        }
    }

    fn find(&mut self, namespace: Namespace, tokens: &[u32]) -> usize {
        let own = self.texts.iter().filter(|(owner, _)| *owner == namespace);
        let along = own.filter(|(_, text)| tokens.starts_with(text));
        along.map(|(_, text)| text.len()).max().unwrap_or(0)
    }

    fn load(&mut self, namespace: Namespace, tokens: &[u32]) -> Load<Tokens> {
        let found = self.texts.iter().any(|(owner, text)| *owner == namespace && text == tokens);
        match self.rng.below(10) {
            0..4 => Load::Pending,
            4 => Load::Failed,
            _ if !found => Load::Failed,
            _ => {
                self.loads.fetch_add(1, Ordering::SeqCst);
                Load::Ready(Snapshot { tokens: tokens.into(), memory: self.model.memory(tokens) })
            }
        }
    }
}

struct Simulation {
    rng: Rng,
    model: Arc<Fake>,
    alone: Arc<Fake>,
    engine: Engine<Fake>,
    limits: Limits,
    asked: BTreeMap<RequestId, Asked>,
    told: BTreeMap<RequestId, Told>,
    cancelled: Vec<RequestId>,
    /// Prompts and answers so far, to go on from.
    texts: Vec<Vec<u32>>,
    kept: Vec<Snapshot<Tokens>>,
    next: u64,
    faults: u64,
    hits: u64,
    loads: Arc<AtomicU64>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::stream(77, seed);
        let page = [1, 3, 4, 16][rng.below(4)];
        let block = [1, 4, 8, 32][rng.below(4)];
        let state_bytes = [0, 100, 5000][rng.below(3)];
        let new = || {
            let mut model = Fake::new(page, block, state_bytes);
            model.context = 300;
            model.own_states = seed.is_multiple_of(4);
            Arc::new(model)
        };
        let memory_bytes = [20_000, 60_000, 200_000, 1 << 30][rng.below(4)];
        let limits = Limits {
            memory_bytes,
            snapshot_bytes: [0, memory_bytes / 3, memory_bytes][rng.below(3)],
            pinned_bytes: [0, memory_bytes / 4][rng.below(2)],
            step_tokens: [1, 7, 40, 200][rng.below(4)],
            max_running: [1, 3, 8, 64][rng.below(4)],
            max_waiting: [2, 10, 100][rng.below(3)],
            ladder_tokens: [0, 16, 64][rng.below(3)],
        };
        let (model, loads) = (new(), Arc::<AtomicU64>::default());
        let mut engine = Engine::new(Arc::clone(&model), limits);
        if rng.chance(0.9) {
            let (model, loads) = (Arc::clone(&model), Arc::clone(&loads));
            let rng = Rng(rng.next_u64());
            engine.set_tier(Box::new(Disk { rng, model, texts: Vec::new(), loads }));
        }
        Self {
            rng,
            alone: new(),
            engine,
            loads,
            model,
            limits,
            asked: BTreeMap::new(),
            told: BTreeMap::new(),
            cancelled: Vec::new(),
            texts: vec![Vec::new()],
            kept: Vec::new(),
            next: 0,
            faults: 0,
            hits: 0,
        }
    }

    /// A prompt: something new, or the beginning of something known and more.
    fn prompt(&mut self) -> Vec<u32> {
        let text = self.rng.pick(&self.texts).clone();
        let keep = if self.rng.chance(0.5) { text.len() } else { self.rng.below(text.len() + 1) };
        let mut prompt = text[..keep.min(180)].to_vec();
        let more = if self.rng.chance(0.3) { self.rng.below(2) } else { self.rng.below(60) };
        let ids = [3, 29][self.rng.below(2)];
        prompt.extend((0..more).map(|_| self.rng.below(ids) as u32));
        if prompt.is_empty() {
            prompt.push(0);
        }
        prompt
    }

    fn submit(&mut self) {
        let input_ids = self.prompt();
        let rng = &mut self.rng;
        let sampling = Sampling {
            temperature: [0.0, 0.5, 1.5][rng.below(3)],
            top_k: [0, 5][rng.below(2)],
            repetition_penalty: [1.0, 1.3][rng.below(2)],
            frequency_penalty: [0.0, 0.4][rng.below(2)],
            ..Sampling::GREEDY
        };
        let embed = rng.chance(0.05);
        let asked = Asked {
            embed,
            sampling,
            seed: rng.next_u64(),
            n: if rng.chance(0.2) && !embed { 1 + rng.below(4) } else { 1 },
            max_tokens: if embed { 0 } else { rng.below(60) },
            stop_ids: if rng.chance(0.5) { vec![rng.below(29) as u32] } else { vec![] },
            input_ids,
        };
        let from = (!self.kept.is_empty() && rng.chance(0.1))
            .then(|| self.kept.swap_remove(rng.below(self.kept.len())));
        let request = Request {
            namespace: Namespace(rng.below(2) as u64),
            client: rng.below(3) as u64,
            keep: [Keep::Usual, Keep::Usual, Keep::No, Keep::Pinned][rng.below(4)],
            marks: (0..rng.below(3)).map(|_| rng.below(200)).collect(),
            draft: if rng.chance(0.4) {
                Draft::Lookup { ngram: 1 + rng.below(3), max: rng.below(10) }
            } else {
                Draft::Off
            },
            prompt_logprobs: (rng.chance(0.05) && !embed).then_some(1),
            give_ends: rng.chance(0.2),
            from,
            ..asked.request()
        };
        let id = RequestId(self.next);
        self.next += 1;
        match self.engine.submit(id, request) {
            Ok(()) => {
                let told = Told {
                    answers: vec![Vec::new(); asked.n],
                    reasons: vec![None; asked.n],
                    ..Told::default()
                };
                self.told.insert(id, told);
                self.asked.insert(id, asked);
            }
            Err(Refused::Full { waiting }) => assert_eq!(waiting, self.limits.max_waiting),
            Err(Refused::TooLarge { needed, memory, .. }) => assert!(needed > memory),
            Err(Refused::Invalid { field: "n", .. }) => assert!(asked.n > self.limits.max_running),
            Err(other) => panic!("{other}"),
        }
    }

    fn cancel(&mut self) {
        let open: Vec<RequestId> =
            self.told.iter().filter(|(_, told)| !told.done).map(|(id, _)| *id).collect();
        if !open.is_empty() {
            let id = *self.rng.pick(&open);
            self.engine.cancel(id);
            self.cancelled.push(id);
        }
    }

    fn snapshots(&mut self) {
        let infos = self.engine.snapshots();
        if infos.is_empty() {
            return;
        }
        let info = *self.rng.pick(&infos);
        match self.rng.below(5) {
            0 => assert!(self.engine.keep(info.id, Keep::No)),
            1 => drop(self.engine.keep(info.id, Keep::Usual)),
            2 => drop(self.engine.keep(info.id, Keep::Pinned)),
            3 => {
                let snapshot = self.engine.snapshot(info.id).unwrap();
                assert_eq!(*snapshot.tokens, *snapshot.memory.list());
            }
            _ if self.rng.chance(0.1) => self.engine.forget_namespace(info.namespace),
            _ => {}
        }
    }

    fn step(&mut self) {
        if self.rng.chance(0.01) {
            self.model.fault_in.store(1, Ordering::SeqCst);
        }
        let before = self.engine.stats().counts;
        let events = self.engine.step();
        let after = self.engine.stats();
        self.faults += after.counts.faults - before.faults;
        let guesses = after.counts.tokens_read - before.tokens_read;
        let most = self.limits.step_tokens.max(after.answers + 64) + self.limits.max_running;
        assert!(guesses as usize <= most, "{guesses} tokens in a step");
        for (id, event) in events {
            self.note(id, event);
        }
        self.kept.clear();
        self.check(&after);
    }

    /// Takes note of an event, and that it may come now.
    fn note(&mut self, id: RequestId, event: Event<Tokens>) {
        let (asked, told) = (&self.asked[&id], self.told.get_mut(&id).unwrap());
        assert!(!told.done, "{event:?} after the end");
        match event {
            Event::Started { cached_tokens, miss } => {
                assert!(!told.started && cached_tokens < asked.input_ids.len());
                let all_but_one = cached_tokens + 1 == asked.input_ids.len();
                assert!(miss == Some(Miss::Off) || miss.is_none() == all_but_one);
                self.hits += u64::from(cached_tokens > 0);
                told.started = true;
                told.read = cached_tokens;
            }
            Event::Read { tokens } => {
                assert!(told.started && tokens > told.read && tokens <= asked.input_ids.len());
                assert!(!self.cancelled.contains(&id), "it was read after the end");
                told.read = tokens;
            }
            Event::Prompt { .. } => {}
            Event::Embedding { values } => {
                assert!(asked.embed && told.embedding.is_none());
                assert_eq!(told.read, asked.input_ids.len());
                told.embedding = Some(values);
            }
            Event::Token { choice, id: token, .. } => {
                assert_eq!(told.read, asked.input_ids.len());
                assert!(!self.cancelled.contains(&id), "it was written after the end");
                assert_eq!(told.reasons[choice], None);
                told.answers[choice].push(token);
            }
            Event::Finished { choice, reason } => {
                assert_eq!(told.reasons[choice], None);
                told.reasons[choice] = Some(reason);
            }
            Event::Done { snapshots, .. } => {
                assert!(told.reasons.iter().all(Option::is_some));
                told.done = true;
                for (choice, snapshot) in snapshots {
                    let mut tokens = asked.input_ids.clone();
                    tokens.extend(&told.answers[choice]);
                    assert_eq!(*snapshot.tokens, *snapshot.memory.list());
                    assert!(tokens.starts_with(&snapshot.tokens));
                    assert!(snapshot.tokens.len() + 1 >= tokens.len());
                    assert_eq!(snapshot.memory.tokens(), snapshot.tokens.len());
                }
                let mut text = asked.input_ids.clone();
                text.extend(&told.answers[0]);
                self.texts.push(text);
                if self.texts.len() > 12 {
                    let i = 1 + self.rng.below(11);
                    self.texts.swap_remove(i);
                }
            }
        }
    }

    /// What must hold after each step.
    fn check(&self, stats: &Stats) {
        let Limits { memory_bytes, snapshot_bytes, pinned_bytes, max_running, .. } = self.limits;
        assert_eq!(stats.held_bytes, self.model.live_bytes(), "counted and held");
        assert!(stats.held_bytes <= memory_bytes, "{stats:?} of {memory_bytes} bytes");
        assert!(stats.snapshot_bytes <= snapshot_bytes.max(stats.pinned_bytes));
        assert!(stats.pinned_bytes <= pinned_bytes);
        assert!(stats.answers <= max_running);
        assert_eq!(stats.held_bytes, stats.running_bytes + stats.snapshot_bytes);
        assert_eq!(stats.running == 0, stats.answers == 0);
        let open = self.told.values().filter(|told| !told.done).count();
        assert_eq!(open, stats.running + stats.waiting, "nobody is lost");
    }

    /// Each answer is what it is alone, or a beginning of that.
    fn compare(&self) {
        for (id, told) in &self.told {
            let asked = &self.asked[id];
            let mut engine = Engine::new(
                Arc::clone(&self.alone),
                Limits { max_running: asked.n, ..Limits::single(1000) },
            );
            engine.submit(*id, asked.request()).unwrap();
            let mut alone = vec![(Vec::new(), None); asked.n];
            let mut embedding = None;
            while !engine.is_idle() {
                for (_, event) in engine.step() {
                    match event {
                        Event::Token { choice, id, .. } => alone[choice].0.push(id),
                        Event::Finished { choice, reason } => alone[choice].1 = Some(reason),
                        Event::Embedding { values } => embedding = Some(values),
                        _ => {}
                    }
                }
            }
            match &told.reasons[0] {
                Some(FinishReason::Length) => assert_eq!(told.embedding, embedding, "{asked:?}"),
                _ => assert!(told.embedding.is_none(), "{asked:?}"),
            }
            for (choice, (tokens, reason)) in alone.into_iter().enumerate() {
                match told.reasons[choice].as_ref().unwrap() {
                    FinishReason::Cancelled => {
                        assert!(self.cancelled.contains(id));
                        assert!(tokens.starts_with(&told.answers[choice]), "{asked:?}");
                    }
                    FinishReason::Failed(why) => {
                        assert!(self.faults > 0 && why.contains("injected"), "{why}");
                        assert!(tokens.starts_with(&told.answers[choice]), "{asked:?}");
                    }
                    _ => {
                        assert_eq!(tokens, told.answers[choice], "{asked:?}");
                        assert_eq!(reason, told.reasons[choice]);
                    }
                }
            }
        }
    }

    fn run(&mut self, steps: usize) {
        let busy = self.rng.unit();
        for _ in 0..steps {
            while self.rng.chance(0.5 * busy) {
                self.submit();
            }
            if self.rng.chance(0.05) {
                self.cancel();
            }
            if self.rng.chance(0.1) {
                self.snapshots();
            }
            if self.rng.chance(0.1) {
                let infos = self.engine.snapshots();
                if !infos.is_empty() {
                    let id = self.rng.pick(&infos).id;
                    self.kept.extend(self.engine.snapshot(id));
                    self.submit();
                }
                self.kept.clear();
            }
            self.step();
        }
        let mut left = 0;
        while !self.engine.is_idle() {
            self.step();
            left += 1;
            assert!(left < 100_000, "it does not end: {:?}", self.engine);
        }
        self.compare();
        let stats = self.engine.stats();
        assert_eq!((stats.running_bytes, stats.running, stats.waiting), (0, 0, 0));
        for namespace in 0..2 {
            self.engine.forget_namespace(Namespace(namespace));
        }
        assert_eq!((self.model.live_bytes(), self.engine.stats().held_bytes), (0, 0));
        assert_eq!(self.engine.stats().snapshots, 0);
    }
}

#[test]
fn whatever_comes_each_is_answered_as_alone() {
    let runs = if std::env::var_os("RUN_SLOW_TESTS").is_some() { 2000 } else { 60 };
    let first = std::env::var("FIRST_RUN").ok().map_or(0, |first| first.parse().unwrap());
    let mut sums = [0; 7];
    for seed in first..first + runs {
        let result = std::panic::catch_unwind(|| {
            let mut simulation = Simulation::new(seed);
            simulation.run(150);
            let Simulation { engine, faults, hits, cancelled, asked, loads, .. } = simulation;
            let counts = engine.stats().counts;
            let evictions = counts.evictions;
            let (asked, cancelled) = (asked.len() as u64, cancelled.len() as u64);
            let loads = loads.load(Ordering::SeqCst);
            [asked, hits, cancelled, faults, evictions, counts.accepted, loads]
        });
        let counts = result.unwrap_or_else(|_| panic!("run {seed} failed"));
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    // It is worth nothing if nothing happened.
    assert!(sums.iter().all(|&sum| sum >= runs / 4), "{sums:?}");
}
