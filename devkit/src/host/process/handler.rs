//! What the rest of the host sees of the handler process.

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::host::log::Log;

/// Whether requests can be sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Phase {
    #[default]
    Starting,
    Initialized,
    /// Ended on order: a changed file starts another one, unless the file is in error.
    Stopped,
    /// The host has shut down. No other phase follows.
    Down,
}

/// What others may order the supervisor to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Kill and restart the process of this start, since an invocation took too long.
    Recycle(u64),
    /// A changed file starts another handler: kill this one at once, whatever the platform would do.
    Replace,
    Stop,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) pid: Option<u32>,
    /// Counts the starts, and so names a process.
    pub(crate) starts: u64,
    pub(crate) restarts: u32,
}

pub(crate) struct Handler {
    pub(crate) port: u16,
    pub(crate) log: Log,
    state: watch::Sender<State>,
    orders: UnboundedSender<Order>,
}

impl Handler {
    pub(crate) fn new(port: u16, log: Log, orders: UnboundedSender<Order>) -> Self {
        Self { port, log, state: watch::Sender::default(), orders }
    }

    pub(crate) fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Waits until the phase fulfils a condition, and returns that phase.
    pub(crate) async fn wait_for(&self, condition: impl Fn(Phase) -> bool) -> Phase {
        let mut state = self.state.subscribe();
        // The sender lives as long as this does, so that waiting cannot fail.
        state.wait_for(|state| condition(state.phase)).await.map_or(Phase::Down, |state| state.phase)
    }

    /// Ends the host, as it does by itself when it cannot continue.
    pub(crate) fn shut_down(&self, message: &str) {
        if self.state().phase != Phase::Down {
            self.log.error(message);
            self.enter(Phase::Down);
        }
        self.order(Order::Stop);
    }

    pub(crate) fn order(&self, order: Order) {
        // Without a supervisor there is no process.
        let _ = self.orders.send(order);
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.update(|state| {
            if state.phase != Phase::Down {
                state.phase = phase;
            }
        });
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }
}
