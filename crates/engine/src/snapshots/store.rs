//! Snapshots that stay until something is worth more.
//!
//! A snapshot is worth what it saves a request that goes on from it, over what letting go of it frees:
//!
//! ```text
//! value = clock at its last use + (1/4 + uses) * cost(tokens since the snapshot before it) / own bytes
//! ```
//!
//! The clock is the value of the last one let go of, so what is not used ages (GreedyDual-Size-Frequency;
//! Cherkasova 1998). The order does not depend on the unit of the cost. What was never used is on
//! probation; snapshots of a conversation that goes on have the uses of those that it went on from, and
//! when one is let go of, its uses pass to the one before it, which will have to do.

use super::tree::{Match, NodeId, Tree};
use super::{Miss, Snapshot, SnapshotId, SnapshotInfo};
use crate::ledger::{Ledger, Owner};
use crate::model::{Memory, Model};
use crate::request::Namespace;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::RangeInclusive;

/// Tokens that trees may hold until those of snapshots let go of are forgotten: a small share of what
/// there is for all memories, between 256 KiB and 16 MiB.
const KNOWN: RangeInclusive<u64> = 1 << 16..=4 << 20;
const KNOWN_SHARE: u64 = 256;

/// All snapshots of an engine.
#[derive(Debug)]
pub(crate) struct Store<M> {
    trees: HashMap<Namespace, Tree>,
    entries: BTreeMap<SnapshotId, Entry<M>>,
    /// Points whose snapshots were let go of, oldest first.
    ghosts: VecDeque<(Namespace, NodeId)>,
    next: u64,
    clock: f64,
    /// Within [`KNOWN`].
    max_known: usize,
}

#[derive(Debug)]
struct Entry<M> {
    namespace: Namespace,
    node: NodeId,
    memory: M,
    owner: Owner,
    uses: u32,
    /// Uses of others that count for it.
    inherited: u32,
    /// The clock at its last use.
    since: f64,
}

/// What is known of a prompt.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    matched: Match,
}

impl Found {
    /// The best snapshot, and how many of its tokens can be reused.
    pub(crate) fn best(self) -> Option<(SnapshotId, usize)> {
        self.matched.best
    }

    /// First tokens that are known, whether there is a snapshot or not.
    pub(crate) fn known(self) -> usize {
        self.matched.known
    }

    /// Why no more than `reused` of `prompt` tokens was reused.
    pub(crate) fn miss(self, reused: usize, prompt: usize) -> Option<Miss> {
        let Match { live, known, goes_on, .. } = self.matched;
        let at = reused;
        match () {
            () if reused + 1 >= prompt => None,
            () if known == 0 => Some(Miss::Cold),
            () if known > live.max(reused) => Some(Miss::Evicted { known, at }),
            () if known > reused => Some(Miss::NoSnapshot { known, at }),
            () if goes_on => Some(Miss::Diverged { at }),
            () => Some(Miss::End { at }),
        }
    }
}

impl<M: Memory> Store<M> {
    /// None, of an engine that has `memory_bytes` for all memories.
    pub(crate) fn new(memory_bytes: u64) -> Self {
        let (trees, entries, ghosts) = (HashMap::new(), BTreeMap::new(), VecDeque::new());
        let share = memory_bytes / KNOWN_SHARE / size_of::<u32>() as u64;
        let max_known = share.clamp(*KNOWN.start(), *KNOWN.end()) as usize;
        Self { trees, entries, ghosts, next: 0, clock: 0.0, max_known }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is known of `tokens`; at most `most` of them may be reused.
    pub(crate) fn find(
        &self,
        namespace: Namespace,
        tokens: &[u32],
        most: usize,
        block: usize,
    ) -> Found {
        let tree = self.trees.get(&namespace);
        Found { matched: tree.map_or_else(Match::default, |tree| tree.find(tokens, most, block)) }
    }

    /// The snapshot of exactly `tokens`.
    pub(crate) fn get(&self, namespace: Namespace, tokens: &[u32]) -> Option<SnapshotId> {
        self.trees.get(&namespace)?.get(tokens)
    }

    /// Clones of the snapshots of beginnings of `tokens`, shortest first.
    pub(crate) fn along(&self, namespace: Namespace, tokens: &[u32]) -> Vec<Snapshot<M>> {
        let ids = self.trees.get(&namespace).map_or_else(Vec::new, |tree| tree.along(tokens));
        ids.into_iter().filter_map(|id| self.snapshot(id)).collect()
    }

    /// What a snapshot has read.
    pub(crate) fn memory(&self, id: SnapshotId) -> Option<&M> {
        self.entries.get(&id).map(|entry| &entry.memory)
    }

    /// All memories and who holds them.
    pub(crate) fn memories(&self) -> impl Iterator<Item = (Owner, &M)> {
        self.entries.values().map(|entry| (entry.owner, &entry.memory))
    }

    /// A clone of a snapshot.
    pub(crate) fn snapshot(&self, id: SnapshotId) -> Option<Snapshot<M>> {
        let entry = self.entries.get(&id)?;
        let tokens = self.trees[&entry.namespace].tokens(entry.node);
        Some(Snapshot { tokens, memory: entry.memory.clone() })
    }

    /// Whether a snapshot stays; nothing if there is none.
    pub(crate) fn is_pinned(&self, id: SnapshotId) -> Option<bool> {
        self.entries.get(&id).map(|entry| entry.owner == Owner::Pinned)
    }

    /// A request goes on from a snapshot.
    pub(crate) fn touch(&mut self, id: SnapshotId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.uses = entry.uses.saturating_add(1);
            entry.since = self.clock;
        }
    }

    /// The uses that count for what goes on from a snapshot; none if something else does already.
    pub(crate) fn heritage(&self, id: SnapshotId) -> u32 {
        let Some(entry) = self.entries.get(&id) else { return 0 };
        let (_, behind) = self.trees[&entry.namespace].neighbours(entry.node);
        if behind { 0 } else { entry.uses.saturating_add(entry.inherited).saturating_add(1) }
    }

    /// Whether a snapshot that gives way was never used.
    pub(crate) fn is_unused(&self, id: SnapshotId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.uses == 0 && entry.owner == Owner::Usual)
    }

    /// Takes a snapshot of `tokens`, of which there is none, and which gives way; `inherited` uses count
    /// for it.
    pub(crate) fn insert(
        &mut self,
        namespace: Namespace,
        tokens: &[u32],
        memory: M,
        inherited: u32,
        ledger: &mut Ledger,
    ) -> SnapshotId {
        let id = SnapshotId(self.next);
        self.next += 1;
        let node = self.trees.entry(namespace).or_insert_with(Tree::new).insert(tokens, id);
        let owner = Owner::Usual;
        ledger.add(owner, memory.parts(0));
        let since = self.clock;
        let entry = Entry { namespace, node, memory, owner, uses: 0, inherited, since };
        self.entries.insert(id, entry);
        id
    }

    /// Makes a snapshot one that stays, or one that gives way.
    pub(crate) fn set_owner(&mut self, id: SnapshotId, owner: Owner, ledger: &mut Ledger) {
        if let Some(entry) = self.entries.get_mut(&id) {
            ledger.add(owner, entry.memory.parts(0));
            ledger.remove(entry.owner, entry.memory.parts(0));
            entry.owner = owner;
        }
    }

    /// Takes a snapshot out that is worth least; its uses pass to the one before it.
    pub(crate) fn evict(
        &mut self,
        id: SnapshotId,
        ledger: &mut Ledger,
    ) -> Option<(Namespace, Snapshot<M>)> {
        let entry = self.entries.get(&id)?;
        let (uses, since) = (entry.uses.saturating_add(entry.inherited), entry.since);
        let (before, _) = self.trees[&entry.namespace].neighbours(entry.node);
        if let Some(before) = before.and_then(|before| self.entries.get_mut(&before)) {
            before.inherited = before.inherited.max(uses);
            before.since = before.since.max(since);
        }
        self.remove(id, ledger)
    }

    /// Takes a snapshot out. That its tokens were known is remembered for a while.
    pub(crate) fn remove(
        &mut self,
        id: SnapshotId,
        ledger: &mut Ledger,
    ) -> Option<(Namespace, Snapshot<M>)> {
        let Entry { namespace, node, memory, owner, .. } = self.entries.remove(&id)?;
        ledger.remove(owner, memory.parts(0));
        let tree = self.trees.get_mut(&namespace).expect("a namespace with a snapshot");
        let tokens = tree.tokens(node);
        tree.remove(node);
        self.ghosts.push_back((namespace, node));
        while self.trees.values().map(Tree::num_tokens).sum::<usize>() > self.max_known {
            let Some((namespace, node)) = self.ghosts.pop_front() else { break };
            self.forget_node(namespace, node);
        }
        Some((namespace, Snapshot { tokens, memory }))
    }

    /// Takes a snapshot out as if it had never been.
    pub(crate) fn forget(&mut self, id: SnapshotId, ledger: &mut Ledger) {
        let Some(Entry { namespace, node, .. }) = self.entries.get(&id) else { return };
        let (namespace, node) = (*namespace, *node);
        self.remove(id, ledger);
        self.ghosts.retain(|ghost| *ghost != (namespace, node));
        self.forget_node(namespace, node);
    }

    /// Forgets all that is known in a namespace.
    pub(crate) fn forget_namespace(&mut self, namespace: Namespace, ledger: &mut Ledger) {
        let of =
            |(id, entry): (&SnapshotId, &Entry<M>)| (entry.namespace == namespace).then_some(*id);
        let ids: Vec<SnapshotId> = self.entries.iter().filter_map(of).collect();
        for id in ids {
            self.remove(id, ledger);
        }
        self.trees.remove(&namespace);
        self.ghosts.retain(|(other, _)| *other != namespace);
    }

    fn forget_node(&mut self, namespace: Namespace, node: NodeId) {
        if let Some(tree) = self.trees.get_mut(&namespace) {
            tree.forget(node);
            if tree.is_empty() {
                self.trees.remove(&namespace);
            }
        }
    }

    /// The snapshot worth least of those that give way; time goes on to its value.
    pub(crate) fn weakest<P: Model<Memory = M>>(&mut self, model: &P) -> Option<SnapshotId> {
        let values = self.entries.iter().filter(|(_, entry)| entry.owner == Owner::Usual);
        let values = values.map(|(&id, entry)| (self.value(model, entry), id));
        let (value, id) = values.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
        self.clock = self.clock.max(value);
        Some(id)
    }

    fn value<P: Model<Memory = M>>(&self, model: &P, entry: &Entry<M>) -> f64 {
        let tokens = entry.memory.tokens();
        let (before, behind) = self.trees[&entry.namespace].neighbours(entry.node);
        let before = before.map_or(0, |before| self.entries[&before].memory.tokens());
        let whole = |tokens: usize| model.bytes(tokens).total();
        // What is shared with a snapshot before or behind stays when this one goes.
        let own = if behind {
            model.fork_bytes(tokens)
        } else {
            whole(tokens).saturating_sub(whole(before).saturating_sub(model.fork_bytes(before)))
        };
        let saved = model.cost(before, tokens - before)
            * (0.25 + f64::from(entry.uses) + f64::from(entry.inherited));
        entry.since + saved / (own.max(1) as f64)
    }

    /// About all of them, oldest first.
    pub(crate) fn infos<P: Model<Memory = M>>(&self, model: &P) -> Vec<SnapshotInfo> {
        let info = |(&id, entry): (&SnapshotId, &Entry<M>)| {
            let tokens = entry.memory.tokens();
            SnapshotInfo {
                id,
                namespace: entry.namespace,
                tokens,
                bytes: model.bytes(tokens).total(),
                pinned: entry.owner == Owner::Pinned,
                uses: entry.uses,
            }
        };
        self.entries.iter().map(info).collect()
    }
}
