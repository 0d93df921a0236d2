//! What a client asked for besides the input: the parameters of a reply, checked, in the words of the Responses API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A reply's or conversation's metadata: at most 16 keys of 64 characters, values of 512.
pub type Metadata = BTreeMap<String, String>;

/// The parameters of a reply. `None` is what the client did not send.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Params {
    /// The model that generates the reply; resolved before acceptance.
    pub model: String,
    /// The system message of this reply only; not inherited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// The client polls, and does not hold a connection.
    #[serde(default, skip_serializing_if = "is_false")]
    pub background: bool,
    /// `false`: nothing is written anywhere, and the reply ends with its client.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub store: bool,
    /// The client's own notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: Metadata,
    /// Sampling temperature, 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// How much less likely a token becomes once it was there, -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// How much less likely a token becomes with each time that it was there, -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// What the Responses API does not have and model servers do (`stop`, `seed`, …), passed on as it is.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub passed: Map<String, Value>,
    /// Token probabilities to report, 0 to 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u8>,
    /// The most tokens that the model may generate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// The most calls of hosted tools; accepted and given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tool_calls: Option<u64>,
    /// Functions that the model may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// The types of tools that were asked for and are not run here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// The names of parameters that are not known here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
    /// Whether and which it must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// How much to think, and whether to summarise it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<ReasoningParams>,
    /// The form of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextParams>,
    /// What happens when the context is longer than the model's window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncation: Option<Truncation>,
    /// What else to include in the answer, as the client wrote it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// The client's message that the reply goes on with, by its id there: messages of some clients hold several replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_on: Option<String>,
    /// The reply is a summary of its context, returned to its client sealed with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction: Option<SealKey>,
    /// What happens when the context is longer than the client wants it to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_management: Option<ContextManagement>,
    /// The end user, in the older field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The end user, hashed by the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_identifier: Option<String>,
    /// The upstream's service tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// A hint for the upstream's cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_cache_key: Option<String>,
    /// The reply is also spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioParams>,
}

/// How a reply is spoken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioParams {
    /// The voice; without one, the server's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice: Option<String>,
    /// The form of the audio.
    pub format: AudioFormat,
}

/// What happens when the context of a reply is longer than its client wants it to be: the reply begins with a summary of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextManagement {
    /// The most tokens that it may have.
    pub compact_threshold: u64,
    /// What the summary is sealed with. Of a reply that was accepted without one the context is short enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SealKey>,
}

/// What one thing is sealed with: a key that is made of the server's secret, its owner and a salt.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealKey {
    /// The salt, which is no secret.
    pub salt: [u8; 16],
    /// The key.
    pub key: [u8; 32],
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealKey").field("salt", &self.salt).finish_non_exhaustive()
    }
}

/// The form of audio. `wav` and `pcm` are 24 kHz, 16 bit, mono, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioFormat {
    /// Samples, after a header that describes them.
    Wav,
    /// The samples alone.
    Pcm,
    /// MPEG 1 or 2, layer 3.
    Mp3,
    /// Opus in Ogg.
    Opus,
    /// AAC in ADTS.
    Aac,
    /// FLAC.
    Flac,
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name: letters, digits, `_`, `-`, at most 64.
    pub name: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A JSON schema of its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// Whether the arguments must match the schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// What it is to its client, where that is no plain function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Box<GivenTool>>,
}

/// A tool as its client gave it: to a model it is a function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GivenTool {
    /// How its calls are shown.
    pub kind: ToolKind,
    /// Its own name.
    pub name: String,
    /// The namespace that it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The tool as its client gave it. Absent if another tool has it: the first of a namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// How calls of a tool are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// As calls of a function.
    Function,
    /// With one text instead of arguments.
    Custom,
    /// As a command of a shell of the client's machine.
    LocalShell,
    /// As commands of a shell.
    Shell,
    /// As a change of a file.
    ApplyPatch,
}

/// Which tools the model may or must call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Function(String),
    /// One of these; `required` or `auto`.
    Allowed {
        /// Whether one of them must be called.
        required: bool,
        /// Their names.
        names: Vec<String>,
    },
}

/// How the model is to think.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasoningParams {
    /// How much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// Whether to show it as a summary: `auto`, `concise`, `detailed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// The form of the text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TextParams {
    /// Plain text when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<TextFormat>,
    /// How verbose to be: `low`, `medium`, `high`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<String>,
}

/// The format of the text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TextFormat {
    /// Plain text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON after a schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// What it is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// Whether it must match.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

/// What happens when the context is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// The oldest turns go.
    Auto,
    /// The reply fails.
    Disabled,
}

impl AudioFormat {
    /// All of them, by their names in the API.
    pub const NAMES: &[(&str, Self)] = &[
        ("wav", Self::Wav),
        ("pcm", Self::Pcm),
        ("mp3", Self::Mp3),
        ("opus", Self::Opus),
        ("aac", Self::Aac),
        ("flac", Self::Flac),
        // As Chat Completions calls it.
        ("pcm16", Self::Pcm),
    ];

    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Pcm => "pcm",
            Self::Mp3 => "mp3",
            Self::Opus => "opus",
            Self::Aac => "aac",
            Self::Flac => "flac",
        }
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/wav",
            // RFC 2586 has big-endian samples for `audio/L16`; OpenAI writes this.
            Self::Pcm => "audio/pcm",
            Self::Mp3 => "audio/mpeg",
            Self::Opus => "audio/ogg; codecs=opus",
            Self::Aac => "audio/aac",
            Self::Flac => "audio/flac",
        }
    }

    /// Whether it is made of samples, which can be counted, resampled and looked at.
    pub const fn is_samples(self) -> bool {
        matches!(self, Self::Wav | Self::Pcm)
    }
}

impl Params {
    /// Whether thoughts are shown as a summary.
    pub fn summarises_reasoning(&self) -> bool {
        self.reasoning.as_ref().is_some_and(|reasoning| reasoning.summary.is_some())
    }

    /// Whether a function may be called.
    pub fn may_call(&self) -> bool {
        !self.tools.is_empty() && self.tool_choice != Some(ToolChoice::None)
    }

    /// What the summary is sealed with that a reply begins with. `None`: it begins with none.
    pub fn compacts_with(&self) -> Option<&SealKey> {
        self.context_management.as_ref()?.key.as_ref()
    }

    /// Whether the text has to be JSON.
    pub fn wants_json(&self) -> bool {
        let format = self.text.as_ref().and_then(|text| text.format.as_ref());
        matches!(format, Some(TextFormat::JsonObject | TextFormat::JsonSchema { .. }))
    }
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_true(flag: &bool) -> bool {
    *flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}
