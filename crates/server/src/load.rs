//! Many clients at once that write down how they are served: `fulgurite bench --serve`.
//!
//! Speaks the `/v1/completions` that all servers of OpenAI's interface have, so that others can be
//! measured beside ours. Every client has one connection and asks again as soon as it is answered.

use crate::sse::Events;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How often the caller hears of it.
const TICK: Duration = Duration::from_millis(200);
/// What a client waits that could not be served, unless the server says.
const PAUSE: Duration = Duration::from_millis(500);
/// And at most.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How long a client waits for anything at all.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is asked, by how many, for how long.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where the server is: `http://127.0.0.1:8080`.
    pub url: String,
    /// A key that lets in.
    pub api_key: Option<String>,
    /// The model's name, where servers want it.
    pub model: Option<String>,
    /// Clients.
    pub streams: usize,
    /// Length of each prompt; no two are alike from their first words on.
    pub prompt_bytes: usize,
    /// Tokens that are asked for.
    pub max_tokens: usize,
    /// How long new requests are begun; those that are under way then are waited for.
    pub duration: Duration,
}

/// How clients were served.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Answers that came to their end.
    pub answered: u64,
    /// What went wrong, and how often.
    pub failed: BTreeMap<String, u64>,
    /// Tokens that came while new requests were begun.
    pub tokens: u64,
    /// That time, in seconds.
    pub seconds: f64,
    /// Seconds from a request to its first token, in rising order.
    pub first: Vec<f64>,
    /// Seconds between a token and the next, in rising order.
    pub gaps: Vec<f64>,
    /// Tokens of each client.
    pub tokens_of_each: Vec<u64>,
}

/// A load that cannot be put on a server.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not an address of a server.
    #[error("the server's address is `{0}`, expected one like http://127.0.0.1:8080")]
    Url(String),
    /// Nobody is there.
    #[error("nobody answers at {url}: {source}")]
    Connect {
        /// The address.
        url: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no threads.
    #[error("cannot start clients: {0}")]
    System(#[from] io::Error),
}

/// Puts `load` on its server and waits for the end; `tick` hears what has passed and how many tokens
/// came, five times a second.
///
/// # Errors
///
/// If nobody answers at the address. What happens later is in the report.
pub fn run(load: &Load, mut tick: impl FnMut(Duration, u64)) -> Result<Report, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let target = Arc::new(Target::new(load)?);
        let source = target.connect().await.err();
        if let Some(source) = source {
            return Err(LoadError::Connect { url: load.url.clone(), source });
        }
        let tokens = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let end = start + load.duration;
        let mut clients = JoinSet::new();
        for number in 0..load.streams {
            let mut client = Client {
                load: load.clone(),
                target: Arc::clone(&target),
                number,
                end,
                tokens: Arc::clone(&tokens),
                connection: None,
                report: Report::default(),
                own_tokens: 0,
            };
            clients.spawn(async move {
                client.run().await;
                (client.number, client.own_tokens, client.report)
            });
        }
        let mut report = Report { tokens_of_each: vec![0; load.streams], ..Report::default() };
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                ended = clients.join_next() => match ended {
                    None => break,
                    Some(Ok((number, own, part))) => {
                        report.add(part);
                        report.tokens_of_each[number] = own;
                    }
                    // A client that panicked: a mistake of ours, told like others.
                    Some(Err(error)) => *report.failed.entry(error.to_string()).or_default() += 1,
                },
                _ = ticks.tick() => tick(start.elapsed(), tokens.load(Ordering::Relaxed)),
            }
        }
        report.seconds = load.duration.as_secs_f64();
        report.tokens = report.tokens_of_each.iter().sum();
        report.first.sort_by(f64::total_cmp);
        report.gaps.sort_by(f64::total_cmp);
        Ok(report)
    })
}

impl Report {
    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.first.extend(other.first);
        self.gaps.extend(other.gaps);
        for (what, times) in other.failed {
            *self.failed.entry(what).or_default() += times;
        }
    }

    /// Tokens of the client that got most over those of the one that got least; infinite if one got
    /// none.
    pub fn unfairness(&self) -> f64 {
        let most = self.tokens_of_each.iter().max().copied().unwrap_or(0);
        let least = self.tokens_of_each.iter().min().copied().unwrap_or(0);
        most as f64 / least as f64
    }
}

/// Of `sorted` values that which `share` of them do not exceed; `None` of no values.
pub fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The server, as connections need it.
#[derive(Debug)]
struct Target {
    authority: String,
    address: String,
    path: String,
}

impl Target {
    fn new(load: &Load) -> Result<Self, LoadError> {
        let wrong = || LoadError::Url(load.url.clone());
        let uri: Uri = load.url.parse().map_err(|_| wrong())?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        let host = authority.host().trim_matches(['[', ']']);
        let address = match host.contains(':') {
            true => format!("[{host}]:{}", authority.port_u16().unwrap_or(80)),
            false => format!("{host}:{}", authority.port_u16().unwrap_or(80)),
        };
        let base = uri.path().trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        Ok(Self {
            authority: authority.to_string(),
            address,
            path: format!("{base}/v1/completions"),
        })
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // Its end is seen by the one who sends.
        tokio::spawn(connection);
        Ok(sender)
    }
}

struct Client {
    load: Load,
    target: Arc<Target>,
    number: usize,
    /// When no request is begun any more.
    end: Instant,
    /// Of all clients, for the one who watches.
    tokens: Arc<AtomicU64>,
    connection: Option<SendRequest<Full<Bytes>>>,
    report: Report,
    /// Tokens that came in time.
    own_tokens: u64,
}

/// Why a request had no answer, and how long to wait before the next.
struct Failed(String, Duration);

impl Failed {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string(), PAUSE)
    }
}

impl Client {
    async fn run(&mut self) {
        let mut round = 0;
        while Instant::now() < self.end {
            let asked = timeout(PATIENCE, self.ask(round)).await;
            let late = || Failed::new(format!("no answer within {} s", PATIENCE.as_secs()));
            match asked.unwrap_or_else(|_| Err(late())) {
                Ok(()) => self.report.answered += 1,
                Err(Failed(what, pause)) => {
                    self.connection = None;
                    *self.report.failed.entry(what).or_default() += 1;
                    sleep(pause).await;
                }
            }
            round += 1;
        }
    }

    /// One request, its answer read to the end.
    async fn ask(&mut self, round: usize) -> Result<(), Failed> {
        let request = self.request(round).map_err(Failed::new)?;
        let mut sender = match self.connection.take() {
            Some(sender) if sender.is_ready() => sender,
            _ => self.target.connect().await.map_err(Failed::new)?,
        };
        let start = Instant::now();
        let response = sender.send_request(request).await.map_err(Failed::new)?;
        let status = response.status();
        if status != StatusCode::OK {
            let after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok());
            let seconds = after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
            return Err(Failed(status.to_string(), seconds.unwrap_or(PAUSE).min(MAX_PAUSE)));
        }
        let mut body = response.into_body();
        let mut answer = Answer::default();
        let mut last: Option<Instant> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(Failed::new)?;
            let now = Instant::now();
            for _ in 0..answer.push(frame.data_ref().map_or(&[][..], |data| data))? {
                match last.replace(now) {
                    None => self.report.first.push((now - start).as_secs_f64()),
                    Some(before) => self.report.gaps.push((now - before).as_secs_f64()),
                }
                if now < self.end {
                    self.own_tokens += 1;
                    self.tokens.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        if !answer.done {
            return Err(Failed::new("an answer ended before its end"));
        }
        self.connection = Some(sender);
        Ok(())
    }

    fn request(&self, round: usize) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut body = json!({
            "prompt": prompt(self.number, round, self.load.prompt_bytes),
            "max_tokens": self.load.max_tokens,
            "temperature": 0.0,
            "stream": true,
        });
        if let Some(model) = &self.load.model {
            body["model"] = json!(model);
        }
        let mut request = Request::post(&self.target.path)
            .header(HOST, &self.target.authority)
            .header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.load.api_key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        request.body(Full::new(Bytes::from(body.to_string())))
    }
}

/// What an answer says piece by piece.
#[derive(Default)]
struct Answer {
    events: Events,
    /// Whether its end was there.
    done: bool,
}

impl Answer {
    /// How many of the events that are whole now bring text: each is a token.
    fn push(&mut self, bytes: &[u8]) -> Result<usize, Failed> {
        let mut tokens = 0;
        for data in self.events.push(bytes).map_err(Failed::new)? {
            if data == b"[DONE]" {
                self.done = true;
                continue;
            }
            let Ok(event) = serde_json::from_slice::<Value>(&data) else { continue };
            if let Some(error) = event.get("error") {
                return Err(Failed::new(format!("an answer ended with {error}")));
            }
            let text = event["choices"][0]["text"].as_str();
            tokens += usize::from(text.is_some_and(|text| !text.is_empty()));
        }
        Ok(tokens)
    }
}

/// Words of the client's own from the first on, so that nothing is known of it beforehand.
fn prompt(client: usize, round: usize, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 32);
    let mut state = (client as u64) << 32 ^ round as u64 ^ 0x9e37_79b9_7f4a_7c15;
    _ = write!(text, "Notes {client}.{round}:");
    while text.len() < bytes {
        // A linear congruential generator (Knuth, MMIX).
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        _ = write!(text, " item {}", state >> 44);
    }
    text.truncate(bytes.max(1));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_events_with_text() {
        let mut answer = Answer::default();
        let text =
            "data: {\"choices\":[{\"text\":\"a\"}]}\r\n\r\n: alive\n\ndata: {\"choices\":[{\"text";
        assert_eq!(answer.push(text.as_bytes()).ok(), Some(1));
        let rest =
            "\":\"b\"}]}\n\ndata: {\"choices\":[{\"text\":\"\"}]}\n\ndata: {\"choices\":[]}\n\n";
        assert_eq!(answer.push(rest.as_bytes()).ok(), Some(1));
        assert!(!answer.done);
        assert_eq!(answer.push(b"data: [DONE]\n\n").ok(), Some(0));
        assert!(answer.done);
        assert!(answer.push(b"data: {\"error\":{\"message\":\"x\"}}\n\n").is_err());
    }

    #[test]
    fn prompts_differ_from_the_start() {
        let prompts = [prompt(0, 0, 100), prompt(0, 1, 100), prompt(1, 0, 100), prompt(11, 0, 100)];
        for (i, one) in prompts.iter().enumerate() {
            assert_eq!(one.len(), 100);
            for other in &prompts[i + 1..] {
                let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
                assert!(same < 12, "{one} {other}");
            }
        }
        assert_eq!(prompt(3, 4, 0).len(), 1);
    }

    #[test]
    fn ranks() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            [0.5, 0.95, 0.99, 1.0].map(|share| percentile(&values, share)),
            [Some(50.0), Some(95.0), Some(99.0), Some(100.0)]
        );
        assert_eq!(percentile(&[7.0], 0.5), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn addresses() {
        let target = |url: &str| {
            let load = Load {
                url: url.to_owned(),
                api_key: None,
                model: None,
                streams: 1,
                prompt_bytes: 1,
                max_tokens: 1,
                duration: Duration::ZERO,
            };
            Target::new(&load).map(|t| (t.address, t.path)).map_err(|error| error.to_string())
        };
        let found = target("http://localhost:80/v1/").unwrap();
        assert_eq!(found, ("localhost:80".to_owned(), "/v1/completions".to_owned()));
        let found = target("http://[::1]:9000/api").unwrap();
        assert_eq!(found, ("[::1]:9000".to_owned(), "/api/v1/completions".to_owned()));
        for wrong in ["https://example.org", "localhost:80", "", "http://"] {
            assert!(target(wrong).unwrap_err().contains(wrong));
        }
    }
}
