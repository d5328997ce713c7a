//! The picture of a clip and its checks: frames in a row, those with faults marked, scores below.
//!
//! It is an SVG with the frames inside, so one file is all of it, and light or dark like the page it is
//! on. Marks have a form and a word beside their color.

use crate::clip::Clip;
use crate::{Error, picture};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::fmt::Write as _;

/// What is to be seen.
#[derive(Clone, Debug)]
pub struct Timeline<'a> {
    /// The frames.
    pub clip: &'a Clip,
    /// A line above them, such as the prompt.
    pub title: &'a str,
    /// What is wrong with each frame, in a word or two, `[frames]`; empty for nothing.
    pub faults: Vec<String>,
    /// What was measured, in rows.
    pub scores: Vec<Scores>,
}

/// One measure of all frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// What is measured.
    pub name: String,
    /// Of each frame, `[frames]`; NaN where there is none, as of what compares with the frame before.
    pub values: Vec<f64>,
    /// From where on a frame is flagged.
    pub threshold: Option<Threshold>,
}

/// A bound on a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// Larger values are flagged.
    Above(f64),
    /// Smaller ones are.
    Below(f64),
}

impl Threshold {
    fn value(self) -> f64 {
        match self {
            Self::Above(value) | Self::Below(value) => value,
        }
    }

    fn flags(self, score: f64) -> bool {
        match self {
            Self::Above(value) => score > value,
            Self::Below(value) => score < value,
        }
    }
}

/// Frames of a line; longer clips have several.
const COLUMNS: usize = 17;
/// Sizes in pixels: a frame with what is around it, the frame, the names on the left, a row of scores.
const COLUMN: usize = 64;
const FRAME: usize = 56;
const LEFT: usize = 132;
const ROW: usize = 44;
const EDGE: usize = 16;
/// Below a frame: its number, and what is wrong with it.
const WORDS: usize = 34;
const TITLE: usize = 32;

const STYLE: &str = "svg{background:#fbfaf7;font:12px system-ui,sans-serif}\
    text{fill:#676258}.title{fill:#23211d;font-weight:600;font-size:14px}\
    .ok{stroke:#e0dbd0;fill:none}.bad{stroke:#a3271d;fill:none;stroke-width:3}\
    .word{fill:#a3271d;font-weight:600}.line{stroke:#4b3fae;fill:none;stroke-width:1.5}\
    .dot{fill:#4b3fae}.over{fill:#a3271d}.bound{stroke:#918a7c;stroke-dasharray:3 3}\
    image{image-rendering:pixelated}\
    @media(prefers-color-scheme:dark){svg{background:#171614}text{fill:#a8a194}\
    .title{fill:#ece8df}.ok{stroke:#35322c}.bad{stroke:#ff9d90}.word{fill:#ff9d90}\
    .line{stroke:#b5abff}.dot{fill:#b5abff}.over{fill:#ff9d90}.bound{stroke:#7b7568}}";

impl Timeline<'_> {
    /// The picture.
    ///
    /// # Errors
    ///
    /// If the clip has no pixels.
    ///
    /// # Panics
    ///
    /// If faults or scores are not those of so many frames.
    pub fn svg(&self) -> Result<String, Error> {
        let frames = self.clip.frames;
        assert_eq!(self.faults.len(), frames, "faults must be [frames]");
        for scores in &self.scores {
            assert_eq!(scores.values.len(), frames, "values of `{}` must be [frames]", scores.name);
        }
        let (lines, columns) = (frames.div_ceil(COLUMNS), frames.min(COLUMNS));
        let (frame_width, frame_height) = self.frame_size();
        let line_height = frame_height + WORDS + self.scores.len() * ROW + EDGE;
        let width = LEFT + columns * COLUMN + EDGE + LEFT / 2;
        let height = EDGE + TITLE + lines * line_height;
        let bad = self.faults.iter().filter(|fault| !fault.is_empty()).count();
        let title = escape(self.title);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\"><title>{title}: {frames} frames, {bad} flagged</title>\
             <style>{STYLE}</style><text class=\"title\" x=\"{EDGE}\" y=\"{}\">{title}</text>\n",
            EDGE + 12,
        );
        for line in 0..lines {
            let top = EDGE + TITLE + line * line_height;
            let shown = line * COLUMNS..((line + 1) * COLUMNS).min(frames);
            for (column, i) in shown.clone().enumerate() {
                let x = LEFT + column * COLUMN;
                let png = picture::to_png(self.clip.frame(i), self.clip.width, self.clip.height)?;
                let png = BASE64_STANDARD.encode(png);
                let (fault, middle) = (escape(&self.faults[i]), x + frame_width / 2);
                let class = if fault.is_empty() { "ok" } else { "bad" };
                _ = write!(
                    svg,
                    "<image x=\"{x}\" y=\"{top}\" width=\"{frame_width}\" height=\"{frame_height}\" \
                     href=\"data:image/png;base64,{png}\"/><rect class=\"{class}\" x=\"{x}\" y=\"{top}\" \
                     width=\"{frame_width}\" height=\"{frame_height}\"/><text x=\"{middle}\" y=\"{}\" \
                     text-anchor=\"middle\">{i}</text>",
                    top + frame_height + 14,
                );
                if !fault.is_empty() {
                    _ = write!(
                        svg,
                        "<text class=\"word\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{fault}</text>",
                        top + frame_height + 28,
                    );
                }
                svg.push('\n');
            }
            for (row, scores) in self.scores.iter().enumerate() {
                let top = top + frame_height + WORDS + row * ROW;
                scores.draw(&mut svg, shown.clone(), top, frame_width / 2);
            }
        }
        svg.push_str("</svg>\n");
        Ok(svg)
    }

    /// Width and height of a frame in the picture, with the proportions of the clip.
    fn frame_size(&self) -> (usize, usize) {
        let (width, height) = (self.clip.width.max(1), self.clip.height.max(1));
        let long = width.max(height);
        ((width * FRAME / long).max(1), (height * FRAME / long).max(1))
    }
}

impl Scores {
    /// Draws the frames `shown` as a row of dots and a line, on a scale that all lines of the picture
    /// share.
    fn draw(&self, svg: &mut String, shown: std::ops::Range<usize>, top: usize, middle: usize) {
        let bound = self.threshold.map(Threshold::value);
        let known = self.values.iter().copied().chain(bound).filter(|value| value.is_finite());
        let (low, high) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let (top, space) = (top as f64 + 6.0, ROW as f64 - 14.0);
        let y = |value: f64| match high > low {
            true => top + space * (1.0 - (value - low) / (high - low)),
            false => top + space / 2.0,
        };
        let x = |i: usize| LEFT + (i - shown.start) * COLUMN + middle;
        let right = x(shown.end.max(shown.start + 1) - 1) + COLUMN / 2;
        _ = write!(
            svg,
            "<text x=\"{EDGE}\" y=\"{:.1}\">{}</text>",
            top + space / 2.0 + 4.0,
            escape(&self.name)
        );
        if low <= high {
            for value in if high > low { vec![low, high] } else { vec![low] } {
                let y = y(value) + 4.0;
                _ = write!(svg, "<text x=\"{}\" y=\"{y:.1}\">{}</text>", right + 6, short(value));
            }
        }
        if let Some(value) = bound.filter(|value| value.is_finite()) {
            let y = y(value);
            _ = write!(
                svg,
                "<line class=\"bound\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
            );
        }
        let mut path = String::new();
        let mut is_joined = false;
        for i in shown.clone() {
            let value = self.values[i];
            if value.is_finite() {
                let letter = if is_joined { 'L' } else { 'M' };
                _ = write!(path, "{letter}{} {:.1}", x(i), y(value));
            }
            is_joined = value.is_finite();
        }
        _ = write!(svg, "<path class=\"line\" d=\"{path}\"/>");
        for i in shown.clone().filter(|&i| self.values[i].is_finite()) {
            let (value, x) = (self.values[i], x(i));
            let is_over = self.threshold.is_some_and(|threshold| threshold.flags(value));
            let (class, radius) = if is_over { ("over", 4.5) } else { ("dot", 2.5) };
            _ = write!(
                svg,
                "<circle class=\"{class}\" cx=\"{x}\" cy=\"{:.1}\" r=\"{radius}\"><title>frame {i}: {}</title></circle>",
                y(value),
                short(value),
            );
        }
        svg.push('\n');
    }
}

/// Three digits.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}

/// Text as XML has it; what XML has no sign for is left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(clip: &Clip) -> Timeline<'_> {
        let mut faults = vec![String::new(); clip.frames];
        faults[2] = "<flash>".to_owned();
        let mut values: Vec<f64> = (0..clip.frames).map(|i| i as f64 / 10.0).collect();
        values[0] = f64::NAN;
        let threshold = Some(Threshold::Above(0.25));
        let scores = vec![Scores { name: "jump & co".to_owned(), values, threshold }];
        Timeline { clip, title: "a \"red\" circle", faults, scores }
    }

    fn clip(frames: usize) -> Clip {
        Clip { frames, height: 2, width: 4, rate: 6.0, rgb: vec![128; frames * 24] }
    }

    #[test]
    fn flagged_frames_are_marked() {
        let svg = timeline(&clip(5)).svg().unwrap();
        let count = |text: &str| svg.matches(text).count();
        assert_eq!((count("<image "), count("class=\"bad\""), count("class=\"ok\"")), (5, 1, 4));
        // Values 0.1, 0.2 are below the bound, 0.3 and 0.4 above; the first frame has none.
        assert_eq!(
            (count("class=\"dot\""), count("class=\"over\""), count("class=\"bound\"")),
            (2, 2, 1)
        );
        assert!(svg.contains(">&lt;flash&gt;</text>") && svg.contains("jump &amp; co"), "{svg}");
        assert!(
            svg.contains("<title>a &quot;red&quot; circle: 5 frames, 1 flagged</title>"),
            "{svg}"
        );
        // The frames are twice as wide as high.
        assert!(
            svg.contains("width=\"56\" height=\"28\" href=\"data:image/png;base64,iVBOR"),
            "{svg}"
        );
    }

    #[test]
    fn long_clips_have_several_lines() {
        let svg = timeline(&clip(40)).svg().unwrap();
        assert_eq!(
            (svg.matches("<image ").count(), svg.matches("class=\"line\"").count()),
            (40, 3)
        );
        assert!(svg.contains("viewBox=\"0 0 1302 "), "{}", &svg[..200]);
    }

    #[test]
    fn scores_may_be_missing_or_equal() {
        let clip = clip(3);
        for value in [f64::NAN, f64::INFINITY, 0.0, 1e-9] {
            let scores =
                vec![Scores { name: "x".to_owned(), values: vec![value; 3], threshold: None }];
            let faults = vec![String::new(); 3];
            let svg = Timeline { clip: &clip, title: "", faults, scores }.svg().unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
