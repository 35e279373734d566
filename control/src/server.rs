//! The side of the socket that answers: HTTP/1.1 with JSON, described by `docs/openapi.json`.
//!
//! One thread takes requests; what they want is done on others, one thing at a time, in [`Session`].

use crate::api::{
    Difference, Fork, Forked, Import, Imported, MachineStatus, Properties, Prune, Pruned, PutTag, Refusal,
    Rollback, RolledBack, SetProperties, SnapshotInfo, SnapshotTaken, Tagged, TakeSnapshot, Verified,
};
use crate::containers::Containers;
use crate::error::ControlError;
use crate::home::Home;
use crate::session::Session;
use crate::streaming::{ChunkBody, chunks};
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Extension, Json, Router};
use hyper::header::CONTENT_TYPE;
use serde::Deserialize;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::time::MissedTickBehavior;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// Most bytes of a request.
const MAX_REQUEST: usize = 1 << 20;

/// Between two looks at what containers have written.
const LOGS_BEAT: Duration = Duration::from_millis(500);

/// The interface, as OpenAPI describes it.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "SentientOS machine",
        description = "Drives one machine over its Unix socket, `.runtime/control.sock` in the machine's folder."
    ),
    paths(
        status,
        stop,
        snapshots,
        take_snapshot,
        remove_snapshot,
        export,
        put_tag,
        remove_tag,
        rollback,
        undo,
        diff,
        fork,
        properties,
        set_properties,
        prune,
        import,
        verify
    ),
    components(schemas(Refusal))
)]
struct Interface;

/// The interface's description: an OpenAPI document in JSON.
///
/// # Errors
/// None in practice: the document is made of strings.
pub fn openapi() -> Result<String, serde_json::Error> {
    let parts = [
        crate::containers::routes::Interface::openapi(),
        crate::proofs::routes::Interface::openapi(),
        crate::recovery::routes::Interface::openapi(),
    ];
    parts.into_iter().fold(Interface::openapi(), utoipa::openapi::OpenApi::merge_from).to_pretty_json()
}

/// Answers on `listener` until `ended` is over.
///
/// # Errors
/// The error of accepting connections.
pub async fn serve(
    listener: UnixListener,
    session: Arc<Session>,
    home: Home,
    ended: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let containers = Arc::downgrade(&session.containers);
    let router = Router::new()
        .route("/v1/machine", get(status))
        .route("/v1/machine/stop", post(stop))
        .route("/v1/snapshots", get(snapshots).post(take_snapshot))
        .route("/v1/snapshots/{id}", delete(remove_snapshot))
        .route("/v1/snapshots/{id}/export", get(export))
        .route("/v1/tags/{tag}", put(put_tag).delete(remove_tag))
        .route("/v1/rollback", post(rollback))
        .route("/v1/rollback/undo", post(undo))
        .route("/v1/diff", get(diff))
        .route("/v1/fork", post(fork))
        .route("/v1/properties", get(properties).patch(set_properties))
        .route("/v1/prune", post(prune))
        .route("/v1/imports", post(import))
        .route("/v1/verify", post(verify))
        .route("/openapi.json", get(description))
        .merge(crate::containers::routes::router())
        .merge(crate::proofs::routes::router())
        .merge(crate::recovery::routes::router())
        .fallback(nowhere)
        .method_not_allowed_fallback(not_so)
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(session)
        .layer(Extension(home));
    tokio::spawn(keep_logs(containers));
    axum::serve(listener, router).with_graceful_shutdown(ended).await
}

/// Has containers' output in the chains of their logs when it stays the last for a while.
async fn keep_logs(containers: Weak<Containers>) {
    let mut beat = tokio::time::interval(LOGS_BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let Some(containers) = containers.upgrade() else { return };
        containers.seal_due();
    }
}

/// An answer, or a refusal with its status.
pub(crate) type Answer<T> = Result<Json<T>, ControlError>;

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let refusal = Refusal { kind: self.kind().to_owned(), message: self.to_string() };
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(refusal)).into_response()
    }
}

impl From<JsonRejection> for ControlError {
    fn from(rejection: JsonRejection) -> Self {
        Self::Request(rejection.body_text())
    }
}

impl From<QueryRejection> for ControlError {
    fn from(rejection: QueryRejection) -> Self {
        Self::Request(rejection.body_text())
    }
}

impl From<BytesRejection> for ControlError {
    fn from(rejection: BytesRejection) -> Self {
        Self::Request(rejection.body_text())
    }
}

impl From<PathRejection> for ControlError {
    fn from(rejection: PathRejection) -> Self {
        Self::Request(rejection.body_text())
    }
}

/// Does something on a thread that may wait.
pub(crate) async fn on_thread<T: Send + 'static>(
    session: Arc<Session>,
    work: impl FnOnce(&Session) -> Result<T, ControlError> + Send + 'static,
) -> Answer<T> {
    let done = tokio::task::spawn_blocking(move || work(&session)).await;
    done.unwrap_or_else(|error| Err(ControlError::Bug(error.to_string()))).map(Json)
}

pub(crate) type Shared = State<Arc<Session>>;
pub(crate) type Body<T> = Result<Json<T>, JsonRejection>;
/// A name in a path, percent-decoded.
pub(crate) type Named = Result<Path<String>, PathRejection>;

/// What the machine is and does.
#[utoipa::path(get, path = "/v1/machine", responses((status = 200, body = MachineStatus)))]
async fn status(State(session): Shared) -> Answer<MachineStatus> {
    on_thread(session, Session::status).await
}

/// How to stop.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Stop {
    /// Do not take a last snapshot: the machine goes on from the one before when it is booted.
    #[serde(default)]
    discard: bool,
}

/// Ends the machine's process, after a last snapshot.
#[utoipa::path(post, path = "/v1/machine/stop", request_body = Stop,
    responses((status = 200, body = Option<SnapshotTaken>)))]
async fn stop(State(session): Shared, body: Body<Stop>) -> Answer<Option<SnapshotTaken>> {
    let Json(stop) = body?;
    on_thread(session, move |session| session.stop(stop.discard)).await
}

/// The machine's snapshots, oldest first.
#[utoipa::path(get, path = "/v1/snapshots", responses((status = 200, body = Vec<SnapshotInfo>)))]
async fn snapshots(State(session): Shared) -> Answer<Vec<SnapshotInfo>> {
    on_thread(session, Session::snapshots).await
}

/// Takes a snapshot, and answers when it is durable.
#[utoipa::path(post, path = "/v1/snapshots", request_body = TakeSnapshot,
    responses((status = 200, body = SnapshotTaken), (status = 409, body = Refusal)))]
async fn take_snapshot(State(session): Shared, body: Body<TakeSnapshot>) -> Answer<SnapshotTaken> {
    let Json(take) = body?;
    on_thread(session, move |session| session.snapshot(&take)).await
}

/// How to let go.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Force {
    /// Also a tagged one, or one that the last rollback could be undone to.
    #[serde(default)]
    force: bool,
}

/// Lets a snapshot go.
#[utoipa::path(delete, path = "/v1/snapshots/{id}", params(("id" = String, Path), Force),
    responses((status = 200, body = Pruned), (status = 404, body = Refusal), (status = 409, body = Refusal)))]
async fn remove_snapshot(
    State(session): Shared,
    id: Named,
    force: Result<Query<Force>, QueryRejection>,
) -> Answer<Pruned> {
    let Path(id) = id?;
    let Query(force) = force?;
    on_thread(session, move |session| session.remove_snapshot(&id, force.force)).await
}

/// Gives a snapshot a tag.
#[utoipa::path(put, path = "/v1/tags/{tag}", params(("tag" = String, Path)), request_body = PutTag,
    responses((status = 200, body = Tagged), (status = 404, body = Refusal), (status = 409, body = Refusal)))]
async fn put_tag(State(session): Shared, tag: Named, body: Body<PutTag>) -> Answer<Tagged> {
    let (Path(tag), Json(wanted)) = (tag?, body?);
    on_thread(session, move |session| session.history().tag(&tag, &wanted)).await
}

/// Takes a tag away; its snapshot stays.
#[utoipa::path(delete, path = "/v1/tags/{tag}", params(("tag" = String, Path)),
    responses((status = 200, body = Tagged), (status = 404, body = Refusal)))]
async fn remove_tag(State(session): Shared, tag: Named) -> Answer<Tagged> {
    let Path(tag) = tag?;
    on_thread(session, move |session| session.history().remove_tag(&tag)).await
}

/// Puts the machine back into the state of a snapshot; it goes on from there.
#[utoipa::path(post, path = "/v1/rollback", request_body = Rollback,
    responses((status = 200, body = RolledBack), (status = 404, body = Refusal)))]
async fn rollback(State(session): Shared, body: Body<Rollback>) -> Answer<RolledBack> {
    let Json(rollback) = body?;
    on_thread(session, move |session| session.rollback(&rollback)).await
}

/// Puts the machine back to where it was before the last rollback.
#[utoipa::path(post, path = "/v1/rollback/undo",
    responses((status = 200, body = RolledBack), (status = 409, body = Refusal)))]
async fn undo(State(session): Shared) -> Answer<RolledBack> {
    on_thread(session, Session::undo).await
}

/// What to compare.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Compare {
    /// A tag, an id, or a unique prefix of one.
    from: String,
    /// Another one.
    to: String,
}

/// What differs between two snapshots.
#[utoipa::path(get, path = "/v1/diff", params(Compare),
    responses((status = 200, body = Difference), (status = 404, body = Refusal)))]
async fn diff(State(session): Shared, query: Result<Query<Compare>, QueryRejection>) -> Answer<Difference> {
    let Query(compare) = query?;
    on_thread(session, move |session| session.diff(&compare.from, &compare.to)).await
}

/// Makes another machine that goes on from a snapshot of this one.
#[utoipa::path(post, path = "/v1/fork", request_body = Fork,
    responses((status = 200, body = Forked), (status = 409, body = Refusal)))]
async fn fork(State(session): Shared, Extension(home): Extension<Home>, body: Body<Fork>) -> Answer<Forked> {
    let Json(fork) = body?;
    on_thread(session, move |session| session.fork(&fork, &home)).await
}

/// What the machine keeps, and what that takes.
#[utoipa::path(get, path = "/v1/properties", responses((status = 200, body = Properties)))]
async fn properties(State(session): Shared) -> Answer<Properties> {
    on_thread(session, |session| session.history().properties()).await
}

/// Changes what the machine keeps, from the next snapshot on.
#[utoipa::path(patch, path = "/v1/properties", request_body = SetProperties,
    responses((status = 200, body = Properties), (status = 400, body = Refusal)))]
async fn set_properties(State(session): Shared, body: Body<SetProperties>) -> Answer<Properties> {
    let Json(wanted) = body?;
    on_thread(session, move |session| session.history().set_properties(&wanted)).await
}

/// Lets the oldest snapshots go.
#[utoipa::path(post, path = "/v1/prune", request_body = Prune, responses((status = 200, body = Pruned)))]
async fn prune(State(session): Shared, body: Body<Prune>) -> Answer<Pruned> {
    let Json(prune) = body?;
    on_thread(session, move |session| session.prune(prune.keep)).await
}

/// A snapshot as a file that needs nothing else.
#[utoipa::path(get, path = "/v1/snapshots/{id}/export", params(("id" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 404, body = Refusal)))]
async fn export(State(session): Shared, id: Named) -> Result<Response, ControlError> {
    let Path(id) = id?;
    let Json(signed) = on_thread(Arc::clone(&session), move |session| session.history().named(&id)).await?;
    let (mut chunks, body) = chunks();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = session.history().export_signed(&signed, &mut chunks) {
            chunks.fail(&error);
        }
    });
    Ok(sent(body, "application/octet-stream"))
}

/// An answer of bytes that are written meanwhile.
pub(crate) fn sent(body: ChunkBody, content_type: &'static str) -> Response {
    ([(CONTENT_TYPE, content_type)], axum::body::Body::new(body)).into_response()
}

/// Takes a snapshot from an export, which is verified while it is read. The machine stays where it is.
#[utoipa::path(post, path = "/v1/imports", request_body = Import, responses((status = 200, body = Imported)))]
async fn import(State(session): Shared, body: Body<Import>) -> Answer<Imported> {
    let Json(import) = body?;
    on_thread(session, move |session| session.import(&import)).await
}

/// What to check.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Verify {
    /// A tag, an id, or a unique prefix of one; all snapshots if not given.
    #[serde(default)]
    snapshot: Option<String>,
}

/// Reads all snapshots from the store and checks every page.
#[utoipa::path(post, path = "/v1/verify", request_body = Verify, responses((status = 200, body = Verified)))]
async fn verify(State(session): Shared, body: Body<Verify>) -> Answer<Verified> {
    let Json(verify) = body?;
    on_thread(session, move |session| session.verify(verify.snapshot.as_deref())).await
}

async fn description() -> Result<Response, ControlError> {
    let text = openapi().map_err(|error| ControlError::Bug(error.to_string()))?;
    Ok(([("content-type", "application/json")], text).into_response())
}

async fn nowhere(uri: Uri) -> ControlError {
    ControlError::NotFound(format!(
        "there is nothing at {}; GET /openapi.json tells what there is",
        uri.path()
    ))
}

async fn not_so(method: Method, uri: Uri) -> ControlError {
    ControlError::Method { method: method.to_string(), path: uri.path().to_owned() }
}
