//! `fulgurite video`: a clip and its frame report.

pub(crate) mod model;
pub(crate) mod names;
pub(crate) mod output;
mod pictures;

use crate::failure::{Interrupted, Misuse};
use crate::fit::{self, DoesNotFit};
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use model::Model;
use names::{Method, Mode};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tensor::Device;
use tensor::atomic::atomic_write_bytes;
use video::{Denoiser as _, Error, Guidance, Pipeline, Progress, Request, Shape, request};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What is to be seen
    prompt: String,
    /// What is not to be seen
    #[arg(long, env = "FULGURITE_NEGATIVE_PROMPT", default_value = "")]
    negative_prompt: String,
    /// A picture to begin with
    #[arg(long, env = "FULGURITE_FIRST_FRAME")]
    first_frame: Option<PathBuf>,
    /// A picture to end with
    #[arg(long, env = "FULGURITE_LAST_FRAME")]
    last_frame: Option<PathBuf>,
    /// A picture of who or what the clip is about
    #[arg(long, env = "FULGURITE_SUBJECT")]
    subject: Option<PathBuf>,
    /// The same seed gives the same clip
    #[arg(long, env = "FULGURITE_SEED", default_value_t = 0)]
    seed: u64,
    /// Steps from noise to the clip
    #[arg(long, env = "FULGURITE_STEPS", default_value_t = request::DEFAULT_STEPS)]
    steps: usize,
    /// How far steps are moved towards noise; 1 is not at all
    #[arg(long, env = "FULGURITE_SHIFT", default_value_t = request::DEFAULT_SHIFT)]
    shift: f64,
    /// How a step is made
    #[arg(long, env = "FULGURITE_SAMPLER", default_value = "euler")]
    sampler: Method,
    /// How much noise a step of `euler` renews, 0 to 1: 0 is steady, 1 is free
    #[arg(long, env = "FULGURITE_ETA", default_value_t = 0.0, allow_negative_numbers = true)]
    eta: f64,
    /// How much more than the model would is done of the prompt; 1 leaves it to the model
    #[arg(
        long,
        env = "FULGURITE_GUIDANCE",
        default_value_t = request::DEFAULT_GUIDANCE,
        allow_negative_numbers = true
    )]
    guidance: f32,
    /// The same for the subject
    #[arg(
        long,
        env = "FULGURITE_IMAGE_GUIDANCE",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    image_guidance: f32,
    /// How far guidance is kept from changing contrast, 0 to 1
    #[arg(
        long,
        env = "FULGURITE_GUIDANCE_RESCALE",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    guidance_rescale: f32,
    /// Frames; those of the clips that the model has learned unless set, more are made in blocks
    #[arg(long, env = "FULGURITE_FRAMES")]
    frames: Option<usize>,
    /// Width and height in pixels, as 64x64; those that the model has learned unless set
    #[arg(long, env = "FULGURITE_SIZE", value_parser = size)]
    size: Option<[usize; 2]>,
    /// Clips that are begun, of which the best is finished
    #[arg(long, env = "FULGURITE_CANDIDATES")]
    candidates: Option<usize>,
    /// What is done about bad frames; `report`, or `select` with several candidates, unless set
    #[arg(long, env = "FULGURITE_CONSISTENCY")]
    consistency: Option<Mode>,
    /// The model's folder; the embedded model unless set
    #[arg(long, env = "FULGURITE_VIDEO_MODEL")]
    model: Option<PathBuf>,
    /// The file to write: `.mp4`, `.gif`, `.y4m`, or `/` for a folder of PNG frames; named after the
    /// prompt and the seed unless set
    #[arg(short, long, env = "FULGURITE_OUTPUT")]
    output: Option<PathBuf>,
    /// How an MP4 is compressed
    #[arg(long, env = "FULGURITE_CODEC", default_value = "h264")]
    codec: output::Codec,
    /// Draw the frames in a row with their scores and faults, as SVG, into this file
    #[arg(long, env = "FULGURITE_TIMELINE")]
    timeline: Option<PathBuf>,
    /// Print the frame report as JSON
    #[arg(long)]
    json: bool,
}

/// `WIDTHxHEIGHT` as height and width.
fn size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once(['x', 'X', '*']);
    let parsed = sides.and_then(|(width, height)| {
        Some([height.trim().parse().ok()?, width.trim().parse().ok()?])
    });
    parsed.ok_or_else(|| "expected width and height such as 64x64".to_owned())
}

pub(crate) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    let place = output::Place::of(arguments.output.as_deref(), arguments.codec)?;
    if arguments.timeline.is_some() && arguments.consistency == Some(Mode::Off) {
        let message =
            "--timeline shows what was found in frames, which --consistency off does not look for";
        return Err(Misuse(message.to_owned()).into());
    }
    let model = Model::open(arguments.model.as_deref(), device)?;
    let request = arguments.request(model.nano.shape())?;
    let pipeline =
        Pipeline { model: &model.nano, words: &model.words, free_bytes: fit::free_bytes() };
    let checked = request.check(model.nano.shape(), &model.words).map_err(told)?;
    let memory = pipeline.plan(&checked).map_err(told)?;
    place.check(&request, model.nano.shape())?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    let bar = ProgressBar::new(SCALE);
    bar.set_style(ProgressStyle::with_template("{wide_bar} {percent} % {msg} {eta} left")?);
    let start = Instant::now();
    let made = pipeline.generate(&request, &mut |progress| {
        bar.set_position((progress.fraction() * SCALE as f64) as u64);
        bar.set_message(line(progress));
        match interrupted.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    bar.finish_and_clear();
    let made = made.map_err(told)?;
    let seconds = start.elapsed().as_secs_f64();
    let facts = output::Facts { request: &request, model: &model.name, made: &made };
    let (path, written) = place.write(&facts)?;
    if let (Some(file), Some(report)) = (&arguments.timeline, &made.report) {
        let svg = report.timeline(&made.clip, &request.prompt).svg()?;
        let cannot = || format!("cannot write `{}`", file.display());
        atomic_write_bytes(file, svg.as_bytes()).with_context(cannot)?;
    }
    let mut out = std::io::stdout().lock();
    if !arguments.json {
        eprintln!("{}", facts.summary(seconds));
        return Ok(writeln!(out, "{}", path.display())?);
    }
    let mut value = facts.json();
    value["output"] = path.display().to_string().into();
    value["scale"] = written.scale.into();
    value["seconds"] = seconds.into();
    value["expected_bytes"] = memory.total().into();
    value["peak_rss_bytes"] = fit::peak_rss_bytes().into();
    Ok(writeln!(out, "{value}")?)
}

/// Positions of a full bar.
const SCALE: u64 = 1000;

fn line(progress: &Progress<'_>) -> String {
    let Progress { part, step, steps, .. } = *progress;
    let block = match part.blocks {
        1 => String::new(),
        blocks => format!("block {}/{blocks}, ", part.block + 1),
    };
    let what = match (part.repair, progress.candidates()) {
        (0, 1) => String::new(),
        (0, n) => format!(", {n} candidates"),
        (round, _) => format!(", repair {round}"),
    };
    format!("{block}step {step}/{steps}{what}")
}

/// What the command line has to do with it.
fn told(error: Error) -> anyhow::Error {
    match error {
        Error::Request { field, found, expected } => {
            let flag = match field {
                "prompt" => field.to_owned(),
                "height" | "width" => format!("--size: {field}"),
                _ => format!("--{}", field.replace('_', "-")),
            };
            Misuse(format!("{flag} is {found}, expected {expected}")).into()
        }
        Error::Words { .. } => Misuse(error.to_string()).into(),
        Error::Memory { .. } => anyhow::Error::new(DoesNotFit::Clip(error)),
        Error::Cancelled => Interrupted.into(),
        error => error.into(),
    }
}

impl Arguments {
    fn request(&self, shape: &Shape) -> anyhow::Result<Request> {
        let Some(sampler) = self.sampler.sampler(self.eta) else {
            let message = format!("--eta {} goes with --sampler euler only", self.eta);
            return Err(Misuse(message).into());
        };
        let (consistency, candidates) = Mode::with_candidates(self.consistency, self.candidates);
        let size = self.size.unwrap_or(shape.size);
        let picture = |path: &Option<PathBuf>, size| {
            path.as_deref().map(|path| pictures::read(path, size)).transpose()
        };
        Ok(Request {
            negative_prompt: self.negative_prompt.clone(),
            seed: self.seed,
            steps: self.steps,
            shift: self.shift,
            sampler,
            guidance: Guidance {
                text: self.guidance,
                image: self.image_guidance,
                rescale: self.guidance_rescale,
                ..Guidance::NONE
            },
            frames: self.frames.unwrap_or(shape.frames),
            size,
            first_frame: picture(&self.first_frame, size)?,
            last_frame: picture(&self.last_frame, size)?,
            subject: picture(&self.subject, [shape.reference; 2])?,
            candidates,
            consistency,
            ..Request::new(self.prompt.clone(), shape)
        })
    }
}
