//! Connections of one guest.

use std::{io, net::TcpListener, ops::Range, sync::Arc, time::Duration};

use tokio::{net::TcpStream, runtime::Handle, sync::Semaphore, task::spawn_blocking, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::{Export, record, rpc};

/// Connections that one guest may have. A kernel has one, and for moments another while it mounts.
pub const CONNECTIONS_MAX: usize = 8;
/// How long a listener rests that the system would not let somebody in by.
const RETRY: Duration = Duration::from_millis(100);

/// A server of one guest's volumes. Dropped, it ends, and its connections with it; a call that is being carried out is carried out.
#[derive(Debug)]
pub struct Serving {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Serving {
    /// Ends it, and waits until nothing of it is left.
    pub async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves these volumes to whoever comes by the listener: one guest, and nobody else. Of the guest it is its kernel, which has one of
/// the `believed` ports: whom a call is by, its connection is believed for.
pub fn serve(
    runtime: &Handle,
    listener: TcpListener,
    exports: Vec<Export>,
    believed: Range<u16>,
) -> io::Result<Serving> {
    let _within = runtime.enter();
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let serving = Serving {
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
    };
    let (stop, tasks) = (serving.stop.clone(), serving.tasks.clone());
    serving.tasks.spawn_on(
        async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = receive(listener, exports.into(), believed, &tasks, &stop) => {}
            }
        },
        runtime,
    );
    Ok(serving)
}

async fn receive(
    listener: tokio::net::TcpListener,
    exports: Arc<[Export]>,
    believed: Range<u16>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let connection = match listener.accept().await {
            Ok((connection, peer)) if believed.contains(&peer.port()) => connection,
            Ok((_, peer)) => {
                debug!(%peer, "a program of a guest wants to be its kernel to its volumes");
                continue;
            }
            Err(error) => {
                debug!(%error, "a guest's connection to its volumes was not accepted");
                sleep(RETRY).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            debug!("a guest has as many connections to its volumes as it may");
            continue;
        };
        let (exports, stop) = (Arc::clone(&exports), stop.clone());
        tasks.spawn(async move {
            let served = tokio::select! {
                () = stop.cancelled() => Ok(()),
                served = converse(connection, exports) => served,
            };
            if let Err(error) = served {
                debug!(%error, "a guest's connection to its volumes ended");
            }
            drop(place);
        });
    }
}

async fn converse(mut connection: TcpStream, exports: Arc<[Export]>) -> io::Result<()> {
    connection.set_nodelay(true)?;
    while let Some(call) = record::read(&mut connection).await? {
        let Some(answer) = answered(call, Arc::clone(&exports)).await? else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "what came is no call"));
        };
        record::write(&mut connection, &answer).await?;
    }
    Ok(())
}

/// Answers a call when its volume has a turn for it. One that names no file needs none: it waits for nothing.
pub(super) async fn answered(call: Vec<u8>, exports: Arc<[Export]>) -> io::Result<Option<Vec<u8>>> {
    let meant = rpc::meant(&call, &exports).cloned();
    let answer = move || rpc::answer(&call, &exports);
    match meant {
        Some(folder) => folder.blocking(move |_| answer()).await,
        None => spawn_blocking(answer).await.map_err(io::Error::other),
    }
}
