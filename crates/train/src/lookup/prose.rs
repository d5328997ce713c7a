//! Sentences that state something among sentences that do not, and glossaries.

use super::Writer;
use super::vocabulary::{Case, Vocabulary, capitalized};

/// An attribute, sentences with it, ways to ask.
const STATEMENTS: [(&str, &[&str], &[&str]); 26] = [
    (
        "access code",
        &[
            "The access code of the {s} is {v}.",
            "To enter the {s}, use the access code {v}.",
            "The {s} opens with the access code {v}.",
        ],
        &[
            "what is the access code of the {s}?",
            "access code of the {s}",
            "which code opens the {s}?",
        ],
    ),
    (
        "owner",
        &[
            "The {s} belongs to {v}.",
            "The {s} is owned by {v}.",
            "{v} owns the {s}.",
            "{v} is the owner of the {s}.",
        ],
        &["who owns the {s}?", "who owns {s}?", "whose is the {s}?"],
    ),
    (
        "port",
        &[
            "The {s} listens on port {v}.",
            "The {s} accepts connections on port {v}.",
            "By default the {s} uses port {v}.",
        ],
        &["what port does the {s} listen on?", "which port does {s} use?", "port of the {s}"],
    ),
    (
        "version",
        &[
            "The current version of {s} is {v}.",
            "{s} {v} was released.",
            "We moved {s} to version {v}.",
        ],
        &["what is the current version of {s}?", "which version of {s}?", "version of {s}"],
    ),
    (
        "color",
        &[
            "The {s} was painted {v}.",
            "The {s} is {v}.",
            "Everyone knows the {s} for its {v} roof.",
        ],
        &["what color is the {s}?", "which color does the {s} have?", "color of the {s}"],
    ),
    (
        "location",
        &["The {s} stands in {v}.", "The {s} is located in {v}.", "You find the {s} in {v}."],
        &["where is the {s}?", "where does the {s} stand?", "location of the {s}"],
    ),
    (
        "price",
        &["The {s} costs {v}.", "The price of the {s} is {v}.", "For {v} you can have the {s}."],
        &["how much does the {s} cost?", "what is the price of the {s}?", "price of the {s}"],
    ),
    (
        "timeout",
        &[
            "The timeout of the {s} is {v}.",
            "The {s} MUST close the connection after {v}.",
            "The {s} waits for {v} before it gives up.",
        ],
        &["what is the timeout of the {s}?", "how long does the {s} wait?", "timeout of the {s}"],
    ),
    (
        "limit",
        &[
            "The {s} is limited to {v}.",
            "A {s} MUST NOT exceed {v}.",
            "The maximum size of a {s} is {v}.",
        ],
        &[
            "what is the limit of the {s}?",
            "what is the maximum size of a {s}?",
            "limit of the {s}",
        ],
    ),
    (
        "manager",
        &["The {s} is managed by {v}.", "{v} runs the {s}.", "The manager of the {s} is {v}."],
        &["who runs the {s}?", "who manages the {s}?", "manager of the {s}"],
    ),
    (
        "number",
        &["The {s} has the number {v}.", "The number of the {s} is {v}.", "Call the {s} at {v}."],
        &["what is the number of the {s}?", "which number does the {s} have?", "number of the {s}"],
    ),
    (
        "opening",
        &[
            "The {s} opened on {v}.",
            "The {s} was opened on {v}.",
            "Since {v} the {s} has been open.",
        ],
        &["when did the {s} open?", "when was the {s} opened?"],
    ),
    (
        "deadline",
        &[
            "The {s} is due on {v}.",
            "The deadline for the {s} is {v}.",
            "The {s} must be ready by {v}.",
        ],
        &["when is the {s} due?", "what is the deadline for the {s}?", "deadline of the {s}"],
    ),
    (
        "height",
        &["The {s} is {v} metres high.", "At {v} metres, the {s} is the highest of all."],
        &["how high is the {s}?", "what is the height of the {s}?"],
    ),
    (
        "default",
        &[
            "The default value of {s} is {v}.",
            "{s} defaults to {v}.",
            "Unless set otherwise, {s} is {v}.",
        ],
        &["what is the default of {s}?", "what does {s} default to?", "default value of {s}"],
    ),
    (
        "key",
        &["The key to the {s} hangs in {v}.", "{v} keeps the key to the {s}."],
        &["where is the key to the {s}?", "who keeps the key to the {s}?"],
    ),
    (
        "author",
        &["The {s} was written by {v}.", "{v} wrote the {s}.", "The author of the {s} is {v}."],
        &["who wrote the {s}?", "who is the author of the {s}?"],
    ),
    (
        "capital",
        &["The capital of {s} is {v}.", "{v} is the capital of {s}."],
        &["what is the capital of {s}?", "capital of {s}"],
    ),
    (
        "code name",
        &["The code name of {s} is {v}.", "Internally, {s} is called {v}."],
        &["what is the code name of {s}?", "what is {s} called internally?"],
    ),
    (
        "value",
        &["The {s} field is set to {v}.", "The {s} is set to {v}.", "The value of {s} is {v}."],
        &[
            "what is the value of {s}?",
            "what is {s} set to?",
            "which value does the {s} field have?",
        ],
    ),
    (
        "identifier",
        &[
            "The {s} message has the type {v}.",
            "Type {v} stands for the {s} message.",
            "The identifier of the {s} is {v}.",
        ],
        &[
            "what is the type of the {s} message?",
            "which identifier does the {s} have?",
            "identifier of the {s}",
        ],
    ),
    (
        "length",
        &[
            "The {s} is {v} bytes long.",
            "The length of the {s} is {v} bytes.",
            "The {s} field takes {v} bytes.",
        ],
        &["how long is the {s}?", "how many bytes does the {s} take?", "length of the {s}"],
    ),
    (
        "retries",
        &[
            "The {s} is retried {v} times.",
            "After {v} retries the {s} gives up.",
            "The {s} makes at most {v} attempts.",
        ],
        &["how many times is the {s} retried?", "how many retries does the {s} make?"],
    ),
    (
        "contact",
        &["Questions about the {s} go to {v}.", "For the {s}, write to {v}."],
        &[
            "who answers questions about the {s}?",
            "where do questions about the {s} go?",
            "contact for the {s}",
        ],
    ),
    (
        "amount",
        &[
            "The {s} received {v} boxes.",
            "There are {v} boxes in the {s}.",
            "{v} boxes were left in the {s}.",
        ],
        &["how many boxes are in the {s}?", "how many boxes did the {s} receive?"],
    ),
    (
        "command",
        &["To start the {s}, run `{v}`.", "The {s} is started with `{v}`."],
        &["how is the {s} started?", "which command starts the {s}?"],
    ),
];

const FILLERS: [&str; 14] = [
    "The {a} was quiet that {b}, and nobody asked about the {c}.",
    "Every {a} has a {b}, they say.",
    "It is not known why the {a} moved to the {b}.",
    "Most of the {a} had been sold before the {b} came.",
    "A {a} is no {b}.",
    "This section describes the {a} and its {b}.",
    "Implementations SHOULD ignore an unknown {a}.",
    "See the chapter on the {a} for details of the {b}.",
    "In the {b}, the {a} is often mistaken for a {c}.",
    "They talked about the {a} for hours.",
    "We will come back to the {a} after the {b}.",
    "Nothing about the {a} has changed since the last {b}.",
    "When the {a} is closed, the {b} remains open.",
    "The {a}, the {b} and the {c} are described elsewhere.",
];

fn value(w: &mut Writer<'_>, attribute: &str) -> String {
    match attribute {
        "access code" | "identifier" | "number" => {
            w.draw(|v, rng| if rng.chance(0.6) { v.code(rng) } else { v.number(rng) })
        }
        "owner" | "manager" | "author" => {
            w.draw(|v, rng| if rng.chance(0.7) { v.person(rng) } else { v.given_name(rng) })
        }
        "location" | "capital" => w.draw(Vocabulary::place),
        "price" => w.draw(|_, rng| match rng.below(3) {
            0 => format!("${}", 1 + rng.below(900)),
            1 => format!("{} euros", 1 + rng.below(900)),
            _ => format!("{}.{:02}", rng.below(300), rng.below(100)),
        }),
        "opening" | "deadline" => w.draw(Vocabulary::date),
        "height" | "length" | "retries" | "amount" => {
            w.draw(|_, rng| (1 + rng.below(5000)).to_string())
        }
        "key" => {
            w.draw(
                |v, rng| {
                    if rng.chance(0.5) { v.person(rng) } else { format!("the {}", v.real(rng)) }
                },
            )
        }
        "code name" | "color" => w.draw(Vocabulary::word),
        "contact" => w.draw(Vocabulary::email),
        "timeout" => w.draw(Vocabulary::duration),
        "limit" => w.draw(Vocabulary::size),
        "command" => w.draw(|v, rng| format!("{} {}", v.package(rng), v.word(rng))),
        _ => w.draw(|v, rng| v.value_of(rng, attribute)),
    }
}

pub(super) fn write(w: &mut Writer<'_>) {
    let fillers = w.rng.unit();
    let numbered = w.chance(0.25);
    let (mut chapter, mut column) = (0, 0);
    let mut sentences = 0;
    while w.has_room() {
        if numbered && sentences == 0 {
            chapter += 1;
            let title = w.draw(|v, rng| v.name(rng, Case::Title));
            w.line(&format!("{chapter}. {title}\n"));
        }
        let sentence = if w.chance(fillers * 0.8) { filler(w) } else { statement(w) };
        if numbered && column + sentence.len() > 72 {
            w.text.push('\n');
            column = 0;
        }
        w.text.push_str(&sentence);
        column += sentence.len() + 1;
        sentences += 1;
        if sentences > 2 && w.chance(0.2) {
            w.line("\n");
            (sentences, column) = (0, 0);
        } else {
            w.text.push(' ');
        }
    }
    w.text.truncate(w.text.trim_end().len());
    w.line("");
}

/// A sentence that says nothing that is asked.
fn filler(w: &mut Writer<'_>) -> String {
    let (a, b, c) = w.draw(|v, rng| (v.word(rng), v.real(rng), v.real(rng)));
    let sentence = w.pick(&FILLERS);
    sentence.replace("{a}", &a).replace("{b}", b).replace("{c}", c)
}

/// A sentence that states a fact.
fn statement(w: &mut Writer<'_>) -> String {
    let (attribute, sentences, asked) = *w.rng.pick(&STATEMENTS);
    let subject = match attribute {
        "capital" => w.draw(Vocabulary::place),
        "version" | "default" | "value" => w.draw(|v, rng| {
            let case = *rng.pick(&[Case::Kebab, Case::Snake, Case::Spaced, Case::Screaming]);
            v.name(rng, case)
        }),
        "code name" => w.draw(|v, rng| v.name(rng, Case::Kebab)),
        _ => {
            let words = w.draw(|v, rng| {
                let n = 1 + rng.below(2);
                v.words(rng, n)
            });
            Case::Spaced.join(&words)
        }
    };
    let value = value(w, attribute);
    let sentence = w.pick(sentences).replace("{s}", &subject).replace("{v}", &value);
    let sentence = extended(w, sentence);
    let asked = asked.iter().map(|asked| asked.replace("{s}", &subject)).collect();
    w.fact_with(&subject, attribute, &value, asked);
    // A value at the start stays as it is asked for.
    if sentence.starts_with(&value) { sentence } else { capitalized(&sentence) }
}

/// The sentence with something before it or after it, at times.
fn extended(w: &mut Writer<'_>, sentence: String) -> String {
    const BEFORE: [&str; 10] = [
        "According to {a}, ",
        "As of today, ",
        "In the {b}, ",
        "By the way, ",
        "After the {b} closed, ",
        "It is well known that ",
        "Please note: ",
        "Since last {b}, ",
        "If the {b} is missing, ",
        "For historical reasons, ",
    ];
    const AFTER: [&str; 10] = [
        ", as {a} said",
        " because of the {b}",
        ", not far from the {b}",
        " and nothing else",
        ", unless the {b} says otherwise",
        " (see the {b})",
        ", which surprised the {b}",
        " from now on",
        ", and the {b} agrees",
        " until the {b} is repaired",
    ];
    let (a, b) = w.draw(|v, rng| (v.given_name(rng), v.word(rng)));
    let with = |part: &str| part.replace("{a}", &a).replace("{b}", &b);
    match w.rng.below(5) {
        0 => {
            let Some(rest) = sentence.strip_prefix("The ") else { return sentence };
            with(w.pick(&BEFORE)) + "the " + rest
        }
        1 => match sentence.strip_suffix('.') {
            Some(start) => format!("{start}{}.", with(w.pick(&AFTER))),
            None => sentence,
        },
        _ => sentence,
    }
}

/// Terms and what they mean, in few words.
pub(super) fn glossary(w: &mut Writer<'_>) {
    let style = w.rng.below(7);
    while w.has_room() {
        let case = *w.rng.pick(&[Case::Spaced, Case::Spaced, Case::Title, Case::Kebab]);
        let term = w.draw(|v, rng| v.name(rng, case));
        let (a, b, c) = w.draw(|v, rng| (v.real(rng), v.word(rng), v.real(rng)));
        let meaning = match w.rng.below(7) {
            0 => format!("a {a} for the {b}"),
            1 => format!("a {a} that holds a {b}"),
            2 => format!("the {a} of a {b}"),
            3 => format!("a small {a} made of {b}"),
            4 => format!("a {a} used in the {c}"),
            5 => format!("what a {a} leaves in the {b}"),
            _ => format!("a kind of {b}"),
        };
        let more = if w.chance(0.2) { format!(" {}", filler(w)) } else { String::new() };
        let line = match style {
            0 => format!("A *{term}* is {meaning}.{more}"),
            1 => format!("{term}: {meaning}."),
            2 => format!("**{term}** - {meaning}"),
            3 => format!("{term} means {meaning}.{more}"),
            4 => format!("{term}\n    {meaning}"),
            5 => format!("- {term}: {meaning}"),
            _ => format!("\"{term}\" is {meaning}.{more}"),
        };
        w.line(&line);
        let asked = [
            "what is a {s}?",
            "what is {s}?",
            "what does {s} mean?",
            "define {s}",
            "meaning of {s}",
            "what is the meaning of {s}?",
            "definition of {s}",
            "what is meant by {s}?",
        ];
        let asked = asked.iter().map(|asked| asked.replace("{s}", &term)).collect();
        w.fact_with(&term, "meaning", &meaning, asked);
    }
}
