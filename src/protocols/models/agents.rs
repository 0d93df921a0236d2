//! A model as an agent's client wants it described: Codex reads this from `GET /v1/models`, beside the list of OpenAI, and
//! knows nothing else of a model that is not its maker's. Fields and words are those of its `ModelInfo`.

use serde::Serialize;

/// What an agent that has no words of its own for a model says to it first.
const INSTRUCTIONS: &str = "You are a coding agent that works in the user's terminal, in the directory of a project. \
    Find things out with the tools that you have instead of guessing, make the changes that are asked for and no others, \
    check that they work, and go on until the task is done. Never undo changes that you did not make. Answer briefly, \
    and name the files that you changed.";

/// The bytes of a tool's output that a client should keep.
const MOST_OUTPUT: u64 = 10_000;

/// One model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the fields of the format")]
pub(super) struct AgentModel {
    slug: String,
    display_name: String,
    description: Option<&'static str>,
    default_reasoning_level: Option<&'static str>,
    supported_reasoning_levels: [Level; 4],
    shell_type: &'static str,
    visibility: &'static str,
    supported_in_api: bool,
    /// The lowest comes first.
    priority: usize,
    upgrade: Option<&'static str>,
    base_instructions: &'static str,
    supports_reasoning_summaries: bool,
    support_verbosity: bool,
    default_verbosity: Option<&'static str>,
    /// None: patches are applied in the shell, which needs no tool that a model may not know.
    apply_patch_tool_type: Option<&'static str>,
    truncation_policy: Truncation,
    supports_parallel_tool_calls: bool,
    /// Tokens; none where the model server does not say.
    context_window: Option<u64>,
    experimental_supported_tools: [&'static str; 0],
    input_modalities: [&'static str; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Level {
    effort: &'static str,
    description: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Truncation {
    mode: &'static str,
    limit: u64,
}

impl AgentModel {
    /// The model of this name, which is listed at this place.
    pub(super) fn new(id: String, place: usize, context_window: Option<u64>) -> Self {
        let level = |effort, description| Level { effort, description };
        Self {
            display_name: id.clone(),
            slug: id,
            description: None,
            default_reasoning_level: None,
            supported_reasoning_levels: [
                level("minimal", "Hardly any thinking"),
                level("low", "Little thinking"),
                level("medium", "As much thinking as most tasks need"),
                level("high", "More thinking, for hard tasks"),
            ],
            shell_type: "shell_command",
            visibility: "list",
            supported_in_api: true,
            priority: place,
            upgrade: None,
            base_instructions: INSTRUCTIONS,
            supports_reasoning_summaries: false,
            support_verbosity: false,
            default_verbosity: None,
            apply_patch_tool_type: None,
            truncation_policy: Truncation { mode: "bytes", limit: MOST_OUTPUT },
            supports_parallel_tool_calls: true,
            context_window,
            experimental_supported_tools: [],
            input_modalities: ["text", "image"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_all_that_a_client_demands() {
        let model = serde_json::to_value(AgentModel::new("qwen3".to_owned(), 2, Some(32_768))).expect("JSON");
        for field in [
            "slug",
            "display_name",
            "supported_reasoning_levels",
            "shell_type",
            "visibility",
            "supported_in_api",
            "priority",
            "base_instructions",
            "truncation_policy",
            "experimental_supported_tools",
            "support_verbosity",
            "supports_reasoning_summaries",
            "supports_parallel_tool_calls",
        ] {
            assert!(!model[field].is_null(), "{field}");
        }
        assert_eq!(
            (&model["slug"], &model["priority"], &model["context_window"]),
            (&"qwen3".into(), &2.into(), &32_768.into())
        );
        assert!(model["apply_patch_tool_type"].is_null());
    }
}
