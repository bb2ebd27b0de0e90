//! What the daemon serves the holder of a slot within it.

use std::net::TcpListener;

use hearth_domain::NetworkMode;
use hearth_ids::MachineId;

use super::Core;
use crate::slot::NetworkError;

impl Core {
    /// Opens a socket to which the machine's connections to a port of its gateway are led. What was led there before is not any more.
    pub(in crate::pool) fn serve(&self, machine: MachineId, port: u16) -> Result<TcpListener, NetworkError> {
        let turn = self.take_turn(machine)?;
        let served = if turn.request.mode == NetworkMode::Bridge {
            Err(NetworkError::ServedOnBridge { machine })
        } else {
            self.site.serve(turn.index, port)
        };
        self.end_turn(machine, turn, None);
        served
    }
}
