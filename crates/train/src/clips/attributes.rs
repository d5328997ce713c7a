//! What a clip shows, as far as it has a name: the closed lists that captions and detection share.

/// An enum of things with names.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* #[doc = concat!("`", $word, "`")] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, as reports spell it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

named! {
    /// Colours that have a name.
    Colour {
        Red = "red",
        Green = "green",
        Blue = "blue",
        Yellow = "yellow",
        Purple = "purple",
        Orange = "orange",
        White = "white",
        Cyan = "cyan",
    }
}

named! {
    /// Outlines.
    Shape {
        Circle = "circle",
        Square = "square",
        Triangle = "triangle",
        Star = "star",
        Ring = "ring",
        Cross = "cross",
    }
}

named! {
    /// Sizes in the first frame.
    Size {
        Small = "small",
        Medium = "medium",
        Large = "large",
    }
}

named! {
    /// What the object does.
    Motion {
        Left = "left",
        Right = "right",
        Up = "up",
        Down = "down",
        UpLeft = "up left",
        UpRight = "up right",
        DownLeft = "down left",
        DownRight = "down right",
        Stays = "stays",
        Grows = "grows",
        Shrinks = "shrinks",
        Spins = "spins",
        Bounces = "bounces",
    }
}

named! {
    /// Kinds of backgrounds; none has a hue worth mentioning.
    Backdrop {
        Dark = "dark",
        Light = "light",
        Gradient = "gradient",
        Checkered = "checkered",
    }
}

named! {
    /// How the two tones of a subject are laid out.
    Pattern {
        /// One side and the other:
        Halves = "halves",
        /// A band across the middle:
        Band = "band",
        /// Four sectors, opposite ones alike:
        Quarters = "quarters",
        /// A disc in the middle:
        Core = "core",
    }
}

impl Colour {
    /// The colour itself: red, green and blue from 0 to 1.
    pub const fn rgb(self) -> [f32; 3] {
        match self {
            Self::Red => [0.90, 0.10, 0.12],
            Self::Green => [0.12, 0.70, 0.20],
            Self::Blue => [0.14, 0.26, 0.93],
            Self::Yellow => [0.96, 0.88, 0.12],
            Self::Purple => [0.58, 0.15, 0.80],
            Self::Orange => [0.97, 0.50, 0.06],
            Self::White => [0.97, 0.97, 0.97],
            Self::Cyan => [0.10, 0.82, 0.88],
        }
    }
}

impl Shape {
    /// After a turn by one part in so many it looks the same; 0 if after any turn.
    pub const fn symmetry(self) -> u32 {
        match self {
            Self::Circle | Self::Ring => 0,
            Self::Square | Self::Cross => 4,
            Self::Triangle => 3,
            Self::Star => 5,
        }
    }

    /// Whether the motion can be seen of a thing of this shape and one colour.
    pub fn shows(self, motion: Motion) -> bool {
        motion != Motion::Spins || self.symmetry() != 0
    }
}

impl Motion {
    /// Where it goes as right and down, a unit vector; nothing for what does not travel.
    pub fn direction(self) -> Option<[f32; 2]> {
        use std::f32::consts::FRAC_1_SQRT_2 as D;
        Some(match self {
            Self::Left => [-1.0, 0.0],
            Self::Right => [1.0, 0.0],
            Self::Up => [0.0, -1.0],
            Self::Down => [0.0, 1.0],
            Self::UpLeft => [-D, -D],
            Self::UpRight => [D, -D],
            Self::DownLeft => [-D, D],
            Self::DownRight => [D, D],
            Self::Stays | Self::Grows | Self::Shrinks | Self::Spins | Self::Bounces => return None,
        })
    }
}
