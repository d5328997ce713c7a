//! The data of each step, drawn ahead on threads of their own.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

/// Steps that a thread draws before they are wanted.
const AHEAD: usize = 2;

/// Gives the data of one step after the other. What a step reads depends on the recipe and on its
/// number alone, so threads can draw them in any order.
pub(crate) struct Batches<T> {
    draw: Arc<dyn Fn(u64) -> T + Send + Sync>,
    /// Thread `i` of `n` draws the steps `first + i`, `first + i + n`, …
    threads: Vec<Receiver<T>>,
    num_threads: usize,
    first: u64,
    next: u64,
    /// The last step there is.
    last: u64,
}

impl<T: Send + 'static> Batches<T> {
    /// What `draw` gives for steps up to `last`, drawn by `num_threads` threads once the first is
    /// asked for.
    pub(crate) fn new(
        last: u64,
        num_threads: usize,
        draw: impl Fn(u64) -> T + Send + Sync + 'static,
    ) -> Self {
        Self { draw: Arc::new(draw), threads: Vec::new(), num_threads, first: 0, next: 0, last }
    }

    /// The data of step `step`, counted from 1.
    pub(crate) fn take(&mut self, step: u64) -> T {
        if step != self.next {
            self.start(step);
        }
        self.next += 1;
        let thread = (step - self.first) as usize % self.threads.len().max(1);
        let drawn = self.threads.get(thread).and_then(|thread| thread.recv().ok());
        // A thread that is gone, because the system refused memory or a draw failed: here it
        // happens again, in sight.
        drawn.unwrap_or_else(|| (self.draw)(step))
    }

    fn start(&mut self, first: u64) {
        let (num_threads, last) = (self.num_threads, self.last);
        // Threads that nobody listens to end.
        self.threads.clear();
        self.threads.extend((0..num_threads as u64).map(|i| {
            let (sender, receiver) = sync_channel(AHEAD);
            let draw = Arc::clone(&self.draw);
            std::thread::spawn(move || {
                let mut steps = (first + i..=last).step_by(num_threads);
                // Nobody listens any more when the run is over.
                while steps.next().is_some_and(|step| sender.send(draw(step)).is_ok()) {}
            });
            receiver
        }));
        (self.first, self.next) = (first, first);
    }
}

impl<T> fmt::Debug for Batches<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batches({} of {})", self.next, self.last)
    }
}
