//! How MiniMax-VL-01 cuts a picture: into a thumbnail and the tiles of the grid that shows most of it,
//! and which of the tiles' features become tokens.
//!
//! ```text
//! tokens = thumbnail's features, then for each row of the map: its features, then a newline
//! map    = tiles' features side by side, without the rows or columns that show only padding
//! ```
//!
//! As LLaVA-NeXT does it, but for one thing: the picture's other side is rounded down when it is
//! fitted into the grid. Without grids a picture is one tile, as in LLaVA: fitted into it, with bands
//! on both sides. Everything here is arithmetic of sizes; pixels are in [`super::pixels`].

use std::ops::Range;
use std::sync::Arc;
use tensor::Tensor;

/// Sizes that do not depend on the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Height and width of a tile in pixels.
    pub tile_size: usize,
    /// Features along each side of a tile.
    pub tile_features: usize,
    /// Heights and widths in pixels that tiles can make, whole tiles each; earlier ones win ties. Where
    /// there are none, a picture is one tile.
    pub grid_pinpoints: Vec<[usize; 2]>,
}

/// The grids of the released model in tiles: `[rows, most columns]`.
const PUBLISHED: [[usize; 2]; 6] = [[1, 6], [2, 6], [3, 6], [4, 4], [5, 3], [6, 3]];

impl Tiling {
    /// The released model's: 28 grids of tiles of 336 pixels with 24 features a side.
    pub fn published() -> Self {
        Self { tile_size: 336, tile_features: 24, grid_pinpoints: Self::of_tiles(336) }
    }

    /// The published grids for tiles of `size` pixels.
    pub fn of_tiles(size: usize) -> Vec<[usize; 2]> {
        let of_rows =
            |[rows, most]: [usize; 2]| (1..=most).map(move |columns| [size * rows, size * columns]);
        PUBLISHED.into_iter().flat_map(of_rows).collect()
    }

    /// How a picture of `height` and `width` pixels is cut.
    ///
    /// # Panics
    ///
    /// If a side is 0.
    pub fn plan(&self, height: usize, width: usize) -> Plan {
        assert!(height > 0 && width > 0, "a picture of {width} x {height} pixels");
        let is_one = self.grid_pinpoints.is_empty();
        let canvas = if is_one { [self.tile_size; 2] } else { self.best_grid(height, width) };
        let resized = fitted([height, width], canvas);
        let offset = [0, 1].map(|i| (canvas[i] - resized[i]) / 2);
        let grid = if is_one { [0; 2] } else { canvas.map(|side| side / self.tile_size) };
        let map = grid.map(|tiles| tiles * self.tile_features);
        let [rows, columns] = shown([height, width], map);
        let tile_features = self.tile_features;
        Plan { grid, canvas, resized, offset, rows, columns, tile_features }
    }

    /// The height and width of the grid that shows most pixels of a picture, of those the one with the
    /// fewest to spare.
    fn best_grid(&self, height: usize, width: usize) -> [usize; 2] {
        let rank = |&[h, w]: &[usize; 2]| {
            let scale = (w as f64 / width as f64).min(h as f64 / height as f64);
            let side = |side: usize| (side as f64 * scale) as usize;
            let shown = (side(width) * side(height)).min(width * height);
            (shown, std::cmp::Reverse(h * w - shown))
        };
        let mut best = self.grid_pinpoints[0];
        for grid in &self.grid_pinpoints {
            if rank(grid) > rank(&best) {
                best = *grid;
            }
        }
        best
    }
}

/// The height and width of a picture that fills `canvas` in one direction; at least 1.
fn fitted([height, width]: [usize; 2], canvas: [usize; 2]) -> [usize; 2] {
    let scales = [canvas[0] as f64 / height as f64, canvas[1] as f64 / width as f64];
    let side =
        |side: usize, scale: f64, most: usize| ((side as f64 * scale) as usize).clamp(1, most);
    match scales[1] < scales[0] {
        true => [side(height, scales[1], canvas[0]), canvas[1]],
        false => [canvas[0], side(width, scales[0], canvas[1])],
    }
}

/// Rows and columns of a `map` of features that show a picture and not only padding.
fn shown([height, width]: [usize; 2], map: [usize; 2]) -> [Range<usize>; 2] {
    let [rows, columns] = map;
    let middle = |all: usize, used: usize| {
        let padding = (all - used.min(all)) / 2;
        padding..all - padding
    };
    // width / height > columns / rows
    match width * rows > columns * height {
        true => [middle(rows, height * columns / width), 0..columns],
        false => [0..rows, middle(columns, width * rows / height)],
    }
}

/// How one picture is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Rows and columns of tiles behind the thumbnail; none if the picture is one tile, which takes the
    /// thumbnail's place.
    pub grid: [usize; 2],
    /// Height and width in pixels that the tiles make.
    pub canvas: [usize; 2],
    /// Height and width to which the picture is brought.
    pub resized: [usize; 2],
    /// Where it stands on the canvas: rows above and columns to the left; the rest is black.
    pub offset: [usize; 2],
    /// Rows of the features' map that become tokens.
    pub rows: Range<usize>,
    /// Columns of the features' map that become tokens.
    pub columns: Range<usize>,
    tile_features: usize,
}

impl Plan {
    /// Tiles, the thumbnail included.
    pub fn num_tiles(&self) -> usize {
        1 + self.grid[0] * self.grid[1]
    }

    /// Tokens that the picture takes.
    pub fn num_tokens(&self) -> usize {
        self.tile_features * self.tile_features + self.rows.len() * (self.columns.len() + 1)
    }

    /// The tokens' rows from `features`, `[tiles * tile_features^2, dim]`, the thumbnail's first, and
    /// `newline`, `[dim]`, which a picture of one tile does not have: `[num_tokens, dim]`.
    ///
    /// # Panics
    ///
    /// If shapes do not fit, or there is no newline where one is needed.
    #[track_caller]
    pub fn pack(&self, features: &Tensor, newline: Option<&Tensor>) -> Tensor {
        let (n, dim) = (features.rows(), features.last_dim());
        let of_tile = self.tile_features * self.tile_features;
        assert_eq!(n, self.num_tiles() * of_tile, "features of {} tiles", self.num_tiles());
        if self.rows.is_empty() {
            return features.take_rows(&(0..of_tile).collect());
        }
        let newline = newline.expect("a model with newlines");
        let with_newline = features.put_rows(&(0..n).collect(), n + 1).add_scaled(
            1.0,
            &newline.reshape(&[1, dim]).put_rows(&[n].into(), n + 1),
            1.0,
        );
        let side = self.tile_features;
        let mut picked: Vec<usize> = (0..of_tile).collect();
        for row in self.rows.clone() {
            picked.extend(self.columns.clone().map(|column| {
                let tile = 1 + row / side * self.grid[1] + column / side;
                tile * of_tile + row % side * side + column % side
            }));
            picked.push(n);
        }
        let picked: Arc<[usize]> = picked.into();
        with_newline.take_rows(&picked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::Device;

    #[test]
    fn the_published_grids() {
        let grids = Tiling::published().grid_pinpoints;
        assert_eq!(grids.len(), 28);
        assert!(grids.iter().all(|&[h, w]| grids.contains(&[w, h])), "closed under transposition");
    }

    #[test]
    fn token_counts() {
        let tiling = Tiling::published();
        for (width, height, tokens) in [
            (336, 336, 1176),
            (672, 672, 2928),
            (1024, 768, 7560),
            (1920, 1080, 9864),
            (2016, 1008, 11016),
            (100, 100, 1176),
        ] {
            assert_eq!(tiling.plan(height, width).num_tokens(), tokens, "{width} x {height}");
        }
    }

    #[test]
    fn a_wide_picture_has_bands_above_and_below() {
        let plan = Tiling::published().plan(100, 999);
        assert_eq!((plan.grid, plan.canvas), ([1, 3], [336, 1008]));
        assert_eq!((plan.resized, plan.offset), ([100, 1008], [118, 0]));
        // 24 * 3 columns for 999 pixels: 7 rows, and one of padding since 17 is odd.
        assert_eq!((plan.rows, plan.columns), (8..16, 0..72));
    }

    /// Whatever the size: the picture is on the canvas. Of a line too thin for a row of features only the
    /// thumbnail becomes tokens, as in the reference.
    #[test]
    fn all_sizes_have_a_plan() {
        let tiling = Tiling::published();
        let sides = [1, 2, 13, 335, 336, 337, 1000, 2017, 65_535, 1 << 26];
        for (height, width) in sides.iter().flat_map(|h| sides.map(move |w| (*h, w))) {
            let plan = tiling.plan(height, width);
            for i in 0..2 {
                assert!(plan.resized[i] >= 1 && plan.offset[i] + plan.resized[i] <= plan.canvas[i]);
            }
            assert!(plan.rows.end <= 24 * plan.grid[0], "{plan:?}");
            assert!(plan.columns.end <= 24 * plan.grid[1], "{plan:?}");
            let thin = height.max(width) / height.min(width) >= 24;
            assert!(thin || !plan.rows.is_empty() && !plan.columns.is_empty(), "{plan:?}");
            assert!((576..=576 + 144 * 73).contains(&plan.num_tokens()), "{plan:?}");
        }
    }

    #[test]
    fn a_picture_of_one_tile() {
        let tiling = Tiling { tile_size: 8, tile_features: 2, grid_pinpoints: Vec::new() };
        let plan = tiling.plan(10, 40);
        assert_eq!((plan.num_tiles(), plan.num_tokens()), (1, 4));
        assert_eq!((plan.canvas, plan.resized, plan.offset), ([8, 8], [2, 8], [3, 0]));
        let features = Tensor::new(&Device::cpu(1), &[4, 1], vec![0.0, 1.0, 2.0, 3.0]);
        assert_eq!(plan.pack(&features, None).data(), features.data());
    }

    /// Features that say where they are, for a grid of two tiles of 2 x 2 features.
    #[test]
    fn packed_rows_are_in_reading_order() {
        let device = Device::cpu(1);
        let tiling =
            Tiling { tile_size: 4, tile_features: 2, grid_pinpoints: vec![[4, 4], [4, 8]] };
        let plan = tiling.plan(4, 8);
        assert_eq!((plan.grid, plan.num_tokens()), ([1, 2], 4 + 2 * 5));
        let features = Tensor::new(&device, &[12, 1], (0..12).map(|i| i as f32).collect());
        let packed = plan.pack(&features, Some(&Tensor::full(&device, &[1], -1.0)));
        let rows = [0., 1., 2., 3., 4., 5., 8., 9., -1., 6., 7., 10., 11., -1.];
        assert_eq!((packed.shape(), packed.data()), (&[14, 1][..], &rows[..]));
    }
}
