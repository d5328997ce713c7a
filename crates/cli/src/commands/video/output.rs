//! The file that is written, and what is said of the clip in it.

use super::names::{Method, Mode, name};
use crate::failure::Misuse;
use media::clip::{self, Format, Options, Written};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use video::{Candidate, Outcome, Request, Sampler, Shape};

/// Where the clip goes.
pub(super) struct Place(Option<PathBuf>);

impl Place {
    /// What `--output` means, checked before any work is done.
    ///
    /// # Errors
    ///
    /// If the ending is of no format or there is no such folder.
    pub(super) fn of(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        Format::of(path).map_err(|error| Misuse(format!("--output: {error}")))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent
            && !parent.is_dir()
        {
            let message = format!("--output: there is no folder `{}`", parent.display());
            return Err(Misuse(message).into());
        }
        Ok(Self(Some(path.to_owned())))
    }

    /// Whether the format holds the clip of `request`, before it is made.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub(super) fn check(&self, request: &Request, shape: &Shape) -> anyhow::Result<()> {
        let format = self.0.as_deref().map_or(Ok(Format::Mp4), Format::of)?;
        let [height, width] = request.size;
        let held = clip::check(format, [request.frames, height, width], shape.rate, None);
        Ok(held.map_err(|error| Misuse(format!("--output: {error}")))?)
    }

    /// Writes the clip: all of it, or nothing.
    ///
    /// # Errors
    ///
    /// If the format does not hold it or the file cannot be written.
    pub(super) fn write(&self, facts: &Facts<'_>) -> anyhow::Result<(PathBuf, Written)> {
        let path = match &self.0 {
            Some(path) => path.clone(),
            None => facts.free_name(),
        };
        let about = facts.about().to_string();
        let written =
            clip::write(&path, &facts.made.clip, &Options { scale: None, about: &about })?;
        Ok((path, written))
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
