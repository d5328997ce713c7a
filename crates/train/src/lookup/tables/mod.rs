//! Tables: separated values, Markdown, aligned columns, boxes, listings of commands.

mod listings;

use super::data::records::Records;
use super::subject::Class;
use super::vocabulary::{Case, Vocabulary};
use super::writer::Writer;

pub(super) fn write(w: &mut Writer<'_>) {
    if w.chance(0.18) {
        return listings::write(w);
    }
    while w.has_room() {
        let left = w.room();
        let end = w.end;
        if left > 600 && w.chance(0.3) {
            w.end = w.text.len() + 300 + w.rng.below(left - 300);
        }
        if w.chance(0.15) {
            matrix(w);
        } else {
            table(w);
        }
        w.end = end;
        w.line("");
    }
}

fn table(w: &mut Writer<'_>) {
    let style = Style::draw(w);
    let case = match style {
        Style::Separated(_) => *w.rng.pick(&[
            Case::Snake,
            Case::Snake,
            Case::Spaced,
            Case::Title,
            Case::Camel,
            Case::Sentence,
        ]),
        _ => {
            *w.rng.pick(&[Case::Title, Case::Sentence, Case::Snake, Case::Spaced, Case::Screaming])
        }
    };
    let most = if w.room() < 300 { 3 } else { 11 };
    let n = 1 + w.rng.below(most).min(w.rng.below(most));
    let records = Records::draw(w, n, case);
    // Where the column of the names stands, and whether rows are numbered.
    let at = if w.chance(0.75) { 0 } else { w.rng.below(records.columns.len() + 1) };
    let numbered = w.chance(0.12);
    let (missing, quotes) = (if w.chance(0.3) { 0.08 } else { 0.0 }, w.chance(0.15));
    caption(w, &style);
    let mut header: Vec<String> = records.columns.iter().map(|c| c.name.clone()).collect();
    header.insert(at, case.join(&[&records.id]));
    if numbered {
        header.insert(0, w.pick(&["#", "no", "nr", "row"]).to_owned());
    }
    let mut grid = Grid::new(style, header);
    let mut last = String::new();
    loop {
        let name = style.cell(records.name(w, &last));
        let mut values = Vec::new();
        for column in &records.columns {
            if w.chance(missing) {
                values.push(String::new());
                continue;
            }
            let value = style.cell(column.value(w));
            // One long cell would widen all the rows.
            let long = style.is_padded() && value.len() > 34;
            values.push(if long { w.rule("word1") } else { value });
        }
        let mut row: Vec<String> = values.clone();
        for cell in row.iter_mut().filter(|cell| cell.is_empty()) {
            w.pick(&["", "-", "", "n/a"]).clone_into(cell);
        }
        row.insert(at, name.clone());
        if numbered {
            row.insert(0, grid.rows.len().to_string());
        }
        if quotes && matches!(style, Style::Separated(_)) {
            for cell in row.iter_mut().filter(|cell| cell.contains(' ')) {
                *cell = format!("\"{cell}\"");
            }
        }
        if !grid.push(row, w.room()) {
            break;
        }
        for (column, value) in records.columns.iter().zip(&values) {
            if value.is_empty() {
                w.known(&name, &column.name, "");
            } else {
                w.fact(&name, records.class, &column.name, value);
            }
        }
        last = name;
    }
    style.write(w, &grid.rows);
}

/// Rows until there is no room for more.
struct Grid {
    style: Style,
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
    /// Of the rows, without what pads them.
    bytes: usize,
}

impl Grid {
    fn new(style: Style, header: Vec<String>) -> Self {
        let widths: Vec<usize> = header.iter().map(String::len).collect();
        let mut grid = Self { style, rows: Vec::new(), widths, bytes: 0 };
        grid.push(header, usize::MAX);
        grid
    }

    /// Adds `row` if the table then has less than `room` bytes; one row is always there.
    fn push(&mut self, row: Vec<String>, room: usize) -> bool {
        let around = match self.style {
            Style::Html => 12,
            Style::Separated(_) => 3,
            _ => 4,
        };
        let bytes = self.bytes + row.iter().map(|cell| cell.len() + around).sum::<usize>() + 4;
        let widths: Vec<usize> =
            self.widths.iter().zip(&row).map(|(width, cell)| cell.len().max(*width)).collect();
        let padded = widths.iter().map(|width| width + 3).sum::<usize>() + 2;
        let total = if self.style.is_padded() { (self.rows.len() + 3) * padded } else { bytes };
        if self.rows.len() > 1 && total > room {
            return false;
        }
        (self.widths, self.bytes) = (widths, bytes);
        self.rows.push(row);
        true
    }
}

/// A table of numbers: rows and columns are of one kind each, such as months and places.
fn matrix(w: &mut Writer<'_>) {
    let style = Style::draw(w);
    let columns: Vec<String> = match w.rng.below(5) {
        0 => "Jan Feb Mar Apr May Jun Jul Aug Sep".split(' ').map(str::to_owned).collect(),
        1 => (0..6).map(|year| (2015 + year).to_string()).collect(),
        2 => ["Q1", "Q2", "Q3", "Q4"].map(str::to_owned).to_vec(),
        3 => ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat"].map(str::to_owned).to_vec(),
        _ => (0..5).map(|_| w.draw(Vocabulary::word)).collect(),
    };
    let n = 2 + w.rng.below(columns.len() - 1);
    let columns = &columns[..n];
    let class =
        *w.rng.pick(&[Class::Place, Class::Product, Class::Person, Class::Entry, Class::Thing]);
    let rule = w.pick(&[
        "count",
        "float",
        "percent",
        "money",
        "temperature",
        "duration",
        "small",
        "score",
    ]);
    caption(w, &style);
    let mut header = vec![w.pick(&["", "name", "item", "-"]).to_owned()];
    header.extend_from_slice(columns);
    let mut grid = Grid::new(style, header);
    loop {
        let name = style.cell(class.name(w));
        let values: Vec<String> = columns.iter().map(|_| style.cell(w.rule(rule))).collect();
        if !grid.push([std::slice::from_ref(&name), &values[..]].concat(), w.room()) {
            break;
        }
        for (column, value) in columns.iter().zip(&values) {
            w.fact_only((&name, class), column, value, "ask_cell");
        }
    }
    style.write(w, &grid.rows);
}

/// A line above the table, at times.
fn caption(w: &mut Writer<'_>, style: &Style) {
    let line = match (style, w.rng.below(8)) {
        (Style::Separated(_), 0) => format!("# {}", w.rule("heading")),
        (Style::Separated(_), _) => return,
        (_, 0) => format!("## {}\n", w.rule("heading")),
        (_, 1) => format!("Table {}. {}\n", 1 + w.rng.below(20), w.rule("heading")),
        (_, 2 | 3) => format!("{}\n", w.rule("filler")),
        _ => return,
    };
    w.line(&line);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Separated(&'static str),
    Markdown { padded: bool },
    Aligned { ruled: bool },
    Box,
    Wiki,
    Html,
}

impl Style {
    fn draw(w: &mut Writer<'_>) -> Self {
        match w.rng.below(20) {
            0..5 => Self::Separated(","),
            5 => Self::Separated(";"),
            6 => Self::Separated("\t"),
            7 => Self::Separated(", "),
            8 => Self::Separated("|"),
            9..12 => Self::Aligned { ruled: w.chance(0.4) },
            12 | 13 => Self::Box,
            14 => Self::Wiki,
            15 => Self::Html,
            _ => Self::Markdown { padded: w.chance(0.5) },
        }
    }

    /// Whether the cells of a column have one width.
    fn is_padded(&self) -> bool {
        matches!(self, Self::Markdown { padded: true } | Self::Aligned { .. } | Self::Box)
    }

    /// The value without what would break the row.
    fn cell(&self, value: String) -> String {
        let special: &[char] = match self {
            Self::Html => &['<', '>', '&'],
            Self::Separated(_) => &[',', ';', '|', '\t', '"'],
            _ => &['|', '\t'],
        };
        if value.contains(special) { value.replace(special, "") } else { value }
    }

    fn write(self, w: &mut Writer<'_>, rows: &[Vec<String>]) {
        let columns = rows[0].len();
        let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let rule = |left: &str, joint: &str, fill: &str, extra: usize| -> String {
            let parts: Vec<String> =
                widths.iter().map(|width| fill.repeat(width + extra)).collect();
            format!("{left}{}{left}", parts.join(joint))
        };
        let padded = |row: &[String]| -> Vec<String> {
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect()
        };
        let gap = if w.chance(0.5) { "  " } else { "   " };
        if self == Self::Box {
            w.line(&rule("+", "+", "-", 2));
        }
        if self == Self::Wiki {
            w.line("{| class=\"wikitable\"");
        }
        if self == Self::Html {
            w.line("<table>");
        }
        for (i, row) in rows.iter().enumerate() {
            match self {
                Self::Separated(separator) => w.line(&row.join(separator)),
                Self::Markdown { padded: true } => {
                    w.line(&format!("| {} |", padded(row).join(" | ")));
                }
                Self::Markdown { padded: false } => w.line(&format!("| {} |", row.join(" | "))),
                Self::Aligned { .. } => w.line(padded(row).join(gap).trim_end()),
                Self::Box => w.line(&format!("| {} |", padded(row).join(" | "))),
                Self::Wiki if i == 0 => w.line(&format!("! {}", row.join(" !! "))),
                Self::Wiki => w.line(&format!("|-\n| {}", row.join(" || "))),
                Self::Html => {
                    let tag = if i == 0 { "th" } else { "td" };
                    let cells: Vec<String> =
                        row.iter().map(|cell| format!("<{tag}>{cell}</{tag}>")).collect();
                    w.line(&format!("  <tr>{}</tr>", cells.concat()));
                }
            }
            if i == 0 {
                match self {
                    Self::Markdown { padded: true } => w.line(&rule("|", "|", "-", 2)),
                    Self::Markdown { padded: false } => {
                        w.line(&format!("|{}", "---|".repeat(columns)));
                    }
                    Self::Aligned { ruled: true } => w.line(&rule("", gap, "-", 0)),
                    Self::Box => w.line(&rule("+", "+", "-", 2)),
                    _ => {}
                }
            }
        }
        match self {
            Self::Box => w.line(&rule("+", "+", "-", 2)),
            Self::Wiki => w.line("|}"),
            Self::Html => w.line("</table>"),
            _ => {}
        }
    }
}
