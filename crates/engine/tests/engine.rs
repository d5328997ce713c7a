//! What an engine does for a request or two.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

mod support;

use engine::{
    Draft, Engine, Event, FinishReason, Keep, Limits, Refused, Request, RequestId, Sampling,
    TokenMask, Usage, argmax,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use support::{Fake, Tokens};

type Events = Vec<Event<Tokens>>;

fn limits() -> Limits {
    Limits { snapshot_bytes: 0, ..Limits::server(1 << 30) }
}

/// Steps until nothing is left.
fn run(engine: &mut Engine<Fake>) -> Vec<(RequestId, Event<Tokens>)> {
    let mut events = Vec::new();
    for _ in 0..10_000 {
        if engine.is_idle() {
            return events;
        }
        events.extend(engine.step());
    }
    panic!("it does not end: {engine:?}");
}

fn alone(model: &Arc<Fake>, limits: Limits, request: Request<Tokens>) -> Events {
    let mut engine = Engine::new(Arc::clone(model), limits);
    engine.submit(RequestId(1), request).unwrap();
    run(&mut engine).into_iter().map(|(_, event)| event).collect()
}

fn written(events: &[Event<Tokens>], choice: usize) -> Vec<u32> {
    let token = |event: &Event<Tokens>| match event {
        Event::Token { choice: c, id, .. } if *c == choice => Some(*id),
        _ => None,
    };
    events.iter().filter_map(token).collect()
}

fn reasons(events: &[Event<Tokens>]) -> Vec<(usize, FinishReason)> {
    let reason = |event: &Event<Tokens>| match event {
        Event::Finished { choice, reason } => Some((*choice, reason.clone())),
        _ => None,
    };
    let mut reasons: Vec<_> = events.iter().filter_map(reason).collect();
    reasons.sort_by_key(|(choice, _)| *choice);
    reasons
}

fn usage(events: &[Event<Tokens>]) -> Usage {
    let Some(Event::Done { usage, .. }) = events.last() else { panic!("not done: {events:?}") };
    *usage
}

/// The definition: read everything, take the best, append.
fn greedy(model: &Fake, prompt: &[u32], n: usize) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for _ in 0..n {
        tokens.push(argmax(&model.logits(&tokens)));
    }
    tokens.split_off(prompt.len())
}

#[test]
fn an_answer_is_what_the_model_says() {
    let model = Arc::new(Fake::new(4, 8, 100));
    let prompt: Vec<u32> = (0..23).collect();
    let want = greedy(&model, &prompt, 12);
    for step_tokens in [1, 5, 16, 100] {
        let limits = Limits { step_tokens, ..limits() };
        let request = Request { give_ends: true, ..Request::new(&prompt[..], 12) };
        let events = alone(&model, limits, request);
        assert_eq!(written(&events, 0), want, "{step_tokens} tokens a step");
        assert_eq!(reasons(&events), [(0, FinishReason::Length)]);
        assert!(matches!(events[0], Event::Started { cached_tokens: 0, .. }));
        let Usage { prompt_tokens, completion_tokens, .. } = usage(&events);
        assert_eq!((prompt_tokens, completion_tokens), (23, 12));
        let read = events.iter().filter_map(|event| match event {
            Event::Read { tokens } => Some(*tokens),
            _ => None,
        });
        let want: Vec<usize> =
            (1..=23usize.div_ceil(step_tokens)).map(|step| 23.min(step * step_tokens)).collect();
        assert_eq!(read.collect::<Vec<_>>(), want);
        let Some(Event::Done { snapshots, .. }) = events.last() else { panic!() };
        let [(0, end)] = &snapshots[..] else { panic!("{snapshots:?}") };
        // The last token was written without being read.
        assert_eq!(end.tokens.len(), 23 + 12 - 1);
        assert_eq!(*end.tokens, *end.memory.list());
    }
    assert_eq!(model.live_bytes(), 0);
}

#[test]
fn stop_tokens_end_an_answer_and_are_no_part_of_it() {
    let model = Arc::new(Fake::new(4, 8, 100));
    let prompt = [1, 2, 3];
    let want = greedy(&model, &prompt, 9);
    let stop = want[5];
    let before = want.iter().position(|&id| id == stop).unwrap();
    let request = Request { stop_ids: vec![stop], ..Request::new(prompt, 9) };
    let events = alone(&model, limits(), request);
    assert_eq!(written(&events, 0), want[..before]);
    assert_eq!(reasons(&events), [(0, FinishReason::Stop)]);
}

#[test]
fn answers_differ_by_their_number_and_read_the_prompt_once() {
    let model = Arc::new(Fake::new(4, 8, 100));
    let sampling = Sampling { temperature: 1.0, ..Sampling::GREEDY };
    let prompt: Vec<u32> = (0..27).collect();
    let one = |n, choice| {
        let request = Request { n, sampling: sampling.clone(), ..Request::new(&prompt[..], 15) };
        let before = model.tokens_read.load(Ordering::SeqCst);
        let events = alone(&model, limits(), request);
        let read = model.tokens_read.load(Ordering::SeqCst) - before;
        assert_eq!(read, 27 + n as u64 * 14);
        written(&events, choice)
    };
    let [first, third] = [one(1, 0), one(4, 2)];
    assert_eq!(first.len(), 15);
    assert_ne!(first, third);
    assert_eq!(one(5, 0), first);
    assert_eq!(one(3, 2), third);
    assert_eq!(model.live_bytes(), 0);
}

#[test]
fn a_prompt_may_be_all() {
    let model = Arc::new(Fake::new(4, 8, 100));
    let events = alone(&model, limits(), Request { n: 2, ..Request::new([1, 2, 3], 0) });
    assert_eq!(reasons(&events), [(0, FinishReason::Length), (1, FinishReason::Length)]);
    assert_eq!(usage(&events).completion_tokens, 0);
}

#[test]
fn prompts_tell_how_likely_they_were() {
    let model = Arc::new(Fake::new(4, 8, 100));
    let prompt: Vec<u32> = (3..20).collect();
    for step_tokens in [1, 4, 100] {
        for max_tokens in [0, 2] {
            let request = Request {
                prompt_logprobs: Some(3),
                logprobs: Some(0),
                ..Request::new(&prompt[..], max_tokens)
            };
            let events = alone(&model, Limits { step_tokens, ..limits() }, request);
            let mut all = Vec::new();
            for event in &events {
                match event {
                    Event::Prompt { logprobs } => all.extend(logprobs.clone()),
                    Event::Token { logprobs, .. } => all.extend(logprobs.clone()),
                    _ => {}
                }
            }
            let tokens = [&prompt[..], &written(&events, 0)].concat();
            assert_eq!(all.len(), tokens.len() - 1);
            for (i, told) in all.iter().enumerate() {
                let logits = model.logits(&tokens[..=i]);
                let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
                let id = tokens[i + 1];
                assert_eq!(told.id, id);
                let want = f64::from(logits[id as usize]) - sum.ln();
                assert!((f64::from(told.logprob) - want).abs() < 1e-5);
                assert_eq!(told.top.len(), if i + 1 < prompt.len() { 3 } else { 0 });
                assert!(told.top.first().is_none_or(|top| top.0 == argmax(&logits)));
            }
        }
    }
}

#[test]
fn a_prompt_is_embedded_beside_others() {
    let model = Arc::new(Fake::new(4, 8, 100));
    let prompt: Vec<u32> = (3..20).collect();
    let states: Vec<_> = (1..=prompt.len()).map(|n| Fake::state(&prompt[..n])).collect();
    let mean = |i: usize| {
        let sum: f64 = states.iter().map(|state| f64::from(state[i])).sum();
        (sum / states.len() as f64) as f32
    };
    for step_tokens in [1, 4, 100] {
        let snapshot_bytes = 1 << 20;
        let limits = Limits { step_tokens, snapshot_bytes, ..limits() };
        let mut engine = Engine::new(Arc::clone(&model), limits);
        // One that leaves snapshots of the same text, which must not be gone on from.
        engine.submit(RequestId(0), Request::new(&prompt[..], 1)).unwrap();
        run(&mut engine);
        let embed = || Request { embed: true, ..Request::new(&prompt[..], 0) };
        let all = Request { prompt_logprobs: Some(0), ..Request::new(&prompt[..], 3) };
        for (id, request) in [(1, embed()), (2, Request::new([5, 6], 9)), (3, embed()), (4, all)] {
            engine.submit(RequestId(id), request).unwrap();
        }
        let events = run(&mut engine);
        let of = |id: u64| {
            let of = events.iter().filter(move |(of, _)| *of == RequestId(id));
            of.map(|(_, event)| event.clone()).collect::<Events>()
        };
        for id in [1, 3] {
            let events = of(id);
            let embedded: Vec<_> = events
                .iter()
                .filter_map(|event| match event {
                    Event::Embedding { values } => Some(values.clone()),
                    _ => None,
                })
                .collect();
            assert_eq!(embedded, [vec![mean(0), mean(1), mean(2)]], "{step_tokens} in a step");
            assert_eq!(reasons(&events), [(0, FinishReason::Length)]);
            assert_eq!(usage(&events).cached_tokens, 0);
        }
        assert_eq!(written(&of(2), 0), written(&alone(&model, limits, Request::new([5, 6], 9)), 0));
        assert_eq!(usage(&of(4)).completion_tokens, 3);
    }
}

#[test]
fn guesses_change_nothing_but_the_number_of_steps() {
    let model = Arc::new(Fake::new(4, 32, 100));
    let prompt: Vec<u32> = (0..40).map(|i| i % 7).collect();
    for sampling in [Sampling::GREEDY, Sampling { temperature: 0.3, ..Sampling::GREEDY }] {
        let ask = |draft| {
            let sampling = sampling.clone();
            let request = Request { n: 2, sampling, draft, ..Request::new(&prompt[..], 100) };
            let mut engine = Engine::new(Arc::clone(&model), limits());
            engine.submit(RequestId(1), request).unwrap();
            let events: Events = run(&mut engine).into_iter().map(|(_, event)| event).collect();
            (events, engine.stats().counts.steps)
        };
        let (plain, plain_steps) = ask(Draft::Off);
        for max in [1, 3, 50] {
            let (events, steps) = ask(Draft::Lookup { ngram: 2, max });
            for choice in 0..2 {
                assert_eq!(written(&events, choice), written(&plain, choice));
            }
            let Usage { drafted, accepted, .. } = usage(&events);
            assert!(steps < plain_steps && accepted > 20 && accepted < drafted, "{steps} steps");
        }
    }
    assert_eq!(model.live_bytes(), 0);
}

/// May write so many tokens, all of them even.
#[derive(Clone, Debug)]
struct Even(usize);

impl TokenMask for Even {
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        assert_eq!(logits.len(), 29, "the padding is no token");
        logits.iter_mut().skip(1).step_by(2).for_each(|x| *x = f32::NEG_INFINITY);
        Ok(())
    }

    fn push(&mut self, id: u32) -> Result<(), String> {
        assert!(id.is_multiple_of(2));
        self.0 = self.0.checked_sub(1).ok_or("too many")?;
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.0 == 0
    }

    fn fork(&self) -> Box<dyn TokenMask> {
        Box::new(self.clone())
    }
}

#[test]
fn masks_go_with_their_answers() {
    let model = Arc::new(Fake::new(4, 32, 100));
    for draft in [Draft::Off, Draft::Lookup { ngram: 1, max: 4 }] {
        let mask: Option<Box<dyn TokenMask>> = Some(Box::new(Even(9)));
        let sampling = Sampling { temperature: 0.5, ..Sampling::GREEDY };
        let request = Request { n: 3, mask, draft, sampling, ..Request::new([1, 2, 3], 50) };
        let events = alone(&model, limits(), request);
        for choice in 0..3 {
            assert_eq!(written(&events, choice).len(), 9);
        }
        assert!(reasons(&events).iter().all(|(_, reason)| *reason == FinishReason::Stop));
    }
}

#[derive(Debug)]
struct Broken;

impl TokenMask for Broken {
    fn mask(&mut self, _: &mut [f32]) -> Result<(), String> {
        panic!("a bug")
    }

    fn push(&mut self, _: u32) -> Result<(), String> {
        Ok(())
    }

    fn fork(&self) -> Box<dyn TokenMask> {
        Box::new(Self)
    }
}

#[test]
fn a_broken_mask_breaks_its_own_answer() {
    let model = Arc::new(Fake::new(4, 32, 100));
    let mut engine = Engine::new(Arc::clone(&model), limits());
    let mask: Option<Box<dyn TokenMask>> = Some(Box::new(Broken));
    engine.submit(RequestId(1), Request { mask, ..Request::new([1, 2, 3], 50) }).unwrap();
    engine.submit(RequestId(2), Request::new([1, 2, 3], 5)).unwrap();
    let (first, second): (Vec<_>, Vec<_>) =
        run(&mut engine).into_iter().partition(|(id, _)| *id == RequestId(1));
    let first: Events = first.into_iter().map(|(_, event)| event).collect();
    let second: Events = second.into_iter().map(|(_, event)| event).collect();
    assert_eq!(reasons(&first), [(0, FinishReason::Failed("the mask panicked".to_owned()))]);
    assert_eq!(written(&second, 0), greedy(&model, &[1, 2, 3], 5));
}

#[test]
fn a_fault_of_the_model_ends_its_step_only() {
    let model = Arc::new(Fake::new(4, 32, 100));
    let mut engine = Engine::new(Arc::clone(&model), limits());
    engine.submit(RequestId(1), Request::new([1, 2, 3], 50)).unwrap();
    engine.step();
    model.fault_in.store(1, Ordering::SeqCst);
    let events: Events = engine.step().into_iter().map(|(_, event)| event).collect();
    let [(0, FinishReason::Failed(why))] = &reasons(&events)[..] else { panic!("{events:?}") };
    assert_eq!(why, "the model failed: injected");
    assert!(engine.is_idle());
    assert_eq!((model.live_bytes(), engine.stats().held_bytes), (0, 0));
    assert_eq!(engine.stats().counts.faults, 1);
    engine.submit(RequestId(2), Request::new([1, 2, 3], 5)).unwrap();
    let events: Events = run(&mut engine).into_iter().map(|(_, event)| event).collect();
    assert_eq!(written(&events, 0), greedy(&model, &[1, 2, 3], 5));
    assert_eq!(engine.stats().counts.faults_in_a_row, 0);
}

#[test]
fn cancelling_ends_before_the_next_step() {
    let model = Arc::new(Fake::new(4, 32, 100));
    for steps in 0..12 {
        let limits = Limits { step_tokens: 10, ..limits() };
        let mut engine = Engine::new(Arc::clone(&model), limits);
        let prompt: Vec<u32> = (0..29).collect();
        engine.submit(RequestId(1), Request { n: 2, ..Request::new(prompt, 50) }).unwrap();
        (0..steps).for_each(|_| drop(engine.step()));
        engine.cancel(RequestId(1));
        let read = model.tokens_read.load(Ordering::SeqCst);
        let events: Events = engine.step().into_iter().map(|(_, event)| event).collect();
        assert_eq!(read, model.tokens_read.load(Ordering::SeqCst));
        let cancelled = FinishReason::Cancelled;
        assert_eq!(reasons(&events), [(0, cancelled.clone()), (1, cancelled)]);
        usage(&events);
        assert!(engine.is_idle());
        drop(events);
        assert_eq!((model.live_bytes(), engine.stats().held_bytes), (0, 0));
    }
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let model = Arc::new(Fake::new(4, 8, 100));
    let (memory_bytes, pinned_bytes) = (100_000, 12_500);
    let limits = Limits { memory_bytes, pinned_bytes, max_running: 8, max_waiting: 2, ..limits() };
    let mut engine = Engine::new(model, limits);
    let mut refused = |request| engine.submit(RequestId(1), request).unwrap_err();
    assert_eq!(refused(Request::new([], 1)), Refused::Empty);
    let too_long = refused(Request::new(vec![1; 4000], 97));
    assert_eq!(too_long, Refused::TooLong { prompt: 4000, answer: 97, context: 4096 });
    let unknown = refused(Request::new([1, 29], 1));
    assert_eq!(unknown, Refused::UnknownToken { id: 29, vocab_size: 29 });
    let mut field = |request| match refused(request) {
        Refused::Invalid { field, .. } => field,
        other => panic!("{other}"),
    };
    let usual = || Request::new([1], 1);
    assert_eq!(field(Request { n: 0, ..usual() }), "n");
    assert_eq!(field(Request { n: 9, ..usual() }), "n");
    assert_eq!(field(Request { logprobs: Some(21), ..usual() }), "logprobs");
    assert_eq!(field(Request { prompt_logprobs: Some(21), ..usual() }), "prompt_logprobs");
    let embed = |request| Request { embed: true, ..request };
    assert_eq!(field(embed(usual())), "embed");
    assert_eq!(field(embed(Request { n: 2, ..Request::new([1], 0) })), "embed");
    assert_eq!(field(embed(Request { prompt_logprobs: Some(0), ..Request::new([1], 0) })), "embed");
    let draft = Draft::Lookup { ngram: 0, max: 1 };
    assert_eq!(field(Request { draft, ..usual() }), "draft.ngram");
    let large = refused(Request { n: 2, ..Request::new(vec![1; 2000], 100) });
    let text = "2000 tokens of prompt and 2 answers of up to 100 need 141000 bytes of memory \
                (100 of state and 134400 of KV for the first, 6500 for each other), \
                expected at most 87500";
    assert_eq!(large.to_string(), text);
    for id in [1, 2] {
        engine.submit(RequestId(id), usual()).unwrap();
    }
    assert_eq!(engine.submit(RequestId(3), usual()), Err(Refused::Full { waiting: 2 }));
    run(&mut engine);
    engine.submit(RequestId(3), Request { keep: Keep::No, ..usual() }).unwrap();
}
