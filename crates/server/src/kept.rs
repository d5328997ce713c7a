//! From the `session` field to the conversation that is meant, and from an answer back to a session.

use crate::app::{App, Served, now};
use crate::auth::Client;
use crate::backend::Point;
use crate::error::{Error, Kind};
use crate::form::Prompt;
use crate::generate::{Collected, Whole};
use crate::senses::Seen;
use crate::sessions::{NewSession, Notes, Saved, SessionError, Sessions, check_name};
use crate::wire::chat::{ChatMessage, Content, FunctionCall, Role, ToolCall};
use crate::wire::shared::{Save, SessionField};
use engine::ContentRows;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest label.
pub(crate) const MAX_LABEL_BYTES: usize = 1024;

/// A message of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Said {
    /// The message.
    pub(crate) message: ChatMessage,
    /// Tokens of the session at its end, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tokens: Option<u64>,
}

/// A conversation that is gone on with.
#[derive(Debug, Default)]
pub(crate) struct Resumed {
    /// What was said before.
    pub(crate) before: Vec<Said>,
    /// Tokens that were read before, if what they say is not known.
    pub(crate) tokens: Option<Arc<[u32]>>,
    /// Points to go on from, shortest first.
    pub(crate) points: Vec<Point>,
    /// Pictures and sounds that can be read again, with their ids.
    content: Vec<(Arc<[u32]>, ContentRows)>,
    /// What is done with the result.
    pub(crate) plan: Option<Plan>,
}

/// What is done with the result.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    name: String,
    parent: Option<String>,
    label: Option<String>,
    ttl: Option<u64>,
}

/// Keeps an answer with what led to it.
#[derive(Debug)]
pub(crate) struct Keeper {
    plan: Plan,
    sessions: Arc<dyn Sessions>,
    client: Client,
    served: Arc<Served>,
    /// What was said before the answer.
    said: Vec<Said>,
    /// Points of the session that is gone on with.
    points: Vec<Point>,
    prompt: Arc<[u32]>,
    /// Of the prompt.
    content: Vec<ContentRows>,
    id: Arc<str>,
}

/// The notes of a session as messages; none if they are not ours.
pub(crate) fn messages_of(notes: &Notes) -> Vec<Said> {
    serde_json::from_slice(&notes.bytes).unwrap_or_default()
}

/// The other way round.
pub(crate) fn notes_of(said: &[Said]) -> Notes {
    let bytes =
        if said.is_empty() { Vec::new() } else { serde_json::to_vec(said).unwrap_or_default() };
    Notes { messages: said.len() as u64, bytes }
}

/// An error of the store as clients are told it; `param` names the field.
pub(crate) fn session_error(error: SessionError, param: Option<&str>) -> Error {
    let kind = match error {
        SessionError::NotFound(_) => Kind::NotFound,
        SessionError::Exists(_) => Kind::Conflict,
        SessionError::Shorter { .. }
        | SessionError::OtherModel { .. }
        | SessionError::Invalid(_)
        | SessionError::Unsupported(_) => Kind::Invalid,
        SessionError::Io(error) => {
            tracing::error!("the store of sessions fails: {error}");
            // The file's name is nothing to clients.
            let message = format!("the session could not be kept: {}", error.kind());
            return Error::new(Kind::Server, message);
        }
    };
    Error { param: param.map(str::to_owned), ..Error::new(kind, error.to_string()) }
}

/// The conversation that `field` or `cache_key` mean. Takes as long as a disk does.
///
/// # Errors
///
/// If the field makes no sense, or the session is not there.
pub(crate) fn resume(
    app: &App,
    served: &Served,
    client: Client,
    field: Option<&SessionField>,
    cache_key: Option<&str>,
) -> Result<Resumed, Error> {
    let load = |name: &str| app.sessions.load(client, name, &served.fingerprint);
    let Some(field) = field else {
        // A hint: without a session of that name, or another model's, there is nothing to say.
        let key = cache_key.filter(|key| check_name(key));
        let points = key.and_then(|key| Some(load(key).ok()?.points)).unwrap_or_default();
        return Ok(Resumed { points, ..Resumed::default() });
    };
    let (name, must_exist) = match (&field.name, &field.resume) {
        (Some(_), Some(_)) => {
            let message = "`session` has both `name` and `resume`, expected one of them";
            return Err(Error::invalid("session", message));
        }
        (Some(name), None) => (Some(checked(name, "session.name")?), false),
        (None, Some(name)) => (Some(checked(name, "session.resume")?), true),
        (None, None) => (None, false),
    };
    let plan = plan(field, name)?;
    let saved = match name.map(load) {
        None => None,
        Some(Err(SessionError::NotFound(_))) if !must_exist => None,
        Some(loaded) => Some(loaded.map_err(|error| session_error(error, Some("session")))?),
    };
    let Some(Saved { tokens, points, content, notes, .. }) = saved else {
        if field.rewind.is_some_and(|messages| messages > 0) {
            let message = "`session.rewind` needs a session that is there";
            return Err(Error::invalid("session.rewind", message));
        }
        return Ok(Resumed { plan, ..Resumed::default() });
    };
    let mut before = messages_of(&notes);
    let unknown = before.is_empty() && !tokens.is_empty();
    if let Some(messages) = field.rewind {
        if messages as usize > before.len() {
            let found = before.len();
            let message =
                format!("`session.rewind` is {messages}, and the session has {found} messages");
            return Err(Error::invalid("session.rewind", message));
        }
        before.truncate(messages as usize);
    }
    let ids = |content: &ContentRows| tokens.get(content.span()).unwrap_or_default().into();
    let content = content.into_iter().map(|content| (ids(&content), content)).collect();
    Ok(Resumed { before, tokens: unknown.then_some(tokens), points, content, plan })
}

fn plan(field: &SessionField, name: Option<&str>) -> Result<Option<Plan>, Error> {
    if field.label.as_ref().is_some_and(|label| label.len() > MAX_LABEL_BYTES) {
        let message = format!("`session.label` has more than {MAX_LABEL_BYTES} bytes");
        return Err(Error::invalid("session.label", message));
    }
    if field.ttl == Some(0) {
        return Err(Error::invalid("session.ttl", "`session.ttl` is 0, expected 1 or more"));
    }
    let target = match (&field.fork, &field.save) {
        (Some(_), Some(Save::As(_))) => {
            let message = "`session` has both `fork` and a name to `save`, expected one of them";
            return Err(Error::invalid("session", message));
        }
        (Some(fork), _) => Some(checked(fork, "session.fork")?),
        (None, Some(Save::As(name))) => Some(checked(name, "session.save")?),
        (None, Some(Save::Whether(false))) => None,
        (None, Some(Save::Whether(true))) => match name {
            Some(name) => Some(name),
            None => {
                let message = "`session.save` is true, and `session` has no `name`";
                return Err(Error::invalid("session.save", message));
            }
        },
        (None, None) => field.name.as_deref(),
    };
    Ok(target.map(|target| Plan {
        name: target.to_owned(),
        parent: name.filter(|name| *name != target).map(str::to_owned),
        label: field.label.clone(),
        ttl: field.ttl,
    }))
}

/// `name`, if a session may be called that.
///
/// # Errors
///
/// If not; `param` names the field.
pub(crate) fn checked<'a>(name: &'a str, param: &str) -> Result<&'a str, Error> {
    if check_name(name) {
        return Ok(name);
    }
    let message = format!(
        "`{param}` is not a name: expected 1 to 128 letters, digits, `.`, `_` and `-`, a letter or \
         digit first"
    );
    Err(Error::invalid(param, message))
}

impl Resumed {
    /// The point that saves the most of a prompt: the longest of those that it begins with, or else the
    /// last one, of which a part may agree.
    pub(crate) fn best(&self, prompt: &[u32]) -> Option<Point> {
        let mut points = self.points.iter().rev();
        let whole = points.find(|point| prompt.starts_with(&point.tokens));
        whole.or(self.points.last()).cloned()
    }

    /// The rows of what has these ids.
    pub(crate) fn recall(&self, seen: &Seen) -> Option<ContentRows> {
        let found = self.content.iter().find(|(ids, _)| seen.ids().eq(ids.iter().copied()));
        found.map(|(_, content)| content.clone())
    }

    /// The whole conversation with `new` messages at its end. Clients may send all of it, or only
    /// what is new; the rules are said once.
    pub(crate) fn with(&self, new: Vec<ChatMessage>) -> Vec<Said> {
        let said = |message| Said { message, tokens: None };
        let before = self.before.iter().map(|said| &said.message);
        if !self.before.is_empty()
            && new.len() > self.before.len()
            && before.zip(&new).all(|(before, new)| before == new)
        {
            let rest = new.into_iter().skip(self.before.len()).map(said);
            return self.before.iter().cloned().chain(rest).collect();
        }
        let rules = |message: &ChatMessage| matches!(message.role, Role::System | Role::Developer);
        let known = match (self.before.first(), new.first()) {
            (Some(before), Some(new)) => rules(new) && before.message == *new,
            _ => false,
        };
        let rest = new.into_iter().skip(usize::from(known)).map(said);
        self.before.iter().cloned().chain(rest).collect()
    }

    /// What keeps the answer to the prompt, if anything does; `id` is the answer's.
    pub(crate) fn keeper(
        self,
        app: &App,
        served: &Arc<Served>,
        client: Client,
        said: Vec<Said>,
        prompt: &Prompt,
        id: &Arc<str>,
    ) -> Option<Keeper> {
        Some(Keeper {
            plan: self.plan?,
            sessions: Arc::clone(&app.sessions),
            client,
            served: Arc::clone(served),
            said,
            points: self.points,
            prompt: Arc::clone(&prompt.ids),
            content: prompt.rows(),
            id: Arc::clone(id),
        })
    }
}

impl Keeper {
    /// Keeps the first answer.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub(crate) async fn keep(self, ends: Vec<Point>, collected: Collected) -> Result<(), Error> {
        let end = ends.into_iter().next();
        let tokens = end.as_ref().map_or(self.prompt, |end| Arc::clone(&end.tokens));
        let mut said = self.said;
        // Without messages there is only text that is gone on with.
        if let Some(last) = said.last_mut() {
            last.tokens = None;
            let whole = collected.answers.into_iter().next().unwrap_or_default();
            let message = assistant(&whole, &self.id);
            said.push(Said { message, tokens: Some(tokens.len() as u64) });
        }
        let (sessions, served, client) = (self.sessions, self.served, self.client);
        let (plan, before, content) = (self.plan, self.points, self.content);
        let save = move || {
            // Other questions about the same text go on from points before this one.
            let known = served.backend.points(client, &tokens);
            let all = before.into_iter().chain(known).chain(end);
            let along = all.filter(|point| tokens.starts_with(&point.tokens));
            let points: BTreeMap<_, _> = along.map(|point| (point.tokens.len(), point)).collect();
            let points = points.into_values().collect();
            let new = NewSession {
                tokens,
                points,
                content,
                notes: notes_of(&said),
                label: plan.label,
                parent: plan.parent,
                expires: plan.ttl.map(|ttl| now().saturating_add(ttl)),
                model: served.name.clone(),
                fingerprint: served.fingerprint.clone(),
            };
            sessions.save(client, &plan.name, new)
        };
        let saved = tokio::task::spawn_blocking(save).await.map_err(Error::internal)?;
        saved.map(drop).map_err(|error| session_error(error, None))
    }
}

/// What refers to call `index` of the answer `id`.
pub(crate) fn call_id(id: &str, choice: usize, index: usize) -> String {
    let id = id.rsplit('_').next().unwrap_or(id);
    format!("call_{id}{choice:02x}{index:02x}")
}

/// An answer as a message.
pub(crate) fn assistant(whole: &Whole, id: &str) -> ChatMessage {
    let calls = whole.calls.iter().enumerate().map(|(i, (name, arguments))| ToolCall {
        id: call_id(id, 0, i),
        kind: "function".to_owned(),
        function: FunctionCall { name: name.clone(), arguments: arguments.clone() },
    });
    let calls = calls.collect::<Vec<_>>();
    let content = (calls.is_empty() || !whole.content.is_empty())
        .then(|| Content::Text(whole.content.clone()));
    ChatMessage {
        role: Role::Assistant,
        content,
        name: None,
        tool_calls: (!calls.is_empty()).then_some(calls),
        tool_call_id: None,
        reasoning_content: (!whole.reasoning.is_empty()).then(|| whole.reasoning.clone()),
        refusal: None,
    }
}
