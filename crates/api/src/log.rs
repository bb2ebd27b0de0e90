//! What machines wrote.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::event::ProblemLine;

/// A piece of a machine's output, cut anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogRecord {
    /// Its place in the machine's log; grows, not always by one.
    pub sequence: u64,
    /// When the program wrote it, in nanoseconds since the Unix epoch.
    pub unix_ns: u64,
    /// Where it was written.
    pub stream: LogStream,
    /// What was written, in base 64.
    #[serde(with = "base64_bytes")]
    #[schema(value_type = String, format = Byte)]
    pub data: Bytes,
}

/// Where a piece of output was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of the stream of logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum LogLine {
    /// Output.
    Output(LogRecord),
    /// The stream ends for this; nothing follows.
    Problem(ProblemLine),
}

mod base64_bytes {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes::from).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_carries_any_bytes() {
        let line = LogLine::Output(LogRecord {
            sequence: 1,
            unix_ns: 2,
            stream: LogStream::Stderr,
            data: Bytes::from_static(b"\xff\n\0"),
        });
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(
            text,
            r#"{"type":"output","sequence":1,"unix_ns":2,"stream":"stderr","data":"/woA"}"#
        );
        assert_eq!(serde_json::from_str::<LogLine>(&text).unwrap(), line);
    }
}
