//! What a sandbox may reach: from how it was asked for to the machine's rules.

use hearth_domain::{EgressRules, InvalidEgress, SandboxNetwork, SandboxSettings};

use super::{Sandbox, act, no_sandbox};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
    fault,
};

/// The rules of a sandbox's machine.
pub(crate) fn egress(network: &SandboxNetwork) -> ApiResult<EgressRules> {
    let SandboxNetwork {
        internet,
        allow_out,
        deny_out,
    } = network;
    let rules = match internet {
        Some(false) => EgressRules::parse_without_internet(allow_out, deny_out),
        Some(true) | None => EgressRules::parse(allow_out, deny_out),
    };
    rules.map_err(|error| ApiError::field(field(&error), error.to_string()))
}

fn field(error: &InvalidEgress) -> &'static str {
    match error {
        InvalidEgress::NoNet { .. } => "denyOut",
        InvalidEgress::TooMany { list, .. } if list.to_string() == "denyOut" => "denyOut",
        InvalidEgress::TooMany { .. }
        | InvalidEgress::NoCidr { .. }
        | InvalidEgress::NoDomain { .. }
        | InvalidEgress::DomainsWithoutDeny { .. } => "allowOut",
    }
}

/// Changes what a sandbox may reach: all of it, at once.
pub(crate) async fn set_network(app: &App, sandbox: &Sandbox, network: SandboxNetwork) -> ApiResult<()> {
    let rules = egress(&network)?;
    let _turn = sandbox.turn.lock().await;
    let row = act::read(app, sandbox).await?;
    let settings = SandboxSettings {
        network,
        ..row.settings.clone()
    };
    // First what copies of it are made by: what is cut off in between is done when sandboxes are taken up.
    if !app.store.set_sandbox_settings(sandbox.id, &settings).await? {
        return Err(no_sandbox(&sandbox.id.to_string()));
    }
    fault::point("sandbox.network");
    if let Err(error) = app.node.set_egress(sandbox.machine, rules).await {
        app.store.set_sandbox_settings(sandbox.id, &row.settings).await?;
        return Err(error.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(internet: Option<bool>, allow: &[&str], deny: &[&str]) -> Result<EgressRules, Option<String>> {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let network = SandboxNetwork {
            internet,
            allow_out: texts(allow),
            deny_out: texts(deny),
        };
        egress(&network).map_err(|error| error.problem.field)
    }

    #[test]
    fn no_internet_is_all_denied() {
        assert!(asked(None, &[], &[]).unwrap().is_open());
        assert!(asked(Some(false), &[], &[]).unwrap().denies_all());
        assert!(asked(Some(false), &["example.com"], &[]).unwrap().has_domains());
        assert!(asked(None, &["example.com"], &["0.0.0.0/0"]).unwrap().has_domains());
    }

    #[test]
    fn what_cannot_be_is_told_by_its_list() {
        assert_eq!(asked(None, &["example.com"], &[]), Err(Some("allowOut".into())));
        assert_eq!(asked(None, &[], &["example.com"]), Err(Some("denyOut".into())));
    }
}
