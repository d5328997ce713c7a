//! Bodies in JSON: read within limits, and told apart from what only looks like one.

use crate::app::App;
use crate::error::{Error, Kind};
use crate::guard::Notes;
use crate::multipart::{boundary, to_json};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long a client may take between two pieces of a body.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bodies above this are parsed off the threads that serve others.
const INLINE_BYTES: usize = 64 << 10;
/// Most unknown fields that are named.
const MAX_NAMED: usize = 16;

/// A request's body as a `T`.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<Arc<App>> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Error> {
        check_media_type(request.headers())?;
        let notes = request.extensions().get::<Notes>().cloned();
        let bytes = read(request, app.settings.max_body_bytes).await?;
        let (value, unknown) = if bytes.len() > INLINE_BYTES {
            let parse = move || from_slice(&bytes);
            tokio::task::spawn_blocking(parse).await.map_err(Error::internal)??
        } else {
            from_slice(&bytes)?
        };
        if let Some(notes) = notes {
            notes.ignored(&unknown);
        }
        Ok(Self(value))
    }
}

/// A request's body as a `T`, in JSON or as a form.
#[derive(Debug)]
pub(crate) struct JsonOrForm<T>(pub(crate) T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<Arc<App>> for JsonOrForm<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Error> {
        let said = request.headers().get(header::CONTENT_TYPE);
        let Some(boundary) = said.and_then(|kind| boundary(kind.to_str().ok()?)) else {
            return Json::from_request(request, app).await.map(|Json(value)| Self(value));
        };
        let notes = request.extensions().get::<Notes>().cloned();
        let bytes = read(request, app.settings.max_body_bytes).await?;
        let runtime = Handle::current();
        let parse = move || deserialize(Value::Object(runtime.block_on(to_json(bytes, boundary))?));
        let (value, unknown) =
            tokio::task::spawn_blocking(parse).await.map_err(Error::internal)??;
        if let Some(notes) = notes {
            notes.ignored(&unknown);
        }
        Ok(Self(value))
    }
}

/// A body of any bytes.
#[derive(Debug)]
pub(crate) struct Raw(pub(crate) Bytes);

impl FromRequest<Arc<App>> for Raw {
    type Rejection = Error;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Error> {
        Ok(Self(read(request, app.settings.max_import_bytes).await?))
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Error> {
    let said = headers.get(header::CONTENT_TYPE);
    let kind = said.and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        return Ok(());
    }
    let found = if said.is_none() { "missing".to_owned() } else { format!("`{kind}`") };
    let message = format!("the header `content-type` is {found}, expected `application/json`");
    Err(Error::new(Kind::MediaType, message))
}

async fn read(request: Request, limit: usize) -> Result<Bytes, Error> {
    let too_large = || {
        let message = format!("the body has more than {limit} bytes, expected at most that");
        Error::new(Kind::TooLarge, message)
    };
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut body = request.into_body();
    let mut bytes = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(PIECE_TIMEOUT, body.frame()).await;
        let frame = frame.map_err(|_| {
            let seconds = PIECE_TIMEOUT.as_secs();
            Error::new(Kind::RequestTimeout, format!("no piece of the body for {seconds} s"))
        })?;
        let Some(frame) = frame else { return Ok(bytes.freeze()) };
        let frame = frame
            .map_err(|error| Error::new(Kind::Invalid, format!("the body broke off: {error}")))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
    }
}

/// The value in `bytes`, and the fields that it does not have.
///
/// # Errors
///
/// If it is not JSON, is nested more than 127 deep, or a field is not what it should be; names it.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, Vec<String>), Error> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Error::new(Kind::Invalid, format!("the body is not UTF-8 from byte {at} on"))
    })?;
    let mut json = serde_json::Deserializer::from_str(text);
    let read = deserialize(&mut json)?;
    json.end().map_err(|error| {
        Error::new(Kind::Invalid, format!("the body goes on after its JSON: {error}"))
    })?;
    Ok(read)
}

fn deserialize<'de, T, D>(from: D) -> Result<(T, Vec<String>), Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de, Error = serde_json::Error>,
{
    let mut track = serde_path_to_error::Track::new();
    let mut unknown = Vec::new();
    let value = serde_ignored::deserialize(
        serde_path_to_error::Deserializer::new(from, &mut track),
        |path| {
            if unknown.len() < MAX_NAMED {
                unknown.push(shortened(&path.to_string()));
            }
        },
    );
    let value = value.map_err(|error| {
        // Names of fields may be the client's own.
        let path = shortened(&track.path().to_string());
        let reason = shortened(&error.to_string());
        match &path[..] {
            "." => Error::new(Kind::Invalid, format!("the body is not a valid request: {reason}")),
            _ => Error::invalid(path.clone(), format!("`{path}` is not valid: {reason}")),
        }
    })?;
    Ok((value, unknown))
}

/// Errors quote what they found, which may be long.
fn shortened(reason: &str) -> String {
    const MOST: usize = 300;
    if reason.len() <= MOST {
        return reason.to_owned();
    }
    let end = (0..=MOST).rev().find(|&i| reason.is_char_boundary(i)).unwrap_or(0);
    format!("{}…", &reason[..end])
}
