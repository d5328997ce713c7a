//! What people ask about a sound.

use super::content::Content;
use crate::senses::Question;
use tensor::Rng;

/// Kinds of questions with their wordings; each is answered by the word of one line.
pub(super) const WORDINGS: &[(&str, &[&str])] = &[
    (
        "beeps",
        &[
            "how many beeps?",
            "how many beeps are there?",
            "how many beeps do you hear?",
            "how many beeps can you hear?",
            "how many beeps are in the sound?",
            "how many tones?",
            "how many tones are there?",
            "how many tones do you hear?",
            "how many notes are played?",
            "how many sounds are there?",
            "number of beeps",
            "what is the number of beeps?",
            "count the beeps",
            "how often does it beep?",
            "how many times does it beep?",
        ],
    ),
    (
        "pitch",
        &[
            "does the pitch rise or fall?",
            "does the pitch rise, fall or stay?",
            "does the pitch go up or down?",
            "does it go up or down?",
            "is the pitch rising or falling?",
            "what does the pitch do?",
            "what happens to the pitch?",
            "how does the pitch change?",
            "how does the pitch move?",
            "which way does the pitch go?",
            "what is the pitch doing?",
            "how is the pitch?",
            "do the tones rise or fall?",
            "pitch",
        ],
    ),
    (
        "noise",
        &[
            "is there noise?",
            "is there any noise?",
            "is there noise in the background?",
            "is there any background noise?",
            "what noise is there?",
            "what noise do you hear?",
            "what kind of noise is there?",
            "which noise is in the background?",
            "what is the noise?",
            "is it noisy?",
            "is the recording clean?",
            "noise",
        ],
    ),
    (
        "timbre",
        &[
            "what is the timbre?",
            "which timbre is it?",
            "what timbre do the beeps have?",
            "what does it sound like?",
            "what do the beeps sound like?",
            "how do the tones sound?",
            "what kind of sound is it?",
            "what kind of tone is it?",
            "what is the tone like?",
            "what instrument is it?",
            "timbre",
        ],
    ),
];

/// One question of each kind, in random order.
pub(super) fn draw(content: Content, rng: &mut Rng) -> Vec<Question> {
    let answer = |kind: &str| match kind {
        "beeps" => content.beeps().to_string(),
        "pitch" => content.pitch().to_owned(),
        "noise" => content.noise().to_owned(),
        _ => content.timbre().to_owned(),
    };
    let question = |&(kind, wordings): &(&'static str, &[&str])| Question {
        kind,
        text: typed(rng.pick::<&str>(wordings), rng),
        answer: answer(kind),
    };
    let mut questions: Vec<Question> = WORDINGS.iter().map(question).collect();
    rng.shuffle(&mut questions);
    questions
}

/// As somebody types it: some begin with a capital letter, some leave out the question mark.
fn typed(wording: &str, rng: &mut Rng) -> String {
    let mut text = wording.to_owned();
    if rng.chance(0.25) {
        text[..1].make_ascii_uppercase();
    }
    if rng.chance(0.1) && text.ends_with('?') {
        text.pop();
    }
    text
}
