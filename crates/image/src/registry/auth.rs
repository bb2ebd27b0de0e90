//! Authentication as registries ask for it: `WWW-Authenticate` challenges, basic credentials, bearer tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;

use super::error::RegistryError;
use super::transport::{Failure, RegistryClient, Site, read_bounded, reason};
use crate::credentials::Credentials;

const TOKEN_MAX_BYTES: usize = 256 * 1024;
const CLIENT_ID: &str = "hearth";

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// The best challenge among the headers: a token rather than the password itself.
    pub(super) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let texts = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let challenges: Vec<_> = texts.filter_map(Self::parse).collect();
        let bearer = challenges
            .iter()
            .find(|challenge| matches!(challenge, Self::Bearer { .. }));
        bearer.or(challenges.first()).cloned()
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut parameters = parameters(rest);
        let mut take = |name: &str| {
            let at = parameters.iter().position(|(key, _)| key.eq_ignore_ascii_case(name))?;
            Some(parameters.swap_remove(at).1)
        };
        Some(Self::Bearer {
            realm: take("realm")?,
            service: take("service"),
        })
    }
}

/// `key="value",key=value`, where a quoted value may hold commas.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            unquote(quoted)
        } else {
            let (value, after) = after.split_once(',').unwrap_or((after, ""));
            (value.trim().to_owned(), after)
        };
        found.push((key.trim().to_owned(), value));
        rest = after.trim_start_matches([',', ' ']);
    }
    found
}

fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// One pull's answers to challenges.
pub(super) struct Authenticator<'a> {
    pub(super) client: &'a RegistryClient,
    pub(super) site: &'a Site,
    pub(super) repository: &'a str,
    pub(super) credentials: &'a Credentials,
}

impl Authenticator<'_> {
    /// The `Authorization` header that answers `challenge`.
    pub(super) async fn answer(&self, challenge: &Challenge) -> Result<HeaderValue, Failure> {
        match (challenge, self.credentials) {
            (_, Credentials::Bearer(token)) => Ok(self.bearer(token)?),
            (Challenge::Basic, Credentials::Basic { username, password }) => {
                Ok(self.secret(&basic(username, password))?)
            }
            (Challenge::Basic, _) => Err(self.unauthorized("it wants a user name and password").into()),
            (Challenge::Bearer { realm, service }, _) => self.token(realm, service.as_deref()).await,
        }
    }

    async fn token(&self, realm: &str, service: Option<&str>) -> Result<HeaderValue, Failure> {
        let url: Url = realm
            .parse()
            .map_err(|_| self.unsupported("the token server is not a URL"))?;
        self.site
            .check_url(&url, false)
            .map_err(|reason| self.unsupported(format!("the token server leads {reason}")))?;
        let scope = format!("repository:{}:pull", self.repository);
        let request = self.token_request(url, service, &scope).await?;
        let response = request
            .send()
            .await
            .map_err(|error| self.site.passing("token request", error))?;
        match response.status().as_u16() {
            200 => {}
            400 | 401 | 403 => return Err(self.unauthorized(reason(response).await).into()),
            _ => return Err(self.site.refusal("token request", response).await),
        }
        let body = read_bounded(response, TOKEN_MAX_BYTES).await;
        let body = body.map_err(|error| self.site.passing("token request", error))?;
        let answer = body.and_then(|body| serde_json::from_slice(&body).ok());
        let answer: TokenAnswer =
            answer.ok_or_else(|| self.site.protocol("the token server's answer is not a token"))?;
        let token = answer
            .token
            .into_iter()
            .chain(answer.access_token)
            .find(|token| !token.is_empty());
        let token = token.ok_or_else(|| self.site.protocol("the token server gave an empty token"))?;
        Ok(self.bearer(&token)?)
    }

    async fn token_request(
        &self,
        mut url: Url,
        service: Option<&str>,
        scope: &str,
    ) -> Result<reqwest::RequestBuilder, RegistryError> {
        let service = service.unwrap_or_default();
        if let Credentials::IdentityToken(token) = self.credentials {
            let form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", token),
                ("service", service),
                ("scope", scope),
                ("client_id", CLIENT_ID),
            ];
            return self.client.token_request(self.site, url, Some(&form)).await;
        }
        url.query_pairs_mut()
            .append_pair("service", service)
            .append_pair("scope", scope)
            .append_pair("client_id", CLIENT_ID);
        let request = self.client.token_request(self.site, url, None).await?;
        match self.credentials {
            Credentials::Basic { username, password } => {
                Ok(request.header(AUTHORIZATION, self.secret(&basic(username, password))?))
            }
            _ => Ok(request),
        }
    }

    fn bearer(&self, token: &str) -> Result<HeaderValue, RegistryError> {
        self.secret(&format!("Bearer {token}"))
    }

    fn secret(&self, text: &str) -> Result<HeaderValue, RegistryError> {
        let mut value = HeaderValue::from_str(text)
            .map_err(|_| self.unsupported("the token has characters that no header may have"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Registries refuse strangers in the same words whether there is nothing or nothing for them.
    pub(super) fn unauthorized(&self, reason: impl Into<String>) -> RegistryError {
        let mut reason = reason.into();
        if *self.credentials == Credentials::Anonymous {
            let advice = format!(
                "; it may not exist, or want a login: `docker login {}` stores one, or write it into docker's config.json",
                self.site.registry
            );
            reason.push_str(&advice);
        }
        RegistryError::Unauthorized {
            registry: self.site.registry.clone(),
            repository: self.repository.to_owned(),
            reason,
        }
    }

    fn unsupported(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Challenge {
            registry: self.site.registry.clone(),
            reason: reason.into(),
        }
    }
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_servers_write_them() {
        let bearer =
            r#"Bearer realm="https://auth.example/token?x=1",service="registry, one",scope="repository:a/b:pull""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.example/token?x=1".into(),
            service: Some("registry, one".into()),
        };
        assert_eq!(Challenge::parse(bearer), Some(expected.clone()));
        assert_eq!(
            Challenge::parse("bearer realm=https://a/t"),
            Some(Challenge::Bearer {
                realm: "https://a/t".into(),
                service: None
            })
        );
        assert_eq!(Challenge::parse(r#"Basic realm="x""#), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Bearer service=x"), None);
        assert_eq!(Challenge::parse("Negotiate"), None);
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=x"));
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(bearer).unwrap());
        assert_eq!(Challenge::from_headers(&headers), Some(expected));
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_without_harm(text in "\\PC{0,60}") {
            let _ = Challenge::parse(&format!("Bearer {text}"));
        }
    }
}
