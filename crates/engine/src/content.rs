//! Pictures and sounds in a prompt: which of its tokens stand for rows, and what of it may be reused.

use crate::model::PieceRows;
use crate::request::Request;
use models::{ContentRows, is_content};
use std::ops::Range;

/// Where pictures and sounds are in a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// Each one's tokens, in ascending order; neighbours that came without rows are one.
    runs: Vec<Run>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    tokens: Range<usize>,
    /// Whether it can be read.
    has_rows: bool,
}

impl Content {
    /// Of a request that was checked.
    pub(crate) fn of<M>(request: &Request<M>) -> Self {
        let ids = &request.input_ids;
        let mut runs = Vec::new();
        let mut at = 0;
        let given = request.inserted.iter().map(ContentRows::span);
        for span in given.chain([ids.len()..ids.len()]) {
            // What lies before it came without rows.
            while let Some(start) = (at..span.start).find(|&i| is_content(ids[i])) {
                let end = (start..span.start).find(|&i| !is_content(ids[i])).unwrap_or(span.start);
                runs.push(Run { tokens: start..end, has_rows: false });
                at = end;
            }
            at = span.end;
            if !span.is_empty() {
                runs.push(Run { tokens: span, has_rows: true });
            }
        }
        Self { runs }
    }

    /// How much of the first `tokens` may be reused: a picture or a sound only as a whole. What agrees in
    /// some rows only is another one, and ids of few rows do not tell for sure.
    pub(crate) fn whole(&self, tokens: usize) -> usize {
        let cut = |run: &&Run| run.tokens.start < tokens && tokens < run.tokens.end;
        self.runs.iter().find(cut).map_or(tokens, |run| run.tokens.start)
    }

    /// The first picture or sound that cannot be read behind the first `tokens`.
    pub(crate) fn unreadable(&self, tokens: usize) -> Option<Range<usize>> {
        let lost = |run: &&Run| !run.has_rows && run.tokens.end > tokens;
        self.runs.iter().find(lost).map(|run| run.tokens.clone())
    }
}

/// What of `inserted` stands for the tokens of `piece`, positions in the prompt.
pub(crate) fn rows_of(inserted: &[ContentRows], piece: Range<usize>) -> Vec<PieceRows<'_>> {
    let mut found = Vec::new();
    for content in inserted {
        let span = content.span();
        let both = span.start.max(piece.start)..span.end.min(piece.end);
        if both.start < both.end {
            let tokens = both.start - piece.start..both.end - piece.start;
            found.push(PieceRows { tokens, rows: &content.rows, from: both.start - span.start });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::{Device, Tensor};

    const A: u32 = 1 << 31;

    fn request(ids: &[u32], inserted: &[(usize, usize)]) -> Request<()> {
        let device = Device::cpu(1);
        let rows = |&(first, rows): &(usize, usize)| {
            let data = (0..rows).map(|i| i as f32).collect();
            ContentRows { first, rows: Tensor::new(&device, &[rows, 1], data) }
        };
        Request { inserted: inserted.iter().map(rows).collect(), ..Request::new(ids, 0) }
    }

    #[test]
    fn contents_are_reused_as_a_whole() {
        let ids = [1, A, A, A, A, 2, A, 3, A, A];
        // Two neighbours with rows, one without, and one at the end.
        let content = Content::of(&request(&ids, &[(1, 1), (2, 3), (8, 2)]));
        let whole: Vec<usize> = (0..=10).map(|n| content.whole(n)).collect();
        assert_eq!(whole, [0, 1, 2, 2, 2, 5, 6, 7, 8, 8, 10]);
        assert_eq!(content.unreadable(6), Some(6..7));
        assert_eq!(content.unreadable(7), None);
        // Without rows nobody knows where one ends.
        let content = Content::of(&request(&ids, &[]));
        let whole: Vec<usize> = (0..=10).map(|n| content.whole(n)).collect();
        assert_eq!(whole, [0, 1, 1, 1, 1, 5, 6, 7, 8, 8, 10]);
        assert_eq!(
            [0, 5, 9, 10].map(|n| content.unreadable(n)),
            [Some(1..5), Some(6..7), Some(8..10), None]
        );
        assert_eq!(Content::of(&request(&[1, 2], &[])), Content::default());
    }

    #[test]
    fn pieces_have_their_rows() {
        let request = request(&[1, A, A, A, 2, A, A], &[(1, 3), (5, 2)]);
        let of = |piece| {
            let rows = rows_of(&request.inserted, piece);
            rows.into_iter().map(|r| (r.tokens, r.from, r.rows.rows())).collect::<Vec<_>>()
        };
        assert_eq!(of(0..7), [(1..4, 0, 3), (5..7, 0, 2)]);
        assert_eq!(of(2..6), [(0..2, 1, 3), (3..4, 0, 2)]);
        assert_eq!(of(4..5), []);
        assert_eq!(of(6..7), [(0..1, 1, 2)]);
    }
}
