//! The state machine: requests in, [`Engine::step`], events out.

mod admit;
mod keep;
mod step;

use crate::clients::Clients;
use crate::content::Content;
use crate::event::{Event, FinishReason, Usage};
use crate::job::{Job, Phase};
use crate::ledger::{Ledger, Owner};
use crate::limits::{Limits, Refused};
use crate::model::{Memory, Model};
use crate::request::{Keep, Namespace, Request, RequestId};
use crate::sequence::Sequence;
use crate::snapshots::{Snapshot, Store, Tier};
use crate::stats::{Counts, Stats};
use std::sync::Arc;

/// A model with requests that wait and run.
///
/// It keeps no time and draws no numbers: the same calls give the same events.
pub struct Engine<M: Model> {
    model: Arc<M>,
    limits: Limits,
    /// In order of arrival.
    waiting: Vec<Waiting<M::Memory>>,
    /// In order of their start.
    running: Vec<Job<M::Memory>>,
    clients: Clients,
    store: Store<M::Memory>,
    tier: Option<Box<dyn Tier<M::Memory>>>,
    /// Of all memories of `running` and `store`.
    ledger: Ledger,
    /// Memories that no job has any more, to be kept before the next step.
    ended: Vec<Ended<M::Memory>>,
    /// What was not told yet.
    events: Vec<(RequestId, Event<M::Memory>)>,
    counts: Counts,
}

/// A request that has not begun.
#[derive(Debug)]
struct Waiting<M> {
    id: RequestId,
    request: Request<M>,
    tag: u64,
    /// Tokens of requests that began before it although it was their better.
    passed: u64,
    lower: Lower,
    content: Content,
}

/// What a job left behind.
struct Ended<M> {
    namespace: Namespace,
    tokens: Arc<[u32]>,
    memory: M,
    keep: Keep,
    heritage: u32,
}

/// What the second tier has for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lower {
    /// Nobody knows.
    Unasked,
    /// So many tokens, which are being loaded.
    Loading(usize),
    /// Nothing more.
    Asked,
}

impl<M: Model> std::fmt::Debug for Engine<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("limits", &self.limits)
            .field("stats", &self.stats())
            .finish()
    }
}

impl<M: Model> Engine<M> {
    /// An engine without requests.
    ///
    /// # Panics
    ///
    /// If a step may read no token or no answer may run.
    pub fn new(model: Arc<M>, limits: Limits) -> Self {
        assert!(limits.step_tokens > 0, "steps of 0 tokens");
        assert!(limits.max_running > 0, "0 answers at a time");
        Self {
            model,
            limits,
            waiting: Vec::new(),
            running: Vec::new(),
            clients: Clients::default(),
            store: Store::new(limits.memory_bytes),
            tier: None,
            ledger: Ledger::default(),
            ended: Vec::new(),
            events: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The model.
    pub fn model(&self) -> &Arc<M> {
        &self.model
    }

    /// What it may use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes a request. What comes of it is told by the steps that follow; its last event is
    /// [`Event::Done`].
    ///
    /// # Errors
    ///
    /// If it cannot be taken, now or ever.
    ///
    /// # Panics
    ///
    /// If a request of this id is not done.
    pub fn submit(
        &mut self,
        id: RequestId,
        mut request: Request<M::Memory>,
    ) -> Result<(), Refused> {
        assert!(!self.knows(id), "a second request {id:?}");
        self.limits.check(&*self.model, &request)?;
        let waiting = self.waiting.len();
        if waiting >= self.limits.max_waiting {
            return Err(Refused::Full { waiting });
        }
        if let Some(from) = request.from.take() {
            // It can be let go of like all others, so that waiting holds nothing; but it counts as used.
            if let Some(id) = self.place(request.namespace, from) {
                self.store.touch(id);
                self.trim();
            }
        }
        let tag = self.clients.enter(request.client) + request.input_ids.len() as u64;
        let (lower, content) = (Lower::Unasked, Content::of(&request));
        self.waiting.push(Waiting { id, request, tag, passed: 0, lower, content });
        Ok(())
    }

    /// Ends a request, at once: the next step neither reads nor writes for it, and tells so. Nothing
    /// happens if it is done.
    pub fn cancel(&mut self, id: RequestId) {
        if let Some(i) = self.waiting.iter().position(|waiting| waiting.id == id) {
            let Waiting { request, .. } = self.waiting.remove(i);
            let usage = Usage { prompt_tokens: request.input_ids.len(), ..Usage::default() };
            for choice in 0..request.n {
                let reason = FinishReason::Cancelled;
                self.events.push((id, Event::Finished { choice, reason }));
            }
            self.counts.finished(&FinishReason::Cancelled, request.n);
            self.clients.leave(request.client);
            self.events.push((id, Event::Done { usage, snapshots: Vec::new() }));
        } else if let Some(i) = self.running.iter().position(|job| job.id == id) {
            let mut job = self.running.remove(i);
            self.finish_all(&mut job, &FinishReason::Cancelled);
            self.close(job);
            self.take_snapshots();
        }
    }

    /// Whether nothing waits, runs or is untold.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty() && self.events.is_empty()
    }

    /// How it stands.
    pub fn stats(&self) -> Stats {
        Stats {
            running: self.running.len(),
            answers: self.answers(),
            waiting: self.waiting.len(),
            snapshots: self.store.len(),
            held_bytes: self.ledger.held(),
            kv_bytes: self.ledger.kv(),
            running_bytes: self.ledger.running(),
            pinned_bytes: self.ledger.pinned(),
            snapshot_bytes: self.ledger.snapshots(),
            counts: self.counts,
        }
    }

    /// Answers that are not finished, of all requests that run.
    fn answers(&self) -> usize {
        self.running.iter().map(|job| job.open_choices().len()).sum()
    }

    fn knows(&self, id: RequestId) -> bool {
        self.waiting.iter().any(|waiting| waiting.id == id)
            || self.running.iter().any(|job| job.id == id)
    }

    /// Ends all answers of a job that are open and takes their memories.
    fn finish_all(&mut self, job: &mut Job<M::Memory>, reason: &FinishReason) {
        let open = job.open_choices();
        match std::mem::replace(&mut job.phase, Phase::Writing(Vec::new())) {
            Phase::Reading(reading) => {
                let tokens = job.request.input_ids[..reading.memory.tokens()].into();
                self.release(job, None, tokens, reading.memory);
            }
            Phase::Writing(sequences) => {
                for sequence in sequences {
                    self.retire(job, sequence, true);
                }
            }
        }
        for choice in open {
            let reason = reason.clone();
            self.counts.finished(&reason, 1);
            self.events.push((job.id, Event::Finished { choice, reason }));
        }
    }

    /// Takes what is left of an answer that ended; whether it is good for anything.
    fn retire(&mut self, job: &mut Job<M::Memory>, sequence: Sequence<M::Memory>, good: bool) {
        let Sequence { drafted, accepted, .. } = sequence;
        job.usage.drafted += drafted;
        job.usage.accepted += accepted;
        self.counts.drafted += drafted as u64;
        self.counts.accepted += accepted as u64;
        if good {
            let tokens = sequence.read().into();
            self.release(job, Some(sequence.choice), tokens, sequence.memory);
        } else {
            self.ledger.remove(Owner::Running, sequence.memory.parts(0));
        }
    }

    /// Takes the memory of an answer that ended, if it did, or of a prompt that was read in part; it is
    /// kept if it is good for anything.
    fn release(
        &mut self,
        job: &mut Job<M::Memory>,
        choice: Option<usize>,
        tokens: Arc<[u32]>,
        memory: M::Memory,
    ) {
        self.ledger.remove(Owner::Running, memory.parts(0));
        let bytes = self.model.bytes(memory.tokens());
        job.usage.state_bytes += bytes.state;
        job.usage.kv_bytes += bytes.kv;
        if let Some(choice) = choice
            && job.request.give_ends
        {
            let end = Snapshot { tokens: Arc::clone(&tokens), memory: memory.clone() };
            // It is the job's until it is given away.
            self.ledger.add(Owner::Running, end.memory.parts(0));
            job.ends.push((choice, end));
        }
        let keep = match job.request.keep {
            Keep::Pinned if choice.is_none() => Keep::Usual,
            keep => keep,
        };
        let (namespace, heritage) = (job.request.namespace, job.heritage);
        self.ended.push(Ended { namespace, tokens, memory, keep, heritage });
    }

    /// Tells that a job is done.
    fn close(&mut self, mut job: Job<M::Memory>) {
        job.ends.sort_by_key(|(choice, _)| *choice);
        for (_, end) in &job.ends {
            self.ledger.remove(Owner::Running, end.memory.parts(0));
        }
        self.clients.leave(job.request.client);
        self.events.push((job.id, Event::Done { usage: job.usage, snapshots: job.ends }));
    }
}
