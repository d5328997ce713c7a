//! A request at work: its prompt is read, then its answers are written.

use crate::content::rows_of;
use crate::event::Usage;
use crate::model::{Memory, Piece};
use crate::request::{Request, RequestId};
use crate::sequence::Sequence;
use crate::snapshots::{Snapshot, SnapshotId};

/// A request at work.
#[derive(Debug)]
pub(crate) struct Job<M> {
    pub(crate) id: RequestId,
    pub(crate) request: Request<M>,
    /// Its place among the requests of its client, lowest first.
    pub(crate) tag: u64,
    pub(crate) phase: Phase<M>,
    pub(crate) usage: Usage,
    /// Uses of what it goes on from, which count for its snapshots.
    pub(crate) heritage: u32,
    /// Where to stop reading the prompt for a snapshot, in descending order.
    pub(crate) stops: Vec<usize>,
    /// Snapshots of the ladder, by their number.
    pub(crate) rungs: Vec<(usize, SnapshotId)>,
    /// The sum of hidden states so far, `[hidden_size]`, of a prompt that is embedded.
    pub(crate) sum: Vec<f64>,
    /// Where its answers ended.
    pub(crate) ends: Vec<(usize, Snapshot<M>)>,
}

/// What it is at.
#[derive(Debug)]
pub(crate) enum Phase<M> {
    /// The prompt.
    Reading(Reading<M>),
    /// The answers that are not finished.
    Writing(Vec<Sequence<M>>),
}

/// A prompt while it is read.
#[derive(Debug)]
pub(crate) struct Reading<M> {
    pub(crate) memory: M,
    /// Tokens to read in this step.
    pub(crate) piece: usize,
}

impl<M: Memory> Job<M> {
    /// Memories that may grow.
    pub(crate) fn memories(&self) -> impl Iterator<Item = &M> {
        let (reading, writing) = match &self.phase {
            Phase::Reading(reading) => (Some(&reading.memory), &[][..]),
            Phase::Writing(sequences) => (None, &sequences[..]),
        };
        reading.into_iter().chain(writing.iter().map(|sequence| &sequence.memory))
    }

    /// Adds what is to be read in this step to `pieces`.
    pub(crate) fn push_pieces<'a>(&'a mut self, pieces: &mut Vec<Piece<'a, M>>) {
        match &mut self.phase {
            Phase::Reading(Reading { memory, piece, .. }) if *piece > 0 => {
                let ids = &self.request.input_ids;
                let read = memory.tokens();
                let input_ids = &ids[read..read + *piece];
                let outputs = if self.request.reads_rows() {
                    input_ids.len()
                } else {
                    usize::from(read + *piece == ids.len() && self.request.max_tokens > 0)
                };
                let inserted = rows_of(&self.request.inserted, read..read + *piece);
                pieces.push(Piece { memory, input_ids, inserted, outputs });
            }
            Phase::Reading(_) => {}
            Phase::Writing(sequences) => pieces.extend(sequences.iter_mut().map(|sequence| {
                let (memory, input_ids) = sequence.piece();
                let inserted = Vec::new();
                Piece { memory, input_ids, inserted, outputs: input_ids.len() }
            })),
        }
    }

    /// Whether it takes part in this step.
    pub(crate) fn reads(&self) -> bool {
        match &self.phase {
            Phase::Reading(reading) => reading.piece > 0,
            Phase::Writing(_) => true,
        }
    }

    /// Answers that are not finished: all while the prompt is read.
    pub(crate) fn open_choices(&self) -> Vec<usize> {
        match &self.phase {
            Phase::Reading(_) => (0..self.request.n).collect(),
            Phase::Writing(sequences) => sequences.iter().map(|sequence| sequence.choice).collect(),
        }
    }
}
