//! `fulgurite serve` from outside: how it begins, answers and ends.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn fulgurite(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulgurite"));
    command.arg("serve").args(arguments).stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Expects a failure with `code` and all of `words` in one line.
#[track_caller]
fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    let output = fulgurite(arguments).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

#[test]
fn others_are_let_in_with_a_key_only() {
    fails(&["--host", "0.0.0.0"], 2, &["--api-key", "--insecure"]);
    fails(&["--api-key", "a b"], 2, &["key"]);
    fails(&["--api-key-file", "/nowhere/keys"], 2, &["/nowhere/keys"]);
}

#[test]
fn what_does_not_fit_is_refused_at_the_start() {
    fails(&["--memory", "1000000"], 4, &["memory", "free"]);
    fails(&["--context", "999999999999"], 4, &["--context"]);
    fails(&["--model", "/nowhere"], 3, &["/nowhere"]);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    fails(&["--port", &port, "--memory", "0.1"], 1, &["127.0.0.1", &port]);
}

/// The process, and where it listens.
fn start(arguments: &[&str]) -> (Child, String) {
    let mut child = fulgurite(&[&["--port", "0"], arguments].concat()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.split("http://").nth(1).unwrap_or_else(|| panic!("{first}")).to_owned();
    // What comes later is read and dropped, so that the pipe does not fill up.
    std::thread::spawn(move || lines.for_each(drop));
    (child, address)
}

fn send(address: &str, text: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    connection.write_all(text.as_bytes()).unwrap();
    let mut got = String::new();
    connection.read_to_string(&mut got).unwrap();
    got
}

fn get(address: &str, path: &str) -> String {
    send(address, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
}

fn ready(address: &str) {
    let end = Instant::now() + Duration::from_secs(120);
    while !get(address, "/ready").starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < end, "the server does not get ready");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Case 24, and the embedded model's promise: a chat that holds a text and a question is answered like
/// `run --file`.
#[test]
fn the_embedded_model_answers_until_it_is_told_to_end() {
    let (mut child, address) = start(&["--memory", "0.1", "--api-key", "k", "--name", "small"]);
    ready(&address);
    let text = "[[package]]\\nname = \\\"tokio\\\"\\nversion = \\\"1.45.0\\\"\\n";
    let body = format!(
        r#"{{"messages": [{{"role": "user", "content": "{text}\nwhich version of tokio?"}}]}}"#
    );
    let length = body.len();
    let request = |key: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             authorization: Bearer {key}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
    };
    assert!(send(&address, &request("wrong")).starts_with("HTTP/1.1 401"));
    let got = send(&address, &request("k"));
    assert!(got.starts_with("HTTP/1.1 200"), "{got}");
    assert!(got.contains("\"content\":\"1.45.0\"") && got.contains("\"model\":\"small\""), "{got}");
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The answer to a question about a text, and how many tokens of the prompt were known.
fn ask(address: &str, text: &str, question: &str) -> (String, u64) {
    let content = format!("{text}\n{question}");
    let body = serde_json::json!({
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 16,
    });
    let body = body.to_string();
    let got = send(
        address,
        &format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    let (head, body) = got.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{got}");
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    let answer = value["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    (answer, value["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap())
}

/// What memory has no room for comes back from the folder of `--spill`, which is empty at the end.
#[test]
fn what_was_spilled_is_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let spill = folder.path().join("spill");
    let (mut child, address) = start(&["--memory", "0.02", "--spill", spill.to_str().unwrap()]);
    ready(&address);
    let files = || {
        let names = std::fs::read_dir(&spill).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("snapshot-")).count()
    };
    // About 12 000 tokens each, of which memory has room for two.
    let text = |i: usize| -> String {
        let package = |j: usize| {
            format!("[[package]]\nname = \"crate-{i}-{j}\"\nversion = \"{i}.{j}.{}\"\n\n", i + j)
        };
        (0..230).map(package).collect()
    };
    let question = "which version of crate-0-17?";
    let (first, _) = ask(&address, &text(0), question);
    let (_, known) = ask(&address, &text(0), "which version of crate-0-200?");
    for i in 1..6 {
        assert!(ask(&address, &text(i), question).1 < 1000, "texts are different");
        let end = Instant::now() + Duration::from_secs(60);
        while i > 2 && files() < i - 2 {
            assert!(Instant::now() < end, "only {} files after text {i}", files());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let metrics = get(&address, "/metrics");
    assert!(metrics.contains("evict"), "{metrics}");
    let (again, known_again) = ask(&address, &text(0), question);
    assert_eq!(again, first);
    // All but the question, of which memory also knew the words that the other one began with.
    assert!(known > 12_000 && known_again + 64 > known, "{known}, then {known_again} tokens");
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(files(), 0);
}

/// What a client leaves before: its answer's first bytes, an answer's end, or in the middle of reading.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    AtOnce,
    AfterEvents(usize),
    WhileItReads,
}

/// A client that asks and does not wait for all of it; no text was asked about before.
fn leave(address: &str, number: usize, leaves: Leaves) {
    let packages = if matches!(leaves, Leaves::WhileItReads) { 300 } else { 5 };
    let package =
        |i: usize| format!("[[package]]\nname = \"crate-{number}-{i}\"\nversion = \"1.2.{i}\"\n");
    let text: String = (0..packages).map(package).collect();
    let content = format!("{text}\nwhich version of crate-{number}-3?");
    let messages = serde_json::json!([{"role": "user", "content": content}]);
    let body = serde_json::json!({"messages": messages, "stream": true}).to_string();
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
    write!(connection, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    match leaves {
        Leaves::AtOnce => {}
        Leaves::WhileItReads => std::thread::sleep(Duration::from_millis(20)),
        Leaves::AfterEvents(events) => {
            let lines = BufReader::new(&connection).lines().map_while(Result::ok);
            // An answer may be over sooner.
            let seen = lines.take_while(|line| line != "data: [DONE]");
            seen.filter(|line| line.starts_with("data: ")).take(events).for_each(drop);
        }
    }
}

/// The number behind `name` in the metrics.
fn metric(address: &str, name: &str) -> f64 {
    let metrics = get(address, "/metrics");
    let lines = metrics.lines().filter(|line| !line.starts_with('#') && line.contains(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Case 11, of the whole process: nothing of clients that leave stays, whenever they do, but what is
/// counted and gives way.
#[test]
fn clients_that_leave_leave_no_memory() {
    // Few times tell of what is large only; the case's own measure is for many.
    let slow = std::env::var_os("RUN_SLOW_TESTS").is_some();
    let (before, times, drift) = if slow { (500, 1000, 0.01) } else { (60, 60, 0.1) };
    const ROUNDS: usize = 4;
    let (mut child, address) = start(&["--memory", "0.02"]);
    ready(&address);
    let ways = [
        Leaves::AtOnce,
        Leaves::AfterEvents(1),
        Leaves::AfterEvents(2),
        Leaves::AfterEvents(10),
        Leaves::WhileItReads,
    ];
    let round =
        |clients: Range<usize>| clients.for_each(|i| leave(&address, i, ways[i % ways.len()]));
    // kB beside what is kept for others to go on from.
    let memory = || {
        let end = Instant::now() + Duration::from_secs(60);
        while ["num_requests_running", "num_requests_waiting"]
            .iter()
            .any(|n| metric(&address, n) > 0.0)
        {
            assert!(Instant::now() < end, "who left is still answered");
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let all = line.trim().strip_suffix(" kB")?.parse::<f64>().ok()?;
        Some(all - metric(&address, "fulgurite_held_bytes") / 1024.0)
    };
    round(0..before);
    let mut found = vec![memory()];
    for i in 0..ROUNDS {
        let first = before + i * times / ROUNDS;
        round(first..first + times / ROUNDS);
        found.push(memory());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let Some(found) = found.into_iter().collect::<Option<Vec<f64>>>() else {
        return eprintln!("skipped: the system does not tell a process's memory");
    };
    println!("kB beside what is kept, every {} clients: {found:.0?}", times / ROUNDS);
    // The allocator takes more at once when more happens at once than ever before. What leaks grows in
    // each round.
    let least = found.windows(2).map(|pair| pair[1] / pair[0] - 1.0).fold(f64::INFINITY, f64::min);
    assert!(least * ROUNDS as f64 <= drift, "{times} clients that left: {found:?} kB");
}

#[test]
fn a_folder_that_cannot_be_spilled_to_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let spill = ["--memory", "0.1", "--spill", file.to_str().unwrap()];
    fails(&spill, 2, &["--spill", "is a file, expected a folder"]);
    // Nor one below it.
    let below = file.join("folder");
    fails(&["--memory", "0.1", "--spill", below.to_str().unwrap()], 1, &["cannot spill", "folder"]);
}
