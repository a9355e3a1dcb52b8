//! What docs/adr/0007-two-registry-clients.md says of the crate, seen at the crate itself. Where one of these fails after an update, the
//! record is to be read again: something has become better.

use oci_distribution::client::{ClientConfig, ClientProtocol};
use oci_distribution::errors::OciDistributionError;
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::{Client, Reference};

use super::face::{Answer, Face};

const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

fn client() -> Client {
    Client::try_from(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() }).unwrap()
}

fn tagged(face: &Face) -> Reference {
    Reference::with_tag(face.host(), "team/app".into(), "v1".into())
}

fn account(name: &str) -> RegistryAuth {
    RegistryAuth::Basic(name.into(), "wonderland".into())
}

/// A registry that sends its callers to another host for tokens.
fn sends_to(realm: &Face) -> Face {
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"s\"", realm.host());
    Face::answering(move |_| Answer::status("401 Unauthorized").header("www-authenticate", &challenge))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crate_alone_sends_an_account_to_any_realm() {
    let realm = Face::answering(|_| Answer::status("200 OK").body(r#"{"token":"t"}"#));
    let face = sends_to(&realm);
    let _ = client().fetch_manifest_digest(&tagged(&face), &account("alice")).await;
    assert!(
        realm.asked().iter().any(|asked| asked.authorization.starts_with("Basic ")),
        "{:?}",
        realm.asked()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crate_alone_keeps_the_first_account_of_a_host() {
    let face = Face::answering(|_| {
        Answer::status("401 Unauthorized").header("www-authenticate", "Basic realm=\"x\"")
    });
    let client = client();
    for name in ["alice", "bob"] {
        let _ = client.fetch_manifest_digest(&tagged(&face), &account(name)).await;
    }
    let mut sent: Vec<String> = face.asked().into_iter().map(|asked| asked.authorization).collect();
    sent.retain(|sent| !sent.is_empty());
    sent.dedup();
    assert_eq!(sent.len(), 1, "of two accounts one was shown: {sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crate_alone_goes_on_as_nobody_where_a_password_is_wrong() {
    let realm = Face::answering(|_| Answer::status("401 Unauthorized").body(r#"{"details":"incorrect"}"#));
    let face = sends_to(&realm);
    let error = client().fetch_manifest_digest(&tagged(&face), &account("alice")).await.unwrap_err();
    assert!(matches!(error, OciDistributionError::UnauthorizedError { .. }), "{error}");
    assert!(!error.to_string().contains("incorrect"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crate_alone_takes_a_mount_that_became_an_upload_for_an_error() {
    let face = Face::answering(|_| {
        Answer::status("202 Accepted").header("location", "/v2/team/app/blobs/uploads/1")
    });
    let error = client().mount_blob(&tagged(&face), &tagged(&face), DIGEST).await.unwrap_err();
    assert!(matches!(error, OciDistributionError::SpecViolationError(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crate_alone_panics_over_a_manifest_by_digest_that_is_answered_without_a_place() {
    let face = Face::answering(|_| Answer::status("201 Created"));
    let reference = Reference::with_digest(face.host(), "team/app".into(), DIGEST.into());
    let pushed = tokio::spawn(async move {
        let kind = "application/vnd.oci.image.manifest.v1+json".parse().unwrap();
        client().push_manifest_raw(&reference, "{}", kind).await.map(|_| ())
    });
    assert!(pushed.await.unwrap_err().is_panic());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crate_alone_reads_an_answer_of_any_size() {
    let body = format!("{{\"errors\":[]}}{}", " ".repeat(20 << 20));
    let face = Face::answering(move |_| Answer::status("200 OK").body(&body));
    let (read, _) =
        client().pull_manifest_raw(&tagged(&face), &RegistryAuth::Anonymous, &["*/*"]).await.unwrap();
    assert!(read.len() > 20 << 20);
}
