//! How facts are asked for, and what is asked that is not there.

use super::vocabulary::{Case, normalized};
use super::{ABSENT, Fact, Question, Writer};

/// Up to `n` questions, `absent_share` of them about what is missing.
pub(super) fn ask(writer: &mut Writer<'_>, n: usize, absent_share: f32) -> Vec<Question> {
    let mut facts = std::mem::take(&mut writer.facts);
    writer.rng.shuffle(&mut facts);
    let mut questions = Vec::new();
    let mut next = 0;
    while questions.len() < n && next < facts.len() {
        if writer.chance(absent_share) {
            let other = writer.rng.below(facts.len());
            questions.extend(missing(writer, &facts[next], &facts[other]));
        }
        questions.extend(present(writer, &facts[next]));
        next += 1;
    }
    // One draw may have given two.
    questions.truncate(n);
    writer.rng.shuffle(&mut questions);
    questions
}

/// A question for a fact, if it has only one answer.
fn present(writer: &mut Writer<'_>, fact: &Fact) -> Option<Question> {
    let Fact { subject, attribute, .. } = fact;
    if !writer.is_unique(subject, attribute) {
        return None;
    }
    let text = if !fact.wordings.is_empty() && writer.chance(0.7) {
        writer.rng.pick(&fact.wordings).clone()
    } else if subject.is_empty() || (writer.is_unique("", attribute) && writer.chance(0.3)) {
        of_key(writer, attribute)
    } else {
        of_subject(writer, subject, attribute)
    };
    Some(question(writer, fact, text, fact.value.clone()))
}

/// A question for what looks like `fact` or goes with the attribute of `other`.
fn missing(writer: &mut Writer<'_>, fact: &Fact, other: &Fact) -> Option<Question> {
    // A misspelled attribute of something that is there would be a slip, not a question for
    // something else: there the attribute is another one altogether.
    let fresh = |writer: &mut Writer<'_>| writer.draw(|v, rng| v.attribute(rng, Case::Snake));
    let (subject, attribute) = match (fact.subject.is_empty(), writer.rng.below(4)) {
        (true, 0) => (String::new(), fresh(writer)),
        (true, _) => (String::new(), writer.vocabulary.other(&mut writer.rng, &fact.attribute)),
        (false, 0) => (fact.subject.clone(), other.attribute.clone()),
        (false, 1) => (fact.subject.clone(), fresh(writer)),
        _ => {
            let other = writer.vocabulary.other(&mut writer.rng, &fact.subject);
            (other, fact.attribute.clone())
        }
    };
    if !writer.is_unknown(&subject, &attribute) || normalized(&attribute).is_empty() {
        return None;
    }
    let text = if subject.is_empty() {
        of_key(writer, &attribute)
    } else {
        let asked = fact.wordings.iter().filter(|w| w.contains(&fact.subject));
        let asked: Vec<&String> = asked.collect();
        if attribute == fact.attribute && !asked.is_empty() && writer.chance(0.5) {
            writer.rng.pick(&asked).replace(&fact.subject, &subject)
        } else {
            of_subject(writer, &subject, &attribute)
        }
    };
    Some(question(writer, fact, text, ABSENT.to_owned()))
}

/// Puts the last touches to the wording: question mark, first letter.
fn question(writer: &mut Writer<'_>, fact: &Fact, mut text: String, answer: String) -> Question {
    if writer.chance(0.35) {
        if text.ends_with('?') {
            text.pop();
        } else {
            text.push('?');
        }
    }
    if writer.chance(0.25) {
        text = super::vocabulary::capitalized(&text);
    }
    if writer.chance(0.03) {
        text = text.to_lowercase();
    }
    Question { kind: fact.kind, text, answer }
}

/// The name as it stands in the text, or nearly so.
fn spelled(writer: &mut Writer<'_>, name: &str) -> String {
    match writer.rng.below(12) {
        0 => name.to_lowercase(),
        1 | 2 => normalized(name),
        3 => Case::Snake.join(&normalized(name).split(' ').collect::<Vec<_>>()),
        4 => Case::Kebab.join(&normalized(name).split(' ').collect::<Vec<_>>()),
        _ => name.to_owned(),
    }
}

fn fill(template: &str, subject: &str, attribute: &str) -> String {
    template.replace("{a}", attribute).replace("{s}", subject)
}

/// Asks for a key that stands by itself.
fn of_key(writer: &mut Writer<'_>, attribute: &str) -> String {
    const TEMPLATES: [&str; 20] = [
        "what is {a}?",
        "what is the {a}?",
        "what is the value of {a}?",
        "value of {a}",
        "{a}?",
        "{a}",
        "what is {a} set to?",
        "which {a}?",
        "which {a} is used?",
        "which {a} is set?",
        "what {a} is given?",
        "what's the {a}?",
        "what does {a} say?",
        "what does {a} equal?",
        "find the {a}",
        "give me the {a}",
        "tell me the {a}",
        "look up {a}",
        "how is {a} set?",
        "what value does {a} have?",
    ];
    let attribute = spelled(writer, attribute);
    fill(writer.pick(&TEMPLATES), "", &attribute)
}

/// Asks for an attribute of something.
fn of_subject(writer: &mut Writer<'_>, subject: &str, attribute: &str) -> String {
    const TEMPLATES: [&str; 24] = [
        "{a} of {s}",
        "{a} of {s}?",
        "what is the {a} of {s}?",
        "what is the {a} of {s}?",
        "what is the {a} of the {s}?",
        "what is {a} in {s}?",
        "what is the {a} in [{s}]?",
        "{s} {a}",
        "{s}.{a}",
        "{s}'s {a}",
        "which {a} does {s} have?",
        "which {a} does {s} use?",
        "what {a} does {s} have?",
        "what {a} does {s} use?",
        "{a} for {s}",
        "what is the {a} for {s}?",
        "{a} in {s}?",
        "in {s}, what is {a}?",
        "under {s}, what is {a} set to?",
        "what {a} is set for {s}?",
        "which {a} is given for {s}?",
        "{s}: {a}?",
        "what is {s}'s {a}?",
        "tell me the {a} of {s}",
    ];
    let plain = normalized(attribute);
    let subject = spelled(writer, subject);
    if writer.chance(0.4) {
        let special = special(&plain);
        if !special.is_empty() {
            return fill(writer.pick(special), &subject, attribute);
        }
    }
    let attribute = spelled(writer, attribute);
    fill(writer.pick(&TEMPLATES), &subject, &attribute)
}

/// Wordings that go with one attribute only.
fn special(attribute: &str) -> &'static [&'static str] {
    match attribute {
        "version" => &[
            "which version of {s}?",
            "what version of {s}?",
            "what version is {s}?",
            "which version is {s}?",
            "which version of {s} is used?",
            "which version of {s} is locked?",
            "what version of {s} do we use?",
            "{s} version?",
            "version of {s}",
            "which {s} version?",
            "which release of {s}?",
            "at which version is {s} pinned?",
        ],
        "port" => &[
            "what port does {s} listen on?",
            "which port does {s} listen on?",
            "on which port does {s} run?",
            "what port does the {s} listen on?",
            "what port is {s} on?",
            "which port does {s} use?",
        ],
        "owner" => &[
            "who owns {s}?",
            "who owns the {s}?",
            "owner of {s}",
            "who is the owner of {s}?",
            "who is responsible for {s}?",
        ],
        "maintainer" => &["who maintains {s}?", "who is the maintainer of {s}?"],
        "author" => &["who wrote {s}?", "who is the author of {s}?"],
        "manager" => &["who manages {s}?", "who is the manager of {s}?"],
        "population" => {
            &["how many people live in {s}?", "population of {s}", "what is the population of {s}?"]
        }
        "email" => &["what is the email of {s}?", "email address of {s}", "email of {s}?"],
        "phone" => &["what is the phone number of {s}?", "phone of {s}"],
        "memory" => &["how much memory does {s} have?", "how much memory does {s} get?"],
        "price" | "cost" => &["how much does {s} cost?", "what does {s} cost?", "price of {s}"],
        "location" | "city" | "room" => {
            &["where is {s}?", "in which {a} is {s}?", "where is the {s}?", "which {a} is {s} in?"]
        }
        "started" => &["when did {s} start?", "when was {s} started?"],
        "finished" => &["when did {s} finish?", "when was {s} finished?"],
        "opened" => &["when was {s} opened?", "when did {s} open?"],
        "founded" => &["when was {s} founded?"],
        "created" => &["when was {s} created?"],
        "deadline" | "due date" => &["when is {s} due?", "what is the deadline of {s}?"],
        "license" => &["which license does {s} have?", "under which license is {s}?"],
        "image" => &["which image does {s} use?", "what image does {s} run?"],
        "status" | "state" => &["what is the status of {s}?", "{a} of {s}?"],
        "weight" => &["how much does {s} weigh?", "how heavy is {s}?"],
        "height" | "elevation" => &["how high is {s}?", "what is the {a} of {s}?"],
        "length" => &["how long is {s}?"],
        "timeout" => &["what is the timeout of {s}?", "when does {s} time out?"],
        "replicas" | "workers" | "threads" | "retries" | "shards" => {
            &["how many {a} does {s} have?", "how many {a} for {s}?", "number of {a} of {s}"]
        }
        "color" => &["what color is {s}?", "which color is {s}?", "what color does {s} have?"],
        "description" => &["what is {s}?", "describe {s}"],
        "default" => {
            &["what does {s} default to?", "default of {s}", "what is the default of {s}?"]
        }
        _ => &[],
    }
}
