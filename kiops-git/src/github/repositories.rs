//! GitHub's repositories, listed.

use kiops_core::event::Repository;
use kiops_core::name::{BranchName, RepoId};
use kiops_core::provider::{Page, RepositoryInfo, Search};
use kiops_core::{Error, Result};
use serde::Deserialize;

use super::GitHub;
use super::pages::{has_next, numbered};
use super::provider::is_of_app;
use crate::rest::Answer;
use crate::shape::PAGE_MAX;

const OPERATION: &str = "list repositories";

/// How many of GitHub's pages one call of ours looks through.
const PAGES: u64 = 30;

const LIMIT: usize = 100;

#[derive(Deserialize)]
pub(super) struct RepositoryObject {
    id: u64,
    full_name: String,
    default_branch: Option<String>,
    html_url: Option<String>,
}

impl RepositoryObject {
    pub(super) fn into_info(self) -> RepositoryInfo {
        RepositoryInfo {
            repository: Repository { id: RepoId::parse(self.id.to_string()).ok(), path: self.full_name },
            default_branch: self.default_branch.and_then(|name| BranchName::parse(name).ok()),
            web_url: self.html_url,
        }
    }
}

impl GitHub {
    pub(super) async fn listed_repositories(&self, search: &Search) -> Result<Page<RepositoryInfo>> {
        let start = search.after.as_deref().map_or(Ok(Place { page: 1, entry: 0 }), Place::parse)?;
        let limit = if search.limit == 0 { LIMIT } else { search.limit.min(PAGE_MAX) };
        let wanted = search.text.to_lowercase();
        let (mut items, mut of_app) = (Vec::new(), false);
        for page in start.page..start.page.saturating_add(PAGES) {
            let answer = self.repositories_page(page, &mut of_app).await?;
            let found: Vec<RepositoryObject> =
                if of_app { answer.read::<OfInstallation>()?.repositories } else { answer.read()? };
            let (count, next) = (found.len(), has_next(&answer));
            let skipped = if page == start.page { start.entry } else { 0 };
            for (entry, repository) in found.into_iter().enumerate().skip(skipped) {
                if !repository.full_name.to_lowercase().contains(&wanted) {
                    continue;
                }
                if items.len() == limit {
                    return Ok(Page { items, next: Some(Place { page, entry }.to_text()) });
                }
                items.push(repository.into_info());
            }
            if count == 0 || !next {
                return Ok(Page { items, next: None });
            }
        }
        let next = Place { page: start.page.saturating_add(PAGES), entry: 0 };
        Ok(Page { items, next: Some(next.to_text()) })
    }

    /// A page of what the token's user may see, or, where it is an App's, of what its installation was given.
    async fn repositories_page(&self, page: u64, of_app: &mut bool) -> Result<Answer> {
        if !*of_app {
            let call = self.rest.get(OPERATION, &["user", "repos"])?.query("sort", "full_name");
            let answer = numbered(call, page).send().await?;
            if !is_of_app(&answer) {
                return answer.good();
            }
            *of_app = true;
        }
        numbered(self.rest.get(OPERATION, &["installation", "repositories"])?, page).good().await
    }
}

#[derive(Deserialize)]
struct OfInstallation {
    repositories: Vec<RepositoryObject>,
}

/// Where a page of ours begins: GitHub's page, and how many of its entries are behind us.
struct Place {
    page: u64,
    entry: usize,
}

impl Place {
    fn parse(text: &str) -> Result<Self> {
        let parsed = text.split_once('.').and_then(|(page, entry)| {
            let place = Self { page: page.parse().ok()?, entry: entry.parse().ok()? };
            (place.page > 0).then_some(place)
        });
        parsed.ok_or_else(|| {
            Error::invalid(OPERATION, "this is where no page begins")
                .with_remedy("go on with what the page before gave as `next`")
        })
    }

    fn to_text(&self) -> String {
        format!("{}.{}", self.page, self.entry)
    }
}
