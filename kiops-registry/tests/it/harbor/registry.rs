//! As a registry: Harbor's interface in front of a real registry, as Harbor itself has one behind it.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Request, Response, Uri, header};
use kiops_core::http::{Body, HttpService, Reply, ReqwestConfig, ReqwestService, ScriptedHttp, SystemTimer};
use kiops_core::image::{Registry as _, RegistryCredential};
use kiops_core::name::{Digest, ImageName, ImageRef};
use kiops_core::secret::Secret;
use kiops_core::testing::conformance::registry::RegistryBench;
use kiops_registry::harbor::{Harbor, HarborConfig};
use kiops_registry::oci::Oci;
use percent_encoding::percent_decode_str;

use super::host::{ADMIN, HOST, Host, PASSWORD, error};
use crate::fixtures::{image, tag};
use crate::oci::daemon::{Auth, Daemon};
use crate::oci::promises;

const PROJECT: &str = "conformance";

/// Harbor's one address: what has a token of its goes on to the registry, and what its interface removes is removed there.
#[derive(Debug)]
struct Front {
    harbor: ScriptedHttp,
    behind: ReqwestService,
    /// `http://127.0.0.1:PORT`.
    registry: String,
    /// What Harbor itself removes with.
    own: Oci,
    host: String,
}

impl Front {
    async fn pass(&self, mut request: Request<Body>) -> kiops_core::Result<Response<Body>> {
        let target = request.uri().path_and_query().unwrap().as_str();
        *request.uri_mut() = format!("{}{target}", self.registry).parse::<Uri>().unwrap();
        request.headers_mut().remove(header::AUTHORIZATION);
        let mut response = self.behind.call(request).await?;
        if let Some(location) = response.headers_mut().get_mut(header::LOCATION) {
            let outside = location.to_str().unwrap().replace(&self.registry, &format!("https://{HOST}"));
            *location = outside.parse().unwrap();
        }
        Ok(response)
    }

    /// By Harbor's description: what is not there is a 404, an artifact takes its tags along, and a tag goes alone.
    async fn remove(&self, path: &[String]) -> kiops_core::Result<Reply> {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let ["projects", project, "repositories", repository, "artifacts", reference, rest @ ..] =
            words.as_slice()
        else {
            return Ok(error(404, "NOT_FOUND", "page not found"));
        };
        let name: ImageName = image(&format!("{}/{project}/{repository}", self.host));
        let named: ImageRef = match Digest::parse(*reference) {
            Ok(digest) => name.at(digest),
            Err(_) => name.tagged(tag(reference)),
        };
        let Some(digest) = self.own.resolve(&named).await? else {
            return Ok(error(404, "NOT_FOUND", "artifact not found"));
        };
        let gone = match rest {
            [] => name.at(digest),
            ["tags", word] => {
                let gone = name.tagged(tag(word));
                if self.own.resolve(&gone).await? != Some(digest) {
                    return Ok(error(404, "NOT_FOUND", "tag not found"));
                }
                gone
            }
            _ => return Ok(error(404, "NOT_FOUND", "page not found")),
        };
        self.own.delete(&gone).await?;
        Ok(Reply::status(200))
    }
}

#[async_trait]
impl HttpService for Front {
    async fn call(&self, request: Request<Body>) -> kiops_core::Result<Response<Body>> {
        assert_eq!(request.uri().host(), Some(HOST));
        let decoded = |part: &str| percent_decode_str(part).decode_utf8().unwrap().into_owned();
        let path = request.uri().path().to_owned();
        let authorization = request.headers().get(header::AUTHORIZATION);
        if path.starts_with("/v2/")
            && authorization.is_some_and(|shown| shown.to_str().unwrap().starts_with("Bearer "))
        {
            return self.pass(request).await;
        }
        if let (&Method::DELETE, Some(path)) = (request.method(), path.strip_prefix("/api/v2.0/")) {
            assert!(authorization.is_some(), "Harbor removes nothing for nobody");
            // A repository's slashes are escaped twice.
            let path: Vec<String> = path.split('/').map(|part| decoded(&decoded(part))).collect();
            let reply = self.remove(&path).await?;
            return ScriptedHttp::replies([reply]).call(request).await;
        }
        self.harbor.call(request).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn harbor_keeps_every_promise_of_a_registry() {
    let host = Host::new();
    host.project(PROJECT);
    let bench = |daemon: &Daemon| {
        let config = daemon.config();
        let front = Front {
            harbor: host.http(),
            behind: ReqwestService::new(&ReqwestConfig::default(), config.egress().unwrap()).unwrap(),
            registry: format!("http://{}", daemon.host()),
            own: daemon.client(None),
            host: daemon.host(),
        };
        let password = Secret::new(PASSWORD).unwrap();
        let login = RegistryCredential { host: HOST.into(), username: ADMIN.into(), password };
        let timer = Arc::new(SystemTimer);
        let harbor = Harbor::new(HarborConfig::new(HOST), Some(login), Arc::new(front), timer).unwrap();
        RegistryBench::new(Arc::new(harbor), |word| image(&format!("{HOST}/{PROJECT}/team/{word}")))
    };
    promises::keeps_every_promise(Auth::Nobody, bench).await;
}
