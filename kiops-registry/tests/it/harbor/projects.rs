//! Projects, and what is in them.

use kiops_core::ErrorKind;
use kiops_core::image::{Listed, Listing, NewProject, Projects, Registry as _, StorageQuota};
use kiops_core::name::Digest;
use kiops_registry::harbor::Harbor;

use super::host::{ADMIN, Host, PASSWORD, Role, Who};
use crate::fixtures::{image, tag};

fn projects(harbor: &Harbor) -> &dyn Projects {
    harbor.projects().unwrap()
}

fn private(name: &str) -> NewProject {
    NewProject { name: name.into(), public: false, storage_limit: None }
}

fn digest(of: &str) -> Digest {
    Digest::of(of.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn projects_are_listed_in_pages_and_searched() {
    let host = Host::new();
    for name in ["web", "api", "web-old", "shop"] {
        host.project(name);
    }
    let harbor = host.client();
    let names = |page: &Listed<kiops_core::image::Project>| -> Vec<String> {
        page.items.iter().map(|project| project.name.clone()).collect()
    };
    let first = projects(&harbor).list(&Listing::all().limit(2)).await.unwrap();
    assert_eq!((names(&first), first.total), (vec!["api".into(), "shop".into()], Some(5)));
    let next = Listing::all().after(first.next.unwrap());
    let second = projects(&harbor).list(&next).await.unwrap();
    assert_eq!(names(&second), ["team", "web"]);
    let third = projects(&harbor).list(&Listing::all().after(second.next.unwrap())).await.unwrap();
    assert_eq!((names(&third), third.next), (vec!["web-old".into()], None));
    let found = projects(&harbor).list(&Listing::text("Web")).await.unwrap();
    assert_eq!((names(&found), found.next), (vec!["web".into(), "web-old".into()], None));
}

#[tokio::test(start_paused = true)]
async fn a_search_text_never_becomes_more_than_a_text() {
    let host = Host::new();
    host.artifact("app", digest("a").as_str(), &["v1"]);
    let (harbor, app) = (host.client(), image("harbor.example.com/team/app"));
    for text in ["a,b=c", "{a b}", "(a)", "[a~b]", "a%", "*", "a b", "\u{e9}", "~"] {
        let wanted = Listing::text(text);
        assert!(projects(&harbor).list(&wanted).await.unwrap().items.is_empty());
        assert!(projects(&harbor).repositories("team", &wanted).await.unwrap().items.is_empty());
        assert!(projects(&harbor).artifacts(&app, &wanted).await.unwrap().items.is_empty());
    }
    assert!(host.seen().is_empty(), "no name has them, so nobody need be asked");
    for after in ["", "x", "0/10", "1/0", "1/101", "-1/10", "1/10/2"] {
        let error = projects(&harbor).list(&Listing::all().after(after)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_project_is_made_once_with_its_quota() {
    let host = Host::new();
    let harbor = host.client();
    let wanted = NewProject { storage_limit: Some(5 << 30), ..private("shop") };
    let made = projects(&harbor).create(&wanted).await.unwrap();
    assert!(made.created && !made.project.public && !made.project.is_cache);
    assert_eq!(made.project.quota, Some(StorageQuota { limit: Some(5 << 30), used: 77 }));
    assert_eq!(made.project.repositories, Some(0));
    let again = projects(&harbor).create(&wanted).await.unwrap();
    assert!(!again.created);
    assert_eq!(again.project, made.project);
    assert_eq!(projects(&harbor).find("shop").await.unwrap(), Some(made.project));
    assert_eq!(projects(&harbor).find("missing").await.unwrap(), None);
    let open = NewProject { public: true, ..private("open") };
    let open = projects(&harbor).create(&open).await.unwrap().project;
    assert_eq!((open.public, open.quota.unwrap().limit), (true, None));
}

#[tokio::test(start_paused = true)]
async fn a_project_whose_name_is_a_number_is_not_taken_for_an_id() {
    let host = Host::new();
    let harbor = host.client();
    let made = projects(&harbor).create(&private("7")).await.unwrap();
    assert_eq!((made.project.name.as_str(), made.created), ("7", true));
    assert_ne!(made.project.id, "7", "that is the id of `team`");
}

#[tokio::test(start_paused = true)]
async fn a_project_that_is_there_and_public_does_not_pass_for_a_private_one() {
    let host = Host::new();
    host.team(|team| team.public = true);
    let error = projects(&host.client()).create(&private("team")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("is public, not private"), "{error}");
    assert!(host.team(|team| team.public), "it is left as it is");
}

#[tokio::test(start_paused = true)]
async fn whoever_may_not_make_or_see_a_project_is_told_so() {
    let host = Host::new();
    host.account("dev", Who::Member(99, Role::Developer));
    host.account("robot$ci", Who::Robot(99, Vec::new()));
    host.account("robot$maker", Who::Maker);
    let dev = host.client_as("dev", PASSWORD);
    let error = projects(&dev).create(&private("team")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("may not see it"), "{error}");
    let error = projects(&dev).find("team").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    let robot = host.client_as("robot$ci", PASSWORD);
    let error = projects(&robot).create(&private("new")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.remedy().unwrap().contains("Project Creation"), "{error}");
    // A limit that Harbor does not heed shows in what it gives back.
    let wanted = NewProject { storage_limit: Some(1 << 30), ..private("devs") };
    let made = projects(&dev).create(&wanted).await.unwrap();
    assert_eq!((made.created, made.project.quota.unwrap().limit), (true, None));
    let maker = host.client_as("robot$maker", PASSWORD);
    let made = projects(&maker).create(&private("made")).await.unwrap();
    assert_eq!((made.created, made.project.name.as_str(), made.project.quota), (true, "made", None));
    let id = host.state().projects.iter().find(|one| one.name == "made").unwrap().id;
    assert_eq!(made.project.id, id.to_string());
}

#[tokio::test(start_paused = true)]
async fn names_that_are_no_projects_are_refused_before_anything_is_asked() {
    let host = Host::new();
    let harbor = host.client();
    for name in ["", "*", "..", "a/b", "Team", "a?b", "a%2Fb"] {
        let error = projects(&harbor).create(&private(name)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
        projects(&harbor).find(name).await.unwrap_err();
        projects(&harbor).repositories(name, &Listing::all()).await.unwrap_err();
    }
    let huge = NewProject { storage_limit: Some(u64::MAX), ..private("huge") };
    projects(&harbor).create(&huge).await.unwrap_err();
    assert!(host.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn repositories_with_slashes_are_listed_looked_into_and_removed() {
    let host = Host::new();
    host.artifact("app", digest("a").as_str(), &["v1"]);
    host.artifact("sub/deep/app", digest("b").as_str(), &["v2", "latest"]);
    host.artifact("sub/deep/app", digest("c").as_str(), &[]);
    host.artifact("sub/deep/app", "sha512:00", &["odd"]);
    let harbor = host.client();
    let listed = projects(&harbor).repositories("team", &Listing::text("deep")).await.unwrap();
    let deep = image("harbor.example.com/team/sub/deep/app");
    assert_eq!(listed.items.iter().map(|one| &one.image).collect::<Vec<_>>(), [&deep]);
    assert_eq!(listed.items[0].artifacts, Some(3));
    let artifacts = projects(&harbor).artifacts(&deep, &Listing::all()).await.unwrap().items;
    let digests: Vec<&Digest> = artifacts.iter().map(|one| &one.digest).collect();
    assert_eq!(digests, [&digest("c"), &digest("b")], "newest first, and what we cannot name left out");
    let tags: Vec<&str> = artifacts[1].tags.iter().map(|one| one.tag.as_str()).collect();
    assert_eq!((tags, artifacts[1].size), (vec!["latest", "v2"], 1234));
    assert!(artifacts[1].pushed_at.is_some() && artifacts[1].pulled_at.is_none());
    let found = projects(&harbor).artifacts(&deep, &Listing::text("lat")).await.unwrap().items;
    assert_eq!(found.len(), 1);
    let asked = host.asked().pop().unwrap();
    assert_eq!(asked, "GET projects/team/repositories/sub%252Fdeep%252Fapp/artifacts");
    assert!(projects(&harbor).delete_repository(&deep).await.unwrap());
    assert!(!projects(&harbor).delete_repository(&deep).await.unwrap(), "a second time there is nothing");
    assert_eq!(projects(&harbor).repositories("team", &Listing::all()).await.unwrap().items.len(), 1);
    let error = projects(&harbor).artifacts(&deep, &Listing::all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn artifacts_come_in_pages() {
    let host = Host::new();
    for number in 0..250 {
        host.artifact("app", digest(&number.to_string()).as_str(), &[]);
    }
    let (harbor, app) = (host.client(), image("harbor.example.com/team/app"));
    let (mut all, mut wanted) = (Vec::new(), Listing::all());
    loop {
        let page = projects(&harbor).artifacts(&app, &wanted).await.unwrap();
        assert_eq!(page.total, Some(250));
        all.extend(page.items);
        let Some(next) = page.next else { break };
        wanted = Listing::all().after(next);
    }
    assert_eq!((all.len(), host.asked().len()), (250, 3));
    all.dedup();
    assert_eq!(all.len(), 250);
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_removed_alone_and_a_digest_with_all_its_tags() {
    let host = Host::new();
    let (harbor, app) = (host.client(), image("harbor.example.com/team/sub/app"));
    host.artifact("sub/app", digest("a").as_str(), &["v1", "latest"]);
    for _ in 0..2 {
        harbor.delete(&app.tagged(tag("v1"))).await.unwrap();
    }
    let left = projects(&harbor).artifacts(&app, &Listing::all()).await.unwrap().items;
    assert_eq!(left[0].tags.iter().map(|one| one.tag.as_str()).collect::<Vec<_>>(), ["latest"]);
    for _ in 0..2 {
        harbor.delete(&app.at(digest("a"))).await.unwrap();
    }
    assert!(projects(&harbor).artifacts(&app, &Listing::all()).await.unwrap().items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_rule_protects_is_a_conflict_and_a_missing_right_is_named() {
    let host = Host::new();
    let app = image("harbor.example.com/team/app");
    host.artifact("app", digest("a").as_str(), &["v1"]);
    host.team(|team| team.repositories.get_mut("app").unwrap()[0].immutable = true);
    let harbor = host.client_as(ADMIN, PASSWORD);
    let listed = projects(&harbor).artifacts(&app, &Listing::all()).await.unwrap().items;
    assert!(listed[0].tags[0].immutable);
    let error = harbor.delete(&app.tagged(tag("v1"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.remedy().unwrap().contains("Tag Immutability"), "{error}");
    let error = projects(&harbor).delete_repository(&app).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    host.account("dev", Who::Member(7, Role::Developer));
    let dev = host.client_as("dev", PASSWORD);
    for error in [
        dev.delete(&app.tagged(tag("v1"))).await.unwrap_err(),
        dev.delete(&app.at(digest("a"))).await.unwrap_err(),
        projects(&dev).delete_repository(&app).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert!(error.remedy().unwrap().contains("Maintainer"), "{error}");
    }
}
