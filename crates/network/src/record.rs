//! What is on disk: which machine holds which slot, and the pool's network. Enough to find everything again.
//!
//! Files appear whole or not at all (written beside, then renamed). They are not forced to the disk: a namespace does
//! not outlive a power cut either.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hearth_domain::EgressRules;
use hearth_ids::MachineId;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::slot::SlotRequest;

/// One held slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) index: u32,
    pub(crate) machine: MachineId,
    pub(crate) request: SlotRequest,
    /// What the machine may reach; older records have none.
    #[serde(default)]
    pub(crate) egress: EgressRules,
}

#[derive(Debug, Serialize, Deserialize)]
struct PoolRecord {
    pool: Ipv4Net,
}

/// The folder of records.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    folder: PathBuf,
}

impl Records {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder.join("slots"))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    fn slot_file(&self, index: u32) -> PathBuf {
        self.folder.join("slots").join(format!("{index}.json"))
    }

    pub(crate) fn write(&self, record: &Record) -> io::Result<()> {
        write_whole(&self.slot_file(record.index), record)
    }

    pub(crate) fn remove(&self, index: u32) -> io::Result<()> {
        match fs::remove_file(self.slot_file(index)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All records. What cannot be read belongs to nobody, and is removed; so is what was half written.
    pub(crate) fn load(&self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.folder.join("slots"))? {
            let path = entry?.path();
            let record = fs::read(&path)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
            if let Some(record) = record.filter(|record| self.slot_file(record.index) == path) {
                records.push(record);
            } else {
                tracing::warn!(path = %path.display(), "removing a slot record that cannot be read");
                fs::remove_file(&path)?;
            }
        }
        Ok(records)
    }

    /// The network chosen at an earlier start.
    pub(crate) fn pool(&self) -> Option<Ipv4Net> {
        let bytes = fs::read(self.folder.join("pool.json")).ok()?;
        Some(serde_json::from_slice::<PoolRecord>(&bytes).ok()?.pool)
    }

    pub(crate) fn write_pool(&self, pool: Ipv4Net) -> io::Result<()> {
        write_whole(&self.folder.join("pool.json"), &PoolRecord { pool })
    }
}

fn write_whole(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    fs::write(&beside, serde_json::to_vec(value)?)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_an_older_daemon_has_no_rules() {
        let text = r#"{"index":3,"machine":"mch01arz3ndektsv4rrffq69g5fav","request":{"mode":"default","ports":[],
            "tap_owner":{"uid":1,"gid":1}}}"#;
        let record: Record = serde_json::from_str(text).unwrap();
        assert!(record.egress.is_open());
        let again: Record = serde_json::from_slice(&serde_json::to_vec(&record).unwrap()).unwrap();
        assert_eq!(again, record);
    }
}
