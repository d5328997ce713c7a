//! Models, version, health, metrics.

use crate::app::{App, Phase, Served};
use crate::error::{Error, Kind};
use crate::metrics::{Page, label, write_engine};
use crate::routes::{json, typed};
use crate::senses::Sense;
use crate::wire::info::{Health, ModelCard, ModelList, Version};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use std::sync::Arc;

/// Of the program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a prompt may hold.
fn modalities(served: &Served) -> Vec<&'static str> {
    let has = |sense| served.senses.as_ref().is_some_and(|senses| senses.has(sense));
    let senses = [(Sense::Sight, "image"), (Sense::Hearing, "audio")];
    let senses = senses.into_iter().filter(|&(sense, _)| has(sense)).map(|(_, name)| name);
    ["text"].into_iter().chain(senses).collect()
}

fn card(model: &crate::app::Model) -> ModelCard {
    ModelCard {
        id: model.served.name.clone(),
        object: "model",
        created: model.served.created,
        owned_by: "fulgurite",
        max_model_len: Some(model.served.context),
        input_modalities: modalities(&model.served),
    }
}

/// All models, those for text first.
fn cards(app: &App) -> Vec<ModelCard> {
    let video = app.queue().map(|queue| ModelCard {
        id: queue.maker().name().to_owned(),
        object: "model",
        created: queue.maker().created(),
        owned_by: "fulgurite",
        max_model_len: None,
        input_modalities: Vec::new(),
    });
    app.models().iter().map(card).chain(video).collect()
}

pub(crate) async fn models(State(app): State<Arc<App>>) -> Response {
    json(&ModelList { object: "list", data: cards(&app) })
}

pub(crate) async fn model(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    let found = cards(&app).into_iter().find(|card| card.id == id);
    let found =
        found.ok_or_else(|| Error::new(Kind::ModelNotFound, "there is no model of this name"));
    Ok(json(&found?))
}

pub(crate) async fn version() -> Response {
    json(&Version { version: VERSION })
}

/// Whether the process lives: it does while it loads and drains, too.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    let (status, word) = match app.phase() {
        Phase::Ready => (StatusCode::OK, "ok"),
        Phase::Loading => (StatusCode::OK, "loading"),
        Phase::Draining => (StatusCode::OK, "draining"),
        Phase::Failing => (StatusCode::SERVICE_UNAVAILABLE, "failing"),
    };
    said(status, word)
}

/// Whether requests are answered.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.phase() {
        Phase::Ready => said(StatusCode::OK, "ok"),
        Phase::Loading => said(StatusCode::SERVICE_UNAVAILABLE, "loading"),
        Phase::Draining => said(StatusCode::SERVICE_UNAVAILABLE, "draining"),
        Phase::Failing => said(StatusCode::SERVICE_UNAVAILABLE, "failing"),
    }
}

fn said(status: StatusCode, word: &'static str) -> Response {
    let mut response = json(&Health { status: word });
    *response.status_mut() = status;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut page = Page::default();
    for model in app.models() {
        let name = &model.served.name;
        model.metrics.write(&mut page, name);
        let stats = model.served.backend.stats();
        write_engine(&stats, &mut page, &label("model_name", name));
    }
    typed("text/plain; version=0.0.4; charset=utf-8", page.finish())
}
