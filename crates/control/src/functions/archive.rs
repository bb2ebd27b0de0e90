//! What instances wrote that are gone: one file of JSON lines for each, in a folder for each function.
//!
//! A file appears whole, by rename. Those of instances that ended first go when a function has too many, or too much.

use std::{
    fs, io,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use hearth_api::FunctionLogRecord;
use hearth_domain::{MachineOwner, MachineSpec};
use hearth_ids::{FunctionId, MachineId};
use hearth_node_api::{LogChunk, NodeError};
use hearth_worker::LogArchive;

use super::lines::{Lines, Newest};
use crate::time::{now_unix_ms, timestamp};

/// What is kept of a function's instances that are gone, in bytes and in instances.
const KEPT_BYTES: u64 = 64 * 1024 * 1024;
const KEPT_INSTANCES: usize = 500;
/// What is kept of one instance: its last lines, and their bytes.
const INSTANCE_LINES: usize = 20_000;
const INSTANCE_BYTES: usize = 4 * 1024 * 1024;

/// The archive. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    folder: PathBuf,
}

impl Archive {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn of(&self, function: FunctionId) -> PathBuf {
        self.folder.join(function.to_string())
    }

    /// Instances whose logs are here, those first that ended first. Blocks.
    pub(crate) fn machines(&self, function: FunctionId) -> Vec<MachineId> {
        let machines = entries(&self.of(function)).into_iter().map(|entry| entry.machine);
        machines.collect()
    }

    /// An instance's lines, to `each`. What cannot be read is left out. Blocks.
    pub(crate) fn read(
        &self,
        function: FunctionId,
        machine: MachineId,
        mut each: impl FnMut(FunctionLogRecord),
    ) -> io::Result<()> {
        let file = match fs::File::open(self.of(function).join(file_name(machine))) {
            // It was the oldest.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        for line in BufReader::new(file).lines() {
            if let Ok(record) = serde_json::from_str(&line?) {
                each(record);
            }
        }
        Ok(())
    }

    /// Functions whose logs are here. Blocks.
    pub(crate) fn functions(&self) -> Vec<FunctionId> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// Removes all logs of a function. Blocks.
    pub(crate) fn forget(&self, function: FunctionId) -> io::Result<()> {
        match fs::remove_dir_all(self.of(function)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn make_room(&self, function: FunctionId) {
        let mut bytes = 0;
        for (place, entry) in entries(&self.of(function)).into_iter().rev().enumerate() {
            bytes += entry.bytes;
            // The one that ended last always stays.
            if place > 0 && (place >= KEPT_INSTANCES || bytes > KEPT_BYTES) {
                let _ = fs::remove_file(self.of(function).join(file_name(entry.machine)));
            }
        }
    }
}

fn file_name(machine: MachineId) -> String {
    format!("{machine}.ndjson")
}

/// An instance's file.
struct Entry {
    /// When it was put here, which is when the instance had ended.
    ended: SystemTime,
    machine: MachineId,
    bytes: u64,
}

/// Those first that ended first.
fn entries(folder: &Path) -> Vec<Entry> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let known = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let about = entry.metadata().ok()?;
        Some(Entry {
            ended: about.modified().ok()?,
            machine: name.strip_suffix(".ndjson")?.parse().ok()?,
            bytes: about.len(),
        })
    });
    let mut known: Vec<_> = known.collect();
    known.sort_by_key(|entry| (entry.ended, entry.machine));
    known
}

#[async_trait]
impl LogArchive for Archive {
    async fn archive(
        &self,
        spec: &MachineSpec,
        mut log: BoxStream<'static, Result<LogChunk, NodeError>>,
    ) -> Result<(), io::Error> {
        let Some(MachineOwner::Function { function, version }) = spec.owner else {
            return Ok(());
        };
        let mut lines = Lines::new(spec.id, version);
        let mut newest = Newest::new(INSTANCE_LINES, INSTANCE_BYTES);
        while let Some(piece) = log.next().await {
            newest.extend(lines.push(&piece.map_err(io::Error::other)?));
        }
        newest.extend(lines.rest(timestamp(now_unix_ms())));
        let (archive, machine) = (self.clone(), spec.id);
        let written = move || archive.write(function, machine, &newest.into_lines());
        tokio::task::spawn_blocking(written).await.map_err(io::Error::other)?
    }
}

impl Archive {
    /// Blocks.
    fn write(&self, function: FunctionId, machine: MachineId, lines: &[FunctionLogRecord]) -> io::Result<()> {
        let folder = self.of(function);
        fs::create_dir_all(&folder)?;
        // Its name is its machine's: of two tries the later replaces what the earlier left.
        let aside = folder.join(format!(".{}", file_name(machine)));
        let mut file = io::BufWriter::new(fs::File::create(&aside)?);
        for line in lines {
            serde_json::to_writer(&mut file, line)?;
            file.write_all(b"\n")?;
        }
        file.flush()?;
        drop(file);
        fs::rename(&aside, folder.join(file_name(machine)))?;
        self.make_room(function);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::stream;
    use hearth_node_api::LogStream;

    use super::*;

    fn chunk(text: &'static str) -> LogChunk {
        LogChunk {
            sequence: 1,
            unix_ns: 1,
            stream: LogStream::Stdout,
            bytes: Bytes::from_static(text.as_bytes()),
        }
    }

    #[tokio::test]
    async fn a_log_is_kept_whole_and_forgotten_with_its_function() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::new(folder.path().to_owned());
        let function = FunctionId::new();
        let mut spec = crate::reconcile::test_spec();
        spec.owner = Some(MachineOwner::Function { function, version: 7 });
        for _ in 0..2 {
            let log = stream::iter([chunk("one\ntw"), chunk("o")].map(Ok)).boxed();
            archive.archive(&spec, log).await.unwrap();
        }
        assert_eq!(archive.machines(function), [spec.id]);
        let mut read = Vec::new();
        archive
            .read(function, spec.id, |record| read.push((record.version, record.line)))
            .unwrap();
        assert_eq!(read, [(7, "one".to_owned()), (7, "two".to_owned())]);
        archive.forget(function).unwrap();
        archive.forget(function).unwrap();
        assert!(archive.machines(function).is_empty());
    }

    #[test]
    fn of_too_many_those_that_ended_first_go_whichever_was_made_first() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::new(folder.path().to_owned());
        let function = FunctionId::new();
        let mut machines: Vec<_> = (0..=KEPT_INSTANCES).map(|_| MachineId::new()).collect();
        machines.sort();
        let path = |machine| archive.of(function).join(file_name(machine));
        // The one made first ends last.
        let last = machines.remove(0);
        for (place, machine) in (0..).zip(&machines) {
            archive.write(function, *machine, &[]).unwrap();
            let file = fs::File::open(path(*machine)).unwrap();
            let ended = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(place);
            file.set_modified(ended).unwrap();
        }
        archive.write(function, last, &[]).unwrap();
        let left = archive.machines(function);
        assert_eq!(left.len(), KEPT_INSTANCES);
        assert_eq!((left.first(), left.last()), (machines.get(1), Some(&last)));
    }
}
