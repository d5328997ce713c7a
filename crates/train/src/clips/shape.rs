//! Outlines as signed distances: negative inside, in the unit of the coordinates.
//!
//! A shape of radius 1 stands around the origin, x to the right and y down. Radii are chosen so that
//! all shapes of one radius look about equally large.

use super::attributes::Shape;

/// Outer and inner radius of the ring.
const RING: [f32; 2] = [1.08, 0.58];

const SQUARE: [[f32; 2]; 4] = [[-0.88, -0.88], [0.88, -0.88], [0.88, 0.88], [-0.88, 0.88]];

/// Equilateral, its centroid in the origin, a corner on top.
const TRIANGLE: [[f32; 2]; 3] = [[0.0, -1.3], [1.1258, 0.65], [-1.1258, 0.65]];

/// Five points at 1.32, the corners between them at 0.43 of that.
const STAR: [[f32; 2]; 10] = [
    [0.0, -1.32],
    [0.3336, -0.4592],
    [1.2554, -0.4079],
    [0.5398, 0.1754],
    [0.7759, 1.0679],
    [0.0, 0.5676],
    [-0.7759, 1.0679],
    [-0.5398, 0.1754],
    [-1.2554, -0.4079],
    [-0.3336, -0.4592],
];

/// Arms of length 1.14 and width 0.76.
const CROSS: [[f32; 2]; 12] = [
    [-0.38, -1.14],
    [0.38, -1.14],
    [0.38, -0.38],
    [1.14, -0.38],
    [1.14, 0.38],
    [0.38, 0.38],
    [0.38, 1.14],
    [-0.38, 1.14],
    [-0.38, 0.38],
    [-1.14, 0.38],
    [-1.14, -0.38],
    [-0.38, -0.38],
];

impl Shape {
    /// Distance of `(x, y)` from the outline of the shape of radius 1; negative inside.
    pub fn distance(self, x: f32, y: f32) -> f32 {
        match self {
            Self::Circle => x.hypot(y) - 1.0,
            Self::Ring => {
                let [outer, inner] = RING;
                ((outer + inner) / 2.0 - x.hypot(y)).abs() - (outer - inner) / 2.0
            }
            Self::Square => polygon(&SQUARE, x, y),
            Self::Triangle => polygon(&TRIANGLE, x, y),
            Self::Star => polygon(&STAR, x, y),
            Self::Cross => polygon(&CROSS, x, y),
        }
    }

    /// Radius of the circle around the shape of radius 1, so that it fits however it is turned.
    pub const fn reach(self) -> f32 {
        match self {
            Self::Circle => 1.0,
            Self::Square => 1.245,
            Self::Triangle => 1.3,
            Self::Star => 1.32,
            Self::Ring => RING[0],
            Self::Cross => 1.202,
        }
    }
}

/// Distance from a closed polygon: that of the nearest edge, with the sign by the number of edges
/// that a ray to the right crosses.
pub(crate) fn polygon(corners: &[[f32; 2]], x: f32, y: f32) -> f32 {
    let mut nearest = f32::INFINITY;
    let mut inside = false;
    let mut from = corners[corners.len() - 1];
    for &to in corners {
        let (edge_x, edge_y) = (to[0] - from[0], to[1] - from[1]);
        let (to_x, to_y) = (x - from[0], y - from[1]);
        let along = (to_x * edge_x + to_y * edge_y) / (edge_x * edge_x + edge_y * edge_y);
        let along = along.clamp(0.0, 1.0);
        let (off_x, off_y) = (to_x - along * edge_x, to_y - along * edge_y);
        nearest = nearest.min(off_x * off_x + off_y * off_y);
        if (from[1] > y) != (to[1] > y) && to_x < edge_x * to_y / edge_y {
            inside = !inside;
        }
        from = to;
    }
    if inside { -nearest.sqrt() } else { nearest.sqrt() }
}
