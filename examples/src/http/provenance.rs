//! What a build made its image from, to be attached to the image.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use kiops_core::build::ProvenanceFacts;
use kiops_core::image::IN_TOTO;

use super::access::Caller;
use super::answer::{Path, Refusal, download};
use super::{App, builds};

/// The builder where no public URL is configured: one that nobody takes for a platform of theirs.
const NO_PUBLIC_URL: &str = "http://localhost/";

/// `GET /api/v1/builds/{id}/provenance`: the in-toto statement of a build that has succeeded. The same bytes every time, as long as the
/// public URL stays: with which version of us it was built is not in its record.
pub(super) async fn provenance(
    State(app): State<App>,
    Caller(_): Caller,
    Path(id): Path,
) -> Result<Response, Refusal> {
    let build = builds::find(&app, &id).await?;
    let facts = ProvenanceFacts::new(app.hosts.public_url.as_deref().unwrap_or(NO_PUBLIC_URL));
    let json = build.provenance(&facts)?.to_json()?;
    download(Body::from(json), IN_TOTO, &format!("{}-provenance.json", build.id))
}
