//! The server: the HTTP interfaces of OpenAI and Anthropic over the engine, and those of OpenAI and
//! MiniMax for clips.
//!
//! The only crate that knows HTTP, the JSON of these interfaces and tokio. Routes parse, convert,
//! submit and stream; what waits on a model, a template, a tokenizer or a disk does so off the
//! threads that serve connections.

mod app;
mod auth;
pub mod backend;
mod base64;
mod conversation;
mod convert;
mod dialogue;
pub mod direct;
mod error;
mod form;
mod generate;
mod guard;
mod json;
mod kept;
mod likely;
pub mod load;
mod metrics;
mod multipart;
mod openapi;
mod routes;
pub mod senses;
mod serve;
pub mod sessions;
mod sse;
mod stored;
pub mod video;
pub mod wire;
mod writer;

pub use app::{App, Defaults, Served, Settings};
pub use auth::{Client, Keys, KeysError};
pub use error::{Error, Kind};
pub use form::{Form, FormError, Prompt, Talk, Turn};
pub use json::from_slice;
pub use openapi::document;
pub use routes::dry_run;
pub use routes::paths as routes;
pub use serve::{ServeError, run, serve};
