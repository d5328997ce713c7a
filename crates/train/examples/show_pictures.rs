//! Draws pictures as they are learned on one sheet, and says what is to be seen: `cargo run -p train
//! --example show_pictures -- SHEET.png [seed] [train|held-out]`.

use anyhow::{Context as _, bail};
use models::vision::pixels::Rgb;
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
    let mut rgb = Rgb::plain(ROWS * SIDE, COLUMNS * SIDE, [128; 3]);
    for i in 0..COLUMNS * ROWS {
        let Picture { pixels, transcript, questions, .. } =
            Picture::draw(&mut Rng::stream(seed, i as u64), split);
        rgb.paste(&pixels, [i / COLUMNS * SIDE, i % COLUMNS * SIDE]);
        println!("{} {}: {}", i / COLUMNS + 1, i % COLUMNS + 1, transcript.replace('\n', " | "));
        for question in questions {
            println!("    {} {}", question.text, question.answer);
        }
    }
    std::fs::write(&sheet, media::picture::to_png(&rgb.data, rgb.width, rgb.height)?)?;
    Ok(())
}
