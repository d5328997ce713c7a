//! Whether frames show the same thing: pictures as unit vectors, and how near these are.

use super::frames::Frame;
use super::region::{HUES, Region, SHAPE, find};
use std::fmt;

/// Makes a unit vector of a picture: near for pictures of one thing, whatever its place.
pub trait Embedder: fmt::Debug + Sync {
    /// The unit vector of `frame`; `region` is what stands out in it. All zeros where there is nothing to
    /// say.
    fn embed(&self, frame: &Frame, region: Option<&Region>) -> Vec<f64>;
}

/// Hues and outline of what stands out, or the hues of the whole picture if nothing does; without a
/// model.
///
/// 24 bins of hues and one of grey, roots of their shares, beside the moments of the outline: both are
/// unit vectors, so either can make half of a difference.
#[derive(Clone, Copy, Debug, Default)]
pub struct HueAndShape;

impl Embedder for HueAndShape {
    fn embed(&self, frame: &Frame, region: Option<&Region>) -> Vec<f64> {
        let whole;
        let hues = match region {
            Some(region) => &region.hues,
            None => {
                whole = super::region::hues(frame);
                &whole
            }
        };
        // Neighbouring bins overlap, so that a hue between two is near to both.
        let blurred = |i: usize| {
            0.25 * hues[(i + HUES - 1) % HUES] + 0.5 * hues[i] + 0.25 * hues[(i + 1) % HUES]
        };
        let mut vector: Vec<f64> = (0..HUES).map(|i| blurred(i).max(0.0).sqrt()).collect();
        vector.push((1.0 - hues.iter().sum::<f64>()).max(0.0).sqrt());
        normalize(&mut vector);
        // A disc is all zeros; one more number makes it a vector.
        let mut shape = vec![0.3];
        shape.extend(region.map_or(vec![0.0; SHAPE], |r| r.shape.clone()));
        normalize(&mut shape);
        vector.extend(shape);
        normalize(&mut vector);
        vector
    }
}

/// Makes a vector of length 1, unless it is 0.
fn normalize(vector: &mut [f64]) {
    let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|v| *v /= length);
    }
}

/// The cosine of two unit vectors.
pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// How near each frame is to the one before and to the first (the form of VBench's subject
/// consistency), 0 to 1:
///
/// ```text
/// c[i] = (max(0, cos(e[i], e[i-1])) + max(0, cos(e[i], e[0]))) / 2
/// ```
///
/// The first frame has 1.
pub fn consistency(vectors: &[Vec<f64>]) -> Vec<f64> {
    let of = |i: usize| match i {
        0 => 1.0,
        i => {
            let to = |j: usize| cosine(&vectors[i], &vectors[j]).max(0.0);
            0.5 * (to(i - 1) + to(0))
        }
    };
    (0..vectors.len()).map(of).collect()
}

/// How near what stands out in each frame is to what stands out in a picture, -1 to 1.
pub fn resemblance(vectors: &[Vec<f64>], picture: &Frame, embedder: &dyn Embedder) -> Vec<f64> {
    let wanted = embedder.embed(picture, find(picture).as_ref());
    vectors.iter().map(|vector| cosine(vector, &wanted)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{BLUE, RED, Thing, clip};
    use super::*;

    fn of(x: f32, radius: f32, rgb: [f32; 3], square: bool) -> Vec<f64> {
        let clip = clip(&[Thing { x, y: 30.0, radius, rgb, square }]);
        let frame = Frame::of(&clip, 0);
        HueAndShape.embed(&frame, find(&frame).as_ref())
    }

    #[test]
    fn a_thing_is_near_to_itself_elsewhere_and_far_from_others() {
        let disc = of(20.0, 9.0, RED, false);
        let elsewhere = cosine(&disc, &of(41.5, 13.0, RED, false));
        assert!(elsewhere > 0.99, "{elsewhere}");
        let square = cosine(&disc, &of(20.0, 9.0, RED, true));
        assert!(square < elsewhere - 0.02, "{square}");
        let blue = cosine(&disc, &of(20.0, 9.0, BLUE, false));
        assert!((blue - 0.5).abs() < 0.05, "{blue}");
    }

    #[test]
    fn vectors_have_length_one_even_of_nothing() {
        let empty = Frame { height: 0, width: 0, rgb: vec![] };
        let grey = Frame { height: 9, width: 9, rgb: vec![0.5; 243] };
        for frame in [empty, grey] {
            let vector = HueAndShape.embed(&frame, None);
            assert!((cosine(&vector, &vector) - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn consistency_of_known_vectors() {
        let (a, b) = (vec![1.0, 0.0], vec![0.0, 1.0]);
        assert_eq!(
            consistency(&[a.clone(), b.clone(), b.clone(), a.clone()]),
            [1.0, 0.0, 0.5, 0.5]
        );
        assert_eq!(consistency(&[a.clone(), vec![-1.0, 0.0]]), [1.0, 0.0]);
        assert!(consistency(&[]).is_empty());
    }
}
