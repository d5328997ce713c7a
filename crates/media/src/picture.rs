//! Pictures: PNG, JPEG, WebP and GIF to red, green and blue, upright.

use crate::{Error, check_bytes, gif, guarded};
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits as Memory};
use std::io::Cursor;

/// What a picture may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub bytes: usize,
    /// Pixels.
    pub pixels: u64,
    /// Pixels of a side.
    pub side: u32,
}

impl Default for Limits {
    /// 20 MiB, 64 million pixels, 32768 a side.
    fn default() -> Self {
        Self { bytes: 20 << 20, pixels: 64_000_000, side: 1 << 15 }
    }
}

/// A decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Height in pixels, as it is to be looked at.
    pub height: usize,
    /// Width in pixels, as it is to be looked at.
    pub width: usize,
    /// Red, green and blue of each pixel, row by row, `[height, width, 3]`; what is transparent has the
    /// color that the file has under it.
    pub rgb: Vec<u8>,
    /// `PNG`, `JPEG`, `WebP` or `GIF`, by its contents.
    pub kind: &'static str,
    /// Whether there are more pictures in the file, of which this is the first.
    pub animated: bool,
}

/// Bytes that a decoder may take for each pixel: what it keeps of it, and the result.
const BYTES_PER_PIXEL: u64 = 16;
/// And for anything else.
const BYTES_BESIDE: u64 = 32 << 20;

/// Decodes a picture; its kind is told by its contents, whatever it is called. It is turned as its EXIF
/// data says; of an animation the first picture is taken.
///
/// # Errors
///
/// If it is of another kind, damaged, or larger than `limits` allow, which is found out before anything
/// is decoded.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, Error> {
    check_bytes(bytes.len(), limits.bytes)?;
    let format = image::guess_format(bytes).map_err(|_| Error::NoPicture)?;
    let kind = match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        _ => return Err(Error::NoPicture),
    };
    guarded(kind, || {
        let damaged = |_: ImageError| Error::Damaged { kind };
        let mut memory = Memory::default();
        // Sides are checked below, where they can be told.
        memory.max_alloc = Some(limits.pixels * BYTES_PER_PIXEL + BYTES_BESIDE);
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(memory);
        let mut decoder = reader.into_decoder().map_err(damaged)?;
        let (width, height) = decoder.dimensions();
        let Limits { pixels, side, .. } = *limits;
        if width.max(height) > side || u64::from(width) * u64::from(height) > pixels {
            return Err(Error::TooManyPixels { width, height, pixels, side });
        }
        if width == 0 || height == 0 {
            return Err(Error::NoPixels { width, height });
        }
        let orientation = decoder.orientation().map_err(damaged)?;
        let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
        picture.apply_orientation(orientation);
        let picture = picture.into_rgb8();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let animated = is_animated(format, bytes);
        Ok(Picture { height, width, rgb: picture.into_raw(), kind, animated })
    })
}

/// `rgb`, `[height, width, 3]`, as a PNG.
///
/// # Errors
///
/// If there are no pixels.
///
/// # Panics
///
/// If `rgb` has another length.
pub fn to_png(rgb: &[u8], width: usize, height: usize) -> Result<Vec<u8>, Error> {
    to_png_with(rgb, width, height, &[])
}

/// [`to_png`] with texts by name.
pub(crate) fn to_png_with(
    rgb: &[u8],
    width: usize,
    height: usize,
    texts: &[(&str, &str)],
) -> Result<Vec<u8>, Error> {
    assert_eq!(rgb.len(), width * height * 3, "rgb must be [height, width, 3]");
    let impossible =
        |error: png::EncodingError| Error::Encoder { kind: "PNG", cause: error.to_string() };
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    for (name, text) in texts {
        encoder.add_itxt_chunk((*name).to_owned(), (*text).to_owned()).map_err(impossible)?;
    }
    let mut writer = encoder.write_header().map_err(impossible)?;
    writer.write_image_data(rgb).map_err(impossible)?;
    writer.finish().map_err(impossible)?;
    Ok(out)
}

fn is_animated(format: ImageFormat, bytes: &[u8]) -> bool {
    let bytes_read = Cursor::new(bytes);
    match format {
        ImageFormat::Png => {
            PngDecoder::new(bytes_read).is_ok_and(|png| png.is_apng().unwrap_or(false))
        }
        ImageFormat::WebP => WebPDecoder::new(bytes_read).is_ok_and(|webp| webp.has_animation()),
        ImageFormat::Gif => gif::has_several_pictures(bytes),
        _ => false,
    }
}
