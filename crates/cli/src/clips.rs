//! Clips for the server: what an order says, as the pipeline takes it, and its result as files.

use crate::commands::video::model::Model;
use crate::commands::video::names::{Method, Mode};
use crate::commands::video::output;
use crate::fit;
use crate::sessions::now;
use media::clip::{self, Format, Options, encode, encode_to};
use media::picture::{self, Limits};
use models::vision::pixels::Rgb;
use server::video::{Facts, Failed, Keep, Maker, Order, Part, Pictures, Progress, Refused, Watch};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};
use video::{Denoiser as _, Error, Guidance, Outcome, Pipeline, Request, Sampler};

/// Parts of a clip that progress is told in.
const PARTS: usize = 1000;
/// Time between two previews: they take time that the clip could be made in.
const PREVIEW: Duration = Duration::from_secs(1);

/// A model that makes clips.
pub(crate) struct ClipMaker {
    model: Model,
    name: String,
    created: u64,
    /// Bytes that clips may take, where that is known: what others of this process were not promised.
    spare: Option<u64>,
}

impl std::fmt::Debug for ClipMaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClipMaker").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ClipMaker {
    /// With a model that is loaded; a clip takes `spare` bytes at the most, where that is known.
    pub(crate) fn new(model: Model, spare: Option<u64>) -> Self {
        let name = Path::new(&model.name).file_name();
        let name =
            name.map_or_else(|| model.name.clone(), |name| name.to_string_lossy().into_owned());
        Self { name, model, created: now(), spare }
    }

    fn pipeline(&self) -> Pipeline<'_> {
        Pipeline {
            model: &self.model.nano,
            words: &self.model.words,
            free_bytes: fit::free_bytes().into_iter().chain(self.spare).min(),
        }
    }

    /// What an order says to the pipeline.
    fn request(&self, order: &Order, pictures: &Pictures) -> Result<Request, Refused> {
        let shape = self.model.nano.shape();
        let eta = order.eta.unwrap_or(0.0);
        let method = order.sampler.map_or(Method::Euler, Method::from);
        let sampler = method.sampler(eta).ok_or_else(|| {
            refused("eta", format!("`eta` is {eta}, expected 0 or the sampler `euler`"))
        })?;
        let (consistency, candidates) =
            Mode::with_candidates(order.consistency.map(Mode::from), order.candidates);
        let size = order.size.map_or(shape.size, |(width, height)| [height, width]);
        let frames = order.frames.or(order.seconds.map(|seconds| {
            // The nearest that there is: one frame, then some more at a time.
            let more = (seconds * shape.rate - 1.0) / shape.time as f64;
            shape.frames_of(1 + more.round().max(0.0) as usize)
        }));
        let mut request = Request {
            negative_prompt: order.negative_prompt.clone().unwrap_or_default(),
            seed: order.seed,
            frames: frames.unwrap_or(shape.frames),
            size,
            sampler,
            candidates,
            consistency,
            first_frame: decoded(&pictures.first, size, "input_reference")?,
            last_frame: decoded(&pictures.last, size, "last_frame_image")?,
            subject: decoded(&pictures.subject, [shape.reference; 2], "subject_reference")?,
            ..Request::new(order.prompt.clone(), shape)
        };
        request.steps = order.steps.unwrap_or(request.steps);
        request.shift = order.shift.unwrap_or(request.shift);
        request.guidance = Guidance {
            text: order.guidance.map_or(request.guidance.text, |weight| weight as f32),
            image: order.image_guidance.map_or(request.guidance.image, |weight| weight as f32),
            ..request.guidance
        };
        Ok(request)
    }
}

impl Maker for ClipMaker {
    fn name(&self) -> &str {
        &self.name
    }

    fn created(&self) -> u64 {
        self.created
    }

    fn check(&self, order: Order, pictures: &Pictures) -> Result<Order, Refused> {
        let request = self.request(&order, pictures)?;
        let checked = request.check(self.model.nano.shape(), &self.model.words).map_err(told)?;
        self.pipeline().plan(&checked).map_err(told)?;
        let [height, width] = request.size;
        let rate = self.model.nano.shape().rate;
        for format in [Format::Mp4, Format::Gif] {
            clip::check(format, [request.frames, height, width], rate, None).map_err(unheld)?;
        }
        let eta = match request.sampler {
            Sampler::Euler { eta } => Some(eta),
            _ => None,
        };
        Ok(Order {
            size: Some((width, height)),
            frames: Some(request.frames),
            seconds: Some(request.frames as f64 / rate),
            steps: Some(request.steps),
            guidance: order.guidance.or(Some(request.guidance.text.into())),
            image_guidance: order.image_guidance.or(Some(request.guidance.image.into())),
            eta,
            shift: Some(request.shift),
            sampler: Some(Method::from(request.sampler).ordered()),
            candidates: Some(request.candidates),
            consistency: Some(Mode::from(request.consistency).ordered()),
            ..order
        })
    }

    fn make(
        &self,
        order: &Order,
        pictures: &Pictures,
        watch: &mut Watch<'_>,
        keep: &mut Keep<'_>,
    ) -> Result<Facts, Failed> {
        let request = self.request(order, pictures).map_err(|refused| match refused {
            Refused::Field { message, .. } | Refused::Memory { message } => {
                Failed::Because(message)
            }
        })?;
        let mut shown: Option<Instant> = None;
        let made = self.pipeline().generate(&request, &mut |progress| {
            let preview = shown.is_none_or(|at| at.elapsed() >= PREVIEW).then(|| {
                shown = Some(Instant::now());
                gif(&progress.preview())
            });
            let step = (progress.fraction() * PARTS as f64) as usize;
            watch(Progress { step, steps: PARTS, preview: preview.flatten() })
        });
        let made = made.map_err(|error| match error {
            Error::Cancelled => Failed::Ended,
            error => Failed::Because(error.to_string()),
        })?;
        self.files(&request, &made, keep)
    }
}

impl ClipMaker {
    /// Writes the files, none of which is in memory as a whole but the small ones.
    fn files(
        &self,
        request: &Request,
        made: &Outcome,
        keep: &mut Keep<'_>,
    ) -> Result<Facts, Failed> {
        let clip = &made.clip;
        let facts = output::Facts { request, model: &self.name, made };
        let about = facts.about().to_string();
        let options = Options { scale: None, about: &about };
        let mut encoded = |part, format| {
            keep(part, &mut |out| match encode_to(clip, format, &options, out) {
                Ok(_) => Ok(()),
                Err(error) => Err(io::Error::other(error)),
            })
        };
        let bytes = encoded(Part::Video, Format::Mp4)?;
        encoded(Part::Gif, Format::Gif)?;
        let of_media = |error: media::Error| Failed::Because(error.to_string());
        let mut small = |part, bytes: &[u8]| keep(part, &mut |out| out.write_all(bytes));
        let thumbnail = picture::to_png(clip.frame(0), clip.width, clip.height);
        small(Part::Thumbnail, &thumbnail.map_err(of_media)?)?;
        let (mut flagged, mut repaired) = (Vec::new(), Vec::new());
        if let Some(report) = &made.report {
            small(Part::Report, facts.json().to_string().as_bytes())?;
            let timeline = report.timeline(clip, &request.prompt).svg().map_err(of_media)?;
            small(Part::Timeline, timeline.as_bytes())?;
            flagged = report.flags.iter().map(|flag| flag.frame).collect();
            let again = report.repairs.iter().filter(|repair| repair.accepted);
            repaired = again.flat_map(|repair| repair.frames.clone()).collect();
            repaired.extend(report.postprocessed.iter().map(|done| done.frame));
            for frames in [&mut flagged, &mut repaired] {
                frames.sort_unstable();
                frames.dedup();
            }
        }
        Ok(Facts {
            width: clip.width,
            height: clip.height,
            frames: clip.frames,
            rate: clip.rate,
            bytes,
            flagged,
            repaired,
        })
    }
}

/// A clip as browsers show it in the place of a picture.
fn gif(clip: &media::Clip) -> Option<Vec<u8>> {
    encode(clip, Format::Gif, &Options::default()).ok().map(|(bytes, _)| bytes)
}

/// A picture of the size that is wanted.
fn decoded(bytes: &Option<Vec<u8>>, size: [usize; 2], field: &str) -> Result<Option<Rgb>, Refused> {
    let Some(bytes) = bytes else { return Ok(None) };
    let found = picture::decode(bytes, &Limits::default());
    let found = found.map_err(|error| refused(field, format!("`{field}`: {error}")))?;
    let found = Rgb { height: found.height, width: found.width, data: found.rgb };
    // Sizes without pixels are refused with the rest of the order.
    match size.contains(&0) || [found.height, found.width] == size {
        true => Ok(Some(found)),
        false => Ok(Some(video::fit(&found, size))),
    }
}

fn refused(field: &str, message: String) -> Refused {
    Refused::Field { field: field.to_owned(), message }
}

/// What a client is told of a clip that its files would not hold.
fn unheld(error: media::Error) -> Refused {
    let field = match error {
        media::Error::Mp4TooLong { .. } => "num_frames",
        _ => "size",
    };
    refused(field, format!("`{field}`: {error}"))
}

/// What a client is told, in the words of its request.
fn told(error: Error) -> Refused {
    match error {
        Error::Request { field, found, expected } => {
            let (field, what) = match field {
                "height" | "width" => ("size", field),
                "frames" => ("num_frames", "num_frames"),
                "steps" => ("num_inference_steps", "num_inference_steps"),
                "guidance" => ("guidance_scale", "guidance_scale"),
                "image_guidance" => ("image_guidance_scale", "image_guidance_scale"),
                field => (field, field),
            };
            refused(field, format!("`{what}` is {found}, expected {expected}"))
        }
        Error::Words { field, .. } => refused(field, error.to_string()),
        Error::Memory { .. } => Refused::Memory { message: error.to_string() },
        error => refused("size", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::Device;

    #[test]
    fn memory_that_others_were_promised_is_not_taken() {
        let checked = |spare| {
            let model = Model::open(None, &Device::cpu(1)).unwrap();
            let order = Order { prompt: "a red circle".to_owned(), ..Order::default() };
            ClipMaker::new(model, Some(spare)).check(order, &Pictures::default())
        };
        assert!(checked(1 << 30).is_ok());
        let Err(Refused::Memory { message }) = checked(1000) else { panic!("it is taken") };
        assert!(message.contains("are free"), "{message}");
    }
}
