//! A guest that lies, floods, hangs or drips must cost the host nothing but an error.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hearth_guest_api::client::{ExecRequest, GuestError};
use hearth_guest_api::connect::encode_message;
use hearth_guest_api::guest::{InitRequest, ShutdownRequest};
use hearth_guest_api::{GuestClient, GuestTokens};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/connect+proto\r\n\r\n";
const UNARY_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\n\r\n";

/// A server that reads one request's head and then does as the test says, connection after connection.
#[expect(clippy::unwrap_used, reason = "a test's helper")]
async fn guest<F, W>(act: F) -> (GuestClient, tokio::task::JoinHandle<()>)
where
    F: Fn(TcpStream) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            act(stream).await;
        }
    });
    (client(addr), serving)
}

fn client(addr: SocketAddr) -> GuestClient {
    GuestClient::new(
        addr,
        GuestTokens {
            host: "h".into(),
            access: "a".into(),
        },
    )
}

async fn answer(mut stream: TcpStream, head: &str, body: &[u8]) {
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body).await;
}

#[tokio::test]
async fn a_frame_of_4_gib_is_refused_by_its_header() {
    let (client, serving) = guest(|stream| answer(stream, STREAM_HEAD, &[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3])).await;
    let mut records = client.follow(0).await.unwrap();
    assert!(matches!(records.next().await, Some(Err(GuestError::Frame { .. }))));
    assert!(records.next().await.is_none());
    serving.abort();
}

#[tokio::test]
async fn garbage_frames_and_garbage_messages() {
    let bodies: [Vec<u8>; 4] = [
        vec![0x55; 64],
        [&[1, 0, 0, 0, 1][..], b"x"].concat(),
        encode_message(&[0xff; 40]).to_vec(),
        vec![2, 0, 0, 0, 3, b'{', b'[', b'x'],
    ];
    for body in bodies {
        let (client, serving) = guest(move |stream| {
            let body = body.clone();
            async move { answer(stream, STREAM_HEAD, &body).await }
        })
        .await;
        let mut records = client.follow(0).await.unwrap();
        assert!(matches!(records.next().await, Some(Err(_))));
        serving.abort();
    }
}

#[tokio::test]
async fn a_stream_without_an_end_is_an_error() {
    let (client, serving) = guest(|stream| answer(stream, STREAM_HEAD, b"")).await;
    let mut records = client.follow(0).await.unwrap();
    assert!(matches!(records.next().await, Some(Err(GuestError::Protocol { .. }))));
    serving.abort();
}

#[tokio::test]
async fn endless_headers_are_cut() {
    let (client, serving) = guest(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream
            .write_all(b"x-more: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy")
            .await
            .is_ok()
        {}
    })
    .await;
    let error = client.metrics().await.unwrap_err();
    assert!(matches!(error, GuestError::Transport { .. }), "{error:?}");
    serving.abort();
}

#[tokio::test]
async fn an_endless_unary_body_is_cut() {
    let (client, serving) = guest(|mut stream| async move {
        let _ = stream.write_all(UNARY_HEAD.as_bytes()).await;
        while stream.write_all(&[0; 8 * 1024]).await.is_ok() {}
    })
    .await;
    let error = client.metrics().await.unwrap_err();
    assert!(matches!(error, GuestError::Protocol { .. }), "{error:?}");
    assert!(error.to_string().contains("262144 bytes"), "{error}");
    serving.abort();
}

#[tokio::test]
async fn an_endless_error_body_is_cut() {
    let (client, serving) = guest(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 500 Oops\r\n\r\n").await;
        while stream.write_all(&[b'e'; 8 * 1024]).await.is_ok() {}
    })
    .await;
    assert!(client.metrics().await.is_err());
    serving.abort();
}

#[tokio::test]
async fn the_wrong_content_type_is_refused() {
    let (client, serving) = guest(|stream| {
        answer(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\n",
            b"hi",
        )
    })
    .await;
    let error = client.metrics().await.unwrap_err();
    assert!(matches!(error, GuestError::Protocol { .. }), "{error:?}");
    serving.abort();
}

#[tokio::test]
async fn not_http_at_all() {
    let (client, serving) = guest(|stream| answer(stream, "SSH-2.0-OpenSSH\r\n", b"")).await;
    assert!(client.metrics().await.is_err());
    assert!(
        client
            .exec(ExecRequest {
                cmd: "true".into(),
                ..Default::default()
            })
            .await
            .is_err()
    );
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn silence_and_dripping_end_by_deadline() {
    let (silent, serving) = guest(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let error = silent.metrics().await.unwrap_err();
    assert!(matches!(error, GuestError::Timeout { .. }), "{error:?}");
    serving.abort();

    let (dripping, serving) = guest(|mut stream| async move {
        let _ = stream.write_all(UNARY_HEAD.as_bytes()).await;
        while stream.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .await;
    let error = dripping.init(InitRequest::default()).await.unwrap_err();
    assert!(matches!(error, GuestError::Timeout { .. }), "{error:?}");
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_drips_less_than_a_frame_ends_by_the_idle_limit() {
    let (client, serving) = guest(|mut stream| async move {
        let _ = stream.write_all(STREAM_HEAD.as_bytes()).await;
        let _ = stream.write_all(&[0, 0, 1, 0, 0]).await;
        while stream.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let mut records = client.follow(0).await.unwrap();
    let error = records.next().await.unwrap().unwrap_err();
    assert!(matches!(error, GuestError::Timeout { .. }), "{error:?}");
    serving.abort();
}

#[tokio::test]
async fn an_exec_whose_first_event_is_no_start_is_refused() {
    let (client, serving) = guest(|stream| answer(stream, STREAM_HEAD, &[2, 0, 0, 0, 2, b'{', b'}'])).await;
    let error = client
        .exec(ExecRequest {
            cmd: "true".into(),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert!(matches!(error, GuestError::Protocol { .. }), "{error:?}");
    serving.abort();
}

#[tokio::test]
async fn waiting_for_nobody_ends_at_the_deadline() {
    // Bound and dropped: refused at once, every time.
    let addr = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let started = Instant::now();
    let error = client(addr)
        .wait_ready(started + Duration::from_millis(200))
        .await
        .unwrap_err();
    assert!(
        matches!(error, GuestError::NotReady { .. }) && error.is_unreachable(),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_guest_that_appears_is_seen_at_once() {
    let addr = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let waiting = tokio::spawn(async move {
        client(addr)
            .wait_ready(Instant::now() + Duration::from_secs(5))
            .await
            .map(|()| Instant::now())
    });
    tokio::time::sleep(Duration::from_millis(60)).await;
    let listener = TcpListener::bind(addr).await.unwrap();
    let listening = Instant::now();
    let (stream, _) = listener.accept().await.unwrap();
    answer(stream, "HTTP/1.1 204 No Content\r\n\r\n", b"").await;
    let seen = waiting.await.unwrap().unwrap();
    // The step is 10 ms; the rest is for a busy machine.
    assert!(seen - listening < Duration::from_millis(500), "{:?}", seen - listening);
}

#[tokio::test]
async fn a_dead_pooled_connection_is_replaced() {
    let reply = "HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-length: 0\r\n\r\n";
    let (client, serving) = guest(move |stream| answer(stream, reply, b"")).await;
    for _ in 0..3 {
        // Each answer is whole, and then the connection is closed under the pool's feet.
        client.shutdown(ShutdownRequest::default()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    serving.abort();
}
