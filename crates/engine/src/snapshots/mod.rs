//! What was read stays: points of sequences that others go on from.

mod store;
mod tree;

pub(crate) use store::{Found, Store};

use crate::request::Namespace;
use std::fmt;
use std::sync::Arc;

/// Names a snapshot that an engine keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

/// About a snapshot that an engine keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name.
    pub id: SnapshotId,
    /// Who may use it.
    pub namespace: Namespace,
    /// Tokens read.
    pub tokens: usize,
    /// Bytes of its memory, shared ones too.
    pub bytes: u64,
    /// Whether it stays.
    pub pinned: bool,
    /// Requests that went on from it.
    pub uses: u32,
}

/// A point of a sequence. A clone is cheap and goes its own way.
#[derive(Clone, Debug)]
pub struct Snapshot<M> {
    /// What was read.
    pub tokens: Arc<[u32]>,
    /// What is left of reading it; as many tokens.
    pub memory: M,
}

/// Why more of a prompt was not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Miss {
    /// Nothing that begins like it was known.
    Cold,
    /// All that is known of it was reused; what was known goes on otherwise.
    Diverged {
        /// Tokens that agree.
        at: usize,
    },
    /// It is known further than the last snapshot of it.
    NoSnapshot {
        /// Tokens that agree.
        known: usize,
        /// Where the snapshot was.
        at: usize,
    },
    /// More of it had been known, and was let go of for something worth more.
    Evicted {
        /// Tokens that would agree.
        known: usize,
        /// Where the snapshot was that is left, 0 for none.
        at: usize,
    },
    /// All that was known was reused, and the prompt goes on: so do conversations.
    End {
        /// Tokens that were known.
        at: usize,
    },
    /// The request wants to know how likely its prompt is, or nothing is kept here.
    Off,
}

impl Miss {
    /// All reasons in one word each, for counting.
    pub const REASONS: [&'static str; 6] =
        ["cold", "diverged", "no_snapshot", "evicted", "end", "off"];

    /// Which of [`REASONS`](Miss::REASONS).
    pub fn index(self) -> usize {
        match self {
            Self::Cold => 0,
            Self::Diverged { .. } => 1,
            Self::NoSnapshot { .. } => 2,
            Self::Evicted { .. } => 3,
            Self::End { .. } => 4,
            Self::Off => 5,
        }
    }

    /// The reason in one word.
    pub fn reason(self) -> &'static str {
        Self::REASONS[self.index()]
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())?;
        match self {
            Self::Cold | Self::Off => Ok(()),
            Self::Diverged { at } | Self::End { at } => write!(f, " at {at}"),
            Self::NoSnapshot { known, at } | Self::Evicted { known, at } => {
                write!(f, " at {at}, known to {known}")
            }
        }
    }
}

/// Where snapshots go that the engine lets go of, and come back from: files, say.
///
/// It is called on the engine's thread, so nothing here may wait.
pub trait Tier<M>: Send {
    /// Takes a snapshot that was let go of. What it holds is no longer counted by the engine.
    fn put(&mut self, namespace: Namespace, snapshot: Snapshot<M>);

    /// Tokens of the longest snapshot kept whose tokens all are the first of `tokens`, 0 for none.
    fn find(&mut self, namespace: Namespace, tokens: &[u32]) -> usize;

    /// Loads the snapshot of exactly `tokens`. Asked again at each step until it has come or cannot.
    fn load(&mut self, namespace: Namespace, tokens: &[u32]) -> Load<M>;
}

/// How loading goes.
#[derive(Debug)]
pub enum Load<M> {
    /// Ask again.
    Pending,
    /// Here it is.
    Ready(Snapshot<M>),
    /// It is not there, or broken.
    Failed,
}
