//! What people did: who, what, where, when, why, in sentences with many verbs.

use crate::lookup::subject::Class;
use crate::lookup::vocabulary::{Vocabulary, capitalized};
use crate::lookup::writer::Writer;
use std::sync::LazyLock;

/// A verb: infinitive, past, participle.
type Verb = [&'static str; 3];

static VERBS: LazyLock<Vec<Verb>> = LazyLock::new(|| {
    let lines = include_str!("../language/verbs.txt").lines().filter(|line| !line.starts_with('#'));
    let verbs = lines.filter_map(|line| {
        let mut forms = line.split(' ');
        Some([forms.next()?, forms.next()?, forms.next()?])
    });
    verbs.collect()
});

/// Where, when, why and how something was done: the words of the sentence, the value that is
/// asked for, and the rule that asks.
struct Detail {
    words: String,
    value: String,
    asks: &'static str,
    name: &'static str,
}

impl Detail {
    fn draw(w: &mut Writer<'_>) -> Self {
        let detail = |before: &str, value: String, asks, name| Self {
            words: format!("{before}{value}"),
            value,
            asks,
            name,
        };
        match w.rng.below(9) {
            // "In" and "at" say no more than "where"; "near" does.
            0 => {
                detail(w.pick(&["in ", "at "]), w.draw(Vocabulary::place), "ask_where_did", "where")
            }
            1 => {
                let place =
                    format!("{} {}", w.pick(&["near", "outside"]), w.draw(Vocabulary::place));
                detail("", place, "ask_where_did", "where")
            }
            2 => detail("", w.rule("deed_where"), "ask_where_did", "where"),
            3 => detail("on ", w.rule("dateof"), "ask_when_did", "when"),
            4 => detail("on ", w.rule("weekday"), "ask_when_did", "when"),
            5 => detail("at ", w.rule("clock"), "ask_what_time_did", "when"),
            6 => detail("because ", w.rule("deed_why"), "ask_why_did", "why"),
            7 => detail("for ", w.draw(Vocabulary::person), "ask_whom_did", "whom"),
            _ => detail("with ", w.rule("deed_with"), "ask_with_did", "with"),
        }
    }
}

/// Those who act in a text: they come again, so that their deeds must be told apart.
#[derive(Debug)]
pub(super) struct Cast {
    names: Vec<String>,
    objects: Vec<String>,
}

impl Cast {
    pub(super) fn draw(w: &mut Writer<'_>) -> Self {
        let n = 2 + w.rng.below(5);
        let short = w.chance(0.4);
        let names = (0..n).map(|_| match (short, w.rng.below(6)) {
            (true, _) => w.draw(Vocabulary::given_name),
            (_, 0) => w.rule("company"),
            _ => w.draw(Vocabulary::person),
        });
        let names = names.collect();
        let objects = (0..2 + w.rng.below(6)).map(|_| w.draw(Vocabulary::thing)).collect();
        Self { names, objects }
    }

    /// A sentence that says who did what; it becomes facts.
    pub(super) fn deed(&self, w: &mut Writer<'_>) -> String {
        let actor = w.rng.pick(&self.names).clone();
        let verb = *w.rng.pick(&VERBS);
        if w.chance(0.15) {
            return counted(w, &actor, verb);
        }
        let object = if w.chance(0.35) {
            w.rng.pick(&self.objects).clone()
        } else {
            w.draw(Vocabulary::thing)
        };
        let the = if object.starts_with(char::is_uppercase) { "" } else { "the " };
        let (first, second) = (Detail::draw(w), Detail::draw(w));
        let details = match (w.rng.below(4), first.name == second.name) {
            (0, _) => vec![],
            (1, false) => vec![first, second],
            _ => vec![first],
        };
        let passive = w.chance(0.25);
        self.remember(w, &actor, verb, &format!("{the}{object}"), &object, &details);
        sentence(w, &actor, verb, &format!("{the}{object}"), &details, passive)
    }

    /// Facts of a deed, and questions about what nobody did.
    fn remember(
        &self,
        w: &mut Writer<'_>,
        actor: &str,
        [base, past, done]: Verb,
        object: &str,
        bare: &str,
        details: &[Detail],
    ) {
        let class = Class::Deed;
        w.fact_only((&format!("{past} {object}"), class), "who", actor, "ask_who_did");
        w.known(&format!("{object} {done}"), "who", actor);
        w.fact_only((&format!("{actor} {base}"), class), "what", bare, "ask_what_did");
        for detail in details {
            let deed = format!("{actor} {base} {object}");
            w.fact_only((&deed, class), detail.name, &detail.value, detail.asks);
        }
        // Somebody else, something else, another deed.
        let other = w.rng.pick(&self.names).clone();
        let thing = w.rng.pick(&self.objects).clone();
        let [act, acted, _] = *w.rng.pick(&VERBS);
        let asks = details.first().map_or(("ask_where_did", "where"), |d| (d.asks, d.name));
        w.missing(&format!("{acted} {object}"), "who", "ask_who_did");
        w.missing(&format!("{past} the {thing}"), "who", "ask_who_did");
        w.missing(&format!("{other} {act}"), "what", "ask_what_did");
        if other != actor {
            w.missing(&format!("{other} {base} {object}"), asks.1, asks.0);
        }
        if !details.iter().any(|detail| detail.name == "why") {
            w.missing(&format!("{actor} {base} {object}"), "why", "ask_why_did");
        }
    }
}

/// A deed with a number of things.
fn counted(w: &mut Writer<'_>, actor: &str, [base, past, _]: Verb) -> String {
    let (number, things) = (w.rule("count"), w.rule("reals"));
    let place = w.draw(Vocabulary::place);
    let asked = format!("{things} did {actor} {base}");
    w.fact_only((&asked, Class::Deed), "count", &number, "ask_how_many_did");
    w.known(&format!("{actor} {base}"), "what", &things);
    w.known(&format!("{past} {things}"), "who", actor);
    if w.chance(0.5) {
        w.fact_only(
            (&format!("{actor} {base} {things}"), Class::Deed),
            "where",
            &place,
            "ask_where_did",
        );
        return format!("{actor} {past} {number} {things} in {place}.");
    }
    match w.rng.below(3) {
        0 => format!("That day {actor} {past} {number} {things}."),
        1 => format!("{actor} {past} as many as {number} {things}."),
        _ => format!("{actor} {past} {number} {things}."),
    }
}

fn sentence(
    w: &mut Writer<'_>,
    actor: &str,
    [_, past, done]: Verb,
    object: &str,
    details: &[Detail],
    passive: bool,
) -> String {
    let tail: String = details.iter().map(|detail| format!(" {}", detail.words)).collect();
    if passive {
        // "For Ada" behind "by Ben" would be read wrongly.
        return format!("{} was {done} by {actor}{tail}.", capitalized(object));
    }
    let adverb = w.rule("adv2");
    match (details, w.rng.below(8)) {
        ([one], 0 | 1) if one.name != "whom" => {
            format!("{}, {actor} {past} {object}.", capitalized(&one.words))
        }
        (_, 2) => format!("{actor} {adverb} {past} {object}{tail}."),
        (_, 3) => format!("It was {actor} who {past} {object}{tail}."),
        (_, 4) => format!("{} {actor} {past} {object}{tail}.", capitalized(&w.rule("when2"))),
        ([], 5) => format!("{actor}, who was {} then, {past} {object}.", w.rule("adj")),
        ([], 6) => format!("{actor} {past} {object}, and {}.", w.rule("clause")),
        _ => format!("{actor} {past} {object}{tail}."),
    }
}

/// Paragraphs of deeds and other sentences.
pub(super) fn story(w: &mut Writer<'_>) {
    let cast = Cast::draw(w);
    let fillers = w.rng.unit() * 0.7;
    while w.has_room() {
        let mut sentences = Vec::new();
        let before = w.facts.len();
        for _ in 0..2 + w.rng.below(6) {
            if !super::is_short(&sentences, w.room()) {
                break;
            }
            let sentence = if !w.facts.is_empty() && w.chance(fillers) {
                w.rule("filler")
            } else {
                cast.deed(w)
            };
            sentences.push(sentence);
        }
        let paragraph = sentences.join(" ");
        if w.chance(0.3) {
            super::wrapped(w, paragraph, 72, before);
        } else {
            w.line(&paragraph);
        }
        if w.has_room() {
            w.line("");
        }
    }
}
