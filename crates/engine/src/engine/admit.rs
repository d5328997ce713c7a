//! Which requests begin: fair, and only if their memory suffices to the end.

use super::{Engine, Lower, Waiting};
use crate::content::Content;
use crate::event::{Event, FinishReason, Usage};
use crate::job::{Job, Phase, Reading};
use crate::ledger::Owner;
use crate::limits::{fork_growth, most_read};
use crate::model::{Memory, Model};
use crate::request::Request;
use crate::snapshots::{Found, Load, Miss, SnapshotId};

use super::keep::WORTH;

/// Most requests that are passed in a step: looking at each takes time.
const MAX_PASSED: usize = 16;

impl<M: Model> Engine<M> {
    /// Begins as many requests as there is room for.
    ///
    /// The best one goes first: that of the client served least, and among those of a client the one
    /// that would be done first if all it was served since the request came went to it. While the best
    /// does not fit, others may pass it, but no more tokens than it has itself; then all wait for it.
    pub(super) fn admit(&mut self) {
        if self.waiting.is_empty() || self.answers() >= self.limits.max_running {
            return;
        }
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
            match self.try_begin(i) {
                Begun::Yes => {
                    for waiting in self.waiting.iter_mut().filter(|w| passed.contains(&w.id)) {
                        waiting.passed += tokens;
                    }
                }
                // It is not room that is missing.
                Begun::Loading => {}
                Begun::No if self.waiting[i].passed >= tokens || passed.len() == MAX_PASSED => {
                    break;
                }
                Begun::No => passed.push(id),
            }
        }
    }

    /// Begins the `i`th request that waits, if it can run to its end beside those that run.
    fn try_begin(&mut self, i: usize) -> Begun {
        let Waiting { request, content, .. } = &self.waiting[i];
        if self.answers() + request.n > self.limits.max_running {
            return Begun::No;
        }
        let (prompt, most) = (request.input_ids.len(), request.max_tokens);
        let forks = fork_growth(&*self.model, prompt, most).saturating_mul(request.n as u64 - 1);
        // Beside the answer: the others, and what is seen while it is read.
        let beside = forks.saturating_add(request.row_bytes());
        let end = self.model.bytes(most_read(prompt, most)).total();
        let mut found = self.find(request, content);
        let reused = found.best().map_or(0, |(_, length)| length);
        let least = end.saturating_sub(self.model.bytes(reused).total()).saturating_add(beside);
        if !self.can_hold(None, least) {
            return Begun::No;
        }
        // What is loaded shares nothing with others, so it comes once there is room for all of it.
        if self.can_hold(None, end.saturating_add(beside)) {
            match self.ask_tier(i, reused) {
                Load::Pending => return Begun::Loading,
                Load::Ready(snapshot) => {
                    // It may be worth least of all, and gives way after this step, not before it is used.
                    self.place(self.waiting[i].request.namespace, snapshot);
                    let Waiting { request, content, .. } = &self.waiting[i];
                    found = self.find(request, content);
                }
                Load::Failed => {}
            }
        }
        // Whoever goes on where a snapshot ends goes on with a conversation.
        let heritage = match found.best() {
            Some((id, length)) if self.store.memory(id).is_some_and(|m| m.tokens() == length) => {
                self.store.heritage(id)
            }
            _ => 0,
        };
        let memory = found.best().and_then(|(id, length)| {
            let need = end.saturating_sub(self.model.bytes(length).total()).saturating_add(beside);
            self.fork(id, length, need).or_else(|| self.take_over(id, length, need))
        });
        let memory = memory.or_else(|| {
            let memory = self.model.start();
            let need = end.saturating_sub(self.model.bytes(0).total()).saturating_add(beside);
            self.hold(memory, need).ok()
        });
        let Some(memory) = memory else {
            // What was loaded for it gives way as well.
            self.trim();
            return Begun::No;
        };
        let waiting = self.waiting.remove(i);
        self.begin(waiting, memory, found, heritage);
        Begun::Yes
    }

    /// What is known of a request's prompt and may be reused.
    fn find(&self, request: &Request<M::Memory>, content: &Content) -> Found {
        if !self.may_reuse(request) {
            return Found::default();
        }
        let Request { namespace, input_ids, .. } = request;
        // The last token is read in any case, for what follows it.
        let mut most = input_ids.len() - 1;
        loop {
            let found = self.store.find(*namespace, input_ids, most, self.model.block());
            let length = found.best().map_or(0, |(_, length)| length);
            most = content.whole(length);
            if most == length {
                return found;
            }
        }
    }

    /// Whether what is known may be reused for a request.
    fn may_reuse(&self, request: &Request<M::Memory>) -> bool {
        !request.reads_rows() && self.limits.snapshot_bytes > 0
    }

    /// Asks the second tier, once, for more than the `reused` tokens of the `i`th request that waits.
    fn ask_tier(&mut self, i: usize, reused: usize) -> Load<M::Memory> {
        let may_reuse = self.may_reuse(&self.waiting[i].request);
        let Waiting { request, lower, content, .. } = &mut self.waiting[i];
        let Some(tier) = self.tier.as_mut().filter(|_| may_reuse) else { return Load::Failed };
        let (namespace, ids) = (request.namespace, &request.input_ids);
        if *lower == Lower::Unasked {
            let found = tier.find(namespace, &ids[..ids.len() - 1]).min(ids.len() - 1);
            let worth = found >= reused + WORTH && content.whole(found) == found;
            *lower = if worth { Lower::Loading(found) } else { Lower::Asked };
        }
        let Lower::Loading(length) = *lower else { return Load::Failed };
        let load = tier.load(namespace, &ids[..length]);
        match load {
            Load::Pending => Load::Pending,
            Load::Ready(snapshot) if *snapshot.tokens == ids[..length] => {
                *lower = Lower::Asked;
                Load::Ready(snapshot)
            }
            Load::Ready(_) | Load::Failed => {
                *lower = Lower::Asked;
                Load::Failed
            }
        }
    }

    /// A fork of a snapshot's first `length` tokens, if it may grow by `need` bytes.
    fn fork(&mut self, id: SnapshotId, length: usize, need: u64) -> Option<M::Memory> {
        let mut memory = self.store.memory(id)?.clone();
        cut(&mut memory, length);
        let memory = self.hold(memory, need).ok()?;
        self.store.touch(id);
        Some(memory)
    }

    /// The memory of a snapshot that gives way, itself, if there is no room for a fork beside it.
    fn take_over(&mut self, id: SnapshotId, length: usize, need: u64) -> Option<M::Memory> {
        if self.store.is_pinned(id)? {
            return None;
        }
        let (namespace, snapshot) = self.store.remove(id, &mut self.ledger)?;
        let crate::Snapshot { tokens, mut memory } = snapshot;
        cut(&mut memory, length);
        match self.hold(memory, need) {
            Ok(memory) => Some(memory),
            Err(memory) => {
                // What is left of it goes back.
                if self.store.get(namespace, &tokens[..length]).is_none() {
                    self.store.insert(namespace, &tokens[..length], memory, 0, &mut self.ledger);
                }
                None
            }
        }
    }

    /// Counts a memory as that of a running request, if it may grow by `need` bytes beside what is copied.
    fn hold(&mut self, memory: M::Memory, need: u64) -> Result<M::Memory, M::Memory> {
        self.ledger.add(Owner::Running, memory.parts(0));
        if self.make_room(Some(&memory), need) {
            return Ok(memory);
        }
        self.ledger.remove(Owner::Running, memory.parts(0));
        Err(memory)
    }

    fn begin(
        &mut self,
        waiting: Waiting<M::Memory>,
        memory: M::Memory,
        found: Found,
        heritage: u32,
    ) {
        let Waiting { id, request, tag, content, .. } = waiting;
        let (prompt_tokens, cached_tokens) = (request.input_ids.len(), memory.tokens());
        let usage = Usage { prompt_tokens, cached_tokens, ..Usage::default() };
        let miss = if self.may_reuse(&request) {
            self.counts.cache_queries += 1;
            self.counts.cache_hits += u64::from(cached_tokens > 0);
            self.counts.cache_queried_tokens += prompt_tokens as u64;
            self.counts.cache_hit_tokens += cached_tokens as u64;
            found.miss(cached_tokens, prompt_tokens)
        } else {
            Some(Miss::Off)
        };
        if let Some(miss) = miss {
            self.counts.misses[miss.index()] += 1;
        }
        self.events.push((id, Event::Started { cached_tokens, miss }));
        let stops = self.stops(&request, &content, cached_tokens, found.known());
        let phase = Phase::Reading(Reading { memory, piece: 0 });
        let (rungs, ends, sum) = (Vec::new(), Vec::new(), Vec::new());
        let mut job = Job { id, request, tag, phase, usage, heritage, stops, rungs, sum, ends };
        match content.unreadable(cached_tokens) {
            None => self.running.push(job),
            Some(tokens) => {
                self.finish_all(&mut job, &FinishReason::Unread(tokens));
                self.close(job);
            }
        }
    }
}

/// Whether a request began.
enum Begun {
    Yes,
    /// There is no room for it.
    No,
    /// What it goes on from is being loaded.
    Loading,
}

fn cut<M: Memory>(memory: &mut M, length: usize) {
    if length < memory.tokens() {
        memory.truncate(length);
    }
}
