//! Tables: separated values, Markdown, aligned columns.

use super::Writer;
use super::data::row_name;
use super::vocabulary::{Case, Vocabulary};

/// Columns that go together, the first names the row.
const THEMES: [&[&str]; 8] = [
    &["name", "email", "department", "phone", "city", "role", "office"],
    &["city", "country", "population", "elevation", "founded", "area"],
    &["host", "ip", "memory", "cpu", "region", "owner", "disk"],
    &["product", "price", "stock", "supplier", "color", "weight"],
    &["id", "status", "owner", "deadline", "priority", "team"],
    &["service", "port", "owner", "team", "replicas", "version"],
    &["name", "birthday", "team", "badge", "room", "manager"],
    &["station", "line", "opened", "platforms", "zone", "code"],
];

pub(super) fn write(w: &mut Writer<'_>) {
    let case = *w.rng.pick(&[Case::Snake, Case::Snake, Case::Spaced, Case::Title, Case::Camel]);
    let columns = columns(w, case);
    let style = Style::draw(w);
    let widths: Vec<usize> = columns.iter().map(|_| 10 + w.rng.below(10)).collect();
    w.line(&style.row(&columns, &widths));
    if style == Style::Markdown {
        let rule: Vec<String> = columns.iter().map(|_| "---".to_owned()).collect();
        w.line(&style.row(&rule, &widths));
    }
    let of_persons =
        columns.iter().any(|c| ["email", "birthday", "badge"].contains(&&c.to_lowercase()[..]));
    let theme = w.rng.below(4);
    while w.has_room() {
        let first = match (of_persons, columns[0].to_lowercase().as_str(), theme) {
            (true, ..) => w.draw(Vocabulary::person),
            (_, "city" | "station", _) => w.draw(Vocabulary::place),
            (_, "host", _) => w.draw(Vocabulary::machine),
            (_, "id", _) => w.draw(Vocabulary::code),
            (.., 0) => w.draw(|v, rng| v.name(rng, Case::Kebab)),
            (.., 1) => w.draw(|v, rng| v.name(rng, Case::Spaced)),
            _ => row_name(w),
        };
        let mut row = vec![first.clone()];
        for column in &columns[1..] {
            let value = w.draw(|v, rng| v.value_of(rng, column));
            let value: String = value.chars().filter(|c| !",;|\t".contains(*c)).collect();
            w.fact(&first, column, &value);
            row.push(value);
        }
        w.line(&style.row(&row, &widths));
    }
}

fn columns(w: &mut Writer<'_>, case: Case) -> Vec<String> {
    let mut columns: Vec<String> = if w.chance(0.6) {
        let theme = *w.rng.pick(&THEMES);
        let n = 2 + w.rng.below(theme.len() - 1);
        let mut rest: Vec<&str> = theme[1..].to_vec();
        w.rng.shuffle(&mut rest);
        [theme[0]].into_iter().chain(rest).take(n).map(str::to_owned).collect()
    } else {
        let n = 2 + w.rng.below(5);
        (0..n).map(|_| w.draw(|v, rng| v.attribute(rng, Case::Snake))).collect()
    };
    columns.dedup();
    let mut seen = Vec::new();
    columns.retain(|column| {
        let new = !seen.contains(column);
        seen.push(column.clone());
        new
    });
    if columns.len() < 2 {
        columns.push("amount".to_owned());
    }
    columns.iter().map(|c| case.join(&c.split('_').collect::<Vec<_>>())).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Separated(&'static str),
    Markdown,
    Aligned,
}

impl Style {
    fn draw(w: &mut Writer<'_>) -> Self {
        match w.rng.below(10) {
            0..4 => Self::Separated(","),
            4 => Self::Separated(";"),
            5 => Self::Separated("\t"),
            6 => Self::Separated(", "),
            7 => Self::Aligned,
            _ => Self::Markdown,
        }
    }

    fn row(self, cells: &[String], widths: &[usize]) -> String {
        match self {
            Self::Separated(separator) => cells.join(separator),
            Self::Markdown => format!("| {} |", cells.join(" | ")),
            Self::Aligned => {
                let padded =
                    cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  "));
                padded.collect::<String>().trim_end().to_owned()
            }
        }
    }
}
