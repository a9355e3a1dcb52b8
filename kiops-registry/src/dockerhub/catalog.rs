//! Docker Hub's repositories and tags, to choose from.

use async_trait::async_trait;
use kiops_core::image::{Catalog, CatalogImage, CatalogTag, Listed, Listing};
use kiops_core::name::{Digest, ImageName, Tag};
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::DockerHub;
use crate::interface::{moment, one_line};

/// What Docker Hub gives a page at most.
const PAGE_MAX: u64 = 100;

/// A page as Docker Hub has it. Of `next` counts only whether there is one: its address is never called.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    count: Option<u64>,
    #[serde(default)]
    next: Option<serde::de::IgnoredAny>,
    results: Vec<T>,
}

#[derive(Deserialize)]
struct RepositoryBody {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    is_private: Option<bool>,
    #[serde(default)]
    pull_count: Option<i64>,
    #[serde(default)]
    last_updated: Option<String>,
}

#[derive(Deserialize)]
struct TagBody {
    name: String,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    full_size: Option<i64>,
    #[serde(default)]
    tag_last_pushed: Option<String>,
    #[serde(default)]
    last_updated: Option<String>,
    /// A list of them, though its description says one.
    #[serde(default)]
    images: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<PlatformBody>),
    One(PlatformBody),
}

#[derive(Deserialize)]
struct PlatformBody {
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    variant: Option<String>,
}

impl RepositoryBody {
    fn into_image(self, namespace: &str) -> Option<CatalogImage> {
        Some(CatalogImage {
            image: ImageName::parse(format!("docker.io/{namespace}/{}", self.name)).ok()?,
            description: one_line(&self.description.unwrap_or_default()),
            private: self.is_private.unwrap_or(false),
            pulls: self.pull_count.and_then(|pulls| u64::try_from(pulls).ok()),
            updated_at: moment(self.last_updated.as_deref()),
        })
    }
}

impl TagBody {
    fn into_tag(self) -> Option<CatalogTag> {
        let images = match self.images {
            Some(OneOrMany::Many(images)) => images,
            Some(OneOrMany::One(image)) => vec![image],
            None => Vec::new(),
        };
        let mut platforms: Vec<String> = images.into_iter().filter_map(PlatformBody::name).collect();
        platforms.sort_unstable();
        platforms.dedup();
        Some(CatalogTag {
            tag: Tag::parse(&self.name).ok()?,
            digest: self.digest.and_then(|digest| Digest::parse(digest).ok()),
            size: self.full_size.and_then(|size| u64::try_from(size).ok()),
            platforms,
            pushed_at: moment(self.tag_last_pushed.or(self.last_updated).as_deref()),
        })
    }
}

impl PlatformBody {
    /// `linux/arm/v7`; attestations, which run on nothing, say `unknown`.
    fn name(self) -> Option<String> {
        let known = |word: Option<String>| {
            word.map(|word| one_line(&word)).filter(|word| !word.is_empty() && word != "unknown")
        };
        let mut name = format!("{}/{}", known(self.os)?, known(self.architecture)?);
        if let Some(variant) = known(self.variant) {
            name.push('/');
            name.push_str(&variant);
        }
        Some(name)
    }
}

#[async_trait]
impl Catalog for DockerHub {
    async fn images(&self, namespace: &str, wanted: &Listing) -> Result<Listed<CatalogImage>> {
        const OPERATION: &str = "list repositories";
        let namespace = namespace_name(namespace)?;
        let place = Place::of(OPERATION, wanted)?;
        let (number, size) = (place.page.to_string(), place.size.to_string());
        let mut query = vec![("page", number.as_str()), ("page_size", size.as_str()), ("ordering", "name")];
        if !wanted.text.is_empty() {
            query.push(("name", &wanted.text));
        }
        let path = ["namespaces", namespace, "repositories"];
        let page: Page<RepositoryBody> = self.page(OPERATION, &path, &query, place).await?;
        let next = place.next(&page).map(|place| place.to_string());
        let items = page.results.into_iter().filter_map(|body| body.into_image(namespace)).collect();
        Ok(Listed { items, next, total: page.count })
    }

    /// Docker Hub finds no tags by a text: its pages are looked through, [`DockerHubConfig::search_pages`](super::DockerHubConfig::search_pages)
    /// of them in one call.
    async fn available_tags(&self, image: &ImageName, wanted: &Listing) -> Result<Listed<CatalogTag>> {
        self.inner.config().own(image)?;
        let (namespace, repository) = image.path().split_once('/').unwrap_or(("library", image.path()));
        let path = ["namespaces", namespace, "repositories", repository, "tags"];
        let mut place = Place::of("list tags", wanted)?;
        if wanted.text.is_empty() {
            let page = self.tags_page(&path, place).await?;
            let next = place.next(&page).map(|place| place.to_string());
            let items = page.results.into_iter().filter_map(TagBody::into_tag).collect();
            return Ok(Listed { items, next, total: page.count });
        }
        if wanted.after.is_none() {
            place.size = PAGE_MAX;
        }
        let most = if wanted.limit == 0 { usize::MAX } else { wanted.limit };
        let mut items = Vec::new();
        for _ in 0..self.config.search_pages.max(1) {
            let page = self.tags_page(&path, place).await?;
            let following = place.next(&page);
            for (at, body) in (1..).zip(page.results).skip(place.skip) {
                if !body.name.contains(&wanted.text) {
                    continue;
                }
                items.extend(body.into_tag());
                if items.len() >= most {
                    let next = Place { skip: at, ..place };
                    return Ok(Listed { items, next: Some(next.to_string()), total: None });
                }
            }
            match following {
                Some(following) => place = following,
                None => return Ok(Listed { items, next: None, total: None }),
            }
        }
        Ok(Listed { items, next: Some(place.to_string()), total: None })
    }
}

impl DockerHub {
    async fn tags_page(&self, path: &[&str], place: Place) -> Result<Page<TagBody>> {
        let (number, size) = (place.page.to_string(), place.size.to_string());
        self.page("list tags", path, &[("page", &number), ("page_size", &size)], place).await
    }

    async fn page<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &[&str],
        query: &[(&str, &str)],
        place: Place,
    ) -> Result<Page<T>> {
        match self.api.read(operation, path, query).await {
            // After the last page there is none, which it says so.
            Err(error) if error.kind() == ErrorKind::NotFound && place.page > 1 => {
                Ok(Page { count: None, next: None, results: Vec::new() })
            }
            other => other,
        }
    }
}

/// Where in a list a page is, and how many of its entries were had already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    page: u64,
    size: u64,
    skip: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.page, self.size, self.skip)
    }
}

impl Place {
    fn of(operation: &'static str, wanted: &Listing) -> Result<Self> {
        let Some(after) = &wanted.after else {
            let limit = u64::try_from(wanted.limit).unwrap_or(u64::MAX);
            return Ok(Self {
                page: 1,
                size: if limit == 0 { PAGE_MAX } else { limit.min(PAGE_MAX) },
                skip: 0,
            });
        };
        let read = || {
            let mut parts = after.split('/');
            let place = Self {
                page: parts.next()?.parse().ok()?,
                size: parts.next()?.parse().ok()?,
                skip: parts.next()?.parse().ok()?,
            };
            (place.page > 0 && (1..=PAGE_MAX).contains(&place.size) && parts.next().is_none())
                .then_some(place)
        };
        read().ok_or_else(|| {
            Error::invalid(operation, "what the list is to go on after is no place in it")
                .with_remedy("take it from the page before")
        })
    }

    /// The next place; none after a page without entries, whatever Docker Hub says.
    fn next<T>(&self, page: &Page<T>) -> Option<Self> {
        let more = page.next.is_some() && !page.results.is_empty();
        more.then(|| Self { page: self.page.saturating_add(1), skip: 0, ..*self })
    }
}

/// A namespace by Docker Hub's rule, which no path can hide in.
fn namespace_name(name: &str) -> Result<&str> {
    let is_one = !name.contains('/') && ImageName::parse(format!("docker.io/{name}/x")).is_ok();
    if is_one {
        return Ok(name);
    }
    let message = format!("`{}` cannot be a namespace", name.escape_debug());
    Err(Error::invalid("list repositories", message)
        .with_remedy("write a user's or an organisation's name; official images are in `library`"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_namespace_is_a_namespace() {
        for good in ["library", "my-team", "a1"] {
            assert_eq!(namespace_name(good).unwrap(), good);
        }
        for bad in ["", ".", "..", "a/b", "A", "a b", "a?x", "\u{e9}"] {
            namespace_name(bad).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_place_or_refused(after in "[0-9/]{0,12}", other in "\\PC{0,12}") {
            for after in [after, other] {
                if let Ok(place) = Place::of("test", &Listing::all().after(&after)) {
                    prop_assert_eq!(Place::of("test", &Listing::all().after(place.to_string())).unwrap(), place);
                    prop_assert!((1..=PAGE_MAX).contains(&place.size));
                }
            }
        }
    }
}
