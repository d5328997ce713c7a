//! `/v1/embeddings`: a text as the mean of what the model makes of its tokens.

use crate::app::{App, Model};
use crate::auth::Client;
use crate::backend::{Ask, Backend, Event};
use crate::base64;
use crate::dialogue::{blocking, check_length};
use crate::error::{Error, Kind};
use crate::generate::refused;
use crate::json::Json;
use crate::routes::completions::prompts;
use crate::routes::json;
use crate::wire::embeddings::{
    Embedding, EmbeddingList, EmbeddingRequest, EmbeddingUsage, EncodingFormat, Vector,
};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use engine::{Draft, FinishReason, Flow, Sampling};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use text::Specials;
use tokio::sync::oneshot;

/// Most texts of a request, by the interface.
const MAX_INPUTS: usize = 2048;
/// Texts of a request that the engine is given at once.
const AT_ONCE: usize = 32;

pub(crate) async fn embeddings(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Json(request): Json<EmbeddingRequest>,
) -> Result<Response, Error> {
    let model = app.model(request.model.as_deref())?;
    let EmbeddingRequest { input, encoding_format, dimensions, .. } = request;
    let served = Arc::clone(&model.served);
    let work = move || {
        // What stands for special tokens is text here.
        let inputs = prompts(&served, input, "input", MAX_INPUTS, Specials::AsText)?;
        inputs.iter().try_for_each(|ids| check_length(&served, ids.len(), "input"))?;
        Ok(inputs)
    };
    let inputs = blocking(work).await?;
    let prompt_tokens = inputs.iter().map(|ids| ids.len() as u64).sum();
    let mut data = Vec::with_capacity(inputs.len());
    let mut inputs = inputs.into_iter().peekable();
    while inputs.peek().is_some() {
        let asked = inputs.by_ref().take(AT_ONCE).map(|ids| Asked::new(&model, client, ids));
        for asked in asked.collect::<Result<Vec<_>, _>>()? {
            let values = asked.answer().await?;
            if let Some(wanted) = dimensions.filter(|&wanted| wanted as usize != values.len()) {
                let width = values.len();
                let message = format!("`dimensions` is {wanted}, expected {width}, the model's");
                return Err(Error::invalid("dimensions", message));
            }
            let values = normalized(&values);
            let embedding = match encoding_format {
                None | Some(EncodingFormat::Float) => Vector::Float(values),
                Some(EncodingFormat::Base64) => {
                    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                    Vector::Base64(base64::encode(&bytes))
                }
            };
            data.push(Embedding { object: "embedding", index: data.len(), embedding });
        }
    }
    let usage = EmbeddingUsage { prompt_tokens, total_tokens: prompt_tokens };
    let name = model.served.name.clone();
    Ok(json(&EmbeddingList { object: "list", data, model: name, usage }))
}

/// `values` with length 1, unless all are 0.
fn normalized(values: &[f32]) -> Vec<f32> {
    let square: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
    let scale = if square > 0.0 { square.sqrt().recip() } else { 0.0 };
    values.iter().map(|&x| (f64::from(x) * scale) as f32).collect()
}

/// A text that the engine was given. Dropping it cancels.
#[derive(Debug)]
struct Asked {
    answer: Option<oneshot::Receiver<Result<Vec<f32>, Error>>>,
    backend: Arc<dyn Backend>,
    id: u64,
}

impl Asked {
    fn new(model: &Model, client: Client, ids: Vec<u32>) -> Result<Self, Error> {
        let prompt_tokens = ids.len() as u64;
        let ask = Ask {
            input_ids: ids.into(),
            inserted: Vec::new(),
            marks: Vec::new(),
            sampling: Sampling::GREEDY,
            seed: 0,
            n: 1,
            max_tokens: 0,
            stop_ids: Vec::new(),
            logprobs: None,
            prompt_logprobs: None,
            embed: true,
            mask: None,
            client,
            from: None,
            draft: Draft::Off,
            keep: false,
        };
        let (sender, answer) = oneshot::channel();
        let (mut sender, submitted) = (Some(sender), Instant::now());
        let metrics = Arc::clone(&model.metrics);
        let sink = move |event| {
            let told = match event {
                Event::Embedding(values) => {
                    metrics.request_latency.observe(submitted.elapsed());
                    metrics.prompt_tokens.fetch_add(prompt_tokens, Relaxed);
                    metrics.finished("stop");
                    Some(Ok(values))
                }
                Event::Finished { reason: FinishReason::Cancelled, .. } => {
                    let error =
                        Error::new(Kind::Unavailable, "the answer was ended: the server stops");
                    Some(Err(error.retry_after(Duration::from_secs(30))))
                }
                Event::Finished { reason, .. } => {
                    reason.failure().map(|why| Err(Error::internal(why)))
                }
                _ => None,
            };
            if let Some(told) = told
                && let Some(sender) = sender.take()
            {
                // Nobody listens any more if this fails.
                _ = sender.send(told);
            }
            match &sender {
                Some(sender) if sender.is_closed() => Flow::Stop,
                _ => Flow::Go,
            }
        };
        let backend = Arc::clone(&model.served.backend);
        let id = backend.submit(ask, Box::new(sink)).map_err(refused)?;
        Ok(Self { answer: Some(answer), backend, id })
    }

    async fn answer(mut self) -> Result<Vec<f32>, Error> {
        let Some(answer) = &mut self.answer else {
            return Err(Error::internal("an answer was asked for twice"));
        };
        let told = answer.await;
        self.answer = None;
        told.map_err(|_| Error::internal("the engine gave up a request in silence"))?
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.answer.is_some() {
            self.backend.cancel(self.id);
        }
    }
}
