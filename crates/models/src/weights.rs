//! Where a model's weights come from: a checkpoint, in any of the spellings that exist, or chance.
//! Conversions to GGUF files and back are in `gguf`.

mod gguf;
mod part;
mod policy;
mod random;
mod sizes;

pub(crate) use gguf::check;
pub use gguf::{quantized, to_gguf, to_released};
pub use part::Part;
pub use policy::Policy;
pub use random::{Random, random_tensors};
pub use sizes::{audio_bytes, image_bytes, loaded_bytes, planned_bytes, tower_bytes};

use crate::vision::minimax_vl_01::LANGUAGE_MODEL;
use crate::{Error, MiniMaxText01};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tensor::gguf::{DType, Format};
use tensor::{Checkpoint, Device, Precision, Saved, Tensor, Weight};

/// What a weight is for: decides its precision and its random values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The embedding table.
    Embedding,
    /// A norm's weight.
    Norm,
    /// The head: what it multiplies is always f32.
    Head,
    /// A matrix whose scale does not grow with depth.
    Projection,
    /// A matrix on the way to the residual stream: scaled down with depth.
    Deep,
    /// q, k and v of lightning attention, interleaved per head; only v is on the way.
    Qkv {
        /// Rows of each.
        head_dim: usize,
    },
    /// A router: what it multiplies is always f32.
    Router,
    /// A bias: added to a product's rows, always f32.
    Bias,
    /// Positions and other rows that are added to activations, always f32.
    Rows,
}

/// Gives weights by their names in released checkpoints. Experts are asked for stacked, as
/// `…experts.w1.weight` for all `…experts.E.w1.weight`.
pub trait Source {
    /// A tensor that is used element by element.
    ///
    /// # Errors
    ///
    /// If it cannot be given in this shape.
    fn tensor(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, Error>;

    /// A matrix, or one for each expert.
    ///
    /// # Errors
    ///
    /// If it cannot be given in this shape.
    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error>;

    /// The matrix of a convolution, `[out, taps * in]`, of which files have `[out, in, taps…]`.
    ///
    /// # Errors
    ///
    /// If it cannot be given in this shape.
    fn conv(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        self.weight(name, &[shape[0], shape[1..].iter().product()], role)
    }
}

/// Of a convolution's weight, `[out, in, taps…]`, the matrix `[out, taps * in]`: it multiplies rows of
/// what is under each tap, all channels of a tap together.
pub(crate) fn taps_outermost(tensor: &Tensor) -> Tensor {
    let [out, channels, ..] = *tensor.shape() else { panic!("a convolution's weight {tensor:?}") };
    let taps: usize = tensor.shape()[2..].iter().product();
    let x = tensor.to_vec();
    let mut data = Vec::with_capacity(x.len());
    for filter in x.chunks_exact((channels * taps).max(1)) {
        for tap in 0..taps {
            data.extend(filter[tap..].iter().step_by(taps));
        }
    }
    let matrix = Tensor::new(tensor.device(), &[out, taps * channels], data);
    if tensor.is_bf16() { matrix.to_bf16() } else { matrix }
}

/// The opposite: `[out, channels, taps…]` of a matrix `[out, taps * channels]`.
pub(crate) fn taps_innermost(matrix: &Tensor, taps: &[usize]) -> Tensor {
    let [out, k] = *matrix.shape() else { panic!("a convolution's matrix {matrix:?}") };
    let channels = k / taps.iter().product::<usize>();
    let shape = [&[out, channels], taps].concat();
    let x = matrix.to_vec();
    let mut data = Vec::with_capacity(x.len());
    for filter in x.chunks_exact(k.max(1)) {
        for channel in 0..channels {
            data.extend(filter[channel..].iter().step_by(channels));
        }
    }
    Tensor::new(matrix.device(), &shape, data)
}

/// Adds a parameter to what a checkpoint holds, as files have it: a convolution's matrix with its
/// `taps` innermost.
pub(crate) fn save(
    saved: &mut BTreeMap<String, Saved>,
    precision: Precision,
    name: &str,
    parameter: &Tensor,
    taps: Option<&[usize]>,
) {
    let host = parameter.to_device(&parameter.device().host());
    let host = taps.map_or_else(|| host.clone(), |taps| taps_innermost(&host, taps));
    let host = if precision == Precision::Bf16 { host.to_bf16() } else { host };
    saved.insert(name.to_owned(), Saved::Tensor(host));
}

/// A source's weights whose names begin alike.
pub(crate) struct Under<'a> {
    prefix: &'static str,
    source: &'a mut dyn Source,
}

impl<'a> Under<'a> {
    /// Those behind `prefix`.
    pub(crate) fn new(prefix: &'static str, source: &'a mut dyn Source) -> Self {
        Self { prefix, source }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Source for Under<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, Error> {
        let name = self.name(name);
        self.source.tensor(&name, shape, role)
    }

    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        let name = self.name(name);
        self.source.weight(&name, shape, role)
    }

    fn conv(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        let name = self.name(name);
        self.source.conv(&name, shape, role)
    }
}

/// Precision of a role's products when the model's is `precision`.
fn precision_of(role: Role, precision: Precision) -> Precision {
    match role {
        Role::Head | Role::Router => Precision::F32,
        _ => precision,
    }
}

/// Weights from a checkpoint, in either dialect of names, experts one by one or packed.
#[derive(Debug)]
pub struct FromCheckpoint<'a> {
    checkpoint: &'a Checkpoint,
    device: &'a Device,
    /// `None`: matrices as the file has them.
    policy: Option<Policy>,
    missing: BTreeSet<String>,
}

/// So many missing tensors end the search: a config may name more than memory holds.
const MANY: usize = 1000;

/// What names of the language model begin with in a checkpoint: nothing where it is alone, something
/// beside what sees.
fn prefix_of(checkpoint: &Checkpoint) -> &'static str {
    let has = |prefix: &&str| checkpoint.contains(&format!("{prefix}model.embed_tokens.weight"));
    ["", LANGUAGE_MODEL].into_iter().find(has).unwrap_or_default()
}

/// Names that files may hold and that are computed here instead.
const BUFFERS: [&str; 4] = ["slope_rate", "query_decay", "key_decay", "diagonal_decay"];

fn is_buffer(name: &str) -> bool {
    BUFFERS.iter().any(|buffer| name.ends_with(buffer))
}

impl<'a> FromCheckpoint<'a> {
    /// Reads from `checkpoint`; matrices as `policy` says, or as the file has them.
    pub fn new(checkpoint: &'a Checkpoint, device: &'a Device, policy: Option<Policy>) -> Self {
        Self { checkpoint, device, policy, missing: BTreeSet::new() }
    }

    /// To be called when the model is made: whether everything was there and everything was used.
    ///
    /// # Errors
    ///
    /// Names what was missing, or what nobody asked for.
    pub fn finish(self) -> Result<(), Error> {
        self.check_none_missing()?;
        self.check_all_read(|_| true)
    }

    fn check_none_missing(&self) -> Result<(), Error> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let names = self.missing.iter().cloned().collect();
        Err(Error::MissingTensors { path: self.path(), names, more: "" })
    }

    /// Whether everything that is `ours` was used.
    fn check_all_read(&self, ours: impl Fn(&str) -> bool) -> Result<(), Error> {
        let unread = self.checkpoint.unread().into_iter();
        let unread = unread.filter(|name| ours(name) && !is_buffer(name));
        let names: Vec<String> = unread.map(str::to_owned).collect();
        if names.is_empty() {
            Ok(())
        } else {
            Err(Error::UnreadTensors { path: self.path(), names })
        }
    }

    fn path(&self) -> PathBuf {
        self.checkpoint.path().to_owned()
    }

    fn is_gguf(&self) -> bool {
        self.checkpoint.metadata().is_some()
    }

    /// The spellings of `name` that such a checkpoint may have.
    fn spellings(&self, name: &str) -> Vec<String> {
        if self.is_gguf() {
            return vec![gguf::name_of(name)];
        }
        vec![name.to_owned(), name.replace(".block_sparse_moe.", ".mlp.")]
    }

    /// The spelling of `name` in this checkpoint.
    fn spelled(&self, name: &str) -> Option<String> {
        self.spellings(name).into_iter().find(|name| self.checkpoint.contains(name))
    }

    /// The type of `name` in the file; f32 if it is missing.
    fn own(&self, name: &str) -> DType {
        let (prefix, part) = name.split_once(".experts.").unwrap_or((name, ""));
        let packed = if part == "w2.weight" { "down_proj" } else { "gate_up_proj" };
        let names = match part {
            part if part.is_empty() || self.is_gguf() => vec![name.to_owned()],
            _ => vec![format!("{prefix}.experts.0.{part}"), format!("{prefix}.experts.{packed}")],
        };
        let found = names.iter().find_map(|name| self.spelled(name));
        found.and_then(|name| self.checkpoint.stored(&name)).unwrap_or(DType::F32)
    }

    /// The type in which `name` is kept.
    fn kept(&self, name: &str, shape: &[usize], role: Role) -> DType {
        let row = shape.last().copied().unwrap_or(1);
        policy::kept(self.policy, role, name, self.own(name), row)
    }

    /// A weight in blocks: as the file has them, or made of what it has. `None` if it is missing.
    fn blocks(
        &mut self,
        name: &str,
        shape: &[usize],
        format: Format,
    ) -> Result<Option<Weight>, Error> {
        let parts = match self.stored_blocks(name, shape, format)? {
            Some(parts) => parts.into_iter().map(Cow::Borrowed).collect(),
            None => match self.made_blocks(name, shape, format)? {
                Some(parts) => parts.into_iter().map(Cow::Owned).collect::<Vec<Cow<'_, [u8]>>>(),
                None => return Ok(None),
            },
        };
        let parts: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
        Ok(Some(Weight::from_blocks(self.device, shape, format, &parts)))
    }

    /// The bytes of each matrix, if all are stored in blocks of `format`.
    fn stored_blocks(
        &self,
        name: &str,
        shape: &[usize],
        format: Format,
    ) -> Result<Option<Vec<&'a [u8]>>, Error> {
        let matrix = shape[shape.len() - 2..].iter().product::<usize>();
        let bytes = matrix / format.block_len() * format.block_bytes();
        let checkpoint = self.checkpoint;
        self.in_place(name, shape, bytes, |name, shape| checkpoint.blocks(name, shape, format))
    }

    /// The elements of each matrix, if all are stored in bf16 as they lie in memory, and the CPU is to
    /// multiply them.
    fn stored_bf16(&self, name: &str, shape: &[usize]) -> Result<Option<Vec<&'a [u16]>>, Error> {
        if self.device.cuda().is_some() {
            return Ok(None);
        }
        let matrix = shape[shape.len() - 2..].iter().product();
        let checkpoint = self.checkpoint;
        self.in_place(name, shape, matrix, |name, shape| checkpoint.bf16(name, shape))
    }

    /// Each matrix where the file has it, `matrix` elements long, if `stored` finds all.
    fn in_place<T>(
        &self,
        name: &str,
        shape: &[usize],
        matrix: usize,
        stored: impl Fn(&str, &[usize]) -> Result<Option<&'a [T]>, tensor::Error>,
    ) -> Result<Option<Vec<&'a [T]>>, Error> {
        let stored = |name: &str, shape: &[usize]| match self.spelled(name) {
            Some(name) => stored(&name, shape),
            None => Ok(None),
        };
        let [experts, n, k] = *shape else {
            return Ok(stored(name, shape)?.map(|matrix| vec![matrix]));
        };
        if self.is_gguf() {
            let all = stored(name, shape)?;
            return Ok(all.map(|all| all.chunks_exact(matrix.max(1)).collect()));
        }
        let (prefix, part) = name.split_once(".experts.").unwrap_or((name, ""));
        let names = (0..experts).map(|e| format!("{prefix}.experts.{e}.{part}"));
        let parts = names.map(|name| stored(&name, &[n, k])).collect::<Result<Vec<_>, _>>()?;
        Ok(parts.into_iter().collect())
    }

    /// Blocks of `format` for each matrix. `None` if one is missing, which is remembered.
    fn made_blocks(
        &mut self,
        name: &str,
        shape: &[usize],
        format: Format,
    ) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let tensor = self.matrices(name, shape)?;
        if tensor.shape() != shape {
            return Ok(None);
        }
        let matrix = shape[shape.len() - 2] * shape[shape.len() - 1];
        let mut parts = Vec::new();
        for first in (0..tensor.len()).step_by(matrix.max(1)) {
            let part = tensor.to_blocks(format, first..first + matrix).map_err(|wrong| {
                let (path, name) = (self.path(), name.to_owned());
                let (index, value) = (wrong.index, wrong.value);
                Error::Unrepresentable { path, name, index, value, format: format.name() }
            })?;
            parts.push(part);
        }
        Ok(Some(parts))
    }

    /// Loads a matrix, or one for each expert.
    fn matrices(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        match shape.len() {
            3 => self.load_experts(name, shape),
            _ => self.load(name, shape),
        }
    }

    /// Loads one tensor; zeros for one that is missing, which is remembered for
    /// [`finish`](Self::finish), so that they are reported together, [`MANY`] at most.
    fn load(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        let Some(name) = self.spelled(name) else {
            self.missing.insert(self.spellings(name).swap_remove(0));
            if self.missing.len() == MANY {
                let names = std::mem::take(&mut self.missing).into_iter().collect();
                return Err(Error::MissingTensors { path: self.path(), names, more: " or more" });
            }
            return Ok(Tensor::zeros(self.device, &vec![0; shape.len()]));
        };
        Ok(self.checkpoint.load(self.device, &name, shape)?)
    }

    /// Loads the stacked weights of a layer's experts, `[experts, n, k]`.
    fn load_experts(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        if self.is_gguf() {
            return self.load(name, shape);
        }
        let [experts, n, k] = *shape else { panic!("experts of shape {shape:?}") };
        let (prefix, part) = name.split_once(".experts.").unwrap_or((name, ""));
        let packed = match part {
            "w2.weight" => format!("{prefix}.experts.down_proj"),
            _ => format!("{prefix}.experts.gate_up_proj"),
        };
        if let Some(packed) = self.spelled(&packed) {
            return match part {
                "w2.weight" => self.load(&packed, shape),
                // [experts, 2 n, k]: w1, then w3.
                _ => {
                    let both = self.load(&packed, &[experts, 2 * n, k])?;
                    let offset = if part == "w1.weight" { 0 } else { n * k };
                    if both.is_empty() {
                        return Ok(both);
                    }
                    let half = |e| 2 * e * n * k + offset..(2 * e + 1) * n * k + offset;
                    let halves: Vec<_> = (0..experts).map(|e| (&both, half(e))).collect();
                    Ok(Tensor::concat(&halves, shape))
                }
            };
        }
        let mut parts = Vec::with_capacity(experts);
        for e in 0..experts {
            parts.push(self.load(&format!("{prefix}.experts.{e}.{part}"), &[n, k])?);
        }
        if parts.iter().any(|part| part.len() != n * k) {
            return Ok(Tensor::zeros(self.device, &[0, 0, 0]));
        }
        let parts: Vec<_> = parts.iter().map(|part| (part, 0..n * k)).collect();
        Ok(Tensor::concat(&parts, shape))
    }
}

impl Source for FromCheckpoint<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, Error> {
        let tensor = self.load(name, shape)?;
        // The table of a large vocabulary stays as it is; norms are used in f32.
        Ok(if role == Role::Embedding { tensor } else { tensor.to_f32() })
    }

    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        let kept = self.kept(name, shape, role);
        if let DType::Blocks(format) = kept {
            let weight = self.blocks(name, shape, format)?;
            let missing = || Weight::new(Tensor::zeros(self.device, &[0, 0]), Precision::F32);
            return Ok(weight.unwrap_or_else(missing));
        }
        let exact = matches!(role, Role::Head | Role::Router);
        let precision =
            if kept == DType::Bf16 && !exact { Precision::Bf16 } else { Precision::F32 };
        if let Some(parts) = self.stored_bf16(name, shape)? {
            return Ok(Weight::from_bf16(self.device, shape, precision, &parts));
        }
        Ok(Weight::new(self.matrices(name, shape)?, precision))
    }

    fn conv(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        let own = self.own(name);
        // Blocks are widened: there are few of these weights, and activations in blocks are for rows.
        let tensor = match own {
            DType::Blocks(_) => {
                let rows = [shape[0], shape[1..].iter().product()];
                let tensor = self.load(name, &rows)?;
                if tensor.shape() == rows { tensor.reshape(shape) } else { tensor }
            }
            _ => self.load(name, shape)?,
        };
        let precision = match self.policy {
            Some(Policy::F32) => Precision::F32,
            None if !matches!(own, DType::Bf16 | DType::Blocks(_)) => Precision::F32,
            _ => precision_of(role, Precision::Bf16),
        };
        Ok(Weight::new(taps_outermost(&tensor), precision))
    }
}

/// Weights from a checkpoint as parameters to be trained further.
#[derive(Debug)]
pub struct ToTrain<'a> {
    source: FromCheckpoint<'a>,
    precision: Precision,
}

impl<'a> ToTrain<'a> {
    /// Reads from `checkpoint`; products will be in `precision`.
    pub fn new(checkpoint: &'a Checkpoint, device: &'a Device, precision: Precision) -> Self {
        Self { source: FromCheckpoint::new(checkpoint, device, Some(Policy::F32)), precision }
    }

    /// As [`FromCheckpoint::finish`].
    ///
    /// # Errors
    ///
    /// Names what was missing, or what nobody asked for.
    pub fn finish(self) -> Result<(), Error> {
        self.source.finish()
    }
}

impl Source for ToTrain<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, Error> {
        Ok(self.source.tensor(name, shape, role)?.to_f32().into_parameter())
    }

    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        let parameter = self.source.matrices(name, shape)?.to_f32().into_parameter();
        Ok(Weight::new(parameter, precision_of(role, self.precision)))
    }

    fn conv(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        let weight = self.source.conv(name, shape, role)?;
        let parameter = weight.tensor().to_f32().into_parameter();
        Ok(Weight::new(parameter, precision_of(role, self.precision)))
    }
}

/// How names of routers end.
const ROUTER: &str = ".block_sparse_moe.gate.weight";

/// Whether a tensor is bf16 in a checkpoint of this precision.
fn is_bf16(name: &str, precision: Precision) -> bool {
    precision == Precision::Bf16 && !name.ends_with(ROUTER)
}

/// The tensors of a checkpoint of this model, by their names in released checkpoints: experts one
/// by one, routers in f32, the rest in `precision`.
pub fn saved(model: &mut MiniMaxText01, precision: Precision) -> BTreeMap<String, Saved> {
    let mut saved = BTreeMap::new();
    model.for_each_parameter(&mut |name, tensor| {
        let tensor = tensor.to_device(&tensor.device().host());
        let tensor = if is_bf16(name, precision) { tensor.to_bf16() } else { tensor.to_f32() };
        insert(&mut saved, name, tensor);
    });
    saved
}

/// Matrices named `….weight` that `chosen` says yes to, in blocks of Q8_0 if their rows are whole
/// blocks; those of convolutions as the rows of their filters. All other tensors as they are, but f32
/// becomes bf16.
///
/// # Panics
///
/// If a number is not finite.
pub fn in_8_bits(
    saved: BTreeMap<String, Saved>,
    chosen: impl Fn(&str) -> bool,
) -> BTreeMap<String, Saved> {
    let format = Format::Q8_0;
    let narrow = |(name, saved): (String, Saved)| {
        let Saved::Tensor(tensor) = saved else { return (name, saved) };
        let rows = tensor.shape().first().copied().unwrap_or(1).max(1);
        let k = tensor.len() / rows;
        let fits = tensor.shape().len() > 1 && k > 0 && k.is_multiple_of(format.block_len());
        if !fits || !name.ends_with(".weight") || !chosen(&name) {
            return (name, Saved::Tensor(tensor.to_bf16()));
        }
        let blocks = tensor.to_blocks(format, 0..tensor.len()).expect("weights are finite");
        let kind = format.name().to_ascii_lowercase();
        (format!("{name}.{kind}"), Saved::Bytes([rows, blocks.len() / rows], blocks))
    };
    saved.into_iter().map(narrow).collect()
}

/// Adds a tensor under its name, stacked experts one by one.
fn insert(saved: &mut BTreeMap<String, Saved>, name: &str, tensor: Tensor) {
    let Some((prefix, part)) = name.split_once(".experts.") else {
        saved.insert(name.to_owned(), Saved::Tensor(tensor));
        return;
    };
    let [experts, n, k] = *tensor.shape() else { panic!("experts {tensor:?}") };
    for e in 0..experts {
        let expert = Tensor::concat(&[(&tensor, e * n * k..(e + 1) * n * k)], &[n, k]);
        saved.insert(format!("{prefix}.experts.{e}.{part}"), Saved::Tensor(expert));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use std::path::Path;

    /// A config of ten thousand layers of 65536 experts has as many names as few files have bytes.
    #[test]
    fn a_small_file_for_a_huge_config_is_refused_at_once() {
        let text = r#"{
            "model_type": "minimax", "vocab_size": 1, "hidden_size": 1, "intermediate_size": 1,
            "num_hidden_layers": 10000, "num_attention_heads": 1, "head_dim": 2, "rope_theta": 2,
            "num_local_experts": 65536, "num_experts_per_tok": 1, "max_position_embeddings": 1
        }"#;
        let config = Config::from_json(text.as_bytes(), Path::new("config.json")).unwrap();
        let file = b"\x02\0\0\0\0\0\0\0{}";
        let checkpoint = Checkpoint::from_static("empty.safetensors", file).unwrap();
        let error = crate::load(config, &checkpoint, &Device::cpu(1), None).unwrap_err();
        let expected = "`empty.safetensors` lacks 1000 or more of the model's tensors: \
                        `model.embed_tokens.weight`";
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}
