//! A word or a number on a background.

use super::canvas::Canvas;
use super::colours::{self, BLACK, Background, COLOURS};
use super::glyphs::{DIGITS, LETTERS, Style};
use super::marks::{Label, Marks};
use super::{Drawn, Frame, ask, range};
use crate::clips::Split;
use crate::senses::{Lines, Question};
use tensor::Rng;

/// Characters of the longest string.
const LONGEST: usize = 6;
/// Smallest contrast with the background.
const CONTRAST: f32 = 0.28;
/// Letters of half of the strings that begin with letters: how often they are in English words.
const FREQUENT: &[u8] = b"EEEEEEETTTTTAAAAAOOOOOIIIINNNNSSSSRRRRHHHLLLDDDCCUUMMFPGWYBVK";

/// Draws writing.
pub(super) fn draw(canvas: &mut Canvas, frame: Frame, rng: &mut Rng, split: Split) -> Drawn {
    let (background, colour, shade) = loop {
        let background = Background::draw(rng);
        let colour = if rng.chance(0.35) { BLACK } else { *rng.pick(&COLOURS) };
        let shade = colour.shade(rng);
        if background.contrast(shade) >= CONTRAST {
            break (background, colour, shade);
        }
    };
    background.paint(canvas);
    canvas.soften(range(rng, 0.8, 1.8));
    let string = string(rng, split);
    let word = Style::draw(rng).word(&string);
    // As wide as fits, but not higher than looks like writing.
    let widest = frame.width * range(rng, 0.6, 0.92) / word.width;
    let height = widest.min(frame.height * range(rng, 0.3, 0.7)).max(0.07);
    let (width, angle) = (height * word.width, 0.1 * (rng.unit() - 0.5) * 2.0 * rng.unit());
    let free = [(frame.width - width).max(0.0), (frame.height - 1.3 * height).max(0.0)];
    let left = frame.left + free[0] * range(rng, 0.1, 0.9);
    let top = frame.top + 0.15 * height + free[1] * range(rng, 0.1, 0.9);
    word.write(canvas, [left, top], height, angle, shade);
    let boxes = word.boxes([left, top], height, angle).into_iter().zip(string.bytes());
    let label = |(i, (bounds, character))| (bounds, Label::character(character, colour, i + 1));
    let marks = Marks {
        nothing: Label::nothing(string.len()),
        boxes: boxes.enumerate().map(label).collect(),
    };
    let mut lines = Lines::default();
    lines.push(("written", 7), (&string, LONGEST));
    lines.push(("word", 4), (&string, LONGEST));
    lines.push(("word colour", 11), (colour.name, colours::WIDEST));
    let questions = [
        ("writing", &WHAT_IS_WRITTEN[..], &*string),
        ("writing", &WHICH_WORD[..], &*string),
        ("colour", &WHAT_COLOUR[..], colour.name),
    ];
    let question = |(kind, wordings, answer): (_, &[&str], &str)| Question {
        kind,
        text: ask(rng, wordings, ""),
        answer: answer.to_owned(),
    };
    let questions = questions.into_iter().map(question).collect();
    Drawn { transcript: lines.into_text(), questions, marks }
}

const WHAT_IS_WRITTEN: [&str; 6] = [
    "what is written?",
    "what is written in the picture?",
    "what does it say?",
    "what does the picture say?",
    "what is the text?",
    "what text is written?",
];
const WHICH_WORD: [&str; 4] = [
    "which word is written?",
    "what word is written?",
    "what is the word?",
    "which word is in the picture?",
];
const WHAT_COLOUR: [&str; 4] = [
    "what colour is the word?",
    "what color is the word?",
    "which colour has the word?",
    "what is the colour of the word?",
];

/// Letters, digits, or letters and then digits: what an O is, or a 0, is said by what stands before.
fn string(rng: &mut Rng, split: Split) -> String {
    loop {
        let n = 1 + rng.below(LONGEST);
        let letters = match rng.unit() {
            u if u < 0.62 => n,
            u if u < 0.85 => 0,
            _ => 1 + rng.below(n),
        };
        let alphabet = if rng.chance(0.5) { FREQUENT } else { LETTERS };
        let mut character =
            |i: usize| char::from(*rng.pick(if i < letters { alphabet } else { DIGITS }));
        let string: String = (0..n).map(&mut character).collect();
        // One character that could be two things.
        let is_clear =
            string.len() > 1 || !matches!(string.as_bytes()[0], b'0' | b'O' | b'1' | b'I');
        if is_clear && is_held_out(&string) == (split == Split::HeldOut) {
            return string;
        }
    }
}

/// Whether training never sees a string: one in sixteen of those of three characters and more.
fn is_held_out(string: &str) -> bool {
    let hash =
        string.bytes().fold(5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    string.len() >= 3 && (hash >> 16).is_multiple_of(16)
}
