//! The OpenAPI document is checked in, so that each change of the API is seen in review.

use std::path::Path;

#[test]
fn the_document_is_the_one_that_is_checked_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let made = hearth_control::openapi_json();
    if std::env::var_os("HEARTH_BLESS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "the API's document changed; look at the change with:\n    HEARTH_BLESS=1 cargo nextest run -p hearth-control document && git diff crates/control/openapi.json"
    );
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document: serde_json::Value = serde_json::from_str(hearth_control::openapi_json()).unwrap();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let path = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(path).is_some(), "{reference} leads nowhere");
    }
}

fn collect(value: &serde_json::Value, references: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(|text| text.as_str()).map(str::to_owned));
            fields.values().for_each(|value| collect(value, references));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}
