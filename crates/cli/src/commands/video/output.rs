//! The file that is written, and what is said of the clip in it.

use super::names::{Method, Mode, name};
use crate::failure::Misuse;
use media::clip::{self, Format, Options, Written};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use video::{Candidate, Outcome, Request, Sampler, Shape};

/// How pictures of an MP4 are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Codec {
    /// Red, green and blue come back within 3 of 255
    #[default]
    H264,
    /// Small, in builds with `--features av1`
    Av1,
}

/// Where the clip goes, and as what.
pub(super) struct Place {
    path: Option<PathBuf>,
    format: Format,
}

impl Place {
    /// What `--output` and `--codec` mean, checked before any work is done.
    ///
    /// # Errors
    ///
    /// If the ending is of no format or not of the codec's, the codec is not in this build, or there is no
    /// such folder.
    pub(super) fn of(path: Option<&Path>, codec: Codec) -> anyhow::Result<Self> {
        let format = path.map_or(Ok(Format::Mp4), Format::of);
        let format = format.map_err(|error| Misuse(format!("--output: {error}")))?;
        let format = coded(format, codec)?;
        let Some(path) = path else { return Ok(Self { path: None, format }) };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent
            && !parent.is_dir()
        {
            let message = format!("--output: there is no folder `{}`", parent.display());
            return Err(Misuse(message).into());
        }
        Ok(Self { path: Some(path.to_owned()), format })
    }

    /// Whether the format holds the clip of `request`, before it is made.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub(super) fn check(&self, request: &Request, shape: &Shape) -> anyhow::Result<()> {
        let [height, width] = request.size;
        let held = clip::check(self.format, [request.frames, height, width], shape.rate, None);
        Ok(held.map_err(|error| Misuse(format!("--output: {error}")))?)
    }

    /// Writes the clip: all of it, or nothing.
    ///
    /// # Errors
    ///
    /// If the format does not hold it or the file cannot be written.
    pub(super) fn write(&self, facts: &Facts<'_>) -> anyhow::Result<(PathBuf, Written)> {
        let path = match &self.path {
            Some(path) => path.clone(),
            None => facts.free_name(),
        };
        let about = facts.about().to_string();
        let options = Options { scale: None, about: &about };
        let written = clip::write_as(&path, self.format, &facts.made.clip, &options)?;
        Ok((path, written))
    }
}

/// `format` with another codec.
fn coded(format: Format, codec: Codec) -> Result<Format, Misuse> {
    match (codec, format) {
        (Codec::H264, format) => Ok(format),
        #[cfg(feature = "av1")]
        (Codec::Av1, Format::Mp4) => Ok(Format::Av1),
        #[cfg(not(feature = "av1"))]
        (Codec::Av1, Format::Mp4) => Err(Misuse(
            "--codec av1 is not in this build, expected one with it: `cargo build --release \
             --features av1`"
                .into(),
        )),
        (Codec::Av1, _) => {
            Err(Misuse("--codec av1 is for MP4, expected --output with the ending `.mp4`".into()))
        }
    }
}

/// What is known of a clip.
pub(crate) struct Facts<'a> {
    pub(crate) request: &'a Request,
    /// What `--model` calls the model.
    pub(crate) model: &'a str,
    pub(crate) made: &'a Outcome,
}

impl Facts<'_> {
    /// What makes the clip again.
    pub(crate) fn about(&self) -> Value {
        let request = self.request;
        let eta = match request.sampler {
            Sampler::Euler { eta } => Some(eta),
            _ => None,
        };
        let guidance = &request.guidance;
        json!({
            "generator": concat!("fulgurite ", env!("CARGO_PKG_VERSION")),
            "model": self.model,
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "seed": request.seed,
            "steps": request.steps,
            "shift": request.shift,
            "sampler": name(&Method::from(request.sampler)),
            "eta": eta,
            "guidance": guidance.text,
            "image_guidance": guidance.image,
            "guidance_rescale": guidance.rescale,
            "first_frame": request.first_frame.is_some(),
            "last_frame": request.last_frame.is_some(),
            "subject": request.subject.is_some(),
            "candidates": request.candidates,
            "consistency": name(&Mode::from(request.consistency)),
            "frames": request.frames,
            "width": request.size[1],
            "height": request.size[0],
        })
    }

    /// All of it.
    pub(crate) fn json(&self) -> Value {
        let mut value = self.about();
        value["rate"] = self.made.clip.rate.into();
        value["seeds"] = self.made.seeds.clone().into();
        value["evaluations"] = self.made.evaluations.into();
        let candidate = |candidate: &Candidate| {
            let Candidate { block, seed, badness, chosen } = *candidate;
            json!({"block": block, "seed": seed, "badness": badness, "chosen": chosen})
        };
        value["candidate_scores"] = self.made.candidates.iter().map(candidate).collect();
        value["report"] = json!(self.made.report);
        value
    }

    /// What is told to who waits: how it went, then what is wrong with frames.
    pub(super) fn summary(&self, seconds: f64) -> String {
        let clip = &self.made.clip;
        let length = clip.frames as f64 / clip.rate;
        let line = format!(
            "{} frames of {} x {} ({length:.1} s) in {seconds:.1} s, {} predictions, seed {}",
            clip.frames, clip.width, clip.height, self.made.evaluations, self.made.seeds[0]
        );
        match &self.made.report {
            Some(report) => format!("{line}\n{}", report.to_text().trim_end()),
            None => line,
        }
    }

    /// The name of a file that is not there yet, of the prompt's words and the seed.
    fn free_name(&self) -> PathBuf {
        let letters = |c: char| if c.is_alphanumeric() { c } else { ' ' };
        let text: String = self.request.prompt.to_lowercase().chars().map(letters).collect();
        let words: Vec<&str> = text.split_whitespace().take(WORDS).collect();
        let name: String = words.join("-").chars().take(LETTERS).collect();
        let name = format!("{name}-{}", self.request.seed);
        let names = std::iter::once(format!("{name}.mp4"))
            .chain((2u32..).map(|i| format!("{name}-{i}.mp4")))
            .map(PathBuf::from);
        let mut free = names.filter(|name| !name.exists());
        free.next().unwrap_or_else(|| "clip.mp4".into())
    }
}

/// Words of the prompt in a file's name.
const WORDS: usize = 8;
/// Letters of these.
const LETTERS: usize = 60;
