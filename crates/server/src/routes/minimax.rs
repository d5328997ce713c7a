//! MiniMax's way to clips: a task, a question where it stands, a file.

use crate::app::App;
use crate::auth::Client;
use crate::dialogue::blocking;
use crate::error::{Error, Kind};
use crate::json::Json;
use crate::routes::json;
use crate::routes::videos::{check_seconds, checked_prompt, drawn_seed, picture_bytes};
use crate::video::{Order, Pictures, State as Stand, View};
use crate::wire::minimax::{
    BaseResp, File, FileQuery, FileResponse, GenerationRequest, GenerationResponse, Images,
    QueryResponse, SubjectReference, TaskQuery,
};
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use std::sync::Arc;

/// How names of MiniMax's models begin, which stand for the one that is served.
const FAMILIES: [&str; 5] = ["T2V-", "I2V-", "S2V-", "MiniMax-Hailuo-", "video-"];

pub(crate) async fn generate(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Json(request): Json<GenerationRequest>,
) -> Result<Response, Error> {
    blocking(move || {
        let is_family = |name: &&str| FAMILIES.iter().any(|family| name.starts_with(family));
        let queue = app.video(request.model.as_deref().filter(|name| !is_family(name)))?;
        let id = app.ids.next("video");
        let (order, pictures) = order(request, &id)?;
        let view = queue.submit(client, &id, order, &pictures)?;
        Ok(json(&GenerationResponse { task_id: view.job.id, base_resp: BaseResp::success() }))
    })
    .await
}

fn order(request: GenerationRequest, id: &str) -> Result<(Order, Pictures), Error> {
    if request.callback_url.is_some() {
        let message =
            "`callback_url` is not offered: ask /v1/query/video_generation where the task stands";
        return Err(Error::invalid("callback_url", message));
    }
    check_seconds("duration", request.duration)?;
    let bytes = |data: &Option<String>, field: &str| {
        data.as_ref().map(|data| picture_bytes(data, field)).transpose()
    };
    let subject = match &request.subject_reference.unwrap_or_default()[..] {
        [] => None,
        [SubjectReference { image, .. }] => match image {
            Images::One(data) => Some(picture_bytes(data, "subject_reference")?),
            Images::List(list) if list.len() == 1 => {
                Some(picture_bytes(&list[0], "subject_reference")?)
            }
            Images::List(list) => return several("pictures of a subject", list.len()),
        },
        several_subjects => return several("subjects", several_subjects.len()),
    };
    let pictures = Pictures {
        first: bytes(&request.first_frame_image, "first_frame_image")?,
        last: bytes(&request.last_frame_image, "last_frame_image")?,
        subject,
    };
    let order = Order {
        prompt: checked_prompt(request.prompt)?,
        seconds: request.duration,
        seed: drawn_seed(id),
        ..Order::default()
    };
    Ok((order, pictures))
}

fn several<T>(what: &str, count: usize) -> Result<T, Error> {
    let message = format!("`subject_reference` has {count} {what}, expected one");
    Err(Error::invalid("subject_reference", message))
}

pub(crate) async fn query(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    query: Result<Query<TaskQuery>, QueryRejection>,
) -> Result<Response, Error> {
    let Query(TaskQuery { task_id }) = query.map_err(|_| missing("task_id"))?;
    let View { job, is_running, .. } = app.video(None)?.show(client, &task_id)?;
    let (mut file_id, mut size) = (String::new(), (0, 0));
    let mut base_resp = BaseResp::success();
    let status = match job.state {
        Stand::Queued if is_running => "Processing",
        Stand::Queued => "Queueing",
        Stand::Completed { facts } => {
            file_id = job.id;
            size = (facts.width, facts.height);
            "Success"
        }
        Stand::Failed { message } => {
            base_resp.status_msg = message;
            "Fail"
        }
    };
    let (video_width, video_height) = size;
    Ok(json(&QueryResponse { task_id, status, file_id, video_width, video_height, base_resp }))
}

pub(crate) async fn retrieve(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    query: Result<Query<FileQuery>, QueryRejection>,
) -> Result<Response, Error> {
    let Query(FileQuery { file_id }) = query.map_err(|_| missing("file_id"))?;
    let job = app.video(None)?.show(client, &file_id)?.job;
    let bytes = match job.state {
        Stand::Completed { facts } => facts.bytes,
        Stand::Failed { message } => {
            return Err(Error::new(Kind::NotFound, format!("there is no clip: {message}")));
        }
        Stand::Queued => {
            return Err(Error::new(Kind::NotFound, "the clip is not completed yet"));
        }
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let download_url =
        format!("http://{}/v1/videos/{file_id}/content", host.unwrap_or("localhost"));
    let file = File {
        created_at: job.ended.unwrap_or(job.created),
        file_id,
        bytes,
        filename: "output.mp4",
        purpose: "video_generation",
        download_url,
    };
    Ok(json(&FileResponse { file, base_resp: BaseResp::success() }))
}

fn missing(field: &str) -> Error {
    Error {
        param: Some(field.to_owned()),
        ..Error::new(Kind::Invalid, format!("the query lacks `{field}`"))
    }
}
