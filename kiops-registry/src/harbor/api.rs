//! One call to Harbor's interface, and its lists.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header};
use kiops_core::http::{Body, Egress, HostRule, HttpClient, HttpService, Idempotent, Timer};
use kiops_core::image::{Listed, Listing, RegistryCredential};
use kiops_core::secret::Secret;
use kiops_core::{Error, Result};
use percent_encoding::utf8_percent_encode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::sync::Arc;

use super::HarborConfig;
use super::answer::Answer;
use crate::interface::SEGMENT;
use crate::oci::token::basic;

/// What Harbor gives a page at most.
const PAGE_MAX: u64 = 100;

/// Without it Harbor takes a project whose name is a number for a project's id.
const IS_NAME: HeaderName = HeaderName::from_static("x-is-resource-name");

/// Harbor's interface with one account. The account goes along with every call as `Basic`; no cookie is ever kept, so that Harbor asks for
/// no CSRF token.
#[derive(Debug)]
pub(super) struct Api {
    client: HttpClient,
    /// Where it begins, with a slash at the end.
    base: String,
    login: Option<RegistryCredential>,
    max_entries: usize,
}

impl Api {
    pub(super) fn new(
        config: &HarborConfig,
        login: Option<RegistryCredential>,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
    ) -> Result<Self> {
        let base = config.registry.base()?;
        let rule = HostRule::parse(base.as_str())?;
        let rule = if config.registry.private { rule.private() } else { rule };
        // Harbor redirects no call: whoever does is somebody else.
        let mut limits = config.registry.limits();
        limits.redirects = 0;
        let client = HttpClient::new(service, Egress::new([rule]), timer).with_limits(limits);
        Ok(Self { client, base: format!("{base}api/v2.0/"), login, max_entries: config.max_entries })
    }

    pub(super) const fn client(&self) -> &HttpClient {
        &self.client
    }

    pub(super) const fn login(&self) -> Option<&RegistryCredential> {
        self.login.as_ref()
    }

    /// A call to a path, given segment by segment: no value can become another path.
    pub(super) fn call(&self, operation: &'static str, method: Method, path: &[&str]) -> Call<'_> {
        let path: Vec<String> =
            path.iter().map(|part| utf8_percent_encode(part, SEGMENT).to_string()).collect();
        let url = format!("{}{}", self.base, path.join("/"));
        let (body, needs, hidden) = (None, "", None);
        Call { api: self, operation, method, url, body, by_name: false, needs, hidden }
    }

    pub(super) fn get(&self, operation: &'static str, path: &[&str]) -> Call<'_> {
        self.call(operation, Method::GET, path)
    }

    /// One page of a list.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        wanted: &Listing,
    ) -> Result<Listed<T>> {
        let place = Place::of(call.operation, wanted)?;
        let answer = place.asked(call).send().await?.good()?;
        let items: Vec<T> = answer.read::<Option<_>>()?.unwrap_or_default();
        let total = answer.header("x-total-count").and_then(|total| total.parse().ok());
        let next = place.next(items.len(), total);
        Ok(Listed { items, next, total })
    }

    /// Every entry of a list.
    pub(super) async fn every<'a, T: DeserializeOwned>(
        &self,
        what: &str,
        call: impl Fn() -> Call<'a>,
    ) -> Result<Vec<T>> {
        let (mut all, mut before) = (Vec::new(), Bytes::new());
        let mut place = Some(Place::FIRST);
        while let Some(here) = place.take() {
            let answer = here.asked(call()).send().await?.good()?;
            let items: Vec<T> = answer.read::<Option<_>>()?.unwrap_or_default();
            if !items.is_empty() && answer.body == before {
                return Err(answer.broken("Harbor gives the same page again and again"));
            }
            let total = answer.header("x-total-count").and_then(|total| total.parse().ok());
            let more = here.next(items.len(), total).is_some();
            all.extend(items);
            if all.len() > self.max_entries {
                let message = format!("{what} has more than {} entries", self.max_entries);
                return Err(Error::new(kiops_core::ErrorKind::TooLarge, answer.operation, message)
                    .with_remedy("raise `max_entries`, or remove what nobody needs"));
            }
            before = answer.body;
            place = more.then(|| Place { page: here.page.saturating_add(1), ..here });
        }
        Ok(all)
    }
}

/// Where in a list a page is. Addresses of an answer (`Link`) are never called.
#[derive(Clone, Copy)]
struct Place {
    page: u64,
    size: u64,
}

impl Place {
    const FIRST: Self = Self { page: 1, size: PAGE_MAX };

    /// What [`Listed::next`] holds is page and length, so that a list goes on right where another length is asked for in between.
    fn of(operation: &'static str, wanted: &Listing) -> Result<Self> {
        let Some(after) = &wanted.after else {
            let limit = u64::try_from(wanted.limit).unwrap_or(u64::MAX);
            return Ok(Self { page: 1, size: if limit == 0 { PAGE_MAX } else { limit.min(PAGE_MAX) } });
        };
        let read = || {
            let (page, size) = after.split_once('/')?;
            let place = Self { page: page.parse().ok()?, size: size.parse().ok()? };
            (place.page > 0 && (1..=PAGE_MAX).contains(&place.size)).then_some(place)
        };
        read().ok_or_else(|| {
            Error::invalid(operation, "what the list is to go on after is no place in it")
                .with_remedy("take it from the page before")
        })
    }

    fn asked<'a>(&self, call: Call<'a>) -> Call<'a> {
        call.query("page", &self.page.to_string()).query("page_size", &self.size.to_string())
    }

    /// The next place; none after a page without entries, whatever the host says.
    fn next(&self, entries: usize, total: Option<u64>) -> Option<String> {
        let is_last = match total {
            Some(total) => self.page.saturating_mul(self.size) >= total,
            None => (entries as u64) < self.size,
        };
        (entries > 0 && !is_last).then(|| format!("{}/{}", self.page.saturating_add(1), self.size))
    }
}

/// A call that is being put together.
pub(super) struct Call<'a> {
    api: &'a Api,
    operation: &'static str,
    method: Method,
    url: String,
    body: Option<Vec<u8>>,
    by_name: bool,
    needs: &'static str,
    hidden: Option<&'a Secret>,
}

impl<'a> Call<'a> {
    /// The same call, whose project is given by its name.
    pub(super) const fn by_name(mut self) -> Self {
        self.by_name = true;
        self
    }

    /// The same call with one more parameter.
    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        self.url.push(if self.url.contains('?') { '&' } else { '?' });
        // Writing to a text does not fail.
        let _ = write!(self.url, "{name}={}", utf8_percent_encode(value, SEGMENT));
        self
    }

    /// The same call with a JSON body.
    pub(super) fn json(mut self, body: &impl Serialize) -> Result<Self> {
        let operation = self.operation;
        self.body = Some(serde_json::to_vec(body).map_err(|error| {
            Error::internal(operation, "the request cannot be written").with_source(error)
        })?);
        Ok(self)
    }

    /// The same call, and what right it needs, in Harbor's words.
    pub(super) const fn needs(mut self, needs: &'static str) -> Self {
        self.needs = needs;
        self
    }

    /// The same call, whose body holds this secret: no error repeats it.
    pub(super) const fn hiding(mut self, secret: &'a Secret) -> Self {
        self.hidden = Some(secret);
        self
    }

    /// What Harbor says, whatever its status. Every call of ours may be sent twice: what it makes is found again by its name.
    pub(super) async fn send(self) -> Result<Answer> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(&self.url)
            .header(header::ACCEPT, "application/json")
            .extension(Idempotent);
        if self.by_name {
            request = request.header(IS_NAME, HeaderValue::from_static("true"));
        }
        if let Some(login) = &self.api.login {
            request = request.header(header::AUTHORIZATION, basic(login)?);
        }
        let body = match self.body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(Bytes::from(body))
            }
            None => Body::empty(),
        };
        let request =
            request.body(body).map_err(|error| Error::invalid(self.operation, error.to_string()))?;
        let response = self.api.client.fetch(request).await?;
        let (parts, body) = response.into_parts();
        Ok(Answer {
            operation: self.operation,
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            now: self.api.client.now(),
            login: self.api.login.clone(),
            needs: self.needs,
            hidden: self.hidden.cloned(),
        })
    }

    /// A good answer, or an error that says what to do.
    pub(super) async fn good(self) -> Result<Answer> {
        self.send().await?.good()
    }

    /// What a good answer holds.
    pub(super) async fn read<T: DeserializeOwned>(self) -> Result<T> {
        self.good().await?.read()
    }
}

/// A repository's name as a segment of a path has it: Harbor wants its slashes encoded twice (`a%252Fb`), the second time by [`Api::call`].
pub(super) fn repository_segment(name: &str) -> String {
    name.replace('/', "%2F")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(after: &str) -> Result<Place> {
        Place::of("test", &Listing::all().after(after))
    }

    #[test]
    fn a_list_goes_on_with_the_length_that_it_began_with() {
        let first = Place::of("test", &Listing::all().limit(7)).unwrap();
        assert_eq!(first.next(7, Some(20)).as_deref(), Some("2/7"));
        let second = place("2/7").unwrap();
        assert_eq!((second.page, second.size), (2, 7));
        assert_eq!(second.next(7, Some(14)), None);
        assert_eq!(Place::of("test", &Listing::all().limit(1000)).unwrap().size, PAGE_MAX);
    }

    #[test]
    fn a_page_without_entries_is_the_last_whatever_the_host_counts() {
        assert_eq!(Place::FIRST.next(0, Some(u64::MAX)), None);
        assert_eq!(
            Place { page: u64::MAX, size: 100 }.next(100, None).as_deref(),
            Some("18446744073709551615/100")
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_place_or_refused(after in "\\PC{0,20}") {
            if let Ok(place) = place(&after) {
                prop_assert!(place.page > 0 && place.size > 0 && place.size <= PAGE_MAX);
            }
        }
    }
}
