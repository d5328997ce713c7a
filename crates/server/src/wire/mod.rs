//! What goes over the wire: serde types with the names of the interfaces, and nothing else.
//!
//! The schemas of `/openapi.json` come from these types, so ranges stand here as well as in
//! `convert`; a test compares the two.

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod info;
pub mod messages;
pub mod minimax;
pub mod responses;
pub mod sessions;
pub mod shared;
pub mod videos;
