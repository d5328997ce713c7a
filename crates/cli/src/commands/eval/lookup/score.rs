//! Right answers, counted.

use crate::plot::Group;
use std::collections::BTreeMap;

/// Right and all answers.
#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) asked: usize,
    right: usize,
}

impl Count {
    fn add(&mut self, right: bool) {
        self.asked += 1;
        self.right += usize::from(right);
    }

    pub(super) fn percent(self) -> f64 {
        100.0 * self.right as f64 / self.asked.max(1) as f64
    }
}

/// Right and all answers, in all and by kind.
pub(super) struct Score {
    name: String,
    pub(super) total: Count,
    present: Count,
    absent: Count,
    by_kind: BTreeMap<String, Count>,
}

impl Score {
    pub(super) fn new(name: String) -> Self {
        let zero = Count::default();
        Self { name, total: zero, present: zero, absent: zero, by_kind: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, kind: &str, absent: bool, right: bool) {
        self.total.add(right);
        if absent { &mut self.absent } else { &mut self.present }.add(right);
        self.by_kind.entry(kind.to_owned()).or_default().add(right);
    }

    /// Every line of the table: kinds, then what is there and what is not, then all.
    fn lines(&self) -> Vec<(&str, Count)> {
        let kinds = self.by_kind.iter().map(|(kind, count)| (kind.as_str(), *count));
        let sums = [
            ("(in the text)", self.present),
            ("(not in the text)", self.absent),
            (self.name.as_str(), self.total),
        ];
        kinds.chain(sums).collect()
    }

    pub(super) fn print(&self, out: &mut impl std::io::Write) -> anyhow::Result<()> {
        for (name, count) in self.lines() {
            let (right, asked, percent) = (count.right, count.asked, count.percent());
            writeln!(out, "{name:<24} {right:>5} of {asked:<5} {percent:5.1} %")?;
        }
        Ok(())
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        let count = |c: Count| serde_json::json!({ "right": c.right, "asked": c.asked });
        let kinds = self.by_kind.iter().map(|(kind, c)| (kind.clone(), count(*c)));
        serde_json::json!({
            "name": self.name,
            "all": count(self.total),
            "in_the_text": count(self.present),
            "not_in_the_text": count(self.absent),
            "by_kind": kinds.collect::<serde_json::Map<_, _>>(),
        })
    }

    pub(super) fn group(&self) -> Group {
        let bars = self.lines().into_iter().map(|(name, c)| (name.to_owned(), c.percent()));
        Group { bars: bars.collect() }
    }
}
