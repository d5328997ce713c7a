//! One training step, ours and that of peers, in one run.
//!
//! The program starts itself once per number of threads, because a peer's pool reads its size from
//! the environment. Each of these runs steps alternately, so that a disturbance meets both, and
//! prints one line per trainer; the first process makes a table of them.

mod burn_flex;
mod ours;
mod report;
mod task;

use std::error::Error;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use kernels::{Exec, peak};
use report::Row;
use task::{Shape, Task};

/// Steps that are not measured: memory is new to the process, pools start.
const WARM_UP: usize = 2;

/// One network being trained.
trait Trainer {
    /// What the table calls it.
    fn name(&self) -> &'static str;

    /// Number of trained values.
    fn parameters(&self) -> usize;

    /// One step on `[batch * seq]` ids and their successors; the mean loss in nats before it.
    fn step(&mut self, ids: &[u32], targets: &[u32]) -> f32;
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1))?;
    if let Some(threads) = options.child {
        measure(threads, &options);
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    for threads in &options.threads {
        let output = Command::new(std::env::current_exe()?)
            .args(options.for_child(*threads))
            .env("RAYON_NUM_THREADS", threads.to_string())
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("the run with {threads} threads failed").into());
        }
        for line in String::from_utf8(output.stdout)?.lines() {
            rows.push(Row::parse(line)?);
        }
    }
    let shape = options.shape();
    print!("{}", report::table(&shape, &rows));
    report::same_work(&rows)?;
    Ok(ExitCode::SUCCESS)
}

/// What the user wants.
#[derive(Debug)]
struct Options {
    tiny: bool,
    steps: usize,
    threads: Vec<usize>,
    /// Set in the processes that measure.
    child: Option<usize>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self { tiny: false, steps: 7, threads: vec![1, 2], child: None };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("`{arg}` needs a value"));
            match arg.as_str() {
                "--tiny" => options.tiny = true,
                "--steps" => options.steps = value()?.parse::<usize>()?.max(1),
                "--threads" => {
                    options.threads =
                        value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                "--child" => options.child = Some(value()?.parse()?),
                _ => return Err(format!("`{arg}`: known are --tiny, --steps, --threads").into()),
            }
        }
        Ok(options)
    }

    fn for_child(&self, threads: usize) -> Vec<String> {
        let steps = self.steps.to_string();
        let args = ["--child", &threads.to_string(), "--steps", &steps].map(str::to_owned);
        args.into_iter().chain(self.tiny.then(|| "--tiny".to_owned())).collect()
    }

    fn shape(&self) -> Shape {
        if self.tiny { Shape::TINY } else { Shape::MEASURED }
    }
}

/// Trains all networks alternately and prints a [`Row`] for each.
fn measure(threads: usize, options: &Options) {
    let shape = options.shape();
    let exec = Exec::new(threads);
    let mut task = Task::new(shape);
    let mut trainers: Vec<Box<dyn Trainer>> = vec![
        Box::new(ours::Network::new(shape, threads)),
        Box::new(burn_flex::Training::new(shape)),
    ];
    let mut losses = vec![Vec::new(); trainers.len()];
    let mut seconds = vec![Vec::new(); trainers.len()];
    let before = peak::flops_per_second(&exec);
    for step in 0..WARM_UP + options.steps {
        let (ids, targets) = task.batch();
        for (i, trainer) in trainers.iter_mut().enumerate() {
            let start = Instant::now();
            losses[i].push(trainer.step(&ids, &targets));
            if step >= WARM_UP {
                seconds[i].push(start.elapsed().as_secs_f64());
            }
        }
    }
    let peak = before.max(peak::flops_per_second(&exec));
    for (trainer, (losses, mut seconds)) in trainers.iter().zip(losses.into_iter().zip(seconds)) {
        seconds.sort_by(f64::total_cmp);
        let row = Row {
            threads,
            name: trainer.name().to_owned(),
            parameters: trainer.parameters(),
            first_loss: losses[0],
            last_loss: losses[losses.len() - 1],
            seconds: seconds[seconds.len() / 2],
            peak,
        };
        println!("{}", row.line());
    }
}
