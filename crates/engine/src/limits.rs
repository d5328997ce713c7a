//! What an engine may use, and requests that it cannot take.

use crate::model::{Bytes, Memory, Model};
use crate::request::{Draft, MAX_LOGPROBS, Request};
use crate::snapshots::Snapshot;
use models::is_content;

/// What an engine may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all memories together: of answers, up to the longest they may become, and of snapshots.
    /// What is held after a step is never more, to the byte; within one a snapshot that is taken or
    /// loaded is there before others give way to it, and so are the states of answers that just ended.
    /// The model's weights and what it computes with are beside this.
    pub memory_bytes: u64,
    /// Bytes that only snapshots hold; they give way to answers as well. With 0 nothing is reused.
    pub snapshot_bytes: u64,
    /// Bytes that pinned snapshots may hold, and that therefore no answer may count on.
    pub pinned_bytes: u64,
    /// Most tokens read in a step, one of each running answer among them; prompts go on by an eighth
    /// of it however many answers run.
    pub step_tokens: usize,
    /// Most answers at a time, those whose prompts are being read among them.
    pub max_running: usize,
    /// Most requests that wait.
    pub max_waiting: usize,
    /// While a long prompt is read a snapshot is taken each time so many tokens are, and thinned out
    /// the further the reading gets from it; none with 0.
    pub ladder_tokens: usize,
}

impl Limits {
    /// One request at a time, which may take all there is, and nothing kept.
    pub fn single(step_tokens: usize) -> Self {
        Self {
            memory_bytes: u64::MAX,
            snapshot_bytes: 0,
            pinned_bytes: 0,
            step_tokens,
            max_running: 1,
            max_waiting: 1,
            ladder_tokens: 0,
        }
    }

    /// A server's: `memory_bytes` of memory, which may all be snapshots, an eighth of it pinned ones;
    /// 4096 tokens a step, 64 answers at a time, 1024 requests waiting, a ladder of 8192 tokens.
    pub fn server(memory_bytes: u64) -> Self {
        Self {
            memory_bytes,
            snapshot_bytes: memory_bytes,
            pinned_bytes: memory_bytes / 8,
            step_tokens: 4096,
            max_running: 64,
            max_waiting: 1024,
            ladder_tokens: 8192,
        }
    }
}

/// A request that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing to read.
    #[error("the prompt is empty, expected at least one token")]
    Empty,
    /// More than the model can hold.
    #[error(
        "the prompt has {prompt} tokens and the answer up to {answer}, expected at most {context} together, the model's context"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Most tokens of the answer.
        answer: usize,
        /// What the model can hold.
        context: usize,
    },
    /// An id that the model does not know.
    #[error("token {id} of the prompt is not below the vocabulary's size, {vocab_size}")]
    UnknownToken {
        /// The id.
        id: u32,
        /// Number of ids.
        vocab_size: usize,
    },
    /// A setting out of its range.
    #[error("`{field}` is {found}, expected {expected}")]
    Invalid {
        /// The field of [`Request`] or [`Sampling`](crate::Sampling).
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// More memory than there is, whoever else waits.
    #[error(
        "{prompt} tokens of prompt and {n} answers of up to {answer} need {needed} bytes of memory ({state} of state and {kv} of KV for the first, {fork} for each other), expected at most {memory}"
    )]
    TooLarge {
        /// Tokens of the prompt.
        prompt: usize,
        /// Number of answers.
        n: usize,
        /// Most tokens of each.
        answer: usize,
        /// Bytes of all.
        needed: u64,
        /// Bytes that do not grow, of the first answer.
        state: u64,
        /// Bytes that do.
        kv: u64,
        /// Bytes of each further answer.
        fork: u64,
        /// What there is: memory but for what may be pinned.
        memory: u64,
    },
    /// Others wait already; try later.
    #[error("{waiting} requests are waiting, expected fewer: try again later")]
    Full {
        /// How many.
        waiting: usize,
    },
    /// No more requests are taken.
    #[error("the engine takes no more requests: it is stopping")]
    Stopping,
}

impl Limits {
    /// Whether `model` can ever take `request` within these limits.
    ///
    /// # Errors
    ///
    /// If not; all but [`Refused::Full`] and [`Refused::Stopping`] are told here.
    pub fn check<M: Model>(&self, model: &M, request: &Request<M::Memory>) -> Result<(), Refused> {
        let (prompt, answer) = (request.input_ids.len(), request.max_tokens);
        if prompt == 0 {
            return Err(Refused::Empty);
        }
        let context = model.context();
        if prompt.saturating_add(answer) > context {
            return Err(Refused::TooLong { prompt, answer, context });
        }
        let vocab_size = model.vocab_size();
        let unknown = |id: &&u32| **id as usize >= vocab_size && !is_content(**id);
        if let Some(&id) = request.input_ids.iter().find(unknown) {
            return Err(Refused::UnknownToken { id, vocab_size });
        }
        check_inserted(model, request)?;
        within("n", request.n, 1, self.max_running)?;
        for (field, asked) in
            [("logprobs", request.logprobs), ("prompt_logprobs", request.prompt_logprobs)]
        {
            within(field, asked.unwrap_or(0), 0, MAX_LOGPROBS)?;
        }
        let Request { embed, n, prompt_logprobs, .. } = request;
        if *embed && (*n, answer, *prompt_logprobs) != (1, 0, None) {
            let told = prompt_logprobs.map_or("no", |_| "with");
            let found = format!("true with n {n}, max_tokens {answer} and {told} prompt_logprobs");
            let expected = "n 1, max_tokens 0 and no prompt_logprobs with it".to_owned();
            return Err(Refused::Invalid { field: "embed", found, expected });
        }
        if let Draft::Lookup { ngram, .. } = request.draft {
            within("draft.ngram", ngram, 1, usize::MAX)?;
        }
        request.sampling.check(vocab_size)?;
        if let Some(Snapshot { tokens, memory }) = &request.from
            && memory.tokens() != tokens.len()
        {
            let found = format!("{} tokens with a memory of {}", tokens.len(), memory.tokens());
            let expected = "a memory of its tokens".to_owned();
            return Err(Refused::Invalid { field: "from", found, expected });
        }
        let need = Need::of(model, request);
        let memory = self.memory_bytes.saturating_sub(self.pinned_bytes);
        if need.total() > memory {
            let Need { first, fork, n, .. } = need;
            let (needed, state, kv) = (need.total(), first.state, first.kv);
            return Err(Refused::TooLarge { prompt, n, answer, needed, state, kv, fork, memory });
        }
        Ok(())
    }
}

/// Whether rows stand where content ids are, in order, and are as wide as the model's.
fn check_inserted<M: Model>(model: &M, request: &Request<M::Memory>) -> Result<(), Refused> {
    let wrong = |found: String, expected: String| {
        Err(Refused::Invalid { field: "inserted", found, expected })
    };
    let mut end = 0;
    for content in &request.inserted {
        let (span, shape) = (content.span(), content.rows.shape());
        let width = model.row_width();
        if shape.len() != 2 || shape[1] != width {
            return wrong(format!("rows of shape {shape:?}"), format!("[rows, {width}]"));
        }
        let ids = request.input_ids.get(span.clone()).filter(|_| span.start >= end);
        if !ids.is_some_and(|ids| !ids.is_empty() && ids.iter().all(|&id| is_content(id))) {
            let expected = "positions of content ids of the prompt, in ascending order".to_owned();
            return wrong(format!("rows at {} to {}", span.start, span.end), expected);
        }
        end = span.end;
    }
    Ok(())
}

fn within(field: &'static str, found: usize, least: usize, most: usize) -> Result<(), Refused> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    let expected = format!("{least} to {most}");
    Err(Refused::Invalid { field, found: found.to_string(), expected })
}

/// The most memory that a request may come to need.
struct Need {
    first: Bytes,
    fork: u64,
    n: usize,
    /// Rows of pictures and sounds.
    rows: u64,
}

impl Need {
    fn of<M: Model>(model: &M, request: &Request<M::Memory>) -> Self {
        let prompt = request.input_ids.len();
        let first = model.bytes(most_read(prompt, request.max_tokens));
        let fork = fork_growth(model, prompt, request.max_tokens);
        Self { first, fork, n: request.n, rows: request.row_bytes() }
    }

    fn total(&self) -> u64 {
        let forks = self.fork.saturating_mul(self.n as u64 - 1);
        self.first.total().saturating_add(forks).saturating_add(self.rows)
    }
}

/// The most tokens that are read for an answer: all but the last one written.
pub(crate) fn most_read(prompt: usize, max_tokens: usize) -> usize {
    prompt + max_tokens.saturating_sub(1)
}

/// The most bytes that an answer beyond the first adds, which shares the prompt.
pub(crate) fn fork_growth<M: Model>(model: &M, prompt: usize, max_tokens: usize) -> u64 {
    let end = model.bytes(most_read(prompt, max_tokens)).total();
    end.saturating_sub(model.bytes(prompt).total()).saturating_add(model.fork_bytes(prompt))
}
