//! What `hearth doctor` says about QEMU: each row is the result of doing the thing.

use std::{path::Path, process::Stdio, time::Duration};

use hearth_driver::{Check, CheckOutcome, kvm};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    accel::{Accel, AccelChoice},
    driver::{QemuOptions, find_program},
};

pub(crate) const INSTALL_ADVICE: &str = "install QEMU, on Debian with `apt-get install qemu-system-x86`";
const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn probe(options: &QemuOptions) -> Vec<Check> {
    let choice = options.accel;
    // A trial that fails by its thread is no more than one that fails.
    let accel = tokio::task::spawn_blocking(move || choice.resolve())
        .await
        .unwrap_or(Accel::Tcg);
    vec![program(options, accel).await, acceleration(choice)]
}

async fn program(options: &QemuOptions, accel: Accel) -> Check {
    let Some(path) = find_program(options.program.as_deref()) else {
        return check(
            CheckOutcome::Failed,
            "qemu-system-x86_64 is not on PATH".into(),
            Some(INSTALL_ADVICE),
        );
    };
    let version = match run(&path, &["--version"], "").await {
        Ok(output) => output.lines().next().unwrap_or_default().to_owned(),
        Err(reason) => {
            let detail = format!("{} does not run: {reason}", path.display());
            return check(CheckOutcome::Failed, detail, Some(INSTALL_ADVICE));
        }
    };
    // An empty machine of our type, made and ended.
    let trial = [
        "-M",
        "microvm",
        "-accel",
        accel.as_str(),
        "-nodefaults",
        "-display",
        "none",
        "-S",
        "-sandbox",
        "on",
    ];
    match run(&path, &[&trial[..], &["-monitor", "stdio"]].concat(), "quit\n").await {
        Ok(_) => check(CheckOutcome::Ok, format!("{}: {version}", path.display()), None),
        Err(reason) => {
            let detail = format!("{version} starts no machine of type microvm: {reason}");
            check(
                CheckOutcome::Failed,
                detail,
                Some("QEMU 7.2 or newer with the machine type microvm is needed"),
            )
        }
    }
}

fn acceleration(choice: AccelChoice) -> Check {
    let row = |outcome, detail: String, advice: Option<&str>| Check {
        name: "qemu acceleration".into(),
        outcome,
        detail,
        advice: advice.map(Into::into),
    };
    match (choice, kvm::usable()) {
        (AccelChoice::Tcg, _) => row(CheckOutcome::Ok, "software emulation (tcg), as configured".into(), None),
        (_, Ok(())) => row(CheckOutcome::Ok, "kvm; a trial machine ran".into(), None),
        (AccelChoice::Kvm, Err(e)) => row(
            CheckOutcome::Warning,
            format!("kvm, as configured, although {e}"),
            Some("choose `auto` to fall back to software emulation"),
        ),
        (AccelChoice::Auto, Err(e)) => row(
            CheckOutcome::Warning,
            format!("software emulation (tcg), since {e}"),
            Some(e.advice()),
        ),
    }
}

fn check(outcome: CheckOutcome, detail: String, advice: Option<&str>) -> Check {
    Check {
        name: "qemu".into(),
        outcome,
        detail,
        advice: advice.map(Into::into),
    }
}

async fn run(program: &Path, args: &[&str], input: &str) -> Result<String, String> {
    let attempt = async {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends without reading is judged by its exit.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    match tokio::time::timeout(TIMEOUT, attempt).await {
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(output)) => Err(String::from_utf8_lossy(&output.stderr)
            .trim()
            .chars()
            .take(300)
            .collect()),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    }
}
