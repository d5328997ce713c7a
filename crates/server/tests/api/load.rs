//! Many clients at once, over real connections, and what they write down.

use crate::connections::start;
use crate::fake::Says;
use server::load::{Load, LoadError, Report, run};
use server::{Keys, Settings};
use std::time::Duration;

fn load(url: String) -> Load {
    Load {
        url,
        api_key: None,
        model: None,
        streams: 3,
        prompt_bytes: 40,
        max_tokens: 5,
        duration: Duration::from_millis(300),
    }
}

async fn report(load: Load) -> Result<Report, LoadError> {
    tokio::task::spawn_blocking(move || run(&load, |_, _| {})).await.unwrap()
}

fn says() -> Says {
    let token_time = Duration::from_millis(1);
    Says { endless: true, token_time, ..Says::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_count_what_they_get() {
    let running = start(Settings::default(), says()).await;
    let report = report(load(format!("http://{}", running.address))).await.unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert!(report.answered >= 3);
    assert_eq!(report.tokens_of_each.len(), 3);
    assert!(report.tokens_of_each.iter().all(|tokens| *tokens > 0));
    assert_eq!(report.tokens, report.tokens_of_each.iter().sum::<u64>());
    // Each answer has a first token, and is as long as was asked for at the most.
    assert_eq!(report.first.len() as u64, report.answered);
    assert!(report.gaps.len() as u64 <= 4 * report.answered);
    assert!(report.first.is_sorted() && report.gaps.is_sorted());
    assert!(report.tokens <= (report.first.len() + report.gaps.len()) as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_counted() {
    let keys = Keys::new(&["right-key".to_owned()], None).unwrap();
    let running = start(Settings { keys, ..Settings::default() }, says()).await;
    let url = format!("http://{}", running.address);
    let wrong = Load { api_key: Some("wrong-key".to_owned()), ..load(url.clone()) };
    let found = report(wrong).await.unwrap();
    assert_eq!((found.answered, found.tokens), (0, 0));
    assert_eq!(found.failed.keys().collect::<Vec<_>>(), ["401 Unauthorized"]);
    let right = Load { api_key: Some("right-key".to_owned()), ..load(url.clone()) };
    assert!(report(right.clone()).await.unwrap().answered >= 3);
    let other = Load { model: Some("other".to_owned()), ..right };
    let found = report(other).await.unwrap();
    assert_eq!(found.failed.keys().collect::<Vec<_>>(), ["404 Not Found"]);
}

#[tokio::test]
async fn nobody_there_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(report(load(url)).await, Err(LoadError::Connect { .. })));
    assert!(matches!(report(load("localhost".to_owned())).await, Err(LoadError::Url(_))));
}
