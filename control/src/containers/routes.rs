//! Containers over the socket.

use crate::api::{
    ContainerStats, ContainerStatus, Copied, FileInfo, Heal, Healed, Origin, Refusal, StartContainer, Taken,
};
use crate::error::ControlError;
use crate::server::{Answer, Body, Named, Shared, on_thread, sent};
use crate::session::Session;
use crate::streaming::{BodyReader, chunks};
use axum::body::Body as AnyBody;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::body::Bytes;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::{IntoParams, OpenApi};

/// What stands in a query.
type Asked<T> = Result<Query<T>, QueryRejection>;

/// The interface, as OpenAPI describes it.
#[derive(OpenApi)]
#[openapi(paths(
    list, start, one, kill, restart, remove, pause, unpause, heal, input, origin, file, copy_out, copy_in,
    stats
))]
pub(crate) struct Interface;

/// The routes.
pub(crate) fn router() -> Router<Arc<Session>> {
    Router::new()
        .route("/v1/containers", get(list).post(start))
        .route("/v1/containers/{name}", get(one).delete(remove))
        .route("/v1/containers/{name}/kill", post(kill))
        .route("/v1/containers/{name}/restart", post(restart))
        .route("/v1/containers/{name}/pause", post(pause))
        .route("/v1/containers/{name}/unpause", post(unpause))
        .route("/v1/containers/{name}/heal", post(heal))
        .route("/v1/containers/{name}/input", post(input))
        .route("/v1/containers/{name}/origin", get(origin))
        .route("/v1/containers/{name}/file", get(file))
        .route("/v1/containers/{name}/files", get(copy_out).put(copy_in))
        .route("/v1/stats", get(stats))
}

/// The machine's containers.
#[utoipa::path(get, path = "/v1/containers", responses((status = 200, body = Vec<ContainerStatus>)))]
async fn list(State(session): Shared) -> Answer<Vec<ContainerStatus>> {
    on_thread(session, |session| Ok(session.containers())).await
}

/// Starts a container.
#[utoipa::path(post, path = "/v1/containers", request_body = StartContainer,
    responses((status = 200, body = ContainerStatus), (status = 409, body = Refusal)))]
async fn start(State(session): Shared, body: Body<StartContainer>) -> Answer<ContainerStatus> {
    let Json(start) = body?;
    on_thread(session, move |session| session.start_container(&start)).await
}

/// A container.
#[utoipa::path(get, path = "/v1/containers/{name}", params(("name" = String, Path)),
    responses((status = 200, body = ContainerStatus), (status = 404, body = Refusal)))]
async fn one(State(session): Shared, name: Named) -> Answer<ContainerStatus> {
    let Path(name) = name?;
    on_thread(session, move |session| session.container(&name)).await
}

/// Starts a container again, as it was started; one that runs is killed first.
#[utoipa::path(post, path = "/v1/containers/{name}/restart", params(("name" = String, Path)),
    responses((status = 200, body = ContainerStatus), (status = 404, body = Refusal)))]
async fn restart(State(session): Shared, name: Named) -> Answer<ContainerStatus> {
    let Path(name) = name?;
    on_thread(session, move |session| session.restart_container(&name)).await
}

/// What to do about a container that runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct KillFirst {
    /// Kill it first.
    #[serde(default)]
    force: bool,
}

/// Forgets a container that has ended, and removes what it has written.
#[utoipa::path(delete, path = "/v1/containers/{name}", params(("name" = String, Path), KillFirst),
    responses((status = 200, body = ContainerStatus), (status = 404, body = Refusal), (status = 409, body = Refusal)))]
async fn remove(State(session): Shared, name: Named, first: Asked<KillFirst>) -> Answer<ContainerStatus> {
    let (Path(name), Query(KillFirst { force })) = (name?, first?);
    on_thread(session, move |session| session.remove_container(&name, force)).await
}

/// Kills a container.
#[utoipa::path(post, path = "/v1/containers/{name}/kill", params(("name" = String, Path)),
    responses((status = 200, body = ContainerStatus), (status = 404, body = Refusal)))]
async fn kill(State(session): Shared, name: Named) -> Answer<ContainerStatus> {
    let Path(name) = name?;
    on_thread(session, move |session| session.kill_container(&name)).await
}

/// Keeps a container from running, until it is told to go on.
#[utoipa::path(post, path = "/v1/containers/{name}/pause", params(("name" = String, Path)),
    responses((status = 200, body = ContainerStatus), (status = 404, body = Refusal)))]
async fn pause(State(session): Shared, name: Named) -> Answer<ContainerStatus> {
    let Path(name) = name?;
    on_thread(session, move |session| session.pause_container(&name, true)).await
}

/// Lets a paused container go on.
#[utoipa::path(post, path = "/v1/containers/{name}/unpause", params(("name" = String, Path)),
    responses((status = 200, body = ContainerStatus), (status = 404, body = Refusal)))]
async fn unpause(State(session): Shared, name: Named) -> Answer<ContainerStatus> {
    let Path(name) = name?;
    on_thread(session, move |session| session.pause_container(&name, false)).await
}

/// Puts a container back to how a snapshot has it; the machine, and all others in it, go on.
#[utoipa::path(post, path = "/v1/containers/{name}/heal", params(("name" = String, Path)), request_body = Heal,
    responses((status = 200, body = Healed), (status = 404, body = Refusal), (status = 409, body = Refusal)))]
async fn heal(State(session): Shared, name: Named, body: Body<Heal>) -> Answer<Healed> {
    let (Path(name), Json(heal)) = (name?, body?);
    on_thread(session, move |session| session.heal_container(&name, &heal)).await
}

/// Whether standard input ends with what is given.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct InputEnd {
    /// Nothing follows. Standard input ends only if all was taken.
    #[serde(default)]
    end: bool,
}

/// Gives a container standard input, the body's bytes as they are; answers when they were taken, or after a second with
/// how many were.
#[utoipa::path(post, path = "/v1/containers/{name}/input", params(("name" = String, Path), InputEnd),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = Taken), (status = 404, body = Refusal), (status = 409, body = Refusal)))]
async fn input(
    State(session): Shared,
    name: Named,
    end: Asked<InputEnd>,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer<Taken> {
    let (Path(name), Query(InputEnd { end }), bytes) = (name?, end?, bytes?);
    on_thread(session, move |session| session.give_input(&name, &bytes, end)).await
}

/// How a container came to be: its program, and how it was started.
#[utoipa::path(get, path = "/v1/containers/{name}/origin", params(("name" = String, Path)),
    responses((status = 200, body = Origin), (status = 404, body = Refusal)))]
async fn origin(State(session): Shared, name: Named) -> Answer<Origin> {
    let Path(name) = name?;
    on_thread(session, move |session| session.origin(&name)).await
}

/// A file of a container's.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct File {
    /// Its path.
    path: String,
}

/// What a path of a container's names. A symbolic link is meant itself.
#[utoipa::path(get, path = "/v1/containers/{name}/file", params(("name" = String, Path), File),
    responses((status = 200, body = FileInfo), (status = 404, body = Refusal)))]
async fn file(State(session): Shared, name: Named, file: Asked<File>) -> Answer<FileInfo> {
    let (Path(name), Query(File { path })) = (name?, file?);
    on_thread(session, move |session| session.file(&name, &path)).await
}

/// What to copy.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Copy {
    /// A file, or a directory with all that is in it.
    path: String,
    /// What it is called in the archive: its own name, if not given, and if empty, what is in the directory stands alone.
    #[serde(rename = "as")]
    called: Option<String>,
    /// Keep the container from running meanwhile.
    #[serde(default)]
    pause: bool,
}

/// Files of a container as a tar archive.
#[utoipa::path(get, path = "/v1/containers/{name}/files", params(("name" = String, Path), Copy),
    responses((status = 200, body = Vec<u8>, content_type = "application/x-tar"), (status = 404, body = Refusal)))]
async fn copy_out(State(session): Shared, name: Named, copy: Asked<Copy>) -> Result<Response, ControlError> {
    let (Path(name), Query(Copy { path, called, pause })) = (name?, copy?);
    // What can be refused is refused before anything is sent.
    let copying = move |session: &Session| session.copying(&name, &path, called);
    let Json(copying) = on_thread(Arc::clone(&session), copying).await?;
    let (mut chunks, body) = chunks();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = session.copy_out(&copying, pause, &mut chunks) {
            chunks.fail(&error);
        }
    });
    Ok(sent(body, "application/x-tar"))
}

/// Puts what is in a tar archive into a directory of a container's.
#[utoipa::path(put, path = "/v1/containers/{name}/files", params(("name" = String, Path), File),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = 200, body = Copied), (status = 404, body = Refusal), (status = 409, body = Refusal)))]
async fn copy_in(State(session): Shared, name: Named, to: Asked<File>, archive: AnyBody) -> Answer<Copied> {
    let (Path(name), Query(File { path })) = (name?, to?);
    let archive = BodyReader::of(archive);
    on_thread(session, move |session| session.copy_in(&name, &path, archive)).await
}

/// What the containers that run take.
#[utoipa::path(get, path = "/v1/stats", responses((status = 200, body = Vec<ContainerStats>)))]
async fn stats(State(session): Shared) -> Answer<Vec<ContainerStats>> {
    on_thread(session, Session::stats).await
}
