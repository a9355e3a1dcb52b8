//! Image pushes: what of an image service is redeployed.

use std::collections::BTreeMap;

use semver::Version;

use super::decision::{PlannedRelease, SkipReason};
use super::facts::{Answer, Known, Question};
use super::judge::{Judge, Rules, Step};
use super::text::Saw;
use crate::event::{EventKind, ImagePush};
use crate::filter::TagFilter;
use crate::name::{ComponentName, ContainerName, Digest, ImageRef, PinnedImage, Tag};
use crate::service::{Container, ContainerImage, Target};

/// A container that follows the image that was pushed.
struct Follower<'a> {
    component: &'a ComponentName,
    container: &'a Container,
    image: &'a ImageRef,
}

impl<'a> Judge<'a> {
    /// What an image push makes of an image service: the containers whose tags it matches get the digest that the tag points at now,
    /// and the others stay as they are.
    ///
    /// Whatever the sender says of the digest, the registry is asked: no sender signs it, and the tag may have moved since.
    pub(super) fn redeploy(&mut self, rules: &Rules) -> Step<Vec<PlannedRelease>> {
        let push = match &self.event.kind {
            EventKind::ImagePush(push) => push,
            EventKind::EmptyPush | EventKind::Ping | EventKind::Other(_) => return self.says_nothing(),
            _ => return self.not_relevant("an image service has nothing to build"),
        };
        let auto_ci = &self.service.settings.auto_ci;
        self.switches(auto_ci, "image", auto_ci.image.enabled)?;
        let (followers, tag) = self.followers(push)?;
        self.auto_deploy()?;
        let mut pushed: Vec<(&ComponentName, &ContainerName, PinnedImage)> = Vec::new();
        for follower in &followers {
            if let Some(image) = self.tag_now(&follower.image.name.tagged(tag.clone()))? {
                pushed.push((follower.component, &follower.container.name, image));
            }
        }
        if let Some((_, _, image)) = pushed.first() {
            self.says_digest(push, &image.digest);
        }
        let mut planned = Vec::new();
        for component in &self.service.settings.components {
            let mut images: BTreeMap<_, _> = pushed
                .iter()
                .filter(|(of, ..)| **of == component.name)
                .map(|(_, container, image)| ((*container).clone(), image.clone()))
                .collect();
            if images.is_empty() || self.is_live(&component.name, &images) {
                continue;
            }
            let Some(Target::Workload(workload)) = &component.runs else { continue };
            for container in &workload.containers {
                if !images.contains_key(&container.name)
                    && let Some(image) = self.kept(&component.name, container)?
                {
                    images.insert(container.name.clone(), image);
                }
            }
            planned.push(PlannedRelease { component: component.name.clone(), images });
        }
        if !self.questions.is_empty() {
            return Ok(planned);
        }
        if planned.is_empty() {
            let saw = Saw::text("the image that is live, or on its way, has this digest already");
            return self.stop("digest", SkipReason::Unchanged, saw);
        }
        self.host_rules(rules)?;
        Ok(planned)
    }

    /// The containers that follow this image by this tag.
    fn followers(&mut self, push: &'a ImagePush) -> Step<(Vec<Follower<'a>>, &'a Tag)> {
        let mut same = Vec::new();
        for component in &self.service.settings.components {
            let Some(Target::Workload(workload)) = &component.runs else { continue };
            for container in &workload.containers {
                match &container.image {
                    ContainerImage::Ready(image) if image.name.path() == push.image => {
                        same.push(Follower { component: &component.name, container, image });
                    }
                    _ => {}
                }
            }
        }
        // A registry may be known by several names: the host only tells images of one path apart.
        let is_there = |follower: &Follower<'_>| Some(follower.image.name.host()) == push.host.as_deref();
        if same.iter().any(is_there) {
            same.retain(is_there);
        }
        if same.is_empty() {
            let saw = Saw::text(format!("no container runs the image `{}`", push.image));
            return self.stop("image", SkipReason::RefNotMatched, saw);
        }
        let Some(tag) = &push.tag else {
            let saw = Saw::text("it was pushed by its digest, without a tag");
            return self.stop("tag", SkipReason::RefNotMatched, saw);
        };
        let mut followers = Vec::new();
        let (mut older, mut patterns) = (None, Vec::new());
        for follower in same {
            let (name, image) = (&follower.container.name, follower.image);
            let filter = &follower.container.tags;
            let matched = match &image.digest {
                Some(_) => None,
                None if !filter.is_empty() => filter.matched_by(tag.as_str()),
                None => (own_tag(image) == *tag).then(|| tag.as_str()),
            };
            let Some(pattern) = matched else {
                match &image.digest {
                    Some(digest) => patterns.push(digest.to_string()),
                    None if filter.is_empty() => patterns.push(own_tag(image).to_string()),
                    None => patterns.extend(filter.patterns().iter().cloned()),
                }
                continue;
            };
            if let Some(live) = self.newer_live(follower.component, &follower, pattern, tag) {
                older = Some(format!("container `{name}` runs `{live}`, a newer version than `{tag}`"));
                continue;
            }
            let (what_name, pattern) = (format!("tag of container `{name}`,"), pattern.to_owned());
            self.pass("tag", Saw::Matched { what_name, name: tag.to_string(), pattern });
            followers.push(follower);
        }
        if !followers.is_empty() {
            return Ok((followers, tag));
        }
        if let Some(older) = older {
            return self.stop("order", SkipReason::Late, Saw::text(older));
        }
        let saw = Saw::NotMatched { what_name: "tag".into(), name: tag.to_string(), patterns };
        self.stop("tag", SkipReason::RefNotMatched, saw)
    }

    /// The tag of a newer version that is live, where a range of versions is what is followed: a repair of an older line goes over
    /// nothing newer.
    fn newer_live(
        &self,
        component: &ComponentName,
        follower: &Follower<'_>,
        pattern: &str,
        tag: &Tag,
    ) -> Option<&'a Tag> {
        let live = self.facts.live.get(component)?.get(&follower.container.name)?;
        let live = live.tag.as_ref().filter(|_| live.name == follower.image.name)?;
        let newer = TagFilter::is_range(pattern) && version(live.as_str())? > version(tag.as_str())?;
        newer.then_some(live)
    }

    fn auto_deploy(&mut self) -> Step {
        let deploy = &self.service.settings.deploy;
        let (on, switch) = (deploy.auto, |on| Saw::Switch { name: "auto deploy".into(), on });
        if !on {
            return self.stop("auto deploy", SkipReason::AutoDeployOff, switch(false));
        }
        self.pass("auto deploy", switch(true));
        Ok(())
    }

    /// The image that a tag points at now; `None`: that was asked for.
    fn tag_now(&mut self, image: &ImageRef) -> Step<Option<PinnedImage>> {
        let question = Question::Image { image: image.clone() };
        let why = match self.facts.know(&question) {
            Known::Answer(Answer::Image(Some(digest))) => {
                return Ok(ImageRef { digest: Some(digest.clone()), ..image.clone() }.pinned());
            }
            Known::Open => {
                self.questions.push(question);
                return Ok(None);
            }
            Known::Answer(_) => format!("`{image}` is not in its registry"),
            Known::Unanswered => {
                format!(
                    "the registry did not say what `{image}` is: look at its credential, then send the event again"
                )
            }
        };
        self.stop("digest", SkipReason::NoImage, Saw::text(why))
    }

    fn says_digest(&mut self, push: &ImagePush, now: &Digest) {
        match &push.digest {
            Some(said) if said != now => {
                let text = format!("the tag points at {now} by now, not at {said}, which the sender names");
                self.note("digest", Saw::text(text));
            }
            _ => self.pass("digest", Saw::text(format!("the tag points at {now}"))),
        }
    }

    fn is_live(&self, component: &ComponentName, images: &BTreeMap<ContainerName, PinnedImage>) -> bool {
        let live = self.facts.live.get(component);
        images.iter().all(|(container, image)| {
            live.and_then(|live| live.get(container))
                .is_some_and(|live| live.name == image.name && live.digest == image.digest)
        })
    }

    /// The image of a container that was not pushed: what is live, or else what its tag points at. `None`: that was asked for.
    fn kept(&mut self, component: &ComponentName, container: &Container) -> Step<Option<PinnedImage>> {
        let live = self.facts.live.get(component).and_then(|live| live.get(&container.name));
        let ContainerImage::Ready(image) = &container.image else {
            let text = format!("container `{}` has no image: an image service builds none", container.name);
            return self.stop("image", SkipReason::NotReady, Saw::text(text));
        };
        if let Some(pinned) = image.pinned() {
            return Ok(Some(pinned));
        }
        if let Some(live) = live.filter(|live| follows(container, image, live)) {
            return Ok(Some(live.clone()));
        }
        self.tag_now(&image.name.tagged(own_tag(image)))
    }
}

/// Whether what is live is what the settings may have meant.
fn follows(container: &Container, image: &ImageRef, live: &PinnedImage) -> bool {
    let by_pattern = |tag: &Tag| container.tags.matched_by(tag.as_str()).is_some();
    let same_tag = live.tag.as_ref() == Some(&own_tag(image));
    live.name == image.name && (same_tag || live.tag.as_ref().is_some_and(by_pattern))
}

fn own_tag(image: &ImageRef) -> Tag {
    image.tag.clone().unwrap_or_else(Tag::latest)
}

/// The version that a tag is; one `v` may stand before it.
fn version(tag: &str) -> Option<Version> {
    Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()
}
