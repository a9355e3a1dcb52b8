//! Serving the router: connections with limits, health checks.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kiops_core::Result;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::App;
use super::answer::Refusal;

/// What requests may cost, so that slow ones stand in nobody's way.
#[derive(Debug, Clone)]
pub struct RequestLimits {
    /// How many connections are served at a time; more wait to be accepted. 1024 by default.
    pub connections: usize,
    /// How long a request's head may take to come in, and a connection may be idle. 10 s by default.
    pub head: Duration,
    /// How long a body may take to come in. 30 s by default: senders of deliveries give up after 10 s themselves.
    pub body: Duration,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { connections: 1024, head: Duration::from_secs(10), body: Duration::from_secs(30) }
    }
}

/// Serves `router` until `shutdown` resolves; then no connection is accepted any more, and open ones get `grace` to end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &RequestLimits,
    shutdown: impl Future<Output = ()>,
    grace: Duration,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    tokio::pin!(shutdown);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(std::io::Error::other)?;
            listener.accept().await.map(|(stream, peer)| (place, stream, peer))
        };
        let (place, stream, peer) = tokio::select! {
            accepted = next => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, usually: others end and it goes on.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        let router = router.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer));
            router.clone().oneshot(request)
        });
        let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).http1_only();
        builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head).max_headers(100);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke off");
            }
            drop(place);
        });
    }
    let _ = tokio::time::timeout(grace, graceful.shutdown()).await;
}

/// The process lives.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The process can do its work: the store takes a write and gives it back.
pub(super) async fn readyz(State(app): State<App>) -> Result<&'static str, Refusal> {
    app.driver.store().check().await?;
    Ok("ok\n")
}
