//! Tensors of a GGUF file: their names, and conversions from and to released checkpoints.
//!
//! A tensor keeps its elements in their order, qkv with its rows interleaved per head; experts are
//! stacked. Norms and routers are F32, as llama.cpp wants them.

use super::{FromCheckpoint, Role, Source, insert};
use crate::{Config, Error, MiniMaxText01};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tensor::gguf::{self, DType, Format, Metadata, Planned};
use tensor::{Checkpoint, Device, Precision, Saved, Tensor, Weight};

/// Parts of a layer by their names in released checkpoints.
const PARTS: [(&str, &str); 14] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.output_gate", "attn_gate"),
    ("self_attn.norm", "attn_norm_2"),
    ("self_attn.out_proj", "attn_output"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("block_sparse_moe.gate", "ffn_gate_inp"),
    ("block_sparse_moe.experts.w1", "ffn_gate_exps"),
    ("block_sparse_moe.experts.w3", "ffn_up_exps"),
    ("block_sparse_moe.experts.w2", "ffn_down_exps"),
];

/// What a GGUF file calls the tensor `name` of a released checkpoint, experts stacked.
///
/// # Panics
///
/// If there is no such tensor.
pub(super) fn name_of(name: &str) -> String {
    let known = match name {
        "model.embed_tokens.weight" => Some("token_embd.weight".to_owned()),
        "model.norm.weight" => Some("output_norm.weight".to_owned()),
        "lm_head.weight" => Some("output.weight".to_owned()),
        _ => part_of(name),
    };
    known.unwrap_or_else(|| panic!("`{name}` has no name in GGUF files"))
}

fn part_of(name: &str) -> Option<String> {
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let part = part.strip_suffix(".weight")?;
    let (_, short) = PARTS.iter().find(|(long, _)| *long == part)?;
    Some(format!("blk.{layer}.{short}.weight"))
}

/// A tensor of a model.
struct Listed {
    name: String,
    shape: Vec<usize>,
    role: Role,
}

/// All tensors of the model of `config`, in the order in which it asks for them.
fn list(config: &Config, device: &Device) -> Result<Vec<Listed>, Error> {
    struct Lister<'a>(Vec<Listed>, &'a Device);
    impl Source for Lister<'_> {
        fn tensor(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, Error> {
            self.0.push(Listed { name: name.to_owned(), shape: shape.to_owned(), role });
            Ok(Tensor::zeros(self.1, &vec![0; shape.len()]))
        }

        fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
            Ok(Weight::new(self.tensor(name, shape, role)?, Precision::F32))
        }
    }
    let mut lister = Lister(Vec::new(), device);
    MiniMaxText01::new(config.clone(), &mut lister)?;
    Ok(lister.0)
}

/// Compares the tensors of a GGUF file with those that the model of `config` asks for, before any of
/// them is loaded: a large file is refused as fast as a small one.
///
/// # Errors
///
/// If one is missing, of another shape, or not of the model.
pub(crate) fn check(
    config: &Config,
    checkpoint: &Checkpoint,
    device: &Device,
) -> Result<(), Error> {
    struct Checker<'a>(FromCheckpoint<'a>, BTreeSet<String>);
    impl Source for Checker<'_> {
        fn tensor(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, Error> {
            let Self(source, asked) = self;
            let known = name_of(name);
            // They are so short that padding may hide what another type leaves over.
            let dtype = source.checkpoint.dtype(&known);
            if let Some(found) = dtype.filter(|dtype| role == Role::Norm && dtype != "F32") {
                let (path, expected) = (source.path(), "F32");
                return Err(tensor::Error::DType { path, name: known, found, expected }.into());
            }
            match source.checkpoint.shape(&known) {
                Some(found) if found != shape => {
                    let (path, found) = (source.path(), found.to_owned());
                    let expected = shape.to_owned();
                    Err(tensor::Error::Shape { path, name: known, found, expected }.into())
                }
                Some(_) => {
                    asked.insert(known);
                    Ok(Tensor::zeros(source.device, &vec![0; shape.len()]))
                }
                // Remembers it, up to a number.
                None => source.load(name, shape),
            }
        }

        fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
            Ok(Weight::new(self.tensor(name, shape, role)?, Precision::F32))
        }
    }
    let source = FromCheckpoint::new(checkpoint, device, None);
    let mut checker = Checker(source, BTreeSet::new());
    MiniMaxText01::new(config.clone(), &mut checker)?;
    let Checker(source, asked) = checker;
    source.check_none_missing()?;
    let others = checkpoint.names().filter(|name| !asked.contains(*name));
    let names: Vec<String> = others.map(str::to_owned).collect();
    match names.is_empty() {
        true => Ok(()),
        false => Err(Error::UnreadTensors { path: source.path(), names }),
    }
}

/// How a tensor is written if the model is to be `wanted` (`None`: as it is) and it is `own`.
///
/// Blocks are for matrices of layers: embedding, head and the gate of lightning layers stay as they
/// are. Where rows are not whole blocks of Q4_K they may be of Q4_0, which takes as many bytes; and
/// a matrix whose rows are not whole blocks at all becomes BF16.
fn dtype_of(listed: &Listed, own: Precision, wanted: Option<DType>) -> DType {
    let own = match own {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::Bf16,
    };
    let gate = listed.name.ends_with("output_gate.weight");
    let row = listed.shape.last().copied().unwrap_or(1);
    match (listed.role, wanted) {
        (Role::Norm | Role::Router, _) => DType::F32,
        (_, None) => own,
        (Role::Embedding | Role::Head, Some(DType::Blocks(_))) => own,
        (_, Some(DType::Blocks(_))) if gate => own,
        (_, Some(DType::Blocks(Format::Q4K)))
            if !row.is_multiple_of(256) && row.is_multiple_of(32) =>
        {
            DType::Blocks(Format::Q4_0)
        }
        (_, Some(blocks)) if !row.is_multiple_of(blocks.block_len()) => DType::Bf16,
        (_, Some(wanted)) => wanted,
    }
}

/// Writes the model of `config` and `checkpoint` as the GGUF file `path`, with `metadata`, its
/// matrices as `dtype`, one that [is written](DType::is_written) (`None`: F32 or BF16 as they are).
/// One tensor is in memory at a time; `progress` is called with the number of those written and of
/// all.
///
/// # Errors
///
/// If a tensor is missing, of another shape, unknown, or has numbers that `dtype` cannot hold; or
/// the system refuses.
pub fn to_gguf(
    config: &Config,
    checkpoint: &Checkpoint,
    device: &Device,
    (path, metadata, dtype): (&Path, &Metadata, Option<DType>),
    mut progress: impl FnMut(usize, usize),
) -> Result<(), Error> {
    let mut source = FromCheckpoint::new(checkpoint, device, None);
    let listed = list(config, device)?;
    let plan = |listed: &Listed| Planned {
        name: name_of(&listed.name),
        shape: listed.shape.clone(),
        dtype: dtype_of(listed, source.own(&listed.name), dtype),
    };
    let planned: Vec<Planned> = listed.iter().map(plan).collect();
    gguf::save(path, metadata, &planned, |i| {
        progress(i, planned.len());
        let tensor = source.stored(&listed[i])?;
        if i + 1 == planned.len() {
            source.check_all_read()?;
        }
        Ok(tensor)
    })
}

/// The tensors of a released checkpoint for the model of `config` and `checkpoint`; matrices but
/// routers in `precision`, or as they are loaded. Norms are bf16 if the embedding is and they lose
/// nothing.
///
/// # Errors
///
/// If a tensor is missing, of another shape or unknown.
pub fn to_released(
    config: &Config,
    checkpoint: &Checkpoint,
    device: &Device,
    precision: Option<Precision>,
) -> Result<BTreeMap<String, Saved>, Error> {
    let mut source = FromCheckpoint::new(checkpoint, device, None);
    let mut saved = BTreeMap::new();
    let mut narrow = false;
    for listed in list(config, device)? {
        let tensor = source.stored(&listed)?;
        let tensor = match (listed.role, precision) {
            (Role::Router, _) => tensor,
            (Role::Norm, _) => {
                let narrowed = tensor.to_bf16();
                if narrow && narrowed.to_vec() == tensor.to_vec() { narrowed } else { tensor }
            }
            (_, None) => tensor,
            (_, Some(Precision::Bf16)) => tensor.to_bf16(),
            (_, Some(Precision::F32)) => tensor.to_f32(),
        };
        narrow |= listed.role == Role::Embedding && tensor.is_bf16();
        insert(&mut saved, &listed.name, tensor);
    }
    source.check_all_read()?;
    Ok(saved)
}

impl FromCheckpoint<'_> {
    /// A tensor in the precision of the file.
    fn stored(&mut self, listed: &Listed) -> Result<Tensor, Error> {
        let tensor = match listed.shape.len() {
            3 => self.load_experts(&listed.name, &listed.shape),
            _ => self.load(&listed.name, &listed.shape),
        }?;
        self.check_none_missing()?;
        Ok(tensor)
    }
}
