//! Events of the code interpreter, a JSON object a line, as a hostile guest may write them.
//!
//! Values stay the bytes that they came as until one is asked for: parsed, sixteen megabytes of `[0,0,0,…]` take sixteen times as much.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Fields that are looked at; the interpreter's events have at most a dozen.
const FIELDS_MAX: usize = 64;

/// One event.
pub(super) struct Event<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Event<'a> {
    /// Reads a line; `None` if it is no JSON object, as one is that was torn.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The text of a field that is one.
    pub(super) fn text(&self, field: &str) -> Option<Cow<'a, str>> {
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
        serde_json::from_str(self.json(field)?).ok().map(|Text(text)| text)
    }

    /// A field as it came.
    pub(super) fn json(&self, field: &str) -> Option<&'a str> {
        let (_, value) = self.0.iter().find(|(name, _)| name == field)?;
        Some(value.get())
    }

    /// The names of its fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Event<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Event<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            if fields.len() < FIELDS_MAX {
                fields.push(field);
            }
        }
        Ok(Event(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_what_is_no_event_is_none() {
        let event = Event::parse(br#"{"text":"a\nb","json":{"c": [1]},"of":5}"#).unwrap();
        assert_eq!(event.text("text").as_deref(), Some("a\nb"));
        assert_eq!(event.json("json"), Some("{\"c\": [1]}"));
        assert_eq!((event.text("of"), event.text("absent")), (None, None));
        assert_eq!(event.fields().collect::<Vec<_>>(), ["text", "json", "of"]);
        for no in ["", "5", "[]", "{", "{\"a\":", "{} {}"] {
            assert!(Event::parse(no.as_bytes()).is_none(), "{no}");
        }
    }

    #[test]
    fn a_flood_of_values_and_fields_stays_bytes() {
        let deep = format!("{{\"json\":{}0{}}}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert_eq!(Event::parse(deep.as_bytes()).map(|event| event.0.len()), Some(1));
        let wide = format!("{{{}\"z\":0}}", "\"z\":[],".repeat(100_000));
        assert_eq!(
            Event::parse(wide.as_bytes()).map(|event| event.0.len()),
            Some(FIELDS_MAX)
        );
    }
}
