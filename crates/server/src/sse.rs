//! Server-sent events: what happens to a request, as lines that a client reads while it happens.

use crate::app::Model;
use crate::error::Error;
use crate::generate::Generation;
use crate::writer::Update;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Pieces that may wait for the connection; more wait in the request's queue, which is bounded.
const AHEAD: usize = 4;

/// Bytes of a line at most, for who reads them.
const MAX_LINE: usize = 1 << 20;

/// Lines that are ready to be sent.
#[derive(Debug, Default)]
pub(crate) struct Lines(String);

impl Lines {
    /// Adds `data: {json}`.
    pub(crate) fn data(&mut self, value: &impl Serialize) {
        self.write(None, value);
    }

    /// Adds `event: {name}` and `data: {json}`.
    pub(crate) fn event(&mut self, name: &str, value: &impl Serialize) {
        self.write(Some(name), value);
    }

    fn write(&mut self, event: Option<&str>, value: &impl Serialize) {
        // Wire types have string keys and no failing parts, so they can always be written.
        let Ok(json) = serde_json::to_string(value) else { return };
        if let Some(event) = event {
            self.0.push_str("event: ");
            self.0.push_str(event);
            self.0.push('\n');
        }
        self.0.push_str("data: ");
        self.0.push_str(&json);
        self.0.push_str("\n\n");
    }

    /// Adds the end that OpenAI's clients wait for.
    pub(crate) fn done(&mut self) {
        self.0.push_str("data: [DONE]\n\n");
    }

    /// Adds a comment, which says nothing but that the server lives.
    fn ping(&mut self) {
        self.0.push_str(": ping\n\n");
    }
}

/// What a client reads of such lines, as they come.
#[derive(Debug, Default)]
pub(crate) struct Events {
    kept: Vec<u8>,
    /// How much of it has no end of a line.
    looked_at: usize,
}

impl Events {
    /// The data of the lines that are whole now; comments and names of events are left out.
    ///
    /// # Errors
    ///
    /// If a line is longer than a MiB.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
        self.kept.extend_from_slice(bytes);
        let end = self.kept[self.looked_at..].iter().rposition(|&byte| byte == b'\n');
        let whole = end.map_or(0, |end| self.looked_at + end + 1);
        let data = |line: &[u8]| Some(line.strip_prefix(b"data:")?.trim_ascii().to_vec());
        let found = self.kept[..whole].split(|&byte| byte == b'\n').filter_map(data).collect();
        self.kept.drain(..whole);
        self.looked_at = self.kept.len();
        match self.kept.len() > MAX_LINE {
            true => Err("an event is longer than a MiB"),
            false => Ok(found),
        }
    }
}

/// How an interface tells what happens.
pub(crate) trait Render: Send + 'static {
    /// Before anything happened.
    fn begin(&mut self, lines: &mut Lines);

    /// Something happened.
    fn update(&mut self, update: Update, lines: &mut Lines);

    /// It failed; nothing follows.
    fn failed(&mut self, error: &Error, lines: &mut Lines);

    /// Nothing has happened for a while.
    fn ping(&mut self, lines: &mut Lines) {
        lines.ping();
    }
}

/// The response that tells what happens to `generation`.
pub(crate) fn response(
    generation: Generation,
    render: impl Render,
    ping: Duration,
    model: &Model,
) -> Response {
    let (sender, receiver) = channel(AHEAD);
    let metrics = Arc::clone(&model.metrics);
    tokio::spawn(async move {
        metrics.streams.fetch_add(1, Relaxed);
        tell(generation, render, ping, sender).await;
        metrics.streams.fetch_sub(1, Relaxed);
    });
    let mut response = Response::new(Body::new(Pieces(receiver)));
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies would hold the lines back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Sends until the end, or until nobody listens; the generation is dropped then, which cancels it.
async fn tell(
    mut generation: Generation,
    mut render: impl Render,
    ping: Duration,
    sender: Sender<Bytes>,
) {
    let mut lines = Lines::default();
    render.begin(&mut lines);
    loop {
        let ready = std::mem::take(&mut lines.0);
        if !ready.is_empty() && sender.send(ready.into()).await.is_err() {
            return;
        }
        let next = tokio::select! {
            biased;
            () = sender.closed() => return,
            next = tokio::time::timeout(ping, generation.next()) => next,
        };
        match next {
            Err(_) => render.ping(&mut lines),
            Ok(Some(Ok(update))) => render.update(update, &mut lines),
            Ok(Some(Err(error))) => {
                render.failed(&error, &mut lines);
                _ = sender.send(lines.0.into()).await;
                return;
            }
            Ok(None) => return,
        }
    }
}

/// Pieces as the body of a response.
#[derive(Debug)]
struct Pieces(Receiver<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|bytes| Ok(http_body::Frame::data(bytes))))
    }
}

/// Pieces of a body that may break off.
#[derive(Debug)]
pub(crate) struct Fallible(pub(crate) Receiver<std::io::Result<Bytes>>);

impl http_body::Body for Fallible {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(http_body::Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wherever they are cut.
    #[test]
    fn what_is_sent_is_read() {
        let mut lines = Lines::default();
        lines.data(&serde_json::json!({"text": "é\n"}));
        lines.ping();
        lines.event("message", &7);
        lines.done();
        let sent = lines.0.replace("\n\n: ping", "\r\n\r\n: ping").into_bytes();
        for piece in 1..=sent.len() {
            let mut events = Events::default();
            let read = sent.chunks(piece).flat_map(|piece| events.push(piece).unwrap());
            let read: Vec<String> = read.map(|data| String::from_utf8(data).unwrap()).collect();
            assert_eq!(read, [r#"{"text":"é\n"}"#, "7", "[DONE]"]);
        }
        let mut events = Events::default();
        assert!(events.push(&vec![b'x'; MAX_LINE]).is_ok());
        assert!(events.push(b"x").is_err());
    }
}
