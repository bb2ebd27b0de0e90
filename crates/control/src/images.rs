//! Images: what the image store has, and how more comes in.

pub(crate) mod names;

use std::{pin::Pin, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use hearth_api::{
    Image, ImageConfig, ImageLine, ImageList, ImagePhase, ImageProgress, ImportImageQuery, ImportKind, ProblemCode,
    ProblemLine, PruneQuery, PruneResult, PullImage, PullPolicy, RegistryAuth, RemoveQuery,
};
use hearth_domain::Action;
use hearth_image::{
    ConfigOverrides, Credentials, ErrorKind, ImageError, ImageId, ImageRecord, ImageStore, ImportOptions, ImportSource,
    Phase, Progress, ProgressSink, PullOptions, Reference,
    registry::{Reach, RegistryError},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;

use crate::{
    api_doc::Problems,
    app::App,
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath, ApiQuery, chunks, from_json},
    stream::ndjson,
};

/// Reports that a slow client may be behind; further ones are dropped.
const PROGRESS_BACKLOG: usize = 64;

/// All images.
#[utoipa::path(get, path = "/v1/images", tag = "images", operation_id = "list_images",
    responses((status = 200, description = "The images", body = ImageList), Problems))]
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Json<ImageList>> {
    let tenant = caller.may(&app, Action::ImageRead).await?;
    let images = app.images.clone();
    let records = app.blocking(move || images.list()).await??;
    let mut images = Vec::with_capacity(records.len());
    for record in records.into_iter().filter(|record| tenant.host || !record.is_source()) {
        images.push(shown(&app, &tenant, record).await?);
    }
    Ok(Json(ImageList { images }))
}

/// One image, by reference, ID, or a beginning of an ID that only one has.
#[utoipa::path(get, path = "/v1/images/{image}", tag = "images", operation_id = "get_image",
    params(("image" = String, Path, description = "Reference or ID; slashes are written as %2F")),
    responses((status = 200, description = "The image", body = Image), Problems))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<Image>> {
    let tenant = caller.may(&app, Action::ImageRead).await?;
    let record = resolve(&app, &tenant, wanted).await?;
    shown(&app, &tenant, record).await.map(Json)
}

/// An image without what other projects do with it.
async fn shown(app: &App, tenant: &Tenant, mut record: ImageRecord) -> ApiResult<Image> {
    record.holders = app.visible(tenant, record.holders).await?;
    Ok(image(record))
}

/// Removes a name, and the image with its last name.
#[utoipa::path(delete, path = "/v1/images/{image}", tag = "images", operation_id = "remove_image",
    params(("image" = String, Path, description = "Reference or ID; slashes are written as %2F"), RemoveQuery),
    responses((status = 200, description = "What is gone", body = PruneResult), Problems))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<RemoveQuery>,
) -> ApiResult<Json<PruneResult>> {
    caller.may(&app, Action::ImageRemove).await?;
    let images = app.images.clone();
    let removal = app.blocking(move || images.remove(&wanted, query.force)).await?;
    let report = match removal {
        Err(ImageError::InUse { image, holders }) => {
            let holders = app.names_of(holders).await?;
            return Err(ImageError::InUse { image, holders }.into());
        }
        report => report?,
    };
    let removed = report.deleted.iter().map(ToString::to_string).collect();
    let untagged = report.untagged.iter().map(ToString::to_string).collect();
    Ok(Json(PruneResult {
        removed,
        untagged,
        reclaimed_bytes: report.freed_bytes,
    }))
}

/// Removes images that nothing needs.
#[utoipa::path(post, path = "/v1/images/prune", tag = "images", operation_id = "prune_images", params(PruneQuery),
    responses((status = 200, description = "What is gone", body = PruneResult), Problems))]
pub(crate) async fn prune(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(query): ApiQuery<PruneQuery>,
) -> ApiResult<Json<PruneResult>> {
    caller.may(&app, Action::ImageRemove).await?;
    let images = app.images.clone();
    let report = app.blocking(move || images.prune(query.all)).await??;
    let removed = report.deleted.iter().map(ToString::to_string).collect();
    let untagged = report.untagged.iter().map(ToString::to_string).collect();
    Ok(Json(PruneResult {
        removed,
        untagged,
        reclaimed_bytes: report.freed_bytes,
    }))
}

/// Pulls an image from its registry. The last line is the result or a problem; a client that goes away ends the pull,
/// and the next one goes on where it was.
#[utoipa::path(post, path = "/v1/images/pull", tag = "images", operation_id = "pull_image", request_body = PullImage,
    responses((status = 200, description = "Lines of JSON", body = ImageLine, content_type = "application/x-ndjson"), Problems))]
pub(crate) async fn pull(State(app): State<Arc<App>>, caller: Caller, body: ApiBody) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::ImageWrite).await?;
    let request: PullImage = body.json().await?;
    let reference = parse_reference("reference", &request.reference)?;
    if request.policy == PullPolicy::Missing
        && let Ok(record) = resolve(&app, &tenant, reference.to_string()).await
    {
        let line = ImageLine::Result {
            image: Box::new(image(record)),
        };
        return Ok(ndjson(&app, stream::iter([line])));
    }
    let options = PullOptions {
        claim: names::of_pull(&app, &tenant, &reference).await?,
        credentials: request.auth.map(credentials),
        reach: reach(tenant.host),
    };
    let images = app.images.clone();
    let work = |progress| async move { images.pull(&reference, options, progress).await };
    Ok(ndjson(&app, with_progress(work)))
}

/// Makes an image of an archive. The last line is the result or a problem.
#[utoipa::path(post, path = "/v1/images/import", tag = "images", operation_id = "import_image",
    params(ImportImageQuery), request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = 200, description = "Lines of JSON", body = ImageLine, content_type = "application/x-ndjson"), Problems))]
pub(crate) async fn import(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(query): ApiQuery<ImportImageQuery>,
    request: Request,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::ImageWrite).await?;
    let mut options = import_options(&query)?;
    options.claim = names::of_import(&tenant, options.name.as_ref())?;
    let source = ImportSource::Stream(Box::pin(reader(request.into_body())));
    let images = app.images.clone();
    let work = |progress| async move { images.import(source, options, progress).await };
    Ok(ndjson(&app, with_progress(work)))
}

fn import_options(query: &ImportImageQuery) -> ApiResult<ImportOptions> {
    let name = query
        .name
        .as_deref()
        .map(|name| parse_reference("name", name))
        .transpose()?;
    let kind = match query.kind {
        ImportKind::Oci => hearth_image::ImportKind::OciLayout,
        ImportKind::Docker => hearth_image::ImportKind::DockerArchive,
        ImportKind::Root => hearth_image::ImportKind::RootTar,
    };
    if query.kind == ImportKind::Root && name.is_none() {
        return Err(ApiError::field(
            "name",
            "name is missing: a root file system does not say what to call it",
        ));
    }
    Ok(ImportOptions {
        name,
        claim: None,
        kind: Some(kind),
        overrides: overrides(query)?,
    })
}

fn overrides(query: &ImportImageQuery) -> ApiResult<ConfigOverrides> {
    let mut overrides = ConfigOverrides::default();
    for change in json_list("changes", query.changes.as_deref())?.unwrap_or_default() {
        overrides
            .change(&change)
            .map_err(|error| ApiError::field("changes", error.to_string()))?;
    }
    if let Some(cmd) = json_list("cmd", query.cmd.as_deref())? {
        overrides.cmd = Some(cmd);
    }
    Ok(overrides)
}

fn json_list(field: &'static str, text: Option<&str>) -> ApiResult<Option<Vec<String>>> {
    let list = text.map(|text| from_json(text.as_bytes())).transpose();
    list.map_err(|error: ApiError| {
        let detail = format!("{field} is no JSON list of strings: {}", error.problem.detail);
        ApiError::field(field, detail)
    })
}

fn reader(body: Body) -> impl tokio::io::AsyncRead + Send {
    StreamReader::new(chunks(body).map_err(std::io::Error::other))
}

type Lines = Pin<Box<dyn Stream<Item = ImageLine> + Send>>;

/// Runs `work` as the stream is read: progress as it comes, then what it came to. Dropping the stream ends the work.
fn with_progress<F>(work: impl FnOnce(ProgressSink) -> F) -> Lines
where
    F: Future<Output = Result<ImageRecord, ImageError>> + Send + 'static,
{
    let (sender, progress) = mpsc::channel(PROGRESS_BACKLOG);
    let end = stream::once(work(ProgressSink::from(sender))).map(|ended| match ended {
        Ok(record) => ImageLine::Result {
            image: Box::new(image(record)),
        },
        Err(error) => ImageLine::Problem(ProblemLine::from(*ApiError::from(error).problem)),
    });
    let progress = ReceiverStream::new(progress).map(|event| ImageLine::Progress(image_progress(event)));
    let lines = stream::select(progress.map(Ok), end.map(Err));
    // What is behind the end is of no use any more.
    Box::pin(stream::unfold(Some(Box::pin(lines)), |lines| async move {
        let mut lines = lines?;
        match lines.next().await? {
            Ok(line) => Some((line, Some(lines))),
            Err(last) => Some((last, None)),
        }
    }))
}

/// The image of a reference or ID. Functions' sources are their projects', and images of the host's admins alone.
async fn resolve(app: &App, tenant: &Tenant, wanted: String) -> ApiResult<ImageRecord> {
    let (images, host) = (app.images.clone(), tenant.host);
    let found = app.blocking(move || {
        let record = images.resolve(&wanted)?;
        if record.is_source() && !host {
            return Err(ImageError::NotFound(wanted));
        }
        Ok(record)
    });
    Ok(found.await??)
}

/// What a machine may be made of: no function's source, but for admins of the host. Blocks.
pub(crate) fn find(
    images: &ImageStore,
    host: bool,
    wanted: &str,
) -> Result<(ImageId, hearth_image::ImageConfig), ImageError> {
    if host {
        images.find(wanted)
    } else {
        images.find_image(wanted)
    }
}

/// What a pull may speak to: the daemon goes where its callers cannot, so it fetches from there for admins of the host alone.
pub(crate) fn reach(host: bool) -> Reach {
    if host { Reach::Host } else { Reach::World }
}

fn parse_reference(field: &'static str, text: &str) -> ApiResult<Reference> {
    text.parse()
        .map_err(|error: hearth_image::ReferenceError| ApiError::field(field, error.to_string()))
}

fn credentials(auth: RegistryAuth) -> Credentials {
    match auth {
        RegistryAuth::Basic { username, password } => Credentials::Basic { username, password },
        RegistryAuth::IdentityToken { token } => Credentials::IdentityToken(token),
        RegistryAuth::Bearer { token } => Credentials::Bearer(token),
    }
}

fn image_progress(event: Progress) -> ImageProgress {
    let phase = match event.phase {
        Phase::Resolving => ImagePhase::Resolving,
        Phase::Downloading => ImagePhase::Downloading,
        Phase::Verifying => ImagePhase::Verifying,
        Phase::Converting => ImagePhase::Converting,
        Phase::Done => ImagePhase::Done,
    };
    ImageProgress {
        phase,
        item: event.item,
        current_bytes: event.current_bytes,
        total_bytes: event.total_bytes,
    }
}

fn image(record: ImageRecord) -> Image {
    let config = record.config;
    Image {
        id: record.id.to_string(),
        references: record.names.iter().map(ToString::to_string).collect(),
        size_bytes: record.size_bytes,
        added_at: record.stored_at,
        created_at: record.created,
        source: record.source,
        os: config.os,
        architecture: config.architecture,
        layers: config.diff_ids.len() as u64,
        config: ImageConfig {
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            env: config.env,
            working_dir: config.working_dir,
            user: config.user,
            stop_signal: config.stop_signal,
            exposed_ports: config.exposed_ports,
            labels: config.labels,
        },
        used_by: record.holders,
    }
}

impl From<ImageError> for ApiError {
    fn from(error: ImageError) -> Self {
        let code = match (&error, error.kind()) {
            (ImageError::Ambiguous { .. } | ImageError::SeveralNames { .. }, _) => ProblemCode::Ambiguous,
            (ImageError::NameTaken(_) | ImageError::Registry(RegistryError::NotPublic { .. }), _) => {
                ProblemCode::Forbidden
            }
            (ImageError::Reference(_), _) => ProblemCode::InvalidField,
            (_, ErrorKind::NotFound) => ProblemCode::ImageNotFound,
            (_, ErrorKind::InvalidInput) => ProblemCode::InvalidRequest,
            (_, ErrorKind::InUse) => ProblemCode::InUse,
            (_, ErrorKind::Unauthorized | ErrorKind::Unreachable) => ProblemCode::RegistryFailed,
            (_, ErrorKind::NoSpace) => ProblemCode::DiskFull,
            (_, ErrorKind::Corrupt) => ProblemCode::ImageDamaged,
            (_, ErrorKind::Internal) => ProblemCode::Internal,
        };
        // What went wrong with a registry or an archive is the user's to mend, and the causes say how.
        let detail = hearth_domain::chain(&error);
        Self::new(code, detail).caused_by(error)
    }
}
