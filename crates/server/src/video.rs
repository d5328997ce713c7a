//! Clips, as the routes need them: orders that wait in a line and survive restarts, and what makes them
//! one after another.
//!
//! Models and disks are behind traits, as `backend` and `sessions` are: a [`Maker`] makes clips, a
//! [`Store`] keeps orders and results.

mod job;
mod line;
mod queue;
mod store;

pub use job::{Consistency, Facts, Job, Order, Part, Pictures, Sampler, State};
pub use line::{Limits, View};
pub use queue::Queue;
pub use store::{Content, Fill, MemoryStore, Sink, Store};

use std::ops::ControlFlow;

/// What makes clips.
pub trait Maker: std::fmt::Debug + Send + Sync {
    /// What requests call the model.
    fn name(&self) -> &str;

    /// When it was loaded, in seconds since 1970.
    fn created(&self) -> u64;

    /// The order with everything filled in that it leaves open.
    ///
    /// # Errors
    ///
    /// If the model cannot fulfil it: names the field.
    fn check(&self, order: Order, pictures: &Pictures) -> Result<Order, Refused>;

    /// Makes the clip of an order that was checked, and tells `watch` after each step, which may end it;
    /// writes each file as `keep` asks, [`Part::Video`] among them. Takes minutes; is called on one thread
    /// at a time.
    ///
    /// # Errors
    ///
    /// If it was ended, or fails.
    fn make(
        &self,
        order: &Order,
        pictures: &Pictures,
        watch: &mut Watch<'_>,
        keep: &mut Keep<'_>,
    ) -> Result<Facts, Failed>;
}

/// What is told after each step, and says whether to go on.
pub type Watch<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// What keeps a file of a clip, which is written piece by piece: gives the bytes that it has.
pub type Keep<'a> = dyn FnMut(Part, &mut Fill<'_>) -> Result<u64, Failed> + 'a;

/// An order that a model cannot fulfil.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What a field of the request says.
    Field {
        /// Its name.
        field: String,
        /// One sentence, with what was found and what is expected.
        message: String,
    },
    /// It needs more memory than there is, whoever else waits.
    Memory {
        /// One sentence, with the arithmetic and what would help.
        message: String,
    },
}

/// Why there is no clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The watch ended it.
    Ended,
    /// One sentence for whoever ordered it.
    Because(String),
}

/// How far a clip is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Steps that are done.
    pub step: usize,
    /// How many there are.
    pub steps: usize,
    /// What it looks like now, as a picture that browsers show: GIF or PNG.
    pub preview: Option<Vec<u8>>,
}
