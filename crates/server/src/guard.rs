//! What every request passes: its id, limits of headers, the name of the host, the API key; and on
//! the way back the envelope of errors.

use crate::app::App;
use crate::error::{Dialect, Error, Kind};
use crate::routes::is_page;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Most bytes of all headers together; the connection itself takes some more, so that the answer
/// can be given in the envelope.
pub(crate) const MAX_HEADER_BYTES: usize = 64 << 10;
/// Most headers.
pub(crate) const MAX_HEADERS: usize = 100;
/// Ids of requests that clients may choose.
const MAX_ID_BYTES: usize = 128;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const IGNORED: HeaderName = HeaderName::from_static("x-fulgurite-ignored");
const CACHE: HeaderName = HeaderName::from_static("x-fulgurite-cache");

/// What handlers want said in the headers of the response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<(HeaderName, String)>>>);

impl Notes {
    /// The request has `fields` that mean nothing here.
    pub(crate) fn ignored(&self, fields: &[String]) {
        if !fields.is_empty() {
            tracing::warn!("unknown fields: {}", fields.join(", "));
            self.add(IGNORED, fields.join(", "));
        }
    }

    /// How much of the prompt was known, and why not more.
    pub(crate) fn cache(&self, cached: usize, miss: &str) {
        self.add(CACHE, format!("cached={cached}; miss={miss}"));
    }

    fn add(&self, name: HeaderName, value: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((name, value));
    }

    fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // What clients wrote may hold anything.
            let value: String = value
                .chars()
                .take(1024)
                .map(|c| if (' '..='~').contains(&c) { c } else { '?' })
                .collect();
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

/// The outermost layer but for CORS.
pub(crate) async fn guard(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id(&app, request.headers());
    let dialect = Dialect::of(request.uri().path());
    let notes = Notes::default();
    request.extensions_mut().insert(notes.clone());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = match check(&app, &mut request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.response(dialect, &id),
    };
    let mut response = enveloped(response, dialect, &id);
    notes.write(response.headers_mut());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    tracing::info!("{method} {path} {} {id}", response.status().as_u16());
    response
}

/// The client's id if it is a good one, else the next of ours.
fn request_id(app: &App, headers: &HeaderMap) -> Arc<str> {
    let said = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let good = said.filter(|id| {
        (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
    });
    good.map_or_else(|| app.ids.next("req"), Arc::from)
}

fn check(app: &App, request: &mut Request) -> Result<(), Error> {
    let headers = request.headers();
    let bytes: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let uri = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    if bytes + uri > MAX_HEADER_BYTES || headers.len() > MAX_HEADERS {
        let message = format!(
            "{} headers of {} bytes, expected at most {MAX_HEADERS} of {MAX_HEADER_BYTES}",
            headers.len(),
            bytes + uri
        );
        return Err(Error::new(Kind::HeadersTooLarge, message));
    }
    if app.settings.check_host {
        check_host(headers)?;
    }
    if !is_open(request.uri().path()) {
        let client = app.settings.keys.client(request.headers())?;
        request.extensions_mut().insert(client);
    }
    Ok(())
}

/// Paths that need no key: whether the server lives, and the page, which asks for the key itself.
fn is_open(path: &str) -> bool {
    matches!(path, "/health" | "/ready") || is_page(path)
}

/// Refuses names that are not this machine's: a page elsewhere whose name was made to point here
/// would read what it must not.
fn check_host(headers: &HeaderMap) -> Result<(), Error> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let local = name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if local {
        return Ok(());
    }
    let message = "the header `host` is not `localhost` or a loopback address, which is where this \
                   server listens";
    Err(Error::new(Kind::Forbidden, message))
}

/// Writes the envelope of errors, those of the framework too.
fn enveloped(mut response: Response, dialect: Dialect, id: &str) -> Response {
    if let Some(error) = response.extensions_mut().remove::<Error>() {
        let mut written = error.response(dialect, id);
        keep(&response, &mut written, &[header::ALLOW]);
        return written;
    }
    let is_json =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let status = response.status();
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let error = match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            Error::new(Kind::MethodNotAllowed, "this route does not take this method")
        }
        StatusCode::NOT_FOUND => Error::new(Kind::NotFound, "there is nothing at this path"),
        status if status.is_client_error() => Error::new(Kind::Invalid, status.to_string()),
        _ => Error::internal(format!("the framework answered {status}")),
    };
    let mut written = error.response(dialect, id);
    keep(&response, &mut written, &[header::ALLOW]);
    written
}

fn keep(from: &Response, to: &mut Response, names: &[HeaderName]) {
    for name in names {
        if let Some(value) = from.headers().get(name) {
            to.headers_mut().insert(name.clone(), value.clone());
        }
    }
}
