//! The tools. Each says what it takes and gives by types, from which its schemas are made, and what it does in words for an
//! agent: units, limits, and what to do next.

mod code;
mod command;
mod events;
mod files;
mod pictures;
mod sandboxes;

use std::sync::Arc;

use rmcp::{
    handler::server::tool::{schema_for_input, schema_for_output},
    model::{CallToolResult, ContentBlock, JsonObject, Tool, ToolAnnotations},
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{failure::Failure, session::Session};

/// Characters of what a reader of JSON says of an argument.
const SAID_MAX_CHARS: usize = 300;

/// What a tool does to the world, for clients that ask people first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing.
    Reads,
    /// It adds something, or what can be taken back.
    Changes,
    /// It may destroy something in a sandbox, or one itself.
    Destroys,
}

/// A tool.
trait Offer {
    /// What it takes.
    type Args: DeserializeOwned + JsonSchema + Send + 'static;
    /// What it gives.
    type Answer: Serialize + JsonSchema + Send + 'static;
    const NAME: &'static str;
    const TITLE: &'static str;
    const DESCRIPTION: &'static str;
    const EFFECT: Effect;

    fn call(session: &Session, args: Self::Args) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;

    /// What an answer has beside its structure.
    fn beside(_answer: &mut Self::Answer) -> Vec<ContentBlock> {
        Vec::new()
    }
}

/// Names each tool once.
macro_rules! offered {
    ($($tool:ty),* $(,)?) => {
        /// The tools, as they are listed.
        pub(crate) fn list() -> Vec<Tool> {
            vec![$(described::<$tool>()),*]
        }

        /// Calls a tool; `None` if there is none of that name.
        pub(crate) async fn call(session: &Session, name: &str, args: JsonObject) -> Option<CallToolResult> {
            match name {
                $(<$tool>::NAME => Some(carried_out::<$tool>(session, args).await),)*
                _ => None,
            }
        }
    };
}

offered![
    sandboxes::Create,
    sandboxes::List,
    sandboxes::Pause,
    sandboxes::Kill,
    sandboxes::Url,
    sandboxes::Templates,
    command::Run,
    code::Run,
    files::List,
    files::Read,
    files::Write,
];

fn described<T: Offer>() -> Tool {
    let annotations = ToolAnnotations::new()
        .read_only(T::EFFECT == Effect::Reads)
        .destructive(T::EFFECT == Effect::Destroys)
        .open_world(T::EFFECT == Effect::Destroys);
    let takes = schema_for_input::<T::Args>().unwrap_or_else(|_| Arc::default());
    Tool::new(T::NAME, T::DESCRIPTION, takes)
        .with_title(T::TITLE)
        .with_raw_output_schema(schema_for_output::<T::Answer>())
        .annotate(annotations)
}

async fn carried_out<T: Offer>(session: &Session, args: JsonObject) -> CallToolResult {
    let outcome = match read::<T::Args>(args) {
        Ok(args) => T::call(session, args).await,
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(answer) => told::<T>(answer),
        Err(failure) => refused(&failure),
    }
}

fn told<T: Offer>(mut answer: T::Answer) -> CallToolResult {
    let beside = T::beside(&mut answer);
    match serde_json::to_value(&answer) {
        Ok(value) => {
            let mut result = CallToolResult::structured(value);
            result.content.extend(beside);
            result
        }
        Err(error) => refused(&Failure::new(format!("the answer cannot be written: {error}"))),
    }
}

/// A failure is told as text alone: what is structured has to be of the schema of what the tool gives.
pub(crate) fn refused(failure: &Failure) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(failure.to_string())])
}

fn read<T: DeserializeOwned>(args: JsonObject) -> Result<T, Failure> {
    serde_path_to_error::deserialize(Value::Object(args)).map_err(|error| {
        let (path, said) = (error.path().to_string(), error.inner().to_string());
        let said: String = said.chars().take(SAID_MAX_CHARS).collect();
        if path == "." {
            Failure::new(format!("the arguments are not valid: {said}"))
        } else {
            Failure::new(format!("{path} is not valid: {said}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn each_tool_is_described_for_an_agent() {
        let tools = list();
        let names: BTreeSet<_> = tools.iter().map(|tool| tool.name.clone()).collect();
        assert_eq!(names.len(), tools.len(), "no name twice");
        for tool in &tools {
            let name = &tool.name;
            assert!(tool.description.as_ref().is_some_and(|text| text.len() > 40), "{name}");
            assert_eq!(tool.input_schema["type"], "object", "{name}");
            assert_eq!(tool.input_schema["additionalProperties"], false, "{name}");
            let output = tool.output_schema.as_ref().unwrap();
            assert_eq!(output["type"], "object", "{name}");
            let properties = tool.input_schema.get("properties").and_then(Value::as_object);
            for (field, schema) in properties.into_iter().flatten() {
                assert!(schema.get("description").is_some(), "{name}.{field}");
            }
        }
    }

    #[test]
    fn arguments_that_are_wrong_are_named() {
        let args = |value: Value| value.as_object().cloned().unwrap();
        let said = |value| {
            read::<<command::Run as Offer>::Args>(args(value))
                .unwrap_err()
                .to_string()
        };
        assert!(said(json!({ "sandbox": "a" })).contains("command"));
        assert!(said(json!({ "sandbox": 7, "command": "x" })).starts_with("sandbox is not valid"));
        let unknown = said(json!({ "sandbox": "a", "command": "x", "shell": "zsh" }));
        assert!(unknown.contains("shell") && unknown.contains("timeout_s"), "{unknown}");
    }
}
