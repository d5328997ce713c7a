//! An answer from its tokens: characters, stop strings, reasoning, calls of functions.

use crate::tool_calls::Piece;
use crate::{
    CallFormat, CallParser, Detokenizer, Marks, Reasoning, StopStrings, Thinking, Tokenizer,
};

/// What is looked for in an answer.
#[derive(Clone, Debug, Default)]
pub struct AnswerForm {
    /// Strings that end it and do not belong to it.
    pub stop: Vec<String>,
    /// What encloses reasoning, and whether the prompt ends inside it; `None`: all is content.
    pub reasoning: Option<(Marks, bool)>,
    /// How calls are written; `None`: all is content.
    pub calls: Option<CallFormat>,
}

/// What tokens add to an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// More reasoning.
    Reasoning(String),
    /// More of what is said.
    Content(String),
    /// A call begins.
    ToolCall {
        /// Which of the answer's calls, from 0.
        index: usize,
        /// The function.
        name: String,
    },
    /// More of a call's arguments.
    ToolArguments {
        /// Which of the answer's calls, from 0.
        index: usize,
        /// Text of a JSON object, or a piece of it.
        text: String,
    },
}

/// Why an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model ended it, or a stop string did.
    Stop,
    /// It has as many tokens as it may.
    Length,
    /// It calls functions and waits for their results.
    ToolCalls,
}

/// Splits an answer while its tokens arrive. However they cut it, all deltas together are the same.
#[derive(Clone, Debug)]
pub struct Answer {
    detokenizer: Detokenizer,
    stop: StopStrings,
    reasoning: Option<Reasoning>,
    calls: Option<CallParser>,
    /// Special tokens that are marks: they are text here, and nothing to a detokenizer.
    marks: Vec<(u32, String)>,
    num_calls: usize,
    stopped: bool,
}

impl Answer {
    /// Begins an answer.
    pub fn new(tokenizer: &Tokenizer, form: AnswerForm) -> Self {
        let AnswerForm { stop, reasoning, calls } = form;
        let special = tokenizer.special_tokens();
        let of_reasoning = reasoning.iter().flat_map(|(marks, _)| [&marks.open[..], &marks.close]);
        let of_calls = calls.iter().flat_map(|format| format.marks().iter().copied());
        let marks = of_reasoning.chain(of_calls).filter(|mark| special.iter().any(|s| s == mark));
        let marks = marks.filter_map(|mark| Some((tokenizer.special_id(mark)?, mark.to_owned())));
        Self {
            marks: marks.collect(),
            detokenizer: Detokenizer::new(tokenizer),
            stop: StopStrings::new(stop),
            reasoning: reasoning.map(|(marks, opened)| Reasoning::new(marks, opened)),
            calls: calls.map(CallParser::new),
            num_calls: 0,
            stopped: false,
        }
    }

    /// What the token `id` adds for certain; nothing once a stop string was found.
    pub fn push(&mut self, id: u32) -> Vec<Delta> {
        let text = match self.marks.iter().find(|(mark, _)| *mark == id) {
            Some((_, mark)) => self.detokenizer.finish() + mark,
            None => self.detokenizer.push(id),
        };
        self.text(&text)
    }

    /// Whether a stop string ended the answer.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// The stop string that ended the answer.
    pub fn stopped_by(&self) -> Option<&str> {
        self.stop.found()
    }

    /// Whether the answer is in its reasoning.
    pub fn is_reasoning(&self) -> bool {
        self.reasoning.as_ref().is_some_and(Reasoning::is_inside)
    }

    /// What is left when the tokens end for `reason`, and why the answer as a whole ends: calls that
    /// are complete count as such.
    pub fn finish(&mut self, reason: FinishReason) -> (Vec<Delta>, FinishReason) {
        let rest = self.detokenizer.finish();
        let mut deltas = self.text(&rest);
        let held = if self.stopped { String::new() } else { self.stop.finish() };
        let mut thinking = self.think(&held);
        if let Some(reasoning) = &mut self.reasoning {
            thinking.extend(reasoning.finish());
        }
        self.sort(thinking, &mut deltas);
        if let Some(calls) = &mut self.calls {
            let pieces = calls.finish();
            self.add(pieces, &mut deltas);
        }
        let called = self.num_calls > 0 && reason == FinishReason::Stop;
        (deltas, if called { FinishReason::ToolCalls } else { reason })
    }

    fn text(&mut self, text: &str) -> Vec<Delta> {
        let mut deltas = Vec::new();
        if self.stopped || text.is_empty() {
            return deltas;
        }
        let (shown, stopped) = self.stop.push(text);
        self.stopped = stopped;
        let thinking = self.think(&shown);
        self.sort(thinking, &mut deltas);
        deltas
    }

    fn think(&mut self, text: &str) -> Vec<Thinking> {
        match &mut self.reasoning {
            _ if text.is_empty() => Vec::new(),
            Some(reasoning) => reasoning.push(text),
            None => vec![Thinking::Content(text.to_owned())],
        }
    }

    fn sort(&mut self, thinking: Vec<Thinking>, deltas: &mut Vec<Delta>) {
        for part in thinking {
            match part {
                Thinking::Reasoning(text) => deltas.push(Delta::Reasoning(text)),
                Thinking::Content(text) => {
                    let pieces = match &mut self.calls {
                        Some(calls) => calls.push(&text),
                        None => vec![Piece::Text(text)],
                    };
                    self.add(pieces, deltas);
                }
            }
        }
    }

    fn add(&mut self, pieces: Vec<Piece>, deltas: &mut Vec<Delta>) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => deltas.push(Delta::Content(text)),
                Piece::Call { name, arguments } => {
                    let index = self.num_calls;
                    self.num_calls += 1;
                    deltas.push(Delta::ToolCall { index, name });
                    deltas.push(Delta::ToolArguments { index, text: arguments });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Specials;
    use proptest::prelude::*;

    const SPECIALS: [&str; 4] = ["<|end|>", "<think>", "</think>", "<function_call>"];

    /// A tokenizer whose tokens are pieces of up to eight bytes of `text`, cut at `cuts`, and whose
    /// first special tokens are marks.
    fn pieces(text: &str, cuts: &[usize]) -> (Tokenizer, Vec<u32>) {
        let mut ends: Vec<usize> = cuts.iter().copied().chain([0, text.len()]).collect();
        ends.sort_unstable();
        ends.dedup();
        let spelled = |bytes: &[u8]| -> String { bytes.iter().map(|&byte| letter(byte)).collect() };
        let mut vocab: Vec<String> = (0..=255).map(|byte| spelled(&[byte])).collect();
        let mut ids = Vec::new();
        for pair in ends.windows(2) {
            let token = spelled(&text.as_bytes()[pair[0]..pair[1]]);
            let id = vocab.iter().position(|known| *known == token).unwrap_or_else(|| {
                vocab.push(token);
                vocab.len() - 1
            });
            ids.push(id as u32);
        }
        let vocab: serde_json::Map<_, _> =
            vocab.into_iter().zip(0..).map(|(token, id)| (token, serde_json::json!(id))).collect();
        let file = serde_json::json!({
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                        "use_regex": true},
            "model": {"type": "BPE", "vocab": vocab, "merges": []},
        });
        let path = std::path::Path::new("tokenizer.json");
        (Tokenizer::from_json(file.to_string().as_bytes(), path).unwrap(), ids)
    }

    /// GPT-2's letter of a byte.
    fn letter(byte: u8) -> char {
        let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        match printable(byte) {
            true => byte.into(),
            false => {
                let before = (0..byte).filter(|&byte| !printable(byte)).count() as u32;
                char::from_u32(0x100 + before).unwrap()
            }
        }
    }

    /// All deltas of an answer, neighbours of a kind joined.
    fn all(tokenizer: &Tokenizer, form: &AnswerForm, ids: &[u32]) -> (Vec<Delta>, FinishReason) {
        let mut answer = Answer::new(tokenizer, form.clone());
        let mut joined: Vec<Delta> = Vec::new();
        let mut add = |deltas: Vec<Delta>| {
            for delta in deltas {
                match (joined.last_mut(), delta) {
                    (Some(Delta::Content(text)), Delta::Content(more)) => *text += &more,
                    (Some(Delta::Reasoning(text)), Delta::Reasoning(more)) => *text += &more,
                    (_, delta) => joined.push(delta),
                }
            }
        };
        for &id in ids {
            add(answer.push(id));
        }
        let (rest, reason) = answer.finish(FinishReason::Stop);
        add(rest);
        (joined, reason)
    }

    fn form(calls: CallFormat, stop: &[&str]) -> AnswerForm {
        AnswerForm {
            stop: stop.iter().map(|&stop| stop.to_owned()).collect(),
            reasoning: Some((Marks::think(), false)),
            calls: Some(calls),
        }
    }

    #[test]
    fn all_parts_of_an_answer() {
        let tokenizer = Tokenizer::bytes(SPECIALS);
        let text = "<think>\nHm 🦀.\n</think>\n\nI call.\
                    <function_call>```typescript\nfunctions.f({\"a\": \"日\"})\n```<|end|>";
        for specials in [Specials::Parse, Specials::AsText] {
            let mut ids = tokenizer.encode(text, specials).unwrap();
            if specials == Specials::AsText {
                ids.truncate(ids.len() - "<|end|>".len());
            }
            let (deltas, reason) = all(&tokenizer, &form(CallFormat::Typescript, &[]), &ids);
            let expected = [
                Delta::Reasoning("Hm 🦀.".to_owned()),
                Delta::Content("I call.".to_owned()),
                Delta::ToolCall { index: 0, name: "f".to_owned() },
                Delta::ToolArguments { index: 0, text: "{\"a\":\"日\"}".to_owned() },
            ];
            assert_eq!(deltas, expected);
            assert_eq!(reason, FinishReason::ToolCalls);
        }
        let ids = tokenizer.encode(text, Specials::Parse).unwrap();
        let (deltas, reason) = all(&tokenizer, &AnswerForm::default(), &ids);
        let plain = text.replace("<|end|>", "");
        let plain = SPECIALS.iter().fold(plain, |text, mark| text.replace(mark, ""));
        assert_eq!(deltas, [Delta::Content(plain)]);
        assert_eq!(reason, FinishReason::Stop);
    }

    #[test]
    fn a_stop_string_over_many_tokens_does_not_leak() {
        for tokens in 1..=8_usize {
            let (text, stop) = ("über <|stop|> more", "<|stop|>");
            let start = text.find(stop).unwrap();
            let cuts: Vec<usize> = (1..tokens).map(|i| start + i * stop.len() / tokens).collect();
            let cuts = [vec![start, start + stop.len()], cuts].concat();
            let (tokenizer, ids) = pieces(text, &cuts);
            let (deltas, reason) = all(&tokenizer, &form(CallFormat::Tags, &[stop]), &ids);
            assert_eq!(deltas, [Delta::Content("über ".to_owned())]);
            assert_eq!(reason, FinishReason::Stop);
        }
    }

    #[test]
    fn an_answer_that_was_cut_loses_nothing() {
        let tokenizer = Tokenizer::bytes(SPECIALS);
        let ids = tokenizer.encode("a<tool_calls>\n{\"na", Specials::AsText).unwrap();
        let (deltas, _) = all(&tokenizer, &form(CallFormat::Tags, &["zz"]), &ids);
        assert_eq!(deltas, [Delta::Content("a<tool_calls>\n{\"na".to_owned())]);
    }

    proptest! {
        #[test]
        fn deltas_together_are_the_answer(
            tags in any::<bool>(),
            words in prop::collection::vec(
                "<think>|</think>|<tool_calls>\n|\n</tool_calls>|\\{\"name\": \"日\"\\}\
                 |<function_call>|```typescript\n|functions\\.a\\(\\{\\}\\)|\n```|🦀|é日本|stop|[a \n<]{1,3}",
                0..10),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let text = words.concat();
            let format = if tags { CallFormat::Tags } else { CallFormat::Typescript };
            let form = form(format, &["stop", "a\n\na"]);
            let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            let (whole, ids) = pieces(&text, &[]);
            let expected = all(&whole, &form, &ids);
            let (cut, ids) = pieces(&text, &cuts);
            prop_assert_eq!(&all(&cut, &form, &ids), &expected);
            let bytes = Tokenizer::bytes(SPECIALS);
            let ids = bytes.encode(&text, Specials::AsText).unwrap();
            prop_assert_eq!(&all(&bytes, &form, &ids), &expected);
        }
    }
}
