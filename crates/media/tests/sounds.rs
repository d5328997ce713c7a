//! Sounds of all kinds (`fixtures/media`, made by `make.py` there), and hostile ones.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use media::Error;
use media::sound::{Limits, Sound, decode};
use std::path::Path;

const RATE: u32 = 16_000;

fn read(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/media");
    std::fs::read(folder.join(name)).unwrap()
}

fn open(name: &str) -> Sound {
    let sound = decode(read(name), RATE, &Limits::default());
    sound.unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// 440 Hz of `amplitude`, in phase with the file's first sample, to `tolerance` as RMS of the error over
/// RMS; the first and the last 20 ms are not looked at, where filters and codecs ring.
#[track_caller]
fn check(name: &str, amplitude: f64, tolerance: f64) {
    let sound = open(name);
    assert!(!sound.cut_short, "{name}");
    assert!((sound.seconds() - 0.4).abs() < 0.03, "{name}: {} s", sound.seconds());
    let turn = std::f64::consts::TAU * 440.0 / f64::from(RATE);
    let (mut error, mut scale) = (0.0, 0.0);
    for i in 320..6400 - 320 {
        let want = amplitude * (turn * i as f64).sin();
        error += (f64::from(sound.samples[i]) - want).powi(2);
        scale += want * want;
    }
    let ratio = (error / scale).sqrt();
    assert!(ratio <= tolerance, "{name}: off by {ratio}");
}

#[test]
fn sounds_of_all_kinds() {
    check("mono16k.wav", 0.5, 1e-3);
    check("float48k.wav", 0.5, 1e-3);
    check("u8.wav", 0.5, 0.02);
    check("stereo44k.flac", 0.25, 1e-3);
    check("mono22k.ogg", 0.5, 0.05);
    check("mono32k.mp3", 0.5, 0.05);
}

/// Every rate gives as many samples as the time it takes.
#[test]
fn lengths_are_kept() {
    assert_eq!(open("mono16k.wav").samples.len(), 6400);
    assert_eq!(open("float48k.wav").samples.len(), 6400);
    assert_eq!(open("stereo44k.flac").samples.len(), 6400);
    let slow = decode(read("float48k.wav"), 4_000, &Limits::default()).unwrap();
    assert_eq!((slow.samples.len(), slow.rate), (1600, 4_000));
}

#[test]
fn what_is_no_sound_is_refused() {
    let refused = |bytes: Vec<u8>| decode(bytes, RATE, &Limits::default()).unwrap_err();
    assert_eq!(refused(Vec::new()), Error::Empty);
    assert_eq!(refused(b"hello, this is text".repeat(50)), Error::NoSound);
    assert_eq!(refused(read("rgb.png")), Error::NoSound);
    assert_eq!(refused(read("none.wav")), Error::Silent);
    let limits = Limits { bytes: 10, ..Limits::default() };
    let error = decode(read("none.wav"), RATE, &limits).unwrap_err();
    assert_eq!(error, Error::TooManyBytes { bytes: 44, limit: 10 });
}

fn wav(rate: u32, channels: u16, data: &[u8], said: u32) -> Vec<u8> {
    let mut bytes = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0".to_vec();
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate.wrapping_mul(2 * u32::from(channels))).to_le_bytes());
    bytes.extend((2 * channels).to_le_bytes());
    bytes.extend(b"\x10\0data");
    bytes.extend(said.to_le_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn long_sounds_are_refused() {
    let limits = Limits { seconds: 2, ..Limits::default() };
    let two = vec![0; 2 * 2 * 16_000];
    assert!(decode(wav(16_000, 1, &two, 64_000), RATE, &limits).is_ok());
    let more = vec![0; 2 * 2 * 16_000 + 2];
    let error = decode(wav(16_000, 1, &more, 64_002), RATE, &limits).unwrap_err();
    assert_eq!(error, Error::TooLong { limit: 2 });
    assert_eq!(error.to_string(), "the sound is longer than 2 s");
    // A FLAC that says it is of 8 hours: refused before it is decoded.
    let mut flac = read("stereo44k.flac");
    flac[22..26].copy_from_slice(&(8u32 * 3600 * 44_100).to_be_bytes());
    let error = decode(flac, RATE, &Limits::default()).unwrap_err();
    assert_eq!(error, Error::TooLong { limit: 1800 });
}

/// Programs that write to a pipe do not know the length, and say the largest there is.
#[test]
fn a_stream_of_unknown_length_is_read() {
    let sound = decode(wav(16_000, 1, &[0; 3200], u32::MAX), RATE, &Limits::default()).unwrap();
    assert_eq!(sound.samples.len(), 1600);
}

#[test]
fn odd_layouts_are_refused() {
    for (rate, channels) in [(1, 1), (3_999, 1), (400_000, 1)] {
        let error = decode(wav(rate, channels, &[0; 64], 64), RATE, &Limits::default());
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Layout { .. } | Error::NoSound), "{rate}: {error}");
    }
}

#[test]
fn what_is_cut_short_is_heard_up_to_there() {
    let mut bytes = read("stereo44k.flac");
    bytes.truncate(bytes.len() * 2 / 3);
    let sound = decode(bytes, RATE, &Limits::default()).unwrap();
    assert!(sound.cut_short && sound.seconds() > 0.1 && sound.seconds() < 0.4, "{sound:?}");
}

/// Cut anywhere, or with any byte changed: read or refused, in words of ours.
#[test]
fn damaged_sounds_are_read_or_refused() {
    let limits = Limits { seconds: 5, ..Limits::default() };
    for name in ["u8.wav", "stereo44k.flac", "mono22k.ogg", "mono32k.mp3"] {
        let bytes = read(name);
        for end in (0..bytes.len()).step_by(bytes.len() / 150 + 1) {
            _ = decode(bytes[..end].to_vec(), RATE, &limits);
            let mut changed = bytes.clone();
            changed[end] ^= 0x55;
            if let Err(error) = decode(changed, RATE, &limits) {
                assert!(error.to_string().len() < 140, "{error}");
            }
        }
    }
}
