//! Pictures and sounds in messages, over an engine and senses that say what they are told to.

use crate::fake::Api;
use engine::content_ids;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

/// `hi` in base64.
const PICTURE: &str = "data:image/png;base64,aGk=";

fn asked(api: &Api) -> Vec<u32> {
    api.fake.asked.lock().unwrap().last().unwrap().0.clone()
}

fn picture(url: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": url}})
}

fn message(parts: &[Value], question: &str) -> Value {
    let text = json!({"type": "text", "text": question});
    let parts = [parts, &[text]].concat();
    json!({"role": "user", "content": parts})
}

/// The prompt that is meant: what is seen behind the first mark.
fn prompt(seen: &[(u128, usize)], question: &str) -> Vec<u32> {
    let seen = seen.iter().flat_map(|&(digest, rows)| content_ids(digest, rows));
    let question = question.bytes().map(u32::from);
    [256].into_iter().chain(seen).chain([257]).chain(question).chain([258]).collect()
}

const HI: (u128, usize) = (104 + 105, 2);
const HO: (u128, usize) = (104 + 111, 2);

#[tokio::test]
async fn pictures_and_sounds_become_ids() {
    let api = Api::sensing("hi");
    let sound = json!({"type": "input_audio", "input_audio": {"data": "aG8=", "format": "wav"}});
    let messages = json!([message(&[picture(PICTURE), sound], "what?")]);
    let got = api.post(CHAT, json!({"messages": messages})).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert_eq!(asked(&api), prompt(&[HI, HO], "what?"));
    assert_eq!(got.json()["choices"][0]["message"]["content"], "hi");
    assert_eq!(got.json()["usage"]["prompt_tokens"], 4 + 5 + 3);
    let counted = api.post("/tokenize", json!({"messages": messages})).await;
    assert_eq!(counted.json()["count"], 4 + 5 + 3, "{}", counted.text);
    let anthropic = json!({"model": "fake", "messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "text", "text": "what?"},
    ]}]});
    let counted = api.post("/v1/messages/count_tokens", anthropic).await;
    assert_eq!(counted.json()["input_tokens"], 2 + 5 + 3, "{}", counted.text);
}

/// What a tool answers may be a picture, in Anthropic's interface as in OpenAI's.
#[tokio::test]
async fn results_of_calls_hold_pictures() {
    let api = Api::sensing("hi");
    let source = json!({"type": "base64", "media_type": "image/png", "data": "aGk="});
    let content = json!([{"type": "text", "text": "a=1"}, {"type": "image", "source": source}]);
    let messages = json!([
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "t1", "name": "camera", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": content},
            {"type": "text", "text": "what?"},
        ]},
    ]);
    let body = json!({"model": "fake", "max_tokens": 9, "messages": messages});
    let got = api.post("/v1/messages", body).await;
    assert_eq!(got.status, 200, "{}", got.text);
    let anthropic = asked(&api);
    assert_eq!(anthropic[..3], prompt(&[HI], "")[..3]);
    let call =
        json!({"id": "t1", "type": "function", "function": {"name": "camera", "arguments": "{}"}});
    let result = json!([{"type": "text", "text": "a=1"}, picture(PICTURE)]);
    let messages = json!([
        {"role": "user", "content": "look"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t1", "content": result},
        {"role": "user", "content": "what?"},
    ]);
    let got = api.post(CHAT, json!({"messages": messages})).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert_eq!(asked(&api), anthropic);
}

/// A response is gone on from with what was seen before it.
#[tokio::test]
async fn responses_take_pictures_and_sounds() {
    let api = Api::sensing("hi");
    let picture = json!({"type": "input_image", "image_url": PICTURE, "detail": "auto"});
    let sound = json!({"type": "input_audio", "input_audio": {"data": "aG8=", "format": "wav"}});
    let text = json!({"type": "input_text", "text": "what?"});
    let input = json!([{"role": "user", "content": [picture, sound, text]}]);
    let got = api.post("/v1/responses", json!({"input": input})).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert_eq!(asked(&api), prompt(&[HI, HO], "what?"));
    let next = json!({"input": "again?", "previous_response_id": got.json()["id"]});
    let got = api.post("/v1/responses", next).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert_eq!(asked(&api), prompt(&[HI, HO], "again?"));
    let kept = json!({"type": "input_image", "file_id": "file-1"});
    let got =
        api.post("/v1/responses", json!({"input": [{"role": "user", "content": [kept]}]})).await;
    assert_eq!(got.status, 400, "{}", got.text);
    assert!(
        got.text.contains("has no picture, expected `url` with a `data:` address"),
        "{}",
        got.text
    );
}

/// Messages of a session hold what was seen, in a word; who sends all of it again says the same.
#[tokio::test]
async fn a_session_goes_on_without_the_picture() {
    let api = Api::sensing("hi");
    let first = message(&[picture(PICTURE)], "what?");
    let ask = |messages: Value| json!({"messages": messages, "session": {"name": "talk"}});
    api.post(CHAT, ask(json!([first]))).await;
    let got = api.post(CHAT, ask(json!([{"role": "user", "content": "again?"}]))).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert_eq!(asked(&api), prompt(&[HI], "again?"));
    let whole = json!([
        first,
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "again?"},
        {"role": "assistant", "content": "hi"},
        message(&[picture("data:;base64,aG8=")], "and now?"),
    ]);
    api.post(CHAT, ask(whole)).await;
    assert_eq!(asked(&api), prompt(&[HI, HO], "and now?"));
    assert_eq!(api.get("/v1/sessions/talk").await.json()["messages"], 6);
}

#[tokio::test]
async fn what_cannot_be_perceived_is_refused() {
    let api = Api::sensing("hi");
    let refused = |part: Value| {
        let api = &api;
        async move {
            let body = json!({"messages": [message(&[part], "what?")]});
            let got = api.post(CHAT, body).await;
            assert_eq!(got.status, 400, "{}", got.text);
            let error = got.json()["error"].clone();
            [&error["message"], &error["param"]].map(|text| text.as_str().unwrap().to_owned())
        }
    };
    let [message_, param] = refused(picture("https://example.org/a.png")).await;
    assert_eq!(param, "messages[0].content[0].image_url.url");
    assert!(
        message_.contains("nothing is fetched here: expected the picture itself"),
        "{message_}"
    );
    let [message_, param] = refused(picture("data:image/png;base64,")).await;
    assert_eq!(
        (&message_[..], &param[..]),
        ("`messages[0].content[0]`: the file is empty", "messages[0].content[0]")
    );
    let [message_, _] = refused(json!({"type": "input_audio", "input_audio": {}})).await;
    assert!(message_.contains("has no `data`, expected a sound in base64"), "{message_}");
    // More rows than the model reads, of which no list is made.
    let huge = json!({"type": "seen", "sense": "sight", "digest": "1", "rows": 1u64 << 60});
    let [message_, _] = refused(huge).await;
    assert!(message_.contains("expected fewer than 4096, the model's context"), "{message_}");
    let many = vec![picture(PICTURE); 65];
    let got = api.post(CHAT, json!({"messages": [message(&many, "what?")]})).await;
    assert!(got.text.contains("more than 64 pictures and sounds"), "{}", got.text);
    // Nobody looks.
    let blind = Api::lookup("hi");
    let got = blind.post(CHAT, json!({"messages": [message(&[picture(PICTURE)], "?")]})).await;
    assert!(got.text.contains("is an image, and the model reads text only"), "{}", got.text);
}
