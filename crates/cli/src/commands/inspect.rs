//! `fulgurite inspect`: what a checkpoint holds.

use crate::model::Place;
use models::Config;
use std::io::Write as _;
use std::path::PathBuf;
use tensor::KvType;
use tensor::gguf::Value;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A model's folder, a safetensors file, a GGUF file, or an embedded model's name
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let place = Place::of(Some(&arguments.path))?;
    let checkpoint = place.checkpoint()?;
    let metadata = checkpoint.metadata();
    let config = match &place {
        // What the file holds is shown even if it is no model of ours.
        Place::Gguf(file) => Config::from_gguf(file).ok(),
        Place::Folder(folder) if !folder.join("config.json").is_file() => None,
        Place::Folder(_) | Place::Embedded => Some(place.config()?),
    };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let tensors: Vec<serde_json::Value> = checkpoint
            .names()
            .map(|name| {
                serde_json::json!({
                    "name": name,
                    "dtype": checkpoint.dtype(name),
                    "shape": checkpoint.shape(name),
                })
            })
            .collect();
        let parameters = config.as_ref().map(|config| config.num_parameters().to_string());
        let value = serde_json::json!({
            "bytes": checkpoint.total_bytes(),
            "parameters": parameters,
            "metadata": metadata.map(|metadata| {
                let short = metadata.iter().map(|(key, value)| (key.clone(), short(value)));
                short.collect::<serde_json::Map<_, _>>()
            }),
            "tensors": tensors,
        });
        return Ok(writeln!(out, "{value:#}")?);
    }
    for (key, value) in metadata.into_iter().flatten() {
        writeln!(out, "{key} = {}", short(value))?;
    }
    for name in checkpoint.names() {
        let dtype = checkpoint.dtype(name).unwrap_or_default();
        let shape = checkpoint.shape(name).unwrap_or_default();
        writeln!(out, "{dtype:<5} {:<20} {name}", format!("{shape:?}"))?;
    }
    writeln!(out, "{} tensors, {} bytes", checkpoint.names().count(), checkpoint.total_bytes())?;
    if let Some(config) = config {
        writeln!(
            out,
            "{} parameters, {} used per token; {} layers; state {} bytes, KV {} bytes per token in \
             bf16",
            config.num_parameters(),
            config.num_active_parameters(),
            config.num_hidden_layers,
            config.state_bytes(),
            config.kv_bytes_per_token(KvType::Bf16),
        )?;
    }
    Ok(())
}

/// Most elements or bytes of a value that is shown whole.
const SHORT: usize = 100;

/// A value, or how long it is.
fn short(value: &Value) -> serde_json::Value {
    match value.to_json() {
        serde_json::Value::Array(list) if list.len() > SHORT => {
            format!("a list of {}", list.len()).into()
        }
        serde_json::Value::String(text) if text.len() > SHORT => {
            format!("a text of {} bytes", text.len()).into()
        }
        short => short,
    }
}
