//! Who to be at a registry: given with the request, or found in docker's `config.json` and its helper programs.
//!
//! Secrets never appear in `Debug`, in errors or in logs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::manifest::null_as_default;

const CONFIG_MAX_BYTES: u64 = 1024 * 1024;
const HELPER_MAX_BYTES: u64 = 64 * 1024;
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);
const DOCKER_HUB_KEYS: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// What to show to a registry.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// Nothing.
    #[default]
    Anonymous,
    /// A name and a password or access token.
    Basic {
        /// The user's name.
        username: String,
        /// The password or access token.
        password: String,
    },
    /// An OAuth2 refresh token, as helpers give for `<token>`.
    IdentityToken(String),
    /// A token that the registry accepts as it is.
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => formatter.write_str("Anonymous"),
            Self::Basic { username, .. } => write!(formatter, "Basic({username:?}, …)"),
            Self::IdentityToken(_) => formatter.write_str("IdentityToken(…)"),
            Self::Bearer(_) => formatter.write_str("Bearer(…)"),
        }
    }
}

/// Why credentials could not be found.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file is there but cannot be read.
    #[error("cannot read the docker configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is not as docker writes it.
    #[error("the docker configuration {path} is malformed")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// An `auth` entry that is not base64 of `name:password`.
    #[error("the docker configuration has a malformed \"auth\" for {0}; log in to it again")]
    MalformedAuth(String),
    /// A helper's name with characters that no program name has.
    #[error("the docker configuration names credential helper {0:?}, which is not a plain name")]
    HelperName(String),
    /// A helper that does not start, fails, or does not answer in time.
    #[error("the credential helper {program} failed for {registry}: {reason}")]
    Helper {
        /// The program.
        program: String,
        /// Whose credentials were asked for.
        registry: String,
        /// What happened.
        reason: String,
    },
}

/// Docker's `config.json`, as far as it concerns credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DockerConfig {
    #[serde(deserialize_with = "null_as_default")]
    auths: BTreeMap<String, AuthEntry>,
    #[serde(deserialize_with = "null_as_default")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_default")]
    creds_store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    #[serde(deserialize_with = "null_as_default")]
    auth: String,
    #[serde(deserialize_with = "null_as_default")]
    username: String,
    #[serde(deserialize_with = "null_as_default")]
    password: String,
    #[serde(deserialize_with = "null_as_default")]
    identitytoken: String,
    #[serde(deserialize_with = "null_as_default")]
    registrytoken: String,
}

impl fmt::Debug for AuthEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AuthEntry(…)")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

impl DockerConfig {
    /// Reads `path`; a file that is not there is an empty configuration.
    pub async fn load(path: &Path) -> Result<Self, CredentialError> {
        let read_error = |source| CredentialError::Read {
            path: path.to_owned(),
            source,
        };
        let file = match tokio::fs::File::open(path).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(read_error(error)),
        };
        let mut bytes = Vec::new();
        file.take(CONFIG_MAX_BYTES)
            .read_to_end(&mut bytes)
            .await
            .map_err(read_error)?;
        serde_json::from_slice(&bytes).map_err(|source| CredentialError::Malformed {
            path: path.to_owned(),
            source,
        })
    }

    /// Credentials for a registry: its own helper first, then the entry in the file, then the default store.
    pub async fn find(&self, registry: &str) -> Result<Credentials, CredentialError> {
        let names = server_names(registry);
        if let Some(helper) = names.iter().find_map(|name| self.cred_helpers.get(name)) {
            return ask_helper(helper, &names).await;
        }
        let own = self.auths.iter().find(|(key, _)| names.contains(&server_key(key)));
        if let Some((_, entry)) = own
            && let Some(credentials) = entry.credentials(registry)?
        {
            return Ok(credentials);
        }
        if self.creds_store.is_empty() {
            Ok(Credentials::Anonymous)
        } else {
            ask_helper(&self.creds_store, &names).await
        }
    }
}

impl AuthEntry {
    /// `None` where the entry is empty, as docker leaves it when a helper holds the secret.
    fn credentials(&self, registry: &str) -> Result<Option<Credentials>, CredentialError> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials::IdentityToken(self.identitytoken.clone())));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credentials::Bearer(self.registrytoken.clone())));
        }
        if self.auth.is_empty() {
            let basic = Credentials::Basic {
                username: self.username.clone(),
                password: self.password.clone(),
            };
            return Ok(Some(basic).filter(|_| !self.username.is_empty()));
        }
        let malformed = || CredentialError::MalformedAuth(registry.to_owned());
        let decoded = STANDARD
            .decode(self.auth.trim_end_matches('\0'))
            .map_err(|_| malformed())?;
        let decoded = String::from_utf8(decoded).map_err(|_| malformed())?;
        let (username, password) = decoded.split_once(':').ok_or_else(malformed)?;
        let password = password.trim_end_matches('\0');
        Ok(Some(Credentials::Basic {
            username: username.into(),
            password: password.into(),
        }))
    }
}

/// The names under which `registry` may be filed, as [`server_key`] gives them.
fn server_names(registry: &str) -> Vec<String> {
    if DOCKER_HUB_KEYS.contains(&registry) {
        DOCKER_HUB_KEYS.map(str::to_owned).to_vec()
    } else {
        vec![registry.to_owned()]
    }
}

/// Keys may be URLs (`https://index.docker.io/v1/`) or hosts.
fn server_key(key: &str) -> String {
    let host = key.split_once("://").map_or(key, |(_, rest)| rest);
    host.split('/').next().unwrap_or_default().to_owned()
}

async fn ask_helper(helper: &str, names: &[String]) -> Result<Credentials, CredentialError> {
    if helper.is_empty()
        || !helper
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        return Err(CredentialError::HelperName(helper.to_owned()));
    }
    let program = format!("docker-credential-{helper}");
    // Docker files its own hub under a URL.
    let hub = names.len() > 1;
    let server = if hub {
        "https://index.docker.io/v1/"
    } else {
        names.first().map_or("", String::as_str)
    };
    ask_program(&program, server).await
}

async fn ask_program(program: &str, server: &str) -> Result<Credentials, CredentialError> {
    let failed = |reason: String| CredentialError::Helper {
        program: program.to_owned(),
        registry: server.into(),
        reason,
    };
    let (success, output) = tokio::time::timeout(HELPER_TIMEOUT, run_helper(program, server))
        .await
        .map_err(|_| failed(format!("no answer within {} s", HELPER_TIMEOUT.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if !success {
        let text = String::from_utf8_lossy(&output);
        let unknown = text.contains("credentials not found") || text.contains("no credentials");
        // The output could hold a secret, so it is not shown.
        return if unknown {
            Ok(Credentials::Anonymous)
        } else {
            Err(failed("it exited with an error".into()))
        };
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&output).map_err(|_| failed("its answer is not what helpers answer".into()))?;
    Ok(match answer.username.as_str() {
        "<token>" => Credentials::IdentityToken(answer.secret),
        _ => Credentials::Basic {
            username: answer.username,
            password: answer.secret,
        },
    })
}

async fn run_helper(program: &str, server: &str) -> std::io::Result<(bool, Vec<u8>)> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper may answer without reading.
        drop(stdin.write_all(format!("{server}\n").as_bytes()).await);
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(HELPER_MAX_BYTES).read_to_end(&mut output).await?;
    }
    Ok((child.wait().await?.success(), output))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn find(config: &str, registry: &str) -> Result<Credentials, CredentialError> {
        let config: DockerConfig = serde_json::from_str(config).unwrap();
        config.find(registry).await
    }

    fn basic(username: &str, password: &str) -> Credentials {
        Credentials::Basic {
            username: username.into(),
            password: password.into(),
        }
    }

    #[tokio::test]
    async fn entries_are_found_by_host_and_by_url() {
        let auth = STANDARD.encode("me:se:cret");
        let config = format!(
            r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{auth}"}},"r.example:5000":{{"username":"a","password":"b"}},
            "t.example":{{"identitytoken":"tok"}},"e.example":{{}},"bad.example":{{"auth":"%"}}}}}}"#
        );
        assert_eq!(find(&config, "docker.io").await.unwrap(), basic("me", "se:cret"));
        assert_eq!(find(&config, "r.example:5000").await.unwrap(), basic("a", "b"));
        assert_eq!(find(&config, "r.example").await.unwrap(), Credentials::Anonymous);
        assert_eq!(
            find(&config, "t.example").await.unwrap(),
            Credentials::IdentityToken("tok".into())
        );
        assert_eq!(find(&config, "e.example").await.unwrap(), Credentials::Anonymous);
        assert!(matches!(
            find(&config, "bad.example").await,
            Err(CredentialError::MalformedAuth(_))
        ));
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_or_not_a_name_is_reported() {
        let config = r#"{"credsStore":"hearth-test-absent","credHelpers":{"x.example":"../evil"}}"#;
        assert!(matches!(
            find(config, "a.example").await,
            Err(CredentialError::Helper { .. })
        ));
        assert!(matches!(
            find(config, "x.example").await,
            Err(CredentialError::HelperName(_))
        ));
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_empty_and_junk_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert!(DockerConfig::load(&path).await.unwrap().auths.is_empty());
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(
            DockerConfig::load(&path).await,
            Err(CredentialError::Malformed { .. })
        ));
    }

    #[tokio::test]
    async fn a_helper_is_asked_on_its_standard_input() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("docker-credential-x");
        let script = "#!/bin/sh\nread server\n[ \"$1\" = get ] && echo \"{\\\"Username\\\":\\\"<token>\\\",\\\"Secret\\\":\\\"for $server\\\"}\"\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let credentials = ask_program(program.to_str().unwrap(), "r.example").await.unwrap();
        assert_eq!(credentials, Credentials::IdentityToken("for r.example".into()));
        std::fs::write(
            &program,
            "#!/bin/sh\necho credentials not found in native keychain\nexit 1\n",
        )
        .unwrap();
        let credentials = ask_program(program.to_str().unwrap(), "r.example").await.unwrap();
        assert_eq!(credentials, Credentials::Anonymous);
    }

    #[test]
    fn secrets_do_not_show() {
        let shown = format!("{:?}{:?}", basic("me", "secret"), Credentials::Bearer("secret".into()));
        assert!(!shown.contains("secret"));
    }
}
