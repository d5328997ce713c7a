//! `/openapi.json`: made from the wire types and the table of routes, so that it says what is.

use crate::error::Dialect;
use crate::routes;
use crate::wire::{
    chat, completions, embeddings, info, messages, minimax, responses, sessions, videos,
};
use axum::response::Response;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

pub(crate) async fn serve() -> Response {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(document);
    routes::json(&*DOCUMENT)
}

/// One method of a route.
struct Operation {
    method: &'static str,
    path: &'static str,
    about: &'static str,
    body: Option<Schema>,
    /// The query, as an object of its fields.
    query: Option<Schema>,
    /// Media type and schema of what is answered.
    answers: Vec<(&'static str, Schema)>,
    errors: &'static [u16],
}

/// Streams of events.
const EVENTS: &str = "text/event-stream";
/// Errors of routes with a body.
const WITH_BODY: &[u16] = &[400, 401, 403, 404, 408, 413, 415, 429, 431, 500, 503];
/// Errors of others.
const WITHOUT: &[u16] = &[400, 401, 403, 404, 431, 500];

/// Errors of routes that ask for clips without a body.
const VIDEO: &[u16] = &[400, 401, 403, 404, 429, 431, 500, 503];

/// The document, in OpenAPI 3.1.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    // Requests leave out what they like; responses hold all that is not left out.
    let mut asked = settings.clone().for_deserialize().into_generator();
    let mut told = settings.for_serialize().into_generator();
    let mut operations = operations(&mut asked, &mut told);
    let mut schemas = asked.take_definitions(true);
    let mut answers = told.take_definitions(true);
    // Types of one name, or of one type that is written otherwise than read.
    let differ =
        |(name, schema): &(&String, &Value)| schemas.get(*name).is_some_and(|s| s != *schema);
    let renamed =
        answers.iter().filter(differ).map(|(name, _)| (name.clone(), format!("{name}Told")));
    let renamed: BTreeMap<String, String> = renamed.collect();
    answers = answers
        .into_iter()
        .map(|(name, mut schema)| {
            rename(&mut schema, &renamed);
            (renamed.get(&name).cloned().unwrap_or(name), schema)
        })
        .collect();
    for (_, schema) in operations.iter_mut().flat_map(|operation| &mut operation.answers) {
        let mut value = std::mem::take(schema).to_value();
        rename(&mut value, &renamed);
        // It was a schema, and a reference more or less leaves it one.
        *schema = Schema::try_from(value).unwrap_or_default();
    }
    schemas.extend(answers);
    let mut paths = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| Value::Object(Map::new()));
        path[operation.method] = operation.to_value();
    }
    schemas.insert("ErrorEnvelope".to_owned(), openai_error());
    schemas.insert("AnthropicError".to_owned(), anthropic_error());
    schemas.insert("MiniMaxError".to_owned(), minimax_error());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fulgurite",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The interfaces of OpenAI and Anthropic over a model that keeps what it \
                            has read, and those of OpenAI and MiniMax for clips.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{"bearer": []}, {"key": []}, {}],
    })
}

/// Changes references in `schema`.
fn rename(schema: &mut Value, names: &BTreeMap<String, String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(to)) = fields.get_mut("$ref")
                && let Some(name) = to.strip_prefix("#/components/schemas/")
                && let Some(name) = names.get(name)
            {
                *to = format!("#/components/schemas/{name}");
            }
            fields.values_mut().for_each(|value| rename(value, names));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| rename(value, names)),
        _ => {}
    }
}

fn operations(asked: &mut SchemaGenerator, told: &mut SchemaGenerator) -> Vec<Operation> {
    fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
    const JSON: &str = "application/json";
    let get = |path, about, answer| Operation {
        method: "get",
        path,
        about,
        body: None,
        query: None,
        answers: vec![(JSON, answer)],
        errors: WITHOUT,
    };
    let post = |path, about, body, answer| Operation {
        method: "post",
        path,
        about,
        body: Some(body),
        query: None,
        answers: vec![(JSON, answer)],
        errors: WITH_BODY,
    };
    let streamed = |operation: Operation, event| {
        let answers = operation.answers.into_iter().chain([(EVENTS, event)]).collect();
        Operation { answers, ..operation }
    };
    let raw = || Schema::from(Map::from_iter([("type".to_owned(), "string".into())]));
    vec![
        streamed(
            post(
                "/v1/chat/completions",
                "Goes on with a conversation.",
                of::<chat::ChatRequest>(asked),
                of::<chat::ChatCompletion>(told),
            ),
            of::<chat::ChatChunk>(told),
        ),
        streamed(
            post(
                "/v1/completions",
                "Goes on with a text.",
                of::<completions::CompletionRequest>(asked),
                of::<completions::Completion>(told),
            ),
            of::<completions::Completion>(told),
        ),
        post(
            "/v1/embeddings",
            "Makes texts vectors.",
            of::<embeddings::EmbeddingRequest>(asked),
            of::<embeddings::EmbeddingList>(told),
        ),
        streamed(
            post(
                "/v1/responses",
                "Answers, and remembers what was said.",
                of::<responses::ResponsesRequest>(asked),
                of::<responses::Response>(told),
            ),
            of::<responses::StreamEvent>(told),
        ),
        get("/v1/responses/{id}", "A response that was stored.", of::<responses::Response>(told)),
        Operation {
            method: "delete",
            ..get("/v1/responses/{id}", "Forgets a response.", of::<sessions::Deleted>(told))
        },
        streamed(
            post(
                "/v1/messages",
                "Goes on with a conversation, in Anthropic's words.",
                of::<messages::MessagesRequest>(asked),
                of::<messages::Message>(told),
            ),
            of::<messages::StreamEvent>(told),
        ),
        post(
            "/v1/messages/count_tokens",
            "Counts the tokens of a conversation.",
            of::<messages::CountRequest>(asked),
            of::<messages::CountResponse>(told),
        ),
        get("/v1/models", "The models.", of::<info::ModelList>(told)),
        get("/v1/models/{id}", "A model.", of::<info::ModelCard>(told)),
        get("/v1/sessions", "Conversations that last.", of::<sessions::SessionList>(told)),
        get("/v1/sessions/{name}", "One of them.", of::<sessions::Session>(told)),
        Operation {
            method: "delete",
            ..get("/v1/sessions/{name}", "Forgets it.", of::<sessions::Deleted>(told))
        },
        Operation {
            method: "patch",
            ..post(
                "/v1/sessions/{name}",
                "Gives it another label.",
                of::<sessions::ChangeRequest>(asked),
                of::<sessions::Session>(told),
            )
        },
        get(
            "/v1/sessions/{name}/messages",
            "What was said in it.",
            of::<sessions::SessionMessages>(told),
        ),
        Operation {
            errors: &[400, 401, 403, 404, 408, 409, 413, 415, 431, 500],
            ..post(
                "/v1/sessions/{name}/fork",
                "Keeps it under a second name.",
                of::<sessions::ForkRequest>(asked),
                of::<sessions::Session>(told),
            )
        },
        post(
            "/v1/sessions/{name}/rewind",
            "Goes back to an earlier point of it.",
            of::<sessions::RewindRequest>(asked),
            of::<sessions::Session>(told),
        ),
        Operation {
            answers: vec![("application/octet-stream", raw())],
            ..get("/v1/sessions/{name}/export", "Its file.", raw())
        },
        Operation {
            method: "post",
            path: "/v1/sessions/{name}/import",
            about: "Keeps a session's file.",
            body: None,
            query: None,
            answers: vec![(JSON, of::<sessions::Session>(told))],
            errors: &[400, 401, 403, 404, 408, 409, 413, 431, 500],
        },
        Operation {
            query: Some(videos::ListQuery::json_schema(asked)),
            errors: VIDEO,
            ..get("/v1/videos", "Clips that were ordered.", of::<videos::VideoList>(told))
        },
        post(
            "/v1/videos",
            "Orders a clip.",
            of::<videos::VideoRequest>(asked),
            of::<videos::Video>(told),
        ),
        Operation {
            errors: VIDEO,
            ..get("/v1/videos/{id}", "A clip, there or on its way.", of::<videos::Video>(told))
        },
        Operation {
            method: "delete",
            errors: VIDEO,
            ..get("/v1/videos/{id}", "Ends and forgets it.", of::<sessions::Deleted>(told))
        },
        Operation {
            query: Some(videos::ContentQuery::json_schema(asked)),
            answers: ["video/mp4", "image/gif", "image/png", "image/svg+xml", JSON]
                .map(|kind| (kind, raw()))
                .into(),
            errors: VIDEO,
            ..get("/v1/videos/{id}/content", "A file of it.", raw())
        },
        post(
            "/v1/video_generation",
            "Orders a clip, in MiniMax's words.",
            of::<minimax::GenerationRequest>(asked),
            of::<minimax::GenerationResponse>(told),
        ),
        Operation {
            query: Some(minimax::TaskQuery::json_schema(asked)),
            errors: VIDEO,
            ..get(
                "/v1/query/video_generation",
                "Where it stands.",
                of::<minimax::QueryResponse>(told),
            )
        },
        Operation {
            query: Some(minimax::FileQuery::json_schema(asked)),
            errors: VIDEO,
            ..get("/v1/files/retrieve", "Where its file is.", of::<minimax::FileResponse>(told))
        },
        post(
            "/tokenize",
            "Cuts a text or a conversation into tokens.",
            of::<info::TokenizeRequest>(asked),
            of::<info::TokenizeResponse>(told),
        ),
        post(
            "/detokenize",
            "Makes text of tokens.",
            of::<info::DetokenizeRequest>(asked),
            of::<info::DetokenizeResponse>(told),
        ),
        get("/version", "The program.", of::<info::Version>(told)),
        Operation {
            errors: &[403, 431, 503],
            ..get("/health", "Whether the server lives.", of::<info::Health>(told))
        },
        Operation {
            errors: &[403, 431, 503],
            ..get("/ready", "Whether it answers.", of::<info::Health>(told))
        },
        Operation {
            answers: vec![("text/plain", raw())],
            ..get("/metrics", "Counters for Prometheus.", raw())
        },
        get("/openapi.json", "This document.", Schema::from(Map::new())),
    ]
}

impl Operation {
    /// The fields of the query as parameters.
    fn query_parameters(&self) -> Vec<Value> {
        let Some(query) = self.query.as_ref().map(|query| json!(query)) else { return Vec::new() };
        let required = query["required"].as_array().cloned().unwrap_or_default();
        let fields = query["properties"].as_object().cloned().unwrap_or_default();
        let parameter = |(name, schema): (String, Value)| {
            let required = required.contains(&json!(name));
            json!({"name": name, "in": "query", "required": required, "schema": schema})
        };
        fields.into_iter().map(parameter).collect()
    }

    fn to_value(&self) -> Value {
        let content = self.answers.iter().map(|(kind, schema)| {
            // What is described of a stream is one event, whose data is text: JSON, but for the end.
            let data = json!({
                "type": "string",
                "anyOf": [
                    {"const": "[DONE]"},
                    {"contentMediaType": "application/json", "contentSchema": schema},
                ],
            });
            let event = json!({
                "type": "object",
                "required": ["data"],
                "properties": {"event": {"type": "string"}, "data": data},
            });
            let schema = if *kind == EVENTS { event } else { json!(schema) };
            (kind.to_string(), json!({"schema": schema}))
        });
        let content: Map<_, _> = content.collect();
        let mut responses = Map::new();
        responses.insert("200".to_owned(), json!({"description": "Done.", "content": content}));
        let envelope = match Dialect::of(self.path) {
            Dialect::Anthropic => "#/components/schemas/AnthropicError",
            Dialect::MiniMax => "#/components/schemas/MiniMaxError",
            Dialect::OpenAi => "#/components/schemas/ErrorEnvelope",
        };
        for status in self.errors {
            // Health is told in the same words whether it is good or bad.
            let schema = match (self.path, status) {
                ("/health" | "/ready", 503) => json!(self.answers[0].1),
                _ => json!({"$ref": envelope}),
            };
            let content = json!({"application/json": {"schema": schema}});
            let error = json!({"description": "An error.", "content": content});
            responses.insert(status.to_string(), error);
        }
        let parameters = self.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        let parameters = parameters.map(|name| {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        });
        let parameters: Vec<_> = parameters.chain(self.query_parameters()).collect();
        let mut value = json!({
            "summary": self.about,
            "operationId": format!("{} {}", self.method, self.path),
            "responses": responses,
        });
        if !parameters.is_empty() {
            value["parameters"] = parameters.into();
        }
        if let Some(body) = &self.body {
            let mut content = json!({"application/json": {"schema": body}});
            if self.path == "/v1/videos" {
                content["multipart/form-data"] = json!({"schema": body});
            }
            value["requestBody"] = json!({"required": true, "content": content});
        } else if self.path.ends_with("/import") {
            let content = json!({"application/octet-stream": {"schema": {"type": "string"}}});
            value["requestBody"] = json!({"required": true, "content": content});
        }
        value
    }
}

fn openai_error() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "additionalProperties": false,
        "properties": {"error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "additionalProperties": false,
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }},
    })
}

fn minimax_error() -> Value {
    json!({
        "type": "object",
        "required": ["base_resp"],
        "additionalProperties": false,
        "properties": {"base_resp": {
            "type": "object",
            "required": ["status_code", "status_msg"],
            "additionalProperties": false,
            "properties": {
                "status_code": {"type": "integer"},
                "status_msg": {"type": "string"},
            },
        }},
    })
}

fn anthropic_error() -> Value {
    json!({
        "type": "object",
        "required": ["type", "error", "request_id"],
        "additionalProperties": false,
        "properties": {
            "type": {"const": "error"},
            "request_id": {"type": "string"},
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "additionalProperties": false,
                "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    })
}
