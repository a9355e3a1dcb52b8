//! Repositories and tags, to choose from.

use kiops_core::ErrorKind;
use kiops_core::image::{Catalog, CatalogTag, Listing, Registry as _};
use kiops_core::name::Digest;
use kiops_registry::dockerhub::DockerHubConfig;

use super::host::Hub;
use super::{ME, client, client_of, login};
use crate::fixtures::image;

/// Every tag of a list, and how many pages it took.
async fn every(catalog: &dyn Catalog, name: &str, wanted: Listing) -> (Vec<CatalogTag>, usize) {
    let (image, mut all, mut wanted, limit) = (image(name), Vec::new(), wanted.clone(), wanted.limit);
    for pages in 1_usize.. {
        let page = catalog.available_tags(&image, &wanted).await.unwrap();
        assert!(limit == 0 || page.items.len() <= limit);
        all.extend(page.items);
        let Some(next) = page.next else { return (all, pages) };
        wanted = wanted.after(next);
    }
    unreachable!()
}

#[tokio::test(start_paused = true)]
async fn official_images_are_found_by_a_text_in_their_name() {
    let client = client(Hub::new().http(), None);
    let catalog = client.catalog().unwrap();
    let found = catalog.images("library", &Listing::text("sql")).await.unwrap();
    let [mysql] = &found.items[..] else { panic!("{found:?}") };
    assert_eq!(mysql.image, image("docker.io/library/mysql"));
    assert_eq!(mysql.description, "What mysql is. And more.");
    assert_eq!((mysql.private, mysql.pulls, found.total), (false, Some(15_722_123), Some(1)));
    let mut names = Vec::new();
    let mut wanted = Listing::all().limit(2);
    loop {
        let page = catalog.images("library", &wanted).await.unwrap();
        names.extend(page.items.into_iter().map(|found| found.image.path().to_owned()));
        let Some(next) = page.next else { break };
        wanted = wanted.after(next);
    }
    assert_eq!(names, ["library/mysql", "library/nginx", "library/postgres"]);
    assert_eq!(catalog.images("nobody", &Listing::all()).await.unwrap().items, []);
}

#[tokio::test(start_paused = true)]
async fn the_available_tags_of_an_image_come_newest_first_page_by_page() {
    let client = client(Hub::new().http(), None);
    for limit in [1, 7, 100, 0] {
        let (all, _) = every(&client, "docker.io/library/mysql", Listing::all().limit(limit)).await;
        let names: Vec<&str> = all.iter().map(|found| found.tag.as_str()).collect();
        assert_eq!(names, ["latest", "8.0"], "{limit}");
    }
    let (all, pages) = every(&client, "docker.io/library/nginx", Listing::all()).await;
    assert_eq!((all.len(), pages), (233, 3));
    // Docker's users write it without `library`.
    let (short, _) = every(&client, "docker.io/nginx", Listing::all()).await;
    assert_eq!(short, all);
    let latest = &all[0];
    assert_eq!(latest.platforms, ["linux/amd64", "linux/arm/v7"]);
    assert_eq!((latest.digest.clone(), latest.size), (Some(Digest::of(b"latest")), Some(1000)));
    assert_eq!(latest.pushed_at.unwrap().to_string(), "2026-05-01T12:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn tags_are_found_by_a_text_in_them_wherever_they_are() {
    let client = client(Hub::new().http(), None);
    for limit in [0, 1, 3, 250] {
        let (all, _) =
            every(&client, "docker.io/library/nginx", Listing::text("1-alpine").limit(limit)).await;
        let expected: Vec<String> =
            (0..230).rev().filter(|n| n % 10 == 1).map(|n| format!("1.{n}-alpine")).collect();
        let names: Vec<String> = all.iter().map(|found| found.tag.to_string()).collect();
        assert_eq!(names, expected, "{limit}");
    }
    let (none, _) = every(&client, "docker.io/library/nginx", Listing::text("windows")).await;
    assert_eq!(none, []);
}

#[tokio::test(start_paused = true)]
async fn one_call_looks_through_so_many_pages_and_says_where_to_go_on() {
    let config = DockerHubConfig { search_pages: 1, ..DockerHubConfig::default() };
    let hub = Hub::new();
    let http = hub.http();
    let client = client_of(config, http.clone(), None);
    let wanted = Listing::text("1.0-alpine");
    let first = client.available_tags(&image("docker.io/library/nginx"), &wanted).await.unwrap();
    assert!(first.items.is_empty() && first.next.is_some());
    assert_eq!(http.seen().len(), 1);
    let (all, pages) = every(&client, "docker.io/library/nginx", wanted).await;
    assert_eq!((all.len(), pages), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_seen_is_not_there_and_says_so() {
    let hub = Hub::new();
    let secret = image("docker.io/me/secret");
    let error = client(hub.http(), None).available_tags(&secret, &Listing::all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.remedy().unwrap().contains("private"), "{error}");
    let found = client(hub.http(), Some(login(ME))).available_tags(&secret, &Listing::all()).await.unwrap();
    assert_eq!(found.items.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn names_and_texts_reach_docker_hub_as_data() {
    let http = Hub::new().http();
    let client = client(http.clone(), None);
    for bad in ["../../orgs", "a/b", "a?x=1", ""] {
        assert_eq!(
            client.images(bad, &Listing::all()).await.unwrap_err().kind(),
            ErrorKind::Invalid,
            "{bad}"
        );
    }
    let other = image("harbor.example.com/library/nginx");
    assert_eq!(client.available_tags(&other, &Listing::all()).await.unwrap_err().kind(), ErrorKind::Invalid);
    let nowhere = Listing::all().after("https://evil.example/page");
    assert_eq!(client.images("library", &nowhere).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(http.seen().is_empty(), "nothing of it was asked");
    client.images("library", &Listing::text("&page_size=9#/../")).await.unwrap();
    let [seen] = &http.seen()[..] else { panic!("{:?}", http.seen()) };
    assert!(seen.url.ends_with("&name=%26page_size%3D9%23%2F..%2F"), "{}", seen.url);
}
