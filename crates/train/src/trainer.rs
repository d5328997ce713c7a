//! The loop: draw documents, forward, backward, step; and its checkpoint.
//!
//! What a step does depends on nothing but the recipe, the weights and the step's number, so a run
//! that is stopped and resumed is bit-identical to one that was not.

use crate::batches::Batches;
use crate::optimizer::{Memory, Parameter, Update};
use crate::tokens::Example;
use crate::{Compute, Error, Recipe};
use models::weights::{Random, ToTrain, saved};
use models::{Batch, Config, MiniMaxText01};
use std::collections::BTreeMap;
use std::path::Path;
use tensor::{Checkpoint, Device, Gradients, Precision, Saved, Tensor};

/// A training run.
#[derive(Debug)]
pub struct Trainer {
    recipe: Recipe,
    device: Device,
    model: MiniMaxText01,
    /// What the optimizer remembers of each parameter, in the order of
    /// [`MiniMaxText01::for_each_parameter`].
    memories: Vec<Memory>,
    batches: Batches,
    history: Vec<Step>,
}

/// What a step reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its number, from 1.
    pub step: u64,
    /// Mean loss of the answers' bytes in nats.
    pub answer_loss: f64,
    /// Share of the answers' bytes that were predicted right.
    pub answer_accuracy: f64,
    /// Mean of the routers' balance losses; 1 is even.
    pub balance: f64,
    /// Euclidean norm of the gradient before it was shortened.
    pub grad_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// Tokens read.
    pub tokens: u64,
}

/// Sums over the micro-batches of a step.
#[derive(Default)]
struct Sums {
    weight: f64,
    answer_loss: f64,
    answers: u64,
    right: u64,
    balance: f64,
    micro_batches: u64,
    tokens: u64,
}

impl Trainer {
    /// Starts a run; `path` of the recipe is named in errors.
    ///
    /// # Errors
    ///
    /// If the recipe's model cannot be made, or the weights to begin with are not those of it, or
    /// `device` cannot compute as the recipe says.
    pub fn new(recipe: Recipe, path: &Path, device: &Device) -> Result<Self, Error> {
        let config = recipe.config(path)?;
        if device.cuda().is_some() && recipe.compute != Compute::F32 {
            let reason = "the GPU trains with `compute = \"f32\"` only".to_owned();
            return Err(Error::Recipe { path: path.to_owned(), reason });
        }
        // Weights are made where files are read, then moved.
        let host = device.host();
        let compute = recipe.compute.into();
        let mut model = match &recipe.start {
            None => {
                let layers = config.num_hidden_layers;
                let mut random = Random::new(&host, compute, layers, recipe.seed);
                MiniMaxText01::new(config, &mut random)?
            }
            Some(start) => {
                let folder = path.parent().unwrap_or(Path::new("")).join(start);
                let checkpoint = Checkpoint::open(&folder)?;
                let mut source = ToTrain::new(&checkpoint, &host, compute);
                let model = MiniMaxText01::new(config, &mut source)?;
                source.finish()?;
                model
            }
        };
        let mut memories = Vec::new();
        model.for_each_parameter(&mut |name, tensor| {
            *tensor = tensor.to_device(device).into_parameter();
            memories.push(Memory::new(&recipe.optimizer, name, tensor));
        });
        // Drawing is a small part of a step on the CPU, not beside a GPU.
        let drawing = if device.cuda().is_some() { device.num_threads() } else { 1 };
        let batches = Batches::new(&recipe, 1, drawing);
        Ok(Self { recipe, device: device.clone(), model, memories, batches, history: Vec::new() })
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.history.len() as u64
    }

    /// What every step so far reported.
    pub fn history(&self) -> &[Step] {
        &self.history
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The shape of the model.
    pub fn config(&self) -> &Config {
        models::CausalLm::config(&self.model)
    }

    /// Does the next step.
    ///
    /// # Errors
    ///
    /// If the loss is not a number any more; the weights are then still those before the step.
    pub fn step(&mut self) -> Result<Step, Error> {
        let step = self.steps() + 1;
        let mut sums = Sums::default();
        let mut gradients = Gradients::default();
        for micro_batch in self.batches.take(step) {
            self.accumulate(&micro_batch, &mut gradients, &mut sums);
        }
        let lr = self.recipe.optimizer.lr_at(step, self.recipe.total_steps());
        let loss = sums.answer_loss / sums.answers.max(1) as f64;
        let squares = self.sum_of_squares(&gradients);
        // The losses were summed; their mean is what is trained.
        let scale = 1.0 / sums.weight.max(1e-9);
        let grad_norm = squares.sqrt() * scale;
        if !grad_norm.is_finite() || !loss.is_finite() {
            return Err(Error::Diverged { step, loss });
        }
        let shorter = (self.recipe.optimizer.max_grad_norm / grad_norm.max(1e-12)).min(1.0);
        self.update(step, lr, (scale * shorter) as f32, &gradients);
        let report = Step {
            step,
            answer_loss: loss,
            answer_accuracy: sums.right as f64 / sums.answers.max(1) as f64,
            balance: sums.balance / sums.micro_batches.max(1) as f64,
            grad_norm,
            lr,
            tokens: sums.tokens,
        };
        self.history.push(report);
        Ok(report)
    }

    /// Adds the gradients of the summed loss of `examples`.
    fn accumulate(&self, examples: &[Example], gradients: &mut Gradients, sums: &mut Sums) {
        let all = || examples.iter().flat_map(|e| e.targets.iter().zip(&e.weights));
        let rows: Vec<usize> =
            all().enumerate().filter(|(_, (_, weight))| **weight > 0.0).map(|(i, _)| i).collect();
        let (targets, weights): (Vec<u32>, Vec<f32>) =
            all().filter(|(_, weight)| **weight > 0.0).unzip();
        let batch = Batch::new(examples.iter().map(|e| (&e.input_ids[..], 0)), &rows);
        let output = self.model.forward(&batch, None);
        let loss = output.hidden.cross_entropy(self.model.lm_head(), &targets, &weights);
        let weight: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        let mut total = loss.total;
        let layers = output.router.len() as f64;
        let balances: Vec<Tensor> = output
            .router
            .iter()
            .map(|router| router.logits.balance_loss(&router.routing))
            .collect();
        for balance in &balances {
            let factor = self.recipe.optimizer.balance_loss * weight / layers;
            total = total.add_scaled(1.0, balance, factor as f32);
        }
        total.backward(gradients);
        let balance: f64 = balances.iter().map(|balance| f64::from(balance.to_vec()[0])).sum();
        sums.balance += balance / layers;
        sums.weight += weight;
        sums.micro_batches += 1;
        sums.tokens += batch.tokens() as u64;
        for i in (0..targets.len()).filter(|&i| weights[i] == 1.0) {
            sums.answers += 1;
            sums.answer_loss += f64::from(loss.losses[i]);
            sums.right += u64::from(loss.best[i] == targets[i]);
        }
    }

    fn sum_of_squares(&mut self, gradients: &Gradients) -> f64 {
        let mut all = Vec::new();
        self.model.for_each_parameter(&mut |_, tensor| all.extend(gradients.get(tensor)));
        Tensor::sum_of_squares(&all)
    }

    fn update(&mut self, step: u64, lr: f64, grad_scale: f32, gradients: &Gradients) {
        let weight_decay = self.recipe.optimizer.weight_decay as f32;
        let update = Update { step, lr: lr as f32, grad_scale, weight_decay };
        // Parameters leave the model for the step, so that several can be changed at once.
        let nothing = Tensor::zeros(&self.device.host(), &[0]);
        let mut parameters = Vec::new();
        self.model.for_each_parameter(&mut |name, tensor| {
            parameters.push((name.to_owned(), std::mem::replace(tensor, nothing.clone())));
        });
        let with_memories = parameters.iter_mut().zip(&mut self.memories);
        update.step(with_memories.filter_map(|((name, tensor), memory)| {
            let gradient = gradients.get(tensor)?;
            Some(Parameter { name, tensor, gradient, memory })
        }));
        let mut parameters = parameters.into_iter();
        self.model.for_each_parameter(&mut |_, tensor| {
            if let Some((_, parameter)) = parameters.next() {
                *tensor = parameter;
            }
        });
    }

    /// Writes the run so far, to be resumed.
    ///
    /// # Errors
    ///
    /// If the file cannot be written; an older one stays.
    pub fn save(&mut self, path: &Path) -> Result<(), Error> {
        let mut tensors = BTreeMap::new();
        let mut memories = self.memories.iter();
        self.model.for_each_parameter(&mut |name, tensor| {
            let Some(memory) = memories.next() else { return };
            let host = tensor.device().host();
            tensors.insert(format!("param.{name}"), Saved::Tensor(tensor.to_device(&host)));
            memory.save(name, &mut tensors);
        });
        let bits = |x: f64| x.to_bits() as i64;
        let history: Vec<i64> = self
            .history
            .iter()
            .flat_map(|s| {
                let numbers = [s.answer_loss, s.answer_accuracy, s.balance, s.grad_norm, s.lr];
                let numbers = numbers.map(bits);
                [s.step as i64, s.tokens as i64].into_iter().chain(numbers)
            })
            .collect();
        let shape = vec![self.history.len(), HISTORY_COLUMNS];
        tensors.insert("history".to_owned(), Saved::Ids(shape, history));
        let seed = vec![self.recipe.seed as i64];
        tensors.insert("seed".to_owned(), Saved::Ids(vec![1], seed));
        Ok(tensor::safetensors::save(path, tensors, &BTreeMap::new())?)
    }

    /// Goes on from where [`save`](Self::save) was called.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is of another run.
    pub fn resume(&mut self, path: &Path) -> Result<(), Error> {
        let checkpoint = Checkpoint::open(path)?;
        let other = |reason: String| Error::OtherRun { path: path.to_owned(), reason };
        let seed = checkpoint.load_ids("seed")?;
        if seed != [self.recipe.seed as i64] {
            return Err(other(format!("its seed is {seed:?}, the recipe's {}", self.recipe.seed)));
        }
        let history = checkpoint.load_ids("history")?;
        if history.len() as u64 > self.recipe.total_steps() * HISTORY_COLUMNS as u64 {
            return Err(other("it has done more steps than the recipe has".to_owned()));
        }
        // Everything is read before anything changes.
        let mut loaded = Vec::new();
        let mut failed = None;
        let device = &self.device;
        let mut memories = self.memories.iter();
        self.model.for_each_parameter(&mut |name, tensor| {
            let Some(memory) = memories.next() else { return };
            let read = |part: &str| {
                let name = format!("{part}.{name}");
                Ok(checkpoint.load(&device.host(), &name, tensor.shape())?.to_device(device))
            };
            let param = read("param");
            let memory = memory.load(&read);
            match (param, memory) {
                (Ok(param), Ok(memory)) => loaded.push((param, memory)),
                (Err(error), _) | (_, Err(error)) => failed = Some(error),
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        let (params, memories): (Vec<_>, Vec<_>) = loaded.into_iter().unzip();
        let mut params = params.into_iter();
        self.model.for_each_parameter(&mut |_, tensor| {
            if let Some(param) = params.next() {
                *tensor = param.into_parameter();
            }
        });
        self.memories = memories;
        let number = |bits: i64| f64::from_bits(bits as u64);
        self.history = history
            .as_chunks::<HISTORY_COLUMNS>()
            .0
            .iter()
            .map(|&[step, tokens, answer_loss, answer_accuracy, balance, grad_norm, lr]| Step {
                step: step as u64,
                answer_loss: number(answer_loss),
                answer_accuracy: number(answer_accuracy),
                balance: number(balance),
                grad_norm: number(grad_norm),
                lr: number(lr),
                tokens: tokens as u64,
            })
            .collect();
        Ok(())
    }

    /// The tensors of a checkpoint that can be loaded to run the model.
    pub fn weights(&mut self, precision: Precision) -> BTreeMap<String, Saved> {
        saved(&mut self.model, precision)
    }
}

const HISTORY_COLUMNS: usize = 7;
