//! How calls to Bitbucket Cloud are made: addresses, pages, tokens.

use std::sync::Arc;

use http::Method;
use kiops_core::event::Repository;
use kiops_core::http::{HttpService, Timer};
use kiops_core::name::{BranchName, CommitId, RepoId};
use kiops_core::provider::{CloneCredential, RepositoryInfo, Token, TokenSource};
use kiops_core::secret::Secret;
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::dialect::DIALECT;
use crate::rest::{Answer, Call, HostConfig, Rest};

const WEB: &str = "https://bitbucket.org";
const API: &str = "https://api.bitbucket.org/2.0";
/// The most that Bitbucket gives a page.
pub(super) const PAGELEN: usize = 100;

/// Bitbucket Cloud.
///
/// Repositories are addressed by workspace and UUID (with its braces, as Bitbucket writes it) where that is known, else by workspace and
/// slug. A workspace that was renamed is not found by its old name.
///
/// # Tokens
/// - Access tokens (of a repository, a project or a workspace) and OAuth tokens: the token itself, sent as `Bearer`.
/// - An API token of a person: `name@example.com:TOKEN`, the Atlassian account's e-mail address and the token with a colon between
///   them, sent as `Basic`. Any text with a colon is taken so.
///
/// # Limits
/// - Archives are packed by Bitbucket, which heeds `export-ignore` and other attributes. They come from [`HostConfig::url`], not from
///   the interface.
/// - A file in Git LFS is answered with a redirect to Atlassian's media service: allow its host in [`HostConfig::redirects`], or it is
///   `Forbidden`.
/// - What a tag object is called is not told: [`kiops_core::provider::Head::object`] is empty.
/// - There are no refs but branches and tags.
/// - A folder with very many files below it can be too much for one call; it is listed level by level then.
/// - Lists of repositories go workspace by workspace, as Bitbucket has had it since 2026.
#[derive(Debug)]
pub struct Bitbucket {
    pub(super) rest: Rest,
    pub(super) config: HostConfig,
    /// Where people open it, with a slash at the end.
    pub(super) web: String,
}

impl Bitbucket {
    /// The configuration of bitbucket.org. Its egress rules allow the web address, which archives come from, and the interface.
    pub fn cloud() -> HostConfig {
        HostConfig { api_url: Some(API.into()), ..HostConfig::new(WEB) }
    }

    /// A provider for Bitbucket Cloud. Its interface is where [`HostConfig::api_url`] says; without one, at
    /// `https://api.bitbucket.org/2.0/` for bitbucket.org, and at `2.0/` below any other address.
    ///
    /// # Errors
    /// `Invalid` for an address that is none.
    pub fn new(
        mut config: HostConfig,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
        tokens: Arc<dyn TokenSource>,
    ) -> Result<Self> {
        if config.api_url.is_none() && config.url.trim_end_matches('/') == WEB {
            config.api_url = Some(API.into());
        }
        let (base, web) = (config.api("2.0/")?, config.web()?);
        let rest = Rest::new(&DIALECT, base, &config, service, timer, tokens)?;
        Ok(Self { rest, config, web })
    }

    /// A call about a repository: `repositories/WORKSPACE/ID/` and what follows.
    pub(super) fn call<'a>(
        &'a self,
        operation: &'static str,
        method: Method,
        repository: &'a Repository,
        rest: &[&str],
    ) -> Result<Call<'a>> {
        let (workspace, slug) = match (&repository.id, repository.path.split_once('/')) {
            (Some(id), Some((workspace, _))) => (workspace, id.as_str()),
            // Bitbucket takes this for any workspace.
            (Some(id), None) => ("{}", id.as_str()),
            (None, Some((workspace, slug))) if !slug.contains('/') => (workspace, slug),
            (None, _) => {
                let message = format!("`{}` names no repository", repository.path.escape_debug());
                return Err(Error::not_found(operation, message)
                    .with_remedy("write it like `workspace/repository`, as in its address"));
            }
        };
        let path: Vec<&str> =
            ["repositories", workspace, slug].into_iter().chain(rest.iter().copied()).collect();
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
        self.entries(operation, self.config.max_entries, call).await?.map_err(|answer| answer.error())
    }

    /// The same, with the answer that was none of success. More than `most` entries are `TooLarge`.
    pub(super) async fn entries<'a, T: DeserializeOwned>(
        &'a self,
        operation: &'static str,
        most: usize,
        call: impl Fn() -> Result<Call<'a>>,
    ) -> Result<std::result::Result<Vec<T>, Answer>> {
        let mut all = Vec::new();
        let mut next: Option<String> = None;
        // Pages may be empty and others follow; not without end.
        let mut left = most;
        loop {
            let mut call = call()?;
            if let Some(next) = &next {
                call = call.query("page", next);
            }
            let answer = call.send().await?;
            if !(200..300).contains(&answer.status) {
                return Ok(Err(answer));
            }
            let page: PageBody<T> = answer.read()?;
            let taken = page.values.len();
            if taken > left || (left == 0 && page.next.is_some()) {
                let message = format!("there are more than {most} entries");
                return Err(Error::new(ErrorKind::TooLarge, operation, message)
                    .with_remedy("raise max_entries, or remove what is not used any more"));
            }
            left -= taken.max(1).min(left);
            let following = page.following(operation, next.as_deref())?;
            all.extend(page.values);
            match following {
                Some(following) => next = Some(following),
                None => return Ok(Ok(all)),
            }
        }
    }

    pub(super) async fn info(
        &self,
        operation: &'static str,
        repository: &Repository,
    ) -> Result<RepositoryBody> {
        self.get(operation, repository, &[])?.read().await
    }

    /// The path that the repository has now: what its web address is made of.
    pub(super) async fn path(&self, operation: &'static str, repository: &Repository) -> Result<String> {
        match &repository.id {
            Some(_) => Ok(self.info(operation, repository).await?.full_name),
            None => Ok(repository.path.clone()),
        }
    }

    /// The workspaces that the token's owner is in, by slug; `None` where the token is nobody's or the host has no such list.
    pub(super) async fn workspaces(&self, operation: &'static str) -> Result<Option<Vec<Workspace>>> {
        #[derive(Deserialize)]
        struct Access {
            workspace: Workspace,
        }
        let call = || {
            let call = self.rest.get(operation, &["user", "workspaces"])?;
            Ok(call.query("pagelen", &PAGELEN.to_string()))
        };
        let found = self.entries::<Access>(operation, self.config.max_entries, call).await?;
        match found {
            Ok(found) => {
                let mut all: Vec<Workspace> = found.into_iter().map(|access| access.workspace).collect();
                all.sort_unstable_by(|one, other| one.slug.cmp(&other.slug));
                all.dedup_by(|one, other| one.slug == other.slug);
                Ok(Some(all))
            }
            Err(answer) if matches!(answer.status, 403 | 404 | 410) => Ok(None),
            Err(answer) => Err(answer.error()),
        }
    }
}

/// One page of any list.
#[derive(Deserialize)]
pub(super) struct PageBody<T> {
    #[serde(default = "Vec::new")]
    pub values: Vec<T>,
    next: Option<String>,
}

impl<T> PageBody<T> {
    /// What `page` is in the next page's address. Only the parameter is taken: no address of an answer is ever called.
    ///
    /// A page that names itself, or another that cannot be asked for, is an error: the list would not be whole.
    pub(super) fn following(&self, operation: &'static str, this: Option<&str>) -> Result<Option<String>> {
        let Some(next) = &self.next else { return Ok(None) };
        let url = Url::parse(next).ok();
        let page = url.and_then(|url| {
            url.query_pairs().find(|(name, _)| name == "page").map(|(_, page)| page.into_owned())
        });
        match page {
            Some(page) if this != Some(page.as_str()) => Ok(Some(page)),
            _ => Err(Error::unavailable(
                operation,
                "Bitbucket did not answer as documented: a page names no next one that could be read",
            )),
        }
    }
}

/// A workspace as lists show it.
#[derive(Deserialize)]
pub(super) struct Workspace {
    pub slug: String,
    pub uuid: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Links {
    pub html: Option<Link>,
}

#[derive(Deserialize)]
pub(super) struct Link {
    pub href: Option<String>,
}

impl Links {
    pub(super) fn web(self) -> Option<String> {
        self.html.and_then(|html| html.href)
    }
}

/// An object of Git, by its id.
#[derive(Deserialize)]
pub(super) struct Hash {
    pub hash: CommitId,
}

#[derive(Deserialize)]
pub(super) struct RepositoryBody {
    uuid: String,
    pub full_name: String,
    /// Null: there are no commits yet.
    pub mainbranch: Option<MainBranch>,
    links: Option<Links>,
}

#[derive(Deserialize)]
pub(super) struct MainBranch {
    name: String,
}

impl RepositoryBody {
    pub(super) fn into_info(self) -> Result<RepositoryInfo> {
        Ok(RepositoryInfo {
            repository: Repository { id: Some(RepoId::parse(self.uuid)?), path: self.full_name },
            default_branch: self.mainbranch.and_then(|branch| BranchName::parse(branch.name).ok()),
            web_url: self.links.and_then(Links::web),
        })
    }
}

/// A text within a filter (`q`); `None` where it has what cannot be written there for certain.
pub(super) fn quoted(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    text.chars().all(plain).then(|| format!("\"{text}\""))
}

/// What Git wants to see for this token over https.
pub(super) fn clone_credential(token: Token) -> CloneCredential {
    let parts = token.secret.expose_str().and_then(|text| text.split_once(':'));
    let Some((name, password)) = parts else {
        return CloneCredential { username: "x-token-auth".into(), password: token.secret };
    };
    // An API token's e-mail address is for the interface only.
    let username = if name.contains('@') { "x-bitbucket-api-token-auth" } else { name };
    let username = username.to_owned();
    let password = Secret::new(password).unwrap_or_else(|| token.secret.clone());
    CloneCredential { username, password }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_plain_texts_only() {
        assert_eq!(quoted("team/App-1_x.y").as_deref(), Some("\"team/App-1_x.y\""));
        for text in ["a\"b", "a\\b", "a b", "größe", "a%b"] {
            assert_eq!(quoted(text), None, "{text}");
        }
    }

    #[test]
    fn git_is_told_a_user_name_by_kind_of_token() {
        for (token, username, password) in [
            ("ATCTT3x", "x-token-auth", "ATCTT3x"),
            ("ada@example.com:ATATT3x", "x-bitbucket-api-token-auth", "ATATT3x"),
            ("ada:app-password", "ada", "app-password"),
        ] {
            let token = Token { secret: Secret::new(token).unwrap(), expires_at: None };
            let credential = clone_credential(token);
            assert_eq!(credential.username, username);
            assert_eq!(credential.password.expose_str(), Some(password));
        }
    }

    #[test]
    fn a_page_that_cannot_be_asked_for_is_an_error() {
        let page = |next: Option<&str>| PageBody::<u8> { values: vec![], next: next.map(str::to_owned) };
        let next = page(Some("https://elsewhere.example.com/x?pagelen=1&page=a%3D%3D"));
        assert_eq!(next.following("test", Some("1")).unwrap().as_deref(), Some("a=="));
        assert_eq!(page(None).following("test", None).unwrap(), None);
        next.following("test", Some("a==")).unwrap_err();
        page(Some("https://api.bitbucket.org/x")).following("test", None).unwrap_err();
    }
}
