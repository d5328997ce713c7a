//! `fulgurite eval lookup`: whole answers right, over generated documents, pictures and sounds, or a list
//! of questions.

mod examiner;
mod score;
mod shown;

use super::agreement::Agreement;
use crate::model::{Kv, Place, Weights, read_to_string};
use crate::plot::{self, Group};
use anyhow::Context as _;
use clap::builder::RangedU64ValueParser;
use examiner::Examiner;
use indicatif::{ProgressBar, ProgressStyle};
use score::Score;
use shown::Reader;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tensor::{Device, Rng, Tensor, atomic};
use train::lookup::{self, Spec, Split};

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
    /// What is generated
    #[arg(long, default_value = "text", conflicts_with = "list")]
    of: Of,
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
    /// separated by tabs, with a kind behind the file if the headings say so; files may be pictures and
    /// sounds
    #[arg(long, conflicts_with = "bytes")]
    list: Option<PathBuf>,
    /// How keys and values are kept; as bf16 unless the weights are f32
    #[arg(long, env = "FULGURITE_KV")]
    kv: Option<Kv>,
    /// Read another document than the one that is asked about: what is right then is chance
    #[arg(long)]
    shuffled: bool,
    /// Show a grey picture, or let silence be heard: what is right then is guessed
    #[arg(long, conflicts_with = "shuffled")]
    blank: bool,
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

/// What is generated to ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Of {
    /// Documents of words that were not trained on
    Text,
    /// Pictures of shapes, writing and bars, of combinations that were not trained on
    Pictures,
    /// Sounds, of combinations that were not trained on
    Sounds,
}

/// What is asked about, as the model reads it.
struct Document {
    /// Its tokens; of a picture or a sound those that its rows are most like.
    text: Vec<u32>,
    /// Of a picture or a sound what the model reads, `[tokens, hidden_size]`.
    rows: Option<Tensor>,
}

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
    let reader = || Reader::new(&place, &checkpoint, &model, arguments.weights, device);
    let scores = match (&arguments.list, arguments.of) {
        (Some(list), _) => vec![of_list(&mut examiner, &reader()?, list, arguments)?],
        (None, Of::Text) => generated(&mut examiner, arguments)?,
        (None, of) => vec![shown(&mut examiner, &reader()?, of, arguments)?],
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
            examiner.examine(&Document::of_text(text.as_bytes()), &questions, &mut score, &bar);
        }
        scores.push(score);
    }
    bar.finish_and_clear();
    Ok(scores)
}

/// The score of generated pictures or sounds.
fn shown(
    examiner: &mut Examiner<'_>,
    reader: &Reader,
    of: Of,
    arguments: &Arguments,
) -> anyhow::Result<Score> {
    let bar = bar(arguments.questions as u64)?;
    let split =
        if arguments.seen { train::clips::Split::Train } else { train::clips::Split::HeldOut };
    let mut score = Score::new("all".to_owned());
    for index in 0.. {
        if score.total.asked >= arguments.questions {
            break;
        }
        let (drawn, questions) = shown::draw(of, split, &mut Rng::stream(arguments.seed, index));
        let drawn = match (arguments.shuffled, arguments.blank) {
            (true, _) => shown::draw(of, split, &mut Rng::stream(!arguments.seed, index)).0,
            (_, true) => shown::blank(&drawn),
            _ => drawn,
        };
        examiner.examine(&reader.read(&drawn)?, &questions, &mut score, &bar);
    }
    bar.finish_and_clear();
    Ok(score)
}

/// The score of a list of questions, by file.
fn of_list(
    examiner: &mut Examiner<'_>,
    reader: &Reader,
    list: &Path,
    arguments: &Arguments,
) -> anyhow::Result<Score> {
    let text = read_to_string(list)?;
    let mut by_file: BTreeMap<&str, Vec<Question>> = BTreeMap::new();
    let has_kinds = text.lines().next().is_some_and(|line| line.split('\t').nth(1) == Some("kind"));
    let name =
        |file: &str| Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
    for (i, line) in text.lines().enumerate().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let (file, kind, question, answer) = match (&fields[..], has_kinds) {
            (&[file, kind, question, answer], true) => (file, kind.to_owned(), question, answer),
            (&[file, question, answer], false) => (file, name(file), question, answer),
            _ => anyhow::bail!(
                "`{}` line {}: {} fields separated by tabs, expected {}",
                list.display(),
                i + 1,
                fields.len(),
                if has_kinds {
                    "4: file, kind, question, answer"
                } else {
                    "3: file, question, answer"
                }
            ),
        };
        let question = Question { kind, text: question.to_owned(), answer: answer.to_owned() };
        by_file.entry(file).or_default().push(question);
    }
    let bar = bar(by_file.values().map(|questions| questions.len() as u64).sum())?;
    let folder = list.parent().unwrap_or(Path::new(""));
    let mut score = Score::new("all".to_owned());
    let mut files: Vec<&str> = by_file.keys().copied().collect();
    if arguments.shuffled {
        // Far from itself: names of one kind stand together.
        let half = files.len() / 2;
        files.rotate_left(half);
    }
    for (file, questions) in files.into_iter().zip(by_file.values()) {
        let path = folder.join(file);
        let document = match shown::sense_of(&path) {
            Some(sense) => {
                let drawn = reader.decode(&path, sense)?;
                reader.read(&if arguments.blank { shown::blank(&drawn) } else { drawn })?
            }
            None => {
                let text = std::fs::read(&path);
                Document::of_text(
                    &text.with_context(|| format!("cannot read `{}`", path.display()))?,
                )
            }
        };
        examiner.examine(&document, questions, &mut score, &bar);
    }
    bar.finish_and_clear();
    Ok(score)
}

impl Document {
    fn of_text(text: &[u8]) -> Self {
        Self { text: text.iter().map(|&byte| byte.into()).collect(), rows: None }
    }
}

fn bar(questions: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("asking {wide_bar} {pos}/{len} {msg} {eta} left")?;
    Ok(ProgressBar::new(questions).with_style(style))
}
