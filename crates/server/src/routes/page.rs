//! The page: files in the binary, so that nothing is to be set up.

use crate::app::App;
use crate::routes::typed;
use axum::http::{HeaderValue, header};
use axum::routing::{MethodRouter, get};
use std::sync::Arc;

/// Path, media type and text of each file.
const FILES: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("../../web/index.html")),
    ("/app.js", "text/javascript; charset=utf-8", include_str!("../../web/app.js")),
    ("/style.css", "text/css; charset=utf-8", include_str!("../../web/style.css")),
];

/// The page gets its own files and asks this server, and nothing else, whatever a model writes.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

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
