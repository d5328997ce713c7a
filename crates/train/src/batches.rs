//! The examples of each step, drawn ahead on threads of their own.

use crate::Recipe;
use crate::lookup::{Spec, Split, document};
use crate::tokens::Example;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use tensor::Rng;

/// Examples in groups that are computed at once.
pub(crate) type MicroBatches = Vec<Vec<Example>>;

/// Steps that a thread draws before they are wanted.
const AHEAD: usize = 2;

/// Gives the examples of one step after the other. What a step reads depends on the recipe and on
/// its number alone, so threads can draw them in any order.
#[derive(Debug)]
pub(crate) struct Batches {
    recipe: Arc<Recipe>,
    /// Thread `i` of `n` draws the steps `first + i`, `first + i + n`, …
    threads: Vec<Receiver<MicroBatches>>,
    first: u64,
    next: u64,
}

impl Batches {
    /// The examples from step `first` on, drawn by `num_threads` threads.
    pub(crate) fn new(recipe: &Recipe, first: u64, num_threads: usize) -> Self {
        let recipe = Arc::new(recipe.clone());
        let threads = (0..num_threads as u64).map(|i| {
            let (sender, receiver) = sync_channel(AHEAD);
            let recipe = Arc::clone(&recipe);
            std::thread::spawn(move || {
                let mut steps = (first + i..=recipe.total_steps()).step_by(num_threads);
                // Nobody listens any more when the run is over.
                while steps.next().is_some_and(|step| sender.send(draw(&recipe, step)).is_ok()) {}
            });
            receiver
        });
        let threads = threads.collect();
        Self { recipe, threads, first, next: first }
    }

    /// The examples of step `step`.
    pub(crate) fn take(&mut self, step: u64) -> MicroBatches {
        if step != self.next {
            *self = Self::new(&self.recipe, step, self.threads.len());
        }
        self.next += 1;
        let thread = (step - self.first) as usize % self.threads.len().max(1);
        let drawn = self.threads.get(thread).and_then(|thread| thread.recv().ok());
        // A thread that is gone, because the system refused memory or a document failed: here it
        // happens again, in sight.
        drawn.unwrap_or_else(|| draw(&self.recipe, step))
    }
}

/// The examples of a step.
fn draw(recipe: &Recipe, step: u64) -> MicroBatches {
    let stage = recipe.stage(step);
    let spec = Spec {
        split: Split::Train,
        min_bytes: stage.min_bytes,
        max_bytes: stage.max_bytes,
        questions: stage.questions,
        absent_share: stage.absent_share,
    };
    let mut rng = Rng::stream(recipe.seed, step);
    let mut groups: MicroBatches = Vec::new();
    let (mut tokens, mut in_group) = (0, usize::MAX);
    while tokens < stage.tokens_per_step {
        let document = document(&spec, &mut rng);
        let example = Example::new(&document, stage.document_weight, stage.question_weight);
        let len = example.input_ids.len();
        tokens += len;
        if in_group.saturating_add(len) > stage.tokens_per_micro_batch {
            groups.push(Vec::new());
            in_group = 0;
        }
        in_group += len;
        if let Some(group) = groups.last_mut() {
            group.push(example);
        }
    }
    groups
}
