//! The thread of an engine, and what handles to it do.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

mod support;

use engine::{
    Engine, Event, FinishReason, Flow, Gone, Handle, Limits, Refused, Request, RequestId, Worker,
};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Barrier};
use std::time::Duration;
use support::{Fake, Tokens};

type Events = Receiver<Event<Tokens>>;

fn spawn(limits: Limits) -> (Handle<Fake>, std::thread::JoinHandle<()>, Arc<Fake>) {
    let model = Arc::new(Fake::new(4, 8, 100));
    let (handle, thread) = Worker::spawn(Engine::new(Arc::clone(&model), limits));
    (handle, thread, model)
}

fn limits() -> Limits {
    Limits { snapshot_bytes: 0, ..Limits::server(1 << 30) }
}

fn ask(handle: &Handle<Fake>, prompt: &[u32], max_tokens: usize) -> (RequestId, Events) {
    let (sender, events) = mpsc::channel();
    let request = Request::new(prompt, max_tokens);
    let sink = move |event| match sender.send(event) {
        Ok(()) => Flow::Go,
        Err(_) => Flow::Stop,
    };
    (handle.submit(request, sink).unwrap(), events)
}

fn tokens(events: &Events) -> Vec<u32> {
    let token = |event| match event {
        Event::Token { id, .. } => Some(id),
        _ => None,
    };
    events.iter().filter_map(token).collect()
}

fn reason(events: &Events) -> Option<FinishReason> {
    let reason = |event| match event {
        Event::Finished { reason, .. } => Some(reason),
        _ => None,
    };
    events.iter().filter_map(reason).last()
}

/// Waits until something is so.
fn until(is: impl Fn() -> bool) {
    for _ in 0..5000 {
        if is() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("it never is");
}

/// Holds the engine's thread until the barrier is met again.
fn hold(handle: &Handle<Fake>) -> Arc<Barrier> {
    let barrier = Arc::new(Barrier::new(2));
    let (inside, handle) = (Arc::clone(&barrier), handle.clone());
    std::thread::spawn(move || {
        handle.with(move |_| {
            inside.wait();
            inside.wait();
        })
    });
    barrier.wait();
    barrier
}

#[test]
fn answers_come_from_many_threads() {
    let (handle, thread, model) = spawn(limits());
    let want: Vec<Vec<u32>> = (0..20).map(|i| tokens(&ask(&handle, &[i, 1, 2], 30).1)).collect();
    let threads = (0..20).map(|i| {
        let handle = handle.clone();
        std::thread::spawn(move || tokens(&ask(&handle, &[i, 1, 2], 30).1))
    });
    let threads: Vec<_> = threads.collect();
    for (thread, want) in threads.into_iter().zip(want) {
        assert_eq!(thread.join().unwrap(), want);
    }
    assert!(handle.is_healthy());
    drop(handle);
    thread.join().unwrap();
    assert_eq!(model.live_bytes(), 0);
}

#[test]
fn whoever_stops_listening_is_cancelled() {
    let (handle, _thread, model) = spawn(limits());
    let (_, events) = ask(&handle, &[1, 2, 3], 4000);
    events.recv().unwrap();
    drop(events);
    until(|| handle.stats().counts.cancelled == 1);
    assert_eq!((handle.stats().running, model.live_bytes()), (0, 0));
    // Whoever panics as well.
    let panics = |_: Event<Tokens>| -> Flow { panic!("a bug") };
    handle.submit(Request::new([1, 2, 3], 4000), panics).unwrap();
    until(|| handle.stats().counts.cancelled == 2);
    let (id, events) = ask(&handle, &[1, 2, 3], 4000);
    handle.cancel(id);
    assert_eq!(reason(&events), Some(FinishReason::Cancelled));
}

#[test]
fn the_queue_is_bounded_and_says_so_at_once() {
    let (handle, _thread, _) = spawn(Limits { max_waiting: 3, ..limits() });
    let barrier = hold(&handle);
    let asked: Vec<Events> = (0..3).map(|i| ask(&handle, &[i], 5).1).collect();
    let refused = handle.submit(Request::new([1], 5), |_| Flow::Go);
    assert_eq!(refused, Err(Refused::Full { waiting: 3 }));
    assert_eq!(handle.stats().waiting, 3);
    assert_eq!(handle.submit(Request::new([], 5), |_| Flow::Go), Err(Refused::Empty));
    barrier.wait();
    for events in asked {
        assert_eq!(tokens(&events).len(), 5);
    }
    assert_eq!(handle.stats().waiting, 0);
}

#[test]
fn draining_ends_what_was_taken_and_takes_nothing() {
    let (handle, thread, _) = spawn(limits());
    let barrier = hold(&handle);
    let (_, events) = ask(&handle, &[1, 2], 50);
    handle.drain();
    assert_eq!(handle.submit(Request::new([1], 5), |_| Flow::Go), Err(Refused::Stopping));
    barrier.wait();
    assert_eq!(tokens(&events).len(), 50);
    thread.join().unwrap();
    assert!(!handle.is_healthy());
    assert_eq!(handle.with(|engine| engine.stats()), Err(Gone));
}

#[test]
fn stopping_cancels_what_runs() {
    let (handle, thread, model) = spawn(limits());
    let (_, events) = ask(&handle, &[1, 2], 4000);
    events.recv().unwrap();
    handle.stop();
    assert_eq!(reason(&events), Some(FinishReason::Cancelled));
    thread.join().unwrap();
    assert_eq!(model.live_bytes(), 0);
}

#[test]
fn a_model_that_fails_and_fails_is_not_healthy() {
    let (handle, _thread, model) = spawn(limits());
    for faults in 1..=3 {
        assert!(handle.is_healthy());
        model.fault_in.store(1, Ordering::SeqCst);
        let (_, events) = ask(&handle, &[1, 2], 5);
        assert!(matches!(reason(&events), Some(FinishReason::Failed(_))));
        assert_eq!(handle.stats().counts.faults, faults);
    }
    assert!(!handle.is_healthy());
    assert_eq!(tokens(&ask(&handle, &[1, 2], 5).1).len(), 5);
    assert!(handle.is_healthy());
}

#[test]
fn a_panic_inside_with_is_its_own() {
    let (handle, _thread, _) = spawn(limits());
    assert_eq!(handle.with(|_| -> u32 { panic!("a bug") }), Err(Gone));
    assert_eq!(tokens(&ask(&handle, &[1, 2], 5).1).len(), 5);
}
