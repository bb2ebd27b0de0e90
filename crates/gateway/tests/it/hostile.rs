//! Clients that mean harm: whatever they send, an instance gets nothing or exactly one request of it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    instance::{self, FakeInstance},
    world::{LONG, World, route},
};

/// How long a connection is listened to that has nothing more to say.
const SILENCE: Duration = Duration::from_millis(300);

/// A request that hides another one, what of it the instance may get, and the status that the client sees first.
struct Smuggled {
    what: &'static str,
    request: &'static str,
    reaches: &'static [&'static str],
    status: u16,
}

const SMUGGLED: &[Smuggled] = &[
    Smuggled {
        what: "two lengths that differ",
        request: "POST / HTTP/1.1\r\nHost: h.acme.fn.localhost\r\nContent-Length: 5\r\nContent-Length: 40\r\n\r\nhelloGET /hidden HTTP/1.1\r\nHost: h.acme.fn.localhost\r\n\r\n",
        reaches: &[],
        status: 400,
    },
    Smuggled {
        what: "a length with a sign",
        request: "POST / HTTP/1.1\r\nHost: h.acme.fn.localhost\r\nContent-Length: +5\r\n\r\nhello",
        reaches: &[],
        status: 400,
    },
    Smuggled {
        what: "lengths in a list that differ",
        request: "POST / HTTP/1.1\r\nHost: h.acme.fn.localhost\r\nContent-Length: 5, 6\r\n\r\nhello",
        reaches: &[],
        status: 400,
    },
    Smuggled {
        what: "an encoding that is almost chunked",
        request: "POST / HTTP/1.1\r\nHost: h.acme.fn.localhost\r\nTransfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        reaches: &[],
        status: 400,
    },
    Smuggled {
        what: "chunked, but not last",
        request: "POST / HTTP/1.1\r\nHost: h.acme.fn.localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        reaches: &[],
        status: 400,
    },
    Smuggled {
        what: "a folded header",
        request: "GET / HTTP/1.1\r\nHost: h.acme.fn.localhost\r\nX-A: 1\r\n folded\r\n\r\n",
        reaches: &[],
        status: 400,
    },
    Smuggled {
        what: "a space before the colon",
        request: "POST / HTTP/1.1\r\nHost: h.acme.fn.localhost\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        reaches: &[],
        status: 400,
    },
    Smuggled {
        what: "a null in a header",
        request: "GET / HTTP/1.1\r\nHost: h.acme.fn.localhost\r\nX-A: a\0b\r\n\r\n",
        reaches: &[],
        status: 400,
    },
    Smuggled {
        what: "a lone carriage return in a header",
        request: "GET / HTTP/1.1\r\nHost: h.acme.fn.localhost\r\nX-A: a\rX-B: b\r\n\r\n",
        reaches: &[],
        status: 400,
    },
    Smuggled {
        what: "two hosts",
        request: "GET / HTTP/1.1\r\nHost: h.acme.fn.localhost\r\nHost: other\r\n\r\n",
        reaches: &[],
        status: 400,
    },
    Smuggled {
        what: "no host",
        request: "GET /fn/acme/h HTTP/1.1\r\n\r\n",
        reaches: &[],
        status: 400,
    },
    Smuggled {
        what: "a transfer encoding in HTTP/1.0",
        request: "POST / HTTP/1.0\r\nHost: h.acme.fn.localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        reaches: &[],
        status: 400,
    },
    Smuggled {
        what: "length and encoding: the encoding holds (RFC 9112, 6.3), and the length goes no further",
        request: "POST /one HTTP/1.1\r\nHost: h.acme.fn.localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        reaches: &["POST /one None hello"],
        status: 200,
    },
    Smuggled {
        what: "encoding and length, in the other order",
        request: "POST /one HTTP/1.1\r\nHost: h.acme.fn.localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        reaches: &["POST /one None hello"],
        status: 200,
    },
    Smuggled {
        what: "the length named as a header of the connection",
        request: "POST /one HTTP/1.1\r\nHost: h.acme.fn.localhost\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\nhello",
        reaches: &["POST /one Some(\"5\") hello"],
        status: 200,
    },
];

#[tokio::test]
async fn no_request_hides_in_another() {
    let route = route("h");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let instance = FakeInstance::serve(move |request| {
        let seen = seen.clone();
        async move {
            let (parts, body): (http::request::Parts, hyper::body::Incoming) = request.into_parts();
            let length = parts.headers.get("content-length").cloned();
            let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
            let body = String::from_utf8_lossy(&body);
            seen.send(format!("{} {} {length:?} {body}", parts.method, parts.uri))
                .unwrap();
            instance::text("ok")
        }
    })
    .await;
    world.register(function, 1, instance.address).await;
    assert_eq!(world.client().get("/fn/acme/h").await.0, 200);
    requests.recv().await.unwrap();
    for case in SMUGGLED {
        let answer = world.client().raw(case.request.as_bytes(), SILENCE).await;
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0u16);
        assert_eq!(status, case.status, "{}: {answer}", case.what);
        let mut reached = Vec::new();
        while let Ok(request) = requests.try_recv() {
            reached.push(request);
        }
        assert_eq!(reached, case.reaches, "{}", case.what);
    }
}

#[tokio::test]
async fn a_bad_chunk_ends_the_request_and_the_connection() {
    let route = route("h");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |request: http::Request<hyper::body::Incoming>| {
        let body = http_body_util::BodyExt::collect(request.into_body()).await;
        instance::text(if body.is_ok() { "whole" } else { "broken" })
    })
    .await;
    world.register(function, 1, instance.address).await;
    for chunks in [
        "zz\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nx",
        "5\r\nhelloGET /hidden",
    ] {
        let head = "POST / HTTP/1.1\r\nHost: h.acme.fn.localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = world.client().raw(format!("{head}{chunks}").as_bytes(), SILENCE).await;
        assert!(!answer.contains("whole"), "{chunks:?}: {answer}");
        assert!(answer.matches("HTTP/1.1").count() <= 1, "{chunks:?}: {answer}");
    }
    assert_eq!(world.client().get("/fn/acme/h").await, (200, "whole".to_owned()));
}

/// RFC 9112, 6.3, lets a server refuse such a request or go by its encoding; then it must close the connection. The HTTP
/// library takes the length away before anybody sees it, so the second is done: nothing that follows is ever read.
#[tokio::test]
async fn length_and_encoding_together_end_the_connection() {
    let route = route("h");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |request: http::Request<hyper::body::Incoming>| {
        let body = http_body_util::BodyExt::collect(request.into_body()).await;
        instance::text(if body.is_ok() { "whole" } else { "broken" })
    })
    .await;
    world.register(function, 1, instance.address).await;
    let fields = ["Content-Length: 4", "Transfer-Encoding: chunked"];
    for (number, [first, second]) in [fields, [fields[1], fields[0]]].into_iter().enumerate() {
        let body = "5\r\nhello\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: h.acme.fn.localhost\r\n\r\n";
        let request = format!("POST / HTTP/1.1\r\nHost: h.acme.fn.localhost\r\n{first}\r\n{second}\r\n\r\n{body}");
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // What is not read resets the connection in the end.
        let ended = timeout(LONG, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the connection goes on");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.matches("HTTP/1.1").count() <= 1, "{answer}");
        assert_eq!(instance.requests() as usize, number + 1);
    }
}
