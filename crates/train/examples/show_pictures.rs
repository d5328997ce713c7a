//! Draws pictures as they are learned on one sheet, and says what is to be seen: `cargo run -p train
//! --example show_pictures -- SHEET.png [seed] [train|held-out]`.

use anyhow::{Context as _, bail};
use tensor::Rng;
use train::clips::Split;
use train::senses::pictures::{Picture, SIDE};

const COLUMNS: usize = 8;
const ROWS: usize = 6;

#[expect(clippy::print_stdout, reason = "an example that shows text")]
fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let sheet = arguments.next().context("the first argument is the sheet to write")?;
    let seed = arguments.next().map_or(Ok(1), |seed| seed.parse())?;
    let split = match arguments.next().as_deref() {
        None | Some("train") => Split::Train,
        Some("held-out") => Split::HeldOut,
        Some(other) => bail!("`{other}` is none of `train`, `held-out`"),
    };
    let (row, width) = (SIDE * 3, COLUMNS * SIDE);
    let mut rgb = vec![0; ROWS * SIDE * COLUMNS * row];
    for i in 0..COLUMNS * ROWS {
        let picture = Picture::draw(&mut Rng::stream(seed, i as u64), split);
        for (y, pixels) in picture.pixels.data.chunks_exact(row).enumerate() {
            let at = ((i / COLUMNS * SIDE + y) * width + i % COLUMNS * SIDE) * 3;
            rgb[at..at + row].copy_from_slice(pixels);
        }
        println!(
            "{} {}: {}",
            i / COLUMNS + 1,
            i % COLUMNS + 1,
            picture.transcript.replace('\n', " | ")
        );
        for question in picture.questions {
            println!("    {} {}", question.text, question.answer);
        }
    }
    std::fs::write(&sheet, media::picture::to_png(&rgb, width, ROWS * SIDE)?)?;
    Ok(())
}
