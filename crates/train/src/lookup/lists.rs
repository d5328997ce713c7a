//! Keys and values outside of formats: lists, forms, option texts, schedules, bills, books.

use super::data::records::Records;
use super::keys::{key_value, value_of};
use super::subject::Class;
use super::vocabulary::{Case, capitalized};
use super::writer::Writer;

pub(super) fn write(w: &mut Writer<'_>) {
    match w.rng.below(10) {
        0 | 1 => options(w),
        2 | 3 => records(w),
        4 => schedule(w),
        5 => invoice(w),
        6 => books(w),
        7 if w.chance(0.5) => codes(w),
        _ => pairs(w),
    }
}

const CASES: [Case; 9] = [
    Case::Snake,
    Case::Kebab,
    Case::Camel,
    Case::Pascal,
    Case::Screaming,
    Case::Dotted,
    Case::Spaced,
    Case::Title,
    Case::Sentence,
];

/// One key and one value per line, in one of many spellings.
fn pairs(w: &mut Writer<'_>) {
    const STYLES: [(&str, &str); 15] = [
        ("", " = "),
        ("", ": "),
        ("", "="),
        ("", " "),
        ("- ", ": "),
        ("* ", " = "),
        ("", "\t"),
        ("", " -> "),
        ("", " .......... "),
        ("  ", " : "),
        ("", " is "),
        ("- **", "**: "),
        ("", " => "),
        ("> ", " - "),
        ("", ":\n    "),
    ];
    let (before, between) = *w.rng.pick(&STYLES);
    let case = *w.rng.pick(&CASES);
    // A space between key and value asks for keys without spaces.
    let case = if between == " " && matches!(case, Case::Spaced | Case::Title | Case::Sentence) {
        Case::Snake
    } else {
        case
    };
    let (names, noise) = (w.chance(0.4), w.rng.unit() * 0.3);
    let mut last = String::new();
    while w.has_room() {
        if w.chance(noise) {
            let text = w.rule(if names { "filler" } else { "comment" });
            let line = if w.chance(0.5) { text } else { format!("# {text}") };
            w.line(&line);
        }
        let (key, value) = if !last.is_empty() && w.chance(0.15) {
            let key = w.vocabulary.near(&mut w.rng, &last);
            let value = value_of(w, &key);
            (key, value)
        } else if names {
            let key = w.draw(|v, rng| v.name(rng, case));
            (key.clone(), value_of(w, &key))
        } else {
            key_value(w, case)
        };
        w.line(&format!("{before}{key}{between}{value}"));
        w.key(&key, &value);
        last = key;
    }
}

/// Blocks of lines, each about one thing that its first line names.
fn records(w: &mut Writer<'_>) {
    let case = *w.rng.pick(&[Case::Title, Case::Spaced, Case::Sentence, Case::Snake]);
    let n = 1 + w.rng.below(5);
    let records = Records::draw(w, n, case);
    let heading = w.rng.below(6);
    let (indent, colon) =
        (w.pick(&["  ", "", "    ", "- ", "\t"]), w.pick(&[": ", ": ", " = ", ":\t", " - "]));
    let mut last = String::new();
    while w.has_room() {
        let name = records.name(w, &last);
        let id = capitalized(&records.id);
        w.line(&match heading {
            0 => format!("{name}:"),
            1 => format!("{id}: {name}"),
            2 => format!("== {name} =="),
            3 => format!("{name}\n{}", "-".repeat(name.chars().count())),
            4 => format!("### {name}"),
            _ => format!("* {name}"),
        });
        for column in &records.columns {
            if w.chance(0.07) {
                continue;
            }
            let value = column.value(w);
            w.line(&format!("{indent}{}{colon}{value}", column.name));
            w.fact(&name, records.class, &column.name, &value);
        }
        if w.chance(0.1) {
            let text = w.rule("filler");
            w.line(&format!("{indent}{text}"));
        }
        if heading != 5 {
            w.line("");
        }
        last = name;
    }
}

/// Options of a command with defaults: help texts and manual pages.
fn options(w: &mut Writer<'_>) {
    let style = w.rng.below(6);
    let program = w.draw(|v, rng| v.word(rng));
    match w.rng.below(3) {
        0 => {
            let about = w.rule("purpose");
            w.line(&format!("NAME\n       {program} - {about}\n\nOPTIONS"));
        }
        1 => w.line(&format!("Usage: {program} [OPTIONS] [FILE]...\n\nOptions:")),
        _ => {}
    }
    let mut letters: Vec<char> = Vec::new();
    while w.has_room() {
        let (name, value) = key_value(w, Case::Kebab);
        let text = w.rule("purpose");
        let argument = w.pick(&["N", "FILE", "VALUE", "NAME", "SECONDS", "ADDR", "PATH", "STRING"]);
        let option = format!("--{name}");
        if w.index.is_subject(&option) {
            continue;
        }
        let letter = name.chars().next().unwrap_or('x');
        let short = if !letters.contains(&letter) && w.chance(0.5) {
            format!("-{letter}, ")
        } else {
            String::new()
        };
        if !short.is_empty() {
            letters.push(letter);
        }
        let with_default = w.chance(0.75);
        let text = if style == 2 || style == 3 { capitalized(&text) } else { text };
        let line = match (style, with_default) {
            (0, true) => format!("  {short}{option} {argument}    {text} (default: {value})"),
            (0, false) => format!("  {short}{option}    {text}"),
            (1, true) => {
                format!("  {short}{option} <{argument}>\n          {text} [default: {value}]")
            }
            (1, false) => format!("  {short}{option} <{argument}>\n          {text}"),
            (2, true) => format!("{short}{option}={argument}\n    {text}. The default is {value}."),
            (2, false) => format!("{short}{option}={argument}\n    {text}."),
            (3, true) => format!(
                "       {short}{option} {argument}\n              {text}.  Default: {value}\n"
            ),
            (3, false) => format!("       {short}{option} {argument}\n              {text}.\n"),
            (4, true) => format!("| `{option}` | {text} | `{value}` |"),
            (4, false) => format!("| `{option}` | {text} | |"),
            (_, true) => format!("  {short}{option:<24} {text}, {value} by default"),
            (_, false) => format!("  {short}{option:<24} {text}"),
        };
        w.line(&line);
        if with_default {
            w.fact_asked((&option, Class::Field), "default", &value, "ask_default");
        }
        w.fact_only((&option, Class::Field), "description", &text, "ask_option");
        if let Some(short) = short.strip_suffix(", ") {
            w.fact_only((short, Class::Field), "description", &text, "ask_option");
        }
    }
    if w.chance(0.3) {
        w.line("\nEXIT STATUS");
        for status in 0..2 + w.rng.below(3) {
            let text = w.rule("exit_text");
            w.line(&format!("       {status}      {text}"));
            let status = status.to_string();
            w.fact_only((&status, Class::Entry), "exit status", &text, "ask_exit_status");
        }
    }
}

/// Codes and what they mean.
fn codes(w: &mut Writer<'_>) {
    let gap = w.pick(&["  ", " - ", ": ", "\t", " = ", " | "]);
    let rule = w.pick(&["error", "code", "httpcode", "error"]);
    while w.has_room() {
        let (code, text) = (w.rule(rule), w.rule("exit_text"));
        if w.index.is_subject(&code) {
            if rule == "httpcode" && w.facts.len() > 8 {
                return;
            }
            continue;
        }
        w.line(&format!("{code}{gap}{text}"));
        w.put(&code, Class::Entry, "meaning", &text, "ask_code_meaning", "rev_code_meaning", true);
    }
}

/// Times and what happens then.
fn schedule(w: &mut Writer<'_>) {
    let title = w.rule("heading");
    w.line(&format!("{title}\n"));
    let gap = w.pick(&["  ", " - ", ": ", "\t", " | ", " — "]);
    let by_day = w.chance(0.3);
    let mut minute = 300 + w.rng.below(300);
    while w.has_room() {
        minute += 5 * (1 + w.rng.below(12));
        let mut time = format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
        if minute >= 24 * 60 {
            let day = w.rule("weekday");
            w.line(&format!("\n{day}"));
            minute = 400;
            continue;
        }
        if by_day {
            time = format!("{} {time}", w.rule("dateof"));
        }
        let item = w.rule("event");
        let place = w.rule("room");
        let speaker = w.draw(|v, rng| v.person(rng));
        let detail = match w.rng.below(4) {
            0 => format!(" ({place})"),
            1 => format!(", {speaker}"),
            2 => format!(", {speaker}, {place}"),
            _ => String::new(),
        };
        w.line(&format!("{time}{gap}{item}{detail}"));
        w.fact_only(
            (&item, Class::Event),
            "time",
            &time,
            if by_day { "ask_when_day" } else { "ask_when_event" },
        );
        w.fact_only((&time, Class::Event), "item", &item, "ask_event_at");
        if detail.contains(&place) {
            w.fact(&item, Class::Event, "room", &place);
        }
        if detail.contains(&speaker) {
            w.fact(&item, Class::Event, "speaker", &speaker);
        }
    }
}

/// A bill with items, taxes and a sum.
fn invoice(w: &mut Writer<'_>) {
    let company = w.rule("company");
    let street = w.rule("address");
    w.line(&format!("{company}\n{street}\n"));
    w.known(&company, "address", &street);
    for (key, rule) in [
        ("Invoice number", "code"),
        ("Date", "date"),
        ("Customer", "person"),
        ("Customer number", "code"),
        ("Order", "code"),
        ("Due date", "date"),
        ("VAT ID", "plate"),
        ("Payment terms", "duration"),
        ("IBAN", "iban"),
        ("Delivery address", "address"),
        ("Cashier", "given2"),
    ] {
        if w.chance(0.55) && w.has_room() {
            let value = w.rule(rule);
            w.line(&format!("{key}: {value}"));
            w.key(key, &value);
        }
    }
    w.line("");
    let wide = w.chance(0.5);
    while w.has_room() {
        let (item, count, price) = (w.rule("product"), w.rule("small"), w.rule("amount"));
        if wide {
            let total = w.rule("amount");
            w.line(&format!("{item:<28} {count:>4} x {price:>9} {total:>10}"));
            w.known(&item, "total", &total);
            w.known(&item, "price", &total);
        } else {
            w.line(&format!("{count} {item} @ {price}"));
        }
        w.fact(&item, Class::Product, "unit price", &price);
        w.fact(&item, Class::Product, "quantity", &count);
    }
    w.line("");
    for key in ["Subtotal", "VAT 19%", "Discount", "Total", "Paid"] {
        if w.chance(0.6) {
            let value = format!("{}{}", w.rule("amount"), w.pick(&["", " EUR", " USD"]));
            w.line(&format!("{key}: {value}"));
            w.put("", Class::Section, key, &value, "ask_total", "", true);
        }
    }
}

/// A list of books and papers.
fn books(w: &mut Writer<'_>) {
    let style = w.rng.below(4);
    let mut number = 0;
    while w.has_room() {
        number += 1;
        let (author, title, year) =
            (w.draw(|v, rng| v.person(rng)), w.rule("title"), w.rule("year"));
        let (place, publisher, isbn) =
            (w.draw(|v, rng| v.place(rng)), w.rule("company"), w.rule("isbn"));
        w.line(&match style {
            0 => format!("[{number}] {author}. {title}. {publisher}, {year}."),
            1 => format!("{author} ({year}): {title}. {place}: {publisher}. ISBN {isbn}"),
            2 => format!("@book{{{}{year},\n  author = {{{author}}},\n  title = {{{title}}},\n  publisher = {{{publisher}}},\n  year = {{{year}}}\n}}", author.split(' ').next_back().unwrap_or("x").to_lowercase()),
            _ => format!("- \"{title}\" by {author}, {year}"),
        });
        w.fact_only((&title, Class::Field), "author", &author, "ask_wrote");
        w.fact_only((&title, Class::Field), "year", &year, "ask_year");
        if style < 3 {
            w.fact_only((&title, Class::Field), "publisher", &publisher, "ask_publisher");
        }
        if style == 1 {
            w.fact_only((&title, Class::Field), "isbn", &isbn, "ask_isbn");
        }
    }
}
