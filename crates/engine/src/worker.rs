//! A thread that owns an engine, and handles to it.

use crate::engine::Engine;
use crate::event::{Event, FinishReason, Usage};
use crate::limits::{Limits, Refused};
use crate::model::Model;
use crate::request::{Request, RequestId};
use crate::stats::Stats;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Steps in a row in which the model may panic before the engine counts as broken.
const MAX_FAULTS: u64 = 3;
/// How long to wait for something to do while requests wait for their snapshots to be loaded.
const POLL: Duration = Duration::from_millis(2);

/// What a sink wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next event.
    Go,
    /// Nothing more: the request is cancelled.
    Stop,
}

/// The thread of an engine has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine has stopped")]
pub struct Gone;

type Sink<M> = Box<dyn FnMut(Event<M>) -> Flow + Send>;
type Call<M> = Box<dyn FnOnce(&mut Engine<M>) + Send>;

enum Command<M: Model> {
    Submit { id: RequestId, request: Box<Request<M::Memory>>, sink: Sink<M::Memory> },
    Cancel(RequestId),
    With(Call<M>),
    Drain,
    Stop,
}

/// What handles and the thread see.
#[derive(Debug)]
struct Shared {
    limits: Limits,
    next_id: AtomicU64,
    /// Requests that were taken and have not begun.
    waiting: AtomicUsize,
    takes_requests: AtomicBool,
    alive: AtomicBool,
    stats: Mutex<Stats>,
}

/// An engine on a thread of its own. Everything else goes through a [`Handle`].
pub struct Worker<M: Model> {
    engine: Engine<M>,
    commands: Receiver<Command<M>>,
    shared: Arc<Shared>,
    sinks: HashMap<RequestId, Sink<M::Memory>>,
    /// Whether the thread ends when nothing is left to do.
    ending: bool,
    /// Of the requests in `shared.waiting`, those that the engine was given.
    given: usize,
}

impl<M: Model> fmt::Debug for Worker<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// Gives an engine's thread its work. The thread ends when it was told so, or when the last handle is
/// gone and everything submitted is done.
pub struct Handle<M: Model> {
    commands: Sender<Command<M>>,
    shared: Arc<Shared>,
    model: Arc<M>,
}

impl<M: Model> Clone for Handle<M> {
    fn clone(&self) -> Self {
        let Self { commands, shared, model } = self;
        Self { commands: commands.clone(), shared: Arc::clone(shared), model: Arc::clone(model) }
    }
}

impl<M: Model> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl<M: Model> Handle<M> {
    /// Asks something. `sink` is given what comes of it, on the engine's thread, so it must not wait;
    /// the last event is [`Event::Done`]. A sink that is dropped without it tells that the thread ended.
    ///
    /// # Errors
    ///
    /// At once, if the request cannot be taken.
    pub fn submit(
        &self,
        request: Request<M::Memory>,
        sink: impl FnMut(Event<M::Memory>) -> Flow + Send + 'static,
    ) -> Result<RequestId, Refused> {
        let shared = &*self.shared;
        if !shared.takes_requests.load(Ordering::Acquire) {
            return Err(Refused::Stopping);
        }
        shared.limits.check(&*self.model, &request)?;
        let room = |waiting| (waiting < shared.limits.max_waiting).then_some(waiting + 1);
        if let Err(waiting) = shared.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, room)
        {
            return Err(Refused::Full { waiting });
        }
        let id = RequestId(shared.next_id.fetch_add(1, Ordering::Relaxed));
        let (request, sink) = (Box::new(request), Box::new(sink));
        let sent = self.commands.send(Command::Submit { id, request, sink });
        sent.map(|()| id).map_err(|_| Refused::Stopping)
    }

    /// Ends a request before the next step; nothing happens if it is done.
    pub fn cancel(&self, id: RequestId) {
        // Nothing runs any more if nobody listens.
        _ = self.commands.send(Command::Cancel(id));
    }

    /// How the engine stood after its last step; what waits, as of now.
    pub fn stats(&self) -> Stats {
        let stats = *self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner);
        Stats { waiting: self.shared.waiting.load(Ordering::Acquire), ..stats }
    }

    /// Whether the thread lives and the model does not fail step after step.
    pub fn is_healthy(&self) -> bool {
        self.shared.alive.load(Ordering::Acquire)
            && self.stats().counts.faults_in_a_row < MAX_FAULTS
    }

    /// The model, for what it knows without reading.
    pub fn model(&self) -> &Arc<M> {
        &self.model
    }

    /// What the engine may use.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Takes no more requests; the thread ends when those there are, waiting ones too, are done.
    pub fn drain(&self) {
        self.shared.takes_requests.store(false, Ordering::Release);
        _ = self.commands.send(Command::Drain);
    }

    /// Takes no more requests, and cancels those there are; the thread ends.
    pub fn stop(&self) {
        self.shared.takes_requests.store(false, Ordering::Release);
        _ = self.commands.send(Command::Stop);
    }

    /// Calls `f` with the engine between two steps and waits for it: for what is rare.
    ///
    /// # Errors
    ///
    /// If the thread has ended, or `f` panicked.
    pub fn with<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Engine<M>) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let (sender, receiver) = mpsc::channel();
        let call = Box::new(move |engine: &mut Engine<M>| _ = sender.send(f(engine)));
        self.commands.send(Command::With(call)).map_err(|_| Gone)?;
        receiver.recv().map_err(|_| Gone)
    }
}

impl<M: Model> Worker<M> {
    /// Gives `engine` a thread.
    ///
    /// # Panics
    ///
    /// If the system gives no thread.
    pub fn spawn(engine: Engine<M>) -> (Handle<M>, JoinHandle<()>) {
        let (sender, commands) = mpsc::channel();
        let shared = Arc::new(Shared {
            limits: *engine.limits(),
            next_id: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            takes_requests: AtomicBool::new(true),
            alive: AtomicBool::new(true),
            stats: Mutex::new(engine.stats()),
        });
        let model = Arc::clone(engine.model());
        let handle = Handle { commands: sender, shared: Arc::clone(&shared), model };
        let sinks = HashMap::new();
        let worker = Self { engine, commands, shared, sinks, ending: false, given: 0 };
        let thread = std::thread::Builder::new().name("engine".to_owned());
        (handle, thread.spawn(|| worker.run()).expect("a thread"))
    }

    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // A panic here is a mistake of the engine's: nothing that it holds can be trusted.
        _ = catch_unwind(AssertUnwindSafe(move || while self.turn() {}));
        shared.takes_requests.store(false, Ordering::Release);
        shared.alive.store(false, Ordering::Release);
    }

    /// Obeys what was said, then a step; whether there may be more.
    fn turn(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) if self.engine.is_idle() && !self.ending => {
                    self.publish();
                    match self.commands.recv() {
                        Ok(command) => self.obey(command),
                        Err(_) => return false,
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.ending = true;
                    break;
                }
            }
        }
        if self.engine.is_idle() {
            self.publish();
            return false;
        }
        let steps = self.engine.stats().counts.steps;
        let events = self.engine.step();
        let stalled = events.is_empty() && self.engine.stats().counts.steps == steps;
        // Numbers first: who hears of an event may ask for them.
        self.publish();
        for (id, event) in events {
            self.deliver(id, event);
        }
        if stalled {
            match self.commands.recv_timeout(POLL) {
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
        true
    }

    fn obey(&mut self, command: Command<M>) {
        match command {
            Command::Submit { id, request, sink } => {
                self.given += 1;
                let (n, prompt_tokens) = (request.n, request.input_ids.len());
                let taken = self.engine.submit(id, *request);
                self.sinks.insert(id, sink);
                // Handles have checked it and counted those that wait, but for those of `with`.
                if let Err(refused) = taken {
                    for choice in 0..n {
                        let reason = FinishReason::Failed(refused.to_string());
                        self.deliver(id, Event::Finished { choice, reason });
                    }
                    let usage = Usage { prompt_tokens, ..Usage::default() };
                    self.deliver(id, Event::Done { usage, snapshots: Vec::new() });
                }
            }
            Command::Cancel(id) => self.engine.cancel(id),
            Command::With(f) => {
                // What `f` asks for is checked where it asks, so a panic is its own.
                _ = catch_unwind(AssertUnwindSafe(|| f(&mut self.engine)));
            }
            Command::Drain => self.ending = true,
            Command::Stop => {
                self.ending = true;
                let ids: Vec<RequestId> = self.sinks.keys().copied().collect();
                ids.into_iter().for_each(|id| self.engine.cancel(id));
            }
        }
    }

    fn deliver(&mut self, id: RequestId, event: Event<M::Memory>) {
        let Some(sink) = self.sinks.get_mut(&id) else { return };
        let done = matches!(event, Event::Done { .. });
        // Whoever panics wants no more.
        let flow = catch_unwind(AssertUnwindSafe(|| sink(event))).unwrap_or(Flow::Stop);
        if done || flow == Flow::Stop {
            self.sinks.remove(&id);
        }
        if !done && flow == Flow::Stop {
            self.engine.cancel(id);
        }
    }

    /// Tells handles how it stands.
    fn publish(&mut self) {
        let stats = self.engine.stats();
        // What `with` submitted was never counted.
        let begun = self.given.saturating_sub(stats.waiting);
        self.given -= begun;
        self.shared.waiting.fetch_sub(begun, Ordering::AcqRel);
        *self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }
}
