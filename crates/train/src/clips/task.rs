//! What a model is given to make a clip from.

use super::held_out::Split;
use super::scene::Scene;
use tensor::Rng;

/// What a model is given beside the caption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// Nothing.
    Text,
    /// The first frame.
    First,
    /// The last frame.
    Last,
    /// The first frame and the last.
    FirstAndLast,
    /// A reference picture of the subject.
    Subject,
    /// A reference picture of the subject, and the first frame.
    SubjectAndFirst,
}

impl Task {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Text,
        Self::First,
        Self::Last,
        Self::FirstAndLast,
        Self::Subject,
        Self::SubjectAndFirst,
    ];

    /// One of them: of 100, 40 from text alone, 25 with frames, 35 with a subject.
    pub fn draw(rng: &mut Rng) -> Self {
        match rng.below(100) {
            0..40 => Self::Text,
            40..54 => Self::First,
            54..59 => Self::Last,
            59..65 => Self::FirstAndLast,
            65..90 => Self::Subject,
            _ => Self::SubjectAndFirst,
        }
    }

    /// Whether there is a reference picture.
    pub fn has_reference(self) -> bool {
        matches!(self, Self::Subject | Self::SubjectAndFirst)
    }

    /// Whether the first frame is given.
    pub fn has_first(self) -> bool {
        matches!(self, Self::First | Self::FirstAndLast | Self::SubjectAndFirst)
    }

    /// Whether the last frame is given.
    pub fn has_last(self) -> bool {
        matches!(self, Self::Last | Self::FirstAndLast)
    }

    /// A scene for the task: with a subject if there is a reference.
    pub fn scene(self, rng: &mut Rng, split: Split) -> Scene {
        if self.has_reference() { Scene::draw_subject(rng, split) } else { Scene::draw(rng, split) }
    }
}
