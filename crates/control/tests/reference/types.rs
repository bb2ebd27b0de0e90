//! Schemas as tables.

use std::fmt::Write as _;

use serde_json::Value;

/// All of them, by name.
pub(crate) fn types(schemas: &Value) -> String {
    let mut text = String::new();
    for (name, schema) in schemas.as_object().into_iter().flatten() {
        let _ = write!(text, "\n### {name}\n\n{}\n", described(schema));
        text.push_str(&body(schema));
    }
    text
}

/// What is said of something.
pub(crate) fn described(thing: &Value) -> String {
    thing["description"].as_str().unwrap_or_default().trim().to_owned()
}

/// Text that fits into a table.
pub(crate) fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

fn body(schema: &Value) -> String {
    if let Some(cases) = schema["oneOf"].as_array() {
        return one_of(cases);
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return all_of(parts);
    }
    if schema.get("properties").is_some() {
        return fields(schema);
    }
    format!("\n{}\n", name_of(schema))
}

fn one_of(cases: &[Value]) -> String {
    let mut text = "\nOne of:\n".to_owned();
    for case in cases {
        let _ = write!(text, "\n- {}", cell(&described(case)));
        let shape = match case["allOf"].as_array() {
            Some(parts) => parts.iter().map(inline).collect::<Vec<_>>().join(" with "),
            None => inline(case),
        };
        let _ = write!(text, " {shape}");
    }
    text.push('\n');
    text
}

fn all_of(parts: &[Value]) -> String {
    let mut text = String::new();
    for part in parts {
        if part.get("properties").is_some() {
            text.push_str(&fields(part));
        } else {
            let _ = write!(text, "\nAll of {}, and:\n", name_of(part));
        }
    }
    text
}

fn fields(schema: &Value) -> String {
    let mut text = "\n| field | type | |\n|---|---|---|\n".to_owned();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let optional = if is_required(schema, name) { "" } else { " *optional*" };
        let said = cell(&described(field));
        let _ = writeln!(text, "| `{name}` | {}{optional} | {said} |", cell(&name_of(field)));
    }
    text
}

fn is_required(schema: &Value, name: &str) -> bool {
    let required = schema["required"].as_array();
    required.is_some_and(|required| required.iter().any(|field| field == name))
}

/// A small type in one line: `{"type": "result", "image": Image}`.
fn inline(schema: &Value) -> String {
    let Some(properties) = schema["properties"].as_object() else {
        return name_of(schema);
    };
    let fields = properties.iter().map(|(name, field)| {
        let optional = if is_required(schema, name) { "" } else { "?" };
        format!("`{name}`{optional}: {}", name_of(field))
    });
    format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
}

/// A type in a few words, with a link where it has a name, and its bounds.
pub(crate) fn name_of(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(cases) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        let cases = cases.iter().filter(|case| case["type"] != "null");
        return cases.map(name_of).collect::<Vec<_>>().join(" or ");
    }
    if let Some(values) = schema["enum"].as_array() {
        let values = values
            .iter()
            .map(|value| format!("`{}`", value.as_str().unwrap_or_default()));
        return values.collect::<Vec<_>>().join(", ");
    }
    let word = match &schema["type"] {
        Value::Array(words) => words.iter().find(|word| *word != "null").and_then(Value::as_str),
        word => word.as_str(),
    };
    match word {
        Some("array") => format!(
            "list of {}{}",
            name_of(&schema["items"]),
            bounds(schema, "minItems", "maxItems")
        ),
        Some("object") => match schema.get("additionalProperties").filter(|it| it.is_object()) {
            Some(values) => format!("object of {}", name_of(values)),
            None => "object".to_owned(),
        },
        Some("string") if schema["format"] == "date-time" => "time".to_owned(),
        Some("string") => format!("string{}", bounds(schema, "minLength", "maxLength")),
        Some(word) => format!("{word}{}", bounds(schema, "minimum", "maximum")),
        None => "anything".to_owned(),
    }
}

fn bounds(schema: &Value, low: &str, high: &str) -> String {
    // Nothing is said by a number's not being negative.
    let low = schema.get(low).filter(|low| **low != 0);
    match (low, schema.get(high)) {
        (None, None) => String::new(),
        (Some(low), None) => format!(" {low} or more"),
        (None, Some(high)) => format!(" up to {high}"),
        (Some(low), Some(high)) => format!(" {low} to {high}"),
    }
}
