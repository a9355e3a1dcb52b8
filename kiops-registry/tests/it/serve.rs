//! The pull side of the distribution API.

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use kiops_core::image::{Attachment, Registry as _};
use kiops_core::name::Digest;
use kiops_core::stream;
use kiops_registry::layout::{ImageLayout, ServeBody};

use crate::fixtures::{blob_path, image, open, push, put};

async fn ask(layout: &ImageLayout, method: Method, uri: &str, range: Option<&str>) -> (Response<()>, Bytes) {
    let mut headers = HeaderMap::new();
    if let Some(range) = range {
        headers.insert("range", range.parse().unwrap());
    }
    let (parts, body) = layout.serve(&method, &uri.parse().unwrap(), &headers).await.into_parts();
    let body = match body {
        ServeBody::Empty => Bytes::new(),
        ServeBody::Bytes(bytes) => bytes,
        ServeBody::Stream { content, size } => {
            let bytes = stream::collect(content, 1 << 20).await.unwrap();
            assert_eq!(bytes.len() as u64, size);
            bytes
        }
    };
    (Response::from_parts(parts, ()), body)
}

async fn get(layout: &ImageLayout, uri: &str) -> (Response<()>, Bytes) {
    ask(layout, Method::GET, uri, None).await
}

fn header<'a>(response: &'a Response<()>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn code(body: &Bytes) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["errors"][0]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_image_is_pulled_by_its_name_without_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    let digest = push(&layout, "quickstart.local/team/site", &["abc1234"], "layer").await;
    let (response, _) = get(&layout, "/v2/").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "docker-distribution-api-version"), "registry/2.0");
    for reference in ["abc1234", digest.as_str()] {
        let (response, body) = get(&layout, &format!("/v2/team/site/manifests/{reference}")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(Digest::of(&body), digest);
        assert_eq!(header(&response, "docker-content-digest"), digest.as_str());
        assert_eq!(header(&response, "content-type"), crate::fixtures::MANIFEST);
        let (head, nothing) =
            ask(&layout, Method::HEAD, &format!("/v2/team/site/manifests/{reference}"), None).await;
        assert_eq!(header(&head, "content-length"), body.len().to_string());
        assert!(nothing.is_empty());
    }
    let blob = format!("/v2/team/site/blobs/{}", Digest::of(b"layer"));
    let (response, body) = get(&layout, &blob).await;
    assert_eq!((response.status(), &body[..]), (StatusCode::OK, &b"layer"[..]));
    let (head, nothing) = ask(&layout, Method::HEAD, &blob, None).await;
    assert_eq!((header(&head, "content-length"), nothing.len()), ("5", 0));
    let (part, body) = ask(&layout, Method::GET, &blob, Some("bytes=1-2")).await;
    assert_eq!((part.status(), &body[..]), (StatusCode::PARTIAL_CONTENT, &b"ay"[..]));
    assert_eq!(header(&part, "content-range"), "bytes 1-2/5");
    let (none, _) = ask(&layout, Method::GET, &blob, Some("bytes=9-")).await;
    assert_eq!(none.status(), StatusCode::RANGE_NOT_SATISFIABLE);
}

#[tokio::test]
async fn a_blob_is_given_out_only_where_a_manifest_of_that_image_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    push(&layout, "h.local/public", &["t"], "public").await;
    push(&layout, "h.local/private", &["t"], "private").await;
    put(&layout, &image("h.local/public"), "nobody's").await;
    for (path, text, expected) in [
        ("public", "public", 200),
        ("private", "private", 200),
        ("public", "private", 404),
        ("public", "nobody's", 404),
    ] {
        let (response, body) =
            get(&layout, &format!("/v2/{path}/blobs/{}", Digest::of(text.as_bytes()))).await;
        assert_eq!(response.status(), expected, "{path} {text}");
        if expected == 404 {
            assert_eq!(code(&body), "BLOB_UNKNOWN");
        }
    }
}

#[tokio::test]
async fn tags_are_listed_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    push(&layout, "h.local/site", &["a", "b", "c"], "x").await;
    let list = |body: &Bytes| serde_json::from_slice::<serde_json::Value>(body).unwrap();
    let (_, body) = get(&layout, "/v2/site/tags/list").await;
    assert_eq!(list(&body), serde_json::json!({"name": "site", "tags": ["a", "b", "c"]}));
    let (response, body) = get(&layout, "/v2/site/tags/list?n=2").await;
    assert_eq!(list(&body)["tags"], serde_json::json!(["a", "b"]));
    assert_eq!(header(&response, "link"), "</v2/site/tags/list?n=2&last=b>; rel=\"next\"");
    let (response, body) = get(&layout, "/v2/site/tags/list?n=2&last=b").await;
    assert_eq!((&list(&body)["tags"], header(&response, "link")), (&serde_json::json!(["c"]), ""));
    let (_, body) = get(&layout, "/v2/site/tags/list?n=0").await;
    assert_eq!(list(&body)["tags"], serde_json::json!([]));
}

#[tokio::test]
async fn refusals_have_the_specifications_form() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    push(&layout, "h.local/site", &["t"], "x").await;
    for (uri, status, expected) in [
        ("/v2/none/manifests/t", 404, "NAME_UNKNOWN"),
        ("/v2/site/manifests/none", 404, "MANIFEST_UNKNOWN"),
        ("/v2/site/manifests/..%2F..%2Findex.json", 404, "MANIFEST_UNKNOWN"),
        ("/v2/../blobs/sha256:x", 400, "DIGEST_INVALID"),
        ("/v2/site/blobs/md5:1", 400, "DIGEST_INVALID"),
        ("/v2/site/blobs/..%2F..%2Foci-layout", 400, "DIGEST_INVALID"),
        ("/v2/site/tags/list?n=x", 400, "PAGINATION_NUMBER_INVALID"),
        ("/v2/none/tags/list", 404, "NAME_UNKNOWN"),
        ("/v2/site/manifests/t?ns=other.local", 404, "NAME_UNKNOWN"),
        ("/v2/_catalog", 404, "UNSUPPORTED"),
    ] {
        let (response, body) = get(&layout, uri).await;
        assert_eq!((response.status().as_u16(), code(&body).as_str()), (status, expected), "{uri}");
        assert_eq!(header(&response, "content-type"), "application/json");
    }
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        let (response, body) = ask(&layout, method, "/v2/site/blobs/uploads/", None).await;
        assert_eq!(
            (response.status(), code(&body).as_str()),
            (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED")
        );
        assert_eq!(header(&response, "allow"), "GET, HEAD");
    }
    let (response, _) = get(&layout, "/v2/site/manifests/t?ns=h.local").await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_damaged_blob_ends_in_an_error_and_not_in_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    push(&layout, "h.local/site", &["t"], "layer").await;
    let digest = Digest::of(b"layer");
    std::fs::write(blob_path(&layout, &digest), "lajer").unwrap();
    let uri = format!("/v2/site/blobs/{digest}").parse().unwrap();
    let response = layout.serve(&Method::GET, &uri, &HeaderMap::new()).await;
    let ServeBody::Stream { content, .. } = response.into_body() else { panic!("no stream") };
    assert!(stream::collect(content, 100).await.is_err());
    let found = layout.find("site", "t").await.unwrap().unwrap();
    std::fs::write(blob_path(&layout, &found.digest), "{").unwrap();
    let (response, body) = get(&layout, "/v2/site/manifests/t").await;
    assert_eq!((response.status(), code(&body).as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"));
}

#[tokio::test]
async fn what_is_attached_is_served_as_a_list() {
    let dir = tempfile::tempdir().unwrap();
    let layout = open(dir.path());
    let name = "quickstart.local/team/site";
    let digest = push(&layout, name, &["t"], "layer").await;
    let attach = async |kind: &str| {
        let attachment = Attachment::new(kind, format!("{{\"{kind}\":1}}"));
        layout.referrers().unwrap().attach(&image(name), &digest, &attachment).await.unwrap()
    };
    let (sbom, other) = (attach("application/spdx+json").await, attach("application/x").await);
    let uri = format!("/v2/team/site/referrers/{digest}");
    let (response, body) = get(&layout, &uri).await;
    assert_eq!(header(&response, "content-type"), "application/vnd.oci.image.index.v1+json");
    assert_eq!(header(&response, "oci-filters-applied"), "");
    let digests = |body: &Bytes| -> Vec<Digest> {
        let list: serde_json::Value = serde_json::from_slice(body).unwrap();
        let all = list["manifests"].as_array().unwrap().iter();
        all.map(|one| Digest::parse(one["digest"].as_str().unwrap()).unwrap()).collect()
    };
    let mut all = vec![sbom.clone(), other];
    all.sort();
    assert_eq!(digests(&body), all);
    let (response, body) = get(&layout, &format!("{uri}?artifactType=application%2Fspdx%2Bjson")).await;
    assert_eq!(header(&response, "oci-filters-applied"), "artifactType");
    assert_eq!(digests(&body), std::slice::from_ref(&sbom));
    let entry: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let (_, manifest) = get(&layout, &format!("/v2/team/site/manifests/{sbom}")).await;
    assert_eq!(entry["manifests"][0]["size"], manifest.len());
    assert_eq!(entry["manifests"][0]["artifactType"], "application/spdx+json");
    // A list that is empty tells a client that lists are kept here; a 404 would say the opposite.
    for nothing in [format!("/v2/other/referrers/{digest}"), format!("/v2/team/site/referrers/{sbom}")] {
        let (response, body) = get(&layout, &nothing).await;
        assert_eq!((response.status(), digests(&body)), (StatusCode::OK, Vec::new()), "{nothing}");
    }
    let (response, body) = get(&layout, "/v2/team/site/referrers/latest").await;
    assert_eq!((response.status(), code(&body).as_str()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID"));
}
