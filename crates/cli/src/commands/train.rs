//! `fulgurite train`: trains a model from a recipe.

use crate::model::read_to_string;
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use plotters::prelude::*;
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
}

/// The file a run goes on from.
const RUN: &str = "run.safetensors";

pub(crate) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    let path = &arguments.recipe;
    let recipe = Recipe::from_toml(&read_to_string(path)?, path)?;
    let total = recipe.total_steps();
    let last = arguments.stop_after.unwrap_or(total).min(total);
    let checkpoint_every = recipe.checkpoint_every.max(1);
    let mut trainer = Trainer::new(recipe, path, device)?;
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
    let marks = serde_json::json!({ "special_tokens": train::tokens::MARKS });
    let marks = format!("{marks:#}\n");
    atomic::atomic_write_bytes(&output.join("byte_tokenizer.json"), marks.as_bytes())?;
    let curve = curve(trainer.history())?;
    Ok(atomic::atomic_write_bytes(&output.join("loss.svg"), curve.as_bytes())?)
}

/// Loss and accuracy by step, as SVG.
fn curve(history: &[Step]) -> anyhow::Result<String> {
    let mut svg = String::new();
    let steps = history.len().max(2) as f64;
    // Means of up to 200 runs of steps: single steps are noise.
    let width = history.len().div_ceil(200).max(1);
    let mean = |of: fn(&Step) -> f64| -> Vec<(f64, f64)> {
        let means = history.chunks(width).map(|run| {
            let sum: f64 = run.iter().map(of).sum();
            (run[run.len() / 2].step as f64, sum / run.len() as f64)
        });
        means.collect()
    };
    let (loss, accuracy) = (mean(|s| s.answer_loss), mean(|s| s.answer_accuracy));
    let top = loss.iter().map(|(_, y)| *y).fold(0.1, f64::max);
    let draw = |svg: &mut String| -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(svg, (800, 420)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(48)
            .right_y_label_area_size(48)
            .build_cartesian_2d(0.0..steps, 0.0..top)?
            .set_secondary_coord(0.0..steps, 0.0..1.0);
        chart.configure_mesh().x_desc("step").y_desc("loss of answers, nats per byte").draw()?;
        chart.configure_secondary_axes().y_desc("share of answers' bytes right").draw()?;
        chart
            .draw_series(LineSeries::new(loss.iter().copied(), &RED))?
            .label("loss")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], RED));
        chart
            .draw_secondary_series(LineSeries::new(accuracy.iter().copied(), &BLUE))?
            .label("accuracy")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BLUE));
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::MiddleRight)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        Ok(root.present()?)
    };
    draw(&mut svg).map_err(|error| anyhow::anyhow!("cannot draw the curve: {error}"))?;
    Ok(svg)
}
