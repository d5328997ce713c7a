//! Long clips as blocks that the model can make, each going on from the end of the one before.
//!
//! ```text
//! frames of the clip   0 1 2 3 4 5 6 7 8 9 …
//! block 0              - - -
//! block 1                = = -               = is given, - is new
//! block 2                  = = -
//! ```
//!
//! What a block needs of the past are its given frames, so its work and memory are the same however
//! long the clip is.

/// A part of a clip, in latent frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The first, which may be given, counted from the beginning of the clip.
    pub first: usize,
    /// Those given by the block before, 0 for the first block.
    pub given: usize,
    /// Those that are new, 1 or more.
    pub new: usize,
}

impl Block {
    /// All of them.
    pub fn frames(&self) -> usize {
        self.given + self.new
    }
}

/// Blocks of at most `most` latent frames that make `total` together; `context` of each after the first
/// are given, or more in the last where that fills it. At least `last_new` are new in the last block, as
/// far as there are so many.
///
/// # Panics
///
/// If there are no frames, or blocks would not have `last_new` new frames beside what is given.
pub fn blocks(total: usize, most: usize, context: usize, last_new: usize) -> Vec<Block> {
    assert!(total > 0 && most > 0, "{total} latent frames in blocks of {most}");
    if total <= most {
        return vec![Block { first: 0, given: 0, new: total }];
    }
    assert!(context > 0 && context + last_new.max(1) <= most, "{context} of {most} given");
    let step = most - context;
    let mut new = vec![most];
    let mut left = total - most;
    while left > 0 {
        new.push(left.min(step));
        left -= left.min(step);
    }
    let last = new.len() - 1;
    let missing = last_new.saturating_sub(new[last]);
    // A block before the last has more new frames than that, or gives up what it has.
    let moved = missing.min(new[last - 1] - 1);
    new[last - 1] -= moved;
    new[last] += moved;
    let mut end = 0;
    let block = |new: usize| {
        // A shorter block has more given, as far as there are frames.
        let given = end.min(most - new);
        let block = Block { first: end - given, given, new };
        end += new;
        block
    };
    new.into_iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_clip_is_one_block() {
        assert_eq!(blocks(3, 3, 1, 1), [Block { first: 0, given: 0, new: 3 }]);
        assert_eq!(blocks(1, 3, 2, 1), [Block { first: 0, given: 0, new: 1 }]);
    }

    #[test]
    fn a_long_clip_goes_on_from_what_it_has() {
        let block = |first, given, new| Block { first, given, new };
        assert_eq!(blocks(6, 3, 1, 1), [block(0, 0, 3), block(2, 1, 2), block(3, 2, 1)]);
        assert_eq!(blocks(5, 3, 2, 1), [block(0, 0, 3), block(1, 2, 1), block(2, 2, 1)]);
        assert_eq!(blocks(4, 3, 1, 2), [block(0, 0, 2), block(1, 1, 2)]);
    }

    proptest! {
        #[test]
        fn blocks_cover_the_clip_once(
            total in 1usize..100, most in 2usize..9, context in 1usize..8, last_new in 1usize..4,
        ) {
            prop_assume!(context + last_new <= most);
            let blocks = blocks(total, most, context, last_new);
            let mut end = 0;
            for block in &blocks {
                prop_assert_eq!(block.first + block.given, end);
                prop_assert!(block.new > 0 && block.frames() <= most);
                prop_assert!(end == 0 || block.given >= 1);
                end += block.new;
            }
            prop_assert_eq!(end, total);
            let last = blocks[blocks.len() - 1];
            prop_assert!(blocks.len() == 1 || last.new >= last_new.min(2), "{:?}", blocks);
        }
    }
}
