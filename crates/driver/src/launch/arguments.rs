//! A launch plan as command-line arguments, and back. Options that people can read in `ps`, among them the machine's
//! folder, rather than one opaque blob.

use std::{ffi::OsString, path::PathBuf};

use super::{GuestMemory, LaunchPlan};
use crate::VmmUser;

/// What follows the subcommand.
pub(super) fn encode(plan: &LaunchPlan) -> Vec<OsString> {
    let mut out: Vec<OsString> = Vec::new();
    let mut option = |name: &str, value: OsString| out.extend([OsString::from(name), value]);
    option("--folder", plan.folder.clone().into());
    for cgroup in &plan.cgroups {
        option("--cgroup", cgroup.clone().into());
    }
    if let Some(netns) = &plan.netns {
        option("--netns", netns.clone().into());
    }
    if let Some(tap) = &plan.tap {
        option("--tap", tap.into());
    }
    if let Some(root) = &plan.root {
        option("--root", root.clone().into());
    }
    for layer in &plan.layers {
        option("--layer", layer.clone().into());
    }
    match &plan.memory {
        Some(GuestMemory::Empty(bytes)) => option("--memory-bytes", bytes.to_string().into()),
        Some(GuestMemory::Saved(path)) => option("--memory", path.clone().into()),
        Some(GuestMemory::Jailed { saved, files }) => {
            option("--memory", saved.clone().into());
            option("--files", files.clone().into());
        }
        None => {}
    }
    if let Some(devices) = &plan.devices {
        option("--devices", devices.clone().into());
    }
    if let Some(user) = plan.user {
        option("--uid", user.uid.to_string().into());
        option("--gid", user.gid.to_string().into());
    }
    option("--output-max-bytes", plan.output_max_bytes.to_string().into());
    option("--oom-score-adj", plan.oom_score_adj.to_string().into());
    option("--max-open-files", plan.max_open_files.to_string().into());
    out.push("--".into());
    out.push(plan.program.clone().into());
    out.extend(plan.args.iter().cloned());
    out
}

/// Reads what [`encode`] wrote.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<LaunchPlan, String> {
    let mut args = args.into_iter();
    let mut plan = LaunchPlan::new(PathBuf::new(), PathBuf::new());
    let (mut uid, mut gid, mut files) = (None, None, None);
    loop {
        let name = args.next().ok_or("expected `-- PROGRAM` at the end")?;
        if name == "--" {
            break;
        }
        let value = args.next().ok_or_else(|| format!("{} needs a value", name.display()))?;
        match name.to_str().unwrap_or_default() {
            "--folder" => plan.folder = value.into(),
            "--cgroup" => plan.cgroups.push(value.into()),
            "--netns" => plan.netns = Some(value.into()),
            "--tap" => plan.tap = Some(value.into_string().map_err(|_| "--tap: no text")?),
            "--root" => plan.root = Some(value.into()),
            "--layer" => plan.layers.push(value.into()),
            "--memory-bytes" => plan.memory = Some(GuestMemory::Empty(number(&value)?)),
            "--memory" => plan.memory = Some(GuestMemory::Saved(value.into())),
            "--files" => files = Some(PathBuf::from(value)),
            "--devices" => plan.devices = Some(value.into()),
            "--uid" => uid = Some(number(&value)?),
            "--gid" => gid = Some(number(&value)?),
            "--output-max-bytes" => plan.output_max_bytes = number(&value)?,
            "--oom-score-adj" => plan.oom_score_adj = number(&value)?,
            "--max-open-files" => plan.max_open_files = number(&value)?,
            _ => return Err(format!("unknown option {}", name.display())),
        }
    }
    plan.user = match (uid, gid) {
        (Some(uid), Some(gid)) => Some(VmmUser { uid, gid }),
        (None, None) => None,
        _ => return Err("--uid and --gid go together".into()),
    };
    if let Some(files) = files {
        plan.memory = match plan.memory {
            Some(GuestMemory::Saved(saved)) => Some(GuestMemory::Jailed { saved, files }),
            _ => return Err("--files goes with --memory".into()),
        };
    }
    plan.program = args.next().ok_or("expected `-- PROGRAM` at the end")?.into();
    plan.args = args.collect();
    if !plan.folder.is_absolute() || !plan.program.is_absolute() {
        return Err("--folder and the program are absolute paths".into());
    }
    Ok(plan)
}

fn number<T: std::str::FromStr>(value: &OsString) -> Result<T, String> {
    value
        .to_str()
        .and_then(|v| v.parse().ok())
        .ok_or_else(|| format!("{} is not a number here", value.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let mut plan = LaunchPlan::new("/run/m/mch1", "/usr/bin/qemu");
        assert_eq!(parse(encode(&plan)), Ok(plan.clone()));
        plan.args = vec!["--".into(), "--folder".into(), "".into(), "fd=%TAP_FD%".into()];
        plan.cgroups = vec!["/sys/fs/cgroup/a b".into(), "/c".into()];
        plan.netns = Some("/run/netns/x".into());
        plan.tap = Some("tap0".into());
        plan.root = Some("/images/a b".into());
        plan.layers = vec!["/images/c".into(), "/images/b".into()];
        plan.user = Some(VmmUser {
            uid: 20_001,
            gid: 20_002,
        });
        plan.output_max_bytes = 9;
        plan.memory = Some(GuestMemory::Empty(1 << 40));
        assert_eq!(parse(encode(&plan)), Ok(plan.clone()));
        plan.memory = Some(GuestMemory::Saved("/proc/7/fd/9".into()));
        plan.devices = Some("/snapshots/a b/devices".into());
        assert_eq!(parse(encode(&plan)), Ok(plan.clone()));
        plan.memory = Some(GuestMemory::Jailed {
            saved: "/proc/7/fd/9".into(),
            files: "/run/m/jail/files".into(),
        });
        assert_eq!(parse(encode(&plan)), Ok(plan));
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        let words = |text: &str| parse(text.split_whitespace().map(OsString::from));
        assert!(words("").is_err());
        assert!(words("--folder /a").is_err());
        assert!(words("--folder /a --").is_err());
        assert!(words("--folder a -- /bin/true").is_err());
        assert!(words("--folder /a -- true").is_err());
        assert!(words("--folder /a --uid 5 -- /bin/true").is_err());
        assert!(words("--folder /a --uid -5 --gid 5 -- /bin/true").is_err());
        assert!(words("--folder /a --files /b -- /bin/true").is_err());
        assert!(words("--folder /a --frobnicate 1 -- /bin/true").is_err());
    }
}
