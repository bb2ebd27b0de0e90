//! The same by TLS, with HTTP/2 and HTTP/1 chosen by ALPN.

use std::sync::Arc;

use hearth_gateway::{Body, GatewayListener};
use http::Request;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, ServerName},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    instance::{self, FakeInstance},
    world::{World, route},
};

fn configs(protocol: &str) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let server = server
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let mut server = server.with_single_cert(vec![certificate.clone()], key).unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider);
    let client = client.with_safe_default_protocol_versions().unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    (Arc::new(server), Arc::new(client))
}

async fn connect(at: std::net::SocketAddr, config: Arc<ClientConfig>) -> TokioIo<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(at).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TokioIo::new(TlsConnector::from(config).connect(name, stream).await.unwrap())
}

#[tokio::test]
async fn both_protocols_are_spoken_and_the_function_told_of_tls() {
    let route = route("f");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |request: Request<hyper::body::Incoming>| {
        let proto = request.headers()["x-forwarded-proto"].to_str().unwrap().to_owned();
        let host = request.headers()["host"].to_str().unwrap();
        instance::text(format!("{proto} {host}"))
    })
    .await;
    world.register(function, 1, instance.address).await;
    for protocol in ["h2", "http/1.1"] {
        let (server, client) = configs(protocol);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let listeners = vec![GatewayListener {
            listener,
            tls: Some(server),
        }];
        let (gateway, shutdown) = (Arc::clone(&world.gateway), world.shutdown.clone());
        tokio::spawn(async move { gateway.serve(listeners, shutdown).await });
        let io = connect(at, client).await;
        let request = Request::get("https://f.acme.fn.localhost/").header("host", "f.acme.fn.localhost");
        let request = request.body(Body::empty()).unwrap();
        let response = if protocol == "h2" {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        assert_eq!(response.status(), 200);
        assert_eq!(crate::client::text(response).await, "https f.acme.fn.localhost");
    }
}
