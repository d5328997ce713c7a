//! Captions: what people might write to get a scene.

use super::attributes::{Backdrop, Colour, Motion, Shape, Size};
use super::scene::{Path, Scene};
use tensor::Rng;
use text::Words;

/// Words of the longest caption.
pub const MAX_WORDS: usize = 16;

/// Wordings with their weights: `{thing}` is the object without its article, `{does}` and `{doing}`
/// what it does.
const FORMS: &[(usize, &str)] = &[
    (14, "a {thing} {does}"),
    (2, "the {thing} {does}"),
    (5, "a {thing} is {doing}"),
    (2, "the {thing} is {doing}"),
    (3, "a {thing} {doing}"),
    (2, "a video of a {thing} {doing}"),
    (1, "a clip of a {thing} that {does}"),
    (1, "there is a {thing} that {does}"),
    (1, "there is a {thing} {doing}"),
];

/// The same for subjects.
const SUBJECT_FORMS: &[(usize, &str)] = &[
    (10, "the {thing} {does}"),
    (4, "the {thing} is {doing}"),
    (2, "the {thing} in the picture {does}"),
    (1, "the {thing} from the picture is {doing}"),
    (1, "a video of the {thing} {doing}"),
    (1, "a clip of the {thing} that {does}"),
];

/// Words for a subject.
const SUBJECTS: &[&str] = &["subject", "subject", "object"];

/// Where the background is mentioned.
const PLACES: &[(usize, &str)] =
    &[(3, "on a {kind} background"), (1, "in front of a {kind} background")];

/// Verbs of travelling, the plainest first, with their participles.
const TRAVELS: &[(usize, (&str, &str))] = &[
    (10, ("moves", "moving")),
    (3, ("goes", "going")),
    (2, ("drifts", "drifting")),
    (2, ("slides", "sliding")),
    (1, ("travels", "travelling")),
    (1, ("flies", "flying")),
];

/// Words that no caption has, and which of its words are meant.
const ALIASES: &[(&str, &str)] = &[
    ("aqua", "cyan"),
    ("chequered", "checkered"),
    ("checkerboard", "checkered"),
    ("disk", "disc"),
    ("doesnt", "does not"),
    ("fast", "quickly"),
    ("isnt", "is not"),
    ("leftward", "leftwards"),
    ("lilac", "violet"),
    ("quick", "quickly"),
    ("rapidly", "quickly"),
    ("rightward", "rightwards"),
    ("slow", "slowly"),
    ("toward", "towards"),
    ("traveling", "travelling"),
    ("upward", "upwards"),
    ("downward", "downwards"),
];

/// Share of captions that mention the size, the speed where it is worth it, and the background.
const MENTIONS: [f32; 3] = [0.25, 0.3, 0.2];
/// Widths per clip below which a travel is slow, and above which it is quick.
const SLOW_AND_QUICK: [f32; 2] = [0.26, 0.38];

impl Colour {
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Red => &["red"],
            Self::Green => &["green"],
            Self::Blue => &["blue"],
            Self::Yellow => &["yellow"],
            Self::Purple => &["purple", "purple", "purple", "violet"],
            Self::Orange => &["orange"],
            Self::White => &["white"],
            Self::Cyan => &["cyan", "cyan", "cyan", "turquoise"],
        }
    }
}

impl Shape {
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Circle => &["circle", "circle", "circle", "circle", "disc", "ball"],
            Self::Square => &["square", "square", "square", "square", "box"],
            Self::Triangle => &["triangle"],
            Self::Star => &["star"],
            Self::Ring => &["ring", "ring", "ring", "ring", "hoop"],
            Self::Cross => &["cross", "cross", "cross", "cross", "plus"],
        }
    }
}

impl Size {
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Small => &["small", "small", "little", "tiny"],
            Self::Medium => &["medium"],
            Self::Large => &["large", "big", "huge"],
        }
    }
}

impl Backdrop {
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Dark => &["dark", "dark", "black"],
            Self::Light => &["light", "light", "bright"],
            Self::Gradient => &["gradient", "shaded"],
            Self::Checkered => &["checkered", "checked"],
        }
    }
}

impl Motion {
    /// Where it goes, or, for what does not travel, what it does and is doing.
    fn words(self) -> Phrases {
        match self {
            Self::Left => Phrases::To(&["left", "to the left", "towards the left", "leftwards"]),
            Self::Right => {
                Phrases::To(&["right", "to the right", "towards the right", "rightwards"])
            }
            Self::Up => Phrases::To(&["up", "upwards", "to the top", "towards the top"]),
            Self::Down => {
                Phrases::To(&["down", "downwards", "to the bottom", "towards the bottom"])
            }
            Self::UpLeft => Phrases::To(&[
                "to the upper left",
                "up and left",
                "up and to the left",
                "to the top left",
                "diagonally up and left",
            ]),
            Self::UpRight => Phrases::To(&[
                "to the upper right",
                "up and right",
                "up and to the right",
                "to the top right",
                "diagonally up and right",
            ]),
            Self::DownLeft => Phrases::To(&[
                "to the lower left",
                "down and left",
                "down and to the left",
                "to the bottom left",
                "diagonally down and left",
            ]),
            Self::DownRight => Phrases::To(&[
                "to the lower right",
                "down and right",
                "down and to the right",
                "to the bottom right",
                "diagonally down and right",
            ]),
            Self::Stays => Phrases::Does(&[
                ("stays", "staying"),
                ("stays still", "staying still"),
                ("stays in place", "staying in place"),
                ("does not move", "not moving"),
                ("stands still", "standing still"),
                ("rests", "resting"),
            ]),
            Self::Grows => Phrases::Does(&[
                ("grows", "growing"),
                ("grows", "growing"),
                ("gets bigger", "getting bigger"),
                ("gets larger", "getting larger"),
                ("becomes larger", "becoming larger"),
                ("expands", "expanding"),
            ]),
            Self::Shrinks => Phrases::Does(&[
                ("shrinks", "shrinking"),
                ("shrinks", "shrinking"),
                ("gets smaller", "getting smaller"),
                ("becomes smaller", "becoming smaller"),
            ]),
            Self::Spins => Phrases::Does(&[
                ("spins", "spinning"),
                ("spins", "spinning"),
                ("spins around", "spinning around"),
                ("rotates", "rotating"),
                ("turns", "turning"),
                ("turns around", "turning around"),
            ]),
            Self::Bounces => Phrases::Does(&[
                ("bounces", "bouncing"),
                ("bounces", "bouncing"),
                ("bounces up and down", "bouncing up and down"),
                ("jumps up and down", "jumping up and down"),
                ("hops", "hopping"),
            ]),
        }
    }
}

/// The words of a motion.
enum Phrases {
    /// Where it goes: after a verb of [`TRAVELS`].
    To(&'static [&'static str]),
    /// What it does, and is doing.
    Does(&'static [(&'static str, &'static str)]),
}

impl Scene {
    /// A caption of at most [`MAX_WORDS`] words. It always says which object and what it does, and
    /// sometimes the size, the speed and the background.
    pub fn caption(&self, rng: &mut Rng) -> String {
        let (thing, forms) = match self.colour() {
            Some(colour) => {
                let thing = [*rng.pick(colour.words()), *rng.pick(self.shape.words())].join(" ");
                if rng.chance(MENTIONS[0]) {
                    ([*rng.pick(self.size.words()), &thing].join(" "), FORMS)
                } else {
                    (thing, FORMS)
                }
            }
            None => ((*rng.pick(SUBJECTS)).to_owned(), SUBJECT_FORMS),
        };
        let [does, doing] = self.verb(rng);
        let form = weighted(forms, rng);
        let text = form.replace("{thing}", &thing).replace("{does}", &does);
        let mut text = with_articles(&text.replace("{doing}", &doing));
        if rng.chance(MENTIONS[2]) {
            let kind = rng.pick(self.background.kind.words());
            let place = weighted(PLACES, rng).replace("{kind}", kind);
            if words(&text).count() + words(&place).count() <= MAX_WORDS {
                text = [text, place].join(" ");
            }
        }
        text
    }

    /// What it does, and is doing.
    fn verb(&self, rng: &mut Rng) -> [String; 2] {
        let to = match self.motion.words() {
            Phrases::Does(verbs) => {
                let (does, doing) = *rng.pick(verbs);
                return [does.to_owned(), doing.to_owned()];
            }
            // The first is the plainest.
            Phrases::To(to) => {
                if rng.chance(0.4) {
                    to[0]
                } else {
                    rng.pick(to)
                }
            }
        };
        let (does, doing) = weighted(TRAVELS, rng);
        let speed = self.speed().filter(|_| rng.chance(MENTIONS[1]));
        let speed_first = rng.chance(0.3);
        [does, doing].map(|verb| match speed {
            Some(speed) if speed_first => [speed, verb, to].join(" "),
            Some(speed) => [verb, to, speed].join(" "),
            None => [verb, to].join(" "),
        })
    }

    /// The word for the speed, if it is worth one.
    fn speed(&self) -> Option<&'static str> {
        let Path::Line { dx, dy } = self.path else { return None };
        let travel = dx.hypot(dy);
        let [slow, quick] = SLOW_AND_QUICK;
        match travel {
            _ if travel < slow => Some("slowly"),
            _ if travel > quick => Some("quickly"),
            _ => None,
        }
    }
}

/// All words that captions are made of, each once, in an order that depends on nothing.
pub fn vocabulary() -> Vec<&'static str> {
    let mut texts: Vec<&'static str> = vec!["an", "slowly", "quickly"];
    texts.extend(FORMS.iter().chain(SUBJECT_FORMS).chain(PLACES).map(|(_, form)| *form));
    texts.extend(SUBJECTS);
    texts.extend(TRAVELS.iter().flat_map(|(_, (does, doing))| [*does, *doing]));
    texts.extend(Colour::ALL.iter().flat_map(|colour| colour.words()));
    texts.extend(Shape::ALL.iter().flat_map(|shape| shape.words()));
    texts.extend(Size::ALL.iter().flat_map(|size| size.words()));
    texts.extend(Backdrop::ALL.iter().flat_map(|kind| kind.words()));
    for motion in Motion::ALL {
        match motion.words() {
            Phrases::To(to) => texts.extend(to),
            Phrases::Does(verbs) => texts.extend(verbs.iter().flat_map(|(a, b)| [*a, *b])),
        }
    }
    let mut all = Vec::new();
    for word in texts.into_iter().flat_map(words) {
        if !word.starts_with('{') && !all.contains(&word) {
            all.push(word);
        }
    }
    all
}

/// The tokenizer of captions: [`vocabulary`], and other words for some of them.
///
/// # Panics
///
/// Never: the lists are fixed, and tested.
pub fn tokenizer() -> Words {
    Words::new(vocabulary(), ALIASES).expect("the lists of words fit each other")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_ascii_whitespace()
}

/// `an` for `a` before a vowel.
fn with_articles(text: &str) -> String {
    let follows = words(text).skip(1).map(Some).chain([None]);
    let vowel =
        |word: Option<&str>| word.is_some_and(|word| word.starts_with(['a', 'e', 'i', 'o']));
    let fixed = words(text).zip(follows).map(|(word, next)| match word {
        "a" if vowel(next) => "an",
        word => word,
    });
    fixed.collect::<Vec<_>>().join(" ")
}

/// One of `items`, as likely as their weights say.
fn weighted<T: Copy>(items: &[(usize, T)], rng: &mut Rng) -> T {
    let mut at = rng.below(items.iter().map(|(weight, _)| weight).sum());
    for &(weight, item) in items {
        if at < weight {
            return item;
        }
        at -= weight;
    }
    unreachable!("below the sum of the weights")
}
