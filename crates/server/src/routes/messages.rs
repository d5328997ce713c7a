//! `/v1/messages` and `/v1/messages/count_tokens`, Anthropic's interface.

mod input;
mod output;

use crate::app::{App, Served};
use crate::auth::Client;
use crate::convert::{self, Calling, Choosing, Definition, Must, Shape};
use crate::dialogue::{Dialogue, Said, blocking, prompt};
use crate::error::Error;
use crate::generate;
use crate::guard::Notes;
use crate::json::Json;
use crate::routes::json;
use crate::senses::perceived;
use crate::sse;
use crate::wire::messages::{
    CountRequest, CountResponse, MessagesRequest, Thinking, ToolChoice, ToolDefinition,
};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use output::View;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Most stop sequences.
const MAX_STOPS: usize = 16;

pub(crate) async fn messages(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Extension(notes): Extension<Notes>,
    Json(request): Json<MessagesRequest>,
) -> Result<Response, Error> {
    let model = app.model(Some(&request.model))?;
    let stream = request.stream == Some(true);
    let shows_thinking = !matches!(request.thinking, None | Some(Thinking::Disabled));
    let view = View::new(app.ids.next("msg"), &model.served.name, shows_thinking);
    let (shared, served, id) = (Arc::clone(&app), Arc::clone(&model.served), Arc::clone(&view.id));
    let job = move || dialogue(request, &served)?.job(&shared, &served, client, &id);
    let job = blocking(job).await?;
    let mut generation = generate::start(&app, &model, client, vec![job])?;
    if stream {
        generation.started(app.settings.ping, &notes).await?;
        return Ok(sse::response(generation, view, app.settings.ping, &model));
    }
    Ok(json(&view.whole(generation.collect(&notes).await?)))
}

pub(crate) async fn count(
    State(app): State<Arc<App>>,
    Json(request): Json<CountRequest>,
) -> Result<Response, Error> {
    let served = app.model(Some(&request.model))?.served;
    blocking(move || {
        let (messages, begun) = input::messages(request.messages, request.system.as_ref())?;
        let (messages, _rows) = perceived(&served, messages, "messages")?;
        let tools = definitions(request.tools.unwrap_or_default());
        let (must, parallel) = must(request.tool_choice);
        let calling = Calling::new(&served, tools, &must, parallel)?;
        let said = Said {
            messages: &messages,
            param: "messages",
            definitions: &calling.definitions,
            variables: &Map::new(),
            begun: begun.as_deref(),
        };
        let prompt = prompt(&served, &said, None)?;
        Ok(json(&CountResponse { input_tokens: prompt.ids.len() as u64 }))
    })
    .await
}

pub(super) fn dialogue(request: MessagesRequest, served: &Served) -> Result<Dialogue, Error> {
    if let Some(temperature) = request.temperature
        && !(0.0..=1.0).contains(&temperature)
    {
        let message = format!("`temperature` is {temperature}, expected 0 to 1");
        return Err(Error::invalid("temperature", message));
    }
    if let Some(k) = request.top_k.filter(|&k| k < 0) {
        return Err(Error::invalid("top_k", format!("`top_k` is {k}, expected 0 or more")));
    }
    if let Some(Thinking::Enabled { budget_tokens }) = request.thinking
        && (budget_tokens == 0 || budget_tokens >= request.max_tokens)
    {
        let message = format!(
            "`thinking.budget_tokens` is {budget_tokens}, expected 1 or more and less than \
             `max_tokens`"
        );
        return Err(Error::invalid("thinking.budget_tokens", message));
    }
    let choosing = Choosing {
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        ..Choosing::default()
    };
    let (messages, begun) = input::messages(request.messages, request.system.as_ref())?;
    let (must, parallel) = must(request.tool_choice);
    let stops = request.stop_sequences.unwrap_or_default();
    Ok(Dialogue {
        sampling: choosing.sampling(served)?,
        messages,
        param: "messages",
        begun,
        variables: thinking(request.thinking.as_ref()),
        session: request.session,
        prompt_cache_key: None,
        seed: convert::seed(None),
        n: 1,
        max_tokens: convert::max_tokens("max_tokens", Some(request.max_tokens))?,
        stop: convert::check_stops("stop_sequences", stops, MAX_STOPS)?,
        logprobs: None,
        shape: Shape::Free,
        tools: definitions(request.tools.unwrap_or_default()),
        must,
        parallel,
    })
}

/// What templates that can be told whether to think are told.
fn thinking(thinking: Option<&Thinking>) -> Map<String, Value> {
    let thinks = match thinking {
        None | Some(Thinking::Adaptive) => return Map::new(),
        Some(Thinking::Enabled { .. }) => true,
        Some(Thinking::Disabled) => false,
    };
    Map::from_iter([("enable_thinking".to_owned(), thinks.into())])
}

fn definitions(tools: Vec<ToolDefinition>) -> Vec<Definition> {
    let definition = |tool: ToolDefinition| Definition {
        name: tool.name,
        description: tool.description,
        parameters: Some(tool.input_schema),
        strict: false,
    };
    tools.into_iter().map(definition).collect()
}

/// Which tool must be called, and whether several may be.
fn must(choice: Option<ToolChoice>) -> (Must, bool) {
    let parallel = |disabled: Option<bool>| disabled != Some(true);
    match choice {
        None => (Must::Auto, true),
        Some(ToolChoice::Auto { disable_parallel_tool_use: d }) => (Must::Auto, parallel(d)),
        Some(ToolChoice::Any { disable_parallel_tool_use: d }) => (Must::Any, parallel(d)),
        Some(ToolChoice::Tool { name, disable_parallel_tool_use: d }) => {
            (Must::Named(name), parallel(d))
        }
        Some(ToolChoice::None) => (Must::None, true),
    }
}
