//! `fulgurite eval`: measures a model.

use crate::model::Place;
use anyhow::Context as _;
use models::{Batch, Cache, CausalLm};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tensor::{Checkpoint, Device, Saved, safetensors};

#[derive(clap::Subcommand)]
pub(crate) enum What {
    /// Logits of given tokens: for every `input_ids.L` of the input, `logits.L` `[L, vocab]`
    ///
    /// For comparisons with other implementations: computed in f64 between operations, which is slow.
    Logits(Logits),
    /// Whole answers right, over generated documents of held-out words, or a list of questions
    Lookup(Lookup),
}

#[derive(clap::Args)]
pub(crate) struct Lookup {
    /// The model's folder; the embedded model unless set
    #[arg(long, env = "FULGURITE_MODEL")]
    model: Option<PathBuf>,
    /// Lengths of the documents in bytes
    #[arg(long, value_delimiter = ',', default_value = "4096")]
    bytes: Vec<usize>,
    /// Questions of each length, at least
    #[arg(long, default_value_t = 500)]
    questions: usize,
    /// Decides the documents
    #[arg(long, env = "FULGURITE_SEED", default_value_t = 1)]
    seed: u64,
    /// Questions of a file instead: lines of file, question and answer, separated by tabs
    #[arg(long)]
    list: Option<PathBuf>,
    /// Print every wrong answer
    #[arg(long)]
    show_wrong: bool,
}

#[derive(clap::Args)]
pub(crate) struct Logits {
    /// The model's folder; the embedded model unless set
    #[arg(long, env = "FULGURITE_MODEL")]
    model: Option<PathBuf>,
    /// A safetensors file with token ids
    #[arg(long)]
    input: PathBuf,
    /// The safetensors file to write
    #[arg(long)]
    output: PathBuf,
    /// Precision of products; that of the file unless set
    #[arg(long, env = "FULGURITE_WEIGHTS")]
    weights: Option<crate::model::Weights>,
    /// Tokens computed at once
    #[arg(long, env = "FULGURITE_CHUNK", default_value = "4096")]
    chunk: std::num::NonZeroUsize,
}

pub(crate) fn run(what: &What, device: &Device) -> anyhow::Result<()> {
    match what {
        What::Logits(arguments) => logits(arguments, device),
        What::Lookup(arguments) => lookup(arguments, device),
    }
}

fn logits(arguments: &Logits, device: &Device) -> anyhow::Result<()> {
    let device = &device.clone().with_f64_arithmetic();
    let model = Place::of(arguments.model.as_deref()).load(device, arguments.weights)?;
    let vocab_size = model.config().vocab_size;
    let input = Checkpoint::open(&arguments.input)?;
    let mut outputs = BTreeMap::new();
    for name in input.names() {
        let Some(length) = name.strip_prefix("input_ids.") else { continue };
        let ids = input.load_ids(name)?;
        let id = |id: i64| u32::try_from(id).ok().filter(|id| (*id as usize) < vocab_size);
        let ids: Option<Vec<u32>> = ids.into_iter().map(id).collect();
        let ids = ids.with_context(|| {
            format!(
                "`{}`: `{name}` has an id that is not below the vocabulary's size, {vocab_size}",
                arguments.input.display()
            )
        })?;
        let mut cache = Cache::new(model.config(), ids.len());
        let mut logits = Vec::with_capacity(ids.len() * vocab_size);
        for chunk in ids.chunks(arguments.chunk.get()) {
            let rows: Vec<usize> = (0..chunk.len()).collect();
            let batch = Batch::single(chunk, cache.tokens(), &rows);
            logits.extend_from_slice(model.logits(&batch, &mut [&mut cache]).data());
        }
        let tensor = tensor::Tensor::new(device, &[ids.len(), vocab_size], logits);
        outputs.insert(format!("logits.{length}"), Saved::Tensor(tensor));
    }
    anyhow::ensure!(
        !outputs.is_empty(),
        "`{}` has no tensor named `input_ids.L`",
        arguments.input.display()
    );
    Ok(safetensors::save(&arguments.output, outputs, &BTreeMap::new())?)
}

/// Longest answer that is waited for, in tokens.
const MAX_ANSWER: usize = 96;

fn lookup(arguments: &Lookup, device: &Device) -> anyhow::Result<()> {
    let model = Place::of(arguments.model.as_deref()).load(device, None)?;
    let mut out = std::io::stdout().lock();
    if let Some(list) = &arguments.list {
        let folder = list.parent().unwrap_or(std::path::Path::new(""));
        let lines = crate::model::read_to_string(list)?;
        let mut by_file: BTreeMap<&str, Vec<(String, String, String)>> = BTreeMap::new();
        for (i, line) in lines.lines().enumerate().skip(1) {
            let mut fields = line.split('\t').map(str::to_owned);
            let (file, question, answer) = (line.split('\t').next(), fields.nth(1), fields.next());
            let (Some(file), Some(question), Some(answer)) = (file, question, answer) else {
                anyhow::bail!(
                    "`{}` line {}: expected file, question and answer, separated by tabs",
                    list.display(),
                    i + 1
                );
            };
            let kind = file.to_owned();
            by_file.entry(file).or_default().push((kind, question, answer));
        }
        let mut score = Score::default();
        for (file, questions) in by_file {
            let text = std::fs::read(folder.join(file))
                .with_context(|| format!("cannot read `{}`", folder.join(file).display()))?;
            examine(&model, &text, &questions, arguments.show_wrong, &mut score);
        }
        return score.print(&mut out, "list");
    }
    for &bytes in &arguments.bytes {
        let mut score = Score::default();
        let mut index = 0;
        while score.total < arguments.questions {
            let spec = train::lookup::Spec {
                split: train::lookup::Split::HeldOut,
                min_bytes: bytes,
                max_bytes: bytes,
                questions: if bytes > 16_384 { 50 } else { 10 },
                absent_share: 0.2,
            };
            let mut rng = tensor::Rng::stream(arguments.seed ^ bytes as u64, index);
            let document = train::lookup::document(&spec, &mut rng);
            let questions = document.questions.into_iter();
            let questions: Vec<_> =
                questions.map(|q| (q.kind.name().to_owned(), q.text, q.answer)).collect();
            let text = document.text.as_bytes();
            examine(&model, text, &questions, arguments.show_wrong, &mut score);
            index += 1;
        }
        score.print(&mut out, &format!("{bytes} bytes"))?;
    }
    Ok(())
}

/// Right and all answers, by kind.
#[derive(Default)]
struct Score {
    total: usize,
    right: usize,
    by_kind: BTreeMap<String, (usize, usize)>,
}

impl Score {
    fn print(&self, out: &mut impl std::io::Write, name: &str) -> anyhow::Result<()> {
        let percent = |right: usize, total: usize| 100.0 * right as f64 / total.max(1) as f64;
        for (kind, (right, total)) in &self.by_kind {
            writeln!(out, "{kind:<24} {right:>5} of {total:<5} {:5.1} %", percent(*right, *total))?;
        }
        let (right, total) = (self.right, self.total);
        Ok(writeln!(out, "{name:<24} {right:>5} of {total:<5} {:5.1} %", percent(right, total))?)
    }
}

/// Reads a text once and asks all questions from there.
fn examine(
    model: &models::MiniMaxText01,
    text: &[u8],
    questions: &[(String, String, String)],
    show_wrong: bool,
    score: &mut Score,
) {
    let ids = [train::tokens::DOCUMENT].into_iter().chain(text.iter().map(|&b| b.into()));
    let ids: Vec<u32> = ids.collect();
    let mut read = Cache::new(model.config(), ids.len());
    for chunk in ids.chunks(4096) {
        model.logits(&Batch::single(chunk, read.tokens(), &[]), &mut [&mut read]);
    }
    for (kind, question, expected) in questions {
        let mut cache = read.clone();
        let answer = answer(model, &mut cache, question);
        let right = answer == *expected;
        if !right && show_wrong {
            eprintln!("[{kind}] {question} => {answer:?}, expected {expected:?}");
        }
        let absent = expected == train::lookup::ABSENT;
        let kinds = [kind.as_str(), if absent { "(absent)" } else { "(present)" }];
        for kind in kinds {
            let entry = score.by_kind.entry(kind.to_owned()).or_default();
            entry.0 += usize::from(right);
            entry.1 += 1;
        }
        score.right += usize::from(right);
        score.total += 1;
    }
}

/// The likeliest answer.
fn answer(model: &models::MiniMaxText01, cache: &mut Cache, question: &str) -> String {
    let mut piece = vec![train::tokens::QUESTION];
    piece.extend(question.bytes().map(u32::from));
    piece.push(train::tokens::ANSWER);
    let mut bytes = Vec::new();
    while bytes.len() < MAX_ANSWER {
        let batch = Batch::single(&piece, cache.tokens(), &[piece.len() - 1]);
        let logits = model.logits(&batch, &mut [&mut *cache]);
        let id = tensor::sampling::argmax(logits.data());
        let Ok(byte) = u8::try_from(id) else { break };
        bytes.push(byte);
        piece = vec![id];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
