//! Kernels: what the kernel store has, and how more comes in.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Extension, Json,
    extract::{Request, State},
    response::Response,
};
use futures::{Stream, StreamExt as _, stream};
use hearth_api::{ImportKernel, Kernel, KernelLine, KernelList, KernelPhase, KernelProgress, ProblemCode, ProblemLine};
use hearth_domain::Action;
use hearth_kernel::{BuildOptions, Bundle, ErrorKind, FileInputs, KernelError, KernelStore, SourceKind};
use hearth_store::StoreError;
use http::StatusCode;
use tempfile::NamedTempFile;
use tokio::{io::AsyncWriteExt as _, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    api_doc::Problems,
    app::App,
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::{ApiPath, JSON_MAX, chunks, from_json, is_json, read_body},
    peer::Peer,
    stream::ndjson,
};

/// The longest package, in bytes: Debian's largest kernel packages have about 150 MB.
const PACKAGE_MAX: u64 = 2 << 30;
/// Reports that a slow client may be behind; further ones are dropped.
const PROGRESS_BACKLOG: usize = 256;

/// All kernels.
#[utoipa::path(get, path = "/v1/kernels", tag = "kernels", operation_id = "list_kernels",
    responses((status = 200, description = "The kernels", body = KernelList), Problems))]
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Json<KernelList>> {
    let tenant = caller.may(&app, Action::KernelRead).await?;
    let store = Arc::clone(&app.kernels);
    let bundles = app.blocking(move || store.list()).await?;
    let mut kernels = Vec::new();
    for bundle in bundles {
        kernels.push(kernel(&app, &tenant, bundle).await?);
    }
    Ok(Json(KernelList { kernels }))
}

/// One kernel, by ID, a beginning of an ID that only one has, or version.
#[utoipa::path(get, path = "/v1/kernels/{kernel}", tag = "kernels", operation_id = "get_kernel",
    params(("kernel" = String, Path, description = "ID or version")),
    responses((status = 200, description = "The kernel", body = Kernel), Problems))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<Kernel>> {
    let tenant = caller.may(&app, Action::KernelRead).await?;
    let store = Arc::clone(&app.kernels);
    let bundle = app.blocking(move || store.get(&wanted)).await??;
    kernel(&app, &tenant, bundle).await.map(Json)
}

/// Removes a kernel that no machine and no snapshot uses.
#[utoipa::path(delete, path = "/v1/kernels/{kernel}", tag = "kernels", operation_id = "remove_kernel",
    params(("kernel" = String, Path, description = "ID or version")),
    responses((status = 204, description = "It is gone"), Problems))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<StatusCode> {
    caller.may(&app, Action::KernelWrite).await?;
    let store = Arc::clone(&app.kernels);
    let asked = wanted.clone();
    let bundle = app.blocking(move || store.get(&asked)).await??;
    let users = app.names_of(users(&app, &bundle.id).await?).await?;
    let store = Arc::clone(&app.kernels);
    app.blocking(move || store.remove(&bundle.id, |_| users)).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a kernel the one of machines that name none.
#[utoipa::path(post, path = "/v1/kernels/{kernel}/default", tag = "kernels", operation_id = "set_default_kernel",
    params(("kernel" = String, Path, description = "ID or version")),
    responses((status = 200, description = "The kernel", body = Kernel), Problems))]
pub(crate) async fn set_default(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<Kernel>> {
    let tenant = caller.may(&app, Action::KernelWrite).await?;
    let store = Arc::clone(&app.kernels);
    let bundle = app.blocking(move || store.set_default(&wanted)).await??;
    kernel(&app, &tenant, bundle).await.map(Json)
}

/// Makes a kernel of a Debian package in the body, of files of the node (a JSON body, on the unix socket only), or
/// builds one. The last line is the result or a problem.
#[utoipa::path(post, path = "/v1/kernels/import", tag = "kernels", operation_id = "import_kernel",
    request_body(content((ImportKernel = "application/json"), (Vec<u8> = "application/vnd.debian.binary-package"))),
    responses((status = 200, description = "Lines of JSON", body = KernelLine, content_type = "application/x-ndjson"), Problems))]
pub(crate) async fn import(
    State(app): State<Arc<App>>,
    caller: Caller,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::KernelWrite).await?;
    let unwanted = Arc::default();
    let work = if is_json(request.headers()) {
        let bytes = read_body(request.into_body(), JSON_MAX).await?;
        local(&app, peer, from_json(&bytes)?, &unwanted)?
    } else {
        let package = receive(&app, request).await?;
        let name = package.path().to_owned();
        Box::new(move |store: &KernelStore, report: &mut dyn FnMut(_)| {
            // Until the end of the import the file stays.
            let _package = &package;
            store.import_deb(&name, report)
        })
    };
    let lines = with_progress(Arc::clone(&app), tenant, work);
    let client = Client(unwanted);
    Ok(ndjson(
        &app,
        lines.inspect(move |_| {
            // Dropped with the stream.
            let _ = &client;
        }),
    ))
}

type Work =
    Box<dyn FnOnce(&KernelStore, &mut dyn FnMut(hearth_kernel::KernelProgress)) -> Result<Bundle, KernelError> + Send>;

fn local(app: &App, peer: Peer, request: ImportKernel, unwanted: &Arc<AtomicBool>) -> ApiResult<Work> {
    if !peer.is_on_this_host() {
        return Err(ApiError::new(
            ProblemCode::Forbidden,
            "files of the node can be named on the unix socket only; send the package itself instead",
        ));
    }
    Ok(match request {
        ImportKernel::Deb { path } => {
            let path = absolute("path", path)?;
            Box::new(move |store, report| store.import_deb(&path, report))
        }
        ImportKernel::Files {
            vmlinuz,
            modules,
            config,
        } => {
            let inputs = FileInputs {
                vmlinuz: absolute("vmlinuz", vmlinuz)?,
                modules: modules.map(|path| absolute("modules", path)).transpose()?,
                config: config.map(|path| absolute("config", path)).transpose()?,
            };
            Box::new(move |store, report| store.import_files(&inputs, report))
        }
        ImportKernel::Build { source, jobs } => {
            let cpus = std::thread::available_parallelism().map_or(1, usize::from);
            let options = BuildOptions {
                source: source.map(|path| absolute("source", path)).transpose()?,
                cache: app.config.kernel_cache_dir.clone(),
                jobs: jobs.map_or(cpus, |jobs| jobs.max(1) as usize),
                cancelled: Arc::clone(unwanted),
            };
            Box::new(move |store, report| store.build(&options, report))
        }
    })
}

fn absolute(field: &'static str, text: String) -> ApiResult<PathBuf> {
    if text.starts_with('/') && !text.contains('\0') {
        Ok(text.into())
    } else {
        let text: String = text.chars().take(200).collect();
        Err(ApiError::field(
            field,
            format!("{field} {text:?} is not an absolute path on the node"),
        ))
    }
}

/// Takes the package of a body into a file, which goes with what is returned.
async fn receive(app: &App, request: Request) -> ApiResult<NamedTempFile> {
    let failed = |error: std::io::Error| {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ProblemCode::DiskFull,
            _ => ProblemCode::Internal,
        };
        ApiError::new(code, "cannot keep the package while it is read").caused_by(error)
    };
    let folder = app.config.tmp_dir.clone();
    let made = tempfile::Builder::new()
        .prefix("kernel-")
        .suffix(".deb")
        .tempfile_in(folder);
    let package = made.map_err(failed)?;
    let mut file = tokio::fs::File::from_std(package.reopen().map_err(failed)?);
    let mut body = chunks(request.into_body());
    let mut length = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(ApiError::from)?;
        length += chunk.len() as u64;
        if length > PACKAGE_MAX {
            return Err(ApiError::new(
                ProblemCode::BodyTooLarge,
                format!("the package is longer than {PACKAGE_MAX} bytes, so it is none of a kernel"),
            ));
        }
        file.write_all(&chunk).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    Ok(package)
}

type Lines = Pin<Box<dyn Stream<Item = KernelLine> + Send>>;

/// Who waits for a kernel. Minutes of compiling are not wanted any more when it is gone.
struct Client(Arc<AtomicBool>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` beside the runtime; progress as it comes, then what it came to. An import that nobody waits for any
/// more goes on to its end, a build does not.
fn with_progress(app: Arc<App>, tenant: Tenant, work: Work) -> Lines {
    let (sender, progress) = mpsc::channel(PROGRESS_BACKLOG);
    let store = Arc::clone(&app.kernels);
    let task = tokio::task::spawn_blocking(move || {
        // A report that finds no room is dropped.
        work(&store, &mut |report| drop(sender.try_send(kernel_progress(report))))
    });
    let end = stream::once(async move {
        let bundle = task
            .await
            .map_err(|_| ApiError::internal("the import broke; the server's log tells more"))??;
        kernel(&app, &tenant, bundle).await
    });
    let end = end.map(|ended| match ended {
        Ok(kernel) => KernelLine::Result {
            kernel: Box::new(kernel),
        },
        Err(error) => KernelLine::Problem(ProblemLine::from(*error.problem)),
    });
    // The channel ends with the work.
    Box::pin(ReceiverStream::new(progress).map(KernelLine::Progress).chain(end))
}

fn kernel_progress(report: hearth_kernel::KernelProgress) -> KernelProgress {
    use hearth_kernel::KernelProgress as P;
    let plain = |phase| KernelProgress {
        phase,
        current_bytes: 0,
        total_bytes: 0,
        message: None,
    };
    match report {
        P::Reading {
            done_bytes,
            total_bytes,
        } => KernelProgress {
            current_bytes: done_bytes,
            total_bytes,
            ..plain(KernelPhase::Reading)
        },
        P::Extracting => plain(KernelPhase::Extracting),
        P::Resolving => plain(KernelPhase::Resolving),
        P::Storing => plain(KernelPhase::Storing),
        P::Line(line) => KernelProgress {
            message: Some(line),
            ..plain(KernelPhase::Building)
        },
        _ => plain(KernelPhase::Unknown),
    }
}

async fn kernel(app: &App, tenant: &Tenant, bundle: Bundle) -> ApiResult<Kernel> {
    let store = Arc::clone(&app.kernels);
    let default = app
        .blocking(move || store.default_bundle())
        .await?
        .is_some_and(|other| other.id == bundle.id);
    let users = users(app, &bundle.id).await?;
    Ok(Kernel {
        id: bundle.id,
        version: bundle.version,
        source_kind: source_kind(bundle.source.kind).to_owned(),
        source: bundle.source.name,
        modules: bundle.modules.into_iter().map(|module| module.name).collect(),
        builtins: bundle.builtins,
        absent: bundle.absent,
        pvh: bundle.pvh,
        bzimage_bytes: bundle.bzimage_bytes,
        vmlinux_bytes: bundle.vmlinux_bytes,
        added_at: bundle.made_at,
        default,
        used_by: app.visible(tenant, users).await?,
    })
}

/// IDs of the machines of a kernel, and of the snapshots of such.
async fn users(app: &App, id: &str) -> Result<Vec<String>, StoreError> {
    let machines = app.store.users_of_kernel(id).await?;
    let snapshots = app.store.snapshots_of_kernel(id).await?;
    let machines = machines.iter().map(ToString::to_string);
    Ok(machines.chain(snapshots.iter().map(ToString::to_string)).collect())
}

fn source_kind(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Deb => "deb",
        SourceKind::Files => "files",
        SourceKind::Build => "build",
    }
}

impl From<KernelError> for ApiError {
    fn from(error: KernelError) -> Self {
        let code = match (&error, error.kind()) {
            (KernelError::Ambiguous { .. }, _) => ProblemCode::Ambiguous,
            (_, ErrorKind::NotFound) => ProblemCode::KernelNotFound,
            (_, ErrorKind::InvalidInput) => ProblemCode::InvalidRequest,
            (_, ErrorKind::InUse) => ProblemCode::InUse,
            (_, ErrorKind::NoSpace) => ProblemCode::DiskFull,
            (_, ErrorKind::Internal) => ProblemCode::Internal,
        };
        let detail = hearth_domain::chain(&error);
        Self::new(code, detail).caused_by(error)
    }
}
