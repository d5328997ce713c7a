//! `fulgurite bench` from outside: what it writes, and what it refuses. No speed is expected.

use super::{fails, fulgurite, root, succeeds};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What `bench` writes; nothing is on stderr, which is no terminal.
#[track_caller]
fn text(arguments: &[&str]) -> String {
    let output = fulgurite(&[&["bench"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A small random model whose context is `context` tokens, in `folder`.
fn model(folder: &Path, context: u64) -> PathBuf {
    let golden = root().join("fixtures/goldens/text-hybrid/config.json");
    let config = std::fs::read_to_string(golden).unwrap();
    let field = "\"max_position_embeddings\": 4096";
    assert!(config.contains(field));
    let path = folder.join("config.json");
    let field_now = format!("\"max_position_embeddings\": {context}");
    std::fs::write(&path, config.replace(field, &field_now)).unwrap();
    let made = folder.join("model");
    let [path, to] = [&path, &made].map(|path| path.display().to_string());
    succeeds(&["init", &path, &to, "--weights", "f32"]);
    made
}

#[test]
fn json_has_a_row_for_each_test_of_each_weights() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), 4096).display().to_string();
    let size = ["--threads", "2", "-p", "16,5", "-n", "3", "--repeat", "2", "--chunk", "7"];
    let precisions = ["f32", "bf16"];
    let weights = ["--weights", "f32,bf16", "--model", &model, "--json"];
    let rows: Value = serde_json::from_str(&text(&[&size[..], &weights].concat())).unwrap();
    let rows = rows.as_array().unwrap();
    let expected: Vec<(&str, &str)> = precisions
        .into_iter()
        .flat_map(|weights| ["pp16", "pp5", "tg3"].map(|test| (weights, test)))
        .collect();
    let found: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| (row["weights"].as_str().unwrap(), row["test"].as_str().unwrap()))
        .collect();
    assert_eq!(found, expected);
    for row in rows {
        assert_eq!(row["model"], model, "{row}");
        assert_eq!(row["threads"], 2, "{row}");
        for field in ["tokens_per_second", "share_of_peak"] {
            assert!(row[field].as_f64().is_some_and(|x| x > 0.0), "{field} in {row}");
        }
        let peak = &row["peak_rss_bytes"];
        assert!(peak.as_u64().is_some_and(|bytes| bytes > 1 << 20) || peak.is_null(), "{row}");
        assert_eq!(row["tokens_per_second_of_each"].as_array().unwrap().len(), 2, "{row}");
        assert!(row["microseconds_per_token"].is_null(), "{row}");
    }
    let bytes = |i: usize| rows[i]["model_bytes"].as_u64().unwrap();
    assert!(bytes(0) > bytes(3), "bf16 is not smaller: {rows:?}");
}

/// The embedded model, and the precision of its file.
#[test]
fn the_table_is_in_markdown() {
    let table = text(&["-p", "32", "-n", "2", "--repeat", "1"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    let cells = |line: &str| -> Vec<String> {
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let head = cells(lines[0]);
    let expected =
        ["model", "size", "params", "weights", "threads", "test", "t/s", "of peak", "peak memory"];
    assert_eq!(head[1..10], expected);
    for (line, test) in [(lines[2], "pp32"), (lines[3], "tg2")] {
        let cells = cells(line);
        assert_eq!([&cells[1][..], &cells[6]], ["nano", test], "{line}");
        assert!(cells[7].contains(" ± ") && cells[8].ends_with(" %"), "{line}");
    }
}

/// What the classes take is what the whole takes.
#[test]
fn a_profile_adds_up() {
    let rows = text(&["--profile", "-p", "64", "-n", "2", "--repeat", "2", "--json"]);
    let rows: Value = serde_json::from_str(&rows).unwrap();
    for row in rows.as_array().unwrap() {
        let times = &row["microseconds_per_token"];
        let classes = ["lightning_attention", "softmax_attention", "expert_products"];
        for class in [&classes[..], &["other_products", "rest"]].concat() {
            assert!(times[class].as_f64().is_some_and(|x| x > 0.0), "{class} in {row}");
        }
        let sum: f64 = times.as_object().unwrap().values().map(|x| x.as_f64().unwrap()).sum();
        let each = row["tokens_per_second_of_each"].as_array().unwrap();
        let mean = each.iter().map(|x| 1e6 / x.as_f64().unwrap()).sum::<f64>() / each.len() as f64;
        assert!((sum / mean - 1.0).abs() < 1e-6, "{sum} of {mean} in {row}");
    }
    let tables = text(&["--profile", "-p", "16", "-n", "0", "--repeat", "1"]);
    assert!(tables.contains("µs/token") && tables.contains(" lightning |"), "{tables}");
}

#[test]
fn zero_leaves_a_test_out() {
    for (arguments, test) in [(["-p", "0", "-n", "2"], "tg2"), (["-p", "0,8", "-n", "0"], "pp8")] {
        let json = text(&[&arguments[..], &["--repeat", "1", "--json"]].concat());
        let rows: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
        assert_eq!(rows[0]["test"], test);
    }
}

#[test]
fn misuse_is_told() {
    fails(&["bench", "-p", "0", "-n", "0"], 2, &["-p 0 -n 0", "above 0"]);
    fails(&["bench", "-p", "few"], 2, &["'few'", "--prompt-tokens"]);
    fails(&["bench", "-p", "-1"], 2, &["-1"]);
    fails(&["bench", "-n", "99999999999999999999"], 2, &["99999999999999999999"]);
    fails(&["bench", "--weights", "f32,q1"], 2, &["'q1'", "--weights"]);
    fails(&["bench", "--repeat", "0"], 2, &["'0'", "--repeat"]);
    fails(&["bench", "--chunk", "0"], 2, &["'0'", "--chunk"]);
    fails(&["bench", "--model", "/nowhere"], 3, &["/nowhere"]);
}

/// Before anything is measured, also if a smaller test comes first.
#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), 1 << 40).display().to_string();
    let with_model = |arguments: &[&'static str]| -> Vec<String> {
        ["bench"]
            .iter()
            .chain(arguments)
            .map(|word| (*word).to_owned())
            .chain([model.clone()])
            .collect()
    };
    let refused = |arguments: &[&'static str], words: &[&str]| {
        let arguments = with_model(arguments);
        fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 4, words);
    };
    let beyond = ["1099511627777 tokens", "expected at most 1099511627776"];
    refused(&["-p", "8,1099511627777", "--model"], &beyond);
    refused(&["-n", "1099511627776", "-p", "0", "--model"], &["expected at most 1099511627776"]);
    if Path::new("/proc/meminfo").exists() {
        let arithmetic = ["549755813888 tokens need", "of KV", "of state", "weights", "free"];
        refused(&["-p", "8,549755813888", "--model"], &arithmetic);
    }
}

/// As [`text`], with variables of the environment.
#[track_caller]
fn with_env(variables: &[(&str, &str)], arguments: &[&str]) -> std::process::Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fulgurite"));
    command.arg("bench").args(arguments).envs(variables.iter().copied()).output().unwrap()
}

/// What is meant for a server does not keep others from being measured.
#[test]
fn variables_of_the_server_are_no_flags() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), 4096).display().to_string();
    let variables = [
        ("FULGURITE_NAME", "small"),
        ("FULGURITE_MEMORY", "1"),
        ("FULGURITE_API_KEY", "k"),
        ("FULGURITE_SECONDS", "1"),
        ("FULGURITE_STREAMS", "2"),
        ("FULGURITE_PROMPT_BYTES", "9"),
    ];
    let short = ["--model", &model, "-p", "4", "-n", "0", "--repeat", "1", "--json"];
    let output = with_env(&variables, &short);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for flag in ["--streams", "--seconds", "--name", "--memory", "--api-key", "--prompt-bytes"] {
        fails(&["bench", flag, "1"], 2, &[flag, "--serve"]);
    }
}

/// Our own server gets the flags, and keys and folders of the environment are not in its way.
#[test]
fn a_server_of_our_own_is_measured() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().display().to_string();
    let keys = home.path().join("keys");
    std::fs::write(&keys, "other-key\n").unwrap();
    let variables = [
        ("FULGURITE_HOME", &path[..]),
        ("FULGURITE_API_KEY_FILE", keys.to_str().unwrap()),
        ("FULGURITE_API_KEY", "a-key"),
    ];
    let load = ["--serve", "--streams", "1,3", "--seconds", "1", "-n", "3", "--prompt-bytes", "40"];
    let more = ["--memory", "0.1", "--name", "small", "--json"];
    let output = with_env(&variables, &[&load[..], &more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for (row, streams) in rows.iter().zip([1, 3]) {
        assert_eq!(row["streams"], streams);
        assert!(
            row["answered"].as_u64().unwrap() >= streams && row["failed"] == serde_json::json!({})
        );
        assert!(row["seconds_to_first_token"]["p50"].as_f64().unwrap() > 0.0, "{row}");
    }
    let left: Vec<_> =
        std::fs::read_dir(home.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(left, ["keys"], "the user's folder is left alone");
}

#[test]
fn a_server_that_answers_nobody_is_no_measurement() {
    // One that says of everything that there is no such thing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for connection in listener.incoming() {
            std::thread::spawn(move || {
                let mut connection = connection.unwrap();
                _ = connection.read(&mut [0; 4096]);
                _ = connection.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
            });
        }
    });
    let load = ["bench", "--serve", &url, "--streams", "2", "--seconds", "1", "-n", "3"];
    fails(&load, 1, &["2 clients", "404 Not Found"]);
}
