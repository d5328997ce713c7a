//! Source code: constants, enumerations, functions, fields, tables, among lines that are neither.

use super::keys::{key_value, plain};
use super::subject::Class;
use super::vocabulary::{Case, Vocabulary};
use super::writer::Writer;

/// The languages, by what differs between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Rust,
    C,
    Python,
    Script,
    Go,
    Java,
    Shell,
}

pub(super) fn write(w: &mut Writer<'_>) {
    if w.chance(0.12) {
        return sql(w);
    }
    let language = *w.rng.pick(&[
        Language::Rust,
        Language::C,
        Language::Python,
        Language::Python,
        Language::Script,
        Language::Go,
        Language::Java,
        Language::Shell,
    ]);
    let fillers = w.rng.unit() * 0.5;
    header(w, language);
    while w.has_room() {
        if !w.facts.is_empty() && w.chance(fillers) {
            filler(w, language);
            continue;
        }
        match w.rng.below(8) {
            0 if language != Language::Shell => enumeration(w, language),
            1 | 2 => function(w, language),
            3 if language != Language::Shell => structure(w, language),
            _ => constant(w, language),
        }
    }
}

/// Comments and imports at the top.
fn header(w: &mut Writer<'_>, language: Language) {
    let mark = line_mark(language);
    if language == Language::Shell {
        w.line("#!/bin/bash");
    }
    if w.chance(0.15) {
        let (holder, year) = (w.draw(Vocabulary::person), w.rule("year"));
        super::notes::readme::copyright(w, &format!("{mark} "), &holder, &year);
    }
    if w.chance(0.5) {
        let text = w.rule("docs");
        w.line(&format!("{mark} {text}"));
    }
    for _ in 0..w.rng.below(4) {
        let (a, b) = w.draw(|v, rng| (v.word(rng), v.word(rng)));
        match language {
            Language::Rust => w.line(&format!("use {a}::{b};")),
            Language::C => w.line(&format!("#include <{a}.h>")),
            Language::Python => w.line(&format!("from {a} import {b}")),
            Language::Script => w.line(&format!("import {{ {b} }} from \"{a}\";")),
            Language::Go => w.line(&format!("import \"{a}/{b}\"")),
            Language::Java => w.line(&format!("import org.{a}.{b};")),
            Language::Shell => w.line(&format!(". ./{a}.sh")),
        }
    }
    w.line("");
}

fn line_mark(language: Language) -> &'static str {
    if matches!(language, Language::Python | Language::Shell) { "#" } else { "//" }
}

/// A comment before something, as the language has it; what it says.
fn comment(w: &mut Writer<'_>, language: Language, indent: &str) -> String {
    let text = w.rule("docs");
    w.line(&match language {
        Language::Rust => format!("{indent}/// {text}"),
        Language::C | Language::Java if w.rng.clone().chance(0.5) => {
            format!("{indent}/* {text} */")
        }
        _ => format!("{indent}{} {text}", line_mark(language)),
    });
    text
}

/// A value with its type, as the language writes it.
fn literal(w: &mut Writer<'_>, rule_value: String) -> (String, String, bool) {
    let value = match w.rng.below(6) {
        0 => format!("0x{}", w.rule("h4")),
        1 => w.rule("small"),
        2 => w.rng.below(100_000).to_string(),
        _ => plain(rule_value),
    };
    let digits = value.replace('_', "");
    let number = value.starts_with("0x")
        || (digits.parse::<u64>().is_ok() && !(digits.len() > 1 && digits.starts_with('0')));
    let written = if number { value.clone() } else { format!("\"{value}\"") };
    (value, written, number)
}

/// A name with its value.
fn constant(w: &mut Writer<'_>, language: Language) {
    let case = match language {
        Language::Script => *w.rng.pick(&[Case::Camel, Case::Screaming]),
        Language::Go => *w.rng.pick(&[Case::Pascal, Case::Camel]),
        Language::Python => *w.rng.pick(&[Case::Snake, Case::Screaming, Case::Screaming]),
        _ => Case::Screaming,
    };
    let (name, value) = key_value(w, case);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return;
    }
    let (value, written, number) = literal(w, value);
    if w.chance(0.2) {
        comment(w, language, "");
    }
    let note = if w.chance(0.15) {
        format!(" {} {}", line_mark(language), w.rule("comment"))
    } else {
        String::new()
    };
    let public = w.pick(&["", "pub ", "pub(crate) "]);
    let kind = if number { w.pick(&["u32", "usize", "u64", "i32"]) } else { "&str" };
    let line = match language {
        Language::Rust => format!("{public}const {name}: {kind} = {written};{note}"),
        Language::C => format!("#define {name} {written}"),
        Language::Python => format!("{name} = {written}{note}"),
        Language::Script => format!("{}const {name} = {written};{note}", w.pick(&["", "export "])),
        Language::Go => format!("{} {name} = {written}{note}", w.pick(&["const", "var"])),
        Language::Java => format!(
            "    public static final {} {name} = {written};{note}",
            if number { "int" } else { "String" }
        ),
        Language::Shell => format!("{}{name}={written}", w.pick(&["", "export ", "readonly "])),
    };
    w.line(&line);
    w.put("", Class::Section, &name, &value, "ask_constant", "rev_key", false);
}

/// Names with numbers.
fn enumeration(w: &mut Writer<'_>, language: Language) {
    let name = w.draw(|v, rng| v.name(rng, Case::Pascal));
    let pascal = language == Language::Rust || language == Language::Go;
    let case = if pascal { Case::Pascal } else { Case::Screaming };
    w.line(&match language {
        Language::Rust => format!("pub enum {name} {{"),
        Language::C => format!("enum {name} {{"),
        Language::Python => format!("class {name}(IntEnum):"),
        Language::Go => "const (".to_owned(),
        Language::Java | Language::Script | Language::Shell => format!("enum {name} {{"),
    });
    let mut number = w.rng.below(3);
    let step = 1 + w.rng.below(3) * w.rng.below(20);
    let mut used = Vec::new();
    for _ in 0..2 + w.rng.below(6) {
        let item = w.draw(|v, rng| v.name(rng, case));
        if used.contains(&item) {
            continue;
        }
        used.push(item.clone());
        let value = if step > 20 { format!("0x{number:02x}") } else { number.to_string() };
        number += step;
        match language {
            Language::Rust | Language::C | Language::Script => {
                w.line(&format!("    {item} = {value},"));
            }
            Language::Python | Language::Shell => w.line(&format!("    {item} = {value}")),
            Language::Go => w.line(&format!("\t{name}{item} = {value}")),
            Language::Java => w.line(&format!("    {item}({value}),")),
        }
        if language == Language::Go {
            w.key(&format!("{name}{item}"), &value);
        } else {
            w.fact_asked((&name, Class::Section), &item, &value, "ask_enum");
        }
    }
    w.line(match language {
        Language::Python => "",
        Language::Go => ")\n",
        Language::C => "};\n",
        _ => "}\n",
    });
}

/// A function with typed arguments, a default and a result.
fn function(w: &mut Writer<'_>, language: Language) {
    let case = match language {
        Language::Script | Language::Java => Case::Camel,
        Language::Go => Case::Pascal,
        _ => Case::Snake,
    };
    let name = w.draw(|v, rng| v.name(rng, case));
    if w.index.is_subject(&name) {
        return;
    }
    let (argument, body, callee) = w.draw(|v, rng| (v.word(rng), v.word(rng), v.name(rng, case)));
    let result =
        w.pick(match language {
            Language::Rust => &[
                "u32",
                "usize",
                "String",
                "bool",
                "Vec<u8>",
                "Option<u64>",
                "f64",
                "io::Result<()>",
            ][..],
            Language::C => &["int", "size_t", "double", "char *", "uint32_t", "bool"],
            Language::Python => {
                &["int", "str", "bool", "float", "list[str]", "dict[str, int]", "bytes", "None"]
            }
            Language::Script => {
                &["number", "string", "boolean", "Promise<void>", "string[]", "Map<string, number>"]
            }
            Language::Go => &["int", "string", "error", "bool", "[]byte", "float64"],
            _ => &["int", "String", "boolean", "long", "double", "List<String>"],
        });
    let documented = w.chance(0.4) && language != Language::Python;
    if documented {
        let text = comment(w, language, "");
        w.fact_only((&name, Class::Entry), "purpose", &text, "ask_doc");
    }
    let default = matches!(language, Language::Python | Language::Script) && w.chance(0.8);
    let mut given = String::new();
    if default {
        let (key, value) = key_value(w, Case::Snake);
        if !key.is_empty() && !key.starts_with(|c: char| c.is_ascii_digit()) && key != argument {
            let (value, written, _) = literal(w, value);
            given = format!(", {key}={written}");
            w.fact_only((&name, Class::Entry), &key, &value, "ask_argument");
        }
    }
    let line = match language {
        Language::Rust => format!(
            "pub fn {name}({argument}: &[u8]) -> {result} {{\n    {body}.{callee}({argument})\n}}\n"
        ),
        Language::C => format!(
            "{result}{}{name}(int {argument}) {{\n    return {callee}({argument}, {body});\n}}\n",
            if result.ends_with('*') { "" } else { " " }
        ),
        Language::Python => format!("def {name}({argument}{given}) -> {result}:"),
        Language::Script => format!(
            "function {name}({argument}{given}): {result} {{\n  return {body}.{callee}({argument});\n}}\n"
        ),
        Language::Go => format!(
            "func {name}({argument} int) {result} {{\n\treturn {callee}({argument}, {body})\n}}\n"
        ),
        Language::Java => format!(
            "    public {result} {name}(int {argument}) {{\n        return {body}.{callee}({argument});\n    }}\n"
        ),
        Language::Shell => format!("{name}() {{\n    {callee} \"$1\" {body}\n}}\n"),
    };
    w.line(&line);
    if language == Language::Python {
        if w.chance(0.5) {
            let text = w.rule("docs");
            w.line(&format!("    \"\"\"{text}\"\"\""));
            w.fact_only((&name, Class::Entry), "purpose", &text, "ask_doc");
        }
        w.line(&format!("    return {body}.{callee}({argument})\n"));
    }
    if language != Language::Shell {
        w.fact_only((&name, Class::Entry), "return type", result, "ask_returns");
    }
}

/// A type with fields.
fn structure(w: &mut Writer<'_>, language: Language) {
    let name = w.draw(|v, rng| v.name(rng, Case::Pascal));
    if w.index.is_subject(&name) {
        return;
    }
    w.line(&match language {
        Language::Rust => format!("pub struct {name} {{"),
        Language::C => "typedef struct {".to_owned(),
        Language::Python => format!("@dataclass\nclass {name}:"),
        Language::Go => format!("type {name} struct {{"),
        Language::Java => format!("public class {name} {{"),
        _ => format!("interface {name} {{"),
    });
    let mut used = Vec::new();
    for _ in 0..1 + w.rng.below(6) {
        let (field, _) =
            key_value(w, if language == Language::Go { Case::Pascal } else { Case::Snake });
        if field.is_empty()
            || used.contains(&field)
            || field.starts_with(|c: char| c.is_ascii_digit())
        {
            continue;
        }
        used.push(field.clone());
        let kind = w.pick(match language {
            Language::Rust => {
                &["u32", "usize", "String", "bool", "PathBuf", "Option<u64>", "f32"][..]
            }
            Language::C => &["int", "size_t", "double", "uint8_t", "bool"],
            Language::Python => &["int", "str", "bool", "float", "Path", "list[int]"],
            Language::Go => &["int", "string", "bool", "time.Duration", "[]string"],
            Language::Java => &["int", "String", "boolean", "long"],
            _ => &["number", "string", "boolean", "Date", "string[]"],
        });
        w.line(&match language {
            Language::Rust => format!("    pub {field}: {kind},"),
            Language::C => format!("    {kind} {field};"),
            Language::Go => format!("\t{field} {kind} `json:\"{}\"`", field.to_lowercase()),
            Language::Java => format!("    private {kind} {field};"),
            Language::Python => format!("    {field}: {kind}"),
            _ => format!("  {field}: {kind};"),
        });
        w.fact_only((&name, Class::Entry), &field, kind, "ask_field_type");
    }
    w.line(&match language {
        Language::Python => String::new(),
        Language::C => format!("}} {name};\n"),
        _ => "}\n".to_owned(),
    });
}

fn filler(w: &mut Writer<'_>, language: Language) {
    let (a, b, c) = w.draw(|v, rng| (v.name(rng, Case::Snake), v.word(rng), v.word(rng)));
    let line = match (language, w.rng.below(3)) {
        (_, 0) => {
            let text = if w.chance(0.2) { super::prose::remark(w) } else { w.rule("comment") };
            format!("{} {text}", line_mark(language))
        }
        (Language::Rust, 1) => format!("impl {} {{}}\n", super::vocabulary::capitalized(&b)),
        (Language::C, 1) => format!("static void {a}(void);"),
        (Language::Rust, _) => format!("fn {a}({b}: &[u8]) {{\n    {b}.{c}();\n}}\n"),
        (Language::Shell, _) => format!("if [ -f {b} ]; then\n    {a} {c}\nfi"),
        (Language::Python, _) => format!("for {b} in {a}:\n    {c}({b})"),
        (Language::Go, _) => format!("func init() {{ {a}({b}, {c}) }}\n"),
        _ => format!("{a}({b}, {c});"),
    };
    w.line(&line);
}

/// Tables and rows of a database.
fn sql(w: &mut Writer<'_>) {
    while w.has_room() {
        let table = w.draw(|v, rng| v.name(rng, Case::Snake));
        if w.index.is_subject(&table) {
            continue;
        }
        w.line(&format!("CREATE TABLE {table} (\n    id INTEGER PRIMARY KEY,"));
        w.known(&table, "id", "INTEGER");
        let n = 1 + w.rng.below(6);
        let mut used = vec!["id".to_owned()];
        for i in 0..n {
            let (column, value) = super::keys::new_key(w, Case::Snake, &mut used);
            let kind = w.pick(&[
                "INTEGER",
                "TEXT",
                "VARCHAR(255)",
                "BOOLEAN",
                "TIMESTAMP",
                "NUMERIC(10,2)",
                "BIGINT",
                "DATE",
                "UUID",
            ]);
            let default = match w.rng.below(5) {
                0 => format!(" DEFAULT '{}'", plain(value)),
                1 | 2 => " NOT NULL".to_owned(),
                _ => String::new(),
            };
            w.line(&format!("    {column} {kind}{default}{}", if i + 1 < n { "," } else { "" }));
            w.fact_only((&table, Class::Entry), &column, kind, "ask_field_type");
        }
        w.line(");\n");
        let records = super::data::records::Records::draw(w, 3, Case::Snake);
        let table = w.draw(Vocabulary::word);
        let columns: Vec<&str> = records.columns.iter().map(|c| c.name.as_str()).collect();
        let head = format!("INSERT INTO {table} ({}, {}) VALUES", records.id, columns.join(", "));
        for _ in 0..w.rng.below(8) {
            if !w.has_room() {
                break;
            }
            let name = plain(records.name(w, ""));
            let mut row = vec![format!("'{name}'")];
            for column in &records.columns {
                let value = plain(column.value(w));
                row.push(super::keys::quoted(&value, "'"));
                w.fact(&name, records.class, &column.name, &value);
            }
            w.line(&format!("{head} ({});", row.join(", ")));
        }
        w.line("");
    }
}
