//! Bar charts: bars of different colours on a base line, with a line for every unit.

use super::canvas::Canvas;
use super::colours::{Background, COLOURS, Colour, WIDEST};
use super::glyphs::Style;
use super::marks::{Label, Marks};
use super::{Drawn, Frame, ask, range};
use crate::clips::Split;
use crate::senses::{Lines, Question};
use tensor::Rng;
use text::lookup::ABSENT;

const MOST_BARS: usize = 5;
/// Height of the highest bar.
const HIGHEST: usize = 9;
/// Units of most axes.
const AXIS: usize = 10;
/// Smallest contrast with the background.
const CONTRAST: f32 = 0.12;

/// Draws a chart.
pub(super) fn draw(canvas: &mut Canvas, frame: Frame, rng: &mut Rng, split: Split) -> Drawn {
    let background = Background::light(rng);
    background.paint(canvas);
    canvas.soften(range(rng, 0.8, 1.3));
    let bars = bars(&background, rng, split);
    let highest = bars.iter().map(|(_, height)| *height).max().unwrap_or(1);
    let units = match rng.chance(0.8) {
        true => AXIS,
        false => highest + rng.below(AXIS + 1 - highest),
    };
    // The chart's box: numbers on the left, if any, and a name below, which is not drawn.
    let has_numbers = rng.chance(0.5);
    let left = frame.left + frame.width * range(rng, if has_numbers { 0.12 } else { 0.04 }, 0.17);
    let right = frame.left + frame.width * range(rng, 0.88, 0.98);
    let top = frame.top + frame.height * range(rng, 0.03, 0.14);
    let bottom = frame.top + frame.height * range(rng, 0.84, 0.97);
    let unit = (bottom - top) / units as f32;
    let grey = [range(rng, 0.55, 0.88); 3];
    let line = range(rng, 0.003, 0.007);
    let lines_in_front = rng.chance(0.15);
    let grid = |canvas: &mut Canvas| {
        for i in 1..=units {
            let y = bottom - unit * i as f32;
            canvas.rectangle([left, y - line / 2.0, right, y + line / 2.0], grey);
        }
    };
    if !lines_in_front {
        grid(canvas);
    }
    let step = (right - left) / bars.len() as f32;
    let share = range(rng, 0.45, 0.85);
    let contour = rng.chance(0.2).then_some(0.006);
    let mut boxes = Vec::with_capacity(bars.len());
    for (i, (colour, height)) in bars.iter().enumerate() {
        let middle = left + step * (i as f32 + 0.5);
        let half = step * share / 2.0;
        let bounds = [middle - half, bottom - unit * *height as f32, middle + half, bottom];
        if let Some(width) = contour {
            let [l, t, r, b] = bounds;
            canvas.rectangle([l - width, t - width, r + width, b], [0.1; 3]);
        }
        canvas.rectangle(bounds, colour.shade(rng));
        boxes.push((bounds, Label::bar(*colour, *height)));
    }
    if lines_in_front {
        grid(canvas);
    }
    let dark = [range(rng, 0.0, 0.3); 3];
    let width = range(rng, 0.006, 0.012);
    canvas.rectangle([left, bottom - width / 2.0, right, bottom + width / 2.0], dark);
    if rng.chance(0.6) {
        canvas.rectangle([left - width / 2.0, top, left + width / 2.0, bottom], dark);
    }
    if has_numbers {
        numbers(canvas, [frame.left, left, bottom, unit], units, dark, rng);
    }
    let marks = Marks { nothing: Label::nothing(bars.len()), boxes };
    Drawn { transcript: transcript(&bars), questions: questions(&bars, rng), marks }
}

/// Numbers left of the axis, each at its line or every other.
fn numbers(
    canvas: &mut Canvas,
    [from, left, bottom, unit]: [f32; 4],
    units: usize,
    colour: [f32; 3],
    rng: &mut Rng,
) {
    let style = Style::draw(rng);
    let height = range(rng, 0.03, 0.05);
    let every = *rng.pick(&[1, 2, 2, 5]);
    for i in (0..=units).step_by(every) {
        let word = style.word(&i.to_string());
        let x = (left - 0.02 - height * word.width).max(from);
        let y = bottom - unit * i as f32 - height / 2.0;
        word.write(canvas, [x, y], height, 0.0, colour);
    }
}

/// Colours and heights, from the left; one is the highest, one the lowest.
fn bars(background: &Background, rng: &mut Rng, split: Split) -> Vec<(Colour, usize)> {
    loop {
        let seen = |colour: &&Colour| background.contrast(colour.middle()) >= CONTRAST;
        let mut colours: Vec<Colour> = COLOURS.iter().filter(seen).copied().collect();
        rng.shuffle(&mut colours);
        let n = 2 + rng.below(MOST_BARS - 1);
        let mut bar = |colour: Colour| (colour, 1 + rng.below(HIGHEST));
        let bars: Vec<_> = colours.into_iter().take(n).map(&mut bar).collect();
        let mut heights: Vec<usize> = bars.iter().map(|(_, height)| *height).collect();
        heights.sort_unstable();
        let is_clear = heights[0] < heights[1] && heights[n - 2] < heights[n - 1];
        // Held out: charts whose heights have a certain sum.
        let is_held_out = heights.iter().sum::<usize>() % 8 == 3;
        if is_clear && is_held_out == (split == Split::HeldOut) {
            return bars;
        }
    }
}

/// The highest bar and the lowest.
fn ends(bars: &[(Colour, usize)]) -> [Colour; 2] {
    let by_height = |(_, height): &&(Colour, usize)| *height;
    let ends = [bars.iter().max_by_key(by_height), bars.iter().min_by_key(by_height)];
    ends.map(|bar| bar.map_or(COLOURS[0], |bar| bar.0))
}

fn transcript(bars: &[(Colour, usize)]) -> String {
    let mut lines = Lines::default();
    let [highest, lowest] = ends(bars).map(|colour| colour.name);
    lines.push(("bars", 4), (bars.len(), 1));
    for (label, colour) in [("highest", highest), ("tallest", highest), ("lowest", lowest)] {
        lines.push((&format!("{label} bar"), label.len() + 4), (colour, WIDEST));
    }
    for (colour, height) in bars {
        lines.push((&format!("{:<WIDEST$} bar", colour.name), WIDEST + 4), (height, 1));
    }
    lines.into_text()
}

fn questions(bars: &[(Colour, usize)], rng: &mut Rng) -> Vec<Question> {
    let mut questions = Vec::new();
    let mut push = |text: String, answer: &str, kind| {
        questions.push(Question { kind, text, answer: answer.to_owned() });
    };
    let [highest, lowest] = ends(bars).map(|colour| colour.name);
    push(ask(rng, &HOW_MANY, ""), &bars.len().to_string(), "bars");
    push(ask(rng, &HIGHEST_BAR, ""), highest, "bars");
    push(ask(rng, &LOWEST_BAR, ""), lowest, "bars");
    for (colour, height) in bars {
        push(ask(rng, &HOW_HIGH, colour.name), &height.to_string(), "bars");
    }
    let absent: Vec<&Colour> =
        COLOURS.iter().filter(|colour| bars.iter().all(|(there, _)| there != *colour)).collect();
    let absent = rng.pick(&absent).name;
    push(ask(rng, &HOW_HIGH, absent), ABSENT, "absent");
    questions
}

const HOW_MANY: [&str; 4] = [
    "how many bars are there?",
    "how many bars?",
    "how many bars are in the chart?",
    "how many bars do you see?",
];
const HIGHEST_BAR: [&str; 8] = [
    "which bar is the highest?",
    "which bar is highest?",
    "what is the highest bar?",
    "what colour is the highest bar?",
    "which bar is the tallest?",
    "what colour is the tallest bar?",
    "what color is the highest bar?",
    "what is the colour of the highest bar?",
];
const LOWEST_BAR: [&str; 6] = [
    "which bar is the lowest?",
    "which bar is lowest?",
    "what is the lowest bar?",
    "what colour is the lowest bar?",
    "what color is the lowest bar?",
    "what is the colour of the lowest bar?",
];
const HOW_HIGH: [&str; 5] = [
    "how high is the {} bar?",
    "what is the value of the {} bar?",
    "what is the height of the {} bar?",
    "what value has the {} bar?",
    "how tall is the {} bar?",
];
