//! Who asks a model.

use super::score::Score;
use super::{Document, Question};
use crate::commands::eval::agreement::Agreement;
use engine::argmax;
use indicatif::ProgressBar;
use models::{Batch, Cache, CausalLm as _, Inserted, MiniMaxText01};
use tensor::KvType;
use text::lookup::{ABSENT, Extract};
use train::tokens::{ANSWER, DOCUMENT, END, QUESTION};

/// Longest answer that is waited for, in tokens.
const MAX_ANSWER: usize = 96;
/// Tokens read at once.
const CHUNK: usize = 4096;

/// Who asks a model, and compares it with another if there is one.
pub(super) struct Examiner<'a> {
    pub(super) model: &'a MiniMaxText01,
    pub(super) against: Option<&'a MiniMaxText01>,
    pub(super) kv: KvType,
    pub(super) show_wrong: bool,
    pub(super) agreement: Agreement,
}

impl Examiner<'_> {
    /// Reads a document once and asks all questions from there.
    pub(super) fn examine(
        &mut self,
        document: &Document,
        questions: &[Question],
        score: &mut Score,
        bar: &ProgressBar,
    ) {
        let mut read = after(self.model, document, self.kv);
        let mut other = self.against.map(|model| (model, after(model, document, self.kv)));
        let end = read.mark();
        let absent = ABSENT.bytes().map(u32::from).collect();
        let extract = Extract::new(&document.text[..], absent, vec![END]);
        for question in questions {
            let Question { kind, text, answer: expected } = question;
            let answer = answer(self.model, &mut read, text, extract.clone());
            read.rewind(&end);
            if let Some((model, other)) = &mut other {
                let start = other.mark();
                let next = foreseen(question);
                let [q, p] = [(self.model, &mut read), (*model, &mut *other)]
                    .map(|(model, cache)| guesses(model, cache, question));
                let vocab = q.len() / next.len();
                let rows = q.chunks_exact(vocab).zip(p.chunks_exact(vocab)).zip(next);
                rows.for_each(|((q, p), next)| self.agreement.add(q, p, next));
                read.rewind(&end);
                other.rewind(&start);
            }
            let right = answer == *expected;
            if !right && self.show_wrong {
                bar.suspend(|| eprintln!("[{kind}] {text} => {answer:?}, expected {expected:?}"));
            }
            score.add(kind, expected == ABSENT, right);
            bar.inc(1);
            bar.set_message(format!("{:.1} % right", score.total.percent()));
        }
    }
}

/// What a model has read after the mark of a document and the document.
fn after(model: &MiniMaxText01, document: &Document, kv: KvType) -> Cache {
    let mut read = Cache::new(model.config(), kv);
    model.logits(&Batch::single(&[DOCUMENT], 0, &[]), &mut [&mut read]);
    let mut first = 0;
    for chunk in document.text.chunks(CHUNK) {
        let mut batch = Batch::single(chunk, read.tokens(), &[]);
        if let Some(rows) = &document.rows {
            let tokens = (0..chunk.len()).collect();
            batch =
                batch.with(Inserted { tokens, rows: rows.narrow(0, first..first + chunk.len()) });
        }
        model.logits(&batch, &mut [&mut read]);
        first += chunk.len();
    }
    read
}

/// The question as it is read, up to where the answer begins.
fn asked(question: &str) -> Vec<u32> {
    let bytes = question.bytes().map(u32::from);
    [QUESTION].into_iter().chain(bytes).chain([ANSWER]).collect()
}

/// The right answer's tokens and the end.
fn foreseen(question: &Question) -> Vec<u32> {
    question.answer.bytes().map(u32::from).chain([END]).collect()
}

/// Logits for each token of the right answer, `[tokens, vocab_size]`, those before it given.
fn guesses(model: &MiniMaxText01, cache: &mut Cache, question: &Question) -> Vec<f32> {
    let mut piece = asked(&question.text);
    let first = piece.len() - 1;
    piece.extend(foreseen(question));
    piece.pop();
    let rows: Vec<usize> = (first..piece.len()).collect();
    model.logits(&Batch::single(&piece, cache.tokens(), &rows), &mut [cache]).to_vec()
}

/// The likeliest answer of those that `extract` allows.
fn answer(
    model: &MiniMaxText01,
    cache: &mut Cache,
    question: &str,
    mut extract: Extract,
) -> String {
    let mut piece = asked(question);
    let mut bytes = Vec::new();
    while bytes.len() < MAX_ANSWER {
        let batch = Batch::single(&piece, cache.tokens(), &[piece.len() - 1]);
        let logits = model.logits(&batch, &mut [&mut *cache]);
        let mut logits = logits.to_vec();
        extract.mask(&mut logits);
        let id = argmax(&logits);
        extract.push(id);
        let Ok(byte) = u8::try_from(id) else { break };
        bytes.push(byte);
        piece = vec![id];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
