//! `fulgurite train`: trains a model from a recipe.

use crate::model::read_to_string;
use crate::plot;
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tensor::{Device, atomic};
use train::{Metric, Recipe, Step, Trainer};

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
    let mut items = 0;
    let mut progress = Progress::new(trainer.metrics());
    trainer.history().iter().for_each(|step| progress.see(step));
    while trainer.steps() < last && !interrupted.load(Ordering::Relaxed) {
        let step = trainer.step()?;
        items += step.items;
        progress.see(&step);
        let rate = items as f64 / start.elapsed().as_secs_f64();
        let line = format!("{} {rate:.0} {}/s", progress.line(&step), trainer.unit());
        bar.inc(1);
        if bar.is_hidden() && (step.step.is_multiple_of(20) || progress.is_whole(&step)) {
            eprintln!("{}/{total} {line}", step.step);
        }
        bar.set_message(line);
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

/// What was measured last: not every step measures everything.
struct Progress {
    values: Vec<(&'static str, Option<f64>)>,
}

impl Progress {
    fn new(metrics: &[Metric]) -> Self {
        Self { values: metrics.iter().map(|metric| (metric.name, None)).collect() }
    }

    fn see(&mut self, step: &Step) {
        for (name, value) in &mut self.values {
            *value = step.metric(name).or(*value);
        }
    }

    /// Whether a step has measured everything.
    fn is_whole(&self, step: &Step) -> bool {
        self.values.iter().all(|(name, _)| step.metric(name).is_some())
    }

    fn line(&self, step: &Step) -> String {
        let values = self.values.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        let values: String = values.map(|(name, value)| format!("{name} {value:.4} ")).collect();
        format!("{values}lr {:.1e} gradient {:.2}", step.lr, step.grad_norm)
    }
}

/// Writes the run, the model as a folder that can be loaded, and the curve.
fn write(trainer: &mut Trainer, output: &Path) -> anyhow::Result<()> {
    trainer.save(&output.join(RUN))?;
    trainer.write_model(output)?;
    let curve = plot::curve(trainer.history(), trainer.metrics())?;
    Ok(atomic::atomic_write_bytes(&output.join("loss.svg"), curve.as_bytes())?)
}
