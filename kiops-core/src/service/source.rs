//! Where the source is, what is built from it, and where the image goes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::workload::Target;
use crate::error::{Error, Result};
use crate::event::Repository;
use crate::filter::PathFilter;
use crate::image::TagTemplate;
use crate::name::{BranchName, ComponentName, ImageName, ProviderName, SecretName};

/// Where a service's images come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Source {
    /// Built from a Git repository.
    Git(GitSource),
    /// Ready images, deployed without a build (S22).
    Image,
}

impl Source {
    /// The Git source, if it is one.
    pub const fn git(&self) -> Option<&GitSource> {
        match self {
            Self::Git(git) => Some(git),
            Self::Image => None,
        }
    }
}

/// A Git repository as a source (T07).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitSource {
    /// Which kind of host (`gitlab`, `plain`).
    pub provider: ProviderName,
    /// The repository: its id decides where there is one, else its path, exactly as senders write it.
    pub repository: Repository,
    /// The tracked branch: what manual builds take, and what pushes are matched with where no other filter is set.
    pub branch: BranchName,
}

/// One thing that is built from a repository: a monorepo has several (K17).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Component {
    /// Its name; `main` where there is only one.
    pub name: ComponentName,
    /// The build context: a folder from the repository's root. `/` or empty is the root (T06).
    pub path: String,
    /// The Dockerfile, relative to `path`. Empty is `Dockerfile` (T06).
    pub dockerfile: String,
    /// Which changed files make a push build; empty: all (T06).
    pub watch_path: PathFilter,
    /// The stage of the Dockerfile to stop at; `None`: the last.
    pub target: Option<String>,
    /// Build arguments. Not for secrets: they stay readable in the image's history.
    pub build_args: BTreeMap<String, String>,
    /// Build secrets: the id that the Dockerfile mounts, and where the value is kept.
    pub build_secrets: BTreeMap<String, SecretName>,
    /// The image's name where it is not the service's (K18).
    pub image: Option<ImageName>,
    /// What a release of this component changes; `None`: one container named like the component, no port.
    pub runs: Option<Target>,
}

impl Component {
    /// The context folder without slashes around it; `""` is the root.
    pub fn context(&self) -> &str {
        self.path.trim_start_matches("./").trim_matches('/')
    }

    /// The Dockerfile's path from the repository's root.
    pub fn dockerfile_path(&self) -> String {
        let file = match self.dockerfile.trim_start_matches("./").trim_start_matches('/') {
            "" => "Dockerfile",
            file => file,
        };
        match self.context() {
            "" | "." => file.to_owned(),
            folder => format!("{folder}/{file}"),
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        for (field, path) in [("path", &self.path), ("dockerfile", &self.dockerfile)] {
            let bad = path.len() > 1024
                || path.chars().any(|c| c.is_control() || c == '\\')
                || path.split('/').any(|part| part == ".." || part.starts_with('-'));
            if bad {
                return Err(Error::invalid(
                    "check settings",
                    format!(
                        "components.{}.{field}: `{}` leaves the repository or has characters that a path may not have",
                        self.name,
                        path.escape_debug()
                    ),
                ));
            }
        }
        for key in self.build_args.keys().chain(self.build_secrets.keys()) {
            let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
            if key.is_empty() || key.starts_with('-') || !key.chars().all(fine) {
                return Err(Error::invalid(
                    "check settings",
                    format!(
                        "components.{}: `{}` is no name for a build argument or secret",
                        self.name,
                        key.escape_debug()
                    ),
                ));
            }
        }
        if let Some(Target::Workload(workload)) = &self.runs {
            workload.validate()?;
        }
        Ok(())
    }
}

/// Where built images go (K13).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageTarget {
    /// Host and path. Components other than `main` get `-{component}` added, unless they name their own (K18).
    pub name: ImageName,
    /// The tag that stage Push writes. The short commit id by default (T19).
    #[serde(default = "TagTemplate::short_commit")]
    pub candidate: TagTemplate,
    /// Tags that stage `release` moves to the tested digest (settled 9).
    #[serde(default)]
    pub tags: Vec<TagTemplate>,
}

impl ImageTarget {
    /// The image of a component.
    pub fn image_of(&self, component: &Component) -> Result<ImageName> {
        if let Some(image) = &component.image {
            return Ok(image.clone());
        }
        if component.name == ComponentName::default() {
            return Ok(self.name.clone());
        }
        Ok(ImageName::parse(format!("{}-{}", self.name, component.name))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(path: &str, dockerfile: &str) -> Component {
        Component { path: path.into(), dockerfile: dockerfile.into(), ..Component::default() }
    }

    #[test]
    fn build_paths_have_t06_defaults() {
        assert_eq!(component("", "").dockerfile_path(), "Dockerfile");
        assert_eq!(component("/", "Dockerfile").dockerfile_path(), "Dockerfile");
        assert_eq!(component("./web/", "docker/Dockerfile").dockerfile_path(), "web/docker/Dockerfile");
        assert_eq!(component("/web", "").context(), "web");
    }

    #[test]
    fn a_path_that_leaves_the_repository_is_refused() {
        for bad in ["../x", "a/../../x", "--upload-pack=x", "a\nb"] {
            assert!(component(bad, "").validate().is_err(), "{bad}");
            assert!(component("", bad).validate().is_err(), "{bad}");
        }
    }

    #[test]
    fn components_of_a_monorepo_have_images_of_their_own() {
        let target = ImageTarget {
            name: ImageName::parse("h.io/team/app").unwrap(),
            candidate: TagTemplate::short_commit(),
            tags: vec![],
        };
        let api = Component { name: ComponentName::parse("api").unwrap(), ..Component::default() };
        assert_eq!(target.image_of(&api).unwrap().as_str(), "h.io/team/app-api");
        assert_eq!(target.image_of(&Component::default()).unwrap().as_str(), "h.io/team/app");
        let named = Component { image: Some(ImageName::parse("h.io/gw").unwrap()), ..api };
        assert_eq!(target.image_of(&named).unwrap().as_str(), "h.io/gw");
    }
}
