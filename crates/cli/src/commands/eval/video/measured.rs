//! Tables of what was measured, for people and as JSON.

use crate::table;
use serde_json::{Value, json};

/// How many of those asked for are right.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Count {
    pub(super) right: usize,
    pub(super) asked: usize,
}

impl Count {
    pub(super) fn add(&mut self, right: bool) {
        self.asked += 1;
        self.right += usize::from(right);
    }

    /// Adds what another count has.
    pub(super) fn merge(&mut self, other: Self) {
        self.asked += other.asked;
        self.right += other.right;
    }

    pub(super) fn share(self) -> f64 {
        self.right as f64 / self.asked.max(1) as f64
    }
}

/// One field of a table.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Text(String),
    Share(Count),
    /// A number and its digits after the point.
    Number(f64, usize),
    /// Nothing was measured here.
    None,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Count> for Cell {
    fn from(count: Count) -> Self {
        if count.asked == 0 { Self::None } else { Self::Share(count) }
    }
}

impl Cell {
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Share(count) => {
                format!("{:.1} % ({}/{})", 100.0 * count.share(), count.right, count.asked)
            }
            Self::Number(value, digits) => format!("{value:.digits$}"),
            Self::None => String::new(),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Share(Count { right, asked }) => json!({ "right": right, "asked": asked }),
            Self::Number(value, _) => (*value).into(),
            Self::None => Value::Null,
        }
    }
}

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) title: String,
    pub(super) columns: Vec<&'static str>,
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Measured {
    pub(super) fn to_markdown(&self) -> String {
        let right: Vec<bool> = (0..self.columns.len()).map(|i| i > 0).collect();
        let rows = self.rows.iter().map(|row| row.iter().map(Cell::shown).collect());
        table::markdown(&self.columns, &right, rows.collect())
    }

    pub(super) fn to_json(&self) -> Value {
        let row = |row: &Vec<Cell>| -> serde_json::Map<String, Value> {
            let named = self.columns.iter().zip(row);
            named.map(|(name, cell)| ((*name).to_owned(), cell.to_json())).collect()
        };
        let rows: Vec<Value> = self.rows.iter().map(|r| row(r).into()).collect();
        json!({ "title": self.title, "rows": rows })
    }
}

/// The middle of `values`.
pub(super) fn median(values: &[f64]) -> f64 {
    video::consistency::series::median(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_shown_with_counts() {
        let mut count = Count::default();
        (0..4).for_each(|i| count.add(i > 0));
        let table = Measured {
            title: "what".to_owned(),
            columns: vec!["", "right", "dB"],
            rows: vec![
                vec!["one".into(), count.into(), Cell::Number(31.25, 1)],
                vec!["two".into(), Count::default().into(), Cell::None],
            ],
        };
        let text = table.to_markdown();
        assert!(text.contains("75.0 % (3/4)") && text.contains("31.2"), "{text}");
        let json = table.to_json();
        assert_eq!(json["rows"][0]["right"], json!({ "right": 3, "asked": 4 }));
        assert_eq!(json["rows"][1]["right"], Value::Null);
    }
}
