//! `/v1/responses`.

mod input;
mod output;

use crate::app::App;
use crate::auth::Client;
use crate::convert::{self, Choosing, Definition, Must, Shape};
use crate::dialogue::{Dialogue, blocking};
use crate::error::{Error, Kind};
use crate::generate;
use crate::guard::Notes;
use crate::json::Json;
use crate::routes::chat::variables;
use crate::routes::json;
use crate::sse::{self, Lines, Render as _};
use crate::wire::chat::{ChatMessage, ToolMode};
use crate::wire::responses::{
    NamedTool, ResponsesRequest, TextFormat, TextOptions, Tool, ToolChoice,
};
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use output::View;
use std::sync::Arc;

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Extension(notes): Extension<Notes>,
    Json(request): Json<ResponsesRequest>,
) -> Result<Response, Error> {
    let model = app.model(request.model.as_deref())?;
    let stream = request.stream == Some(true);
    let (shared, served) = (Arc::clone(&app), Arc::clone(&model.served));
    let prepare = move || {
        let (dialogue, messages) = asked(&shared, &served, client, &request)?;
        let view = View::new(&shared, &served, client, &request, messages, &dialogue.sampling);
        let job = dialogue.job(&shared, &served, client, &view.id)?;
        Ok((job, view))
    };
    let (job, mut view) = blocking(prepare).await?;
    let mut generation = generate::start(&app, &model, client, vec![job])?;
    if stream {
        generation.started(app.settings.ping, &notes).await?;
        return Ok(sse::response(generation, view, app.settings.ping, &model));
    }
    // The same events in the same order; only the last state is told.
    while let Some(update) = generation.next().await {
        let update = update?;
        if let crate::writer::Update::Started { cached_tokens, miss, .. } = &update {
            notes.cache(*cached_tokens, miss);
        }
        view.update(update, &mut Lines::default());
    }
    Ok(json(&view.response))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    let past = app.stored.get(client, &id).ok_or_else(gone)?;
    Ok(json(&*past.response))
}

pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    if !app.stored.delete(client, &id) {
        return Err(gone());
    }
    let deleted = crate::wire::sessions::Deleted { id, object: "response", deleted: true };
    Ok(json(&deleted))
}

fn gone() -> Error {
    Error::new(Kind::NotFound, "there is no response with this id: it was not stored, or gave way")
}

/// What the request asks for, and what was said in it and before, instructions left out.
pub(super) fn asked(
    app: &App,
    served: &crate::app::Served,
    client: Client,
    request: &ResponsesRequest,
) -> Result<(Dialogue, Vec<ChatMessage>), Error> {
    let messages = messages(app, client, request)?;
    Ok((dialogue(request, messages.clone(), served)?, messages))
}

/// What was said before and what is said now, instructions left out.
fn messages(
    app: &App,
    client: Client,
    request: &ResponsesRequest,
) -> Result<Vec<ChatMessage>, Error> {
    let mut messages = match &request.previous_response_id {
        None => Vec::new(),
        Some(id) => {
            let past = app.stored.get(client, id);
            let past = past.ok_or_else(|| Error {
                param: Some("previous_response_id".to_owned()),
                ..gone()
            })?;
            past.messages.to_vec()
        }
    };
    messages.extend(input::messages(&request.input));
    Ok(messages)
}

fn dialogue(
    request: &ResponsesRequest,
    mut messages: Vec<ChatMessage>,
    served: &crate::app::Served,
) -> Result<Dialogue, Error> {
    if request.background == Some(true) {
        let message = "`background` is true, and answers are waited for here";
        return Err(Error::invalid("background", message));
    }
    let choosing = Choosing {
        temperature: request.temperature,
        top_p: request.top_p,
        presence_penalty: request.presence_penalty,
        frequency_penalty: request.frequency_penalty,
        ..Choosing::default()
    };
    if let Some(rules) = &request.instructions {
        messages.insert(0, input::system(rules));
    }
    let top = convert::top_logprobs("top_logprobs", request.top_logprobs)?;
    Ok(Dialogue {
        sampling: choosing.sampling(served)?,
        messages,
        param: "input",
        begun: None,
        variables: variables(None, request.reasoning.as_ref().and_then(|r| r.effort)),
        session: request.session.clone(),
        prompt_cache_key: request.prompt_cache_key.clone(),
        seed: convert::seed(request.seed),
        n: 1,
        max_tokens: convert::max_tokens("max_output_tokens", request.max_output_tokens)?,
        stop: Vec::new(),
        logprobs: tells_logprobs(request).then_some(top),
        shape: shape(request.text.as_ref()),
        tools: request.tools.iter().flatten().map(definition).collect(),
        must: must(request.tool_choice.as_ref()),
        parallel: request.parallel_tool_calls != Some(false),
    })
}

/// Whether to tell how likely the text is.
fn tells_logprobs(request: &ResponsesRequest) -> bool {
    let include = request.include.iter().flatten();
    include.into_iter().any(|what| what == "message.output_text.logprobs")
        || request.top_logprobs.is_some_and(|n| n > 0)
}

fn shape(options: Option<&TextOptions>) -> Shape {
    match options.and_then(|options| options.format.as_ref()) {
        None | Some(TextFormat::Text) => Shape::Free,
        Some(TextFormat::JsonObject) => Shape::Object,
        Some(TextFormat::JsonSchema { schema, .. }) => {
            Shape::Schema(schema.clone(), "text.format.schema")
        }
    }
}

fn definition(Tool::Function(function): &Tool) -> Definition {
    Definition {
        name: function.name.clone(),
        description: function.description.clone(),
        parameters: function.parameters.clone(),
        strict: function.strict == Some(true),
    }
}

fn must(choice: Option<&ToolChoice>) -> Must {
    match choice {
        None | Some(ToolChoice::Mode(ToolMode::Auto)) => Must::Auto,
        Some(ToolChoice::Mode(ToolMode::None)) => Must::None,
        Some(ToolChoice::Mode(ToolMode::Required)) => Must::Any,
        Some(ToolChoice::Named(NamedTool::Function { name })) => Must::Named(name.clone()),
    }
}
