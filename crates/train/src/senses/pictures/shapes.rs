//! Shapes on a background: how many, of which colours, where.

use super::canvas::Canvas;
use super::colours::{Background, COLOURS, Colour, WIDEST};
use super::marks::{Label, Marks};
use super::outline::Outline;
use super::{Drawn, Frame, ask, range};
use crate::clips::{HELD_OUT_COLOURS, Shape, Split};
use crate::senses::{Lines, Question};
use tensor::Rng;
use text::lookup::ABSENT;

/// Most shapes of a picture.
const MOST: usize = 6;
/// Most kinds of them of which the transcript has room to say which shape a colour has.
const TOLD_KINDS: usize = 3;
/// How often there may be more kinds.
const MANY_KINDS: f32 = 0.14;
/// Smallest contrast with the background.
const CONTRAST: f32 = 0.22;
/// Tries to find places for all shapes before others are drawn.
const TRIES: usize = 60;

/// One of a picture's shapes.
#[derive(Clone, Copy, Debug)]
struct Thing {
    shape: Shape,
    colour: Colour,
    x: f32,
    y: f32,
    radius: f32,
}

/// Draws shapes.
pub(super) fn draw(canvas: &mut Canvas, frame: Frame, rng: &mut Rng, split: Split) -> Drawn {
    let background = Background::draw(rng);
    background.paint(canvas);
    let things = loop {
        let kinds = kinds(rng, split);
        let is_seen = |colour: &Colour| background.contrast(colour.middle()) >= CONTRAST;
        let is_seen = kinds.iter().all(|(_, colour)| is_seen(colour));
        if let Some(things) = is_seen.then(|| place(&kinds, frame, rng)).flatten() {
            break things;
        }
    };
    canvas.soften(range(rng, 0.8, 2.0));
    let contour = rng.chance(0.15).then(|| range(rng, 0.008, 0.018));
    for thing in &things {
        let shades = [(); 4].map(|()| thing.colour.shade(rng));
        let seen = |shade: &[f32; 3]| background.contrast(*shade);
        let shade = shades.into_iter().max_by(|a, b| seen(a).total_cmp(&seen(b)));
        let outline = Outline::draw(thing.shape, rng);
        outline.fill(canvas, [thing.x, thing.y, thing.radius], shade.unwrap_or_default(), contour);
    }
    let questions = questions(&things, rng);
    Drawn { transcript: transcript(&things), questions, marks: marks(&things) }
}

fn marks(things: &[Thing]) -> Marks {
    let mark = |thing: &Thing| {
        let Thing { shape, colour, x, y, radius } = *thing;
        let bounds = [x - radius, y - radius, x + radius, y + radius];
        let alike = things.iter().filter(|other| other.shape == shape).count();
        (bounds, Label::shape(shape, colour, alike))
    };
    Marks { nothing: Label::nothing(things.len()), boxes: things.iter().map(mark).collect() }
}

/// Shape and colour of each thing.
fn kinds(rng: &mut Rng, split: Split) -> Vec<(Shape, Colour)> {
    let is_held_out = |(shape, colour): &(Shape, Colour)| {
        HELD_OUT_COLOURS.iter().any(|(c, s)| s == shape && c.name() == colour.name)
    };
    loop {
        let (mut shapes, mut colours) = (Shape::ALL.to_vec(), COLOURS.to_vec());
        rng.shuffle(&mut shapes);
        rng.shuffle(&mut colours);
        let kinds: Vec<_> = match rng.unit() {
            // Two of different kinds, which stand somewhere to each other.
            u if u < 0.3 => (0..2).map(|i| (shapes[i], colours[i])).collect(),
            // Groups: each shape has a colour of its own.
            u if u < 0.75 => {
                let most = if rng.chance(MANY_KINDS) { MOST } else { TOLD_KINDS };
                let groups = 1 + rng.below(most);
                let n = groups + rng.below(MOST + 1 - groups);
                let group =
                    |i: usize, rng: &mut Rng| if i < groups { i } else { rng.below(groups) };
                let group = (0..n).map(|i| group(i, rng)).collect::<Vec<_>>();
                group.into_iter().map(|i| (shapes[i], colours[i])).collect()
            }
            // Anything.
            _ => {
                let n = 1 + rng.below(MOST);
                let most = [1 + rng.below(TOLD_KINDS), 1 + rng.below(TOLD_KINDS)];
                let mut thing = || (shapes[rng.below(most[0])], colours[rng.below(most[1])]);
                (0..n).map(|_| thing()).collect()
            }
        };
        if kinds.iter().any(is_held_out) == (split == Split::HeldOut) {
            return kinds;
        }
    }
}

/// Places for all, none on another; `None` if it takes too long.
fn place(kinds: &[(Shape, Colour)], frame: Frame, rng: &mut Rng) -> Option<Vec<Thing>> {
    let area = (frame.width * frame.height / kinds.len() as f32).sqrt();
    let size = (area * range(rng, 0.16, 0.36)).min(0.42 * frame.width.min(frame.height));
    // Alike in size, or some much larger than others; apart, or nearly touching.
    let sizes = if rng.chance(0.5) { [0.9, 1.1] } else { [0.55, 1.5] };
    let gap = range(rng, 1.04, 1.4);
    let rows = rng.chance(0.15).then(|| Rows::draw(kinds.len(), frame, rng));
    let mut things: Vec<Thing> = Vec::new();
    for (i, &(shape, colour)) in kinds.iter().enumerate() {
        let mut fits = |_| {
            let radius = match &rows {
                Some(rows) => rows.radius,
                None => (size * range(rng, sizes[0], sizes[1])).max(0.045),
            };
            let reach = range(rng, 1.02, 1.35) * radius * Outline::reach(shape);
            let mut along = |start: f32, length: f32| match length > 2.0 * reach {
                true => start + range(rng, reach, length - reach),
                false => start + length / 2.0,
            };
            let [x, y] = match &rows {
                Some(rows) => rows.place(i),
                None => [along(frame.left, frame.width), along(frame.top, frame.height)],
            };
            let thing = Thing { shape, colour, x, y, radius };
            things.iter().all(|other| other.is_apart(&thing, gap)).then_some(thing)
        };
        let thing = (0..TRIES).find_map(&mut fits)?;
        things.push(thing);
    }
    // Of two it is asked where they stand: clearly so, or clearly not.
    let are_clear = match things[..] {
        [a, b] => {
            let apart = [(a.x - b.x).abs(), (a.y - b.y).abs()];
            let [near, far] = [apart[0].min(apart[1]), apart[0].max(apart[1])];
            far > 1.1 * (a.radius + b.radius) && near < 0.8 * far
        }
        _ => true,
    };
    are_clear.then_some(things)
}

impl Thing {
    /// Whether circles around both are apart, by a factor of their radii.
    fn is_apart(&self, other: &Self, factor: f32) -> bool {
        let [a, b] = [self, other].map(|thing| thing.radius * Outline::reach(thing.shape));
        (self.x - other.x).hypot(self.y - other.y) > factor * (a + b)
    }
}

/// Places in rows and columns, all things of one size.
#[derive(Clone, Copy, Debug)]
struct Rows {
    columns: usize,
    /// The middle of the first place.
    first: [f32; 2],
    /// Between the middles of two.
    step: [f32; 2],
    radius: f32,
}

impl Rows {
    /// One row, one column, or several, wherever `n` things fit in a frame.
    fn draw(n: usize, frame: Frame, rng: &mut Rng) -> Self {
        let columns = match rng.below(3) {
            0 if frame.height > 0.8 => 1,
            0 | 1 if frame.width > 0.8 => n,
            _ => n.div_ceil(2),
        };
        let rows = n.div_ceil(columns);
        let step = [frame.width / columns as f32, frame.height / rows as f32];
        let first = [frame.left + step[0] / 2.0, frame.top + step[1] / 2.0];
        let radius = step[0].min(step[1]) * range(rng, 0.24, 0.34);
        Self { columns, first, step, radius }
    }

    fn place(&self, i: usize) -> [f32; 2] {
        let at = [i % self.columns, i / self.columns];
        [0, 1].map(|axis| self.first[axis] + at[axis] as f32 * self.step[axis])
    }
}

/// The name of several.
fn plural(shape: Shape) -> String {
    match shape {
        Shape::Cross => "crosses".to_owned(),
        _ => format!("{shape}s"),
    }
}

/// The shapes that are there, with their number and their colour if that is one.
fn shapes_of(things: &[Thing]) -> Vec<(Shape, usize, Option<Colour>)> {
    let of = |shape: Shape| things.iter().filter(move |thing| thing.shape == shape);
    let entry = |&shape: &Shape| {
        let colour = of(shape).next()?.colour;
        let one = of(shape).all(|thing| thing.colour == colour).then_some(colour);
        Some((shape, of(shape).count(), one))
    };
    Shape::ALL.iter().filter_map(entry).collect()
}

/// The colours that only one shape has.
fn colours_of(things: &[Thing]) -> Vec<(Colour, Shape)> {
    let of = |colour: Colour| things.iter().filter(move |thing| thing.colour == colour);
    let entry = |colour: &Colour| {
        let shape = of(*colour).next()?.shape;
        of(*colour).all(|thing| thing.shape == shape).then_some((*colour, shape))
    };
    COLOURS.iter().filter_map(entry).collect()
}

/// Where things stand to each other.
const PLACES: [(&str, [&str; 4]); 4] = [
    (
        "left of",
        [
            "what is left of the {}?",
            "what is to the left of the {}?",
            "which shape is left of the {}?",
            "what shape is to the left of the {}?",
        ],
    ),
    (
        "right of",
        [
            "what is right of the {}?",
            "what is to the right of the {}?",
            "which shape is right of the {}?",
            "what shape is to the right of the {}?",
        ],
    ),
    (
        "above",
        [
            "what is above the {}?",
            "which shape is above the {}?",
            "what shape is above the {}?",
            "what stands above the {}?",
        ],
    ),
    (
        "below",
        [
            "what is below the {}?",
            "which shape is below the {}?",
            "what is under the {}?",
            "what shape is below the {}?",
        ],
    ),
];

/// Of two things of different shape: number of a place, the shape that it is counted from, the one that
/// is there; along the axis in which they are further apart, clearly so by [`place`].
fn relations(things: &[Thing]) -> Vec<(usize, Shape, Shape)> {
    let &[a, b] = things else { return Vec::new() };
    let apart = [(a.x - b.x).abs(), (a.y - b.y).abs()];
    let (axis, of): (usize, fn(&Thing) -> f32) =
        if apart[0] > apart[1] { (0, |thing| thing.x) } else { (1, |thing| thing.y) };
    let (first, second) = if of(&a) < of(&b) { (a, b) } else { (b, a) };
    if a.shape == b.shape {
        return Vec::new();
    }
    vec![(2 * axis, second.shape, first.shape), (2 * axis + 1, first.shape, second.shape)]
}

fn transcript(things: &[Thing]) -> String {
    let mut lines = Lines::default();
    let shapes = shapes_of(things);
    let has_room = has_room(&shapes);
    for all in names_of_all(has_room) {
        lines.push((all, all.len()), (things.len(), 1));
    }
    let colours = colours_of(things);
    for (shape, count, colour) in shapes {
        lines.push((&plural(shape), PLURAL), (count, 1));
        lines.push((shape.name(), SHAPE), (colour.map_or(MIXED, |colour| colour.name), WIDEST));
        if !has_room {
            continue;
        }
        let alone = colours.iter().find(|(of, _)| colour == Some(*of));
        match alone {
            Some((colour, shape)) => {
                let label = format!("{:<WIDEST$} shape", colour.name);
                lines.push((&label, label.len()), (shape, SHAPE));
            }
            None => lines.push_blank(WIDEST + 6, SHAPE),
        }
    }
    for (place, of, there) in relations(things) {
        let place = PLACES[place].0;
        let label = format!("{place} {of}");
        lines.push((&label, place.len() + 1 + SHAPE), (there, SHAPE));
    }
    lines.into_text()
}

/// What all of a picture's shapes are called.
const ALL: [&str; 2] = ["shapes", "objects"];

/// Whether the transcript has room for which shape a colour has, and for a second name of all.
fn has_room(shapes: &[(Shape, usize, Option<Colour>)]) -> bool {
    shapes.len() <= TOLD_KINDS
}

/// Those names that it has room for.
fn names_of_all(has_room: bool) -> &'static [&'static str] {
    if has_room { &ALL } else { &ALL[..1] }
}

/// The colour of shapes that have several.
const MIXED: &str = "mixed";
/// Bytes of the longest name of a shape, and of several.
const SHAPE: usize = 8;
const PLURAL: usize = 9;

const HOW_MANY: [&str; 5] = [
    "how many {}?",
    "how many {} are there?",
    "how many {} do you see?",
    "how many {} are in the picture?",
    "what is the number of {}?",
];
const WHAT_COLOUR: [&str; 5] = [
    "what colour is the {}?",
    "what color is the {}?",
    "which colour is the {}?",
    "which colour has the {}?",
    "what is the colour of the {}?",
];
const WHAT_COLOURS: [&str; 2] = ["what colour are the {}?", "what color are the {}?"];
const WHAT_SHAPE: [&str; 6] = [
    "which shape is {}?",
    "what shape is {}?",
    "what is {}?",
    "what shape is the {} one?",
    "which shape is the {} one?",
    "what shape is the {} object?",
];

fn questions(things: &[Thing], rng: &mut Rng) -> Vec<Question> {
    let mut questions = Vec::new();
    let mut push = |kind, text: String, answer: &str| {
        questions.push(Question { kind, text, answer: answer.to_owned() });
    };
    let shapes = shapes_of(things);
    let has_room = has_room(&shapes);
    let all = match names_of_all(has_room) {
        [one] => *one,
        several => *rng.pick(several),
    };
    push("count", ask(rng, &HOW_MANY, all), &things.len().to_string());
    for &(shape, count, colour) in &shapes {
        push("count", ask(rng, &HOW_MANY, &plural(shape)), &count.to_string());
        let several = count > 1 && (colour.is_none() || rng.chance(0.6));
        let text = match several {
            true => ask(rng, &WHAT_COLOURS, &plural(shape)),
            false => ask(rng, &WHAT_COLOUR, shape.name()),
        };
        push("colour", text, colour.map_or(MIXED, |colour| colour.name));
    }
    let is_told = |(colour, shape): &(Colour, Shape)| {
        has_room && shapes.iter().any(|(of, _, one)| of == shape && *one == Some(*colour))
    };
    for (colour, shape) in colours_of(things).into_iter().filter(is_told) {
        push("shape", ask(rng, &WHAT_SHAPE, colour.name), shape.name());
    }
    for (place, of, there) in relations(things) {
        push("relation", ask(rng, &PLACES[place].1, of.name()), there.name());
    }
    // What is not there.
    let is_absent = |shape: &Shape| shapes.iter().all(|(there, ..)| there != shape);
    let absent: Vec<Shape> = Shape::ALL.iter().copied().filter(is_absent).collect();
    if !absent.is_empty() {
        let absent = *rng.pick(&absent);
        match rng.chance(0.5) {
            true => push("absent", ask(rng, &HOW_MANY, &plural(absent)), ABSENT),
            false => push("absent", ask(rng, &WHAT_COLOUR, absent.name()), ABSENT),
        }
    }
    questions
}
