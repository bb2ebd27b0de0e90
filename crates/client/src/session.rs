//! Web sockets for attach and exec.

use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use hearth_api::{
    ExecRequest,
    frame::{ClientFrame, PAYLOAD_MAX, ServerFrame},
};
use http::HeaderMap;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::WebSocketConfig},
};

use crate::{ApiPath, ClientError, Transport, listening::Listening, refusal};

/// Bytes of a message beside its payload.
const FRAME_OVERHEAD: usize = 1024;

/// The part that sends.
pub struct SessionSender(SplitSink<WebSocketStream<Listening>, Message>);

/// The part that receives.
pub struct SessionReceiver(SplitStream<WebSocketStream<Listening>>);

/// A line to a program.
pub struct Session {
    /// To it.
    pub sender: SessionSender,
    /// From it.
    pub receiver: SessionReceiver,
}

impl Session {
    pub(crate) async fn open(io: Box<dyn Transport>, path: &ApiPath, headers: HeaderMap) -> Result<Self, ClientError> {
        let url = format!("ws://localhost{}", path.as_str());
        let mut request = url.into_client_request().map_err(session_error)?;
        request.headers_mut().extend(headers);
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(PAYLOAD_MAX + FRAME_OVERHEAD);
        config.max_frame_size = Some(PAYLOAD_MAX + FRAME_OVERHEAD);
        match client_async_with_config(request, Listening(io), Some(config)).await {
            Ok((socket, _)) => {
                let (sender, receiver) = socket.split();
                Ok(Self {
                    sender: SessionSender(sender),
                    receiver: SessionReceiver(receiver),
                })
            }
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                Err(refusal(response.status(), body))
            }
            Err(error) => Err(session_error(error)),
        }
    }
}

impl SessionSender {
    /// Says what to run; the first message of an exec.
    pub async fn begin(&mut self, request: &ExecRequest) -> Result<(), ClientError> {
        let text = serde_json::to_string(request).map_err(|source| ClientError::Encode { source })?;
        self.0.send(Message::text(text)).await.map_err(session_error)
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &ClientFrame) -> Result<(), ClientError> {
        self.0
            .send(Message::binary(frame.encode()))
            .await
            .map_err(session_error)
    }
}

impl SessionReceiver {
    /// The next frame; `None` when the daemon has closed the session.
    pub async fn next(&mut self) -> Option<Result<ServerFrame, ClientError>> {
        loop {
            return match self.0.next().await? {
                Ok(Message::Binary(bytes)) => {
                    Some(ServerFrame::decode(&bytes).map_err(|source| ClientError::Frame { source }))
                }
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => None,
                Ok(_) => continue,
                Err(error) => Some(Err(session_error(error))),
            };
        }
    }
}

fn session_error(source: Error) -> ClientError {
    ClientError::Session {
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;
    use tokio_tungstenite::accept_async;

    use super::*;

    #[tokio::test]
    async fn what_was_said_is_heard_though_nothing_can_be_answered() {
        let (client, daemon) = UnixStream::pair().unwrap();
        let serving = async {
            let mut socket = accept_async(daemon).await.unwrap();
            let output = |bytes: &'static [u8]| Message::binary(ServerFrame::Stdout(bytes.into()).encode());
            for message in [output(b"a"), Message::Ping("?".into()), output(b"b")] {
                socket.send(message).await.unwrap();
            }
            // Gone before anything of it is read.
            drop(socket);
        };
        let path = ApiPath::v1(&["x"]);
        let (session, ()) = tokio::join!(Session::open(Box::new(client), &path, HeaderMap::new()), serving);
        let mut receiver = session.unwrap().receiver;
        for expected in ["a", "b"] {
            let frame = receiver.next().await.unwrap().unwrap();
            assert_eq!(frame, ServerFrame::Stdout(expected.into()));
        }
        assert!(!matches!(receiver.next().await, Some(Ok(_))));
    }
}
