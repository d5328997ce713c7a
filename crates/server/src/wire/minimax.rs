//! `/v1/video_generation` and what belongs to it, as MiniMax has them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A clip that is ordered.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct GenerationRequest {
    /// The model: the one that is served, or a name of MiniMax's such as `S2V-01`, which stands for it.
    pub model: Option<String>,
    /// What is to be seen.
    #[schemars(length(min = 1, max = 32_000))]
    pub prompt: String,
    /// The first frame in base64, with or without `data:TYPE;base64,` in front.
    pub first_frame_image: Option<String>,
    /// The last frame.
    pub last_frame_image: Option<String>,
    /// Somebody or something that is to be seen; one.
    #[schemars(length(max = 1))]
    pub subject_reference: Option<Vec<SubjectReference>>,
    /// How long the clip is.
    #[schemars(range(max = 3600.0), extend("exclusiveMinimum" = 0))]
    pub duration: Option<f64>,
    /// Not offered: nobody is called back.
    pub callback_url: Option<String>,
}

/// A subject.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct SubjectReference {
    /// `character`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// A picture of it, or a list of one.
    pub image: Images,
}

/// Pictures in base64, with or without `data:TYPE;base64,` in front.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a picture or a list of one")]
pub enum Images {
    /// One.
    One(String),
    /// A list.
    List(#[schemars(length(min = 1, max = 1))] Vec<String>),
}

/// How a request went.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BaseResp {
    /// 0: well.
    pub status_code: u32,
    /// In words.
    pub status_msg: String,
}

impl BaseResp {
    pub(crate) fn success() -> Self {
        Self { status_code: 0, status_msg: "success".to_owned() }
    }
}

/// An order that was taken.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct GenerationResponse {
    /// The name of the clip.
    pub task_id: String,
    /// How it went.
    pub base_resp: BaseResp,
}

/// Which clip.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct TaskQuery {
    /// Its name.
    pub task_id: String,
}

/// Where a clip stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct QueryResponse {
    /// Its name.
    pub task_id: String,
    /// `Queueing`, `Processing`, `Success` or `Fail`.
    pub status: &'static str,
    /// The name of its file, once it is there; else empty.
    pub file_id: String,
    /// In pixels, before frames are enlarged; 0 until it is there.
    pub video_width: usize,
    /// In pixels, before frames are enlarged; 0 until it is there.
    pub video_height: usize,
    /// How it went.
    pub base_resp: BaseResp,
}

/// Which file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct FileQuery {
    /// Its name.
    pub file_id: String,
}

/// A file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FileResponse {
    /// What is told of it.
    pub file: File,
    /// How it went.
    pub base_resp: BaseResp,
}

/// What is told of a file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct File {
    /// Its name.
    pub file_id: String,
    /// How long it is.
    pub bytes: u64,
    /// Seconds since 1970.
    pub created_at: u64,
    /// `output.mp4`.
    pub filename: &'static str,
    /// `video_generation`.
    pub purpose: &'static str,
    /// Where it is; asks for the same key.
    pub download_url: String,
}
