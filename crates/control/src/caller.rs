//! Who calls, and what that lets them do.
//!
//! [`crate::layers`] says of each request who sent it; a handler begins with [`Caller::may`], which answers whether that
//! may do this and gives a [`Tenant`], without which nothing of a project can be looked up. So what a handler allows
//! stands in its first line, and one that forgets to ask does not compile.
//!
//! Whoever may use the unix socket is an operator of the host: everything, in any project. A key does what its role
//! may, in its project; admins of the project `default` administer the host and every other project as well. What
//! belongs to another project is not forbidden but not there.

use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use hearth_api::ProblemCode;
use hearth_domain::{Action, ProjectName, Role};
use hearth_ids::{KeyId, ProjectId};
use hearth_store::KeyRow;
use http::{HeaderMap, request::Parts};
use tracing::debug;

use crate::{
    app::App,
    error::{ApiError, ApiResult},
    peer::Peer,
};

/// Header by which operators say in which project.
pub(crate) const PROJECT_HEADER: &str = hearth_api::PROJECT_HEADER;

/// Who sent a request. That it is there says that it was proved.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    who: Who,
    /// Where the request came from.
    pub(crate) from: Peer,
    /// The project that the request names.
    wanted: Option<String>,
    /// The project in which something was done.
    entered: Arc<OnceLock<ProjectId>>,
}

#[derive(Debug, Clone)]
enum Who {
    /// A process on this host that may use the socket.
    Operator { uid: u32 },
    /// Whoever holds a key.
    Key(Box<KeyRow>),
}

/// Who does something, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Actor {
    /// A user of this host.
    User(u32),
    /// A key.
    Key { id: KeyId, name: String },
}

/// A caller in a project, who may do what was asked.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    /// In which project.
    pub(crate) project: ProjectId,
    /// The project's name.
    pub(crate) name: ProjectName,
    /// As what; operators are admins.
    pub(crate) role: Role,
    /// Whether the caller administers the whole host.
    pub(crate) host: bool,
    /// Who it is.
    pub(crate) actor: Actor,
    /// Where the request came from.
    pub(crate) from: Peer,
}

impl Caller {
    /// A process that may use the unix socket.
    pub(crate) fn operator(uid: u32, from: Peer, headers: &HeaderMap) -> ApiResult<Self> {
        Ok(Self {
            who: Who::Operator { uid },
            from,
            wanted: wanted(headers)?,
            entered: Arc::default(),
        })
    }

    /// Whoever proved to hold a key.
    pub(crate) fn of_key(key: KeyRow, from: Peer, headers: &HeaderMap) -> ApiResult<Self> {
        Ok(Self {
            who: Who::Key(Box::new(key)),
            from,
            wanted: wanted(headers)?,
            entered: Arc::default(),
        })
    }

    /// Who it is.
    pub(crate) fn actor(&self) -> Actor {
        match &self.who {
            Who::Operator { uid } => Actor::User(*uid),
            Who::Key(key) => Actor::Key {
                id: key.id,
                name: key.name.clone(),
            },
        }
    }

    /// The project in which something was done, or would have been.
    pub(crate) fn entered(&self) -> Option<ProjectId> {
        self.entered.get().copied().or_else(|| self.own_project())
    }

    /// The project of the key, if it is one.
    pub(crate) fn own_project(&self) -> Option<ProjectId> {
        match &self.who {
            Who::Operator { .. } => None,
            Who::Key(key) => Some(key.project),
        }
    }

    /// Whether the caller administers the whole host.
    fn is_host_admin(&self) -> bool {
        match &self.who {
            Who::Operator { .. } => true,
            Who::Key(key) => key.project == ProjectId::DEFAULT && key.role == Role::Admin,
        }
    }

    /// Refuses what the caller may not do; gives the project in which it is done.
    pub(crate) async fn may(&self, app: &App, action: Action) -> ApiResult<Tenant> {
        let role = match &self.who {
            Who::Operator { .. } => Role::Admin,
            Who::Key(key) => key.role,
        };
        let host = self.is_host_admin();
        if !role.may(action) {
            return Err(ApiError::new(
                ProblemCode::Forbidden,
                format!(
                    "the role {role} may not {}; ask for a key of another role",
                    action.words()
                ),
            ));
        }
        if action.is_of_host() && !host {
            return Err(ApiError::new(
                ProblemCode::Forbidden,
                format!(
                    "only admins of the project default may {}, since all projects share them",
                    action.words()
                ),
            ));
        }
        let (project, name) = self.project(app, host).await?;
        // Each request asks once; of one that asks again the first answer is as good.
        let _ = self.entered.set(project);
        let tenant = Tenant {
            project,
            name,
            role,
            host,
            actor: self.actor(),
            from: self.from,
        };
        // The lines of the request that follow tell it.
        tracing::Span::current().record("project", tracing::field::display(project));
        debug!(?action, project = %tenant.name, role = %tenant.role, actor = ?tenant.actor, from = ?tenant.from, "admitted");
        Ok(tenant)
    }

    async fn project(&self, app: &App, host: bool) -> ApiResult<(ProjectId, ProjectName)> {
        let found = match (&self.wanted, &self.who) {
            (None, Who::Operator { .. }) => return Ok((ProjectId::DEFAULT, ProjectName::default())),
            (None, Who::Key(key)) => app.store.project(key.project).await?,
            (Some(wanted), _) => app.store.find_project(wanted).await?,
        };
        let visible = found.filter(|project| host || self.own_project() == Some(project.id));
        match visible {
            Some(project) => Ok((project.id, project.name)),
            None => Err(no_project(self.wanted.as_deref().unwrap_or("of this key"))),
        }
    }
}

impl Tenant {
    /// Whether the caller may see what is of this project.
    pub(crate) fn sees(&self, project: ProjectId) -> bool {
        self.host || self.project == project
    }
}

/// There is no such project, or none that the caller may know of.
pub(crate) fn no_project(text: &str) -> ApiError {
    let text: String = text.chars().take(80).collect();
    ApiError::new(
        ProblemCode::ProjectNotFound,
        format!("there is no project {text:?}; `hearth project ls` lists those there are"),
    )
}

fn wanted(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let Some(value) = headers.get(PROJECT_HEADER) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok("") => Ok(None),
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(ApiError::field(
            PROJECT_HEADER,
            format!("{PROJECT_HEADER} is not a project's name"),
        )),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> ApiResult<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(crate::key::missing)
    }
}
