//! Towers that see and hear: rows in which the language model reads what there is.
//!
//! ```text
//! loss = sum_i w_i [ -log p(t_i | x_i) + w_d |x_i - E[t_i]|^2 / d^2 ] + w_a cross-entropy of answers
//! p(t | x) ~ exp(-|x - E[t]|^2 / 2 s)
//! ```
//!
//! `w_i` is larger for values than for labels, and adds up to the same for all transcripts.
//! `x_i` are the tower's rows, `t_i` the bytes of the transcript with spaces behind it, `E` the
//! language model's embeddings, `d` the distance of neighbours among them. Answers are those of the
//! language model, which has read the rows as it reads a text and stays as it is; gradients come
//! through it.

mod marks;
mod target;
mod tower;

use super::{Accumulated, Curve, Measured, Metric, Objective, Role, Visit, beside};
use crate::batches::Batches;
use crate::clips::Split;
use crate::recipe::{Sense, Transcribe as Section};
use crate::senses::Question;
use crate::tokens::{END, Example};
use crate::{Error, Recipe};
use marks::Heads;
use models::weights::ToTrain;
use models::{Batch, CausalLm as _, Config, Inserted, MiniMaxText01};
use std::collections::BTreeMap;
use std::path::Path;
use target::Target;
use tensor::{Checkpoint, Device, Gradients, Precision, Rng, Saved, Tensor};
use tower::{Drawn, Tower};

/// Streams of examples that are no step's.
const OTHER: u64 = 1 << 60;

const METRICS: [Metric; 7] = [
    // Weighted mean loss of a transcript's bytes in nats.
    Metric { name: "loss", curve: Some(Curve { label: "loss, nats per byte", height: |x| x }) },
    // Weighted mean loss of what patches show, and the share of those with something that say what.
    Metric { name: "marks", curve: None },
    Metric { name: "seen", curve: None },
    // Mean loss of the answers' bytes.
    Metric { name: "answer", curve: None },
    // Shares of held-out bytes, lines and answers that are right.
    Metric { name: "bytes", curve: None },
    Metric {
        name: "lines",
        curve: Some(Curve { label: "held-out lines wrong", height: |share| 1.0 - share }),
    },
    Metric {
        name: "answers",
        curve: Some(Curve { label: "held-out answers wrong", height: |share| 1.0 - share }),
    },
];

#[derive(Debug)]
pub(super) struct Transcribe {
    tower: Tower,
    language: MiniMaxText01,
    target: Target,
    heads: Option<Heads>,
    batches: Batches<Vec<Drawn>>,
    section: Section,
    /// The text of `config.json`: the recipe's `model`.
    config: String,
    seed: u64,
    device: Device,
}

/// Sums over a step.
#[derive(Default)]
struct Sums {
    loss: f64,
    weight: f64,
    answer_loss: f64,
    answer_bytes: f64,
    marks: f64,
    marks_weight: f64,
    /// Right and all of patches with something.
    seen: [u64; 2],
    /// Right and all of bytes, lines and answers.
    bytes: [u64; 2],
    lines: [u64; 2],
    answers: [u64; 2],
}

impl Transcribe {
    pub(super) fn new(recipe: &Recipe, path: &Path, device: &Device) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Recipe { path: path.to_owned(), reason };
        let section = recipe.transcribe.clone();
        let section = section.ok_or_else(|| wrong("`transcribe` is missing".to_owned()))?;
        let json = serde_json::to_vec(&recipe.model).map_err(|error| wrong(error.to_string()))?;
        let tower = Tower::new(section.of, &json, recipe, path, device)?;
        let folder = beside(path, &section.language);
        let language = language(&folder, recipe, device)?;
        let (hidden, expected) = (tower.hidden_size(), language.config().hidden_size);
        if hidden != expected {
            let reason = format!(
                "`model.text_config.hidden_size` is {hidden}, expected {expected}, the width of `{}`",
                folder.display()
            );
            return Err(wrong(reason));
        }
        let heads = heads(&section, &tower, device, recipe.seed).map_err(wrong)?;
        let target = Target::new(device, language.embeddings());
        let drawn = (section.clone(), tower.front());
        let seed = recipe.seed;
        let batches = Batches::new(section.steps, 1, move |step| {
            let (section, front) = &drawn;
            let mut rng = Rng::stream(seed, step);
            let sizes = (0..section.examples).step_by(section.examples_at_once);
            let size = |first| section.examples_at_once.min(section.examples - first);
            sizes.map(|first| front.draw(size(first), Split::Train, &mut rng)).collect()
        });
        let config =
            serde_json::to_string_pretty(&recipe.model).map_err(|e| wrong(e.to_string()))?;
        Ok(Self {
            tower,
            language,
            target,
            heads,
            batches,
            section,
            config: config + "\n",
            seed,
            device: device.clone(),
        })
    }

    /// The loss of what was drawn; counts are added to `sums`.
    fn loss(&self, drawn: Drawn, sums: &mut Sums) -> Tensor {
        let (n, batch) = (self.tower.num_rows(), drawn.transcripts.len());
        let input = drawn.input.clone();
        let input = Tensor::new(&self.device, &self.tower.input_shape(batch), input);
        let (rows, marks) = match &self.heads {
            Some(heads) => {
                let (rows, state) = self.tower.rows_and_state(&input, heads.state());
                (rows, Some(heads.loss(&state, &drawn, sums)))
            }
            None => (self.tower.rows(&input), None),
        };
        let Drawn { transcripts, questions, .. } = drawn;
        let hidden = rows.last_dim(); // of [batch, n, hidden]
        let rows = rows.reshape(&[batch * n, hidden]);
        let targets: Vec<u32> = transcripts.iter().flat_map(|t| target::bytes(t, n)).collect();
        let weights: Vec<f32> = transcripts.iter().flat_map(|t| target::weights(t, n)).collect();
        let ones = Tensor::full(&self.device, &[batch * n, 1], 1.0);
        let read = Tensor::cat(&[&rows, &ones], 1);
        let read = read.cross_entropy(&self.target.head, &targets, &weights);
        sums.count_rows(&transcripts, n, &targets, &read.best);
        sums.loss += f64::from(read.total.to_vec()[0]);
        sums.weight += weights.iter().map(|w| f64::from(*w)).sum::<f64>();
        let places = self.language.embeddings().embed(&targets.into()).to_vec();
        let scale = self.section.distance / self.target.spacing;
        let scales: Vec<f32> =
            weights.iter().flat_map(|w| std::iter::repeat_n(w * scale, hidden)).collect();
        let mut total = read.total.add_scaled(1.0, &rows.squared_error(&places, &scales), 1.0);
        if let Some(marks) = marks {
            total = total.add_scaled(1.0, &marks, 1.0);
        }
        if self.section.questions > 0 {
            let answers = self.answers(&questions, &rows, sums);
            total = total.add_scaled(1.0, &answers, self.section.answer_weight);
        }
        total
    }

    /// Cross-entropy of the answers that the language model gives to each picture's `questions` when it
    /// has read its rows, of `[batch * rows, hidden]`.
    fn answers(&self, questions: &[Vec<Question>], rows: &Tensor, sums: &mut Sums) -> Tensor {
        let n = self.tower.num_rows();
        let blank = " ".repeat(n);
        let asked = |questions: &Vec<Question>| {
            let asked = questions.iter().take(self.section.questions);
            let asked: Vec<_> = asked.map(|q| (&*q.text, &*q.answer)).collect();
            Example::of(&blank, asked, 0.0, 0.0)
        };
        let examples: Vec<Example> = questions.iter().map(asked).collect();
        let all = || examples.iter().flat_map(|e| e.targets.iter().zip(&e.weights));
        let asked: Vec<usize> =
            all().enumerate().filter(|(_, (_, weight))| **weight > 0.0).map(|(i, _)| i).collect();
        let (targets, weights): (Vec<u32>, Vec<f32>) =
            all().filter(|(_, weight)| **weight > 0.0).unzip();
        let mut places = Vec::with_capacity(rows.rows());
        let mut first = 0;
        for example in &examples {
            // Behind the mark that begins a text.
            places.extend(first + 1..first + 1 + n);
            first += example.input_ids.len();
        }
        let batch = Batch::new(examples.iter().map(|e| (&e.input_ids[..], 0)), &asked);
        let batch = batch.with(Inserted { tokens: places.into(), rows: rows.clone() });
        let output = self.language.forward(&batch, None);
        let said = output.hidden.cross_entropy(self.language.lm_head(), &targets, &weights);
        sums.answer_loss += said.losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
        sums.answer_bytes += targets.len() as f64;
        let mut right = true;
        for (target, best) in targets.iter().zip(&said.best) {
            right &= target == best;
            if *target == END {
                sums.answers[0] += u64::from(right);
                sums.answers[1] += 1;
                right = true;
            }
        }
        said.total
    }
}

impl Sums {
    /// Counts bytes and lines of transcripts that are read right.
    fn count_rows(&mut self, transcripts: &[String], rows: usize, targets: &[u32], best: &[u32]) {
        for (i, transcript) in transcripts.iter().enumerate() {
            let len = transcript.len();
            let right = |at: usize| targets[i * rows + at] == best[i * rows + at];
            self.bytes[0] += (0..len).filter(|at| right(*at)).count() as u64;
            self.bytes[1] += len as u64;
            let mut first = 0;
            for line in transcript.split_inclusive('\n') {
                let end = first + line.len();
                self.lines[0] += u64::from((first..end).all(right));
                self.lines[1] += 1;
                first = end;
            }
        }
    }
}

impl Objective for Transcribe {
    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn unit(&self) -> &'static str {
        match self.section.of {
            Sense::Pictures => "pictures",
            Sense::Sounds => "sounds",
        }
    }

    fn for_each_parameter(&mut self, visit: Visit<'_>) {
        self.tower.for_each_parameter(&mut |name, tensor| {
            let is_rows = name.ends_with("class_embedding") || name.contains("position");
            let is_matrix = tensor.shape().len() == 2 && !is_rows;
            visit(name, if is_matrix { Role::Hidden } else { Role::Free }, tensor);
        });
        if let Some(heads) = &mut self.heads {
            heads.for_each_parameter(&mut |name, tensor| visit(name, Role::Free, tensor));
        }
    }

    fn accumulate(&mut self, step: u64, gradients: &mut Gradients) -> Accumulated {
        let mut sums = Sums::default();
        let mut items = 0;
        for drawn in self.batches.take(step) {
            items += drawn.transcripts.len() as u64;
            self.loss(drawn, &mut sums).backward(gradients);
        }
        let mut metrics = vec![("loss", sums.loss / sums.weight.max(1.0))];
        if sums.marks_weight > 0.0 {
            metrics.push(("marks", sums.marks / sums.marks_weight));
            metrics.push(("seen", share(sums.seen)));
        }
        if sums.answer_bytes > 0.0 {
            metrics.push(("answer", sums.answer_loss / sums.answer_bytes));
        }
        Accumulated { weight: sums.weight, items, metrics }
    }

    fn validate(&mut self) -> Measured {
        let mut sums = Sums::default();
        let front = self.tower.front();
        let Section { examples_at_once, held_out, .. } = self.section;
        for first in (0..held_out).step_by(examples_at_once) {
            let mut rng = Rng::stream(self.seed, OTHER + first as u64);
            let size = examples_at_once.min(held_out - first);
            self.loss(front.draw(size, Split::HeldOut, &mut rng), &mut sums);
        }
        let mut measured = vec![("bytes", share(sums.bytes)), ("lines", share(sums.lines))];
        if sums.answers[1] > 0 {
            measured.push(("answers", share(sums.answers)));
        }
        measured
    }

    fn weights(&mut self, precision: Precision) -> BTreeMap<String, Saved> {
        self.tower.saved(precision)
    }

    fn files(&mut self) -> Vec<(&'static str, String)> {
        let mut files = vec![("config.json", self.config.clone())];
        if let Tower::Eyes(_, processor) = &self.tower {
            files.push(("preprocessor_config.json", processor.to_json()));
        }
        files
    }
}

/// `right` of `all`.
fn share([right, all]: [u64; 2]) -> f64 {
    right as f64 / all.max(1) as f64
}

/// Heads for what patches show, if the recipe has them.
fn heads(
    section: &Section,
    tower: &Tower,
    device: &Device,
    seed: u64,
) -> Result<Option<Heads>, String> {
    let (Some(marks), Some([layers, width])) = (section.marks, tower.states()) else {
        return Ok(None);
    };
    if marks.state > layers {
        let found = marks.state;
        return Err(format!("`transcribe.marks.state` is {found}, expected 0 to {layers}"));
    }
    Ok(Some(Heads::new(marks, width, device, seed)))
}

/// The language model of a folder, on a tape but with nothing to be trained.
fn language(folder: &Path, recipe: &Recipe, device: &Device) -> Result<MiniMaxText01, Error> {
    let path = folder.join("config.json");
    let text =
        std::fs::read(&path).map_err(|source| models::Error::Io { path: path.clone(), source })?;
    let config = Config::from_json(&text, &path)?;
    let checkpoint = Checkpoint::open(folder)?;
    let mut source = ToTrain::new(&checkpoint, device, recipe.compute.into());
    let mut model = MiniMaxText01::new(config, &mut source)?;
    source.finish()?;
    model.for_each_parameter(&mut |_, tensor| *tensor = tensor.detach());
    Ok(model)
}
