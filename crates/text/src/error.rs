//! What can be wrong with a tokenizer.

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
}
