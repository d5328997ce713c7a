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

#[cfg(test)]
mod tests {
    use super::markdown;
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
}
