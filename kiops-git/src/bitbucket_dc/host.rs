//! How calls to Bitbucket Data Center are made: addresses and pages.

use std::sync::Arc;

use http::Method;
use kiops_core::event::Repository;
use kiops_core::http::{HttpService, Timer};
use kiops_core::provider::TokenSource;
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::dialect::DIALECT;
use crate::rest::{Call, HostConfig, Rest};

/// As many entries of a page as are asked for. Bitbucket gives fewer where an administrator has set so.
pub(super) const LIMIT: usize = 500;

/// Bitbucket Data Center, or Server, from 7.4 on.
///
/// Repositories are addressed by `KEY/slug`, the project's key and the repository's slug (`~user/slug` for a person's own): the
/// interface takes no numbers, so one that was moved or renamed has to be put right in its service.
///
/// # Tokens
/// An HTTP access token of a project or repository: the token itself, sent as `Bearer`. One of a person: `name:TOKEN`, the user name
/// and the token with a colon between them, sent as `Basic`, since Git wants the name. Any text with a colon is taken so.
///
/// # Limits
/// - Trees tell neither executable files nor symbolic links: both are files. So a Dockerfile that is a link is not followed.
/// - Trees tell sizes only where one folder is listed, and submodules only there.
/// - Archives are packed by Bitbucket, which heeds `export-ignore` and other attributes.
/// - Nothing is written but webhooks, statuses and comments; there is no list of scopes.
#[derive(Debug)]
pub struct BitbucketDc {
    pub(super) rest: Rest,
    pub(super) config: HostConfig,
    /// Where people open it, with a slash at the end.
    pub(super) web: String,
}

impl BitbucketDc {
    /// A provider for the Bitbucket at [`HostConfig::url`]. Its interface is `rest/api/1.0/` below that, unless the configuration names
    /// another place.
    ///
    /// # Errors
    /// `Invalid` for an address that is none.
    pub fn new(
        config: HostConfig,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
        tokens: Arc<dyn TokenSource>,
    ) -> Result<Self> {
        let (base, web) = (config.api("rest/api/1.0/")?, config.web()?);
        let rest = Rest::new(&DIALECT, base, &config, service, timer, tokens)?;
        Ok(Self { rest, config, web })
    }

    /// A call about a repository: `projects/KEY/repos/SLUG/` and what follows.
    pub(super) fn call<'a>(
        &'a self,
        operation: &'static str,
        method: Method,
        repository: &'a Repository,
        rest: &[&str],
    ) -> Result<Call<'a>> {
        let (key, slug) = key_and_slug(operation, repository)?;
        let path: Vec<&str> =
            ["projects", key, "repos", slug].into_iter().chain(rest.iter().copied()).collect();
        Ok(self.rest.call(operation, method, &path)?.about(repository))
    }

    pub(super) fn get<'a>(
        &'a self,
        operation: &'static str,
        repository: &'a Repository,
        rest: &[&str],
    ) -> Result<Call<'a>> {
        self.call(operation, Method::GET, repository, rest)
    }

    /// Every entry of a list that comes page by page. `call` makes the call for one page.
    pub(super) async fn every<'a, T: DeserializeOwned>(
        &'a self,
        operation: &'static str,
        call: impl Fn() -> Result<Call<'a>>,
    ) -> Result<Vec<T>> {
        let (found, is_whole) = self.first(operation, self.config.max_entries, call).await?;
        if !is_whole {
            let message = format!("there are more than {} entries", self.config.max_entries);
            return Err(Error::new(ErrorKind::TooLarge, operation, message)
                .with_remedy("raise max_entries, or remove what is not used any more"));
        }
        Ok(found)
    }

    /// The first entries of such a list, at most `most`, and whether these are all.
    pub(super) async fn first<'a, T: DeserializeOwned>(
        &'a self,
        operation: &'static str,
        most: usize,
        call: impl Fn() -> Result<Call<'a>>,
    ) -> Result<(Vec<T>, bool)> {
        let mut all = Vec::new();
        // Pages may be empty and others follow; not without end.
        let (mut start, mut empty) = (0, 0);
        loop {
            let call = call()?.query("limit", &LIMIT.to_string()).query("start", &start.to_string());
            let page: PageBody<T> = call.read().await?;
            let next = page.following(operation, start)?;
            empty += usize::from(page.values.is_empty());
            all.extend(page.values);
            if all.len() + empty > most {
                all.truncate(most);
                return Ok((all, false));
            }
            match next {
                Some(next) => start = next,
                None => return Ok((all, true)),
            }
        }
    }
}

pub(super) fn key_and_slug<'a>(
    operation: &'static str,
    repository: &'a Repository,
) -> Result<(&'a str, &'a str)> {
    repository.path.split_once('/').filter(|(_, slug)| !slug.contains('/')).ok_or_else(|| {
        let message = format!("`{}` names no repository", repository.path.escape_debug());
        Error::not_found(operation, message)
            .with_remedy("write it like `KEY/repository`, the project's key and the repository's slug")
    })
}

/// One page of any list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageBody<T> {
    pub values: Vec<T>,
    #[serde(default)]
    is_last_page: bool,
    next_page_start: Option<u64>,
}

impl<T> PageBody<T> {
    /// Where the next page starts. One that starts no later than this is an error: the list would not be whole.
    pub(super) fn following(&self, operation: &'static str, start: u64) -> Result<Option<u64>> {
        match self.next_page_start {
            _ if self.is_last_page => Ok(None),
            None => Ok(None),
            Some(next) if next > start => Ok(Some(next)),
            Some(_) => Err(Error::unavailable(
                operation,
                "Bitbucket did not answer as documented: the next page starts before this one",
            )),
        }
    }
}
