//! `/v1/chat/completions`.

use crate::app::{App, now};
use crate::auth::Client;
use crate::convert::{self, Choosing, Definition, Must, Shape};
use crate::dialogue::{Dialogue, blocking};
use crate::error::{Dialect, Error};
use crate::generate::{self, Collected, Whole};
use crate::guard::Notes;
use crate::json::Json;
use crate::kept::{assistant, call_id};
use crate::likely::Likely;
use crate::routes::json;
use crate::sse::{self, Lines, Render};
use crate::wire::chat::{
    AnswerMessage, ChatChoice, ChatChunk, ChatCompletion, ChatLogprobs, ChatRequest, ChunkChoice,
    Content, FunctionDelta, NamedTool, Progress, ReasoningEffort, Tool, ToolCallDelta, ToolChoice,
    ToolMode,
};
use crate::wire::shared::{CompletionDetails, PromptDetails, ResponseFormat, Usage};
use crate::writer::{Counts, Update};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value};
use std::sync::Arc;
use text::Delta;

pub(crate) async fn chat(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Extension(notes): Extension<Notes>,
    Json(request): Json<ChatRequest>,
) -> Result<Response, Error> {
    let model = app.model(request.model.as_deref())?;
    let view = View::of(&app, &model.served, &request);
    let (stream, id) = (request.stream == Some(true), Arc::clone(&view.id));
    let (shared, served) = (Arc::clone(&app), Arc::clone(&model.served));
    let job = move || dialogue(request, &served)?.job(&shared, &served, client, &id);
    let job = blocking(job).await?;
    let mut generation = generate::start(&app, &model, client, vec![job])?;
    if stream {
        generation.started(app.settings.ping, &notes).await?;
        return Ok(sse::response(generation, view, app.settings.ping, &model));
    }
    Ok(json(&view.whole(generation.collect(&notes).await?)))
}

/// What the request asks for.
pub(super) fn dialogue(
    request: ChatRequest,
    served: &crate::app::Served,
) -> Result<Dialogue, Error> {
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
    let max_tokens = convert::max_tokens("max_tokens", request.max_tokens)?;
    let newer = convert::max_tokens("max_completion_tokens", request.max_completion_tokens)?;
    let top = convert::top_logprobs("top_logprobs", request.top_logprobs)?;
    let logprobs = request.logprobs == Some(true);
    if request.top_logprobs.is_some() && !logprobs {
        let message = "`top_logprobs` needs `logprobs` to be true";
        return Err(Error::invalid("top_logprobs", message));
    }
    Ok(Dialogue {
        sampling: choosing.sampling(served)?,
        messages: request.messages,
        param: "messages",
        begun: None,
        variables: variables(request.chat_template_kwargs, request.reasoning_effort),
        session: request.session,
        prompt_cache_key: request.prompt_cache_key,
        seed: convert::seed(request.seed),
        n: convert::choices(request.n)?,
        max_tokens: newer.or(max_tokens),
        stop: convert::stops(request.stop)?,
        logprobs: logprobs.then_some(top),
        shape: shape_of(request.response_format)?,
        tools: definitions(request.tools.unwrap_or_default()),
        must: must(request.tool_choice),
        parallel: request.parallel_tool_calls != Some(false),
    })
}

/// What the template is told.
pub(crate) fn variables(
    said: Option<Map<String, Value>>,
    effort: Option<ReasoningEffort>,
) -> Map<String, Value> {
    let mut variables = said.unwrap_or_default();
    if let Some(effort) = effort.and_then(|effort| serde_json::to_value(effort).ok()) {
        variables.entry("reasoning_effort").or_insert(effort);
    }
    variables
}

fn shape_of(format: Option<ResponseFormat>) -> Result<Shape, Error> {
    Ok(match format {
        None | Some(ResponseFormat::Text) => Shape::Free,
        Some(ResponseFormat::JsonObject) => Shape::Object,
        Some(ResponseFormat::JsonSchema { json_schema }) => {
            let param = "response_format.json_schema.schema";
            let missing = || Error::invalid(param, format!("`{param}` is missing"));
            Shape::Schema(json_schema.schema.ok_or_else(missing)?, param)
        }
    })
}

/// Tools as all interfaces define them.
pub(crate) fn definitions(tools: Vec<Tool>) -> Vec<Definition> {
    let definition = |Tool::Function { function }| Definition {
        name: function.name,
        description: function.description,
        parameters: function.parameters,
        strict: function.strict == Some(true),
    };
    tools.into_iter().map(definition).collect()
}

/// Which tool must be called.
pub(crate) fn must(choice: Option<ToolChoice>) -> Must {
    match choice {
        None | Some(ToolChoice::Mode(ToolMode::Auto)) => Must::Auto,
        Some(ToolChoice::Mode(ToolMode::None)) => Must::None,
        Some(ToolChoice::Mode(ToolMode::Required)) => Must::Any,
        Some(ToolChoice::Named(NamedTool::Function { function })) => Must::Named(function.name),
    }
}

/// Tokens in OpenAI's words.
pub(crate) fn usage(counts: Counts) -> Usage {
    let [drafted, accepted] = counts.drafted;
    Usage {
        prompt_tokens: counts.prompt as u64,
        completion_tokens: counts.written as u64,
        total_tokens: (counts.prompt + counts.written) as u64,
        prompt_tokens_details: PromptDetails { cached_tokens: counts.cached as u64 },
        completion_tokens_details: CompletionDetails {
            reasoning_tokens: counts.reasoning as u64,
            accepted_prediction_tokens: accepted as u64,
            rejected_prediction_tokens: drafted.saturating_sub(accepted) as u64,
        },
    }
}

/// What answers to a request have in common.
#[derive(Debug)]
struct View {
    id: Arc<str>,
    created: u64,
    model: String,
    fingerprint: String,
    likely: Option<Likely>,
    include_usage: bool,
    include_progress: bool,
    /// How far the prompt is read, once that is known.
    progress: Option<Progress>,
    n: u32,
}

impl View {
    fn of(app: &App, served: &crate::app::Served, request: &ChatRequest) -> Self {
        let options = request.stream_options.as_ref();
        Self {
            id: app.ids.next("chatcmpl"),
            created: now(),
            model: served.name.clone(),
            fingerprint: served.fingerprint.clone(),
            likely: (request.logprobs == Some(true)).then(|| Likely::new(served)),
            include_usage: options.is_some_and(|options| options.include_usage == Some(true)),
            include_progress: options.is_some_and(|options| options.include_progress == Some(true)),
            progress: None,
            n: request.n.unwrap_or(1),
        }
    }

    fn whole(&self, collected: Collected) -> ChatCompletion {
        let choice = |(i, whole): (usize, &Whole)| {
            let mut message = assistant(whole, &self.id);
            message.tool_calls.iter_mut().flatten().enumerate().for_each(|(call, tool)| {
                tool.id = call_id(&self.id, i, call);
            });
            let content = message.content.and_then(|content| match content {
                Content::Text(text) => Some(text),
                Content::Parts(_) => None,
            });
            ChatChoice {
                index: i as u32,
                message: AnswerMessage {
                    role: "assistant",
                    content,
                    reasoning_content: message.reasoning_content,
                    refusal: None,
                    tool_calls: message.tool_calls.unwrap_or_default(),
                },
                logprobs: self.logprobs(&whole.logprobs),
                finish_reason: whole.finish.as_ref().map_or("stop", |finish| finish.word()),
            }
        };
        ChatCompletion {
            id: self.id.to_string(),
            object: "chat.completion",
            created: self.created,
            model: self.model.clone(),
            choices: collected.answers.iter().enumerate().map(choice).collect(),
            usage: usage(collected.counts),
            system_fingerprint: self.fingerprint.clone(),
        }
    }

    fn logprobs(&self, tokens: &[engine::TokenLogprobs]) -> Option<ChatLogprobs> {
        let likely = self.likely.as_ref()?;
        let content = tokens.iter().map(|token| likely.chat(token)).collect();
        Some(ChatLogprobs { content, refusal: None })
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<Usage>) -> ChatChunk {
        ChatChunk {
            id: self.id.to_string(),
            object: "chat.completion.chunk",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: self.fingerprint.clone(),
            choices,
            usage: self.include_usage.then_some(usage),
            progress: None,
        }
    }

    /// A chunk that tells how far the prompt is read, if that is wanted.
    fn tell_progress(&self, lines: &mut Lines) {
        if self.include_progress && self.progress.is_some() {
            let progress = self.progress.clone();
            lines.data(&ChatChunk { progress, ..self.chunk(vec![], None) });
        }
    }

    fn delta(&self, index: usize, delta: crate::wire::chat::Delta) -> ChunkChoice {
        ChunkChoice { index: index as u32, delta, logprobs: None, finish_reason: None }
    }

    /// A delta of ours as a delta of the wire.
    fn wire(&self, choice: usize, delta: Delta) -> crate::wire::chat::Delta {
        type Wire = crate::wire::chat::Delta;
        let call = |index: usize, id, kind, name, arguments| Wire {
            tool_calls: vec![ToolCallDelta {
                index: index as u32,
                id,
                kind,
                function: FunctionDelta { name, arguments },
            }],
            ..Wire::default()
        };
        match delta {
            Delta::Content(text) => Wire { content: Some(text), ..Wire::default() },
            Delta::Reasoning(text) => Wire { reasoning_content: Some(text), ..Wire::default() },
            Delta::ToolCall { index, name } => {
                let id = call_id(&self.id, choice, index);
                call(index, Some(id), Some("function"), Some(name), String::new())
            }
            Delta::ToolArguments { index, text } => call(index, None, None, None, text),
        }
    }
}

impl Render for View {
    fn begin(&mut self, lines: &mut Lines) {
        for index in 0..self.n as usize {
            let delta = crate::wire::chat::Delta {
                role: Some("assistant"),
                content: Some(String::new()),
                ..Default::default()
            };
            lines.data(&self.chunk(vec![self.delta(index, delta)], None));
        }
    }

    fn update(&mut self, update: Update, lines: &mut Lines) {
        match update {
            Update::More { choice, deltas, logprobs } => {
                let mut logprobs = self.logprobs(&logprobs).filter(|l| !l.content.is_empty());
                // Tokens at the end may have probabilities and no text.
                let nothing = (deltas.is_empty() && logprobs.is_some())
                    .then(|| Delta::Content(String::new()));
                for delta in deltas.into_iter().chain(nothing) {
                    let mut piece = self.delta(choice, self.wire(choice, delta));
                    piece.logprobs = logprobs.take();
                    lines.data(&self.chunk(vec![piece], None));
                }
            }
            Update::End { choice, finish } => {
                let mut last = self.delta(choice, crate::wire::chat::Delta::default());
                last.finish_reason = Some(finish.word());
                lines.data(&self.chunk(vec![last], None));
            }
            Update::Done(counts) => {
                if self.include_usage {
                    lines.data(&self.chunk(vec![], Some(usage(counts))));
                }
                lines.done();
            }
            Update::Started { prompt_tokens, cached_tokens, miss } => {
                let (read, total) = (cached_tokens as u64, prompt_tokens as u64);
                self.progress = Some(Progress { read, total, cached: read, miss });
                self.tell_progress(lines);
            }
            Update::Read { tokens } => {
                if let Some(progress) = &mut self.progress {
                    progress.read = tokens as u64;
                }
                self.tell_progress(lines);
            }
            Update::Prompt { .. }
            | Update::Embedding { .. }
            | Update::Failed(_)
            | Update::GivenUp => {}
        }
    }

    fn failed(&mut self, error: &Error, lines: &mut Lines) {
        let envelope: Value = error.envelope(Dialect::OpenAi, &self.id);
        lines.event("error", &envelope);
    }
}
