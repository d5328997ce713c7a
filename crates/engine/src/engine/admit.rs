//! Which requests begin: fair, and only if their memory suffices to the end.

use super::{Engine, Waiting};
use crate::event::{Event, Usage};
use crate::job::{Job, Phase, Reading};
use crate::ledger::Owner;
use crate::limits::{fork_growth, most_read};
use crate::model::{Memory, Model};
use crate::request::Request;
use crate::snapshots::Miss;

impl<M: Model> Engine<M> {
    /// Begins as many requests as there is room for.
    ///
    /// The best one goes first: that of the client served least, and among those of a client the one
    /// that would be done first if all it was served since the request came went to it. While the best
    /// does not fit, others may pass it, but no more tokens than it has itself; then all wait for it.
    pub(super) fn admit(&mut self) {
        let order = |waiting: &Waiting<M::Memory>| {
            (self.clients.served(waiting.request.client), waiting.tag, waiting.id)
        };
        let mut ids: Vec<_> = self.waiting.iter().map(|w| (order(w), w.id)).collect();
        ids.sort_unstable_by_key(|(order, _)| *order);
        let mut passed = Vec::new();
        for (_, id) in ids {
            let i = self.waiting.iter().position(|waiting| waiting.id == id).expect("it waits");
            let request = &self.waiting[i].request;
            let tokens = (request.input_ids.len() + request.n * request.max_tokens) as u64;
            if self.fits(request) {
                let waiting = self.waiting.remove(i);
                self.begin(waiting);
                for waiting in self.waiting.iter_mut().filter(|w| passed.contains(&w.id)) {
                    waiting.passed += tokens;
                }
            } else {
                if self.waiting[i].passed >= tokens {
                    break;
                }
                passed.push(id);
            }
        }
    }

    /// Whether a request can run to its end beside those that run.
    fn fits(&self, request: &Request<M::Memory>) -> bool {
        let answers: usize = self.running.iter().map(|job| job.open_choices().len()).sum();
        if answers + request.n > self.limits.max_running {
            return false;
        }
        let (prompt, most) = (request.input_ids.len(), request.max_tokens);
        let first = self.model.bytes(most_read(prompt, most)).total();
        let forks = fork_growth(&*self.model, prompt, most).saturating_mul(request.n as u64 - 1);
        let held = self.ledger.held() - self.ledger.evictable();
        let promised = held.saturating_add(self.growth());
        promised.saturating_add(first).saturating_add(forks) <= self.limits.memory_bytes
    }

    /// The most bytes by which the memories of running requests may still grow.
    fn growth(&self) -> u64 {
        let job = |job: &Job<M::Memory>| {
            let (prompt, most) = (job.request.input_ids.len(), job.request.max_tokens);
            let end = self.model.bytes(most_read(prompt, most)).total();
            let memory = |memory: &M::Memory| {
                let read = memory.tokens();
                let grown = end.saturating_sub(self.model.bytes(read).total());
                grown.saturating_add(self.ledger.shared_among(memory.parts(read)))
            };
            let own = job.memories().map(memory).fold(0, u64::saturating_add);
            let forks = match &job.phase {
                Phase::Reading(_) => job.request.n as u64 - 1,
                Phase::Writing(_) => 0,
            };
            own.saturating_add(forks.saturating_mul(fork_growth(&*self.model, prompt, most)))
        };
        self.running.iter().map(job).fold(0, u64::saturating_add)
    }

    fn begin(&mut self, waiting: Waiting<M::Memory>) {
        let Waiting { id, request, tag, .. } = waiting;
        let memory = self.model.start();
        self.ledger.add(Owner::Running, memory.parts(0));
        let prompt_tokens = request.input_ids.len();
        let usage = Usage { prompt_tokens, ..Usage::default() };
        let miss = Some(Miss::Off);
        self.events.push((id, Event::Started { cached_tokens: usage.cached_tokens, miss }));
        let reading = Reading { memory, piece: 0, stops: Vec::new() };
        let phase = Phase::Reading(reading);
        self.running.push(Job { id, request, tag, phase, usage, ends: Vec::new() });
    }
}
