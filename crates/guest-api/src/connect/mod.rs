//! The Connect protocol without I/O: codecs, frames, errors. Both sides use it.
//!
//! Unary calls carry one message as the HTTP body (`application/json`, `application/proto`); streams carry frames
//! (`application/connect+json`, `application/connect+proto`) and end with one that is flagged as the last.
//! Compression is neither offered nor accepted: the link is local, and an inflating reader would be one more thing to bound.

mod codec;
mod error;
mod frame;

pub use codec::{Codec, CodecError, Kind, Message, content_type, parse_content_type};
pub use error::{Code, ConnectError, end_of_stream, parse_end_of_stream};
pub use frame::{Frame, FrameDecoder, FrameError, encode_end, encode_message};

/// Header by which a client says for how long it will wait, in milliseconds; at most ten digits.
pub const TIMEOUT_HEADER: &str = "connect-timeout-ms";

/// Header of the protocol's version, `1`.
pub const VERSION_HEADER: &str = "connect-protocol-version";
