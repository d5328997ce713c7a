//! Pictures and sounds in a conversation: what makes rows of them, and what is kept of them.
//!
//! What a message held as bytes is a [`Seen`] from there on, in prompts as in the files of sessions: whoever
//! goes on with a conversation needs neither the picture nor its rows, as long as nothing in front of it
//! changes.

mod budget;

pub use budget::Budget;
pub(crate) use budget::Share;

use crate::app::Served;
use crate::conversation::bytes_of;
use crate::dialogue::check_length;
use crate::error::Error;
use crate::wire::chat::{ChatMessage, Content, ContentPart};
use engine::{ContentRows, content_ids};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most pictures and sounds of a request.
pub const MAX_SEEN: usize = 64;

/// What perceives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sense {
    /// A picture.
    Sight,
    /// A sound.
    Hearing,
}

/// A picture or a sound that was perceived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// How.
    pub sense: Sense,
    /// What it is, and what made rows of it; 32 hexadecimal digits in files.
    #[serde(with = "hexadecimal")]
    pub digest: u128,
    /// Rows, which are as many tokens.
    pub rows: usize,
    /// The tokens that are most like the rows, for models whose answers are pieces of what they read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transcript: Vec<u32>,
    /// The rows, as if they were the first of a prompt; what was read before may go without.
    #[serde(skip)]
    pub content: Option<ContentRows>,
}

/// The same picture, whether its rows are at hand or not.
impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        let key = |seen: &Self| (seen.sense, seen.digest, seen.rows);
        key(self) == key(other)
    }
}

impl Eq for Seen {}

impl Seen {
    /// The tokens that stand for it.
    pub fn ids(&self) -> impl Iterator<Item = u32> + use<> {
        content_ids(self.digest, self.rows)
    }
}

/// The tokens of a chat template that stand for a picture and for a sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placeholders {
    /// For a picture.
    pub sight: Option<u32>,
    /// For a sound.
    pub hearing: Option<u32>,
}

/// The part of a model that sees and hears. All calls may take long.
pub trait Senses: std::fmt::Debug + Send + Sync {
    /// What stands for the picture or sound in the file `bytes`.
    ///
    /// # Errors
    ///
    /// In a sentence that is fit for the client: if the model has no such sense, or the file is damaged, of
    /// another kind or too large.
    fn perceive(&self, sense: Sense, bytes: Vec<u8>) -> Result<Seen, String>;

    /// The rows of what was perceived lately.
    fn recall(&self, digest: u128) -> Option<ContentRows>;

    /// What the chat template writes.
    fn placeholders(&self) -> Placeholders;

    /// Whether there is this sense.
    fn has(&self, sense: Sense) -> bool;
}

impl Served {
    /// The tokens of the template that stand for pictures and sounds.
    pub(crate) fn placeholders(&self) -> Placeholders {
        self.senses.as_ref().map_or_else(Placeholders::default, |senses| senses.placeholders())
    }
}

/// `messages` with what they hold as bytes perceived, by a model that can; as they are by others. Takes as
/// long as that does. The rows count as long as the share is held.
///
/// # Errors
///
/// If a picture or sound cannot be perceived, or there are too many, or they are too large; names it, `param`
/// being the messages' field.
pub(crate) fn perceived(
    served: &Served,
    mut messages: Vec<ChatMessage>,
    param: &str,
) -> Result<(Vec<ChatMessage>, Share), Error> {
    let mut share = Share::of(&served.rows);
    let Some(senses) = &served.senses else { return Ok((messages, share)) };
    let (mut count, mut rows, mut held) = (0, 0usize, 0usize);
    for (i, message) in messages.iter_mut().enumerate() {
        let Some(Content::Parts(parts)) = &mut message.content else { continue };
        for (j, part) in parts.iter_mut().enumerate() {
            let at = format!("{param}[{i}].content[{j}]");
            let (sense, bytes) = match part {
                ContentPart::ImageUrl { image_url } => {
                    (Sense::Sight, picture_bytes(image_url, &at)?)
                }
                ContentPart::InputAudio { input_audio } => {
                    (Sense::Hearing, sound_bytes(input_audio, &at)?)
                }
                _ => continue,
            };
            count += 1;
            if count > MAX_SEEN {
                let message = format!("more than {MAX_SEEN} pictures and sounds, expected fewer");
                return Err(Error::invalid(param, message));
            }
            let seen = senses.perceive(sense, bytes);
            let wrong = |why| Error::invalid(&at[..], format!("`{at}`: {why}"));
            let seen = seen.map_err(wrong)?;
            // Before the next one is looked at.
            rows = rows.saturating_add(seen.rows);
            check_length(served, rows, param)?;
            held = held.saturating_add(seen.content.as_ref().map_or(0, row_bytes));
            share.cover(held)?;
            *part = ContentPart::Seen(seen);
        }
    }
    Ok((messages, share))
}

/// Bytes of rows.
pub(crate) fn row_bytes(content: &ContentRows) -> usize {
    content.rows.bytes()
}

/// The bytes of a picture: OpenAI's `{"url": "data:…"}`, or its address alone, and Anthropic's
/// `{"type": "base64", "data": …}`; in the part `at`.
fn picture_bytes(value: &Value, at: &str) -> Result<Vec<u8>, Error> {
    let param = format!("{at}.{}", if value["type"].is_string() { "source" } else { "image_url" });
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (data, param) = match (text(value), text(&value["url"]), text(&value["data"])) {
        (Some(url), _, _) => (url, param),
        (_, Some(url), _) => (url, format!("{param}.url")),
        (_, _, Some(data)) if value["type"] == "base64" => (data, format!("{param}.data")),
        _ => {
            let message =
                format!("`{param}` has no picture, expected `url` with a `data:` address");
            return Err(Error::invalid(param, message));
        }
    };
    if data.starts_with("http:") || data.starts_with("https:") {
        let message = format!(
            "`{param}` is a remote address, and nothing is fetched here: expected the picture itself as \
             `data:image/png;base64,BYTES`"
        );
        return Err(Error::invalid(param, message));
    }
    bytes_of(&data, &param)
}

/// The bytes of a sound: `{"data": BASE64, "format": …}`, in the part `at`; what it is is seen by its bytes.
fn sound_bytes(value: &Value, at: &str) -> Result<Vec<u8>, Error> {
    let param = format!("{at}.input_audio");
    match value["data"].as_str() {
        Some(data) => bytes_of(data, &format!("{param}.data")),
        None => {
            let message = format!("`{param}` has no `data`, expected a sound in base64");
            Err(Error::invalid(param, message))
        }
    }
}

/// Numbers of 128 bits in JSON.
mod hexadecimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(number: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{number:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16)
            .map_err(|_| D::Error::custom("expected a hexadecimal number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pictures_and_sounds_come_as_bytes() {
        let data = "data:image/png;base64,aGk=";
        for value in [json!(data), json!({"url": data}), json!({"type": "base64", "data": "aGk="})]
        {
            assert_eq!(picture_bytes(&value, "p").unwrap(), b"hi");
        }
        assert_eq!(sound_bytes(&json!({"data": "aGk=", "format": "wav"}), "p").unwrap(), b"hi");
        for (value, message) in [
            (json!({}), "`p.image_url` has no picture, expected `url` with a `data:` address"),
            (
                json!({"url": "https://example.org/a.png"}),
                "`p.image_url.url` is a remote address, and nothing is fetched here: expected the picture itself as \
                 `data:image/png;base64,BYTES`",
            ),
            (
                json!({"type": "url", "url": "http://example.org/a.png"}),
                "`p.source.url` is a remote address, and nothing is fetched here: expected the picture \
                 itself as `data:image/png;base64,BYTES`",
            ),
            (json!({"url": "a.png"}), "the file is not in base64"),
        ] {
            assert_eq!(picture_bytes(&value, "p").unwrap_err().message, message);
        }
        assert!(sound_bytes(&json!("x"), "p").is_err());
    }

    /// As files of sessions hold it: without rows, and still the same.
    #[test]
    fn what_was_seen_is_known_again() {
        let seen = Seen {
            sense: Sense::Sight,
            digest: 0xA5 << 100,
            rows: 2,
            transcript: vec![1, 2],
            content: None,
        };
        let part = ContentPart::Seen(seen.clone());
        let text = serde_json::to_string(&part).unwrap();
        let want = "{\"type\":\"seen\",\"sense\":\"sight\",\"digest\":\
                    \"00000a50000000000000000000000000\",\"rows\":2,\"transcript\":[1,2]}";
        assert_eq!(text, want);
        assert_eq!(serde_json::from_str::<ContentPart>(&text).unwrap(), part);
        assert_ne!(Seen { digest: 1, ..seen.clone() }, seen);
    }
}
