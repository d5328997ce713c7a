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

use super::{Accumulated, Curve, Measured, Metric, Objective, Role, Visit, beside};
use crate::batches::Batches;
use crate::clips::Split;
use crate::recipe::{Sense, Transcribe as Section};
use crate::senses::Question;
use crate::senses::pictures::Picture;
use crate::senses::sounds::Sound;
use crate::tokens::Example;
use crate::{Error, Recipe};
use models::audio::log_mel::LogMel;
use models::audio::voxtral::{AudioConfig, AudioEncoder};
use models::audio::whisper::sinusoids;
use models::vision::minimax_vl_01::{ImageConfig, ImageEncoder};
use models::vision::processor::ImageProcessor;
use models::weights::ToTrain;
use models::{Batch, CausalLm as _, Config, Inserted, MiniMaxText01};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tensor::{Checkpoint, Device, Gradients, Precision, Rng, Saved, Tensor, Weight};

/// Weight of a row of a label, and of a space behind the transcript; that of a value is 1.
const LABEL: f32 = 0.2;
const BLANK: f32 = 0.02;
/// At a byte's embedding it is so many times likelier than its nearest neighbour, as logarithm.
const MARGIN: f32 = 8.0;
/// The bytes that transcripts are made of.
const WRITTEN: std::ops::Range<usize> = 32..127;
/// Streams of examples that are no step's.
const OTHER: u64 = 1 << 60;

const METRICS: [Metric; 5] = [
    // Weighted mean loss of a transcript's bytes in nats.
    Metric { name: "loss", curve: Some(Curve { label: "loss, nats per byte", height: |x| x }) },
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

/// What turns pictures or sounds into rows.
#[derive(Debug)]
enum Tower {
    Eyes(ImageEncoder, ImageProcessor),
    Ears(AudioEncoder),
}

/// Pictures or sounds that are computed at once.
struct Drawn {
    /// What the tower reads, `[batch, …]`.
    input: Vec<f32>,
    /// Of each its transcript.
    transcripts: Vec<String>,
    /// Of each its questions.
    questions: Vec<Vec<Question>>,
}

#[derive(Debug)]
pub(super) struct Transcribe {
    tower: Tower,
    language: MiniMaxText01,
    /// Embeddings of the language model as a head for rows with a 1 behind them.
    head: Weight,
    /// The embeddings themselves, `[vocab, hidden]`.
    embeddings: Vec<f32>,
    /// Squared distance of neighbours among the bytes of transcripts.
    spacing: f32,
    batches: Batches<Vec<Drawn>>,
    section: Section,
    shape: Shape,
    /// The text of `config.json`: the recipe's `model`.
    config: String,
    seed: u64,
    device: Device,
}

/// What a tower reads and gives.
#[derive(Clone, Debug)]
struct Shape {
    /// Of one input.
    input: Vec<usize>,
    /// Rows that one becomes.
    rows: usize,
}

/// Sums over a step.
#[derive(Default)]
struct Sums {
    loss: f64,
    weight: f64,
    answer_loss: f64,
    answer_bytes: f64,
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
        let (tower, hidden) = Tower::new(section.of, &json, recipe, path, device)?;
        let folder = beside(path, &section.language);
        let language = language(&folder, recipe, device)?;
        if language.config().hidden_size != hidden {
            let expected = language.config().hidden_size;
            let reason = format!(
                "`model.text_config.hidden_size` is {hidden}, expected {expected}, the width of `{}`",
                folder.display()
            );
            return Err(wrong(reason));
        }
        let embeddings = language.embeddings().to_vec();
        let spacing = spacing(&embeddings, hidden);
        let head = head(device, &embeddings, hidden, MARGIN / (0.5 * spacing));
        let shape = tower.shape();
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
            head,
            embeddings,
            spacing,
            batches,
            section,
            shape,
            config: config + "\n",
            seed,
            device: device.clone(),
        })
    }

    /// The loss of what was drawn; counts are added to `sums`.
    fn loss(&self, drawn: &Drawn, sums: &mut Sums) -> Tensor {
        let (n, batch) = (self.shape.rows, drawn.transcripts.len());
        let shape = [&[batch], &self.shape.input[..]].concat();
        let rows = self.tower.rows(&Tensor::new(&self.device, &shape, drawn.input.clone()));
        let hidden = rows.last_dim();
        let rows = rows.reshape(&[batch * n, hidden]);
        let mut targets = Vec::with_capacity(batch * n);
        let mut weights = Vec::with_capacity(batch * n);
        for transcript in &drawn.transcripts {
            let blanks = n - transcript.len().min(n);
            targets.extend(transcript.bytes().take(n).map(u32::from));
            targets.extend(std::iter::repeat_n(u32::from(b' '), blanks));
            weights.extend(row_weights(transcript, n));
        }
        let ones = Tensor::full(&self.device, &[batch * n, 1], 1.0);
        let read = Tensor::cat(&[&rows, &ones], 1);
        let read = read.cross_entropy(&self.head, &targets, &weights);
        sums.count_rows(drawn, n, &targets, &read.best);
        sums.loss += f64::from(read.total.to_vec()[0]);
        sums.weight += weights.iter().map(|w| f64::from(*w)).sum::<f64>();
        let at = |id: &u32| &self.embeddings[*id as usize * hidden..][..hidden];
        let places: Vec<f32> = targets.iter().flat_map(at).copied().collect();
        let scale = self.section.distance / self.spacing;
        let scales: Vec<f32> =
            weights.iter().flat_map(|w| std::iter::repeat_n(w * scale, hidden)).collect();
        let mut total = read.total.add_scaled(1.0, &rows.squared_error(&places, &scales), 1.0);
        if self.section.questions > 0 {
            total = total.add_scaled(
                1.0,
                &self.answers(drawn, &rows, sums),
                self.section.answer_weight,
            );
        }
        total
    }

    /// Cross-entropy of the answers that the language model gives when it has read the rows,
    /// `[batch * rows, hidden]`.
    fn answers(&self, drawn: &Drawn, rows: &Tensor, sums: &mut Sums) -> Tensor {
        let n = self.shape.rows;
        let blank = " ".repeat(n);
        let asked = |questions: &Vec<Question>| {
            let asked = questions.iter().take(self.section.questions);
            let asked: Vec<_> = asked.map(|q| (&*q.text, &*q.answer)).collect();
            Example::of(&blank, asked, 0.0, 0.0)
        };
        let examples: Vec<Example> = drawn.questions.iter().map(asked).collect();
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
            if *target == crate::tokens::END {
                sums.answers[0] += u64::from(right);
                sums.answers[1] += 1;
                right = true;
            }
        }
        said.total
    }
}

/// Weights of the rows of one transcript: values count more than labels, and all transcripts the same
/// in the sum, so that a word of a few letters is learned as well as a long list.
fn row_weights(transcript: &str, rows: usize) -> Vec<f32> {
    let mut weights = Vec::with_capacity(rows);
    for line in transcript.split_inclusive('\n') {
        let label = line.find(": ").map_or(0, |colon| colon + 2);
        weights.extend((0..line.len()).map(|i| if i < label { LABEL } else { 1.0 }));
    }
    weights.resize(rows, BLANK);
    let scale = rows as f32 / weights.iter().sum::<f32>();
    weights.iter_mut().for_each(|weight| *weight *= scale);
    weights
}

impl Sums {
    /// Counts bytes and lines of transcripts that are read right.
    fn count_rows(&mut self, drawn: &Drawn, rows: usize, targets: &[u32], best: &[u32]) {
        for (i, transcript) in drawn.transcripts.iter().enumerate() {
            let len = transcript.len().min(rows);
            let right = |at: usize| targets[i * rows + at] == best[i * rows + at];
            self.bytes[0] += (0..len).filter(|at| right(*at)).count() as u64;
            self.bytes[1] += len as u64;
            let mut first = 0;
            for line in transcript[..len].split_inclusive('\n') {
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
    }

    fn accumulate(&mut self, step: u64, gradients: &mut Gradients) -> Accumulated {
        let mut sums = Sums::default();
        let mut items = 0;
        for drawn in self.batches.take(step) {
            self.loss(&drawn, &mut sums).backward(gradients);
            items += drawn.transcripts.len() as u64;
        }
        let mut metrics = vec![("loss", sums.loss / sums.weight.max(1.0))];
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
            self.loss(&front.draw(size, Split::HeldOut, &mut rng), &mut sums);
        }
        let share = |[right, all]: [u64; 2]| right as f64 / all.max(1) as f64;
        let mut measured = vec![("bytes", share(sums.bytes)), ("lines", share(sums.lines))];
        if sums.answers[1] > 0 {
            measured.push(("answers", share(sums.answers)));
        }
        measured
    }

    fn weights(&mut self, precision: Precision) -> BTreeMap<String, Saved> {
        match &mut self.tower {
            Tower::Eyes(encoder, _) => encoder.saved(precision),
            Tower::Ears(encoder) => encoder.saved(precision),
        }
    }

    fn files(&mut self) -> Vec<(&'static str, String)> {
        match &self.tower {
            Tower::Eyes(_, processor) => vec![
                ("config.json", self.config.clone()),
                ("preprocessor_config.json", processor.to_json()),
            ],
            Tower::Ears(_) => vec![("config.json", self.config.clone())],
        }
    }
}

impl Tower {
    /// The tower of a config, and the width of its rows.
    fn new(
        of: Sense,
        json: &[u8],
        recipe: &Recipe,
        path: &Path,
        device: &Device,
    ) -> Result<(Self, usize), Error> {
        match of {
            Sense::Pictures => {
                let config = ImageConfig::from_json(json, path)?;
                let hidden = config.hidden_size;
                let processor = ImageProcessor::plain(config.tiling());
                let layers = config.vision.num_hidden_layers;
                let encoder = super::model(recipe, path, device, layers, |source| {
                    ImageEncoder::whole(config, source)
                })?;
                Ok((Self::Eyes(encoder, processor), hidden))
            }
            Sense::Sounds => {
                let config = AudioConfig::from_json(json, path)?;
                let hidden = config.hidden_size;
                let layers = config.audio.encoder_layers;
                let mut encoder = super::model(recipe, path, device, layers, |source| {
                    AudioEncoder::whole(config, source)
                })?;
                if recipe.start.is_none() {
                    encoder.for_each_parameter(&mut |name, tensor| {
                        if name.ends_with("embed_positions.weight") {
                            let [length, channels] = *tensor.shape() else { return };
                            *tensor = sinusoids(&device.host(), length, channels).into_parameter();
                        }
                    });
                }
                Ok((Self::Ears(encoder), hidden))
            }
        }
    }

    fn shape(&self) -> Shape {
        match self {
            Self::Eyes(encoder, _) => {
                let vision = &encoder.config().vision;
                let side = vision.image_size;
                Shape { input: vec![vision.num_channels, side, side], rows: vision.grid().pow(2) }
            }
            Self::Ears(encoder) => {
                let config = encoder.config();
                let input = vec![config.audio.num_mel_bins, config.audio.max_frames()];
                Shape { input, rows: config.window_rows() }
            }
        }
    }

    /// Rows `[batch, rows, hidden]` of inputs `[batch, …]`.
    fn rows(&self, input: &Tensor) -> Tensor {
        match self {
            Self::Eyes(encoder, _) => encoder.features(input),
            Self::Ears(encoder) => encoder.rows(input),
        }
    }

    fn for_each_parameter(&mut self, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        match self {
            Self::Eyes(encoder, _) => encoder.for_each_parameter(visit),
            Self::Ears(encoder) => encoder.for_each_parameter(visit),
        }
    }

    fn front(&self) -> Front {
        match self {
            Self::Eyes(_, processor) => Front::Eyes(processor.clone()),
            Self::Ears(encoder) => {
                let audio = &encoder.config().audio;
                Front::Ears(Arc::new(LogMel::new(audio.num_mel_bins)), audio.max_frames())
            }
        }
    }
}

/// What comes before a tower, for threads that draw.
#[derive(Clone, Debug)]
enum Front {
    Eyes(ImageProcessor),
    Ears(Arc<LogMel>, usize),
}

impl Front {
    fn draw(&self, count: usize, split: Split, rng: &mut Rng) -> Drawn {
        let host = Device::cpu(1);
        let mut drawn = Drawn { input: Vec::new(), transcripts: Vec::new(), questions: Vec::new() };
        for _ in 0..count {
            let (transcript, questions) = match self {
                Self::Eyes(processor) => {
                    let picture = Picture::draw(rng, split);
                    drawn.input.extend(processor.tiles(&host, &picture.pixels).0.to_vec());
                    (picture.transcript, picture.questions)
                }
                Self::Ears(log_mel, frames) => {
                    let sound = Sound::draw(rng, split);
                    drawn.input.extend(log_mel.frames(&sound.samples, *frames));
                    (sound.transcript, sound.questions)
                }
            };
            drawn.transcripts.push(transcript);
            drawn.questions.push(questions);
        }
        drawn
    }
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

/// Mean over the bytes of transcripts of the squared distance from an embedding to the nearest other,
/// of `[vocab, hidden]`.
fn spacing(embeddings: &[f32], hidden: usize) -> f32 {
    let row = |id: usize| &embeddings[id * hidden..][..hidden];
    let squared = |a: usize, b: usize| -> f32 {
        row(a).iter().zip(row(b)).map(|(x, y)| (x - y).powi(2)).sum()
    };
    let nearest = |a: usize| {
        let others = WRITTEN.filter(|b| *b != a).map(|b| squared(a, b));
        others.fold(f32::INFINITY, f32::min)
    };
    WRITTEN.map(nearest).sum::<f32>() / WRITTEN.len() as f32
}

/// A head, `[vocab, hidden + 1]`, whose logits of a row with a 1 behind it are `-scale |x - E|^2 / 2`
/// but for what is the same for all.
fn head(device: &Device, embeddings: &[f32], hidden: usize, scale: f32) -> Weight {
    let rows = embeddings.chunks_exact(hidden);
    let shape = [rows.len(), hidden + 1];
    let row = |row: &[f32]| {
        let norm: f32 = row.iter().map(|x| x * x).sum();
        let scaled = row.iter().map(|x| scale * x);
        scaled.chain([-0.5 * scale * norm]).collect::<Vec<_>>()
    };
    Weight::new(Tensor::new(device, &shape, rows.flat_map(row).collect()), Precision::F32)
}
