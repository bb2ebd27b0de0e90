//! The steps of a build, carried out in its machine, and what they leave for those after them: environment, user, folder.

use std::{collections::BTreeMap, time::Duration};

use hearth_domain::{BuildStep, Workload};
use hearth_node_api::{ExecRequest, NodeError};

use super::{
    files::{Copy, StepFiles},
    log::BuildLog,
    machine::Builder,
};

/// How long one step may take.
const STEP_TIMEOUT: Duration = Duration::from_hours(1);
/// Steps of one build.
pub(super) const STEPS_MAX: usize = 500;

/// What a step says to those after it, and to the sandboxes of the template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) env: BTreeMap<String, String>,
    pub(super) user: Option<String>,
    pub(super) working_dir: Option<String>,
}

/// A step, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Copy {
        source: String,
        target: String,
        user: Option<String>,
        mode: Option<String>,
        origin: Origin,
    },
    Env(Vec<(String, String)>),
    Run {
        command: String,
        user: Option<String>,
    },
    Workdir(String),
    User(String),
}

/// Where what is copied comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// A client put it, under this hash.
    Upload(String),
    /// A stage of the build.
    Stage {
        name: String,
        /// The hash that it is kept under, once the stage was built.
        files: Option<String>,
    },
}

/// Why a step cannot be carried out, for people.
pub(super) type Reason = String;

impl Setting {
    /// What a machine has already that a build goes on from.
    pub(super) fn of(workload: &Workload) -> Self {
        Self {
            env: workload.env.clone(),
            user: workload.user.clone(),
            working_dir: workload.working_dir.clone(),
        }
    }

    /// What the template's sandboxes have.
    pub(super) fn apply(&self, workload: &mut Workload) {
        workload.env.extend(self.env.clone());
        if self.user.is_some() {
            workload.user.clone_from(&self.user);
        }
        if self.working_dir.is_some() {
            workload.working_dir.clone_from(&self.working_dir);
        }
    }

    /// Takes over what a step says to those after it.
    pub(super) fn note(&mut self, step: &Step) {
        match step {
            Step::Env(pairs) => self.env.extend(pairs.iter().cloned()),
            Step::User(user) => self.user = Some(user.clone()),
            Step::Workdir(folder) => self.working_dir = Some(joined(self.working_dir.as_deref(), folder)),
            Step::Run { .. } | Step::Copy { .. } => {}
        }
    }

    /// What a boot starts the template's start command by: as `shell` does, at home where there is no folder.
    pub(super) fn boot(&self, command: &str) -> Vec<String> {
        let home = if self.working_dir.is_none() { "cd; " } else { "" };
        let command = format!("{home}{command}");
        ["/bin/bash", "-l", "-c", &command].map(ToOwned::to_owned).to_vec()
    }

    /// A command of a shell, as a step or the template's own commands run it.
    pub(super) fn shell(&self, command: &str, user: Option<&String>) -> ExecRequest {
        ExecRequest {
            cmd: ["/bin/bash", "-l", "-c", command].map(ToOwned::to_owned).to_vec(),
            env: self.env.clone(),
            working_dir: self.working_dir.clone(),
            user: user.or(self.user.as_ref()).cloned(),
            tty: None,
            stdin: false,
            keep: false,
        }
    }
}

impl Step {
    /// Reads a step.
    pub(super) fn parse(step: &BuildStep) -> Result<Self, Reason> {
        let arg = |at: usize| step.args.get(at).filter(|arg| !arg.is_empty()).cloned();
        let needs = |what: &str| format!("{} needs {what}", step.kind);
        match step.kind.as_str() {
            "COPY" => Ok(Self::Copy {
                source: arg(0).ok_or_else(|| needs("a source"))?,
                target: arg(1).ok_or_else(|| needs("a target"))?,
                user: arg(2),
                mode: arg(3),
                origin: origin(step).ok_or_else(|| needs("filesHash"))?,
            }),
            "ENV" if step.args.len().is_multiple_of(2) && !step.args.is_empty() => {
                let pairs = step.args.chunks_exact(2);
                Ok(Self::Env(
                    pairs.map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
                ))
            }
            "ENV" => Err(needs("names and values, one after the other")),
            "RUN" => Ok(Self::Run {
                command: arg(0).ok_or_else(|| needs("a command"))?,
                user: arg(1),
            }),
            "WORKDIR" => arg(0).map(Self::Workdir).ok_or_else(|| needs("a folder")),
            "USER" => arg(0).map(Self::User).ok_or_else(|| needs("a user")),
            other => Err(format!("{other:?} is no step: use COPY, ENV, RUN, WORKDIR or USER")),
        }
    }

    /// Whether it may change what is on the disk.
    pub(super) fn writes(&self) -> bool {
        !matches!(self, Self::Env(_) | Self::User(_))
    }

    /// The step in a line, as a Dockerfile has it.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Copy {
                source, target, origin, ..
            } => match origin {
                Origin::Upload(_) => format!("COPY {source} {target}"),
                Origin::Stage { name, .. } => format!("COPY --from={name} {source} {target}"),
            },
            Self::Env(pairs) => {
                let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("ENV {}", pairs.join(" "))
            }
            Self::Run { command, .. } => format!("RUN {command}"),
            Self::Workdir(folder) => format!("WORKDIR {folder}"),
            Self::User(user) => format!("USER {user}"),
        }
    }
}

fn origin(step: &BuildStep) -> Option<Origin> {
    let files = step.files_hash.clone();
    match &step.stage {
        Some(name) => Some(Origin::Stage {
            name: name.clone(),
            files,
        }),
        None => files.map(Origin::Upload),
    }
}

/// Carries a step out.
pub(super) async fn carry_out(
    builder: &Builder,
    setting: &mut Setting,
    step: &Step,
    files: &StepFiles,
    log: &BuildLog,
) -> Result<(), Reason> {
    match step {
        Step::Env(_) | Step::User(_) => {}
        Step::Workdir(folder) => {
            let folder = joined(setting.working_dir.as_deref(), folder);
            let quoted = quote(&folder);
            let owner = setting.user.as_deref().unwrap_or("root");
            // As docker has it, it is made; by E2B's rule, it is the user's.
            let make = format!(
                "[ -d {quoted} ] || {{ mkdir -p {quoted} && chown {} {quoted}; }}",
                quote(owner)
            );
            run(builder, &Setting::default().shell(&make, Some(&"root".to_owned())), log).await?;
        }
        Step::Run { command, user } => run(builder, &setting.shell(command, user.as_ref()), log).await?,
        Step::Copy {
            source,
            target,
            user,
            mode,
            origin,
        } => {
            let mut place = joined(setting.working_dir.as_deref(), target);
            if target.ends_with('/') && !place.ends_with('/') {
                place.push('/');
            }
            let (hash, source, owner) = match origin {
                Origin::Upload(hash) => {
                    let owner = user.as_deref().or(setting.user.as_deref()).unwrap_or("root");
                    (hash, source.as_str(), Some(owner))
                }
                // The archive holds what is copied and nothing else, and is root's: as docker has it, it stays so.
                Origin::Stage { files: Some(hash), .. } => (hash, "*", user.as_deref()),
                Origin::Stage { name, files: None } => return Err(format!("stage {name:?} was not built")),
            };
            let copy = Copy {
                hash,
                source,
                place: &place,
                owner,
                mode: mode.as_deref(),
            };
            files.copy(builder, &copy).await?;
        }
    }
    setting.note(step);
    Ok(())
}

/// Runs a command to its end. One that fails fails the step.
pub(super) async fn run(builder: &Builder, request: &ExecRequest, log: &BuildLog) -> Result<(), Reason> {
    let ended = builder.run(request.clone(), STEP_TIMEOUT, |is_error, line| {
        log.line(if is_error { "warn" } else { "info" }, line);
    });
    match ended.await.map_err(|error: NodeError| error.to_string())? {
        0 => Ok(()),
        code => Err(format!("the command ended with exit code {code}")),
    }
}

/// A path below another, unless it is absolute.
fn joined(base: Option<&str>, path: &str) -> String {
    match base {
        _ if path.starts_with('/') => path.to_owned(),
        Some(base) => format!("{}/{}", base.trim_end_matches('/'), path.trim_start_matches("./")),
        None => format!("/{}", path.trim_start_matches("./")),
    }
}

/// A word that a shell takes as it is.
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(kind: &str, args: &[&str]) -> Result<Step, Reason> {
        Step::parse(&BuildStep {
            kind: kind.to_owned(),
            args: args.iter().map(ToString::to_string).collect(),
            force: false,
            files_hash: (kind == "COPY").then(|| "ab".to_owned()),
            stage: None,
        })
    }

    #[test]
    fn steps_are_read_as_sdks_send_them() {
        assert_eq!(parsed("RUN", &["make", "root"]).unwrap().words(), "RUN make");
        assert_eq!(parsed("ENV", &["A", "1", "B", "2"]).unwrap().words(), "ENV A=1 B=2");
        let copy = parsed("COPY", &["src", "/app", "", ""]).unwrap();
        assert!(matches!(
            copy,
            Step::Copy {
                user: None,
                mode: None,
                ..
            }
        ));
        for (kind, args) in [("RUN", &[][..]), ("ENV", &["A"]), ("COPY", &["a"]), ("VOLUME", &["/x"])] {
            assert!(parsed(kind, args).is_err(), "{kind}");
        }
    }

    #[test]
    fn words_for_a_shell_cannot_break_out() {
        assert_eq!(quote("a'b; rm -rf /"), r"'a'\''b; rm -rf /'");
    }

    #[test]
    fn folders_build_on_each_other() {
        assert_eq!(joined(None, "app"), "/app");
        assert_eq!(joined(Some("/app"), "src"), "/app/src");
        assert_eq!(joined(Some("/app/"), "/etc"), "/etc");
    }
}
