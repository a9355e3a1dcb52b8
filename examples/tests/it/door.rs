//! What answers within a test, on a port of loopback: for programs, which call addresses and no functions.

use axum::extract::Request;
use kiops_core::http::{Body, HttpService as _, ScriptedHttp};

/// The origins that something stands in for, each with the start of the paths that are asked of it; the first that fits counts.
pub(crate) type Origins = &'static [(&'static str, &'static str)];

/// An open door. It closes when dropped.
pub(crate) struct Door {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// It ends with the door.
    _tokio: tokio::runtime::Runtime,
}

impl Door {
    /// Whoever is sent to one of the origins by an answer's header is sent here.
    pub(crate) fn open(http: ScriptedHttp, origins: Origins) -> Self {
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = tokio.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let here = url.clone();
        let answer = move |request: Request| {
            let (http, here) = (http.clone(), here.clone());
            async move {
                let (mut parts, body) = request.into_parts();
                let asked = parts.uri.path_and_query().unwrap().to_string();
                let (_, origin) = origins.iter().find(|(path, _)| asked.starts_with(path)).unwrap();
                parts.uri = format!("{origin}{asked}").parse().unwrap();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let request = http::Request::from_parts(parts, Body::from(body));
                let mut response = http.call(request).await.unwrap();
                for value in response.headers_mut().values_mut() {
                    let mut text = value.to_str().unwrap().to_owned();
                    for (_, origin) in origins {
                        text = text.replace(origin, &here);
                    }
                    *value = text.parse().unwrap();
                }
                let (parts, body) = response.into_parts();
                let body = axum::body::Body::from(body.collect(1 << 20).await.unwrap());
                http::Response::from_parts(parts, body)
            }
        };
        let router = axum::Router::new().fallback(answer);
        tokio.spawn(async move { axum::serve(listener, router).await });
        Self { url, _tokio: tokio }
    }
}
