//! Hooks, and which of them a delivery may belong to: looked up, so that many services cost a delivery no more than few.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use crate::name::{HookId, ProviderName, RepoId, ServiceName};
use crate::store::{Hook, HookRoute, Routes};

#[derive(Debug, Default)]
pub(super) struct Hooks {
    hooks: BTreeMap<ServiceName, Arc<Hook>>,
    senders: HashMap<ProviderName, Sender>,
}

/// The hooks of one sender, by everything that a delivery may name.
#[derive(Debug, Default)]
struct Sender {
    by_path: HashMap<String, Group>,
    by_id: HashMap<RepoId, Group>,
    by_hook: HashMap<HookId, Group>,
    /// How many repositories, by id and by path, have so many secrets.
    repositories: BTreeMap<usize, usize>,
}

/// Hooks that share something, and how many secrets they have together.
#[derive(Debug, Default)]
struct Group {
    hooks: Vec<Arc<Hook>>,
    secrets: usize,
}

impl Hooks {
    pub(super) fn get(&self, service: &ServiceName) -> Option<&Hook> {
        self.hooks.get(service).map(Arc::as_ref)
    }

    pub(super) fn put(&mut self, hook: &Hook) {
        let hook = Arc::new(hook.clone());
        if let Some(before) = self.hooks.insert(hook.service.clone(), Arc::clone(&hook))
            && let Some(sender) = self.senders.get_mut(&before.provider)
        {
            sender.change(&before, Group::leave);
        }
        self.senders.entry(hook.provider.clone()).or_default().change(&hook, Group::join);
    }

    pub(super) fn routes(&self, route: &HookRoute) -> Routes {
        let Some(sender) = self.senders.get(&route.provider) else { return Routes::default() };
        let mut found: Vec<Hook> = match (&route.hook, &route.repository) {
            (Some(hook), _) => of(sender.by_hook.get(hook)).cloned().collect(),
            (None, Some(repository)) => {
                let by_path = of(sender.by_path.get(&repository.path));
                match &repository.id {
                    None => by_path.cloned().collect(),
                    // By path only those that have no id of their own.
                    Some(id) => {
                        let without_id = by_path.filter(|hook| hook.repository.id.is_none());
                        of(sender.by_id.get(id)).chain(without_id).cloned().collect()
                    }
                }
            }
            (None, None) => Vec::new(),
        };
        found.sort_by(|a, b| a.service.cmp(&b.service));
        let most_secrets = sender.repositories.last_key_value().map_or(0, |(secrets, _)| *secrets);
        Routes { hooks: found, most_secrets }
    }
}

impl Sender {
    /// Lets a hook join or leave every group that it belongs to.
    fn change(&mut self, hook: &Arc<Hook>, how: fn(&mut Group, &Arc<Hook>)) {
        let Self { by_path, by_id, by_hook, repositories } = self;
        regroup(by_path, path_of(hook), hook, how, Some(&mut *repositories));
        if let Some(id) = &hook.repository.id {
            regroup(by_id, id.clone(), hook, how, Some(repositories));
        }
        if let Some(id) = &hook.hook {
            regroup(by_hook, id.clone(), hook, how, None);
        }
    }
}

fn regroup<K: Eq + Hash>(
    groups: &mut HashMap<K, Group>,
    key: K,
    hook: &Arc<Hook>,
    how: fn(&mut Group, &Arc<Hook>),
    mut repositories: Option<&mut BTreeMap<usize, usize>>,
) {
    let mut group = groups.remove(&key).unwrap_or_default();
    if let Some(repositories) = &mut repositories
        && let Some(count) = repositories.get_mut(&group.secrets)
    {
        *count -= usize::from(!group.hooks.is_empty());
        if *count == 0 {
            repositories.remove(&group.secrets);
        }
    }
    how(&mut group, hook);
    if group.hooks.is_empty() {
        return;
    }
    if let Some(repositories) = repositories {
        *repositories.entry(group.secrets).or_default() += 1;
    }
    groups.insert(key, group);
}

impl Group {
    fn join(&mut self, hook: &Arc<Hook>) {
        self.hooks.push(Arc::clone(hook));
        self.secrets += hook.secrets.len();
    }

    fn leave(&mut self, hook: &Arc<Hook>) {
        self.hooks.retain(|other| other.service != hook.service);
        self.secrets -= hook.secrets.len();
    }
}

/// What a hook shares with others of its path. One that names no repository shares it with none; no repository has such a path.
fn path_of(hook: &Hook) -> String {
    match hook.repository.path.as_str() {
        "" => format!("\0{}", hook.service),
        path => path.to_owned(),
    }
}

/// The hooks of a group.
fn of(group: Option<&Group>) -> impl Iterator<Item = &Hook> {
    group.into_iter().flat_map(|group| &group.hooks).map(Arc::as_ref)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Repository;
    use crate::secret::Secret;
    use crate::webhook::SecretSet;
    use proptest::prelude::*;

    fn hook(service: u8, provider: u8, id: Option<u8>, path: u8, own: Option<u8>, secrets: usize) -> Hook {
        Hook {
            service: ServiceName::parse(format!("s{service}")).unwrap(),
            provider: ProviderName::parse(format!("p{provider}")).unwrap(),
            repository: repository(id, path),
            hook: own.map(hook_id),
            secrets: SecretSet::new((0..secrets).filter_map(|n| Secret::new(format!("secret {n}")))),
        }
    }

    fn repository(id: Option<u8>, path: u8) -> Repository {
        Repository { id: id.map(|id| RepoId::parse(id.to_string()).unwrap()), path: format!("team/{path}") }
    }

    fn hook_id(n: u8) -> HookId {
        HookId::parse(format!("0123456789abcdef-{n}")).unwrap()
    }

    /// What [`crate::store::Store::routes`] says, looked for hook by hook.
    fn one_by_one(hooks: &[Hook], route: &HookRoute) -> (Vec<String>, usize) {
        let of_sender = || hooks.iter().filter(|hook| hook.provider == route.provider);
        let wanted = |hook: &&Hook| match (&route.hook, &route.repository) {
            (Some(id), _) => hook.hook.as_ref() == Some(id),
            (None, Some(theirs)) => match (&hook.repository.id, &theirs.id) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => hook.repository.path == theirs.path,
            },
            (None, None) => false,
        };
        let mut found: Vec<String> =
            of_sender().filter(wanted).map(|hook| hook.service.to_string()).collect();
        found.sort();
        let shared = |a: &Repository, b: &Repository| a.path == b.path;
        let shared_id = |a: &Repository, b: &Repository| a.id.is_some() && a.id == b.id;
        let together = |hook: &Hook, same: &dyn Fn(&Repository, &Repository) -> bool| {
            let ours = of_sender().filter(|other| same(&hook.repository, &other.repository));
            ours.map(|other| other.secrets.len()).sum::<usize>()
        };
        let most = of_sender().map(|hook| together(hook, &shared).max(together(hook, &shared_id)));
        (found, most.max().unwrap_or(0))
    }

    proptest! {
        #[test]
        fn looking_up_finds_what_looking_at_every_hook_finds(
            puts in prop::collection::vec(
                (0u8..6, 0u8..2, prop::option::of(0u8..3), 0u8..3, prop::option::of(0u8..3), 0usize..3), 0..20),
            provider in 0u8..3,
            own in prop::option::of(0u8..4),
            named in prop::option::of((prop::option::of(0u8..4), 0u8..4)),
        ) {
            let (mut hooks, mut plain) = (Hooks::default(), BTreeMap::new());
            for (service, provider, id, path, own, secrets) in puts {
                let hook = hook(service, provider, id, path, own, secrets);
                hooks.put(&hook);
                plain.insert(hook.service.clone(), hook);
            }
            let plain: Vec<Hook> = plain.into_values().collect();
            let route = HookRoute {
                provider: ProviderName::parse(format!("p{provider}")).unwrap(),
                hook: own.map(hook_id),
                repository: named.map(|(id, path)| repository(id, path)),
            };
            let routes = hooks.routes(&route);
            let found = routes.hooks.iter().map(|hook| hook.service.to_string()).collect::<Vec<_>>();
            prop_assert_eq!((found, routes.most_secrets), one_by_one(&plain, &route));
        }
    }

    #[test]
    fn hooks_that_name_no_repository_are_no_repository_together() {
        let mut hooks = Hooks::default();
        for at in 0..50 {
            let hook = Hook {
                service: ServiceName::parse(format!("s{at}")).unwrap(),
                provider: ProviderName::parse("ghcr").unwrap(),
                repository: Repository::default(),
                hook: Some(HookId::parse(format!("0123456789abcdef-{at}")).unwrap()),
                secrets: SecretSet::new([Secret::new("s3cret").unwrap()]),
            };
            hooks.put(&hook);
        }
        let provider = ProviderName::parse("ghcr").unwrap();
        let routes = hooks.routes(&HookRoute { provider, hook: None, repository: None });
        assert_eq!(routes.most_secrets, 1, "MACs that every request to this sender costs");
    }
}
