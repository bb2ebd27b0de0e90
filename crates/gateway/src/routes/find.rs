//! From a request's host and path to a route.

use std::{borrow::Cow, sync::Arc};

use hearth_ids::FunctionId;

use super::{Qualifier, Route, RouteTable};

/// The route of a request.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) route: Arc<Route>,
    pub(crate) qualifier: Qualifier,
    /// How many bytes of the path led here; the function sees what follows.
    pub(crate) prefix: usize,
}

impl RouteTable {
    /// The route of a request. The host decides where it is one of ours, so that such a function owns all of its paths.
    pub(crate) fn find(&self, host: Option<&str>, path: &str) -> Option<Found> {
        match host.and_then(|host| self.function_host(host)) {
            Some(name) => self.by_host(&name),
            None => self.by_path(path),
        }
    }

    /// The function that a request with this host and path is for.
    pub fn find_function(&self, host: Option<&str>, path: &str) -> Option<FunctionId> {
        Some(self.find(host, path)?.route.function.id)
    }

    /// Whether the host is one of functions, be there such a function or not. A table that nobody has made has no domain.
    pub(crate) fn is_function_host(&self, host: &str) -> bool {
        !self.suffix.is_empty() && self.function_host(host).is_some()
    }

    /// What stands before `.fn.<domain>`, in lower case.
    fn function_host<'h>(&self, host: &'h str) -> Option<Cow<'h, str>> {
        let host = without_port(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        let at = host.len().checked_sub(self.suffix.len())?;
        let (name, suffix) = (host.get(..at)?, host.get(at..)?);
        if !suffix.eq_ignore_ascii_case(&self.suffix) {
            return None;
        }
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Some(Cow::Owned(name.to_ascii_lowercase()));
        }
        Some(Cow::Borrowed(name))
    }

    fn by_host(&self, name: &str) -> Option<Found> {
        if let Some(route) = self.by_name.get(name) {
            return Some(Found {
                route: Arc::clone(route),
                qualifier: Qualifier::Live,
                prefix: 0,
            });
        }
        let (qualifier, name) = name.split_once('.')?;
        if qualifier.is_empty() {
            return None;
        }
        Some(Found {
            route: Arc::clone(self.by_name.get(name)?),
            qualifier: qualifier.parse().ok()?,
            prefix: 0,
        })
    }

    fn by_path(&self, path: &str) -> Option<Found> {
        if let Some(rest) = path.strip_prefix("/fn/") {
            let (project, rest) = rest.split_once('/')?;
            let segment = rest.split('/').next()?;
            let (name, qualifier) = split_qualifier(segment)?;
            // The label's rule, as the table's keys have it.
            let mut key = String::with_capacity(name.len() + 1 + project.len());
            if name.contains('_') {
                key.push_str(&name.replace('_', "-"));
            } else {
                key.push_str(name);
            }
            key.push('.');
            key.push_str(project);
            key.make_ascii_lowercase();
            return Some(Found {
                route: Arc::clone(self.by_name.get(&key)?),
                qualifier,
                prefix: "/fn/".len() + project.len() + 1 + segment.len(),
            });
        }
        let rest = path.strip_prefix("/run/")?;
        let segment = rest.split('/').next()?;
        let (id, qualifier) = split_qualifier(segment)?;
        Some(Found {
            route: Arc::clone(self.by_id.get(&id.parse().ok()?)?),
            qualifier,
            prefix: "/run/".len() + segment.len(),
        })
    }
}

/// `NAME` or `NAME:QUALIFIER`.
fn split_qualifier(segment: &str) -> Option<(&str, Qualifier)> {
    match segment.split_once(':') {
        Some((_, "")) => None,
        Some((name, qualifier)) => {
            // `$LATEST` in a path may come with its sign encoded.
            let qualifier = qualifier
                .strip_prefix("%24")
                .map_or(Cow::Borrowed(qualifier), |rest| Cow::Owned(format!("${rest}")));
            Some((name, qualifier.parse().ok()?))
        }
        None => Some((segment, Qualifier::Live)),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests;
