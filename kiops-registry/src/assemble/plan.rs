//! Which stages a build needs, and whether this executor can build them. Pure: the same answer before the start and after it.

use std::collections::BTreeMap;

use kiops_core::build::BuildSpec;
use kiops_core::name::{ImageRef, Tag};
use kiops_core::stage::FailureKind;

use super::dockerfile::{Copy, Dockerfile, Op, Source, Stage, Step, word_error};
use super::outcome::{Stop, invalid, unsupported};
use super::words::{self, Reading, WORD_MAX};
use crate::manifest::Platform;

/// What is to be done, in order.
#[derive(Debug)]
pub(super) struct Plan {
    /// What the image is for.
    pub(super) platform: Platform,
    /// The stages that are needed; the last one is the target.
    pub(super) stages: Vec<PlannedStage>,
    /// ARG before the first FROM, and the platform's arguments, with their values.
    pub(super) globals: BTreeMap<String, String>,
    /// The Dockerfile's escape character.
    pub(super) escape: char,
    /// Build arguments that no needed ARG takes.
    pub(super) unused_args: Vec<String>,
}

/// A stage with everything outside of it resolved to a place in the plan.
#[derive(Debug)]
pub(super) struct PlannedStage {
    pub(super) base: Base,
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) steps: Vec<Step>,
    /// Where each `--from` value of its COPY instructions leads.
    pub(super) sources: BTreeMap<String, Base>,
    /// Whether its layers end up in the image: it is the target, or the target is built on it.
    pub(super) in_image: bool,
}

/// What a stage is built on, or files are copied from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    Scratch,
    /// A stage, by its place in the plan.
    Stage(usize),
    Image {
        image: ImageRef,
        platform: Platform,
    },
}

impl Plan {
    /// Parses and plans a Dockerfile.
    ///
    /// # Errors
    /// `DockerfileInvalid` with the line, or a refusal for what this executor does not do in a stage that is needed.
    pub(super) fn new(spec: &BuildSpec, dockerfile: &str, on: On<'_>) -> Result<Self, Stop> {
        let file = Dockerfile::parse(dockerfile)?;
        let mut globals = on.args();
        for (line, args) in &file.globals {
            for (name, default) in args {
                let value = match (spec.build_args.get(name), default) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(word)) => Some(expand(word, file.escape, *line, &globals)?),
                    (None, None) => None,
                };
                if let Some(value) = value {
                    globals.insert(name.clone(), value);
                }
            }
        }
        let target = target(&file, spec.target.as_deref())?;
        let mut planner =
            Planner { file: &file, globals: &globals, platform: on.target, found: BTreeMap::new() };
        planner.need(target)?;
        let order: Vec<usize> = planner.found.keys().copied().collect();
        let place = |stage: usize| order.binary_search(&stage).unwrap_or(0);
        let moved = |base: Base| match base {
            Base::Stage(stage) => Base::Stage(place(stage)),
            other => other,
        };
        let found = planner.found;
        let mut stages: Vec<PlannedStage> = found
            .into_iter()
            .map(|(stage, needs)| {
                let Stage { line, text, steps, .. } = file.stages[stage].clone();
                let sources = needs.sources.into_iter().map(|(name, base)| (name, moved(base))).collect();
                PlannedStage { base: moved(needs.base), line, text, steps, sources, in_image: false }
            })
            .collect();
        let mut next = stages.len().checked_sub(1);
        while let Some(at) = next {
            let Some(stage) = stages.get_mut(at) else { break };
            stage.in_image = true;
            next = match stage.base {
                Base::Stage(base) => Some(base),
                _ => None,
            };
        }
        let unused_args =
            spec.build_args.keys().filter(|name| !takes(&file, &stages, name)).cloned().collect();
        Ok(Self { platform: on.target.clone(), stages, globals, escape: file.escape, unused_args })
    }

    /// How many steps the log counts.
    pub(super) fn steps(&self) -> u32 {
        let steps: usize = self.stages.iter().map(|stage| stage.steps.len() + 1).sum();
        u32::try_from(steps).unwrap_or(u32::MAX)
    }
}

/// What a build is for, and on.
#[derive(Debug, Clone, Copy)]
pub(super) struct On<'a> {
    pub(super) target: &'a Platform,
    /// The first platform that is built for. Nothing is run, so that the machine's own has no part in it.
    pub(super) build: &'a Platform,
}

impl On<'_> {
    /// The arguments that every Docker builder knows without being told.
    fn args(self) -> BTreeMap<String, String> {
        [("BUILD", self.build), ("TARGET", self.target)]
            .into_iter()
            .flat_map(|(side, platform)| {
                [
                    (format!("{side}PLATFORM"), platform.to_string()),
                    (format!("{side}OS"), platform.os.clone()),
                    (format!("{side}ARCH"), platform.architecture.clone()),
                    (format!("{side}VARIANT"), platform.variant.clone().unwrap_or_default()),
                ]
            })
            .collect()
    }
}

fn takes(file: &Dockerfile, stages: &[PlannedStage], name: &str) -> bool {
    let in_stages = stages.iter().flat_map(|stage| &stage.steps).filter_map(|step| match &step.op {
        Op::Arg(args) => Some(args),
        _ => None,
    });
    file.globals.iter().map(|(_, args)| args).chain(in_stages).flatten().any(|(arg, _)| arg == name)
}

fn target(file: &Dockerfile, wanted: Option<&str>) -> Result<usize, Stop> {
    let last = file.stages.len().saturating_sub(1);
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return Ok(last) };
    let by_name = stage_named(file, wanted, file.stages.len());
    let by_number = wanted.parse::<usize>().ok().filter(|number| *number <= last);
    by_name.or(by_number).ok_or_else(|| {
        let names: Vec<&str> = file.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
        Stop::failed(FailureKind::DockerfileInvalid, format!("there is no stage `{wanted}`"))
            .with_remedy(format!("set the target to one of its stages: {}", names.join(", ")))
    })
}

/// The stage of this name among the first `before`.
fn stage_named(file: &Dockerfile, name: &str, before: usize) -> Option<usize> {
    let name = name.to_lowercase();
    file.stages.iter().take(before).rposition(|stage| stage.name.as_ref() == Some(&name))
}

fn expand(word: &str, escape: char, line: usize, values: &BTreeMap<String, String>) -> Result<String, Stop> {
    let lookup = |name: &str| values.get(name).cloned();
    let reading = Reading { escape, lookup: &lookup, quotes: true, max: WORD_MAX };
    words::expand(word, reading).map_err(|error| word_error(line, error))
}

/// What a stage needs from outside of it.
struct Needs {
    base: Base,
    sources: BTreeMap<String, Base>,
}

struct Planner<'a> {
    file: &'a Dockerfile,
    globals: &'a BTreeMap<String, String>,
    platform: &'a Platform,
    found: BTreeMap<usize, Needs>,
}

impl Planner<'_> {
    /// Finds what a stage needs, and what that needs. Stages only need earlier ones, so this ends.
    fn need(&mut self, target: usize) -> Result<(), Stop> {
        let mut open = vec![target];
        while let Some(at) = open.pop() {
            if self.found.contains_key(&at) {
                continue;
            }
            let Some(stage) = self.file.stages.get(at) else { continue };
            let needs = Needs { base: self.base(stage, at)?, sources: self.sources(stage, at)? };
            open.extend(std::iter::once(&needs.base).chain(needs.sources.values()).filter_map(|base| {
                match base {
                    Base::Stage(stage) => Some(*stage),
                    _ => None,
                }
            }));
            self.found.insert(at, needs);
        }
        Ok(())
    }

    fn base(&self, stage: &Stage, at: usize) -> Result<Base, Stop> {
        let expand = |word: &str| expand(word, self.file.escape, stage.line, self.globals);
        let base = expand(&stage.base)?;
        let platform = match &stage.platform {
            Some(platform) => parse_platform(&expand(platform)?).ok_or_else(|| {
                invalid(stage.line, format!("--platform={platform} is no platform such as linux/amd64"))
            })?,
            None => self.platform.clone(),
        };
        if base.is_empty() {
            return Err(invalid(stage.line, format!("the image `{}` after FROM is empty", stage.base))
                .with_remedy("give the argument a default, or set the build argument"));
        }
        if base == "scratch" {
            return Ok(Base::Scratch);
        }
        if let Some(earlier) = stage_named(self.file, &base, at) {
            return Ok(Base::Stage(earlier));
        }
        image(&base, stage.line).map(|image| Base::Image { image, platform })
    }

    fn sources(&self, stage: &Stage, at: usize) -> Result<BTreeMap<String, Base>, Stop> {
        let mut sources = BTreeMap::new();
        for step in &stage.steps {
            match &step.op {
                Op::Refused(what) => {
                    return Err(unsupported(step.line, format!("`{what}` in `{}`", cut(&step.text))));
                }
                Op::Copy(copy) => {
                    refuse_remote(copy, step.line)?;
                    if let Some(from) = &copy.from {
                        sources.insert(from.clone(), self.from(from, at, step.line)?);
                    }
                }
                _ => {}
            }
        }
        Ok(sources)
    }

    fn from(&self, from: &str, at: usize, line: usize) -> Result<Base, Stop> {
        if from.contains('$') {
            return Err(invalid(line, "variables stand for nothing in --from")
                .with_remedy("name a stage with `FROM $IMAGE AS name` and copy from `name`"));
        }
        if let Some(stage) = stage_named(self.file, from, at) {
            return Ok(Base::Stage(stage));
        }
        if let Ok(number) = from.parse::<usize>() {
            return match number < at {
                true => Ok(Base::Stage(number)),
                false => Err(invalid(line, format!("there is no stage {number} before this one"))),
            };
        }
        if stage_named(self.file, from, self.file.stages.len()).is_some() {
            return Err(invalid(line, format!("the stage `{from}` stands not before this one")));
        }
        if from == "scratch" {
            return Ok(Base::Scratch);
        }
        image(from, line).map(|image| Base::Image { image, platform: self.platform.clone() })
    }
}

fn image(name: &str, line: usize) -> Result<ImageRef, Stop> {
    let mut image = ImageRef::parse_familiar(name).map_err(|error| invalid(line, error.to_string()))?;
    if image.tag.is_none() && image.digest.is_none() {
        image.tag = Tag::parse("latest").ok();
    }
    Ok(image)
}

/// ADD of what is not a file of the context.
pub(super) fn refuse_remote(copy: &Copy, line: usize) -> Result<(), Stop> {
    let paths = copy.sources.iter().filter_map(|source| match source {
        Source::Path(path) => Some(path.as_str()),
        Source::Inline { .. } => None,
    });
    for path in paths.filter(|_| copy.add) {
        refuse_address(path, line)?;
    }
    Ok(())
}

/// Refuses a source of ADD that is an address or, by its name, an archive.
pub(super) fn refuse_address(path: &str, line: usize) -> Result<(), Stop> {
    let lower = path.to_ascii_lowercase();
    let address = lower.contains("://") || lower.starts_with("git@");
    let git = lower.split('#').next().is_some_and(|path| path.ends_with(".git"));
    if address || git {
        return Err(unsupported(line, format!("ADD of the address `{path}`")).with_remedy(
            "commit the file and use COPY, or use an executor that runs commands (Kaniko, BuildKit, Docker)",
        ));
    }
    let ends = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst"];
    if ends.iter().any(|end| lower.ends_with(end)) {
        return Err(archive_refused(path, line));
    }
    Ok(())
}

/// The refusal of ADD for an archive, which Docker would unpack.
pub(super) fn archive_refused(path: &str, line: usize) -> Stop {
    unsupported(line, format!("ADD of the archive `{path}`")).with_remedy(
        "use COPY to copy it as it is, commit its content instead, or use an executor that unpacks archives (Kaniko, BuildKit, Docker)",
    )
}

/// `os/architecture[/variant]`.
pub(super) fn parse_platform(text: &str) -> Option<Platform> {
    let mut parts = text.split('/');
    let word = |part: &str| {
        (!part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'))
            .then(|| part.to_ascii_lowercase())
    };
    let platform = Platform {
        os: word(parts.next()?)?,
        architecture: word(parts.next()?)?,
        variant: match parts.next() {
            Some(variant) => Some(word(variant)?),
            None => None,
        },
    };
    parts.next().is_none().then_some(platform)
}

fn cut(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    if short.len() < text.len() { format!("{short}...") } else { short }
}
