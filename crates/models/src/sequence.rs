//! What a sequence has read as one file that describes itself: saved, it goes on elsewhere to the bit.
//!
//! A sealed safetensors file (`tensor::sealed`), so that any program that knows the format can look
//! into it, and damage is found:
//!
//! ```text
//! __metadata__           "fulgurite.sequence": a JSON object, see [`Head`], and the caller's notes
//! layers.L.kv            U8  [pages, bytes of a page]: of each softmax layer
//! points.P.layers.L      F32 [elements]: of each lightning layer at each point
//! rows.I                 F32 [rows, hidden_size]: of pictures and sounds
//! tokens                 U32 [tokens]: what was read
//! ```
//!
//! Pages and states are whole lines of 64 bytes and come first, so they lie in the file as they do in
//! memory, and pages are used where they are mapped.
//!
//! Points are places that the sequence can go on from, in ascending order; tokens behind the last one
//! are yet to be read. Of pictures and sounds among the tokens (content ids, [`crate::content_ids`]) those
//! behind the first point have their rows, so that they can be read again. Points share the pages of keys and values, of which there are as many as the last
//! one needs; layouts of pages and states are those of the kernels
//! (`kernels::attention`, `kernels::lightning_attention`), the same on every CPU of one byte order.

use crate::{Cache, Config, ContentRows, Error, LayerCache, LayerType, is_content};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use tensor::sealed::{self, Part};
use tensor::{Checkpoint, Device, KvPages, KvType, LightningState, PAGE_TOKENS, Tensor};

/// The entry of a file's metadata that is ours.
const HEAD: &str = "fulgurite.sequence";
/// Changes when the layout of anything here does.
const VERSION: u32 = 2;
/// Most points of a file.
const MAX_POINTS: usize = 1 << 16;

/// A sequence from a file.
#[derive(Clone, Debug)]
pub struct SavedSequence {
    /// What was read, and what is to be read behind the last point.
    pub tokens: Vec<u32>,
    /// Places to go on from, in ascending order.
    pub points: Vec<Cache>,
    /// Pictures and sounds that can be read again, in ascending order.
    pub content: Vec<ContentRows>,
    /// What the writer says of it.
    pub notes: BTreeMap<String, String>,
}

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u32,
    /// `little` or `big`.
    byte_order: String,
    page_tokens: usize,
    kv: String,
    points: Vec<Point>,
    /// Where the rows of each picture and sound stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    content: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    tokens: usize,
    /// The position of the first relevant token, if it was read, see [`Config::relevance_token_id`].
    relevant_from: Option<usize>,
}

/// The tensor of the rows of the `i`th picture or sound that has some.
fn rows_name(i: usize) -> String {
    format!("rows.{i}")
}

const BYTE_ORDER: &str = if cfg!(target_endian = "little") { "little" } else { "big" };

/// Writes a sequence: `tokens`, `points` and `content` as in [`SavedSequence`], of the latter what no
/// point has behind it.
///
/// # Errors
///
/// What the system says; then nothing is written.
///
/// # Panics
///
/// If points are not of one sequence, or not in order, or rows are not in order or beyond the tokens.
#[track_caller]
pub fn save(
    path: &Path,
    tokens: &[u32],
    points: &[&Cache],
    content: &[ContentRows],
    notes: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let whole = points.last();
    let end = whole.map_or(0, |point| point.tokens());
    assert!(end <= tokens.len(), "a point at {end} of {} tokens", tokens.len());
    assert!(points.windows(2).all(|pair| pair[0].tokens() < pair[1].tokens()), "points in order");
    let ends = content.iter().map(|content| content.span().end);
    let starts = content.iter().map(|content| content.first).skip(1).chain([tokens.len()]);
    assert!(ends.zip(starts).all(|(end, start)| end <= start), "rows in order");
    let first = points.first().map_or(0, |point| point.tokens());
    let content = content.iter().filter(|content| content.span().end > first);
    let content: Vec<&ContentRows> = content.collect();
    let head = Head {
        version: VERSION,
        byte_order: BYTE_ORDER.to_owned(),
        page_tokens: PAGE_TOKENS,
        kv: whole.map_or(KvType::F32, |point| point.kv()).name().to_owned(),
        points: points
            .iter()
            .map(|point| Point { tokens: point.tokens(), relevant_from: point.relevant_from })
            .collect(),
        content: content.iter().map(|content| content.first).collect(),
    };
    let mut parts = Vec::new();
    for (i, layer) in whole.into_iter().flat_map(|point| point.layers()).enumerate() {
        if let LayerCache::Kv(kv) = layer {
            let pages = kv.pages().iter().map(|page| page.bytes());
            parts.push(Part::bytes(format!("layers.{i}.kv"), pages));
        }
    }
    for (p, point) in points.iter().enumerate() {
        for (i, layer) in point.layers().iter().enumerate() {
            if let LayerCache::State(state) = layer {
                let (name, state) = (format!("points.{p}.layers.{i}"), state.elements());
                parts.push(Part::f32(name, &[state.len()], state));
            }
        }
    }
    for (i, content) in content.iter().enumerate() {
        parts.push(Part::f32(rows_name(i), content.rows.shape(), content.rows.data()));
    }
    parts.push(Part::ids("tokens", tokens));
    let mut all = notes.clone();
    all.insert(HEAD.to_owned(), serde_json::json!(head).to_string());
    Ok(sealed::save(path, &parts, &all)?)
}

/// Whether a file says that it holds a sequence; whether it is true shows when it is opened.
pub fn is_sequence(file: &Checkpoint) -> bool {
    file.notes().contains_key(HEAD)
}

/// Reads a sequence of the model of `config`, whose keys and values may be of any type.
///
/// # Errors
///
/// If the file is missing, damaged, or of another model or program.
pub fn open(path: &Path, config: &Config) -> Result<SavedSequence, Error> {
    read(&Checkpoint::open(path)?, config)
}

/// [`open`] for who has looked into the file before: what was seen and what is read are of one file,
/// whatever is renamed to its path meanwhile.
///
/// # Errors
///
/// As [`open`].
pub fn read(file: &Checkpoint, config: &Config) -> Result<SavedSequence, Error> {
    sealed::check(file)?;
    let path = file.path();
    let wrong = |field: &str, found: String, expected: String| Error::Sequence {
        path: path.to_owned(),
        field: field.to_owned(),
        found,
        expected,
    };
    let mut notes = file.notes().clone();
    let head = notes.remove(HEAD).ok_or_else(|| {
        wrong("metadata", "without `fulgurite.sequence`".to_owned(), "that entry".to_owned())
    })?;
    let head: Head = serde_json::from_str(&head)
        .map_err(|error| wrong("fulgurite.sequence", error.to_string(), "a head".to_owned()))?;
    let expect = |field: &str, found: String, expected: String| match found == expected {
        true => Ok(()),
        false => Err(wrong(field, found, expected)),
    };
    expect("version", head.version.to_string(), VERSION.to_string())?;
    expect("byte_order", head.byte_order.clone(), BYTE_ORDER.to_owned())?;
    expect("page_tokens", head.page_tokens.to_string(), PAGE_TOKENS.to_string())?;
    let kv = KvType::ALL.into_iter().find(|kind| kind.name() == head.kv);
    let kv = kv.ok_or_else(|| wrong("kv", head.kv.clone(), "f32, bf16 or q8".to_owned()))?;
    let count = file.shape("tokens").unwrap_or_default().iter().product();
    let tokens = file.raw("tokens", "U32", &[count])?.as_chunks().0;
    let tokens: Vec<u32> = tokens.iter().map(|&id| u32::from_le_bytes(id)).collect();
    let unknown = |id: &&u32| **id as usize >= config.vocab_size && !is_content(**id);
    if let Some(id) = tokens.iter().find(unknown) {
        let expected = format!("below {}, the vocabulary's size", config.vocab_size);
        return Err(wrong("tokens", id.to_string(), expected));
    }
    let counts: Vec<usize> = head.points.iter().map(|point| point.tokens).collect();
    let ascending = counts.windows(2).all(|pair| pair[0] < pair[1]);
    let end = counts.last().copied().unwrap_or(0);
    if !ascending || end > tokens.len() || counts.len() > MAX_POINTS {
        let expected = format!("ascending counts of tokens up to {}", tokens.len());
        return Err(wrong("points", format!("{counts:?}"), expected));
    }
    let read = Reader { file, path, config, kv };
    let pages = if counts.is_empty() { Vec::new() } else { read.pages(end)? };
    let point = |(p, point): (usize, &Point)| read.point(p, point, &pages);
    let points = head.points.iter().enumerate().map(point).collect::<Result<_, _>>()?;
    let content = head.content.iter().enumerate().map(|(i, &first)| read.rows(i, first));
    let content = content.collect::<Result<Vec<_>, _>>()?;
    let mut read_to = 0;
    for (i, ContentRows { first, rows }) in content.iter().enumerate() {
        let end = first.saturating_add(rows.rows());
        let ids = tokens.get(*first..end).filter(|_| *first >= read_to);
        if !ids.is_some_and(|ids| ids.iter().all(|&id| is_content(id))) {
            let expected = "positions of content ids, in ascending order".to_owned();
            return Err(wrong(&rows_name(i), format!("{first} to {end}"), expected));
        }
        read_to = end;
    }
    Ok(SavedSequence { tokens, points, content, notes })
}

struct Reader<'a> {
    file: &'a Checkpoint,
    path: &'a Path,
    config: &'a Config,
    kv: KvType,
}

impl Reader<'_> {
    /// Keys and values of all softmax layers.
    fn pages(&self, tokens: usize) -> Result<Vec<KvPages>, Error> {
        let heads = [self.config.num_key_value_heads, self.config.head_dim];
        let page = self.kv.page_bytes(heads[0], heads[1]);
        let count = tokens.div_ceil(PAGE_TOKENS);
        let of_layer = |i: usize| {
            let name = format!("layers.{i}.kv");
            let bytes = self.file.shared(&name, "U8", &[count, page])?;
            let pages = (0..count).map(|i| bytes.slice(i * page..(i + 1) * page));
            KvPages::from_pages(self.kv, heads, tokens, pages).map_err(|error| Error::Sequence {
                path: self.path.to_owned(),
                field: name,
                found: error.to_string(),
                expected: format!("{count} pages of {page} bytes"),
            })
        };
        self.layers(LayerType::FullAttention).map(of_layer).collect()
    }

    /// The rows of a picture or a sound.
    fn rows(&self, i: usize, first: usize) -> Result<ContentRows, Error> {
        let name = rows_name(i);
        let rows = self.file.shape(&name).and_then(|shape| shape.first()).copied().unwrap_or(0);
        let shape = [rows, self.config.hidden_size];
        let bytes = self.file.raw(&name, "F32", &shape)?.as_chunks().0;
        let data = bytes.iter().map(|&x| f32::from_le_bytes(x)).collect();
        Ok(ContentRows { first, rows: Tensor::new(&Device::cpu(1), &shape, data) })
    }

    /// The memory at a point.
    fn point(&self, p: usize, point: &Point, pages: &[KvPages]) -> Result<Cache, Error> {
        let mut pages = pages.iter();
        let layer = |(i, kind): (usize, &LayerType)| match kind {
            LayerType::FullAttention => {
                let mut kv = pages.next().expect("pages of each softmax layer").clone();
                kv.truncate(point.tokens);
                Ok(LayerCache::Kv(kv))
            }
            LayerType::LinearAttention => {
                let name = format!("points.{p}.layers.{i}");
                let shape = self.config.lightning();
                let len = (shape.state_bytes() / 4) as usize;
                let bytes = self.file.raw(&name, "F32", &[len])?.as_chunks().0;
                let elements = bytes.iter().map(|&x| f32::from_le_bytes(x));
                let state = LightningState::from_elements(&shape, elements);
                Ok(LayerCache::State(state.expect("as many elements as the shape has")))
            }
        };
        let layers = self.config.layer_types.iter().enumerate().map(layer);
        let layers = layers.collect::<Result<_, Error>>()?;
        Ok(Cache::from_layers(layers, point.tokens, point.relevant_from))
    }

    fn layers(&self, kind: LayerType) -> impl Iterator<Item = usize> {
        let kinds = self.config.layer_types.iter().enumerate();
        kinds.filter(move |(_, found)| **found == kind).map(|(i, _)| i)
    }
}
