//! `/v1/embeddings`: a text as the mean of what the model makes of its tokens.

use crate::app::{App, Served};
use crate::auth::Client;
use crate::base64;
use crate::dialogue::{blocking, check_length};
use crate::error::Error;
use crate::form::Prompt;
use crate::generate::{self, Job};
use crate::guard::Notes;
use crate::json::Json;
use crate::routes::completions::prompts;
use crate::routes::json;
use crate::wire::embeddings::{
    Embedding, EmbeddingList, EmbeddingRequest, EmbeddingUsage, EncodingFormat, Input, Vector,
};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use engine::Sampling;
use std::sync::Arc;
use text::{AnswerForm, Specials};

/// Most texts of a request, by the interface.
const MAX_INPUTS: usize = 2048;
/// Texts of a request that the engine is given at once.
const AT_ONCE: usize = 32;

pub(crate) async fn embeddings(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Extension(notes): Extension<Notes>,
    Json(request): Json<EmbeddingRequest>,
) -> Result<Response, Error> {
    let model = app.model(request.model.as_deref())?;
    let EmbeddingRequest { input, encoding_format, dimensions, .. } = request;
    let served = Arc::clone(&model.served);
    let mut jobs = blocking(move || jobs(&served, input)).await?;
    let mut data = Vec::with_capacity(jobs.len());
    let mut prompt_tokens = 0;
    while !jobs.is_empty() {
        let rest = jobs.split_off(jobs.len().min(AT_ONCE));
        let generation = generate::start(&app, &model, client, std::mem::replace(&mut jobs, rest))?;
        let collected = generation.collect(&notes).await?;
        prompt_tokens += collected.counts.prompt as u64;
        for whole in collected.answers {
            let width = whole.embedding.len();
            if let Some(wanted) = dimensions.filter(|&wanted| wanted as usize != width) {
                let message = format!("`dimensions` is {wanted}, expected {width}, the model's");
                return Err(Error::invalid("dimensions", message));
            }
            let embedding = vector(&whole.embedding, encoding_format);
            data.push(Embedding { object: "embedding", index: data.len(), embedding });
        }
    }
    let usage = EmbeddingUsage { prompt_tokens, total_tokens: prompt_tokens };
    let name = model.served.name.clone();
    Ok(json(&EmbeddingList { object: "list", data, model: name, usage }))
}

/// A job for each text. What stands for special tokens is text here.
pub(super) fn jobs(served: &Served, input: Input) -> Result<Vec<Job>, Error> {
    let prompts = prompts(served, input.into(), "input", MAX_INPUTS, Specials::AsText)?;
    let job = |ids: Vec<u32>| {
        check_length(served, ids.len(), "input")?;
        Ok(Job {
            prompt: Prompt::free(ids, vec![]),
            sampling: Sampling::GREEDY,
            seed: 0,
            n: 1,
            max_tokens: Some(0),
            logprobs: None,
            prompt_logprobs: None,
            embed: true,
            mask: None,
            form: AnswerForm::default(),
            from: None,
            keeper: None,
            rows: None,
        })
    };
    prompts.into_iter().map(job).collect()
}

/// `values` with length 1, unless all are 0, as `format` says.
fn vector(values: &[f32], format: Option<EncodingFormat>) -> Vector {
    let square: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
    let scale = if square > 0.0 { square.sqrt().recip() } else { 0.0 };
    let values = values.iter().map(|&x| (f64::from(x) * scale) as f32);
    match format {
        None | Some(EncodingFormat::Float) => Vector::Float(values.collect()),
        Some(EncodingFormat::Base64) => {
            let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
            Vector::Base64(base64::encode(&bytes))
        }
    }
}
