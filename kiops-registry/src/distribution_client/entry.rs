//! How the crate is let in: what it has to show is found out and fetched by us, and put into its store of tokens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use kiops_core::http::{HttpClient, HttpService, Timer};
use kiops_core::image::RegistryCredential;
use kiops_core::name::ImageName;
use kiops_core::{Error, ErrorKind, Result};
use oci_distribution::client::{ClientConfig, ClientProtocol};
use oci_distribution::errors::OciDistributionError;
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::token_cache::{RegistryToken, RegistryTokenType};
use oci_distribution::{Client, Reference, RegistryOperation};
use serde::Deserialize;
use url::Url;

use super::fault;
use crate::oci::OciConfig;
use crate::oci::token::Scope;
use crate::oci::wire::{Wire, repository};

/// One registry and one account, and the crate's clients for them.
pub(super) struct Entry {
    wire: Wire,
    base: Url,
    place: String,
    /// Whether the registry was asked how it lets callers in.
    is_known: AtomicBool,
    /// For a registry that wants nothing to be shown, and for one that does: the crate keeps for its life what it was given first.
    clients: Mutex<[Option<Client>; 2]>,
}

/// What is given to the crate as an account where tokens are put into its store: never a way to get tokens by itself.
const PLACEHOLDER: &str = "none";

impl Entry {
    pub(super) fn new(
        config: &OciConfig,
        login: Option<RegistryCredential>,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
    ) -> Result<Self> {
        let base = config.base()?;
        let egress = config.egress()?;
        egress.check(base.as_str())?;
        let client = HttpClient::new(service, egress, timer).with_limits(config.limits());
        let wire = Wire::new(client, base.clone(), config.token_places()?, login);
        let host = base.host_str().unwrap_or_default();
        let place = base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Self { wire, base, place, is_known: AtomicBool::new(false), clients: Mutex::default() })
    }

    /// The host and port that the crate is to call.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) const fn login(&self) -> Option<&RegistryCredential> {
        self.wire.login()
    }

    /// Asks the registry how it lets callers in.
    pub(super) async fn greet(&self) -> Result<()> {
        self.wire.greet().await?;
        self.is_known.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A client that shows what the registry wants to see of this scope, and what that is.
    pub(super) async fn client(
        &self,
        image: &ImageName,
        scope: &Scope,
        access: RegistryOperation,
    ) -> Result<(Client, Option<HeaderValue>)> {
        if !self.is_known.load(Ordering::Relaxed) {
            self.greet().await?;
        }
        let shown = self.wire.authorization(scope).await?;
        let client = self.kept(shown.is_some())?;
        let Some(shown) = shown else {
            client.store_auth_if_needed(&self.place, &RegistryAuth::Anonymous).await;
            return Ok((client, None));
        };
        client.store_auth_if_needed(&self.place, &RegistryAuth::Bearer(PLACEHOLDER.into())).await;
        let bearer = shown.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
        let token = match (bearer, self.login()) {
            (Some(token), _) => {
                if !is_kept(token, SystemTime::now()) {
                    return Err(Error::unsupported(
                        "get registry token",
                        "the crate oci-client keeps no token like the registry's, or takes it for over",
                    )
                    .with_remedy("set this machine's clock, or use `Oci` for this registry"));
                }
                RegistryTokenType::Bearer(RegistryToken::Token { token: token.to_owned() })
            }
            (None, Some(login)) => {
                let password = login.password.expose_str().ok_or_else(|| {
                    Error::unsupported(
                        "log in to registry",
                        "the crate oci-client takes passwords of text only",
                    )
                    .with_remedy(fault::USE_OCI)
                })?;
                RegistryTokenType::Basic(login.username.clone(), password.to_owned())
            }
            (None, None) => return Ok((client, None)),
        };
        let reference =
            Reference::with_tag(self.place.clone(), repository(image).into(), "latest".to_owned());
        client.tokens.insert(&reference, access, token).await;
        Ok((client, Some(shown)))
    }

    /// Waits before a call is made again.
    pub(super) async fn pause(&self, time: Duration) {
        self.wire.client().timer().sleep(time).await;
    }

    /// What was shown is not wanted any longer.
    pub(super) async fn refused(&self, scope: &Scope, shown: Option<&HeaderValue>) {
        self.is_known.store(false, Ordering::Relaxed);
        if let Some(shown) = shown {
            self.wire.forget(scope, shown).await;
        }
    }

    /// The error that the crate's is.
    pub(super) fn error(&self, operation: &'static str, fault: OciDistributionError) -> Error {
        let (error, status) = fault::told(operation, fault, self.login(), self.wire.client().now());
        // What the crate cannot do has its own remedy.
        if error.remedy().is_some() || error.kind() == ErrorKind::Unsupported {
            return error;
        }
        self.wire.advised(error, status)
    }

    fn kept(&self, shows: bool) -> Result<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut clients[usize::from(shows)];
        if let Some(client) = place {
            return Ok(client.clone());
        }
        let protocol =
            if self.base.scheme() == "http" { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig {
            protocol,
            connect_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(Duration::from_secs(60)),
            // The only way to say that there is no proxy: else it takes the environment's, which would see a registry in clear.
            http_proxy: Some("http://127.0.0.1:9".into()),
            no_proxy: Some("*,0.0.0.0/0,::/0".into()),
            user_agent: concat!("kiops/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| {
            Error::invalid("set up registry client", "the crate oci-client has no TLS to work with")
                .with_source(error)
        })?;
        Ok(place.insert(client).clone())
    }
}

/// Whether the crate keeps a token that it is given: one of three parts it takes for a JWT and leaves out where it cannot read it, and asks for
/// another one where its time is over.
fn is_kept(token: &str, now: SystemTime) -> bool {
    #[derive(Deserialize)]
    struct Claims {
        exp: Option<u64>,
    }
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return true;
    };
    let claims = URL_SAFE_NO_PAD.decode(payload).ok();
    let claims = claims.and_then(|claims| serde_json::from_slice::<Claims>(&claims).ok());
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    claims.is_some_and(|claims| claims.exp.is_none_or(|exp| exp > now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_the_crate_would_leave_out_is_known_beforehand() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let jwt = |claims: &str| format!("e30.{}.s", URL_SAFE_NO_PAD.encode(claims));
        for kept in ["opaque".to_owned(), "a.b.c.d".into(), jwt("{}"), jwt(r#"{"exp":1001,"sub":"x"}"#)] {
            assert!(is_kept(&kept, now), "{kept}");
        }
        for left_out in
            ["a.b!.c".to_owned(), "..".into(), jwt("7"), jwt(r#"{"exp":"9"}"#), jwt(r#"{"exp":1000}"#)]
        {
            assert!(!is_kept(&left_out, now), "{left_out}");
        }
    }
}
