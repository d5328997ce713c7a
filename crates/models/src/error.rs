//! What can be wrong with a model's folder.

use std::path::PathBuf;

/// One sentence each, with the file, the field or tensor, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the model that cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A config that is not a JSON object.
    #[error("`{path}` is not a valid config: {reason}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A field with a value that the model cannot have.
    #[error("`{path}`: `{field}` is {found}, expected {expected}")]
    Field {
        /// The file.
        path: PathBuf,
        /// The field, by the name that the file uses.
        field: String,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A field that must be there.
    #[error("`{path}`: `{field}` is missing")]
    MissingField {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
    },
    /// A model of another kind.
    #[error("`{path}` is of architecture {found}, supported are {supported}")]
    Architecture {
        /// The file.
        path: PathBuf,
        /// `architectures` or `model_type` as found.
        found: String,
        /// What there is.
        supported: &'static str,
    },
    /// A file of what a sequence has read that cannot be gone on from.
    #[error("`{path}` is no sequence of this model: {field} is {found}, expected {expected}")]
    Sequence {
        /// The file.
        path: PathBuf,
        /// The entry or tensor.
        field: String,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A model of a kind that a command does not know.
    #[error("`{path}` is of {found}, supported are {supported}")]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What there is.
        supported: String,
    },
    /// A text with more or fewer places for pictures and sounds than there are of these.
    #[error(
        "the text has {found} placeholders (token {placeholder}), expected {expected}, one for each \
         of what is inserted"
    )]
    Placeholders {
        /// The token.
        placeholder: u32,
        /// How many there are.
        found: usize,
        /// How many there must be.
        expected: usize,
    },
    /// A weight that cannot be read.
    #[error(transparent)]
    Tensor(#[from] tensor::Error),
    /// A number that blocks cannot hold.
    #[error(
        "`{path}`: element {index} of `{name}` is {value}, expected one that {format} can hold"
    )]
    Unrepresentable {
        /// The file or folder.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Where in its matrix.
        index: usize,
        /// The number.
        value: f32,
        /// The type.
        format: &'static str,
    },
    /// Weights that the model needs and the checkpoint lacks.
    #[error("`{path}` lacks {}{more} of the model's tensors: {}", names.len(), list(names))]
    MissingTensors {
        /// The file or folder.
        path: PathBuf,
        /// Their names.
        names: Vec<String>,
        /// Whether there may be others: nothing, or " or more".
        more: &'static str,
    },
    /// Weights that the checkpoint has and the model does not know.
    #[error(
        "`{path}` has {} tensors that the model does not use: {}; the weights and the config may \
         be of different models",
        names.len(),
        list(names)
    )]
    UnreadTensors {
        /// The file or folder.
        path: PathBuf,
        /// Their names.
        names: Vec<String>,
    },
    /// Something to compute on that the model cannot read.
    #[error("input `{name}` has {found}, expected {expected}")]
    Input {
        /// The input.
        name: &'static str,
        /// What it is.
        found: String,
        /// What the model reads.
        expected: String,
    },
}

/// The first few of a list that may be long.
fn list(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(5).map(|name| format!("`{name}`")).collect();
    let rest = names.len() - shown.len();
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    shown.join(", ") + &more
}
