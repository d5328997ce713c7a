//! Pictures of all kinds and forms (`fixtures/media`, made by `make.py` there), and hostile ones.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use media::Error;
use media::picture::{Limits, Picture, decode};
use std::path::Path;

fn read(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/media");
    std::fs::read(folder.join(name)).unwrap()
}

fn open(name: &str) -> Picture {
    decode(&read(name), &Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What all of them show, away from edges that JPEG blurs.
#[track_caller]
fn check(name: &str, kind: &str, animated: bool, tolerance: i32) {
    let picture = open(name);
    assert_eq!((picture.width, picture.height), (24, 16), "{name}");
    assert_eq!((picture.kind, picture.animated), (kind, animated), "{name}");
    assert_eq!(picture.rgb.len(), 24 * 16 * 3);
    for (x, y, want) in [
        (2, 2, [0, 255, 0]),
        (6, 6, [0, 255, 0]),
        (10, 2, [255, 0, 0]),
        (2, 14, [255, 0, 0]),
        (22, 2, [0, 0, 255]),
        (22, 14, [0, 0, 255]),
    ] {
        let at = (y * 24 + x) * 3;
        let got = &picture.rgb[at..at + 3];
        let far = got.iter().zip(want).any(|(g, w)| (i32::from(*g) - w).abs() > tolerance);
        assert!(!far, "{name}: pixel {x}, {y} is {got:?}, expected {want:?}");
    }
}

#[test]
fn pictures_of_all_kinds() {
    for name in ["rgb.png", "palette.png", "alpha.png"] {
        check(name, "PNG", false, 0);
    }
    check("animated.png", "PNG", true, 0);
    check("one.gif", "GIF", false, 0);
    check("animated.gif", "GIF", true, 0);
    check("rgb.webp", "WebP", false, 0);
    check("animated.webp", "WebP", true, 0);
    for name in ["rgb.jpg", "progressive.jpg", "cmyk.jpg"] {
        check(name, "JPEG", false, 8);
    }
}

#[test]
fn pictures_are_turned_as_they_say() {
    for orientation in 2..=8 {
        check(&format!("exif{orientation}.jpg"), "JPEG", false, 8);
    }
}

#[test]
fn gray_is_gray_in_all_depths() {
    let gray = open("gray.png");
    assert!(gray.rgb.iter().all(|&byte| byte == 255));
    let ramp = open("gray16.png").rgb;
    // The steps are of 170 in 65535.
    for (i, pixel) in ramp.chunks_exact(3).enumerate() {
        let want = (i * 170) as f64 / 65535.0 * 255.0;
        assert!(pixel.iter().all(|&p| (f64::from(p) - want).abs() <= 1.0), "{i}: {pixel:?}");
    }
}

#[test]
fn what_is_no_picture_is_refused() {
    let refused = |bytes: &[u8]| decode(bytes, &Limits::default()).unwrap_err();
    assert_eq!(refused(b""), Error::Empty);
    for bytes in [&b"x"[..], b"<svg></svg>", b"BM\0\0\0\0", b"II*\0\0\0\0\0", &read("u8.wav")] {
        assert_eq!(refused(bytes), Error::NoPicture);
    }
    let limits = Limits { bytes: 100, ..Limits::default() };
    let bytes = read("rgb.jpg");
    let error = decode(&bytes, &limits).unwrap_err();
    assert_eq!(error, Error::TooManyBytes { bytes: bytes.len(), limit: 100 });
    let limits = Limits { pixels: 383, ..Limits::default() };
    let error = decode(&read("rgb.png"), &limits).unwrap_err().to_string();
    assert_eq!(error, "the picture has 24 x 16 pixels, expected at most 383 and 32768 a side");
}

/// GIF can say that it is 24 pixels wide and 0 high.
#[test]
fn pictures_without_pixels_are_refused() {
    let header = b"GIF89a\x18\0\0\0\x80\0\0\xff\0\0\0\0\xff";
    let frame = b"\x2c\0\0\0\0\x18\0\0\0\0\x08\x01\0\0\x3b";
    let bytes = [&header[..], frame].concat();
    let message = decode(&bytes, &Limits::default()).unwrap_err().to_string();
    assert_eq!(message, "the picture has 24 x 0 pixels, expected at least one");
}

/// A header of a hundred bytes that claims a picture of terabytes.
#[test]
fn bombs_are_refused_by_their_header() {
    let mut png = read("rgb.png");
    for (width, height) in
        [(100_000u32, 1u32), (1, 100_000), (60_000, 60_000), (u32::MAX, u32::MAX)]
    {
        png[16..20].copy_from_slice(&width.to_be_bytes());
        png[20..24].copy_from_slice(&height.to_be_bytes());
        let crc = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        match decode(&png, &Limits::default()).unwrap_err() {
            Error::TooManyPixels { width: w, height: h, .. } => assert_eq!((w, h), (width, height)),
            // Sizes that the format does not have.
            error => assert_eq!(error, Error::Damaged { kind: "PNG" }),
        }
    }
    let mut gif = read("one.gif");
    gif[6..10].copy_from_slice(&[255; 4]);
    let error = decode(&gif, &Limits::default()).unwrap_err();
    assert!(matches!(error, Error::TooManyPixels { width: 65_535, .. }), "{error}");
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// Cut anywhere, or with any byte changed: read or refused, in words of ours.
#[test]
fn damaged_pictures_are_read_or_refused() {
    for name in ["rgb.png", "palette.png", "animated.gif", "animated.webp", "rgb.jpg", "cmyk.jpg"] {
        let bytes = read(name);
        let limits = Limits { pixels: 1 << 16, side: 1 << 12, ..Limits::default() };
        for end in (0..bytes.len()).step_by(7) {
            _ = decode(&bytes[..end], &limits);
            let mut changed = bytes.clone();
            changed[end] ^= 0x55;
            if let Err(error) = decode(&changed, &limits) {
                assert!(error.to_string().len() < 120, "{error}");
            }
        }
    }
}
