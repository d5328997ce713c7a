//! Why there is no clip.

/// One sentence each, fit for whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request that the model cannot fulfil.
    #[error("`{field}` is {found}, expected {expected}")]
    Request {
        /// The field of the request.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be, with the nearest values that are possible.
        expected: String,
    },
    /// Words that the model has not learned.
    #[error("`{field}`: {source}")]
    Words {
        /// The field of the request.
        field: &'static str,
        /// The words.
        source: text::words::UnknownWords,
    },
    /// More memory than there may be.
    #[error("{memory}, and {} are free: expected {hint}", crate::plan::mb(*free))]
    Memory {
        /// What would be taken.
        memory: crate::plan::Memory,
        /// Bytes that may be taken beside the weights.
        free: u64,
        /// What would help.
        hint: &'static str,
    },
    /// A model whose predictions are no numbers.
    #[error("step {step} of {steps}: the model's prediction has values that are not finite")]
    NotFinite {
        /// The step, from 1.
        step: usize,
        /// How many there are.
        steps: usize,
    },
    /// Ended by who asked.
    #[error("cancelled")]
    Cancelled,
}
