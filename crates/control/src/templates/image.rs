//! The image that a build begins with. One that the node lacks is pulled, as part of the build.

use std::collections::HashSet;

use hearth_api::ProblemCode;
use hearth_image::{Credentials, NameClaim, Phase, Progress, ProgressSink, PullOptions, Reference};
use tokio::sync::mpsc;

use super::log::BuildLog;
use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
    images,
    machines::create::{Facts, facts_of},
};

/// Events of a pull that may wait to be told. Those that find no room are left out.
const PROGRESS_BACKLOG: usize = 64;

/// An image to begin with.
pub(crate) struct Image {
    pub(super) name: String,
    /// Whether it may be one that only admins of the host may use.
    host: bool,
    /// How it is had, where the node does not have it.
    pull: Option<Pull>,
}

struct Pull {
    reference: Reference,
    claim: Option<NameClaim>,
    credentials: Option<Credentials>,
}

impl Image {
    /// Looks for it. Errors where it is not there and its name is not one that the tenant may pull.
    pub(super) async fn look_up(
        app: &App,
        tenant: &Tenant,
        name: &str,
        credentials: Option<Credentials>,
    ) -> ApiResult<Self> {
        let host = tenant.host;
        let driver = app.default_driver().await?;
        let pull = match facts_of(app, name, None, driver, host).await {
            Ok(_) => None,
            Err(error) if error.problem.code == ProblemCode::ImageNotFound => {
                // What is no name of an image, such as a part of an ID, nobody can be asked for.
                let reference: Reference = name.parse().map_err(|_| error)?;
                let claim = images::names::of_pull(app, tenant, &reference).await?;
                Some(Pull {
                    reference,
                    claim,
                    credentials,
                })
            }
            Err(error) => return Err(error),
        };
        let name = name.to_owned();
        Ok(Self { name, host, pull })
    }

    /// One of a stage, which was there when the build was asked for.
    pub(super) fn of_stage(name: &str, tenant: &Tenant) -> Self {
        Self {
            name: name.to_owned(),
            host: tenant.host,
            pull: None,
        }
    }

    /// Pulls it, if it is not there, and says how far that is.
    pub(super) async fn fetch(&self, app: &App, log: &BuildLog) -> ApiResult<()> {
        let Some(pull) = &self.pull else {
            return Ok(());
        };
        log.line("info", &format!("pulling {}", pull.reference));
        let (sender, mut events) = mpsc::channel(PROGRESS_BACKLOG);
        let options = PullOptions {
            credentials: pull.credentials.clone(),
            claim: pull.claim.clone(),
            reach: images::reach(self.host),
        };
        let pulling = app.images.pull(&pull.reference, options, ProgressSink::from(sender));
        let telling = async {
            let mut told = HashSet::new();
            while let Some(event) = events.recv().await {
                if let Some(line) = line_of(&event)
                    && told.insert((event.item, event.phase as u8))
                {
                    log.line("info", &line);
                }
            }
        };
        // The events end with the pull, which has the only sender.
        let (pulled, ()) = tokio::join!(pulling, telling);
        pulled.map(|_| ()).map_err(|error| {
            let mut error = ApiError::from(error);
            error.problem.detail = format!("cannot pull {}: {}", pull.reference, error.problem.detail);
            error
        })
    }

    /// What a machine of it is made of.
    pub(super) async fn facts(&self, app: &App) -> ApiResult<Facts> {
        let driver = app.default_driver().await?;
        facts_of(app, &self.name, None, driver, self.host).await
    }
}

/// What is told of an event, where it begins something that may take a while.
fn line_of(event: &Progress) -> Option<String> {
    let what = match event.phase {
        Phase::Downloading => "downloading",
        Phase::Converting => "unpacking",
        Phase::Resolving | Phase::Verifying | Phase::Done => return None,
    };
    Some(match event.total_bytes {
        0 => format!("{what} {}", event.item),
        bytes => format!("{what} {} ({} KiB)", event.item, bytes.div_ceil(1024)),
    })
}
