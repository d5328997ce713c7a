//! The loop: accumulate gradients, step, average; and its checkpoint.
//!
//! What a step does depends on nothing but the recipe, the weights and the step's number, so a run
//! that is stopped and resumed is bit-identical to one that was not.

use crate::objective::{self, Measured, Metric, Objective, Role};
use crate::optimizer::{Memory, Parameter, Update};
use crate::{Error, Recipe};
use models::weights::in_8_bits;
use std::collections::BTreeMap;
use std::path::Path;
use tensor::{Checkpoint, Device, Gradients, Precision, Saved, Tensor, atomic, safetensors};

/// A training run.
#[derive(Debug)]
pub struct Trainer {
    recipe: Recipe,
    device: Device,
    objective: Box<dyn Objective>,
    /// Of each parameter, in the order of [`Objective::for_each_parameter`].
    states: Vec<State>,
    history: Vec<Step>,
}

/// What a parameter has beside its value.
#[derive(Debug)]
struct State {
    role: Role,
    memory: Memory,
    /// The moving average of its values, if the recipe asks for it.
    average: Option<Tensor>,
}

/// What a step reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its number, from 1.
    pub step: u64,
    /// What was measured, by the names of [`Trainer::metrics`]; held-out data not at every step.
    pub metrics: Measured,
    /// Euclidean norm of the gradient before it was shortened.
    pub grad_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// Tokens or clips read; see [`Trainer::unit`].
    pub items: u64,
}

impl Step {
    /// What was measured as `name`, if it was.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

impl Trainer {
    /// Starts a run; `path` of the recipe is named in errors.
    ///
    /// # Errors
    ///
    /// If the recipe's model cannot be made, or the weights to begin with are not those of it, or
    /// `device` cannot compute as the recipe says.
    pub fn new(recipe: Recipe, path: &Path, device: &Device) -> Result<Self, Error> {
        let mut objective = objective::new(&recipe, path, device)?;
        let mut states = Vec::new();
        let mut names = Vec::new();
        objective.for_each_parameter(&mut |name, role, tensor| {
            names.push(name.to_owned());
            let moved = tensor.to_device(device);
            let frozen = recipe.freezes(name);
            *tensor = if frozen { moved.detach() } else { moved.into_parameter() };
            let memory = match frozen {
                true => Memory::Frozen,
                false => Memory::new(&recipe.optimizer, role, tensor),
            };
            let copy = || Tensor::new(device, tensor.shape(), tensor.to_vec());
            let average = (recipe.ema.is_some() && !frozen).then(copy);
            states.push(State { role, memory, average });
        });
        recipe.check_freeze(&names, path)?;
        Ok(Self { recipe, device: device.clone(), objective, states, history: Vec::new() })
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

    /// What steps measure.
    pub fn metrics(&self) -> &'static [Metric] {
        self.objective.metrics()
    }

    /// What steps count as they read it.
    pub fn unit(&self) -> &'static str {
        self.objective.unit()
    }

    /// Does the next step.
    ///
    /// # Errors
    ///
    /// If the loss is not a number any more; the weights are then still those before the step.
    pub fn step(&mut self) -> Result<Step, Error> {
        let step = self.steps() + 1;
        let mut gradients = Gradients::default();
        let done = self.objective.accumulate(step, &mut gradients);
        let total = self.recipe.total_steps();
        let lr = self.recipe.optimizer.lr_at(step, total);
        let squares = self.sum_of_squares(&gradients);
        // The losses were summed; their mean is what is trained.
        let scale = 1.0 / done.weight.max(1e-9);
        let grad_norm = squares.sqrt() * scale;
        let loss = done.metrics.first().map_or(0.0, |(_, loss)| *loss);
        if !grad_norm.is_finite() || !loss.is_finite() {
            return Err(Error::Diverged { step, loss });
        }
        let shorter = (self.recipe.optimizer.max_grad_norm / grad_norm.max(1e-12)).min(1.0);
        self.update(step, lr, (scale * shorter) as f32, &gradients);
        let mut metrics = done.metrics;
        let every = self.recipe.validate_every;
        if every.is_some_and(|every| step.is_multiple_of(every) || step == total) {
            metrics.extend(self.with_final_weights(|objective| objective.validate()));
        }
        let report = Step { step, metrics, grad_norm, lr, items: done.items };
        self.history.push(report.clone());
        Ok(report)
    }

    fn sum_of_squares(&mut self, gradients: &Gradients) -> f64 {
        let mut all = Vec::new();
        self.objective.for_each_parameter(&mut |_, _, tensor| all.extend(gradients.get(tensor)));
        Tensor::sum_of_squares(&all)
    }

    fn update(&mut self, step: u64, lr: f64, grad_scale: f32, gradients: &Gradients) {
        let weight_decay = self.recipe.optimizer.weight_decay as f32;
        let update = Update { step, lr: lr as f32, grad_scale, weight_decay };
        // Early averages would be of the random weights at the start.
        let warm = (1 + step) as f64 / (10 + step) as f64;
        let decay = self.recipe.ema.unwrap_or_default().min(warm);
        // Parameters leave the model for the step, so that several can be changed at once.
        let mut parameters = self.take(|_, parameter| parameter);
        let with_states = parameters.iter_mut().zip(&mut self.states);
        update.step(with_states.filter_map(|(tensor, State { role, memory, .. })| {
            let gradient = gradients.get(tensor)?;
            Some(Parameter { role: *role, tensor, gradient, memory })
        }));
        for (parameter, state) in parameters.iter().zip(&mut self.states) {
            if let Some(average) = &mut state.average {
                let now = parameter.detach();
                *average = average.add_scaled(decay as f32, &now, 1.0 - decay as f32);
            }
        }
        self.put(parameters);
    }

    /// Takes the parameters out of the model, each as `change` leaves it.
    fn take(&mut self, change: impl Fn(&State, Tensor) -> Tensor) -> Vec<Tensor> {
        let nothing = Tensor::zeros(&self.device.host(), &[0]);
        let mut states = self.states.iter();
        let mut parameters = Vec::new();
        self.objective.for_each_parameter(&mut |_, _, tensor| {
            let parameter = std::mem::replace(tensor, nothing.clone());
            parameters.extend(states.next().map(|state| change(state, parameter)));
        });
        parameters
    }

    /// Puts parameters into the model, in its order.
    fn put(&mut self, parameters: Vec<Tensor>) {
        let mut parameters = parameters.into_iter();
        self.objective.for_each_parameter(&mut |_, _, tensor| {
            if let Some(parameter) = parameters.next() {
                *tensor = parameter;
            }
        });
    }

    /// Calls `with` while the model has the weights that are written: the averages, if there are
    /// any; without a tape in either case.
    fn with_final_weights<T>(&mut self, with: impl FnOnce(&mut dyn Objective) -> T) -> T {
        let parameters = self.take(|_, parameter| parameter);
        let finals = parameters.iter().zip(&self.states);
        let finals = finals.map(|(parameter, state)| match &state.average {
            Some(average) => average.clone(),
            None => parameter.detach(),
        });
        let finals = finals.collect();
        self.put(finals);
        let result = with(&mut *self.objective);
        self.put(parameters);
        result
    }

    /// Writes the run so far, to be resumed.
    ///
    /// # Errors
    ///
    /// If the file cannot be written; an older one stays.
    pub fn save(&mut self, path: &Path) -> Result<(), Error> {
        let mut tensors = BTreeMap::new();
        let mut states = self.states.iter();
        self.objective.for_each_parameter(&mut |name, _, tensor| {
            let Some(state) = states.next() else { return };
            let mut insert = |part: &str, data: &Tensor| {
                let data = data.to_device(&data.device().host());
                tensors.insert(format!("{part}.{name}"), Saved::Tensor(data));
            };
            insert("param", tensor);
            state.average.iter().for_each(|average| insert("ema", average));
            state.memory.parts().into_iter().for_each(|(part, data)| insert(part, data));
        });
        let metrics = self.metrics();
        let bits = |x: f64| x.to_bits() as i64;
        let row = |s: &Step| {
            // What was not measured is not a number.
            let values = metrics.iter().map(|m| s.metric(m.name).unwrap_or(f64::NAN));
            let values = values.chain([s.grad_norm, s.lr]).map(bits);
            [s.step as i64, s.items as i64].into_iter().chain(values).collect::<Vec<_>>()
        };
        let history: Vec<i64> = self.history.iter().flat_map(row).collect();
        let shape = vec![self.history.len(), metrics.len() + OTHER_COLUMNS];
        tensors.insert("history".to_owned(), Saved::Ids(shape, history));
        let seed = vec![self.recipe.seed as i64];
        tensors.insert("seed".to_owned(), Saved::Ids(vec![1], seed));
        Ok(safetensors::save(path, tensors, &BTreeMap::new())?)
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
        let columns = self.metrics().len() + OTHER_COLUMNS;
        match checkpoint.shape("history") {
            Some(&[_, found]) if found == columns => (),
            found => {
                let found = found.unwrap_or_default();
                return Err(other(format!("its history is {found:?}, expected {columns} columns")));
            }
        }
        if history.len() as u64 > self.recipe.total_steps() * columns as u64 {
            return Err(other("it has done more steps than the recipe has".to_owned()));
        }
        // Everything is read before anything changes.
        let mut loaded = Vec::new();
        let mut failed = None;
        let device = &self.device;
        let mut states = self.states.iter();
        self.objective.for_each_parameter(&mut |name, role, tensor| {
            let Some(state) = states.next() else { return };
            let read = |part: &str| {
                let name = format!("{part}.{name}");
                Ok(checkpoint.load(&device.host(), &name, tensor.shape())?.to_device(device))
            };
            let read_all = || {
                let average = state.average.is_some().then(|| read("ema")).transpose()?;
                Ok((read("param")?, State { role, memory: state.memory.load(&read)?, average }))
            };
            match read_all() {
                Ok(all) => loaded.push(all),
                Err(error) => failed = Some(error),
            }
        });
        if let Some(error) = failed {
            return Err(Error::Tensor(error));
        }
        let (parameters, states): (Vec<_>, Vec<_>) = loaded.into_iter().unzip();
        self.put(
            parameters
                .into_iter()
                .zip(&states)
                .map(|(parameter, state): (Tensor, &State)| match state.memory {
                    Memory::Frozen => parameter,
                    _ => parameter.into_parameter(),
                })
                .collect(),
        );
        self.states = states;
        let metrics = self.metrics();
        let number = |bits: &i64| f64::from_bits(*bits as u64);
        let read = |row: &[i64]| {
            let values = row[2..].iter().map(number).collect::<Vec<_>>();
            let measured = metrics.iter().zip(&values).filter(|(_, value)| !value.is_nan());
            Step {
                step: row[0] as u64,
                items: row[1] as u64,
                metrics: measured.map(|(metric, value)| (metric.name, *value)).collect(),
                grad_norm: values[metrics.len()],
                lr: values[metrics.len() + 1],
            }
        };
        self.history = history.chunks_exact(columns).map(read).collect();
        Ok(())
    }

    /// The tensors of a checkpoint that can be loaded to run the model.
    pub fn weights(&mut self, precision: Precision) -> BTreeMap<String, Saved> {
        self.with_final_weights(|objective| objective.weights(precision))
    }

    /// Writes the model into `folder`, to be loaded.
    ///
    /// # Errors
    ///
    /// If a file cannot be written; an older one stays.
    pub fn write_model(&mut self, folder: &Path) -> Result<(), Error> {
        let weights = match self.recipe.q8.is_empty() {
            true => self.weights(Precision::Bf16),
            false => in_8_bits(self.weights(Precision::F32), |name| self.recipe.narrows(name)),
        };
        safetensors::save(&folder.join(safetensors::WEIGHTS), weights, &BTreeMap::new())?;
        for (name, text) in self.with_final_weights(|objective| objective.files()) {
            let path = folder.join(name);
            atomic::atomic_write_bytes(&path, text.as_bytes())
                .map_err(|source| tensor::Error::Io { action: "write", path, source })?;
        }
        Ok(())
    }
}

/// Columns of the history beside the metrics: step, items, norm of the gradient, learning rate.
const OTHER_COLUMNS: usize = 4;
