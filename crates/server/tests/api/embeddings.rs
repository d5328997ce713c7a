//! `/v1/embeddings`.

use crate::fake::{Api, CONTEXT, Says};
use expect_test::expect;
use serde_json::json;
use server::Settings;

#[tokio::test]
async fn texts_become_vectors_of_length_one() {
    let api = Api::new();
    let got = api.post("/v1/embeddings", json!({"input": "abc", "model": "fake"})).await;
    // The engine says [3, 0, -1] of three tokens.
    expect![[r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.9486833,0.0,-0.31622776]}],"model":"fake","usage":{"prompt_tokens":3,"total_tokens":3}}"#]].assert_eq(&got.text);
    let got = api.post("/v1/embeddings", json!({"input": ["abc", "a<s>"], "dimensions": 3})).await;
    let got = got.json();
    assert_eq!(got["data"][0]["embedding"], json!([0.948_683_3, 0.0, -0.316_227_76]));
    assert_eq!(got["data"][1]["index"], 1);
    // What stands for a special token is text.
    assert_eq!(got["usage"], json!({"prompt_tokens": 7, "total_tokens": 7}));
    for input in [json!([1, 2, 3]), json!([[1, 2, 3], [4]])] {
        let got = api.post("/v1/embeddings", json!({"input": input})).await.json();
        assert_eq!(got["data"][0]["embedding"][2], json!(-0.316_227_76), "{input}");
    }
    let metrics = api.get("/metrics").await.text;
    let read = "fulgurite_prompt_tokens_total{model_name=\"fake\"} 17";
    assert!(metrics.contains(read), "{metrics}");
}

#[tokio::test]
async fn vectors_come_as_bytes() {
    let api = Api::new();
    let body = json!({"input": "abc", "encoding_format": "base64"});
    let got = api.post("/v1/embeddings", body).await.json();
    // 0.9486833, 0 and -0.31622776 as little-endian f32.
    assert_eq!(got["data"][0]["embedding"], "6dxyPwAAAACb6KG+");
}

#[tokio::test]
async fn many_texts_keep_their_order() {
    let api = Api::with(Settings::default(), Says { room: 40, ..Says::default() });
    let texts: Vec<String> = (1..=100).map(|n| "x".repeat(n)).collect();
    let got = api.post("/v1/embeddings", json!({"input": texts})).await.json();
    let data = got["data"].as_array().unwrap();
    assert_eq!(data.len(), 100);
    for (i, one) in data.iter().enumerate() {
        let (n, last) = ((i + 1) as f64, one["embedding"][2].as_f64().unwrap());
        assert_eq!(one["index"], i);
        assert!((last + (n * n + 1.0).sqrt().recip()).abs() < 1e-6, "{i}: {last}");
    }
    api.idle().await;
}

/// As many as the document says.
#[tokio::test]
async fn as_many_texts_as_the_document_says() {
    let document = server::document();
    let kinds = document["components"]["schemas"]["EmbeddingInput"]["anyOf"].as_array().unwrap();
    let most: Vec<_> = kinds.iter().filter_map(|kind| kind["maxItems"].as_u64()).collect();
    assert_eq!(most, [2048, 2048]);
    let got = Api::new().post("/v1/embeddings", json!({"input": vec!["a"; 2048]})).await;
    assert_eq!(got.json()["usage"]["total_tokens"], 2048);
}

#[tokio::test]
async fn a_text_that_fails_fails_the_request() {
    let api = Api::with(Settings::default(), Says { room: 0, ..Says::default() });
    let got = api.post("/v1/embeddings", json!({"input": ["a", "b"]})).await;
    assert_eq!((got.status.as_u16(), got.header("retry-after")), (429, "1"));
    let api = Api::with(Settings::default(), Says { fails_after: Some(0), ..Says::default() });
    let got = api.post("/v1/embeddings", json!({"input": ["a", "b"]})).await;
    assert_eq!(got.status, 500);
    assert!(!got.text.contains("fell over"), "{}", got.text);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let api = Api::new();
    for (body, param, what) in [
        (json!({}), "", "missing field `input`"),
        (json!({"input": 7}), "input", "expected a string, a list of strings, or token ids"),
        (json!({"input": ""}), "input", "a prompt is empty"),
        (json!({"input": []}), "input", "prompts, expected 1 to 2048"),
        (json!({"input": vec!["a"; 2049]}), "input", "2049 prompts, expected 1 to 2048"),
        (json!({"input": [999_999]}), "input", "the token 999999 of a prompt does not exist"),
        (json!({"input": "x".repeat(CONTEXT)}), "input", "expected fewer than 4096"),
        (json!({"input": "a", "dimensions": 2}), "dimensions", "expected 3, the model's"),
        (json!({"input": "a", "encoding_format": "hex"}), "encoding_format", "hex"),
    ] {
        let got = api.post("/v1/embeddings", body.clone()).await;
        let short = body.to_string().chars().take(60).collect::<String>();
        assert_eq!(got.status, 400, "{short}");
        let error = &got.json()["error"];
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{short} {error}");
        assert!(error["message"].as_str().unwrap().contains(what), "{short} {error}");
    }
    let got = api.post("/v1/embeddings", json!({"input": "a", "model": "other"})).await;
    assert_eq!(got.status, 404);
    api.idle().await;
}
