//! `fulgurite train`: trains a model from a recipe.

use crate::model::read_to_string;
use crate::plot;
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tensor::{Device, Precision, atomic, safetensors};
use train::{Recipe, Step, Trainer};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to train and how
    recipe: PathBuf,
    /// The folder to write to
    #[arg(short, long, env = "FULGURITE_OUTPUT", default_value = "trained")]
    output: PathBuf,
    /// Go on from the last checkpoint in the folder
    #[arg(long)]
    resume: bool,
    /// Stop, with a checkpoint, after this step
    #[arg(long)]
    stop_after: Option<u64>,
    /// Train on the GPU of this number, 0 being the first
    #[arg(long, env = "FULGURITE_GPU")]
    gpu: Option<usize>,
}

/// The file a run goes on from.
const RUN: &str = "run.safetensors";

pub(crate) fn run(arguments: &Arguments, cpu: &Device) -> anyhow::Result<()> {
    let device = match arguments.gpu {
        Some(number) => Device::gpu(cpu.num_threads(), number)
            .with_context(|| format!("cannot train on GPU {number}"))?,
        None => cpu.clone(),
    };
    let path = &arguments.recipe;
    let recipe = Recipe::from_toml(&read_to_string(path)?, path)?;
    let total = recipe.total_steps();
    let last = arguments.stop_after.unwrap_or(total).min(total);
    let checkpoint_every = recipe.checkpoint_every.max(1);
    let mut trainer = Trainer::new(recipe, path, &device)?;
    let output = &arguments.output;
    std::fs::create_dir_all(output)
        .with_context(|| format!("cannot make `{}`", output.display()))?;
    if arguments.resume {
        trainer.resume(&output.join(RUN))?;
    } else {
        anyhow::ensure!(
            !output.join(RUN).exists(),
            "`{}` holds a run already: go on with --resume, or give another --output",
            output.display()
        );
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    let bar = ProgressBar::new(total).with_position(trainer.steps());
    bar.set_style(ProgressStyle::with_template("{pos}/{len} {wide_bar} {msg} {eta} left")?);
    let start = Instant::now();
    let mut tokens = 0;
    while trainer.steps() < last && !interrupted.load(Ordering::Relaxed) {
        let step = trainer.step()?;
        tokens += step.tokens;
        let line = progress(&step, tokens as f64 / start.elapsed().as_secs_f64());
        bar.set_message(line.clone());
        bar.inc(1);
        if bar.is_hidden() && step.step.is_multiple_of(20) {
            eprintln!("{}/{total} {line}", step.step);
        }
        if step.step.is_multiple_of(checkpoint_every) {
            write(&mut trainer, output)?;
        }
    }
    bar.abandon();
    write(&mut trainer, output)?;
    let done = trainer.steps();
    if done < total {
        eprintln!("stopped after step {done} of {total}; go on with --resume");
    }
    Ok(())
}

fn progress(step: &Step, tokens_per_second: f64) -> String {
    format!(
        "loss {:.3} accuracy {:.3} lr {:.1e} gradient {:.2} balance {:.2} {tokens_per_second:.0} tok/s",
        step.answer_loss, step.answer_accuracy, step.lr, step.grad_norm, step.balance
    )
}

/// Writes the run, the model as a folder that can be loaded, and the curve.
fn write(trainer: &mut Trainer, output: &Path) -> anyhow::Result<()> {
    trainer.save(&output.join(RUN))?;
    let weights = trainer.weights(Precision::Bf16);
    safetensors::save(&output.join(safetensors::WEIGHTS), weights, &BTreeMap::new())?;
    let config = trainer.config().to_json();
    atomic::atomic_write_bytes(&output.join("config.json"), config.as_bytes())?;
    let marks = serde_json::json!({ "special_tokens": text::lookup::MARKS });
    let marks = format!("{marks:#}\n");
    atomic::atomic_write_bytes(&output.join("byte_tokenizer.json"), marks.as_bytes())?;
    let curve = plot::curve(trainer.history())?;
    Ok(atomic::atomic_write_bytes(&output.join("loss.svg"), curve.as_bytes())?)
}
