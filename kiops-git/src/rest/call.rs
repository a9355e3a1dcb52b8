//! One call.

use http::{HeaderValue, Method, Request, header};
use kiops_core::event::Repository;
use kiops_core::http::{Body, HttpClient, Idempotent};
use kiops_core::provider::Token;
use kiops_core::secret::Secret;
use kiops_core::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::multipart::Multipart;
use super::{Answer, Rest};

/// How many bytes of an error are read.
const ERROR_MAX: u64 = 64 * 1024;

/// A call to a host's interface that is being put together.
pub(crate) struct Call<'a> {
    rest: &'a Rest,
    operation: &'static str,
    method: Method,
    url: String,
    about: Option<&'a Repository>,
    body: Option<(HeaderValue, Vec<u8>)>,
    accept: Option<&'static str>,
    at_most: Option<u64>,
    is_idempotent: bool,
    /// Another token than ours; `Some(None)`: none.
    instead: Option<Option<Token>>,
}

impl<'a> Call<'a> {
    pub(super) const fn new(rest: &'a Rest, operation: &'static str, method: Method, url: String) -> Self {
        Self {
            rest,
            operation,
            method,
            url,
            about: None,
            body: None,
            accept: None,
            at_most: None,
            is_idempotent: false,
            instead: None,
        }
    }

    /// The same call about this repository: it chooses the token.
    pub(crate) const fn about(mut self, repository: &'a Repository) -> Self {
        self.about = Some(repository);
        self
    }

    /// The same call with one more parameter.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.url.push(if self.url.contains('?') { '&' } else { '?' });
        let pair = url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
        // A form's `+` is a space; in an address `%20` means it to everybody.
        self.url.push_str(&pair.replace('+', "%20"));
        self
    }

    /// The same call with a JSON body.
    pub(crate) fn json(self, body: &impl Serialize) -> Result<Self> {
        let operation = self.operation;
        let bytes = serde_json::to_vec(body).map_err(|error| {
            Error::internal(operation, "the request cannot be written").with_source(error)
        })?;
        Ok(self.body("application/json", bytes))
    }

    /// The same call with a body of another kind.
    pub(crate) fn body(mut self, content_type: &'static str, bytes: Vec<u8>) -> Self {
        self.body = Some((HeaderValue::from_static(content_type), bytes));
        self
    }

    /// The same call with a form's parts as its body.
    pub(crate) fn multipart(mut self, form: &Multipart) -> Result<Self> {
        let (content_type, bytes) = form.encoded();
        let content_type = HeaderValue::from_str(&content_type)
            .map_err(|error| Error::internal(self.operation, error.to_string()))?;
        self.body = Some((content_type, bytes));
        Ok(self)
    }

    /// The same call for what is below its path, as some hosts want it said: with a slash at the end. Before any parameter.
    pub(crate) fn folder(mut self) -> Self {
        self.url.push('/');
        self
    }

    /// The same call, asking for another kind of answer.
    pub(crate) const fn accept(mut self, accept: &'static str) -> Self {
        self.accept = Some(accept);
        self
    }

    /// The same call, whose answer may have this many bytes.
    pub(crate) const fn at_most(mut self, bytes: u64) -> Self {
        self.at_most = Some(bytes);
        self
    }

    /// The same call with this token instead of ours, or with none.
    pub(crate) fn instead(mut self, token: Option<&Secret>) -> Self {
        self.instead = Some(token.map(|secret| Token { secret: secret.clone(), expires_at: None }));
        self
    }

    /// The same call, which does no harm when it is sent twice.
    pub(crate) const fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }

    /// What the host says, whatever its status. A token that is refused and can be replaced is replaced once.
    pub(crate) async fn send(self) -> Result<Answer> {
        let token = self.token().await?;
        let answer = self.sent(token.as_ref()).await?;
        if self.is_replaced(answer.status, token.as_ref()).await {
            let token = self.token().await?;
            return self.sent(token.as_ref()).await;
        }
        Ok(answer)
    }

    /// A good answer, or an error that says what to do.
    pub(crate) async fn good(self) -> Result<Answer> {
        self.send().await?.good()
    }

    /// What a good answer holds.
    pub(crate) async fn read<T: DeserializeOwned>(self) -> Result<T> {
        self.good().await?.read()
    }

    /// The same; `None` where the host knows of no such thing.
    pub(crate) async fn find<T: DeserializeOwned>(self) -> Result<Option<T>> {
        let answer = self.send().await?;
        if answer.status == 404 { Ok(None) } else { answer.good()?.read().map(Some) }
    }

    /// A good answer's body, where it has at most `cap` bytes (more is `TooLarge`); `None` where the host knows of no such thing.
    pub(crate) async fn bytes(self, cap: usize) -> Result<Option<bytes::Bytes>> {
        let deadline = self.rest.client().limits().deadline;
        // What the host says where there is no such thing may be longer than that.
        match self.stream((cap as u64).max(ERROR_MAX), deadline).await {
            Ok(body) => body.collect(cap).await.map(Some),
            Err(error) if error.kind() == kiops_core::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A good answer's body, still to be read: at most `bytes` of it.
    pub(crate) async fn stream(self, bytes: u64, deadline: std::time::Duration) -> Result<Body> {
        let client = self.rest.for_archives(bytes, deadline);
        let mut token = self.token().await?;
        let mut response = client.call(self.request(token.as_ref())?).await?;
        if self.is_replaced(response.status().as_u16(), token.as_ref()).await {
            token = self.token().await?;
            response = client.call(self.request(token.as_ref())?).await?;
        }
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let (parts, body) = response.into_parts();
        let body = body.collect(ERROR_MAX as usize).await.unwrap_or_default();
        Err(self.answer(http::Response::from_parts(parts, body), token.as_ref(), &client).error())
    }

    async fn token(&self) -> Result<Option<Token>> {
        match &self.instead {
            Some(token) => Ok(token.clone()),
            None => self.rest.token(self.about).await,
        }
    }

    /// Whether the host has refused our token, and another one may be had.
    async fn is_replaced(&self, status: u16, token: Option<&Token>) -> bool {
        match token {
            Some(token) if status == 401 && self.instead.is_none() => self.rest.tokens.refused(token).await,
            _ => false,
        }
    }

    async fn sent(&self, token: Option<&Token>) -> Result<Answer> {
        let client = match self.at_most {
            Some(bytes) => &self.rest.for_archives(bytes, self.rest.client().limits().deadline),
            None => self.rest.client(),
        };
        let response = client.fetch(self.request(token)?).await?;
        Ok(self.answer(response, token, client))
    }

    fn answer(
        &self,
        response: http::Response<bytes::Bytes>,
        token: Option<&Token>,
        client: &HttpClient,
    ) -> Answer {
        let (parts, body) = response.into_parts();
        Answer {
            operation: self.operation,
            dialect: self.rest.dialect,
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            now: client.now(),
            token: token.map(|token| token.secret.clone()),
            hidden: None,
        }
    }

    fn request(&self, token: Option<&Token>) -> Result<Request<Body>> {
        let dialect = self.rest.dialect;
        let mut request = Request::builder().method(self.method.clone()).uri(&self.url);
        request = request.header(header::ACCEPT, self.accept.unwrap_or(dialect.accept));
        for (name, value) in dialect.headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, self.rest.authorization(token)?);
        }
        let body = match &self.body {
            Some((content_type, bytes)) => {
                request = request.header(header::CONTENT_TYPE, content_type.clone());
                Body::from(bytes::Bytes::from(bytes.clone()))
            }
            None => Body::empty(),
        };
        let request = if self.is_idempotent { request.extension(Idempotent) } else { request };
        request.body(body).map_err(|error| Error::invalid(self.operation, error.to_string()))
    }
}
