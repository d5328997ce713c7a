//! Where rows should lie: at the embeddings of a transcript's bytes.

use tensor::{Device, Precision, Tensor, Weight};

/// Weight of a row of a label, and of a space behind the transcript; that of a value is 1.
const LABEL: f32 = 0.2;
const BLANK: f32 = 0.02;
/// At a byte's embedding it is so many times likelier than its nearest neighbour, as logarithm.
const MARGIN: f32 = 8.0;
/// The bytes that transcripts are made of.
const WRITTEN: std::ops::Range<usize> = 32..127;

/// The language model's embeddings as a target.
#[derive(Debug)]
pub(super) struct Target {
    /// `[vocab, hidden + 1]`: its logits of a row with a 1 behind it are `-s |x - E|^2 / 2` but for what
    /// is the same for all.
    pub(super) head: Weight,
    /// Mean squared distance from a byte's embedding to the nearest other.
    pub(super) spacing: f32,
}

impl Target {
    /// Of embeddings `[vocab, hidden]`.
    pub(super) fn new(device: &Device, embeddings: &Tensor) -> Self {
        let hidden = embeddings.last_dim();
        let embeddings = embeddings.to_vec();
        let spacing = spacing(&embeddings, hidden);
        let head = head(device, &embeddings, hidden, MARGIN / (0.5 * spacing));
        Self { head, spacing }
    }
}

/// A transcript as the bytes of so many rows, with spaces behind it.
///
/// # Panics
///
/// If it has more bytes.
pub(super) fn bytes(transcript: &str, rows: usize) -> impl Iterator<Item = u32> + '_ {
    let blanks = rows - transcript.len();
    transcript.bytes().chain(std::iter::repeat_n(b' ', blanks)).map(u32::from)
}

/// Weights of the rows of one transcript: values count more than labels, and all transcripts the same
/// in the sum, so that a word of a few letters is learned as well as a long list.
pub(super) fn weights(transcript: &str, rows: usize) -> Vec<f32> {
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
