//! Over real connections: clients that go away, read slowly or say nothing, and the end.

use crate::fake::{Api, Says, user};
use axum::http::StatusCode;
use serde_json::json;
use server::Settings;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) struct Running {
    api: Api,
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

pub(crate) async fn start(settings: Settings, says: Says) -> Running {
    let api = Api::with(settings, says);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let app = api.app.clone();
    let shutdown = async { _ = stopped.await };
    let ended = tokio::spawn(async { server::serve(listener, app, shutdown).await.unwrap() });
    Running { api, address, stop, ended }
}

fn endless() -> Says {
    let token_time = Duration::from_millis(2);
    Says { endless: true, token_time, ..Says::default() }
}

fn request(body: &serde_json::Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

async fn ask(address: SocketAddr, stream: bool) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let body = json!({"messages": user("Hi"), "stream": stream, "max_tokens": 4000});
    connection.write_all(request(&body).as_bytes()).await.unwrap();
    connection
}

/// Reads until `text` was seen; what was read.
async fn read_to(connection: &mut TcpStream, text: &str) -> String {
    let mut read = String::new();
    let mut buffer = [0; 4096];
    while !read.contains(text) {
        let n = tokio::time::timeout(Duration::from_secs(20), connection.read(&mut buffer)).await;
        let n = n.unwrap_or_else(|_| panic!("{text:?} does not come: {read}")).unwrap();
        assert!(n > 0, "{text:?} did not come: {read}");
        read += &String::from_utf8_lossy(&buffer[..n]);
    }
    read
}

/// Case 11: whoever goes away, at whatever point, leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_disconnects_leave_nothing() {
    let says = Says { reads_for: Duration::from_millis(5), ..endless() };
    let running = start(Settings::default(), says).await;
    let address = running.address;
    for round in 0..20u64 {
        let clients = (0..50u64).map(|i| {
            tokio::spawn(async move {
                let stream = i % 3 > 0;
                let mut connection = ask(address, stream).await;
                // Before the answer, while the prompt is read, at the first token, further on.
                tokio::time::sleep(Duration::from_millis((round * 7 + i * 3) % 40)).await;
                if stream && i % 4 == 0 {
                    read_to(&mut connection, "\"x\"").await;
                }
                drop(connection);
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
    }
    running.api.idle().await;
    let metrics = running.api.get("/metrics").await.text;
    assert!(metrics.contains("fulgurite_num_streams{model_name=\"fake\"} 0"), "{metrics}");
    let aborted = "finished_reason=\"abort\"} ";
    let line = metrics.lines().find(|line| line.contains(aborted)).unwrap();
    let count: u64 = line.split("} ").nth(1).unwrap().parse().unwrap();
    assert!(count > 900, "{line}");
}

/// Case 11: and the work ends at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_ends_the_work_within_a_step() {
    for stream in [true, false] {
        let running = start(Settings::default(), endless()).await;
        let mut connection = ask(running.address, stream).await;
        match stream {
            true => _ = read_to(&mut connection, "\"x\"").await,
            false => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        assert_eq!(running.api.fake.active.load(SeqCst), 1);
        drop(connection);
        let gone = Instant::now();
        running.api.idle().await;
        assert!(gone.elapsed() < Duration::from_millis(500), "{:?}", gone.elapsed());
    }
}

/// Case 14: also before the first token.
#[tokio::test(flavor = "multi_thread")]
async fn streams_tell_that_they_live_while_nothing_happens() {
    let settings = Settings { ping: Duration::from_millis(20), ..Settings::default() };
    let says = Says { reads_for: Duration::from_millis(300), ..Says::default() };
    let running = start(settings, says).await;
    let read = read_to(&mut ask(running.address, true).await, "[DONE]").await;
    let before = read.split("Hello").next().unwrap();
    assert!(before.matches(": ping\n\n").count() >= 5, "{read}");
    let text: String = read.matches(": ping").collect();
    assert!(!text.is_empty() && Settings::default().ping <= Duration::from_secs(15));
}

/// Case 12: the answer waits for a slow client up to a limit; others do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_given_up() {
    let settings = Settings {
        max_unread_bytes: 64 << 10,
        write_timeout: Duration::from_millis(300),
        ..Settings::default()
    };
    let running = start(settings, endless()).await;
    // Big enough pieces that the system's buffers fill up: with probabilities of many tokens.
    let body = json!({"messages": user("Hi"), "stream": true, "max_tokens": 4000, "n": 64,
                      "logprobs": true, "top_logprobs": 20});
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = socket.connect(running.address).await.unwrap();
    slow.write_all(request(&body).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let got = read_to(&mut ask(running.address, true).await, "\"x\"").await;
    assert!(got.starts_with("HTTP/1.1 200"));
    drop(got);
    running.api.idle().await;
    assert!(running.api.fake.written.load(SeqCst) < 64 * 4000, "all was written for nobody");
    // And the connection is closed, not only the work ended.
    let mut sink = vec![0; 1 << 16];
    let end = Instant::now() + Duration::from_secs(20);
    while slow.read(&mut sink).await.unwrap_or(0) > 0 {
        assert!(Instant::now() < end, "the connection stays open");
    }
}

/// Case 7: headers one byte at a time.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_are_closed() {
    let settings = Settings { header_timeout: Duration::from_millis(200), ..Settings::default() };
    let running = start(settings, Says::default()).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut connection = TcpStream::connect(running.address).await.unwrap();
        connection.write_all(b"GET /health HTT").await.unwrap();
        slow.push(connection);
    }
    // Others are served meanwhile.
    let got = read_to(&mut ask(running.address, true).await, "[DONE]").await;
    assert!(got.starts_with("HTTP/1.1 200"));
    for mut connection in slow {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), connection.read_to_end(&mut rest));
        assert!(read.await.is_ok(), "a connection stays open");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_a_mebibyte_are_refused() {
    let running = start(Settings::default(), Says::default()).await;
    for (length, envelope) in [(100_000, true), (1 << 20, false)] {
        let mut connection = TcpStream::connect(running.address).await.unwrap();
        let value = "x".repeat(length);
        let text = format!(
            "GET /version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-long: {value}\r\n\r\n"
        );
        // It may be refused before all of it is sent.
        _ = connection.write_all(text.as_bytes()).await;
        let mut got = Vec::new();
        _ = connection.read_to_end(&mut got).await;
        let got = String::from_utf8_lossy(&got);
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.as_u16();
        assert!(got.starts_with(&format!("HTTP/1.1 {status}")), "{length}: {got:.200}");
        assert_eq!(got.contains("headers_too_large"), envelope);
    }
}

/// Case 24: answers that go on are finished, others are not taken.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_lets_answers_finish() {
    let says = Says { token_time: Duration::from_millis(20), ..Says::default() };
    let running = start(Settings::default(), says).await;
    let mut connection = ask(running.address, true).await;
    read_to(&mut connection, "\"H\"").await;
    running.stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = TcpStream::connect(running.address).await;
    assert!(refused.is_err(), "a connection was taken");
    assert_eq!(running.api.get("/ready").await.status, 503);
    let rest = read_to(&mut connection, "[DONE]").await;
    assert!(rest.contains("\"finish_reason\":\"stop\""), "{rest}");
    running.ended.await.unwrap();
}

/// Case 24: but not for ever.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_does_not_wait_for_ever() {
    let settings = Settings { grace: Duration::from_millis(200), ..Settings::default() };
    let running = start(settings, endless()).await;
    let mut connection = ask(running.address, true).await;
    read_to(&mut connection, "\"x\"").await;
    let stopped = Instant::now();
    running.stop.send(()).unwrap();
    running.ended.await.unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(3), "{:?}", stopped.elapsed());
    running.api.idle().await;
}
