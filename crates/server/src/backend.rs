//! The engine as the routes see it: requests in, events out, memories without their type.
//!
//! Routes do not care what a model's memory is made of, and tests want engines that say what they
//! are told to; so this is a trait, and [`Local`] is the one for real engines.

use crate::auth::Client;
use engine::{
    ContentRows, Draft, Engine, FinishReason, Flow, Handle, Keep, Memory, Model, Namespace,
    Refused, Request, RequestId, Sampling, Snapshot, Stats, TokenLogprobs, TokenMask,
};
use std::any::Any;
use std::sync::Arc;

/// What answers requests.
pub trait Backend: std::fmt::Debug + Send + Sync {
    /// Takes a request. `sink` gets its events in order, on a thread of the engine: it must not
    /// block, and ends the request by [`Flow::Stop`].
    ///
    /// # Errors
    ///
    /// If it cannot be taken.
    fn submit(&self, ask: Ask, sink: Sink) -> Result<u64, Refused>;

    /// Ends a request before the next step, if it is under way.
    fn cancel(&self, id: u64);

    /// Points along `tokens` that are known, shortest first.
    fn points(&self, client: Client, tokens: &Arc<[u32]>) -> Vec<Point>;

    /// What goes on.
    fn stats(&self) -> Stats;

    /// Whether it can still answer.
    fn is_healthy(&self) -> bool;

    /// Ends all requests and takes no more.
    fn stop(&self);
}

/// What gets the events of a request.
pub type Sink = Box<dyn FnMut(Event) -> Flow + Send>;

/// Who asks, for what.
#[derive(Debug)]
pub struct Ask {
    /// The prompt, at least one token.
    pub input_ids: Arc<[u32]>,
    /// Pictures and sounds that stand for tokens of it, in ascending order.
    pub inserted: Vec<ContentRows>,
    /// Positions where others may go on, such as the end of a text that is asked about.
    pub marks: Vec<usize>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Decides the choice where it is free.
    pub seed: u64,
    /// Number of answers.
    pub n: usize,
    /// Most tokens of each.
    pub max_tokens: usize,
    /// Tokens that end an answer; they are not part of it.
    pub stop_ids: Vec<u32>,
    /// Tells how likely what is written is, and so many others.
    pub logprobs: Option<usize>,
    /// The same of the prompt.
    pub prompt_logprobs: Option<usize>,
    /// Tells what the prompt comes to; nothing is written.
    pub embed: bool,
    /// What may be written.
    pub mask: Option<Box<dyn TokenMask>>,
    /// Whose memory may be used.
    pub client: Client,
    /// A point to go on from, as far as the prompt agrees with it.
    pub from: Option<Point>,
    /// Whether tokens are guessed ahead.
    pub draft: Draft,
    /// Whether to give the points where the answers ended.
    pub keep: bool,
}

/// A point of a sequence that can be gone on from. What its memory is, only the engine and the
/// store of sessions know.
#[derive(Clone)]
pub struct Point {
    /// What was read.
    pub tokens: Arc<[u32]>,
    /// What is left of it in the model.
    pub memory: Arc<dyn Any + Send + Sync>,
}

impl Point {
    fn of<M: Send + Sync + 'static>(Snapshot { tokens, memory }: Snapshot<M>) -> Self {
        Self { tokens, memory: Arc::new(memory) }
    }
}

impl std::fmt::Debug for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Point").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}

/// What happens to a request, in order.
#[derive(Debug)]
pub enum Event {
    /// It is being read.
    Started {
        /// Tokens that were known.
        cached_tokens: usize,
        /// Why not more were.
        miss: String,
    },
    /// So many tokens of the prompt are read.
    Read {
        /// Tokens, those that were known included.
        tokens: usize,
    },
    /// How likely more tokens of the prompt were, from the second on.
    Prompt(Vec<TokenLogprobs>),
    /// What the prompt comes to, `[hidden_size]`, not normalized.
    Embedding(Vec<f32>),
    /// A token was written.
    Token {
        /// Of which answer.
        choice: usize,
        /// The token.
        id: u32,
        /// How likely it was, if asked.
        logprobs: Option<TokenLogprobs>,
    },
    /// An answer ended.
    Finished {
        /// Which.
        choice: usize,
        /// Why.
        reason: FinishReason,
    },
    /// All did; nothing follows.
    Done {
        /// Tokens drafted and of these accepted.
        drafted: [usize; 2],
        /// Where each ended, if asked.
        points: Vec<Point>,
    },
}

/// A real engine, on its thread.
pub struct Local<M: Model>(Handle<M>);

impl<M: Model> Local<M> {
    /// The engine that `handle` reaches.
    pub fn new(handle: Handle<M>) -> Self {
        Self(handle)
    }
}

impl<M: Model> std::fmt::Debug for Local<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Local").field(&self.0).finish()
    }
}

impl<M: Model> Backend for Local<M>
where
    M::Memory: Sync,
{
    fn submit(&self, ask: Ask, mut sink: Sink) -> Result<u64, Refused> {
        let Client(client) = ask.client;
        let from = ask.from.and_then(|point| {
            let memory = point.memory.downcast_ref::<M::Memory>()?.clone();
            Some(Snapshot { tokens: point.tokens, memory })
        });
        let request = Request {
            inserted: ask.inserted,
            sampling: ask.sampling,
            seed: ask.seed,
            n: ask.n,
            stop_ids: ask.stop_ids,
            logprobs: ask.logprobs,
            prompt_logprobs: ask.prompt_logprobs,
            embed: ask.embed,
            mask: ask.mask,
            namespace: Namespace(client),
            client,
            // Nobody goes on with a text that is embedded.
            keep: if ask.embed { Keep::No } else { Keep::Usual },
            marks: ask.marks,
            from,
            draft: ask.draft,
            give_ends: ask.keep,
            ..Request::new(ask.input_ids, ask.max_tokens)
        };
        let submitted = self.0.submit(request, move |event| sink(Event::of(event)));
        submitted.map(|RequestId(id)| id)
    }

    fn cancel(&self, id: u64) {
        self.0.cancel(RequestId(id));
    }

    fn points(&self, Client(client): Client, tokens: &Arc<[u32]>) -> Vec<Point> {
        let tokens = Arc::clone(tokens);
        let along = move |engine: &mut Engine<M>| engine.along(Namespace(client), &tokens);
        let found = self.0.with(along).unwrap_or_default();
        found.into_iter().map(Point::of).collect()
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }

    fn is_healthy(&self) -> bool {
        self.0.is_healthy()
    }

    fn stop(&self) {
        self.0.stop();
    }
}

impl Event {
    /// An engine's event, memories without their type.
    fn of<M: Memory + Sync>(event: engine::Event<M>) -> Self {
        match event {
            engine::Event::Started { cached_tokens, miss } => {
                let miss = miss.map_or_else(|| "none".to_owned(), |miss| miss.to_string());
                Self::Started { cached_tokens, miss }
            }
            engine::Event::Read { tokens } => Self::Read { tokens },
            engine::Event::Prompt { logprobs } => Self::Prompt(logprobs),
            engine::Event::Embedding { values } => Self::Embedding(values),
            engine::Event::Token { choice, id, logprobs } => Self::Token { choice, id, logprobs },
            engine::Event::Finished { choice, reason } => Self::Finished { choice, reason },
            engine::Event::Done { usage, snapshots } => Self::Done {
                drafted: [usage.drafted, usage.accepted],
                points: snapshots.into_iter().map(|(_, end)| Point::of(end)).collect(),
            },
        }
    }
}
