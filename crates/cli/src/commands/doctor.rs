//! `doctor`: what the host lacks. A daemon is asked; where there is none, this process looks by the same code.

use hearth_api::{Check, CheckList, CheckOutcome};
use hearth_client::{ApiPath, Client, ClientError, Endpoint};

use crate::{
    args::DoctorArgs,
    daemon,
    output::{note, print_json, print_line, print_table},
};

/// The exit code says whether machines can run.
pub(crate) async fn doctor(client: &Client, args: &DoctorArgs, json: bool) -> anyhow::Result<u8> {
    let checks = match client.get::<CheckList>(&ApiPath::v1(&["doctor"])).await {
        Ok(list) => list.checks,
        // Whoever names an address may mean another host than this one.
        Err(ClientError::NoDaemon {
            endpoint: Endpoint::Unix(socket),
            ..
        }) => {
            let socket = socket.display();
            note(format_args!("no daemon at {socket}; looking from here\n"), json);
            examine(args).await?
        }
        Err(error) => return Err(error.into()),
    };
    if json {
        print_json(&checks)?;
    } else {
        show(&checks);
    }
    let failed = checks.iter().any(|check| check.outcome == CheckOutcome::Failed);
    Ok(u8::from(failed))
}

async fn examine(args: &DoctorArgs) -> anyhow::Result<Vec<Check>> {
    let drivers = daemon::drivers(&args.vmm, &args.state_dir)?;
    let found = hearth_node::examine(&args.state_dir, drivers, None).await;
    Ok(hearth_control::check_list(found).checks)
}

fn show(checks: &[Check]) {
    let rows: Vec<[String; 3]> = checks
        .iter()
        .map(|check| {
            let word = match check.outcome {
                CheckOutcome::Ok => "ok",
                CheckOutcome::Warning => "warning",
                CheckOutcome::Failed => "FAILED",
            };
            [word.to_owned(), check.name.clone(), found(check).to_owned()]
        })
        .collect();
    print_table(["", "CHECK", "FOUND"], &rows);
    for (names, advice) in advice(checks) {
        print_line(format!("\n{}: {advice}", names.join(", ")));
    }
}

/// What was found, without the advice that errors carry with them.
fn found(check: &Check) -> &str {
    let advice = check.advice.as_deref().unwrap_or_default();
    check
        .detail
        .strip_suffix(advice)
        .map_or(&check.detail, |detail| detail.trim_end_matches([':', ' ']))
}

/// Each piece of advice once, with the names of the checks that it would mend.
fn advice(checks: &[Check]) -> Vec<(Vec<&str>, &str)> {
    let mut all: Vec<(Vec<&str>, &str)> = Vec::new();
    for check in checks.iter().filter(|check| check.outcome != CheckOutcome::Ok) {
        let Some(advice) = check.advice.as_deref() else {
            continue;
        };
        match all.iter_mut().find(|(_, said)| *said == advice) {
            Some((names, _)) => names.push(&check.name),
            None => all.push((vec![&check.name], advice)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_advice_is_given_once() {
        let check = |name: &str, outcome, advice: Option<&str>| Check {
            name: name.to_owned(),
            outcome,
            detail: String::new(),
            advice: advice.map(str::to_owned),
        };
        let checks = [
            check("kvm", CheckOutcome::Warning, Some("switch it on")),
            check("disk", CheckOutcome::Ok, Some("free some")),
            check("qemu acceleration", CheckOutcome::Warning, Some("switch it on")),
            check("mkfs", CheckOutcome::Failed, None),
        ];
        assert_eq!(advice(&checks), [(vec!["kvm", "qemu acceleration"], "switch it on")]);
    }
}
