//! How messages become bytes, and the content types that say so.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message that both codecs carry.
pub trait Message: prost::Message + Default + Serialize + DeserializeOwned + Send + 'static {}

impl<M: prost::Message + Default + Serialize + DeserializeOwned + Send + 'static> Message for M {}

/// JSON by the proto-JSON rules (what SDKs speak), or binary protobuf (what the host speaks).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Proto-JSON.
    Json,
    /// Binary protobuf.
    Proto,
}

/// One message each way, or frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One message as the body.
    Unary,
    /// Frames, ended by a flagged one.
    Stream,
}

/// Why a message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Not the JSON of this message.
    #[error("not the expected JSON message")]
    Json(#[source] serde_json::Error),
    /// Not the protobuf of this message.
    #[error("not the expected protobuf message")]
    Proto(#[source] prost::DecodeError),
}

impl Codec {
    /// The message's bytes.
    pub fn encode<M: Message>(self, message: &M) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Json => serde_json::to_vec(message).map_err(CodecError::Json),
            Self::Proto => Ok(message.encode_to_vec()),
        }
    }

    /// The message in these bytes; unknown fields are ignored.
    pub fn decode<M: Message>(self, bytes: Bytes) -> Result<M, CodecError> {
        match self {
            // An empty body is the empty message: a hand-written client may well send none.
            Self::Json if bytes.is_empty() => Ok(M::default()),
            Self::Json => serde_json::from_slice(&bytes).map_err(CodecError::Json),
            Self::Proto => M::decode(bytes).map_err(CodecError::Proto),
        }
    }
}

/// The content type of a codec and kind.
pub fn content_type(codec: Codec, kind: Kind) -> &'static str {
    match (codec, kind) {
        (Codec::Json, Kind::Unary) => "application/json",
        (Codec::Proto, Kind::Unary) => "application/proto",
        (Codec::Json, Kind::Stream) => "application/connect+json",
        (Codec::Proto, Kind::Stream) => "application/connect+proto",
    }
}

/// Codec and kind of a content type, parameters ignored.
pub fn parse_content_type(value: &str) -> Option<(Codec, Kind)> {
    let essence = value.split(';').next().unwrap_or_default().trim();
    let all = [
        (Codec::Json, Kind::Unary),
        (Codec::Proto, Kind::Unary),
        (Codec::Json, Kind::Stream),
        (Codec::Proto, Kind::Stream),
    ];
    all.into_iter()
        .find(|(codec, kind)| essence.eq_ignore_ascii_case(content_type(*codec, *kind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::process_event::{DataEvent, EndEvent, Event, KeepAlive, StartEvent, data_event::Output};
    use crate::{filesystem, process};

    #[test]
    fn content_types_read_back() {
        assert_eq!(
            parse_content_type("application/connect+json"),
            Some((Codec::Json, Kind::Stream))
        );
        assert_eq!(
            parse_content_type("Application/JSON; charset=utf-8"),
            Some((Codec::Json, Kind::Unary))
        );
        assert_eq!(parse_content_type("application/grpc"), None);
    }

    #[test]
    fn json_has_the_shape_that_sdks_expect() {
        let json =
            |message| String::from_utf8(Codec::Json.encode::<process::StartResponse>(&message).unwrap()).unwrap();
        let event = |event| process::StartResponse {
            event: Some(process::ProcessEvent { event: Some(event) }),
        };

        assert_eq!(
            json(event(Event::Start(StartEvent { pid: 7 }))),
            r#"{"event":{"start":{"pid":7}}}"#
        );
        let output = Some(Output::Stdout("hi\n".into()));
        assert_eq!(
            json(event(Event::Data(DataEvent { output }))),
            r#"{"event":{"data":{"stdout":"aGkK"}}}"#
        );
        assert_eq!(
            json(event(Event::Keepalive(KeepAlive {}))),
            r#"{"event":{"keepalive":{}}}"#
        );
        let end = EndEvent {
            exit_code: -1,
            exited: false,
            status: "signal: killed".into(),
            error: Some("signal: killed".into()),
        };
        assert_eq!(
            json(event(Event::End(end))),
            r#"{"event":{"end":{"exitCode":-1,"status":"signal: killed","error":"signal: killed"}}}"#
        );
    }

    #[test]
    fn json_writes_wide_integers_and_times_as_strings_and_enums_by_name() {
        let entry = filesystem::EntryInfo {
            name: "a".into(),
            r#type: filesystem::FileType::File.into(),
            size: 5,
            modified_time: Some(crate::timestamp::Timestamp { seconds: 0, nanos: 0 }),
            ..Default::default()
        };
        let json: serde_json::Value = serde_json::from_slice(&Codec::Json.encode(&entry).unwrap()).unwrap();
        let expected = r#"{"name":"a","type":"FILE_TYPE_FILE","size":"5","modifiedTime":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(json, serde_json::from_str::<serde_json::Value>(expected).unwrap());
    }

    #[test]
    fn json_accepts_unknown_fields_either_name_and_unpadded_base64() {
        let text = r#"{"process":{"tag":"t"},"input":{"stdin":"aGk"},"future":[1,{}]}"#;
        let request: process::SendInputRequest = Codec::Json.decode(Bytes::from_static(text.as_bytes())).unwrap();
        assert_eq!(
            request.input.unwrap().input,
            Some(process::process_input::Input::Stdin("hi".into()))
        );
        let listing = Codec::Json
            .decode::<filesystem::CreateWatcherRequest>(Bytes::from_static(br#"{"include_entry":true}"#))
            .unwrap();
        assert!(listing.include_entry);
    }

    #[test]
    fn signals_without_a_name_pass_the_binary_codec() {
        let request = process::SendSignalRequest {
            process: None,
            signal: 28,
        };
        let bytes = Codec::Proto.encode(&request).unwrap();
        assert_eq!(
            Codec::Proto.decode::<process::SendSignalRequest>(bytes.into()).unwrap(),
            request
        );
    }
}
