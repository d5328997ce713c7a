//! `fulgurite eval lookup`: whole answers right, over generated documents or a list of questions.

use super::agreement::Agreement;
use crate::model::{Kv, Place, Weights, read_to_string};
use crate::plot::{self, Group};
use anyhow::Context as _;
use clap::builder::RangedU64ValueParser;
use engine::argmax;
use indicatif::{ProgressBar, ProgressStyle};
use models::{Batch, Cache, CausalLm, MiniMaxText01};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tensor::{Device, KvType, Rng, atomic};
use text::lookup::{ABSENT, Extract};
use train::lookup::{self, Spec, Split};
use train::tokens::{ANSWER, DOCUMENT, END, QUESTION};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The model's folder or GGUF file; the embedded model unless set
    #[arg(long, env = "FULGURITE_MODEL")]
    model: Option<PathBuf>,
    /// How matrices are kept; as in the file unless set
    #[arg(long, env = "FULGURITE_WEIGHTS")]
    weights: Option<Weights>,
    /// Also say how far the guesses at the right answers' tokens are from those with these weights
    #[arg(long)]
    against: Option<Weights>,
    /// Lengths of the documents in bytes, 64 to 64 Mi
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "4096",
        value_parser = RangedU64ValueParser::<usize>::new().range(64..=64 << 20),
    )]
    bytes: Vec<usize>,
    /// Questions of each length, at least
    #[arg(
        long,
        default_value = "500",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 32),
    )]
    questions: usize,
    /// Decides the documents
    #[arg(long, env = "FULGURITE_SEED", default_value_t = 1)]
    seed: u64,
    /// Questions of a file instead: a line of headings, then lines of file, question and answer,
    /// separated by tabs
    #[arg(long, conflicts_with = "bytes")]
    list: Option<PathBuf>,
    /// How keys and values are kept; as bf16 unless the weights are f32
    #[arg(long, env = "FULGURITE_KV")]
    kv: Option<Kv>,
    /// Read another document than the one that is asked about: what is right then is chance
    #[arg(long)]
    shuffled: bool,
    /// Documents of the words of training: what is right beyond the rest was learned by heart
    #[arg(long, conflicts_with = "list")]
    seen: bool,
    /// Print every wrong answer
    #[arg(long)]
    show_wrong: bool,
    /// Draw the table as SVG
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

/// Most questions about one document: more documents say more than more questions.
const QUESTIONS_PER_DOCUMENT: usize = 10;
/// The same for documents that take long to read.
const QUESTIONS_PER_LONG_DOCUMENT: usize = 50;
/// From this length on.
const LONG_BYTES: usize = 16_384;
/// Share of questions about what is not there.
const ABSENT_SHARE: f32 = 0.2;
/// Longest answer that is waited for, in tokens.
const MAX_ANSWER: usize = 96;
/// Tokens read at once.
const CHUNK: usize = 4096;

/// A question, what kind it counts as, and its answer.
struct Question {
    kind: String,
    text: String,
    answer: String,
}

pub(crate) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    let place = Place::of(arguments.model.as_deref())?;
    let checkpoint = place.checkpoint()?;
    let kv = Kv::or_default(arguments.kv, &checkpoint, device, arguments.weights);
    let model = place.load_from(&checkpoint, device, arguments.weights)?;
    let against = arguments.against.map(|weights| place.load(device, Some(weights))).transpose()?;
    let mut examiner = Examiner {
        model: &model,
        against: against.as_ref(),
        kv,
        show_wrong: arguments.show_wrong,
        agreement: Agreement::default(),
    };
    let scores = match &arguments.list {
        Some(list) => vec![of_list(&mut examiner, list, arguments)?],
        None => generated(&mut examiner, arguments)?,
    };
    let agreement = examiner.agreement;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let scores: Vec<_> = scores.iter().map(Score::to_json).collect();
        writeln!(out, "{}", serde_json::Value::from(scores))?;
    } else {
        for score in &scores {
            score.print(&mut out)?;
        }
        if agreement.positions() > 0 {
            let (kl, same) = (agreement.kl(), 100.0 * agreement.same_top_1());
            let n = agreement.positions();
            writeln!(out, "tokens of answers        {n:>5}: KL {kl:.2e}, same top-1 {same:.2} %")?;
        }
    }
    if let Some(path) = &arguments.plot {
        let groups: Vec<Group> = scores.iter().map(Score::group).collect();
        let svg = plot::bars("whole answers right, %", &groups)?;
        atomic::atomic_write_bytes(path, svg.as_bytes())?;
    }
    Ok(())
}

/// A score for each length.
fn generated(examiner: &mut Examiner<'_>, arguments: &Arguments) -> anyhow::Result<Vec<Score>> {
    let bar = bar((arguments.questions * arguments.bytes.len()) as u64)?;
    let mut scores = Vec::new();
    for &bytes in &arguments.bytes {
        let mut score = Score::new(format!("{bytes} bytes"));
        let questions =
            if bytes > LONG_BYTES { QUESTIONS_PER_LONG_DOCUMENT } else { QUESTIONS_PER_DOCUMENT };
        for index in 0.. {
            if score.total.asked >= arguments.questions {
                break;
            }
            let spec = Spec {
                split: if arguments.seen { Split::Train } else { Split::HeldOut },
                min_bytes: bytes,
                max_bytes: bytes,
                questions,
                absent_share: ABSENT_SHARE,
            };
            let mut rng = Rng::stream(arguments.seed ^ bytes as u64, index);
            let document = lookup::document(&spec, &mut rng);
            let questions = document.questions.into_iter().map(|q| Question {
                kind: q.kind.name().to_owned(),
                text: q.text,
                answer: q.answer,
            });
            let questions: Vec<_> = questions.collect();
            let text = if arguments.shuffled {
                lookup::document(&spec, &mut Rng::stream(!arguments.seed, index)).text
            } else {
                document.text
            };
            examiner.examine(text.as_bytes(), &questions, &mut score, &bar);
        }
        scores.push(score);
    }
    bar.finish_and_clear();
    Ok(scores)
}

/// The score of a list of questions, by file.
fn of_list(
    examiner: &mut Examiner<'_>,
    list: &Path,
    arguments: &Arguments,
) -> anyhow::Result<Score> {
    let text = read_to_string(list)?;
    let mut by_file: BTreeMap<&str, Vec<Question>> = BTreeMap::new();
    for (i, line) in text.lines().enumerate().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let &[file, question, answer] = &fields[..] else {
            anyhow::bail!(
                "`{}` line {}: {} fields separated by tabs, expected 3: file, question, answer",
                list.display(),
                i + 1,
                fields.len()
            );
        };
        let kind = Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let question = Question { kind, text: question.to_owned(), answer: answer.to_owned() };
        by_file.entry(file).or_default().push(question);
    }
    let bar = bar(by_file.values().map(|questions| questions.len() as u64).sum())?;
    let folder = list.parent().unwrap_or(Path::new(""));
    let mut score = Score::new("all".to_owned());
    let mut files: Vec<&str> = by_file.keys().copied().collect();
    if arguments.shuffled {
        files.rotate_left(1);
    }
    for (file, questions) in files.into_iter().zip(by_file.values()) {
        let path = folder.join(file);
        let text =
            std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        examiner.examine(&text, questions, &mut score, &bar);
    }
    bar.finish_and_clear();
    Ok(score)
}

fn bar(questions: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("asking {wide_bar} {pos}/{len} {msg} {eta} left")?;
    Ok(ProgressBar::new(questions).with_style(style))
}

/// Who asks a model, and compares it with another if there is one.
struct Examiner<'a> {
    model: &'a MiniMaxText01,
    against: Option<&'a MiniMaxText01>,
    kv: KvType,
    show_wrong: bool,
    agreement: Agreement,
}

impl Examiner<'_> {
    /// Reads a text once and asks all questions from there.
    fn examine(
        &mut self,
        text: &[u8],
        questions: &[Question],
        score: &mut Score,
        bar: &ProgressBar,
    ) {
        let ids: Vec<u32> =
            [DOCUMENT].into_iter().chain(text.iter().map(|&byte| byte.into())).collect();
        let mut read = after(self.model, &ids, self.kv);
        let mut other = self.against.map(|model| (model, after(model, &ids, self.kv)));
        let end = read.mark();
        let bytes = |text: &[u8]| text.iter().map(|&byte| u32::from(byte)).collect::<Vec<_>>();
        let extract = Extract::new(bytes(text), bytes(ABSENT.as_bytes()), vec![END]);
        for question in questions {
            let Question { kind, text, answer: expected } = question;
            let answer = answer(self.model, &mut read, text, extract.clone());
            read.rewind(&end);
            if let Some((model, other)) = &mut other {
                let start = other.mark();
                let next = foreseen(question);
                let [q, p] = [(self.model, &mut read), (*model, &mut *other)]
                    .map(|(model, cache)| guesses(model, cache, question));
                let vocab = q.len() / next.len();
                let rows = q.chunks_exact(vocab).zip(p.chunks_exact(vocab)).zip(next);
                rows.for_each(|((q, p), next)| self.agreement.add(q, p, next));
                read.rewind(&end);
                other.rewind(&start);
            }
            let right = answer == *expected;
            if !right && self.show_wrong {
                bar.suspend(|| eprintln!("[{kind}] {text} => {answer:?}, expected {expected:?}"));
            }
            score.add(kind, expected == ABSENT, right);
            bar.inc(1);
            bar.set_message(format!("{:.1} % right", score.total.percent()));
        }
    }
}

/// What a model has read after `ids`.
fn after(model: &MiniMaxText01, ids: &[u32], kv: KvType) -> Cache {
    let mut read = Cache::new(model.config(), kv);
    for chunk in ids.chunks(CHUNK) {
        model.logits(&Batch::single(chunk, read.tokens(), &[]), &mut [&mut read]);
    }
    read
}

/// The question as it is read, up to where the answer begins.
fn asked(question: &str) -> Vec<u32> {
    let bytes = question.bytes().map(u32::from);
    [QUESTION].into_iter().chain(bytes).chain([ANSWER]).collect()
}

/// The right answer's tokens and the end.
fn foreseen(question: &Question) -> Vec<u32> {
    question.answer.bytes().map(u32::from).chain([END]).collect()
}

/// Logits for each token of the right answer, `[tokens, vocab_size]`, those before it given.
fn guesses(model: &MiniMaxText01, cache: &mut Cache, question: &Question) -> Vec<f32> {
    let mut piece = asked(&question.text);
    let first = piece.len() - 1;
    piece.extend(foreseen(question));
    piece.pop();
    let rows: Vec<usize> = (first..piece.len()).collect();
    model.logits(&Batch::single(&piece, cache.tokens(), &rows), &mut [cache]).to_vec()
}

/// The likeliest answer of those that `extract` allows.
fn answer(
    model: &MiniMaxText01,
    cache: &mut Cache,
    question: &str,
    mut extract: Extract,
) -> String {
    let mut piece = asked(question);
    let mut bytes = Vec::new();
    while bytes.len() < MAX_ANSWER {
        let batch = Batch::single(&piece, cache.tokens(), &[piece.len() - 1]);
        let logits = model.logits(&batch, &mut [&mut *cache]);
        let mut logits = logits.to_vec();
        extract.mask(&mut logits);
        let id = argmax(&logits);
        extract.push(id);
        let Ok(byte) = u8::try_from(id) else { break };
        bytes.push(byte);
        piece = vec![id];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Right and all answers.
#[derive(Clone, Copy, Default)]
struct Count {
    asked: usize,
    right: usize,
}

impl Count {
    fn add(&mut self, right: bool) {
        self.asked += 1;
        self.right += usize::from(right);
    }

    fn percent(self) -> f64 {
        100.0 * self.right as f64 / self.asked.max(1) as f64
    }
}

/// Right and all answers, in all and by kind.
struct Score {
    name: String,
    total: Count,
    present: Count,
    absent: Count,
    by_kind: BTreeMap<String, Count>,
}

impl Score {
    fn new(name: String) -> Self {
        let zero = Count::default();
        Self { name, total: zero, present: zero, absent: zero, by_kind: BTreeMap::new() }
    }

    fn add(&mut self, kind: &str, absent: bool, right: bool) {
        self.total.add(right);
        if absent { &mut self.absent } else { &mut self.present }.add(right);
        self.by_kind.entry(kind.to_owned()).or_default().add(right);
    }

    /// Every line of the table: kinds, then what is there and what is not, then all.
    fn lines(&self) -> Vec<(&str, Count)> {
        let kinds = self.by_kind.iter().map(|(kind, count)| (kind.as_str(), *count));
        let sums = [
            ("(in the text)", self.present),
            ("(not in the text)", self.absent),
            (self.name.as_str(), self.total),
        ];
        kinds.chain(sums).collect()
    }

    fn print(&self, out: &mut impl std::io::Write) -> anyhow::Result<()> {
        for (name, count) in self.lines() {
            let (right, asked, percent) = (count.right, count.asked, count.percent());
            writeln!(out, "{name:<24} {right:>5} of {asked:<5} {percent:5.1} %")?;
        }
        Ok(())
    }

    fn to_json(&self) -> serde_json::Value {
        let count = |c: Count| serde_json::json!({ "right": c.right, "asked": c.asked });
        let kinds = self.by_kind.iter().map(|(kind, c)| (kind.clone(), count(*c)));
        serde_json::json!({
            "name": self.name,
            "all": count(self.total),
            "in_the_text": count(self.present),
            "not_in_the_text": count(self.absent),
            "by_kind": kinds.collect::<serde_json::Map<_, _>>(),
        })
    }

    fn group(&self) -> Group {
        let bars = self.lines().into_iter().map(|(name, c)| (name.to_owned(), c.percent()));
        Group { bars: bars.collect() }
    }
}
