//! A cluster that has a fault at every third call: before the call is done, or after it, when nobody hears of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use kiops_kube::{Cluster, ClusterConfig};
use kube::client::{Body, ClientBuilder};
use tower::{BoxError, Layer, Service};

use crate::cluster::TestCluster;

/// The tests' cluster behind such faults.
pub(crate) async fn faulty(cluster: &TestCluster) -> Cluster {
    let kubeconfig = kube::config::Kubeconfig::read_from(&cluster.kubeconfig).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    config.default_retry = false;
    let client = ClientBuilder::try_from(config).unwrap().with_layer(&Faults(Arc::default())).build();
    Cluster::new(ClusterConfig::default(), client)
}

#[derive(Clone)]
struct Faults(Arc<AtomicU64>);

impl<S> Layer<S> for Faults {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty { inner, calls: Arc::clone(&self.0) }
    }
}

#[derive(Clone)]
struct Faulty<S> {
    inner: S,
    calls: Arc<AtomicU64>,
}

impl<S, B> Service<Request<Body>> for Faulty<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        match call % 6 {
            2 => Box::pin(std::future::ready(Err("the connection was cut".into()))),
            5 => {
                let done = self.inner.call(request);
                Box::pin(async move {
                    let mut response = done.await.map_err(Into::into)?;
                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    Ok(response)
                })
            }
            _ => {
                let done = self.inner.call(request);
                Box::pin(async move { done.await.map_err(Into::into) })
            }
        }
    }
}
