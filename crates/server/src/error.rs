//! What a client is told when something goes wrong: whose fault it is, and whether to try again.
//!
//! An [`Error`] becomes a response without a body that carries the error as an extension; the
//! outermost layer writes the envelope, since only it knows which dialect the path speaks.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// One failed request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure it is.
    pub kind: Kind,
    /// One sentence.
    pub message: String,
    /// The field that is wrong, such as `messages[0].content`.
    pub param: Option<String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request makes no sense.
    Invalid,
    /// Prompt and answer are longer than the model's context.
    ContextLength,
    /// They need more memory than there is, whoever else waits.
    Memory,
    /// No key, or a wrong one.
    Unauthorized,
    /// A name of a host that this server is not.
    Forbidden,
    /// A model that is not served.
    ModelNotFound,
    /// Anything else that is not there.
    NotFound,
    /// A route that is there, but not for this method.
    MethodNotAllowed,
    /// The body took too long to arrive.
    RequestTimeout,
    /// What is to be made is there already.
    Conflict,
    /// A body over the limit.
    TooLarge,
    /// A body that is not JSON.
    MediaType,
    /// Headers over the limit.
    HeadersTooLarge,
    /// Too many requests wait.
    Busy,
    /// Our fault.
    Server,
    /// Not yet, or not any more: loading or draining.
    Unavailable,
}

impl Kind {
    fn status(self) -> StatusCode {
        match self {
            Self::Invalid | Self::ContextLength | Self::Memory => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::ModelNotFound | Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Server => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// `type` of OpenAI's envelope.
    fn openai(self) -> &'static str {
        match self {
            Self::Unauthorized => "authentication_error",
            Self::Forbidden => "permission_error",
            Self::Busy => "rate_limit_error",
            Self::Server => "server_error",
            Self::Unavailable => "service_unavailable_error",
            _ => "invalid_request_error",
        }
    }

    /// `code` of OpenAI's envelope.
    fn code(self) -> Option<&'static str> {
        match self {
            Self::ContextLength => Some("context_length_exceeded"),
            Self::Memory => Some("memory_exceeded"),
            Self::Unauthorized => Some("invalid_api_key"),
            Self::ModelNotFound => Some("model_not_found"),
            Self::NotFound => Some("not_found"),
            Self::MethodNotAllowed => Some("method_not_allowed"),
            Self::RequestTimeout => Some("request_timeout"),
            Self::Conflict => Some("already_exists"),
            Self::TooLarge => Some("request_too_large"),
            Self::MediaType => Some("unsupported_media_type"),
            Self::HeadersTooLarge => Some("headers_too_large"),
            Self::Busy => Some("rate_limit_exceeded"),
            Self::Server => Some("internal_error"),
            Self::Unavailable => Some("unavailable"),
            Self::Invalid | Self::Forbidden => None,
        }
    }

    /// `status_code` of MiniMax's envelope, as its list of errors has them.
    fn minimax(self) -> u32 {
        match self {
            Self::Unauthorized => 1004,
            Self::Busy => 1002,
            Self::RequestTimeout => 1001,
            Self::Server | Self::Unavailable => 1000,
            _ => 2013,
        }
    }

    /// `type` of Anthropic's envelope.
    fn anthropic(self) -> &'static str {
        match self {
            Self::Unauthorized => "authentication_error",
            Self::Forbidden => "permission_error",
            Self::ModelNotFound | Self::NotFound => "not_found_error",
            Self::TooLarge => "request_too_large",
            Self::RequestTimeout => "timeout_error",
            Self::Busy => "rate_limit_error",
            Self::Server => "api_error",
            Self::Unavailable => "overloaded_error",
            _ => "invalid_request_error",
        }
    }
}

/// Whose envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Anthropic,
    MiniMax,
}

impl Dialect {
    /// The one spoken below `path`.
    pub(crate) fn of(path: &str) -> Self {
        let rest = path.strip_prefix("/v1/messages");
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Self::Anthropic;
        }
        match path {
            "/v1/video_generation" | "/v1/query/video_generation" | "/v1/files/retrieve" => {
                Self::MiniMax
            }
            _ => Self::OpenAi,
        }
    }
}

impl Error {
    /// An error of `kind`, said in `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None, retry_after: None }
    }

    /// A wrong value of the field `param`.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::new(Kind::Invalid, message) }
    }

    /// A failure of ours; the cause goes to the log and not to the client.
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!("internal error: {cause}");
        Self::new(Kind::Server, "the server failed; its log says why")
    }

    /// The same with the time after which to try again.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// The status that goes with it.
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// The envelope in `dialect`; `id` is the request's.
    pub(crate) fn envelope(&self, dialect: Dialect, id: &str) -> serde_json::Value {
        match dialect {
            Dialect::OpenAi => serde_json::json!({"error": {
                "message": self.message,
                "type": self.kind.openai(),
                "param": self.param,
                "code": self.kind.code(),
            }}),
            Dialect::Anthropic => {
                let message = match &self.param {
                    Some(param) if !self.message.contains(&param[..]) => {
                        format!("{param}: {}", self.message)
                    }
                    _ => self.message.clone(),
                };
                serde_json::json!({
                    "type": "error",
                    "error": {"type": self.kind.anthropic(), "message": message},
                    "request_id": id,
                })
            }
            Dialect::MiniMax => serde_json::json!({"base_resp": {
                "status_code": self.kind.minimax(),
                "status_msg": self.message,
            }}),
        }
    }

    /// The whole response in `dialect`.
    pub(crate) fn response(&self, dialect: Dialect, id: &str) -> Response {
        let mut response = self.clone().into_response();
        response.extensions_mut().remove::<Self>();
        *response.body_mut() = Body::from(self.envelope(dialect, id).to_string());
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if let Some(after) = self.retry_after {
            let seconds = HeaderValue::from(after.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if self.kind == Kind::Unauthorized {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response.extensions_mut().insert(self);
        response
    }
}
