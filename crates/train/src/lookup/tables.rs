//! Tables: separated values, Markdown, aligned columns, boxes, listings of commands.

use super::data::records::Records;
use super::subject::Class;
use super::vocabulary::{Case, Vocabulary};
use super::writer::Writer;

pub(super) fn write(w: &mut Writer<'_>) {
    if w.chance(0.18) {
        return listing(w);
    }
    while w.has_room() {
        let left = w.room();
        let end = w.end;
        if left > 600 && w.chance(0.3) {
            w.end = w.text.len() + 300 + w.rng.below(left - 300);
        }
        table(w);
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
    let mut widths: Vec<usize> = header.iter().map(String::len).collect();
    let mut rows = vec![header];
    let mut bytes = 0;
    let mut last = String::new();
    let mut number = 0;
    // The last row may pass the end by little, and there is one at least.
    while bytes + bytes / 16 < w.room() && !(rows.len() > 1 && bytes + 100 > w.room()) {
        number += 1;
        let name = style.cell(records.name(w, &last));
        let mut row = Vec::new();
        for column in &records.columns {
            if w.chance(missing) {
                row.push(w.pick(&["", "-", "", "n/a"]).to_owned());
                w.known(&name, &column.name, "");
                continue;
            }
            let value = style.cell(column.value(w));
            w.fact(&name, records.class, &column.name, &value);
            row.push(value);
        }
        row.insert(at, name.clone());
        if numbered {
            row.insert(0, number.to_string());
        }
        if quotes && matches!(style, Style::Separated(_)) {
            row = row
                .into_iter()
                .map(|cell| if cell.contains(' ') { format!("\"{cell}\"") } else { cell })
                .collect();
        }
        for (width, cell) in widths.iter_mut().zip(&row) {
            *width = cell.len().max(*width);
        }
        bytes = if style.is_padded() {
            (rows.len() + 1) * (widths.iter().sum::<usize>() + 3 * widths.len())
        } else {
            let around = if style == Style::Html { 9 } else { 3 };
            bytes + row.iter().map(|cell| cell.len() + around).sum::<usize>() + around
        };
        last = name;
        rows.push(row);
    }
    style.write(w, &rows);
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
                    w.line(&format!("| {} |", padded(row).join(" | ")))
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

/// What commands print about files, processes, disks.
fn listing(w: &mut Writer<'_>) {
    match w.rng.below(4) {
        0 => files(w),
        1 => processes(w),
        2 => disks(w),
        _ => sockets(w),
    }
}

fn files(w: &mut Writer<'_>) {
    let line = format!("total {}", w.rng.below(4000)).replace('_', "");
    w.line(&line);
    while w.has_room() {
        let mode: String =
            "rwxrwxrwx".chars().map(|c| if w.chance(0.6) { c } else { '-' }).collect();
        let kind = w.pick(&["-", "-", "-", "d", "l"]).replace('l', "-");
        let (owner, group, size) =
            (w.draw(Vocabulary::word), w.draw(Vocabulary::word), w.rule("count").replace(',', ""));
        let time = format!(
            "{} {:>2} {}",
            w.rule("mon"),
            1 + w.rng.below(28),
            if w.chance(0.7) { w.rule("hh") + ":" + &w.rule("mi") } else { w.rule("year") }
        );
        let name = if kind == "d" { w.draw(Vocabulary::word) } else { w.rule("file") };
        let links = 1 + w.rng.below(9);
        w.line(&format!("{kind}{mode} {links} {owner:<8} {group:<8} {size:>8} {time} {name}"));
        w.fact_only(
            (&name, Class::Entry),
            "permissions",
            &format!("{kind}{mode}"),
            "ask_permission",
        );
        w.fact(&name, Class::Entry, "owner", &owner);
        w.fact(&name, Class::Entry, "group", &group);
        w.fact(&name, Class::Entry, "size", &size);
        w.fact(&name, Class::Entry, "modification time", &time);
    }
}

fn processes(w: &mut Writer<'_>) {
    w.line("USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND");
    while w.has_room() {
        let (user, pid) = (w.draw(Vocabulary::word), (100 + w.rng.below(60_000)).to_string());
        let (cpu, mem) = (
            format!("{}.{}", w.rng.below(90), w.rng.below(10)),
            format!("{}.{}", w.rng.below(20), w.rng.below(10)),
        );
        let (vsz, rss) = (w.rng.below(900_000), w.rng.below(90_000));
        let (tty, state) =
            (w.pick(&["?", "pts/0", "pts/3", "tty1"]), w.pick(&["S", "Ss", "R", "Sl", "I<", "Z"]));
        let start = w.rule("hh") + ":" + &w.rule("mi");
        let time = format!("{}:{}", w.rng.below(300), w.rule("mi"));
        let command = w.rule("name_service");
        w.line(&format!("{user:<10} {pid:>6} {cpu:>4} {mem:>4} {vsz:>6} {rss:>5} {tty:<8} {state:<4} {start} {time:>6} {command}"));
        w.fact_asked((&command, Class::Service), "pid", &pid, "ask_log_pid");
        w.fact(&command, Class::Service, "user", &user);
        w.fact(&command, Class::Service, "cpu", &cpu);
        w.fact(&command, Class::Service, "mem", &mem);
        w.fact(&command, Class::Service, "start", &start);
        w.fact(&command, Class::Service, "stat", state);
    }
}

fn disks(w: &mut Writer<'_>) {
    w.line("Filesystem                 Size  Used Avail Use% Mounted on");
    while w.has_room() {
        let device = format!(
            "/dev/{}{}",
            w.pick(&["sd", "nvme", "mapper/", "vd", "md"]),
            w.draw(Vocabulary::word)
        );
        let unit = w.pick(&["G", "M", "T"]);
        let (size, used) =
            (format!("{}{unit}", 10 + w.rng.below(900)), format!("{}{unit}", 1 + w.rng.below(300)));
        let (free, percent) =
            (format!("{}{unit}", 1 + w.rng.below(500)), format!("{}%", w.rng.below(100)));
        let point = format!("/{}{}", w.pick(&["", "mnt/", "srv/"]), w.draw(Vocabulary::word));
        w.line(&format!("{device:<26} {size:>4} {used:>5} {free:>5} {percent:>4} {point}"));
        for subject in [&device, &point] {
            for (key, value) in
                [("size", &size), ("used", &used), ("avail", &free), ("use percentage", &percent)]
            {
                w.fact(subject, Class::Entry, key, value);
            }
        }
        w.fact_asked((&device, Class::Entry), "mount point", &point, "ask_mount");
    }
}

fn sockets(w: &mut Writer<'_>) {
    w.line(
        "CONTAINER ID   IMAGE                      STATUS         PORTS                    NAMES",
    );
    while w.has_room() {
        let (id, image) = (w.rule("h8") + &w.rule("h4"), w.rule("image"));
        let status = format!(
            "{} {} {}",
            w.pick(&["Up", "Up", "Exited"]),
            2 + w.rng.below(40),
            w.pick(&["hours", "minutes", "days", "weeks"])
        );
        let ports = format!("{}->{}/tcp", w.rule("port"), w.rule("port"));
        let name = w.rule("name_service");
        w.line(&format!("{id}   {image:<26} {status:<14} {ports:<24} {name}"));
        w.fact(&name, Class::Service, "container id", &id);
        w.fact(&name, Class::Service, "image", &image);
        w.fact(&name, Class::Service, "status", &status);
        w.fact(&name, Class::Service, "ports", &ports);
    }
}
