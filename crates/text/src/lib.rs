//! Text in and out: tokenizers, chat templates, constrained decoding, and answers split into
//! reasoning, text and calls of functions as their tokens arrive.
//!
//! Token ids are the currency; this crate knows no tensors, no models and no HTTP.

mod answer;
mod detokenizer;
mod error;
mod gguf;
pub mod grammar;
pub mod lookup;
mod marks;
mod reasoning;
mod stop;
mod template;
mod tokenizer;
pub mod tool_calls;
pub mod words;

pub use answer::{Answer, AnswerForm, Delta, FinishReason};
pub use detokenizer::Detokenizer;
pub use error::Error;
pub use gguf::{GgufTokenizer, GgufValue};
pub use grammar::{Grammar, Vocabulary};
pub use marks::Marks;
pub use reasoning::{Reasoning, Thinking};
pub use stop::StopStrings;
pub use template::{ChatTemplate, Content, Conversation, Message, Part, ToolCall};
pub use tokenizer::{BYTE_TOKENIZER, Specials, Tokenizer};
pub use tool_calls::{CallFormat, CallParser, Function};
pub use words::{InvalidWords, UnknownWords, Words};
