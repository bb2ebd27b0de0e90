//! What a guest is told of secrets. It is opened here, at the last moment, and stands in no record, log or answer.

use std::collections::HashMap;

use hearth_domain::{MachineSpec, SealedSecret, SecretTarget};
use hearth_guest_api::guest::SecretFile;

use crate::{provisions::Secrets, services::chain};

/// Where secrets' files lie in a guest; it is memory there.
const FOLDER: &str = "/run/secrets/";
/// Bytes of all secrets of a machine: they go in one message.
const TOTAL_MAX: usize = 1 << 20;

/// Opened secrets, as the guest is told.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) env: HashMap<String, String>,
    pub(crate) files: Vec<SecretFile>,
}

/// Opens the secrets of a machine.
pub(crate) fn opened(spec: &MachineSpec, secrets: &dyn Secrets) -> Result<Opened, String> {
    let mut opened = Opened::default();
    let mut total = 0;
    for secret in &spec.workload.secrets {
        let value = secrets
            .open(spec.project, secret)
            .map_err(|error| format!("cannot open the secret for {}: {}", place(secret), chain(&*error)))?;
        total += value.len();
        if total > TOTAL_MAX {
            return Err(format!(
                "the secrets of machine {} are longer than {TOTAL_MAX} bytes",
                spec.name
            ));
        }
        match &secret.target {
            SecretTarget::Env(name) => {
                // Neither error tells of the value.
                let text = std::str::from_utf8(&value).ok().filter(|text| !text.contains('\0'));
                let text = text.ok_or_else(|| {
                    format!("the secret for variable {name} is not text; give it as a file: --secret-file")
                })?;
                opened.env.insert(name.clone(), text.to_owned());
            }
            SecretTarget::File(path) if is_in_folder(path) => opened.files.push(SecretFile {
                path: path.clone(),
                data: value.to_vec().into(),
            }),
            SecretTarget::File(path) => return Err(format!("secret file {path:?} is not below {FOLDER}")),
        }
    }
    Ok(opened)
}

fn place(secret: &SealedSecret) -> &str {
    match &secret.target {
        SecretTarget::Env(place) | SecretTarget::File(place) => place,
    }
}

fn is_in_folder(path: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    path.strip_prefix(FOLDER)
        .is_some_and(|rest| rest.split('/').all(plain) && !rest.contains('\0'))
}

#[cfg(test)]
mod tests {
    use hearth_domain::{DriverKind, NetworkMode, RecoverPolicy, Resources, RestartPolicy, Workload};
    use hearth_ids::{MachineId, ProjectId};
    use hearth_seal::Seal;

    use super::*;

    fn spec(secrets: Vec<SealedSecret>) -> MachineSpec {
        MachineSpec {
            id: MachineId::new(),
            project: ProjectId::DEFAULT,
            owner: None,
            name: "web".parse().unwrap(),
            image: String::new(),
            image_id: String::new(),
            layers: Vec::new(),
            kernel_id: String::new(),
            resources: Resources {
                vcpus: 1.try_into().unwrap(),
                memory_mib: 64.try_into().unwrap(),
                disk_mib: None,
            },
            workload: Workload {
                secrets,
                ..Workload::default()
            },
            network: NetworkMode::None,
            egress: hearth_domain::EgressRules::default(),
            ports: Vec::new(),
            driver: DriverKind::Fake,
            restart: RestartPolicy::No,
            recover: RecoverPolicy::No,
            stop_timeout_ms: 1,
            auto_remove: false,
            snapshot: None,
            boots: false,
            volumes: Vec::new(),
        }
    }

    fn closed(seal: &Seal, project: ProjectId, target: SecretTarget, value: &[u8]) -> SealedSecret {
        SealedSecret {
            target,
            sealed: seal.seal(project, &"db".parse().unwrap(), value).unwrap(),
        }
    }

    #[test]
    fn variables_and_files_are_opened() {
        let seal = Seal::new([3; 32]);
        let env = closed(&seal, ProjectId::DEFAULT, SecretTarget::Env("DB".into()), b"hunter2");
        let file = SecretTarget::File("/run/secrets/tls/key".into());
        let file = closed(&seal, ProjectId::DEFAULT, file, &[0, 255]);
        let spec = spec(vec![env, file]);
        assert!(!serde_json::to_string(&spec).unwrap().contains("hunter2"));
        let opened = opened(&spec, &seal).unwrap();
        assert_eq!(opened.env["DB"], "hunter2");
        assert_eq!(
            (opened.files[0].path.as_str(), &opened.files[0].data[..]),
            ("/run/secrets/tls/key", &[0, 255][..])
        );
    }

    #[test]
    fn what_cannot_be_given_is_told_without_the_value() {
        let seal = Seal::new([3; 32]);
        let env = || SecretTarget::Env("DB".into());
        let file = |path: &str| SecretTarget::File(path.into());
        let own = ProjectId::DEFAULT;
        for (secret, words) in [
            (closed(&seal, ProjectId::new(), env(), b"hunter2"), "another project"),
            (
                closed(&Seal::new([4; 32]), own, env(), b"hunter2"),
                "another master key",
            ),
            (closed(&seal, own, env(), b"hunter2\0"), "not text"),
            (closed(&seal, own, env(), b"hunter2\xff"), "not text"),
            (closed(&seal, own, file("/etc/passwd"), b"hunter2"), "not below"),
            (closed(&seal, own, file("/run/secrets/../x"), b"hunter2"), "not below"),
            (closed(&seal, own, file("/run/secrets/"), b"hunter2"), "not below"),
            (closed(&seal, own, env(), &vec![b'x'; TOTAL_MAX + 1]), "longer than"),
        ] {
            let error = opened(&spec(vec![secret]), &seal).err().unwrap();
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
    }
}
