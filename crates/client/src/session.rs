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

use crate::{ApiPath, ClientError, Transport, refusal};

/// Bytes of a message beside its payload.
const FRAME_OVERHEAD: usize = 1024;

/// The part that sends.
pub struct SessionSender(SplitSink<WebSocketStream<Box<dyn Transport>>, Message>);

/// The part that receives.
pub struct SessionReceiver(SplitStream<WebSocketStream<Box<dyn Transport>>>);

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
        match client_async_with_config(request, io, Some(config)).await {
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
