//! `/v1/completions`.

use crate::app::{App, Served, now};
use crate::auth::Client;
use crate::convert::{self, Choosing};
use crate::dialogue::{blocking, check_length, form_error, most_bytes, too_long};
use crate::error::{Dialect, Error};
use crate::form::Prompt;
use crate::generate::{self, Collected, Job, Whole};
use crate::guard::Notes;
use crate::json::Json;
use crate::kept::resume;
use crate::likely::Likely;
use crate::routes::chat::usage;
use crate::routes::json;
use crate::sse::{self, Lines, Render};
use crate::wire::completions::{
    Completion, CompletionChoice, CompletionLogprobs, CompletionRequest, Prompt as Wanted,
};
use crate::wire::shared::Usage;
use crate::writer::Update;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use std::sync::Arc;
use text::{AnswerForm, Delta, Specials};

/// Most prompts of a request, and most answers to all of them.
const MAX_PROMPTS: usize = 128;
/// Tokens of an answer if a request does not say, by the interface.
const MAX_TOKENS: u32 = 16;

pub(crate) async fn completions(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Extension(notes): Extension<Notes>,
    Json(request): Json<CompletionRequest>,
) -> Result<Response, Error> {
    let model = app.model(request.model.as_deref())?;
    let stream = request.stream == Some(true);
    let mut view = View::of(&app, &model.served, &request);
    let (shared, served, id) = (Arc::clone(&app), Arc::clone(&model.served), view.id.clone());
    let work = move || jobs(&shared, &served, client, request, &id);
    let jobs = blocking(work).await?;
    view.prompts = jobs.iter().map(|job| Arc::clone(&job.prompt.ids)).collect();
    let mut generation = generate::start(&app, &model, client, jobs)?;
    if stream {
        generation.started(app.settings.ping, &notes).await?;
        return Ok(sse::response(generation, view, app.settings.ping, &model));
    }
    Ok(json(&view.whole(&generation.collect(&notes).await?)))
}

pub(super) fn jobs(
    app: &App,
    served: &Arc<Served>,
    client: Client,
    request: CompletionRequest,
    id: &Arc<str>,
) -> Result<Vec<Job>, Error> {
    let choosing = Choosing {
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        min_p: request.min_p,
        repetition_penalty: request.repetition_penalty,
        presence_penalty: request.presence_penalty,
        frequency_penalty: request.frequency_penalty,
        logit_bias: request.logit_bias.as_ref(),
    };
    let sampling = choosing.sampling(served)?;
    let n = convert::choices(request.n)?;
    let echo = request.echo == Some(true);
    let max_tokens = request.max_tokens.unwrap_or(MAX_TOKENS) as usize;
    if max_tokens == 0 && !echo {
        let message = "`max_tokens` is 0, expected 1 or more without `echo`";
        return Err(Error::invalid("max_tokens", message));
    }
    if request.best_of.is_some_and(|best| best as usize != n) {
        return Err(Error::invalid(
            "best_of",
            "`best_of` is not `n`, which is all that is offered",
        ));
    }
    if request.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
        return Err(Error::invalid("suffix", "`suffix` is not offered, expected none"));
    }
    let logprobs = match request.logprobs {
        None => None,
        some => Some(convert::top_logprobs("logprobs", some)?),
    };
    let stop = convert::stops(request.stop)?;
    let prompts = prompts(served, request.prompt, "prompt", MAX_PROMPTS, Specials::Parse)?;
    if prompts.len() * n > MAX_PROMPTS {
        let found = prompts.len() * n;
        let message = format!("{found} answers to all prompts, expected {MAX_PROMPTS} at most");
        return Err(Error::invalid("prompt", message));
    }
    if request.session.is_some() && prompts.len() * n > 1 {
        return Err(Error::invalid("session", "a `session` goes with one prompt and one answer"));
    }
    let (field, key) = (request.session.as_ref(), request.prompt_cache_key.as_deref());
    let resumed = resume(app, served, client, field, key)?;
    let mut jobs = Vec::with_capacity(prompts.len());
    for ids in prompts {
        // A session's tokens come first, and the prompt is what is new.
        let ids = match &resumed.tokens {
            Some(before) if !ids.starts_with(before) => [&before[..], &ids].concat(),
            _ => ids,
        };
        check_length(served, ids.len(), "prompt")?;
        jobs.push(Job {
            from: resumed.best(&ids),
            prompt: Prompt::free(ids, vec![]),
            sampling: sampling.clone(),
            seed: convert::seed(request.seed),
            n,
            max_tokens: Some(max_tokens),
            logprobs,
            prompt_logprobs: logprobs.filter(|_| echo),
            embed: false,
            mask: None,
            form: AnswerForm { stop: stop.clone(), ..AnswerForm::default() },
            keeper: None,
            rows: None,
        });
    }
    if let [job] = &mut jobs[..] {
        job.keeper = resumed.keeper(app, served, client, vec![], &job.prompt, id);
    }
    Ok(jobs)
}

/// The prompts of the field `param` in tokens: at least one, and `most` at most.
pub(super) fn prompts(
    served: &Served,
    wanted: Wanted,
    param: &str,
    most: usize,
    specials: Specials,
) -> Result<Vec<Vec<u32>>, Error> {
    let too_many =
        |found: usize| Error::invalid(param, format!("{found} prompts, expected 1 to {most}"));
    let text = |text: String| {
        if text.len() > most_bytes(served) {
            return Err(too_long(served, text.len(), param));
        }
        let ids = served.tokenizer.encode(&text, specials);
        ids.map_err(|error| form_error(error.into(), param))
    };
    let all = match wanted {
        Wanted::Text(one) => vec![text(one)?],
        Wanted::Texts(several) if several.len() > most => {
            return Err(too_many(several.len()));
        }
        Wanted::Texts(several) => several.into_iter().map(text).collect::<Result<_, _>>()?,
        Wanted::Ids(ids) => vec![ids],
        Wanted::Lists(lists) => lists,
    };
    if all.is_empty() || all.len() > most {
        return Err(too_many(all.len()));
    }
    for ids in &all {
        if ids.is_empty() {
            return Err(Error::invalid(param, "a prompt is empty, expected at least one token"));
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= served.vocab_size) {
            let vocab = served.vocab_size;
            let message =
                format!("the token {id} of a prompt does not exist, expected ids below {vocab}");
            return Err(Error::invalid(param, message));
        }
    }
    Ok(all)
}

/// What answers to a request have in common.
#[derive(Debug)]
struct View {
    id: Arc<str>,
    created: u64,
    model: String,
    fingerprint: String,
    tokenizer: text::Tokenizer,
    likely: Option<Likely>,
    include_usage: bool,
    echo: bool,
    n: usize,
    prompts: Vec<Arc<[u32]>>,
    /// Of each answer in a stream: whether the prompt was told, and where it is, in characters.
    begun: Vec<(bool, usize)>,
}

impl View {
    fn of(app: &App, served: &Served, request: &CompletionRequest) -> Self {
        let options = request.stream_options.as_ref();
        Self {
            id: app.ids.next("cmpl"),
            created: now(),
            model: served.name.clone(),
            fingerprint: served.fingerprint.clone(),
            tokenizer: served.tokenizer.clone(),
            likely: request.logprobs.map(|_| Likely::new(served)),
            include_usage: options.is_some_and(|options| options.include_usage == Some(true)),
            echo: request.echo == Some(true),
            n: request.n.unwrap_or(1) as usize,
            prompts: Vec::new(),
            begun: Vec::new(),
        }
    }

    fn completion(
        &self,
        choices: Vec<CompletionChoice>,
        usage: Option<Option<Usage>>,
    ) -> Completion {
        Completion {
            id: self.id.to_string(),
            object: "text_completion",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: self.fingerprint.clone(),
            choices,
            usage,
        }
    }

    /// The prompt of an answer, and how likely it was, if it is to be told.
    fn prompt(
        &self,
        choice: usize,
        told: &[engine::TokenLogprobs],
        lists: &mut CompletionLogprobs,
        offset: &mut usize,
    ) -> String {
        let Some(ids) = self.prompts.get(choice / self.n).filter(|_| self.echo) else {
            return String::new();
        };
        if let Some(likely) = &self.likely {
            likely.first(lists, ids[0], offset);
            told.iter().for_each(|told| likely.add(lists, told, offset));
        }
        self.tokenizer.decode(ids)
    }

    fn whole(&self, collected: &Collected) -> Completion {
        let answers = collected.answers.iter().enumerate();
        let choices = answers.map(|(i, Whole { content, logprobs, finish, .. })| {
            let mut lists = CompletionLogprobs::default();
            let mut offset = 0;
            let told = &collected.answers[i / self.n * self.n].prompt_logprobs;
            let text = self.prompt(i, told, &mut lists, &mut offset) + content;
            if let Some(likely) = &self.likely {
                logprobs.iter().for_each(|told| likely.add(&mut lists, told, &mut offset));
            }
            CompletionChoice {
                index: i as u32,
                text,
                logprobs: self.likely.is_some().then_some(lists),
                finish_reason: Some(finish.as_ref().map_or("stop", |finish| finish.word())),
            }
        });
        self.completion(choices.collect(), Some(Some(usage(collected.counts))))
    }

    /// A piece of an answer, after its prompt if that was not told.
    fn piece(
        &mut self,
        choice: usize,
        text: &str,
        told: &[engine::TokenLogprobs],
        finish: Option<&'static str>,
        lines: &mut Lines,
    ) {
        if self.begun.len() <= choice {
            self.begun.resize(choice + 1, (false, 0));
        }
        let mut lists = CompletionLogprobs::default();
        let (begun, mut offset) = self.begun[choice];
        let before = match begun {
            false => self.prompt(choice, &[], &mut lists, &mut offset),
            true => String::new(),
        };
        if let Some(likely) = &self.likely {
            told.iter().for_each(|told| likely.add(&mut lists, told, &mut offset));
        }
        self.begun[choice] = (true, offset);
        let choice = CompletionChoice {
            index: choice as u32,
            text: before + text,
            logprobs: self.likely.is_some().then_some(lists),
            finish_reason: finish,
        };
        lines.data(&self.completion(vec![choice], self.include_usage.then_some(None)));
    }
}

impl Render for View {
    fn begin(&mut self, _lines: &mut Lines) {}

    fn update(&mut self, update: Update, lines: &mut Lines) {
        match update {
            Update::Prompt { choice, logprobs } => {
                // What comes with the prompt's own tokens; its text goes with the first piece.
                for index in choice..choice + self.n {
                    self.piece(index, "", &logprobs, None, lines);
                }
            }
            Update::More { choice, deltas, logprobs } => {
                let text = deltas.iter().map(|delta| match delta {
                    Delta::Content(text) => &text[..],
                    _ => "",
                });
                let text: String = text.collect();
                self.piece(choice, &text, &logprobs, None, lines);
            }
            Update::End { choice, finish } => {
                self.piece(choice, "", &[], Some(finish.word()), lines);
            }
            Update::Done(counts) => {
                if self.include_usage {
                    lines.data(&self.completion(vec![], Some(Some(usage(counts)))));
                }
                lines.done();
            }
            Update::Started { .. }
            | Update::Read { .. }
            | Update::Embedding { .. }
            | Update::Failed(_)
            | Update::GivenUp => {}
        }
    }

    fn failed(&mut self, error: &Error, lines: &mut Lines) {
        lines.event("error", &error.envelope(Dialect::OpenAi, &self.id));
    }
}
