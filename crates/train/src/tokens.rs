//! Documents and questions as tokens: bytes, and four marks between them.
//!
//! ```text
//! <|document|> text <|question|> q <|answer|> a <|end|> <|question|> q <|answer|> a <|end|> ...
//! ```

use crate::lookup::Document;

/// Begins the text: the ids of the marks, [`MARKS`](text::lookup::MARKS), follow those of the bytes.
pub const DOCUMENT: u32 = 256;
/// Begins a question.
pub const QUESTION: u32 = 257;
/// Begins an answer.
pub const ANSWER: u32 = 258;
/// Ends an answer.
pub const END: u32 = 259;

/// A sequence to learn: what is read, and how much each prediction of the next token counts.
#[derive(Clone, Debug)]
pub struct Example {
    /// `[tokens]`.
    pub input_ids: Vec<u32>,
    /// The next token of each, `[tokens]`.
    pub targets: Vec<u32>,
    /// `[tokens]`.
    pub weights: Vec<f32>,
}

impl Example {
    /// The document and all its questions as one sequence.
    pub fn new(document: &Document, document_weight: f32, question_weight: f32) -> Self {
        let asked = document.questions.iter().map(|q| (&*q.text, &*q.answer));
        Self::of(&document.text, asked, document_weight, question_weight)
    }

    /// A text and questions with their answers as one sequence.
    pub fn of<'a>(
        text: &str,
        asked: impl IntoIterator<Item = (&'a str, &'a str)>,
        document_weight: f32,
        question_weight: f32,
    ) -> Self {
        let (mut ids, mut weights) = (Vec::new(), Vec::new());
        let mut push = |mark: u32, mark_weight: f32, text: &str, weight: f32| {
            ids.push(mark);
            weights.push(mark_weight);
            ids.extend(text.bytes().map(u32::from));
            weights.extend(std::iter::repeat_n(weight, text.len()));
        };
        push(DOCUMENT, 0.0, text, document_weight);
        for (question, answer) in asked {
            push(QUESTION, 0.0, question, question_weight);
            push(ANSWER, 0.0, answer, 1.0);
            push(END, 1.0, "", 0.0);
        }
        // Token `i` predicts token `i + 1`, with the weight of that one.
        let targets = ids.split_off(1);
        let input_ids = [ids, targets[..targets.len() - 1].to_vec()].concat();
        let weights = weights.split_off(1);
        Self { input_ids, targets, weights }
    }
}
