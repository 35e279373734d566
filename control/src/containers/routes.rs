//! Containers over the socket.

use crate::api::{ContainerStats, ContainerStatus, Heal, Healed, Refusal, StartContainer, Taken};
use crate::server::{Answer, Body, Named, Shared, on_thread};
use crate::session::Session;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::body::Bytes;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::{IntoParams, OpenApi};

/// The interface, as OpenAPI describes it.
#[derive(OpenApi)]
#[openapi(paths(list, start, one, kill, restart, remove, pause, unpause, heal, input, stats))]
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
async fn remove(
    State(session): Shared,
    name: Named,
    first: Result<Query<KillFirst>, QueryRejection>,
) -> Answer<ContainerStatus> {
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
    end: Result<Query<InputEnd>, QueryRejection>,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer<Taken> {
    let (Path(name), Query(InputEnd { end }), bytes) = (name?, end?, bytes?);
    on_thread(session, move |session| session.give_input(&name, &bytes, end)).await
}

/// What the containers that run take.
#[utoipa::path(get, path = "/v1/stats", responses((status = 200, body = Vec<ContainerStats>)))]
async fn stats(State(session): Shared) -> Answer<Vec<ContainerStats>> {
    on_thread(session, Session::stats).await
}
