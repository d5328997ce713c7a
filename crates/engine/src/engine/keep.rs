//! Which snapshots are kept, and which give way.

use super::{Ended, Engine};
use crate::content::Content;
use crate::job::{Job, Phase};
use crate::ledger::Owner;
use crate::limits::{fork_growth, most_read};
use crate::model::{Memory, Model};
use crate::request::{Keep, Namespace, Request};
use crate::snapshots::{Snapshot, SnapshotId, SnapshotInfo, Tier};
use std::sync::Arc;

/// Tokens that a snapshot saves at least: fewer are read as fast as it is made.
pub(super) const WORTH: usize = 32;
/// Most of a request's marks that become snapshots: the first and the last ones.
const MAX_MARKS: usize = 4;

impl<M: Model> Engine<M> {
    /// Where snapshots go that are let go of, from now on.
    pub fn set_tier(&mut self, tier: Box<dyn Tier<M::Memory>>) {
        self.tier = Some(tier);
    }

    /// About all snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        self.store.infos(&*self.model)
    }

    /// A clone of a snapshot; none if it was let go of.
    pub fn snapshot(&self, id: SnapshotId) -> Option<Snapshot<M::Memory>> {
        self.store.snapshot(id)
    }

    /// Clones of the snapshots of beginnings of `tokens`, shortest first: where a sequence can be gone on
    /// from, for whoever keeps it elsewhere.
    pub fn along(&self, namespace: Namespace, tokens: &[u32]) -> Vec<Snapshot<M::Memory>> {
        self.store.along(namespace, tokens)
    }

    /// Keeps a snapshot for the requests of `namespace`; what is known of the same tokens stays as it is.
    /// None if there is no room, or it has read nothing or not its tokens.
    pub fn insert(
        &mut self,
        namespace: Namespace,
        snapshot: Snapshot<M::Memory>,
        keep: Keep,
    ) -> Option<SnapshotId> {
        let Snapshot { tokens, memory } = snapshot;
        if memory.tokens() != tokens.len() {
            return None;
        }
        self.store(namespace, &tokens, memory, keep, 0)
    }

    /// Keeps a snapshot at least until the next [`trim`](Self::trim), so that a request can go on from it;
    /// none if nothing is kept here, or it has read nothing or not its tokens.
    pub(super) fn place(
        &mut self,
        namespace: Namespace,
        snapshot: Snapshot<M::Memory>,
    ) -> Option<SnapshotId> {
        let Snapshot { tokens, memory } = snapshot;
        let whole = !tokens.is_empty() && memory.tokens() == tokens.len();
        if !whole || self.limits.snapshot_bytes == 0 {
            return None;
        }
        let known = self.store.get(namespace, &tokens);
        Some(
            known.unwrap_or_else(|| {
                self.store.insert(namespace, &tokens, memory, 0, &mut self.ledger)
            }),
        )
    }

    /// Pins a snapshot, lets it give way again, or lets go of it; whether it is as asked.
    pub fn keep(&mut self, id: SnapshotId, keep: Keep) -> bool {
        match keep {
            Keep::No => {
                self.store.forget(id, &mut self.ledger);
                true
            }
            Keep::Usual => {
                self.store.set_owner(id, Owner::Usual, &mut self.ledger);
                self.trim();
                self.store.memory(id).is_some()
            }
            Keep::Pinned => self.pin(id),
        }
    }

    /// Lets go of all that is known in a namespace.
    pub fn forget_namespace(&mut self, namespace: Namespace) {
        self.store.forget_namespace(namespace, &mut self.ledger);
    }

    /// Keeps a memory of `tokens`, if it is worth it and there is room.
    pub(super) fn store(
        &mut self,
        namespace: Namespace,
        tokens: &[u32],
        memory: M::Memory,
        keep: Keep,
        inherited: u32,
    ) -> Option<SnapshotId> {
        if keep == Keep::No || self.limits.snapshot_bytes == 0 || tokens.is_empty() {
            return None;
        }
        let id = match self.store.get(namespace, tokens) {
            Some(id) => id,
            None => self.store.insert(namespace, tokens, memory, inherited, &mut self.ledger),
        };
        if keep == Keep::Pinned {
            self.pin(id);
        }
        self.trim();
        self.store.memory(id).is_some().then_some(id)
    }

    /// Pins a snapshot, if what is pinned may be so much and all that was promised still fits.
    fn pin(&mut self, id: SnapshotId) -> bool {
        match self.store.is_pinned(id) {
            None => return false,
            Some(true) => return true,
            Some(false) => self.store.set_owner(id, Owner::Pinned, &mut self.ledger),
        }
        let fits = self.ledger.pinned() <= self.limits.pinned_bytes && self.can_hold(None, 0);
        if !fits {
            self.store.set_owner(id, Owner::Usual, &mut self.ledger);
        }
        fits
    }

    /// Lets snapshots go until all keep within their limits.
    pub(super) fn trim(&mut self) {
        while self.ledger.snapshots() > self.limits.snapshot_bytes {
            let Some(id) = self.store.weakest(&*self.model) else { break };
            self.evict(id);
        }
        while !self.fits(None, 0) {
            let Some(id) = self.store.weakest(&*self.model) else { break };
            self.evict(id);
        }
        // Nothing begins and nothing is pinned unless all that was promised fits without other snapshots,
        // and that sum does not rise by itself.
        debug_assert!(self.can_hold(None, 0), "more was promised than there is");
    }

    /// Whether `bytes` more than was promised fit once all snapshots that give way are gone; `joining` is
    /// a memory that the ledger holds as running and no job has yet.
    pub(super) fn can_hold(&self, joining: Option<&M::Memory>, bytes: u64) -> bool {
        let held = self.ledger.held() - self.ledger.evictable();
        let promised = held.saturating_add(self.growth(joining, false));
        promised.saturating_add(bytes) <= self.limits.memory_bytes
    }

    /// Whether `bytes` more than was promised fit beside all snapshots.
    fn fits(&self, joining: Option<&M::Memory>, bytes: u64) -> bool {
        let promised = self.ledger.held().saturating_add(self.growth(joining, true));
        promised.saturating_add(bytes) <= self.limits.memory_bytes
    }

    /// Lets snapshots go until `bytes` more than was promised fit; whether they do. If they cannot,
    /// all stay.
    pub(super) fn make_room(&mut self, joining: Option<&M::Memory>, bytes: u64) -> bool {
        if self.fits(joining, bytes) {
            return true;
        }
        if !self.can_hold(joining, bytes) {
            return false;
        }
        while !self.fits(joining, bytes) {
            let Some(id) = self.store.weakest(&*self.model) else { return false };
            self.evict(id);
        }
        true
    }

    fn evict(&mut self, id: SnapshotId) {
        let Some((namespace, snapshot)) = self.store.evict(id, &mut self.ledger) else { return };
        self.counts.evictions += 1;
        if let Some(tier) = &mut self.tier {
            tier.put(namespace, snapshot);
        }
    }

    /// The most bytes by which the memories of running requests may still grow, and of `joining` what is
    /// copied. While snapshots that give way share what these memories change, it is copied; without
    /// `usual` these snapshots count as gone.
    ///
    /// All are looked at together: of those that share a page the last one to change it copies nothing.
    /// So, without `usual`, the sum of this and what is held never rises by what is read, written,
    /// forked or ends; only by what begins or is pinned.
    fn growth(&self, joining: Option<&M::Memory>, usual: bool) -> u64 {
        let job = |job: &Job<M::Memory>| {
            let (prompt, most) = (job.request.input_ids.len(), job.request.max_tokens);
            let end = self.model.bytes(most_read(prompt, most)).total();
            let memory =
                |memory: &M::Memory| end.saturating_sub(self.model.bytes(memory.tokens()).total());
            let own = job.memories().map(memory).fold(0, u64::saturating_add);
            let (forks, rows) = match &job.phase {
                Phase::Reading(_) => (job.request.n as u64 - 1, job.request.row_bytes()),
                Phase::Writing(_) => (0, 0),
            };
            own.saturating_add(rows).saturating_add(forks.saturating_mul(fork_growth(
                &*self.model,
                prompt,
                most,
            )))
        };
        let grown = self.running.iter().map(job).fold(0, u64::saturating_add);
        let memories = self.running.iter().flat_map(Job::memories).chain(joining);
        let changed = memories.flat_map(|memory| memory.parts(memory.tokens()));
        grown.saturating_add(self.ledger.copied(changed, usual))
    }

    /// Where reading a prompt stops for snapshots, in descending order; `read` tokens are there already,
    /// and `known` ones agree with something else.
    pub(super) fn stops(
        &self,
        request: &Request<M::Memory>,
        content: &Content,
        read: usize,
        known: usize,
    ) -> Vec<usize> {
        if request.keep == Keep::No || self.limits.snapshot_bytes == 0 {
            return Vec::new();
        }
        let prompt = request.input_ids.len();
        let mut marks = request.marks.clone();
        marks.sort_unstable();
        marks.dedup();
        marks.retain(|&mark| mark < prompt);
        if marks.len() > MAX_MARKS {
            marks.drain(1..marks.len() + 1 - MAX_MARKS);
        }
        // Where the same prompt can go on from that comes again: its last token is read anew.
        let last = if prompt.is_multiple_of(self.model.block()) { prompt - 1 } else { prompt };
        let mut stops = [marks, vec![content.whole(known.min(last)), last]].concat();
        if let Some(rungs) = prompt.checked_div(self.limits.ladder_tokens) {
            stops.extend((1..=rungs).map(|rung| rung * self.limits.ladder_tokens));
        }
        stops.retain(|&stop| stop >= read + WORTH && stop <= prompt || stop == last && stop > read);
        // Nobody goes on from within a picture.
        stops.retain(|&stop| content.whole(stop) == stop);
        stops.sort_unstable_by(|a, b| b.cmp(a));
        stops.dedup();
        stops
    }

    /// Takes the snapshots that are wanted of where sequences are now, between two steps.
    pub(super) fn take_snapshots(&mut self) {
        for ended in std::mem::take(&mut self.ended) {
            let Ended { namespace, tokens, memory, keep, heritage } = ended;
            self.store(namespace, &tokens, memory, keep, heritage);
        }
        // What ended jobs shared with snapshots is held by these alone now.
        self.trim();
        for i in 0..self.running.len() {
            let job = &mut self.running[i];
            let Some(&stop) = job.stops.last() else { continue };
            // Answers begin where the prompt ends.
            let Some(memory) = job.memories().find(|memory| memory.tokens() == stop) else {
                continue;
            };
            let memory = memory.clone();
            job.stops.pop();
            let (namespace, heritage) = (job.request.namespace, job.heritage);
            let ids = Arc::clone(&job.request.input_ids);
            if let Some(id) = self.store(namespace, &ids[..stop], memory, Keep::Usual, heritage) {
                self.thin(i, stop, id);
            }
        }
    }

    /// Takes note of a snapshot at `tokens` if it belongs to the ladder of the `i`th job, and lets go of
    /// others of it.
    fn thin(&mut self, i: usize, tokens: usize, id: SnapshotId) {
        let step = self.limits.ladder_tokens;
        if step == 0 || !tokens.is_multiple_of(step) {
            return;
        }
        let rung = tokens / step;
        let rungs = &mut self.running[i].rungs;
        rungs.push((rung, id));
        // The further away, the fewer stay: of those 2^j to 2^(j+1) rungs away, multiples of 2^j.
        let far = |at: usize| rung - at >= 2 << at.trailing_zeros();
        for (_, id) in rungs.extract_if(.., |(at, _)| far(*at)) {
            if self.store.is_unused(id) {
                self.store.forget(id, &mut self.ledger);
            }
        }
    }
}
