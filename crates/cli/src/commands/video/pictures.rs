//! Pictures that a clip begins with, ends with or is about.

use anyhow::Context as _;
use media::picture::{self, Limits};
use models::vision::pixels::Rgb;
use std::io::Read as _;
use std::path::Path;

/// The picture at `path`, made to fit: what was done to it is said.
///
/// # Errors
///
/// If it cannot be read or is no picture.
pub(super) fn read(path: &Path, size: [usize; 2]) -> anyhow::Result<Rgb> {
    let limits = Limits::default();
    let cannot = || format!("cannot read `{}`", path.display());
    let mut bytes = Vec::new();
    // No more than there may be, whatever the file is.
    let file = std::fs::File::open(path).with_context(cannot)?;
    file.take(limits.bytes as u64 + 1).read_to_end(&mut bytes).with_context(cannot)?;
    let picture = picture::decode(&bytes, &limits).with_context(cannot)?;
    if picture.animated {
        eprintln!("`{}` has several pictures: the first was taken", path.display());
    }
    let found = Rgb { height: picture.height, width: picture.width, data: picture.rgb };
    let [height, width] = size;
    if [found.height, found.width] == size || height * width == 0 {
        return Ok(found);
    }
    let proportions = found.width * height == found.height * width;
    let part = if proportions { "it" } else { "the middle of it" };
    eprintln!(
        "`{}` has {} x {} pixels: {part} was resized to {width} x {height}",
        path.display(),
        found.width,
        found.height
    );
    Ok(video::fit(&found, size))
}
