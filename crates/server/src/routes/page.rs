//! The pages: files in the binary, so that nothing is to be set up.

use crate::app::App;
use crate::routes::typed;
use axum::http::{HeaderValue, header};
use axum::routing::{MethodRouter, get};
use std::sync::Arc;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// A file of the folder `web`.
macro_rules! file {
    ($path:literal, $kind:expr) => {
        ($path, $kind, include_str!(concat!("../../web", $path)))
    };
}

/// Path, media type and text of each file.
pub(super) const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("../../web/index.html")),
    ("/video", HTML, include_str!("../../web/video.html")),
    file!("/favicon.svg", "image/svg+xml"),
    file!("/style.css", STYLE),
    file!("/parts.css", STYLE),
    file!("/attach.css", STYLE),
    file!("/video.css", STYLE),
    file!("/app.js", SCRIPT),
    file!("/api.js", SCRIPT),
    file!("/answer.js", SCRIPT),
    file!("/attach.js", SCRIPT),
    file!("/composer.js", SCRIPT),
    file!("/connection.js", SCRIPT),
    file!("/convert.js", SCRIPT),
    file!("/dialog.js", SCRIPT),
    file!("/dom.js", SCRIPT),
    file!("/gallery.js", SCRIPT),
    file!("/markdown.js", SCRIPT),
    file!("/meter.js", SCRIPT),
    file!("/order.js", SCRIPT),
    file!("/record.js", SCRIPT),
    file!("/result.js", SCRIPT),
    file!("/sessions.js", SCRIPT),
    file!("/talk.js", SCRIPT),
    file!("/tap.js", SCRIPT),
    file!("/video.js", SCRIPT),
    file!("/words.js", SCRIPT),
];

/// The pages get their own files and ask this server, and nothing else, whatever a model writes; what
/// was fetched with a key is shown from memory.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' blob: data:; media-src blob:; connect-src 'self'; \
                      form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

/// Its routes.
pub(crate) fn files() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    let route = |&(path, kind, text): &(&'static str, &'static str, &'static str)| {
        let answer = move || async move {
            let mut response = typed(kind, text);
            for (name, value) in [
                (header::CONTENT_SECURITY_POLICY, POLICY),
                (header::CACHE_CONTROL, "no-cache"),
                (header::REFERRER_POLICY, "no-referrer"),
            ] {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            response
        };
        (path, get(answer))
    };
    FILES.iter().map(route).collect()
}
