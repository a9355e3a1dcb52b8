//! Image pushes: what of an image service is redeployed.

use std::collections::BTreeMap;

use super::decision::{PlannedRelease, SkipReason};
use super::facts::{Answer, Known, Question};
use super::judge::{Judge, Rules, Step};
use super::text::Saw;
use crate::event::{EventKind, ImagePush};
use crate::filter::{TagFilter, version};
use crate::name::{ComponentName, ContainerName, Digest, ImageRef, PinnedImage, Tag};
use crate::service::{Component, Container, ContainerImage, Target};

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
        let (mut pushed, mut missing) = (Vec::new(), None);
        for follower in &followers {
            match self.tag_now(&follower.image.name.tagged(tag.clone())) {
                Ok(Some(image)) => pushed.push((follower.component, &follower.container.name, image)),
                Ok(None) => {}
                Err(why) => missing = Some(why),
            }
        }
        if let Some((_, _, image)) = pushed.first() {
            self.says_digest(push, &image.digest);
        }
        let mut planned = Vec::new();
        for component in &self.service.settings.components {
            let images: BTreeMap<_, _> = pushed
                .iter()
                .filter(|(of, ..)| **of == component.name)
                .map(|(_, container, image)| ((*container).clone(), image.clone()))
                .collect();
            if images.is_empty() || self.is_live(&component.name, &images) {
                continue;
            }
            match self.with_kept(component, images) {
                Ok(images) => planned.push(PlannedRelease { component: component.name.clone(), images }),
                Err(why) => {
                    self.note(
                        "image",
                        Saw::text(format!("component `{}` stays as it is: {why}", component.name)),
                    );
                    missing = Some(why);
                }
            }
        }
        if !self.questions.is_empty() {
            return Ok(planned);
        }
        match missing {
            Some(why) if planned.is_empty() => self.stop("image", SkipReason::NoImage, Saw::text(why)),
            None if planned.is_empty() => {
                let saw = Saw::text("the image that is live, or on its way, has this digest already");
                self.stop("digest", SkipReason::Unchanged, saw)
            }
            _ => {
                self.host_rules(rules)?;
                Ok(planned)
            }
        }
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
                None => (image.tag_or_latest() == *tag).then(|| tag.as_str()),
            };
            let Some(pattern) = matched else {
                match &image.digest {
                    Some(digest) => patterns.push(digest.to_string()),
                    None if filter.is_empty() => patterns.push(image.tag_or_latest().to_string()),
                    None => patterns.extend(filter.patterns().iter().cloned()),
                }
                continue;
            };
            if let Some(live) = self.newer_live(&follower, pattern, tag) {
                older = Some(format!("container `{name}` runs `{live}`, a newer version than `{tag}`"));
                continue;
            }
            if self.was_told_later(&follower) {
                older =
                    Some(format!("container `{name}` runs what was told of, or asked for, after this push"));
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
    fn newer_live(&self, follower: &Follower<'_>, pattern: &str, tag: &Tag) -> Option<&'a Tag> {
        let live = self.facts.live.get(follower.component)?.images.get(&follower.container.name)?;
        let live = live.tag.as_ref().filter(|_| live.name == follower.image.name)?;
        // One that is not followed any more stands in the way of none.
        let counts =
            TagFilter::is_range(pattern) && follower.container.tags.matched_by(live.as_str()).is_some();
        (counts && version(live.as_str())? > version(tag.as_str())?).then_some(live)
    }

    /// Whether what runs came after this push: its delivery waited for a registry, and is no news any more (E57).
    fn was_told_later(&self, follower: &Follower<'_>) -> bool {
        let told =
            self.facts.live.get(follower.component).and_then(|live| live.told.get(&follower.container.name));
        matches!((told, self.facts.received_at), (Some(told), Some(received)) if *told > received)
    }

    fn auto_deploy(&mut self) -> Step {
        let deploy = &self.service.settings.deploy;
        let saw = Saw::Switch { name: "auto deploy".into(), on: deploy.auto };
        if !deploy.auto {
            return self.stop("auto deploy", SkipReason::AutoDeployOff, saw);
        }
        self.pass("auto deploy", saw);
        Ok(())
    }

    /// The image that a tag points at now; `None`: that was asked for. The error says why it cannot be told.
    fn tag_now(&mut self, image: &ImageRef) -> Result<Option<PinnedImage>, String> {
        let question = Question::Image { image: image.clone() };
        match self.facts.know(&question) {
            Known::Answer(Answer::Image(Some(digest))) => {
                Ok(ImageRef { digest: Some(digest.clone()), ..image.clone() }.pinned())
            }
            Known::Open => {
                self.questions.push(question);
                Ok(None)
            }
            Known::Answer(_) => Err(format!("`{image}` is not in its registry")),
            Known::Unanswered => Err(format!(
                "the registry did not say what `{image}` is: look at its credential, then send the event again"
            )),
        }
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
        let Some(live) = self.facts.live.get(component) else { return false };
        // What waits for an approval is what the service would run next.
        let runs = match &live.waiting {
            Some(waiting) => waiting,
            None if live.unsure => return false,
            None => &live.images,
        };
        images.iter().all(|(container, image)| {
            runs.get(container).is_some_and(|runs| runs.name == image.name && runs.digest == image.digest)
        })
    }

    /// The images of all containers: these, and of those that were not pushed what is live, or else what their tags point at. The error
    /// says which cannot be told.
    fn with_kept(
        &mut self,
        component: &Component,
        mut images: BTreeMap<ContainerName, PinnedImage>,
    ) -> Result<BTreeMap<ContainerName, PinnedImage>, String> {
        let Some(Target::Workload(workload)) = &component.runs else { return Ok(images) };
        for container in &workload.containers {
            if !images.contains_key(&container.name)
                && let Some(image) = self.kept(&component.name, container)?
            {
                images.insert(container.name.clone(), image);
            }
        }
        Ok(images)
    }

    fn kept(
        &mut self,
        component: &ComponentName,
        container: &Container,
    ) -> Result<Option<PinnedImage>, String> {
        let ContainerImage::Ready(image) = &container.image else {
            return Err(format!("container `{}` has no image: an image service builds none", container.name));
        };
        if let Some(pinned) = image.pinned() {
            return Ok(Some(pinned));
        }
        let live = self.facts.live.get(component).and_then(|live| live.images.get(&container.name));
        match live.filter(|live| live.name == image.name) {
            Some(live) => Ok(Some(live.clone())),
            None => self.tag_now(&image.name.tagged(image.tag_or_latest())),
        }
    }
}
