//! Who goes first, and that nobody waits for ever. Time is counted in tokens and steps.

mod support;

use engine::{Engine, Event, Limits, Request, RequestId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use support::{Fake, Tokens};

fn engine(limits: Limits) -> Engine<Fake> {
    Engine::new(Arc::new(Fake::new(4, 8, 100)), Limits { snapshot_bytes: 0, ..limits })
}

/// The steps in which requests were first answered and done, by id.
#[derive(Debug, Default)]
struct Times {
    step: usize,
    answered: HashMap<u64, usize>,
    done: BTreeMap<u64, usize>,
}

impl Times {
    fn step(&mut self, engine: &mut Engine<Fake>) -> Vec<u64> {
        self.step += 1;
        let mut done = Vec::new();
        for (RequestId(id), event) in engine.step() {
            match event {
                Event::Token { .. } => _ = self.answered.entry(id).or_insert(self.step),
                Event::Done { .. } => {
                    self.done.insert(id, self.step);
                    done.push(id);
                }
                _ => {}
            }
        }
        done
    }
}

fn of_client(client: u64, prompt: usize, max_tokens: usize) -> Request<Tokens> {
    Request { client, ..Request::new(vec![1; prompt], max_tokens) }
}

/// Each client asks again as soon as it has been answered; one wants much more than the others.
#[test]
fn clients_are_served_alike() {
    for max_running in [2, 5, 40] {
        let limits = Limits { step_tokens: 64, max_running, ..Limits::server(1 << 30) };
        let mut engine = engine(limits);
        let mut times = Times::default();
        let mut served = [0usize; 12];
        let mut of = HashMap::new();
        let mut next = 0;
        let mut ask = |engine: &mut Engine<Fake>, of: &mut HashMap<u64, usize>, client: usize| {
            engine.submit(RequestId(next), of_client(client as u64, 40, 10)).unwrap();
            of.insert(next, client);
            next += 1;
        };
        for client in 0..12 {
            for _ in 0..if client == 0 { 50 } else { 6 } {
                ask(&mut engine, &mut of, client);
            }
        }
        for _ in 0..3000 {
            for id in times.step(&mut engine) {
                let client = of[&id];
                served[client] += 1;
                ask(&mut engine, &mut of, client);
            }
        }
        let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
        assert!(*least > 20 && most < &(2 * least), "{max_running} at a time: {served:?}");
    }
}

/// Short chats come while a long prompt is read, of the same client and of others.
#[test]
fn short_chats_pass_a_long_prompt() {
    let mut engine = engine(Limits { step_tokens: 64, ..Limits::server(1 << 30) });
    let mut times = Times::default();
    engine.submit(RequestId(0), of_client(0, 4000, 5)).unwrap();
    let mut came = HashMap::new();
    for step in 0..40 {
        if step % 4 == 3 {
            let id = step as u64;
            engine.submit(RequestId(id), of_client(id / 4 % 2, 20, 5)).unwrap();
            came.insert(id, step);
        }
        times.step(&mut engine);
    }
    while !engine.is_idle() {
        times.step(&mut engine);
    }
    for (id, came) in came {
        let waited = times.answered[&id] - came;
        assert!(waited <= 2, "request {id} was answered after {waited} steps");
    }
    // What is left of the steps goes on with the long one: 4000 and 10 times 25 tokens, 64 a step.
    assert!(times.done[&0] < 4250 / 64 + 20, "{times:?}");
}

/// However many short ones come, a long prompt is passed by no more tokens than it has itself, and
/// those that came before so many were.
#[test]
fn a_long_prompt_is_not_passed_for_ever() {
    for client in [0, 1] {
        let mut engine = engine(Limits { step_tokens: 64, ..Limits::server(1 << 30) });
        let mut times = Times::default();
        engine.submit(RequestId(0), of_client(0, 2000, 1)).unwrap();
        let mut next = 1;
        while !times.done.contains_key(&0) {
            while engine.stats().waiting < 20 {
                engine.submit(RequestId(next), of_client(client, 30, 3)).unwrap();
                next += 1;
            }
            times.step(&mut engine);
            let tokens = engine.stats().counts.tokens_read;
            // 64 may run and 20 wait, each with 30 tokens of prompt and 2 of an answer to read.
            assert!(tokens < 2 * 2000 + 84 * 32, "{tokens} tokens, and it is not read");
        }
    }
}

/// A request that needs nearly all memory waits for some that are small, not for all that come.
#[test]
fn a_large_request_finds_room() {
    let limits = Limits { step_tokens: 64, pinned_bytes: 0, ..Limits::server(60_000) };
    let mut engine = engine(limits);
    let mut times = Times::default();
    let mut next = 1;
    for step in 0..2000 {
        while engine.stats().waiting < 10 {
            engine.submit(RequestId(next), of_client(next % 3, 30, 30)).unwrap();
            next += 1;
        }
        if step == 20 {
            engine.submit(RequestId(0), of_client(0, 700, 150)).unwrap();
        }
        times.step(&mut engine);
        assert!(engine.stats().held_bytes <= 60_000);
        if times.answered.contains_key(&0) {
            assert!(step < 300, "it waited until step {step}");
            return;
        }
    }
    panic!("it waits for ever");
}

/// Steps read no more than they may, prompts go on beside many answers.
#[test]
fn prompts_go_on_beside_answers() {
    let limits = Limits { step_tokens: 16, max_running: 100, ..Limits::server(1 << 30) };
    let mut engine = engine(limits);
    for id in 0..40 {
        engine.submit(RequestId(id), of_client(id, 1, 400)).unwrap();
    }
    let mut times = Times::default();
    for _ in 0..50 {
        times.step(&mut engine);
    }
    engine.submit(RequestId(100), of_client(100, 40, 5)).unwrap();
    for _ in 0..25 {
        times.step(&mut engine);
    }
    assert!(times.answered.contains_key(&100), "{times:?}");
}
