//! Tensors of a GGUF file: their names, and conversions from and to released checkpoints.
//!
//! A tensor keeps its elements in their order, qkv with its rows interleaved per head; experts are
//! stacked. Norms and routers are F32, as llama.cpp wants them.

use super::{FromCheckpoint, Policy, Role, Source, insert, prefix_of};
use crate::vision::minimax_vl_01::{self, ImageConfig, ImageEncoder};
use crate::{Config, Error, MiniMaxText01};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tensor::gguf::{self, DType, Metadata, Planned};
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

/// Writes down what is asked for.
struct Lister<'a> {
    listed: Vec<Listed>,
    /// What names begin with in the file.
    prefix: String,
    device: &'a Device,
}

impl<'a> Lister<'a> {
    fn new(prefix: &str, device: &'a Device) -> Self {
        Self { listed: Vec::new(), prefix: prefix.to_owned(), device }
    }
}

impl Source for Lister<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, Error> {
        let name = format!("{}{name}", self.prefix);
        self.listed.push(Listed { name, shape: shape.to_owned(), role });
        Ok(Tensor::zeros(self.device, &vec![0; shape.len()]))
    }

    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        Ok(Weight::new(self.tensor(name, shape, role)?, Precision::F32))
    }

    fn conv(&mut self, name: &str, shape: &[usize], _: Role) -> Result<Weight, Error> {
        // There is little of them, so they stay as they are.
        self.tensor(name, shape, Role::Rows)?;
        Ok(Weight::new(Tensor::zeros(self.device, &[0, 0]), Precision::F32))
    }
}

/// All tensors of the language model of `config`, in the order in which it asks for them, with
/// `prefix` before their names.
fn list(config: &Config, prefix: &str, device: &Device) -> Result<Vec<Listed>, Error> {
    let mut lister = Lister::new(prefix, device);
    MiniMaxText01::new(config.clone(), &mut lister)?;
    Ok(lister.listed)
}

/// The same of what sees, by the names that a file has for it.
fn list_sight(
    images: &ImageConfig,
    checkpoint: &Checkpoint,
    device: &Device,
) -> Result<Vec<Listed>, Error> {
    let prefixes = ImageEncoder::prefixes(checkpoint, device);
    let [mut tower, mut projector, mut newline] =
        prefixes.each_ref().map(|prefix| Lister::new(prefix, device));
    ImageEncoder::new(images.clone(), [&mut tower, &mut projector, &mut newline])?;
    Ok([tower, projector, newline].into_iter().flat_map(|lister| lister.listed).collect())
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

/// How a tensor is written for `policy`: as it is kept then, but for matrices that nothing is said
/// of, which are f32 unless they are bf16.
fn dtype_of(source: &FromCheckpoint<'_>, listed: &Listed, policy: Option<Policy>) -> DType {
    let row = listed.shape.last().copied().unwrap_or(1);
    let own = match source.own(&listed.name) {
        DType::Bf16 => DType::Bf16,
        _ => DType::F32,
    };
    match (listed.role, policy) {
        // Nothing is lost by another program that does not keep these apart.
        (Role::Embedding | Role::Head, Some(policy)) if !policy.is_quantizing() => {
            policy.matrices()
        }
        (role, policy) => super::policy::kept(policy, role, &listed.name, own, row),
    }
}

/// Writes the model of `config` and `checkpoint` as the GGUF file `path`, with `metadata`, its
/// matrices as `policy` says (`None`: F32 or BF16 as they are). What sees beside it is left out.
/// One tensor is in memory at a time; `progress` is called with the number of those written and of
/// all.
///
/// # Errors
///
/// If a tensor is missing, of another shape, unknown, or has numbers that their type cannot hold; or
/// the system refuses.
pub fn to_gguf(
    config: &Config,
    checkpoint: &Checkpoint,
    device: &Device,
    (path, metadata, policy): (&Path, &Metadata, Option<Policy>),
    mut progress: impl FnMut(usize, usize),
) -> Result<(), Error> {
    let mut source = FromCheckpoint::new(checkpoint, device, None);
    let prefix = prefix_of(checkpoint);
    let listed = list(config, prefix, device)?;
    let plan = |listed: &Listed| Planned {
        name: name_of(listed.name.strip_prefix(prefix).unwrap_or(&listed.name)),
        shape: listed.shape.clone(),
        dtype: dtype_of(&source, listed, policy),
    };
    let planned: Vec<Planned> = listed.iter().map(plan).collect();
    gguf::save(path, metadata, &planned, |i| {
        progress(i, planned.len());
        let tensor = source.stored(&listed[i])?;
        if i + 1 == planned.len() {
            source.check_all_read(|name| name.starts_with(prefix))?;
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
    for listed in list(config, "", device)? {
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
    source.check_all_read(|_| true)?;
    Ok(saved)
}

/// The tensors of a checkpoint whose matrices are in blocks as `policy` says, under names that end in
/// their type's: of the language model, and of what sees beside it if `images` is given.
/// `progress` is called with the number of tensors made and of all.
///
/// # Errors
///
/// If a tensor is missing, of another shape, unknown, or has numbers that its type cannot hold.
pub fn quantized(
    (config, images): (&Config, Option<&ImageConfig>),
    checkpoint: &Checkpoint,
    device: &Device,
    policy: Policy,
    mut progress: impl FnMut(usize, usize),
) -> Result<BTreeMap<String, Saved>, Error> {
    let mut source = FromCheckpoint::new(checkpoint, device, Some(policy));
    let prefix = prefix_of(checkpoint);
    let mut listed = list(config, prefix, device)?;
    if let Some(images) = images {
        listed.extend(list_sight(images, checkpoint, device)?);
    }
    let (mut saved, listed_len) = (BTreeMap::new(), listed.len());
    for (i, listed) in listed.iter().enumerate() {
        progress(i, listed_len);
        let Listed { name, shape, role } = listed;
        let format = match source.kept(name, shape, *role) {
            DType::Blocks(format) => format,
            // As it would be loaded: rows that are not whole blocks are narrowed.
            DType::Bf16 if *role != Role::Head => {
                insert(&mut saved, name, source.stored(listed)?.to_bf16());
                continue;
            }
            _ => {
                insert(&mut saved, name, source.stored(listed)?);
                continue;
            }
        };
        let parts = match source.stored_blocks(name, shape, format)? {
            Some(parts) => parts.into_iter().map(<[u8]>::to_vec).collect(),
            None => source.made_blocks(name, shape, format)?.unwrap_or_default(),
        };
        source.check_none_missing()?;
        let (n, kind) = (shape[shape.len() - 2], format.name().to_ascii_lowercase());
        for (e, part) in parts.into_iter().enumerate() {
            let name = match name.split_once(".experts.") {
                Some((prefix, part)) => format!("{prefix}.experts.{e}.{part}"),
                None => name.clone(),
            };
            let row = part.len() / n.max(1);
            saved.insert(format!("{name}.{kind}"), Saved::Bytes([n, row], part));
        }
    }
    source.check_all_read(|name| match images {
        Some(_) => !minimax_vl_01::is_beside(name),
        None => name.starts_with(prefix),
    })?;
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
