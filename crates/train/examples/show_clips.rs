//! Draws clips as they are learned, with their captions: `cargo run -p train --example show_clips --
//! SHEET.png [seed] [train|held-out|subject|faults]`.
//!
//! A row of the sheet is a clip; the reference picture of its object stands before it. Of clips with
//! faults the broken frames are written out.

use anyhow::{Context as _, bail};
use image::{Rgb, RgbImage, imageops};
use media::Clip;
use tensor::Rng;
use train::clips::faults::{Fault, inject};
use train::clips::{Scene, Split};

const ROWS: u32 = 12;
const SIZE: u32 = 64;
const FRAMES: u32 = 9;

#[expect(clippy::print_stdout, reason = "an example that shows text")]
fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("the first argument is the file to write")?;
    let seed = arguments.next().unwrap_or_else(|| "1".to_owned()).parse()?;
    let kind = arguments.next().unwrap_or_else(|| "train".to_owned());
    let mut sheet =
        RgbImage::from_pixel((FRAMES + 1) * (SIZE + 2), ROWS * (SIZE + 2), Rgb([255; 3]));
    for row in 0..ROWS {
        let mut rng = Rng::stream(seed, row.into());
        let scene = match kind.as_str() {
            "train" | "faults" => Scene::draw(&mut rng, Split::Train),
            "held-out" => Scene::draw(&mut rng, Split::HeldOut),
            "subject" => Scene::draw_subject(&mut rng, Split::Train),
            _ => bail!("`{kind}` is none of `train`, `held-out`, `subject`, `faults`"),
        };
        paste(&mut sheet, &scene.reference(32), 0, row);
        let (size, frames) = (SIZE as usize, FRAMES as usize);
        if kind == "faults" {
            let fault = Fault::ALL[row as usize % Fault::ALL.len()];
            if let Some(broken) = inject(fault, &scene, size, frames, &mut rng) {
                println!("{row:>2}  {} at {:?}", fault.name(), broken.frames);
                paste(&mut sheet, &broken.clip, 1, row);
            }
        } else {
            println!("{row:>2}  {}", scene.caption(&mut rng));
            paste(&mut sheet, &scene.render(size, frames), 1, row);
        }
    }
    sheet.save(&path).with_context(|| format!("cannot write `{path}`"))
}

/// Puts the frames of a clip from a column of the sheet on.
fn paste(sheet: &mut RgbImage, clip: &Clip, column: u32, row: u32) {
    for i in 0..clip.frames {
        let (width, height) = (clip.width as u32, clip.height as u32);
        if let Some(frame) = RgbImage::from_raw(width, height, clip.frame(i).to_vec()) {
            let (x, y) = ((column + i as u32) * (SIZE + 2), row * (SIZE + 2));
            imageops::replace(sheet, &frame, x.into(), y.into());
        }
    }
}
