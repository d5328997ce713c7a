//! The routes, one file each.

mod chat;
mod completions;
mod content;
mod embeddings;
mod info;
mod messages;
mod minimax;
mod page;
mod responses;
mod sessions;
mod tokenize;
mod videos;

use crate::app::App;
use crate::auth::Client;
use crate::error::{Error, Kind};
use crate::generate::Job;
use crate::json::from_slice;
use crate::openapi;
use crate::wire::embeddings::EmbeddingRequest;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use serde::Serialize;
use std::sync::Arc;

/// All routes with what answers them, as `/openapi.json` lists them.
pub(crate) fn table() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("/v1/chat/completions", post(chat::chat)),
        ("/v1/completions", post(completions::completions)),
        ("/v1/embeddings", post(embeddings::embeddings)),
        ("/v1/responses", post(responses::create)),
        ("/v1/responses/{id}", get(responses::show).delete(responses::delete)),
        ("/v1/messages", post(messages::messages)),
        ("/v1/messages/count_tokens", post(messages::count)),
        ("/v1/models", get(info::models)),
        ("/v1/models/{id}", get(info::model)),
        ("/v1/sessions", get(sessions::list)),
        (
            "/v1/sessions/{name}",
            get(sessions::show).patch(sessions::change).delete(sessions::delete),
        ),
        ("/v1/sessions/{name}/messages", get(sessions::messages)),
        ("/v1/sessions/{name}/fork", post(sessions::fork)),
        ("/v1/sessions/{name}/rewind", post(sessions::rewind)),
        ("/v1/sessions/{name}/export", get(sessions::export)),
        ("/v1/sessions/{name}/import", post(sessions::import)),
        ("/v1/videos", get(videos::list).post(videos::create)),
        ("/v1/videos/{id}", get(videos::show).delete(videos::delete)),
        ("/v1/videos/{id}/content", get(videos::content)),
        ("/v1/video_generation", post(minimax::generate)),
        ("/v1/query/video_generation", get(minimax::query)),
        ("/v1/files/retrieve", get(minimax::retrieve)),
        ("/tokenize", post(tokenize::tokenize)),
        ("/detokenize", post(tokenize::detokenize)),
        ("/version", get(info::version)),
        ("/health", get(info::health)),
        ("/ready", get(info::ready)),
        ("/metrics", get(info::metrics)),
        ("/openapi.json", get(openapi::serve)),
    ]
}

/// Their paths, as `/openapi.json` has them.
pub fn paths() -> Vec<&'static str> {
    table().into_iter().map(|(path, _)| path).collect()
}

/// Makes a request ready for the engine and does not ask it: what a body of any of the interfaces
/// comes to, in tokens of its prompts.
///
/// # Errors
///
/// What its client would be told.
pub fn dry_run(app: &Arc<App>, body: &[u8]) -> Result<usize, Error> {
    let client = Client(0);
    let served = app.model(None)?.served;
    let id: Arc<str> = "dry".into();
    let tokens = |jobs: &[Job]| jobs.iter().map(|job| job.prompt.ids.len()).sum();
    if let Ok((request, _)) = from_slice(body) {
        return Ok(tokens(&completions::jobs(app, &served, client, request, &id)?));
    }
    let dialogue = if let Ok((request, _)) = from_slice(body) {
        responses::asked(app, &served, client, &request)?.0
    } else if let Ok((EmbeddingRequest { input, .. }, _)) = from_slice(body) {
        return Ok(tokens(&embeddings::jobs(&served, input)?));
    } else if let Ok((request, _)) = from_slice(body) {
        messages::dialogue(request, &served)?
    } else {
        chat::dialogue(from_slice(body)?.0, &served)?
    };
    Ok(tokens(&[dialogue.job(app, &served, client, &id)?]))
}

/// Whether `path` is a file of the page.
pub(crate) fn is_page(path: &str) -> bool {
    page::FILES.iter().any(|file| file.0 == path)
}

/// The router over all of them and the page.
pub(crate) fn all() -> Router<Arc<App>> {
    let router = page::files()
        .into_iter()
        .fold(Router::new(), |router, (path, route)| router.route(path, route));
    let router =
        table().into_iter().fold(router, |router, (path, route)| router.route(path, route));
    router.fallback(nothing)
}

async fn nothing() -> Error {
    Error::new(Kind::NotFound, "there is nothing at this path")
}

/// `value` as the body of a response.
pub(crate) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => typed("application/json", body),
        Err(error) => axum::response::IntoResponse::into_response(Error::internal(error)),
    }
}

/// A body of the media type `kind`.
pub(crate) fn typed(kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
