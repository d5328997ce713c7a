//! Constrained decoding: which tokens may come next, so that an answer is JSON, fits a JSON schema,
//! or calls functions with arguments that fit theirs.
//!
//! The work is the library's (`llguidance`): an Earley parser over derivatives of regular
//! expressions walks a tree of all tokens. What is here decides what it is given (`schema`,
//! `lark`), bounds its work, and keeps numbers readable (`numbers`).

mod format;
mod lark;
mod numbers;
mod schema;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use vocabulary::Vocabulary;

use crate::tool_calls::{CallFormat, Function};
use crate::{Error, Marks};
use llguidance::Matcher;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::SimpleVob;
use numbers::{Before, Numbers};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use vocabulary::Shared;

/// Longest time that a grammar may take to be made ready.
const COMPILE_TIME: Duration = Duration::from_secs(2);
/// Stack of the thread that does it: the library recurses into schemas.
const COMPILE_STACK: usize = 64 << 20;
/// Compilations over time that may still run; beyond, all grammars are refused.
const MAX_ABANDONED: usize = 4;

/// What an answer may be.
#[derive(Clone, Debug)]
pub struct Rules<'a> {
    /// What comes after reasoning, if there is any.
    pub form: Form<'a>,
    /// Reasoning that may come before; `None`: the answer begins at once.
    pub reasoning: Option<Thought>,
}

/// Reasoning before an answer.
#[derive(Clone, Debug)]
pub struct Thought {
    /// What encloses it.
    pub marks: Marks,
    /// Whether the prompt ends inside it.
    pub opened: bool,
}

/// The form of an answer.
#[derive(Clone, Debug)]
pub enum Form<'a> {
    /// Any JSON object.
    Json,
    /// JSON that fits this schema.
    Schema(&'a serde_json::Value),
    /// Calls of functions.
    Calls {
        /// How the model writes them.
        format: CallFormat,
        /// What may be called.
        functions: &'a [Function],
        /// Whether there must be a call; otherwise any text may stand before, or instead of it.
        required: bool,
        /// Whether there may be several.
        parallel: bool,
    },
}

impl Rules<'_> {
    /// What comes before the JSON of the answer, if anything may.
    fn before(&self) -> Option<Before> {
        let before = |begin, end: &str| Before { begin, end: end.to_owned(), seen: Vec::new() };
        match (&self.form, &self.reasoning) {
            (Form::Calls { format, required: false, .. }, _) => Some(before(None, format.open())),
            (_, None) => None,
            (_, Some(Thought { marks, opened })) => {
                Some(before((!opened).then(|| marks.open.clone()), &marks.close))
            }
        }
    }
}

/// Says which tokens may come next. A clone goes on by itself from where this is.
#[derive(Clone)]
pub struct Grammar {
    matcher: Matcher,
    vocabulary: Vocabulary,
    numbers: Numbers,
    error: Option<String>,
}

impl Grammar {
    /// A grammar of `rules` for the tokens of `vocabulary`.
    ///
    /// It takes milliseconds, two seconds at most.
    ///
    /// # Errors
    ///
    /// If a schema is wrong, has keywords that cannot be enforced, or takes too long.
    pub fn new(vocabulary: &Vocabulary, rules: &Rules<'_>) -> Result<Self, Error> {
        let shared = vocabulary.shared();
        let grammar = lark::grammar(rules, &shared.specials)?;
        let matcher = compile(shared, grammar)?;
        let numbers = Numbers::new(rules.before());
        Ok(Self { matcher, vocabulary: vocabulary.clone(), numbers, error: None })
    }

    /// Sets the logits, `[vocab_size]`, of tokens that may not come next to minus infinity. Where
    /// the answer may end, the tokens that end it are allowed; where it must, they alone.
    ///
    /// If the grammar has failed, see [`error`](Self::error), only those are left.
    pub fn mask(&mut self, logits: &mut [f32]) {
        let allowed = match self.allowed() {
            Ok(allowed) => allowed,
            Err(reason) => {
                self.error.get_or_insert(reason);
                let mut end = SimpleVob::alloc(self.vocabulary.num_ids());
                self.vocabulary.shared().end.iter().for_each(|&id| end.allow_token(id));
                end
            }
        };
        let mut words = allowed.as_slice().iter().copied();
        for logits in logits.chunks_mut(32) {
            match words.next().unwrap_or(0) {
                u32::MAX => {}
                0 => logits.fill(f32::NEG_INFINITY),
                word => {
                    for (bit, logit) in logits.iter_mut().enumerate() {
                        if word >> bit & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
    }

    fn allowed(&mut self) -> Result<SimpleVob, String> {
        let mut mask = self.matcher.compute_mask_or_eos().map_err(|error| short(&error))?;
        let shared = self.vocabulary.shared();
        self.numbers.restrict(&mut mask, &shared.numeric, &shared.monsters);
        match mask.is_zero() {
            true => Err("no token is left".to_owned()),
            false => Ok(mask),
        }
    }

    /// Takes note of the token that was written.
    ///
    /// # Errors
    ///
    /// If it was not allowed; nothing else is from then on.
    pub fn push(&mut self, id: u32) -> Result<(), Error> {
        let shared = self.vocabulary.shared();
        if self.must_end() && shared.end.contains(&id) {
            return Ok(());
        }
        if id as usize >= shared.bytes.len() {
            let reason = format!("the token {id} is not in the vocabulary");
            return Err(Error::Grammar { reason });
        }
        self.matcher.consume_token(id).map_err(|error| {
            let reason = format!("the token {id} is not allowed: {}", short(&error));
            self.error.get_or_insert_with(|| reason.clone());
            Error::Grammar { reason }
        })?;
        match shared.names.get(&id) {
            Some(mark) => self.numbers.push(mark.as_bytes()),
            None => self.numbers.push(&shared.bytes[id as usize]),
        }
        Ok(())
    }

    /// Whether what was written is an answer.
    pub fn may_end(&mut self) -> bool {
        self.must_end() || self.matcher.is_accepting().unwrap_or(false)
    }

    /// Whether nothing can follow.
    pub fn must_end(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// Why the grammar cannot go on, if it cannot.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammar").field("error", &self.error).finish_non_exhaustive()
    }
}

/// Makes a grammar ready on a thread that is given up when it takes too long. What the library does
/// is bounded, so that it comes to an end; a few may be under way.
fn compile(shared: &Arc<Shared>, grammar: TopLevelGrammar) -> Result<Matcher, Error> {
    let slow = || Error::Schema {
        keyword: None,
        reason: format!("takes more than {} s to compile", COMPILE_TIME.as_secs()),
    };
    if shared.abandoned.load(Ordering::Relaxed) >= MAX_ABANDONED {
        return Err(Error::Grammar { reason: "too many grammars are being compiled".to_owned() });
    }
    let (sender, receiver) = mpsc::channel();
    // Set by whoever is first: the worker at its end, or who gives it up.
    let over = Arc::new(AtomicBool::new(false));
    let (worker, worker_over) = (Arc::clone(shared), Arc::clone(&over));
    let work = move || {
        let made = worker.factory.create_parser(grammar).and_then(|parser| {
            let mut matcher = Matcher::new(Ok(parser));
            // The first mask shows what only the parser finds out.
            matcher.compute_mask_or_eos().map(|_| matcher)
        });
        if worker_over.swap(true, Ordering::Relaxed) {
            worker.abandoned.fetch_sub(1, Ordering::Relaxed);
        }
        // Nobody listens if it was given up.
        let _ = sender.send(made);
    };
    let thread = std::thread::Builder::new().name("grammar".to_owned()).stack_size(COMPILE_STACK);
    thread
        .spawn(work)
        .map_err(|error| Error::Grammar { reason: format!("cannot start a thread: {error}") })?;
    match receiver.recv_timeout(COMPILE_TIME) {
        Ok(Ok(matcher)) => Ok(matcher),
        Ok(Err(error)) => Err(refused(&short(&error))),
        Err(_) => {
            if !over.swap(true, Ordering::Relaxed) {
                shared.abandoned.fetch_add(1, Ordering::Relaxed);
            }
            Err(slow())
        }
    }
}

/// What the library says, with the keyword that it means.
fn refused(reason: &str) -> Error {
    const WORDS: [(&str, &str); 8] = [
        ("oneOf constraints", "oneOf"),
        ("min/maxProperties", "maxProperties"),
        ("pattern", "pattern"),
        ("regex", "pattern"),
        ("circular references", "$ref"),
        ("format", "format"),
        ("minItems", "minItems"),
        ("multipleOf", "multipleOf"),
    ];
    let keyword = WORDS.iter().find(|(word, _)| reason.contains(word));
    let reason = match keyword {
        Some((_, "oneOf")) => "has schemas that more than one value may fit".to_owned(),
        _ => format!("cannot be enforced: {reason}"),
    };
    Error::Schema { keyword: keyword.map(|(_, keyword)| (*keyword).to_owned()), reason }
}

/// The first line of an error, without what a panic adds.
fn short(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown");
    line.chars().take(300).collect()
}
