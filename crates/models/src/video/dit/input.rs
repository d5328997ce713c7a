//! What a forward pass is given.

use super::VideoDit;
use super::config::{ImageConfig, TextPlacement};
use crate::Error;
use tensor::Tensor;

/// What a forward pass is given.
#[derive(Clone, Debug)]
pub struct DitInput {
    /// `[batch, in_channels, frames, height, width]`.
    pub latents: Tensor,
    /// Rows of the text encoder, `[batch, rows, dim]`.
    pub text: Tensor,
    /// Which of these rows are looked at, all if it is not given; a prompt of which none is has all.
    pub text_mask: Option<Vec<bool>>,
    /// Rows of the image encoder, `[images, rows, dim]`.
    pub image: Option<Tensor>,
    /// Latents of a reference picture, `[batch, in_channels, frames, height, width]`, for models that
    /// have places for them.
    pub reference: Option<Tensor>,
    /// A time for each sample, or for each token of each sample.
    pub times: Vec<f32>,
    /// The strength of guidance of each sample, for models that ask for it.
    pub guidance: Option<Vec<f32>>,
}

impl DitInput {
    pub(super) fn batch(&self) -> usize {
        self.latents.shape()[0]
    }

    pub(super) fn size(&self) -> [usize; 3] {
        let shape = self.latents.shape();
        [shape[2], shape[3], shape[4]]
    }
}

impl VideoDit {
    /// Whether the model can read `input`.
    ///
    /// # Errors
    ///
    /// Names the input that it cannot read, what was found and what was expected.
    pub fn check(&self, input: &DitInput) -> Result<(), Error> {
        let config = &self.config;
        let wrong = |name: &'static str, found: String, expected: String| {
            Err(Error::Input { name, found, expected })
        };
        let [batch, channels, frames, height, width] = *input.latents.shape() else {
            let found = format!("shape {:?}", input.latents.shape());
            return wrong(
                "hidden_states",
                found,
                "[batch, channels, frames, height, width]".into(),
            );
        };
        let shape = format!("shape {:?}", input.latents.shape());
        if channels != config.in_channels || batch == 0 {
            let expected = format!("[1 or more, {}, frames, height, width]", config.in_channels);
            return wrong("hidden_states", shape, expected);
        }
        let grid = config.grid([frames, height, width]);
        let max = config.rope.max_positions;
        if grid.iter().any(|n| !(1..=max).contains(n)) {
            let expected = format!("1 to {max} patches of {:?} along each axis", config.patch_size);
            return wrong("hidden_states", shape, expected);
        }
        let found = |x: &Tensor| format!("shape {:?}", x.shape());
        let dim = config.text.dim;
        let text_rows = match *input.text.shape() {
            [n, rows, features] if (n, features) == (batch, dim) && rows > 0 => rows,
            _ => {
                let expected = format!("[{batch}, 1 or more, {dim}]");
                return wrong("encoder_hidden_states", found(&input.text), expected);
            }
        };
        if let Some(mask) = &input.text_mask
            && (mask.len() != batch * text_rows || config.text.placement == TextPlacement::Packed)
        {
            let expected = match config.text.placement {
                TextPlacement::Cross => format!("{batch} x {text_rows}"),
                TextPlacement::Packed => "none for a prompt within the sequence".to_owned(),
            };
            return wrong("encoder_attention_mask", format!("{} values", mask.len()), expected);
        }
        let tokens: usize = grid.iter().product();
        if ![batch, batch * tokens].contains(&input.times.len()) {
            let expected = format!("{batch} or {batch} x {tokens}");
            return wrong("timestep", format!("{} values", input.times.len()), expected);
        }
        match (&input.guidance, config.guidance) {
            (Some(values), true) if values.len() != batch => {
                return wrong("guidance", format!("{} values", values.len()), format!("{batch}"));
            }
            (None, true) => {
                return wrong(
                    "guidance",
                    "no values".into(),
                    format!("{batch}: one for each sample"),
                );
            }
            (Some(values), false) => {
                let expected = "none: `guidance_embeds` is not true".to_owned();
                return wrong("guidance", format!("{} values", values.len()), expected);
            }
            _ => (),
        }
        self.check_reference(input)?;
        let name = "encoder_hidden_states_image";
        match (&input.image, config.image) {
            (None, _) => Ok(()),
            (Some(image), None) => {
                wrong(name, found(image), "none: `image_dim` is not set".to_owned())
            }
            (Some(image), Some(ImageConfig { dim, positions })) => {
                let fits = match (image.shape(), positions) {
                    (&[n, _, features], None) => (n, features) == (batch, dim),
                    (&[n, rows, features], Some(positions)) => {
                        features == dim && 2 * rows == positions && n == 2 * batch
                    }
                    _ => false,
                };
                let expected = match positions {
                    None => format!("[{batch}, rows, {dim}]"),
                    Some(positions) => format!("[{}, {}, {dim}]", 2 * batch, positions / 2),
                };
                if fits { Ok(()) } else { wrong(name, found(image), expected) }
            }
        }
    }

    fn check_reference(&self, input: &DitInput) -> Result<(), Error> {
        let Some(reference) = &input.reference else { return Ok(()) };
        let config = &self.config;
        let (batch, channels) = (input.batch(), config.in_channels);
        let fits = match *reference.shape() {
            [n, c, frames, height, width] => {
                let [frames, height, width] = config.grid([frames, height, width]);
                let max = config.rope.max_positions;
                (n, c) == (batch, channels)
                    && (1..=config.reference_frames).contains(&frames)
                    && [height, width].iter().all(|side| (1..=max).contains(side))
            }
            _ => false,
        };
        let expected = match config.reference_frames {
            0 => "none: the model has no places for one".to_owned(),
            frames => format!(
                "[{batch}, {channels}, frames, height, width] of 1 to {frames} patches of {:?} in time",
                config.patch_size
            ),
        };
        let found = format!("shape {:?}", reference.shape());
        if fits { Ok(()) } else { Err(Error::Input { name: "reference", found, expected }) }
    }
}
