//! Pixels as models have them, and as files do.

use crate::denoiser::Denoiser;
use media::Clip;
use models::vision::pixels::Rgb;
use tensor::Tensor;

/// The latents of a clip, `[1, channels, frames, height, width]`.
pub fn encode(model: &dyn Denoiser, clip: &Clip) -> Tensor {
    let shape = [1, 3, clip.frames, clip.height, clip.width];
    model.encode(&Tensor::new(model.device(), &shape, clip.channels_first().collect()))
}

/// The clip of latents of `[channels, frames, height, width]`.
pub fn decode(model: &dyn Denoiser, latents: &[f32], shape: [usize; 4]) -> Clip {
    let latents = Tensor::new(model.device(), &[&[1][..], &shape].concat(), latents.to_vec());
    let pixels = model.decode(&latents);
    let [_, _, frames, height, width] = *pixels.shape() else { panic!("pixels {pixels:?}") };
    let rate = model.shape().rate;
    Clip::from_channels_first(&pixels.to_vec(), [frames, height, width], rate)
}

/// A picture as a clip of so many frames that stands still.
pub(crate) fn still(picture: &Rgb, frames: usize, rate: f64) -> Clip {
    let (height, width, rgb) = (picture.height, picture.width, picture.data.repeat(frames));
    Clip { frames, height, width, rate, rgb }
}

/// The middle of a picture as large as it can be in the proportions of `height` and `width`, resized to
/// these.
///
/// # Panics
///
/// If a side is 0.
pub fn fit(picture: &Rgb, [height, width]: [usize; 2]) -> Rgb {
    // As high and as wide as the proportions allow, at least a pixel.
    let most_high = (picture.width * height / width).clamp(1, picture.height);
    let most_wide = (picture.height * width / height).clamp(1, picture.width);
    let corner = [(picture.height - most_high) / 2, (picture.width - most_wide) / 2];
    let middle = picture.crop(corner, [most_high, most_wide]);
    match [middle.height, middle.width] == [height, width] {
        true => middle,
        false => middle.resize(height, width),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_fits_is_left_alone() {
        let picture = Rgb { height: 2, width: 2, data: (0..12).collect() };
        assert_eq!(fit(&picture, [2, 2]), picture);
    }

    #[test]
    fn the_middle_is_kept() {
        let row = |pixels: &[u8]| pixels.iter().flat_map(|p| [*p; 3]).collect::<Vec<_>>();
        let wide = Rgb { height: 2, width: 4, data: row(&[0, 50, 50, 9, 0, 50, 50, 9]) };
        assert_eq!(fit(&wide, [2, 2]), Rgb { height: 2, width: 2, data: row(&[50; 4]) });
        let high = Rgb { height: 4, width: 1, data: row(&[1, 2, 3, 4]) };
        assert_eq!(fit(&high, [1, 1]).data.len(), 3);
        let dot = Rgb { height: 1, width: 1, data: row(&[77]) };
        assert_eq!(fit(&dot, [3, 5]), Rgb { height: 3, width: 5, data: row(&[77; 15]) });
        assert_eq!(fit(&wide, [64, 1]).data.len(), 192);
    }
}
