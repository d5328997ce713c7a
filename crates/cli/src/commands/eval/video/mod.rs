//! `fulgurite eval video`: what generated clips show, and what finds faults in clips.
//!
//! Every table has what bounds it from above, rendered clips and what the autoencoder leaves of them, and
//! from below, clips judged by another one's prompt.

mod cost;
mod diversity;
mod faults;
mod images;
mod judge;
mod maker;
mod measured;
mod prompts;
mod subjects;

use crate::commands::video::model::Model;
use crate::failure::Misuse;
use crate::plot;
use maker::Maker;
use measured::Measured;
use std::io::Write as _;
use std::path::PathBuf;
use tensor::{Device, atomic};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The model's folder; the embedded model unless set
    #[arg(long, env = "FULGURITE_VIDEO_MODEL")]
    model: Option<PathBuf>,
    /// What is measured; several are separated by commas
    #[arg(long, value_delimiter = ',', default_value = "prompts")]
    what: Vec<What>,
    /// Clips of each row
    #[arg(
        long,
        default_value = "100",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1 << 20),
    )]
    count: usize,
    /// Decides the clips
    #[arg(long, env = "FULGURITE_SEED", default_value_t = 1)]
    seed: u64,
    /// Frames of the clips; those of the model, or 9, unless set
    #[arg(
        long,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(5..=4097),
    )]
    frames: Option<usize>,
    /// Steps of sampling
    #[arg(
        long,
        env = "FULGURITE_STEPS",
        default_value_t = video::request::DEFAULT_STEPS,
    )]
    steps: usize,
    /// How much more than the model would is done of the prompt
    #[arg(long, env = "FULGURITE_GUIDANCE", default_value_t = video::request::DEFAULT_GUIDANCE)]
    guidance: f32,
    /// How much noise a step renews, 0 to 1
    #[arg(long, env = "FULGURITE_ETA", default_value_t = 0.0)]
    eta: f64,
    /// Draw what is measured as SVG, for `cost` and `diversity`
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Print the tables as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Faults that are put into rendered clips: found, and where; needs no model
    Faults,
    /// The judge on rendered clips and, with a model, on what its autoencoder leaves of them
    GroundTruth,
    /// Colours, shapes and motions of clips made from prompts
    Prompts,
    /// Clips made from a first frame
    Images,
    /// Clips made from a picture of a subject
    Subjects,
    /// How different clips of one prompt are, by `eta`
    Diversity,
    /// Time of a step by the length of the clip, with linear and softmax layers
    Cost,
}

impl What {
    fn needs_model(self) -> bool {
        !matches!(self, Self::Faults | Self::GroundTruth)
    }
}

pub(crate) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    let drawn: Vec<_> =
        arguments.what.iter().filter(|w| matches!(w, What::Cost | What::Diversity)).collect();
    if arguments.plot.is_some() && drawn.len() != 1 {
        let message = "--plot draws one of `cost` and `diversity`".to_owned();
        return Err(Misuse(message).into());
    }
    let wanted = arguments.model.is_some() || arguments.what.iter().any(|w| w.needs_model());
    let model = wanted.then(|| Model::open(arguments.model.as_deref(), device)).transpose()?;
    let maker = Maker::new(model.as_ref(), arguments);
    let mut tables = Vec::new();
    for what in &arguments.what {
        let (mut made, picture): (Vec<Measured>, _) = match what {
            What::Faults => (faults::measure(&maker)?, None),
            What::GroundTruth => (vec![prompts::ground_truth(&maker)?], None),
            What::Prompts => (prompts::measure(&maker)?, None),
            What::Images => (vec![images::measure(&maker)?], None),
            What::Subjects => (vec![subjects::measure(&maker)?], None),
            What::Diversity => diversity::measure(&maker).map(|(t, p)| (vec![t], Some(p)))?,
            What::Cost => cost::measure(&maker, device).map(|(t, p)| (vec![t], Some(p)))?,
        };
        if let (Some(path), Some((axes, lines))) = (&arguments.plot, picture) {
            atomic::atomic_write_bytes(path, plot::lines(&axes, &lines)?.as_bytes())?;
        }
        tables.append(&mut made);
    }
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let tables: Vec<_> = tables.iter().map(Measured::to_json).collect();
        return Ok(writeln!(out, "{}", serde_json::Value::from(tables))?);
    }
    for table in &tables {
        writeln!(out, "{}\n\n{}", table.title, table.to_markdown())?;
    }
    Ok(())
}
