//! Clips to files and back, what does not fit, and hostile files.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use media::clip::{Chroma, Format, Limits, Options, check, decode, encode, encode_to, read, write};
use media::{Clip, Error};
use proptest::prelude::*;
use std::path::Path;

const ABOUT: &str = r#"{"prompt":"a red circle — 100 % \"round\"","seed":7,"steps":20}"#;

/// Colors by `seed`, of which there are at most `colors` in a frame.
fn clip(frames: usize, height: usize, width: usize, rate: f64, colors: usize, seed: u64) -> Clip {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let palette: Vec<[u8; 3]> =
        (0..colors).map(|_| [next(), next(), next()].map(|v| v as u8)).collect();
    let rgb = (0..frames * height * width).flat_map(|_| palette[next() % colors]).collect();
    Clip { frames, height, width, rate, rgb }
}

fn about() -> Options<'static> {
    Options { about: ABOUT, scale: None }
}

#[track_caller]
fn check_near(a: &Clip, b: &Clip, tolerance: u8) {
    assert_eq!((a.frames, a.height, a.width), (b.frames, b.height, b.width));
    assert!((a.rate / b.rate - 1.0).abs() < 1e-9, "{} and {}", a.rate, b.rate);
    let worst = a.rgb.iter().zip(&b.rgb).map(|(&a, &b)| a.abs_diff(b)).max().unwrap();
    assert!(worst <= tolerance, "off by {worst}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The errors are those that the table in `media::clip` states.
    #[test]
    fn clips_come_back(
        (frames, height, width) in (1..6_usize, 1..40_usize, 1..40_usize),
        rate in prop::sample::select(vec![1.0, 6.0, 12.5, 25.0, 30_000.0 / 1001.0]),
        seed: u64,
    ) {
        let clip = clip(frames, height, width, rate, 256, seed);
        let limits = Limits::default();
        for format in [Format::Mp4, Format::Y4m(Chroma::Full)] {
            let (bytes, written) = encode(&clip, format, &about()).unwrap();
            let read = decode(&bytes, &limits).unwrap();
            check_near(&read.clip, &clip, 3);
            prop_assert_eq!(read.scale, written.scale);
            prop_assert_eq!(read.about.as_deref(), written.with_about.then_some(ABOUT));
            prop_assert!(written.with_about || frames == 1);
        }
        let (bytes, _) = encode(&clip, Format::Gif, &about()).unwrap();
        let read = decode(&bytes, &limits).unwrap();
        prop_assert_eq!(read.about.as_deref(), Some(ABOUT));
        // To half of 1/100 s over all frames.
        let seconds = |clip: &Clip| clip.frames as f64 / clip.rate;
        prop_assert!((seconds(&read.clip) - seconds(&clip)).abs() < 0.00501);
        prop_assert_eq!(&read.clip.rgb, &clip.rgb);
    }
}

#[test]
fn folders_come_back_exactly() {
    let home = tempfile::tempdir().unwrap();
    let path = format!("{}/out/", home.path().display());
    let clip = clip(11, 5, 9, 30_000.0 / 1001.0, 10_000, 1);
    write(Path::new(&path), &clip, &about()).unwrap();
    let recording = read(Path::new(&path), &Limits::default()).unwrap();
    assert_eq!((&recording.clip, recording.about.as_deref()), (&clip, Some(ABOUT)));
    let mut names: Vec<_> =
        std::fs::read_dir(&path).unwrap().map(|f| f.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        (names.len(), names[0].to_str(), names[10].to_str()),
        (11, Some("frame-000.png"), Some("frame-010.png"))
    );
    // Of other programs: without a rate, and numbers without zeros in front.
    let of_others = home.path().join("others");
    std::fs::create_dir(&of_others).unwrap();
    for (from, to) in [("frame-001.png", "x9.png"), ("frame-002.png", "x10.png")] {
        std::fs::copy(Path::new(&path).join(from), of_others.join(to)).unwrap();
    }
    let recording = read(&of_others, &Limits::default()).unwrap().clip;
    assert_eq!(recording.rgb, [clip.frame(1), clip.frame(2)].concat());
    std::fs::write(of_others.join("x11.png"), "no picture").unwrap();
    let error = read(&of_others, &Limits::default()).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "x11.png`: the file is no picture that can be read, expected PNG, JPEG, WebP or GIF"
        ),
        "{error}"
    );
    let two_sizes = Clip { frames: 1, height: 1, width: 1, rate: 6.0, rgb: vec![0; 3] };
    let one = home.path().join("one/");
    write(Path::new(&format!("{}/", one.display())), &two_sizes, &Options::default()).unwrap();
    std::fs::copy(one.join("frame-000.png"), of_others.join("x11.png")).unwrap();
    let error = read(&of_others, &Limits::default()).unwrap_err().to_string();
    assert!(
        error.ends_with("the frame has 1 x 1 pixels, expected 9 x 5 as the first one"),
        "{error}"
    );
    std::fs::create_dir(home.path().join("empty")).unwrap();
    let error = read(&home.path().join("empty"), &Limits::default()).unwrap_err();
    assert!(matches!(error, Error::NoPngs { .. }), "{error}");
}

#[test]
fn files_are_written_whole_or_not_at_all() {
    let home = tempfile::tempdir().unwrap();
    let small = clip(2, 8, 8, 6.0, 9, 1);
    for name in ["a.mp4", "a.gif", "a.y4m"] {
        let path = home.path().join(name);
        write(&path, &small, &about()).unwrap();
        assert_eq!(read(&path, &Limits::default()).unwrap().clip.frames, 2, "{name}");
    }
    // A folder that has the name of the file.
    let taken = home.path().join("taken.gif");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("x"), "").unwrap();
    let error = write(&taken, &small, &about()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot write `{}`: ", taken.display())), "{error}");
    assert!(write(Path::new("/no/such/folder/a.mp4"), &small, &about()).is_err());
    assert!(write(Path::new("/no/such/folder/a/"), &small, &about()).is_err());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 4, "nothing half is left");
}

/// More colors than a GIF has: the nearest ones are taken.
#[test]
fn gifs_of_many_colors_look_alike() {
    let rgb = (0..64 * 64).flat_map(|i| [(i % 64 * 4) as u8, (i / 64 * 4) as u8, 128]).collect();
    let clip = Clip { frames: 1, height: 64, width: 64, rate: 6.0, rgb };
    let (bytes, _) = encode(&clip, Format::Gif, &Options::default()).unwrap();
    let back = decode(&bytes, &Limits::default()).unwrap().clip.rgb;
    let square = |(&a, &b): (&u8, &u8)| f64::from(a.abs_diff(b)).powi(2);
    let error = clip.rgb.iter().zip(&back).map(square).sum::<f64>() / back.len() as f64;
    assert!(error > 0.0 && error < 50.0, "mean square {error}");
}

/// A frame that covers a part, one that takes it away again, and one on what was before.
#[test]
fn frames_of_a_gif_lie_on_each_other() {
    let colors = b"\xff\0\0\0\xff\0\0\0\xff\0\0\0";
    let header = [b"GIF89a\x02\0\x01\0\xf1\0\0", &colors[..]].concat();
    // Disposal (1 keep, 2 clear, 3 as before), 10/100 s; place and width; one pixel or two.
    let one = |disposal: u8, x: u8, code: [u8; 2]| {
        let control = [0x21, 0xf9, 4, disposal << 2, 10, 0, 0, 0];
        [&control[..], &[0x2c, x, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2], &code, &[0]].concat()
    };
    // Codes of three bits: clear (4), the color, end (5).
    let pixel = |color: u8| {
        let bits = 4 | u16::from(color) << 3 | 5 << 6;
        bits.to_le_bytes()
    };
    let (red, green, blue) = (pixel(0), pixel(1), pixel(2));
    let bytes =
        [header, one(1, 0, red), one(2, 1, green), one(3, 1, blue), one(1, 0, green), vec![0x3b]];
    let clip = decode(&bytes.concat(), &Limits::default()).unwrap().clip;
    assert_eq!((clip.frames, clip.rate), (4, 10.0));
    let want: [[[u8; 3]; 2]; 4] = [
        [[255, 0, 0], [0, 0, 0]],
        [[255, 0, 0], [0, 255, 0]],
        [[255, 0, 0], [0, 0, 255]],
        [[0, 255, 0], [0, 0, 0]],
    ];
    assert_eq!(clip.rgb, want.as_flattened().as_flattened());
}

#[test]
fn colors_shared_by_pixels_are_means() {
    let clip = clip(2, 7, 5, 6.0, 3, 5);
    let twice = Options { scale: Some(2), about: "" };
    let (bytes, _) = encode(&clip, Format::Y4m(Chroma::Quarter), &twice).unwrap();
    let back = decode(&bytes, &Limits::default()).unwrap();
    assert_eq!((back.clip.height, back.clip.width, back.about), (14, 10, None));
    // Of four equal pixels the mean is exact.
    let large: Vec<u8> = (0..2).flat_map(|i| clip.enlarged(i, 2)).collect();
    check_near(&Clip { height: 14, width: 10, rgb: large, ..clip.clone() }, &back.clip, 3);
    let gray = b"YUV4MPEG2 W2 H1 F6:1 Cmono XCOLORRANGE=FULL\nFRAME\n\x00\xff";
    assert_eq!(decode(gray, &Limits::default()).unwrap().clip.rgb, [0, 0, 0, 255, 255, 255]);
}

#[test]
fn what_does_not_fit_is_said() {
    let said = |clip: &Clip, format, scale| {
        encode(clip, format, &Options { scale, about: "" }).unwrap_err().to_string()
    };
    let good = clip(1, 3, 5, 6.0, 2, 1);
    let empty = Clip { frames: 0, rgb: Vec::new(), ..good.clone() };
    assert_eq!(said(&empty, Format::Mp4, None), "the clip has no frames, expected at least one");
    let flat = Clip { height: 0, rgb: Vec::new(), ..good.clone() };
    assert_eq!(
        said(&flat, Format::Gif, None),
        "the picture has 5 x 0 pixels, expected at least one"
    );
    assert_eq!(
        said(&good, Format::Mp4, Some(1)),
        "an MP4 of 5 x 3 pixels has an odd side, expected even ones: enlarge the frames by an even number"
    );
    for scale in [0, 20_000, usize::MAX] {
        let message = said(&good, Format::Gif, Some(scale));
        assert!(message.contains(&format!("enlarged by {scale}, expected 1 or more")), "{message}");
    }
    assert!(
        said(&good, Format::Mp4, Some(10_000)).contains("pixels is too large, expected at most")
    );
    for rate in [0.0, f64::NAN, 1e9] {
        let clip = Clip { rate, ..good.clone() };
        for format in [Format::Mp4, Format::Gif, Format::Y4m(Chroma::Full)] {
            let message = said(&clip, format, None);
            assert!(message.ends_with("frames per second, expected 0.01 to 1000"), "{message}");
        }
    }
    let fast = Clip { rate: 60.0, ..good };
    assert_eq!(
        said(&fast, Format::Gif, None),
        "a GIF shows 50 frames per second at most, found 60: write an MP4"
    );
}

/// What is known before the clip is made is what writing it says.
#[test]
fn limits_of_formats_are_known_before_the_clip() {
    let mp4 = |shape, rate| check(Format::Mp4, shape, rate, None).map_err(|e| e.to_string());
    assert_eq!(mp4([10_000, 64, 64], 6.0), Ok(()));
    let long =
        "a clip of 10001 frames is too long for an MP4, expected at most 10000 frames and 4 GiB";
    assert_eq!(mp4([10_001, 64, 64], 6.0), Err(long.to_owned()));
    assert!(mp4([2000, 4096, 4096], 6.0).unwrap_err().contains("too long for an MP4"));
    assert!(
        mp4([1, 1 << 15, 64], 6.0).unwrap_err().contains("pixels is too large, expected at most")
    );
    for (frames, height, width, rate, scale) in
        [(0, 4, 4, 6.0, None), (1, 0, 4, 6.0, None), (2, 3, 5, 6.0, Some(1)), (2, 4, 4, 60.0, None)]
            .into_iter()
            .chain([(1, 4, 4, 0.0, None), (1, 4, 4, 6.0, Some(0)), (3, 4, 6, 6.0, Some(2))])
    {
        let clip = clip(frames, height, width, rate, 2, 1);
        for format in [Format::Mp4, Format::Gif, Format::Y4m(Chroma::Full)] {
            let written = encode(&clip, format, &Options { scale, about: "" });
            assert_eq!(check(format, [frames, height, width], rate, scale), written.map(|_| ()));
        }
    }
}

/// A disk that is full after some bytes.
struct Full(std::io::Cursor<Vec<u8>>, u64);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.position() + bytes.len() as u64 > self.1 {
            true => Err(std::io::ErrorKind::StorageFull.into()),
            false => self.0.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::io::Seek for Full {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn a_disk_that_gets_full_is_told() {
    let clip = clip(3, 8, 8, 6.0, 9, 1);
    for format in [Format::Mp4, Format::Gif, Format::Y4m(Chroma::Full)] {
        let bytes = encode(&clip, format, &about()).unwrap().0;
        let write = |most: u64| {
            let mut full = Full(std::io::Cursor::default(), most);
            encode_to(&clip, format, &about(), &mut full).map(|_| full.0.into_inner())
        };
        let length = bytes.len() as u64;
        assert_eq!(write(length), Ok(bytes), "{format:?}");
        for most in [0, 5, length / 2, length - 1] {
            assert!(matches!(write(most), Err(Error::Output { .. })), "{format:?} of {most} bytes");
        }
    }
}

#[test]
fn what_is_no_clip_is_refused() {
    let refused = |bytes: &[u8]| decode(bytes, &Limits::default()).unwrap_err();
    assert_eq!(refused(b""), Error::Empty);
    assert_eq!(refused(b"RIFF\0\0\0\0AVI "), Error::NoClip);
    assert_eq!(refused(b"\0\0\0\x08ftyp"), Error::Damaged { kind: "MP4" });
    assert_eq!(
        refused(b"YUV4MPEG2 W2 H1 F6:1 C420p10\nFRAME\n"),
        Error::ForeignY4m { found: "420p10".to_owned() }
    );
    assert_eq!(refused(b"YUV4MPEG2 W2 H1 F6:1 Cmono\n"), Error::NoFrames);
    assert!(matches!(refused(b"YUV4MPEG2 W0 H1 F6:1 Cmono\n"), Error::NoPixels { .. }));
    for rate in ["F6", "F0:1", "F1:0", ""] {
        let text = format!("YUV4MPEG2 W2 H1 {rate} Cmono\nFRAME\n\0\0");
        assert_eq!(refused(text.as_bytes()), Error::Damaged { kind: "Y4M" });
    }
}

#[test]
fn limits_are_looked_at_first() {
    let clip = clip(3, 20, 30, 6.0, 5, 1);
    let limits = Limits::default();
    let small = [
        Limits { side: 29, ..limits },
        Limits { frames: 2, ..limits },
        Limits { pixels: 1799, ..limits },
    ];
    for format in
        [Format::Mp4, Format::Gif, Format::Y4m(Chroma::Full), Format::Y4m(Chroma::Quarter)]
    {
        let (bytes, _) = encode(&clip, format, &Options::default()).unwrap();
        for limits in small {
            let error = decode(&bytes, &limits).unwrap_err();
            assert!(matches!(error, Error::ClipTooLarge { width: 30, height: 20, .. }), "{error}");
        }
        let exact = Limits { bytes: bytes.len(), side: 30, frames: 3, pixels: 1800 };
        assert!(decode(&bytes, &exact).is_ok());
        let limits = Limits { bytes: bytes.len() - 1, ..limits };
        assert!(matches!(decode(&bytes, &limits), Err(Error::TooManyBytes { .. })));
    }
    let home = tempfile::tempdir().unwrap();
    let path = format!("{}/x/", home.path().display());
    write(Path::new(&path), &clip, &Options::default()).unwrap();
    for limits in small {
        assert!(read(Path::new(&path), &limits).is_err(), "{limits:?}");
    }
    let limits = Limits { bytes: 100, ..limits };
    assert!(matches!(read(Path::new(&path), &limits), Err(Error::FolderTooLarge { limit: 100 })));
    // A header that promises terabytes.
    let text = b"YUV4MPEG2 W999999999 H999999999 F6:1 C444\nFRAME\n";
    assert!(matches!(decode(text, &Limits::default()), Err(Error::ClipTooLarge { .. })));
    let text = format!("YUV4MPEG2 W{} H2 F6:1 C444\nFRAME\n", usize::MAX);
    assert!(decode(text.as_bytes(), &Limits::default()).is_err());
}

/// Another program may put the frames first, and in pieces.
#[test]
fn an_mp4_in_another_order_is_read() {
    let clip = clip(4, 16, 16, 6.0, 5, 1);
    let (bytes, _) = encode(&clip, Format::Mp4, &about()).unwrap();
    let length = |at: usize| u32::from_be_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
    let movie = length(0);
    let data = movie + length(movie);
    let mut moved = [&bytes[..movie], &bytes[data..], &bytes[movie..data]].concat();
    let table = moved.windows(4).rposition(|bytes| bytes == b"stco").unwrap();
    let place = (movie + 8) as u32;
    moved[table + 12..table + 16].copy_from_slice(&place.to_be_bytes());
    let read = decode(&moved, &Limits::default()).unwrap();
    assert_eq!(read, decode(&bytes, &Limits::default()).unwrap());
}

/// Cut anywhere, or with any byte changed: read or refused, in words of ours.
#[test]
fn damaged_clips_are_read_or_refused() {
    let clip = clip(3, 4, 6, 6.0, 7, 1);
    let limits = Limits { bytes: 1 << 20, side: 256, frames: 16, pixels: 1 << 16 };
    let once = Options { scale: Some(2), about: ABOUT };
    for format in
        [Format::Mp4, Format::Gif, Format::Y4m(Chroma::Full), Format::Y4m(Chroma::Quarter)]
    {
        let (bytes, _) = encode(&clip, format, &once).unwrap();
        for end in 0..bytes.len() {
            _ = decode(&bytes[..end], &limits);
            for change in [1, 0x55, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[end] ^= change;
                if let Err(error) = decode(&changed, &limits) {
                    assert!(error.to_string().len() < 200, "{error}");
                }
            }
        }
    }
}

/// What `fixtures/clips` holds is what is written: a browser plays it in `tests/web/clip.test.mjs`, and
/// `fuzz` changes it. `UPDATE_FIXTURES=1` writes it anew.
#[test]
fn fixtures_are_what_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/clips");
    // Four colors that move by two pixels a frame, of sides that are no multiples of 16.
    let colors = [[230, 40, 40], [40, 200, 60], [50, 80, 230], [250, 250, 250]];
    let pixel = |i: usize, x: usize| colors[(x + 2 * i) / 5 % 4];
    let rgb = (0..9).flat_map(|i| (0..12 * 20).flat_map(move |at| pixel(i, at % 20))).collect();
    let clip = Clip { frames: 9, height: 12, width: 20, rate: 6.0, rgb };
    let options = Options { scale: Some(2), about: r#"{"prompt":"stripes move left","seed":1}"# };
    for (name, format) in [
        ("stripes.mp4", Format::Mp4),
        ("stripes.gif", Format::Gif),
        ("stripes.y4m", Format::Y4m(Chroma::Quarter)),
        #[cfg(feature = "av1")]
        ("stripes-av1.mp4", Format::Av1),
    ] {
        let (bytes, _) = encode(&clip, format, &options).unwrap();
        let path = folder.join(name);
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == bytes, "{name} is another one: UPDATE_FIXTURES=1");
    }
    if !cfg!(feature = "av1") {
        eprintln!("skipped: stripes-av1.mp4 is not made anew without the feature `av1`");
    }
    // AV1 is written only.
    let error = read(&folder.join("stripes-av1.mp4"), &Limits::default()).unwrap_err();
    assert_eq!(error, Error::ForeignMp4);
}
