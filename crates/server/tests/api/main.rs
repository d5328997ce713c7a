//! The server from outside, over an engine that says what it is told to.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

mod access;
mod chat;
mod completions;
mod connections;
mod embeddings;
mod errors;
mod fake;
mod info;
mod load;
mod messages;
mod openapi;
mod real;
mod responses;
mod senses;
mod sessions;
mod videos;
