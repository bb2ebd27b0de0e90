//! What `hearth doctor` says of Firecracker.

use std::{fs::File, path::Path};

use hearth_driver::{
    Check, CheckOutcome, DriverError, Unusable, chain,
    kvm::{self, KvmUnusable},
};

use crate::{
    config::FirecrackerConfig,
    features::OLDEST,
    programs::{ADVICE, Programs, version_of},
};

/// All rows.
pub(crate) async fn probe(config: &FirecrackerConfig) -> Vec<Check> {
    let programs = Programs::find(config).await;
    let mut checks = vec![program(&programs)];
    if let Ok(programs) = &programs {
        checks.push(jailer(programs).await);
    }
    checks.push(kvm_row(config.trust_kvm));
    checks.push(device(
        "tun",
        Path::new("/dev/net/tun"),
        "load the kernel's module: modprobe tun",
    ));
    checks
}

/// The first thing without which no machine starts.
pub(crate) async fn usable(config: &FirecrackerConfig) -> Result<(), Unusable> {
    let trust_kvm = config.trust_kvm;
    // The first trial takes a while: off the runtime's threads.
    let tried = tokio::task::spawn_blocking(move || judge(trust_kvm, kvm::usable()));
    tried.await.unwrap_or(Ok(()))?;
    Programs::locate(config).map(drop).map_err(|error| Unusable {
        reason: match error {
            DriverError::MissingProgram { program, .. } => format!("cannot find {program}"),
            other => chain(&other),
        },
        advice: ADVICE.to_owned(),
    })
}

/// There is no Firecracker without KVM.
fn judge(trust_kvm: bool, usable: Result<(), KvmUnusable>) -> Result<(), Unusable> {
    match usable {
        Err(error) if !trust_kvm => Err(Unusable {
            reason: format!("it needs KVM: {}", chain(&error)),
            advice: error.advice().to_owned(),
        }),
        _ => Ok(()),
    }
}

fn check(name: &str, outcome: CheckOutcome, detail: String, advice: Option<&str>) -> Check {
    Check {
        name: name.to_owned(),
        outcome,
        detail,
        advice: advice.map(str::to_owned),
    }
}

fn program(programs: &Result<Programs, DriverError>) -> Check {
    const NAME: &str = "firecracker";
    let programs = match programs {
        Ok(programs) => programs,
        Err(error) => return check(NAME, CheckOutcome::Failed, chain(error), Some(ADVICE)),
    };
    let what = format!("{} is version {}", programs.firecracker.display(), programs.version);
    if !programs.version.is_supported() {
        return check(
            NAME,
            CheckOutcome::Failed,
            format!("{what}; needed is {OLDEST} or newer"),
            Some(ADVICE),
        );
    }
    if !programs.features().acpi {
        let detail = format!("{what}, which describes its devices on the kernel's command line only");
        let advice = "use 1.8 or newer, or a guest kernel with CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y";
        return check(NAME, CheckOutcome::Warning, detail, Some(advice));
    }
    check(NAME, CheckOutcome::Ok, what, None)
}

async fn jailer(programs: &Programs) -> Check {
    const NAME: &str = "jailer";
    let Some(jailer) = &programs.jailer else {
        let detail = "turned off: VMMs are confined by their user and seccomp filters only".to_owned();
        return check(NAME, CheckOutcome::Warning, detail, None);
    };
    if !rustix::process::geteuid().is_root() {
        let detail = format!(
            "{} needs root, this is user {}",
            jailer.display(),
            rustix::process::geteuid().as_raw()
        );
        return check(NAME, CheckOutcome::Failed, detail, Some("run Hearth as root"));
    }
    match version_of(jailer).await {
        Err(error) => check(NAME, CheckOutcome::Failed, chain(&error), Some(ADVICE)),
        Ok(version) if version != programs.version => {
            let detail = format!(
                "{} is version {version}, Firecracker is {}",
                jailer.display(),
                programs.version
            );
            check(
                NAME,
                CheckOutcome::Warning,
                detail,
                Some("use both from the same release"),
            )
        }
        Ok(version) => check(
            NAME,
            CheckOutcome::Ok,
            format!("{} is version {version}", jailer.display()),
            None,
        ),
    }
}

fn kvm_row(trust_kvm: bool) -> Check {
    match kvm::usable() {
        Ok(()) => check("kvm", CheckOutcome::Ok, "a trial machine ran".to_owned(), None),
        Err(error) if trust_kvm => {
            let detail = format!("used, as configured, although {error}");
            check("kvm", CheckOutcome::Warning, detail, Some(error.advice()))
        }
        Err(error) => check("kvm", CheckOutcome::Failed, chain(&error), Some(error.advice())),
    }
}

fn device(name: &str, path: &Path, advice: &str) -> Check {
    match File::options().read(true).write(true).open(path) {
        Ok(_open) => check(name, CheckOutcome::Ok, format!("{} opens", path.display()), None),
        Err(error) => check(
            name,
            CheckOutcome::Failed,
            format!("cannot open {}: {error}", path.display()),
            Some(advice),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Version;

    fn outcome_of(version: Version) -> CheckOutcome {
        program(&Ok(Programs {
            firecracker: "/fc".into(),
            jailer: None,
            version,
        }))
        .outcome
    }

    #[test]
    fn without_kvm_there_is_none_unless_it_is_trusted_all_the_same() {
        let absent = || Err(KvmUnusable::NoCpuSupport);
        let unusable = judge(false, absent()).unwrap_err();
        assert!(unusable.reason.contains("vmx") && unusable.advice.contains("firmware"));
        assert_eq!(judge(true, absent()), Ok(()));
        assert_eq!(judge(false, Ok(())), Ok(()));
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_named_at_once() {
        let config = FirecrackerConfig {
            firecracker: Some("/nowhere/firecracker".into()),
            trust_kvm: true,
            ..Default::default()
        };
        let unusable = usable(&config).await.unwrap_err();
        assert!(unusable.reason.contains("/nowhere/firecracker"), "{unusable}");
    }

    #[test]
    fn versions_are_judged() {
        assert_eq!(outcome_of(Version::new(0, 25, 2)), CheckOutcome::Failed);
        assert_eq!(outcome_of(Version::new(1, 0, 0)), CheckOutcome::Warning);
        assert_eq!(outcome_of(Version::new(1, 12, 1)), CheckOutcome::Ok);
    }

    #[tokio::test]
    async fn an_absent_program_is_said_with_where_to_get_it() {
        let config = FirecrackerConfig {
            firecracker: Some("/nowhere/firecracker".into()),
            ..Default::default()
        };
        let checks = probe(&config).await;
        assert_eq!(checks[0].outcome, CheckOutcome::Failed);
        assert!(checks[0].detail.contains("/nowhere/firecracker"));
        assert!(checks[0].advice.as_ref().unwrap().contains("releases"));
    }

    #[test]
    fn an_absent_device_fails() {
        assert_eq!(device("tun", Path::new("/dev/null"), "").outcome, CheckOutcome::Ok);
        assert_eq!(
            device("tun", Path::new("/dev/absent"), "do").advice.as_deref(),
            Some("do")
        );
    }
}
