//! `/v1/sessions`: conversations that last.

use crate::app::App;
use crate::auth::Client;
use crate::dialogue::blocking;
use crate::error::Error;
use crate::json::{Json, Raw};
use crate::kept::{MAX_LABEL_BYTES, checked, messages_of, notes_of, session_error};
use crate::routes::json;
use crate::sessions::{SessionError, SessionInfo};
use crate::wire::sessions::{
    ChangeRequest, Deleted, ForkRequest, RewindRequest, Session, SessionList, SessionMessages,
};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use std::io::Read as _;
use std::sync::Arc;
use tokio::sync::mpsc::channel;

/// Bytes of an exported session that are read at once.
const PIECE_BYTES: usize = 1 << 20;

fn session(info: SessionInfo) -> Session {
    Session {
        id: info.name,
        object: "session",
        tokens: info.tokens,
        messages: info.messages,
        bytes: info.bytes,
        created: info.created,
        updated: info.updated,
        expires: info.expires,
        parent: info.parent,
        label: info.label,
        model: info.model,
    }
}

/// Does something with the session `name` and answers with what becomes of it.
async fn with(
    name: String,
    work: impl FnOnce(&str) -> Result<SessionInfo, SessionError> + Send + 'static,
) -> Result<Response, Error> {
    blocking(move || {
        let name = checked(&name, "name")?;
        Ok(json(&session(work(name).map_err(|error| session_error(error, Some("name")))?)))
    })
    .await
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
) -> Result<Response, Error> {
    blocking(move || {
        let infos = app.sessions.list(client).map_err(|error| session_error(error, None))?;
        Ok(json(&SessionList { object: "list", data: infos.into_iter().map(session).collect() }))
    })
    .await
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    with(name, move |name| app.sessions.show(client, name)).await
}

pub(crate) async fn messages(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    blocking(move || {
        let name = checked(&name, "name")?;
        let notes = app.sessions.notes(client, name);
        let notes = notes.map_err(|error| session_error(error, Some("name")))?;
        let data = messages_of(&notes).into_iter().map(|said| said.message).collect();
        Ok(json(&SessionMessages { object: "list", data }))
    })
    .await
}

pub(crate) async fn change(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(name): Path<String>,
    Json(ChangeRequest { label }): Json<ChangeRequest>,
) -> Result<Response, Error> {
    if label.len() > MAX_LABEL_BYTES {
        let message = format!("`label` has more than {MAX_LABEL_BYTES} bytes");
        return Err(Error::invalid("label", message));
    }
    with(name, move |name| app.sessions.label(client, name, &label)).await
}

pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    blocking(move || {
        let name = checked(&name, "name")?;
        app.sessions.delete(client, name).map_err(|error| session_error(error, Some("name")))?;
        Ok(json(&Deleted { id: name.to_owned(), object: "session", deleted: true }))
    })
    .await
}

pub(crate) async fn fork(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(name): Path<String>,
    Json(request): Json<ForkRequest>,
) -> Result<Response, Error> {
    checked(&request.name, "name")?;
    with(name, move |name| app.sessions.fork(client, name, &request.name, request.label)).await
}

pub(crate) async fn rewind(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(name): Path<String>,
    Json(request): Json<RewindRequest>,
) -> Result<Response, Error> {
    if request.messages.is_some() == request.tokens.is_some() {
        return Err(Error::invalid("messages", "expected either `messages` or `tokens`"));
    }
    blocking(move || {
        let name = checked(&name, "name")?;
        let failed = |error| session_error(error, Some("name"));
        let fingerprint = app.model(None)?.served.fingerprint.clone();
        let saved = app.sessions.load(client, name, &fingerprint).map_err(failed)?;
        let mut said = messages_of(&saved.notes);
        let tokens = match (request.tokens, request.messages) {
            (Some(tokens), _) => {
                // Only what was said before that point was said.
                let whole = said.iter().rposition(|said| said.tokens.is_some_and(|n| n <= tokens));
                said.truncate(whole.map_or(0, |i| i + 1));
                tokens
            }
            (None, messages) => {
                let messages = messages.unwrap_or(0) as usize;
                if messages > said.len() {
                    let found = said.len();
                    let message = format!("`messages` is {messages}, and the session has {found}");
                    return Err(Error::invalid("messages", message));
                }
                let all = messages == said.len();
                said.truncate(messages);
                let known = said.iter().rev().find_map(|said| said.tokens);
                // Where a model looks things up, its prompts leave out earlier questions, and so an
                // earlier end may lie behind the last one.
                let tokens = saved.info.tokens;
                if all { tokens } else { known.map_or(0, |known| known.min(tokens)) }
            }
        };
        let info = app.sessions.cut(client, name, tokens, notes_of(&said)).map_err(failed)?;
        Ok(json(&session(info)))
    })
    .await
}

pub(crate) async fn export(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let exported = blocking(move || {
        let name = checked(&name, "name")?;
        app.sessions.export(client, name).map_err(|error| session_error(error, Some("name")))
    });
    let exported = exported.await?;
    let (sender, receiver) = channel(2);
    let length = HeaderValue::from(exported.bytes);
    let mut reader = exported.reader.take(exported.bytes);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let sent = match reader.read(&mut piece) {
                Ok(0) => return,
                Ok(n) => {
                    piece.truncate(n);
                    sender.blocking_send(Ok(Bytes::from(piece)))
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                // The connection breaks off, since it is too late for a status.
                Err(error) => {
                    _ = sender.blocking_send(Err(error));
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(Body::new(crate::sse::Fallible(receiver)));
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    Ok(response)
}

pub(crate) async fn import(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(name): Path<String>,
    Raw(bytes): Raw,
) -> Result<Response, Error> {
    with(name, move |name| app.sessions.import(client, name, &bytes)).await
}
