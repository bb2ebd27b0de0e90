//! `docs/api.md` is made from the checked-in OpenAPI document, so that whoever reads need not read JSON.

mod types;

use std::{fmt::Write as _, fs, path::Path};

use serde_json::Value;
use types::{cell, described, types};

const HEAD: &str = "# API reference

Every operation of `hearth`'s API and every type. What holds for all of them (keys, problems, streams, sessions) is in
[the handbook](handbook.md#api); AWS Lambda's API, which the same address speaks, in [Functions](functions.md#lambda-api).

This is made from `crates/control/openapi.json` by a test; `HEARTH_BLESS=1 cargo nextest run -p hearth-control reference` writes it anew.
";
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

#[test]
fn the_reference_is_made_from_the_document() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(folder.join("openapi.json")).unwrap();
    let made = reference(&serde_json::from_str(&document).unwrap());
    let path = folder.join("../../docs/api.md");
    if std::env::var_os("HEARTH_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/api.md is stale: HEARTH_BLESS=1 cargo nextest run -p hearth-control reference"
    );
}

#[test]
fn every_operation_and_type_is_in_it() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let made = reference(&document);
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS.iter().filter(|method| item.get(**method).is_some()) {
            let heading = format!("\n### `{} {path}`\n", method.to_uppercase());
            assert_eq!(made.matches(&heading).count(), 1, "{heading}");
        }
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(made.contains(&format!("\n### {name}\n")), "{name}");
    }
}

fn reference(document: &Value) -> String {
    let mut text = HEAD.to_owned();
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = tag["name"].as_str().unwrap_or_default();
        let _ = write!(text, "\n## {name}\n\n{}.\n", described(tag));
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for method in METHODS {
                let operation = &item[method];
                if operation["tags"][0] == name {
                    text.push_str(&of_operation(method, path, operation));
                }
            }
        }
    }
    text.push_str(
        "\n## Types\n\nFields are there always unless they are marked *optional*; bounds stand behind the type.\n",
    );
    text.push_str(&types(&document["components"]["schemas"]));
    text
}

fn of_operation(method: &str, path: &str, operation: &Value) -> String {
    let summary = operation["summary"].as_str().unwrap_or_default();
    let mut text = format!(
        "\n### `{} {path}`\n\n{}\n",
        method.to_uppercase(),
        summary.replace('\n', " ")
    );
    if let Some(more) = operation["description"].as_str() {
        let _ = write!(text, "\n{more}\n");
    }
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    if !parameters.is_empty() {
        text.push_str("\n| parameter | in | type | |\n|---|---|---|---|\n");
    }
    for parameter in parameters {
        let optional = if parameter["required"] == true {
            ""
        } else {
            " *optional*"
        };
        let _ = writeln!(
            text,
            "| `{}` | {} | {}{optional} | {} |",
            parameter["name"].as_str().unwrap_or_default(),
            parameter["in"].as_str().unwrap_or_default(),
            types::name_of(&parameter["schema"]),
            cell(&described(parameter)),
        );
    }
    if let Some(body) = operation.get("requestBody") {
        let _ = write!(text, "\nBody: {}\n", content(body));
    }
    // All may answer a problem; the handbook says so once.
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        if status != "default" {
            let content = if response.get("content").is_some() {
                format!("; {}", content(response))
            } else {
                String::new()
            };
            let _ = write!(text, "\nAnswers {status}: {}{content}\n", described(response));
        }
    }
    text
}

/// Kinds of a body with its types.
fn content(holder: &Value) -> String {
    let kinds = holder["content"].as_object().into_iter().flatten();
    let kinds = kinds.map(|(kind, content)| match content.get("schema") {
        Some(schema) if kind == "application/json" => types::name_of(schema),
        // Of a stream the type is a line's; of anything else the kind says all.
        Some(schema) if schema.get("$ref").is_some() => format!("`{kind}` of {}", types::name_of(schema)),
        _ => format!("`{kind}`"),
    });
    kinds.collect::<Vec<_>>().join(" or ")
}
