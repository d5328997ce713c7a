//! Clips over HTTP, from the real server and a model whose weights are by chance.

use super::video::{Folder, folder};
use media::clip::{Limits, decode};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

struct Server {
    child: Child,
    address: String,
    /// What it says after its address, line by line.
    said: Arc<Mutex<Vec<String>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL: it has no time for anything.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Server {
    fn start(model: &Folder, home: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fulgurite"));
        command.args(["serve", "--port", "0", "--memory", "0.1", "--video-model"]);
        command.arg(model.0.path()).env("FULGURITE_HOME", home);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let address = first.split("http://").nth(1).unwrap_or_else(|| panic!("{first}")).to_owned();
        let said = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&said);
        std::thread::spawn(move || lines.for_each(|line| kept.lock().unwrap().push(line.unwrap())));
        let server = Self { child, address, said };
        server.until(|| server.send("GET", "/ready", None).0 == 200);
        server
    }

    fn until(&self, mut is: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is() {
            assert!(Instant::now() < end, "it takes too long");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Status and body.
    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Vec<u8>) {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all((head + &body).as_bytes()).unwrap();
        let mut got = Vec::new();
        connection.read_to_end(&mut got).unwrap();
        let end = got.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let status = std::str::from_utf8(&got[9..12]).unwrap().parse().unwrap();
        (status, got[end + 4..].to_vec())
    }

    fn json(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, got) = self.send(method, path, body);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&got));
        serde_json::from_slice(&got).unwrap()
    }

    fn order(&self, body: &Value) -> String {
        self.json("POST", "/v1/videos", Some(body))["id"].as_str().unwrap().to_owned()
    }

    /// Waits for one of these states.
    fn once(&self, id: &str, states: &[&str]) -> Value {
        let mut video = Value::Null;
        self.until(|| {
            video = self.json("GET", &format!("/v1/videos/{id}"), None);
            states.contains(&video["status"].as_str().unwrap())
        });
        video
    }
}

#[test]
fn clips_are_made_over_http_and_survive_a_kill() {
    let (model, home) = (folder(), tempfile::tempdir().unwrap());
    let server = Server::start(&model, home.path());
    let order = json!({"prompt": "a red circle", "num_inference_steps": 4, "seed": 5, "eta": 0.5});
    let id = server.order(&order);
    let video = server.once(&id, &["completed", "failed"]);
    assert_eq!(video["status"], "completed", "{video}");
    assert_eq!((&video["size"], &video["settings"]["num_frames"]), (&json!("24x16"), &json!(5)));
    let content = |server: &Server, variant: &str| {
        let (status, bytes) =
            server.send("GET", &format!("/v1/videos/{id}/content?variant={variant}"), None);
        assert_eq!(status, 200, "{variant}: {}", String::from_utf8_lossy(&bytes));
        bytes
    };
    let mp4 = content(&server, "video");
    let file = server.json("GET", &format!("/v1/files/retrieve?file_id={id}"), None);
    assert_eq!(file["file"]["bytes"], mp4.len());
    let recording = decode(&mp4, &Limits::default()).unwrap();
    assert_eq!((recording.clip.width, recording.clip.height, recording.clip.frames), (24, 16, 5));
    let about: Value = serde_json::from_str(&recording.about.unwrap()).unwrap();
    assert_eq!(
        (&about["prompt"], &about["seed"], &about["eta"]),
        (&json!("a red circle"), &json!(5), &json!(0.5))
    );
    assert_eq!(decode(&content(&server, "gif"), &Limits::default()).unwrap().clip.frames, 5);
    let timeline = String::from_utf8(content(&server, "timeline")).unwrap();
    assert_eq!(timeline.matches("<image ").count(), 5);
    let report: Value = serde_json::from_slice(&content(&server, "report")).unwrap();
    assert_eq!(report["report"]["frames"].as_array().unwrap().len(), 5);

    for (wrong, field, words) in [
        (json!({"prompt": "a red ring"}), "prompt", "`ring`"),
        (json!({"prompt": "a circle", "size": "24x17"}), "size", "16 or 24"),
        (json!({"prompt": "a circle", "eta": 0.5, "sampler": "dpm"}), "eta", "`euler`"),
        (json!({"prompt": "a circle", "num_frames": 10_001}), "num_frames", "1 to 10000"),
        // At 6 a second.
        (json!({"prompt": "a circle", "seconds": 2000}), "num_frames", "expected at most 10000"),
        (json!({"prompt": "a circle", "input_reference": "AAAA"}), "input_reference", "no picture"),
    ] {
        let (status, got) = server.send("POST", "/v1/videos", Some(&wrong));
        let got: Value = serde_json::from_slice(&got).unwrap();
        let message = got["error"]["message"].as_str().unwrap();
        assert_eq!((status, got["error"]["param"].as_str()), (400, Some(field)), "{message}");
        assert!(message.contains(words), "{message}");
    }

    let long = json!({"prompt": "a circle", "num_inference_steps": 1000, "num_frames": 200});
    let long = server.order(&long);
    let next = server.order(&order);
    server.once(&long, &["in_progress"]);
    drop(server);

    let server = Server::start(&model, home.path());
    assert_eq!(content(&server, "video"), mp4);
    server.once(&long, &["in_progress"]);
    server.json("DELETE", &format!("/v1/videos/{long}"), None);
    assert_eq!(server.once(&next, &["completed", "failed"])["status"], "completed");
    // The same order makes the same clip.
    let (_, again) = server.send("GET", &format!("/v1/videos/{next}/content"), None);
    assert!(again == mp4);
    assert_eq!(server.json("GET", "/v1/videos", None)["data"].as_array().unwrap().len(), 2);
    let mut left: Vec<_> = std::fs::read_dir(home.path().join("videos"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    // And the lock.
    assert_eq!(left.len(), 3, "{left:?}");
}

impl Server {
    /// Makes no clips, says why, and answers all else.
    fn makes_no_clips(&self, why: &str) {
        let (status, got) = self.send("GET", "/v1/videos", None);
        assert_eq!(status, 404, "{}", String::from_utf8_lossy(&got));
        let models = self.json("GET", "/v1/models", None);
        assert_eq!(models["data"].as_array().unwrap().len(), 1);
        let tokens = self.json("POST", "/tokenize", Some(&json!({"prompt": "abc"})));
        assert_eq!(tokens["count"], 3, "{tokens}");
        let said = || self.said.lock().unwrap().iter().any(|line| line.contains("no clips"));
        self.until(said);
        let said = self.said.lock().unwrap().join("\n");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_home_has_one_server_of_clips() {
    let (model, home) = (folder(), tempfile::tempdir().unwrap());
    let first = Server::start(&model, home.path());
    let second = Server::start(&model, home.path());
    second.makes_no_clips("another process makes them, expected another FULGURITE_HOME for each");
    assert_eq!(first.json("GET", "/v1/videos", None)["data"], json!([]));
    drop((first, second));
    // The lock ended with its process.
    let third = Server::start(&model, home.path());
    assert_eq!(third.json("GET", "/v1/videos", None)["data"], json!([]));
}

#[test]
fn a_folder_that_cannot_be_used_stops_no_server() {
    let (model, home) = (folder(), tempfile::tempdir().unwrap());
    std::fs::write(home.path().join("videos"), "no folder").unwrap();
    let server = Server::start(&model, home.path());
    server.makes_no_clips(&home.path().join("videos").display().to_string());
}
