//! Numbers about an engine.

use crate::event::FinishReason;
use crate::snapshots::Miss;

/// How an engine stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that run.
    pub running: usize,
    /// Their answers that are not finished.
    pub answers: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Snapshots kept.
    pub snapshots: usize,
    /// Bytes of all memories, shared ones once.
    pub held_bytes: u64,
    /// Bytes of them that grow with tokens: keys and values. The rest are states.
    pub kv_bytes: u64,
    /// Bytes of them that running requests hold.
    pub running_bytes: u64,
    /// Bytes of them that only snapshots hold.
    pub snapshot_bytes: u64,
    /// Bytes of them that pinned snapshots hold.
    pub pinned_bytes: u64,
    /// What happened so far.
    pub counts: Counts,
}

/// What happened since an engine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steps in which something was read.
    pub steps: u64,
    /// Tokens that the model read, guesses among them.
    pub tokens_read: u64,
    /// Tokens of answers.
    pub tokens_written: u64,
    /// Tokens guessed ahead.
    pub drafted: u64,
    /// Those of them that were right.
    pub accepted: u64,
    /// Requests begun that looked for something known.
    pub cache_queries: u64,
    /// Those of them that found something.
    pub cache_hits: u64,
    /// Tokens of their prompts.
    pub cache_queried_tokens: u64,
    /// Those of them that were reused.
    pub cache_hit_tokens: u64,
    /// Requests begun by why not more was reused, in the order of [`Miss::REASONS`].
    pub misses: [u64; Miss::REASONS.len()],
    /// Snapshots let go of for something worth more.
    pub evictions: u64,
    /// Answers ended by a stop token.
    pub stopped: u64,
    /// Answers ended by their length.
    pub at_length: u64,
    /// Answers that nobody wanted any more.
    pub cancelled: u64,
    /// Answers that failed.
    pub failed: u64,
    /// Steps in which the model panicked.
    pub faults: u64,
    /// The last ones of them, without a good one since.
    pub faults_in_a_row: u64,
}

impl Counts {
    /// So many answers ended.
    pub(crate) fn finished(&mut self, reason: &FinishReason, answers: usize) {
        let count = match reason {
            FinishReason::Stop => &mut self.stopped,
            FinishReason::Length => &mut self.at_length,
            FinishReason::Cancelled => &mut self.cancelled,
            FinishReason::Unread(_) | FinishReason::Failed(_) => &mut self.failed,
        };
        *count += answers as u64;
    }
}
