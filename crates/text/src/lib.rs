//! Text in and out: tokenizers, chat templates, incremental detokenizing, stop strings.
//!
//! Token ids are the currency; this crate knows no tensors and no models.

mod detokenizer;
mod error;
mod gguf;
mod stop;
mod template;
mod tokenizer;

pub use detokenizer::Detokenizer;
pub use error::Error;
pub use gguf::{GgufTokenizer, GgufValue};
pub use stop::StopStrings;
pub use template::{ChatTemplate, Content, Conversation, Message, Part, ToolCall};
pub use tokenizer::{BYTE_TOKENIZER, Specials, Tokenizer};
