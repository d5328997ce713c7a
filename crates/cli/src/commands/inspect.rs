//! `fulgurite inspect`: what a checkpoint holds.

use std::io::Write as _;
use std::path::PathBuf;
use tensor::Checkpoint;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A model's folder or a safetensors file
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let checkpoint = Checkpoint::open(&arguments.path)?;
    let config = if arguments.path.join("config.json").is_file() {
        Some(crate::model::Place::Folder(arguments.path.clone()).config()?)
    } else {
        None
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
            "tensors": tensors,
        });
        return Ok(writeln!(out, "{value:#}")?);
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
            "{} parameters, {} used per token; {} layers; state {} bytes, KV {} bytes per token",
            config.num_parameters(),
            config.num_active_parameters(),
            config.num_hidden_layers,
            config.state_bytes(),
            config.kv_bytes(1),
        )?;
    }
    Ok(())
}
