//! What is known: a tree of tokens whose nodes are points of sequences.
//!
//! Each node stands for the tokens from the root to its end. Its own are those from its parent's end on;
//! children begin with different tokens. A node whose snapshot was let go of may stay, so that a miss can
//! be explained.

use super::SnapshotId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Names a node within a tree.
pub(crate) type NodeId = usize;

const ROOT: NodeId = 0;

/// The sequences known in one namespace.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: HashMap<NodeId, Node>,
    next: NodeId,
    num_tokens: usize,
}

#[derive(Debug, Default)]
struct Node {
    parent: NodeId,
    /// Tokens from the parent's end to the node's.
    edge: Vec<u32>,
    /// Tokens from the root to the node's end.
    end: usize,
    /// By the first token of their edge.
    children: BTreeMap<u32, NodeId>,
    snapshot: Option<SnapshotId>,
    /// Whether there was one, which is not forgotten.
    ghost: bool,
    /// Snapshots at this node and below.
    live: usize,
}

/// How far a prompt is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Match {
    /// First tokens that agree with a sequence that snapshots are kept of.
    pub(crate) live: usize,
    /// First tokens that agree with any, those that were let go of among them.
    pub(crate) known: usize,
    /// Whether what is known to `known` goes on there.
    pub(crate) goes_on: bool,
    /// The best snapshot, and how many tokens of it agree.
    pub(crate) best: Option<(SnapshotId, usize)>,
}

impl Tree {
    /// Nothing known.
    pub(crate) fn new() -> Self {
        Self { nodes: HashMap::from([(ROOT, Node::default())]), next: ROOT + 1, num_tokens: 0 }
    }

    /// How far `tokens` are known, and the snapshot of which the most can be reused: at most `most`
    /// tokens, and of a snapshot no less than its last multiple of `block`.
    pub(crate) fn find(&self, tokens: &[u32], most: usize, block: usize) -> Match {
        let mut found = Match::default();
        let mut at = ROOT;
        let mut matched = 0;
        loop {
            let node = &self.nodes[&at];
            if node.live > 0 {
                found.live = matched;
            }
            if let Some(snapshot) = node.snapshot.filter(|_| node.end <= most) {
                found.best = Some((snapshot, node.end));
            }
            // Others part from the prompt here, and may end so soon that they can be brought back.
            self.rewind_below(node.children.values(), node.end.min(most), block, &mut found);
            let next = tokens.get(matched).and_then(|first| node.children.get(first));
            let Some(&next) = next else {
                found.goes_on = !node.children.is_empty();
                break;
            };
            let child = &self.nodes[&next];
            let pairs = child.edge.iter().zip(&tokens[matched..]);
            let common = pairs.take_while(|(a, b)| a == b).count();
            let before = matched;
            matched += common;
            if child.live > 0 {
                found.live = matched;
            }
            if common < child.edge.len() {
                found.goes_on = true;
                self.rewind_below([&next], matched.min(most), block, &mut found);
                break;
            }
            if child.end > most && before < most {
                // Beyond what may be reused: this node or one below may be brought back.
                self.rewind_below([&next], most, block, &mut found);
            }
            at = next;
        }
        found.known = matched;
        found
    }

    /// Looks for a snapshot at the nodes `below` or under them that can be brought back to `tokens`
    /// tokens, which all of them share.
    fn rewind_below<'a>(
        &'a self,
        below: impl IntoIterator<Item = &'a NodeId>,
        tokens: usize,
        block: usize,
        found: &mut Match,
    ) {
        // The end of the block that `tokens` is in: what ends at it or behind has left the block.
        let end = (tokens / block + 1) * block;
        if tokens == 0 || found.best.is_some_and(|(_, length)| length >= tokens) {
            return;
        }
        let mut open: Vec<NodeId> = below.into_iter().copied().collect();
        while let Some(node) = open.pop().map(|id| &self.nodes[&id]) {
            if node.end >= end || node.live == 0 {
                continue;
            }
            if let Some(snapshot) = node.snapshot {
                found.best = Some((snapshot, tokens));
                return;
            }
            open.extend(node.children.values());
        }
    }

    /// Puts `snapshot` at the end of `tokens`, where there is none yet; gives the node.
    pub(crate) fn insert(&mut self, tokens: &[u32], snapshot: SnapshotId) -> NodeId {
        let id = self.node_at(tokens);
        let node = self.node(id);
        let before = node.snapshot.replace(snapshot);
        assert!(before.is_none(), "two snapshots at one point");
        node.ghost = false;
        self.count(id, 1);
        id
    }

    /// The snapshot at the end of exactly `tokens`.
    pub(crate) fn get(&self, tokens: &[u32]) -> Option<SnapshotId> {
        let mut at = ROOT;
        let mut left = tokens;
        while let Some(first) = left.first() {
            at = *self.nodes[&at].children.get(first)?;
            left = left.strip_prefix(&self.nodes[&at].edge[..])?;
        }
        self.nodes[&at].snapshot
    }

    /// The snapshots of beginnings of `tokens`, shortest first.
    pub(crate) fn along(&self, tokens: &[u32]) -> Vec<SnapshotId> {
        let mut found = Vec::new();
        let mut at = ROOT;
        let mut left = tokens;
        loop {
            let node = &self.nodes[&at];
            found.extend(node.snapshot);
            let next = left.first().and_then(|first| node.children.get(first));
            let Some(&next) = next else { return found };
            let Some(rest) = left.strip_prefix(&self.nodes[&next].edge[..]) else { return found };
            (at, left) = (next, rest);
        }
    }

    /// The tokens from the root to the end of a node that there is.
    pub(crate) fn tokens(&self, id: NodeId) -> Arc<[u32]> {
        let mut edges = Vec::new();
        let mut at = id;
        while at != ROOT {
            let node = &self.nodes[&at];
            edges.push(&node.edge[..]);
            at = node.parent;
        }
        edges.reverse();
        edges.concat().into()
    }

    /// Takes away the snapshot of a node; what was known stays known until [`forget`](Tree::forget).
    pub(crate) fn remove(&mut self, id: NodeId) {
        let node = self.node(id);
        let before = node.snapshot.take();
        assert!(before.is_some(), "no snapshot at this point");
        node.ghost = true;
        self.count(id, -1);
    }

    /// Forgets that what ends at a node was known, as far as no snapshot and no other sequence needs it.
    /// The node may be gone already.
    pub(crate) fn forget(&mut self, mut id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.ghost = false;
        }
        while id != ROOT {
            let Some(node) = self.nodes.get(&id) else { return };
            let parent = node.parent;
            if node.snapshot.is_some() || node.ghost {
                return;
            }
            match node.children.len() {
                0 => {
                    let first = node.edge[0];
                    self.num_tokens -= node.edge.len();
                    self.nodes.remove(&id);
                    self.node(parent).children.remove(&first);
                }
                1 => return self.join(id),
                _ => return,
            }
            id = parent;
        }
    }

    /// Of the snapshot of a node: the nearest one before it, and whether there is one behind it.
    pub(crate) fn neighbours(&self, id: NodeId) -> (Option<SnapshotId>, bool) {
        let node = &self.nodes[&id];
        let behind = node.live > usize::from(node.snapshot.is_some());
        let mut at = id;
        while at != ROOT {
            at = self.nodes[&at].parent;
            if let Some(before) = self.nodes[&at].snapshot {
                return (Some(before), behind);
            }
        }
        (None, behind)
    }

    /// Tokens kept.
    pub(crate) fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of the tree")
    }

    /// Adds to the number of snapshots of a node and those above.
    fn count(&mut self, mut id: NodeId, change: isize) {
        loop {
            let node = self.node(id);
            node.live = node.live.strict_add_signed(change);
            if id == ROOT {
                return;
            }
            id = node.parent;
        }
    }

    /// The node at the end of exactly `tokens`, made if there is none.
    fn node_at(&mut self, tokens: &[u32]) -> NodeId {
        let mut at = ROOT;
        let mut matched = 0;
        while matched < tokens.len() {
            let Some(&child) = self.nodes[&at].children.get(&tokens[matched]) else {
                let edge = tokens[matched..].to_vec();
                let node = Node { parent: at, end: tokens.len(), edge, ..Node::default() };
                return self.add(node);
            };
            let pairs = self.nodes[&child].edge.iter().zip(&tokens[matched..]);
            let common = pairs.take_while(|(a, b)| a == b).count();
            if common < self.nodes[&child].edge.len() {
                self.split(child, common);
                at = self.nodes[&child].parent;
            } else {
                at = child;
            }
            matched += common;
        }
        at
    }

    fn add(&mut self, node: Node) -> NodeId {
        let id = self.next;
        self.next += 1;
        let (parent, first) = (node.parent, node.edge[0]);
        self.num_tokens += node.edge.len();
        self.nodes.insert(id, node);
        self.node(parent).children.insert(first, id);
        id
    }

    /// Puts a node above `id`, behind the first `tokens` tokens of its edge.
    fn split(&mut self, id: NodeId, tokens: usize) {
        let node = self.node(id);
        let rest = node.edge.split_off(tokens);
        let edge = std::mem::replace(&mut node.edge, rest);
        let (first, end, live) = (node.edge[0], node.end - node.edge.len(), node.live);
        let parent = node.parent;
        let children = BTreeMap::from([(first, id)]);
        // They only move.
        self.num_tokens -= tokens;
        let upper = self.add(Node { parent, edge, end, children, live, ..Node::default() });
        self.node(id).parent = upper;
    }

    /// Makes one of a node without a snapshot and its only child.
    fn join(&mut self, id: NodeId) {
        let upper = self.nodes.remove(&id).expect("a node of the tree");
        let (_, &child) = upper.children.first_key_value().expect("a child");
        let lower = self.node(child);
        let mut edge = upper.edge;
        edge.append(&mut lower.edge);
        let first = edge[0];
        (lower.edge, lower.parent) = (edge, upper.parent);
        self.node(upper.parent).children.insert(first, child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::Rng;

    fn common(a: &[u32], b: &[u32]) -> usize {
        a.iter().zip(b).take_while(|(a, b)| a == b).count()
    }

    /// The definition, over lists of all sequences.
    fn expected(
        live: &[(Vec<u32>, SnapshotId)],
        ghosts: &[Vec<u32>],
        tokens: &[u32],
        most: usize,
        block: usize,
    ) -> (usize, usize, usize) {
        let lives = live.iter().map(|(known, _)| common(known, tokens)).max().unwrap_or(0);
        let ghost = ghosts.iter().map(|known| common(known, tokens)).max().unwrap_or(0);
        let usable = |(known, _): &(Vec<u32>, SnapshotId)| {
            let length = common(known, tokens).min(most);
            (length >= known.len() / block * block).then_some(length)
        };
        let best = live.iter().filter_map(usable).max().unwrap_or(0);
        (lives, lives.max(ghost), best)
    }

    #[test]
    fn the_tree_finds_what_a_list_finds() {
        let mut rng = Rng(9);
        for case in 0..300 {
            let block = [1, 2, 4, 8][rng.below(4)];
            let mut tree = Tree::new();
            let mut live: Vec<(Vec<u32>, SnapshotId)> = Vec::new();
            let mut ghosts: Vec<Vec<u32>> = Vec::new();
            let mut nodes = HashMap::new();
            let mut next = 0;
            for _ in 0..60 {
                // Few ids, and often the beginning of another, so that much is shared.
                let mut tokens: Vec<u32> = match rng.below(3) {
                    0 if !live.is_empty() => {
                        let (known, _) = &live[rng.below(live.len())];
                        known[..rng.below(known.len() + 1)].to_vec()
                    }
                    _ => Vec::new(),
                };
                tokens.extend((0..1 + rng.below(12)).map(|_| rng.below(2) as u32));
                match rng.below(5) {
                    0 | 1 => {
                        let id = SnapshotId(next);
                        next += 1;
                        let old = live.iter().find(|(known, _)| *known == tokens);
                        assert_eq!(tree.get(&tokens), old.map(|(_, id)| *id));
                        if old.is_none() {
                            let node = tree.insert(&tokens, id);
                            assert_eq!(*tree.tokens(node), tokens);
                            nodes.insert(tokens.clone(), node);
                            ghosts.retain(|known| *known != tokens);
                            live.push((tokens.clone(), id));
                        }
                    }
                    2 if !live.is_empty() => {
                        let (known, id) = live.swap_remove(rng.below(live.len()));
                        assert_eq!(tree.get(&known), Some(id));
                        tree.remove(nodes[&known]);
                        assert_eq!(tree.get(&known), None);
                        ghosts.push(known);
                    }
                    3 if !ghosts.is_empty() => {
                        let known = ghosts.swap_remove(rng.below(ghosts.len()));
                        tree.forget(nodes[&known]);
                    }
                    _ => {}
                }
                let most = rng.below(tokens.len() + 2);
                let found = tree.find(&tokens, most, block);
                let (lives, known, best) = expected(&live, &ghosts, &tokens, most, block);
                assert_eq!(found.live, lives, "case {case}: {tokens:?}");
                // A place where sequences part may be known although none of its own is.
                assert!(found.known >= known, "case {case}: {tokens:?}");
                let length = found.best.map_or(0, |(_, length)| length);
                assert_eq!(length, best, "case {case}: {tokens:?}, {most} of them at most");
                if let Some((id, length)) = found.best {
                    let (of, _) = live.iter().find(|(_, other)| *other == id).unwrap();
                    assert_eq!(of[..length], tokens[..length]);
                }
                for (of, _) in &live {
                    let above =
                        live.iter().filter(|(o, _)| o.len() < of.len() && of.starts_with(o));
                    let nearest = above.max_by_key(|(o, _)| o.len()).map(|(_, id)| *id);
                    let behind = live.iter().any(|(o, _)| o.len() > of.len() && o.starts_with(of));
                    assert_eq!(tree.neighbours(nodes[of]), (nearest, behind));
                }
            }
            for (known, _) in live.drain(..) {
                tree.remove(nodes[&known]);
                tree.forget(nodes[&known]);
            }
            ghosts.iter().for_each(|known| tree.forget(nodes[known]));
            assert!(tree.is_empty() && tree.num_tokens() == 0, "{tree:?}");
        }
    }
}
