//! From the lines of the measuring processes to one table.

use crate::task::Shape;
use std::error::Error;
use std::fmt::Write as _;

/// What one trainer did in one process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) threads: usize,
    pub(crate) name: String,
    pub(crate) parameters: usize,
    /// Mean losses in nats before the first and the last step.
    pub(crate) first_loss: f32,
    pub(crate) last_loss: f32,
    /// Median of a step.
    pub(crate) seconds: f64,
    /// Flops per second that the same number of threads can do at most.
    pub(crate) peak: f64,
}

impl Row {
    /// The row as a line for [`Row::parse`].
    pub(crate) fn line(&self) -> String {
        let Self { threads, name, parameters, first_loss, last_loss, seconds, peak } = self;
        format!("{threads} {name} {parameters} {first_loss} {last_loss} {seconds} {peak}")
    }

    /// # Errors
    ///
    /// If the line is not one of [`Row::line`].
    pub(crate) fn parse(line: &str) -> Result<Self, Box<dyn Error>> {
        let fields: Vec<&str> = line.split(' ').collect();
        let [threads, name, parameters, first_loss, last_loss, seconds, peak] = fields[..] else {
            return Err(format!("a line of {} fields, expected 7: {line}", fields.len()).into());
        };
        Ok(Self {
            threads: threads.parse()?,
            name: name.to_owned(),
            parameters: parameters.parse()?,
            first_loss: first_loss.parse()?,
            last_loss: last_loss.parse()?,
            seconds: seconds.parse()?,
            peak: peak.parse()?,
        })
    }
}

/// A Markdown table; ratios are to the first row with the same number of threads, which is ours.
pub(crate) fn table(shape: &Shape, rows: &[Row]) -> String {
    let mut out = format!("{shape:?}, {:.1} GFLOP per step\n\n", shape.flops() / 1e9);
    out += "| threads | | parameters | first loss | last loss | s/step | times ours | tokens/s \
            | GFLOP/s | of peak |\n|---|---|---|---|---|---|---|---|---|---|\n";
    for row in rows {
        let ours = rows.iter().find(|other| other.threads == row.threads).unwrap_or(row);
        let speed = shape.flops() / row.seconds;
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.4} | {:.4} | {:.4} | {:.2} | {:.0} | {:.1} | {:.0} % |",
            row.threads,
            row.name,
            row.parameters,
            row.first_loss,
            row.last_loss,
            row.seconds,
            row.seconds / ours.seconds,
            shape.tokens() as f64 / row.seconds,
            speed / 1e9,
            100.0 * speed / row.peak,
        );
    }
    out
}

/// Whether all rows are of the same work: as many parameters, the same losses up to rounding.
///
/// # Errors
///
/// If they differ, or if nothing was learned.
pub(crate) fn same_work(rows: &[Row]) -> Result<(), Box<dyn Error>> {
    let Some(ours) = rows.first() else { return Ok(()) };
    for row in rows {
        let close = |a: f32, b: f32| (a - b).abs() < 0.01 * b;
        if row.parameters != ours.parameters
            || !close(row.first_loss, ours.first_loss)
            || !close(row.last_loss, ours.last_loss)
        {
            return Err(format!("different work: {row:?}, ours: {ours:?}").into());
        }
        if row.last_loss >= row.first_loss {
            return Err(format!("nothing was learned: {row:?}").into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_survives_its_line() {
        let row = Row {
            threads: 2,
            name: "ours".to_owned(),
            parameters: 12,
            first_loss: 6.9375,
            last_loss: 1e-7,
            seconds: 0.123_456_789,
            peak: 5e11,
        };
        assert_eq!(Row::parse(&row.line()).unwrap(), row);
        assert!(Row::parse("1 2").is_err());
    }
}
