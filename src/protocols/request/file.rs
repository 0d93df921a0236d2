//! Files whose content is text: they become text of the message, under their names. Others need somebody who reads them,
//! and are refused.

use data_encoding::{BASE64, BASE64_NOPAD};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::domain::items::Part;
use crate::protocols::error::ApiError;
use crate::protocols::json::{At, Read, at_most, required, string};

/// The most characters of a file's name.
const LONGEST_NAME: usize = 256;

/// Types outside `text/*` that are text. Those that end in `+json`, `+xml` or `+yaml` are, too.
const TEXT_TYPES: &[&str] = &[
    "application/json",
    "application/jsonl",
    "application/ndjson",
    "application/x-ndjson",
    "application/csv",
    "application/markdown",
    "application/xml",
    "application/yaml",
    "application/x-yaml",
    "application/toml",
    "application/sql",
    "application/javascript",
    "application/typescript",
    "application/x-sh",
    "application/x-python",
];

/// Types that say nothing: the name decides.
const NO_TYPES: &[&str] = &["", "application/octet-stream", "binary/octet-stream"];

/// Names that end so are of text.
const TEXT_ENDINGS: &[&str] = &[
    "txt", "text", "md", "markdown", "csv", "tsv", "json", "jsonl", "ndjson", "xml", "html", "htm", "yaml", "yml",
    "toml", "ini", "cfg", "conf", "log", "rst", "tex", "srt", "vtt", "sql", "css", "js", "mjs", "ts", "tsx", "jsx",
    "py", "rs", "go", "java", "kt", "c", "h", "cc", "cpp", "hpp", "cs", "rb", "php", "swift", "sh", "bat", "ps1",
    "diff", "patch",
];

/// `input_file`.
pub(in crate::protocols) fn file(at: At, fields: &mut Map<String, Value>) -> Read<Part> {
    let reason = "Send the file itself in 'file_data', as a data URL of text.";
    for name in ["file_id", "file_url"] {
        if fields.get(name).is_some_and(|value| !value.is_null()) {
            return Err(ApiError::unsupported_parameter(at.field(name), reason));
        }
    }
    let take = |fields: &mut Map<String, Value>, name: &str| fields.remove(name).filter(|value| !value.is_null());
    let at_name = at.field("filename");
    let name =
        take(fields, "filename").map(|name| at_most(at_name, string(at_name, name)?, LONGEST_NAME)).transpose()?;
    let data = string(at.field("file_data"), required(at, "file_data", take(fields, "file_data"))?)?;
    text_part(at.field("file_data"), name.as_deref(), &data)
}

/// A file as text of a message, under its name, if it has one.
pub(in crate::protocols) fn text_part(at: At, name: Option<&str>, data: &str) -> Read<Part> {
    let text = text(at, name.unwrap_or_default(), data)?;
    let text = name.map_or_else(|| text.clone(), |name| format!("{name}:\n\n{text}"));
    Ok(Part::InputText { text })
}

/// The text of a file: a data URL (RFC 2397), or base64 by itself.
fn text(at: At, name: &str, data: &str) -> Read<String> {
    let is_url = data.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    let (head, content) = match data.split_once(',').filter(|_| is_url) {
        Some((head, content)) => (&head[5..], content),
        None => (";base64", data),
    };
    let mut head = head.split(';').map(str::trim);
    let media = head.next().unwrap_or_default().to_ascii_lowercase();
    let coded = head.any(|parameter| parameter.eq_ignore_ascii_case("base64"));
    // Without a type a data URL is of text; base64 by itself may be anything.
    if !(is_text(&media) || NO_TYPES.contains(&media.as_str()) && (has_text_ending(name) || is_url && media.is_empty()))
    {
        let kind = if media.is_empty() { name } else { &media };
        let reason =
            format!("Files of text are read, such as text/plain, text/csv, text/markdown or JSON; '{kind}' is not.");
        return Err(ApiError::unsupported_parameter(at, &reason));
    }
    let bytes = if coded { base64(at, content)? } else { percent_decode_str(content).collect() };
    let text = String::from_utf8(bytes).map_err(|_| ApiError::invalid(at, "expected text in UTF-8."))?;
    if text.contains('\0') {
        return Err(ApiError::invalid(at, "expected text, and found a byte that is 0."));
    }
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn is_text(media: &str) -> bool {
    let suffixes = ["+json", "+xml", "+yaml"];
    media.starts_with("text/") || TEXT_TYPES.contains(&media) || suffixes.iter().any(|suffix| media.ends_with(suffix))
}

fn has_text_ending(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    TEXT_ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending))
}

fn base64(at: At, content: &str) -> Read<Vec<u8>> {
    let content: Vec<u8> = content.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let coding = if content.ends_with(b"=") || content.len().is_multiple_of(4) { BASE64 } else { BASE64_NOPAD };
    coding.decode(&content).map_err(|_| ApiError::invalid(at, "expected base64, or a data URL."))
}
