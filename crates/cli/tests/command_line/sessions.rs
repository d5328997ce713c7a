//! Conversations that outlive the program.

use super::{fails, root, succeeds};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A home for sessions of one test.
pub(super) struct Home(tempfile::TempDir);

impl Home {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fulgurite"));
        command.args(arguments).env("FULGURITE_HOME", self.0.path());
        command
    }

    pub(super) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    pub(super) fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    pub(super) fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let output = self.output(arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert_eq!(message.trim_end().lines().count(), 1, "{message}");
        for word in words {
            assert!(message.contains(word), "no {word:?} in: {message}");
        }
    }

    /// The answer of `run --json` in a session.
    #[track_caller]
    fn run(&self, name: &str, arguments: &[&str]) -> Value {
        let run = ["run", "--json", "--session", name];
        serde_json::from_str(&self.succeeds(&[&run[..], arguments].concat())).unwrap()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("sessions/local").join(format!("{name}.safetensors"))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    fn chat(&self, name: &str, lines: &str) -> String {
        self.chat_with(name, &[], lines)
    }

    #[track_caller]
    pub(super) fn chat_with(&self, name: &str, arguments: &[&str], lines: &str) -> String {
        let mut child = self
            .command(&[&["chat", "--session", name], arguments].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Notes long enough that it shows whether they are read again.
fn notes(home: &Home) -> String {
    let path = home.0.path().join("harbour.ini");
    let gates = (0..100).map(|i| format!("[gate {i}]\naccess_code = {}\n\n", 1000 + 37 * i));
    std::fs::write(&path, gates.collect::<String>()).unwrap();
    path.display().to_string()
}

#[test]
fn a_second_question_reads_nothing_twice() {
    let home = Home::new();
    let file = notes(&home);
    let question = |gate: usize| format!("what is the access code of gate {gate}?");
    let first = home.run("harbour", &["--file", &file, &question(7)]);
    assert_eq!((&first["text"], &first["cached_tokens"]), (&"1259".into(), &0.into()), "{first}");
    let second = home.run("harbour", &[&question(42)]);
    assert_eq!(second["text"], "2554", "{second}");
    let count = |field: &str| second[field].as_u64().unwrap();
    // All but the question, of which the wording that is the same may be known too.
    let asked = question(42).len() as u64 + 2;
    assert!(count("prompt_tokens") - count("cached_tokens") <= asked, "{second}");
    assert!(count("cached_tokens") > 2000, "{second}");
    // And is what it would be if all were read.
    let cold = home.succeeds(&["run", "--file", &file, &question(42)]);
    assert_eq!(cold.trim_end(), "2554");
}

#[test]
fn sessions_are_listed_forked_moved_and_deleted() {
    let home = Home::new();
    let file = notes(&home);
    home.run("harbour", &["--file", &file, "what is the access code of gate 7?"]);
    home.succeeds(&["session", "fork", "harbour", "other", "--label", "the other way"]);
    let list: Value = serde_json::from_str(&home.succeeds(&["session", "list", "--json"])).unwrap();
    let told: Vec<(&str, &Value)> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["name"].as_str().unwrap(), &s["parent"]))
        .collect();
    assert_eq!(told, [("harbour", &Value::Null), ("other", &"harbour".into())]);
    assert!(home.succeeds(&["session", "list"]).contains("|   other "));
    let exported = home.0.path().join("exported.safetensors").display().to_string();
    home.succeeds(&["session", "export", "other", &exported]);
    let elsewhere = Home::new();
    elsewhere.succeeds(&["session", "import", &exported, "moved"]);
    let shown = elsewhere.succeeds(&["session", "show", "moved"]);
    assert!(shown.contains("parent    none\nlabel     the other way"), "{shown}");
    let answer = elsewhere.run("moved", &["what is the access code of gate 42?"]);
    assert_eq!(answer["text"], "2554");
    assert!(answer["cached_tokens"].as_u64().unwrap() > 2000, "{answer}");
    home.succeeds(&["session", "delete", "other"]);
    home.fails(&["session", "show", "other"], 1, &["`other`"]);
    home.fails(&["session", "import", &exported, "harbour"], 1, &["`harbour` already"]);
    home.fails(&["session", "fork", "harbour", "../x"], 2, &["`../x`", "letters"]);
    home.fails(&["session", "fork", "nobody", "x"], 1, &["`nobody`"]);
}

#[test]
fn a_conversation_goes_back_and_on() {
    let home = Home::new();
    let file = notes(&home);
    let lines = format!(
        "/file {file}\nwhat is the access code of gate 7?\n/fork b\n\
         what is the access code of gate 42?\n/rewind 2\nwhat is the access code of gate 9?\n"
    );
    assert_eq!(home.chat("a", &lines), "1259\n2554\n1333\n");
    let show = |name| -> Value {
        serde_json::from_str(&home.succeeds(&["session", "show", name, "--json"])).unwrap()
    };
    assert_eq!((&show("a")["messages"], &show("b")["messages"]), (&2.into(), &4.into()));
}

#[test]
fn a_damaged_session_is_told_and_nothing_else_is_lost() {
    let home = Home::new();
    let file = notes(&home);
    let question = "what is the access code of gate 7?";
    home.run("whole", &["--file", &file, question]);
    home.run("harbour", &["--file", &file, question]);
    let path = home.file("harbour");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    home.fails(&["run", "--session", "harbour", question], 1, &["`harbour`", "checksum"]);
    std::fs::write(&path, &bytes[..middle]).unwrap();
    home.fails(&["session", "show", "harbour"], 1, &["`harbour`", "cut short"]);
    let listed = home.output(&["session", "list"]);
    assert!(String::from_utf8_lossy(&listed.stderr).contains("`harbour` is left out"));
    assert!(String::from_utf8_lossy(&listed.stdout).contains("whole"));
    // Another way to keep keys and values is another memory.
    let other = ["run", "--session", "whole", "--kv", "f32", question];
    home.fails(&other, 1, &["session", "model"]);
    fails(&["run", "--session", "a/b", question], 2, &["`a/b`"]);
    fails(&["run", "--session", "a", "--raw", question], 2, &["--raw"]);
}

/// What is said before a conversation has a name is kept with it, once it has one; files without an end
/// are refused.
#[test]
fn a_conversation_gets_its_name_later() {
    let home = Home::new();
    let file = notes(&home);
    let mut child = home
        .command(&["chat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = format!("/file {file}\nwhat is the access code of gate 7?\n/save a\n");
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list: Value = serde_json::from_str(&home.succeeds(&["session", "list", "--json"])).unwrap();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["name"]), (1, &"a".into()));
    assert_eq!((&list[0]["messages"], &list[0]["parent"]), (&2.into(), &Value::Null));
    if Path::new("/dev/zero").exists() {
        home.fails(&["run", "--session", "a", "--file", "/dev/zero", "what?"], 4, &["/dev/zero"]);
        home.fails(&["session", "import", "/dev/zero", "z"], 1, &["/dev/zero"]);
    }
}

/// Killed at any time while it writes, there is a whole session afterwards: the old one or the new.
#[test]
fn kills_leave_whole_sessions() {
    let kills = if std::env::var_os("RUN_SLOW_TESTS").is_some() { 100 } else { 10 };
    let home = Home::new();
    let file = notes(&home);
    let question = "what is the access code of gate 7?";
    home.run("harbour", &["--file", &file, question]);
    let kill_after = |mut child: Child, time: Duration| {
        std::thread::sleep(time);
        // It may have ended by itself.
        _ = child.kill();
        child.wait().unwrap();
    };
    let time = {
        let start = std::time::Instant::now();
        home.run("harbour", &[question]);
        start.elapsed()
    };
    for kill in 0..kills {
        let mut command = home.command(&["run", "--session", "harbour", question]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        kill_after(child, time.mul_f64(0.5 + 0.6 * f64::from(kill) / f64::from(kills)));
        let answer = home.run("harbour", &[question]);
        assert_eq!(answer["text"], "1259", "after kill {kill}");
        assert!(answer["cached_tokens"].as_u64().unwrap() > 2000, "{answer}");
    }
}

/// The file is what `docs/sessions.md` says, and other programs can look into it.
#[test]
fn a_session_is_a_safetensors_file() {
    let home = Home::new();
    let file = notes(&home);
    home.run("harbour", &["--file", &file, "what is the access code of gate 7?"]);
    let text = succeeds(&["inspect", &home.file("harbour").display().to_string()]);
    for name in ["tokens", "points.0.layers.0", "layers.4.kv", "sums", "seal"] {
        assert!(text.lines().any(|line| line.ends_with(name)), "no {name} in {text}");
    }
    let described = std::fs::read_to_string(root().join("docs/sessions.md")).unwrap();
    assert!(described.contains("`fulgurite.sequence`") && Path::new(&file).exists());
}
