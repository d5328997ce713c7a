//! Video models, by the names of inputs that diffusers has.
//!
//! Transformers: `in.hidden_states` `[batch, channels, frames, height, width]`,
//! `in.encoder_hidden_states`, `in.timestep` and what else the model reads, to `out.sample`.
//! Autoencoders: `in.video` to `out.latent` and `out.reconstruction`, or `in.latent` to
//! `out.reconstruction`; also `out.logvar` if the input file has one, to compare with.

use super::{Call, Outputs};
use anyhow::Context as _;
use models::video::dit::DitInput;
use models::video::vae::config::WanVaeConfig;
use models::video::{VideoDit, WanVae, sana as sana_video, wan as wan_video};
use tensor::Checkpoint;

pub(super) fn sana(call: &Call<'_>) -> anyhow::Result<Outputs> {
    let config = sana_video::config_from_json(call.config, call.config_path)?;
    let more = ["guidance", "encoder_attention_mask", "attention_mask"];
    call.inputs.only(&[&REQUIRED[..], &more].concat())?;
    let checkpoint = Checkpoint::open(call.folder)?;
    transformer(call, &sana_video::load(config, &checkpoint, call.device, None)?)
}

pub(super) fn wan(call: &Call<'_>) -> anyhow::Result<Outputs> {
    let config = wan_video::config_from_json(call.config, call.config_path)?;
    call.inputs.only(&[&REQUIRED[..], &["encoder_hidden_states_image"]].concat())?;
    let checkpoint = Checkpoint::open(call.folder)?;
    transformer(call, &wan_video::load(config, &checkpoint, call.device, None)?)
}

const REQUIRED: [&str; 3] = ["hidden_states", "encoder_hidden_states", "timestep"];

fn transformer(call: &Call<'_>, model: &VideoDit) -> anyhow::Result<Outputs> {
    let inputs = call.inputs;
    let optional = |name: &str| inputs.has(name).then(|| inputs.any(name, call.device)).transpose();
    let [latents, text, times] = REQUIRED.map(|name| inputs.any(name, call.device));
    let text_mask = match optional("encoder_attention_mask")? {
        Some(mask) => Some(kept(&mask.to_vec()).with_context(|| {
            let path = inputs.0.path().display();
            format!("`{path}`: `in.encoder_attention_mask` has values other than 0 and 1")
        })?),
        None => None,
    };
    let input = DitInput {
        latents: latents?,
        text: text?,
        text_mask,
        image: optional("encoder_hidden_states_image")?,
        reference: None,
        times: times?.to_vec(),
        guidance: optional("guidance")?.map(|guidance| guidance.to_vec()),
    };
    model.check(&input).with_context(|| format!("`{}`", inputs.0.path().display()))?;
    Ok(Outputs::from([("out.sample".to_owned(), model.forward(&input))]))
}

/// Whether each row is looked at.
fn kept(mask: &[f32]) -> Option<Vec<bool>> {
    let kept = |&value: &f32| (value == 0.0 || value == 1.0).then_some(value == 1.0);
    mask.iter().map(kept).collect()
}

pub(super) fn vae(call: &Call<'_>) -> anyhow::Result<Outputs> {
    let config = WanVaeConfig::from_json(call.config, call.config_path)?;
    let inputs = call.inputs;
    inputs.only(&["video", "latent"])?;
    let checkpoint = Checkpoint::open(call.folder)?;
    let model = WanVae::load(config, &checkpoint, call.device, None)?;
    let path = || format!("`{}`", inputs.0.path().display());
    let mut outputs = Outputs::new();
    let mut latent = None;
    if inputs.has("video") || !inputs.has("latent") {
        let video = inputs.any("video", call.device)?;
        model.check_video(&video).with_context(path)?;
        let posterior = model.encode(&video);
        if inputs.0.contains("out.logvar") {
            outputs.insert("out.logvar".to_owned(), posterior.bounded_log_variance());
        }
        outputs.insert("out.latent".to_owned(), posterior.mean.clone());
        latent = Some(posterior.mean);
    }
    if inputs.has("latent") {
        latent = Some(inputs.any("latent", call.device)?);
    }
    let latent = latent.context("a latent, of a video or given")?;
    model.check_latent(&latent).with_context(path)?;
    outputs.insert("out.reconstruction".to_owned(), model.decode(&latent));
    Ok(outputs)
}
