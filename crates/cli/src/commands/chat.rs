//! `fulgurite chat`: a conversation in the terminal.

use super::session::{checked, interactive};
use crate::failure::Misuse;
use crate::model::{Kv, Weights};
use crate::prompt::{decode, read_files, read_media};
use crate::served::Options;
use crate::sessions::LOCAL;
use crate::talk::{Question, Talk};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::json;
use server::senses::Sense;
use server::sessions::{SessionError, Sessions as _};
use std::io::{BufRead as _, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tensor::Device;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The model's folder or GGUF file; the embedded model unless set
    #[arg(long, env = "FULGURITE_MODEL")]
    model: Option<PathBuf>,
    /// A session to go on with, or to begin; without one the conversation ends with the program
    #[arg(long, env = "FULGURITE_SESSION")]
    session: Option<String>,
    /// Most tokens of an answer
    #[arg(long, env = "FULGURITE_MAX_TOKENS", default_value_t = 4096)]
    max_tokens: usize,
    /// How freely tokens are chosen; as the model's folder says unless set
    #[arg(long, env = "FULGURITE_TEMPERATURE")]
    temperature: Option<f32>,
    /// How matrices are kept; as in the file unless set
    #[arg(long, env = "FULGURITE_WEIGHTS")]
    weights: Option<Weights>,
    /// How keys and values are kept; as bf16 unless the weights are f32
    #[arg(long, env = "FULGURITE_KV")]
    kv: Option<Kv>,
    /// Tokens read at once
    #[arg(long, env = "FULGURITE_CHUNK", default_value = "4096")]
    chunk: NonZeroUsize,
}

const HELP: &str = "\
/file PATH     read a file before the next question
/image PATH    look at a picture before the next question
/audio PATH    listen to a sound before the next question
/save NAME     keep the conversation under a name, and go on with it
/fork NAME     keep it under a second name, and go on with that one
/resume NAME   go on with another conversation
/rewind N      go back to the first N messages
/sessions      all that are kept
/help          this
/quit          end (also Ctrl-D); Ctrl-C ends an answer";

/// A line that is no question.
#[derive(Debug, PartialEq)]
enum Command<'a> {
    File(&'a str),
    Image(&'a str),
    Audio(&'a str),
    Save(&'a str),
    Fork(&'a str),
    Resume(&'a str),
    Rewind(u32),
    Sessions,
    Help,
    Quit,
}

impl<'a> Command<'a> {
    /// `None` for a question.
    fn parse(line: &'a str) -> Option<Result<Self, String>> {
        let rest = line.strip_prefix('/')?;
        let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let rest = rest.trim();
        let needs = |what: &str| match rest {
            "" => Err(format!("/{word} needs {what}")),
            rest => Ok(rest),
        };
        Some(match word {
            "file" => needs("a path").map(Self::File),
            "image" => needs("a path").map(Self::Image),
            "audio" => needs("a path").map(Self::Audio),
            "save" => needs("a name").map(Self::Save),
            "fork" => needs("a name").map(Self::Fork),
            "resume" => needs("a name").map(Self::Resume),
            "rewind" => match rest.parse() {
                Ok(messages) => Ok(Self::Rewind(messages)),
                Err(_) => Err(format!("/rewind needs a number of messages, found `{rest}`")),
            },
            "sessions" => Ok(Self::Sessions),
            "help" | "?" => Ok(Self::Help),
            "quit" | "exit" => Ok(Self::Quit),
            _ => Err(format!("there is no /{word}: /help tells what there is")),
        })
    }
}

pub(crate) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    if let Some(name) = &arguments.session {
        checked(name)?;
    }
    let Arguments { model, weights, kv, chunk, .. } = arguments;
    let options = Options::of_one(model.as_deref(), *weights, *kv, *chunk);
    let talk = Talk::new(&options, arguments.session.as_deref(), device)?;
    if interactive() {
        let stop = Arc::clone(&talk.stop);
        ctrlc::set_handler(move || stop.store(true, Ordering::Relaxed))?;
    }
    let mut chat = Chat::new(arguments, talk);
    let mut lines = Lines::new()?;
    chat.welcome();
    let result = loop {
        let Some(line) = lines.next()? else { break Ok(()) };
        match Command::parse(line.trim()) {
            None if line.trim().is_empty() => {}
            None => {
                if let Err(error) = chat.ask(line.trim()) {
                    tell(&format!("error: {error}"));
                    // Nobody is there to try again.
                    if !lines.interactive() {
                        break Err(error);
                    }
                }
            }
            Some(Ok(Command::Quit)) => break Ok(()),
            Some(command) => {
                let done = command.map_err(|why| Misuse(why).into());
                if let Err(error) = done.and_then(|command| chat.command(&command)) {
                    tell(&format!("error: {error}"));
                    if !lines.interactive() {
                        break Err(error);
                    }
                }
            }
        }
    };
    chat.end();
    result
}

fn tell(text: &str) {
    // Nobody is left to tell if stderr is closed.
    _ = writeln!(std::io::stderr(), "{text}");
}

struct Chat<'a> {
    arguments: &'a Arguments,
    talk: Talk,
    /// The session that is gone on with; one without a name goes when the program ends.
    name: String,
    kept: bool,
    /// Names and bytes of what is read before the next question.
    files: Vec<(String, Vec<u8>)>,
    /// Pictures and sounds that come before it.
    shown: Vec<(Sense, Vec<u8>)>,
    rewind: Option<u32>,
}

impl<'a> Chat<'a> {
    fn new(arguments: &'a Arguments, talk: Talk) -> Self {
        let (name, kept) = match &arguments.session {
            Some(name) => (name.clone(), true),
            None => (format!("unnamed-{}", std::process::id()), false),
        };
        if !kept {
            // Of a process that was killed and had the same number.
            _ = talk.sessions.delete(LOCAL, &name);
        }
        let (files, shown) = (Vec::new(), Vec::new());
        Self { arguments, talk, name, kept, files, shown, rewind: None }
    }

    fn welcome(&self) {
        if interactive() {
            tell(&format!("{}: /help tells what there is beside questions", self.talk.facts.name));
        }
        if self.kept {
            self.resumed();
        }
    }

    /// Tells where a conversation is gone on with.
    fn resumed(&self) {
        match self.talk.sessions.show(LOCAL, &self.name) {
            Ok(info) => tell(&format!(
                "`{}` goes on after {} messages, {} tokens",
                self.name, info.messages, info.tokens
            )),
            Err(SessionError::NotFound(_)) => tell(&format!("`{}` begins here", self.name)),
            Err(error) => tell(&format!("error: {error}")),
        }
    }

    fn ask(&mut self, text: &str) -> anyhow::Result<()> {
        let mut fields = serde_json::Map::new();
        fields.insert("max_tokens".to_owned(), json!(self.arguments.max_tokens));
        if let Some(temperature) = self.arguments.temperature {
            fields.insert("temperature".to_owned(), json!(temperature));
        }
        let mut session = json!({"name": self.name});
        if let Some(messages) = self.rewind {
            session["rewind"] = json!(messages);
        }
        fields.insert("session".to_owned(), session);
        let (files, shown) = (self.files.clone(), self.shown.clone());
        let question = Question { text: text.to_owned(), files, shown, fields };
        self.talk.stop.store(false, Ordering::Relaxed);
        let told = self.talk.ask(&question, true)?;
        writeln!(std::io::stdout())?;
        if self.talk.stop.load(Ordering::Relaxed) {
            tell("stopped: the question and its answer are not kept");
            return Ok(());
        }
        if interactive() {
            let [reading, writing] = told.seconds;
            let rate = told.completion_tokens as f64 / writing.max(1e-9);
            tell(&format!("  {}; {reading:.2} s to the first, {rate:.0} tokens/s", told.reuse()));
        }
        self.files.clear();
        self.shown.clear();
        self.rewind = None;
        Ok(())
    }

    /// Takes a picture or a sound that the model can perceive.
    fn show(&mut self, sense: Sense, path: &Path) -> anyhow::Result<()> {
        let bytes = read_media(path, sense)?;
        let senses = &self.talk.facts.senses;
        let shown = decode(senses, path, sense, bytes.clone())?;
        tell(&format!("`{}` takes {} tokens", path.display(), senses.tokens(&shown)));
        self.shown.push((sense, bytes));
        Ok(())
    }

    fn command(&mut self, command: &Command<'_>) -> anyhow::Result<()> {
        match *command {
            Command::Image(path) => return self.show(Sense::Sight, Path::new(path)),
            Command::Audio(path) => return self.show(Sense::Hearing, Path::new(path)),
            _ => {}
        }
        let sessions = &self.talk.sessions;
        match *command {
            Command::File(path) => {
                let path = PathBuf::from(path);
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let held = self.files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
                let left = self.talk.facts.most_bytes.saturating_sub(held);
                let bytes = read_files(&[path], left)?;
                self.files.extend(bytes.into_iter().map(|bytes| (name.clone(), bytes)));
            }
            Command::Save(name) | Command::Fork(name) => {
                let kept = match self.kept {
                    true => sessions.fork(LOCAL, &self.name, checked(name)?, None).map(drop),
                    false => sessions.rename(LOCAL, &self.name, checked(name)?),
                };
                kept.map_err(|error| match error {
                    SessionError::NotFound(_) => anyhow::anyhow!("nothing has been said yet"),
                    other => other.into(),
                })?;
                (self.name, self.kept) = (name.to_owned(), true);
                tell(&format!("going on with `{name}`"));
            }
            Command::Resume(name) => {
                sessions.show(LOCAL, checked(name)?)?;
                if !self.kept {
                    _ = sessions.delete(LOCAL, &self.name);
                }
                (self.name, self.kept, self.rewind) = (name.to_owned(), true, None);
                self.resumed();
            }
            Command::Rewind(messages) => {
                let said = sessions.show(LOCAL, &self.name)?.messages;
                if u64::from(messages) > said {
                    anyhow::bail!(
                        "there are {said} messages, expected at most that, found {messages}"
                    );
                }
                self.rewind = Some(messages);
                tell(&format!("the next question comes after {messages} messages"));
            }
            Command::Sessions => super::session::run(&super::session::What::List { json: false })?,
            Command::Help => tell(HELP),
            Command::Image(_) | Command::Audio(_) | Command::Quit => {}
        }
        Ok(())
    }

    fn end(&self) {
        if !self.kept {
            // There is none if nothing was said.
            _ = self.talk.sessions.delete(LOCAL, &self.name);
        }
    }
}

/// What is typed, or what comes through a pipe.
enum Lines {
    Typed(Box<DefaultEditor>),
    Piped,
}

impl Lines {
    fn new() -> anyhow::Result<Self> {
        match interactive() {
            true => Ok(Self::Typed(Box::new(DefaultEditor::new()?))),
            false => Ok(Self::Piped),
        }
    }

    fn interactive(&self) -> bool {
        matches!(self, Self::Typed(_))
    }

    /// `None` at the end.
    fn next(&mut self) -> anyhow::Result<Option<String>> {
        match self {
            Self::Typed(editor) => loop {
                match editor.readline("> ") {
                    Ok(line) => {
                        _ = editor.add_history_entry(&line);
                        return Ok(Some(line));
                    }
                    Err(ReadlineError::Interrupted) => tell("/quit or Ctrl-D ends"),
                    Err(ReadlineError::Eof) => return Ok(None),
                    Err(error) => return Err(error.into()),
                }
            },
            Self::Piped => {
                let mut line = String::new();
                let read = std::io::stdin().lock().read_line(&mut line)?;
                Ok((read > 0).then_some(line))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_questions_or_commands() {
        assert_eq!(Command::parse("what is /save?"), None);
        assert_eq!(Command::parse("/save  my talk "), Some(Ok(Command::Save("my talk"))));
        assert_eq!(Command::parse("/rewind 4"), Some(Ok(Command::Rewind(4))));
        assert_eq!(Command::parse("/image a b.png"), Some(Ok(Command::Image("a b.png"))));
        assert_eq!(Command::parse("/audio x.wav"), Some(Ok(Command::Audio("x.wav"))));
        assert_eq!(Command::parse("/quit"), Some(Ok(Command::Quit)));
        for (line, why) in [
            ("/save", "/save needs a name"),
            ("/rewind -1", "/rewind needs a number of messages, found `-1`"),
            ("/frok x", "there is no /frok: /help tells what there is"),
        ] {
            assert_eq!(Command::parse(line), Some(Err(why.to_owned())));
        }
    }
}
