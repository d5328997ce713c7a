//! What can be wrong with a tokenizer, a chat template, or what it is given.

use std::path::PathBuf;

/// One sentence each.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder without a tokenizer.
    #[error("no tokenizer in `{path}`: expected `tokenizer.json` or `byte_tokenizer.json`")]
    NoTokenizer {
        /// The folder.
        path: PathBuf,
    },
    /// A tokenizer that cannot be used.
    #[error("`{path}` is not a valid tokenizer: {reason}")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file that is not a JSON object.
    #[error("`{path}` is not valid JSON: {reason}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A field of another kind.
    #[error("`{path}`: `{field}` is {found}, expected {expected}")]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A chat template that cannot be used.
    #[error("`{path}` has no valid chat template: {reason}")]
    Template {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Messages that a chat template does not take.
    #[error("the chat template in `{path}` refuses the messages: {reason}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the template says.
        reason: String,
    },
    /// A chat template that fails.
    #[error("the chat template in `{path}` fails: {reason}")]
    Render {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A JSON schema that cannot be enforced, or would take too long to be made ready.
    #[error("{}the JSON schema {reason}", keyword.as_ref().map(|k| format!("`{k}`: ")).unwrap_or_default())]
    Schema {
        /// The keyword, if it is one.
        keyword: Option<String>,
        /// What is wrong, where.
        reason: String,
    },
    /// Text that cannot be constrained.
    #[error("the answer cannot be constrained: {reason}")]
    Grammar {
        /// What is wrong.
        reason: String,
    },
    /// A variable that is not for requests to set.
    #[error("the template variable `{name}` {reason}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}
