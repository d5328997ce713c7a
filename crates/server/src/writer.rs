//! From the engine's events to pieces of answers: runs where the events happen, so that a stop
//! string ends the work at once.

use crate::backend::{Event, Point};
use crate::error::{Error, Kind};
use crate::metrics::Metrics;
use engine::{FinishReason, Flow, TokenLogprobs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;
use text::{Answer, AnswerForm, Delta, Tokenizer};
use tokio::sync::mpsc::UnboundedSender;

/// What happens to a request, as its client sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Update {
    /// It is being read.
    Started { prompt_tokens: usize, cached_tokens: usize, miss: String },
    /// So many tokens of the prompt are read, those that were known included.
    Read { tokens: usize },
    /// How likely more tokens of the prompt of an answer were, from the second on.
    Prompt { choice: usize, logprobs: Vec<TokenLogprobs> },
    /// What the prompt of an answer comes to, `[hidden_size]`, not normalized.
    Embedding { choice: usize, values: Vec<f32> },
    /// More of an answer.
    More { choice: usize, deltas: Vec<Delta>, logprobs: Vec<TokenLogprobs> },
    /// The end of an answer.
    End { choice: usize, finish: Finish },
    /// The end of all.
    Done(Counts),
    /// It failed.
    Failed(Error),
    /// It was ended before its end.
    GivenUp,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// By the model.
    Stop,
    /// By a stop string.
    StopString(String),
    /// By its length.
    Length,
    /// To wait for results of calls.
    ToolCalls,
}

impl Finish {
    /// OpenAI's word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Stop | Self::StopString(_) => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }
}

/// Tokens of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) prompt: usize,
    pub(crate) cached: usize,
    pub(crate) written: usize,
    pub(crate) reasoning: usize,
    /// Drafted and accepted.
    pub(crate) drafted: [usize; 2],
}

impl Counts {
    /// Those of two requests.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            prompt: self.prompt + other.prompt,
            cached: self.cached + other.cached,
            written: self.written + other.written,
            reasoning: self.reasoning + other.reasoning,
            drafted: [0, 1].map(|i| self.drafted[i] + other.drafted[i]),
        }
    }
}

/// What is queued for a client.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Bytes that wait.
    pub(crate) bytes: AtomicUsize,
    /// Whether there were too many.
    pub(crate) overflowed: AtomicBool,
}

/// What a writer is told of its request.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) form: AnswerForm,
    pub(crate) n: usize,
    pub(crate) prompt_tokens: usize,
    pub(crate) max_unread_bytes: usize,
    /// Whether the points where answers end are wanted: after a stop string too.
    pub(crate) keep: bool,
}

/// Takes the events of a request.
#[derive(Debug)]
pub(crate) struct Writer {
    answers: Vec<Choice>,
    counts: Counts,
    queue: Arc<Queue>,
    max_unread_bytes: usize,
    sender: UnboundedSender<(Update, Vec<Point>)>,
    metrics: Arc<Metrics>,
    submitted: Instant,
    keep: bool,
    done: bool,
}

#[derive(Debug)]
struct Choice {
    answer: Answer,
    /// Of tokens whose text is held back.
    logprobs: Vec<TokenLogprobs>,
    ended: bool,
    last_token: Option<Instant>,
}

impl Writer {
    pub(crate) fn new(
        orders: &Orders,
        queue: Arc<Queue>,
        sender: UnboundedSender<(Update, Vec<Point>)>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let answer = Answer::new(&orders.tokenizer, orders.form.clone());
        let choice = |_| Choice {
            answer: answer.clone(),
            logprobs: Vec::new(),
            ended: false,
            last_token: None,
        };
        Self {
            answers: (0..orders.n).map(choice).collect(),
            counts: Counts { prompt: orders.prompt_tokens, ..Counts::default() },
            queue,
            max_unread_bytes: orders.max_unread_bytes,
            sender,
            metrics,
            submitted: Instant::now(),
            keep: orders.keep,
            done: false,
        }
    }

    /// Takes note of an event; whether to go on.
    pub(crate) fn take(&mut self, event: Event) -> Flow {
        match event {
            Event::Started { cached_tokens, miss } => {
                self.counts.cached = cached_tokens;
                self.metrics.prompt_tokens.fetch_add(self.counts.prompt as u64, Relaxed);
                self.metrics.cache_queries.fetch_add(self.counts.prompt as u64, Relaxed);
                self.metrics.cache_hits.fetch_add(cached_tokens as u64, Relaxed);
                let prompt_tokens = self.counts.prompt;
                self.send(Update::Started { prompt_tokens, cached_tokens, miss });
            }
            Event::Read { tokens } => self.send(Update::Read { tokens }),
            Event::Prompt(logprobs) => self.send(Update::Prompt { choice: 0, logprobs }),
            Event::Embedding(values) => self.send(Update::Embedding { choice: 0, values }),
            Event::Token { choice, id, logprobs } => self.token(choice, id, logprobs),
            Event::Finished { choice, reason } => self.finished(choice, reason),
            Event::Done { drafted, points } => {
                self.counts.drafted = drafted;
                if self.all_ended() { self.done(points) } else { self.given_up() }
            }
        }
        let gone = self.sender.is_closed() || self.queue.overflowed.load(Relaxed);
        let enough = self.all_ended() && !self.keep;
        if gone || self.done || enough { Flow::Stop } else { Flow::Go }
    }

    fn token(&mut self, index: usize, id: u32, logprobs: Option<TokenLogprobs>) {
        let Some(choice) = self.answers.get_mut(index) else { return };
        if choice.ended {
            return;
        }
        let now = Instant::now();
        match choice.last_token.replace(now) {
            Some(last) => self.metrics.inter_token_latency.observe(now - last),
            None => self.metrics.time_to_first_token.observe(now - self.submitted),
        }
        self.metrics.generation_tokens.fetch_add(1, Relaxed);
        self.counts.written += 1;
        choice.logprobs.extend(logprobs);
        let deltas = choice.answer.push(id);
        self.counts.reasoning += usize::from(choice.answer.is_reasoning());
        let stopped = choice.answer.stopped_by().map(str::to_owned);
        if !deltas.is_empty() {
            let logprobs = std::mem::take(&mut choice.logprobs);
            self.send(Update::More { choice: index, deltas, logprobs });
        }
        if let Some(string) = stopped {
            self.end(index, text::FinishReason::Stop, Some(string));
            // Otherwise the engine still tells where the answers ended.
            if self.all_ended() && !self.keep {
                self.done(Vec::new());
            }
        }
    }

    fn all_ended(&self) -> bool {
        self.answers.iter().all(|choice| choice.ended)
    }

    fn finished(&mut self, choice: usize, reason: FinishReason) {
        match reason {
            FinishReason::Stop => self.end(choice, text::FinishReason::Stop, None),
            FinishReason::Length => self.end(choice, text::FinishReason::Length, None),
            // After a stop string there is nothing more to say.
            FinishReason::Cancelled if self.answers.get(choice).is_some_and(|c| c.ended) => {}
            FinishReason::Cancelled => self.given_up(),
            FinishReason::Failed(reason) => self.failed(Error::internal(reason)),
            FinishReason::Unread(_) => {
                let message = reason.failure().unwrap_or_default();
                self.failed(Error::new(Kind::Invalid, message));
            }
        }
    }

    fn end(&mut self, index: usize, reason: text::FinishReason, string: Option<String>) {
        let Some(choice) = self.answers.get_mut(index) else { return };
        if std::mem::replace(&mut choice.ended, true) {
            return;
        }
        let (deltas, reason) = choice.answer.finish(reason);
        let logprobs = std::mem::take(&mut choice.logprobs);
        // A stop string may be found in what was left.
        let string = string.or_else(|| choice.answer.stopped_by().map(str::to_owned));
        if !deltas.is_empty() || !logprobs.is_empty() {
            self.send(Update::More { choice: index, deltas, logprobs });
        }
        let finish = match (reason, string) {
            (text::FinishReason::ToolCalls, _) => Finish::ToolCalls,
            (_, Some(string)) => Finish::StopString(string),
            (text::FinishReason::Length, None) => Finish::Length,
            (text::FinishReason::Stop, None) => Finish::Stop,
        };
        self.metrics.finished(finish.word());
        self.send(Update::End { choice: index, finish });
    }

    /// By a client that is gone, or because the server stops.
    fn given_up(&mut self) {
        if !std::mem::replace(&mut self.done, true) {
            self.metrics.finished("abort");
            self.send(Update::GivenUp);
        }
    }

    fn failed(&mut self, error: Error) {
        if !std::mem::replace(&mut self.done, true) {
            self.metrics.finished("error");
            self.send(Update::Failed(error));
        }
    }

    fn done(&mut self, points: Vec<Point>) {
        if !std::mem::replace(&mut self.done, true) {
            self.metrics.request_latency.observe(self.submitted.elapsed());
            self.send_with(Update::Done(self.counts), points);
        }
    }

    fn send(&self, update: Update) {
        self.send_with(update, Vec::new());
    }

    fn send_with(&self, update: Update, points: Vec<Point>) {
        let bytes = update.bytes();
        if self.queue.bytes.fetch_add(bytes, Relaxed) + bytes > self.max_unread_bytes {
            self.queue.overflowed.store(true, Relaxed);
        }
        // Nobody listens any more if this fails, which is found out by the caller.
        _ = self.sender.send((update, points));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.all_ended() { self.done(Vec::new()) } else { self.given_up() }
    }
}

impl Update {
    /// The same of answers whose numbers begin at `base`.
    pub(crate) fn shifted(mut self, base: usize) -> Self {
        match &mut self {
            Self::More { choice, .. }
            | Self::End { choice, .. }
            | Self::Prompt { choice, .. }
            | Self::Embedding { choice, .. } => *choice += base,
            Self::Started { .. }
            | Self::Read { .. }
            | Self::Done(_)
            | Self::Failed(_)
            | Self::GivenUp => {}
        }
        self
    }

    /// About what it takes on the wire.
    pub(crate) fn bytes(&self) -> usize {
        const FRAME: usize = 256;
        match self {
            Self::More { deltas, logprobs, .. } => {
                let text = |delta: &Delta| match delta {
                    Delta::Content(text) | Delta::Reasoning(text) => FRAME + text.len(),
                    Delta::ToolCall { name, .. } => FRAME + name.len(),
                    Delta::ToolArguments { text, .. } => FRAME + text.len(),
                };
                let probabilities = logprobs.iter().map(|p| 64 * (1 + p.top.len())).sum::<usize>();
                deltas.iter().map(text).sum::<usize>() + probabilities
            }
            // Part of the request, and not of what was written since.
            Self::Prompt { .. } | Self::Read { .. } => 0,
            Self::Embedding { values, .. } => size_of_val(&values[..]),
            _ => FRAME,
        }
    }
}
