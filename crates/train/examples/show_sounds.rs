//! Draws sounds as they are learned and writes them as WAV files, with what is to be heard: `cargo run -p
//! train --example show_sounds -- FOLDER [seed] [count] [train|held-out]`.

use anyhow::{Context as _, bail};
use std::path::Path;
use tensor::Rng;
use train::clips::Split;
use train::senses::sounds::{RATE, Sound};

#[expect(clippy::print_stdout, reason = "an example that shows text")]
fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context("the first argument is the folder to write to")?;
    let mut number = |otherwise: &str| arguments.next().unwrap_or_else(|| otherwise.into()).parse();
    let (seed, count): (u64, u64) = (number("1")?, number("12")?);
    let split = match arguments.next().as_deref() {
        None | Some("train") => Split::Train,
        Some("held-out") => Split::HeldOut,
        Some(other) => bail!("`{other}` is none of `train`, `held-out`"),
    };
    for i in 0..count {
        let sound = Sound::draw(&mut Rng::stream(seed, i), split);
        let path = Path::new(&folder).join(format!("{i:03}.wav"));
        std::fs::write(&path, wav(&sound.samples))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        println!("{i:03}  {}", sound.transcript.trim_end().replace('\n', ", "));
        for question in &sound.questions {
            println!("     {} {}", question.text, question.answer);
        }
    }
    Ok(())
}

/// A file of one channel with 16 bits a sample.
fn wav(samples: &[f32]) -> Vec<u8> {
    let (rate, bytes) = (RATE as u32, 2 * samples.len() as u32);
    let mut out = Vec::with_capacity(44 + 2 * samples.len());
    out.extend(b"RIFF");
    out.extend((36 + bytes).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend([16, 0, 0, 0, 1, 0, 1, 0]);
    out.extend(rate.to_le_bytes());
    out.extend((2 * rate).to_le_bytes());
    out.extend([2, 0, 16, 0]);
    out.extend(b"data");
    out.extend(bytes.to_le_bytes());
    out.extend(samples.iter().flat_map(|&sample| ((sample * 32767.0) as i16).to_le_bytes()));
    out
}
