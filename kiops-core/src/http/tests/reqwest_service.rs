use std::sync::Arc;
use std::time::Duration;

use ::http::Request;
use bytes::Bytes;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::error::ErrorKind;
use crate::http::{
    Body, Egress, HostRule, HttpClient, HttpService, Limits, ReqwestConfig, ReqwestService, TestTimer,
};

/// A server that answers its connections from a list, and hands over what it was sent.
async fn server(answers: &[&'static str]) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (requests, received) = mpsc::unbounded_channel();
    let answers: Vec<&str> = answers.to_vec();
    tokio::spawn(async move {
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut chunk = [0; 4096];
            while !is_whole(&request) {
                let read = socket.read(&mut chunk).await.unwrap();
                if read == 0 {
                    break;
                }
                request.extend_from_slice(&chunk[..read]);
            }
            drop(requests.send(String::from_utf8_lossy(&request).into_owned()));
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (port, received)
}

/// Whether the request's head and, by its length, its body are there.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    body.len() >= length
}

fn service(egress: &Arc<Egress>) -> Arc<ReqwestService> {
    Arc::new(ReqwestService::new(&ReqwestConfig::default(), Arc::clone(egress)).unwrap())
}

fn client(egress: Egress) -> HttpClient {
    let egress = Arc::new(egress);
    let timer = TestTimer::at(Timestamp::UNIX_EPOCH);
    HttpClient::new(service(&egress), egress, Arc::new(timer))
}

fn local(port: u16) -> Egress {
    Egress::new([HostRule::parse(&format!("http://127.0.0.1:{port}")).unwrap().private()])
}

fn get(url: String) -> Request<Body> {
    Request::get(url).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_request_and_its_response_cross_the_wire() {
    let (port, mut requests) =
        server(&["HTTP/1.1 201 Created\r\ncontent-length: 2\r\nx-a: b\r\nconnection: close\r\n\r\nok"]).await;
    let request =
        Request::put(format!("http://127.0.0.1:{port}/p?q=1")).header("x-in", "1").body("body".into());
    let response = client(local(port)).fetch(request.unwrap()).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-a"], &response.body()[..]),
        (201, &"b".parse().unwrap(), &b"ok"[..])
    );
    let sent = requests.recv().await.unwrap().to_lowercase();
    assert!(sent.starts_with("put /p?q=1 http/1.1\r\n") && sent.ends_with("\r\n\r\nbody"), "{sent}");
    assert!(
        sent.contains("x-in: 1\r\n")
            && sent.contains("content-length: 4\r\n")
            && sent.contains("user-agent: kiops/")
    );
}

#[tokio::test]
async fn a_stream_is_sent_with_its_length_and_again_after_a_failure() {
    let (port, mut requests) = server(&[
        "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after: 0\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 201 Created\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    ])
    .await;
    let body = Body::reopenable(6, || {
        Box::pin(futures_util::stream::iter(["abc", "def"]).map(|s| Ok(Bytes::from(s))))
    });
    let request = Request::put(format!("http://127.0.0.1:{port}/")).body(body).unwrap();
    assert_eq!(client(local(port)).fetch(request).await.unwrap().status().as_u16(), 201);
    for _ in 0..2 {
        let sent = requests.recv().await.unwrap().to_lowercase();
        assert!(sent.contains("content-length: 6\r\n") && !sent.contains("chunked"), "{sent}");
        assert!(sent.ends_with("\r\n\r\nabcdef"), "{sent}");
    }
}

#[tokio::test]
async fn the_service_follows_no_redirect() {
    let (port, _requests) =
        server(&["HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"])
            .await;
    let response =
        service(&Arc::new(local(port))).call(get(format!("http://127.0.0.1:{port}/"))).await.unwrap();
    assert_eq!(response.status().as_u16(), 302);
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_refused_by_the_resolver() {
    let (port, mut requests) = server(&["HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"]).await;
    let rule = HostRule::parse(&format!("http://localhost:{port}")).unwrap();
    let url = format!("http://localhost:{port}/x?token=s3cret");
    // Straight to the service: the resolver is the last line.
    let error = service(&Arc::new(Egress::new([rule.clone()]))).call(get(url.clone())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    assert!(error.to_string().contains("localhost") && !error.to_string().contains("s3cret"), "{error}");
    assert!(requests.try_recv().is_err());
    let allowed = Arc::new(Egress::new([rule.private()]));
    assert_eq!(service(&allowed).call(get(url)).await.unwrap().status().as_u16(), 204);
}

#[tokio::test]
async fn an_unreachable_host_and_a_broken_body_are_passing_errors_without_the_query() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let limits = Limits { tries: 1, ..Limits::default() };
    let client = client(local(port)).with_limits(limits);
    let error = client.fetch(get(format!("http://127.0.0.1:{port}/x?token=s3cret"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let mut chain = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        chain.push_str(&error.to_string());
        source = error.source();
    }
    assert!(chain.contains("refused") && chain.contains("/x") && !chain.contains("s3cret"), "{chain}");

    let (port, _requests) =
        server(&["HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nhalf"]).await;
    let response = service(&Arc::new(local(port)))
        .call(get(format!("http://127.0.0.1:{port}/?token=s3cret")))
        .await
        .unwrap();
    assert_eq!(response.body().length(), Some(10));
    let error = response.into_body().collect(100).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && !error.to_string().contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_server_that_falls_silent_in_its_answer_is_a_timeout() {
    use tokio::io::AsyncWriteExt as _;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // The head may take as long as it likes.
        tokio::time::sleep(Duration::from_millis(300)).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
        stream
    });
    let config = ReqwestConfig { read_timeout: Duration::from_millis(100), ..ReqwestConfig::default() };
    let service = ReqwestService::new(&config, local(port)).unwrap();
    let response = service.call(get(format!("http://127.0.0.1:{port}/"))).await.unwrap();
    let error = response.into_body().collect(100).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    drop(silent);
}

#[test]
fn an_extra_root_must_be_a_certificate() {
    let config = ReqwestConfig { extra_roots_pem: vec![b"no pem".to_vec()], ..ReqwestConfig::default() };
    assert_eq!(ReqwestService::new(&config, Egress::default()).unwrap_err().kind(), ErrorKind::Invalid);
}
