//! `/tokenize` and `/detokenize`.

use crate::app::App;
use crate::convert::{Calling, Must};
use crate::dialogue::{Said, blocking, form_error, most_bytes, prompt, too_long};
use crate::error::Error;
use crate::json::Json;
use crate::routes::chat::definitions;
use crate::routes::json;
use crate::senses::perceived;
use crate::wire::info::{DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse};
use axum::extract::State;
use axum::response::Response;
use serde_json::Map;
use std::sync::Arc;
use text::Specials;

pub(crate) async fn tokenize(
    State(app): State<Arc<App>>,
    Json(request): Json<TokenizeRequest>,
) -> Result<Response, Error> {
    let served = app.model(request.model.as_deref())?.served;
    let work = move || {
        let tokens = match (request.prompt, request.messages) {
            (Some(text), None) => {
                if text.len() > most_bytes(&served) {
                    return Err(too_long(&served, text.len(), "prompt"));
                }
                let special = request.add_special_tokens != Some(false);
                let specials = if special { Specials::Parse } else { Specials::AsText };
                let ids = served.tokenizer.encode(&text, specials);
                ids.map_err(|error| form_error(error.into(), "prompt"))?
            }
            (None, Some(messages)) => {
                let (messages, _rows) = perceived(&served, messages, "messages")?;
                let tools = definitions(request.tools.unwrap_or_default());
                let calling = Calling::new(&served, tools, &Must::Auto, true)?;
                let said = Said {
                    messages: &messages,
                    param: "messages",
                    definitions: &calling.definitions,
                    variables: &Map::new(),
                    begun: None,
                };
                prompt(&served, &said, None)?.ids.to_vec()
            }
            _ => {
                let message = "expected either `prompt` or `messages`";
                return Err(Error::invalid("prompt", message));
            }
        };
        Ok(json(&TokenizeResponse { count: tokens.len(), max_model_len: served.context, tokens }))
    };
    blocking(work).await
}

pub(crate) async fn detokenize(
    State(app): State<Arc<App>>,
    Json(request): Json<DetokenizeRequest>,
) -> Result<Response, Error> {
    let served = app.model(request.model.as_deref())?.served;
    let work = move || {
        if let Some(id) = request.tokens.iter().find(|&&id| id as usize >= served.vocab_size) {
            let vocab = served.vocab_size;
            let message = format!("the token {id} does not exist, expected ids below {vocab}");
            return Err(Error::invalid("tokens", message));
        }
        Ok(json(&DetokenizeResponse { prompt: served.tokenizer.decode(&request.tokens) }))
    };
    blocking(work).await
}
