//! The recording, with its abbreviations written out. Texts hold one character for each byte (Latin-1).

use std::path::Path;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

/// A longer body is compared by its length and hash.
const LONG: usize = 4096;

pub(super) struct Recording {
    pub(super) functions: Map<String, Value>,
    /// Each with whether it is in forwarding mode.
    pub(super) vectors: Vec<(Vector, bool)>,
}

/// What the handler does with a request.
#[derive(Clone, Default)]
pub(super) struct Answer {
    pub(super) raw: Vec<u8>,
    pub(super) then: String,
    pub(super) parts: Vec<String>,
    pub(super) before: String,
    pub(super) behaviour: String,
}

pub(super) struct Vector {
    pub(super) name: String,
    pub(super) request: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) answer: Answer,
    pub(super) settle: Duration,
    /// What is sent after a 101, and what comes back.
    pub(super) talk: Vec<(String, String)>,
    /// What the handler and the client get, in a form that can be compared.
    pub(super) handler: Value,
    pub(super) client: Value,
}

impl Recording {
    pub(super) fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/functions-host.json");
        let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut vectors = Vec::new();
        for vector in file["vectors"].as_array().unwrap() {
            for (mode, forward) in [("forward", true), ("proxy", false)] {
                if vector["mode"] == mode || vector["mode"] == "both" {
                    vectors.push((parsed(vector, &file, mode), forward));
                }
            }
        }
        Self { functions: file["about"]["functions"].as_object().unwrap().clone(), vectors }
    }
}

fn parsed(vector: &Value, file: &Value, mode: &str) -> Vector {
    let answer = &file["answers"][vector["answer_of_handler"].as_str().unwrap_or_default()];
    let word = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    let client = if vector["client"] == "plain" { &file["plain"] } else { &vector["client"] };
    let talk = vector["talk"].as_array().into_iter().flatten();
    Vector {
        name: vector["name"].as_str().unwrap().to_owned(),
        request: bytes(&text(&vector["request"])),
        body: bytes(&text(&vector["body"])),
        answer: Answer {
            raw: bytes(&text(&answer["raw"])),
            then: word("then"),
            parts: answer["parts"].as_array().into_iter().flatten().map(text).collect(),
            before: word("before"),
            behaviour: word("behaviour"),
        },
        settle: Duration::from_secs_f64(vector["settle"].as_f64().unwrap_or(0.0)),
        talk: talk.map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        handler: side(&vector["handler"], &file["own"][mode]),
        client: side(client, &Value::Null),
    }
}

/// One side of a vector, its headers written out and sorted.
fn side(recorded: &Value, own: &Value) -> Value {
    if recorded.get("error").is_some() {
        return json!({"error": recorded["error"]});
    }
    let mut side = recorded.clone();
    for name in ["target", "body"] {
        if let Some(value) = side.get_mut(name).filter(|value| value.is_array() || value.get("repeat").is_some()) {
            *value = text(value).into();
        }
    }
    if let Some(Value::String(body)) = side.get("body") {
        side["body"] = body_value(&bytes(body));
    }
    if let Some(headers) = recorded["headers"].as_array() {
        let own = own.as_array().into_iter().flatten();
        let lines = headers.iter().flat_map(|line| if line == "<own>" { own.clone().collect() } else { vec![line] });
        side["headers"] = sorted(lines.map(|line| (text(&line[0]), text(&line[1]))).collect());
    }
    side
}

/// Header lines without regard to the order and the spelling of names.
pub(super) fn sorted(lines: Vec<(String, String)>) -> Value {
    let mut lines: Vec<_> = lines.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    json!(lines)
}

pub(super) fn body_value(body: &[u8]) -> Value {
    if body.len() <= LONG {
        let text = latin1(body);
        return serde_json::from_str::<Value>(&text).ok().filter(Value::is_object).unwrap_or(text.into());
    }
    let hash: String = digest(&SHA256, body).as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    json!({"length": body.len(), "sha256": hash})
}

/// A text, which may be abbreviated.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(text).collect(),
        Value::Object(repeated) => {
            let times = usize::try_from(repeated["n"].as_u64().unwrap()).unwrap();
            repeated["repeat"].as_str().unwrap().repeat(times)
        }
        _ => String::new(),
    }
}

pub(super) fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect()
}

pub(super) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
