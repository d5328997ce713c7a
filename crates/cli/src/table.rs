//! Tables in Markdown, aligned for the terminal.

/// A table with `columns` as its head; those that are `right` are aligned so, as numbers are.
pub(crate) fn markdown(columns: &[&str], right: &[bool], rows: Vec<Vec<String>>) -> String {
    let head = columns.iter().map(|name| (*name).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |i: usize| lines.iter().map(|line| line[i].chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).filter_map(width).map(|n| n.max(3)).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).zip(right).map(|((cell, &width), &right)| {
            if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        text += &format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
        if number == 0 {
            let rules = widths.iter().zip(right).map(|(&width, &right)| {
                let end = if right { ":" } else { "-" };
                format!("{}{end}", "-".repeat(width - 1))
            });
            text += &format!("| {} |\n", rules.collect::<Vec<_>>().join(" | "));
        }
    }
    text
}

/// A count in three or four digits: `6.34 M`, `1.35 B`.
pub(crate) fn count(n: f64) -> String {
    scaled(n, ["", " k", " M", " B", " T", " P"])
}

/// A quantity with the prefixes of units: `1.25 G` of bytes or operations.
pub(crate) fn quantity(n: f64) -> String {
    scaled(n, [" ", " k", " M", " G", " T", " P"])
}

fn scaled(n: f64, names: [&str; 6]) -> String {
    let step = (0..5).rev().find(|&i| n >= 1000_f64.powi(i + 1)).map_or(0, |i| i as usize + 1);
    let digits = if step == 0 { 0 } else { 2 };
    format!("{:.digits$}{}", n / 1000_f64.powi(step as i32), names[step])
}

#[cfg(test)]
mod tests {
    use super::{count, markdown, quantity};
    use expect_test::expect;

    #[test]
    fn columns_line_up() {
        let rows = [("a long name", "1"), ("é", "12.5")];
        let rows = rows.map(|(name, n)| vec![name.to_owned(), n.to_owned()]).to_vec();
        expect![[r"
            | name        |  t/s |
            | ----------- | ---: |
            | a long name |    1 |
            | é           | 12.5 |
        "]]
        .assert_eq(&markdown(&["name", "t/s"], &[false, true], rows));
    }

    #[test]
    fn counts_are_short() {
        let counts = [12.0, 4096.0, 6.34e6, 1.35e9, 2.77e17].map(count);
        assert_eq!(counts, ["12", "4.10 k", "6.34 M", "1.35 B", "277.00 P"]);
        assert_eq!(
            [0.0, 999.0, 1.25e9, 1e19].map(quantity),
            ["0 ", "999 ", "1.25 G", "10000.00 P"]
        );
    }
}
