//! The server without a network: a program asks the app that it holds, as a client would.

use crate::app::App;
use crate::sse::Events;
use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tower::ServiceExt as _;

/// How often it is looked whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// A failure to ask.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// What the server says.
    #[error("{message}")]
    Refused {
        /// In a sentence.
        message: String,
        /// The word for it in the interface, if there is one, such as `context_length_exceeded`.
        code: Option<String>,
    },
    /// The system gives no threads.
    #[error("cannot ask: {0}")]
    System(#[from] io::Error),
}

/// Sends `body`, a request that streams, to `/v1/chat/completions`, and calls `chunk` with each chunk
/// of the answer, until there are no more or `stop` is set.
///
/// # Errors
///
/// If the request is refused or the answer fails.
pub fn chat(
    app: &Arc<App>,
    body: &Value,
    stop: &AtomicBool,
    mut chunk: impl FnMut(&Value),
) -> Result<(), AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let request = Request::post("/v1/chat/completions")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .map_err(io::Error::other)?;
        let answer = match app.router().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        let fine = answer.status().is_success();
        let mut body = answer.into_body();
        let (mut events, mut refusal) = (Events::default(), Vec::new());
        loop {
            let frame = match tokio::time::timeout(LOOK, body.frame()).await {
                _ if stop.load(Ordering::Relaxed) => return Ok(()),
                Ok(Some(frame)) => frame.map_err(io::Error::other)?,
                Ok(None) => break,
                Err(_) => continue,
            };
            let Ok(data) = frame.into_data() else { continue };
            if !fine {
                refusal.extend_from_slice(&data);
                continue;
            }
            for data in events.push(&data).map_err(io::Error::other)? {
                if let Ok(value) = serde_json::from_slice(&data) {
                    refused(&value)?;
                    chunk(&value);
                }
            }
        }
        if fine {
            return Ok(());
        }
        refused(&serde_json::from_slice(&refusal).unwrap_or_default())?;
        let message = String::from_utf8_lossy(&refusal).into_owned();
        Err(AskError::Refused { message, code: None })
    })
}

/// The error that `value` is, if it is one.
fn refused(value: &Value) -> Result<(), AskError> {
    let error = &value["error"];
    let text = |field: &str| error[field].as_str().map(str::to_owned);
    match text("message") {
        Some(message) => Err(AskError::Refused { message, code: text("code") }),
        None => Ok(()),
    }
}
