//! A conversation to be answered, whichever interface it came by.

use crate::app::{App, Served};
use crate::auth::Client;
use crate::conversation::turns;
use crate::convert::{Calling, Definition, Must, Shape, shape};
use crate::error::{Error, Kind};
use crate::form::{FormError, Prompt, Talk, Turn};
use crate::generate::Job;
use crate::kept::resume;
use crate::senses::{perceived, row_bytes};
use crate::wire::chat::ChatMessage;
use crate::wire::shared::SessionField;
use engine::Sampling;
use serde_json::{Map, Value};
use std::sync::Arc;

/// All that matters of a request.
#[derive(Clone, Debug)]
pub(crate) struct Dialogue {
    pub(crate) messages: Vec<ChatMessage>,
    /// The field that they are in.
    pub(crate) param: &'static str,
    /// How the answer begins.
    pub(crate) begun: Option<String>,
    /// For the template.
    pub(crate) variables: Map<String, Value>,
    pub(crate) session: Option<SessionField>,
    pub(crate) prompt_cache_key: Option<String>,
    pub(crate) sampling: Sampling,
    pub(crate) seed: u64,
    pub(crate) n: usize,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) stop: Vec<String>,
    pub(crate) logprobs: Option<usize>,
    pub(crate) shape: Shape,
    pub(crate) tools: Vec<Definition>,
    pub(crate) must: Must,
    pub(crate) parallel: bool,
}

/// Runs what takes long off the threads that serve others.
///
/// # Errors
///
/// As `work`.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

/// What the client is told of a conversation that cannot be made a prompt.
pub(crate) fn form_error(error: FormError, param: &str) -> Error {
    let message = match error {
        FormError::NoQuestion | FormError::Places { .. } => error.to_string(),
        // Where the template is, is nothing to clients.
        FormError::Text(text::Error::Refused { reason, .. }) => {
            format!("the model's chat template refuses the messages: {reason}")
        }
        FormError::Text(text::Error::Render { reason, .. }) => {
            format!("the model's chat template fails with these messages: {reason}")
        }
        FormError::Text(error @ text::Error::Variable { .. }) => {
            return Error::invalid("chat_template_kwargs", error.to_string());
        }
        FormError::Text(error) => return Error::internal(error),
    };
    Error::invalid(param, message)
}

impl Dialogue {
    /// The work to be done for the answer `id`. Takes as long as template, tokenizer, grammar and disk
    /// do.
    ///
    /// # Errors
    ///
    /// If something makes no sense, or is too long.
    pub(crate) fn job(
        self,
        app: &App,
        served: &Arc<Served>,
        client: Client,
        id: &Arc<str>,
    ) -> Result<Job, Error> {
        if self.session.is_some() && self.n > 1 {
            return Err(Error::invalid("n", "`n` is more than 1, expected 1 with a `session`"));
        }
        let (field, key) = (self.session.as_ref(), self.prompt_cache_key.as_deref());
        let resumed = resume(app, served, client, field, key)?;
        let (new, mut rows) = perceived(served, self.messages, self.param)?;
        let said = resumed.with(new);
        let calling = Calling::new(served, self.tools, &self.must, self.parallel)?;
        let messages: Vec<_> = said.iter().map(|said| said.message.clone()).collect();
        let said_now = Said {
            messages: &messages,
            param: self.param,
            definitions: &calling.definitions,
            variables: &self.variables,
            begun: self.begun.as_deref(),
        };
        let mut prompt = prompt(served, &said_now, resumed.tokens.as_deref())?;
        prompt.recall(|seen| {
            let lately = || served.senses.as_ref()?.recall(seen.digest);
            resumed.recall(seen).or_else(lately)
        });
        rows.cover(prompt.rows().iter().map(row_bytes).fold(0, usize::saturating_add))?;
        let (form, mask) = shape(served, &prompt, self.stop, &self.shape, &calling)?;
        let from = resumed.best(&prompt.ids);
        let keeper = resumed.keeper(app, served, client, said, &prompt, id);
        Ok(Job {
            prompt,
            sampling: self.sampling,
            seed: self.seed,
            n: self.n,
            max_tokens: self.max_tokens,
            logprobs: self.logprobs,
            prompt_logprobs: None,
            embed: false,
            mask,
            form,
            from,
            keeper,
            rows: Some(rows),
        })
    }
}

/// A conversation that is to be made a prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'a> {
    pub(crate) messages: &'a [ChatMessage],
    /// The field that they are in.
    pub(crate) param: &'a str,
    /// What may be called, as templates take it.
    pub(crate) definitions: &'a [Value],
    /// For the template.
    pub(crate) variables: &'a Map<String, Value>,
    /// How the answer begins.
    pub(crate) begun: Option<&'a str>,
}

/// The prompt of a conversation, behind `before` if that is given.
///
/// # Errors
///
/// If it makes no sense, or is longer than the model's context.
pub(crate) fn prompt(
    served: &Served,
    said: &Said<'_>,
    before: Option<&[u32]>,
) -> Result<Prompt, Error> {
    let turns = turns(said.messages, said.param)?;
    // No tokenizer makes fewer tokens of a text than this: such a text need not be tried.
    let bytes = turns.iter().map(Turn::bytes).fold(0, usize::saturating_add);
    let rows = turns.iter().flat_map(|turn| &turn.seen).map(|seen| seen.rows);
    check_length(served, rows.fold(0, usize::saturating_add), said.param)?;
    if bytes > most_bytes(served) {
        return Err(too_long(served, bytes, said.param));
    }
    let Said { definitions: tools, variables, begun, .. } = *said;
    let placeholders = served.placeholders();
    let talk = Talk { turns: &turns, tools, variables, begun, placeholders };
    let prompt = match before {
        Some(tokens) => served.form.go_on(&served.tokenizer, tokens, &talk),
        None => served.form.converse(&served.tokenizer, &talk),
    };
    let prompt = prompt.map_err(|error| form_error(error, said.param))?;
    check_length(served, prompt.ids.len(), said.param)?;
    Ok(prompt)
}

/// Checks that `tokens` leave room for an answer.
///
/// # Errors
///
/// If not.
pub(crate) fn check_length(served: &Served, tokens: usize, param: &str) -> Result<(), Error> {
    let context = served.context;
    if tokens < context {
        return Ok(());
    }
    let message = format!(
        "the prompt has {tokens} tokens, expected fewer than {context}, the model's context"
    );
    Err(Error { param: Some(param.to_owned()), ..Error::new(Kind::ContextLength, message) })
}

/// What is said to a text of so many bytes, which need not be cut into tokens to be refused.
pub(crate) fn too_long(served: &Served, bytes: usize, param: &str) -> Error {
    let context = served.context;
    let message = format!(
        "the text has {bytes} bytes, which is more than the {context} tokens of the model's context \
         can hold"
    );
    Error { param: Some(param.to_owned()), ..Error::new(Kind::ContextLength, message) }
}

/// The most bytes of text that can fit in the context: no known token is longer on average.
pub(crate) fn most_bytes(served: &Served) -> usize {
    let per_token = if served.tokenizer.is_byte_level() { 1 } else { 64 };
    served.context.saturating_mul(per_token)
}
