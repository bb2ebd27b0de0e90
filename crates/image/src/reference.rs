//! Image references by docker's rules: `[registry/]repository[:tag][@digest]`.
//!
//! A [`Reference`] is always complete: the registry and (unless there is a digest) the tag are filled in when it is parsed.
//! It shows itself in the short form that people type, which parses back to the same reference.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, DigestError, clip};

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a string is not an image reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Nothing there.
    #[error("the image reference is empty; write one like \"alpine:3\" or \"registry.example/team/app:1.0\"")]
    Empty,
    /// Registry and repository together too long.
    #[error("image reference {0:?} is longer than {LONGEST_NAME} characters before its tag")]
    TooLong(String),
    /// Host name or port not as they should be.
    #[error("image reference {reference:?} names registry {registry:?}, which is not a host with an optional port")]
    Registry {
        /// The whole reference.
        reference: String,
        /// The part at fault.
        registry: String,
    },
    /// Capital letters and other characters that repositories may not have.
    #[error(
        "image reference {reference:?} has repository {repository:?}: use lower-case letters and digits, separated by \
         '/', '.', '_', '__' or '-'"
    )]
    Repository {
        /// The whole reference.
        reference: String,
        /// The part at fault.
        repository: String,
    },
    /// Tag not as it should be.
    #[error(
        "image reference {reference:?} has tag {tag:?}: use at most {LONGEST_TAG} letters, digits, '_', '.' and '-', \
         not starting with '.' or '-'"
    )]
    Tag {
        /// The whole reference.
        reference: String,
        /// The part at fault.
        tag: String,
    },
    /// Digest not as it should be.
    #[error("image reference {reference:?} has a bad digest")]
    Digest {
        /// The whole reference.
        reference: String,
        /// What is wrong with it.
        #[source]
        source: DigestError,
    },
    /// Would be mistaken for an image ID.
    #[error("image reference {0:?} looks like an image ID; give the repository another name")]
    LooksLikeId(String),
}

impl Reference {
    /// The registry's host with its port if given, `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository inside the registry, such as `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, absent only where a digest stands.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The manifest's digest, if pinned.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Everything spelled out: `docker.io/library/alpine:latest`.
    pub fn canonical(&self) -> String {
        format!("{}/{}{}", self.registry, self.repository, self.suffix())
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.map(|digest| format!("@{digest}")).unwrap_or_default();
        tag + &digest
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() > LONGEST_NAME + LONGEST_TAG + 80 {
            return Err(ReferenceError::TooLong(clip(text)));
        }
        let (rest, digest) = split_digest(text)?;
        let (name, tag) = split_tag(rest);
        let (registry, repository) = split_registry(name);
        if registry.len() + 1 + repository.len() > LONGEST_NAME {
            return Err(ReferenceError::TooLong(clip(text)));
        }
        let short = repository
            .strip_prefix(DEFAULT_NAMESPACE)
            .filter(|_| registry == DEFAULT_REGISTRY);
        if short.is_some_and(|short| Digest::from_hex(short).is_ok()) {
            return Err(ReferenceError::LooksLikeId(clip(text)));
        }
        if !is_registry(&registry) {
            return Err(ReferenceError::Registry {
                reference: clip(text),
                registry,
            });
        }
        if !repository.split('/').all(is_path_component) {
            return Err(ReferenceError::Repository {
                reference: clip(text),
                repository,
            });
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag {
                reference: clip(text),
                tag: clip(tag),
            });
        }
        let tag = match (tag, digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self {
            registry,
            repository,
            tag,
            digest,
        })
    }
}

fn split_digest(text: &str) -> Result<(&str, Option<Digest>), ReferenceError> {
    let Some((rest, digest)) = text.split_once('@') else {
        return Ok((text, None));
    };
    let digest = digest.parse().map_err(|source| ReferenceError::Digest {
        reference: clip(text),
        source,
    })?;
    Ok((rest, Some(digest)))
}

/// A colon after the last slash starts the tag; one before it is a port's.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let last_component = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[last_component..].find(':') {
        Some(colon) => (
            &text[..last_component + colon],
            Some(&text[last_component + colon + 1..]),
        ),
        None => (text, None),
    }
}

/// The first component is a registry only where it cannot be a user's name: with a dot, a port or a capital, or `localhost`.
fn split_registry(name: &str) -> (String, String) {
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if is_meant_as_registry(first) => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    };
    let registry = match registry {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
        other => other,
    };
    let bare = registry == DEFAULT_REGISTRY && !repository.contains('/');
    let namespace = if bare { DEFAULT_NAMESPACE } else { "" };
    (registry.to_owned(), format!("{namespace}{repository}"))
}

fn is_meant_as_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rfind(']') {
        Some(end) => match text[end + 1..].strip_prefix(':') {
            Some(port) => (&text[..=end], Some(port)),
            None => (text, None),
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0)) && is_host(host)
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    host.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

fn is_path_component(component: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    word(*first)
        && word(*last)
        && component
            .split(|character: char| character.is_ascii() && word(character as u8))
            .all(is_separator)
}

fn is_separator(text: &str) -> bool {
    matches!(text, "" | "." | "_" | "__") || text.bytes().all(|byte| byte == b'-')
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.repository.split_once('/').map_or("", |(first, _)| first);
        if self.registry != DEFAULT_REGISTRY || is_meant_as_registry(first) {
            return formatter.write_str(&self.canonical());
        }
        let short = self
            .repository
            .strip_prefix(DEFAULT_NAMESPACE)
            .filter(|rest| !rest.contains('/'));
        write!(formatter, "{}{}", short.unwrap_or(&self.repository), self.suffix())
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_completed_as_docker_completes_them() {
        let digest = Digest::of(b"");
        for (text, canonical) in [
            ("alpine", "docker.io/library/alpine:latest".to_owned()),
            ("alpine:3.20", "docker.io/library/alpine:3.20".to_owned()),
            ("user/app", "docker.io/user/app:latest".to_owned()),
            ("docker.io/localhost/a", "docker.io/localhost/a:latest".to_owned()),
            ("docker.io/a.b/c", "docker.io/a.b/c:latest".to_owned()),
            ("docker.io/alpine", "docker.io/library/alpine:latest".to_owned()),
            (
                "index.docker.io/library/alpine:a",
                "docker.io/library/alpine:a".to_owned(),
            ),
            ("localhost/app", "localhost/app:latest".to_owned()),
            ("localhost:5000/app", "localhost:5000/app:latest".to_owned()),
            (
                "127.0.0.1:5000/a/b/c__d-e.f:T_1",
                "127.0.0.1:5000/a/b/c__d-e.f:T_1".to_owned(),
            ),
            ("[::1]:5000/app", "[::1]:5000/app:latest".to_owned()),
            ("ghcr.io/team/app:1", "ghcr.io/team/app:1".to_owned()),
            (
                &format!("alpine@{digest}"),
                format!("docker.io/library/alpine@{digest}"),
            ),
            (&format!("ghcr.io/a/b:1@{digest}"), format!("ghcr.io/a/b:1@{digest}")),
        ] {
            let reference: Reference = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(reference.canonical(), canonical);
            assert_eq!(reference.to_string().parse(), Ok(reference.clone()), "{reference}");
        }
    }

    #[test]
    fn what_is_not_a_reference_is_refused_with_the_part_at_fault() {
        use ReferenceError as E;
        let error = |text: &str| text.parse::<Reference>().expect_err(text);
        assert_eq!(error(""), E::Empty);
        assert!(matches!(error("Alpine"), E::Repository { .. }));
        assert!(matches!(error("a//b"), E::Repository { .. }));
        assert!(matches!(error("a/../b"), E::Repository { .. }));
        assert!(matches!(error("a___b"), E::Repository { .. }));
        assert!(matches!(error("-a"), E::Repository { .. }));
        assert!(matches!(error("ä"), E::Repository { .. }));
        assert!(matches!(error("alpine:"), E::Tag { .. }));
        assert!(matches!(error("alpine:.x"), E::Tag { .. }));
        assert!(matches!(error(&format!("alpine:{}", "x".repeat(129))), E::Tag { .. }));
        assert!(matches!(error("alpine@sha256:12"), E::Digest { .. }));
        assert!(matches!(error("host:99999/app"), E::Registry { .. }));
        assert!(matches!(error("-x.y/app"), E::Registry { .. }));
        assert!(matches!(error(&"a/".repeat(200)), E::TooLong(_)));
        assert!(matches!(error(&"a".repeat(250)), E::TooLong(_)));
        assert!(matches!(error(&"0123456789abcdef".repeat(4)), E::LooksLikeId(_)));
        assert!(matches!(
            error(&format!("library/{}", "0123456789abcdef".repeat(4))),
            E::LooksLikeId(_)
        ));
    }

    proptest::proptest! {
        #[test]
        fn whatever_parses_shows_itself_as_something_that_parses_to_the_same(
            text in "(docker\\.io/|library/|localhost/|A/|a\\.b/|[::1]:1/)?(library/|localhost/|a\\.b/)?[a-zA-Z0-9:/@._\\[\\]-]{0,40}"
        ) {
            if let Ok(reference) = text.parse::<Reference>() {
                proptest::prop_assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
                proptest::prop_assert_eq!(reference.canonical().parse(), Ok(reference));
            }
        }
    }
}
