//! `/v1/videos`: clips are ordered, made one after another, and fetched.

use crate::app::App;
use crate::auth::Client;
use crate::conversation::bytes_of;
use crate::dialogue::blocking;
use crate::error::{Error, Kind};
use crate::json::JsonOrForm;
use crate::routes::content::body;
use crate::routes::{json, typed};
use crate::video::{Consistency, Order, Part, Pictures, State as Stand, View};
use crate::wire::sessions::Deleted;
use crate::wire::videos::{
    ContentQuery, Direction, ListQuery, Picture, Settings, Status, Variant, Video, VideoError,
    VideoList, VideoRequest,
};
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use std::ops::RangeBounds;
use std::sync::Arc;

/// Clips of a list unless it is said.
const DEFAULT_LIMIT: usize = 20;
/// Longest prompts, in bytes.
const MAX_PROMPT_BYTES: usize = 32_000;

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    JsonOrForm(request): JsonOrForm<VideoRequest>,
) -> Result<Response, Error> {
    blocking(move || {
        let queue = app.video(request.model.as_deref())?;
        let id = app.ids.next("video");
        let (order, pictures) = order(request, &id)?;
        Ok(json(&video(&queue.submit(client, &id, order, &pictures)?)))
    })
    .await
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Error> {
    let ListQuery { after, limit, order } = parsed(query)?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    within("limit", Some(limit as f64), 1.0..=100.0, "1 to 100")?;
    let latest_first = order.unwrap_or_default() == Direction::Desc;
    let page = app.video(None)?.list(client, after.as_deref(), limit, latest_first)?;
    let data: Vec<Video> = page.views.iter().map(video).collect();
    Ok(json(&VideoList {
        object: "list",
        first_id: data.first().map(|video| video.id.clone()),
        last_id: data.last().map(|video| video.id.clone()),
        has_more: page.has_more,
        data,
    }))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    Ok(json(&video(&app.video(None)?.show(client, &id)?)))
}

pub(crate) async fn content(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
    query: Result<Query<ContentQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Error> {
    let ContentQuery { variant } = parsed(query)?;
    let queue = app.video(None)?;
    let part = match variant.unwrap_or_default() {
        Variant::Video => Part::Video,
        Variant::Gif => Part::Gif,
        Variant::Thumbnail => Part::Thumbnail,
        Variant::Timeline => Part::Timeline,
        Variant::Report => Part::Report,
        Variant::Preview => {
            let bytes = queue.preview(client, &id)?;
            let kind = if bytes.starts_with(b"GIF8") { "image/gif" } else { "image/png" };
            return Ok(typed(kind, bytes));
        }
    };
    let content = blocking(move || queue.part(client, &id, part)).await?;
    let mut response = typed(part.kind(), body(content));
    // What was made does not change; but others may use this browser.
    let cache = HeaderValue::from_static("private, max-age=31536000, immutable");
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    // A picture that somebody opens alone runs nothing.
    let policy =
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; img-src data:");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    blocking(move || {
        app.video(None)?.delete(client, &id)?;
        Ok(json(&Deleted { id, object: "video.deleted", deleted: true }))
    })
    .await
}

fn parsed<T>(
    query: Result<Query<T>, axum::extract::rejection::QueryRejection>,
) -> Result<T, Error> {
    let wrong = |error: axum::extract::rejection::QueryRejection| {
        Error::new(Kind::Invalid, format!("the query is not valid: {}", error.body_text()))
    };
    Ok(query.map_err(wrong)?.0)
}

/// What a request asks for; `id` decides the seed if it does not.
fn order(request: VideoRequest, id: &str) -> Result<(Order, Pictures), Error> {
    let prompt = checked_prompt(request.prompt)?;
    if request.negative_prompt.as_ref().is_some_and(|text| text.len() > MAX_PROMPT_BYTES) {
        let message = format!("`negative_prompt` has more than {MAX_PROMPT_BYTES} bytes");
        return Err(Error::invalid("negative_prompt", message));
    }
    let count = |count: Option<u64>| count.map(|count| count as f64);
    check_seconds("seconds", request.seconds)?;
    within("num_frames", count(request.num_frames), 1.0..=10_000.0, "1 to 10000")?;
    within("num_inference_steps", count(request.num_inference_steps), 1.0..=1000.0, "1 to 1000")?;
    within("guidance_scale", request.guidance_scale, 0.0..=100.0, "0 to 100")?;
    within("image_guidance_scale", request.image_guidance_scale, 0.0..=100.0, "0 to 100")?;
    within("eta", request.eta, 0.0..=1.0, "0 to 1")?;
    within("shift", request.shift, 0.01..=100.0, "0.01 to 100")?;
    within("candidates", count(request.candidates), 1.0..=64.0, "1 to 64")?;
    if let (Some(_), Some(_)) = (request.seconds, request.num_frames) {
        return Err(Error::invalid(
            "num_frames",
            "`num_frames` and `seconds` are both given, expected one",
        ));
    }
    let first = match (&request.input_reference, &request.first_frame_image) {
        (Some(_), Some(_)) => {
            let message = "`first_frame_image` and `input_reference` are both given, expected one";
            return Err(Error::invalid("first_frame_image", message));
        }
        (picture @ Some(_), None) => ("input_reference", picture),
        (None, picture) => ("first_frame_image", picture),
    };
    let bytes = |(field, picture): (&str, &Option<Picture>)| {
        picture.as_ref().map(|picture| picture_bytes(picture.data(), field)).transpose()
    };
    let pictures = Pictures {
        first: bytes(first)?,
        last: bytes(("last_frame_image", &request.last_frame_image))?,
        subject: bytes(("subject_reference", &request.subject_reference))?,
    };
    let number = |number: Option<u64>| number.map(|number| number as usize);
    let order = Order {
        prompt,
        negative_prompt: request.negative_prompt,
        size: request.size.as_deref().map(size).transpose()?,
        frames: number(request.num_frames),
        seconds: request.seconds,
        seed: request.seed.unwrap_or_else(|| drawn_seed(id)),
        steps: number(request.num_inference_steps),
        guidance: request.guidance_scale,
        image_guidance: request.image_guidance_scale,
        eta: request.eta,
        shift: request.shift,
        sampler: request.sampler,
        candidates: number(request.candidates),
        consistency: request.consistency,
    };
    Ok((order, pictures))
}

/// A prompt that says something and is not endless.
pub(super) fn checked_prompt(prompt: String) -> Result<String, Error> {
    let wrong = |found: &str| {
        let message = format!("`prompt` {found}, expected words that say what is to be seen");
        Err(Error::invalid("prompt", message))
    };
    if prompt.trim().is_empty() {
        return wrong("is empty");
    }
    if prompt.len() > MAX_PROMPT_BYTES {
        return wrong(&format!("has {} bytes of at most {MAX_PROMPT_BYTES}", prompt.len()));
    }
    Ok(prompt)
}

/// A seed for a clip whose order has none: below 2^32, to be said by people.
pub(super) fn drawn_seed(id: &str) -> u64 {
    // Ids end in 16 digits that look like chance, and a count.
    let digits = id.rsplit('_').next().and_then(|digits| digits.get(..8));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

pub(super) fn check_seconds(field: &str, seconds: Option<f64>) -> Result<(), Error> {
    let above = (std::ops::Bound::Excluded(0.0), std::ops::Bound::Included(3600.0));
    within(field, seconds, above, "more than 0 and at most 3600")
}

/// The bytes of a picture in base64.
pub(super) fn picture_bytes(data: &str, field: &str) -> Result<Vec<u8>, Error> {
    if data.starts_with("http://") || data.starts_with("https://") {
        let message = format!(
            "`{field}` is an address, which is not fetched: expected the picture itself as `data:TYPE;base64,BYTES`"
        );
        return Err(Error::invalid(field, message));
    }
    let bytes = bytes_of(data, field)?;
    match bytes.is_empty() {
        true => Err(Error::invalid(field, format!("`{field}` is empty, expected a picture"))),
        false => Ok(bytes),
    }
}

fn within(
    field: &str,
    value: Option<f64>,
    range: impl RangeBounds<f64>,
    expected: &str,
) -> Result<(), Error> {
    match value {
        Some(value) if !range.contains(&value) => {
            Err(Error::invalid(field, format!("`{field}` is {value}, expected {expected}")))
        }
        _ => Ok(()),
    }
}

fn size(text: &str) -> Result<(usize, usize), Error> {
    let parsed = text
        .split_once('x')
        .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let good = parsed.filter(|&(width, height): &(usize, usize)| width > 0 && height > 0);
    good.ok_or_else(|| {
        let text: String = text.chars().take(40).collect();
        let message = format!("`size` is `{text}`, expected width and height such as `64x64`");
        Error::invalid("size", message)
    })
}

/// What a client is told of a job.
fn video(view: &View) -> Video {
    let View { job, is_running, progress, seconds_left, has_preview } = view;
    let order = &job.order;
    let (mut size, mut seconds) =
        (order.size.unwrap_or_default(), order.seconds.unwrap_or_default());
    let mut frames = order.frames;
    let (mut flagged, mut repaired, mut variants) = (Vec::new(), Vec::new(), Vec::new());
    let mut error = None;
    let status = match &job.state {
        Stand::Queued if *is_running => Status::InProgress,
        Stand::Queued => Status::Queued,
        Stand::Completed { facts } => {
            size = (facts.width, facts.height);
            seconds = facts.frames as f64 / facts.rate;
            frames = Some(facts.frames);
            (flagged, repaired) = (facts.flagged.clone(), facts.repaired.clone());
            variants = vec!["video", "gif", "thumbnail"];
            if order.consistency != Some(Consistency::Off) {
                variants.extend(["timeline", "report"]);
            }
            Status::Completed
        }
        Stand::Failed { message } => {
            error = Some(VideoError { code: "failed", message: message.clone() });
            Status::Failed
        }
    };
    // Two digits, as people say it.
    let seconds = ((seconds * 100.0).round() / 100.0).to_string();
    Video {
        id: job.id.clone(),
        object: "video",
        model: job.model.clone(),
        status,
        progress: *progress,
        seconds_left: *seconds_left,
        preview: *has_preview,
        created_at: job.created,
        completed_at: job.ended.filter(|_| status == Status::Completed),
        expires_at: None,
        prompt: order.prompt.clone(),
        size: format!("{}x{}", size.0, size.1),
        seconds,
        quality: "standard",
        remixed_from_video_id: None,
        error,
        settings: Settings {
            seed: order.seed,
            negative_prompt: order.negative_prompt.clone(),
            num_frames: frames,
            num_inference_steps: order.steps,
            guidance_scale: order.guidance,
            image_guidance_scale: order.image_guidance,
            eta: order.eta,
            shift: order.shift,
            sampler: order.sampler,
            consistency: order.consistency,
            candidates: order.candidates,
        },
        flagged_frames: flagged,
        repaired_frames: repaired,
        variants,
    }
}
