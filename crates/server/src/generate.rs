//! One request being answered: submitted, listened to, and given up when its client is gone.

use crate::app::{App, Model};
use crate::auth::Client;
use crate::backend::{Ask, Backend, Point};
use crate::error::{Error, Kind};
use crate::form::Prompt;
use crate::guard::Notes;
use crate::kept::Keeper;
use crate::senses::Share;
use crate::writer::{Counts, Finish, Orders, Queue, Update, Writer};
use engine::{Refused, Sampling, TokenLogprobs, TokenMask};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use text::{AnswerForm, Delta};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

/// What is to be read and written.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) prompt: Prompt,
    pub(crate) sampling: Sampling,
    pub(crate) seed: u64,
    pub(crate) n: usize,
    /// Most tokens of an answer; as many as usual if not set.
    pub(crate) max_tokens: Option<usize>,
    pub(crate) logprobs: Option<usize>,
    pub(crate) prompt_logprobs: Option<usize>,
    /// Tells what the prompt comes to; nothing is written.
    pub(crate) embed: bool,
    pub(crate) mask: Option<Box<dyn TokenMask>>,
    pub(crate) form: AnswerForm,
    /// A point to go on from.
    pub(crate) from: Option<Point>,
    /// What is done with the result.
    pub(crate) keeper: Option<Keeper>,
    /// What its pictures and sounds hold of the memory for rows.
    pub(crate) rows: Option<Share>,
}

/// Prompts being answered; answers to each follow those to the one before. Dropping it cancels.
#[derive(Debug)]
pub(crate) struct Generation {
    parts: Vec<Part>,
    /// Answers of each part.
    n: usize,
    /// Taken, but not yet given out.
    taken: VecDeque<Update>,
    counts: Counts,
    over: bool,
}

/// One prompt being answered.
#[derive(Debug)]
struct Part {
    updates: UnboundedReceiver<(Update, Vec<Point>)>,
    queue: Arc<Queue>,
    backend: Arc<dyn Backend>,
    id: u64,
    keeper: Option<Keeper>,
    /// What is to be kept, as it comes.
    collected: Collected,
    saving: Option<(JoinHandle<Result<(), Error>>, Counts)>,
    over: bool,
}

/// Submits `jobs`, all with the same number of answers.
///
/// # Errors
///
/// If the engine refuses one.
pub(crate) fn start(
    app: &App,
    model: &Model,
    client: Client,
    jobs: Vec<Job>,
) -> Result<Generation, Error> {
    let n = jobs.first().map_or(1, |job| job.n);
    let parts = jobs.into_iter().map(|job| Part::start(app, model, client, job));
    let parts = parts.collect::<Result<_, _>>()?;
    Ok(Generation { parts, n, taken: VecDeque::new(), counts: Counts::default(), over: false })
}

/// Whose fault a refusal is.
fn refused(refused: Refused) -> Error {
    let message = refused.to_string();
    match refused {
        Refused::TooLong { .. } => Error::new(Kind::ContextLength, message),
        Refused::Full { .. } => Error::new(Kind::Busy, message).retry_after(Duration::from_secs(1)),
        Refused::Stopping => {
            Error::new(Kind::Unavailable, message).retry_after(Duration::from_secs(30))
        }
        Refused::Invalid { field, .. } => Error::invalid(field, message),
        Refused::TooLarge { .. } => Error::new(Kind::Memory, message),
        Refused::Empty | Refused::UnknownToken { .. } => Error::new(Kind::Invalid, message),
    }
}

impl Part {
    fn start(app: &App, model: &Model, client: Client, job: Job) -> Result<Self, Error> {
        let served = &model.served;
        let prompt_tokens = job.prompt.ids.len();
        let room = served.context.saturating_sub(prompt_tokens);
        if room == 0 {
            let context = served.context;
            let message = format!(
                "the prompt has {prompt_tokens} tokens, expected fewer than {context}, the model's \
                 context"
            );
            return Err(Error::new(Kind::ContextLength, message));
        }
        let (sender, updates) = unbounded_channel();
        let queue = Arc::new(Queue::default());
        let keep = job.keeper.is_some();
        let orders = Orders {
            tokenizer: served.tokenizer.clone(),
            form: job.form,
            n: job.n,
            prompt_tokens,
            max_unread_bytes: app.settings.max_unread_bytes,
            keep,
        };
        let metrics = Arc::clone(&model.metrics);
        let mut writer = Writer::new(&orders, Arc::clone(&queue), sender, metrics);
        let ask = Ask {
            inserted: job.prompt.rows(),
            input_ids: job.prompt.ids,
            marks: job.prompt.marks,
            sampling: job.sampling,
            seed: job.seed,
            n: job.n,
            max_tokens: job.max_tokens.unwrap_or(app.settings.default_max_tokens.min(room)),
            stop_ids: served.end_ids.clone(),
            logprobs: job.logprobs,
            prompt_logprobs: job.prompt_logprobs,
            embed: job.embed,
            mask: job.mask,
            client,
            from: job.from,
            draft: served.draft,
            keep,
        };
        let backend = Arc::clone(&served.backend);
        let rows = job.rows;
        let sink = move |event| {
            // Held as long as the engine may hold them.
            _ = &rows;
            writer.take(event)
        };
        let id = backend.submit(ask, Box::new(sink)).map_err(refused)?;
        let (keeper, collected) = (job.keeper, Collected::default());
        Ok(Self { updates, queue, backend, id, keeper, collected, saving: None, over: false })
    }

    /// What happens next; not to be asked after the end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Update, Error>> {
        if let Some((saving, counts)) = &mut self.saving {
            let saved = ready!(Pin::new(saving).poll(context)).map_err(Error::internal);
            let done = Update::Done(*counts);
            self.saving = None;
            self.over = true;
            return Poll::Ready(saved.flatten().map(|()| done));
        }
        let Some((update, points)) = ready!(self.updates.poll_recv(context)) else {
            self.over = true;
            return Poll::Ready(Err(Error::internal("the engine gave up a request in silence")));
        };
        self.queue.bytes.fetch_sub(update.bytes(), Relaxed);
        if self.queue.overflowed.load(Relaxed) {
            let message = "the client reads too slowly: too much of the answer waits for it";
            return Poll::Ready(Err(Error::new(Kind::RequestTimeout, message)));
        }
        if self.keeper.is_some() {
            self.collected.take(&update);
            // After a stop string the engine would go on; cancelled, it tells where that was.
            if let Update::End { finish: Finish::StopString(_), .. } = update {
                self.backend.cancel(self.id);
            }
        }
        match update {
            Update::Failed(error) => {
                self.over = true;
                Poll::Ready(Err(error))
            }
            Update::GivenUp => {
                self.over = true;
                let error = Error::new(Kind::Unavailable, "the answer was ended: the server stops");
                Poll::Ready(Err(error.retry_after(Duration::from_secs(30))))
            }
            Update::Done(counts) => match self.keeper.take() {
                Some(keeper) => {
                    // On its own, so that it is done even if the client goes away meanwhile.
                    let keep = keeper.keep(points, std::mem::take(&mut self.collected));
                    self.saving = Some((tokio::spawn(keep), counts));
                    self.poll(context)
                }
                None => {
                    self.over = true;
                    Poll::Ready(Ok(Update::Done(counts)))
                }
            },
            update => Poll::Ready(Ok(update)),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.over && self.saving.is_none() {
            self.backend.cancel(self.id);
        }
    }
}

impl Generation {
    /// What happens next; `None` after the end. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// If the work failed, or its client was too slow.
    pub(crate) async fn next(&mut self) -> Option<Result<Update, Error>> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Update, Error>>> {
        if let Some(update) = self.taken.pop_front() {
            return Poll::Ready(Some(Ok(update)));
        }
        if self.over {
            return Poll::Ready(None);
        }
        for (i, part) in self.parts.iter_mut().enumerate() {
            while !part.over {
                let update = match part.poll(context) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(update)) => update,
                    Poll::Ready(Err(error)) => {
                        self.over = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                };
                match update {
                    Update::Done(counts) => self.counts = self.counts.and(counts),
                    update => return Poll::Ready(Some(Ok(update.shifted(i * self.n)))),
                }
            }
        }
        if self.parts.iter().all(|part| part.over) {
            self.over = true;
            return Poll::Ready(Some(Ok(Update::Done(self.counts))));
        }
        Poll::Pending
    }

    /// Waits until it is being read, at most `longest`, and notes what was known.
    ///
    /// # Errors
    ///
    /// If the work failed.
    pub(crate) async fn started(&mut self, longest: Duration, notes: &Notes) -> Result<(), Error> {
        let Ok(Some(update)) = tokio::time::timeout(longest, self.next()).await else {
            return Ok(());
        };
        let update = update?;
        if let Update::Started { cached_tokens, miss, .. } = &update {
            notes.cache(*cached_tokens, miss);
        }
        self.taken.push_back(update);
        Ok(())
    }

    /// All of it.
    ///
    /// # Errors
    ///
    /// If the work failed.
    pub(crate) async fn collect(mut self, notes: &Notes) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        while let Some(update) = self.next().await {
            let update = update?;
            if let Update::Started { cached_tokens, miss, .. } = &update {
                notes.cache(*cached_tokens, miss);
            }
            collected.take(&update);
        }
        Ok(collected)
    }
}

/// Whole answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Collected {
    pub(crate) answers: Vec<Whole>,
    pub(crate) counts: Counts,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Whole {
    pub(crate) content: String,
    pub(crate) reasoning: String,
    /// Names and arguments.
    pub(crate) calls: Vec<(String, String)>,
    pub(crate) logprobs: Vec<TokenLogprobs>,
    /// Of the prompt from its second token on, in the first answer to it.
    pub(crate) prompt_logprobs: Vec<TokenLogprobs>,
    /// What the prompt comes to, `[hidden_size]`, if it was asked for.
    pub(crate) embedding: Vec<f32>,
    pub(crate) finish: Option<Finish>,
}

impl Collected {
    /// Takes note of `update`.
    pub(crate) fn take(&mut self, update: &Update) {
        match update {
            Update::More { choice, deltas, logprobs } => {
                let whole = self.answer(*choice);
                whole.logprobs.extend_from_slice(logprobs);
                deltas.iter().for_each(|delta| whole.take(delta));
            }
            Update::Prompt { choice, logprobs } => {
                self.answer(*choice).prompt_logprobs.extend_from_slice(logprobs);
            }
            Update::Embedding { choice, values } => {
                self.answer(*choice).embedding.clone_from(values);
            }
            Update::End { choice, finish } => {
                self.answer(*choice).finish = Some(finish.clone());
            }
            Update::Done(counts) => self.counts = *counts,
            Update::Started { .. } | Update::Read { .. } | Update::Failed(_) | Update::GivenUp => {}
        }
    }

    fn answer(&mut self, choice: usize) -> &mut Whole {
        if self.answers.len() <= choice {
            self.answers.resize_with(choice + 1, Whole::default);
        }
        &mut self.answers[choice]
    }
}

impl Whole {
    fn take(&mut self, delta: &Delta) {
        match delta {
            Delta::Content(text) => self.content.push_str(text),
            Delta::Reasoning(text) => self.reasoning.push_str(text),
            Delta::ToolCall { name, .. } => self.calls.push((name.clone(), String::new())),
            Delta::ToolArguments { index, text } => {
                if let Some((_, arguments)) = self.calls.get_mut(*index) {
                    arguments.push_str(text);
                }
            }
        }
    }
}
