//! One step: what is read, reading it, and what comes of it.

use super::Engine;
use crate::event::{Event, FinishReason};
use crate::job::{Job, Phase, Reading};
use crate::ledger::{Ledger, Owner};
use crate::model::{Memory, Model, Piece, Rows};
use crate::request::{Keep, RequestId};
use crate::sampling::{finite_best, logprobs};
use crate::sequence::{Sequence, Written};
use models::is_content;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Most logits of a step, and most numbers of hidden states, beside one row for each sequence: 64 MiB.
const MAX_LOGITS: usize = 1 << 24;

impl<M: Model> Engine<M> {
    /// Begins what can begin, reads one token of each answer and some of the prompts, and tells what
    /// happened since the last step. Without anything to do it does nothing.
    pub fn step(&mut self) -> Vec<(RequestId, Event<M::Memory>)> {
        self.clients.begin_step();
        self.admit();
        self.plan();
        if self.running.iter().any(Job::reads) {
            self.read();
        }
        self.take_snapshots();
        std::mem::take(&mut self.events)
    }

    /// Decides how much each job reads: answers first, then prompts while tokens are left.
    fn plan(&mut self) {
        let limit = self.limits.step_tokens;
        let mut rows = MAX_LOGITS / self.model.vocab_size().max(1);
        // Rows of hidden states, as `rows` of logits.
        let mut states = MAX_LOGITS / self.model.row_width().max(1);
        let mut left = limit;
        for job in &mut self.running {
            let Phase::Writing(sequences) = &mut job.phase else { continue };
            left = left.saturating_sub(sequences.len());
            for sequence in sequences {
                let guesses = sequence.guess(&*self.model, &job.request, left.min(rows));
                left -= guesses;
                rows -= guesses;
            }
        }
        let mut left = left.max(limit / 8).max(1);
        let mut reading: Vec<usize> = (0..self.running.len())
            .filter(|&i| matches!(self.running[i].phase, Phase::Reading(_)))
            .collect();
        while left > 0 {
            // What is handed out counts, so that clients take turns within a step as well.
            let order = |&&i: &&usize| {
                let job = &self.running[i];
                (self.clients.served(job.request.client), job.tag, job.id)
            };
            let Some(&next) = reading.iter().min_by_key(order) else { break };
            reading.retain(|&i| i != next);
            let Job { phase, request, stops, .. } = &mut self.running[next];
            let Phase::Reading(Reading { memory, piece }) = phase else { continue };
            let read = memory.tokens();
            let stop = stops.last().copied().unwrap_or(request.input_ids.len());
            *piece = (stop - read).min(left);
            if request.reads_rows() {
                let rows = if request.embed { &mut states } else { &mut rows };
                *piece = (*piece).min((*rows).max(1));
                *rows = rows.saturating_sub(*piece);
            }
            left -= *piece;
            self.clients.charge(request.client, *piece);
        }
    }

    /// Lets the model read, and hands out what it gives.
    fn read(&mut self) {
        let mut pieces: Vec<Piece<'_, M::Memory>> = Vec::new();
        // Those that are embedded come last.
        let mut embedded = Vec::new();
        for job in &mut self.running {
            if job.request.embed {
                embedded.push(job);
            } else {
                job.push_pieces(&mut pieces);
            }
        }
        let others = pieces.len();
        embedded.into_iter().for_each(|job| job.push_pieces(&mut pieces));
        let tokens: usize = pieces.iter().map(|piece| piece.input_ids.len()).sum();
        let before: Vec<usize> = pieces.iter().map(|piece| piece.memory.tokens()).collect();
        for (piece, &read) in pieces.iter().zip(&before) {
            self.ledger.remove(Owner::Running, piece.memory.parts(read));
        }
        let model = &*self.model;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let (others, embedded) = pieces.split_at_mut(others);
            let output = Output {
                logits: rows(others, |pieces| model.read(pieces)),
                hidden: rows(embedded, |pieces| model.hidden(pieces)),
            };
            for (piece, read) in pieces.iter().zip(&before) {
                assert_eq!(piece.memory.tokens(), read + piece.input_ids.len(), "tokens read");
            }
            output
        }));
        self.counts.steps += 1;
        match result {
            Ok(output) => {
                for (piece, &read) in pieces.iter().zip(&before) {
                    self.ledger.add(Owner::Running, piece.memory.parts(read));
                }
                self.counts.tokens_read += tokens as u64;
                self.counts.faults_in_a_row = 0;
                self.advance(&output);
            }
            Err(panic) => self.fail(panic.as_ref()),
        }
    }

    /// What the sequences of a step have read is lost, and nobody knows how far it was changed.
    fn fail(&mut self, panic: &(dyn Any + Send)) {
        self.counts.faults += 1;
        self.counts.faults_in_a_row += 1;
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "it gave no reason".to_owned());
        let reason = FinishReason::Failed(format!("the model failed: {text}"));
        let (failed, kept) = std::mem::take(&mut self.running).into_iter().partition(Job::reads);
        self.running = kept;
        let failed: Vec<Job<M::Memory>> = failed;
        for mut job in failed {
            for choice in job.open_choices() {
                self.counts.finished(&reason, 1);
                let reason = reason.clone();
                self.events.push((job.id, Event::Finished { choice, reason }));
            }
            job.phase = Phase::Writing(Vec::new());
            self.close(job);
        }
        // Parts of memories that are lost cannot be told any more, so all is counted anew.
        self.ledger = Ledger::default();
        for job in &self.running {
            let ends = job.ends.iter().map(|(_, end)| &end.memory);
            for memory in job.memories().chain(ends) {
                self.ledger.add(Owner::Running, memory.parts(0));
            }
        }
        for (owner, memory) in self.store.memories() {
            self.ledger.add(owner, memory.parts(0));
        }
    }

    /// Hands out what the model gave in a step.
    fn advance(&mut self, output: &Output) {
        let (mut row, mut embedded) = (0, 0);
        let logits = &output.logits;
        for mut job in std::mem::take(&mut self.running) {
            let done = match &job.phase {
                Phase::Reading(reading) if reading.piece == 0 => false,
                Phase::Reading(_) if job.request.embed => {
                    self.advance_embedding(&mut job, &output.hidden, &mut embedded)
                }
                Phase::Reading(_) => self.advance_prompt(&mut job, logits, &mut row),
                Phase::Writing(_) => self.advance_answers(&mut job, logits, &mut row),
            };
            if done {
                self.close(job);
            } else {
                self.running.push(job);
            }
        }
    }

    /// After a piece of a prompt; whether the job is done.
    fn advance_prompt(&mut self, job: &mut Job<M::Memory>, logits: &Rows, row: &mut usize) -> bool {
        let Phase::Reading(reading) = &mut job.phase else { return false };
        let read = reading.memory.tokens();
        let first = read - std::mem::take(&mut reading.piece);
        self.events.push((job.id, Event::Read { tokens: read }));
        let vocab_size = self.model.vocab_size();
        let ids = &job.request.input_ids;
        if let Some(top) = job.request.prompt_logprobs {
            let next = first + 1..ids.len().min(read + 1);
            let of =
                |i: usize| logprobs(&logits.row(*row + i - first - 1)[..vocab_size], ids[i], top);
            let logprobs = next.filter(|&i| !is_content(ids[i])).map(of).collect();
            *row += read - first;
            self.events.push((job.id, Event::Prompt { logprobs }));
        }
        let done = read == ids.len();
        if done && job.request.max_tokens > 0 {
            if job.request.prompt_logprobs.is_none() {
                *row += 1;
            }
            let logits = &logits.row(*row - 1)[..vocab_size];
            if let Err(error) = finite_best(logits) {
                // Nothing that was read with this prompt can be trusted.
                job.request.keep = Keep::No;
                self.finish_all(job, &FinishReason::Failed(error.to_string()));
                return true;
            }
            self.begin_answers(job, logits);
            return matches!(&job.phase, Phase::Writing(sequences) if sequences.is_empty());
        }
        if done {
            self.finish_all(job, &FinishReason::Length);
        }
        done
    }

    /// After a piece of a prompt that is embedded; whether the job is done.
    fn advance_embedding(
        &mut self,
        job: &mut Job<M::Memory>,
        hidden: &Rows,
        row: &mut usize,
    ) -> bool {
        let Phase::Reading(reading) = &mut job.phase else { return false };
        let read = reading.memory.tokens();
        let end = *row + std::mem::take(&mut reading.piece);
        self.events.push((job.id, Event::Read { tokens: read }));
        for values in (std::mem::replace(row, end)..end).map(|row| hidden.row(row)) {
            job.sum.resize(values.len(), 0.0);
            job.sum.iter_mut().zip(values).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        if read < job.request.input_ids.len() {
            return false;
        }
        let values: Vec<f32> = job.sum.iter().map(|sum| (sum / read as f64) as f32).collect();
        let reason = if values.iter().all(|value| value.is_finite()) {
            self.events.push((job.id, Event::Embedding { values }));
            FinishReason::Length
        } else {
            job.request.keep = Keep::No;
            FinishReason::Failed("a hidden state is not finite".to_owned())
        };
        self.finish_all(job, &reason);
        true
    }

    /// The prompt is read: each answer gets its first token by `logits: [vocab]`.
    fn begin_answers(&mut self, job: &mut Job<M::Memory>, logits: &[f32]) {
        let phase = std::mem::replace(&mut job.phase, Phase::Writing(Vec::new()));
        let Phase::Reading(Reading { memory, .. }) = phase else { return };
        // All of it is read.
        job.request.inserted = Vec::new();
        let first = Sequence::new(memory, &mut job.request);
        let forks: Vec<_> = (1..job.request.n).map(|choice| first.fork(choice)).collect();
        for fork in &forks {
            self.ledger.add(Owner::Running, fork.memory.parts(0));
        }
        for mut sequence in std::iter::once(first).chain(forks) {
            let mut written = Vec::new();
            let finished = sequence.write(logits, &job.request, &mut written);
            self.tell(job, sequence, written, finished);
        }
    }

    /// After a token of each answer; whether the job is done.
    fn advance_answers(
        &mut self,
        job: &mut Job<M::Memory>,
        logits: &Rows,
        row: &mut usize,
    ) -> bool {
        let Phase::Writing(sequences) = &mut job.phase else { return false };
        let vocab_size = self.model.vocab_size();
        for mut sequence in std::mem::take(sequences) {
            let rows = sequence.rows();
            let end = *row + rows;
            let before = sequence.memory.tokens() - rows;
            self.ledger.remove(Owner::Running, sequence.memory.parts(before));
            let (written, finished) = sequence.advance(logits, *row..end, vocab_size, &job.request);
            self.ledger.add(Owner::Running, sequence.memory.parts(before));
            *row = end;
            self.tell(job, sequence, written, finished);
        }
        matches!(&job.phase, Phase::Writing(sequences) if sequences.is_empty())
    }

    /// Tells what an answer wrote and goes on with it, or ends it.
    fn tell(
        &mut self,
        job: &mut Job<M::Memory>,
        sequence: Sequence<M::Memory>,
        written: Written,
        finished: Option<FinishReason>,
    ) {
        let choice = sequence.choice;
        job.usage.completion_tokens += written.len();
        self.counts.tokens_written += written.len() as u64;
        self.clients.charge(job.request.client, written.len());
        for (id, logprobs) in written {
            self.events.push((job.id, Event::Token { choice, id, logprobs }));
        }
        let Some(reason) = finished else {
            if let Phase::Writing(sequences) = &mut job.phase {
                sequences.push(sequence);
            }
            return;
        };
        let good = !matches!(reason, FinishReason::Failed(_));
        self.retire(job, sequence, good);
        self.counts.finished(&reason, 1);
        self.events.push((job.id, Event::Finished { choice, reason }));
    }
}

/// What the model gave in a step.
struct Output {
    /// Of prompts and answers.
    logits: Rows,
    /// Of prompts that are embedded.
    hidden: Rows,
}

/// What `read` gives of `pieces`: as many rows as are wanted.
fn rows<'a, M>(
    pieces: &mut [Piece<'a, M>],
    read: impl FnOnce(&mut [Piece<'a, M>]) -> Rows,
) -> Rows {
    if pieces.is_empty() {
        return Rows::new(Vec::new(), 1);
    }
    let wanted: usize = pieces.iter().map(|piece| piece.outputs).sum();
    let rows = read(pieces);
    assert!(wanted == 0 || rows.rows() == wanted, "rows of outputs");
    rows
}
