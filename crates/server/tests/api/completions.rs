//! `/v1/completions`.

use crate::fake::{Api, plain};
use expect_test::expect;
use serde_json::{Value, json};

const PATH: &str = "/v1/completions";

#[tokio::test]
async fn a_whole_text() {
    let got = Api::says("end").post(PATH, json!({"prompt": "The "})).await;
    expect![[r#"{"id":"cmpl_ID","object":"text_completion","created":0,"model":"fake","system_fingerprint":"fp_test","choices":[{"index":0,"text":"end","logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":3,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}"#]].assert_eq(&plain(&got.text));
}

#[tokio::test]
async fn echo_tells_the_prompt_and_how_likely_it_was() {
    let api = Api::says("é!");
    let body = json!({"prompt": "ab", "echo": true, "logprobs": 1, "max_tokens": 3});
    let got = api.post(PATH, body).await;
    expect![[r#"{"index":0,"text":"abé!","logprobs":{"tokens":["a","b","bytes:\\xc3","bytes:\\xa9","!"],"token_logprobs":[null,-0.5,-0.5,-0.5,-0.5],"top_logprobs":[null,{"a":-1.0},{"a":-1.0},{"a":-1.0},{"a":-1.0}],"text_offset":[0,1,2,3,3]},"finish_reason":"length"}"#]].assert_eq(&got.json()["choices"][0].to_string());
    let body = json!({"prompt": "ab", "echo": true, "logprobs": 0, "max_tokens": 0});
    let got = api.post(PATH, body).await.json();
    assert_eq!(got["choices"][0]["text"], "ab");
    assert_eq!(got["choices"][0]["logprobs"]["token_logprobs"], json!([null, -0.5]));
}

#[tokio::test]
async fn several_prompts_and_answers() {
    let api = Api::says("x");
    let got = api.post(PATH, json!({"prompt": ["a", "b"], "n": 2, "echo": true})).await.json();
    let texts: Vec<&Value> =
        got["choices"].as_array().unwrap().iter().map(|choice| &choice["text"]).collect();
    assert_eq!(texts, ["ax", "ax", "bx", "bx"]);
    assert_eq!(got["usage"]["prompt_tokens"], 2);
    assert_eq!(got["usage"]["completion_tokens"], 4);
    let got = api.post(PATH, json!({"prompt": [[97, 98], [99]], "echo": true})).await.json();
    assert_eq!(got["choices"][0]["text"], "abx");
    assert_eq!(got["choices"][1]["text"], "cx");
}

#[tokio::test]
async fn a_stream_is_the_whole_text_in_pieces() {
    let api = Api::says("one, twö");
    for echo in [false, true] {
        let mut body = json!({"prompt": ["a", "b"], "n": 2, "echo": echo, "logprobs": 2,
                              "max_tokens": 7});
        let whole = api.post(PATH, body.clone()).await.json();
        body["stream"] = true.into();
        let got = api.post(PATH, body).await;
        assert!(got.text.ends_with("data: [DONE]\n\n"));
        for (i, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
            let (mut text, mut finish) = (String::new(), Value::Null);
            let mut lists = json!({"tokens": [], "token_logprobs": [], "top_logprobs": [],
                                   "text_offset": []});
            for event in got.events() {
                let piece = &event["choices"][0];
                if piece["index"] != i {
                    continue;
                }
                text += piece["text"].as_str().unwrap();
                if !piece["finish_reason"].is_null() {
                    finish = piece["finish_reason"].clone();
                }
                for (name, list) in lists.as_object_mut().unwrap() {
                    let more = piece["logprobs"][name].as_array().unwrap().clone();
                    list.as_array_mut().unwrap().extend(more);
                }
            }
            assert_eq!((&choice["text"], &choice["finish_reason"]), (&text.into(), &finish));
            assert_eq!(choice["logprobs"], lists);
        }
    }
}

#[tokio::test]
async fn prompts_are_checked() {
    for (body, param) in [
        (json!({"prompt": ""}), "prompt"),
        (json!({"prompt": []}), "prompt"),
        (json!({"prompt": [[]]}), "prompt"),
        (json!({"prompt": [1, 99999]}), "prompt"),
        (json!({"prompt": 7}), "prompt"),
        (json!({"prompt": vec!["a"; 129]}), "prompt"),
        (json!({"prompt": "a", "max_tokens": 0}), "max_tokens"),
        (json!({"prompt": "a", "best_of": 2}), "best_of"),
        (json!({"prompt": "a", "suffix": "b"}), "suffix"),
        (json!({"prompt": "a", "logprobs": 21}), "logprobs"),
        (json!({"prompt": "a", "stop": ["", "b"]}), "stop"),
        (json!({"prompt": ["a", "b"], "session": {"name": "x"}}), "session"),
    ] {
        let got = Api::new().post(PATH, body.clone()).await;
        assert_eq!(
            (got.status.as_u16(), &got.json()["error"]["param"]),
            (400, &param.into()),
            "{body}"
        );
    }
}
