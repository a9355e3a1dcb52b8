//! OAuth as a platform meets it: browsers that are not the one that began, replicas that refresh at once, stores and hosts that fail.

mod connection;
mod crash;
mod flow;
mod host;
mod replicas;
mod store;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kiops_core::Result;
use kiops_core::http::{Egress, HttpClient, TestTimer, Timer};
use kiops_core::name::{ConnectionId, SecretName};
use kiops_core::provider::{Token, TokenSource as _, TokenStore};
use kiops_core::secret::{Secret, SecretSource};
use kiops_git::oauth::{Authorization, Callback, Connected, OAuth, OAuthConfig, OAuthConnection, OAuthHost};
use url::Url;

use self::host::{CLIENT, Host, SECRET};

#[derive(Debug)]
struct Secrets;

#[async_trait]
impl SecretSource for Secrets {
    async fn secret(&self, name: &SecretName) -> Result<Option<Secret>> {
        Ok((name.as_str() == "oauth/secret").then(|| Secret::new(SECRET).unwrap()))
    }
}

fn id() -> ConnectionId {
    ConnectionId::parse("git-abc123").unwrap()
}

fn start() -> Timestamp {
    Timestamp::from_second(1_900_000_000).unwrap()
}

fn timer() -> Arc<dyn Timer> {
    Arc::new(TestTimer::at(start()))
}

fn config(host: OAuthHost) -> OAuthConfig {
    let redirect = Url::parse("https://kiops.example.com/oauth/callback").unwrap();
    OAuthConfig::new(host, CLIENT, SecretName::parse("oauth/secret").unwrap(), redirect)
}

/// One replica.
fn replica_of(
    config: OAuthConfig,
    host: &Host,
    store: &Arc<dyn TokenStore>,
    timer: &Arc<dyn Timer>,
) -> OAuth {
    let host = Arc::new(host.at(Arc::clone(timer)));
    let http = HttpClient::new(host, Egress::new([config.egress().unwrap()]), Arc::clone(timer));
    OAuth::new(config, Arc::new(Secrets), Arc::clone(store), &http).unwrap()
}

fn replica(host: &Host, store: &Arc<dyn TokenStore>, timer: &Arc<dyn Timer>) -> OAuth {
    replica_of(config(OAuthHost::GitLab), host, store, timer)
}

/// The `Cookie` header of the browser that was sent away.
fn cookies(begun: &Authorization) -> String {
    begun.cookie.split(';').next().unwrap().to_owned()
}

async fn complete(oauth: &OAuth, query: &str, cookies: &str) -> Result<Connected> {
    oauth.complete(&Callback { query, cookies, session: "ann" }).await
}

/// Goes the whole way, and somebody says yes.
async fn connect(oauth: &OAuth, host: &Host) -> OAuthConnection {
    let begun = oauth.authorize(&id(), "ann").await.unwrap();
    let done = complete(oauth, &host.agrees(&begun.url), &cookies(&begun)).await.unwrap();
    assert_eq!((done.connection, done.scopes.join(" ")), (id(), "api read_repository".to_owned()));
    oauth.connection(&id())
}

async fn token(connection: &OAuthConnection) -> Token {
    connection.token(None).await.unwrap().unwrap()
}

/// What a provider does with a call: once more, where the host refused its token and another may be had.
async fn call(connection: &OAuthConnection, host: &Host) -> Result<bool> {
    for _ in 0..2 {
        let token = connection.token(None).await?.unwrap();
        if host.lets_in(token.secret.expose()) {
            return Ok(true);
        }
        if !connection.refused(&token).await {
            break;
        }
    }
    Ok(false)
}
