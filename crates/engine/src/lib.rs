//! The engine: sequences become steps, steps become tokens.
//!
//! A state machine around [`Engine::step`]: it reads one token of each answer and chunks of prompts in
//! one call of the [`Model`], and tells what happened as [`Event`]s. It knows no text, files, clock or
//! network, so it is tested with thousands of simulated requests and a model whose memory is the list
//! of tokens itself (`tests/simulation.rs`). [`Worker`] is a thread that owns one.

mod clients;
mod content;
mod draft;
mod engine;
mod event;
mod job;
mod ledger;
mod limits;
mod lm;
mod model;
mod request;
mod sampling;
mod sequence;
mod snapshots;
mod stats;
mod worker;

pub use engine::Engine;
pub use event::{Event, FinishReason, TokenLogprobs, Usage};
pub use limits::{Limits, Refused};
pub use lm::Lm;
pub use model::{Bytes, Memory, Model, Part, Piece, PieceRows, Rows};
pub use models::{ContentRows, content_ids, is_content};
pub use request::{Draft, Keep, MAX_LOGPROBS, Namespace, Request, RequestId, TokenMask};
pub use sampling::{Sampling, argmax};
pub use snapshots::{Load, Miss, Snapshot, SnapshotId, SnapshotInfo, Tier};
pub use stats::{Counts, Stats};
pub use worker::{Flow, Gone, Handle, Worker};
