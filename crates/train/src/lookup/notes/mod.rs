//! Notes and read-me files, minutes, changes, letters, questions and answers, recipes.

pub(super) mod readme;

use super::prose::{Paragraphs, say};
use super::subject::Class;
use super::vocabulary::{Vocabulary, capitalized};
use super::writer::Writer;

pub(super) fn write(w: &mut Writer<'_>) {
    match w.rng.below(13) {
        12 => history(w),
        0 | 1 => minutes(w),
        2 | 3 => changes(w),
        4 | 5 => letter(w),
        6 => answers(w),
        7 => recipe(w),
        8 | 9 => readme::write(w),
        _ => jottings(w),
    }
}

/// Lines that state one thing each.
fn jottings(w: &mut Writer<'_>) {
    let mark = w.pick(&["- ", "- ", "* ", "- [ ] ", "", "• ", "-- "]);
    let noise = w.rng.unit() * 0.6;
    if w.chance(0.6) {
        let title = w.rule("heading");
        w.line(&format!("{}{title}\n", if w.text.is_empty() { "# " } else { "" }));
    }
    while w.has_room() {
        if w.chance(0.1) {
            let heading = w.rule("heading");
            w.line(&format!("\n## {heading}\n"));
        }
        let line = if !w.facts.is_empty() && w.chance(noise) { w.rule("filler") } else { terse(w) };
        w.line(&format!("{mark}{line}"));
    }
}

/// A fact in telegram style or in a sentence.
pub(super) fn terse(w: &mut Writer<'_>) -> String {
    let class = *w.rng.pick(&Class::KNOWN);
    let subject = class.name(w);
    let Some(id) = class.some_attributes(w, 1).pop() else { return subject };
    let attribute = &super::language::LANGUAGE.attributes[usize::from(id)];
    if attribute.own_only || w.chance(0.5) {
        return say(w, &subject, class, id);
    }
    let value = w.expand(attribute.value, super::grammar::Slots::default());
    let name = attribute.name;
    w.fact(&subject, class, name, &value);
    match w.rng.below(7) {
        0 => format!("{subject}: {name} {value}"),
        1 => format!("{subject} ({name}: {value})"),
        2 => format!("{subject} - {name}: {value}"),
        3 => format!("{name} of {subject}: {value}"),
        4 => format!("{subject}, {name} = {value}"),
        5 => format!("{} {subject}: {value}", capitalized(name)),
        _ => format!("{subject} / {name} / {value}"),
    }
}

fn minutes(w: &mut Writer<'_>) {
    let title = w.rule("event");
    let line = format!(
        "{}{title}\n",
        w.pick(&["# Minutes: ", "Meeting notes ", "Minutes of the ", "Protocol: "])
    );
    w.line(&line);
    for (key, rule) in [
        ("Date", "date"),
        ("Time", "time"),
        ("Place", "room"),
        ("Chair", "person"),
        ("Minutes taken by", "person"),
        ("Present", "list"),
        ("Apologies", "person"),
        ("Next meeting", "date"),
    ] {
        if w.chance(0.5) && w.has_room() {
            let value = w.rule(rule);
            w.line(&format!("{key}: {value}"));
            w.key(key, &value);
        }
    }
    let mut item = 0;
    while w.has_room() {
        item += 1;
        let topic = w.rule("project");
        w.line(&format!("\n{item}. {}", capitalized(&topic)));
        for _ in 0..1 + w.rng.below(3) {
            let text = w.rule("filler");
            w.line(&text);
        }
        match w.rng.below(5) {
            0 => {
                let decision = w.rule("task");
                w.line(&format!("Decision: {decision}."));
                w.fact_only((&topic, Class::Project), "decision", &decision, "ask_decision");
            }
            1 | 2 => {
                let (person, task) = (w.draw(Vocabulary::person), w.rule("task"));
                let line = match w.rng.below(3) {
                    0 => format!("Action: {person} will {task}."),
                    1 => format!("{person} to {task}."),
                    _ => format!("TODO {person}: {task}"),
                };
                w.line(&line);
                w.fact_only((&person, Class::Person), "task", &task, "ask_task");
                w.fact_only((&task, Class::Project), "who", &person, "ask_who_task");
            }
            _ => {
                let line = terse(w);
                w.line(&line);
            }
        }
    }
}

/// Versions, dates, what is new.
fn changes(w: &mut Writer<'_>) {
    let style = w.rng.below(4);
    let title = w.pick(&["# Changelog\n", "Release notes\n", "CHANGES\n=======\n", "# History\n"]);
    w.line(title);
    let (mut major, mut minor, mut patch) = (9usize, 1 + w.rng.below(20), w.rng.below(9));
    while w.has_room() {
        // Versions go down from the newest.
        match (patch, minor) {
            (1.., _) if w.chance(0.7) => patch -= 1,
            (_, 1..) => (minor, patch) = (minor - 1, w.rng.below(6)),
            _ => {
                (major, minor, patch) =
                    (major.saturating_sub(1), 10 + w.rng.below(9), w.rng.below(6));
            }
        }
        let version = format!("{major}.{minor}.{patch}");
        if w.index.is_subject(&version) {
            break;
        }
        let date = w.rule("isodate");
        w.line(&match style {
            0 => format!("## [{version}] - {date}\n"),
            1 => format!("## {version} ({date})\n"),
            2 => format!("{version} / {date}\n------------------"),
            _ => format!("Version {version}, released {date}"),
        });
        w.fact_only((&version, Class::Entry), "release date", &date, "ask_release_date");
        let n = 1 + w.rng.below(4);
        for _ in 0..n {
            if w.chance(0.2) {
                let heading = w.pick(&["### Added", "### Fixed", "### Changed", "### Removed"]);
                w.line(heading);
            }
            let (change, mark) = (w.rule("change"), w.pick(&["- ", "* ", "- "]));
            let number =
                if w.chance(0.3) { format!(" (#{})", w.rule("count")) } else { String::new() };
            w.line(&format!("{mark}{change}{number}"));
            if n == 1 {
                w.fact_only((&version, Class::Entry), "change", &change, "ask_change");
            } else {
                w.known(&version, "change", &change);
            }
        }
        w.line("");
    }
}

/// Commits with authors, dates and messages.
fn history(w: &mut Writer<'_>) {
    while w.has_room() {
        let (commit, author, email) =
            (w.rule("commit"), w.draw(Vocabulary::person), w.rule("email"));
        let (date, message) = (w.rule("mailtime"), w.rule("change"));
        if w.index.is_subject(&message) {
            continue;
        }
        w.line(&format!("commit {commit}\nAuthor: {author} <{email}>"));
        w.line(&format!("Date:   {date}\n\n    {message}\n"));
        w.fact_only((&commit, Class::Entry), "author", &author, "ask_commit_author");
        w.fact_only((&commit, Class::Entry), "date", &date, "ask_commit_date");
        w.fact_only((&commit, Class::Entry), "message", &message, "ask_commit_message");
        w.fact_only((&message, Class::Entry), "commit", &commit, "ask_message_commit");
        w.fact(&author, Class::Person, "email", &email);
    }
}

/// An e-mail or a letter: headers, a few paragraphs, a signature.
fn letter(w: &mut Writer<'_>) {
    let sender = w.draw(Vocabulary::person);
    for (key, rule, asks) in [
        ("From", "", "ask_header_from"),
        ("To", "email", "ask_header_to"),
        ("Cc", "email", ""),
        ("Date", "mailtime", "ask_header_date"),
        ("Subject", "subject", "ask_header_subject"),
        ("Message-ID", "rand", ""),
    ] {
        if w.chance(0.75) && w.has_room() {
            let value = if rule.is_empty() { w.rule("email") } else { w.rule(rule) };
            let written =
                if rule.is_empty() { format!("{sender} <{value}>") } else { value.clone() };
            w.line(&format!("{key}: {written}"));
            w.known(&sender, "email", &value);
            if asks.is_empty() {
                w.key(key, &value);
            } else if rule.is_empty() {
                w.put("", Class::Section, "sender", &sender, asks, "", true);
                w.put("", Class::Section, "sender address", &value, "ask_header_address", "", true);
            } else {
                w.put("", Class::Section, key, &value, asks, "", true);
            }
        }
    }
    let greeting = w.rule("greeting");
    w.line(&format!("\n{greeting}\n"));
    Paragraphs::draw(w).write(w);
    let (closing, job) = (w.rule("closing"), w.rule("job"));
    w.line(&format!("\n{closing}\n{sender}"));
    if w.chance(0.4) {
        let (phone, title) = (w.rule("phone"), capitalized(&job));
        w.line(&format!("{title}\nTel. {phone}"));
        w.fact(&sender, Class::Person, "phone", &phone);
        w.fact(&sender, Class::Person, "job title", &title);
    }
}

/// Questions that people ask, and answers.
fn answers(w: &mut Writer<'_>) {
    let style = w.rng.below(4);
    while w.has_room() {
        let (question, answer) = (w.rule("faqq"), w.rule("faqa"));
        let more = if w.chance(0.4) { format!(" {}", w.rule("filler")) } else { String::new() };
        if w.index.is_subject(&question) {
            continue;
        }
        w.line(&match style {
            0 => format!("Q: {question}?\nA: {answer}.{more}\n"),
            1 => format!("**{question}?**\n\n{answer}.{more}\n"),
            2 => format!("## {question}?\n{answer}.{more}\n"),
            _ => format!("{question}?\n  - {answer}.{more}"),
        });
        w.fact_only((&question, Class::Entry), "answer", &answer, "ask_faq");
    }
}

/// Ingredients and steps.
fn recipe(w: &mut Writer<'_>) {
    while w.has_room() {
        let dish = capitalized(&w.rule("food"));
        if w.index.is_subject(&dish) {
            continue;
        }
        let (serves, time) = (w.rule("small"), w.rule("cooktime"));
        let line = format!(
            "{}{dish}\n\nServes: {serves}\nTime: {time}\n",
            w.pick(&["# ", "", "Recipe: "])
        );
        w.line(&line);
        w.fact_only((&dish, Class::Thing), "servings", &serves, "ask_serves");
        w.fact_only((&dish, Class::Thing), "cooking time", &time, "ask_cooking_time");
        let mark = w.pick(&["- ", "* ", ""]);
        for _ in 0..2 + w.rng.below(7) {
            let (item, amount) = (w.draw(|v, rng| v.thing(rng)), w.rule("quantity"));
            w.line(&match mark {
                "" => format!("{item}: {amount}"),
                _ => format!("{mark}{amount} {item}"),
            });
            w.fact_only((&item, Class::Product), "quantity", &amount, "ask_quantity");
        }
        w.line("");
        for step in 1..2 + w.rng.below(5) {
            let text = w.rule("cookstep");
            w.line(&format!("{step}. {text}."));
            w.fact_only((&step.to_string(), Class::Entry), "step", &text, "ask_step");
        }
        w.line("");
    }
}
