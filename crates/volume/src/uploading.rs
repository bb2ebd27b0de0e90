//! Uploads in the hands of tasks, which are cut off when their clients go.

use std::{io, sync::Arc};

use tokio::runtime::Handle;

use crate::{
    content::{Changes, Entry, Upload},
    folder::Folder,
    path::VolumePath,
};

/// A file that is being written, piece by piece. Dropped before its end it is gone, without keeping whoever drops it.
#[derive(Debug)]
pub struct Uploading {
    folder: Arc<Folder>,
    /// Absent once it failed or is done.
    upload: Option<Upload>,
}

impl Uploading {
    /// Begins a file. It is seen at its path once all of it is there.
    pub async fn begin(folder: &Arc<Folder>, path: VolumePath, changes: Changes, parents: bool) -> io::Result<Self> {
        let folder = Arc::clone(folder);
        let begin = move |folder: &Arc<Folder>| {
            let upload = Some(folder.upload(path, changes, parents)?);
            let folder = Arc::clone(folder);
            Ok(Self { folder, upload })
        };
        folder.blocking(begin).await?
    }

    /// Adds to it. It is gone where that fails.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]> + Send + 'static) -> io::Result<()> {
        let folder = Arc::clone(&self.folder);
        // Whoever waits for it may be cut off: as one of these it goes without keeping anybody.
        let work = move |mut upload: Upload| {
            upload.write(bytes.as_ref())?;
            let upload = Some(upload);
            Ok(Self { folder, upload })
        };
        *self = self.run(work).await?;
        Ok(())
    }

    /// Puts it at its path.
    pub async fn finish(mut self) -> io::Result<Entry> {
        self.run(Upload::finish).await
    }

    /// It is taken for as long as work is done on it, and not while a turn is waited for.
    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(Upload) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let turn = self.folder.turn().await?;
        let upload = self.upload.take().ok_or(io::ErrorKind::BrokenPipe)?;
        turn.run(move || work(upload)).await?
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take() else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        let folder = Arc::clone(&self.folder);
        // Nobody waits for it: what a runtime that ends leaves is swept at the next start.
        runtime.spawn(async move {
            let turn = folder.turn().await?;
            turn.run(move || drop(upload)).await
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::{task::yield_now, time::timeout};

    use super::*;
    use crate::turns::tests::{DEADLINE, Held};

    #[test]
    fn who_drops_an_upload_is_not_kept_waiting() {
        let mut held = Held::new();
        let volume = Arc::clone(&held.volumes[0]);
        let path = VolumePath::parse("/a").unwrap();
        let begun = held.runtime.block_on(async {
            let mut begun = Uploading::begin(&volume, path, Changes::default(), false).await?;
            begun.write(b"text").await.map(|()| begun)
        });
        let begun = begun.unwrap();
        held.hold();
        held.runtime.block_on(async { drop(begun) });
        assert!(held.is_held(), "the drop waited for the books");
        held.let_go();
        held.runtime.block_on(async {
            let cleaned = async {
                while volume.blocking(|folder| folder.usage()).await.unwrap().unwrap().0 > 0 {
                    yield_now().await;
                }
            };
            timeout(DEADLINE, cleaned).await.expect("what it held is free again");
        });
    }
}
